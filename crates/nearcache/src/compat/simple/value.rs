//! Plain data, as Python has it: what a value in the cache may be.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value as Json};

use super::Integer;
use crate::error::{Error, ErrorKind, Result};

/// A value: Python's plain data.
///
/// It is made from what it may hold (`7`, `"text"`, `vec![..]`, `true`, …), or by [`Value::of`] from whatever serde
/// serializes; [`Value::to`] is the way back.
///
/// Two values are equal if they are of one kind and hold the same. (`1`, `1.0` and `true` are three values here, and
/// NaN equals itself.) A dict is ordered by its keys, and not by when they were added.
///
/// ```
/// use nearcache::simple::Value;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct User { name: String, age: u8 }
///
/// let user = User { name: "Ada".into(), age: 36 };
/// let value = Value::of(&user)?; // a dict with the keys "name" and "age"
/// assert_eq!(value.get("age").and_then(Value::as_i64), Some(36));
/// assert_eq!(value.to::<User>(), Some(user));
/// assert_eq!(Value::from("text").as_str(), Some("text"));
/// # Ok::<(), nearcache::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An `int`, of any size.
    Int(Integer),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Str(String),
    /// `bytes`; a `bytearray` is read as this, too.
    Bytes(Vec<u8>),
    /// A `list`.
    List(Vec<Value>),
    /// A `tuple`.
    Tuple(Vec<Value>),
    /// A `dict`.
    Dict(BTreeMap<Value, Value>),
    /// A `set`.
    Set(BTreeSet<Value>),
    /// A `frozenset`.
    FrozenSet(BTreeSet<Value>),
}

impl Value {
    /// The value of anything that serde serializes, as JSON would have it: a struct is a dict, a tuple is a list, and a
    /// nothing is `None`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec): JSON cannot say it.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
        match serde_json::to_value(value) {
            Ok(json) => Ok(Value::from_json(json)),
            Err(error) => {
                let why = format!("as plain data: {error}");
                Err(Error::new(ErrorKind::Codec, why).caused_by(error))
            }
        }
    }

    /// The value as a type that serde deserializes; `None` if it is not of that shape. Bytes are numbers from 0 to 255
    /// then, sets and tuples are sequences, and the keys of a dict are text or numbers.
    pub fn to<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(self.to_json()?).ok()
    }

    pub(super) fn from_json(json: Json) -> Value {
        match json {
            Json::Null => Value::None,
            Json::Bool(is) => Value::Bool(is),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Value::from(number),
                (None, Some(number)) => Value::from(number),
                _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Str(text),
            Json::Array(items) => Value::List(items.into_iter().map(Value::from_json).collect()),
            Json::Object(map) => {
                let pair = |(key, value)| (Value::Str(key), Value::from_json(value));
                Value::Dict(map.into_iter().map(pair).collect())
            }
        }
    }

    /// `None` for what JSON cannot say: an integer beyond 64 bits, a float that is no number, a key that is neither text
    /// nor a number.
    pub(super) fn to_json(&self) -> Option<Json> {
        let list = |items: &mut dyn Iterator<Item = &Value>| {
            let items: Option<Vec<Json>> = items.map(Value::to_json).collect();
            items.map(Json::Array)
        };
        Some(match self {
            Value::None => Json::Null,
            Value::Bool(is) => Json::Bool(*is),
            Value::Int(number) => Json::Number(whole(number)?),
            Value::Float(number) => Json::Number(Number::from_f64(*number)?),
            Value::Str(text) => Json::String(text.clone()),
            Value::Bytes(bytes) => Json::from(bytes.as_slice()),
            Value::List(items) | Value::Tuple(items) => list(&mut items.iter())?,
            Value::Set(items) | Value::FrozenSet(items) => list(&mut items.iter())?,
            Value::Dict(dict) => {
                let mut map = Map::new();
                for (key, value) in dict {
                    let key = match key {
                        Value::Str(text) => text.clone(),
                        Value::Int(number) => number.to_string(),
                        _ => return None,
                    };
                    map.insert(key, value.to_json()?);
                }
                Json::Object(map)
            }
        })
    }

    /// Whether it is `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// The integer, if it is one and fits an `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The number as a float, if it is an integer or a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(number.as_f64()),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// `True` or `False`, if it is one of them.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(is) => Some(*is),
            _ => None,
        }
    }

    /// The text, if it is a `str`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if it is `bytes`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The value of a key, if it is a dict and has the key.
    pub fn get(&self, key: impl Into<Value>) -> Option<&Value> {
        match self {
            Value::Dict(dict) => dict.get(&key.into()),
            _ => None,
        }
    }

    /// The name of the kind, as Python has it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Set(_) => "set",
            Value::FrozenSet(_) => "frozenset",
        }
    }

    /// Whether Python lets it be the key of a dict, or in a set. Otherwise the kind that it does not let.
    #[cfg(feature = "pickle")]
    pub(super) fn unhashable(&self) -> Option<&'static str> {
        match self {
            Value::List(_) | Value::Dict(_) | Value::Set(_) => Some(self.kind()),
            Value::Tuple(items) => items.iter().find_map(Value::unhashable),
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::None => 0,
            Value::Bool(_) => 1,
            Value::Int(_) => 2,
            Value::Float(_) => 3,
            Value::Str(_) => 4,
            Value::Bytes(_) => 5,
            Value::List(_) => 6,
            Value::Tuple(_) => 7,
            Value::Dict(_) => 8,
            Value::Set(_) => 9,
            Value::FrozenSet(_) => 10,
        }
    }
}

fn whole(number: &Integer) -> Option<Number> {
    match number.as_i64() {
        Some(number) => Some(number.into()),
        None => number.to_decimal()?.parse::<u64>().ok().map(Number::from),
    }
}

/// By kind first.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
            (Value::Int(one), Value::Int(other)) => one.cmp(other),
            (Value::Float(one), Value::Float(other)) => match one.partial_cmp(other) {
                Some(order) => order,
                // NaN comes last, and equals itself.
                None => one.is_nan().cmp(&other.is_nan()),
            },
            (Value::Str(one), Value::Str(other)) => one.cmp(other),
            (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
            (Value::List(one), Value::List(other)) | (Value::Tuple(one), Value::Tuple(other)) => {
                one.cmp(other)
            }
            (Value::Dict(one), Value::Dict(other)) => one.cmp(other),
            (Value::Set(one), Value::Set(other))
            | (Value::FrozenSet(one), Value::FrozenSet(other)) => one.cmp(other),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

macro_rules! from {
    ($($type:ty => $kind:ident),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Value::$kind(value.into())
            }
        }
    )*};
}

from! {
    bool => Bool,
    i8 => Int, i16 => Int, i32 => Int, i64 => Int, i128 => Int, u8 => Int, u16 => Int, u32 => Int, u64 => Int,
    Integer => Int,
    f32 => Float, f64 => Float,
    &str => Str, String => Str,
    &[u8] => Bytes,
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::None, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    /// A list. (Bytes are [`Value::Bytes`], or a slice.)
    fn from(items: Vec<T>) -> Self {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<Value>, V: Into<Value>, const COUNT: usize> From<[(K, V); COUNT]> for Value {
    /// A dict.
    fn from(pairs: [(K, V); COUNT]) -> Self {
        let pair = |(key, value): (K, V)| (key.into(), value.into());
        Value::Dict(pairs.into_iter().map(pair).collect())
    }
}

impl<K: Into<Value>, V: Into<Value>> From<BTreeMap<K, V>> for Value {
    fn from(map: BTreeMap<K, V>) -> Self {
        let pair = |(key, value): (K, V)| (key.into(), value.into());
        Value::Dict(map.into_iter().map(pair).collect())
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Value::None
    }
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_made_from_what_they_hold() {
        assert_eq!(Value::from(None::<i32>), Value::None);
        assert_eq!(Value::from(()), Value::None);
        assert_eq!(Value::from(7_u8), Value::Int(7.into()));
        assert_eq!(Value::from(vec!["a"]), Value::List(vec!["a".into()]));
        assert_eq!(Value::from([("a", 1)]).get("a"), Some(&Value::from(1)));
        assert_eq!(Value::from(f64::NAN), Value::from(f64::NAN));
        assert_eq!(Value::from(0.0), Value::from(-0.0));
        assert_ne!(Value::from(1), Value::from(1.0));
        assert_ne!(Value::from(1), Value::from(true));
        assert!(Value::from(f64::NAN) > Value::from(f64::INFINITY));
        assert_eq!(Value::from(1.5).as_f64(), Some(1.5));
        assert_eq!(Value::from(true).as_bool(), Some(true));
        assert_eq!(Value::from(&b"x"[..]).as_bytes(), Some(&b"x"[..]));
    }

    #[test]
    fn what_serde_knows_goes_there_and_back() {
        let data = (
            1_u64 << 63,
            Some("x".to_owned()),
            vec![1.5, -2.0],
            BTreeMap::from([("k".to_owned(), false)]),
        );
        let value = Value::of(&data).unwrap();
        assert_eq!(value.to(), Some(data));
        assert_eq!(Value::from(7).to::<String>(), None);
        assert_eq!(Value::from(i128::MAX).to::<i128>(), None);
        assert_eq!(Value::from([((), 1)]).to::<BTreeMap<String, u8>>(), None);
        assert_eq!(
            Value::from([(5, 1)]).to(),
            Some(BTreeMap::from([(5_u8, 1_u8)]))
        );
        assert_eq!(
            Value::Set([1.into(), 2.into()].into()).to(),
            Some(vec![1, 2])
        );
        assert_eq!(
            Value::of(&BTreeMap::from([((1, 2), 3)]))
                .unwrap_err()
                .kind(),
            ErrorKind::Codec
        );
    }
}
