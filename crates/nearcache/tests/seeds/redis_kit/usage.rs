//! Entries, from the page's "Basic Usage" to "Bound Operations", with what is cached for "nothing", and jitter.

use super::*;

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
