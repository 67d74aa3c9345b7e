//! Timeouts as cachelib has them: whole seconds, where 0 and −1 mean that an entry never expires.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ttl::{IntoTtl, Ttl};

/// How long an entry stays, in whole seconds. 0 and −1 mean for ever; less is an error of the call that uses it.
///
/// It is made from a number of seconds, or from a [`Duration`]. A part of a second counts as a whole one.
///
/// ```
/// use std::time::Duration;
/// use nearcache::simple::Timeout;
///
/// assert_eq!(Timeout::from(60).seconds(), 60);
/// assert_eq!(Timeout::from(Duration::from_millis(200)).seconds(), 1);
/// assert_eq!(Timeout::from(1.5).seconds(), 2);
/// assert_eq!(Timeout::NEVER, Timeout::from(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeout(i64);

impl Timeout {
    /// The entry does not expire.
    pub const NEVER: Timeout = Timeout(0);

    /// What applies where nothing else is said: 300 s.
    pub const DEFAULT: Timeout = Timeout(300);

    /// The number of seconds.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// The TTL; `None` if the entry does not expire.
    ///
    /// # Errors
    /// `InvalidTtl`: below −1, or longer than the longest TTL.
    pub(super) fn ttl(self) -> Result<Option<Ttl>> {
        match self.0 {
            0 | -1 => Ok(None),
            seconds @ 1.. => seconds.into_ttl().map(Some),
            seconds => Err(Error::new(
                ErrorKind::InvalidTtl,
                format!(
                    "a timeout of {seconds} s; it is at least 1 s, or 0 or -1 for an entry that does not expire"
                ),
            )),
        }
    }
}

impl From<Duration> for Timeout {
    fn from(time: Duration) -> Self {
        let seconds = time.as_nanos().div_ceil(1_000_000_000);
        Timeout(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Timeout {
    /// Rounds up, as cachelib does. NaN is an error of the call that uses it.
    fn from(seconds: f64) -> Self {
        match seconds.is_nan() {
            true => Timeout(i64::MIN),
            false => Timeout(seconds.ceil() as i64), // `as` saturates
        }
    }
}

impl From<i32> for Timeout {
    fn from(seconds: i32) -> Self {
        Timeout(seconds.into())
    }
}

impl From<u32> for Timeout {
    fn from(seconds: u32) -> Self {
        Timeout(seconds.into())
    }
}

impl From<i64> for Timeout {
    fn from(seconds: i64) -> Self {
        Timeout(seconds)
    }
}

impl From<u64> for Timeout {
    fn from(seconds: u64) -> Self {
        Timeout(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_minus_one_are_for_ever_and_less_is_an_error() {
        let ttl = |timeout: Timeout| timeout.ttl().map(|ttl| ttl.map(Ttl::as_millis));
        assert_eq!(ttl(Timeout::from(0)).unwrap(), None);
        assert_eq!(ttl(Timeout::from(-1)).unwrap(), None);
        assert_eq!(ttl(Timeout::from(-0.5)).unwrap(), None);
        assert_eq!(ttl(Timeout::from(2)).unwrap(), Some(2_000));
        assert_eq!(ttl(Timeout::from(1.0001)).unwrap(), Some(2_000));
        assert_eq!(
            ttl(Timeout::from(Duration::from_nanos(1))).unwrap(),
            Some(1_000)
        );
        assert_eq!(ttl(Timeout::from(Duration::ZERO)).unwrap(), None);
        for wrong in [
            Timeout::from(-2),
            Timeout::from(i64::MIN),
            Timeout::from(u64::MAX),
            Timeout::from(f64::NAN),
            Timeout::from(f64::INFINITY),
            Timeout::from(Duration::MAX),
        ] {
            assert_eq!(ttl(wrong).unwrap_err().kind(), ErrorKind::InvalidTtl);
        }
    }
}
