//! What a cache asks of its near tier: the options of URL, builder and configuration.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Limits;
use crate::error::{Error, ErrorKind, Result};

/// The most entries.
pub(crate) const MOST_ENTRIES: usize = 1 << 30;

/// The fewest bytes, if there is a limit of bytes.
pub(crate) const FEWEST_BYTES: u64 = 64 << 10;

/// The shortest and the longest time for which an entry may be a hit.
pub(crate) const TTLS: RangeInclusive<Duration> =
    Duration::from_millis(20)..=Duration::from_secs(24 * 60 * 60);

/// The shortest and the longest time between two `PING`s, and the usual one.
pub(crate) const HEARTBEATS: RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(60);
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// The options that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) entries: Option<usize>,
    pub(crate) bytes: Option<u64>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) heartbeat: Option<Duration>,
}

impl Asked {
    /// These options, and the others where these are not set.
    pub(crate) fn or(self, other: Asked) -> Asked {
        Asked {
            entries: self.entries.or(other.entries),
            bytes: self.bytes.or(other.bytes),
            ttl: self.ttl.or(other.ttl),
            heartbeat: self.heartbeat.or(other.heartbeat),
        }
    }

    /// The limits; `None` if there is no near tier.
    ///
    /// # Errors
    /// `InvalidConfig` for an option out of its range.
    pub(crate) fn limits(self) -> Result<Option<Limits>> {
        let Asked {
            entries,
            bytes,
            ttl,
            heartbeat,
        } = self;
        let wrong = |why: String| Err(Error::new(ErrorKind::InvalidConfig, why));
        if entries.is_some_and(|entries| entries > MOST_ENTRIES) {
            return wrong(format!(
                "near is {entries:?}; it is from 0 to {MOST_ENTRIES}"
            ));
        }
        if let Some(bytes) = bytes.filter(|bytes| (1..FEWEST_BYTES).contains(bytes)) {
            return wrong(format!(
                "near_bytes is {bytes}; it is 0, or at least {FEWEST_BYTES} (64kb)"
            ));
        }
        if let Some(ttl) = ttl.filter(|ttl| !TTLS.contains(ttl)) {
            return wrong(format!("near_ttl is {ttl:?}; it is from 20ms to 24h"));
        }
        if let Some(time) = heartbeat.filter(|time| !HEARTBEATS.contains(time)) {
            return wrong(format!("near_heartbeat is {time:?}; it is from 50ms to 1m"));
        }
        if entries == Some(0) || bytes == Some(0) {
            return Ok(None);
        }
        let limits = Limits { entries, bytes };
        Ok((entries.is_some() || bytes.is_some()).then_some(limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_near_tier_if_a_limit_is_set() {
        let asked = |entries, bytes| Asked {
            entries,
            bytes,
            ..Asked::default()
        };
        assert_eq!(asked(None, None).limits().unwrap(), None);
        assert_eq!(asked(Some(0), Some(1 << 20)).limits().unwrap(), None);
        let limits = asked(Some(5), None).limits().unwrap().unwrap();
        assert_eq!((limits.entries, limits.bytes), (Some(5), None));
        assert!(asked(None, Some(1 << 20)).limits().unwrap().is_some());
        assert!(asked(None, Some(1)).limits().is_err());
        assert!(asked(Some(MOST_ENTRIES + 1), None).limits().is_err());
        for (ttl, heartbeat) in [(Some(0), None), (Some(90_000), None), (None, Some(61))] {
            let asked = Asked {
                ttl: ttl.map(Duration::from_secs),
                heartbeat: heartbeat.map(Duration::from_secs),
                ..Asked::default()
            };
            assert!(asked.limits().is_err());
        }
    }
}
