//! What the near tier answers.

use std::sync::Arc;
use std::time::Duration;

use nearcache::{Cache, Lookup, NearTracking, Raw};
use nearcache_testkit::{Proxy, Redis, random_prefix};

use crate::face::run;
use crate::places::{Place, get, near_hits, put, tracking, until, warm};

places! {
    what_was_read_once_is_answered_from_here,
    a_near_value_is_shared_by_all_who_ask_for_an_arc,
    a_value_is_read_again_as_another_type,
    a_cached_nothing_is_near_too,
    an_absent_key_is_not_near,
    a_batch_takes_from_here_what_is_here,
    a_call_may_skip_it,
    what_was_loaded_is_answered_from_here,
    what_was_loaded_with_tags_is_answered_from_here,
    what_a_loader_has_tagged_ends_with_its_tag,
    nothing_outlives_its_ttl,
    a_stale_value_is_no_hit,
    a_tagged_value_is_near_until_its_tag_is_invalidated,
    a_closed_cache_answers_nothing,
    without_it_nothing_is_near,
    its_state_is_known,
}

async fn what_was_read_once_is_answered_from_here(place: Place) {
    let near = place.two().near;
    put(place, &near, "k", 7).await;
    warm(&near, "k", 7).await;
    let before = near_hits(&near);
    let bytes = ask!(near.stats()).bytes_in;
    for _ in 0..100 {
        assert_eq!(get(&near, "k").await, Some(7));
    }
    assert_eq!(near_hits(&near), before + 100, "{:?}", ask!(near.stats()));
    assert_eq!(ask!(near.stats()).bytes_in, bytes, "nothing was read");
}

async fn a_near_value_is_shared_by_all_who_ask_for_an_arc(place: Place) {
    let near = place.two().near;
    put(place, &near, "k", 7).await;
    warm(&near, "k", 7).await;
    let one = call!(near.get_arc::<u64>("k")).unwrap().unwrap();
    let other = call!(near.get_arc::<u64>("k")).unwrap().unwrap();
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(get(&near, "k").await, Some(7));
}

async fn a_value_is_read_again_as_another_type(place: Place) {
    let near = place.two().near;
    put(place, &near, "k", 7).await;
    warm(&near, "k", 7).await;
    let before = near_hits(&near);
    assert_eq!(call!(near.get::<f64>("k")).unwrap(), Some(7.0));
    assert_eq!(
        call!(near.get::<Raw>("k")).unwrap(),
        Some(Raw(b"7".to_vec()))
    );
    assert_eq!(call!(near.get_arc::<i8>("k")).unwrap().as_deref(), Some(&7));
    assert_eq!(near_hits(&near), before + 3, "{:?}", ask!(near.stats()));
    // Not of this type: a miss, as it is without a near tier.
    assert_eq!(call!(near.get::<bool>("k")).unwrap(), None);
    assert_eq!(ask!(near.stats()).undecodable, 1);
    assert_eq!(get(&near, "k").await, Some(7));
}

async fn a_cached_nothing_is_near_too(place: Place) {
    let near = place.two().near;
    put(place, &near, "k", 7).await;
    warm(&near, "k", 7).await;
    put(place, &near, "n", 1).await;
    let told = ask!(near.stats()).near_invalidations;
    call!(near.set("n", &None::<u64>)).unwrap();
    until("the news of its own", async || {
        !place.hears_its_own() || ask!(near.stats()).near_invalidations > told
    })
    .await;
    assert_eq!(call!(near.lookup::<u64>("n")).unwrap(), Lookup::Nothing);
    let bytes = ask!(near.stats()).bytes_in;
    assert_eq!(call!(near.lookup::<u64>("n")).unwrap(), Lookup::Nothing);
    assert_eq!(get(&near, "n").await, None);
    assert_eq!(ask!(near.stats()).bytes_in, bytes);
}

async fn an_absent_key_is_not_near(place: Place) {
    let two = place.two();
    let (near, other) = (two.near, two.other);
    put(place, &near, "k", 7).await;
    warm(&near, "k", 7).await;
    assert_eq!(get(&near, "absent").await, None);
    call!(other.set("absent", &1)).unwrap();
    assert_eq!(get(&near, "absent").await, Some(1));
}

async fn a_batch_takes_from_here_what_is_here(place: Place) {
    let near = place.two().near;
    for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
        put(place, &near, key, value).await;
    }
    warm(&near, "a", 1).await;
    let keys = ["a", "x", "b", "a", "c"];
    let expected = [Some(1), None, Some(2), Some(1), Some(3)];
    let before = near_hits(&near);
    assert_eq!(call!(near.get_many::<u64>(keys)).unwrap(), expected);
    assert_eq!(near_hits(&near), before + 2, "{:?}", ask!(near.stats()));
    assert_eq!(call!(near.get_many::<u64>(keys)).unwrap(), expected);
    assert_eq!(near_hits(&near), before + 2 + 4);
    assert_eq!(
        call!(near.get_many::<u64>(keys).skip_near()).unwrap(),
        expected
    );
    assert_eq!(near_hits(&near), before + 2 + 4);
}

async fn a_call_may_skip_it(place: Place) {
    let near = place.two().near;
    put(place, &near, "k", 7).await;
    warm(&near, "k", 7).await;
    let before = near_hits(&near);
    assert_eq!(call!(near.get::<u64>("k").skip_near()).unwrap(), Some(7));
    assert_eq!(
        call!(near.lookup::<u64>("k").skip_near()).unwrap(),
        Lookup::Hit(7)
    );
    let load = || Ok::<u64, std::io::Error>(8);
    let loaded = remember!(near, "k", load; .skip_near()).await.unwrap();
    assert_eq!((loaded, near_hits(&near)), (7, before));
    assert_eq!(get(&near, "k").await, Some(7));
    assert_eq!(near_hits(&near), before + 1, "{:?}", ask!(near.stats()));
}

async fn what_was_loaded_is_answered_from_here(place: Place) {
    let near = place.two().near;
    let load = || Ok::<u64, std::io::Error>(7);
    assert_eq!(remember!(near, "k", load; .ttl("1h")).await.unwrap(), 7);
    warm(&near, "k", 7).await;
    if place.hears_its_own() {
        put(place, &near, "later", 1).await; // the news of the load have come, too
        warm(&near, "k", 7).await;
    }
    let before = near_hits(&near);
    let unexpected = || Err::<u64, std::io::Error>(std::io::Error::other("it is near"));
    assert_eq!(remember!(near, "k", unexpected).await.unwrap(), 7);
    assert!(near_hits(&near) == before + 1 || place == Place::ClusterBlocking);
    // A bad option is an error all the same.
    let load = || Ok::<u64, std::io::Error>(7);
    assert!(remember!(near, "k", load; .ttl("soon")).await.is_err());
    // On the connection that loads, a loaded value is near at once; unless its process stood still meanwhile, so that the
    // near tier has heard nothing for too long.
    if matches!(place, Place::Redis | Place::RedisUnix | Place::Sentinel) {
        let mut keys = (0..).map(|n| format!("l{n}"));
        until("a loaded value is near at once", async || {
            let key = keys.next().expect("there is another number");
            let load = || Ok::<u64, std::io::Error>(8);
            let loaded = remember!(near, key.clone(), load; .ttl("1h")).await;
            assert_eq!(loaded.unwrap(), 8);
            let before = near_hits(&near);
            assert_eq!(get(&near, &key).await, Some(8));
            near_hits(&near) > before
        })
        .await;
    }
}

/// A load makes the versions of its tags, and makes them live longer: that ends neither itself nor others with the tags.
async fn what_was_loaded_with_tags_is_answered_from_here(place: Place) {
    let two = place.two();
    let (near, other) = (two.near, two.other);
    let load = || Ok::<u64, std::io::Error>(7);
    // There are connections to all servers.
    for key in ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"] {
        assert_eq!(remember!(near, key, load; .tags([key])).await.unwrap(), 7);
    }
    let ttls = ["1h", "48h", "72h"];
    for (key, ttl) in ["a", "b", "c"].into_iter().zip(ttls) {
        let loaded = remember!(near, key, load; .ttl(ttl).tags(["t", "u"])).await;
        assert_eq!(loaded.unwrap(), 7);
        if place.is_blocking() {
            // It is told of its own writes.
            warm(&near, key, 7).await;
        }
    }
    if place.is_blocking() || place == Place::Embedded {
        call!(near.invalidate_tag("t")).unwrap();
    } else {
        let before = near_hits(&near);
        for key in ["a", "b", "c", "a"] {
            assert_eq!(get(&near, key).await, Some(7));
        }
        assert_eq!(near_hits(&near), before + 4, "{:?}", ask!(near.stats()));
        // A write with the tag does not end the others either.
        call!(near.set("d", &8).ttl("96h").tags(["t"])).unwrap();
        assert_eq!(get(&near, "a").await, Some(7));
        assert_eq!(near_hits(&near), before + 5, "{:?}", ask!(near.stats()));
        if !place.is_told() {
            return;
        }
        call!(other.invalidate_tag("t")).unwrap();
        until("the news of the tag", async || {
            get(&near, "a").await.is_none()
        })
        .await;
    }
    for key in ["a", "b", "c"] {
        assert_eq!(get(&near, key).await, None, "{key}");
    }
}

/// A tag that only the loader names.
async fn what_a_loader_has_tagged_ends_with_its_tag(place: Place) {
    let two = place.two();
    let (near, other) = (two.near, two.other);
    let load = || Ok::<_, std::io::Error>(nearcache::Loaded::new(7_u64).tags(["t"]));
    assert_eq!(remember!(near, "a", load).await.unwrap(), 7);
    assert_eq!(remember!(near, "b", load).await.unwrap(), 7);
    warm(&near, "a", 7).await;
    call!(near.invalidate_tag("t")).unwrap();
    assert_eq!(get(&near, "a").await, None);
    assert_eq!(get(&near, "b").await, None);
    if !place.is_told() {
        return;
    }
    assert_eq!(remember!(near, "a", load).await.unwrap(), 7);
    warm(&near, "a", 7).await;
    call!(other.invalidate_tag("t")).unwrap();
    until("the news of the tag", async || {
        get(&near, "a").await.is_none()
    })
    .await;
}

async fn nothing_outlives_its_ttl(place: Place) {
    let near = place.two().near;
    call!(near.set("k", &7).ttl(Duration::from_millis(300))).unwrap();
    until("its end", async || {
        let found = get(&near, "k").await;
        let there = call!(near.get::<u64>("k").skip_near()).unwrap();
        assert!(there.is_some() || get(&near, "k").await.is_none());
        found.is_none() && there.is_none()
    })
    .await;
}

async fn a_stale_value_is_no_hit(place: Place) {
    let near = place.two().near;
    let load = || Ok::<u64, std::io::Error>(7);
    let first = remember!(near, "k", load; .ttl(Duration::from_millis(300)).stale_if_error("1h"));
    assert_eq!(first.await.unwrap(), 7);
    until("its end", async || get(&near, "k").await.is_none()).await;
    let kept = call!(near.get_kept::<u64>("k")).unwrap().unwrap();
    assert!(kept.stale_for.is_some());
    let load = || Ok::<u64, std::io::Error>(8);
    assert_eq!(remember!(near, "k", load).await.unwrap(), 8);
}

async fn a_tagged_value_is_near_until_its_tag_is_invalidated(place: Place) {
    let two = place.two();
    let (near, other) = (two.near, two.other);
    call!(near.set("k", &7).tags(["a", "b"])).unwrap();
    call!(near.invalidate_tag("c")).unwrap();
    put(place, &near, "later", 1).await;
    warm(&near, "k", 7).await;
    call!(near.invalidate_tag("c")).unwrap();
    let before = near_hits(&near);
    assert_eq!(get(&near, "k").await, Some(7));
    let hits = near_hits(&near);
    assert!(
        hits == before + 1 || place == Place::ClusterBlocking,
        "another tag"
    );
    call!(near.invalidate_tag("b")).unwrap();
    assert_eq!(get(&near, "k").await, None);
    if !place.is_told() {
        return;
    }
    call!(near.set("k", &8).tags(["a", "b"])).unwrap();
    warm(&near, "k", 8).await;
    call!(other.invalidate_tag("a")).unwrap();
    until("the news of a tag", async || {
        get(&near, "k").await.is_none()
    })
    .await;
}

async fn a_closed_cache_answers_nothing(place: Place) {
    let near = place.two().near;
    put(place, &near, "k", 7).await;
    warm(&near, "k", 7).await;
    call!(near.close()).unwrap();
    let error = call!(near.get::<u64>("k")).unwrap_err();
    assert_eq!(error.kind(), nearcache::ErrorKind::Closed);
    assert!(call!(near.get_many::<u64>(["k"])).is_err());
    let load = || Ok::<u64, std::io::Error>(8);
    assert!(remember!(near, "k", load).await.is_err());
}

async fn without_it_nothing_is_near(place: Place) {
    for options in ["", "near=0"] {
        let cache = place.two_with(options).near;
        call!(cache.set("k", &7)).unwrap();
        for _ in 0..3 {
            assert_eq!(get(&cache, "k").await, Some(7));
        }
        let stats = ask!(cache.stats());
        assert_eq!((stats.near_hits, stats.near_entries), (0, 0));
        assert_eq!(stats.near_tracking, NearTracking::Off);
    }
}

async fn its_state_is_known(place: Place) {
    let two = place.two();
    let (near, other) = (two.near, two.other);
    put(place, &near, "k", 7).await;
    warm(&near, "k", 7).await;
    let stats = ask!(near.stats());
    assert_eq!(stats.near_entries, 1);
    let state = match place {
        Place::RedisResp2 => NearTracking::Refused,
        _ => NearTracking::On,
    };
    assert_eq!(tracking(&near), state);
    if place.is_told() {
        let before = stats.near_invalidations;
        call!(other.set("k", &8)).unwrap();
        until("the news", async || {
            ask!(near.stats()).near_invalidations > before
        })
        .await;
    }
}

/// Counted on the way to the server.
#[test]
fn a_near_hit_takes_no_round_trip_and_a_read_takes_one() {
    run(async {
        let redis = Redis::shared();
        let proxy = Proxy::start(&redis.address());
        let url = format!("{}?near=100&timeout=20s", proxy.url());
        let cache = Cache::builder(&url)
            .prefix(random_prefix())
            .build()
            .unwrap();
        cache.set("k", &7).await.unwrap();
        let before = proxy.round_trips();
        assert_eq!(cache.get::<u64>("k").await.unwrap(), Some(7));
        assert_eq!(proxy.round_trips(), before + 1);
        let commands = proxy.requests();
        for _ in 0..10 {
            assert_eq!(cache.get::<u64>("k").await.unwrap(), Some(7));
        }
        // At most the signs of life.
        assert!(proxy.requests() <= commands + 1);
    });
}

/// What is handed out has none of the cache's tracking.
#[test]
fn a_connection_of_ones_own_is_not_tracked() {
    run(async {
        let url = format!("{}?near=100&timeout=20s", Redis::shared().url());
        let cache = Cache::builder(&url)
            .prefix(random_prefix())
            .build()
            .unwrap();
        cache.set("k", &7).await.unwrap();
        let mut own = cache.connection().await.unwrap();
        let mut asked = redis::cmd("CLIENT");
        let info: redis::Value = asked
            .arg("TRACKINGINFO")
            .query_async(&mut own)
            .await
            .unwrap();
        assert!(format!("{info:?}").contains("off"), "{info:?}");
        let mut shared = cache.shared_connection();
        let info: redis::Value = asked.query_async(&mut shared).await.unwrap();
        assert!(format!("{info:?}").contains("noloop"), "{info:?}");
    });
}
