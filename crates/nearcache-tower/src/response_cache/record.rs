//! A response as it is stored: its status, its fields, its body, and the request's fields that selected it.
//!
//! ```text
//! 'N' 'H' version(1) kind
//! kind 1, a response:
//!     generation(16) asked-at(8) answered-at(8) status(2)
//!     fields: count(2) { name-length(2) name value-length(4) value }
//!     selecting: count(2) { name-length(2) name present(1) value-length(4) value }
//!     trailers: present(1), and fields if they are
//!     tags: count(2) { length(4) tag }
//!     body: the rest
//! kind 2, pass: nothing follows
//! kind 3, alone: nothing follows; it is never stored
//! ```
//! Numbers are big-endian, times are Unix milliseconds.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::vary::{self, Selecting};

const MAGIC: [u8; 3] = [b'N', b'H', 1];

/// What is stored under the key of a page, or what a load tells those who wait for it.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are responses, and a box would be one more allocation for each"
)]
pub(super) enum Stored {
    Response(Record),
    /// Responses to such requests are not stored: each request asks the handler, and does not wait for others.
    Pass,
    /// This load has nothing for others. It says so to those who wait, and is not stored.
    Alone,
}

/// A stored response.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// Random, part of the keys of the page's other variants: who removes this record removes them all.
    pub(super) generation: [u8; 16],
    /// When the request was sent, in Unix milliseconds.
    pub(super) asked_at: u64,
    /// When the response came.
    pub(super) answered_at: u64,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) selecting: Selecting,
    pub(super) trailers: Option<HeaderMap>,
    /// What the response named: a later 304 need not name it again.
    pub(super) tags: Vec<String>,
    pub(super) body: Bytes,
}

impl Record {
    /// Whether it is a response to such a request.
    pub(super) fn is_for(&self, request: &HeaderMap) -> bool {
        vary::matches(&self.selecting, request)
    }
}

impl Stored {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        match self {
            Stored::Response(record) => {
                out.reserve(1024 + record.body.len());
                out.push(1);
                out.extend_from_slice(&record.generation);
                out.extend_from_slice(&record.asked_at.to_be_bytes());
                out.extend_from_slice(&record.answered_at.to_be_bytes());
                out.extend_from_slice(&record.status.as_u16().to_be_bytes());
                put_fields(&mut out, &record.headers);
                put_count(&mut out, record.selecting.len());
                for (name, value) in &record.selecting {
                    put_name(&mut out, name);
                    out.push(u8::from(value.is_some()));
                    put_value(&mut out, value.as_deref().unwrap_or_default());
                }
                out.push(u8::from(record.trailers.is_some()));
                if let Some(trailers) = &record.trailers {
                    put_fields(&mut out, trailers);
                }
                put_count(&mut out, record.tags.len());
                for tag in &record.tags {
                    put_value(&mut out, tag.as_bytes());
                }
                out.extend_from_slice(&record.body);
            }
            Stored::Pass => out.push(2),
            Stored::Alone => out.push(3),
        }
        out
    }

    /// `None` for bytes that are none of ours, or damaged.
    pub(super) fn decode(bytes: Vec<u8>) -> Option<Stored> {
        let bytes = Bytes::from(bytes);
        let mut rest = Reader {
            bytes: bytes.clone(),
        };
        if *rest.take(MAGIC.len())? != MAGIC {
            return None;
        }
        match rest.byte()? {
            1 => {
                let generation = rest.array()?;
                let asked_at = u64::from_be_bytes(rest.array()?);
                let answered_at = u64::from_be_bytes(rest.array()?);
                let status = StatusCode::from_u16(rest.short()?).ok()?;
                let headers = rest.fields()?;
                let mut selecting = Vec::new();
                for _ in 0..rest.short()? {
                    let name = rest.name()?;
                    let present = rest.byte()? == 1;
                    let value = rest.value()?.to_vec();
                    selecting.push((name, present.then_some(value)));
                }
                let trailers = match rest.byte()? {
                    0 => None,
                    _ => Some(rest.fields()?),
                };
                let mut tags = Vec::new();
                for _ in 0..rest.short()? {
                    tags.push(String::from_utf8(rest.value()?.to_vec()).ok()?);
                }
                Some(Stored::Response(Record {
                    generation,
                    asked_at,
                    answered_at,
                    status,
                    headers,
                    selecting,
                    trailers,
                    tags,
                    body: rest.bytes,
                }))
            }
            2 => Some(Stored::Pass),
            3 => Some(Stored::Alone),
            _ => None,
        }
    }
}

/// Whether these fields fit the form: a response that does not is not stored.
pub(super) fn fits(headers: &HeaderMap) -> bool {
    headers.len() <= usize::from(u16::MAX)
        && headers.iter().all(|(name, value)| {
            name.as_str().len() <= usize::from(u16::MAX) && value.len() <= 1 << 24
        })
}

fn put_fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    put_count(out, headers.len());
    for (name, value) in headers {
        put_name(out, name);
        put_value(out, value.as_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u16).to_be_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &HeaderName) {
    put_count(out, name.as_str().len());
    out.extend_from_slice(name.as_str().as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
}

struct Reader {
    bytes: Bytes,
}

impl Reader {
    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.bytes.len()).then(|| self.bytes.split_to(length))
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.as_ref().try_into().ok()
    }

    fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn name(&mut self) -> Option<HeaderName> {
        let length = self.short()?;
        HeaderName::from_bytes(&self.take(length.into())?).ok()
    }

    fn value(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(length as usize)
    }

    fn fields(&mut self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for _ in 0..self.short()? {
            let name = self.name()?;
            let value = HeaderValue::from_maybe_shared(self.value()?).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut headers = HeaderMap::new();
        headers.append("link", HeaderValue::from_static("</a>"));
        headers.append("link", HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append("empty", HeaderValue::from_static(""));
        let mut trailers = HeaderMap::new();
        trailers.append("sum", HeaderValue::from_static("7"));
        Record {
            generation: *b"0123456789abcdef",
            asked_at: 1_700_000_000_000,
            answered_at: 1_700_000_000_030,
            status: StatusCode::IM_A_TEAPOT,
            headers,
            selecting: vec![
                (HeaderName::from_static("accept"), Some(b"a,b".to_vec())),
                (HeaderName::from_static("foo"), None),
            ],
            trailers: Some(trailers),
            tags: vec!["news".to_owned()],
            body: Bytes::from_static(b"body"),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let none = Record {
            trailers: None,
            selecting: Vec::new(),
            tags: Vec::new(),
            body: Bytes::new(),
            ..record()
        };
        for stored in [
            Stored::Response(record()),
            Stored::Response(none),
            Stored::Pass,
            Stored::Alone,
        ] {
            assert_eq!(Stored::decode(stored.encode()), Some(stored));
        }
    }

    /// Other versions of this crate read these bytes.
    #[test]
    fn the_bytes_are_those_of_the_first_version() {
        let mut expected = b"NH\x01\x01".to_vec();
        expected.extend_from_slice(b"0123456789abcdef");
        expected.extend_from_slice(&1_700_000_000_000_u64.to_be_bytes());
        expected.extend_from_slice(&1_700_000_000_030_u64.to_be_bytes());
        expected.extend_from_slice(&418_u16.to_be_bytes());
        expected.extend_from_slice(b"\0\x03\0\x04link\0\0\0\x04</a>\0\x04link\0\0\0\x01\xff");
        expected.extend_from_slice(b"\0\x05empty\0\0\0\0");
        expected.extend_from_slice(b"\0\x02\0\x06accept\x01\0\0\0\x03a,b\0\x03foo\0\0\0\0\0");
        expected.extend_from_slice(b"\x01\0\x01\0\x03sum\0\0\0\x017");
        expected.extend_from_slice(b"\0\x01\0\0\0\x04newsbody");
        assert_eq!(Stored::Response(record()).encode(), expected);
        assert_eq!(Stored::Pass.encode(), b"NH\x01\x02");
    }

    #[test]
    fn damaged_bytes_are_nothing_and_no_panic() {
        let whole = Stored::Response(record()).encode();
        let body = whole.len() - 4;
        for length in 0..body {
            assert_eq!(Stored::decode(whole[..length].to_vec()), None, "{length}");
        }
        for place in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] ^= flip;
                // Whatever it is, it is read without a panic.
                let _ = Stored::decode(bytes);
            }
        }
        assert_eq!(Stored::decode(b"hello".to_vec()), None);
    }
}
