//! Several caches side by side, where they live.

use nearcache::config::{CacheConfig, Config};
use nearcache::{ErrorKind, Remaining};
use nearcache_testkit::{Port, Redis, random_prefix};

use crate::face::Face;
use crate::target::{Target, keys_matching};

brief_suite! {
    named_caches_have_their_own_defaults,
    what_is_said_in_code_is_said,
}

fn open(target: Target, config: &Config, name: &str) -> Face {
    if target.is_blocking() {
        Face::Blocking(config.cache(name).unwrap().blocking().unwrap())
    } else {
        Face::Async(config.cache(name).unwrap())
    }
}

async fn named_caches_have_their_own_defaults(target: Target) {
    let prefix = random_prefix();
    let config = Config::reader()
        .vars([("APP", prefix.as_str())])
        .toml(&format!(
            r#"
            url = "{}"
            timeout = "10s"
            default_ttl = "1h"

            [caches.sessions]
            prefix = "{{{{APP}}}}-sessions"
            default_ttl = "30m"

            [caches.pages]
            prefix = "{{{{APP}}}}-pages"
            separator = "/"
            "#,
            target.url(&prefix)
        ))
        .unwrap();
    assert_eq!(config.names().collect::<Vec<_>>(), ["pages", "sessions"]);
    let sessions = open(target, &config, "sessions");
    let pages = open(target, &config, "pages");
    call!(sessions.set("k", &1)).unwrap();
    call!(pages.set("k", &2)).unwrap();
    assert_eq!(call!(sessions.get::<i32>("k")).unwrap(), Some(1));
    assert_eq!(call!(pages.get::<i32>("k")).unwrap(), Some(2));
    for (cache, ttl) in [(&sessions, 1_800), (&pages, 3_600)] {
        let Remaining::In(left) = call!(cache.ttl("k")).unwrap() else {
            panic!("it expires");
        };
        assert!((ttl - 60..=ttl).contains(&left.as_secs()), "{left:?}");
    }
    let other = target.cache_at(&target.url(&prefix), "");
    let stored = keys_matching(&other, format!("{prefix}-*").as_bytes()).await;
    let stored: Vec<_> = stored
        .iter()
        .map(|key| String::from_utf8_lossy(key))
        .collect();
    assert_eq!(
        stored,
        [format!("{prefix}-pages/k"), format!("{prefix}-sessions:k")]
    );
}

async fn what_is_said_in_code_is_said(target: Target) {
    let prefix = random_prefix();
    let mut config = CacheConfig::at(target.url(&prefix));
    config.prefix = Some(prefix);
    config.default_ttl = Some("5m".parse().unwrap());
    let cache = if target.is_blocking() {
        Face::Blocking(config.cache().unwrap().blocking().unwrap())
    } else {
        Face::Async(config.cache().unwrap())
    };
    call!(cache.set("k", &1)).unwrap();
    assert!(call!(cache.ttl("k")).unwrap().duration().is_some());
}

#[test]
fn host_and_port_stand_for_a_url() {
    let redis = Redis::shared();
    let config = Config::reader()
        .vars([("REDIS_PORT", redis.port().to_string())])
        .toml("host = \"127.0.0.1\"\nport = \"{{REDIS_PORT:6379}}\"\ndb = \"{{REDIS_DB:2}}\"")
        .unwrap();
    assert_eq!(config.defaults.port, Some(redis.port()));
    assert_eq!(config.defaults.db, Some(2));
    config
        .defaults
        .cache()
        .unwrap()
        .blocking()
        .unwrap()
        .ping()
        .run()
        .unwrap();

    let v6 = CacheConfig::from_toml("host = \"[::1]\"").unwrap();
    let text = v6.effective().unwrap().to_string();
    assert!(text.contains("url = \"redis://[::1]:6379\""), "{text}");
}

#[test]
fn caches_of_one_place_share_a_connection() {
    let redis = Redis::start();
    let config = Config::from_toml(&format!(
        "url = \"{}\"\n[caches.a]\nprefix = \"a\"\n[caches.b]\nprefix = \"b\"\n[caches.c]\ndb = 1",
        redis.url()
    ))
    .unwrap();
    crate::face::run(async {
        let caches = ["a", "b", "c"].map(|name| config.cache(name).unwrap());
        for cache in &caches {
            cache.ping().await.unwrap();
        }
        let clients = redis.inline("CLIENT LIST");
        let ours = clients
            .lines()
            .filter(|line| line.contains("lib-name=nearcache") || line.contains("cmd=ping"));
        assert_eq!(ours.count(), 2, "{clients}");
    });
}

#[test]
fn a_cache_that_goes_elsewhere_does_not_take_the_password_there() {
    let config = Config::from_toml(
        "url = \"redis://localhost\"\nusername = \"app\"\npassword = \"hunter2\"\ndb = 3\ntimeout = \"1s\"\n\
         [caches.near]\nprefix = \"near\"\n\
         [caches.far]\nurl = \"redis://elsewhere?timeout=2s\"",
    )
    .unwrap();
    let near = config.settings("near").unwrap();
    assert_eq!(near.password.unwrap().expose(), "hunter2");
    assert_eq!((near.db, near.username.as_deref()), (Some(3), Some("app")));
    let far = config.settings("far").unwrap();
    assert_eq!((far.password, far.username, far.db), (None, None, None));
    let effective = config.effective("far").unwrap();
    assert_eq!(effective.timeout.unwrap().as_secs(), 2);
    assert_eq!(effective.db, Some(0));
}

#[test]
fn what_a_cache_comes_to_is_what_its_cache_does() {
    for url in [
        "memory://",
        "memory://?maxmemory=1mb&policy=allkeys-lru",
        "memory://?format=msgpack&compression=zstd:1&version=v2",
        "redis://app:hunter2@h:7000/3?timeout=250ms&prefix=p&separator=/&pool_size=3&breaker=off&connect_timeout=2s",
        "valkey+unix:///run/a%20b%25%3F@.sock?db=2",
        "redis-sentinel://app:hunter2@h:7000,[::1]/m%20n/3?sentinel_username=s&sentinel_password=hunter2&read=replica",
        "redis+unix:///run/redis.sock?protocol=2&client_name=api&default_ttl=5m&ttl_jitter=0.5",
    ] {
        let config = CacheConfig::at(url);
        let effective = config.effective().unwrap();
        // The same cache, in each of its options.
        let (one, other) = (
            config.cache().unwrap().blocking().unwrap(),
            effective.cache().unwrap().blocking().unwrap(),
        );
        assert_eq!(format!("{one:?}"), format!("{other:?}"), "{url}");
        assert_eq!(effective.effective().unwrap(), effective);
        let text = effective.to_string();
        for option in [
            "url",
            "db",
            "timeout",
            "breaker",
            "lease",
            "pool_size",
            "on_data_loss",
        ] {
            assert!(text.contains(&format!("{option} = ")), "{option}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn every_option_reaches_the_cache() {
    let config = CacheConfig::from_toml(
        r#"
        url = "redis://h"
        username = "app"
        password = "hunter2"
        db = 3
        prefix = "p"
        separator = "/"
        default_ttl = 300
        ttl_jitter = 0.25
        timeout = 0.25
        breaker = "off"
        client_name = "api"
        protocol = 2
        pool_size = 3
        lease = "20s"
        max_loads = 5
        version = "v2"
        format = "json"
        heal = false
        on_unavailable = "stale"
        on_undelivered = "deferred"
        on_data_loss = "clear"
        "#,
    )
    .unwrap();
    let cache = config.cache().unwrap().blocking().unwrap();
    let text = format!("{cache:?}");
    for part in [
        "place: h:6379",
        "Some(\"app\")",
        "\"***\"",
        "db: 3",
        "[112, 47, 118, 50, 47]",
        "Ttl(5m)",
        "0.25",
        "250ms",
        "breaker: false",
        "Some(\"api\")",
        "Some(Resp2)",
        "pool_size: 3",
        "20s",
        "Stale",
        "Deferred",
        "Clear",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_cache_that_is_away_is_told_as_ever() {
    let nobody = Port::unused();
    let config = CacheConfig::at(format!("redis://127.0.0.1:{nobody}"));
    let error = config
        .cache()
        .unwrap()
        .blocking()
        .unwrap()
        .ping()
        .run()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[test]
fn an_empty_password_is_none() {
    let text = format!(
        "url = \"{}\"\nusername = \"\"\npassword = \"{{{{NO_SUCH_PASSWORD:}}}}\"",
        Redis::shared().url()
    );
    let config = CacheConfig::from_toml(&text).unwrap();
    config
        .cache()
        .unwrap()
        .blocking()
        .unwrap()
        .ping()
        .run()
        .unwrap();
    let effective = config.effective().unwrap();
    assert_eq!((effective.username, effective.password), (None, None));
}

#[test]
fn a_host_in_code_is_a_host_and_nothing_more() {
    let mut config = CacheConfig::default();
    config.host = Some("h/3?prefix=x".to_owned());
    assert_eq!(config.cache().unwrap_err().kind(), ErrorKind::InvalidConfig);
}
