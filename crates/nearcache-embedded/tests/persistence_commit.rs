//! When a command under `appendfsync always` is acknowledged: its change is on the disk, and those who come together
//! share a sync.

mod persist;

#[cfg(feature = "aio")]
use std::sync::Arc;
#[cfg(feature = "aio")]
use std::sync::atomic::{AtomicU64, Ordering};

use nearcache_embedded::Fsync;
use persist::{Folder, contents, run};
#[cfg(feature = "aio")]
use redis::Value;
#[test]
fn threads_that_commit_at_once_share_syncs_and_lose_nothing() {
    let folder = Folder::new();
    let store = folder.try_open(Fsync::Always).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let mut connection = store.connect();
            scope.spawn(move || {
                for n in 0..50 {
                    run(&mut connection, &format!("SET {thread}:{n} 1"));
                    run(&mut connection, "INCR all");
                }
            });
        }
    });
    // As a kill would leave it: nothing is flushed or closed.
    let copy = folder.copy();
    let copied = contents(&mut copy.open().connect());
    assert_eq!(copied.len(), 401);
    assert_eq!(copied, contents(&mut store.connect()));
}

#[cfg(feature = "aio")]
#[tokio::test]
async fn futures_wait_for_the_disk_without_a_thread() {
    let folder = Folder::new();
    let store = folder.try_open(Fsync::Always).unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let tasks = (0..100).map(|task| {
        let (mut connection, done) = (store.connect(), done.clone());
        tokio::spawn(async move {
            let set = redis::cmd("SET").arg(task).arg(1).to_owned();
            let () = set.query_async(&mut connection).await.unwrap();
            let (n,): (i64,) = redis::pipe()
                .atomic()
                .incr("all", 1)
                .query_async(&mut connection)
                .await
                .unwrap();
            assert!(n > 0);
            done.fetch_add(1, Ordering::Relaxed);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 100);
    assert_eq!(contents(&mut folder.copy().open().connect()).len(), 101);
}

#[cfg(feature = "aio")]
#[test]
fn a_future_is_not_ready_before_the_disk_is() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    let folder = Folder::new();
    let store = folder.try_open(Fsync::Always).unwrap();
    let connection = store.connect();
    let set = redis::cmd("SET").arg("a").arg(1).to_owned();
    let get = redis::cmd("GET").arg("a").to_owned();
    let mut setting = pin!(connection.call_async(&set));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(setting.as_mut().poll(&mut cx).is_pending());
    // Others see the change at once, and need not wait.
    let mut getting = pin!(connection.call_async(&get));
    assert!(getting.as_mut().poll(&mut cx).is_ready());
    nearcache_testkit::eventually("it is on the disk", || {
        setting.as_mut().poll(&mut cx).is_ready()
    });
    assert_eq!(contents(&mut folder.copy().open().connect()).len(), 1);
}

#[cfg(feature = "aio")]
#[tokio::test]
async fn a_pipeline_waits_for_the_disk_once() {
    let folder = Folder::new();
    let store = folder.try_open(Fsync::Always).unwrap();
    let connection = store.connect();
    let commands: Vec<_> = (0..100)
        .map(|n| redis::cmd("SET").arg(n).arg(n).to_owned())
        .collect();
    let replies = connection.pipeline(&commands);
    assert_eq!(replies, vec![Value::Okay; 100]);
    let count = [redis::cmd("DBSIZE"), redis::cmd("INCR").arg("n").to_owned()];
    let replies = connection.pipeline_async(&count).await;
    assert_eq!(replies, [Value::Int(100), Value::Int(1)]);
    assert_eq!(contents(&mut folder.copy().open().connect()).len(), 101);
}

#[cfg(feature = "serve")]
#[test]
fn clients_of_the_port_are_acknowledged_when_the_disk_has_it() {
    use nearcache_embedded::Server;
    use redis::Commands;
    use tokio::runtime::Builder;

    for mut runtime in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let folder = Folder::new();
        let store = folder.try_open(Fsync::Always).unwrap();
        let runtime = runtime.enable_all().build().unwrap();
        let server = Server::builder(&store).bind("127.0.0.1:0").start();
        let server = runtime.block_on(server).unwrap();
        let (handle, address) = (server.handle(), server.local_addr().unwrap());
        let serving = std::thread::spawn(move || runtime.block_on(server.serve()));
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let mut connection = client.get_connection().unwrap();
                scope.spawn(move || {
                    for n in 0..25 {
                        let () = connection.set(format!("{thread}:{n}"), 1).unwrap();
                    }
                });
            }
        });
        // As a kill would leave it.
        assert_eq!(contents(&mut folder.copy().open().connect()).len(), 200);
        handle.shutdown();
        serving.join().unwrap();
    }
}
