//! What a command replies, and what it can be read as.
//!
//! RESP2 and RESP3 write the same answer differently (a score as text or as a number, pairs flat or nested): reading it
//! as a type hides that.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use redis::Value;

use crate::codec::{Raw, Text};
use crate::error::{Error, ErrorKind, Result};

/// A reply of Redis, of whatever shape.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// Nothing.
    Nil,
    /// An integer.
    Int(i64),
    /// A number with a point (RESP3).
    Float(f64),
    /// True or false (RESP3).
    Bool(bool),
    /// A word of Redis's own, such as `OK`.
    Status(String),
    /// A string: any bytes.
    Bytes(Vec<u8>),
    /// A list, or a set.
    Array(Vec<Reply>),
    /// Pairs (RESP3).
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    /// # Errors
    /// That of an error inside the reply. `Protocol` for what no command replies.
    pub(super) fn from_redis(value: Value) -> Result<Self> {
        let all = |values: Vec<Value>| -> Result<Vec<Reply>> {
            values.into_iter().map(Reply::from_redis).collect()
        };
        Ok(match value {
            Value::Nil => Reply::Nil,
            Value::Int(number) => Reply::Int(number),
            Value::Double(number) => Reply::Float(number),
            Value::Boolean(answer) => Reply::Bool(answer),
            Value::Okay => Reply::Status("OK".to_owned()),
            Value::SimpleString(word) => Reply::Status(word),
            Value::BulkString(bytes) => Reply::Bytes(bytes),
            Value::VerbatimString { text, .. } => Reply::Bytes(text.into_bytes()),
            Value::Array(values) | Value::Set(values) => Reply::Array(all(values)?),
            Value::Map(pairs) => {
                let pairs = pairs.into_iter();
                let pairs = pairs
                    .map(|(name, value)| Ok((Reply::from_redis(name)?, Reply::from_redis(value)?)));
                Reply::Map(pairs.collect::<Result<_>>()?)
            }
            Value::Attribute { data, .. } => Reply::from_redis(*data)?,
            Value::ServerError(error) => return Err(Error::from_server(&error)),
            other => return Err(Error::unexpected("the command", &other)),
        })
    }

    fn shape(&self) -> &'static str {
        match self {
            Reply::Nil => "nil",
            Reply::Int(_) => "an integer",
            Reply::Float(_) => "a number",
            Reply::Bool(_) => "a boolean",
            Reply::Status(_) => "a status",
            Reply::Bytes(_) => "a string",
            Reply::Array(_) => "a list",
            Reply::Map(_) => "a map",
        }
    }

    /// The error that this is no such thing. The reply itself may be private.
    fn is_no(&self, wanted: &str) -> Error {
        let why = format!("the reply is {}, and not {wanted}", self.shape());
        Error::new(ErrorKind::Codec, why)
    }

    /// A text or a number as text.
    fn text(&self) -> Option<&str> {
        match self {
            Reply::Status(word) => Some(word),
            Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The elements of a list; names and values in turn of a map; none of nil.
    fn elements(self, wanted: &str) -> Result<Vec<Reply>> {
        match self {
            Reply::Array(elements) => Ok(elements),
            Reply::Map(pairs) => Ok(pairs
                .into_iter()
                .map(|(name, value)| Reply::Array(vec![name, value]))
                .collect()),
            Reply::Nil => Ok(Vec::new()),
            other => Err(other.is_no(wanted)),
        }
    }
}

/// What a reply can be read as: `()` (whatever it is), [`Reply`], `bool`, numbers, `String`, [`Text`], [`Raw`] (bytes),
/// `Option`, `Vec`, sets, maps, and tuples of these.
///
/// A number may come as text, and pairs flat or nested. Nil is `None`, an empty `Vec`, set or map, and an error for
/// everything else.
///
/// It cannot be implemented elsewhere.
pub trait FromReply: sealed::Sealed + Sized {
    /// Reads it.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec): the reply is no such thing.
    fn from_reply(reply: Reply) -> Result<Self>;

    /// Reads the elements of a list. Tuples take several at a time, if the list is flat.
    #[doc(hidden)]
    fn from_elements(elements: Vec<Reply>) -> Result<Vec<Self>> {
        elements.into_iter().map(Self::from_reply).collect()
    }
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for Reply {}
impl FromReply for Reply {
    fn from_reply(reply: Reply) -> Result<Self> {
        Ok(reply)
    }
}

impl sealed::Sealed for () {}
impl FromReply for () {
    fn from_reply(_: Reply) -> Result<Self> {
        Ok(())
    }
}

impl sealed::Sealed for bool {}
impl FromReply for bool {
    fn from_reply(reply: Reply) -> Result<Self> {
        match &reply {
            Reply::Bool(answer) => Ok(*answer),
            Reply::Int(0) => Ok(false),
            Reply::Int(1) => Ok(true),
            Reply::Status(word) if word == "OK" => Ok(true),
            // A condition that was not met, as of `SET NX`.
            Reply::Nil => Ok(false),
            other => match other.text() {
                Some("0") => Ok(false),
                Some("1") => Ok(true),
                _ => Err(other.is_no("true or false")),
            },
        }
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl sealed::Sealed for $integer {}
        impl FromReply for $integer {
            fn from_reply(reply: Reply) -> Result<Self> {
                let found = match &reply {
                    Reply::Int(number) => <$integer>::try_from(*number).ok(),
                    Reply::Bool(answer) => Some((*answer).into()),
                    other => other.text().and_then(|text| text.parse().ok()),
                };
                found.ok_or_else(|| reply.is_no(concat!("a number of the type ", stringify!($integer))))
            }
        }
    )*};
}
integers!(
    i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize
);

macro_rules! floats {
    ($($float:ty),*) => {$(
        impl sealed::Sealed for $float {}
        impl FromReply for $float {
            #[allow(clippy::cast_possible_truncation, reason = "as near as it gets")]
            fn from_reply(reply: Reply) -> Result<Self> {
                let found = match &reply {
                    Reply::Int(number) => Some(*number as $float),
                    Reply::Float(number) => Some(*number as $float),
                    other => other.text().and_then(|text| text.parse().ok()),
                };
                found.ok_or_else(|| reply.is_no("a number"))
            }
        }
    )*};
}
floats!(f32, f64);

impl sealed::Sealed for String {}
impl FromReply for String {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Status(word) => Ok(word),
            Reply::Int(number) => Ok(number.to_string()),
            Reply::Float(number) => Ok(number.to_string()),
            Reply::Bytes(bytes) => String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                let why = format!("the reply is no text: not UTF-8 at byte {at}");
                Error::new(ErrorKind::Codec, why)
            }),
            other => Err(other.is_no("text")),
        }
    }
}

impl sealed::Sealed for Text<String> {}
impl FromReply for Text<String> {
    fn from_reply(reply: Reply) -> Result<Self> {
        String::from_reply(reply).map(Text)
    }
}

impl sealed::Sealed for Raw<Vec<u8>> {}
impl FromReply for Raw<Vec<u8>> {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Bytes(bytes) => Ok(Raw(bytes)),
            other => String::from_reply(other).map(|text| Raw(text.into_bytes())),
        }
    }
}

impl<T: FromReply> sealed::Sealed for Option<T> {}
impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Nil => Ok(None),
            reply => T::from_reply(reply).map(Some),
        }
    }
}

impl<T: FromReply> sealed::Sealed for Vec<T> {}
impl<T: FromReply> FromReply for Vec<T> {
    fn from_reply(reply: Reply) -> Result<Self> {
        T::from_elements(reply.elements("a list")?)
    }
}

impl<T: FromReply + Eq + Hash, S: BuildHasher + Default> sealed::Sealed for HashSet<T, S> {}
impl<T: FromReply + Eq + Hash, S: BuildHasher + Default> FromReply for HashSet<T, S> {
    fn from_reply(reply: Reply) -> Result<Self> {
        Ok(Vec::from_reply(reply)?.into_iter().collect())
    }
}

impl<T: FromReply + Ord> sealed::Sealed for BTreeSet<T> {}
impl<T: FromReply + Ord> FromReply for BTreeSet<T> {
    fn from_reply(reply: Reply) -> Result<Self> {
        Ok(Vec::from_reply(reply)?.into_iter().collect())
    }
}

impl<K: FromReply + Eq + Hash, V: FromReply, S: BuildHasher + Default> sealed::Sealed
    for HashMap<K, V, S>
{
}
impl<K: FromReply + Eq + Hash, V: FromReply, S: BuildHasher + Default> FromReply
    for HashMap<K, V, S>
{
    fn from_reply(reply: Reply) -> Result<Self> {
        Ok(Vec::<(K, V)>::from_reply(reply)?.into_iter().collect())
    }
}

impl<K: FromReply + Ord, V: FromReply> sealed::Sealed for BTreeMap<K, V> {}
impl<K: FromReply + Ord, V: FromReply> FromReply for BTreeMap<K, V> {
    fn from_reply(reply: Reply) -> Result<Self> {
        Ok(Vec::<(K, V)>::from_reply(reply)?.into_iter().collect())
    }
}

macro_rules! tuples {
    ($(($count:literal: $($name:ident),*))*) => {$(
        impl<$($name: FromReply),*> sealed::Sealed for ($($name,)*) {}
        impl<$($name: FromReply),*> FromReply for ($($name,)*) {
            fn from_reply(reply: Reply) -> Result<Self> {
                const WANTED: &str = concat!("a list of ", $count);
                let found = reply.elements(WANTED)?;
                let length = found.len();
                if length != $count {
                    let why = format!("the reply is a list of {length}, and not {WANTED}");
                    return Err(Error::new(ErrorKind::Codec, why));
                }
                let mut found = found.into_iter();
                Ok(($($name::from_reply(found.next().unwrap_or(Reply::Nil))?,)*))
            }

            fn from_elements(elements: Vec<Reply>) -> Result<Vec<Self>> {
                let nested = elements.iter().any(|one| matches!(one, Reply::Array(_) | Reply::Map(_)));
                if nested || !elements.len().is_multiple_of($count) {
                    return elements.into_iter().map(Self::from_reply).collect();
                }
                let mut found = Vec::with_capacity(elements.len() / $count);
                let mut elements = elements.into_iter();
                while let Some(first) = elements.next() {
                    let rest = elements.by_ref().take($count - 1);
                    let row = std::iter::once(first).chain(rest).collect();
                    found.push(Self::from_reply(Reply::Array(row))?);
                }
                Ok(found)
            }
        }
    )*};
}
impl<A: FromReply> sealed::Sealed for (A,) {}
impl<A: FromReply> FromReply for (A,) {
    fn from_reply(reply: Reply) -> Result<Self> {
        let mut found = reply.elements("a list of one")?.into_iter();
        match (found.next(), found.next()) {
            (Some(only), None) => Ok((A::from_reply(only)?,)),
            _ => Err(Error::new(ErrorKind::Codec, "the reply is no list of one")),
        }
    }
}

tuples! {
    (2: A, B)
    (3: A, B, C)
    (4: A, B, C, D)
    (5: A, B, C, D, E)
    (6: A, B, C, D, E, F)
    (7: A, B, C, D, E, F, G)
    (8: A, B, C, D, E, F, G, H)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn a_reply_is_read_by_its_type_in_both_protocols() {
        let flat = Reply::Array(vec![text("a"), text("1"), text("b"), text("2.5")]);
        let nested = Reply::Array(vec![
            Reply::Array(vec![text("a"), Reply::Float(1.0)]),
            Reply::Array(vec![text("b"), Reply::Float(2.5)]),
        ]);
        let map = Reply::Map(vec![(text("a"), text("1")), (text("b"), text("2.5"))]);
        let wanted = vec![("a".to_owned(), 1.0), ("b".to_owned(), 2.5)];
        for shape in [flat, nested, map] {
            let found = Vec::<(String, f64)>::from_reply(shape.clone()).unwrap();
            assert_eq!(found, wanted);
            let found = BTreeMap::<String, f64>::from_reply(shape).unwrap();
            assert_eq!(found.into_iter().collect::<Vec<_>>(), wanted);
        }
        assert_eq!(i64::from_reply(text("-7")).unwrap(), -7);
        assert_eq!(u8::from_reply(Reply::Int(255)).unwrap(), 255);
        assert!(u8::from_reply(Reply::Int(256)).is_err());
        assert!(bool::from_reply(Reply::Status("OK".into())).unwrap());
        assert!(!bool::from_reply(Reply::Nil).unwrap());
        assert_eq!(Option::<String>::from_reply(Reply::Nil).unwrap(), None);
        assert_eq!(Vec::<String>::from_reply(Reply::Nil).unwrap(), [""; 0]);
        assert_eq!(
            <(i64, Option<String>)>::from_reply(Reply::Array(vec![Reply::Int(1), Reply::Nil]))
                .unwrap(),
            (1, None)
        );
        let bytes = Raw::<Vec<u8>>::from_reply(Reply::Bytes(vec![0xff])).unwrap();
        assert_eq!(bytes.0, [0xff]);
        for error in [
            String::from_reply(Reply::Bytes(vec![0xff])).unwrap_err(),
            String::from_reply(Reply::Nil).unwrap_err(),
            f64::from_reply(text("one")).map(drop).unwrap_err(),
            <(i64, i64)>::from_reply(Reply::Array(vec![Reply::Int(1)])).unwrap_err(),
            Vec::<i64>::from_reply(Reply::Int(1)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Codec);
        }
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            Just(Reply::Nil),
            any::<i64>().prop_map(Reply::Int),
            any::<f64>().prop_map(Reply::Float),
            any::<bool>().prop_map(Reply::Bool),
            any::<String>().prop_map(Reply::Status),
            any::<Vec<u8>>().prop_map(Reply::Bytes),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Reply::Array),
                prop::collection::vec((inner.clone(), inner), 0..5).prop_map(Reply::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_reply_panics(reply in replies()) {
            let _ = Vec::<(String, f64)>::from_reply(reply.clone());
            let _ = HashMap::<String, Vec<i64>>::from_reply(reply.clone());
            let _ = <(u8, Option<bool>, Raw<Vec<u8>>)>::from_reply(reply.clone());
            let _ = Option::<HashSet<u64>>::from_reply(reply);
        }
    }
}
