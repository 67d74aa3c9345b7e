//! GCRA, the generic cell rate algorithm: a bucket that leaks at the rate of the quota, kept as one time.
//!
//! The time is the *theoretical arrival time* (TAT): when the bucket is empty. A check that costs `n` permits is
//! allowed if they fit into the bucket, and then moves the TAT on by the time of `n` permits. In any span of time `t`
//! at most `burst + rate · t` permits are given, and never fewer than that allows.
//!
//! The algorithm is that of ITU-T I.371 and of the ATM Forum's Traffic Management Specification 4.0 (virtual
//! scheduling), with the burst as its tolerance. In `redis-cell` it is `CL.THROTTLE`.
//!
//! A key holds `TAT:PART/PARTS`: Unix microseconds, and a fraction of one (see [`Bucket`]). If the quota has changed
//! since, what is owed stays owed as a time.
//!
//! If the clock goes back, the TAT stays, and so is further ahead. What is more than two full buckets ahead is pulled
//! back to one: less would give permits away whenever the clock wavers.

use super::algorithm::prelude;
use super::decision::Answer;
use super::quota::Bucket;
use crate::script::{Script, script};

#[cfg(feature = "embedded")]
use super::algorithm::{Asked, expiry, numbers, reply};
#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

/// KEYS: the state. ARGV: the parts of a microsecond; the parts of a permit; the burst; the cost; "1" to take it.
pub(crate) static GCRA: Script = script!(
    concat!(
        prelude!(),
        "local parts, each, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local capacity = each * tonumber(ARGV[3])
local level, pulled = 0, false
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' then
  local tat, part, of = string.match(held, '^(%d+):(%d+)/(%d+)$')
  tat, part, of = tonumber(tat), tonumber(part), tonumber(of)
  if fits(tat) and fits(part) and fits(of) and part < of and tat >= now then
    local ahead = tat - now
    if of ~= parts then
      ahead, part = ahead + math.min(part, 1), 0
    end
    if ahead > math.floor(2 * capacity / parts) or part > 2 * capacity - ahead * parts then
      level, pulled = capacity, true
    else
      level = ahead * parts + part
    end
  end
end
local needed = level + cost * each - capacity
local allowed, takes = needed <= 0, ARGV[5] == '1'
if allowed and takes then
  level = level + cost * each
end
if takes and (pulled or allowed and cost > 0) then
  local tat = now + math.floor(level / parts)
  local state = text(tat) .. ':' .. text(level % parts) .. '/' .. text(parts)
  redis.call('SET', KEYS[1], state, 'PXAT', text(math.floor(tat / 1000) + 1))
end
local retry = allowed and 0 or math.ceil(needed / parts)
return {allowed and 1 or 0, math.floor(math.max(capacity - level, 0) / each), retry, math.ceil(level / parts), now}"
    ),
    |call| {
        let asked = Asked::of(call)?;
        twin(call, &asked)
    }
);

/// A theoretical arrival time, in microseconds and a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tat {
    pub(super) micros: u64,
    part: u64,
    of: u64,
}

/// What a check answers, and the new state, if there is one.
pub(super) fn step(
    held: Option<Tat>,
    now: u64,
    bucket: Bucket,
    cost: u64,
    takes: bool,
) -> (Answer, Option<Tat>) {
    let Bucket { parts, each, .. } = bucket;
    let capacity = bucket.capacity();
    let (mut level, mut pulled) = (0, false);
    if let Some(Tat { micros, part, of }) = held.filter(|tat| tat.micros >= now) {
        let (mut ahead, mut part) = (micros - now, part);
        if of != parts {
            (ahead, part) = (ahead + part.min(1), 0);
        }
        if ahead > 2 * capacity / parts || part > 2 * capacity - ahead * parts {
            (level, pulled) = (capacity, true);
        } else {
            level = ahead * parts + part;
        }
    }
    let needed = (level + cost * each).saturating_sub(capacity);
    let allowed = needed == 0;
    if allowed && takes {
        level += cost * each;
    }
    let changed = takes && (pulled || allowed && cost > 0);
    let tat = changed.then(|| Tat {
        micros: now + level / parts,
        part: level % parts,
        of: parts,
    });
    let answer = Answer {
        allowed,
        remaining: capacity.saturating_sub(level) / each,
        retry_after: needed.div_ceil(parts),
        reset_after: level.div_ceil(parts),
        at: now,
    };
    (answer, tat)
}

#[cfg(feature = "embedded")]
impl Tat {
    fn read(state: &[u8]) -> Option<Tat> {
        let [micros, part, of] = numbers(state, b":/")?;
        (part < of).then_some(Tat { micros, part, of })
    }
}

#[cfg(feature = "embedded")]
pub(super) fn twin(call: &mut Call<'_>, asked: &Asked<'_>) -> Result<Value, ScriptError> {
    let bucket = Bucket {
        parts: asked.number(0),
        each: asked.number(1),
        burst: asked.number(2),
    };
    let held = match call.call(&[b"GET", asked.key]) {
        Ok(Value::BulkString(state)) => Tat::read(&state),
        _ => None,
    };
    let (answer, tat) = step(held, asked.now, bucket, asked.number(3), asked.takes);
    if let Some(Tat { micros, part, of }) = tat {
        let state = format!("{micros}:{part}/{of}");
        let at = expiry(micros).to_string();
        call.call(&[b"SET", asked.key, state.as_bytes(), b"PXAT", at.as_bytes()])?;
    }
    Ok(reply(answer))
}
