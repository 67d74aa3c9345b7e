//! Listing and clearing, which never leave the prefix.

use nearcache::ErrorKind;
use nearcache_testkit::{Redis, random_prefix};

use crate::target::{Face, Target, keys_matching, raw};

suite! {
    keys_are_listed_without_the_prefix_each_once,
    keys_is_lazy,
    patterns_match_as_in_redis,
    delete_pattern_deletes_what_it_matches_and_says_how_many,
    glob_characters_in_a_prefix_reach_no_foreign_key,
    keys_of_nearcache_are_hidden,
    clear_deletes_everything_under_the_prefix_and_nothing_else,
    clear_spares_what_helpers_keep_unless_asked,
    clear_without_a_prefix_refuses,
    clear_of_the_whole_database_says_how_many,
}

async fn keys_are_listed_without_the_prefix_each_once(target: Target) {
    let cache = target.cache();
    assert!(keys_matching(&cache, b"*").await.is_empty());
    let mut keys: Vec<Vec<u8>> = (0..3_000)
        .map(|n| format!("key:{n}").into_bytes())
        .collect();
    call!(cache.set_many(keys.iter().map(|key| (key, 1)))).unwrap();
    keys.sort();
    assert!(keys_matching(&cache, b"*").await == keys);
    call!(cache.delete_many(&keys)).unwrap();
}

async fn keys_is_lazy(target: Target) {
    let cache = target.cache();
    call!(cache.set_many((0..500).map(|n| (format!("key:{n}"), 1)))).unwrap();
    let some = match &cache {
        Face::Async(cache) => {
            let mut keys = cache.keys().page_size(1);
            keys.next().await.unwrap().unwrap()
        }
        Face::Blocking(cache) => cache.keys().page_size(1).next().unwrap().unwrap(),
    };
    assert!(some.as_str().unwrap().starts_with("key:"));
}

async fn patterns_match_as_in_redis(target: Target) {
    let cache = target.cache();
    let keys = [
        "user:1", "user:2", "user:10", "order:1", "a*b", "axb", "[x]",
    ];
    call!(cache.set_many(keys.map(|key| (key, 1)))).unwrap();
    for (pattern, expected) in [
        ("user:*", vec!["user:1", "user:10", "user:2"]),
        ("user:?", vec!["user:1", "user:2"]),
        ("user:[12]", vec!["user:1", "user:2"]),
        ("user:[^1]", vec!["user:2"]),
        ("*:1", vec!["order:1", "user:1"]),
        (r"a\*b", vec!["a*b"]),
        ("a*b", vec!["a*b", "axb"]),
        (r"\[x\]", vec!["[x]"]),
        ("nothing*", vec![]),
        ("", vec![]),
    ] {
        let expected: Vec<Vec<u8>> = expected
            .into_iter()
            .map(|key| key.as_bytes().to_vec())
            .collect();
        assert_eq!(
            keys_matching(&cache, pattern.as_bytes()).await,
            expected,
            "{pattern}"
        );
    }
}

async fn delete_pattern_deletes_what_it_matches_and_says_how_many(target: Target) {
    let cache = target.cache();
    call!(cache.set_many((0..2_500).map(|n| (format!("user:{n}"), n)))).unwrap();
    call!(cache.set("order:1", &1)).unwrap();
    assert_eq!(call!(cache.delete_pattern("user:*")).unwrap(), 2_500);
    assert_eq!(call!(cache.delete_pattern("user:*")).unwrap(), 0);
    assert!(call!(cache.contains("order:1")).unwrap());
}

async fn glob_characters_in_a_prefix_reach_no_foreign_key(target: Target) {
    let base = random_prefix();
    let url = target.url(&base);
    let foreign = target.cache_at(&url, &base);
    call!(foreign.set_many((0..20).map(|n| (format!("k{n}"), n)))).unwrap();
    let shorter = &base[..base.len() - 1];
    let last = &base[base.len() - 1..];
    let rest = &base[1..];
    for prefix in [
        &format!("*{rest}"),
        &format!("?{rest}"),
        &format!("t*{rest}"),
        &format!("{shorter}*"),
        &format!("{shorter}?"),
        &format!("{shorter}[{last}]"),
        &format!("{shorter}[a-zA-Z0-9]"),
        &format!("{shorter}[^-]"),
        &format!(r"{shorter}\{last}"),
    ] {
        let cache = target.cache_at(&url, prefix);
        assert!(keys_matching(&cache, b"*").await.is_empty(), "{prefix}");
        assert_eq!(call!(cache.delete_pattern("*")).unwrap(), 0, "{prefix}");
        assert_eq!(call!(cache.clear()).unwrap(), 0, "{prefix}");
        call!(cache.set("own", &1)).unwrap();
        assert_eq!(keys_matching(&cache, b"*").await, [b"own"], "{prefix}");
        assert_eq!(call!(cache.clear()).unwrap(), 1, "{prefix}");
    }
    assert_eq!(keys_matching(&foreign, b"*").await.len(), 20);
}

async fn keys_of_nearcache_are_hidden(target: Target) {
    let prefix = random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    for key in [
        "#nearcache:tag:users",
        "{k}#nearcache:lease",
        "a{b#nearcache:leasex1",
    ] {
        raw(
            &cache,
            &[b"SET", format!("{prefix}:{key}").as_bytes(), b"x"],
        )
        .await;
    }
    call!(cache.set("k", &1)).unwrap();
    assert_eq!(keys_matching(&cache, b"*").await, [b"k"]);
    assert!(keys_matching(&cache, b"*nearcache*").await.is_empty());
    assert_eq!(call!(cache.delete_pattern("*nearcache*")).unwrap(), 0);
}

async fn clear_deletes_everything_under_the_prefix_and_nothing_else(target: Target) {
    let prefix = random_prefix();
    let url = target.url(&prefix);
    let cache = target.cache_at(&url, &prefix);
    let neighbour = target.cache_at(&url, &format!("{prefix}2"));
    call!(cache.set_many((0..2_500).map(|n| (format!("k{n}"), n)))).unwrap();
    call!(neighbour.set("k", &1)).unwrap();
    assert_eq!(call!(cache.clear()).unwrap(), 2_500);
    assert!(keys_matching(&cache, b"*").await.is_empty());
    assert!(call!(neighbour.contains("k")).unwrap());
    assert_eq!(call!(cache.clear()).unwrap(), 0);
}

async fn clear_spares_what_helpers_keep_unless_asked(target: Target) {
    let prefix = random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    call!(cache.set("k", &1).tags(["t"])).unwrap();
    let key = |name: &str| format!("{prefix}:#nearcache:{name}").into_bytes();
    let lock = key("lock:{job}");
    raw(&cache, &[b"SET", &lock, b"7"]).await;
    raw(&cache, &[b"RPUSH", &key("queue:{mail}"), b"7"]).await;
    assert_eq!(call!(cache.clear()).unwrap(), 1);
    assert_eq!(raw(&cache, &[b"EXISTS", &lock]).await, redis::Value::Int(1));
    call!(cache.set("k", &1).tags(["t"])).unwrap();
    assert_eq!(call!(cache.clear().with_helpers()).unwrap(), 3);
    assert_eq!(raw(&cache, &[b"EXISTS", &lock]).await, redis::Value::Int(0));
    assert_eq!(call!(cache.clear().with_helpers()).unwrap(), 0);
}

async fn clear_without_a_prefix_refuses(target: Target) {
    let cache = target.cache_at(&target.url("no-prefix"), "");
    let key = random_prefix();
    call!(cache.set(&key, &1)).unwrap();
    let error = call!(cache.clear()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("whole_database"), "{error}");
    assert!(call!(cache.delete(&key)).unwrap());
}

async fn clear_of_the_whole_database_says_how_many(target: Target) {
    if target.is_acl_user() {
        let cache = target.cache();
        let error = call!(cache.clear().whole_database()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        return;
    }
    // The database is the test's own: the shared server's would take other tests' keys along.
    let own = (!target.is_embedded()).then(Redis::start);
    let url = own
        .as_ref()
        .map_or_else(|| format!("memory://{}", random_prefix()), Redis::url);
    let cache = target.cache_at(&url, "");
    call!(cache.set_many((0..50).map(|n| (format!("k{n}"), n)))).unwrap();
    assert_eq!(call!(cache.clear().whole_database()).unwrap(), 50);
    assert!(keys_matching(&cache, b"*").await.is_empty());
}
