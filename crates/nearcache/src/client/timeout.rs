//! What a timeout may be, and how callers write it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ttl::IntoTtl;

/// The allowed timeouts. More than an hour is no useful limit.
pub(crate) const TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60 * 60);

/// A timeout as callers write it: a duration, a text such as `50ms`, or seconds.
///
/// # Errors
/// `InvalidConfig` for what is none. Its range is checked where it is used.
pub(crate) fn timeout_of(time: impl IntoTtl) -> Result<Duration> {
    duration_of("timeout", "1ms to 1h", time)
}

/// The same for another option, with its name and its range.
///
/// # Errors
/// `InvalidConfig` for what is none.
pub(crate) fn duration_of(name: &str, range: &str, time: impl IntoTtl) -> Result<Duration> {
    match time.into_ttl() {
        Ok(time) => Ok(time.as_duration()),
        Err(error) => {
            // What else a TTL may be is no advice here.
            let why = error.detail().split("; leave the TTL out").next();
            let why = format!("{name}: {}; it is from {range}", why.unwrap_or_default());
            Err(Error::new(ErrorKind::InvalidConfig, why))
        }
    }
}

/// # Errors
/// `InvalidConfig` for a timeout out of its range.
pub(crate) fn check_timeout(limit: Duration) -> Result<()> {
    if TIMEOUTS.contains(&limit) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidConfig,
        format!("timeout is {limit:?}; it is from 1ms to 1h"),
    ))
}
