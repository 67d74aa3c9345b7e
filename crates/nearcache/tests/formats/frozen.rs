//! Entries as they lie in Redis, frozen byte by byte: what is stored today is read by every later version.
//!
//! What the compressors write may change with their versions; what they wrote is read for ever.

use nearcache::blocking::Cache;
use nearcache::{Codec, Raw, Text};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    tags: Vec<String>,
    score: Option<f64>,
}

fn user() -> User {
    User {
        id: 300,
        name: "张三".to_owned(),
        tags: vec!["a".to_owned()],
        score: Some(0.5),
    }
}

/// What each of them writes.
const WRITTEN: [(&str, Codec, &str); 3] = [
    (
        "json",
        Codec::json(),
        "7b226964223a3330302c226e616d65223a22e5bca0e4b889222c2274616773223a5b2261225d2c2273636f7265223a302e357d",
    ),
    (
        "msgpack",
        Codec::message_pack(),
        "c14e43010801\
         84a26964cd012ca46e616d65a6e5bca0e4b889a47461677391a161a573636f7265cb3fe0000000000000",
    ),
    (
        "postcard",
        Codec::postcard(),
        "c14e43010802\
         ac0206e5bca0e4b88901016101000000000000e03f",
    ),
];

/// 200 times `a`, as each of them wrote it, with its envelope.
const COMPRESSED: [(&str, &str); 3] = [
    (
        "zstd",
        "c14e43011001000000c828b52ffd20c84d00001061610100430a6001",
    ),
    ("lz4", "c14e43011002000000c81f610100ae60616161616161"),
    (
        "zlib",
        "c14e43011003000000c8789cddc081000000008020d6fc25f6381e02c27f4bc9",
    ),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn stored(cache: &Cache) -> Vec<u8> {
    let mut connection = cache.connection().run().unwrap();
    redis::cmd("GET").arg("k").query(&mut connection).unwrap()
}

fn store(cache: &Cache, bytes: &[u8]) {
    let mut connection = cache.connection().run().unwrap();
    let () = redis::cmd("SET")
        .arg("k")
        .arg(bytes)
        .query(&mut connection)
        .unwrap();
}

#[test]
fn values_are_written_as_they_were() {
    for (name, codec, frozen) in WRITTEN {
        let cache = Cache::builder("memory://").codec(codec).build().unwrap();
        cache.set("k", &user()).run().unwrap();
        assert_eq!(hex(&stored(&cache)), frozen, "{name}");
        cache.set("k", &Raw(b"\x00\xff")).run().unwrap();
        assert_eq!(stored(&cache), b"\x00\xff");
        cache.set("k", &Text("text")).run().unwrap();
        assert_eq!(stored(&cache), b"text");
        cache.set("k", &None::<User>).run().unwrap();
        assert_eq!(stored(&cache), b"null");
    }
}

#[test]
fn values_that_were_written_are_read() {
    let cache = Cache::open("memory://").unwrap();
    for (name, _, frozen) in WRITTEN {
        store(&cache, &unhex(frozen));
        assert_eq!(cache.get("k").run().unwrap(), Some(user()), "{name}");
    }
    for (name, frozen) in COMPRESSED {
        store(&cache, &unhex(frozen));
        let found: Option<Text> = cache.get("k").run().unwrap();
        assert_eq!(found, Some(Text("a".repeat(200))), "{name}");
    }
}
