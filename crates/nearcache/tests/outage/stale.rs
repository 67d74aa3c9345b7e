//! `Fallback::Stale`: while Redis is away reads are answered with what was seen last, and never with what
//! this process has invalidated.

use nearcache::{Fallback, Lookup};
use nearcache_testkit::{Fault, Frames};

use crate::face::Face;
use crate::scene::Source;
use crate::site::{Site, both};

fn stale(site: &Site) -> Face {
    site.cache_with(&configured!(.on_unavailable(Fallback::Stale)))
}

#[test]
fn what_was_seen_last_is_the_answer_while_redis_is_away() {
    both(&[], async |mut site| {
        let (cache, other, source) = (stale(&site), site.other(), Source::new());
        call!(other.set("get", &1)).unwrap();
        call!(other.set("get_many", &2)).unwrap();
        call!(other.set("unseen", &3)).unwrap();
        call!(other.set("remembered", &5)).unwrap();
        assert_eq!(call!(cache.get::<u8>("get")).unwrap(), Some(1));
        assert_eq!(
            call!(cache.get_many::<u8>(["get_many"])).unwrap(),
            [Some(2)]
        );
        remember!(cache, "loaded", source.gives(4)).await.unwrap();
        remember!(cache, "remembered", source.gives(0))
            .await
            .unwrap();
        site.redis.kill();
        for (key, value) in [
            ("get", Some(1)),
            ("get_many", Some(2)),
            ("unseen", None),
            ("loaded", Some(4)),
            ("remembered", Some(5)),
        ] {
            assert_eq!(call!(cache.get::<u8>(key)).unwrap(), value, "{key}");
            assert_eq!(
                call!(cache.get_many::<u8>([key])).unwrap(),
                [value],
                "{key}"
            );
        }
        assert_eq!(call!(cache.lookup::<u8>("get")).unwrap(), Lookup::Hit(1));
        // A loader is asked before what is old.
        assert_eq!(remember!(cache, "get", source.gives(6)).await.unwrap(), 6);
        site.redis.restart();
        // After so many failures, connecting is tried once in a while only.
        let since = std::time::Instant::now();
        while call!(cache.get::<u8>("get")).unwrap().is_some() {
            assert!(since.elapsed().as_secs() < 60, "still the stale value");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
}

/// What this process invalidates, before the outage or in it.
#[test]
fn what_this_process_has_invalidated_is_never_the_answer() {
    for during in [false, true] {
        both(&[], async |mut site| {
            for how in [
                "delete",
                "delete_many",
                "set",
                "set_many",
                "take",
                "tag",
                "clear",
                "pattern",
                "flush",
                "incr",
                "mark",
                "mark tag",
            ] {
                let (cache, other) = (stale(&site), site.other());
                call!(other.set("k", &1).tags(["t"])).unwrap();
                if how == "incr" {
                    call!(other.set("k", &1)).unwrap();
                }
                assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
                if during {
                    site.redis.kill();
                    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
                }
                let outcome = match how {
                    "delete" => call!(cache.delete("k")).map(drop),
                    "delete_many" => call!(cache.delete_many(["k"])).map(drop),
                    "set" => call!(cache.set("k", &2)),
                    "set_many" => call!(cache.set_many([("k", 2)])),
                    "take" => call!(cache.take::<u8>("k")).map(drop),
                    "tag" => call!(cache.invalidate_tag("t")),
                    "mark" => call!(cache.mark_stale("k")),
                    "mark tag" => call!(cache.mark_tag_stale("t")),
                    "clear" => call!(cache.clear()).map(drop),
                    "pattern" => call!(cache.delete_pattern("?")).map(drop),
                    "flush" => call!(cache.clear().whole_database()).map(drop),
                    _ => call!(cache.incr("k")).map(drop),
                };
                assert_eq!(outcome.is_err(), during, "{how}");
                if !during {
                    site.redis.kill();
                }
                assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{how}");
                assert_eq!(call!(cache.get_many::<u8>(["k"])).unwrap(), [None], "{how}");
                site.redis.restart();
            }
        });
    }
}

#[test]
fn a_dead_entry_that_was_seen_is_not_a_stale_one() {
    both(&[], async |mut site| {
        let (cache, other, source) = (stale(&site), site.other(), Source::new());
        for key in ["get", "get_many", "remember"] {
            call!(other.set(key, &1).tags(["t"])).unwrap();
        }
        // It lies in Redis still, and is read there.
        call!(cache.invalidate_tag("t")).unwrap();
        assert_eq!(call!(cache.get::<u8>("get")).unwrap(), None);
        assert_eq!(call!(cache.get_many::<u8>(["get_many"])).unwrap(), [None]);
        remember!(cache, "remember", source.fails::<u8>())
            .await
            .unwrap_err();
        site.redis.kill();
        for key in ["get", "get_many", "remember"] {
            assert_eq!(call!(cache.get::<u8>(key)).unwrap(), None, "{key}");
        }
    });
}

#[test]
fn what_was_seen_to_be_gone_is_not_the_answer() {
    both(&[], async |mut site| {
        let (cache, other) = (stale(&site), site.other());
        for key in ["get", "get_many", "tagged"] {
            call!(other.set(key, &1).tags(["t"])).unwrap();
            assert_eq!(call!(cache.get::<u8>(key)).unwrap(), Some(1));
        }
        // Another process's doing, which this one has seen.
        call!(other.delete_many(["get", "get_many"])).unwrap();
        call!(other.invalidate_tag("t")).unwrap();
        assert_eq!(call!(cache.get::<u8>("get")).unwrap(), None);
        assert_eq!(call!(cache.get_many::<u8>(["get_many"])).unwrap(), [None]);
        assert_eq!(call!(cache.get::<u8>("tagged")).unwrap(), None);
        site.redis.kill();
        for key in ["get", "get_many", "tagged"] {
            assert_eq!(call!(cache.get::<u8>(key)).unwrap(), None, "{key}");
        }
    });
}

/// A read that was answered before the invalidation, and hears of it after.
#[test]
fn a_read_that_was_under_way_does_not_bring_back_what_was_invalidated() {
    both(&[], async |mut site| {
        for how in ["delete", "set", "tag", "clear", "flush"] {
            let (cache, other) = (stale(&site), site.other());
            call!(other.set("k", &1).tags(["t"])).unwrap();
            call!(cache.ping()).unwrap();
            // The read begins while the invalidation is on its way.
            let requests = Frames::requests();
            let way = match how {
                "delete" | "tag" => requests.of("UNLINK"),
                "clear" => requests.of("SCAN"),
                "flush" => requests.of("DBSIZE"),
                _ => requests.of("SET"),
            };
            let hold = site.proxy.hold(way);
            let replies = site.proxy.hold(Frames::replies().of("GET"));
            let invalidation = spawn(&cache, move |cache| match cache {
                Face::Async(_) => unreachable!("see below"),
                Face::Blocking(cache) => match how {
                    "delete" => cache.delete("k").run().map(drop),
                    "set" => cache.set("k", &2).run(),
                    "tag" => cache.invalidate_tag("t").run(),
                    "clear" => cache.clear().run().map(drop),
                    _ => cache.clear().whole_database().run().map(drop),
                },
            });
            // One connection keeps the order of what an async process sends.
            let Some(invalidation) = invalidation else {
                return;
            };
            hold.until_held(1).await;
            let read = spawn(&cache, |cache| match cache {
                Face::Async(_) => unreachable!("see above"),
                Face::Blocking(cache) => cache.get::<u8>("k").run().map(drop),
            });
            replies.until_held(1).await;
            drop(replies);
            read.expect("a blocking one").await.unwrap().unwrap();
            drop(hold);
            invalidation.await.unwrap().unwrap();
            site.redis.kill();
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{how}");
            site.proxy.set(Fault::Refuse);
            site.redis.restart();
            site.proxy.heal();
        }
    });
}

#[test]
fn a_server_that_dies_between_a_value_and_its_tags_is_away() {
    both(&[], async |site| {
        let (cache, other) = (stale(&site), site.other());
        call!(other.set("k", &1).tags(["t"])).unwrap();
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        // Twice, because reads are sent again.
        for _ in 0..2 {
            site.proxy
                .set(Fault::truncate(Frames::replies().of("MGET"), 1));
        }
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        assert_eq!(ask!(cache.stats()).fallbacks, 1);
    });
}

/// What a blocking caller does beside the test.
fn spawn<T: Send + 'static>(
    cache: &Face,
    work: impl FnOnce(Face) -> T + Send + 'static,
) -> Option<tokio::task::JoinHandle<T>> {
    let cache = cache.clone();
    matches!(cache, Face::Blocking(_)).then(|| tokio::task::spawn_blocking(move || work(cache)))
}
