//! Who deletes what by reading it: nobody deletes what another program, type or version can read.

use nearcache::{Codec, Compression, Lookup};
use serde::{Deserialize, Serialize};

use crate::scene::Source;
use crate::target::{Face, Options, Target, raw};

brief_suite! {
    what_another_type_can_read_is_a_miss_and_stays,
    what_another_program_wrote_stays,
    what_another_version_or_build_can_read_is_left_to_it,
    text_reads_as_text_whatever_it_says,
    what_nobody_can_read_any_more_is_deleted_by_who_finds_it,
    what_was_invalidated_by_a_tag_is_deleted_by_who_finds_it,
    it_stays_where_it_is_to,
    what_was_written_meanwhile_stays,
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

/// What lies under a key.
async fn bytes(cache: &Face, key: &str) -> Option<Vec<u8>> {
    match raw(cache, &[b"GET", key.as_bytes()]).await {
        ::redis::Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

async fn what_another_type_can_read_is_a_miss_and_stays(target: Target) {
    let cache = target.cache();
    for codec in [Codec::json(), Codec::message_pack(), Codec::postcard()] {
        let writer = match &cache {
            Face::Async(cache) => Face::Async(cache.with_codec(codec.clone())),
            Face::Blocking(cache) => Face::Blocking(cache.with_codec(codec.clone())),
        };
        call!(writer.set("a", &old())).unwrap();
        call!(writer.set("b", &old()).tags(["t"])).unwrap();
        for _ in 0..2 {
            assert_eq!(call!(cache.get::<New>("a")).unwrap(), None, "{codec:?}");
            let many = call!(cache.get_many::<New>(["a", "b"])).unwrap();
            assert_eq!(many, [None, None]);
            assert_eq!(call!(cache.lookup::<New>("b")).unwrap(), Lookup::Miss);
        }
        for key in ["a", "b"] {
            assert_eq!(call!(cache.get(key)).unwrap(), Some(old()));
        }
    }
    assert_eq!(ask!(cache.stats()).undecodable, 24);
}

async fn what_another_program_wrote_stays(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let key = format!("{prefix}:k");
    // Text, a number, a pickle of Python's, bytes that begin as MessagePack, and as a broken envelope of nobody.
    let foreign: [&[u8]; 6] = [
        b"hello",
        b"123456",
        b"\x80\x04\x95\x0b\x00\x00\x00",
        b"\x82\xa1a\x01",
        b"\xC1N",
        b"\xC1NC",
    ];
    for value in foreign {
        raw(&cache, &[b"SET", key.as_bytes(), value]).await;
        assert_eq!(call!(cache.get::<Vec<u32>>("k")).unwrap(), None);
        assert_eq!(call!(cache.get_many::<New>(["k"])).unwrap(), [None]);
        assert_eq!(bytes(&cache, &key).await.as_deref(), Some(value));
    }
}

async fn text_reads_as_text_whatever_it_says(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let key = format!("{prefix}:k");
    for text in ["123456", "{\"a\":1}", "true", "[1,", "-"] {
        raw(&cache, &[b"SET", key.as_bytes(), text.as_bytes()]).await;
        let found = call!(cache.get::<String>("k")).unwrap();
        assert_eq!(found.as_deref(), Some(text));
        let many = call!(cache.get_many::<Option<String>>(["k"])).unwrap();
        assert_eq!(many, [Some(Some(text.to_owned()))]);
    }
}

async fn what_nobody_can_read_any_more_is_deleted_by_who_finds_it(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let key = format!("{prefix}:k");
    let broken: [&[u8]; 4] = [
        // Cut off within the soft expiry, no tags where there are to be some, garbage that is to be zstd and LZ4.
        b"\xC1NC\x01\x01\0\0",
        b"\xC1NC\x01\x04\x00",
        b"\xC1NC\x01\x10\x01\0\0\0\x05garbage",
        b"\xC1NC\x01\x10\x02\0\0\0\x05garbage",
    ];
    for entry in broken {
        for many in [false, true] {
            raw(&cache, &[b"SET", key.as_bytes(), entry]).await;
            if many {
                assert_eq!(call!(cache.get_many::<New>(["k"])).unwrap(), [None]);
            } else {
                assert_eq!(call!(cache.get::<New>("k")).unwrap(), None);
            }
            assert_eq!(bytes(&cache, &key).await, None, "{entry:?}");
        }
    }
    let packed = Codec::json().compressed(Compression::zstd().above(1));
    let whole = match &cache {
        Face::Async(cache) => Face::Async(cache.with_codec(packed)),
        Face::Blocking(cache) => Face::Blocking(cache.with_codec(packed)),
    };
    call!(whole.set("k", &"a".repeat(1_000))).unwrap();
    assert_eq!(call!(cache.get::<New>("k")).unwrap(), None);
    assert_eq!(call!(cache.get("k")).unwrap(), Some("a".repeat(1_000)));
}

async fn what_was_invalidated_by_a_tag_is_deleted_by_who_finds_it(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let (a, b) = (format!("{prefix}:a"), format!("{prefix}:b"));
    for key in ["a", "b"] {
        call!(cache.set(key, &old()).tags(["t"])).unwrap();
    }
    call!(cache.invalidate_tag("t")).unwrap();
    assert!(bytes(&cache, &a).await.is_some() && bytes(&cache, &b).await.is_some());
    assert_eq!(call!(cache.get::<Old>("a")).unwrap(), None);
    assert_eq!(call!(cache.get_many::<Old>(["b"])).unwrap(), [None]);
    assert_eq!(
        (bytes(&cache, &a).await, bytes(&cache, &b).await),
        (None, None)
    );
}

async fn it_stays_where_it_is_to(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let options = Options {
        prefix: &prefix,
        keep_spoiled: true,
        ..Options::default()
    };
    let cache = target.build(&target.url(&prefix), options).unwrap();
    call!(cache.set("k", &old()).tags(["t"])).unwrap();
    call!(cache.invalidate_tag("t")).unwrap();
    assert_eq!(call!(cache.get::<Old>("k")).unwrap(), None);
    assert!(bytes(&cache, &format!("{prefix}:k")).await.is_some());
}

/// Many who find the old one while another writes the new one: the new one is there in the end.
async fn what_was_written_meanwhile_stays(target: Target) {
    let cache = target.cache();
    for _ in 0..50 {
        call!(cache.set("k", &old()).tags(["t"])).unwrap();
        call!(cache.invalidate_tag("t")).unwrap();
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

async fn what_another_version_or_build_can_read_is_left_to_it(target: Target) {
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
    let url = redis
        .patient_url()
        .replace("redis://", "redis://reader:secret@");
    let cache = nearcache::blocking::Cache::open(&url).unwrap();
    let broken = nearcache::Raw(b"\xC1NC\x01\x04\x00".to_vec());
    let mut connection = cache.connection().run().unwrap();
    let set = ::redis::cmd("SET").arg("k").arg(broken.0).to_owned();
    set.exec(&mut connection).unwrap();
    assert_eq!(cache.get::<New>("k").run().unwrap(), None);
    assert_eq!(cache.get_many::<New>(["k"]).run().unwrap(), [None]);
    let left: i64 = ::redis::cmd("EXISTS")
        .arg("k")
        .query(&mut connection)
        .unwrap();
    assert_eq!(left, 1);
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
    cache.set("k", &old()).tags(["t"]).run().unwrap();
    cache.invalidate_tag("t").run().unwrap();
    let held = proxy.hold(nearcache_testkit::Frames::requests().of("EVALSHA"));
    assert_eq!(cache.get::<New>("k").run().unwrap(), None);
    drop(held);
}
