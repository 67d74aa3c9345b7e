//! redis_kit's page "Cache", in the order of the page, in the words of Rust: `docs/redis-kit.md` has both side by side.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nearcache::hooks::{Call, Done, Hook, MetricsCollector, Outcome};
use nearcache::redis::Value;
use nearcache::{
    BoxError, Builder, Cache, Error, ErrorKind, Fallback, Instead, Lookup, Remaining, blocking,
    cached,
};
use nearcache_testkit::{Port, random_prefix};
use serde::{Deserialize, Serialize};

use crate::face::{Face, run};
use crate::target::{Options, Target, keys_matching, raw};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
}

fn alice() -> User {
    User {
        name: "Alice".to_owned(),
    }
}

brief_suite! {
    basic_usage,
    ttl_management,
    ttl_in_text,
    cache_aside,
    batch_operations,
    pattern_based_operations,
    bound_operations,
    cache_penetration_protection,
    jitter,
    hooks_see_the_whole_life_of_a_call,
    a_hook_that_fails_breaks_nothing,
    metrics,
}

/// Loads on either face.
macro_rules! remember {
    ($face:ident, $key:expr, $value:expr) => {
        match &$face {
            Face::Async(cache) => cache.remember($key, async move || $value).ttl(3600).await,
            Face::Blocking(cache) => cache.remember($key, move || $value).ttl(3600).run(),
        }
    };
}

// # Basic Usage

async fn basic_usage(target: Target) {
    let app = random_prefix();
    let prefix = format!("{app}:myapp:cache");
    let cache = target.cache_at(&target.url(&app), &prefix);
    call!(cache.set("user:1", &alice()).ttl("2h30m")).unwrap();
    let user: Option<User> = call!(cache.get("user:1")).unwrap();
    assert_eq!(user, Some(alice()));
    let left = call!(cache.ttl("user:1")).unwrap().duration().unwrap();
    assert!(left > Duration::from_secs(8_990) && left <= Duration::from_secs(9_000));
    // The key is `prefix:key`, the value JSON.
    let stored = raw(&cache, &[b"GET", format!("{prefix}:user:1").as_bytes()]).await;
    assert_eq!(stored, Value::BulkString(br#"{"name":"Alice"}"#.to_vec()));
    assert!(call!(cache.delete("user:1")).unwrap());
    assert_eq!(call!(cache.get::<User>("user:1")).unwrap(), None);
    assert!(!call!(cache.delete("user:1")).unwrap());
    // What Python's json.dumps wrote is read.
    let theirs: &[u8] = r#"{"name": "张三"}"#.as_bytes();
    raw(
        &cache,
        &[b"SET", format!("{prefix}:user:2").as_bytes(), theirs],
    )
    .await;
    let user: Option<User> = call!(cache.get("user:2")).unwrap();
    assert_eq!(user.unwrap().name, "张三");
    // Without a prefix the key is bare.
    let bare = target.cache_at(&target.url(&app), "");
    let name = format!("{app}:bare");
    call!(bare.set(&name, 1).ttl(60)).unwrap();
    assert_eq!(
        raw(&bare, &[b"GET", name.as_bytes()]).await,
        Value::BulkString(b"1".to_vec())
    );
    // A value that cannot be represented is an error, and nothing is stored.
    let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert_eq!(
        call!(cache.set("odd", &odd)).unwrap_err().kind(),
        ErrorKind::Codec
    );
    assert!(!call!(cache.contains("odd")).unwrap());
}

// # TTL Management

async fn ttl_management(target: Target) {
    let cache = target.cache();
    call!(cache.set("key", "value").ttl(3600)).unwrap();
    // Remaining seconds, and milliseconds.
    let Remaining::In(left) = call!(cache.ttl("key")).unwrap() else {
        panic!("it has a TTL");
    };
    assert!(left.as_secs() > 3_590 && left.as_millis() <= 3_600_000);
    // Remove expiration
    assert!(call!(cache.persist("key")).unwrap());
    assert_eq!(call!(cache.ttl("key")).unwrap(), Remaining::Forever);
    // Reset TTL
    assert!(call!(cache.expire("key", 600)).unwrap());
    assert!(call!(cache.ttl("key")).unwrap().duration().unwrap() <= Duration::from_secs(600));
    assert!(call!(cache.expire("key", "1h30m")).unwrap());
    let at = SystemTime::now() + Duration::from_secs(100);
    assert!(call!(cache.expire_at("key", at)).unwrap());
    assert!(call!(cache.ttl("key")).unwrap().duration().unwrap() <= Duration::from_secs(101));
    assert!(call!(cache.expire_at("key", SystemTime::UNIX_EPOCH)).unwrap());
    assert_eq!(call!(cache.ttl("key")).unwrap(), Remaining::Missing);
    // Of what is missing.
    assert!(!call!(cache.persist("key")).unwrap());
    assert!(!call!(cache.expire("key", 600)).unwrap());
    // No expiry is the default.
    call!(cache.set("key", "value")).unwrap();
    assert_eq!(call!(cache.ttl("key")).unwrap(), Remaining::Forever);
}

async fn ttl_in_text(target: Target) {
    let cache = target.cache();
    for (ttl, seconds) in [
        ("2h30m", 9_000),
        ("1d", 86_400),
        ("30s", 30),
        (" 30m 2H ", 9_000),
        ("1m1m", 120),
        ("10 s", 10),
    ] {
        call!(cache.set("key", 1).ttl(ttl)).unwrap();
        let left = call!(cache.ttl("key")).unwrap().duration().unwrap();
        let over = Duration::from_secs(seconds).checked_sub(left).expect(ttl);
        assert!(over < Duration::from_secs(5), "{ttl}");
    }
    call!(cache.delete("key")).unwrap();
    for ttl in [
        "1hfoo", "", "0", "60", "1.5h", "-1h", "h", "foo", "NaN", "0s",
    ] {
        let error = call!(cache.set("key", 1).ttl(ttl)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTtl, "{ttl}");
        assert_eq!(
            call!(cache.expire("key", ttl)).unwrap_err().kind(),
            ErrorKind::InvalidTtl
        );
    }
    for ttl in [0, -1, -3600] {
        let error = call!(cache.set("key", 1).ttl(ttl)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTtl, "{ttl}");
    }
    assert!(!call!(cache.contains("key")).unwrap());
}

// # Cache-Aside Pattern

async fn cache_aside(target: Target) {
    let cache = target.cache();
    let loads = Arc::new(AtomicUsize::new(0));
    let load_from_db = || {
        let loads = Arc::clone(&loads);
        move || {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, BoxError>(alice())
        }
    };
    for _ in 0..3 {
        let load = load_from_db();
        assert_eq!(remember!(cache, "user:1", load()).unwrap(), alice());
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert!(call!(cache.ttl("user:1")).unwrap().duration().is_some());
    // A cached None is a hit.
    for round in 0..2 {
        let none = remember!(
            cache,
            "user:999",
            match round {
                0 => Ok::<Option<User>, BoxError>(None),
                _ => Err("it runs again".into()),
            }
        );
        assert_eq!(none.unwrap(), None);
    }
    // The factory's error passes through, and nothing is stored.
    let error: Error = remember!(
        cache,
        "user:2",
        Err::<User, _>(std::io::Error::other("no database"))
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Loader);
    assert!(error.downcast_ref::<std::io::Error>().is_some());
    assert!(!call!(cache.contains("user:2")).unwrap());
}

// # Batch Operations

async fn batch_operations(target: Target) {
    let cache = target.cache();
    call!(cache.set_many([("a", 1), ("b", 2), ("c", 3)]).ttl(3600)).unwrap();
    let values: Vec<Option<i32>> = call!(cache.get_many(["a", "b", "c"])).unwrap();
    assert_eq!(values, [Some(1), Some(2), Some(3)]);
    assert!(call!(cache.ttl("c")).unwrap().duration().is_some());
    // Any iterable; a miss is None, in its place.
    let keys = ["a", "none", "b", "a"].into_iter().map(str::to_owned);
    let values: Vec<Option<i32>> = call!(cache.get_many(keys.clone())).unwrap();
    assert_eq!(values, [Some(1), None, Some(2), Some(1)]);
    let none: Vec<Option<i32>> = call!(cache.get_many(Vec::<String>::new())).unwrap();
    assert!(none.is_empty());
    call!(cache.set_many(Vec::<(String, i32)>::new())).unwrap();
    // More than goes into one round trip.
    let many: Vec<(String, usize)> = (0..12_000).map(|n| (format!("n{n}"), n)).collect();
    call!(cache.set_many(many.clone()).ttl(60)).unwrap();
    let values: Vec<Option<usize>> =
        call!(cache.get_many(many.iter().map(|(key, _)| key))).unwrap();
    assert!(
        values
            .into_iter()
            .enumerate()
            .all(|(n, value)| value == Some(n))
    );
}

// # Pattern-Based Operations (SCAN-based)

async fn pattern_based_operations(target: Target) {
    let cache = target.cache();
    for n in 0..250 {
        call!(cache.set(format!("user:{n}"), n).ttl(60)).unwrap();
    }
    call!(cache.set("order:1", 1).ttl(60)).unwrap();
    let keys: BTreeSet<Vec<u8>> = keys_matching(&cache, b"user:*").await.into_iter().collect();
    assert_eq!(keys.len(), 250);
    assert!(
        keys.iter().all(|key| key.starts_with(b"user:")),
        "without the prefix"
    );
    assert_eq!(call!(cache.delete_pattern("user:*")).unwrap(), 250);
    assert_eq!(keys_matching(&cache, b"*").await, [b"order:1"]);
    assert_eq!(call!(cache.delete_pattern("nothing*")).unwrap(), 0);
}

/// There, glob characters in a prefix list and delete foreign keys.
#[test]
fn a_prefix_of_glob_characters_reaches_no_other_keys() {
    let app = random_prefix();
    run(async {
        let url = format!("memory://{app}");
        let (ours, theirs) = (
            Cache::builder(&url)
                .prefix(format!("{app}*"))
                .build()
                .unwrap(),
            Cache::builder(&url)
                .prefix(format!("{app}xyz"))
                .build()
                .unwrap(),
        );
        theirs.set("k", 1).await.unwrap();
        ours.set("k", 2).await.unwrap();
        assert_eq!(ours.delete_pattern("*").await.unwrap(), 1);
        assert_eq!(theirs.get("k").await.unwrap(), Some(1));
    });
}

// # Bound Operations

async fn bound_operations(target: Target) {
    let cache = target.cache();
    match &cache {
        Face::Async(cache) => {
            let user = cache.bind("user:1");
            user.set(&alice()).ttl(3600).await.unwrap();
            assert_eq!(user.get().await.unwrap(), Some(alice()));
            assert!(user.ttl().await.unwrap().duration().is_some());
            assert!(user.persist().await.unwrap());
            assert!(user.expire(600).await.unwrap());
            let later = SystemTime::now() + Duration::from_secs(60);
            assert!(user.expire_at(later).await.unwrap());
            assert!(user.delete().await.unwrap());
            assert_eq!(user.get::<User>().await.unwrap(), None);
        }
        Face::Blocking(cache) => {
            let user = cache.bind("user:1");
            user.set(&alice()).ttl(3600).run().unwrap();
            assert_eq!(user.get().run().unwrap(), Some(alice()));
            assert!(user.ttl().run().unwrap().duration().is_some());
            assert!(user.persist().run().unwrap());
            assert!(user.expire(600).run().unwrap());
            let later = SystemTime::now() + Duration::from_secs(60);
            assert!(user.expire_at(later).run().unwrap());
            assert!(user.delete().run().unwrap());
            assert_eq!(user.get::<User>().run().unwrap(), None);
        }
    }
}

// # @cached Decorator

static RUNS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn ran(what: String) {
    RUNS.lock().unwrap().push(what);
}

fn runs_of(what: &str) -> usize {
    RUNS.lock()
        .unwrap()
        .iter()
        .filter(|run| *run == what)
        .count()
}

#[cached(cache = cache, key = "user:{user_id}", ttl = "1h")]
fn get_user(cache: &blocking::Cache, user_id: u32, whose: &str) -> Option<String> {
    ran(format!("user {user_id} {whose}"));
    (user_id != 999).then(|| format!("user {user_id}"))
}

#[cached(cache = cache, key = "product:{pid}", ttl = 3600)]
async fn get_product(cache: &Cache, pid: u32, whose: &str) -> Option<String> {
    ran(format!("product {pid} {whose}"));
    (pid != 999).then(|| format!("product {pid}"))
}

#[cached(
    cache = cache,
    key = |_, uid, _, _| format!("user:{uid}"),
    ttl = |_, uid, _, _| if *uid < 100 { 3600 } else { 300 },
    bypass = |_, _, force, _| *force,
)]
async fn get_user_forced(cache: &Cache, uid: u32, force: bool, whose: &str) -> String {
    ran(format!("forced {uid} {whose}"));
    format!("{uid} {}", runs_of(&format!("forced {uid} {whose}")))
}

#[cached(cache = cache, key = "degraded:{user_id}", ttl = "1h", on_error = "execute")]
async fn get_user_degraded(cache: &Cache, user_id: u32, whose: &str) -> nearcache::Result<String> {
    ran(format!("degraded {user_id} {whose}"));
    Ok(format!("user {user_id}"))
}

#[test]
fn the_decorator() {
    for on_redis in [false, true] {
        let whose = random_prefix();
        let place = match on_redis {
            false => format!("memory://{whose}"),
            true => nearcache_testkit::Redis::shared().url(),
        };
        run(async {
            let cache = Cache::builder(&place)
                .prefix(&whose)
                .timeout("10s")
                .build()
                .unwrap();
            let sync = cache.blocking().unwrap();
            let whose = whose.as_str();
            for _ in 0..2 {
                assert_eq!(get_user(&sync, 1, whose).as_deref(), Some("user 1"));
                assert_eq!(
                    get_product(&cache, 42, whose).await.as_deref(),
                    Some("product 42")
                );
                // None is cached.
                assert_eq!(get_user(&sync, 999, whose), None);
                assert_eq!(get_product(&cache, 999, whose).await, None);
            }
            for what in ["user 1", "product 42", "user 999", "product 999"] {
                assert_eq!(runs_of(&format!("{what} {whose}")), 1, "{what}");
            }
            // Cache Invalidation
            assert!(get_user::invalidate(&sync, 1, whose).unwrap());
            assert!(get_product::invalidate(&cache, 42, whose).await.unwrap());
            get_user(&sync, 1, whose);
            get_product(&cache, 42, whose).await;
            assert_eq!(runs_of(&format!("user 1 {whose}")), 2);
            assert_eq!(runs_of(&format!("product 42 {whose}")), 2);
            // Callable Key/TTL/Bypass: bypass skips the read and still writes.
            assert_eq!(get_user_forced(&cache, 7, false, whose).await, "7 1");
            assert_eq!(get_user_forced(&cache, 7, false, whose).await, "7 1");
            assert_eq!(get_user_forced(&cache, 7, true, whose).await, "7 2");
            assert_eq!(get_user_forced(&cache, 7, false, whose).await, "7 2");
            assert!(
                cache
                    .ttl("user:7")
                    .await
                    .unwrap()
                    .duration()
                    .unwrap()
                    .as_secs()
                    > 300
            );
            get_user_forced(&cache, 100, false, whose).await;
            assert!(
                cache
                    .ttl("user:100")
                    .await
                    .unwrap()
                    .duration()
                    .unwrap()
                    .as_secs()
                    <= 300
            );
        });
    }
}

/// Error Degradation: the function runs, exactly once a call.
#[test]
fn the_decorator_runs_the_function_while_redis_is_away() {
    let nobody = Port::unused();
    let whose = random_prefix();
    run(async {
        let cache = Cache::open(&format!("redis://127.0.0.1:{}", nobody.number())).unwrap();
        for calls in 1..=2 {
            let user = get_user_degraded(&cache, 1, &whose).await.unwrap();
            assert_eq!(
                (user.as_str(), runs_of(&format!("degraded 1 {whose}"))),
                ("user 1", calls)
            );
        }
        // An invalidation is an error.
        let error = get_user_degraded::invalidate(&cache, 1, &whose)
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unavailable),
            "{error}"
        );
    });
}

// # Cache Penetration Protection (None Caching)

async fn cache_penetration_protection(target: Target) {
    let cache = target.cache();
    call!(cache.set("user:999", &None::<User>).ttl(60)).unwrap();
    assert_eq!(call!(cache.get::<User>("user:999")).unwrap(), None);
    assert_eq!(
        call!(cache.lookup::<User>("user:999")).unwrap(),
        Lookup::Nothing
    );
    assert_eq!(
        call!(cache.lookup::<User>("user:998")).unwrap(),
        Lookup::Miss
    );
    assert!(call!(cache.contains("user:999")).unwrap());
    assert!(call!(cache.ttl("user:999")).unwrap().duration().is_some());
}

// # Fallback Policy

/// Both faces of a cache whose server is away.
fn away(
    port: &Port,
    build: impl Fn(Builder<nearcache::operation::Async>) -> Builder<nearcache::operation::Async>,
) -> [Face; 2] {
    let url = format!(
        "redis://127.0.0.1:{}?breaker=off&prefix=myapp",
        port.number()
    );
    let cache = build(Cache::builder(&url)).build().unwrap();
    let blocking = cache.blocking().unwrap();
    [Face::Async(cache), Face::Blocking(blocking)]
}

/// What raises under every policy.
async fn always_raises(face: &Face) {
    let face = face.clone();
    assert!(call!(face.ttl("k")).is_err());
    assert!(call!(face.persist("k")).is_err());
    assert!(call!(face.expire("k", 60)).is_err());
    assert!(call!(face.expire_at("k", SystemTime::now() + Duration::from_secs(9))).is_err());
    assert!(call!(face.delete_pattern("k*")).is_err());
    let first = match &face {
        Face::Async(cache) => cache.keys().matching("k*").next().await,
        Face::Blocking(cache) => cache.keys().matching("k*").next(),
    };
    assert!(first.expect("an error").is_err());
}

/// `on_connection_error="raise"`, the default there as here.
#[test]
fn without_a_policy_everything_raises() {
    let port = Port::unused();
    run(async {
        for face in away(&port, |builder| builder) {
            assert_eq!(
                call!(face.get::<u8>("k")).unwrap_err().kind(),
                ErrorKind::Connect
            );
            assert!(call!(face.get_many::<u8>(["k"])).is_err());
            assert!(call!(face.set("k", 1)).is_err());
            assert!(call!(face.set_many([("k", 1)])).is_err());
            assert!(call!(face.delete("k")).is_err());
            always_raises(&face).await;
            assert_eq!(ask!(face.stats()).fallbacks, 0);
        }
    });
}

/// Strategy 1: `return_none`.
#[test]
fn a_miss_is_silent_degradation() {
    let port = Port::unused();
    run(async {
        for face in away(&port, |builder| builder.on_unavailable(Fallback::Miss)) {
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
            let many: Vec<Option<u8>> = call!(face.get_many(["a", "b"])).unwrap();
            assert_eq!(many, [None, None]);
            // `remember` runs the factory.
            assert_eq!(remember!(face, "k", Ok::<_, BoxError>(7)).unwrap(), 7);
            always_raises(&face).await;
            // There a write is dropped as well, and here that is said with a function.
            assert!(call!(face.set("k", 1)).is_err());
        }
        for face in away(&port, |builder| {
            builder.on_unavailable(Fallback::call(|_| Instead::Done))
        }) {
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
            assert_eq!(remember!(face, "k", Ok::<_, BoxError>(7)).unwrap(), 7);
            call!(face.set("k", 1)).unwrap();
            call!(face.set_many([("k", 1)])).unwrap();
            assert!(!call!(face.delete("k")).unwrap());
            always_raises(&face).await;
        }
    });
}

/// Strategy 2: a callback, which knows the command, the key and the error. Its value answers `get`, `get_many` and
/// `remember`, and is dropped for writes.
#[test]
fn a_callback_answers() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Local {
        from: String,
    }
    let local = || Local {
        from: "local_cache".to_owned(),
    };
    let port = Port::unused();
    run(async {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        let my_fallback = Fallback::call(move |outage| {
            assert_eq!(outage.error.kind(), ErrorKind::Connect);
            let words = format!("{} {} {}", outage.command, outage.key, outage.is_write());
            told.lock().unwrap().push(words);
            Instead::value(&local())
        });
        for face in away(&port, |builder| builder.on_unavailable(my_fallback.clone())) {
            assert_eq!(call!(face.get::<Local>("k")).unwrap(), Some(local()));
            let many: Vec<Option<Local>> = call!(face.get_many(["a", "b"])).unwrap();
            assert_eq!(many, [Some(local()), Some(local())]);
            let found = remember!(face, "k", Err::<Local, BoxError>("the factory ran".into()));
            assert_eq!(found.unwrap(), local());
            // The value is dropped.
            call!(face.set("k", &alice()).ttl(60)).unwrap();
            call!(face.set_many([("a", 1), ("b", 2)])).unwrap();
            assert!(!call!(face.delete("k")).unwrap());
            // It is never asked about these.
            let before = asked.lock().unwrap().len();
            always_raises(&face).await;
            assert_eq!(asked.lock().unwrap().len(), before);
            // An answer of another type is a miss.
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
            let asked = std::mem::take(&mut *asked.lock().unwrap());
            let expected = [
                "get k false",
                "get_many a false",
                "get_many b false",
                "remember k false",
                "set k true",
                "set_many a true",
                "set_many b true",
                "delete k true",
                "get k false",
            ];
            assert_eq!(asked, expected);
            // Each answer counts, a batch by key when it is read and once when it is written.
            assert!(ask!(face.stats()).fallbacks >= 7);
        }
    });
}

/// There, only connection and timeout errors ask the callback. Here the callback sees the error, and may say so.
#[test]
fn a_callback_may_leave_other_errors_alone() {
    let redis = nearcache_testkit::Redis::shared();
    let prefix = random_prefix();
    let only_outages = Fallback::call(|outage| match outage.error.kind() {
        ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Auth => {
            Instead::Done
        }
        _ => Instead::Error,
    });
    run(async {
        let cache = Cache::builder(&redis.url())
            .prefix(&prefix)
            .on_unavailable(only_outages)
            .build()
            .unwrap();
        redis.inline(&format!("RPUSH {prefix}:list x"));
        assert_eq!(
            cache.get::<u8>("list").await.unwrap_err().kind(),
            ErrorKind::WrongType
        );
        // What the caller did wrong never asks it.
        assert_eq!(
            cache.get::<u8>("").await.unwrap_err().kind(),
            ErrorKind::InvalidKey
        );
        assert_eq!(
            cache.set("k", 1).ttl("1hfoo").await.unwrap_err().kind(),
            ErrorKind::InvalidTtl
        );
    });
}

/// `log_on_fallback`.
#[test]
fn that_a_fallback_answered_is_logged_unless_told_not_to() {
    use std::io::Write;
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut lines = self.0.lock().map_err(|_| std::io::ErrorKind::Other)?;
            lines.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let port = Port::unused();
    for (on, expected) in [(true, 1), (false, 0)] {
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || written.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let [Face::Async(cache), _] = away(&port, |builder| {
                    builder
                        .on_unavailable(Fallback::Miss)
                        .log_on_fallback(on)
                        .redact_keys(true)
                }) else {
                    unreachable!("the first is async");
                };
                for _ in 0..3 {
                    assert_eq!(cache.get::<u8>("secret-token").await.unwrap(), None);
                }
                assert_eq!(cache.stats().fallbacks, 3);
            });
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let said = text
            .lines()
            .filter(|line| line.contains("the fallback did"))
            .count();
        assert_eq!(said, expected, "{text}");
        assert!(!text.contains("secret-token"), "{text}");
    }
}

// # Hooks (Observability)

/// What a hook is told, in words.
#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn write(&self, what: &str, call: &Call<'_>, more: &str) {
        let keys: Vec<String> = call
            .keys()
            .map(|key| key.escape_ascii().to_string())
            .collect();
        let line = format!("{what} {} {} {more}", call.command(), keys.join(","));
        self.0.lock().unwrap().push(line.trim_end().to_owned());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Hook for Diary {
    fn before(&self, call: &Call<'_>) {
        self.write("before", call, "");
    }

    fn after(&self, call: &Call<'_>, done: &Done) {
        self.write("after", call, done.outcome.as_str());
    }

    fn error(&self, call: &Call<'_>, error: &Error, _: Duration) {
        self.write("error", call, error.kind().as_str());
    }
}

fn with_hook(target: Target, prefix: &str, hook: impl Hook) -> Face {
    let url = target.url(prefix);
    if target.is_blocking() {
        let builder = blocking::Cache::builder(&url).prefix(prefix).timeout("10s");
        Face::Blocking(builder.hook(hook).build().unwrap())
    } else {
        let builder = Cache::builder(&url).prefix(prefix).timeout("10s");
        Face::Async(builder.hook(hook).build().unwrap())
    }
}

async fn hooks_see_the_whole_life_of_a_call(target: Target) {
    let diary = Arc::new(Diary::default());
    let cache = with_hook(target, &random_prefix(), Arc::clone(&diary));
    call!(cache.set("k", 1)).unwrap();
    call!(cache.get::<u8>("k")).unwrap();
    call!(cache.get::<u8>("none")).unwrap();
    call!(cache.delete("k")).unwrap();
    call!(cache.set_many([("a", 1), ("b", 2)])).unwrap();
    call!(cache.get_many::<u8>(["a", "b"])).unwrap();
    call!(cache.delete_pattern("a*")).unwrap();
    let expected = [
        "before set k",
        "after set k stored",
        "before get k",
        "after get k hit",
        "before get none",
        "after get none miss",
        "before delete k",
        "after delete k done",
        "before set_many a,b",
        "after set_many a,b done",
        "before get_many a,b",
        "after get_many a,b done",
        "before delete_pattern a*",
        "after delete_pattern a* done",
    ];
    assert_eq!(diary.take(), expected);
    // On failure, the error in place of the end.
    call!(cache.set("text", "x")).unwrap();
    assert!(call!(cache.incr("text")).is_err());
    assert_eq!(
        diary.take()[2..],
        ["before incr text", "error incr text not_integer"]
    );
    // `remember` is one call, and its load another.
    remember!(cache, "r", Ok::<_, BoxError>(1)).unwrap();
    let told = diary.take();
    assert_eq!(told[0], "before remember r");
    assert!(
        told.contains(&"after remember r miss".to_owned()),
        "{told:?}"
    );
    assert!(told.contains(&"after load r stored".to_owned()), "{told:?}");
}

/// A failing hook does not break the operation.
async fn a_hook_that_fails_breaks_nothing(target: Target) {
    struct Broken;
    impl Hook for Broken {
        fn before(&self, _: &Call<'_>) {
            panic!("before");
        }
        fn after(&self, _: &Call<'_>, _: &Done) {
            panic!("after");
        }
    }
    let cache = with_hook(target, &random_prefix(), Broken);
    call!(cache.set("k", 1)).unwrap();
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
    assert!(call!(cache.delete("k")).unwrap());
}

async fn metrics(target: Target) {
    let metrics = Arc::new(MetricsCollector::new());
    assert_eq!((metrics.count("get"), metrics.error_count("get")), (0, 0));
    assert!(metrics.latency("get").is_none(), "nothing was called");
    let cache = with_hook(target, &random_prefix(), Arc::clone(&metrics));
    for _ in 0..3 {
        call!(cache.set("k", "text")).unwrap();
        call!(cache.get::<String>("k")).unwrap();
    }
    assert!(call!(cache.incr("k")).is_err());
    assert_eq!(
        (
            metrics.count("set"),
            metrics.count("get"),
            metrics.count("incr")
        ),
        (3, 3, 0)
    );
    assert_eq!(
        (
            metrics.error_count("incr"),
            metrics.error_count("get"),
            metrics.total_errors()
        ),
        (1, 0, 1)
    );
    let latency = metrics.latency("get").unwrap();
    assert!(latency.min <= latency.mean && latency.mean <= latency.max);
    assert_eq!(metrics.command("get").unwrap().hits, 3);
    let _: Outcome = Outcome::Hit;
}

// # TTL Jitter (Stampede Prevention)

async fn jitter(target: Target) {
    let app = random_prefix();
    let options = Options {
        prefix: &app,
        ttl_jitter: 0.1,
        ..Options::default()
    };
    let cache = target.build(&target.url(&app), options).unwrap();
    let mut seen = BTreeSet::new();
    let entries: Vec<(String, u8)> = (0..50).map(|n| (format!("k{n}"), 0)).collect();
    call!(cache.set_many(entries.clone()).ttl(10_000)).unwrap();
    for (key, _) in &entries {
        let left = call!(cache.ttl(key)).unwrap().duration().unwrap();
        assert!(
            left.as_secs() >= 8_990 && left.as_secs() <= 11_000,
            "{left:?}"
        );
        seen.insert(left.as_secs());
    }
    assert!(seen.len() > 10, "each key has its own: {seen:?}");
    // Without it there is none.
    let exact = target.cache();
    call!(exact.set("k", 1).ttl(10_000)).unwrap();
    let left = call!(exact.ttl("k")).unwrap().duration().unwrap();
    assert!(left.as_secs() >= 9_990 && left.as_secs() <= 10_000);
}
