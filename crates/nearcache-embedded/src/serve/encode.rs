//! Writes replies in the form of RESP2 or RESP3, straight into the output buffer.
//!
//! redis-rs has one nil. RESP2 has two, and which of them a server sends depends on the command: see [`Nils`].

use redis::{ProtocolVersion, PushKind, Value, VerbatimFormat};

use crate::reply::{Error, Reply};
use crate::resp::{self, bulk, header};

/// Which nils of a reply are null arrays in RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nils {
    /// None: they stand for strings.
    Strings,
    /// All of them.
    Arrays,
    /// Only a nil that is the last element of the reply.
    Last,
    /// The reply to `EXEC`: the nil in its place is an array, and each reply in it has nils of its own.
    Each(Vec<Nils>),
}

/// Appends a reply.
#[inline]
pub(crate) fn reply(out: &mut Vec<u8>, protocol: ProtocolVersion, nils: &Nils, reply: &Reply) {
    match reply {
        Ok(value) => encode(out, protocol, nils, value),
        Err(error) => self::error(out, error),
    }
}

/// Appends an error, in one line.
pub(crate) fn error(out: &mut Vec<u8>, error: &Error) {
    error_line(out, &error.to_string());
}

fn error_line(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    line(out, text.as_bytes());
}

/// A line that stays one.
fn line(out: &mut Vec<u8>, text: &[u8]) {
    let plain = |byte: u8| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            byte
        }
    };
    out.extend(text.iter().map(|byte| plain(*byte)));
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn number(out: &mut Vec<u8>, marker: u8, number: i64) {
    out.push(marker);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a value.
#[inline]
pub(crate) fn encode(out: &mut Vec<u8>, protocol: ProtocolVersion, nils: &Nils, value: &Value) {
    match value {
        Value::BulkString(bytes) => bulk(out, bytes),
        Value::Okay => out.extend_from_slice(b"+OK\r\n"),
        Value::Int(int) => number(out, b':', *int),
        Value::Nil if protocol != ProtocolVersion::RESP2 => out.extend_from_slice(b"_\r\n"),
        Value::Nil => out.extend_from_slice(match nils {
            Nils::Strings | Nils::Last => b"$-1\r\n",
            _ => b"*-1\r\n",
        }),
        Value::SimpleString(text) => {
            out.push(b'+');
            line(out, text.as_bytes());
        }
        Value::Array(values) => array(out, protocol, nils, values),
        _ => rare(out, protocol, nils, value),
    }
}

fn array(out: &mut Vec<u8>, protocol: ProtocolVersion, nils: &Nils, values: &[Value]) {
    header(out, b'*', values.len());
    match nils {
        Nils::Each(each) => {
            let each = each.iter().chain(std::iter::repeat(&Nils::Strings));
            for (value, nils) in values.iter().zip(each) {
                encode(out, protocol, nils, value);
            }
        }
        Nils::Last => {
            for (at, value) in values.iter().enumerate() {
                let is_last = at + 1 == values.len();
                let nils = if is_last { Nils::Arrays } else { Nils::Strings };
                encode(out, protocol, &nils, value);
            }
        }
        nils => {
            for value in values {
                encode(out, protocol, nils, value);
            }
        }
    }
}

fn rare(out: &mut Vec<u8>, protocol: ProtocolVersion, nils: &Nils, value: &Value) {
    let resp2 = protocol == ProtocolVersion::RESP2;
    let all = |out: &mut Vec<u8>, values: &[Value]| {
        for value in values {
            encode(out, protocol, nils, value);
        }
    };
    match value {
        Value::Map(pairs) => {
            if resp2 {
                header(out, b'*', pairs.len().saturating_mul(2));
            } else {
                header(out, b'%', pairs.len());
            }
            for (key, value) in pairs {
                encode(out, protocol, nils, key);
                encode(out, protocol, nils, value);
            }
        }
        Value::Set(values) => {
            header(out, if resp2 { b'*' } else { b'~' }, values.len());
            all(out, values);
        }
        Value::Double(double) => resp::double(out, protocol, *double),
        Value::Boolean(yes) if resp2 => number(out, b':', i64::from(*yes)),
        Value::Boolean(yes) => out.extend_from_slice(if *yes { b"#t\r\n" } else { b"#f\r\n" }),
        Value::VerbatimString { text, .. } if resp2 => bulk(out, text.as_bytes()),
        Value::VerbatimString { format, text } => {
            let format = match format {
                VerbatimFormat::Markdown => "mkd",
                VerbatimFormat::Text => "txt",
                VerbatimFormat::Unknown(other) => other.as_str(),
                _ => "txt",
            };
            header(out, b'=', text.len() + 4);
            out.extend_from_slice(format.as_bytes());
            out.push(b':');
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Value::Push { kind, data } => {
            header(out, if resp2 { b'*' } else { b'>' }, data.len() + 1);
            bulk(out, push_name(kind).as_bytes());
            all(out, data);
        }
        Value::ServerError(error) => {
            error_line(
                out,
                &match error.details() {
                    Some(details) => format!("{} {details}", error.code()),
                    None => error.code().to_owned(),
                },
            );
        }
        Value::Attribute { data, .. } => encode(out, protocol, nils, data),
        _ => encode(out, protocol, nils, &Value::Nil),
    }
}

fn push_name(kind: &PushKind) -> String {
    match kind {
        PushKind::Disconnection => "disconnection".to_owned(),
        PushKind::Other(name) => name.clone(),
        PushKind::Invalidate => "invalidate".to_owned(),
        PushKind::Message => "message".to_owned(),
        PushKind::PMessage => "pmessage".to_owned(),
        PushKind::SMessage => "smessage".to_owned(),
        PushKind::Unsubscribe => "unsubscribe".to_owned(),
        PushKind::PUnsubscribe => "punsubscribe".to_owned(),
        PushKind::SUnsubscribe => "sunsubscribe".to_owned(),
        PushKind::Subscribe => "subscribe".to_owned(),
        PushKind::PSubscribe => "psubscribe".to_owned(),
        PushKind::SSubscribe => "ssubscribe".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(protocol: ProtocolVersion, nils: &Nils, value: &Value) -> String {
        let mut out = Vec::new();
        encode(&mut out, protocol, nils, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_protocol_has_its_forms() {
        let value = Value::Array(vec![
            Value::Nil,
            Value::Map(vec![(Value::Int(1), Value::Double(1.5))]),
            Value::Set(vec![Value::Boolean(true)]),
            Value::SimpleString("a\r\nb".to_owned()),
        ]);
        let [two, three] = [ProtocolVersion::RESP2, ProtocolVersion::RESP3];
        assert_eq!(
            encoded(two, &Nils::Strings, &value),
            "*4\r\n$-1\r\n*2\r\n:1\r\n$3\r\n1.5\r\n*1\r\n:1\r\n+a  b\r\n"
        );
        assert_eq!(
            encoded(three, &Nils::Strings, &value),
            "*4\r\n_\r\n%1\r\n:1\r\n,1.5\r\n~1\r\n#t\r\n+a  b\r\n"
        );
    }

    #[test]
    fn nils_of_a_transaction_are_those_of_its_commands() {
        let nils = Nils::Each(vec![Nils::Strings, Nils::Arrays]);
        let value = Value::Array(vec![Value::Nil, Value::Nil, Value::Nil]);
        assert_eq!(
            encoded(ProtocolVersion::RESP2, &nils, &value),
            "*3\r\n$-1\r\n*-1\r\n$-1\r\n"
        );
        assert_eq!(
            encoded(ProtocolVersion::RESP2, &nils, &Value::Nil),
            "*-1\r\n"
        );
    }
}
