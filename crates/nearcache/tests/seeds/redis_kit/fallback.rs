//! The page's "Fallback Policy".

use super::*;

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
        let cache = Cache::builder(&redis.patient_url())
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
    let port = Port::unused();
    for (on, expected) in [(true, 1), (false, 0)] {
        let logs = Logs::of_this_thread();
        run_in_one_thread(async {
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
        let text = logs.text();
        let said = text
            .lines()
            .filter(|line| line.contains("the fallback did"))
            .count();
        assert_eq!(said, expected, "{text}");
        assert!(!text.contains("secret-token"), "{text}");
    }
}
