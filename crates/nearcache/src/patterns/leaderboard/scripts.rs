//! The scripts of a leaderboard. Its scores have their sign turned: the lowest is the best.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

use crate::script::{Script, script};
#[cfg(feature = "embedded")]
use crate::structures::{float, score_text};

/// KEYS: the leaderboard. ARGV: `best`, `sum` or `last`; the score; the player; when the key ends in Unix ms, "0": never.
///
/// Returns the player's score, and how many players have a better one.
pub(crate) static SUBMIT: Script = script!(
    "if ARGV[1] == 'best' then
  redis.call('ZADD', KEYS[1], 'LT', ARGV[2], ARGV[3])
elseif ARGV[1] == 'sum' then
  redis.call('ZINCRBY', KEYS[1], ARGV[2], ARGV[3])
else
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
end
if ARGV[4] ~= '0' then
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
local score = redis.call('ZSCORE', KEYS[1], ARGV[3])
if not score then
  return {ARGV[2], 0}
end
return {score, redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)}",
    submit
);

#[cfg(feature = "embedded")]
fn submit(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    match args[0] {
        b"best" => call.call(&[b"ZADD", keys[0], b"LT", args[1], args[2]])?,
        b"sum" => call.call(&[b"ZINCRBY", keys[0], args[1], args[2]])?,
        _ => call.call(&[b"ZADD", keys[0], args[1], args[2]])?,
    };
    if args[3] != b"0" {
        call.call(&[b"PEXPIREAT", keys[0], args[3]])?;
    }
    let score = call.call(&[b"ZSCORE", keys[0], args[2]])?;
    if score == Value::Nil {
        let given = Value::BulkString(args[1].to_vec());
        return Ok(Value::Array(vec![given, Value::Int(0)]));
    }
    let better = better(call, &score)?;
    Ok(Value::Array(vec![score, better]))
}

/// How many players have a better score than this.
#[cfg(feature = "embedded")]
fn better(call: &mut Call<'_>, score: &Value) -> Result<Value, ScriptError> {
    let score = match score {
        Value::BulkString(text) => text.clone(),
        // As RESP3 has it.
        other => {
            let score = float("ZSCORE", other).ok().flatten().map(score_text);
            score.and_then(Result::ok).unwrap_or_default().into_bytes()
        }
    };
    let keys = call.keys();
    call.call(&[b"ZCOUNT", keys[0], b"-inf", &[b"(", &*score].concat()])
}

/// KEYS: the leaderboard. ARGV: the player.
///
/// Returns the player's score, and how many players have a better one; nil without a score.
pub(crate) static STANDING: Script = script!(
    "local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then
  return false
end
return {score, redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)}",
    standing
);

#[cfg(feature = "embedded")]
fn standing(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let score = call.call(&[b"ZSCORE", keys[0], args[0]])?;
    if score == Value::Nil {
        return Ok(Value::Nil);
    }
    let better = better(call, &score)?;
    Ok(Value::Array(vec![score, better]))
}

/// KEYS: the leaderboard. ARGV: the player; how many players before and after are wanted.
///
/// Returns how many players are before the first that is returned, how many have a better score than that one, and the
/// players with their scores; nil without a score.
pub(crate) static AROUND: Script = script!(
    "local rank = redis.call('ZRANK', KEYS[1], ARGV[1])
if not rank then
  return false
end
local from = math.max(rank - ARGV[2], 0)
local found = redis.call('ZRANGE', KEYS[1], from, rank + ARGV[2], 'WITHSCORES')
return {from, redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. found[2]), found}",
    around
);

#[cfg(feature = "embedded")]
fn around(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let Value::Int(rank) = call.call(&[b"ZRANK", keys[0], args[0]])? else {
        return Ok(Value::Nil);
    };
    let wanted: i64 = std::str::from_utf8(args[1])
        .ok()
        .and_then(|wanted| wanted.parse().ok())
        .unwrap_or(0);
    let from = rank.saturating_sub(wanted).max(0);
    let (first, last) = (from.to_string(), rank.saturating_add(wanted).to_string());
    let range: [&[u8]; 5] = [
        b"ZRANGE",
        keys[0],
        first.as_bytes(),
        last.as_bytes(),
        b"WITHSCORES",
    ];
    let found = call.call(&range)?;
    // Flat, or in pairs.
    let score = match &found {
        Value::Array(flat) => match flat.first() {
            Some(Value::Array(pair)) => pair.get(1).cloned(),
            _ => flat.get(1).cloned(),
        },
        _ => None,
    };
    let better = better(call, &score.unwrap_or(Value::Nil))?;
    Ok(Value::Array(vec![Value::Int(from), better, found]))
}
