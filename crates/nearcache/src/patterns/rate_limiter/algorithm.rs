//! What the algorithms have in common. Each has a file: a step in Rust, which says what a check answers and what is
//! kept; a script that does the same on a server; and its twin, which is the step over the embedded store.
//!
//! 1. A script has one key and takes one round trip. The time is the server's.
//! 2. Numbers are integers below 2^53. A number in a key that is not, and whatever else no script has written, is as
//!    nothing: the id begins anew.
//! 3. A clock that goes back (after a failover, for example) locks nobody out for longer than twice the time it takes
//!    an id to get all of its permits back, and gives nobody permits: as long as the clock is behind, time stands
//!    still. What is kept from further ahead than that is pulled back to now, also by a check that is denied.
//! 4. A key expires no earlier than its content stops to matter, and at most a few milliseconds later.

use redis::Value;

use super::decision::Answer;
use super::quota::{Bucket, Quota, Window};
use super::{gcra, sliding, window};
use crate::error::{Error, Result};
use crate::script::{Input, Script};

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};

/// The largest integer that Lua counts to without leaving one out.
pub(super) const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The beginning of every script: the server's time, and how a number is written and read.
macro_rules! prelude {
    () => {
        "local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function text(number)
  return string.format('%.0f', number)
end
local function fits(number)
  return number and number <= 9007199254740991
end
"
    };
}
pub(super) use prelude;

/// An algorithm, with its quota.
#[derive(Clone, Copy, Debug)]
pub(super) enum Algorithm {
    Gcra(Bucket),
    SlidingWindow(Window),
    FixedWindow(Window),
}

/// Which algorithm a limiter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gcra,
    SlidingWindow,
    FixedWindow,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Gcra, Kind::SlidingWindow, Kind::FixedWindow];

    /// The last part of its keys. Frozen: processes of all versions must agree on it.
    pub(super) fn part(self) -> &'static str {
        match self {
            Kind::Gcra => "gcra",
            Kind::SlidingWindow => "log",
            Kind::FixedWindow => "window",
        }
    }

    /// # Errors
    /// `InvalidConfig`.
    pub(super) fn with(self, quota: &Quota) -> Result<Algorithm> {
        Ok(match self {
            Kind::Gcra => Algorithm::Gcra(quota.bucket()?),
            Kind::SlidingWindow => Algorithm::SlidingWindow(quota.logged_window()?),
            Kind::FixedWindow => Algorithm::FixedWindow(quota.window()?),
        })
    }
}

impl Algorithm {
    /// The most permits that an id has.
    pub(super) fn limit(self) -> u64 {
        match self {
            Algorithm::Gcra(bucket) => bucket.burst,
            Algorithm::SlidingWindow(window) | Algorithm::FixedWindow(window) => window.limit,
        }
    }

    pub(super) fn script(self) -> &'static Script {
        match self {
            Algorithm::Gcra(_) => &gcra::GCRA,
            Algorithm::SlidingWindow(_) => &sliding::SLIDING_WINDOW,
            Algorithm::FixedWindow(_) => &window::FIXED_WINDOW,
        }
    }

    /// The script's input: the quota, the cost, and "1" to take the permits.
    pub(super) fn input(self, key: &[u8], cost: u64, takes: bool) -> Input {
        let mut input = Input::default();
        input.key(key);
        let quota = match self {
            Algorithm::Gcra(Bucket { parts, each, burst }) => {
                [Some(parts), Some(each), Some(burst)]
            }
            Algorithm::SlidingWindow(Window { limit, length })
            | Algorithm::FixedWindow(Window { limit, length }) => [Some(limit), Some(length), None],
        };
        for number in quota.into_iter().flatten().chain([cost]) {
            input.arg(number.to_string().as_bytes());
        }
        input.arg(if takes { b"1" } else { b"0" });
        input
    }
}

/// The reply of each script: `{1 or 0, permits left, retry after, reset after, the time it goes by}`.
///
/// # Errors
/// `Protocol`.
pub(super) fn answer(reply: &Value) -> Result<Answer> {
    let unexpected = || Error::unexpected("EVALSHA", reply);
    let Value::Array(parts) = reply else {
        return Err(unexpected());
    };
    let mut numbers = [0; 5];
    for (at, number) in numbers.iter_mut().enumerate() {
        *number = match parts.get(at) {
            Some(Value::Int(part)) => u64::try_from(*part).map_err(|_| unexpected())?,
            _ => return Err(unexpected()),
        };
    }
    let [allowed, remaining, retry_after, reset_after, at] = numbers;
    Ok(Answer {
        allowed: allowed == 1,
        remaining,
        retry_after,
        reset_after,
        // A clock is not beyond what a time can hold.
        at: at.min(MAX_NUMBER),
    })
}

/// Numbers, separated so, as the scripts read them: digits only, each below 2^53.
#[cfg(any(feature = "embedded", test))]
pub(super) fn numbers<const N: usize>(text: &[u8], separators: &[u8]) -> Option<[u64; N]> {
    let text = std::str::from_utf8(text).ok()?;
    let mut rest = text;
    let mut numbers = [0; N];
    for (at, number) in numbers.iter_mut().enumerate() {
        let digits = match separators.get(at) {
            Some(separator) => {
                let (digits, after) = rest.split_once(char::from(*separator))?;
                rest = after;
                digits
            }
            None => rest,
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = digits.parse().ok().filter(|number| *number <= MAX_NUMBER)?;
    }
    Some(numbers)
}

/// The Unix milliseconds after which what matters until this time does not any more.
#[cfg(feature = "embedded")]
pub(super) fn expiry(micros: u64) -> u64 {
    micros / 1_000 + 1
}

/// What the twin of a script is called with.
#[cfg(feature = "embedded")]
pub(super) struct Asked<'a> {
    pub(super) key: &'a [u8],
    pub(super) now: u64,
    /// The quota's numbers, and the cost.
    pub(super) numbers: Vec<u64>,
    pub(super) takes: bool,
}

#[cfg(feature = "embedded")]
impl<'a> Asked<'a> {
    pub(super) fn of(call: &mut Call<'a>) -> Result<Self, ScriptError> {
        let wrong = || ScriptError::new("ERR a rate limiter's script has other arguments");
        let time = match call.call(&[b"TIME"])? {
            Value::Array(time) => time,
            _ => return Err(wrong()),
        };
        let part = |at: usize| match time.get(at) {
            Some(Value::BulkString(digits)) => numbers::<1>(digits, b"").map(|[number]| number),
            _ => None,
        };
        let (Some(seconds), Some(micros)) = (part(0), part(1)) else {
            return Err(wrong());
        };
        Asked::at(call.keys(), call.args(), seconds * 1_000_000 + micros)
    }

    pub(super) fn at(keys: &[&'a [u8]], args: &[&'a [u8]], now: u64) -> Result<Self, ScriptError> {
        let wrong = || ScriptError::new("ERR a rate limiter's script has other arguments");
        let (Some(key), Some((takes, quota))) = (keys.first(), args.split_last()) else {
            return Err(wrong());
        };
        let quota = quota.iter().map(|number| numbers::<1>(number, b""));
        let quota: Option<Vec<u64>> = quota.map(|one| one.map(|[number]| number)).collect();
        Ok(Asked {
            key,
            now,
            numbers: quota.ok_or_else(wrong)?,
            takes: *takes == b"1",
        })
    }

    pub(super) fn number(&self, at: usize) -> u64 {
        self.numbers.get(at).copied().unwrap_or_default()
    }
}

/// An answer as a script's reply.
#[cfg(feature = "embedded")]
pub(super) fn reply(answer: Answer) -> Value {
    let Answer {
        allowed,
        remaining,
        retry_after,
        reset_after,
        at,
    } = answer;
    let numbers = [u64::from(allowed), remaining, retry_after, reset_after, at];
    Value::Array(
        numbers
            .into_iter()
            .map(|number| Value::Int(number.cast_signed()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_lua_reads_alike_are_numbers() {
        assert_eq!(numbers(b"1:2/3", b":/"), Some([1, 2, 3]));
        assert_eq!(numbers(b"007", b""), Some([7]));
        assert_eq!(numbers(b"9007199254740991", b""), Some([MAX_NUMBER]));
        for wrong in [
            &b""[..],
            b"1:2",
            b"1:2/",
            b"1:2/3/4",
            b" 1:2/3",
            b"+1:2/3",
            b"-1:2/3",
            b"1:0x2/3",
            b"1:2/9007199254740992",
            b"1:2/99999999999999999999999",
            b"\xff:2/3",
        ] {
            assert_eq!(numbers::<3>(wrong, b":/"), None, "{}", wrong.escape_ascii());
        }
    }
}
