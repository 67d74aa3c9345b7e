//! Folders: from an instance over its Types to the Meta.

use std::time::Duration;

use nearcache::Text;
use nearcache::compat::registry::Registry;

use crate::app::{App, open};
use crate::target::Target;

brief_suite! {
    an_element_is_found_under_its_name_and_in_a_folder_of_its_own,
    a_type_in_a_folder_says_what_its_instances_need_not,
    a_type_of_the_applications_makes_of_an_element_what_it_likes,
}

async fn an_element_is_found_under_its_name_and_in_a_folder_of_its_own(target: Target) {
    let app = App::new();
    app.element("caches.MyRedis", "caches.RedisType", &app.place(target));
    app.element("deep.er.down.Cache", "caches.RedisType", &app.place(target));
    app.element("some.where.Odd", "caches.RedisType", &app.place(target));
    let registry = app
        .registry()
        .root("/there/is/no/such/folder")
        .element("caches.Odd", app.folder().join("some/where/Odd"))
        .build();
    for (number, name) in ["caches.MyRedis", "deep.er.down.Cache", "caches.Odd"]
        .into_iter()
        .enumerate()
    {
        let cache = open(target, &registry, name).unwrap();
        call!(cache.set(name, &number)).unwrap();
    }
    let cache = open(target, &registry, "caches.MyRedis").unwrap();
    assert_eq!(call!(cache.get::<usize>("caches.Odd")).unwrap(), Some(2));
}

async fn a_type_in_a_folder_says_what_its_instances_need_not(target: Target) {
    let app = App::new();
    // The application's own form of the built-in Type, and a Type over that.
    app.element("caches.RedisType", "caches.Meta", &app.place(target));
    app.element(
        "caches.ShortType",
        "caches.RedisType",
        r#"{"default_ttl": "1m", "db": 5}"#,
    );
    app.declare("caches.PlainType", "caches.ShortType");
    app.element("caches.MyRedis", "caches.PlainType", r#"{"db": 6}"#);
    let registry = app.registry().build();
    let settings = registry.settings("caches.MyRedis").unwrap();
    assert_eq!(settings.db, Some(6));
    assert_eq!(
        settings.default_ttl.unwrap().as_duration(),
        Duration::from_secs(60)
    );
    assert_eq!(settings.timeout, Some(Duration::from_secs(10)));
    let cache = open(target, &registry, "caches.MyRedis").unwrap();
    call!(cache.set("k", &Text("v"))).unwrap();
    assert!(call!(cache.ttl("k")).unwrap().duration().is_some());
}

async fn a_type_of_the_applications_makes_of_an_element_what_it_likes(target: Target) {
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.OurType",
        r#"{"tier": "{{TIER}}", "ttl": 60}"#,
    );
    let url = target.url(&app.id);
    let registry = app
        .registry()
        .vars([("TIER", "gold")])
        .type_of("caches.OurType", move |element| {
            assert_eq!(element.types(), ["caches.OurType"]);
            assert_eq!(
                (element.name(), element.title()),
                ("caches.MyRedis", "One of ours")
            );
            assert_eq!(element.text("tier")?.as_deref(), Some("gold"));
            let mut config = nearcache::config::CacheConfig::at(url.as_str());
            config.default_ttl = element
                .text("ttl")?
                .map(|ttl| format!("{ttl}s").parse())
                .transpose()?;
            config.timeout = Some(Duration::from_secs(10));
            Ok(config)
        })
        .build();
    let cache = open(target, &registry, "caches.MyRedis").unwrap();
    call!(cache.set("k", &1)).unwrap();
    assert!(call!(cache.ttl("k")).unwrap().duration().is_some());
    let mine = target.cache_at(&target.url(&app.id), &app.id);
    assert!(
        call!(mine.contains("k")).unwrap(),
        "under the application's id, whatever the Type"
    );
}

#[test]
fn a_registered_type_goes_before_the_built_in_one_and_after_its_folder() {
    let app = App::new();
    app.element(
        "caches.RedisType",
        "caches.Meta",
        r#"{"port": 7000, "password": null}"#,
    );
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        r#"{"host": "h", "region": "eu"}"#,
    );
    let registry = app
        .registry()
        .type_of("caches.RedisType", |element| {
            let mut config = element.without("region").redis()?;
            config.client_name = element.text("region")?;
            Ok(config)
        })
        .build();
    let text = registry
        .settings("caches.MyRedis")
        .unwrap()
        .effective()
        .unwrap()
        .to_string();
    assert!(
        text.contains("url = \"redis://h:7000\"") && text.contains("client_name = \"eu\""),
        "{text}"
    );
}

#[test]
fn what_is_not_said_is_what_the_type_says() {
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        r#"{"host": "127.0.0.1", "port": 6379, "password": "s3cret"}"#,
    );
    let settings = app.registry().build().settings("caches.MyRedis").unwrap();
    assert_eq!(settings.db, Some(1));
    assert_eq!(settings.timeout, Some(Duration::from_millis(500)));
    assert_eq!(settings.prefix.as_deref(), Some(&*app.id));
    // The user "default" is the one that a password alone is for.
    assert_eq!(settings.username, None);
    assert_eq!(settings.password.unwrap().expose(), "s3cret");
}

#[test]
fn every_field_of_the_type_is_read() {
    let app = App::new();
    let config = r#"{"host": "h", "port": "{{PORT}}", "password": "{{PASSWORD}}", "db": "{{DB:4}}", "username": "app",
        "charset": "UTF-8", "decode_responses": "true", "socket_timeout": 0.25, "socket_connect_timeout": "{{SECONDS}}",
        "ttl_jitter": 0.1, "breaker": false}"#;
    app.element("caches.MyRedis", "caches.RedisType", config);
    let vars = [("PORT", "7001"), ("PASSWORD", "s3cret"), ("SECONDS", "2")];
    let registry = app.registry().vars(vars).build();
    let settings = registry.settings("caches.MyRedis").unwrap();
    assert_eq!((settings.port, settings.db), (Some(7001), Some(4)));
    assert_eq!(settings.username.as_deref(), Some("app"));
    assert_eq!(settings.timeout, Some(Duration::from_millis(250)));
    assert_eq!(settings.connect_timeout, Some(Duration::from_secs(2)));
    assert_eq!(
        (settings.ttl_jitter, settings.breaker),
        (Some(0.1), Some(false))
    );
    let text = format!(
        "{settings:?} {} {registry:?}",
        settings.effective().unwrap()
    );
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn an_element_is_the_same_cache_until_it_is_closed() {
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        r#"{"url": "memory://"}"#,
    );
    let registry = app.registry().build();
    crate::face::run(async {
        let cache = registry.cache("caches.MyRedis").unwrap();
        cache.set("k", &1).await.unwrap();
        // A store without a name is the cache's own: what sees it is the cache.
        assert_eq!(
            registry
                .clone()
                .cache("caches.MyRedis")
                .unwrap()
                .get("k")
                .await
                .unwrap(),
            Some(1)
        );
        cache.close().await.unwrap();
        assert_eq!(
            registry
                .cache("caches.MyRedis")
                .unwrap()
                .get::<i32>("k")
                .await
                .unwrap(),
            None
        );
    });
}

#[test]
fn a_registry_crosses_threads_and_is_shown() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>() {}
    check::<Registry>();
    assert_eq!(Registry::builder("myapp").build().app_id(), "myapp");
}
