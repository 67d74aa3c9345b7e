//! Values to bytes and back: the format of cachelib's `RedisCache`, and what may take its place.

use std::fmt;

use super::{Integer, Value};
use crate::error::{BoxError, Error, ErrorKind};

/// How a [`SimpleCache`](super::SimpleCache) stores its values. [`RedisSerializer`] is the one that it has unless told
/// otherwise; [`SimpleCache::serializer`](super::SimpleCache::serializer) sets another.
///
/// ```
/// use nearcache::BoxError;
/// use nearcache::simple::{Serializer, Value};
///
/// /// Only text, as it is.
/// #[derive(Debug)]
/// struct Plain;
///
/// impl Serializer for Plain {
///     fn dumps(&self, value: &Value) -> Result<Vec<u8>, BoxError> {
///         Ok(value.as_str().ok_or("only text can be stored here")?.into())
///     }
///
///     fn loads(&self, bytes: Option<&[u8]>) -> Option<Value> {
///         Some(std::str::from_utf8(bytes?).ok()?.into())
///     }
/// }
/// ```
pub trait Serializer: fmt::Debug + Send + Sync {
    /// The bytes to store.
    ///
    /// # Errors
    /// Why the value cannot be stored. The call then fails with [`ErrorKind::Codec`](crate::ErrorKind::Codec), of which
    /// this is the [source](std::error::Error::source).
    fn dumps(&self, value: &Value) -> Result<Vec<u8>, BoxError>;

    /// The value of stored bytes; `None` if they cannot be read. Of a key that is missing it is asked with `None`.
    fn loads(&self, bytes: Option<&[u8]>) -> Option<Value>;
}

/// The format of cachelib: an integer as its decimal digits, so that `INCR` works on it; everything else as `!` and a
/// pickle of plain data (feature `pickle`).
///
/// It reads what every version of cachelib has written: pickles of each protocol up to 5, and, from before its version
/// 0.8, bytes that are neither (which are [`Value::Bytes`]). A pickle of anything but plain data cannot be read, nor can
/// one that is nested deeper than 128 levels, or holds more than a million values. No pickle makes this program run
/// anything.
///
/// Without the feature `pickle`, only integers can be written, and pickles cannot be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisSerializer;

impl Serializer for RedisSerializer {
    fn dumps(&self, value: &Value) -> Result<Vec<u8>, BoxError> {
        if let Value::Int(number) = value {
            let digits = number.to_decimal().ok_or_else(|| {
                refused(format!(
                    "an int of more than {} digits, which Python does not read",
                    super::integer::MAX_DIGITS
                ))
            })?;
            return Ok(digits.into_bytes());
        }
        #[cfg(feature = "pickle")]
        {
            let mut bytes = vec![PICKLE];
            super::pickle::write(value, &mut bytes).map_err(refused)?;
            Ok(bytes)
        }
        #[cfg(not(feature = "pickle"))]
        Err(refused(format!(
            "a {} is stored as a pickle, for which this build needs the feature \"pickle\"; or set a serializer, such as \
             JsonSerializer",
            value.kind()
        )))
    }

    fn loads(&self, bytes: Option<&[u8]>) -> Option<Value> {
        let bytes = bytes?;
        match bytes {
            #[cfg(feature = "pickle")]
            [PICKLE, pickle @ ..] => super::pickle::read(pickle),
            #[cfg(not(feature = "pickle"))]
            [PICKLE, ..] => {
                tracing::debug!(
                    "a pickle is read as nothing: this build has no feature \"pickle\""
                );
                None
            }
            _ => Some(match python_int(bytes) {
                Some(number) => Value::Int(number),
                None => Value::Bytes(bytes.to_vec()),
            }),
        }
    }
}

/// Why a value cannot be stored, in words that quote nothing of it.
fn refused(why: String) -> BoxError {
    Error::new(ErrorKind::Codec, why).into()
}

/// What a pickle begins with.
const PICKLE: u8 = b'!';

/// What Python's `int(bytes)` reads: white space around, a sign, and digits, which single underscores may divide.
fn python_int(bytes: &[u8]) -> Option<Integer> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let start = bytes.iter().position(|byte| !is_space(byte))?;
    let end = bytes.iter().rposition(|byte| !is_space(byte))?;
    let (negative, digits) = match &bytes[start..=end] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut parts = digits.split(|byte| *byte == b'_');
    if parts.any(<[u8]>::is_empty) {
        return None;
    }
    let digits: Vec<u8> = digits
        .iter()
        .copied()
        .filter(|byte| *byte != b'_')
        .collect();
    Integer::from_digits(negative, &digits)
}

/// JSON, as cachelib's `JSONSerializer` has it: for values that programs in other languages read, too. It has no bytes,
/// no tuples and no sets: tuples and sets are stored as lists, and bytes are an error.
///
/// `inc` works on a stored integer.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonSerializer;

impl Serializer for JsonSerializer {
    fn dumps(&self, value: &Value) -> Result<Vec<u8>, BoxError> {
        let has_bytes = holds(value, &|value| matches!(value, Value::Bytes(_)));
        let json = value.to_json().filter(|_| !has_bytes).ok_or_else(|| {
            refused(format!(
                "a {} that JSON cannot say: bytes, an int beyond 64 bits, a float that is no number, a key that is no text",
                value.kind()
            ))
        })?;
        Ok(serde_json::to_vec(&json)?)
    }

    fn loads(&self, bytes: Option<&[u8]>) -> Option<Value> {
        serde_json::from_slice(bytes?).ok().map(Value::from_json)
    }
}

/// Whether a value, or one inside it, is such.
fn holds(value: &Value, such: &dyn Fn(&Value) -> bool) -> bool {
    such(value)
        || match value {
            Value::List(items) | Value::Tuple(items) => items.iter().any(|item| holds(item, such)),
            Value::Set(items) | Value::FrozenSet(items) => {
                items.iter().any(|item| holds(item, such))
            }
            Value::Dict(dict) => dict
                .iter()
                .any(|(key, value)| holds(key, such) || holds(value, such)),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loads(bytes: &[u8]) -> Option<Value> {
        RedisSerializer.loads(Some(bytes))
    }

    #[test]
    fn integers_lie_there_as_digits_and_are_read_as_python_reads_them() {
        assert_eq!(RedisSerializer.dumps(&7.into()).unwrap(), b"7");
        assert_eq!(RedisSerializer.dumps(&(-7).into()).unwrap(), b"-7");
        let big: Integer = "1180591620717411303424".parse().unwrap();
        let stored = RedisSerializer.dumps(&big.clone().into()).unwrap();
        assert_eq!(stored, b"1180591620717411303424");
        assert_eq!(loads(&stored), Some(big.into()));
        for (text, number) in [
            ("7", 7),
            (" 7\n", 7),
            ("\x0b+7\x0c", 7),
            ("-0", 0),
            ("007", 7),
            ("1_000", 1_000),
        ] {
            assert_eq!(loads(text.as_bytes()), Some(number.into()), "{text:?}");
        }
        for text in [
            "", " ", "-", "+-7", "- 7", "1__0", "_1", "1_", "1.0", "0x7", "7\0", "½", "abc",
        ] {
            let bytes = Value::Bytes(text.into());
            assert_eq!(loads(text.as_bytes()), Some(bytes), "{text:?}");
        }
        let long = "1".repeat(4_301);
        assert_eq!(
            loads(long.as_bytes()),
            Some(Value::Bytes(long.into_bytes()))
        );
        assert_eq!(RedisSerializer.loads(None), None);
    }

    #[test]
    fn an_int_that_python_would_not_read_is_not_written() {
        let huge = Value::Int(Integer::from_le_bytes(&[1; 2_000]));
        let error = RedisSerializer.dumps(&huge).unwrap_err();
        assert!(error.to_string().contains("4300 digits"), "{error}");
    }

    #[cfg(not(feature = "pickle"))]
    #[test]
    fn without_pickles_the_error_says_what_to_do() {
        let error = RedisSerializer.dumps(&"text".into()).unwrap_err();
        assert!(error.to_string().contains("feature \"pickle\""), "{error}");
        assert_eq!(loads(b"!N."), None);
    }

    #[test]
    fn json_says_what_it_can_and_no_more() {
        for (value, json) in [
            (Value::from([("n", "张")]), "{\"n\":\"张\"}"),
            (Value::None, "null"),
            (7.into(), "7"),
            (vec![1.5].into(), "[1.5]"),
        ] {
            let stored = JsonSerializer.dumps(&value).unwrap();
            assert_eq!(stored, json.as_bytes());
            assert_eq!(JsonSerializer.loads(Some(&stored)), Some(value));
        }
        assert_eq!(JsonSerializer.loads(Some(b"{")), None);
        assert_eq!(JsonSerializer.loads(None), None);
        for value in [
            Value::Bytes(b"x".to_vec()),
            Value::List(vec![Value::Bytes(b"x".to_vec())]),
            f64::NAN.into(),
            i128::MAX.into(),
            [((), 1)].into(),
        ] {
            JsonSerializer.dumps(&value).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn whatever_lies_there_is_read_as_something(bytes: Vec<u8>) {
            prop_assume!(!bytes.starts_with(b"!"));
            prop_assert!(loads(&bytes).is_some());
            let _ = JsonSerializer.loads(Some(&bytes));
        }
    }
}
