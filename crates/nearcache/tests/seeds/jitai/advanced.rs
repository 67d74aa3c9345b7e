//! The page's "Advanced Features": connections, names, variables, failures.

use super::*;

brief_suite! {
    connections_are_shared_by_equal_configurations,
    names_have_the_applications_id_before_them,
}

// # Advanced Features

/// Connection Pool Management.
async fn connections_are_shared_by_equal_configurations(target: Target) {
    let app = App::new();
    // A database that no other test uses, to know its connections by.
    let db = if target.is_blocking() { 9 } else { 10 };
    let own = match target.is_embedded() {
        true => String::new(),
        false => format!(r#", "db": {db}"#),
    };
    for name in ["caches.Redis1", "caches.Redis2"] {
        app.element(name, "caches.RedisType", &place(target, &app, &own));
    }
    let registry = app.registry().build();
    let one = Element::get(target, &registry, "caches.Redis1").unwrap();
    let two = Element::get(target, &registry, "caches.Redis2").unwrap();
    // One store, one application: what one writes the other reads.
    on!(one.set("k", "v", None)).unwrap();
    assert_eq!(on!(two.get("k")).unwrap().as_deref(), Some("v"));
    if target.is_embedded() {
        return;
    }
    // They have one connection.
    let clients = REDIS.inlines(&["AUTH your_password", "CLIENT LIST"]);
    let there = format!(" db={db} ");
    let connections = clients.lines().filter(|client| client.contains(&there));
    assert_eq!(connections.count(), 1, "{clients}");
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
