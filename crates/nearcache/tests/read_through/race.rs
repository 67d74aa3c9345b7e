//! The race that a cache loses by default: a loader reads OLD, an invalidation lands, the loader returns
//! OLD. The table of `docs/protocols.md`, as a test.
//!
//! Each row is an invalidation, each column who makes it; every combination is run embedded and on Redis,
//! async and blocking. After each: OLD is not stored, nobody who asks afterwards is answered with it, and the
//! key is loaded anew.

use std::time::Duration;

use crate::scene::Source;
use crate::target::{Face, Options, Target, raw};

spread_suite! {
    old_is_never_stored_after_delete,
    old_is_never_stored_after_delete_many,
    old_is_never_stored_after_delete_pattern,
    old_is_never_stored_after_take,
    old_is_never_stored_after_clear,
    old_is_never_stored_after_set,
    old_is_never_stored_after_a_set_that_expired,
    old_is_never_stored_after_set_many,
    old_is_never_stored_after_add,
    old_is_never_stored_after_replace,
    old_is_never_stored_after_incr,
    old_is_never_stored_after_a_counter_that_expired,
    old_is_never_stored_after_a_set_that_keeps_the_ttl,
    keys_that_share_a_lease_cost_each_other_no_more_than_a_load,
    old_is_never_stored_after_what_the_loader_itself_invalidates,
    old_is_never_stored_after_invalidate_tag,
    old_is_never_stored_after_invalidate_tag_of_a_tag_that_the_loader_brings,
    old_is_never_stored_after_refresh,
    a_background_refresh_is_fenced_as_well,
    who_waits_for_a_fenced_load_gets_new,
    a_foreign_set_fences_while_its_value_is_there,
    a_foreign_set_that_is_gone_again_cannot_be_seen,
    a_foreign_del_cannot_be_seen,
    a_foreign_del_of_what_was_there_fences,
    a_foreign_flush_fences,
    touch_and_expire_leave_a_load_alone,
    an_invalidation_that_comes_again_and_again_ends_in_an_answer,
}

const OLD: u32 = 1;
const NEW: u32 = 2;

/// Two processes: caches that share nothing but the server.
struct Scene {
    here: Face,
    there: Face,
    prefix: String,
}

fn scene(target: Target) -> Scene {
    let prefix = nearcache_testkit::random_prefix();
    let url = target.url(&prefix);
    let with = if url.contains('?') { '&' } else { '?' };
    let options = Options {
        prefix: &prefix,
        ..Options::default()
    };
    let other = format!("{url}{with}client_name=other");
    Scene {
        here: target.build(&url, options.clone()).unwrap(),
        there: target.build(&other, options).unwrap(),
        prefix,
    }
}

/// Runs the race, with the invalidation from either process.
async fn race(target: Target, stays: Option<u32>, invalidate: impl AsyncFn(&Face)) {
    for elsewhere in [false, true] {
        let scene = scene(target);
        let (here, there, source) = (&scene.here, &scene.there, Source::new());
        let old = tokio::spawn(remember!(here, "k", source.holds(OLD); .tags(["t"])));
        source.begun().await;
        invalidate(if elsewhere { there } else { here }).await;
        source.go_on();
        // Its call began before the invalidation.
        assert_eq!(old.await.unwrap().unwrap(), OLD);
        for cache in [here, there] {
            assert_eq!(call!(cache.get::<u32>("k")).unwrap(), stays, "stored");
        }
        assert_eq!(ask!(here.stats()).fenced, 1);
        let expected = stays.unwrap_or(NEW);
        for cache in [here, there] {
            let found = remember!(cache, "k", source.gives(NEW); .tags(["t"])).await;
            assert_eq!(found.unwrap(), expected, "served");
        }
    }
}

async fn old_is_never_stored_after_delete(target: Target) {
    race(target, None, async |cache| {
        assert!(
            !call!(cache.delete("k")).unwrap(),
            "only its lease was there"
        );
    })
    .await;
}

async fn old_is_never_stored_after_delete_many(target: Target) {
    race(target, None, async |cache| {
        assert_eq!(call!(cache.delete_many(["x", "k"])).unwrap(), 0);
    })
    .await;
}

async fn old_is_never_stored_after_delete_pattern(target: Target) {
    race(target, None, async |cache| {
        call!(cache.delete_pattern("k*")).unwrap();
    })
    .await;
}

async fn old_is_never_stored_after_take(target: Target) {
    race(target, None, async |cache| {
        assert_eq!(call!(cache.take::<u32>("k")).unwrap(), None);
    })
    .await;
}

async fn old_is_never_stored_after_clear(target: Target) {
    race(target, None, async |cache| {
        call!(cache.clear()).unwrap();
    })
    .await;
}

async fn old_is_never_stored_after_set(target: Target) {
    race(target, Some(NEW), async |cache| {
        call!(cache.set("k", &NEW)).unwrap();
    })
    .await;
}

async fn old_is_never_stored_after_a_set_that_expired(target: Target) {
    race(target, None, async |cache| {
        let short = Duration::from_millis(5);
        call!(cache.set("k", &NEW).ttl(short)).unwrap();
        tokio::time::sleep(2 * short).await;
    })
    .await;
}

async fn old_is_never_stored_after_set_many(target: Target) {
    race(target, Some(NEW), async |cache| {
        call!(cache.set_many([("k", NEW), ("x", 0)])).unwrap();
    })
    .await;
}

async fn old_is_never_stored_after_add(target: Target) {
    race(target, Some(NEW), async |cache| {
        assert!(call!(cache.add("k", &NEW)).unwrap());
    })
    .await;
}

async fn old_is_never_stored_after_replace(target: Target) {
    race(target, None, async |cache| {
        assert!(!call!(cache.replace("k", &NEW)).unwrap(), "nothing there");
    })
    .await;
}

/// It takes the lease along, so that nothing depends on how long the counter lives.
async fn old_is_never_stored_after_a_counter_that_expired(target: Target) {
    race(target, None, async |cache| {
        call!(cache.incr("k").ttl(Duration::from_millis(1))).unwrap();
        while call!(cache.contains("k")).unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn old_is_never_stored_after_a_set_that_keeps_the_ttl(target: Target) {
    race(target, Some(NEW), async |cache| {
        call!(cache.set("k", &NEW).keep_ttl()).unwrap();
    })
    .await;
}

/// Without a prefix, `a` and `{a}` have one lease key. Its token tells their loads apart, and so does the entry that
/// each of them stores: they wait for each other, and an invalidation of one fences the other.
async fn keys_that_share_a_lease_cost_each_other_no_more_than_a_load(target: Target) {
    let name = nearcache_testkit::random_prefix();
    let url = target.url(&name);
    let with = if url.contains('?') { '&' } else { '?' };
    let other = format!("{url}{with}client_name=other");
    let here = target.build(&url, Options::default()).unwrap();
    let there = target.build(&other, Options::default()).unwrap();
    let (bare, braced) = (name.clone(), format!("{{{name}}}"));

    // While one is loaded, the other waits, and is then loaded itself.
    let (slow, source) = (Source::new(), Source::new());
    let first = tokio::spawn(remember!(here, bare.clone(), slow.holds(1_u32)));
    slow.begun().await;
    let second = tokio::spawn(remember!(there, braced.clone(), source.gives(2_u32)));
    while ask!(there.stats()).lease_waits == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    slow.go_on();
    assert_eq!(first.await.unwrap().unwrap(), 1);
    assert_eq!(second.await.unwrap().unwrap(), 2);
    assert_eq!(call!(here.get::<u32>(&bare)).unwrap(), Some(1));
    assert_eq!(call!(here.get::<u32>(&braced)).unwrap(), Some(2));
    assert_eq!(ask!(there.stats()).fenced, 0);

    // An invalidation of one fences the load of the other, which is loaded once more.
    call!(here.delete_many([&bare, &braced])).unwrap();
    let first = tokio::spawn(remember!(here, bare.clone(), slow.holds(3_u32)));
    slow.begun().await;
    call!(there.set(&braced, &4_u32)).unwrap();
    slow.go_on();
    assert_eq!(first.await.unwrap().unwrap(), 3);
    assert_eq!(call!(here.get::<u32>(&bare)).unwrap(), None);
    assert_eq!(call!(here.get::<u32>(&braced)).unwrap(), Some(4));
    let again = remember!(here, bare.clone(), source.gives(5_u32)).await;
    assert_eq!(again.unwrap(), 5);
    assert_eq!(call!(here.get::<u32>(&bare)).unwrap(), Some(5));

    // With a prefix, they have nothing in common: `p:{p:a}` and `p:{a}`.
    call!(here.delete_many([&bare, &braced])).unwrap();
}

async fn old_is_never_stored_after_what_the_loader_itself_invalidates(target: Target) {
    let scene = scene(target);
    let here = &scene.here;
    let old = match here.clone() {
        Face::Async(cache) => {
            let writer = cache.clone();
            cache
                .remember("k", async move || {
                    writer.delete("k").await?;
                    Ok::<_, nearcache::Error>(OLD)
                })
                .await
        }
        Face::Blocking(cache) => cache
            .remember("k", || {
                cache.delete("k").run()?;
                Ok::<_, nearcache::Error>(OLD)
            })
            .run(),
    };
    assert_eq!(old.unwrap(), OLD);
    assert_eq!(call!(here.get::<u32>("k")).unwrap(), None);
    assert_eq!(ask!(here.stats()).fenced, 1);
}

async fn old_is_never_stored_after_incr(target: Target) {
    race(target, Some(NEW), async |cache| {
        assert_eq!(call!(cache.incr("k").by(i64::from(NEW))).unwrap(), 2);
    })
    .await;
}

async fn old_is_never_stored_after_invalidate_tag(target: Target) {
    race(target, None, async |cache| {
        call!(cache.invalidate_tags(["x", "t"])).unwrap();
    })
    .await;
}

async fn old_is_never_stored_after_refresh(target: Target) {
    race(target, Some(NEW), async |cache| {
        let source = Source::new();
        let refreshed = refresh!(cache, "k", source.gives(NEW); .tags(["t"]));
        assert_eq!(refreshed.await.unwrap(), NEW);
    })
    .await;
}

async fn old_is_never_stored_after_invalidate_tag_of_a_tag_that_the_loader_brings(target: Target) {
    for known in [false, true] {
        let scene = scene(target);
        let (here, there, source) = (&scene.here, &scene.there, Source::new());
        if known {
            call!(there.set("other", &0).tags(["t"])).unwrap();
        }
        let tagged = nearcache::Loaded::new(OLD).tags(["t"]);
        let old = tokio::spawn(remember!(here, "k", source.holds(tagged)));
        source.begun().await;
        call!(there.invalidate_tag("t")).unwrap();
        source.go_on();
        assert_eq!(old.await.unwrap().unwrap(), OLD);
        assert_eq!(call!(there.get::<u32>("k")).unwrap(), None);
    }
}

async fn a_background_refresh_is_fenced_as_well(target: Target) {
    let scene = scene(target);
    let (here, there, source) = (&scene.here, &scene.there, Source::new());
    let short = Duration::from_millis(20);
    let first = remember!(here, "k", source.gives(0); .ttl(short).stale_for("1h"));
    first.await.unwrap();
    tokio::time::sleep(2 * short).await;
    let stale = remember!(here, "k", source.holds(OLD); .ttl("1h").stale_for("1h"));
    assert_eq!(stale.await.unwrap(), 0);
    source.begun().await;
    call!(there.delete("k")).unwrap();
    source.go_on();
    while ask!(here.stats()).fenced == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(call!(here.get::<u32>("k")).unwrap(), None);
}

async fn who_waits_for_a_fenced_load_gets_new(target: Target) {
    let scene = scene(target);
    let (here, there, source) = (&scene.here, &scene.there, Source::new());
    let old = tokio::spawn(remember!(here, "k", source.holds(OLD)));
    source.begun().await;
    call!(there.delete("k")).unwrap();
    // They ask after the invalidation returned, and find the old load still running.
    let late: Vec<_> = (0..5)
        .map(|_| tokio::spawn(remember!(here, "k", source.gives(NEW))))
        .collect();
    while ask!(here.stats()).coalesced < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    source.go_on();
    assert_eq!(old.await.unwrap().unwrap(), OLD);
    for caller in late {
        assert_eq!(caller.await.unwrap().unwrap(), NEW);
    }
    assert_eq!(
        source.loads(),
        2,
        "one for those before, one for those after"
    );
}

async fn a_foreign_set_fences_while_its_value_is_there(target: Target) {
    let scene = scene(target);
    let (here, source) = (&scene.here, Source::new());
    let old = tokio::spawn(remember!(here, "k", source.holds(OLD)));
    source.begun().await;
    let key = format!("{}:k", scene.prefix);
    raw(here, &[b"SET", key.as_bytes(), b"2"]).await;
    source.go_on();
    old.await.unwrap().unwrap();
    assert_eq!(call!(here.get::<u32>("k")).unwrap(), Some(NEW));
}

/// What does not hold: nobody tells a key that was not there from one that has expired.
async fn a_foreign_set_that_is_gone_again_cannot_be_seen(target: Target) {
    let scene = scene(target);
    let (here, source) = (&scene.here, Source::new());
    let old = tokio::spawn(remember!(here, "k", source.holds(OLD)));
    source.begun().await;
    let key = format!("{}:k", scene.prefix);
    raw(here, &[b"SET", key.as_bytes(), b"2", b"PX", b"5"]).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    source.go_on();
    old.await.unwrap().unwrap();
    assert_eq!(call!(here.get::<u32>("k")).unwrap(), Some(OLD));
}

async fn a_foreign_del_of_what_was_there_fences(target: Target) {
    let scene = scene(target);
    let (here, source) = (&scene.here, Source::new());
    call!(here.set("k", &nearcache::Raw(b"no number"))).unwrap();
    let old = tokio::spawn(remember!(here, "k", source.holds(OLD)));
    source.begun().await;
    let key = format!("{}:k", scene.prefix);
    raw(here, &[b"DEL", key.as_bytes()]).await;
    source.go_on();
    old.await.unwrap().unwrap();
    assert_eq!(call!(here.get::<u32>("k")).unwrap(), None);
}

/// In a store of its own: the server has other tests' keys, too.
async fn a_foreign_flush_fences(target: Target) {
    if !target.is_embedded() {
        return;
    }
    let scene = scene(target);
    let (here, source) = (&scene.here, Source::new());
    let old = tokio::spawn(remember!(here, "k", source.holds(OLD)));
    source.begun().await;
    raw(here, &[b"FLUSHDB"]).await;
    source.go_on();
    old.await.unwrap().unwrap();
    assert_eq!(call!(here.get::<u32>("k")).unwrap(), None);
}

/// What does not hold, and cannot: nobody tells a key that was not there from one that was deleted.
async fn a_foreign_del_cannot_be_seen(target: Target) {
    let scene = scene(target);
    let (here, source) = (&scene.here, Source::new());
    let old = tokio::spawn(remember!(here, "k", source.holds(OLD)));
    source.begun().await;
    let key = format!("{}:k", scene.prefix);
    raw(here, &[b"DEL", key.as_bytes()]).await;
    source.go_on();
    old.await.unwrap().unwrap();
    assert_eq!(call!(here.get::<u32>("k")).unwrap(), Some(OLD));
}

async fn touch_and_expire_leave_a_load_alone(target: Target) {
    let scene = scene(target);
    let (here, source) = (&scene.here, Source::new());
    let load = tokio::spawn(remember!(here, "k", source.holds(NEW)));
    source.begun().await;
    assert!(!call!(here.touch("k").ttl("1h")).unwrap());
    assert!(!call!(here.expire("k", "1h")).unwrap());
    assert!(!call!(here.persist("k")).unwrap());
    source.go_on();
    assert_eq!(load.await.unwrap().unwrap(), NEW);
}

async fn an_invalidation_that_comes_again_and_again_ends_in_an_answer(target: Target) {
    let scene = scene(target);
    let (here, there, source) = (&scene.here, &scene.there, Source::new());
    let first = tokio::spawn(remember!(here, "k", source.holds(1)));
    source.begun().await;
    let others: Vec<_> = (2..5)
        .map(|number| tokio::spawn(remember!(here, "k", source.holds(number))))
        .collect();
    while ask!(here.stats()).coalesced < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    call!(there.delete("k")).unwrap();
    source.go_on();
    assert_eq!(first.await.unwrap().unwrap(), 1);
    // A second load answers all who joined before it began, though it is fenced, too.
    source.begun().await;
    call!(there.delete("k")).unwrap();
    source.go_on();
    for caller in others {
        assert!(caller.await.unwrap().unwrap() > 1);
    }
    assert_eq!(source.loads(), 2);
    assert_eq!(ask!(here.stats()).fenced, 2);
    assert_eq!(call!(here.get::<u32>("k")).unwrap(), None);
}
