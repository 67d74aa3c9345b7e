//! The page's "Methods", and what they do with text.

use super::*;

brief_suite! {
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
