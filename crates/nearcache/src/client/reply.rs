//! Parsing the reply that a command must return.

use redis::Value;

use crate::error::{Error, Result};

pub(crate) fn integer(command: &str, reply: &Value) -> Result<i64> {
    match reply {
        Value::Int(number) => Ok(*number),
        other => Err(Error::unexpected(command, other)),
    }
}

/// 1 or 0, as `EXISTS` and `EXPIRE` return.
pub(crate) fn flag(command: &str, reply: &Value) -> Result<bool> {
    Ok(integer(command, reply)? != 0)
}

pub(crate) fn count(command: &str, reply: &Value) -> Result<u64> {
    Ok(integer(command, reply)?.try_into().unwrap_or(0))
}

/// A string or nil.
pub(crate) fn bytes(command: &str, reply: Value) -> Result<Option<Vec<u8>>> {
    match reply {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        other => Err(Error::unexpected(command, &other)),
    }
}

/// OK, or nil if a condition was not met.
pub(crate) fn stored(command: &str, reply: &Value) -> Result<bool> {
    match reply {
        Value::Okay => Ok(true),
        Value::Nil => Ok(false),
        other => Err(Error::unexpected(command, other)),
    }
}
