//! How a component's values are stored in Redis: text as it is, everything else as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// The bytes of a value; `None` for a nothing.
pub(super) fn encode<V: Serialize>(value: &V) -> Result<Option<Vec<u8>>> {
    let failed = |error: serde_json::Error| {
        Error::new(ErrorKind::Codec, format!("as JSON: {error}")).caused_by(error)
    };
    let json = serde_json::to_vec(value).map_err(failed)?;
    Ok(match json.first() {
        Some(b'"') => Some(
            serde_json::from_slice::<String>(&json)
                .map_err(failed)?
                .into_bytes(),
        ),
        _ if json == b"null" => None,
        _ => Some(json),
    })
}

/// Decodes a value, first as text, because a text may look like JSON.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    T::deserialize(Value::from(text))
        .ok()
        .or_else(|| serde_json::from_str(text).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn there_and_back<V: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
        value: V,
        bytes: &str,
    ) {
        let encoded = encode(&value).unwrap().unwrap();
        assert_eq!(encoded, bytes.as_bytes());
        assert_eq!(decode::<V>(&encoded), Some(value));
    }

    #[test]
    fn text_lies_there_as_it_is_and_the_rest_as_json() {
        there_and_back("ABC".to_owned(), "ABC");
        there_and_back("\"null\" 5 {}".to_owned(), "\"null\" 5 {}");
        there_and_back("null".to_owned(), "null");
        there_and_back(String::new(), "");
        there_and_back(5, "5");
        there_and_back(1.5, "1.5");
        there_and_back(true, "true");
        there_and_back(vec!["a".to_owned()], "[\"a\"]");
        there_and_back(BTreeMap::from([("a".to_owned(), 1)]), "{\"a\":1}");
        there_and_back(Some("x".to_owned()), "x");
        assert_eq!(encode(&None::<String>).unwrap(), None);
        assert_eq!(encode(&()).unwrap(), None);
    }

    #[test]
    fn a_number_reads_back_as_text_and_what_is_no_text_is_nothing() {
        assert_eq!(decode::<String>(b"5").as_deref(), Some("5"));
        assert_eq!(decode::<i64>(b"many"), None);
        assert_eq!(decode::<String>(b"\xff"), None);
    }
}
