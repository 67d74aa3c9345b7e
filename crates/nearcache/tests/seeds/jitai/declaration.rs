//! How an element is declared: the page's "Quick Start" and "Element Configuration".

use super::*;

brief_suite! {
    quick_start,
    the_element_is_declared_in_e_json,
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
