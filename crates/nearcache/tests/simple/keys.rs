//! Keys and prefixes: nothing outside a prefix is touched.

use nearcache::ErrorKind;
use nearcache::simple::{SimpleCache, Value};
use nearcache_testkit::{Redis, random_prefix};

use crate::face::{Face, run};
use crate::simple_face::Simple;
use crate::target::{Options, Target, keys_matching};

suite! {
    a_key_is_what_it_shows_behind_the_prefix_without_a_separator,
    clearing_stays_inside_a_prefix_of_any_characters,
    a_prefix_can_be_made_for_each_call,
    the_prefix_of_the_cache_comes_first_and_is_a_prefix_too,
    an_invalid_key_is_an_error_of_each_call,
    batches_of_many_keys_are_split,
}

async fn a_key_is_what_it_shows_behind_the_prefix_without_a_separator(target: Target) {
    let cache = target.cache();
    let simple = with!(Simple::over(&cache), key_prefix("p:"));
    simply!(simple.set(5, 1)).unwrap();
    simply!(simple.set("naïve \0 key", 2)).unwrap();
    simply!(simple.set('c', 3)).unwrap();
    simply!(simple.set(format_args!("{}:{}", "user", 7).to_string(), 4)).unwrap();
    let keys = keys_matching(&cache, b"*").await;
    let expected = ["p:5", "p:c", "p:naïve \0 key", "p:user:7"];
    assert_eq!(keys, expected.map(|key| key.as_bytes().to_vec()));
    assert_eq!(simply!(simple.get("5")).unwrap(), Some(1.into()));
    assert_eq!(
        simply!(simple.get_many([5, 6])).unwrap(),
        [Some(1.into()), None]
    );
}

async fn clearing_stays_inside_a_prefix_of_any_characters(target: Target) {
    for (prefix, others) in [
        ("a*", ["ab:k", "axxk"]),
        ("a?", ["ab", "ac1"]),
        ("[ab]", ["ak", "bk"]),
        ("a\\", ["ak", "a*"]),
        ("^a-z", ["bk", "ak"]),
        ("p.", ["pk", "p"]),
    ] {
        let cache = target.cache();
        let (simple, other) = (Simple::over(&cache), Simple::over(&cache));
        let simple = with!(simple, key_prefix(prefix));
        assert!(
            !simply!(simple.clear()).unwrap(),
            "nothing there yet: {prefix}"
        );
        simply!(simple.set_many([("k", 1), ("*", 2)])).unwrap();
        simply!(other.set_many(others.map(|key| (key, 3)))).unwrap();
        assert!(simply!(simple.clear()).unwrap(), "{prefix}");
        assert!(!simply!(simple.clear()).unwrap(), "{prefix}");
        let left = simply!(other.get_many(others)).unwrap();
        assert_eq!(left, [Some(3.into()), Some(3.into())], "{prefix}");
        assert!(!simply!(simple.has("k")).unwrap());
    }
}

async fn a_prefix_can_be_made_for_each_call(target: Target) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let cache = target.cache();
    let tenant = Arc::new(AtomicUsize::new(1));
    let now = Arc::clone(&tenant);
    let made = move || format!("tenant{}_", now.load(Ordering::SeqCst));
    let simple = with!(Simple::over(&cache), key_prefix_with(made));
    simply!(simple.set("n", 1)).unwrap();
    tenant.store(2, Ordering::SeqCst);
    assert_eq!(simply!(simple.get("n")).unwrap(), None);
    simply!(simple.set("n", 2)).unwrap();
    assert!(simply!(simple.clear()).unwrap());
    tenant.store(1, Ordering::SeqCst);
    assert_eq!(simply!(simple.get("n")).unwrap(), Some(1.into()));
    // One that makes nothing does not empty the database.
    let empty = with!(Simple::over(&cache), key_prefix_with(String::new));
    assert!(simply!(empty.clear()).unwrap());
    assert!(!simply!(empty.clear()).unwrap());
}

async fn the_prefix_of_the_cache_comes_first_and_is_a_prefix_too(target: Target) {
    let name = random_prefix();
    let options = |prefix| Options {
        prefix,
        ..Options::default()
    };
    let outer = target.build(&target.url(&name), options(&name)).unwrap();
    let inside = format!("{name}:inside");
    let inner = target.build(&target.url(&name), options(&inside)).unwrap();
    let (one, other) = (Simple::over(&outer), Simple::over(&inner));
    simply!(one.set("k", 1)).unwrap();
    simply!(other.set("k", 2)).unwrap();
    assert_eq!(simply!(one.get("inside:k")).unwrap(), Some(2.into()));
    // Without a prefix of its own it clears that of the cache, and not the database.
    assert!(simply!(other.clear()).unwrap());
    assert!(!simply!(other.clear()).unwrap());
    assert_eq!(simply!(one.get("k")).unwrap(), Some(1.into()));
}

async fn an_invalid_key_is_an_error_of_each_call(target: Target) {
    let cache = target.cache();
    let simple = Simple::over(&cache);
    for key in ["", "#nearcache:index"] {
        let kinds = [
            simply!(simple.get(key)).unwrap_err().kind(),
            simply!(simple.set(key, 1)).unwrap_err().kind(),
            simply!(simple.add(key, 1)).unwrap_err().kind(),
            simply!(simple.delete(key)).unwrap_err().kind(),
            simply!(simple.has(key)).unwrap_err().kind(),
            simply!(simple.inc(key)).unwrap_err().kind(),
            simply!(simple.dec(key)).unwrap_err().kind(),
            simply!(simple.get_many(["fine", key])).unwrap_err().kind(),
            simply!(simple.get_dict(["fine", key])).unwrap_err().kind(),
            simply!(simple.set_many([("fine", 1), (key, 2)]))
                .unwrap_err()
                .kind(),
            simply!(simple.delete_many(["fine", key]))
                .unwrap_err()
                .kind(),
        ];
        assert_eq!(kinds, [ErrorKind::InvalidKey; 11], "{key:?}");
    }
    assert!(!simply!(simple.has("fine")).unwrap());
}

async fn batches_of_many_keys_are_split(target: Target) {
    let cache = target.cache();
    let simple = Simple::over(&cache);
    let keys: Vec<i64> = (0..10_500).collect();
    let set = simply!(simple.set_many(keys.iter().map(|key| (*key, *key)))).unwrap();
    assert_eq!(set, keys);
    let values = simply!(simple.get_many(&keys)).unwrap();
    assert!(
        keys.iter()
            .zip(values)
            .all(|(key, value)| value == Some(Value::from(*key)))
    );
    assert_eq!(simply!(simple.delete_many(keys.clone())).unwrap(), keys);
    assert!(!simply!(simple.clear()).unwrap());
}

/// Without any prefix it empties the database, as cachelib does: on a server of its own.
#[test]
fn clearing_without_a_prefix_empties_the_database() {
    let redis = Redis::start();
    run(async {
        let cache = nearcache::Cache::open(&redis.patient_url()).unwrap();
        let simple = SimpleCache::new(&cache);
        redis.inline("SET another-programs 1");
        assert!(simple.clear().await.unwrap());
        assert_eq!(redis.inline("DBSIZE").trim(), ":0");
        assert!(
            simple.clear().await.unwrap(),
            "there was nothing, and it is done"
        );
        let blocking = Simple::over(&Face::Blocking(cache.blocking().unwrap()));
        assert!(simply!(blocking.clear()).unwrap());
    });
    run(async {
        let embedded = nearcache::Cache::open("memory://").unwrap();
        embedded.set("k", 1).await.unwrap();
        let simple = SimpleCache::new(&embedded);
        assert!(simple.clear().await.unwrap());
        assert!(!embedded.contains("k").await.unwrap());
    });
}
