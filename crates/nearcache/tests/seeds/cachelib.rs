//! Python's cachelib, "Redis Backend": the class `cachelib.redis.RedisCache`, in the order of its page.

use std::time::Duration;

use nearcache::simple::{BasicCache, Serializer, SimpleCache, Timeout, Value};
use nearcache::{BoxError, Cache, ErrorKind, Remaining};
use nearcache_testkit::{Port, Redis, random_prefix};

use crate::face::{Face, run};
use crate::simple_face::Simple;
use crate::target::Target;

suite! {
    its_base_is_the_base_of_all_caches,
    text_is_encoded_on_the_fly,
    the_default_timeout_is_300_seconds_and_zero_never_expires,
    the_key_prefix_is_added_to_all_keys,
    add_works_like_set_and_does_not_overwrite,
    clear_says_whether_the_cache_has_been_cleared,
    dec_subtracts_and_begins_with_minus_delta,
    delete_says_whether_the_key_existed,
    delete_many_lists_the_deleted_keys,
    get_returns_the_value_or_none,
    get_many_returns_a_list_and_get_dict_a_map,
    has_looks_without_reading,
    inc_adds_and_begins_with_delta,
    the_serializer_can_be_replaced,
    set_overwrites_and_says_true,
    set_many_lists_the_keys_that_are_set,
}

/// How long an entry stays still, in seconds; `None` for ever. It must be there.
async fn stays(face: &Face, key: &str) -> Option<u64> {
    match call!(face.ttl(key)).unwrap() {
        Remaining::Forever => None,
        // A part of a second has passed.
        Remaining::In(left) => Some(left.as_millis().div_ceil(1_000) as u64),
        Remaining::Missing => panic!("{key} is not there"),
    }
}

fn about(seconds: u64, left: Option<u64>) -> bool {
    left.is_some_and(|left| (seconds - seconds / 2..=seconds).contains(&left))
}

/// "class RedisCache(host='localhost', port=6379, password=None, db=0, …)"; "password authentication for the Redis
/// server"; "db (zero-based numeric index) on Redis Server to connect".
#[test]
fn it_is_made_of_a_host_a_port_a_password_and_a_db() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    run(async {
        let url = format!("redis://127.0.0.1:{}", redis.port());
        let cache = Cache::builder(&url)
            .password("s3cret")
            .db(3)
            .build()
            .unwrap();
        let simple = SimpleCache::new(&cache);
        assert!(simple.set("k", 1).await.unwrap());
        let stored = redis.inlines(&["AUTH s3cret", "SELECT 3", "GET k"]);
        assert_eq!(stored.trim(), "1");
        // The default database is 0, and it is another one.
        let other = Cache::builder(&url).password("s3cret").build().unwrap();
        assert_eq!(SimpleCache::new(&other).get("k").await.unwrap(), None);
        // The default is no password.
        let nobody = SimpleCache::new(&Cache::open(&url).unwrap()).strict();
        assert_eq!(nobody.get("k").await.unwrap_err().kind(), ErrorKind::Auth);
    });
    // The default place: `redis://localhost` is port 6379, database 0.
    let shown = format!("{:?}", Cache::open("redis://localhost").unwrap());
    assert!(
        shown.contains("localhost") && shown.contains("6379"),
        "{shown}"
    );
}

/// "… or an object resembling an instance of a redis.Redis class".
#[test]
fn it_is_made_of_a_client() {
    run(async {
        let client = redis::Client::open(Redis::shared().url()).unwrap();
        let cache = Cache::builder("redis://").client(&client).build().unwrap();
        let simple = SimpleCache::new(&cache).key_prefix(random_prefix());
        assert!(simple.set("k", 1).await.unwrap());
        assert_eq!(simple.get("k").await.unwrap(), Some(1.into()));
    });
}

/// "Bases: cachelib.base.BaseCache".
async fn its_base_is_the_base_of_all_caches(target: Target) {
    match target.cache() {
        Face::Async(cache) => {
            let base: Box<dyn BasicCache> = Box::new(SimpleCache::new(&cache));
            assert!(base.set("k", 1.into(), None).await.unwrap());
            assert_eq!(base.get("k").await.unwrap(), Some(1.into()));
        }
        Face::Blocking(cache) => {
            let base: Box<dyn BasicCache<_>> = Box::new(SimpleCache::new(&cache));
            assert!(base.set("k", 1.into(), None).run().unwrap());
            assert_eq!(base.get("k").run().unwrap(), Some(1.into()));
        }
    }
}

/// "Python Redis API already takes care of encoding unicode strings on the fly."
async fn text_is_encoded_on_the_fly(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    assert!(simply!(simple.set("ключ 🔑", "значение")).unwrap());
    let value = simply!(simple.get("ключ 🔑")).unwrap().unwrap();
    assert_eq!(value.as_str(), Some("значение"));
}

/// "default_timeout (int) – the default timeout that is used if no timeout is specified on set(). A timeout of 0 indicates
/// that the cache never expires."
async fn the_default_timeout_is_300_seconds_and_zero_never_expires(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    simply!(simple.set("a", 1)).unwrap();
    assert!(about(300, stays(&face, "a").await));
    let minute = with!(simple.clone(), default_timeout(60));
    simply!(minute.set("b", 1)).unwrap();
    simply!(minute.add("c", 1)).unwrap();
    simply!(minute.set_many([("d", 1)])).unwrap();
    for key in ["b", "c", "d"] {
        assert!(about(60, stays(&face, key).await), "{key}");
    }
    for never in [
        Timeout::from(0),
        Timeout::from(-1),
        Timeout::NEVER,
        Duration::ZERO.into(),
    ] {
        let simple = with!(simple.clone(), default_timeout(never));
        simply!(simple.set("e", 1)).unwrap();
        assert_eq!(stays(&face, "e").await, None);
        // What is said on the call goes before.
        simply!(simple.set("e", 1).timeout(60)).unwrap();
        assert!(about(60, stays(&face, "e").await));
    }
}

/// "key_prefix (Optional[str]) – A prefix that should be added to all keys." It is None by default.
async fn the_key_prefix_is_added_to_all_keys(target: Target) {
    let face = target.cache();
    let bare = Simple::over(&face);
    let simple = with!(bare.clone(), key_prefix("app_"));
    simply!(simple.set("set", 1)).unwrap();
    simply!(simple.add("add", 1)).unwrap();
    simply!(simple.set_many([("many", 1)])).unwrap();
    simply!(simple.inc("inc")).unwrap();
    simply!(simple.dec("dec")).unwrap();
    for key in ["set", "add", "many", "inc", "dec"] {
        assert!(simply!(bare.has(format!("app_{key}"))).unwrap(), "{key}");
        assert!(!simply!(bare.has(key)).unwrap(), "{key}");
        assert!(simply!(simple.has(key)).unwrap(), "{key}");
    }
    assert!(simply!(simple.delete("set")).unwrap());
    assert_eq!(simply!(simple.delete_many(["add"])).unwrap(), ["add"]);
    assert_eq!(
        simply!(simple.get_many(["add", "many"])).unwrap(),
        [None, Some(1.into())]
    );
    simply!(bare.set("outside", 1)).unwrap();
    assert!(simply!(simple.clear()).unwrap());
    assert!(simply!(bare.has("outside")).unwrap());
}

/// "Works like set() but does not overwrite the values of already existing keys." "Same as set(), but also False for
/// already existing keys."
async fn add_works_like_set_and_does_not_overwrite(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    assert!(simply!(simple.add("k", "first").timeout(60)).unwrap());
    assert!(!simply!(simple.add("k", "second").timeout(1_000)).unwrap());
    assert_eq!(simply!(simple.get("k")).unwrap(), Some("first".into()));
    assert!(about(60, stays(&face, "k").await));
    // "if not specified, it uses the default timeout"
    assert!(simply!(simple.add("default", 1)).unwrap());
    assert!(about(300, stays(&face, "default").await));
    // "A timeout of 0 indicates that the cache never expires."
    assert!(simply!(simple.add("never", 1).timeout(0)).unwrap());
    assert_eq!(stays(&face, "never").await, None);
    assert!(simply!(simple.add("never too", 1).timeout(-1)).unwrap());
    assert_eq!(stays(&face, "never too").await, None);
    let error = simply!(simple.add("wrong", 1).timeout(-2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
    assert!(!simply!(simple.has("wrong")).unwrap());
}

/// "Clears the cache." "Whether the cache has been cleared."
async fn clear_says_whether_the_cache_has_been_cleared(target: Target) {
    let face = target.cache();
    let simple = with!(Simple::over(&face), key_prefix("p"));
    simply!(simple.set_many([("a", 1), ("b", 2)])).unwrap();
    assert!(simply!(simple.clear()).unwrap());
    assert_eq!(simply!(simple.get_many(["a", "b"])).unwrap(), [None, None]);
    assert!(!simply!(simple.clear()).unwrap());
}

/// "Decrements the value of a key by delta. If the key does not yet exist it is initialized with -delta." dec(key,
/// delta=1). "The new value or None for backend errors."
async fn dec_subtracts_and_begins_with_minus_delta(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    assert_eq!(simply!(simple.dec("k")).unwrap(), Some(-1));
    assert_eq!(simply!(simple.dec("k").delta(10)).unwrap(), Some(-11));
    assert_eq!(simply!(simple.dec("k").delta(-1)).unwrap(), Some(-10));
    assert_eq!(simply!(simple.dec("new").delta(7)).unwrap(), Some(-7));
    assert_eq!(stays(&face, "new").await, None);
    simply!(simple.set("set", 5).timeout(60)).unwrap();
    assert_eq!(simply!(simple.dec("set")).unwrap(), Some(4));
    assert!(about(60, stays(&face, "set").await));
    assert_eq!(simply!(simple.get("set")).unwrap(), Some(4.into()));
    let error = simply!(simple.dec("new").delta(i64::MIN)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow);
}

/// "Delete key from the cache." "Whether the key existed and has been deleted."
async fn delete_says_whether_the_key_existed(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    simply!(simple.set("k", 1)).unwrap();
    assert!(simply!(simple.delete("k")).unwrap());
    assert!(!simply!(simple.delete("k")).unwrap());
    assert_eq!(simply!(simple.get("k")).unwrap(), None);
}

/// "Deletes multiple keys at once." "A list containing all sucessfuly deleted keys"
async fn delete_many_lists_the_deleted_keys(target: Target) {
    let face = target.cache();
    let simple = with!(Simple::over(&face), key_prefix("p"));
    simply!(simple.set_many([("a", 1), ("b", 2), ("c", 3)])).unwrap();
    let deleted = simply!(simple.delete_many(["a", "missing", "b", "a"])).unwrap();
    assert_eq!(deleted, ["a", "missing", "b", "a"]);
    assert!(!simply!(simple.has("a")).unwrap() && simply!(simple.has("c")).unwrap());
    assert!(simply!(simple.delete_many::<&str>([])).unwrap().is_empty());
}

/// "Look up key in the cache and return the value for it." "The value if it exists and is readable, else None."
async fn get_returns_the_value_or_none(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    assert_eq!(simply!(simple.get("k")).unwrap(), None);
    for value in [
        Value::from(7),
        true.into(),
        1.5.into(),
        "text".into(),
        Value::Bytes(vec![0, 0xff]),
        vec![1, 2].into(),
        Value::Tuple(vec![1.into()]),
        [("k", Value::None)].into(),
        Value::Set([1.into()].into()),
    ] {
        simply!(simple.set("k", &value)).unwrap();
        assert_eq!(simply!(simple.get("k")).unwrap(), Some(value));
    }
    // A cached None is there.
    simply!(simple.set("k", Value::None)).unwrap();
    assert_eq!(simply!(simple.get("k")).unwrap(), Some(Value::None));
    // What cannot be read is None, and stays.
    for broken in [&b"!"[..], b"!junk", b"!cos\nsystem\n(S'true'\ntR."] {
        call!(face.set("broken", nearcache::Raw(broken))).unwrap();
        assert_eq!(simply!(simple.get("broken")).unwrap(), None);
        let stored: Option<nearcache::Raw> = call!(face.get("broken")).unwrap();
        assert_eq!(stored.unwrap().0, broken);
    }
    // Bytes that are neither an integer nor a pickle are those of an old cachelib.
    call!(face.set("old", nearcache::Raw(&b"bytes"[..]))).unwrap();
    assert_eq!(
        simply!(simple.get("old")).unwrap(),
        Some(Value::Bytes(b"bytes".to_vec()))
    );
}

/// "Returns a list of values for the given keys. For each key an item in the list is created: foo, bar =
/// cache.get_many("foo", "bar")". "Has the same error handling as get()."
async fn get_many_returns_a_list_and_get_dict_a_map(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    simply!(simple.set_many([("foo", 1), ("bar", 2)])).unwrap();
    let values = simply!(simple.get_many(["foo", "bar"])).unwrap();
    assert_eq!(values, [Some(1.into()), Some(2.into())]);
    let values = simply!(simple.get_many(["bar", "missing", "bar"])).unwrap();
    assert_eq!(values, [Some(2.into()), None, Some(2.into())]);
    assert!(simply!(simple.get_many::<&str>([])).unwrap().is_empty());
    call!(face.set("broken", nearcache::Raw(&b"!"[..]))).unwrap();
    assert_eq!(simply!(simple.get_many(["broken"])).unwrap(), [None]);
    let dict = simply!(simple.get_dict(["foo", "missing", "foo"])).unwrap();
    assert_eq!(dict, [("foo", Some(1.into())), ("missing", None)].into());
}

/// "Checks if a key exists in the cache without returning it."
async fn has_looks_without_reading(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    assert!(!simply!(simple.has("k")).unwrap());
    simply!(simple.set("k", Value::None)).unwrap();
    assert!(simply!(simple.has("k")).unwrap());
    call!(face.set("broken", nearcache::Raw(&b"!"[..]))).unwrap();
    assert!(simply!(simple.has("broken")).unwrap());
}

/// "Increments the value of a key by delta. If the key does not yet exist it is initialized with delta." inc(key,
/// delta=1). "For supporting caches this is an atomic operation." "The new value or None for backend errors."
async fn inc_adds_and_begins_with_delta(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    assert_eq!(simply!(simple.inc("k")).unwrap(), Some(1));
    assert_eq!(simply!(simple.inc("k").delta(10)).unwrap(), Some(11));
    assert_eq!(simply!(simple.inc("k").delta(-1)).unwrap(), Some(10));
    assert_eq!(simply!(simple.inc("new").delta(7)).unwrap(), Some(7));
    assert_eq!(stays(&face, "new").await, None);
    simply!(simple.set("set", 5).timeout(60)).unwrap();
    assert_eq!(simply!(simple.inc("set")).unwrap(), Some(6));
    assert!(about(60, stays(&face, "set").await));
    assert_eq!(simply!(simple.get("set")).unwrap(), Some(6.into()));
    for (value, kind) in [
        (Value::from("7"), ErrorKind::NotInteger),
        (true.into(), ErrorKind::NotInteger),
        (1.5.into(), ErrorKind::NotInteger),
        ((1_i128 << 70).into(), ErrorKind::NotInteger),
        (i64::MAX.into(), ErrorKind::Overflow),
    ] {
        simply!(simple.set("wrong", &value)).unwrap();
        assert_eq!(simply!(simple.inc("wrong")).unwrap_err().kind(), kind);
        assert_eq!(simply!(simple.get("wrong")).unwrap(), Some(value));
    }
    // An atomic operation: from many callers, none is lost.
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let simple = simple.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    simply!(simple.inc("many")).unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(simply!(simple.get("many")).unwrap(), Some(400.into()));
}

/// What is stored is what `repr` shows.
#[derive(Debug)]
struct Shown;

impl Serializer for Shown {
    fn dumps(&self, value: &Value) -> Result<Vec<u8>, BoxError> {
        Ok(format!("{value:?}").into_bytes())
    }

    fn loads(&self, bytes: Option<&[u8]>) -> Option<Value> {
        Some(std::str::from_utf8(bytes?).ok()?.into())
    }
}

/// "serializer = <cachelib.serializers.RedisSerializer object>"
async fn the_serializer_can_be_replaced(target: Target) {
    let face = target.cache();
    let simple = with!(Simple::over(&face), serializer(Shown));
    simply!(simple.set("k", true)).unwrap();
    assert_eq!(simply!(simple.get("k")).unwrap(), Some("Bool(true)".into()));
}

/// "Add a new key/value to the cache (overwrites value, if key already exists in the cache)." "True if key has been
/// updated, False for backend errors. Pickling errors, however, will raise".
async fn set_overwrites_and_says_true(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    assert!(simply!(simple.set("k", "first").timeout(60)).unwrap());
    assert!(about(60, stays(&face, "k").await));
    assert!(simply!(simple.set("k", "second")).unwrap());
    assert_eq!(simply!(simple.get("k")).unwrap(), Some("second".into()));
    assert!(about(300, stays(&face, "k").await));
    assert!(simply!(simple.set("k", 1).timeout(0)).unwrap());
    assert_eq!(stays(&face, "k").await, None);
    assert!(simply!(simple.set("k", 1).timeout(Duration::from_millis(89_200))).unwrap());
    assert!(about(90, stays(&face, "k").await));
    assert!(simply!(simple.set("k", 1).timeout(89.5)).unwrap());
    assert!(about(90, stays(&face, "k").await));
    let wrong = simply!(simple.set("k", 2).timeout(-2)).unwrap_err();
    let same = simply!(simple.add("l", 2).timeout(-2)).unwrap_err();
    assert_eq!(wrong.to_string(), same.to_string());
    let unhashable = Value::from([(vec![1], 1)]);
    let error = simply!(simple.set("k", unhashable)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(simply!(simple.get("k")).unwrap(), Some(1.into()));
}

/// "Sets multiple keys and values from a mapping." "A list containing all keys sucessfuly set"
async fn set_many_lists_the_keys_that_are_set(target: Target) {
    let face = target.cache();
    let simple = Simple::over(&face);
    let set = simply!(simple.set_many([("a", 1), ("b", 2)]).timeout(60)).unwrap();
    assert_eq!(set, ["a", "b"]);
    assert!(about(60, stays(&face, "a").await) && about(60, stays(&face, "b").await));
    simply!(simple.set_many([("a", 3)])).unwrap();
    assert!(about(300, stays(&face, "a").await));
    simply!(simple.set_many([("a", 3)]).timeout(0)).unwrap();
    assert_eq!(stays(&face, "a").await, None);
    let none: [(&str, i64); 0] = [];
    assert!(simply!(simple.set_many(none)).unwrap().is_empty());
    let error = simply!(simple.set_many([("a", 1)]).timeout(-2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
}

/// "False for backend errors", "None for backend errors".
#[test]
fn backend_errors_are_false_and_none() {
    let port = Port::unused();
    run(async {
        let cache = Cache::open(&format!("redis://127.0.0.1:{port}")).unwrap();
        for face in [
            Face::Blocking(cache.blocking().unwrap()),
            Face::Async(cache),
        ] {
            let simple = Simple::over(&face);
            assert!(!simply!(simple.set("k", 1)).unwrap());
            assert!(!simply!(simple.add("k", 1)).unwrap());
            assert_eq!(simply!(simple.get("k")).unwrap(), None);
            assert_eq!(simply!(simple.get_many(["k"])).unwrap(), [None]);
            assert_eq!(simply!(simple.inc("k")).unwrap(), None);
            assert_eq!(simply!(simple.dec("k")).unwrap(), None);
            assert!(simply!(simple.set_many([("k", 1)])).unwrap().is_empty());
            assert!(simply!(simple.delete_many(["k"])).unwrap().is_empty());
            assert!(!simply!(simple.delete("k")).unwrap());
            assert!(!simply!(simple.has("k")).unwrap());
            assert!(!simply!(simple.clear()).unwrap());
        }
    });
}
