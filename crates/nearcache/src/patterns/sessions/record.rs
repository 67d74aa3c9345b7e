//! A session as it is in Redis. `docs/wire-format.md` describes it byte by byte; it is frozen.
//!
//! 1. A record that is not understood completely (another version, cut short, another program's bytes) is no session,
//!    and nothing here deletes it but `end`.
//! 2. Each write has a new revision, which is random. So a write that is compared with the revision that was read
//!    overwrites nothing that was not read.
//! 3. A record keeps its user and the user's version for as long as it lives. A version never repeats, so a record
//!    whose version was taken back is dead for ever.

use std::ops::Range;

use crate::codec::envelope::Version;
use crate::codec::{self, Codec, Decode, Encode, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::read_through::entry::Entry;

/// A byte that begins no UTF-8 and that MessagePack never uses, then `NS`, and the version of the record.
pub(super) const MAGIC: [u8; 4] = [0xC1, b'N', b'S', 1];

/// When the session ends whatever else: Unix milliseconds, as 16 decimal digits.
pub(super) const ENDS: Range<usize> = 4..20;

pub(super) const REVISION: Range<usize> = 20..36;

/// The length of the user's name; the name and the version of the user follow, if there is one.
const USER: Range<usize> = 36..38;

/// The longest name of a user. Every session of the user stores it.
pub(super) const MAX_USER: usize = 1_024;

/// Where the value begins in these bytes; `None` if they are no record.
pub(super) fn value_at(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.get(..16))?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: [u8; 2] = bytes.get(USER)?.try_into().ok()?;
    let user = match u16::from_be_bytes(length) {
        0 => 0,
        length => usize::from(length) + 16,
    };
    let at = USER.end + user;
    (at <= bytes.len()).then_some(at)
}

/// A session's user, with the version that the user had when the session was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: Vec<u8>,
    pub(super) version: Version,
}

impl Owner {
    /// The part of a record that says whose it is.
    pub(super) fn written(owner: Option<&Owner>) -> Vec<u8> {
        let Some(Owner { user, version }) = owner else {
            return vec![0, 0];
        };
        let length = u16::try_from(user.len()).unwrap_or(u16::MAX);
        [&length.to_be_bytes()[..], user, version].concat()
    }

    /// Reads that part; `None` if the session has no user.
    pub(super) fn read(part: &[u8]) -> Option<Owner> {
        let (user, version) = part.get(2..)?.split_last_chunk()?;
        Some(Owner {
            user: user.to_vec(),
            version: *version,
        })
    }
}

/// A record as it was read.
pub(super) struct Record {
    bytes: Vec<u8>,
    value_at: usize,
}

impl Record {
    /// # Errors
    /// `Protocol` for what no script returns.
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self> {
        match value_at(&bytes) {
            Some(value_at) => Ok(Record { bytes, value_at }),
            None => Err(Error::new(
                ErrorKind::Protocol,
                "the server gave no session, though it was asked for one",
            )),
        }
    }

    pub(super) fn ends(&self) -> &[u8] {
        &self.bytes[ENDS]
    }

    pub(super) fn revision(&self) -> &[u8] {
        &self.bytes[REVISION]
    }

    /// The part that says whose session it is.
    pub(super) fn owner_part(&self) -> &[u8] {
        &self.bytes[USER.start..self.value_at]
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        Owner::read(self.owner_part())
    }

    /// The value's bytes, as [`sealed`] has made them.
    pub(super) fn value(&self) -> &[u8] {
        &self.bytes[self.value_at..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// # Errors
    /// `Codec`.
    pub(super) fn decode<T: Decode>(&self, codec: &Codec) -> Result<T> {
        let nothing = || Error::new(ErrorKind::Codec, "it holds no value");
        match Entry::new(self.value().to_vec()).decode(codec)? {
            Stored::Value(value) => Ok(value),
            Stored::Nothing => T::nothing().ok_or_else(nothing),
        }
    }
}

/// A value's bytes: as in an entry, so in any format, compressed or not.
///
/// # Errors
/// `Codec`, `TooLarge`.
pub(super) fn sealed<T: Encode + ?Sized>(value: &T, codec: &Codec) -> Result<Vec<u8>> {
    let body = codec::encode(value, codec)?.packed(codec)?;
    Ok(codec::envelope::Head::default().seal(&body).into_owned())
}
