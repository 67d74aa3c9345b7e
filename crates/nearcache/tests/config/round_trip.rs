//! A configuration becomes a text, and the text the same configuration.

use std::time::Duration;

use nearcache::config::{CacheConfig, Config, OnUnavailable, TlsVerify};
use nearcache::{DataLoss, Protocol, Ttl, Undelivered};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

fn cache() -> impl Strategy<Value = CacheConfig> {
    let text = || of("[ -~{}é\n\t\u{7f}\u{0}]{1,12}");
    let url = of(prop_oneof![
        "memory://[a-z{}]{0,3}".prop_filter("a name", |url| !url.contains(['{', '}'])),
        "redis://(:[a-z]{1,6}@)?[a-z]{1,6}(:[1-9][0-9]{0,3})?(/[0-9])?(\\?prefix=[a-z{]{1,4})?",
    ]);
    let first = (
        url,
        of("[a-zé0-9.-]{1,12}|\\[::[0-9a-f]{1,4}\\]"),
        of(1..=u16::MAX),
        text(),
        text(),
        of(0..=i32::MAX as u32),
        text(),
        text(),
    );
    let second = (
        of(1..=Ttl::MAX.as_millis()),
        of((0..=1000u32).prop_map(|parts| f64::from(parts) / 1000.0)),
        (of(1..=3_600_000u64), of(1..=3_600_000u64)),
        of(any::<bool>()),
        text(),
        of(select(vec![Protocol::Resp2, Protocol::Resp3])),
        of(1..=1_024usize),
        of(100..=3_600_000u64),
        of(1..=1usize << 20),
    );
    let third = (
        of(any::<bool>()),
        of(select(vec![
            OnUnavailable::Error,
            OnUnavailable::Miss,
            OnUnavailable::Stale,
        ])),
        of(select(vec![Undelivered::Error, Undelivered::Deferred])),
        of(select(vec![DataLoss::Replay, DataLoss::Clear])),
    );
    let tls = (
        of(any::<bool>()),
        (text(), text(), text(), text()),
        of(select(vec![TlsVerify::Full, TlsVerify::None])),
    );
    (first, second, third, tls).prop_map(|(first, second, third, tls)| {
        let mut config = CacheConfig::default();
        let (url, host, port, username, password, db, prefix, separator) = first;
        config.url = url.map(Into::into);
        config.host = host;
        config.port = port;
        config.username = username;
        config.password = password.map(Into::into);
        config.db = db;
        config.prefix = prefix;
        config.separator = separator;
        config.default_ttl = second.0.map(|millis| Ttl::from_millis(millis).unwrap());
        config.ttl_jitter = second.1;
        config.timeout = second.2.0.map(Duration::from_millis);
        config.connect_timeout = second.2.1.map(Duration::from_millis);
        config.breaker = second.3;
        config.client_name = second.4;
        config.protocol = second.5;
        config.pool_size = second.6;
        config.lease = second.7.map(Duration::from_millis);
        config.max_loads = second.8;
        (
            config.log_on_fallback,
            config.on_unavailable,
            config.on_undelivered,
            config.on_data_loss,
        ) = third;
        let files;
        (config.tls, files, config.tls_verify) = tls;
        (config.ca, config.cert, config.key, config.server_name) = files;
        config
    })
}

fn config() -> impl Strategy<Value = Config> {
    let caches = proptest::collection::btree_map("[a-z-]{1,6}|[ -~é\"]{0,6}", cache(), 0..3);
    (cache(), caches).prop_map(|(defaults, caches)| {
        let mut config = Config::default();
        config.defaults = defaults;
        config.caches = caches;
        config
    })
}

proptest! {
    #[test]
    fn a_configuration_is_what_its_text_says(config in config()) {
        let toml = config.to_toml();
        let no_variables: [(&str, &str); 0] = [];
        let reader = Config::reader().vars(no_variables);
        prop_assert_eq!(&reader.toml(&toml).map_err(|error| TestCaseError::fail(format!("{toml}\n{error}")))?, &config);
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(&reader.json(&json).map_err(|error| TestCaseError::fail(format!("{json}\n{error}")))?, &config);
        prop_assert_eq!(&serde_json::from_str::<Config>(&json).unwrap(), &config);
        let one = config.defaults;
        prop_assert_eq!(&CacheConfig::from_toml(&one.to_toml()).unwrap(), &one);
    }

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = Config::from_toml(&text);
        let _ = Config::from_json(&text);
    }

    #[test]
    fn no_template_panics(text in "[a-zA-Z{}:_ \\\\\"é]{0,40}") {
        let toml = format!("prefix = {}", serde_json::Value::from(text));
        let _ = Config::from_toml(&toml).map(|config| config.to_toml());
    }
}
