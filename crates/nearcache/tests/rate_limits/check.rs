//! What was given, held against what an algorithm promises.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nearcache::CacheOf;
use nearcache::operation::Executor;
use nearcache::patterns::{Quota, RateLimiter, WhenAway};

use crate::process::Seen;

/// The permits of a period, or the rate of GCRA.
const PERMITS: u64 = 400;

/// In microseconds.
const PERIOD: u64 = 400_000;

/// The burst of GCRA.
const BURST: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Gcra,
    Sliding,
    Fixed,
}

impl Algorithm {
    pub(crate) const ALL: [Algorithm; 3] = [Algorithm::Gcra, Algorithm::Sliding, Algorithm::Fixed];

    pub(crate) fn named(name: &str) -> Algorithm {
        let found = Algorithm::ALL
            .into_iter()
            .find(|one| one.to_string() == name);
        found.expect("an algorithm")
    }

    pub(crate) fn limiter<M: Executor>(self, cache: &CacheOf<M>) -> RateLimiter<M> {
        let quota = Quota::per(PERMITS, Duration::from_micros(PERIOD)).burst(BURST);
        let limiter = cache
            .rate_limiter("hammered", quota)
            .when_away(WhenAway::Local);
        match self {
            Algorithm::Gcra => limiter.gcra(),
            Algorithm::Sliding => limiter.sliding_window(),
            Algorithm::Fixed => limiter.fixed_window(),
        }
    }

    /// The most that the promise allows to be given by callers who asked all the time from the first to the last of
    /// these moments.
    fn most(self, from: u64, to: u64) -> u64 {
        match self {
            Algorithm::Gcra => BURST + (to - from) * PERMITS / PERIOD,
            Algorithm::Sliding => PERMITS * ((to - from) / PERIOD + 1),
            Algorithm::Fixed => PERMITS * (to / PERIOD - from / PERIOD + 1),
        }
    }

    /// Checks that never more was given than is promised.
    pub(crate) fn holds(self, given: &[u64]) {
        assert!(given.is_sorted(), "by their times");
        match self {
            Algorithm::Gcra => {
                // What is in the bucket, in units of 1 / PERIOD of a permit.
                let (mut level, mut last) = (0, given.first().copied().unwrap_or_default());
                for &at in given {
                    level = PERIOD + u64::saturating_sub(level, (at - last) * PERMITS);
                    last = at;
                    assert!(
                        level <= BURST * PERIOD,
                        "more than the burst and the rate at {at}"
                    );
                }
            }
            Algorithm::Sliding => {
                for span in given.windows(PERMITS as usize + 1) {
                    let (first, last) = (span[0], span[PERMITS as usize]);
                    assert!(
                        last - first >= PERIOD,
                        "{PERMITS} and one more within {}",
                        last - first
                    );
                }
            }
            Algorithm::Fixed => {
                for window in given.chunk_by(|a, b| a / PERIOD == b / PERIOD) {
                    assert!(
                        window.len() as u64 <= PERMITS,
                        "{} in a window",
                        window.len()
                    );
                }
            }
        }
    }

    /// Checks that nobody was sent away while there was something left to give, and says how much was given: all that
    /// could be, if the callers asked all the time.
    pub(crate) fn is_generous(self, what: &str, seen: &Seen) {
        let (given, denied) = (&seen.allowed, &seen.denied);
        let most = self.most(seen.from, seen.to);
        let share = 100.0 * given.len() as f64 / most as f64;
        let seconds = (seen.to - seen.from) as f64 / 1e6;
        report(format_args!(
            "{what}, {self}: {} of {most} ({share:.2} %) in {seconds:.2} s, {:.0} checks a second",
            given.len(),
            seen.asked as f64 / seconds,
        ));
        assert!(given.len() as u64 <= most);
        assert_eq!((given.len() + denied.len()) as u64, seen.asked);
        for &at in denied {
            let before = given.partition_point(|given| *given <= at);
            let taken = |since: u64| {
                let first = given.partition_point(|given| *given < since);
                (before - first.min(before)) as u64
            };
            match self {
                Algorithm::Gcra => {}
                // One of the time of the denial may have come after it.
                Algorithm::Sliding => {
                    let taken = taken((at + 1).saturating_sub(PERIOD));
                    assert!(taken >= PERMITS, "{taken} of {PERMITS} at {at}");
                }
                Algorithm::Fixed => {
                    let taken = taken(at - at % PERIOD);
                    assert!(taken >= PERMITS, "{taken} of {PERMITS} at {at}");
                }
            }
        }
        if self == Algorithm::Gcra {
            // What is in the bucket, in units of 1 / PERIOD of a permit.
            let (mut level, mut last, mut next) =
                (0, given.first().copied().unwrap_or_default(), 0);
            for &at in denied {
                while next < given.len() && given[next] <= at {
                    level = PERIOD + u64::saturating_sub(level, (given[next] - last) * PERMITS);
                    last = given[next];
                    next += 1;
                }
                let now = u64::saturating_sub(level, (at - last) * PERMITS);
                assert!(
                    now + PERIOD > BURST * PERIOD,
                    "denied at {at}, with {now} of {} in the bucket",
                    BURST * PERIOD
                );
            }
        }
    }

    /// Waits until a quarter of a period of the clock is over. Together with [`time`](Algorithm::time), both the first
    /// and the last period are long enough to get everything.
    pub(crate) fn align() {
        let now = micros();
        let wait = (PERIOD + PERIOD / 4 - now % PERIOD) % PERIOD;
        std::thread::sleep(Duration::from_micros(wait));
    }

    /// A time to hammer for: some periods and a half.
    pub(crate) fn time(seconds: f64) -> Duration {
        let periods = (seconds * 1e6 / PERIOD as f64).floor();
        Duration::from_micros(((periods + 0.5) * PERIOD as f64) as u64)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Gcra => "gcra",
            Algorithm::Sliding => "sliding",
            Algorithm::Fixed => "fixed",
        })
    }
}

/// The time in Unix microseconds.
pub(crate) fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap().as_micros()).unwrap()
}

/// How long to hammer.
pub(crate) fn seconds() -> f64 {
    let told = std::env::var("NEARCACHE_LIMIT_SECONDS").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(2.0)
}

/// Past the capture of the test harness.
pub(crate) fn report(line: fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "rate limits: {line}");
}
