//! Replies: the values of redis-rs, and errors with the server's text.

use std::borrow::Cow;
use std::fmt;

use redis::{ProtocolVersion, Value, VerbatimFormat};

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

    pub(crate) fn text(&self) -> &str {
        &self.0
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

/// A text for people: RESP2 has it as bytes.
pub(crate) fn text(protocol: ProtocolVersion, text: String) -> Value {
    match protocol {
        ProtocolVersion::RESP2 => Value::BulkString(text.into_bytes()),
        _ => Value::VerbatimString {
            format: VerbatimFormat::Text,
            text,
        },
    }
}

/// Values of which it is known how many there are.
pub(crate) fn values<V>(len: usize, values: impl Iterator<Item = V>) -> Vec<V> {
    let mut list = Vec::with_capacity(len);
    list.extend(values);
    list
}

/// Elements of which each is there once: RESP2 has them as an array.
pub(crate) fn set(protocol: ProtocolVersion, members: Vec<Value>) -> Value {
    match protocol {
        ProtocolVersion::RESP2 => Value::Array(members),
        _ => Value::Set(members),
    }
}

/// Names and their values: RESP2 has them in a row.
pub(crate) fn map(
    protocol: ProtocolVersion,
    pairs: impl IntoIterator<Item = (Value, Value)>,
) -> Value {
    let pairs = pairs.into_iter();
    match protocol {
        ProtocolVersion::RESP2 => {
            Value::Array(pairs.flat_map(|(name, value)| [name, value]).collect())
        }
        _ => Value::Map(pairs.collect()),
    }
}

/// A number with a fraction: RESP2 has it as text.
pub(crate) fn double(protocol: ProtocolVersion, number: f64) -> Value {
    match protocol {
        ProtocolVersion::RESP2 => bulk(double_text(number).as_bytes()),
        _ => Value::Double(number),
    }
}

/// A number as C's `%.17g` prints it.
pub(crate) fn double_text(number: f64) -> String {
    // What a double holds exactly, and prints without an exponent or a sign of zero.
    if number.abs() < 1e15 && number.fract() == 0.0 && (number != 0.0 || number.is_sign_positive())
    {
        return itoa::Buffer::new().format(number as i64).to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number.is_nan() {
        return "nan".to_owned();
    }
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let scientific = format!("{number:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..17).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(16 - exponent).unwrap_or(0);
    trim(&format!("{number:.decimals$}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_printed_with_seventeen_digits() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (2.3, "2.2999999999999998"),
            (0.1, "0.10000000000000001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (-123456789.125, "-123456789.125"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(double_text(number), text);
        }
    }

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
