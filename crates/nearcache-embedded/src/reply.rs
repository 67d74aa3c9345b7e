//! Replies: the values of redis-rs, and errors with the server's text.

use std::borrow::Cow;
use std::fmt;

use redis::Value;

/// The result of a command.
pub(crate) type Reply = Result<Value, Error>;

/// An error in a server's form: a code, a space, and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error(Cow<'static, str>);

impl Error {
    pub(crate) const SYNTAX: Error = Error::new("ERR syntax error");
    pub(crate) const WRONG_TYPE: Error =
        Error::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub(crate) const NOT_AN_INTEGER: Error =
        Error::new("ERR value is not an integer or out of range");
    pub(crate) const NOT_A_FLOAT: Error = Error::new("ERR value is not a valid float");
    pub(crate) const NO_SUCH_KEY: Error = Error::new("ERR no such key");
    pub(crate) const DB_OUT_OF_RANGE: Error = Error::new("ERR DB index is out of range");
    pub(crate) const OUT_OF_MEMORY: Error =
        Error::new("OOM command not allowed when used memory > 'maxmemory'.");
    pub(crate) const STRING_TOO_LONG: Error =
        Error::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

    pub(crate) const fn new(text: &'static str) -> Self {
        Error(Cow::Borrowed(text))
    }

    /// The error as redis-rs has it. This is slow, because it goes through redis-rs's parser, which is the only way
    /// to make one.
    #[cold]
    pub(crate) fn into_value(self) -> Value {
        // One line, whatever is quoted in it, as a server sends it.
        let line = format!("-{}\r\n", self.0.replace(['\r', '\n'], " "));
        redis::parse_redis_value(line.as_bytes()).unwrap_or(Value::Nil)
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Error(Cow::Owned(text))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[inline]
pub(crate) fn value(reply: Reply) -> Value {
    reply.unwrap_or_else(Error::into_value)
}

#[inline]
pub(crate) fn bulk(bytes: &[u8]) -> Value {
    Value::BulkString(bytes.to_vec())
}

pub(crate) fn bulk_or_nil(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Nil, bulk)
}

/// A count.
pub(crate) fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Yes or no, as 1 or 0.
pub(crate) fn truth(yes: bool) -> Value {
    Value::Int(i64::from(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_one_line_whatever_it_quotes() {
        let Value::ServerError(error) = Error::from("ERR no\r\n+OK\r\n".to_owned()).into_value()
        else {
            panic!("not an error");
        };
        assert_eq!((error.code(), error.details()), ("ERR", Some("no  +OK  ")));
    }
}
