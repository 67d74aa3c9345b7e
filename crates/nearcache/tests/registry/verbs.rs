//! What an element's cache does, where it lives.

use std::time::Duration;

use nearcache::{Error, ErrorKind, Remaining, Text};
use nearcache_testkit::{Port, Redis};

use crate::app::{App, open};
use crate::target::{Target, keys_matching, raw};

brief_suite! {
    get_gives_the_text_or_none,
    set_without_a_time_ends_an_old_one,
    numbers_are_set_and_read_and_what_is_none_is_an_error,
    incr_counts_from_zero_and_keeps_the_time,
    expire_exists_and_delete_say_whether_it_was_there,
    keys_are_listed_inside_the_applications_prefix,
    a_prefix_of_glob_characters_lists_nothing_foreign,
    a_closed_cache_is_made_anew_and_others_go_on,
    the_stored_key_is_the_applications_id_and_the_name,
    a_time_of_nothing_is_an_error,
}

fn text(text: &str) -> Option<Text> {
    Some(Text(text.to_owned()))
}

async fn get_gives_the_text_or_none(target: Target) {
    let app = App::new();
    let cache = app.cache(target);
    assert_eq!(call!(cache.get::<Text>("user:1001")).unwrap(), None);
    call!(cache.set("user:1001", &Text("张三")).ttl(3600)).unwrap();
    assert_eq!(call!(cache.get::<Text>("user:1001")).unwrap(), text("张三"));
    // Expired, seen by a time that has passed.
    let past = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    assert!(call!(cache.expire_at("user:1001", past)).unwrap());
    assert_eq!(call!(cache.get::<Text>("user:1001")).unwrap(), None);
}

async fn set_without_a_time_ends_an_old_one(target: Target) {
    let app = App::new();
    let cache = app.cache(target);
    call!(cache.set("k", &Text("a")).ttl(300)).unwrap();
    assert!(call!(cache.ttl("k")).unwrap().duration().is_some());
    call!(cache.set("k", &Text("b"))).unwrap();
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Forever);
    assert_eq!(call!(cache.get::<Text>("k")).unwrap(), text("b"));
}

async fn numbers_are_set_and_read_and_what_is_none_is_an_error(target: Target) {
    let app = App::new();
    let cache = app.cache(target);
    assert_eq!(call!(cache.counter("n")).unwrap().unwrap_or(0), 0);
    call!(cache.set("n", &0)).unwrap();
    assert_eq!(call!(cache.counter("n")).unwrap(), Some(0));
    call!(cache.set("n", &-100).ttl(3600)).unwrap();
    assert_eq!(call!(cache.counter("n")).unwrap(), Some(-100));
    call!(cache.set("n", &Text("many"))).unwrap();
    let error = call!(cache.counter("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotInteger);
}

async fn incr_counts_from_zero_and_keeps_the_time(target: Target) {
    let app = App::new();
    let cache = app.cache(target);
    assert_eq!(call!(cache.incr("n")).unwrap(), 1);
    assert_eq!(call!(cache.incr("n").by(10)).unwrap(), 11);
    assert_eq!(call!(cache.incr("n").by(-20)).unwrap(), -9);
    assert!(call!(cache.expire("n", 1800)).unwrap());
    call!(cache.incr("n")).unwrap();
    assert!(call!(cache.ttl("n")).unwrap().duration().is_some());
    call!(cache.set("n", &i64::MAX)).unwrap();
    assert_eq!(
        call!(cache.incr("n")).unwrap_err().kind(),
        ErrorKind::Overflow
    );
    call!(cache.set("n", &1.5)).unwrap();
    assert_eq!(
        call!(cache.incr("n")).unwrap_err().kind(),
        ErrorKind::NotInteger
    );
}

async fn expire_exists_and_delete_say_whether_it_was_there(target: Target) {
    let app = App::new();
    let cache = app.cache(target);
    assert!(!call!(cache.expire("k", 7200)).unwrap());
    assert!(!call!(cache.contains("k")).unwrap());
    assert!(!call!(cache.delete("k")).unwrap());
    call!(cache.set("k", &Text("v"))).unwrap();
    assert!(call!(cache.expire("k", 7200)).unwrap());
    assert!(call!(cache.contains("k")).unwrap());
    assert!(call!(cache.delete("k")).unwrap());
    assert!(!call!(cache.contains("k")).unwrap());
}

async fn keys_are_listed_inside_the_applications_prefix(target: Target) {
    let app = App::new();
    let cache = app.cache(target);
    let other = target.cache_at(&target.url(&app.id), "");
    for key in ["session:1", "session:2", "config:a"] {
        call!(cache.set(key, &Text("v"))).unwrap();
        call!(other.set(key, &Text("v")).ttl(60)).unwrap();
    }
    let names = |keys: Vec<Vec<u8>>| keys.concat().escape_ascii().to_string();
    assert_eq!(
        names(keys_matching(&cache, b"session:*").await),
        "session:1session:2"
    );
    assert_eq!(
        names(keys_matching(&cache, b"*").await),
        "config:asession:1session:2"
    );
    call!(cache.clear()).unwrap();
}

async fn a_prefix_of_glob_characters_lists_nothing_foreign(target: Target) {
    let app = App::new();
    app.element("caches.MyRedis", "caches.RedisType", &app.place(target));
    let wild = nearcache::compat::registry::Registry::builder(format!("{}[a-z]*?", app.id))
        .root(app.folder())
        .build();
    let foreign = nearcache::compat::registry::Registry::builder(format!("{}bcd", app.id))
        .root(app.folder())
        .build();
    let cache = open(target, &wild, "caches.MyRedis").unwrap();
    let other = open(target, &foreign, "caches.MyRedis").unwrap();
    call!(other.set("k", &Text("theirs"))).unwrap();
    call!(cache.set("k", &Text("ours"))).unwrap();
    assert_eq!(keys_matching(&cache, b"*").await, [b"k"]);
    assert_eq!(call!(cache.clear()).unwrap(), 1);
    assert_eq!(call!(other.get::<Text>("k")).unwrap(), text("theirs"));
}

async fn a_closed_cache_is_made_anew_and_others_go_on(target: Target) {
    let app = App::new();
    app.element("caches.One", "caches.RedisType", &app.place(target));
    app.element("caches.Two", "caches.RedisType", &app.place(target));
    let registry = app.registry().build();
    let one = open(target, &registry, "caches.One").unwrap();
    let two = open(target, &registry, "caches.Two").unwrap();
    call!(one.ping()).unwrap();
    call!(one.set("k", &Text("v"))).unwrap();
    call!(one.close()).unwrap();
    assert_eq!(call!(two.get::<Text>("k")).unwrap(), text("v"));
    assert!(call!(one.ping()).is_err());
    let again = open(target, &registry, "caches.One").unwrap();
    assert_eq!(call!(again.get::<Text>("k")).unwrap(), text("v"));
}

async fn the_stored_key_is_the_applications_id_and_the_name(target: Target) {
    let app = App::new();
    let cache = app.cache(target);
    call!(cache.set("user_data", &Text("value"))).unwrap();
    let stored = raw(
        &cache,
        &[b"GET", format!("{}:user_data", app.id).as_bytes()],
    )
    .await;
    assert_eq!(stored, ::redis::Value::BulkString(b"value".to_vec()));
    // In database 1, where everybody else's default is 0.
    let url = target.url(&app.id);
    let joint = if url.contains('?') { "&" } else { "?" };
    let first = target.cache_at(&format!("{url}{joint}db=1"), &app.id);
    assert!(call!(first.contains("user_data")).unwrap());
    let zeroth = target.cache_at(&url, &app.id);
    assert!(!call!(zeroth.contains("user_data")).unwrap());
}

async fn a_time_of_nothing_is_an_error(target: Target) {
    let app = App::new();
    let cache = app.cache(target);
    let kind = |error: Error| error.kind();
    for seconds in [0, -1] {
        assert_eq!(
            kind(call!(cache.set("k", &Text("v")).ttl(seconds)).unwrap_err()),
            ErrorKind::InvalidTtl
        );
        assert_eq!(
            kind(call!(cache.expire("k", seconds)).unwrap_err()),
            ErrorKind::InvalidTtl
        );
    }
    assert!(!call!(cache.contains("k")).unwrap());
}

/// The host, port and password of a server, as an element says them.
fn at(port: u16, password: &str) -> String {
    format!(
        r#"{{"host": "127.0.0.1", "port": {port}, "password": {password}, "socket_timeout": 10}}"#
    )
}

#[test]
fn a_server_that_is_away_and_one_that_refuses_the_password_are_told_apart() {
    let redis = Redis::start_with(&["--requirepass", "right-one"]);
    let app = App::new();
    let nobody = Port::unused();
    app.element(
        "caches.Away",
        "caches.RedisType",
        &at(nobody.number(), "null"),
    );
    app.element(
        "caches.Wrong",
        "caches.RedisType",
        &at(redis.port(), "\"hunter2\""),
    );
    app.element("caches.None", "caches.RedisType", &at(redis.port(), "\"\""));
    app.element(
        "caches.Right",
        "caches.RedisType",
        &at(redis.port(), "\"right-one\""),
    );
    let registry = app.registry().build();
    crate::face::run(async {
        for blocking in [false, true] {
            let ping = async |name: &str| {
                if blocking {
                    registry
                        .cache(name)
                        .unwrap()
                        .blocking()
                        .unwrap()
                        .ping()
                        .run()
                } else {
                    registry.cache(name).unwrap().ping().await
                }
            };
            let away = ping("caches.Away").await.unwrap_err();
            assert_eq!(away.kind(), ErrorKind::Connect);
            assert!(away.to_string().contains("127.0.0.1:"), "{away}");
            let wrong = ping("caches.Wrong").await.unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::Auth);
            assert!(wrong.to_string().contains(&redis.address()), "{wrong}");
            assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
            assert_eq!(
                ping("caches.None").await.unwrap_err().kind(),
                ErrorKind::Auth
            );
            ping("caches.Right").await.unwrap();
        }
    });
}

#[test]
fn the_same_configuration_is_the_same_connection() {
    let redis = Redis::start();
    let app = App::new();
    for name in ["caches.Redis1", "caches.Redis2"] {
        app.element(name, "caches.RedisType", &at(redis.port(), "null"));
    }
    let elsewhere = at(redis.port(), "null").replace('}', ", \"db\": 2}");
    app.element("caches.Redis3", "caches.RedisType", &elsewhere);
    crate::face::run(async {
        let registry = app.registry().build();
        let one = registry.cache("caches.Redis1").unwrap();
        let two = registry.cache("caches.Redis2").unwrap();
        one.ping().await.unwrap();
        two.ping().await.unwrap();
        assert_eq!((one.stats().connects, two.stats().connects), (1, 1));
        let clients = || {
            let clients = redis.inline("CLIENT LIST");
            clients
                .lines()
                .filter(|line| line.contains("cmd=ping"))
                .count()
        };
        assert_eq!(clients(), 1);
        // Not theirs.
        let three = registry.cache("caches.Redis3").unwrap();
        three.ping().await.unwrap();
        assert_eq!((one.stats().connects, clients()), (1, 2));
        // The same element is the same cache.
        registry
            .cache("caches.Redis1")
            .unwrap()
            .ping()
            .await
            .unwrap();
    });
}
