//! JSON, the default: whatever serde knows, readable by everyone.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Decode, Encode, Stored};
use crate::error::{Error, ErrorKind, Result};

/// What `Option::None` is as JSON.
const NOTHING: &[u8] = b"null";

impl<T: Serialize + ?Sized> Encode for T {
    const NOTHING: Option<&'static [u8]> = Some(NOTHING);

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(out, self).map_err(|error| {
            Error::new(ErrorKind::Codec, format!("as JSON: {error}")).caused_by(error)
        })
    }
}

impl<T: DeserializeOwned + Send + 'static> Decode for T {
    /// `null` is a cached nothing, whatever `T` is: so is what `Option::None` was stored as.
    fn decode(bytes: &mut Vec<u8>) -> Result<Stored<T>> {
        if *bytes == NOTHING {
            return Ok(Stored::Nothing);
        }
        serde_json::from_slice(bytes)
            .map(Stored::Value)
            .map_err(|error| {
                // serde's message may quote the data; the place is enough to find it.
                let place = format!("as JSON, line {} column {}", error.line(), error.column());
                Error::new(ErrorKind::Codec, place).caused_by(error)
            })
    }

    fn nothing() -> Option<T> {
        serde_json::from_slice(NOTHING).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        id: u64,
        name: String,
        tags: Vec<String>,
        manager: Option<u64>,
    }

    fn bytes<T: Encode + ?Sized>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out).unwrap();
        out
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
        assert_eq!(
            User::decode(&mut b"null".to_vec()).unwrap(),
            Stored::Nothing
        );
        for garbage in [&b""[..], b"{", b"\xff\xff", b"{\"id\":1}", b"42", b"nul"] {
            let error = User::decode(&mut garbage.to_vec()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec, "{garbage:?}");
        }
    }

    #[test]
    fn what_json_has_no_form_for_is_an_error_and_no_panic() {
        let keys_that_are_no_text = BTreeMap::from([((1, 2), 3)]);
        let error = keys_that_are_no_text.encode(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
    }

    proptest! {
        #[test]
        fn what_was_encoded_reads_back(id: u64, name in ".*", tags in prop::collection::vec(".*", 0..4), manager: Option<u64>) {
            let user = User { id, name, tags, manager };
            prop_assert_eq!(User::decode(&mut bytes(&user)).unwrap(), Stored::Value(user));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = User::decode(&mut bytes.clone());
            let _ = serde_json::Value::decode(&mut bytes.clone());
            let _ = crate::Text::<String>::decode(&mut bytes.clone());
        }
    }
}
