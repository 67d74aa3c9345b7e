//! The near tier stays within its limits.

use nearcache::Cache;
use nearcache_testkit::random_prefix;

use crate::face::run;

#[test]
fn it_holds_as_many_entries_and_bytes_as_it_may() {
    run(async {
        for (options, most) in [
            ("near=100", 100),
            ("near_bytes=64kb", 64),
            ("near=50&near_bytes=1mb", 50),
        ] {
            let url = format!("memory://{}?{options}", random_prefix());
            let cache = Cache::open(&url).unwrap();
            let value = "x".repeat(1_000);
            for number in 0..1_000 {
                let key = format!("key:{number}");
                cache.set(&key, &value).await.unwrap();
                for _ in 0..2 {
                    let found = cache.get::<String>(&key).await.unwrap();
                    assert_eq!(found.as_deref(), Some(&*value));
                }
            }
            let stats = cache.stats();
            assert!(
                stats.near_entries <= most,
                "{options}: {}",
                stats.near_entries
            );
            assert!(
                stats.near_entries >= most / 2,
                "{options}: {}",
                stats.near_entries
            );
            assert!(
                stats.near_evictions >= 900,
                "{options}: {}",
                stats.near_evictions
            );
        }
    });
}

#[test]
fn a_bad_option_is_an_error_of_build() {
    for options in [
        "near_bytes=1kb",
        "near_ttl=1ms",
        "near_heartbeat=1h",
        "near=-1",
    ] {
        assert!(
            Cache::open(&format!("memory://?{options}")).is_err(),
            "{options}"
        );
    }
    assert!(Cache::builder("memory://").near_bytes(1).build().is_err());
    assert!(
        Cache::builder("memory://")
            .near(1)
            .near_ttl("1ms")
            .build()
            .is_err()
    );
    assert!(
        Cache::builder("memory://")
            .near_heartbeat("1h")
            .build()
            .is_err()
    );
}
