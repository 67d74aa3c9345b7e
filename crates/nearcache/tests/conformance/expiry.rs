//! How long entries stay.

use std::time::{Duration, SystemTime};

use nearcache::{ErrorKind, Remaining};

use crate::target::{Face, Options, Target};

near_suite! {
    a_ttl_is_kept_in_milliseconds,
    ttl_tells_missing_forever_and_time_left,
    a_ttl_that_ends_takes_the_entry_with_it,
    zero_negative_and_unreadable_ttls_are_errors,
    keep_ttl_keeps_the_time_left,
    the_default_ttl_holds_where_none_is_given,
    expire_sets_and_persist_takes_away,
    expire_at_a_past_time_deletes,
    touch_starts_the_ttl_anew,
    jitter_differs_by_key_and_stays_in_its_ratio,
}

/// The milliseconds that a key still has.
async fn left(cache: &Face, key: &str) -> u128 {
    call!(cache.ttl(key))
        .unwrap()
        .duration()
        .expect("a TTL")
        .as_millis()
}

async fn a_ttl_is_kept_in_milliseconds(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &1).ttl(Duration::from_millis(98_765))).unwrap();
    assert!((90_000..=98_765).contains(&left(&cache, "k").await));
    call!(cache.set("k", &1).ttl("1d2h")).unwrap();
    assert!((93_590_000..=93_600_000).contains(&left(&cache, "k").await));
    call!(cache.set("k", &1).ttl(60)).unwrap();
    assert!((50_000..=60_000).contains(&left(&cache, "k").await));
}

async fn ttl_tells_missing_forever_and_time_left(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Missing);
    call!(cache.set("k", &1)).unwrap();
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Forever);
    call!(cache.set("k", &1).ttl("1h")).unwrap();
    assert!(
        matches!(call!(cache.ttl("k")).unwrap(), Remaining::In(left) if left.as_secs() > 3_500)
    );
}

async fn a_ttl_that_ends_takes_the_entry_with_it(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &1).ttl(Duration::from_millis(1))).unwrap();
    // A real server's clock cannot be moved; a millisecond can be waited for.
    let face = &cache;
    let gone = |key: &'static str| async move { !call!(face.contains(key)).unwrap() };
    let mut turns = 0;
    while !gone("k").await {
        turns += 1;
        assert!(turns < 10_000, "the entry stays");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), None);
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Missing);
}

async fn zero_negative_and_unreadable_ttls_are_errors(target: Target) {
    let cache = target.cache();
    let refused = |error: nearcache::Error| error.kind() == ErrorKind::InvalidTtl;
    assert!(refused(call!(cache.set("k", &1).ttl(0)).unwrap_err()));
    assert!(refused(call!(cache.set("k", &1).ttl(-5)).unwrap_err()));
    assert!(refused(call!(cache.set("k", &1).ttl("soon")).unwrap_err()));
    assert!(refused(
        call!(cache.set("k", &1).ttl(Duration::MAX)).unwrap_err()
    ));
    assert!(refused(call!(cache.add("k", &1).ttl("0s")).unwrap_err()));
    assert!(refused(
        call!(cache.set_many([("k", 1)]).ttl(Duration::ZERO)).unwrap_err()
    ));
    assert!(refused(call!(cache.expire("k", 0)).unwrap_err()));
    assert!(refused(call!(cache.touch("k").ttl("")).unwrap_err()));
    assert!(!call!(cache.contains("k")).unwrap());
}

async fn keep_ttl_keeps_the_time_left(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &1).ttl("1h")).unwrap();
    call!(cache.set("k", &2).keep_ttl()).unwrap();
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(2));
    assert!(left(&cache, "k").await > 3_500_000);
}

async fn the_default_ttl_holds_where_none_is_given(target: Target) {
    let options = Options {
        prefix: &nearcache_testkit::random_prefix(),
        default_ttl: Some("1h"),
        ..Options::default()
    };
    let cache = target.build(&target.url("default-ttl"), options).unwrap();
    call!(cache.set("a", &1)).unwrap();
    call!(cache.set_many([("b", 1)])).unwrap();
    call!(cache.add("c", &1)).unwrap();
    for key in ["a", "b", "c"] {
        assert!(
            (3_500_000..=3_600_000).contains(&left(&cache, key).await),
            "{key}"
        );
    }
    call!(cache.set("a", &1).forever()).unwrap();
    call!(cache.set_many([("b", 1)]).forever()).unwrap();
    assert_eq!(call!(cache.ttl("a")).unwrap(), Remaining::Forever);
    assert_eq!(call!(cache.ttl("b")).unwrap(), Remaining::Forever);
    assert!(call!(cache.touch("a")).unwrap());
    assert!(left(&cache, "a").await > 3_500_000);
    // A counter lives until it is told otherwise.
    call!(cache.incr("n")).unwrap();
    assert_eq!(call!(cache.ttl("n")).unwrap(), Remaining::Forever);
}

async fn expire_sets_and_persist_takes_away(target: Target) {
    let cache = target.cache();
    assert!(!call!(cache.expire("k", "1h")).unwrap());
    assert!(!call!(cache.persist("k")).unwrap());
    call!(cache.set("k", &1)).unwrap();
    assert!(!call!(cache.persist("k")).unwrap());
    assert!(call!(cache.expire("k", "1h")).unwrap());
    assert!(left(&cache, "k").await > 3_500_000);
    assert!(call!(cache.persist("k")).unwrap());
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Forever);
}

async fn expire_at_a_past_time_deletes(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &1)).unwrap();
    assert!(call!(cache.expire_at("k", SystemTime::now() + Duration::from_secs(3_600))).unwrap());
    assert!((3_500_000..=3_601_000).contains(&left(&cache, "k").await));
    assert!(call!(cache.expire_at("k", SystemTime::now() - Duration::from_secs(1))).unwrap());
    assert!(!call!(cache.contains("k")).unwrap());
    assert!(!call!(cache.expire_at("k", SystemTime::now())).unwrap());
    let error =
        call!(cache.expire_at("k", SystemTime::UNIX_EPOCH - Duration::from_secs(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
}

async fn touch_starts_the_ttl_anew(target: Target) {
    let cache = target.cache();
    assert!(!call!(cache.touch("k").ttl("1h")).unwrap());
    call!(cache.set("k", &1).ttl("1m")).unwrap();
    assert!(call!(cache.touch("k").ttl("1h")).unwrap());
    assert!(left(&cache, "k").await > 3_500_000);
    // Without a TTL anywhere, it only counts as a use.
    assert!(call!(cache.touch("k")).unwrap());
    assert!(left(&cache, "k").await > 3_500_000);
    assert!(!call!(cache.touch("missing")).unwrap());
}

async fn jitter_differs_by_key_and_stays_in_its_ratio(target: Target) {
    let options = Options {
        prefix: &nearcache_testkit::random_prefix(),
        ttl_jitter: 0.1,
        ..Options::default()
    };
    let cache = target.build(&target.url("jitter"), options).unwrap();
    call!(
        cache
            .set_many((0..100).map(|n| (format!("k{n}"), n)))
            .ttl(1_000)
    )
    .unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..100 {
        let left = left(&cache, &format!("k{n}")).await;
        assert!((890_000..=1_100_000).contains(&left), "{left}");
        seen.insert(left);
    }
    assert!(seen.len() > 90, "{} different TTLs", seen.len());
}
