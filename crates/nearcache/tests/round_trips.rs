//! How often each verb waits for the server, counted on the way to a real one. The numbers are frozen here:
//! one more is a failure, and one less is to be written down.

#[macro_use]
#[path = "support/face.rs"]
mod face;
#[macro_use]
#[path = "support/scene.rs"]
mod scene;

use std::fmt::Write as _;
use std::io::Write as _;

use nearcache::patterns::Quota;
use nearcache::{Cache, Loaded, Remaining, blocking};
use nearcache_testkit::{Proxy, Redis, random_prefix};

use crate::face::{Face, run};
use crate::scene::Source;

/// What is counted, and how often it waits.
const FROZEN: [(&str, usize); 59] = [
    ("ping", 1),
    ("get, a hit", 1),
    ("get, a miss", 1),
    ("get, a hit with tags", 2),
    ("get, a dead entry", 3),
    ("get_many of 100", 1),
    ("get_many of 100 with tags", 2),
    ("contains", 1),
    ("set", 1),
    ("set with tags", 2),
    ("set_many of 100", 1),
    ("set_many of 100 with tags", 2),
    ("add", 1),
    ("replace", 1),
    ("incr, of what is there", 1),
    ("incr, of what is not", 1),
    ("incr, with a TTL", 1),
    ("incr, of a dead entry", 4),
    ("take", 1),
    ("add, of what is there", 1),
    ("add, of a dead entry", 4),
    ("replace, of an entry with tags", 3),
    ("set, and keep the TTL", 1),
    ("set, and keep the TTL of an entry with tags", 3),
    ("ttl", 1),
    ("ttl, of an entry with tags", 2),
    ("touch, expire or persist", 1),
    ("touch, expire or persist with tags", 3),
    ("touch of a dead entry", 2),
    ("get and extend", 1),
    ("get and extend with tags", 3),
    ("get_many of 100 and extend", 1),
    ("get_many of 100 with tags and extend", 3),
    ("keys of 100", 2),
    ("keys of 100 with tags", 4),
    ("mark_stale", 1),
    ("mark_tag_stale", 1),
    ("delete", 1),
    ("delete_many of 100", 1),
    ("invalidate_tag", 1),
    ("invalidate_tags of 100", 1),
    ("remember, a hit", 1),
    ("remember, a hit with tags", 2),
    ("remember, a miss", 3),
    ("remember, a miss with tags", 3),
    ("remember, a dead entry", 4),
    ("remember, a loader that brings tags", 4),
    ("remember, a loader that fails", 3),
    ("remember, not to be stored", 3),
    ("refresh", 2),
    ("remember_many of 100, all there", 1),
    ("remember_many of 100, none there", 3),
    ("remember_many of 100, with tags", 3),
    ("remember_many of 100, bringing tags", 4),
    ("rate_limiter.check, GCRA", 1),
    ("rate_limiter.check, a sliding window", 1),
    ("rate_limiter.check, a fixed window", 1),
    ("rate_limiter.peek", 1),
    ("rate_limiter.reset", 1),
];

#[test]
fn every_verb_waits_as_often_as_is_written_down() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let url = format!("{}?timeout=10s", proxy.url());
    let mut table = String::new();
    for blocking in [false, true] {
        run(async {
            let mut counted = Vec::new();
            // The first time the server learns the scripts.
            for _ in 0..2 {
                counted.clear();
                let url = format!("{url}&prefix={}", random_prefix());
                let cache = if blocking {
                    Face::Blocking(blocking::Cache::open(&url).unwrap())
                } else {
                    Face::Async(Cache::open(&url).unwrap())
                };
                call!(cache.ping()).unwrap();
                for (what, _) in FROZEN {
                    prepare(&cache, what).await;
                    proxy.reset_counts();
                    carry_out(&cache, what).await;
                    counted.push((what, proxy.round_trips()));
                }
            }
            let way = if blocking { "blocking" } else { "async" };
            for (what, times) in &counted {
                let _ = writeln!(table, "round trips: {way:<8} {what:<36} {times}");
            }
            assert_eq!(counted, FROZEN, "{way}");
        });
    }
    // Past the capture of the test harness.
    let _ = std::io::stdout().write_all(table.as_bytes());
}

/// A server that knows no script yet learns it from the batch that needs it.
#[test]
fn a_batch_teaches_a_fresh_server_its_scripts() {
    for blocking in [false, true] {
        let redis = Redis::start();
        let proxy = Proxy::start(&redis.address());
        run(async {
            let url = format!("{}?timeout=10s", proxy.url());
            let cache = if blocking {
                Face::Blocking(blocking::Cache::open(&url).unwrap())
            } else {
                Face::Async(Cache::open(&url).unwrap())
            };
            call!(cache.ping()).unwrap();
            proxy.reset_counts();
            assert_eq!(many(&cache, true).await, [Some(2); 100]);
            assert_eq!(proxy.round_trips(), 3);
            // MGET, and ACQUIRE and FILL for each.
            assert_eq!(proxy.requests(), 201);
        });
    }
}

fn hundred() -> Vec<String> {
    (0..100).map(|number| format!("many:{number}")).collect()
}

fn pairs() -> Vec<(String, u8)> {
    hundred().into_iter().map(|key| (key, 1)).collect()
}

/// What is there before.
async fn prepare(cache: &Face, what: &str) {
    call!(cache.clear()).unwrap();
    let tagged = what.contains("tags") || what.contains("dead") || what.contains("_tag");
    let there = [
        "ttl", "keep", "touch", "extend", "keys", "mark", "hit", "dead", "replace", "take",
        "delete", "refresh", "contains", "there",
    ];
    let is_there =
        there.iter().any(|word| what.contains(word)) || what.starts_with("get_many of 100");
    match (
        tagged,
        is_there || what.starts_with("invalidate") || what.starts_with("get_many"),
    ) {
        (true, true) => {
            call!(cache.set("k", &1).tags(["t"])).unwrap();
            call!(cache.set_many(pairs()).tags(["t"])).unwrap();
        }
        (false, true) => {
            call!(cache.set("k", &1)).unwrap();
            call!(cache.set_many(pairs())).unwrap();
        }
        (_, false) => {}
    }
    if what.contains("dead") {
        call!(cache.invalidate_tag("t")).unwrap();
    }
    if what.contains("none there") || what == "incr, of what is not" {
        call!(cache.clear()).unwrap();
    }
}

async fn carry_out(cache: &Face, what: &str) {
    let source = Source::new();
    match what {
        "ping" => call!(cache.ping()).unwrap(),
        "get, a miss" | "get, a dead entry" => {
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
        }
        "get, a hit" | "get, a hit with tags" => {
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        }
        "get_many of 100" | "get_many of 100 with tags" => {
            let found = call!(cache.get_many::<u8>(hundred())).unwrap();
            assert_eq!(found, [Some(1); 100]);
        }
        "contains" => assert!(call!(cache.contains("k")).unwrap()),
        "set" => call!(cache.set("k", &1)).unwrap(),
        "set with tags" => call!(cache.set("k", &1).tags(["t", "u"])).unwrap(),
        "set_many of 100" => call!(cache.set_many(pairs())).unwrap(),
        "set_many of 100 with tags" => call!(cache.set_many(pairs()).tags(["t"])).unwrap(),
        "incr, of a dead entry" => assert_eq!(call!(cache.incr("k")).unwrap(), 1),
        "add, of what is there" => assert!(!call!(cache.add("k", &1)).unwrap()),
        "add, of a dead entry" => assert!(call!(cache.add("k", &1)).unwrap()),
        "replace, of an entry with tags" => assert!(call!(cache.replace("k", &1)).unwrap()),
        "set, and keep the TTL" | "set, and keep the TTL of an entry with tags" => {
            call!(cache.set("k", &1).keep_ttl()).unwrap();
        }
        "ttl" | "ttl, of an entry with tags" => {
            assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Forever);
        }
        "touch, expire or persist" | "touch, expire or persist with tags" => {
            assert!(call!(cache.touch("k").ttl("1h")).unwrap());
        }
        "touch of a dead entry" => assert!(!call!(cache.touch("k").ttl("1h")).unwrap()),
        "get and extend" | "get and extend with tags" => {
            let found = call!(cache.get::<u8>("k").extend("1h")).unwrap();
            assert_eq!(found, Some(1));
        }
        "get_many of 100 and extend" | "get_many of 100 with tags and extend" => {
            let found = call!(cache.get_many::<u8>(hundred()).extend("1h")).unwrap();
            assert_eq!(found, [Some(1); 100]);
        }
        "keys of 100" | "keys of 100 with tags" => {
            let mut count = 0;
            match cache {
                Face::Async(cache) => {
                    let mut keys = cache.keys().matching("many:*").page_size(100_000);
                    while let Some(key) = keys.next().await {
                        key.unwrap();
                        count += 1;
                    }
                }
                Face::Blocking(cache) => {
                    count = cache.keys().matching("many:*").page_size(100_000).count();
                }
            }
            assert_eq!(count, 100);
        }
        "mark_stale" => call!(cache.mark_stale("k")).unwrap(),
        "mark_tag_stale" => call!(cache.mark_tag_stale("t")).unwrap(),
        "add" => assert!(call!(cache.add("k", &1)).unwrap()),
        "replace" => assert!(call!(cache.replace("k", &1)).unwrap()),
        "incr, of what is there" => assert_eq!(call!(cache.incr("k")).unwrap(), 2),
        "incr, with a TTL" => assert_eq!(call!(cache.incr("k").ttl("1m")).unwrap(), 1),
        "incr, of what is not" => assert_eq!(call!(cache.incr("k")).unwrap(), 1),
        "take" => assert_eq!(call!(cache.take::<u8>("k")).unwrap(), Some(1)),
        "delete" => assert!(call!(cache.delete("k")).unwrap()),
        "delete_many of 100" => assert_eq!(call!(cache.delete_many(hundred())).unwrap(), 100),
        "invalidate_tag" => call!(cache.invalidate_tag("t")).unwrap(),
        "invalidate_tags of 100" => call!(cache.invalidate_tags(hundred())).unwrap(),
        "remember, a hit" | "remember, a hit with tags" => {
            let found = remember!(cache, "k", source.gives(2_u8); .tags(["t"])).await;
            assert_eq!(found.unwrap(), 1);
        }
        "remember, a miss" => {
            let found = remember!(cache, "k", source.gives(2_u8)).await;
            assert_eq!(found.unwrap(), 2);
        }
        "remember, a miss with tags" | "remember, a dead entry" => {
            let found = remember!(cache, "k", source.gives(2_u8); .tags(["t", "u"])).await;
            assert_eq!(found.unwrap(), 2);
        }
        "remember, a loader that brings tags" => {
            let loaded = source.gives(Loaded::new(2_u8).tags(["t", "u"]));
            assert_eq!(remember!(cache, "k", loaded).await.unwrap(), 2);
        }
        "remember, a loader that fails" => {
            let failed = remember!(cache, "k", source.fails::<u8>()).await;
            failed.unwrap_err();
        }
        "remember, not to be stored" => {
            let loaded = source.gives(Loaded::do_not_store(2_u8));
            assert_eq!(remember!(cache, "k", loaded).await.unwrap(), 2);
        }
        "refresh" => {
            let found = refresh!(cache, "k", source.gives(2_u8)).await;
            assert_eq!(found.unwrap(), 2);
        }
        "remember_many of 100, all there" => assert_eq!(many(cache, false).await, [Some(1); 100]),
        "remember_many of 100, none there" => assert_eq!(many(cache, false).await, [Some(2); 100]),
        "remember_many of 100, with tags" => assert_eq!(many(cache, true).await, [Some(2); 100]),
        "remember_many of 100, bringing tags" => {
            let load = |keys: Vec<String>| -> Result<Vec<_>, std::io::Error> {
                let value = |key: String| {
                    let tag = format!("tag of {key}");
                    (key, Loaded::new(2_u8).tags([tag]))
                };
                Ok(keys.into_iter().map(value).collect())
            };
            let found = match cache {
                Face::Async(cache) => {
                    cache
                        .remember_many(hundred(), move |keys| async move { load(keys) })
                        .await
                }
                Face::Blocking(cache) => cache.remember_many(hundred(), load).run(),
            };
            assert_eq!(found.unwrap(), [Some(2); 100]);
        }
        "rate_limiter.check, GCRA" => {
            let checked = call!(cache.rate_limiter("api", Quota::per_day(9)).check("a"));
            assert!(checked.unwrap().is_allowed());
        }
        "rate_limiter.check, a sliding window" => {
            let checked = call!(
                cache
                    .rate_limiter("api", Quota::per_day(9))
                    .sliding_window()
                    .check("a")
            );
            assert!(checked.unwrap().is_allowed());
        }
        "rate_limiter.check, a fixed window" => {
            let checked = call!(
                cache
                    .rate_limiter("api", Quota::per_day(9))
                    .fixed_window()
                    .check("a")
            );
            assert!(checked.unwrap().is_allowed());
        }
        "rate_limiter.peek" => {
            let peeked = call!(cache.rate_limiter("api", Quota::per_day(9)).peek("a"));
            assert!(peeked.unwrap().is_allowed());
        }
        "rate_limiter.reset" => {
            call!(cache.rate_limiter("api", Quota::per_day(9)).reset("a")).unwrap();
        }
        _ => panic!("{what}"),
    }
}

async fn many(cache: &Face, tagged: bool) -> Vec<Option<u8>> {
    let load = |keys: Vec<String>| -> Result<Vec<(String, u8)>, std::io::Error> {
        Ok(keys.into_iter().map(|key| (key, 2)).collect())
    };
    let tags: &[&str] = if tagged { &["t", "u"] } else { &[] };
    let found = match cache {
        Face::Async(cache) => {
            let load = move |keys| async move { load(keys) };
            cache.remember_many(hundred(), load).tags(tags).await
        }
        Face::Blocking(cache) => cache.remember_many(hundred(), load).tags(tags).run(),
    };
    found.unwrap()
}
