//! What each form of a configuration says.

use std::fs;
use std::time::Duration;

use nearcache::config::{CacheConfig, Config};
use serde::Deserialize;

#[test]
fn toml_json_environment_and_code_say_the_same() {
    let toml = Config::from_toml(
        "url = \"redis://h\"\nbreaker = false\n[caches.pages]\ndb = 3\nttl_jitter = 0.5\ndefault_ttl = \"2h30m\"",
    )
    .unwrap();
    let json = Config::from_json(
        r#"{"url": "redis://h", "breaker": false, "password": null,
            "caches": {"pages": {"db": "3", "ttl_jitter": "0.5", "default_ttl": 9000}}}"#,
    )
    .unwrap();
    let environment = Config::reader()
        .vars([
            ("NEARCACHE_URL", "redis://h"),
            ("NEARCACHE_BREAKER", "off"),
            ("NEARCACHE_CACHES__PAGES__DB", "3"),
            ("NEARCACHE_CACHES__PAGES__TTL_JITTER", "0.5"),
            ("NEARCACHE_CACHES__PAGES__DEFAULT_TTL", "2h30m"),
            ("PATH", "/bin"),
        ])
        .environment()
        .unwrap();
    let mut code = Config::default();
    code.defaults = CacheConfig::at("redis://h");
    code.defaults.breaker = Some(false);
    let mut pages = CacheConfig::default();
    pages.db = Some(3);
    pages.ttl_jitter = Some(0.5);
    pages.default_ttl = Some("2h30m".parse().unwrap());
    code.caches.insert("pages".to_owned(), pages);
    assert_eq!(toml, code);
    assert_eq!(json, code);
    assert_eq!(environment, code);
}

#[test]
fn files_are_read_by_their_ending() {
    let folder = std::env::temp_dir().join(nearcache_testkit::random_prefix());
    fs::create_dir(&folder).unwrap();
    let (toml, json) = (folder.join("cache.toml"), folder.join("cache.JSON"));
    fs::write(&toml, "url = \"redis://{{HOST}}\"").unwrap();
    fs::write(&json, r#"{"url": "redis://{{HOST}}"}"#).unwrap();
    let reader = Config::reader().vars([("HOST", "h")]);
    let config = reader.load(&toml).unwrap();
    assert_eq!(config, reader.load(&json).unwrap());
    assert_eq!(config.defaults.url, Some("redis://h".into()));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_applications_own_configuration_can_hold_it() {
    #[derive(Deserialize)]
    struct App {
        name: String,
        cache: Config,
        session: CacheConfig,
    }
    let app: App = serde_json::from_str(
        r#"{"name": "shop", "cache": {"url": "memory://", "caches": {"a": {}}}, "session": {"host": "{{NO_SUCH_NAME:h}}"}}"#,
    )
    .unwrap();
    assert_eq!(app.name, "shop");
    assert_eq!(app.cache.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(app.session.host.as_deref(), Some("h"));
    let error =
        serde_json::from_str::<App>(r#"{"name": "x", "cache": {"timout": 1}, "session": {}}"#);
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("timout") && error.contains("\"timeout\""),
        "{error}"
    );
}

#[test]
fn the_environment_goes_before_a_file() {
    let file = Config::from_toml(
        "url = \"redis://file\"\ntimeout = 1\n[caches.a]\ndb = 1\nprefix = \"a\"",
    )
    .unwrap();
    let environment = Config::reader()
        .vars([
            ("NEARCACHE_URL", "redis://environment"),
            ("NEARCACHE_CACHES__A__DB", "2"),
        ])
        .environment()
        .unwrap();
    let config = file.overridden_by(environment);
    assert_eq!(config.defaults.url, Some("redis://environment".into()));
    assert_eq!(config.defaults.timeout, Some(Duration::from_secs(1)));
    assert_eq!(config.caches["a"].db, Some(2));
    assert_eq!(config.caches["a"].prefix.as_deref(), Some("a"));
}

#[test]
fn a_number_or_a_switch_can_be_a_template() {
    let config = Config::reader()
        .vars([("DB", "5"), ("ON", "false"), ("JITTER", " 0.1 "), ("TTL", "90"), ("PROTOCOL", "RESP3")])
        .toml(
            "db = \"{{DB}}\"\nbreaker = \"{{ON}}\"\nttl_jitter = \"{{JITTER}}\"\ndefault_ttl = \"{{TTL}}\"\n\
             protocol = \"{{PROTOCOL}}\"\ntimeout = \"{{TIMEOUT:0.5}}\"",
        )
        .unwrap()
        .defaults;
    assert_eq!(
        (config.db, config.breaker, config.ttl_jitter),
        (Some(5), Some(false), Some(0.1))
    );
    assert_eq!(
        config.default_ttl.unwrap().as_duration(),
        Duration::from_secs(90)
    );
    assert_eq!(config.timeout, Some(Duration::from_millis(500)));
}

/// What Kubernetes and Docker set for a service called `nearcache`, and one called `nearcache-redis`.
#[test]
fn the_variables_of_a_service_of_the_same_name_are_no_settings() {
    let links = [
        ("NEARCACHE_PORT", "tcp://10.0.0.1:6379"),
        ("NEARCACHE_HOST", "tcp://10.0.0.1:6379"),
        ("NEARCACHE_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("NEARCACHE_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ("NEARCACHE_PORT_6379_TCP_PORT", "6379"),
        ("NEARCACHE_PORT_6379_TCP_PROTO", "tcp"),
        ("NEARCACHE_SERVICE_HOST", "10.0.0.1"),
        ("NEARCACHE_SERVICE_PORT", "6379"),
        ("NEARCACHE_SERVICE_PORT_REDIS", "6379"),
        ("NEARCACHE_REDIS_PORT", "tcp://10.0.0.2:6379"),
        ("NEARCACHE_REDIS_SERVICE_HOST", "10.0.0.2"),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        let vars = links.iter().copied().filter(|(name, _)| {
            // One name has one value.
            more.iter().all(|(other, _)| other != name)
        });
        let vars: Vec<_> = vars.chain(more.iter().copied()).collect();
        Config::reader().vars(vars).environment()
    };
    assert_eq!(with(&[]).unwrap(), Config::default());
    let own = with(&[("NEARCACHE_HOST", "h"), ("NEARCACHE_PORT", "7000")]).unwrap();
    assert_eq!(own.defaults.host.as_deref(), Some("h"));
    assert_eq!(own.defaults.port, Some(7_000));
    // A mistake of one's own is still told.
    for (name, value) in [
        ("NEARCACHE_PORT", "http://10.0.0.1"),
        ("NEARCACHE_PORTS", "6379"),
        ("NEARCACHE_CACHES__PAGES__PORT", "tcp://10.0.0.1:6379"),
    ] {
        assert!(with(&[(name, value)]).is_err(), "{name}");
    }
}

#[test]
fn text_that_was_pasted_may_have_a_mark_and_capitals() {
    let toml = "\u{feff}url = \"REDIS://h\"\nbreaker = \"False\"";
    let json = "\u{feff}{\"url\": \"REDIS://h\", \"breaker\": \"FALSE\"}";
    for config in [Config::from_toml(toml), Config::from_json(json)] {
        let config = config.unwrap();
        assert_eq!(config.defaults.breaker, Some(false));
        assert_eq!(config.defaults.url, Some("REDIS://h".into()));
    }
    let on = Config::reader().vars([("NEARCACHE_BREAKER", "TRUE")]);
    assert_eq!(on.environment().unwrap().defaults.breaker, Some(true));
    // The place of a mistake is counted without the mark.
    let error = Config::from_json("\u{feff}{").unwrap_err();
    assert!(error.to_string().contains("line 1, column 1"), "{error}");
}
