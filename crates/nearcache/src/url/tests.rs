//! What URLs mean, and what the error for a wrong one looks like.

use super::*;
use crate::connect::target::Address;
use crate::error::ErrorKind;
use proptest::prelude::*;

fn tcp(host: &str, port: u16) -> Place {
    Place::Tcp {
        host: host.into(),
        port,
    }
}

fn address(host: &str, port: u16) -> Address {
    Address {
        host: host.into(),
        port,
    }
}

fn error(url: &str) -> String {
    let error = parse(url).expect_err(url);
    assert_eq!(error.kind(), ErrorKind::InvalidUrl);
    error.to_string()
}

#[test]
fn urls_say_where_to_go() {
    let cases = [
        ("memory://", Place::Embedded { name: None }, 0),
        (
            "memory://shared",
            Place::Embedded {
                name: Some("shared".into()),
            },
            0,
        ),
        (
            "memory://shared/3",
            Place::Embedded {
                name: Some("shared".into()),
            },
            3,
        ),
        ("memory:///3", Place::Embedded { name: None }, 3),
        (
            "memory:///var/lib/app?db=2&appendfsync=always",
            Place::Folder {
                path: "/var/lib/app".into(),
            },
            2,
        ),
        (
            "memory:///srv/a%20b/3/",
            Place::Folder {
                path: "/srv/a b/3/".into(),
            },
            0,
        ),
        ("redis://", tcp("localhost", 6379), 0),
        ("redis://localhost", tcp("localhost", 6379), 0),
        (
            "redis://db.example.com:7000/2",
            tcp("db.example.com", 7000),
            2,
        ),
        ("redis://[::1]:7000/", tcp("::1", 7000), 0),
        ("redis://[::1]", tcp("::1", 6379), 0),
        ("valkey://10.0.0.1?db=4", tcp("10.0.0.1", 6379), 4),
        (
            "redis+unix:///run/redis.sock?db=1",
            Place::Unix {
                path: "/run/redis.sock".into(),
            },
            1,
        ),
        (
            "valkey+unix:///run/a%20b.sock",
            Place::Unix {
                path: "/run/a b.sock".into(),
            },
            0,
        ),
        (
            "redis-sentinel://app:p@s1:26380,s2,[::1]:7/my%20master/2",
            Place::Sentinel {
                sentinels: vec![
                    address("s1", 26_380),
                    address("s2", 26_379),
                    address("::1", 7),
                ],
                master: "my master".into(),
            },
            2,
        ),
        (
            "valkey-sentinel://s1/main?db=3",
            Place::Sentinel {
                sentinels: vec![address("s1", 26_379)],
                master: "main".into(),
            },
            3,
        ),
        (
            "redis-cluster://n1:7000,n2,n1:7000",
            Place::Cluster {
                seeds: vec![address("n1", 7_000), address("n2", 6_379)],
            },
            0,
        ),
        (
            "valkey-cluster://",
            Place::Cluster {
                seeds: vec![address("localhost", 6_379)],
            },
            0,
        ),
    ];
    for (url, place, db) in cases {
        let parsed = parse(url).expect(url);
        assert_eq!(
            (parsed.target.place, parsed.target.db),
            (place, db),
            "{url}"
        );
    }
}

#[test]
fn urls_say_as_whom() {
    let cases = [
        ("redis://app:s3cret@host", Some("app"), Some("s3cret")),
        ("redis://:s3cret@host", None, Some("s3cret")),
        ("redis://app@host", Some("app"), None),
        ("redis://a%40b:p%2F%3A@host", Some("a@b"), Some("p/:")),
        ("redis://:p@ss@host", None, Some("p@ss")),
        (
            "redis+unix://app:s3cret@/run/redis.sock",
            Some("app"),
            Some("s3cret"),
        ),
        (
            "redis://host?username=app&password=s3%26cret",
            Some("app"),
            Some("s3&cret"),
        ),
    ];
    for (url, username, password) in cases {
        let target = parse(url).expect(url).target;
        assert_eq!(target.username.as_deref(), username, "{url}");
        assert_eq!(target.password.as_deref(), password, "{url}");
    }
}

#[test]
fn every_option_can_stand_in_the_url() {
    let parsed = parse(
        "redis://h?prefix=my%20app&separator=/&default_ttl=5m&ttl_jitter=0.1&timeout=250ms&db=2\
         &username=u&password=p&client_name=api&protocol=resp2&pool_size=4&breaker=off&connect_timeout=2s\
         &near=100&near_bytes=64mb&near_ttl=5s&near_heartbeat=250ms",
    )
    .unwrap();
    assert_eq!(parsed.prefix.as_deref(), Some("my app"));
    assert_eq!(parsed.separator.as_deref(), Some("/"));
    assert_eq!(parsed.default_ttl, Some(Ttl::from_secs(300).unwrap()));
    assert_eq!(parsed.ttl_jitter, Some(0.1));
    assert_eq!(parsed.timeout, Some(Duration::from_millis(250)));
    assert_eq!(parsed.target.protocol, Some(Protocol::Resp2));
    assert_eq!(parsed.target.pool_size, 4);
    assert!(!parsed.target.breaker);
    assert_eq!(parsed.target.connect_timeout, Some(Duration::from_secs(2)));
    assert_eq!(parsed.target.client_name.as_deref(), Some("api"));
    assert_eq!(
        (parsed.near.entries, parsed.near.bytes),
        (Some(100), Some(64 << 20))
    );
    assert_eq!(parsed.near.ttl, Some(Duration::from_secs(5)));
    assert_eq!(parsed.near.heartbeat, Some(Duration::from_millis(250)));
}

#[test]
fn an_error_points_at_the_part_that_is_wrong() {
    let text = error("redis://localhost:6379/0?timout=1s");
    assert!(text.contains("did you mean \"timeout\"?"), "{text}");
    assert!(
        text.contains("  redis://localhost:6379/0?timout=***\n                           ^^^^^^\n"),
        "{text}"
    );
    assert!(
        text.contains("allowed: breaker, client_name, compression, connect_timeout, db,"),
        "{text}"
    );
    // What the scheme does not take is not offered.
    for (url, takes) in [
        ("redis://localhost?timout=1s", false),
        ("redis+unix:///run/redis.sock?timout=1s", false),
        ("memory://?timout=1s", true),
    ] {
        let text = error(url);
        for option in ["maxmemory", "policy"] {
            assert_eq!(text.contains(option), takes, "{text}");
        }
    }
    let text = error("redis://localhost?maxmemor=1mb");
    assert!(!text.contains("maxmemory"), "{text}");
    for (url, part, says) in [
        ("redi://localhost", "redi", "did you mean \"redis\"?"),
        ("rediss2://localhost", "rediss2", "did you mean \"rediss\"?"),
        ("localhost:6379", "localhost:6379", "redis://HOST:PORT"),
        ("redis://localhost:99999", "99999", "1 to 65535"),
        ("redis://localhost:abc/0", "abc", "not a port"),
        ("redis://::1:6379", ":1:6379", "brackets"),
        ("redis://local host", " host", "host name"),
        ("redis://localhost/x", "x", "database number"),
        ("redis://localhost/-1", "-1", "database number"),
        ("redis://localhost?default_ttl=5y", "5y", "not a TTL"),
        ("redis://localhost?timeout=0s", "0s", "not a timeout"),
        ("redis://localhost?ttl_jitter=2", "2", "from 0 to 1"),
        ("redis://localhost?protocol=4", "4", "2 or 3"),
        ("redis://localhost?near=many", "many", "number of entries"),
        ("redis://localhost?near_bytes=1kb", "1kb", "64kb at least"),
        ("redis://localhost?near_ttl=1ms", "1ms", "20ms to 24h"),
        ("redis://localhost?near_heartbeat=2m", "2m", "50ms to 1m"),
        ("redis://localhost?prefix", "prefix", "no value"),
        ("redis://localhost?db=1&db=2", "db=2", "twice"),
        (
            "redis+unix://run/redis.sock",
            "run/redis.sock",
            "three slashes",
        ),
        ("memory://a b", " b", "store's name"),
        ("redis-cluster://a,,b", ",", "between two commas"),
        ("redis-cluster://a:x,b", "x", "not a port"),
        ("redis-cluster://a,b c", " c", "host name"),
        ("redis-sentinel://a,b", "a,b", "name of the primary"),
        ("redis-sentinel://a,b/main/x", "x", "database number"),
        ("redis-claster://a", "redis-claster", "did you mean"),
        ("redis://localhost?prefix=%ff", "%ff", "UTF-8"),
    ] {
        let text = error(url);
        assert!(text.contains(says), "{url}: {text}");
        let lines: Vec<&str> = text.lines().collect();
        let (shown, carets) = (lines[1], lines[2]);
        let from = carets.find('^').expect(&text);
        assert_eq!(&shown[from..carets.len()], part, "{text}");
    }
}

#[test]
fn no_error_shows_a_password() {
    for url in [
        "redis://app:hunter2@localhost:port",
        "redis://:hunter2@localhost/x",
        "redis://:hunt/er2@localhost",
        "redis://:hunt?er2@localhost",
        "redis://:hunt#er2@localhost/x",
        "redis://app:hunter2@localhost?nonsense=1",
        "redis://localhost?password=hunter2&nonsense=1",
        "redis://localhost?nonsense=1&password=hunter2",
        "nonsense://app:hunter2@localhost",
        "redis+unix://:hunter2@run/redis.sock",
        "redis://:%ffhunter2@localhost",
        // Options that are misspellings of `password`.
        "redis://localhost?pass=hunter2",
        "redis://localhost:port?Password=hunter2",
        "redis://localhost?passw%6Frd=hunter2&db=1",
        // Unescaped passwords, which are cut into several parts.
        "redis://:x@y?hunter2@localhost",
        "redis://:x@y?hunter2@= 1",
        "redis://:x@y?hunt&er2@localhost",
        "redis://:x@hunter2?@localhost",
        "redis://:x@y?n=hunter2@localhost",
        // The text before :// is not a scheme, but may be a password.
        "app:hunter2@localhost://",
        "?password=hunter2://localhost",
    ] {
        let text = error(url);
        assert!(!text.contains("hunt") && !text.contains("er2"), "{text}");
    }
    let debug = format!("{:?}", parse("redis://app:hunter2@h").unwrap().target);
    assert!(
        !debug.contains("hunter2") && debug.contains("app"),
        "{debug}"
    );
}

proptest! {
    #[test]
    fn no_url_panics(url in ".{0,80}") {
        let _ = parse(&url);
    }

    #[test]
    fn no_url_of_the_right_parts_panics(url in "(memory|redis|redis\\+unix|valkey|redis-sentinel|redis-cluster)://[a-z0-9:@,/\\[\\]%?&=é]{0,40}") {
        let _ = parse(&url);
    }

    #[test]
    fn a_password_is_never_shown(password in "[a-z]{3}[ -~]{4,12}", tail in "(:port|/x|\\?nonsense=1)") {
        let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let text = error(&format!("redis://app:{encoded}@host{tail}"));
        prop_assert!(!text.contains(&encoded), "{}", text);
    }
}

#[test]
fn scheme_and_switches_may_be_in_upper_case() {
    for (url, breaker) in [
        ("REDIS://h?breaker=OFF", false),
        ("Valkey://h?breaker=On", true),
    ] {
        let parsed = parse(url).expect(url);
        assert_eq!(parsed.target.place.to_string(), "h:6379");
        assert_eq!(parsed.target.breaker, breaker);
    }
    assert!(parse("MEMORY://").is_ok());
    assert!(parse("REDISS://h").unwrap().target.tls.is_some());
}

#[test]
fn what_stands_around_a_url_is_not_part_of_it() {
    for (before, after) in [
        ("", "\n"),
        (" ", " "),
        ("\u{feff}", "\r\n"),
        ("\t", "\u{a0}"),
    ] {
        let url = format!("{before}redis://h/2?password=a%20b&prefix=app{after}");
        let parsed = parse(&url).expect(&url);
        assert_eq!(parsed.target.place, tcp("h", 6379), "{url:?}");
        assert_eq!(parsed.prefix.as_deref(), Some("app"), "{url:?}");
        let parsed = parse(&format!("{before}redis://h/2{after}")).expect(&url);
        assert_eq!(parsed.target.db, 2, "{url:?}");
    }
    assert!(error(" \n").contains("it has no scheme"));
    assert!(error("redis://a b").contains("host name"));
}

#[test]
fn the_last_word_of_an_option_is_a_hint() {
    for (written, meant) in [
        ("ttl", "default_ttl"),
        ("name", "client_name"),
        ("size", "pool_size"),
        ("jitter", "ttl_jitter"),
        ("Prefix", "prefix"),
    ] {
        let text = error(&format!("redis://h?{written}=1"));
        assert!(
            text.contains(&format!("did you mean \"{meant}\"?")),
            "{text}"
        );
    }
}
