//! Types, paths and `__init__.py`: what an application declares of its own.

use super::*;

brief_suite! {
    an_init_hook_runs_once,
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
