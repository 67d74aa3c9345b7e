//! TLS in a configuration: said by the URL or beside `host`, with the names that the options have in a URL.

use nearcache::config::{CacheConfig, Config, TlsVerify};

fn effective(text: &str) -> CacheConfig {
    CacheConfig::from_toml(text).unwrap().effective().unwrap()
}

#[test]
fn the_options_of_tls_are_the_same_in_a_url_and_beside_it() {
    let in_url = effective(
        r#"url = "rediss://h:7000?ca=/my%20ca.pem&cert=c.pem&key=c.key&server_name=s&tls_verify=none""#,
    );
    let beside = effective(
        r#"
        host = "h"
        port = 7000
        tls = true
        ca = "/my ca.pem"
        cert = "c.pem"
        key = "c.key"
        server_name = "s"
        tls_verify = "none"
        "#,
    );
    assert_eq!(in_url, beside);
    assert_eq!(in_url.url.as_ref().unwrap().as_str(), "rediss://h:7000");
    assert_eq!(in_url.ca.as_deref(), Some("/my ca.pem"));
    assert_eq!(in_url.tls_verify, Some(TlsVerify::None));
    // What is set beside the URL goes before it.
    let over = effective("url = 'rediss://h?ca=a.pem'\nca = 'b.pem'");
    assert_eq!(over.ca.as_deref(), Some("b.pem"));
    for place in ["rediss-sentinel://h:26379/main", "rediss-cluster://h:7000"] {
        let url = effective(&format!("url = '{place}?ca=a.pem'")).url;
        assert_eq!(url.unwrap().as_str(), place);
    }
    let environment = Config::reader().vars([
        ("NEARCACHE_URL", "rediss://h"),
        ("NEARCACHE_CA", "a.pem"),
        ("NEARCACHE_SERVER_NAME", "s"),
    ]);
    let defaults = environment.environment().unwrap().defaults;
    assert_eq!(defaults.ca.as_deref(), Some("a.pem"));
    assert_eq!(defaults.server_name.as_deref(), Some("s"));
}

#[test]
fn tls_that_contradicts_the_url_is_an_error() {
    for (text, says) in [
        ("url = 'redis://h'\ntls = true", "write rediss://"),
        ("url = 'rediss://h'\ntls = false", "write redis://"),
        ("url = 'redis://h'\nca = 'a.pem'", "not over TLS"),
        ("host = 'h'\ncert = 'a.pem'", "not over TLS"),
        ("url = 'memory://'\ntls_verify = 'none'", "not over TLS"),
    ] {
        let config = CacheConfig::from_toml(text).unwrap();
        let error = config.cache().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let error = CacheConfig::from_toml("tls_verify = 'off'").unwrap_err();
    assert!(
        error.to_string().contains("\"full\" or \"none\""),
        "{error}"
    );
}

/// A private key belongs to a server, as a password does.
#[test]
fn the_certificates_of_the_defaults_go_to_no_other_server() {
    let config = Config::from_toml(
        r#"
        url = "rediss://one"
        cert = "c.pem"
        key = "c.key"
        ca = "ca.pem"

        [caches.same]
        prefix = "p"

        [caches.other]
        url = "rediss://other"

        [caches.here]
        url = "memory://"
        "#,
    )
    .unwrap();
    assert_eq!(
        config.effective("same").unwrap().key.as_deref(),
        Some("c.key")
    );
    let other = config.effective("other").unwrap();
    assert_eq!((other.cert, other.key, other.ca), (None, None, None));
    config.cache("here").unwrap();
}

#[cfg(feature = "tls")]
#[test]
fn a_configured_cache_over_tls_works() {
    let redis = nearcache_testkit::SecureRedis::start();
    let config = format!(
        "host = 'localhost'\nport = {}\ntls = true\nca = '{}'\ncert = '{}'\nkey = '{}'",
        redis.tls_port(),
        redis.authority().ca().display(),
        redis.client().cert.display(),
        redis.client().key.display()
    );
    let cache = CacheConfig::from_toml(&config).unwrap().cache().unwrap();
    let cache = cache.blocking().unwrap();
    cache.set("k", &1).run().unwrap();
    assert_eq!(redis.inline("GET k"), "1");
}
