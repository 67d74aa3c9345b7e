//! An entry that cannot be decoded as what was asked for is a miss, and makes room for one that can.

use nearcache::{Codec, Lookup};
use serde::{Deserialize, Serialize};

use crate::scene::Source;
use crate::target::{Options, Target, raw};

brief_suite! {
    what_cannot_be_decoded_is_deleted_by_who_found_it,
    it_stays_where_it_is_to,
    what_was_written_meanwhile_stays,
    what_another_build_can_read_is_left_to_it,
    a_load_writes_over_it,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct New {
    name: String,
    age: u8,
}

fn old() -> Old {
    Old {
        name: "Ada".to_owned(),
    }
}

fn new() -> New {
    New {
        name: "Ada".to_owned(),
        age: 36,
    }
}

async fn what_cannot_be_decoded_is_deleted_by_who_found_it(target: Target) {
    let cache = target.cache();
    for codec in [Codec::json(), Codec::message_pack(), Codec::postcard()] {
        let writer = match &cache {
            crate::face::Face::Async(cache) => {
                crate::face::Face::Async(cache.with_codec(codec.clone()))
            }
            crate::face::Face::Blocking(cache) => {
                crate::face::Face::Blocking(cache.with_codec(codec.clone()))
            }
        };
        for key in ["a", "b", "c"] {
            call!(writer.set(key, &old())).unwrap();
        }
        assert_eq!(call!(cache.get::<New>("a")).unwrap(), None);
        assert_eq!(
            call!(cache.get_many::<New>(["b", "c"])).unwrap(),
            [None, None]
        );
        for key in ["a", "b", "c"] {
            assert!(!call!(cache.contains(key)).unwrap(), "{key} {codec:?}");
            assert!(call!(cache.add(key, &new())).unwrap());
            assert_eq!(call!(cache.get(key)).unwrap(), Some(new()));
        }
        call!(cache.clear()).unwrap();
    }
    assert_eq!(ask!(cache.stats()).undecodable, 9);
}

async fn it_stays_where_it_is_to(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let options = Options {
        prefix: &prefix,
        keep_spoiled: true,
        ..Options::default()
    };
    let cache = target.build(&target.url(&prefix), options).unwrap();
    call!(cache.set("k", &old())).unwrap();
    assert_eq!(call!(cache.lookup::<New>("k")).unwrap(), Lookup::Miss);
    assert_eq!(call!(cache.get("k")).unwrap(), Some(old()));
}

/// Many who find the old one while another writes the new one: the new one is there in the end.
async fn what_was_written_meanwhile_stays(target: Target) {
    let cache = target.cache();
    for _ in 0..50 {
        call!(cache.set("k", &old())).unwrap();
        let finders: Vec<_> = (0..4)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move { call!(cache.get::<New>("k")).unwrap() })
            })
            .collect();
        call!(cache.set("k", &new())).unwrap();
        for finder in finders {
            assert!(finder.await.unwrap().is_none_or(|found| found == new()));
        }
        assert_eq!(call!(cache.get("k")).unwrap(), Some(new()));
    }
}

async fn what_another_build_can_read_is_left_to_it(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let key = format!("{prefix}:k");
    for later in [
        &b"\xC1NC\x02\x00?"[..],
        b"\xC1NC\x01\x80?",
        b"\xC1NC\x01\x08\x09?",
    ] {
        raw(&cache, &[b"SET", key.as_bytes(), later]).await;
        assert_eq!(call!(cache.get::<New>("k")).unwrap(), None);
        let still = raw(&cache, &[b"GET", key.as_bytes()]).await;
        assert_eq!(still, ::redis::Value::BulkString(later.to_vec()));
    }
}

async fn a_load_writes_over_it(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    call!(cache.set("k", &old())).unwrap();
    for _ in 0..2 {
        let found = remember!(cache, "k", source.gives(new())).await.unwrap();
        assert_eq!(found, new());
    }
    assert_eq!(source.loads(), 1);
}

/// Healing is nobody's concern but the entry's: what keeps it from being done is no error of the `get`.
#[test]
fn a_get_that_may_not_heal_is_a_miss_all_the_same() {
    let redis = nearcache_testkit::Redis::start();
    redis.inline("ACL SETUSER reader on >secret ~* +@all -@scripting");
    let url = redis.url().replace("redis://", "redis://reader:secret@");
    let cache = nearcache::blocking::Cache::open(&url).unwrap();
    cache.set("k", &old()).run().unwrap();
    assert_eq!(cache.get::<New>("k").run().unwrap(), None);
    assert_eq!(cache.get_many::<New>(["k"]).run().unwrap(), [None]);
    assert_eq!(cache.get("k").run().unwrap(), Some(old()));
}

/// Redis stops between the two: the answer is there, and within two timeouts.
#[test]
fn a_server_that_stops_before_it_heals_is_no_error() {
    let redis = nearcache_testkit::Redis::start();
    let proxy = nearcache_testkit::Proxy::start(&redis.address());
    let cache = nearcache::blocking::Cache::builder(&proxy.url())
        .timeout(std::time::Duration::from_secs(1))
        .build()
        .unwrap();
    cache.set("k", &old()).run().unwrap();
    let held = proxy.hold(nearcache_testkit::Frames::requests().of("EVALSHA"));
    assert_eq!(cache.get::<New>("k").run().unwrap(), None);
    drop(held);
}
