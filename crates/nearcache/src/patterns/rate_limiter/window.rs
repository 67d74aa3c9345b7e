//! The fixed window: a counter for each aligned window, such as each minute of the clock.
//!
//! In each window at most the quota's permits are given, so across the edge of two windows up to twice as many in a
//! short time. It is the cheapest and the coarsest of the three. Windows are aligned to the Unix epoch: a window of a
//! day begins at 0:00 UTC.
//!
//! A key holds `START:COUNT`: when the window began, in Unix microseconds, and the permits taken in it.
//!
//! If the clock goes back, the window that had begun goes on. One from further ahead is taken for the current one, with
//! its count.

use super::algorithm::prelude;
use super::decision::Answer;
use super::quota::Window;
use crate::script::{Script, script};

#[cfg(feature = "embedded")]
use super::algorithm::{Asked, expiry, numbers, reply};
#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

/// KEYS: the state. ARGV: the permits of a window; its length in microseconds; the cost; "1" to take it.
pub(crate) static FIXED_WINDOW: Script = script!(
    concat!(
        prelude!(),
        "local limit, length, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local start = now - now % length
local count, pulled = 0, false
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' then
  local from, taken = string.match(held, '^(%d+):(%d+)$')
  from, taken = tonumber(from), tonumber(taken)
  if fits(from) and fits(taken) and from >= start then
    count = math.min(taken, limit)
    if from > start + length then
      pulled = true
    else
      start = from
    end
  end
end
local allowed, takes = count + cost <= limit, ARGV[4] == '1'
if allowed and takes then
  count = count + cost
end
local left = start + length - now
if takes and (pulled or allowed and cost > 0) then
  local expiry = text(math.floor((start + length) / 1000) + 1)
  redis.call('SET', KEYS[1], text(start) .. ':' .. text(count), 'PXAT', expiry)
end
return {allowed and 1 or 0, limit - count, allowed and 0 or left, count > 0 and left or 0, math.max(now, start)}"
    ),
    |call| {
        let asked = Asked::of(call)?;
        twin(call, &asked)
    }
);

/// A window, and the permits taken in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) start: u64,
    taken: u64,
}

/// What a check answers, and the new state, if there is one.
pub(super) fn step(
    held: Option<Count>,
    now: u64,
    window: Window,
    cost: u64,
    takes: bool,
) -> (Answer, Option<Count>) {
    let Window { limit, length } = window;
    let mut start = now - now % length;
    let (mut taken, mut pulled) = (0, false);
    if let Some(held) = held.filter(|held| held.start >= start) {
        taken = held.taken.min(limit);
        if held.start > start + length {
            pulled = true;
        } else {
            start = held.start;
        }
    }
    let allowed = taken + cost <= limit;
    if allowed && takes {
        taken += cost;
    }
    let left = start + length - now;
    let answer = Answer {
        allowed,
        remaining: limit - taken,
        retry_after: if allowed { 0 } else { left },
        reset_after: if taken > 0 { left } else { 0 },
        at: now.max(start),
    };
    let changed = takes && (pulled || allowed && cost > 0);
    (answer, changed.then_some(Count { start, taken }))
}

#[cfg(feature = "embedded")]
impl Count {
    fn read(state: &[u8]) -> Option<Count> {
        let [start, taken] = numbers(state, b":")?;
        Some(Count { start, taken })
    }
}

#[cfg(feature = "embedded")]
pub(super) fn twin(call: &mut Call<'_>, asked: &Asked<'_>) -> Result<Value, ScriptError> {
    let window = Window {
        limit: asked.number(0),
        length: asked.number(1),
    };
    let held = match call.call(&[b"GET", asked.key]) {
        Ok(Value::BulkString(state)) => Count::read(&state),
        _ => None,
    };
    let (answer, count) = step(held, asked.now, window, asked.number(2), asked.takes);
    if let Some(Count { start, taken }) = count {
        let state = format!("{start}:{taken}");
        let at = expiry(start + window.length).to_string();
        call.call(&[b"SET", asked.key, state.as_bytes(), b"PXAT", at.as_bytes()])?;
    }
    Ok(reply(answer))
}
