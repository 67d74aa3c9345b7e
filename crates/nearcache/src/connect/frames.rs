//! Where a reply ends, in bytes that come piece by piece; and its value, for the replies that a cache gets all the time.
//!
//! The format is RESP, in its versions 2 and 3: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//!
//! 1. However the bytes are cut into pieces, the same replies are found.
//! 2. What is found is what redis-rs reads from the same bytes.

use std::io;

#[cfg(feature = "blocking")]
use redis::RedisResult;
use redis::{RedisError, Value};

/// Longer than any length that a server has, and far from where adding would overflow.
const LONGEST: u64 = 1 << 48;

/// How deep replies are read here; deeper ones are left to redis-rs.
const DEEPEST: usize = 4;

/// The bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// How far a reply was looked at.
#[derive(Debug)]
pub(crate) struct Frames {
    /// How many bytes were looked at. May be more than are there, inside a text.
    seen: usize,
    /// How many values end it.
    needed: u64,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Frames { seen: 0, needed: 1 }
    }

    /// The length of the first reply, once all of it is there. Asked again, with more bytes behind the same ones, it
    /// goes on where it was.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        while self.needed > 0 {
            let Some(rest) = bytes.get(self.seen..) else {
                return Ok(None);
            };
            let Some((kind, number, length)) = header(rest)? else {
                return Ok(None);
            };
            self.seen += length;
            let inside = match (kind, number) {
                (b'$' | b'!' | b'=', Some(text)) => {
                    self.seen += text as usize + 2;
                    0
                }
                (b'*' | b'~' | b'>', Some(values)) => values,
                (b'%', Some(pairs)) => 2 * pairs,
                // It stands before the value that it is about.
                (b'|', Some(pairs)) => 2 * pairs + 1,
                _ => 0,
            };
            self.needed = (self.needed - 1).saturating_add(inside);
        }
        if self.seen > bytes.len() {
            return Ok(None);
        }
        let length = self.seen;
        *self = Frames::new();
        Ok(Some(length))
    }
}

/// What was read of a blocking stream, and has not been looked at.
#[cfg(feature = "blocking")]
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    /// What of it is there, and what was looked at.
    filled: usize,
    looked: usize,
    frames: Frames,
}

#[cfg(feature = "blocking")]
impl Incoming {
    /// How much is read at once, at least.
    const READ: usize = 8 << 10;

    /// A buffer that has grown beyond that for something large does not stay.
    const KEPT: usize = 1 << 20;

    pub(super) fn new() -> Self {
        Incoming {
            bytes: Vec::new(),
            filled: 0,
            looked: 0,
            frames: Frames::new(),
        }
    }

    /// The next reply. If reading fails in the middle of one, then what is there is kept, and the next try goes on.
    #[inline]
    pub(super) fn next(&mut self, stream: &mut impl io::Read) -> RedisResult<Value> {
        loop {
            let unseen = &self.bytes[self.looked..self.filled];
            match self.frames.next(unseen) {
                Ok(Some(length)) => {
                    let value = value(&unseen[..length]);
                    self.looked += length;
                    if self.looked == self.filled {
                        (self.looked, self.filled) = (0, 0);
                        if self.bytes.len() > Self::KEPT {
                            self.bytes = Vec::new();
                        }
                    }
                    return value;
                }
                Ok(None) => self.fill(stream)?,
                Err(Broken) => return Err(why_broken(unseen)),
            }
        }
    }

    fn fill(&mut self, stream: &mut impl io::Read) -> RedisResult<()> {
        if self.looked > 0 {
            self.bytes.copy_within(self.looked..self.filled, 0);
            self.filled -= self.looked;
            self.looked = 0;
        }
        if self.bytes.len() - self.filled < Self::READ / 2 {
            // What a reply still needs may be much, or may never come: so it grows with what is there.
            self.bytes
                .resize(self.filled + self.filled.max(Self::READ), 0);
        }
        match stream.read(&mut self.bytes[self.filled..])? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => {
                self.filled += count;
                Ok(())
            }
        }
    }
}

/// What is wrong with bytes that are no reply.
pub(super) fn why_broken(bytes: &[u8]) -> RedisError {
    let why = redis::parse_redis_value(bytes).err();
    why.filter(RedisError::is_unrecoverable_error)
        .unwrap_or_else(|| io::Error::from(io::ErrorKind::InvalidData).into())
}

/// The kind of a value, the number after it (`None`: it is nothing, or the kind has none), and the length of its first
/// line; once the line is there.
#[inline]
fn header(bytes: &[u8]) -> Result<Option<(u8, Option<u64>, usize)>, Broken> {
    let Some((&kind, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    match kind {
        b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => {}
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
            return match rest.iter().position(|byte| *byte == b'\n') {
                None => Ok(None),
                Some(end) if rest[..end].ends_with(b"\r") => Ok(Some((kind, None, end + 2))),
                Some(_) => Err(Broken),
            };
        }
        _ => return Err(Broken),
    }
    let (mut number, mut digits) = (0, 0);
    for (place, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' if number < LONGEST => {
                number = number * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b'\r' if digits > 0 => {
                return match rest.get(place + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((kind, Some(number), place + 3))),
                    Some(_) => Err(Broken),
                };
            }
            b'-' if place == 0 && matches!(kind, b'$' | b'*') => {
                return match rest.get(..4) {
                    Some(b"-1\r\n") => Ok(Some((kind, None, 5))),
                    Some(_) => Err(Broken),
                    None => Ok(None),
                };
            }
            _ => return Err(Broken),
        }
    }
    Ok(None)
}

/// The value of a whole reply.
pub(crate) fn value(frame: &[u8]) -> Result<Value, RedisError> {
    match read(frame, 0) {
        Some((value, length)) if length == frame.len() => Ok(value),
        _ => redis::parse_redis_value(frame),
    }
}

/// The first value, and its length; `None` if redis-rs is to read the whole.
#[inline]
fn read(bytes: &[u8], depth: usize) -> Option<(Value, usize)> {
    let (kind, number, length) = header(bytes).ok()??;
    let line = || bytes.get(1..length - 2);
    Some(match (kind, number) {
        (b'$', Some(text)) => {
            let end = length.checked_add(usize::try_from(text).ok()?)?;
            let text = bytes.get(length..end)?;
            if bytes.get(end..end + 2)? != b"\r\n" {
                return None;
            }
            (Value::BulkString(text.to_vec()), end + 2)
        }
        (b'$' | b'*', None) => (Value::Nil, length),
        (b'_', _) if length == 3 => (Value::Nil, length),
        (b'+', _) => match line()? {
            b"OK" => (Value::Okay, length),
            text => (
                Value::SimpleString(str::from_utf8(text).ok()?.to_owned()),
                length,
            ),
        },
        (b':', _) => {
            let number = str::from_utf8(line()?).ok()?.parse().ok()?;
            (Value::Int(number), length)
        }
        (b'*', Some(count)) if depth < DEEPEST => {
            // No more than there is room for: each takes three bytes at least.
            let count = usize::try_from(count).ok()?;
            let mut values = Vec::with_capacity(count.min(bytes.len() / 3));
            let mut end = length;
            for _ in 0..count {
                let (value, length) = read(bytes.get(end..)?, depth + 1)?;
                values.push(value);
                end += length;
            }
            (Value::Array(values), end)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every kind of reply, nothing among them.
    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let text = || proptest::collection::vec(any::<u8>(), 0..20);
        let line = || "[a-zA-Z ]{0,12}";
        let with = |kind: &'static str| {
            move |text: Vec<u8>| {
                let mut bytes = format!("{kind}{}\r\n", text.len()).into_bytes();
                bytes.extend(text);
                bytes.extend(b"\r\n");
                bytes
            }
        };
        let leaf = prop_oneof![
            text().prop_map(with("$")),
            text().prop_map(with("$")),
            line().prop_map(|line| format!("+{line}\r\n").into_bytes()),
            line().prop_map(|line| format!("-ERR {line}\r\n").into_bytes()),
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            any::<bool>().prop_map(|yes| format!("#{}\r\n", if yes { 't' } else { 'f' }).into()),
            (-1000..1000_i32).prop_map(|number| format!(",{number}.5\r\n").into_bytes()),
            line()
                .prop_map(|line| { format!("={}\r\ntxt:{line}\r\n", line.len() + 4).into_bytes() }),
            line().prop_map(|line| format!("!{}\r\nERR {line}\r\n", line.len() + 4).into_bytes()),
            Just(b"+OK\r\n".to_vec()),
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
            Just(b"_\r\n".to_vec()),
            Just(b"(12345678901234567890\r\n".to_vec()),
        ];
        leaf.prop_recursive(5, 40, 6, move |inside| {
            let many = |kind: char, each: usize| {
                move |values: Vec<Vec<u8>>| {
                    let values = &values[..values.len() / each * each];
                    let mut bytes = format!("{kind}{}\r\n", values.len() / each).into_bytes();
                    bytes.extend(values.concat());
                    bytes
                }
            };
            let values = || proptest::collection::vec(inside.clone(), 0..6);
            prop_oneof![
                values().prop_map(many('*', 1)),
                values().prop_map(many('*', 1)),
                values().prop_map(many('~', 1)),
                values().prop_map(many('%', 2)),
                (values(), inside.clone()).prop_map(move |(values, value)| {
                    let mut bytes = many('|', 2)(values);
                    bytes.extend(value);
                    bytes
                }),
            ]
        })
    }

    /// All replies that are found when the bytes come in these pieces.
    fn found(bytes: &[u8], mut cuts: Vec<usize>) -> Vec<Vec<u8>> {
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let (mut frames, mut start, mut found) = (Frames::new(), 0, Vec::new());
        for cut in cuts {
            while let Some(length) = frames.next(&bytes[start..cut]).unwrap() {
                found.push(bytes[start..start + length].to_vec());
                start += length;
            }
        }
        assert_eq!(start, bytes.len(), "all of it was found");
        found
    }

    proptest! {
        #[test]
        fn invariant_1_and_2_replies_are_found_however_they_are_cut_and_read_as_redis_rs_reads_them(
            replies in proptest::collection::vec(reply(), 0..6),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        ) {
            let bytes = replies.concat();
            let cuts = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            prop_assert_eq!(&found(&bytes, cuts), &replies);
            for reply in &replies {
                prop_assert_eq!(value(reply), redis::parse_redis_value(reply));
            }
        }

        #[cfg(feature = "blocking")]
        #[test]
        fn invariant_1_a_stream_is_read_in_whatever_pieces_it_comes(
            replies in proptest::collection::vec(reply(), 1..6),
            piece in 1..40_usize,
        ) {
            struct Pieces<'b>(&'b [u8], usize);
            impl io::Read for Pieces<'_> {
                fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                    let count = self.0.len().min(self.1).min(into.len());
                    io::Read::read(&mut self.0, &mut into[..count])
                }
            }
            let bytes = replies.concat();
            let (mut stream, mut incoming) = (Pieces(&bytes, piece), Incoming::new());
            for reply in &replies {
                prop_assert_eq!(incoming.next(&mut stream), redis::parse_redis_value(reply));
            }
            let end = incoming.next(&mut stream).unwrap_err();
            prop_assert!(end.is_unrecoverable_error());
        }

        #[test]
        fn garbage_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut frames = Frames::new();
            if let Ok(Some(length)) = frames.next(&bytes) {
                prop_assert_eq!(
                    value(&bytes[..length]).ok(),
                    redis::parse_redis_value(&bytes[..length]).ok()
                );
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_found_early() {
        for broken in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"$x\r\n",
            b"$-2\r\n",
            b"*99999999999999999999\r\n",
            b"$5\rxhello\r\n",
            b"\0",
            b"+OK\n",
            b"*2\r\n:1\r\n?",
        ] {
            let mut frames = Frames::new();
            assert_eq!(frames.next(broken), Err(Broken), "{broken:?}");
        }
        // A reply that never ends is none yet, whatever it says of its size.
        for open in [
            &b"*99999999999999\r\n"[..],
            b"$99999999999999\r\nabc",
            b"+OK",
            b"$5",
        ] {
            assert_eq!(Frames::new().next(open), Ok(None), "{open:?}");
        }
    }
}
