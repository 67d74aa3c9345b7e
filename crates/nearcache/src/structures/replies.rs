//! Parsing the replies of structures. RESP2 and RESP3 have different shapes for the same answer: a set, a map or pairs
//! may come as one flat list.

use redis::Value;

use super::member::Member;
use crate::client::reply;
use crate::error::{Error, Result};

/// The first reply, of a write with one command.
pub(crate) fn first(replies: Vec<Value>) -> Value {
    replies.into_iter().next().unwrap_or(Value::Nil)
}

/// The sum of the counts of all parts.
pub(crate) fn sum(command: &'static str) -> impl FnOnce(Vec<Value>) -> Result<u64> + Send {
    move |replies| replies.iter().map(|one| reply::count(command, one)).sum()
}

/// 1 or 0.
pub(crate) fn flag(command: &'static str) -> impl FnOnce(Vec<Value>) -> Result<bool> + Send {
    move |replies| reply::flag(command, &first(replies))
}

/// The elements of a list or a set; none for nil.
pub(crate) fn list(command: &str, value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        other => Err(Error::unexpected(command, &other)),
    }
}

/// One element, or nil.
pub(crate) fn member<T: Member>(command: &str, value: Value) -> Result<Option<T>> {
    reply::bytes(command, value)?
        .map(T::from_member)
        .transpose()
}

/// Several elements, each of which is there.
pub(crate) fn members<T: Member>(command: &str, value: Value) -> Result<Vec<T>> {
    let present = |value| match value {
        Value::BulkString(bytes) => T::from_member(bytes),
        other => Err(Error::unexpected(command, &other)),
    };
    list(command, value)?.into_iter().map(present).collect()
}

/// Pairs: as a map, as lists of two, or as one flat list.
pub(crate) fn pairs(command: &str, value: Value) -> Result<Vec<(Vec<u8>, Value)>> {
    let named = |(name, value): (Value, Value)| match name {
        Value::BulkString(name) => Ok((name, value)),
        other => Err(Error::unexpected(command, &other)),
    };
    if let Value::Map(pairs) = value {
        return pairs.into_iter().map(named).collect();
    }
    let mut values = list(command, value)?.into_iter();
    let mut pairs = Vec::with_capacity(values.len());
    while let Some(value) = values.next() {
        let pair = match value {
            Value::Array(inner) => {
                let mut inner = inner.into_iter();
                (inner.next(), inner.next())
            }
            value => (Some(value), values.next()),
        };
        match pair {
            (Some(name), Some(value)) => pairs.push(named((name, value))?),
            (name, _) => return Err(Error::unexpected(command, &name.unwrap_or(Value::Nil))),
        }
    }
    Ok(pairs)
}

/// A number with a point, as RESP2 and RESP3 write it; `None` for nil.
pub(crate) fn float(command: &str, value: &Value) -> Result<Option<f64>> {
    let number = match value {
        Value::Nil => return Ok(None),
        Value::Double(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::BulkString(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok()),
        _ => None,
    };
    number
        .map(Some)
        .ok_or_else(|| Error::unexpected(command, value))
}

/// A number that is there.
pub(crate) fn some_float(command: &str, value: &Value) -> Result<f64> {
    float(command, value)?.ok_or_else(|| Error::unexpected(command, value))
}

/// Elements with their scores.
pub(crate) fn scored<T: Member>(command: &str, value: Value) -> Result<Vec<(T, f64)>> {
    let pairs = pairs(command, value)?.into_iter();
    pairs
        .map(|(member, score)| Ok((T::from_member(member)?, some_float(command, &score)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn pairs_are_alike_in_every_shape() {
        let wanted = [("a".to_owned(), 1.0), ("b".to_owned(), f64::NEG_INFINITY)];
        let flat = Value::Array(vec![text("a"), text("1"), text("b"), text("-inf")]);
        let nested = Value::Array(vec![
            Value::Array(vec![text("a"), Value::Double(1.0)]),
            Value::Array(vec![text("b"), Value::Double(f64::NEG_INFINITY)]),
        ]);
        let map = Value::Map(vec![(text("a"), Value::Int(1)), (text("b"), text("-inf"))]);
        for shape in [flat, nested, map] {
            assert_eq!(scored::<String>("X", shape).unwrap(), wanted);
        }
        assert_eq!(scored::<String>("X", Value::Nil).unwrap(), []);
        for wrong in [
            Value::Int(1),
            Value::Array(vec![text("a")]),
            Value::Array(vec![Value::Array(vec![text("a")])]),
            Value::Array(vec![text("a"), Value::Nil]),
            Value::Array(vec![text("a"), text("one")]),
            Value::Array(vec![Value::Nil, text("1")]),
        ] {
            assert!(scored::<String>("X", wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
