//! What a rate limiter allows, and the whole numbers that its algorithms count in.
//!
//! Times are Unix microseconds. Everything a script computes is an integer below 2^53, which Lua's doubles hold
//! exactly: nothing drifts.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ttl::{IntoTtl, Ttl};

/// The largest number of permits in a period, and the largest burst.
const MAX_PERMITS: u64 = 1_000_000_000;

/// The most permits of a sliding window: its log has an entry for each allowed check.
const MAX_LOG: u64 = 1_000_000;

/// The longest period, ten years.
const MAX_PERIOD: u64 = 10 * 366 * 24 * 60 * 60 * 1_000_000;

/// What a bucket may hold in the units of a [`Bucket`], so that sums stay below 2^53.
const MAX_CAPACITY: u128 = 1 << 51;

/// How much a rate limiter allows: so many permits in a period, and for [GCRA](super::RateLimiter::gcra) so many at
/// once.
///
/// ```
/// use nearcache::patterns::Quota;
///
/// let _ = Quota::per_second(10); // 10 at once, then one every 100 ms
/// let _ = Quota::per_minute(100).burst(20); // 20 at once, then one every 600 ms
/// let _ = Quota::per(5, "10s");
/// ```
///
/// Both numbers are from 1 to 1,000,000,000 (a sliding window has at most 1,000,000 permits), and a period is from
/// 1 ms to ten years. Any other is an error of each check
/// ([`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig)).
#[derive(Clone, Debug)]
#[must_use]
pub struct Quota {
    permits: u64,
    period: Result<Ttl>,
    burst: Option<u64>,
}

impl Quota {
    /// So many permits a second.
    pub fn per_second(permits: u64) -> Self {
        Quota::per(permits, Duration::from_secs(1))
    }

    /// So many permits a minute.
    pub fn per_minute(permits: u64) -> Self {
        Quota::per(permits, Duration::from_secs(60))
    }

    /// So many permits an hour.
    pub fn per_hour(permits: u64) -> Self {
        Quota::per(permits, Duration::from_secs(60 * 60))
    }

    /// So many permits a day of 24 hours.
    pub fn per_day(permits: u64) -> Self {
        Quota::per(permits, Duration::from_secs(24 * 60 * 60))
    }

    /// So many permits in a period: a text such as `"10s"`, a [`Duration`], or a number of seconds. It is a whole number
    /// of milliseconds.
    pub fn per(permits: u64, period: impl IntoTtl) -> Self {
        Quota {
            permits,
            period: period.into_ttl(),
            burst: None,
        }
    }

    /// How many permits an id that was idle has at once. Without it, as many as a period has. Only GCRA has a burst:
    /// a window allows what a period allows, at any time within it.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// The permits of a period.
    pub fn permits(&self) -> u64 {
        self.permits
    }

    /// The period; `None` if what was given is none.
    pub fn period(&self) -> Option<Duration> {
        self.period.as_ref().ok().map(|period| period.as_duration())
    }

    /// # Errors
    /// `InvalidConfig`.
    fn checked(&self) -> Result<(u64, u64, u64)> {
        let period = self.period.as_ref().map_err(|error| {
            Error::new(
                ErrorKind::InvalidConfig,
                format!("the period of a quota: {}", error.detail()),
            )
        })?;
        let period = period.as_millis().saturating_mul(1_000);
        if period > MAX_PERIOD {
            return refused("the period of a quota is at most ten years".into());
        }
        let burst = self.burst.unwrap_or(self.permits);
        for (what, permits) in [("permits", self.permits), ("burst", burst)] {
            if !(1..=MAX_PERMITS).contains(&permits) {
                return refused(format!(
                    "the {what} of a quota are from 1 to {MAX_PERMITS}; {permits} was given"
                ));
            }
        }
        Ok((self.permits, period, burst))
    }

    /// The quota of a window.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub(super) fn window(&self) -> Result<Window> {
        let (limit, length, _) = self.checked()?;
        Ok(Window { limit, length })
    }

    /// The quota of a window that keeps a log.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub(super) fn logged_window(&self) -> Result<Window> {
        let window = self.window()?;
        if window.limit > MAX_LOG {
            return refused(format!(
                "a sliding window has at most {MAX_LOG} permits, because its log has an entry for each allowed \
                 check; use GCRA for more"
            ));
        }
        Ok(window)
    }

    /// The quota of a bucket.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub(super) fn bucket(&self) -> Result<Bucket> {
        let (permits, period, burst) = self.checked()?;
        let divisor = gcd(permits, period);
        let (parts, each) = (permits / divisor, period / divisor);
        if u128::from(each) * u128::from(burst) <= MAX_CAPACITY {
            return Ok(Bucket { parts, each, burst });
        }
        // Too fine: with as many parts as fit, and each permit takes a little longer.
        let fit = MAX_CAPACITY * u128::from(permits) / (u128::from(period) * u128::from(burst));
        let parts = u64::try_from(fit).unwrap_or(u64::MAX);
        if parts == 0 {
            return refused(
                "a burst at this rate takes more than 71 years to come back; use a smaller burst"
                    .into(),
            );
        }
        let each = (u128::from(period) * u128::from(parts)).div_ceil(u128::from(permits));
        Ok(Bucket {
            parts,
            each: u64::try_from(each).unwrap_or(u64::MAX),
            burst,
        })
    }
}

fn refused<T>(why: String) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidConfig, why))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A quota as a window counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) limit: u64,
    /// In microseconds.
    pub(super) length: u64,
}

/// A quota as GCRA counts it. A microsecond has `parts` parts, so that the time of one permit is a whole number of
/// them.
///
/// `each` is exact, or rounded up where the parts would get too small for whole numbers below 2^53: then the rate is
/// lower than asked for by less than one part in a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) parts: u64,
    /// What one permit costs, in parts.
    pub(super) each: u64,
    pub(super) burst: u64,
}

impl Bucket {
    /// How much there may be in the bucket, in parts. At most 2^52.
    pub(super) fn capacity(self) -> u64 {
        self.each * self.burst
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_quotas_are_exact() {
        let bucket = |quota: Quota| {
            let Bucket { parts, each, burst } = quota.bucket().unwrap();
            (parts, each, burst)
        };
        assert_eq!(bucket(Quota::per_minute(100).burst(20)), (1, 600_000, 20));
        assert_eq!(bucket(Quota::per_second(7)), (7, 1_000_000, 7));
        assert_eq!(bucket(Quota::per_day(1_000_000)), (1, 86_400, 1_000_000));
        assert_eq!(
            bucket(Quota::per_second(1_000_000_000).burst(1)),
            (1_000, 1, 1)
        );
        assert_eq!(bucket(Quota::per(3, "10s")), (3, 10_000_000, 3));
    }

    #[test]
    fn a_quota_out_of_its_range_is_an_error() {
        for wrong in [
            Quota::per_second(0),
            Quota::per_second(1).burst(0),
            Quota::per_second(MAX_PERMITS + 1),
            Quota::per_second(1).burst(u64::MAX),
            Quota::per(1, "0s"),
            Quota::per(1, "a minute"),
            Quota::per(1, "1000w"),
            Quota::per(1, "520w").burst(10),
        ] {
            assert_eq!(
                wrong.bucket().unwrap_err().kind(),
                ErrorKind::InvalidConfig,
                "{wrong:?}"
            );
        }
        assert!(Quota::per_day(MAX_LOG + 1).logged_window().is_err());
        assert!(Quota::per_day(MAX_LOG + 1).window().is_ok());
    }

    proptest! {
        #[test]
        fn a_bucket_is_never_faster_than_its_quota_and_hardly_slower(
            permits in 1..=MAX_PERMITS,
            millis in 1..=86_400_000u64 * 366,
            burst in 1..=MAX_PERMITS,
        ) {
            let quota = Quota::per(permits, Duration::from_millis(millis)).burst(burst);
            if let Ok(Bucket { parts, each, .. }) = quota.bucket() {
                // permits / period >= parts / each
                let (quick, slow) = (
                    u128::from(permits) * u128::from(each),
                    u128::from(parts) * u128::from(millis) * 1_000,
                );
                prop_assert!(quick >= slow);
                prop_assert!((quick - slow) * 1_000_000 <= slow, "{quick} {slow}");
                prop_assert!(u128::from(each) * u128::from(burst) <= 1 << 52);
            } else {
                prop_assert!(u128::from(burst) * u128::from(millis) * 1_000 / u128::from(permits) >= MAX_CAPACITY);
            }
        }
    }
}
