//! The ids of entries.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, ErrorKind, Result};

/// The id of an entry: the server's time when it was appended, and a number for those of the same millisecond. Ids are
/// ordered as the entries are.
///
/// ```
/// use nearcache::structures::EntryId;
///
/// let id: EntryId = "1700000000000-3".parse()?;
/// assert_eq!(id, EntryId::new(1_700_000_000_000, 3));
/// assert!(id < EntryId::MAX);
/// assert_eq!(id.to_string(), "1700000000000-3");
/// # Ok::<(), nearcache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    millis: u64,
    number: u64,
}

impl EntryId {
    /// Below the id of every entry.
    pub const MIN: EntryId = EntryId::new(0, 0);

    /// The highest one.
    pub const MAX: EntryId = EntryId::new(u64::MAX, u64::MAX);

    /// An id by its two parts.
    pub const fn new(millis: u64, number: u64) -> Self {
        EntryId { millis, number }
    }

    /// The first id of this moment.
    pub fn at(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        EntryId::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), 0)
    }

    /// The first part: Unix milliseconds, unless the id was chosen by whoever appended.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// The second part.
    pub const fn number(self) -> u64 {
        self.number
    }

    /// When the entry was appended, by the server's clock; `None` for an id that is no time.
    pub fn time(self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.millis))
    }

    /// Of a reply.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

impl From<&EntryId> for EntryId {
    fn from(id: &EntryId) -> Self {
        *id
    }
}

/// The first id of this moment.
impl From<SystemTime> for EntryId {
    fn from(time: SystemTime) -> Self {
        EntryId::at(time)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

impl FromStr for EntryId {
    type Err = Error;

    /// `1700000000000-3`, or the first part only.
    fn from_str(text: &str) -> Result<Self> {
        let (millis, number) = text.split_once('-').unwrap_or((text, "0"));
        let part = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        };
        match (part(millis), part(number)) {
            (Some(millis), Some(number)) => Ok(EntryId { millis, number }),
            _ => Err(Error::new(
                ErrorKind::Codec,
                "the id of an entry is two numbers of 64 bits, as in \"1700000000000-3\"",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_id_is_refused() {
        for wrong in [
            "",
            "-",
            "1-",
            "-1",
            "1-2-3",
            "+1",
            "1-+2",
            "a",
            "18446744073709551616-0",
        ] {
            assert!(wrong.parse::<EntryId>().is_err(), "{wrong}");
        }
        assert_eq!("7".parse::<EntryId>().unwrap(), EntryId::new(7, 0));
    }

    proptest! {
        #[test]
        fn an_id_comes_back(millis: u64, number: u64) {
            let id = EntryId::new(millis, number);
            prop_assert_eq!(id.to_string().parse::<EntryId>().unwrap(), id);
        }
    }
}
