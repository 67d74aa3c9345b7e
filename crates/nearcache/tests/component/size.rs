//! How many values there are at most.

use std::time::Duration;

use nearcache::compat::component::Params;

use crate::either::{Either, at, open};
use crate::target::{Target, keys_matching};

brief_suite! {
    the_earliest_expiry_goes_first,
    what_is_stored_again_or_removed_counts_once_or_not_at_all,
    what_has_expired_goes_before_what_has_not,
    two_components_of_one_prefix_have_one_bound,
    without_a_bound_everything_stays,
    a_full_cache_never_has_more,
    the_index_is_the_frozen_bytes,
}

const MINUTE: Duration = Duration::from_secs(60);

/// The keys that are there.
async fn keys(target: Target, prefix: &str) -> Vec<String> {
    let cache = target.cache_at(&target.url(prefix), prefix);
    let keys = keys_matching(&cache, b"*").await;
    keys.into_iter()
        .map(|key| String::from_utf8(key).unwrap())
        .collect()
}

fn at_most(size: usize) -> Params {
    Params::from([("options.max_size", size)])
}

async fn the_earliest_expiry_goes_first(target: Target) {
    let (component, prefix) = open(target, at_most(3)).await;
    for (key, minutes) in [("a", 30), ("b", 10), ("c", 20)] {
        on!(component.store(None, key, 1, Some(minutes * MINUTE))).unwrap();
    }
    assert_eq!(keys(target, &prefix).await, ["a", "b", "c"]);
    on!(component.store(None, "d", 1, Some(40 * MINUTE))).unwrap();
    assert_eq!(keys(target, &prefix).await, ["a", "c", "d"]);
    // What is being stored stays, though it expires first of all.
    on!(component.store(None, "e", 1, Some(MINUTE))).unwrap();
    assert_eq!(keys(target, &prefix).await, ["a", "d", "e"]);
    on!(component.store(None, "f 100%\n", 1, Some(MINUTE))).unwrap();
    on!(component.store(None, "g", 1, Some(2 * MINUTE))).unwrap();
    assert_eq!(keys(target, &prefix).await, ["a", "d", "g"]);
}

async fn what_is_stored_again_or_removed_counts_once_or_not_at_all(target: Target) {
    let (component, prefix) = open(target, at_most(2)).await;
    for _ in 0..5 {
        on!(component.store(None, "a", 1, Some(MINUTE))).unwrap();
        on!(component.store(None, "b", 1, Some(2 * MINUTE))).unwrap();
    }
    assert_eq!(keys(target, &prefix).await, ["a", "b"]);
    // Stored again, with another time, it has another place.
    on!(component.store(None, "a", 1, Some(3 * MINUTE))).unwrap();
    on!(component.store(None, "c", 1, Some(4 * MINUTE))).unwrap();
    assert_eq!(keys(target, &prefix).await, ["a", "c"]);
    on!(component.remove::<i32>(None, "a")).unwrap();
    on!(component.store(None, "c", None::<i32>, None)).unwrap();
    on!(component.store(None, "d", 1, Some(MINUTE))).unwrap();
    on!(component.store(None, "e", 1, Some(MINUTE))).unwrap();
    assert_eq!(keys(target, &prefix).await, ["d", "e"]);
}

async fn what_has_expired_goes_before_what_has_not(target: Target) {
    let (component, prefix) = open(target, at_most(2)).await;
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    on!(component.store(None, "soon", 1, Some(Duration::from_millis(1)))).unwrap();
    on!(component.store(None, "late", 1, Some(MINUTE))).unwrap();
    while call!(cache.contains("soon")).unwrap() {
        std::thread::yield_now();
    }
    on!(component.store(None, "new", 1, Some(2 * MINUTE))).unwrap();
    assert_eq!(keys(target, &prefix).await, ["late", "new"]);
}

async fn two_components_of_one_prefix_have_one_bound(target: Target) {
    let (component, prefix) = open(target, at_most(3)).await;
    let other = Either::new(target);
    other.configure(&at(target, &prefix));
    other.configure(&at_most(3));
    on!(other.open(None)).unwrap();
    for minute in 1..=4 {
        on!(component.store(None, &format!("a{minute}"), 1, Some(minute * MINUTE))).unwrap();
        on!(other.store(None, &format!("b{minute}"), 1, Some(minute * MINUTE))).unwrap();
    }
    assert_eq!(keys(target, &prefix).await, ["a4", "b3", "b4"]);
}

async fn without_a_bound_everything_stays(target: Target) {
    let (component, prefix) = open(target, at_most(0)).await;
    for number in 0..1_100 {
        on!(component.store(None, &number.to_string(), 1, None)).unwrap();
    }
    assert_eq!(keys(target, &prefix).await.len(), 1_100);
    let (component, prefix) = open(target, Params::new()).await;
    for number in 0..1_100 {
        on!(component.store(None, &number.to_string(), 1, None)).unwrap();
    }
    assert_eq!(keys(target, &prefix).await.len(), 1_000);
}

async fn a_full_cache_never_has_more(target: Target) {
    let (component, prefix) = open(target, at_most(10)).await;
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        let key = format!("k{}", rng.u8(..30));
        if rng.u8(..5) == 0 {
            on!(component.remove::<i32>(None, &key)).unwrap();
        } else {
            let minutes = rng.u32(1..100);
            on!(component.store(None, &key, 1, Some(minutes * MINUTE))).unwrap();
            assert!(
                on!(component.retrieve::<i32>(None, &key))
                    .unwrap()
                    .is_some()
            );
        }
    }
    assert_eq!(keys(target, &prefix).await.len(), 10);
    // The index lives no longer than what it is about, and goes with it.
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let index = format!("{prefix}:#nearcache:index");
    let other = target.cache_at(&target.url(&prefix), "");
    let left = crate::target::raw(&other, &[b"PTTL", index.as_bytes()]).await;
    assert!(
        matches!(left, ::redis::Value::Int(1..=6_000_000)),
        "{left:?}"
    );
    assert_eq!(call!(cache.clear()).unwrap(), 10);
    let there = crate::target::raw(&other, &[b"EXISTS", index.as_bytes()]).await;
    assert_eq!(there, ::redis::Value::Int(0));
}

async fn the_index_is_the_frozen_bytes(target: Target) {
    let (component, prefix) = open(target, Params::new()).await;
    on!(component.store(None, "a b%é\n\u{7f}~:", 1, Some(MINUTE))).unwrap();
    on!(component.store(None, "first", 1, None)).unwrap();
    on!(component.store(None, "first", 1, Some(MINUTE / 2))).unwrap();
    let other = target.cache_at(&target.url(&prefix), "");
    let index = format!("{prefix}:#nearcache:index");
    let read = [b"ZRANGE", index.as_bytes(), b"0", b"-1", b"WITHSCORES"];
    let ::redis::Value::Array(parts) = crate::target::raw(&other, &read).await else {
        panic!("an index");
    };
    let text = |value: &::redis::Value| match value {
        ::redis::Value::BulkString(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        // RESP3 has a pair for each, with the score as a number.
        other => panic!("{other:?}"),
    };
    let pairs: Vec<(String, f64)> = match &parts[0] {
        ::redis::Value::Array(_) => parts
            .iter()
            .map(|pair| match pair {
                ::redis::Value::Array(pair) => match &pair[..] {
                    [name, ::redis::Value::Double(score)] => (text(name), *score),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            })
            .collect(),
        _ => parts
            .chunks(2)
            .map(|pair| (text(&pair[0]), text(&pair[1]).parse().unwrap()))
            .collect(),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_millis() as f64;
    for (_, score) in &pairs {
        assert!((now..now + 60_001.0).contains(score), "{pairs:?}");
    }
    let names: Vec<&str> = pairs.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["first", "a b%é\n\u{7f}~:"]);
}

#[test]
fn the_size_is_from_zero_to_a_hundred_thousand() {
    crate::face::run(async {
        for (size, ok) in [
            ("0", true),
            ("100000", true),
            ("100001", false),
            ("-1", false),
            ("many", false),
        ] {
            let component = nearcache::compat::component::Component::new();
            component.configure(&Params::from([
                ("connection.uri", "memory://"),
                ("options.max_size", size),
            ]));
            let opened = component.open(None).await;
            assert_eq!(opened.is_ok(), ok, "{size}: {opened:?}");
            if let Err(error) = opened {
                assert!(
                    error
                        .to_string()
                        .contains("options.max_size: expected a whole number from 0 to 100000"),
                    "{error}"
                );
            }
        }
    });
}
