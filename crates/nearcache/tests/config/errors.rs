//! What is wrong, where it is, and what to write instead.

use std::fs;

use nearcache::ErrorKind;
use nearcache::config::{CacheConfig, Config};

fn error(toml: &str) -> String {
    let reader = Config::reader().vars([("EMPTY", ""), ("TEXT", "some-text")]);
    let error = reader.toml(toml).expect_err(toml);
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    error.to_string()
}

#[test]
fn an_option_that_does_not_exist_has_a_suggestion() {
    let text = error("[caches.pages]\ndefualt_ttl = \"5m\"");
    assert!(
        text.contains(
            "caches.pages.defualt_ttl: there is no such option; did you mean \"default_ttl\"?"
        ),
        "{text}"
    );
    assert!(text.contains("tls_verify, ttl_jitter, url"), "{text}");
    assert!(error("cache = {}").contains("did you mean \"caches\"?"));
    assert!(error("nonsense = 1").contains("there are breaker,"));
    let text = Config::reader()
        .vars([("NEARCACHE_TIMOUT", "1s")])
        .environment()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("NEARCACHE_TIMOUT") && text.contains("\"timeout\""),
        "{text}"
    );
    let text = Config::reader()
        .vars([("NEARCACHE_CACHES__A", "1s")])
        .environment()
        .unwrap_err()
        .to_string();
    assert!(text.contains("NEARCACHE_CACHES__NAME__OPTION"), "{text}");
}

#[test]
fn a_value_out_of_its_range_is_told_with_the_range() {
    for (toml, place, range) in [
        ("port = 0", "port", "from 1 to 65535"),
        ("port = 65536", "port", "from 1 to 65535"),
        ("port = \"{{TEXT}}\"", "port", "from 1 to 65535"),
        ("db = -1", "db", "from 0 to 2147483647"),
        ("db = 4294967295", "db", "from 0 to 2147483647"),
        ("db = 1.5", "db", "from 0"),
        ("ttl_jitter = 1.1", "ttl_jitter", "from 0 to 1"),
        ("ttl_jitter = nan", "ttl_jitter", "from 0 to 1"),
        ("timeout = 0", "timeout", "a time"),
        ("timeout = \"2h\"", "timeout", "from 1 ms to 1 h"),
        ("timeout = -1", "timeout", "a time"),
        ("default_ttl = \"5y\"", "default_ttl", "2h30m"),
        (
            "default_ttl = \"{{EMPTY}}\"",
            "default_ttl",
            "once {{EMPTY}} is expanded",
        ),
        ("lease = \"10ms\"", "lease", "from 100 ms to 1 h"),
        ("pool_size = 0", "pool_size", "from 1 to 1024"),
        ("max_loads = 0", "max_loads", "from 1 to 1048576"),
        ("protocol = 4", "protocol", "\"resp3\""),
        ("breaker = 1", "breaker", "true or false"),
        ("on_unavailable = \"retry\"", "on_unavailable", "\"stale\""),
        ("on_undelivered = []", "on_undelivered", "\"deferred\""),
        ("on_data_loss = true", "on_data_loss", "\"replay\""),
        ("prefix = \"#nearcache:x\"", "prefix", "without"),
        ("password = 12345", "password", "quotes"),
        ("url = \"http://h\"", "url", "redis://"),
        ("host = \"\"", "host", "host name"),
        ("version = \"\"", "version", "not empty"),
        ("format = \"xml\"", "format", "postcard"),
        ("compression = \"zstd:x\"", "compression", "zlib"),
        ("heal = 1", "heal", "true or false"),
        ("host = \"h/3?prefix=x\"", "host", "host name"),
        ("host = \"user:secret@h\"", "host", "host name"),
        ("host = \"[::1\"", "host", "host name"),
        ("host = \"localhost:6379\"", "host", "host name"),
        ("caches = 1", "caches", "names"),
        ("[caches]\na = 1", "caches.a", "options"),
    ] {
        let text = error(toml);
        assert!(
            text.contains(&format!(": {place}: ")) && text.contains(range),
            "{toml}: {text}"
        );
    }
}

#[test]
fn a_variable_that_is_not_set_is_named_with_file_and_option() {
    let folder = std::env::temp_dir().join(nearcache_testkit::random_prefix());
    fs::create_dir(&folder).unwrap();
    let file = folder.join("cache.toml");
    fs::write(&file, "[caches.pages]\nurl = \"redis://{{REDIS_HOST}}\"").unwrap();
    let no_variables: [(&str, &str); 0] = [];
    let text = Config::reader()
        .vars(no_variables)
        .load(&file)
        .unwrap_err()
        .to_string();
    for part in [
        &*file.display().to_string(),
        "caches.pages.url",
        "REDIS_HOST is not set",
        "{{REDIS_HOST:default}}",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::remove_dir_all(&folder).unwrap();
    let text = Config::load(&file).unwrap_err().to_string();
    assert!(
        text.contains("cache.toml") && text.contains("cannot be read"),
        "{text}"
    );
    let text = Config::load("cache.yaml").unwrap_err().to_string();
    assert!(text.contains(".toml") && text.contains(".json"), "{text}");
}

#[test]
fn what_is_no_template_is_told_where() {
    let text = error("prefix = \"ab{{NAME\"");
    assert!(
        text.contains("prefix: at byte 2: {{ is not closed"),
        "{text}"
    );
}

#[test]
fn a_text_that_is_no_toml_or_json_is_told_where() {
    assert!(error("url = \"redis://h\"\ndb = = 1").contains("line 2, column 6"));
    let text = Config::from_json("{\n\"url\": }").unwrap_err().to_string();
    assert!(text.contains("line 2, column 8"), "{text}");
    assert!(Config::from_json("[]").is_err());
    let deep = format!("a = {}{}", "[".repeat(100), "]".repeat(100));
    assert!(Config::from_toml(&deep).is_err());
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert!(Config::from_json(&deep).is_err());
}

#[test]
fn a_cache_that_does_not_exist_has_a_suggestion() {
    let config =
        Config::from_toml("url = \"memory://\"\n[caches.sessions]\n[caches.pages]").unwrap();
    let text = config.cache("session").unwrap_err().to_string();
    assert!(
        text.contains("did you mean \"sessions\"?") && text.contains("there are pages, sessions"),
        "{text}"
    );
    let text = Config::default().cache("a").unwrap_err().to_string();
    assert!(text.contains("[caches.NAME]"), "{text}");
}

#[test]
fn a_place_must_be_there_and_only_once() {
    let place = |toml| {
        CacheConfig::from_toml(toml)
            .unwrap()
            .cache()
            .unwrap_err()
            .to_string()
    };
    assert!(place("db = 1").contains("neither url nor host"));
    assert!(place("port = 1").contains("neither url nor host"));
    assert!(place("url = \"memory://\"\nhost = \"h\"").contains("both url and host"));
    assert!(place("url = \"redis://h\"\nport = 1").contains("both url and port"));
    let error = CacheConfig::from_toml("[caches.a]")
        .unwrap_err()
        .to_string();
    assert!(error.contains("caches.a"), "{error}");
}
