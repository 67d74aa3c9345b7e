//! A read and a change by another process meet: the reply or the news are kept back on the way. The read may return what
//! it has read; but that does not stay.

use nearcache_testkit::{Frames, Proxy, Redis, random_prefix};

use crate::face::{Face, run};
use crate::places::{Place, get, near_hits, until, warm};

struct Site {
    proxy: Proxy,
    near: Face,
    other: Face,
    key: String,
}

fn site(redis: &Redis, place: Place) -> Site {
    let prefix = random_prefix();
    let proxy = Proxy::start(&redis.address());
    let near = place.open(
        &format!("{}?near=100&near_heartbeat=30s", proxy.url()),
        &prefix,
    );
    Site {
        near,
        other: place.open(&redis.url(), &prefix),
        key: format!("{prefix}:k"),
        proxy,
    }
}

/// The near tier answers, and `k` is not near.
async fn ready(site: &Site) {
    let Site { near, other, .. } = site;
    call!(other.set("warm", &1)).unwrap();
    call!(other.set("k", &7)).unwrap();
    call!(other.set("tagged", &7).tags(["t"])).unwrap();
    warm(near, "warm", 1).await;
}

async fn reads(near: &Face, key: &'static str) -> tokio::task::JoinHandle<Option<u64>> {
    let near = near.clone();
    tokio::spawn(async move {
        match near {
            Face::Async(cache) => cache.get::<u64>(key).await.unwrap(),
            Face::Blocking(cache) => {
                crate::scene::elsewhere(move || cache.get::<u64>(key).run().unwrap()).await
            }
        }
    })
}

/// On two connections the news may come before the reply, and after it. On one they come in the order in which they were sent.
/// Does something, and waits for the news of it: over a connection of their own they come when they come.
async fn told(place: Place, near: &Face, does: impl Future<Output = ()>) {
    let before = ask!(near.stats()).near_invalidations;
    does.await;
    if place == Place::RedisBlocking {
        until("the news", async || {
            ask!(near.stats()).near_invalidations > before
        })
        .await;
    }
}

#[test]
fn a_reply_that_comes_after_the_news_does_not_stay() {
    run(async {
        let redis = Redis::start();
        for place in [Place::Redis, Place::RedisBlocking] {
            let site = site(&redis, place);
            ready(&site).await;
            let Site { near, other, .. } = &site;
            let hold = site
                .proxy
                .hold(Frames::replies().of("GET").about(&site.key));
            let reading = reads(near, "k").await;
            hold.until_held(1).await;
            told(place, near, async {
                call!(other.set("k", &8)).unwrap();
            })
            .await;
            drop(hold);
            assert_eq!(reading.await.unwrap(), Some(7), "{place:?}");
            if place == Place::Redis {
                call!(near.ping()).unwrap();
            }
            assert_eq!(get(near, "k").await, Some(8), "{place:?}");
            warm(near, "k", 8).await;
        }
    });
}

#[test]
fn a_version_that_comes_after_the_news_of_its_tag_does_not_stay() {
    run(async {
        let redis = Redis::start();
        for place in [Place::Redis, Place::RedisBlocking] {
            let site = site(&redis, place);
            ready(&site).await;
            let Site { near, other, .. } = &site;
            let hold = site.proxy.hold(Frames::replies().of("MGET"));
            let reading = reads(near, "tagged").await;
            hold.until_held(1).await;
            told(place, near, async {
                call!(other.invalidate_tag("t")).unwrap();
            })
            .await;
            drop(hold);
            assert_eq!(reading.await.unwrap(), Some(7), "{place:?}");
            if place == Place::Redis {
                call!(near.ping()).unwrap();
            }
            assert_eq!(get(near, "tagged").await, None, "{place:?}");
        }
    });
}

#[test]
fn news_that_come_late_end_what_was_kept() {
    run(async {
        let redis = Redis::start();
        for place in [Place::Redis, Place::RedisBlocking] {
            let site = site(&redis, place);
            ready(&site).await;
            let Site { near, other, .. } = &site;
            warm(near, "k", 7).await;
            let hold = site.proxy.hold(Frames::pushes());
            call!(other.set("k", &8)).unwrap();
            hold.until_held(1).await;
            // It is not known here yet.
            let before = near_hits(near);
            assert_eq!(get(near, "k").await, Some(7));
            assert_eq!(near_hits(near), before + 1);
            drop(hold);
            until("the news", async || get(near, "k").await == Some(8)).await;
        }
    });
}

/// The write of a caller who has given up is carried out later. (On one connection, it is told by itself to nobody.)
#[test]
fn a_write_that_was_given_up_does_not_leave_what_it_has_changed() {
    run(async {
        let redis = Redis::start();
        let site = site(&redis, Place::Redis);
        ready(&site).await;
        let Face::Async(near) = &site.near else {
            unreachable!("an async place")
        };
        for round in 0..20_u64 {
            let value = 100 + round;
            warm(&site.near, "k", if round == 0 { 7 } else { value - 1 }).await;
            let hold = site.proxy.hold(Frames::replies().of("EXEC"));
            let write = {
                let near = near.clone();
                tokio::spawn(async move { near.set("k", &value).await })
            };
            hold.until_held(1).await;
            write.abort();
            let _ = write.await;
            // The invalidation goes to the outbox, and deletes what was set. So set it again, by another process.
            drop(hold);
            until("the deletion", async || {
                get(&site.near, "k").await.is_none()
            })
            .await;
            let other = &site.other;
            call!(other.set("k", &value)).unwrap();
        }
    });
}
