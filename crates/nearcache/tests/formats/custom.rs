//! A serializer of the application's own.

use nearcache::erased_serde::{self, Deserializer, Serialize};
use nearcache::{BoxError, Cache, Codec, Compression, ErrorKind, Lookup, Serializer, Text};

use crate::target::{Face, Options, Target, raw};

brief_suite! {
    its_plain_bytes_lie_in_redis_and_are_read_back,
    what_needs_to_be_said_stands_before_them,
    what_it_refuses_is_read_as_json,
    a_nothing_is_one_and_bytes_that_look_like_it_are_none,
    whoever_has_no_serializer_misses_and_deletes_nothing,
    an_error_of_its_own_is_told,
}

/// JSON after a tilde; it reads nothing else.
struct Tilde;

impl Serializer for Tilde {
    fn name(&self) -> &str {
        "tilde"
    }

    fn encode(&self, value: &dyn Serialize, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.push(b'~');
        let json = serde_json::to_vec(value)?;
        if json == b"\"refused\"" {
            return Err("it is refused".into());
        }
        // So that a test can make it write whatever it likes.
        match json.strip_prefix(b"\"as ") {
            Some(bytes) => *out = bytes[..bytes.len() - 1].to_vec(),
            None => out.extend(json),
        }
        Ok(())
    }

    fn decode<'b>(
        &self,
        bytes: &'b [u8],
        read: &mut dyn FnMut(&mut dyn Deserializer<'b>) -> Result<(), erased_serde::Error>,
    ) -> Result<(), BoxError> {
        let quoted;
        let json = match bytes {
            [b'~', json @ ..] => json,
            b"null" => {
                quoted = b"\"null\"";
                &quoted[..]
            }
            _ => return Err("no tilde".into()),
        };
        let mut json = serde_json::Deserializer::from_slice(json);
        read(&mut <dyn Deserializer<'_>>::erase(&mut json))?;
        Ok(json.end()?)
    }
}

fn cache(target: Target, prefix: &str, codec: Codec) -> Face {
    let options = Options {
        prefix,
        codec: Some(codec),
        ..Options::default()
    };
    target.build(&target.url(prefix), options).unwrap()
}

async fn stored(cache: &Face, key: &str) -> Vec<u8> {
    match raw(cache, &[b"GET", key.as_bytes()]).await {
        ::redis::Value::BulkString(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

async fn its_plain_bytes_lie_in_redis_and_are_read_back(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = cache(target, &prefix, Codec::custom(Tilde));
    call!(cache.set("k", &vec![1, 2])).unwrap();
    assert_eq!(stored(&cache, &format!("{prefix}:k")).await, b"~[1,2]");
    assert_eq!(call!(cache.get::<Vec<u8>>("k")).unwrap(), Some(vec![1, 2]));
    let many = call!(cache.get_many::<Vec<u8>>(["k", "none"])).unwrap();
    assert_eq!(many, [Some(vec![1, 2]), None]);
    assert_eq!(call!(cache.take::<Vec<u8>>("k")).unwrap(), Some(vec![1, 2]));
    // Text is stored as it is, whatever the format.
    call!(cache.set("text", &Text("plain"))).unwrap();
    let text = call!(cache.get::<Text>("text")).unwrap();
    assert_eq!(text, Some(Text("plain".to_owned())));
}

async fn what_needs_to_be_said_stands_before_them(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let codec = Codec::custom(Tilde).compressed(Compression::zstd().above(1));
    let cache = cache(target, &prefix, codec);
    let long = "long ".repeat(100);
    call!(cache.set("packed", &long)).unwrap();
    call!(cache.set("tagged", &7).tags(["t"])).unwrap();
    let entry = stored(&cache, &format!("{prefix}:packed")).await;
    assert_eq!(entry[..6], [0xC1, b'N', b'C', 1, 0b11000, 255]);
    assert_eq!(call!(cache.get::<String>("packed")).unwrap(), Some(long));
    assert_eq!(call!(cache.get::<u8>("tagged")).unwrap(), Some(7));
    // One loads, and others are told its bytes.
    let loaded = match &cache {
        Face::Async(cache) => {
            let load = async || Ok::<_, BoxError>(8);
            cache
                .remember("loaded", load)
                .ttl("1h")
                .stale_for("1h")
                .await
        }
        Face::Blocking(cache) => {
            let load = || Ok::<_, BoxError>(8);
            cache
                .remember("loaded", load)
                .ttl("1h")
                .stale_for("1h")
                .run()
        }
    };
    assert_eq!(loaded.unwrap(), 8);
    assert_eq!(call!(cache.get::<u8>("loaded")).unwrap(), Some(8));
}

async fn what_it_refuses_is_read_as_json(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let before = cache(target, &prefix, Codec::json());
    call!(before.set("old", &vec![1, 2])).unwrap();
    call!(before.set("packed", &"x".repeat(9))).unwrap();
    let cache = cache(target, &prefix, Codec::custom(Tilde));
    assert_eq!(
        call!(cache.get::<Vec<u8>>("old")).unwrap(),
        Some(vec![1, 2])
    );
    // What was plain bytes before it was marked stale is read back too, in either format.
    for key in ["k", "old"] {
        call!(cache.set(key, &vec![1, 2])).unwrap();
    }
    raw(
        &cache,
        &[b"SET", format!("{prefix}:old").as_bytes(), b"[1,2]"],
    )
    .await;
    for key in ["k", "old"] {
        call!(cache.mark_stale(key)).unwrap();
        let load = || Err::<Vec<u8>, _>(std::io::Error::other("no source"));
        let kept = match &cache {
            Face::Async(cache) => cache
                .remember(key, async move || load())
                .stale_if_error("1h")
                .await
                .unwrap(),
            Face::Blocking(cache) => cache
                .remember(key, load)
                .stale_if_error("1h")
                .run()
                .unwrap(),
        };
        assert_eq!(kept, [1, 2], "{key}");
    }
    // Counters are plain integers in every format.
    assert_eq!(call!(cache.incr("count")).unwrap(), 1);
    assert_eq!(call!(cache.get::<u8>("count")).unwrap(), Some(1));
}

async fn a_nothing_is_one_and_bytes_that_look_like_it_are_none(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = cache(target, &prefix, Codec::custom(Tilde));
    call!(cache.set("none", &None::<u8>)).unwrap();
    assert_eq!(stored(&cache, &format!("{prefix}:none")).await, b"null");
    assert_eq!(call!(cache.lookup::<u8>("none")).unwrap(), Lookup::Nothing);
    // A value whose bytes are those of a nothing, and one that begins as an envelope does.
    call!(cache.set("looks", "as null")).unwrap();
    let entry = stored(&cache, &format!("{prefix}:looks")).await;
    assert_eq!(entry, b"\xC1NC\x01\x08\xFFnull");
    let found = call!(cache.lookup::<String>("looks")).unwrap();
    assert_eq!(found, Lookup::Hit("null".to_owned()));
}

async fn whoever_has_no_serializer_misses_and_deletes_nothing(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let custom = cache(target, &prefix, Codec::custom(Tilde));
    call!(custom.set("tagged", &7).tags(["t"])).unwrap();
    let plain = cache(target, &prefix, Codec::json());
    assert_eq!(call!(plain.get::<u8>("tagged")).unwrap(), None);
    assert_eq!(call!(custom.get::<u8>("tagged")).unwrap(), Some(7));
}

async fn an_error_of_its_own_is_told(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = cache(target, &prefix, Codec::custom(Tilde));
    let error = call!(cache.set("k", "refused")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("tilde"), "{error}");
    assert_eq!(call!(cache.get::<String>("k")).unwrap(), None);
}

#[test]
fn a_custom_format_without_its_serializer_is_refused() {
    let codec = Codec::new(nearcache::Format::Custom);
    let error = Cache::builder("memory://")
        .codec(codec)
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("Codec::custom"), "{error}");
    let shown = format!("{:?}", Codec::custom(Tilde));
    assert!(shown.contains("tilde"), "{shown}");
}
