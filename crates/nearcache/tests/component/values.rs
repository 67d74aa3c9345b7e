//! What is stored, for how long, and what comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use nearcache::Remaining;
use nearcache::compat::component::Params;
use serde::{Deserialize, Serialize};

use crate::either::open;
use crate::target::{Target, raw};

brief_suite! {
    store_gives_the_value_back_and_retrieve_what_was_stored,
    what_lies_in_redis_is_text_or_json_under_the_key_as_it_is,
    a_time_is_kept_and_none_is_the_configured_one,
    nothing_removes,
    remove_gives_what_was_there,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    age: u8,
}

async fn store_gives_the_value_back_and_retrieve_what_was_stored(target: Target) {
    let (component, _) = open(target, Params::new()).await;
    assert_eq!(
        on!(component.store("123", "key1", "ABC", None)).unwrap(),
        "ABC"
    );
    assert_eq!(
        on!(component.retrieve::<String>("123", "key1"))
            .unwrap()
            .as_deref(),
        Some("ABC")
    );
    assert_eq!(
        on!(component.retrieve::<String>("123", "key2")).unwrap(),
        None
    );
    let user = User {
        name: "张三".to_owned(),
        age: 30,
    };
    assert_eq!(
        on!(component.store("123", "user", &user, None)).unwrap(),
        &user
    );
    assert_eq!(
        on!(component.retrieve::<User>("123", "user")).unwrap(),
        Some(user)
    );
    // A number reads back as text, and as the number that it is.
    on!(component.store("123", "n", 5, None)).unwrap();
    assert_eq!(
        on!(component.retrieve::<String>("123", "n"))
            .unwrap()
            .as_deref(),
        Some("5")
    );
    assert_eq!(on!(component.retrieve::<i64>("123", "n")).unwrap(), Some(5));
    // What is not readable is not there.
    assert_eq!(on!(component.retrieve::<User>("123", "n")).unwrap(), None);
    let odd = "a key\nwith 100%\0é";
    on!(component.store(None, odd, vec![1, 2], None)).unwrap();
    assert_eq!(
        on!(component.remove::<Vec<i32>>(None, odd)).unwrap(),
        Some(vec![1, 2])
    );
}

async fn what_lies_in_redis_is_text_or_json_under_the_key_as_it_is(target: Target) {
    let (component, prefix) = open(target, Params::new()).await;
    on!(component.store(None, "text", "ABC \"x\"", None)).unwrap();
    on!(component.store(None, "number", 5, None)).unwrap();
    on!(component.store(None, "list", [1, 2], None)).unwrap();
    on!(component.store(None, "map", BTreeMap::from([("a", 1)]), None)).unwrap();
    let other = target.cache_at(&target.url(&prefix), "");
    for (key, bytes) in [
        ("text", "ABC \"x\""),
        ("number", "5"),
        ("list", "[1,2]"),
        ("map", "{\"a\":1}"),
    ] {
        let stored = raw(&other, &[b"GET", format!("{prefix}:{key}").as_bytes()]).await;
        assert_eq!(
            stored,
            ::redis::Value::BulkString(bytes.as_bytes().to_vec()),
            "{key}"
        );
    }
}

async fn a_time_is_kept_and_none_is_the_configured_one(target: Target) {
    for (configured, expected) in [(None, 60_000), (Some(300_000), 300_000)] {
        for max_size in [1000, 0] {
            let mut params = Params::from([("options.max_size", max_size)]);
            if let Some(millis) = configured {
                params = params.with("options.timeout", millis);
            }
            let (component, prefix) = open(target, params).await;
            let cache = target.cache_at(&target.url(&prefix), &prefix);
            for (key, timeout, expected) in [
                ("none", None, expected),
                ("zero", Some(Duration::ZERO), expected),
                ("hour", Some(Duration::from_secs(3_600)), 3_600_000),
            ] {
                on!(component.store(None, key, 1, timeout)).unwrap();
                let Remaining::In(left) = call!(cache.ttl(key)).unwrap() else {
                    panic!("{key} expires");
                };
                let left = left.as_millis();
                assert!(
                    (expected - 30_000..=expected).contains(&left),
                    "{key}: {left}"
                );
            }
        }
    }
}

async fn nothing_removes(target: Target) {
    for max_size in [1000, 0] {
        let (component, prefix) =
            open(target, Params::from([("options.max_size", max_size)])).await;
        on!(component.store(None, "k", "v", None)).unwrap();
        assert_eq!(
            on!(component.store(None, "k", None::<String>, None)).unwrap(),
            None
        );
        assert_eq!(on!(component.retrieve::<String>(None, "k")).unwrap(), None);
        let cache = target.cache_at(&target.url(&prefix), &prefix);
        assert!(!call!(cache.contains("k")).unwrap());
    }
}

async fn remove_gives_what_was_there(target: Target) {
    for max_size in [1000, 0] {
        let (component, _) = open(target, Params::from([("options.max_size", max_size)])).await;
        on!(component.store(None, "k", "v", None)).unwrap();
        assert_eq!(
            on!(component.remove::<String>(None, "k"))
                .unwrap()
                .as_deref(),
            Some("v")
        );
        assert_eq!(on!(component.remove::<String>(None, "k")).unwrap(), None);
        assert_eq!(on!(component.retrieve::<String>(None, "k")).unwrap(), None);
    }
}
