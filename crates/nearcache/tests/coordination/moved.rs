//! What time does, on the clock of an embedded store.

use std::time::Duration;

use nearcache::embedded::{Clock, Store};
use nearcache::{Cache, blocking};

use crate::face::{Face, run};

/// What is asked of a guard of either face.
type Asked<T> = Box<dyn Fn() -> T>;

const MINUTE: Duration = Duration::from_secs(60);

fn faces() -> Vec<(Face, Clock)> {
    let make = |blocks: bool| {
        let clock = Clock::manual();
        let store = Store::builder().clock(clock.clone()).build();
        let face = match blocks {
            true => {
                let cache = blocking::Cache::builder("memory://").store(&store).build();
                Face::Blocking(cache.unwrap())
            }
            false => Face::Async(Cache::builder("memory://").store(&store).build().unwrap()),
        };
        (face, clock)
    };
    vec![make(false), make(true)]
}

#[test]
fn a_lock_ends_with_its_ttl_and_before_it_in_the_holders_eyes() {
    run(async {
        for (face, clock) in faces() {
            let (is_held, remaining): (Asked<bool>, Asked<Duration>) = match &face {
                Face::Async(cache) => {
                    let lock = cache.lock("job").ttl(MINUTE).without_renewal();
                    let guard = std::rc::Rc::new(lock.acquire().await.unwrap());
                    let other = guard.clone();
                    (
                        Box::new(move || guard.is_held()),
                        Box::new(move || other.remaining()),
                    )
                }
                Face::Blocking(cache) => {
                    let lock = cache.lock("job").ttl(MINUTE).without_renewal();
                    let guard = std::rc::Rc::new(lock.acquire().run().unwrap());
                    let other = guard.clone();
                    (
                        Box::new(move || guard.is_held()),
                        Box::new(move || other.remaining()),
                    )
                }
            };
            let taken = async || {
                call_as!(|guard| guard.map(std::mem::forget).is_some(); face.lock("job").ttl(MINUTE).try_acquire())
                    .unwrap()
            };
            // The margin: 1 % of the TTL, and 2 ms.
            let sure = MINUTE - MINUTE / 100 - Duration::from_millis(2);
            assert!(remaining() <= sure && remaining() > sure - Duration::from_secs(5));
            clock.advance(sure - Duration::from_millis(1));
            assert!(is_held() && !taken().await);
            clock.advance(Duration::from_millis(1));
            assert!(
                !is_held() && !taken().await,
                "it gives up before others may"
            );
            clock.advance(MINUTE - sure);
            assert!(taken().await);
            assert!(!is_held());
        }
    });
}

#[test]
fn the_last_token_outlives_the_lock() {
    run(async {
        for (face, clock) in faces() {
            let take = async || {
                call_as!(
                    |guard| {
                        let guard = guard.expect("it is free");
                        let token = guard.token();
                        std::mem::forget(guard);
                        token
                    };
                    face.lock("job").ttl(MINUTE).without_renewal().try_acquire()
                )
            };
            let first = take().await.unwrap();
            clock.advance(MINUTE);
            let second = take().await.unwrap();
            assert!(second > first);
            // As if the clock had been ahead when the last token was made.
            let ahead = second + 1_000_000_000;
            let mut store = match &face {
                Face::Async(cache) => cache.blocking().unwrap().shared_connection(),
                Face::Blocking(cache) => cache.shared_connection(),
            };
            let last = "#nearcache:lock:{job}:token";
            redis::cmd("SET")
                .arg(last)
                .arg(ahead)
                .exec(&mut store)
                .unwrap();
            clock.advance(MINUTE);
            assert_eq!(take().await.unwrap(), ahead + 1);
        }
    });
}

#[test]
fn a_job_is_due_when_its_time_has_come() {
    run(async {
        for (face, clock) in faces() {
            let next = async || {
                let of = |job: nearcache::patterns::Job<u8>| (job.value, job.attempt());
                call_as!(|taken| taken.map(|job| of((*job).clone())); face.queue::<u8>("n").worker().try_next())
                    .unwrap()
            };
            call!(face.queue::<u8>("n").push(&1).delay("5m")).unwrap();
            call!(face.queue::<u8>("n").push(&2).delay("1m")).unwrap();
            assert_eq!(next().await, None);
            clock.advance(MINUTE);
            assert_eq!(next().await, Some((2, 1)));
            clock.advance(3 * MINUTE + Duration::from_millis(59_999));
            // The one that nobody acknowledged comes again before.
            assert_eq!(next().await, Some((2, 2)));
            assert_eq!(next().await, None);
            clock.advance(Duration::from_millis(1));
            assert_eq!(next().await, Some((1, 1)));
            assert_eq!(next().await, None);
        }
    });
}

#[test]
fn a_job_that_failed_waits_for_longer_each_time() {
    run(async {
        for (face, clock) in faces() {
            call!(face.queue::<u8>("n").push(&1)).unwrap();
            // 1 s, 2 s, 4 s, and then 5 s: less up to a quarter.
            for (attempt, pause) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 5_000), (5, 5_000)] {
                match &face {
                    Face::Async(cache) => {
                        let worker = cache.queue::<u8>("n").worker().backoff("1s".."5s");
                        let job = worker.try_next().await.unwrap().unwrap();
                        assert_eq!(job.attempt(), attempt);
                        assert!(job.retry("not yet").await.unwrap());
                        clock.advance(Duration::from_millis(pause * 3 / 4 - 1));
                        assert!(worker.try_next().await.unwrap().is_none());
                    }
                    Face::Blocking(cache) => {
                        let worker = cache.queue::<u8>("n").worker().backoff("1s".."5s");
                        let job = worker.try_next().run().unwrap().unwrap();
                        assert_eq!(job.attempt(), attempt);
                        assert!(job.retry("not yet").run().unwrap());
                        clock.advance(Duration::from_millis(pause * 3 / 4 - 1));
                        assert!(worker.try_next().run().unwrap().is_none());
                    }
                }
                clock.advance(Duration::from_millis(pause / 4 + 1));
            }
        }
    });
}
