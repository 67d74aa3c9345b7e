//! JitAI's page "Redis Cache": `caches.RedisType`, in the order of the page.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use nearcache::compat::registry::{Registry, RegistryBuilder, TextCache, TextCacheOf};
use nearcache::hooks::{Call, Done, Hook};
use nearcache::operation::Blocking;
use nearcache::redis::Value;
use nearcache::{ErrorKind, Remaining};
use nearcache_testkit::{Port, Redis, eventually};

use crate::app::App;
use crate::face::{Face, run};
use crate::target::{Target, raw};

/// The server of the page, with the password that it shows.
static REDIS: LazyLock<Redis> =
    LazyLock::new(|| Redis::start_with(&["--requirepass", "your_password"]));

/// An element on either face.
#[derive(Clone, Debug)]
enum Element {
    Async(TextCache),
    Blocking(TextCacheOf<Blocking>),
}

/// Carries an operation of an element out on either face.
macro_rules! on {
    ($element:ident . $($operation:tt)*) => {
        match &$element {
            Element::Async(element) => element.$($operation)*.await,
            Element::Blocking(element) => element.$($operation)*.run(),
        }
    };
}

/// Asks either face something that it answers at once.
macro_rules! of {
    ($element:ident . $($question:tt)*) => {
        match &$element {
            Element::Async(element) => element.$($question)*,
            Element::Blocking(element) => element.$($question)*,
        }
    };
}

impl Element {
    fn get(target: Target, registry: &Registry, name: &str) -> nearcache::Result<Element> {
        let element = registry.element(name)?;
        Ok(if target.is_blocking() {
            Element::Blocking(element.blocking()?)
        } else {
            Element::Async(element)
        })
    }

    /// The cache beneath.
    fn cache(&self) -> Face {
        match self {
            Element::Async(element) => Face::Async(element.cache().clone()),
            Element::Blocking(element) => Face::Blocking(element.cache().clone()),
        }
    }

    async fn names(&self, pattern: &str) -> Vec<String> {
        let mut names = Vec::new();
        match self {
            Element::Async(element) => {
                let mut listing = element.keys(pattern);
                while let Some(name) = listing.next().await {
                    names.push(name.unwrap());
                }
            }
            Element::Blocking(element) => {
                names.extend(element.keys(pattern).map(Result::unwrap));
            }
        }
        names.sort();
        names
    }

    async fn ttl(&self, name: &str) -> Remaining {
        let cache = self.cache();
        call!(cache.ttl(name)).unwrap()
    }
}

/// The place as the page writes it, with more fields. (The store in this process has a URL instead.)
fn place(target: Target, app: &App, more: &str) -> String {
    if target.is_embedded() {
        return format!(r#"{{"url": "memory://{}", "timeout": 10{more}}}"#, app.id);
    }
    format!(
        r#"{{"host": "127.0.0.1", "port": {}, "password": "your_password", "timeout": 10, "connect_timeout": 10{more}}}"#,
        REDIS.port()
    )
}

/// `caches.MyRedis` of a new application.
fn my_redis(target: Target) -> (App, Element) {
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        &place(target, &app, ""),
    );
    let registry = app.registry().build();
    let element = Element::get(target, &registry, "caches.MyRedis").unwrap();
    (app, element)
}

brief_suite! {
    quick_start,
    the_element_is_declared_in_e_json,
    get,
    set,
    get_numeric,
    set_numeric,
    incr,
    expire,
    exists,
    delete,
    keys,
    ping,
    disconnect,
    all_data_structures_are_beneath,
    charset,
    decode_responses,
    connections_are_shared_by_equal_configurations,
    names_have_the_applications_id_before_them,
    an_init_hook_runs_once,
}

// # Quick Start

async fn quick_start(target: Target) {
    let app = App::new();
    app.file(
        "caches/MyRedis/e.json",
        r#"{
  "backendBundleEntry": ".",
  "title": "My Redis Cache",
  "type": "caches.RedisType"
}"#,
    )
    .file("caches/MyRedis/MyRedis.json", &place(target, &app, ""));
    let registry = app.registry().build();

    // Get cache instance
    let cache = Element::get(target, &registry, "caches.MyRedis").unwrap();

    // Basic string operations
    assert!(on!(cache.set("user:1001", "张三", 3600)).unwrap());
    let user_name = on!(cache.get("user:1001")).unwrap();
    assert_eq!(user_name.as_deref(), Some("张三"));
    let left = cache.ttl("user:1001").await.duration().unwrap();
    assert!(left > Duration::from_secs(3_500) && left <= Duration::from_secs(3_600));

    // Numeric operations
    assert!(on!(cache.set_numeric("visit_count", 100, None)).unwrap());
    assert_eq!(on!(cache.get_numeric("visit_count")).unwrap(), 100);
    assert_eq!(on!(cache.incr("visit_count", 5)).unwrap(), 105);

    // Expiration time control
    on!(cache.set("session:abc123", "x", 60)).unwrap();
    assert!(on!(cache.expire("session:abc123", 1800)).unwrap());
    assert!(cache.ttl("session:abc123").await.duration().unwrap() > Duration::from_secs(1_700));

    // Key management
    if on!(cache.exists("user:1001")).unwrap() {
        assert!(on!(cache.delete("user:1001")).unwrap());
    }
    assert!(!on!(cache.exists("user:1001")).unwrap());
}

// # Element Configuration

async fn the_element_is_declared_in_e_json(target: Target) {
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        &place(target, &app, ""),
    );
    let registry = app.registry().build();
    let cache = Element::get(target, &registry, "caches.MyRedis").unwrap();
    assert_eq!(of!(cache.name()), "caches.MyRedis");
    assert_eq!(of!(cache.title()), "One of ours");
    assert_eq!(of!(cache.icon()), Some("x"));
    assert_eq!(of!(cache.element().types()), ["caches.RedisType"]);
    assert_eq!(of!(cache.element().app_id()), app.id);
    // The icon is the one that need not be there.
    app.file(
        "caches/MyRedis/e.json",
        r#"{"backendBundleEntry": ".", "title": "t", "type": "caches.RedisType"}"#,
    );
    let cache = Element::get(target, &app.registry().build(), "caches.MyRedis").unwrap();
    assert_eq!((of!(cache.title()), of!(cache.icon())), ("t", None));
    for (declaration, says) in [
        (
            r#"{"title": "t", "type": "caches.RedisType"}"#,
            "backendBundleEntry: the field is missing",
        ),
        (
            r#"{"backendBundleEntry": ".", "type": "caches.RedisType"}"#,
            "title: the field is missing",
        ),
        (
            r#"{"backendBundleEntry": ".", "title": "t"}"#,
            "type: the field is missing",
        ),
        (
            r#"{"backendBundleEntry": ".", "title": "t", "type": "caches.RedisType", "icon": 5}"#,
            "icon: expected text",
        ),
    ] {
        app.file("caches/MyRedis/e.json", declaration);
        let error = Element::get(target, &app.registry().build(), "caches.MyRedis").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn the_business_configuration_has_these_parameters_and_defaults() {
    let app = App::new();
    let settings = |config: &str| {
        app.element("caches.MyRedis", "caches.RedisType", config);
        app.registry().build().settings("caches.MyRedis")
    };
    let plain =
        settings(r#"{"host": "127.0.0.1", "port": 6379, "password": "your_password"}"#).unwrap();
    assert_eq!(
        (plain.host.as_deref(), plain.port),
        (Some("127.0.0.1"), Some(6379))
    );
    assert_eq!(plain.password.as_ref().unwrap().expose(), "your_password");
    assert_eq!(plain.db, Some(1));
    // "default" is the user whom a password alone authenticates.
    assert_eq!(plain.username, None);
    assert_eq!(plain.timeout, Some(Duration::from_millis(500)));
    assert_eq!(plain.connect_timeout, Some(Duration::from_millis(500)));
    assert_eq!(plain.prefix.as_deref(), Some(&*app.id));

    let full = settings(
        r#"{"host": "h", "port": 1, "password": "p", "db": 3, "username": "app", "charset": "latin-1",
            "decode_responses": false, "socket_timeout": 0.25, "socket_connect_timeout": 2}"#,
    )
    .unwrap();
    assert_eq!((full.db, full.username.as_deref()), (Some(3), Some("app")));
    assert_eq!(full.timeout, Some(Duration::from_millis(250)));
    assert_eq!(full.connect_timeout, Some(Duration::from_secs(2)));

    for (without, config) in [
        ("host", r#"{"port": 1, "password": "p"}"#),
        ("port", r#"{"host": "h", "password": "p"}"#),
        ("password", r#"{"host": "h", "port": 1}"#),
    ] {
        let error = settings(config).unwrap_err();
        let says = format!("MyRedis.json: {without}: the field is missing");
        assert!(error.to_string().contains(&says), "{error}");
    }
    for password in ["null", "\"\""] {
        let none = settings(&format!(
            r#"{{"host": "h", "port": 1, "password": {password}}}"#
        ));
        assert_eq!(none.unwrap().password, None);
    }
    for (field, says) in [
        (r#""db": -1"#, "db: expected"),
        (r#""socket_timeout": 0"#, "socket_timeout: expected a time"),
        (
            r#""socket_connect_timeout": "soon""#,
            "socket_connect_timeout: expected a time",
        ),
        (r#""charset": "klingon""#, "charset: expected \"utf-8\""),
        (
            r#""decode_responses": "perhaps""#,
            "decode_responses: expected true or false",
        ),
        (r#""colour": 1"#, "colour: there is no such field"),
    ] {
        let error = settings(&format!(
            r#"{{"host": "h", "port": 1, "password": "p", {field}}}"#
        ));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("\"p\""), "{error}");
    }
}

/// Both timeouts are told apart by a server that stands still: before it is connected to, and after.
#[test]
fn connecting_and_a_call_have_timeouts_of_their_own() {
    let redis = Redis::start();
    let app = App::new();
    let element = |connect: &str, call: &str| {
        let config = format!(
            r#"{{"host": "127.0.0.1", "port": {}, "password": null, "breaker": false,
                 "socket_connect_timeout": {connect}, "socket_timeout": {call}}}"#,
            redis.port()
        );
        app.element("caches.MyRedis", "caches.RedisType", &config);
        app.registry().build().element("caches.MyRedis").unwrap()
    };
    run(async {
        let both = |cache: TextCache| {
            let blocking = cache.blocking().unwrap();
            [Element::Async(cache), Element::Blocking(blocking)]
        };
        for cache in both(element("60", "0.3")) {
            on!(cache.set("k", "v", None)).unwrap();
            redis.freeze();
            let error = on!(cache.get("k")).unwrap_err();
            redis.thaw();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert!(
                error.to_string().ends_with("gave up after 300ms"),
                "{error}"
            );
        }
        redis.freeze();
        for cache in both(element("0.2", "60")) {
            let error = on!(cache.get("k")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            let text = error.to_string();
            assert!(
                text.contains("gave up after 200ms while connecting"),
                "{text}"
            );
        }
        // Connecting takes longer than a call may, and the call succeeds.
        for cache in both(element("60", "1")) {
            redis.freeze();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(1_300));
                    redis.thaw();
                });
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(async {
                        assert_eq!(on!(cache.get("k")).unwrap().as_deref(), Some("v"));
                    });
                });
            });
        }
    });
}

// # Methods

async fn get(target: Target) {
    let (_app, cache) = my_redis(target);
    assert_eq!(on!(cache.get("user_token")).unwrap(), None);
    for text in [
        "t0k3n",
        "",
        "null",
        "12",
        "{\"a\": 1}",
        "张三 \0 🦀",
        " spaces ",
    ] {
        on!(cache.set("user_token", text, None)).unwrap();
        assert_eq!(on!(cache.get("user_token")).unwrap().as_deref(), Some(text));
    }
    // Expired.
    on!(cache.set("short", "x", Duration::from_millis(1))).unwrap();
    while on!(cache.exists("short")).unwrap() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(on!(cache.get("short")).unwrap(), None);
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    on!(cache.set("gone", "x", None)).unwrap();
    let beneath = cache.cache();
    call!(beneath.expire_at("gone", past)).unwrap();
    assert_eq!(on!(cache.get("gone")).unwrap(), None);
    // A list is no text, and no miss.
    raw_at(&cache, &[b"RPUSH", b"list", b"x"]).await;
    assert_eq!(
        on!(cache.get("list")).unwrap_err().kind(),
        ErrorKind::WrongType
    );
    // Nor are bytes that are no UTF-8.
    on!(cache.set_bytes("bytes", b"\xff\xfe".to_vec(), None)).unwrap();
    let error = on!(cache.get("bytes")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(
        error
            .to_string()
            .contains("no utf-8 text; read them with get_bytes"),
        "{error}"
    );
    assert_eq!(
        on!(cache.get("")).unwrap_err().kind(),
        ErrorKind::InvalidKey
    );
    // Several MB.
    let long = "长".repeat(1 << 20);
    on!(cache.set("long", &long, 60)).unwrap();
    assert!(on!(cache.get("long")).unwrap().as_deref() == Some(&*long));
}

/// A raw command; the second word gets the application's id.
async fn raw_at(cache: &Element, words: &[&[u8]]) -> Value {
    let key = [of!(cache.element().app_id()).as_bytes(), b":", words[1]].concat();
    let mut words = words.to_vec();
    words[1] = &key;
    raw(&cache.cache(), &words).await
}

async fn set(target: Target) {
    let (_app, cache) = my_redis(target);
    // Set permanent cache
    assert!(on!(cache.set("config:theme", "dark", None)).unwrap());
    assert_eq!(cache.ttl("config:theme").await, Remaining::Forever);
    // Set cache with expiration time
    assert!(on!(cache.set("verification_code", "123456", 300)).unwrap());
    let left = cache.ttl("verification_code").await.duration().unwrap();
    assert!(left > Duration::from_secs(290) && left <= Duration::from_secs(300));
    // Whatever is a number of seconds, or another TTL.
    assert!(on!(cache.set("k", "v", 300_u64)).unwrap());
    assert!(on!(cache.set("k", "v", Some(300))).unwrap());
    assert!(on!(cache.set("k", String::from("v"), "5m")).unwrap());
    assert!(cache.ttl("k").await.duration().is_some());
    // Overwriting clears an old expiry.
    assert!(on!(cache.set("k", "w", None)).unwrap());
    assert_eq!(cache.ttl("k").await, Remaining::Forever);
    assert_eq!(on!(cache.get("k")).unwrap().as_deref(), Some("w"));
    // It replaces whatever is there.
    raw_at(&cache, &[b"RPUSH", b"list", b"x"]).await;
    assert!(on!(cache.set("list", "text", None)).unwrap());
    assert_eq!(on!(cache.get("list")).unwrap().as_deref(), Some("text"));
    // `ts` is from 1 on.
    for ts in [0, -1, i64::MIN] {
        let error = on!(cache.set("k", "v", ts)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTtl);
        assert!(error.key().is_some_and(|key| key == "k"), "{error}");
        assert_eq!(
            on!(cache.set("k", "v", Some(ts))).unwrap_err().kind(),
            ErrorKind::InvalidTtl
        );
    }
    assert_eq!(on!(cache.get("k")).unwrap().as_deref(), Some("w"));
    // What lies in Redis is the text.
    let stored = raw_at(&cache, &[b"GET", b"config:theme"]).await;
    assert_eq!(stored, Value::BulkString(b"dark".to_vec()));
}

async fn get_numeric(target: Target) {
    let (_app, cache) = my_redis(target);
    assert_eq!(on!(cache.get_numeric("page_views")).unwrap(), 0);
    on!(cache.set_numeric("page_views", 1000, None)).unwrap();
    assert_eq!(on!(cache.get_numeric("page_views")).unwrap(), 1000);
    // Text that is a number is one, and a number is text.
    on!(cache.set("page_views", "-7", None)).unwrap();
    assert_eq!(on!(cache.get_numeric("page_views")).unwrap(), -7);
    for other in ["many", "", "1.5", "9223372036854775808"] {
        on!(cache.set("page_views", other, None)).unwrap();
        let error = on!(cache.get_numeric("page_views")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotInteger, "{other}");
    }
    raw_at(&cache, &[b"RPUSH", b"list", b"1"]).await;
    assert_eq!(
        on!(cache.get_numeric("list")).unwrap_err().kind(),
        ErrorKind::WrongType
    );
}

async fn set_numeric(target: Target) {
    let (_app, cache) = my_redis(target);
    // Initialize counter
    assert!(on!(cache.set_numeric("download_count", 1000, None)).unwrap());
    assert_eq!(cache.ttl("download_count").await, Remaining::Forever);
    // Set rate limiting counter with expiration time
    assert!(on!(cache.set_numeric("api_calls:user123", 0, 3600)).unwrap());
    assert!(cache.ttl("api_calls:user123").await.duration().is_some());
    assert_eq!(
        on!(cache.get("api_calls:user123")).unwrap().as_deref(),
        Some("0")
    );
    for n in [i64::MIN, -1, i64::MAX] {
        on!(cache.set_numeric("n", n, None)).unwrap();
        assert_eq!(on!(cache.get_numeric("n")).unwrap(), n);
        let stored = raw_at(&cache, &[b"GET", b"n"]).await;
        assert_eq!(stored, Value::BulkString(n.to_string().into_bytes()));
    }
    let error = on!(cache.set_numeric("n", 1, 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
}

async fn incr(target: Target) {
    let (_app, cache) = my_redis(target);
    // Simple counting
    assert_eq!(on!(cache.incr("visit_count", 1)).unwrap(), 1);
    // Batch increment
    assert_eq!(on!(cache.incr("visit_count", 10)).unwrap(), 11);
    assert_eq!(on!(cache.incr("visit_count", -20)).unwrap(), -9);
    assert_eq!(cache.ttl("visit_count").await, Remaining::Forever);
    // The expiry is kept.
    on!(cache.set_numeric("limited", 0, 3600)).unwrap();
    on!(cache.incr("limited", 1)).unwrap();
    assert!(cache.ttl("limited").await.duration().is_some());
    on!(cache.set_numeric("n", i64::MAX, None)).unwrap();
    assert_eq!(
        on!(cache.incr("n", 1)).unwrap_err().kind(),
        ErrorKind::Overflow
    );
    assert_eq!(on!(cache.get_numeric("n")).unwrap(), i64::MAX);
    for other in ["many", "1.5"] {
        on!(cache.set("n", other, None)).unwrap();
        assert_eq!(
            on!(cache.incr("n", 1)).unwrap_err().kind(),
            ErrorKind::NotInteger
        );
        assert_eq!(on!(cache.get("n")).unwrap().as_deref(), Some(other));
    }
    // With many callers nothing is lost.
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    on!(cache.incr("busy", 1)).unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(on!(cache.get_numeric("busy")).unwrap(), 400);
}

async fn expire(target: Target) {
    let (_app, cache) = my_redis(target);
    // Extend session expiration time
    assert!(!on!(cache.expire("session:user123", 7200)).unwrap());
    on!(cache.set("session:user123", "x", 60)).unwrap();
    if on!(cache.exists("session:user123")).unwrap() {
        assert!(on!(cache.expire("session:user123", 7200)).unwrap());
    }
    let left = cache.ttl("session:user123").await.duration().unwrap();
    assert!(left > Duration::from_secs(7_100) && left <= Duration::from_secs(7_200));
    // Of what has none, and of another type.
    on!(cache.set("k", "v", None)).unwrap();
    assert!(on!(cache.expire("k", 60)).unwrap());
    raw_at(&cache, &[b"RPUSH", b"list", b"x"]).await;
    assert!(on!(cache.expire("list", 60)).unwrap());
    for ts in [0, -1] {
        let error = on!(cache.expire("k", ts)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTtl);
    }
    assert!(on!(cache.exists("k")).unwrap());
}

async fn exists(target: Target) {
    let (_app, cache) = my_redis(target);
    assert!(!on!(cache.exists("user_cache:1001")).unwrap());
    on!(cache.set("user_cache:1001", "", None)).unwrap();
    assert!(on!(cache.exists("user_cache:1001")).unwrap());
    raw_at(&cache, &[b"HSET", b"hash", b"f", b"v"]).await;
    assert!(on!(cache.exists("hash")).unwrap());
}

async fn delete(target: Target) {
    let (_app, cache) = my_redis(target);
    assert!(!on!(cache.delete("session:user123")).unwrap());
    on!(cache.set("session:user123", "x", 60)).unwrap();
    // Clear user session
    assert!(on!(cache.delete("session:user123")).unwrap());
    assert!(!on!(cache.exists("session:user123")).unwrap());
    raw_at(&cache, &[b"HSET", b"hash", b"f", b"v"]).await;
    assert!(on!(cache.delete("hash")).unwrap());
}

async fn keys(target: Target) {
    let (app, cache) = my_redis(target);
    for name in [
        "session:1",
        "session:2",
        "config:a",
        "config:张三",
        "session[x]",
        "a*b",
    ] {
        on!(cache.set(name, "x", 60)).unwrap();
    }
    // Another application, whose id begins in the same way.
    let other = Registry::builder(format!("{}2", app.id))
        .root(app.folder())
        .build();
    let other = Element::get(target, &other, "caches.MyRedis").unwrap();
    on!(other.set("session:9", "x", 60)).unwrap();

    // Find all user sessions
    assert_eq!(cache.names("session:*").await, ["session:1", "session:2"]);
    // Find configs with specific prefix
    assert_eq!(cache.names("config:*").await, ["config:a", "config:张三"]);
    assert_eq!(cache.names("config:张*").await, ["config:张三"]);
    assert_eq!(cache.names("session:[2-9]").await, ["session:2"]);
    assert_eq!(cache.names(r"a\*b").await, ["a*b"]);
    assert_eq!(cache.names("*").await.len(), 6);
    assert!(cache.names("nothing*").await.is_empty());
    // Each once, and lazily: only what is needed is asked for.
    for number in 0..3_000 {
        on!(cache.set(format!("many:{number}"), "x", 60)).unwrap();
    }
    let all = cache.names("many:*").await;
    assert_eq!(
        (all.len(), all.iter().collect::<BTreeSet<_>>().len()),
        (3_000, 3_000)
    );
    match &cache {
        Element::Async(cache) => assert!(cache.keys("many:*").next().await.is_some()),
        Element::Blocking(cache) => assert!(cache.keys("many:*").next().is_some()),
    }
    // A key that is no text is told, and the rest is listed.
    raw_at(&cache, &[b"SET", b"odd:\xff", b"x"]).await;
    on!(cache.set("odd:1", "x", 60)).unwrap();
    let found: Vec<nearcache::Result<String>> = match &cache {
        Element::Async(cache) => futures_util::StreamExt::collect(cache.keys("odd:*")).await,
        Element::Blocking(cache) => cache.keys("odd:*").collect(),
    };
    let (fine, wrong): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    assert_eq!((fine.len(), wrong.len()), (1, 1));
    assert_eq!(wrong[0].as_ref().unwrap_err().kind(), ErrorKind::Codec);
}

async fn ping(target: Target) {
    let (app, cache) = my_redis(target);
    assert!(on!(cache.ping()));
    let nobody = Port::unused();
    let server = Redis::start_with(&["--requirepass", "right"]);
    for (port, password) in [(nobody.number(), "null"), (server.port(), "\"wrong\"")] {
        app.element(
            "caches.Away",
            "caches.RedisType",
            &format!(r#"{{"host": "127.0.0.1", "port": {port}, "password": {password}}}"#),
        );
        let away = Element::get(target, &app.registry().build(), "caches.Away").unwrap();
        // False, and no error.
        assert!(!on!(away.ping()));
    }
    let beneath = cache.cache();
    call!(beneath.close()).unwrap();
    assert!(!on!(cache.ping()));
}

async fn disconnect(target: Target) {
    let app = App::new();
    let named = format!(r#", "client_name": "{}""#, app.id);
    let named = if target.is_embedded() { "" } else { &named };
    app.element(
        "caches.One",
        "caches.RedisType",
        &place(target, &app, named),
    );
    app.element(
        "caches.Two",
        "caches.RedisType",
        &place(target, &app, named),
    );
    let registry = app.registry().build();
    let one = Element::get(target, &registry, "caches.One").unwrap();
    let two = Element::get(target, &registry, "caches.Two").unwrap();
    let connections = || {
        let clients = REDIS.inlines(&["AUTH your_password", "CLIENT LIST"]);
        clients
            .lines()
            .filter(|line| line.contains(&app.id))
            .count()
    };
    // Before there is a connection.
    on!(one.disconnect()).unwrap();
    on!(one.set("k", "v", None)).unwrap();
    assert_eq!(on!(two.get("k")).unwrap().as_deref(), Some("v"));
    if !target.is_embedded() {
        assert!(connections() >= 1);
    }
    on!(one.disconnect()).unwrap();
    if !target.is_embedded() {
        eventually("the connection is closed", || connections() == 0);
    }
    // Both connect again, and so does the cache beneath.
    assert_eq!(on!(two.get("k")).unwrap().as_deref(), Some("v"));
    assert_eq!(on!(one.get("k")).unwrap().as_deref(), Some("v"));
    let beneath = one.cache();
    assert!(ask!(beneath.is_open()));
    call!(beneath.ping()).unwrap();
    // Calls under way are not harmed.
    let calls: Vec<_> = (0..4)
        .map(|caller| {
            let two = two.clone();
            tokio::spawn(async move {
                for number in 0..100 {
                    let name = format!("busy:{caller}:{number}");
                    on!(two.set(&name, &name, 60)).unwrap();
                    assert_eq!(on!(two.get(&name)).unwrap(), Some(name));
                }
            })
        })
        .collect();
    for _ in 0..20 {
        on!(one.disconnect()).unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for call in calls {
        call.await.unwrap();
    }
}

/// "Supporting multiple data structure operations".
async fn all_data_structures_are_beneath(target: Target) {
    let (_app, cache) = my_redis(target);
    let beneath = cache.cache();
    call!(beneath.set("k", nearcache::Text("v")).ttl("1h").tags(["t"])).unwrap();
    assert_eq!(on!(cache.get("k")).unwrap().as_deref(), Some("v"));
    call!(beneath.invalidate_tag("t")).unwrap();
    assert_eq!(on!(cache.get("k")).unwrap(), None);
    match &beneath {
        Face::Async(beneath) => {
            beneath.hash("user:123").set("name", "John").await.unwrap();
        }
        Face::Blocking(beneath) => {
            beneath.hash("user:123").set("name", "John").run().unwrap();
        }
    }
    // The face sees it as a name.
    assert!(on!(cache.exists("user:123")).unwrap());
    assert_eq!(cache.names("user:*").await, ["user:123"]);
    assert_eq!(
        on!(cache.get("user:123")).unwrap_err().kind(),
        ErrorKind::WrongType
    );
    assert!(on!(cache.delete("user:123")).unwrap());
}

async fn charset(target: Target) {
    let app = App::new();
    let latin = place(target, &app, r#", "charset": "latin-1""#);
    app.element("caches.Latin", "caches.RedisType", &latin);
    let cache = Element::get(target, &app.registry().build(), "caches.Latin").unwrap();
    on!(cache.set("café", "déjà", 60)).unwrap();
    let stored = raw_at(&cache, &[b"GET", b"caf\xe9"]).await;
    assert_eq!(stored, Value::BulkString(b"d\xe9j\xe0".to_vec()));
    assert_eq!(on!(cache.get("café")).unwrap().as_deref(), Some("déjà"));
    assert_eq!(cache.names("caf?").await, ["café"]);
    assert_eq!(on!(cache.incr("né", 2)).unwrap(), 2);
    let error = on!(cache.set("k", "a张三", None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(
        error
            .to_string()
            .contains("byte 1 of the text is not in the charset latin-1"),
        "{error}"
    );
    assert_eq!(
        on!(cache.get("张三")).unwrap_err().kind(),
        ErrorKind::InvalidKey
    );
    match &cache {
        Element::Async(cache) => {
            let mut listing = cache.keys("张*");
            let error = listing.next().await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidKey);
            assert!(listing.next().await.is_none());
        }
        Element::Blocking(cache) => {
            let mut listing = cache.keys("张*");
            let error = listing.next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidKey);
            assert!(listing.next().is_none());
        }
    }
    #[cfg(feature = "charset")]
    {
        let gbk = place(target, &app, r#", "charset": "gbk""#);
        app.element("caches.Gbk", "caches.RedisType", &gbk);
        let cache = Element::get(target, &app.registry().build(), "caches.Gbk").unwrap();
        on!(cache.set("姓名", "张三", 60)).unwrap();
        let stored = raw_at(&cache, &[b"GET", b"\xd0\xd5\xc3\xfb"]).await;
        assert_eq!(stored, Value::BulkString(b"\xd5\xc5\xc8\xfd".to_vec()));
        assert_eq!(on!(cache.get("姓名")).unwrap().as_deref(), Some("张三"));
        assert_eq!(cache.names("姓*").await, ["姓名"]);
    }
}

async fn decode_responses(target: Target) {
    let app = App::new();
    let bytes = place(target, &app, r#", "decode_responses": false"#);
    app.element("caches.MyRedis", "caches.RedisType", &bytes);
    let cache = Element::get(target, &app.registry().build(), "caches.MyRedis").unwrap();
    on!(cache.set("text", "张三", 60)).unwrap();
    assert_eq!(
        on!(cache.get_bytes("text")).unwrap().as_deref(),
        Some("张三".as_bytes())
    );
    on!(cache.set_bytes("image", *b"\x89PNG\0", 60)).unwrap();
    assert_eq!(
        on!(cache.get_bytes("image")).unwrap().as_deref(),
        Some(&b"\x89PNG\0"[..])
    );
    assert_eq!(on!(cache.get_bytes("none")).unwrap(), None);
    let error = on!(cache.get("text")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let text = error.to_string();
    assert!(
        text.contains("caches.MyRedis has decode_responses = false") && text.contains("get_bytes"),
        "{text}"
    );
    // Numbers are numbers.
    assert_eq!(on!(cache.incr("n", 2)).unwrap(), 2);
    assert_eq!(on!(cache.get_numeric("n")).unwrap(), 2);
}

// # Advanced Features

/// Connection Pool Management.
async fn connections_are_shared_by_equal_configurations(target: Target) {
    let app = App::new();
    app.element(
        "caches.Redis1",
        "caches.RedisType",
        &place(target, &app, ""),
    );
    app.element(
        "caches.Redis2",
        "caches.RedisType",
        &place(target, &app, ""),
    );
    let registry = app.registry().build();
    let one = Element::get(target, &registry, "caches.Redis1").unwrap();
    let two = Element::get(target, &registry, "caches.Redis2").unwrap();
    // One store, one application: what one writes the other reads.
    on!(one.set("k", "v", None)).unwrap();
    assert_eq!(on!(two.get("k")).unwrap().as_deref(), Some("v"));
    // What one connects, the other is told of: they have one connection.
    let (one, two) = (one.cache(), two.cache());
    assert_eq!(ask!(one.stats()).connects, ask!(two.stats()).connects);
}

/// Automatic Key Name Prefix Management.
async fn names_have_the_applications_id_before_them(target: Target) {
    let (app, cache) = my_redis(target);
    on!(cache.set("user_data", "value", None)).unwrap();
    let beneath = cache.cache();
    let stored = raw(
        &beneath,
        &[b"GET", format!("{}:user_data", app.id).as_bytes()],
    )
    .await;
    assert_eq!(stored, Value::BulkString(b"value".to_vec()));
    // In database 1.
    let away = raw(
        &beneath,
        &[b"MOVE", format!("{}:user_data", app.id).as_bytes(), b"0"],
    )
    .await;
    assert_eq!(away, Value::Int(1), "it was not in database 0");
    assert_eq!(on!(cache.get("user_data")).unwrap(), None);
}

/// Environment Variable Configuration.
#[test]
fn variables_of_the_environment_are_expanded() {
    let app = App::new();
    let config = r#"{
  "host": "{{REDIS_HOST}}",
  "port": "{{REDIS_PORT}}",
  "password": "{{REDIS_PASSWORD}}",
  "db": 1
}"#;
    app.element("caches.MyRedis", "caches.RedisType", config);
    let port = REDIS.port().to_string();
    let vars = [
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", &port),
        ("REDIS_PASSWORD", "your_password"),
    ];
    run(async {
        let cache = app
            .registry()
            .vars(vars)
            .build()
            .element("caches.MyRedis")
            .unwrap();
        assert!(cache.ping().await);
        cache.set("k", "v", 60).await.unwrap();
        assert_eq!(
            cache.blocking().unwrap().get("k").run().unwrap().as_deref(),
            Some("v")
        );
    });
    // One that is not set is named.
    let error = app
        .registry()
        .vars(vars[..2].iter().copied())
        .build()
        .element("caches.MyRedis")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let says = "MyRedis.json: password: the environment variable REDIS_PASSWORD is not set";
    assert!(error.to_string().contains(says), "{error}");
    let wrong = [
        ("REDIS_HOST", "h"),
        ("REDIS_PORT", "http"),
        ("REDIS_PASSWORD", "s3cret"),
    ];
    let error = app
        .registry()
        .vars(wrong)
        .build()
        .element("caches.MyRedis")
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("port: expected a number from 1 to 65535") && text.contains("REDIS_PORT"),
        "{text}"
    );
    assert!(!text.contains("s3cret"), "{text}");
}

/// Exception Handling.
#[test]
fn connection_and_authentication_failures_are_told_apart_without_secrets() {
    let app = App::new();
    let nobody = Port::unused();
    let element = |host: &str, port: u16, user: &str, password: &str| {
        app.element(
            "caches.MyRedis",
            "caches.RedisType",
            &format!(
                r#"{{"host": "{host}", "port": {port}, "username": "{user}", "password": "{password}",
                     "socket_timeout": 10, "socket_connect_timeout": 10, "breaker": false}}"#
            ),
        );
        app.registry().build().element("caches.MyRedis").unwrap()
    };
    run(async {
        for (cache, kind, says) in [
            (
                element("127.0.0.1", nobody.number(), "default", "hunter2"),
                ErrorKind::Connect,
                format!("cannot reach Redis at 127.0.0.1:{}", nobody.number()),
            ),
            (
                element("no-such-host.invalid", 6379, "default", "hunter2"),
                ErrorKind::Connect,
                "cannot reach Redis at no-such-host.invalid:6379".to_owned(),
            ),
            (
                element("127.0.0.1", REDIS.port(), "default", "hunter2"),
                ErrorKind::Auth,
                format!("Redis refused the credentials at {}", REDIS.address()),
            ),
            (
                element("127.0.0.1", REDIS.port(), "nobody", "hunter2"),
                ErrorKind::Auth,
                format!("Redis refused the credentials at {}", REDIS.address()),
            ),
            (
                element("127.0.0.1", REDIS.port(), "default", ""),
                ErrorKind::Auth,
                format!("Redis refused the credentials at {}", REDIS.address()),
            ),
        ] {
            let blocking = Element::Blocking(cache.blocking().unwrap());
            for cache in [Element::Async(cache), blocking] {
                // They are raised: `false` is for what there was not.
                let errors = [
                    on!(cache.set("test_key", "test_value", None)).unwrap_err(),
                    on!(cache.get("test_key")).unwrap_err(),
                    on!(cache.delete("test_key")).unwrap_err(),
                    on!(cache.exists("test_key")).unwrap_err(),
                    on!(cache.incr("test_key", 1)).unwrap_err(),
                    on!(cache.expire("test_key", 1)).unwrap_err(),
                    on!(cache.get_numeric("test_key")).unwrap_err(),
                ];
                for error in errors {
                    assert_eq!(error.kind(), kind, "{error}");
                    let text = format!("{error} {error:?} {cache:?}");
                    assert!(text.contains(&says), "{text}");
                    assert!(!text.contains("hunter2"), "{text}");
                }
                assert!(!on!(cache.ping()));
            }
        }
    });
}

// # Types, paths and `__init__.py`

async fn an_init_hook_runs_once(target: Target) {
    let app = App::new();
    app.element("caches.MyRedis", "caches.OurType", &place(target, &app, ""));
    app.element("caches.Other", "caches.RedisType", &place(target, &app, ""));
    app.declare("caches.OurType", "caches.RedisType");
    let runs = Arc::new(Mutex::new(Vec::new()));
    let (told, type_told) = (Arc::clone(&runs), Arc::clone(&runs));
    // The registry, for the function that asks for another element.
    let registry = Arc::new(std::sync::OnceLock::<Registry>::new());
    let asking = Arc::clone(&registry);
    let made = app
        .registry()
        .on_init("caches.MyRedis", move |cache| {
            told.lock()
                .unwrap()
                .push(format!("instance {}", cache.title()));
            let registry = asking.get().expect("it is built");
            registry.element("caches.Other")?;
            let itself = registry.element("caches.MyRedis").unwrap_err().to_string();
            assert!(
                itself.contains("caches.MyRedis → caches.MyRedis"),
                "{itself}"
            );
            cache.blocking()?.set("made", "by init", None).run()?;
            Ok(())
        })
        .on_init("caches.OurType", move |cache| {
            type_told
                .lock()
                .unwrap()
                .push(format!("type of {}", cache.name()));
            Ok(())
        })
        .build();
    registry.set(made).expect("the first");
    let registry = registry.get().expect("it is built");
    // Many ask at once, and it is made once.
    let elements: Vec<Element> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Element::get(target, registry, "caches.MyRedis").unwrap()))
            .collect();
        asking
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for cache in &elements {
        let cache = cache.clone();
        assert_eq!(on!(cache.get("made")).unwrap().as_deref(), Some("by init"));
    }
    assert_eq!(
        *runs.lock().unwrap(),
        ["type of caches.MyRedis", "instance One of ours"]
    );
    // `cache` makes it as well, and it is the same.
    assert!(registry.cache("caches.MyRedis").unwrap().is_open());
    assert_eq!(runs.lock().unwrap().len(), 2);
}

#[test]
fn an_init_hook_that_fails_is_told_and_tried_again() {
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        r#"{"url": "memory://"}"#,
    );
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let registry = app
        .registry()
        .on_init("caches.MyRedis", move |_| {
            match counted.fetch_add(1, Ordering::SeqCst) {
                0 => Err("not today".into()),
                1 => Err(std::io::Error::other("no disk").into()),
                2 => Err(nearcache::Cache::open("nonsense").unwrap_err().into()),
                _ => Ok(()),
            }
        })
        .build();
    let error = registry.element("caches.MyRedis").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(
        error
            .to_string()
            .contains("on_init of caches.MyRedis failed: not today"),
        "{error}"
    );
    let error = registry.cache("caches.MyRedis").unwrap_err();
    assert!(error.downcast_ref::<std::io::Error>().is_some());
    assert_eq!(
        registry.element("caches.MyRedis").unwrap_err().kind(),
        ErrorKind::InvalidUrl
    );
    registry.element("caches.MyRedis").unwrap();
    registry.element("caches.MyRedis").unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 4);
}

/// "Path can be customized", and "create their own Type elements or modify the official `caches.RedisType`".
#[test]
fn paths_and_types_of_the_applications_own() {
    let app = App::new();
    let memory = r#"{"url": "memory://"}"#;
    app.element("some.where.Odd", "caches.RedisType", memory);
    app.element("caches.Mine", "caches.OwnType", r#"{"room": "shop"}"#);
    app.element(
        "caches.RedisType",
        "caches.Meta",
        r#"{"default_ttl": "1m"}"#,
    );
    app.element("caches.Plain", "caches.RedisType", memory);
    let build = || -> RegistryBuilder {
        app.registry()
            .element("caches.Odd", app.folder().join("some/where/Odd"))
            .type_of("caches.OwnType", |element| {
                let room = element.text("room")?.unwrap_or_default();
                Ok(nearcache::config::CacheConfig::at(format!(
                    "memory://{room}"
                )))
            })
    };
    let registry = build().build();
    run(async {
        for name in [
            "caches.Odd",
            "some.where.Odd",
            "caches.Mine",
            "caches.Plain",
        ] {
            let cache = registry.element(name).unwrap();
            cache.set("k", name, None).await.unwrap();
            assert_eq!(cache.get("k").await.unwrap().as_deref(), Some(name));
            assert_eq!(cache.name(), name);
        }
        // The application's own form of the official Type has said so.
        let plain = registry.element("caches.Plain").unwrap();
        assert!(plain.cache().ttl("k").await.unwrap().duration().is_some());
        let own = registry.element("caches.Mine").unwrap();
        assert_eq!(own.cache().ttl("k").await.unwrap(), Remaining::Forever);
    });
    let error = registry.element("caches.Nowhere").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("there is no element caches.Nowhere"),
        "{error}"
    );
}

/// Hooks see the calls of an element, as those of its cache.
#[test]
fn hooks_are_told_of_the_calls() {
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);
    impl Hook for Told {
        fn after(&self, call: &Call<'_>, _: &Done) {
            let key = call.key().map(|key| key.to_string()).unwrap_or_default();
            self.0
                .lock()
                .unwrap()
                .push(format!("{} {key}", call.command()));
        }
    }
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        r#"{"url": "memory://"}"#,
    );
    let told = Arc::new(Told::default());
    let hook = Arc::clone(&told);
    let registry = app
        .registry()
        .with_builder(move |_, builder| builder.hook(Arc::clone(&hook)))
        .build();
    run(async {
        let cache = registry.element("caches.MyRedis").unwrap();
        cache.set("k", "1", None).await.unwrap();
        cache.get("k").await.unwrap();
        cache.get_bytes("k").await.unwrap();
        cache.get_numeric("k").await.unwrap();
        cache.incr("k", 1).await.unwrap();
        cache.expire("k", 5).await.unwrap();
        cache.exists("k").await.unwrap();
        cache.delete("k").await.unwrap();
        assert!(cache.ping().await);
        cache.disconnect().await.unwrap();
    });
    let expected =
        "set k,get k,get k,counter k,incr k,expire k,contains k,delete k,ping ,disconnect ";
    assert_eq!(told.0.lock().unwrap().join(","), expected);
}

#[test]
fn an_element_crosses_threads_and_is_shown() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>() {}
    check::<TextCache>();
    check::<TextCacheOf<Blocking>>();
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        r#"{"url": "memory://"}"#,
    );
    let cache = app.registry().build().element("caches.MyRedis").unwrap();
    let blocking = cache.blocking().unwrap();
    run(async {
        // Both faces are one cache.
        cache.set("k", "v", None).await.unwrap();
        assert_eq!(blocking.get("k").run().unwrap().as_deref(), Some("v"));
        let back = blocking.asynchronous().unwrap();
        assert_eq!(back.get("k").await.unwrap().as_deref(), Some("v"));
    });
}
