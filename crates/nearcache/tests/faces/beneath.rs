//! Hooks and fallbacks for the caches of components and of elements, and the cache beneath a component.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use nearcache::compat::component::{Component, Params};
use nearcache::compat::registry::Registry;
use nearcache::hooks::MetricsCollector;
use nearcache::{ErrorKind, Fallback, Instead, blocking};
use nearcache_testkit::{Port, random_prefix};

use crate::face::run;

/// The parameters of a component whose server is away.
fn away(port: &Port, max_size: u32) -> Params {
    Params::from([("connection.host", "127.0.0.1".to_owned())])
        .with("connection.port", i32::from(port.number()))
        .with("options.retries", 0)
        .with("options.max_size", max_size)
}

/// Writes pass, reads have an answer.
fn fallback() -> Fallback {
    Fallback::call(|outage| match outage.command {
        "get" => Instead::Value(b"instead".to_vec()),
        _ => Instead::Done,
    })
}

#[test]
fn a_component_has_hooks_and_a_fallback() {
    let port = Port::unused();
    run(async {
        for max_size in [0, 1_000] {
            let metrics = Arc::new(MetricsCollector::new());
            let (component, hook) = (Component::new(), Arc::clone(&metrics));
            component.configure(&away(&port, max_size));
            component.set_builder(move |builder| {
                builder.hook(Arc::clone(&hook)).on_unavailable(fallback())
            });
            component.open("123").await.unwrap();
            component.store("123", "k", 1, None).await.unwrap();
            let text: Option<String> = component.retrieve("123", "k").await.unwrap();
            assert_eq!(text.as_deref(), Some("instead"));
            // What the caller goes on with is an error, as without a component.
            assert!(component.remove::<String>("123", "k").await.is_err());
            assert!(metrics.count("set") == 1 && metrics.count("get") == 1);
            component.close("123").await.unwrap();

            let component = blocking::Component::new();
            component.configure(&away(&port, max_size));
            component.set_builder(|builder| builder.on_unavailable(fallback()));
            component.open("123").run().unwrap();
            component.store("123", "k", 1, None).run().unwrap();
            let text: Option<String> = component.retrieve("123", "k").run().unwrap();
            assert_eq!(text.as_deref(), Some("instead"));
        }
    });
}

#[test]
fn the_cache_beneath_a_component_is_there_while_it_is_open() {
    run(async {
        let component = Component::new();
        component.configure(&Params::from([("connection.uri", "memory://")]));
        assert_eq!(component.cache().unwrap_err().kind(), ErrorKind::NotOpen);
        component.open("123").await.unwrap();
        let cache = component.cache().unwrap();
        component
            .store("123", "k", "v", Some(Duration::from_secs(60)))
            .await
            .unwrap();
        assert_eq!(
            cache.get::<String>("k").await.unwrap().as_deref(),
            Some("v")
        );
        let loaded: u8 = cache.remember_with("n", async || 7).await.unwrap();
        assert_eq!(loaded, 7);
        assert_eq!(component.retrieve("123", "n").await.unwrap(), Some(7));
        component.close("123").await.unwrap();
        assert_eq!(
            cache.get::<u8>("n").await.unwrap_err().kind(),
            ErrorKind::Closed
        );

        let component = blocking::Component::new();
        component.configure(&Params::from([("connection.uri", "memory://")]));
        component.open("123").run().unwrap();
        component.store("123", "k", 1, None).run().unwrap();
        assert!(component.cache().unwrap().contains("k").run().unwrap());
    });
}

#[test]
fn an_elements_cache_has_hooks_and_a_fallback_by_its_name() {
    let port = Port::unused();
    let folder = std::env::temp_dir().join(random_prefix());
    for name in ["One", "Two"] {
        let element = folder.join("caches").join(name);
        fs::create_dir_all(&element).unwrap();
        let declared = r#"{"backendBundleEntry": ".", "title": "x", "type": "caches.RedisType"}"#;
        fs::write(element.join("e.json"), declared).unwrap();
        let config = format!(
            r#"{{"host": "127.0.0.1", "port": {}, "password": null}}"#,
            port.number()
        );
        fs::write(element.join(format!("{name}.json")), config).unwrap();
    }
    run(async {
        let metrics = Arc::new(MetricsCollector::new());
        let hook = Arc::clone(&metrics);
        let registry = Registry::builder("app")
            .root(&folder)
            .with_builder(move |name, builder| match name {
                "caches.One" => builder.hook(Arc::clone(&hook)).on_unavailable(fallback()),
                _ => builder,
            })
            .build();
        let (one, two) = (
            registry.cache("caches.One").unwrap(),
            registry.cache("caches.Two"),
        );
        one.set("k", 1).await.unwrap();
        assert!(two.unwrap().set("k", 1).await.is_err());
        let text = one
            .blocking()
            .unwrap()
            .get::<nearcache::Text>("k")
            .run()
            .unwrap();
        assert_eq!(text.map(|text| text.0).as_deref(), Some("instead"));
        assert_eq!(metrics.count("set"), 1);
    });
    fs::remove_dir_all(folder).unwrap();
}
