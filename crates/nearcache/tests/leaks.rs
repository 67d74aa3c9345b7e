//! What is left behind when the last handle is gone: no task, no thread, no file descriptor.
//!
//! One test, because it counts what the whole process has.

use std::fs;
use std::time::Duration;

use nearcache::{Cache, blocking};
use nearcache_testkit::{Redis, eventually};
use tokio::runtime::Runtime;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    threads: usize,
    descriptors: usize,
}

fn held() -> Held {
    let count = |folder| fs::read_dir(folder).expect("Linux's /proc").count();
    Held {
        threads: count("/proc/self/task"),
        descriptors: count("/proc/self/fd"),
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn the_last_handle_takes_everything_along() {
    let redis = Redis::start();
    let url = redis.url();
    let runtimes = [runtime(), runtime(), runtime()];
    // Everything that is made once and kept: a runtime's threads, the first look-up of a name.
    for runtime in &runtimes {
        runtime.block_on(async {
            tokio::spawn(async {}).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = tokio::net::TcpStream::connect(redis.address())
                .await
                .unwrap();
        });
    }
    let before = held();

    for _ in 0..3 {
        let cache = Cache::open(&url).unwrap();
        for runtime in &runtimes {
            runtime.block_on(async {
                cache.set("k", &1).await.unwrap();
                let clones: Vec<Cache> = (0..10).map(|_| cache.clone()).collect();
                assert_eq!(clones[3].get::<u8>("k").await.unwrap(), Some(1));
                // A caller that gives up, and a raw connection, leave nothing either.
                let _ =
                    tokio::time::timeout(Duration::ZERO, cache.get::<u8>("k").into_future()).await;
                drop(cache.connection().await.unwrap());
            });
        }
        assert!(held().descriptors > before.descriptors);
        drop(cache);
        for runtime in &runtimes {
            eventually("the tasks have ended", || {
                runtime.metrics().num_alive_tasks() == 0
            });
        }
        eventually("the sockets are closed", || held() == before);
    }

    let closed = Cache::open(&url).unwrap();
    runtimes[0].block_on(async {
        closed.set("k", &1).await.unwrap();
        closed.close().await.unwrap();
    });
    eventually(
        "a closed cache holds nothing, though its handle is there",
        || held() == before,
    );

    let cache = blocking::Cache::open(&url).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| cache.set("k", &1).run().unwrap());
        }
    });
    drop(cache.connection().run().unwrap());
    assert!(held().descriptors > before.descriptors);
    drop(cache);
    eventually("the pool's sockets are closed", || held() == before);

    let store = Cache::open("memory://").unwrap();
    runtimes[0].block_on(async {
        store.set("k", &1).ttl("1h").await.unwrap();
        assert_eq!(store.get::<u8>("k").await.unwrap(), Some(1));
    });
    drop(store);
    eventually("the embedded store's thread has ended", || held() == before);
}
