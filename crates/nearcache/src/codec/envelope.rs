//! The envelope: a header before the bytes of an entry that needs one. It says when the value becomes stale, how long
//! it took to load, its tags, its format and its compression. `docs/wire-format.md` describes it byte by byte.
//!
//! 1. An entry that needs no header is the serializer's plain bytes, which every other program can read.
//! 2. No JSON, text, integer, MessagePack or pickle begins like an envelope. A user's bytes that do are stored in an
//!    envelope that says nothing else.
//! 3. An envelope that is not understood completely (another version, an unknown flag, cut short) is unreadable: it
//!    is never taken for a value, and never causes a panic.

use std::borrow::Cow;
use std::time::Duration;

use super::compression::Algorithm;
use super::{Body, Form, Format, Packing};
use crate::keyspace::MAX_TAG;

/// A byte that begins no UTF-8 and that MessagePack never uses, then `NC`.
pub(crate) const MAGIC: [u8; 3] = [0xC1, b'N', b'C'];

const VERSION: u8 = 1;

/// Where the time stands at which the value becomes stale, if it is given.
pub(crate) const SOFT_FIELD: std::ops::Range<usize> = 5..13;

/// Stands for a value that has such a time and never becomes stale.
pub(crate) const NEVER: u64 = u64::MAX;

/// Flags, in the order of the fields that they announce.
const SOFT: u8 = 1 << 0;
const LOAD: u8 = 1 << 1;
const TAGS: u8 = 1 << 2;
const FORMAT: u8 = 1 << 3;
const PACKED: u8 = 1 << 4;
const KNOWN: u8 = SOFT | LOAD | TAGS | FORMAT | PACKED;

/// The maximum number of tags of an entry.
pub(crate) const MAX_TAGS: usize = 64;

/// A tag's version. It is random, so that a version never occurs twice, not even after an eviction.
pub(crate) type Version = [u8; 16];

/// The contents of an envelope, except the form of the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// When the value becomes stale, in Unix milliseconds.
    pub(crate) soft: Option<u64>,
    /// How long it took to load, in whole microseconds.
    pub(crate) load: Option<Duration>,
    /// Its tags, each with the version that it had before the value was loaded.
    pub(crate) tags: Vec<(Vec<u8>, Version)>,
}

/// The bytes begin like an envelope, but are not a readable one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Another version of nearcache wrote it, or another program.
    Unknown,
    /// It is ours, and broken.
    Damaged,
}

impl Head {
    fn says_nothing(&self) -> bool {
        self.soft.is_none() && self.load.is_none() && self.tags.is_empty()
    }

    /// The entry: the body, after this header if one is needed.
    pub(crate) fn seal<'b>(&self, body: &'b Body) -> Cow<'b, [u8]> {
        self.seal_as(body.form, &body.bytes)
    }

    /// The same for bytes in this form.
    pub(crate) fn seal_as<'b>(&self, form: Form, body: &'b [u8]) -> Cow<'b, [u8]> {
        if self.says_nothing() && form.is_plain(body) && !body.starts_with(&MAGIC) {
            return Cow::Borrowed(body);
        }
        let tags: usize = self.tags.iter().map(|(tag, _)| tag.len() + 18).sum();
        let mut bytes = Vec::with_capacity(24 + tags + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        bytes.push(
            flag(self.soft.is_some(), SOFT)
                | flag(self.load.is_some(), LOAD)
                | flag(!self.tags.is_empty(), TAGS)
                | flag(form.format != Format::Json, FORMAT)
                | flag(form.packing.is_some(), PACKED),
        );
        if let Some(soft) = self.soft {
            bytes.extend_from_slice(&soft.to_be_bytes());
        }
        if let Some(load) = self.load {
            let micros = u32::try_from(load.as_micros()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&micros.to_be_bytes());
        }
        if !self.tags.is_empty() {
            debug_assert!(self.tags.len() <= MAX_TAGS);
            bytes.push(self.tags.len() as u8);
            for (tag, version) in &self.tags {
                bytes.extend_from_slice(&(tag.len() as u16).to_be_bytes());
                bytes.extend_from_slice(tag);
                bytes.extend_from_slice(version);
            }
        }
        if form.format != Format::Json {
            bytes.push(form.format.id());
        }
        if let Some(Packing { algorithm, length }) = form.packing {
            bytes.push(algorithm.id());
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        bytes.extend_from_slice(body);
        Cow::Owned(bytes)
    }

    /// The header, the form of the body, and where the body begins; `None` for plain bytes.
    pub(crate) fn open(bytes: &[u8]) -> Result<Option<(Head, Form, usize)>, Unreadable> {
        if !bytes.starts_with(&MAGIC) {
            return Ok(None);
        }
        let mut rest = Rest(&bytes[MAGIC.len()..]);
        let [version, flags] = rest.array().map_err(|_| Unreadable::Unknown)?;
        if version != VERSION || flags & !KNOWN != 0 {
            return Err(Unreadable::Unknown);
        }
        let mut head = Head::default();
        if flags & SOFT != 0 {
            head.soft = Some(u64::from_be_bytes(rest.array()?));
        }
        if flags & LOAD != 0 {
            let micros = u32::from_be_bytes(rest.array()?);
            head.load = Some(Duration::from_micros(micros.into()));
        }
        if flags & TAGS != 0 {
            let [count] = rest.array()?;
            if count == 0 || usize::from(count) > MAX_TAGS {
                return Err(Unreadable::Damaged);
            }
            for _ in 0..count {
                let length = usize::from(u16::from_be_bytes(rest.array()?));
                if length == 0 || length > MAX_TAG {
                    return Err(Unreadable::Damaged);
                }
                let tag = rest.take(length)?.to_vec();
                head.tags.push((tag, rest.array()?));
            }
        }
        let mut form = Form::default();
        if flags & FORMAT != 0 {
            let [id] = rest.array()?;
            // JSON is the format of plain bytes, so an envelope never names it.
            let format = Format::from_id(id).filter(|format| *format != Format::Json);
            form.format = format.ok_or(Unreadable::Unknown)?;
        }
        if flags & PACKED != 0 {
            let [id] = rest.array()?;
            form.packing = Some(Packing {
                algorithm: Algorithm::from_id(id).ok_or(Unreadable::Unknown)?,
                length: u32::from_be_bytes(rest.array()?),
            });
        }
        Ok(Some((head, form, bytes.len() - rest.0.len())))
    }
}

/// The bytes that are not yet read.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(head: &Head, body: &[u8]) -> Vec<u8> {
        head.seal(&Body::plain(body)).into_owned()
    }

    #[test]
    fn an_entry_of_which_nothing_is_to_be_said_is_its_plain_bytes() {
        assert_eq!(sealed(&Head::default(), b"{\"id\":1}"), b"{\"id\":1}");
        assert_eq!(Head::open(b"{\"id\":1}"), Ok(None));
        assert_eq!(Head::open(b""), Ok(None));
        assert_eq!(Head::open(b"\xC1N"), Ok(None));
    }

    #[test]
    fn bytes_that_look_like_an_envelope_come_back_as_they_were() {
        let body = b"\xC1NC\x01\x01 and more";
        let entry = sealed(&Head::default(), body);
        let (head, _, at) = Head::open(&entry).unwrap().unwrap();
        assert_eq!((head, &entry[at..]), (Head::default(), &body[..]));
    }

    /// Frozen: every later version reads what is stored today.
    #[test]
    fn the_envelope_is_the_one_of_the_golden_file() {
        let head = Head {
            soft: Some(1_767_225_600_000),
            load: Some(Duration::from_micros(12_345)),
            tags: vec![
                (b"users".to_vec(), *b"0123456789abcdef"),
                (b"org:7".to_vec(), [0xFF; 16]),
            ],
        };
        let golden = include_bytes!("../../tests/golden/envelope-v1.bin");
        assert_eq!(sealed(&head, b"{\"id\":1}"), golden);
        let (read, form, at) = Head::open(golden).unwrap().unwrap();
        assert_eq!(form, Form::default());
        assert_eq!((read, &golden[at..]), (head, &b"{\"id\":1}"[..]));
    }

    #[test]
    fn what_is_cut_short_or_of_another_version_is_unreadable() {
        let golden = include_bytes!("../../tests/golden/envelope-v1.bin");
        let (_, _, body) = Head::open(golden).unwrap().unwrap();
        for end in MAGIC.len()..body {
            assert!(Head::open(&golden[..end]).is_err(), "{end} bytes");
        }
        let mut other = golden.to_vec();
        other[3] = 2;
        assert_eq!(Head::open(&other), Err(Unreadable::Unknown));
        other[3] = VERSION;
        other[4] |= 0x80;
        assert_eq!(Head::open(&other), Err(Unreadable::Unknown));
        for entry in [
            &b"\xC1NC\x01\x08\x00"[..],
            b"\xC1NC\x01\x08\x03",
            b"\xC1NC\x01\x10\x00\0\0\0\x01",
            b"\xC1NC\x01\x10\x04\0\0\0\x01",
            b"\xC1NC\x01\x10\x01\0\0\0",
            // A tag without a byte, and one that is too long.
            &[&b"\xC1NC\x01\x04\x01\0\0"[..], &[7; 40]].concat(),
            &[&b"\xC1NC\x01\x04\x01\x04\x01"[..], &[7; 1100]].concat(),
        ] {
            assert!(Head::open(entry).is_err(), "{entry:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_as_it_was(
            soft: Option<u64>,
            load in prop::option::of(any::<u32>()),
            tags in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..20), any::<[u8; 16]>()), 0..5),
            body in prop::collection::vec(any::<u8>(), 0..50),
            format in 0u8..3,
            packing in prop::option::of((1u8..4, any::<u32>())),
        ) {
            let load = load.map(|micros| Duration::from_micros(micros.into()));
            let head = Head { soft, load, tags };
            let form = Form {
                format: Format::from_id(format).unwrap(),
                packing: packing.map(|(id, length)| Packing {
                    algorithm: Algorithm::from_id(id).unwrap(),
                    length,
                }),
            };
            let entry = head.seal_as(form, &body).into_owned();
            match Head::open(&entry).unwrap() {
                None => prop_assert_eq!((head, form, entry), (Head::default(), Form::default(), body)),
                Some((read, of, at)) => prop_assert_eq!((read, of, &entry[at..]), (head, form, &body[..])),
            }
        }

        #[test]
        fn no_bytes_panic(rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Head::open(&[&MAGIC[..], &[VERSION], &rest].concat());
            let _ = Head::open(&rest);
        }
    }
}
