//! While the news may be missed, nothing is answered from here; and afterwards nothing that is older than what is there.

use std::time::Duration;

use nearcache::{Cache, Fallback, NearTracking};
use nearcache_testkit::{Close, Fault, Frames, Proxy, Redis, random_prefix};

use crate::face::{Face, run};
use crate::places::{Place, get, near_hits, tracking, until, warm};

/// A cache whose way to the server can be broken, and one that has its own.
fn site(redis: &Redis, place: Place, options: &str) -> (Proxy, Face, Face) {
    let prefix = random_prefix();
    let proxy = Proxy::start(&redis.address());
    let url = format!("{}?near=100&near_heartbeat=100ms{options}", proxy.url());
    let near = place.open(&url, &prefix);
    let other = place.open(&redis.url(), &prefix);
    (proxy, near, other)
}

const PLACES: [Place; 2] = [Place::Redis, Place::RedisBlocking];

#[test]
fn a_lost_connection_ends_what_it_carried() {
    run(async {
        let redis = Redis::start();
        for place in PLACES {
            let (proxy, near, other) = site(&redis, place, "");
            call!(other.set("k", &0)).unwrap();
            for round in 1..=20 {
                warm(&near, "k", round - 1).await;
                proxy.set(Fault::Refuse);
                proxy.cut(if round % 2 == 0 {
                    Close::Reset
                } else {
                    Close::Finish
                });
                call!(other.set("k", &round)).unwrap();
                until("the loss is noticed", async || {
                    tracking(&near) != NearTracking::On
                })
                .await;
                let before = near_hits(&near);
                assert!(!matches!(call!(near.get::<u64>("k")), Ok(Some(old)) if old < round));
                assert_eq!(near_hits(&near), before);
                proxy.heal();
                until("a connection", async || call!(near.get::<u64>("k")).is_ok()).await;
                assert_eq!(get(&near, "k").await, Some(round), "{place:?}");
            }
        }
    });
}

#[test]
fn a_silent_connection_carries_nothing_after_two_heartbeats_and_goes_on_when_it_is_heard() {
    run(async {
        let redis = Redis::start();
        for place in PLACES {
            let (proxy, near, other) = site(&redis, place, "&breaker=off");
            call!(other.set("k", &7)).unwrap();
            warm(&near, "k", 7).await;
            let hold = proxy.hold(Frames::from_server());
            call!(other.set("k", &8)).unwrap();
            until("the silence is noticed", async || {
                tracking(&near) == NearTracking::Waiting
            })
            .await;
            let before = near_hits(&near);
            let short = near.within(Duration::from_millis(20));
            let found = call!(short.get::<u64>("k"));
            assert!(!matches!(found, Ok(Some(7))), "{place:?}: {found:?}");
            assert_eq!(near_hits(&near), before);
            drop(hold);
            until("it is heard", async || tracking(&near) == NearTracking::On).await;
            until("the news", async || {
                call!(near.get::<u64>("k")).ok() == Some(Some(8))
            })
            .await;
            warm(&near, "k", 8).await;
        }
    });
}

#[test]
fn a_server_that_was_restarted_is_asked_again() {
    run(async {
        let mut redis = Redis::start();
        for place in PLACES {
            let (_proxy, near, other) = site(&redis, place, "");
            for round in 1..=3 {
                call!(near.set("k", &round)).unwrap();
                warm(&near, "k", round).await;
                redis.restart();
                until("the loss is noticed", async || {
                    tracking(&near) != NearTracking::On
                })
                .await;
                until("the server is back", async || {
                    call!(other.set("k", &(round + 100))).is_ok()
                })
                .await;
                until("it is asked", async || call!(near.get::<u64>("k")).is_ok()).await;
                // (It sends its own last invalidations again, to a server that may have lost them.)
                let found = get(&near, "k").await;
                assert!(
                    [None, Some(round + 100)].contains(&found),
                    "{place:?}: {found:?}"
                );
                until("it tells again", async || {
                    tracking(&near) == NearTracking::On
                })
                .await;
                call!(other.set("k", &(round + 200))).unwrap();
                until("the news", async || {
                    get(&near, "k").await == Some(round + 200)
                })
                .await;
                warm(&near, "k", round + 200).await;
            }
        }
    });
}

/// There is one store of values in a process.
#[test]
fn what_is_no_hit_any_more_is_an_answer_while_redis_is_away() {
    run(async {
        let redis = Redis::start();
        let proxy = Proxy::start(&redis.address());
        let cache = Cache::builder(&format!("{}?near=100&timeout=20s", proxy.url()))
            .prefix(random_prefix())
            .on_unavailable(Fallback::Stale)
            .build()
            .unwrap();
        let face = Face::Async(cache.clone());
        for key in ["a", "b", "c"] {
            cache.set(key, &7).tags([key]).await.unwrap();
            warm(&face, key, 7).await;
        }
        proxy.set(Fault::Refuse);
        proxy.cut(Close::Reset);
        until("the loss", async || tracking(&face) != NearTracking::On).await;
        let before = cache.stats();
        assert_eq!(cache.get::<u64>("a").await.unwrap(), Some(7));
        let after = cache.stats();
        assert_eq!(after.near_hits, before.near_hits);
        assert_eq!(after.fallbacks, before.fallbacks + 1);
        // An invalidation of this process removes it, though Redis does not know of it yet.
        cache.delete("a").await.unwrap_err();
        assert_eq!(cache.get::<u64>("a").await.unwrap(), None);
        cache.invalidate_tag("b").await.unwrap_err();
        assert_eq!(cache.get::<u64>("b").await.unwrap(), None);
        assert_eq!(cache.get::<u64>("c").await.unwrap(), Some(7));
        proxy.heal();
        until("redis is back", async || cache.ping().await.is_ok()).await;
        assert_eq!(cache.get::<u64>("a").await.unwrap(), None);
        assert_eq!(cache.get::<u64>("b").await.unwrap(), None);
        assert_eq!(cache.get::<u64>("c").await.unwrap(), Some(7));
    });
}

/// Each runtime has a connection, which tells of what was read over it.
#[test]
fn what_another_runtime_has_read_ends_with_its_connection() {
    let url = format!("{}?near=100&timeout=20s", Redis::shared().url());
    let cache = Cache::builder(&url)
        .prefix(random_prefix())
        .build()
        .unwrap();
    let face = Face::Async(cache.clone());
    let first = tokio::runtime::Runtime::new().unwrap();
    first.block_on(async {
        cache.set("k", &7).await.unwrap();
        warm(&face, "k", 7).await;
    });
    let second = tokio::runtime::Runtime::new().unwrap();
    second.block_on(async {
        // The first runtime goes on: what it has read is a hit here, too.
        let before = near_hits(&face);
        assert_eq!(get(&face, "k").await, Some(7));
        assert_eq!(near_hits(&face), before + 1);
    });
    first.shutdown_background();
    second.block_on(async {
        until("its connection ends", async || {
            let before = near_hits(&face);
            assert_eq!(get(&face, "k").await, Some(7));
            near_hits(&face) == before
        })
        .await;
        warm(&face, "k", 7).await;
    });
}
