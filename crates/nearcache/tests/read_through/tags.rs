//! Tags: one invalidation ends every entry that carries one, for every way to read.

use nearcache::{ErrorKind, Lookup};

use crate::scene::Source;
use crate::target::{Target, raw};

spread_suite! {
    an_invalidated_tag_ends_every_entry_that_carries_it,
    a_dead_entry_is_a_miss_to_every_verb,
    a_counter_that_is_evicted_ends_its_entries,
    an_entry_with_tags_can_be_loaded_again,
    tags_are_1_byte_to_1_kib_and_64_at_most,
    an_invalidated_tag_that_nothing_carries_writes_nothing,
    a_counter_lives_as_long_as_its_entries,
}

async fn an_invalidated_tag_ends_every_entry_that_carries_it(target: Target) {
    let cache = target.cache();
    call!(cache.set("a", &1).tags(["x", "y"])).unwrap();
    call!(cache.set_many([("b", 2), ("c", 3)]).tags(["y"])).unwrap();
    call!(cache.add("d", &4).tags(["z"])).unwrap();
    let all = ["a", "b", "c", "d"];
    let found: Vec<Option<i32>> = call!(cache.get_many(all)).unwrap();
    assert_eq!(found, [Some(1), Some(2), Some(3), Some(4)]);
    call!(cache.invalidate_tag("x")).unwrap();
    let found: Vec<Option<i32>> = call!(cache.get_many(all)).unwrap();
    assert_eq!(found, [None, Some(2), Some(3), Some(4)]);
    call!(cache.invalidate_tags(["y", "z", "nobody's"])).unwrap();
    let found: Vec<Option<i32>> = call!(cache.get_many(all)).unwrap();
    assert_eq!(found, [None; 4]);
    // What is written now is alive.
    call!(cache.set("a", &5).tags(["x", "y"])).unwrap();
    assert_eq!(call!(cache.get::<i32>("a")).unwrap(), Some(5));
}

async fn a_dead_entry_is_a_miss_to_every_verb(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &1).tags(["t"])).unwrap();
    assert!(call!(cache.contains("k")).unwrap());
    let many: Vec<String> = (0..60)
        .map(|n| format!("a tag of some length {n}"))
        .collect();
    call!(cache.set("many", &1).tags(&many)).unwrap();
    assert!(call!(cache.contains("many")).unwrap());
    call!(cache.invalidate_tags(["t", &many[59]])).unwrap();
    for key in ["k", "many"] {
        assert!(!call!(cache.contains(key)).unwrap());
        assert_eq!(call!(cache.get::<i32>(key)).unwrap(), None);
        assert_eq!(call!(cache.lookup::<i32>(key)).unwrap(), Lookup::Miss);
        assert_eq!(call!(cache.take::<i32>(key)).unwrap(), None);
    }
}

async fn a_counter_that_is_evicted_ends_its_entries(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let counter = format!("{prefix}:#nearcache:tag:t");
    for removed in [
        &[b"DEL", counter.as_bytes()][..],
        &[b"SET", counter.as_bytes(), b"no version"],
    ] {
        call!(cache.set("k", &1).tags(["t"])).unwrap();
        assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(1));
        raw(&cache, removed).await;
        assert_eq!(call!(cache.get::<i32>("k")).unwrap(), None);
    }
}

async fn an_entry_with_tags_can_be_loaded_again(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    for value in 1..=3 {
        for _ in 0..2 {
            let found = remember!(cache, "k", source.gives(value); .tags(["t", "u"])).await;
            assert_eq!(found.unwrap(), value);
        }
        call!(cache.invalidate_tag("u")).unwrap();
    }
    assert_eq!(source.loads(), 3);
}

async fn tags_are_1_byte_to_1_kib_and_64_at_most(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let long = "x".repeat(1_025);
    for tag in ["", &long] {
        let error = call!(cache.set("k", &1).tags([tag])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
        let error = call!(cache.invalidate_tag(tag)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
    }
    let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    let error = remember!(cache, "k", source.gives(1); .tags(&many)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
    assert_eq!(source.loads(), 0);
}

async fn an_invalidated_tag_that_nothing_carries_writes_nothing(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    call!(cache.invalidate_tag("t")).unwrap();
    let counter = format!("{prefix}:#nearcache:tag:t");
    let there = raw(&cache, &[b"EXISTS", counter.as_bytes()]).await;
    assert_eq!(there, ::redis::Value::Int(0));
}

async fn a_counter_lives_as_long_as_its_entries(target: Target) {
    let (prefix, source) = (nearcache_testkit::random_prefix(), Source::new());
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let counter = format!("{prefix}:#nearcache:tag:t");
    let left = async || match raw(&cache, &[b"PTTL", counter.as_bytes()]).await {
        ::redis::Value::Int(left) => left,
        other => panic!("{other:?}"),
    };
    remember!(cache, "short", source.gives(1); .tags(["t"]).ttl("1m"))
        .await
        .unwrap();
    let first = left().await;
    assert!((60_000..=86_400_000).contains(&first), "{first}");
    remember!(cache, "long", source.gives(1); .tags(["t"]).ttl("7d"))
        .await
        .unwrap();
    assert!(left().await > 6 * 86_400_000);
    call!(cache.invalidate_tag("t")).unwrap();
    assert_eq!(left().await, -2, "it is made anew by who needs it");
    call!(cache.set("for ever", &1).tags(["t"])).unwrap();
    assert_eq!(left().await, -1);
}
