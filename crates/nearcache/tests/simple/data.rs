//! Values: what may be stored, by which serializer, and how it lies there.

use std::collections::BTreeMap;

use nearcache::simple::{JsonSerializer, RedisSerializer, Serializer, Value};
use nearcache::{BoxError, ErrorKind};
use redis::Value as Reply;
use serde::{Deserialize, Serialize};

use crate::simple_face::Simple;
use crate::target::{Options, Target, raw};

suite! {
    values_lie_there_as_cachelib_writes_them,
    a_struct_goes_there_and_back,
    what_cannot_be_stored_is_an_error_that_says_why,
    a_serializer_can_be_replaced,
    a_key_of_another_type_is_an_error_and_stays,
    large_values_come_back,
    the_compression_of_the_cache_does_not_touch_them,
}

async fn values_lie_there_as_cachelib_writes_them(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    let simple = Simple::over(&cache);
    for (value, stored) in [
        (Value::from(42), &b"42"[..]),
        ((-1).into(), b"-1"),
        (true.into(), b"!\x80\x04\x88."),
        (Value::None, b"!\x80\x04N."),
        ("x".into(), b"!\x80\x04\x8c\x01x."),
    ] {
        assert!(simply!(simple.set("k", value.clone())).unwrap());
        let reply = raw(&cache, &[b"GET", format!("{prefix}:k").as_bytes()]).await;
        assert_eq!(reply, Reply::BulkString(stored.to_vec()));
        assert_eq!(simply!(simple.get("k")).unwrap(), Some(value));
    }
    assert!(simply!(simple.set("k", None::<i32>)).unwrap());
    assert!(simply!(simple.has("k")).unwrap(), "a cached None is there");
    simply!(simple.delete("k")).unwrap();
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct User {
    name: String,
    age: u8,
    tags: Vec<String>,
    boss: Option<Box<User>>,
}

async fn a_struct_goes_there_and_back(target: Target) {
    let cache = target.cache();
    let simple = Simple::over(&cache);
    let user = |name: &str, boss| User {
        name: name.into(),
        age: 36,
        tags: vec!["a".into()],
        boss,
    };
    let ada = user("Ada", Some(Box::new(user("Zoë", None))));
    simply!(simple.set("user", Value::of(&ada).unwrap())).unwrap();
    let read = simply!(simple.get("user")).unwrap().unwrap();
    assert_eq!(read.to(), Some(ada));
    assert_eq!(read.to::<BTreeMap<String, u8>>(), None);
}

async fn what_cannot_be_stored_is_an_error_that_says_why(target: Target) {
    let cache = target.cache();
    let simple = Simple::over(&cache);
    let deep = (0..200).fold(Value::None, |inner, _| Value::List(vec![inner]));
    for (value, why) in [
        (deep, "128 levels"),
        (Value::from([(vec![1], 1)]), "a list cannot be the key"),
    ] {
        for error in [
            simply!(simple.set("k", value.clone())).unwrap_err(),
            simply!(simple.add("k", value.clone())).unwrap_err(),
            simply!(simple.set_many([("fine", Value::from(1)), ("k", value.clone())])).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Codec);
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.key().unwrap(), "k");
        }
    }
    assert!(!simply!(simple.has("fine")).unwrap(), "nothing is sent");
}

/// Text in capitals; nothing else.
#[derive(Debug)]
struct Shouting;

impl Serializer for Shouting {
    fn dumps(&self, value: &Value) -> Result<Vec<u8>, BoxError> {
        let text = value.as_str().ok_or("secret: only text")?;
        Ok(text.to_uppercase().into_bytes())
    }

    fn loads(&self, bytes: Option<&[u8]>) -> Option<Value> {
        Some(match bytes {
            Some(bytes) => std::str::from_utf8(bytes).ok()?.into(),
            // It is asked when there is nothing, too.
            None => "WHAT?".into(),
        })
    }
}

async fn a_serializer_can_be_replaced(target: Target) {
    let cache = target.cache();
    let simple = with!(Simple::over(&cache), serializer(Shouting));
    assert_eq!(simply!(simple.get("k")).unwrap(), Some("WHAT?".into()));
    simply!(simple.set("k", "hello")).unwrap();
    assert_eq!(simply!(simple.get("k")).unwrap(), Some("HELLO".into()));
    let values = simply!(simple.get_many(["k", "x"])).unwrap();
    assert_eq!(values, [Some("HELLO".into()), Some("WHAT?".into())]);
    let error = simply!(simple.set("k", 7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(std::error::Error::source(&error).is_some());

    let json = with!(Simple::over(&cache), serializer(JsonSerializer));
    simply!(json.set("j", [("n", 1)])).unwrap();
    let text: Option<nearcache::Text> = call!(cache.get("j")).unwrap();
    assert_eq!(text.unwrap().0, "{\"n\":1}");
    assert_eq!(simply!(json.get("j")).unwrap(), Some([("n", 1)].into()));
    // To the serializer of Python these are bytes.
    let plain = with!(json, serializer(RedisSerializer));
    let read = simply!(plain.get("j")).unwrap();
    assert_eq!(read, Some(Value::Bytes(b"{\"n\":1}".to_vec())));
}

async fn a_key_of_another_type_is_an_error_and_stays(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    raw(&cache, &[b"DEL", format!("{prefix}:list").as_bytes()]).await;
    raw(
        &cache,
        &[b"RPUSH", format!("{prefix}:list").as_bytes(), b"x"],
    )
    .await;
    let simple = Simple::over(&cache);
    let errors = [
        simply!(simple.get("list")).unwrap_err(),
        simply!(simple.inc("list")).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::WrongType);
    }
    assert_eq!(simply!(simple.get_many(["list"])).unwrap(), [None]);
    assert!(simply!(simple.has("list")).unwrap());
    assert!(!simply!(simple.add("list", 1)).unwrap());
    assert!(
        simply!(simple.set("list", 1)).unwrap(),
        "set replaces any type"
    );
    assert_eq!(simply!(simple.get("list")).unwrap(), Some(1.into()));
    assert!(simply!(simple.delete("list")).unwrap());
}

async fn large_values_come_back(target: Target) {
    let cache = target.cache();
    let simple = Simple::over(&cache);
    let value = Value::List(vec![
        "é".repeat(2 << 20).into(),
        Value::Bytes(vec![0; 3 << 20]),
    ]);
    simply!(simple.set("large", value.clone())).unwrap();
    assert_eq!(simply!(simple.get("large")).unwrap(), Some(value));
}

async fn the_compression_of_the_cache_does_not_touch_them(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let codec = nearcache::Codec::json().compressed(nearcache::Compression::zlib());
    let options = Options {
        prefix: &prefix,
        codec: Some(codec),
        ..Options::default()
    };
    let cache = target.build(&target.url(&prefix), options).unwrap();
    let simple = Simple::over(&cache);
    simply!(simple.set("k", "x".repeat(10_000))).unwrap();
    let reply = raw(&cache, &[b"STRLEN", format!("{prefix}:k").as_bytes()]).await;
    assert_eq!(reply, Reply::Int(10_009));
}
