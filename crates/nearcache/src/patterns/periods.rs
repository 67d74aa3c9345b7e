//! Keys for periods of time: minutes of a series, weeks of a leaderboard. The server's clock says which period it is.
//!
//! A script must be given its keys, and only the server knows the time. So the caller guesses: it gives the keys of the
//! period that it takes for the current one, and of one before and one after. If none of them is right, the script
//! changes nothing and returns the time, and the caller asks once more, and knows by how much its clock is off from then
//! on. Clocks that agree to within a period need one round trip.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use redis::Value;

use crate::client::Client;
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::script::{Input, Script};

/// How often it is asked at most. The second answer is only wrong if the period has changed meanwhile, or the clock.
const ATTEMPTS: usize = 4;

/// Periods of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Periods {
    /// In milliseconds.
    pub(super) length: u64,
    /// When one of them begins, in Unix milliseconds: from 0 to the length.
    pub(super) align: u64,
}

impl Periods {
    /// The period of a time.
    pub(super) fn at(self, millis: i64) -> i64 {
        let since = millis.saturating_sub(self.align.cast_signed());
        since.div_euclid(self.length.max(1).cast_signed())
    }

    /// When a period begins, in Unix milliseconds.
    pub(super) fn start(self, period: i64) -> i64 {
        let start = period.saturating_mul(self.length.cast_signed());
        start.saturating_add(self.align.cast_signed())
    }
}

/// By how much the server's clock is ahead of ours, in milliseconds. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock(Arc<AtomicI64>);

impl Clock {
    fn now(&self, client: &Client) -> i64 {
        let ahead = self.0.load(Ordering::Relaxed);
        client.unix_millis().cast_signed().saturating_add(ahead)
    }

    /// Runs a script with keys for the period that it is. `input` makes its input for a first and a last period; the first
    /// argument is the first period. Returns the server's time, and what the script returned beside it.
    pub(super) async fn run(
        &self,
        client: &Client,
        script: &'static Script,
        periods: Periods,
        input: impl Fn(i64, i64) -> Result<Input>,
    ) -> Result<(i64, Vec<Value>)> {
        for _ in 0..ATTEMPTS {
            let period = periods.at(self.now(client));
            let reply = client.run(script, &input(period - 1, period + 1)?).await?;
            let Value::Array(reply) = reply else {
                return Err(Error::unexpected("EVALSHA", &reply));
            };
            let mut reply = reply.into_iter();
            let now = reply::integer("TIME", &reply.next().unwrap_or(Value::Nil))?;
            let rest: Vec<Value> = reply.collect();
            if !rest.is_empty() {
                return Ok((now, rest));
            }
            let ahead = now.saturating_sub(client.unix_millis().cast_signed());
            self.0.store(ahead, Ordering::Relaxed);
        }
        Err(Error::new(
            ErrorKind::Protocol,
            "the server's clock moves too fast: the period changed between each two calls",
        )
        .on_host(client.host()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_monday() {
        const DAY: u64 = 86_400_000;
        let weeks = Periods {
            length: 7 * DAY,
            align: 4 * DAY,
        };
        // 1970-01-01 was a Thursday.
        assert_eq!(weeks.at(0), -1);
        assert_eq!(weeks.at(4 * DAY as i64 - 1), -1);
        assert_eq!(weeks.at(4 * DAY as i64), 0);
        // 2026-11-23, a Monday: 1,795,392,000 s.
        let monday = 1_795_392_000_000;
        assert_eq!(weeks.start(weeks.at(monday)), monday);
        assert_eq!(weeks.at(monday - 1), weeks.at(monday) - 1);
    }
}
