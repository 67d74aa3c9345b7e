//! How ids are read from arguments.

use crate::keyspace::stream::Id;
use crate::reply::Error;

const INVALID: Error = Error::new("ERR Invalid stream ID specified as stream command argument");

/// Longer arguments are never ids.
const LONGEST: usize = 127;

/// An id, of which the number may be missing: then it is `missing`.
pub(super) fn id(arg: &[u8], missing: u64) -> Result<Id, Error> {
    let arg = whole(arg)?;
    let (ms, seq) = split(arg);
    let seq = seq.map_or(Some(missing), unsigned);
    with(ms, seq)
}

/// An id, or `-` or `+` for the least and the greatest.
pub(super) fn id_or_end(arg: &[u8], missing: u64) -> Result<Id, Error> {
    match whole(arg)? {
        b"-" => Ok(Id::MIN),
        b"+" => Ok(Id::MAX),
        _ => id(arg, missing),
    }
}

/// An id of which the number may be `*`; returns whether it is not.
pub(super) fn new_id(arg: &[u8]) -> Result<(Id, bool), Error> {
    match split(whole(arg)?) {
        (ms, Some(b"*")) => Ok((with(ms, Some(0))?, false)),
        _ => Ok((id(arg, 0)?, true)),
    }
}

/// The start of an interval; after `(`, the id itself is not in it.
pub(super) fn start(arg: &[u8]) -> Result<Id, Error> {
    const NOTHING: Error = Error::new("ERR invalid start ID for the interval");
    match arg {
        [b'(', rest @ ..] if !rest.is_empty() => id(rest, 0)?.next().ok_or(NOTHING),
        _ => id_or_end(arg, 0),
    }
}

/// The end of an interval; after `(`, the id itself is not in it.
pub(super) fn end(arg: &[u8]) -> Result<Id, Error> {
    const NOTHING: Error = Error::new("ERR invalid end ID for the interval");
    match arg {
        [b'(', rest @ ..] if !rest.is_empty() => id(rest, u64::MAX)?.previous().ok_or(NOTHING),
        _ => id_or_end(arg, u64::MAX),
    }
}

/// What a server looks at: nothing after a NUL byte.
fn whole(arg: &[u8]) -> Result<&[u8], Error> {
    if arg.len() > LONGEST {
        return Err(INVALID);
    }
    Ok(until_nul(arg))
}

pub(super) fn until_nul(arg: &[u8]) -> &[u8] {
    arg.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn split(arg: &[u8]) -> (&[u8], Option<&[u8]>) {
    match arg.iter().position(|byte| *byte == b'-') {
        Some(at) => (&arg[..at], Some(&arg[at + 1..])),
        None => (arg, None),
    }
}

fn with(ms: &[u8], seq: Option<u64>) -> Result<Id, Error> {
    match (unsigned(ms), seq) {
        (Some(ms), Some(seq)) => Ok(Id { ms, seq }),
        _ => Err(INVALID),
    }
}

/// A number as a server reads it: what is no number in canonical form may still be one for C's `strtoull`, with
/// spaces before it, a sign, or zeros.
fn unsigned(text: &[u8]) -> Option<u64> {
    if let Ok(number) = super::super::parse::integer(text) {
        return number.try_into().ok();
    }
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let from = text.iter().position(|byte| !is_space(byte))?;
    let (negative, digits) = match &text[from..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for digit in digits {
        let digit = char::from(*digit).to_digit(10)?;
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    Some(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: u64, seq: u64) -> Result<Id, Error> {
        Ok(Id { ms, seq })
    }

    #[test]
    fn ids_are_read_as_a_server_reads_them() {
        let max = u64::MAX;
        for (arg, read) in [
            ("1-2", of(1, 2)),
            ("5", of(5, 9)),
            ("007- 8", of(7, 8)),
            ("+7-+8", of(7, 8)),
            ("7--0", of(7, 0)),
            ("7--03", of(7, max - 2)),
            ("18446744073709551615-18446744073709551615", of(max, max)),
            ("1-2\0x", of(1, 2)),
        ] {
            assert_eq!(id(arg.as_bytes(), 9), read, "{arg}");
        }
        for arg in [
            "",
            "-",
            "+",
            "-1",
            "1-",
            "1-x",
            "x-1",
            "1 -1",
            "1-*",
            "1--3",
            "18446744073709551616",
            "*",
            "$",
            ">",
            "1-2-3",
            &"1".repeat(128),
        ] {
            assert_eq!(id(arg.as_bytes(), 9), Err(INVALID), "{arg}");
        }
    }

    #[test]
    fn an_interval_may_leave_out_its_ends() {
        assert_eq!(start(b"(1-2"), of(1, 3));
        assert_eq!(end(b"(1-0"), of(0, u64::MAX));
        assert_eq!((start(b"-"), end(b"+")), (Ok(Id::MIN), Ok(Id::MAX)));
        assert_eq!(end(b"3"), of(3, u64::MAX));
        assert_eq!(end(b"(3"), of(3, u64::MAX - 1));
        for arg in ["(-", "(+", "(", "(x"] {
            assert_eq!(start(arg.as_bytes()), Err(INVALID), "{arg}");
        }
        let last = Id::MAX.text();
        assert!(start(&[b"(", &last[..]].concat()).is_err());
        assert!(end(b"(0-0").is_err());
    }

    #[test]
    fn a_new_id_may_leave_its_number_to_the_stream() {
        let id = |ms, seq| Id { ms, seq };
        assert_eq!(new_id(b"3-*"), Ok((id(3, 0), false)));
        assert_eq!(new_id(b"3"), Ok((id(3, 0), true)));
        for arg in ["*-3", "*-*", "3-**", "-*"] {
            assert_eq!(new_id(arg.as_bytes()), Err(INVALID), "{arg}");
        }
    }
}
