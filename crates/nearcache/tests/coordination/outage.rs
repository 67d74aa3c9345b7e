//! Redis goes away and comes back: a push says so in time, a worker goes on, a holder knows that it lost its lock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nearcache::{Cache, ErrorKind, blocking};
use nearcache_testkit::{Redis, eventually};

use crate::face::{Face, run};

/// Keeps what it was told, as far as that is needed here.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn faces(redis: &Redis) -> [Face; 2] {
    let url = format!("{}?timeout=300ms&prefix=app", redis.url());
    [
        Face::Async(Cache::open(&url).unwrap()),
        Face::Blocking(blocking::Cache::open(&url).unwrap()),
    ]
}

#[test]
fn a_worker_goes_on_when_redis_is_back() {
    for number in 0..2 {
        let mut redis = Redis::start_with(&DURABLE);
        let face = faces(&redis)[number].clone();
        let seen = Arc::<Mutex<Vec<u32>>>::default();
        let failures = Arc::<AtomicU32>::default();
        let (noted, of_handler) = (seen.clone(), failures.clone());
        let (tell, told) = std::sync::mpsc::channel();
        let worker = std::thread::spawn({
            let face = face.clone();
            move || {
                run(async move {
                    match &face {
                        Face::Async(cache) => {
                            let worker = cache.queue::<u32>("n").worker().claim_after("1s");
                            tell.send(worker.stop_handle()).unwrap();
                            let ended = worker.run(move |job| {
                                noted.lock().unwrap().push(*job);
                                std::future::ready(Ok::<_, String>(()))
                            });
                            ended.await.unwrap();
                        }
                        Face::Blocking(cache) => {
                            let worker = cache.queue::<u32>("n").worker().claim_after("1s");
                            tell.send(worker.stop_handle()).unwrap();
                            let ended = worker.run(|job| {
                                noted.lock().unwrap().push(*job);
                                Ok::<_, String>(())
                            });
                            ended.unwrap();
                        }
                    }
                    of_handler.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        let stop = told.recv().unwrap();
        let has_seen = |job| {
            let what = format!("job {job} is done");
            eventually(&what, || seen.lock().unwrap().contains(&job));
        };
        run(async {
            call!(face.queue::<u32>("n").push(&1)).unwrap();
            has_seen(1);
            redis.kill();
            let begun = Instant::now();
            let error = call!(face.queue::<u32>("n").push(&2)).unwrap_err();
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable
                ),
                "{error}"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}",
                begun.elapsed()
            );
            redis.restart();
            eventually("a push succeeds", || {
                match &face {
                    Face::Async(cache) => {
                        let push = cache.queue::<u32>("n").push(&3);
                        tokio::task::block_in_place(|| {
                            tokio::runtime::Handle::current().block_on(push.into_future())
                        })
                    }
                    Face::Blocking(cache) => cache.queue::<u32>("n").push(&3).run(),
                }
                .is_ok()
            });
            has_seen(3);
            // One that loses its data altogether: the group is made anew.
            match &face {
                Face::Async(_) => redis.inline("FLUSHALL"),
                Face::Blocking(_) => redis.inline("UNLINK app:#nearcache:queue:{n}"),
            };
            call!(face.queue::<u32>("n").push(&4)).unwrap();
            has_seen(4);
        });
        stop.stop();
        worker.join().unwrap();
        assert_eq!(failures.load(Ordering::SeqCst), 1);
        run(async { assert!(call!(face.queue::<u32>("n").is_empty()).unwrap()) });
    }
}

#[test]
fn a_holder_knows_that_its_lock_is_lost_while_redis_is_away() {
    let redis = Redis::start();
    let [asynchronous, waits] = faces(&redis);
    let (Face::Async(cache), Face::Blocking(waits)) = (asynchronous, waits) else {
        unreachable!("one of each")
    };
    run(async {
        let one = cache.lock("one").ttl("900ms").acquire().await.unwrap();
        let two = waits.lock("two").ttl("900ms").acquire().run().unwrap();
        assert!(one.is_held() && two.is_held());
        redis.freeze();
        eventually("both are lost", || !one.is_held() && !two.is_held());
        redis.thaw();
        // It may answer now what it was asked before: once lost is lost for good.
        eventually("it is back", || waits.ping().run().is_ok());
        assert!(!one.is_held() && !two.is_held());
        drop((one, two));
        // Whoever waits gets them.
        cache
            .lock("one")
            .acquire()
            .wait("10s")
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
        waits
            .lock("two")
            .acquire()
            .wait("10s")
            .run()
            .unwrap()
            .release()
            .run()
            .unwrap();
    });
}

#[test]
fn a_wait_for_a_lock_goes_on_through_an_outage() {
    let mut redis = Redis::start();
    let [face, other] = faces(&redis);
    let Face::Blocking(other) = other else {
        unreachable!("one of each")
    };
    redis.kill();
    let waiting = std::thread::spawn(move || {
        run(async {
            call_as!(drop; face.lock("job").acquire().wait("30s")).unwrap();
        });
    });
    let error = other
        .lock("job")
        .acquire()
        .wait("100ms")
        .run()
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable
        ),
        "{error}"
    );
    redis.restart();
    waiting.join().unwrap();
}
