//! JSON, the default format: everything can read it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NOTHING;
use super::guard::{Guarded, Rules};
use crate::error::{Error, ErrorKind, Result};

/// One level less than serde_json reads.
const RULES: Rules = Rules {
    every_float: false,
    depth: 127,
};

pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, &Guarded::new(value, RULES))
        .map_err(|error| Error::new(ErrorKind::Codec, format!("as JSON: {error}")).caused_by(error))
}

/// With sorted keys and no spaces, so that one value has one form.
pub(crate) fn canonical<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let value = serde_json::to_value(Guarded::new(value, RULES));
    value
        .and_then(|value| serde_json::to_writer(out, &sorted(value)))
        .map_err(|error| Error::new(ErrorKind::Codec, format!("as JSON: {error}")).caused_by(error))
}

/// A map of serde_json has the order of its insertions, if any crate of the program asks for that.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            let sorted = entries
                .into_iter()
                .map(|(name, value)| (name, sorted(value)));
            Value::Object(sorted.collect())
        }
        value => value,
    }
}

pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).or_else(|error| {
        if let Some(value) = plain(bytes) {
            return Ok(value);
        }
        // serde's message may quote the data, so only the position is given; it is enough to find the error.
        let place = format!("as JSON, line {} column {}", error.line(), error.column());
        Err(Error::new(ErrorKind::Codec, place).caused_by(error))
    })
}

/// Plain text as another program stores it (`SET greeting hello`, `SET code 123456`), for types that can be read from
/// text: a `String` reads any UTF-8. A type that takes any JSON (`serde_json::Value`) does not read damaged JSON as text.
fn plain<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value = serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()?;
    let damaged = text.trim_start().starts_with(['"', '{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err();
    let takes_any = || serde_json::from_value::<T>(serde_json::Value::Bool(true)).is_ok();
    (!damaged || !takes_any()).then_some(value)
}

/// The value of a type for `null`, if it has one.
pub(super) fn nothing<T: DeserializeOwned>() -> Option<T> {
    serde_json::from_slice(NOTHING).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::codec::{Codec, Decode, Encode, Format, Stored};
    use crate::error::ErrorKind;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        id: u64,
        name: String,
        tags: Vec<String>,
        manager: Option<u64>,
    }

    fn bytes<T: Encode + ?Sized>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&Codec::json(), &mut out).unwrap();
        out
    }

    fn read<T: Decode>(bytes: &[u8]) -> crate::Result<Stored<T>> {
        T::decode(Format::Json, &Codec::json(), &mut bytes.to_vec(), 0)
    }

    #[test]
    fn json_on_the_wire_is_plain_json() {
        let user = User {
            id: 1,
            name: "张三".into(),
            tags: vec![],
            manager: None,
        };
        assert_eq!(
            bytes(&user),
            r#"{"id":1,"name":"张三","tags":[],"manager":null}"#.as_bytes()
        );
        assert_eq!(bytes("text"), b"\"text\"");
        assert_eq!(bytes(&42), b"42");
        assert_eq!(bytes(&None::<User>), b"null");
    }

    #[test]
    fn a_null_is_nothing_and_garbage_is_an_error() {
        assert_eq!(read::<User>(b"null").unwrap(), Stored::Nothing);
        for garbage in [&b""[..], b"{", b"\xff\xff", b"{\"id\":1}", b"42", b"nul"] {
            let error = read::<User>(garbage).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec, "{garbage:?}");
        }
    }

    #[test]
    fn what_another_program_wrote_reads_as_such() {
        #[derive(Debug, PartialEq, Deserialize)]
        enum State {
            Active,
        }
        assert_eq!(read(b"42").unwrap(), Stored::Value(42_u8));
        assert_eq!(
            read(b" {\"a\" : 1 } ").unwrap(),
            Stored::Value(BTreeMap::from([("a".to_owned(), 1)]))
        );
        assert_eq!(
            read(b"hello there").unwrap(),
            Stored::Value("hello there".to_owned())
        );
        assert_eq!(
            read(b"hello").unwrap(),
            Stored::Value(Some("hello".to_owned()))
        );
        assert_eq!(read(b"Active").unwrap(), Stored::Value(State::Active));
    }

    #[test]
    fn a_text_type_reads_any_text_and_no_other_type_reads_damaged_json() {
        for text in [
            "123456",
            "{\"a\":1}",
            "true",
            "\"hello",
            "{\"a\":1",
            "",
            " ",
        ] {
            let found = read::<String>(text.as_bytes()).unwrap();
            assert_eq!(found, Stored::Value(text.to_owned()));
        }
        assert_eq!(read(b"\"42\"").unwrap(), Stored::Value("42".to_owned()));
        assert!(read::<String>(b"\xff").is_err());
        for damaged in [&b"{\"a\":1"[..], b"[1,2", b"\"hello"] {
            assert!(read::<serde_json::Value>(damaged).is_err(), "{damaged:?}");
        }
        assert!(read::<Vec<u32>>(b"hello").is_err());
    }

    #[test]
    fn what_json_has_no_form_for_is_an_error_and_no_panic() {
        let keys_that_are_no_text = BTreeMap::from([((1, 2), 3)]);
        let error = keys_that_are_no_text
            .encode(&Codec::json(), &mut Vec::new())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
    }

    proptest! {
        #[test]
        fn what_was_encoded_reads_back(id: u64, name in ".*", tags in prop::collection::vec(".*", 0..4), manager: Option<u64>) {
            let user = User { id, name, tags, manager };
            prop_assert_eq!(read(&bytes(&user)).unwrap(), Stored::Value(user));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read::<User>(&bytes);
            let _ = read::<serde_json::Value>(&bytes);
            let _ = read::<crate::Text<String>>(&bytes);
        }
    }
}
