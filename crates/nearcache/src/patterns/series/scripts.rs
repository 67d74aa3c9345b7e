//! Counting in the bucket of the current time, and reading the last buckets.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

use crate::script::{Script, script};

/// KEYS: buckets that follow one another. ARGV: the number of the first; how long a bucket is, and how long one lives from
/// its beginning on, in ms; a command, and its arguments after the key.
///
/// Runs the command on the bucket of the current time, and returns `{the time in ms, its reply}`; or `{the time}` if the
/// bucket is none of these. A bucket that is new gets its TTL. The reply to INCRBY is the sum as text, because a number of
/// Lua is exact up to 2^53 only.
pub(crate) static COUNT: Script = script!(
    "local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local length = tonumber(ARGV[2])
local bucket = math.floor(now / length)
local key = KEYS[bucket - tonumber(ARGV[1]) + 1]
if not key then
  return {now}
end
local reply = redis.call(ARGV[4], key, unpack(ARGV, 5))
if ARGV[4] == 'INCRBY' then
  reply = redis.call('GET', key)
end
if redis.call('PTTL', key) == -1 then
  redis.call('PEXPIRE', key, bucket * length + tonumber(ARGV[3]) - now)
end
return {now, reply}",
    count
);

#[cfg(feature = "embedded")]
use super::buckets::Buckets;

/// The time, the current bucket, and its place among those from `first` on.
#[cfg(feature = "embedded")]
fn now(
    call: &mut Call<'_>,
    first: i64,
    buckets: Buckets,
) -> Result<(i64, i64, Option<usize>), ScriptError> {
    let part = |value: Option<&Value>| match value {
        Some(Value::BulkString(text)) => number(text),
        _ => 0,
    };
    let now = match call.call(&[b"TIME"])? {
        Value::Array(time) => part(time.first()) * 1_000 + part(time.get(1)) / 1_000,
        _ => 0,
    };
    let bucket = buckets.at(now);
    let place = usize::try_from(bucket - first).ok();
    Ok((now, bucket, place))
}

#[cfg(feature = "embedded")]
fn number(text: &[u8]) -> i64 {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(feature = "embedded")]
fn buckets(length: &[u8]) -> Buckets {
    Buckets(number(length).max(1).unsigned_abs())
}

#[cfg(feature = "embedded")]
fn count(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let buckets = buckets(args[1]);
    let (now, bucket, place) = self::now(call, number(args[0]), buckets)?;
    let Some(key) = place.and_then(|place| keys.get(place)) else {
        return Ok(Value::Array(vec![Value::Int(now)]));
    };
    let mut command = vec![args[3], *key];
    command.extend(&args[4..]);
    let mut reply = call.call(&command)?;
    if args[3] == b"INCRBY" {
        reply = call.call(&[b"GET", key])?;
    }
    if call.call(&[b"PTTL", key])? == Value::Int(-1) {
        let left = buckets.start(bucket) + number(args[2]) - now;
        call.call(&[b"PEXPIRE", key, left.to_string().as_bytes()])?;
    }
    Ok(Value::Array(vec![Value::Int(now), reply]))
}

/// KEYS: buckets that follow one another. ARGV: the number of the first; how long a bucket is, in ms; how many buckets to
/// read, up to the current one; MGET, PFCOUNT or ZUNION; how many members of the union at most.
///
/// Returns `{the time in ms, the command's reply}`, or `{the time}` if the buckets are not among these. Of a union, the
/// members with the highest scores, with their scores.
pub(crate) static READ: Script = script!(
    "local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local wanted = tonumber(ARGV[3])
local last = math.floor(now / tonumber(ARGV[2])) - tonumber(ARGV[1]) + 1
if last < wanted or last > #KEYS then
  return {now}
end
local from = last - wanted + 1
if ARGV[4] ~= 'ZUNION' then
  return {now, redis.call(ARGV[4], unpack(KEYS, from, last))}
end
local command = {'ZUNION', wanted}
for i = from, last do
  command[#command + 1] = KEYS[i]
end
command[#command + 1] = 'WITHSCORES'
local all = redis.call(unpack(command))
local top = {}
local at = #all - 1
while at > 0 and #top < 2 * tonumber(ARGV[5]) do
  top[#top + 1] = all[at]
  top[#top + 1] = all[at + 1]
  at = at - 2
end
return {now, top}",
    read
);

#[cfg(feature = "embedded")]
fn read(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let (now, _, place) = self::now(call, number(args[0]), buckets(args[1]))?;
    let wanted = usize::try_from(number(args[2])).unwrap_or(0);
    let Some(keys) = place
        .map(|place| place + 1)
        .filter(|last| *last >= wanted)
        .and_then(|last| keys.get(last - wanted..last))
    else {
        return Ok(Value::Array(vec![Value::Int(now)]));
    };
    let count = wanted.to_string();
    let mut command = vec![args[3]];
    if args[3] == b"ZUNION" {
        command.push(count.as_bytes());
    }
    command.extend(keys);
    if args[3] != b"ZUNION" {
        let reply = call.call(&command)?;
        return Ok(Value::Array(vec![Value::Int(now), reply]));
    }
    command.push(b"WITHSCORES");
    let Value::Array(mut all) = call.call(&command)? else {
        return Ok(Value::Array(vec![
            Value::Int(now),
            Value::Array(Vec::new()),
        ]));
    };
    let limit = usize::try_from(number(args[4])).unwrap_or(0);
    let mut top = Vec::new();
    while top.len() < 2 * limit
        && let (Some(score), Some(member)) = (all.pop(), all.pop())
    {
        top.extend([member, score]);
    }
    Ok(Value::Array(vec![Value::Int(now), Value::Array(top)]))
}
