//! What is left behind when the last handle is gone: no task, no thread, no file descriptor.
//!
//! One test, because it counts what the whole process has.

use std::fs;
use std::time::Duration;

use nearcache::{Cache, blocking};
use nearcache_testkit::{Fault, Frames, Proxy, Redis, eventually, random_prefix};
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
    let redis = Redis::start_with(&["--enable-debug-command", "yes"]);
    let url = redis.patient_url();
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

    loads_leave_nothing(&url, &runtimes[0], before);
    a_sweep_leaves_nothing(&redis, &runtimes[0], before);

    let store = Cache::open("memory://").unwrap();
    runtimes[0].block_on(async {
        store.set("k", &1).ttl("1h").await.unwrap();
        assert_eq!(store.get::<u8>("k").await.unwrap(), Some(1));
    });
    drop(store);
    eventually("the embedded store's thread has ended", || held() == before);
}

/// What a load starts beside its caller: tasks, the thread that renews leases, and those of loads that
/// nobody waits for.
fn loads_leave_nothing(url: &str, runtime: &Runtime, before: Held) {
    // Of 100 ms: what takes longer than half of it is renewed.
    let lease = Duration::from_millis(100);
    let ttl = Duration::from_millis(5);
    let past = || std::thread::sleep(4 * ttl);

    let cache = Cache::builder(url)
        .prefix(random_prefix())
        .lease(lease)
        .build()
        .unwrap();
    runtime.block_on(async {
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(120)).await;
            Ok::<_, std::io::Error>(1)
        };
        let quick = || async { Ok::<_, std::io::Error>(1) };
        cache.remember("slow", slow).await.unwrap();
        cache
            .remember("stale", quick)
            .ttl(ttl)
            .stale_for("1h")
            .await
            .unwrap();
        past();
        // Beside the caller, who does not wait; and one whose caller goes away.
        let stale = cache.remember("stale", slow).ttl(ttl).stale_for("1h");
        assert_eq!(stale.await.unwrap(), 1);
        let gone = cache.remember("gone", slow).into_future();
        let _ = tokio::time::timeout(Duration::from_millis(1), gone).await;
    });
    drop(cache);
    // The tasks end with their loads, whoever has gone meanwhile.
    eventually("the loads have ended", || {
        runtime.block_on(tokio::task::yield_now());
        runtime.metrics().num_alive_tasks() == 0
    });
    eventually("their sockets are closed", || held() == before);

    let cache = blocking::Cache::builder(url)
        .prefix(random_prefix())
        .lease(lease)
        .build()
        .unwrap();
    let slow = || {
        std::thread::sleep(Duration::from_millis(120));
        Ok::<_, std::io::Error>(1)
    };
    let quick = || Ok::<_, std::io::Error>(1);
    cache.remember("slow", slow).run().unwrap();
    eventually("its lease is renewed", || has_thread("nearcache-lease"));
    let first = cache.remember("stale", quick).ttl(ttl).stale_for("1h");
    first.run().unwrap();
    past();
    let (go_on, told) = std::sync::mpsc::channel();
    let held = move || told.recv().map(|()| 2);
    let stale = cache.remember("stale", held).ttl(ttl).stale_for("1h");
    assert_eq!(stale.run().unwrap(), 1);
    eventually("it is loaded beside the caller", || {
        has_thread("nearcache-load")
    });
    drop(cache);
    go_on.send(()).unwrap();
    eventually("the threads of the loads have ended", || {
        self::held() == before
    });
}

/// A sweep in the background ends with its cache, wherever it is.
/// The cache is closed in the middle of a step of a sweep, which needs another connection for the rest of it.
fn a_sweep_that_outlives_its_cache_leaves_nothing(redis: &Redis) {
    let proxy = Proxy::start(&redis.address());
    let prefix = random_prefix();
    let url = format!("{}?prefix={prefix}&breaker=off&timeout=20s", proxy.url());
    let cache = blocking::Cache::open(&url).unwrap();
    redis.inline(&format!("SET {prefix}:{{k}}#nearcache:lease 1"));
    proxy.set(Fault::Refuse);
    assert!(cache.clear().run().unwrap_err().is_deferred());
    let hold = proxy.hold(Frames::replies().of("SCAN"));
    proxy.heal();
    cache.ping().run().unwrap();
    hold.wait_until_held(1);
    let connections = proxy.connections();
    cache.close().run().unwrap();
    drop(hold);
    eventually("its thread has ended", || !has_thread("nearcache-outbo"));
    assert!(
        proxy.connections() > connections,
        "it connected once more: {:?}",
        proxy.commands()
    );
    eventually("its connections are closed", || proxy.live() == 0);
}

fn a_sweep_leaves_nothing(redis: &Redis, runtime: &Runtime, before: Held) {
    a_sweep_that_outlives_its_cache_leaves_nothing(redis);
    // Many keys, so that it is still going on.
    redis.inline("DEBUG POPULATE 300000");
    let proxy = Proxy::start(&redis.address());
    let url = format!(
        "{}?prefix={}&breaker=off&timeout=20s",
        proxy.url(),
        random_prefix()
    );
    for closed in [true, false] {
        let cache = Cache::open(&url).unwrap();
        runtime.block_on(async {
            proxy.set(Fault::Refuse);
            assert!(cache.clear().await.unwrap_err().is_deferred());
            proxy.heal();
            cache.ping().await.unwrap();
            assert_eq!(cache.stats().sweeps_waiting, 1);
            if closed {
                cache.close().await.unwrap();
            }
        });
        let kept = closed.then_some(cache);
        eventually("its task has ended", || {
            runtime.block_on(tokio::task::yield_now());
            runtime.metrics().num_alive_tasks() == 0
        });
        eventually("its connection is closed", || proxy.live() == 0);
        drop(kept);

        let cache = blocking::Cache::open(&url).unwrap();
        proxy.set(Fault::Refuse);
        assert!(cache.clear().run().unwrap_err().is_deferred());
        proxy.heal();
        cache.ping().run().unwrap();
        assert_eq!(cache.stats().sweeps_waiting, 1);
        eventually("its thread has begun", || has_thread("nearcache-outbo"));
        if closed {
            cache.close().run().unwrap();
        }
        let kept = closed.then_some(cache);
        eventually("its thread has ended", || !has_thread("nearcache-outbo"));
        eventually("its connections are closed", || proxy.live() == 0);
        drop(kept);
    }
    drop(proxy);
    redis.inline("FLUSHALL");
    eventually("nothing is left", || held() == before);
}

fn has_thread(name: &str) -> bool {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux's /proc");
    tasks.flatten().any(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    })
}
