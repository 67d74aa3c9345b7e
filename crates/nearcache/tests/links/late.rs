//! Writes that were given up on, and are still under way when newer ones are made.

use std::time::Duration;

use nearcache::{Cache, ErrorKind};
use nearcache_testkit::{Frames, Proxy, Redis, eventually};

use crate::face::run;
use crate::faces;

/// How many connections of this name the server has.
fn connections(redis: &Redis, name: &str) -> usize {
    let list = redis.inline("CLIENT LIST");
    list.matches(&format!(" name={name} ")).count()
}

/// An `incr` is kept back on its way, the caller gives up, and writes again.
async fn a_late_write(redis: &Redis, proxy: &Proxy, user: &str) -> Vec<String> {
    let mut found = Vec::new();
    let url = proxy.url().replace("redis://", &format!("redis://{user}"));
    for face in faces(&format!("{url}?timeout=60s&breaker=off&client_name=late")) {
        call!(face.set("n", &1)).unwrap();
        let hold = proxy.hold(Frames::requests().of("INCRBY"));
        let short = face.within(Duration::from_millis(150));
        let error = call!(short.incr("n")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        hold.wait_until_held(1);
        call!(face.set("n", &10)).unwrap();
        hold.release();
        eventually("the old connection is gone", || {
            connections(redis, "late") == 1
        });
        found.push(redis.inline("GET n"));
        drop((face, short));
        eventually("the cache is gone", || connections(redis, "late") == 0);
    }
    found
}

#[test]
fn a_write_that_was_given_up_does_not_land_after_a_newer_one() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    run(async {
        assert_eq!(a_late_write(&redis, &proxy, "").await, ["10", "10"]);
    });
}

/// What is left where it is not permitted: the write lands late. The cache works all the same.
#[test]
fn a_user_who_may_not_close_connections_can_see_a_late_write() {
    let redis = Redis::start();
    redis.inline("ACL SETUSER app on >pass ~* +@all -client|kill");
    let proxy = Proxy::start(&redis.address());
    run(async {
        // What is held may also go with its connection, so it is tried more than once.
        let mut found = Vec::new();
        for _ in 0..5 {
            found.push(a_late_write(&redis, &proxy, "app:pass@").await);
            if found.last().is_some_and(|found| found == &["11", "11"]) {
                return;
            }
        }
        panic!("the write never landed late: {found:?}");
    });
}

/// A server that stands still for a while: one caller is impatient, the others get their replies.
#[test]
fn a_late_write_costs_the_other_callers_nothing() {
    let redis = Redis::start();
    run(async {
        let cache = Cache::connect(&format!("{}?timeout=60s&breaker=off", redis.url()))
            .await
            .unwrap();
        for round in 1..=5 {
            redis.freeze();
            let patient: Vec<_> = (0..8)
                .map(|_| {
                    let cache = cache.clone();
                    tokio::spawn(async move { cache.incr("n").await })
                })
                .collect();
            let short = cache.within(Duration::from_millis(150));
            let error = short.incr("n").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            let later = cache.clone();
            let later = tokio::spawn(async move { later.incr("n").await });
            redis.thaw();
            for call in patient {
                call.await.unwrap().unwrap();
            }
            later.await.unwrap().unwrap();
            assert_eq!(cache.counter("n").await.unwrap(), Some(10 * round));
        }
    });
}
