//! Which period it is, and which key it has.

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::{Key, StoredKey};
use crate::ttl::Ttl;

const DAY: u64 = 86_400_000;

/// The first Monday of 1970.
const MONDAY: u64 = 4 * DAY;

/// The key of the current period, or of one before; and when it expires, in Unix milliseconds.
///
/// # Errors
/// `InvalidKey`; `InvalidConfig` for a period shorter than a second, or none at all of which the last is asked for.
pub(super) fn key(
    client: &Client,
    name: &Key,
    period: Option<Ttl>,
    back: u64,
) -> Result<(StoredKey, Option<u64>)> {
    let name = [name.as_bytes()];
    let keyspace = client.keyspace();
    let refused = |why: &'static str| Err(Error::new(ErrorKind::InvalidConfig, why));
    let Some(period) = period else {
        if back > 0 {
            return refused("a leaderboard that never resets has no last period");
        }
        return Ok((keyspace.helper("leaderboard", &name, "")?, None));
    };
    let length = period.as_millis();
    if length < 1_000 {
        return refused("a leaderboard resets every second at most");
    }
    let (number, ends) = at(client.unix_millis(), length);
    let part = format!("{length}:{}", number.saturating_sub(back));
    Ok((keyspace.helper("leaderboard", &name, &part)?, Some(ends)))
}

/// The number of the period, and when the next one ends.
fn at(now: u64, length: u64) -> (u64, u64) {
    let begins = if length.is_multiple_of(7 * DAY) {
        MONDAY
    } else {
        0
    };
    let number = now.saturating_sub(begins) / length;
    let after = number.saturating_add(2).saturating_mul(length);
    (number, after.saturating_add(begins))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn periods_begin_where_the_calendar_has_them() {
        // Thursday, 26 November 2026, 15:40 UTC.
        let now = 1_795_707_600_000;
        let (day, ends) = at(now, DAY);
        assert_eq!(day * DAY, 1_795_651_200_000, "midnight");
        assert_eq!(ends, (day + 2) * DAY);
        let (week, _) = at(now, 7 * DAY);
        // Monday, 23 November 2026.
        assert_eq!(week * 7 * DAY + MONDAY, 1_795_392_000_000);
        let (same, _) = at(1_795_392_000_000 + 7 * DAY - 1, 7 * DAY);
        assert_eq!(same, week);
        let (next, _) = at(1_795_392_000_000 + 7 * DAY, 7 * DAY);
        assert_eq!(next, week + 1);
    }

    proptest! {
        #[test]
        fn a_period_ends_within_two(now in MONDAY..u64::MAX / 4, length in 1_000..400 * DAY) {
            let (_, ends) = at(now, length);
            prop_assert!(ends > now + length && ends <= now + 2 * length);
            prop_assert_eq!(at(now + length, length).0, at(now, length).0 + 1);
        }
    }
}
