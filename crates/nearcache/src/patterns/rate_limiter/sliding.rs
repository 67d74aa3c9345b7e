//! The sliding window: a log of what was allowed.
//!
//! In any span as long as the window at most the quota's permits are given, and never fewer than that allows: it is
//! exact. The price is memory: an entry of some 100 bytes for each allowed check within the window.
//!
//! A key holds a sorted set. A member is `TIME:SUM:COST`: when it was allowed, in Unix microseconds; the permits given
//! since the log began, with its own; and its own. Time and sum have 16 digits, so that members of one time are in
//! order. The score is the time. What was taken in a window is so the difference of two sums, and nobody adds up.
//!
//! If the clock goes back, time stands still for the log until the clock is where it was. If it goes back by more than
//! a window, all of the log counts as taken now.

use std::collections::VecDeque;

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

/// KEYS: the log. ARGV: the permits of a window; its length in microseconds; the cost; "1" to take it.
///
/// The entry that a denied check waits for is found by bisection, if it is not the first.
pub(crate) static SLIDING_WINDOW: Script = script!(
    concat!(
        prelude!(),
        "local limit, length, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local takes, key = ARGV[4] == '1', KEYS[1]
local function read(members)
  if type(members[1]) == 'string' then
    local at, sum, own = string.match(members[1], '^(%d+):(%d+):(%d+)$')
    at, sum, own = tonumber(at), tonumber(sum), tonumber(own)
    if fits(at) and fits(sum) and fits(own) and own >= 1 and own <= sum then
      return {at = at, sum = sum, own = own, member = members[1]}
    end
  end
end
local function ranked(rank)
  return read(redis.pcall('ZRANGE', key, rank, rank))
end
local function add(at, sum, own)
  local member = string.format('%016.0f:%016.0f:%.0f', at, sum, own)
  redis.call('ZADD', key, text(at), member)
  redis.call('PEXPIREAT', key, text(math.floor((at + length) / 1000) + 1))
end
local stamp, first, last, used = now, nil, ranked(-1), 0
if last and last.at > now + length then
  local oldest = ranked(0)
  used = oldest and math.min(last.sum - oldest.sum + oldest.own, limit) or 0
  if used >= 1 then
    first = {at = now, sum = used, own = used}
    last = first
    if takes then
      redis.call('DEL', key)
      add(now, used, used)
    end
  end
elseif last then
  stamp = math.max(now, last.at)
  local before = text(stamp - length)
  if takes then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', before)
  end
  first = read(redis.pcall('ZRANGEBYSCORE', key, '(' .. before, '+inf', 'LIMIT', 0, 1))
  if first then
    used = last.sum - first.sum + first.own
    if used < 1 or first.at <= stamp - length or first.at > last.at then
      first = nil
    end
  end
end
if not first then
  used, stamp, last = 0, now, nil
end
local needed = used + cost - limit
if needed <= 0 then
  if takes and cost > 0 then
    if not last then
      redis.call('DEL', key)
    end
    add(stamp, (last and last.sum or 0) + cost, cost)
    last = {at = stamp}
    used = used + cost
  end
  return {1, limit - used, 0, last and last.at + length - now or 0, stamp}
end
local freed = first
if first.own < needed then
  local target = first.sum - first.own + needed
  local low = (first.member and redis.call('ZRANK', key, first.member) or 0) + 1
  local high = redis.call('ZCARD', key) - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = ranked(middle)
    if not entry or entry.sum >= target then
      high = middle
    else
      low = middle + 1
    end
  end
  freed = ranked(low) or last
end
local retry = math.max(freed.at + length - now, 1)
return {0, math.max(limit - used, 0), retry, last.at + length - now, stamp}"
    ),
    |call| {
        let asked = Asked::of(call)?;
        twin(call, &asked)
    }
);

/// What was allowed at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: u64,
    /// The permits given since the log began, with its own.
    sum: u64,
    own: u64,
}

/// A log of entries, in this process.
pub(super) type Log = VecDeque<Entry>;

/// How a log is to be read: the time it goes by, and its part that counts.
#[derive(Clone, Copy, Debug)]
struct Reading {
    now: u64,
    /// Where the log's time is, if the clock has gone back.
    stamp: u64,
    /// The first and the last entry of the window; `None` if nothing counts.
    ends: Option<(Entry, Entry)>,
}

impl Reading {
    fn empty(now: u64) -> Self {
        Reading {
            now,
            stamp: now,
            ends: None,
        }
    }

    /// All that is there counts as taken now, because the clock went back by more than a window.
    fn pulled(now: u64, oldest: Entry, last: Entry, limit: u64) -> Self {
        let used = taken_between(oldest, last).min(limit);
        let entry = Entry {
            at: now,
            sum: used,
            own: used,
        };
        Reading {
            now,
            stamp: now,
            ends: (used > 0).then_some((entry, entry)),
        }
    }

    fn used(&self) -> u64 {
        self.ends
            .map_or(0, |(first, last)| taken_between(first, last))
    }

    /// What a check answers, and the entry that is to be added. `freed` finds the first entry with at least this sum.
    fn judge<E>(
        self,
        window: Window,
        cost: u64,
        takes: bool,
        freed: impl FnOnce(u64) -> Result<Option<Entry>, E>,
    ) -> Result<(Answer, Option<Entry>), E> {
        let Window { limit, length } = window;
        let used = self.used();
        let left = |entry: Entry| (entry.at + length).saturating_sub(self.now);
        let needed = (used + cost).saturating_sub(limit);
        if let Some((first, last)) = self.ends
            && needed > 0
        {
            let waited_for = if first.own >= needed {
                first
            } else {
                freed(first.sum - first.own + needed)?.unwrap_or(last)
            };
            let answer = Answer {
                allowed: false,
                remaining: limit.saturating_sub(used),
                retry_after: left(waited_for).max(1),
                reset_after: left(last),
                at: self.stamp,
            };
            return Ok((answer, None));
        }
        let last = self.ends.map(|(_, last)| last);
        let taken = (takes && cost > 0).then(|| Entry {
            at: self.stamp,
            sum: last.map_or(0, |last| last.sum) + cost,
            own: cost,
        });
        let answer = Answer {
            allowed: true,
            remaining: limit - used - taken.map_or(0, |entry| entry.own),
            retry_after: 0,
            reset_after: taken.or(last).map_or(0, left),
            at: self.stamp,
        };
        Ok((answer, taken))
    }
}

/// The permits of two entries and those between.
fn taken_between(first: Entry, last: Entry) -> u64 {
    (last.sum + first.own).saturating_sub(first.sum)
}

/// What a check answers. If it takes, the log keeps what still counts.
pub(super) fn step(log: &mut Log, now: u64, window: Window, cost: u64, takes: bool) -> Answer {
    let Window { limit, length } = window;
    let mut old = 0;
    let (reading, pulled) = match (log.front(), log.back()) {
        (Some(&oldest), Some(&last)) if last.at > now + length => {
            (Reading::pulled(now, oldest, last, limit), true)
        }
        (Some(_), Some(&last)) => {
            let stamp = now.max(last.at);
            old = log.partition_point(|entry| entry.at + length <= stamp);
            let reading = Reading {
                now,
                stamp,
                ends: log.get(old).map(|first| (*first, last)),
            };
            (reading, false)
        }
        _ => (Reading::empty(now), false),
    };
    let judged = reading.judge(window, cost, takes, |sum| {
        let at = log.partition_point(|entry| entry.sum < sum);
        Ok::<_, std::convert::Infallible>(log.get(at).copied())
    });
    let Ok((answer, taken)) = judged;
    if takes {
        if pulled {
            log.clear();
            log.extend(reading.ends.map(|(entry, _)| entry));
        }
        log.drain(..old);
        log.extend(taken);
    }
    answer
}

#[cfg(feature = "embedded")]
impl Entry {
    fn read(member: &[u8]) -> Option<Entry> {
        let [at, sum, own] = numbers(member, b"::")?;
        (own >= 1 && own <= sum).then_some(Entry { at, sum, own })
    }

    fn member(self) -> String {
        let Entry { at, sum, own } = self;
        format!("{at:016}:{sum:016}:{own}")
    }
}

/// The log in the embedded store.
#[cfg(feature = "embedded")]
struct Kept<'c, 'a> {
    call: &'c mut Call<'a>,
    key: &'a [u8],
    length: u64,
}

#[cfg(feature = "embedded")]
impl Kept<'_, '_> {
    /// The first member of a reply, if it is an entry.
    fn entry(&mut self, command: &[&[u8]]) -> Option<Entry> {
        match self.call.call(command) {
            Ok(Value::Array(members)) => match members.first() {
                Some(Value::BulkString(member)) => Entry::read(member),
                _ => None,
            },
            _ => None,
        }
    }

    fn ranked(&mut self, rank: i64) -> Option<Entry> {
        let rank = rank.to_string();
        self.entry(&[b"ZRANGE", self.key, rank.as_bytes(), rank.as_bytes()])
    }

    fn integer(&mut self, command: &[&[u8]]) -> Result<i64, ScriptError> {
        match self.call.call(command)? {
            Value::Int(number) => Ok(number),
            _ => Ok(0),
        }
    }

    fn add(&mut self, entry: Entry) -> Result<(), ScriptError> {
        let (score, member) = (entry.at.to_string(), entry.member());
        self.call
            .call(&[b"ZADD", self.key, score.as_bytes(), member.as_bytes()])?;
        let at = expiry(entry.at + self.length).to_string();
        self.call.call(&[b"PEXPIREAT", self.key, at.as_bytes()])?;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), ScriptError> {
        self.call.call(&[b"DEL", self.key])?;
        Ok(())
    }

    /// The first entry with at least this sum, after the first of the window.
    fn freed(&mut self, first: Entry, sum: u64) -> Result<Option<Entry>, ScriptError> {
        let member = first.member();
        let rank = self.integer(&[b"ZRANK", self.key, member.as_bytes()])?;
        let (mut low, mut high) = (rank + 1, self.integer(&[b"ZCARD", self.key])? - 1);
        while low < high {
            let middle = (low + high) / 2;
            match self.ranked(middle) {
                Some(entry) if entry.sum < sum => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(self.ranked(low))
    }
}

#[cfg(feature = "embedded")]
pub(super) fn twin<'a>(call: &mut Call<'a>, asked: &Asked<'a>) -> Result<Value, ScriptError> {
    let Asked {
        key, now, takes, ..
    } = *asked;
    let (limit, length, cost) = (asked.number(0), asked.number(1), asked.number(2));
    let mut kept = Kept { call, key, length };
    let reading = match kept.ranked(-1) {
        Some(last) if last.at > now + length => match kept.ranked(0) {
            Some(oldest) => {
                let reading = Reading::pulled(now, oldest, last, limit);
                if let (true, Some((entry, _))) = (takes, reading.ends) {
                    kept.clear()?;
                    kept.add(entry)?;
                }
                reading
            }
            None => Reading::empty(now),
        },
        Some(last) => {
            let stamp = now.max(last.at);
            let before = stamp.saturating_sub(length);
            let text = before.to_string();
            if takes {
                kept.call
                    .call(&[b"ZREMRANGEBYSCORE", key, b"-inf", text.as_bytes()])?;
            }
            let after = format!("({text}");
            let first = kept.entry(&[
                b"ZRANGEBYSCORE",
                key,
                after.as_bytes(),
                b"+inf",
                b"LIMIT",
                b"0",
                b"1",
            ]);
            match first {
                Some(first)
                    if taken_between(first, last) > 0
                        && first.at > before
                        && first.at <= last.at =>
                {
                    Reading {
                        now,
                        stamp,
                        ends: Some((first, last)),
                    }
                }
                _ => Reading::empty(now),
            }
        }
        None => Reading::empty(now),
    };
    let judged = reading.judge(Window { limit, length }, cost, takes, |sum| {
        match reading.ends {
            Some((first, _)) => kept.freed(first, sum),
            None => Ok(None),
        }
    });
    let (answer, taken) = judged?;
    if let Some(entry) = taken {
        if reading.ends.is_none() {
            kept.clear()?;
        }
        kept.add(entry)?;
    }
    Ok(reply(answer))
}
