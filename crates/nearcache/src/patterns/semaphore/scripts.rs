//! What a semaphore does at the server: a permit is taken, renewed and given back in one step each.
//!
//! The holders are a sorted set: each owner's score is the time at which its permit ends, in Unix milliseconds by the
//! server's clock. A permit whose time has come is none any more, whether it was removed or not.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

use crate::patterns::lock::scripts::token_lua;
#[cfg(feature = "embedded")]
use crate::patterns::lock::scripts::{self, millis, number, taken, text};
use crate::script::{Script, script};

/// Lua that has the set live as long as its last holder.
macro_rules! expire {
    () => {
        "local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], last[2])
"
    };
}

/// KEYS: the holders, the last token. ARGV: the owner, the TTL in ms, how many may hold at a time.
///
/// Returns `{1, token}` if the owner holds a permit now; `{0, ms}` if there is none free, for so long at most unless
/// the first that ends is renewed.
pub(crate) static ACQUIRE: Script = script!(
    concat!(
        "local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return {0, first[2] and first[2] - now or 0}
end
",
        token_lua!(),
        "redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
",
        expire!(),
        "return {1, token}"
    ),
    acquire
);

#[cfg(feature = "embedded")]
fn acquire(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let (holders, owner) = (keys[0], args[0]);
    let now = millis(call)?;
    let gone = format!("{now:.0}");
    call.call(&[b"ZREMRANGEBYSCORE", holders, b"-inf", gone.as_bytes()])?;
    if call.call(&[b"ZSCORE", holders, owner])? == Value::Nil {
        let Value::Int(held) = call.call(&[b"ZCARD", holders])? else {
            return Err(ScriptError::new("ERR ZCARD gives no number"));
        };
        if held as f64 >= number(args[2])? {
            let left = end_at(call, b"0")?.map_or(0.0, |end| end - now);
            return Ok(Value::Array(vec![Value::Int(0), Value::Int(left as i64)]));
        }
    }
    let token = scripts::next_token(call)?;
    hold(call, holders, owner, now + number(args[1])?)?;
    Ok(taken(token))
}

/// KEYS: the holders. ARGV: the owner, the TTL in ms.
///
/// Returns 1 if the owner holds a permit, for the whole TTL again.
pub(crate) static RENEW: Script = script!(
    concat!(
        "local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= now then
  return 0
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
",
        expire!(),
        "return 1"
    ),
    renew
);

#[cfg(feature = "embedded")]
fn renew(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (holders, args) = (call.keys()[0], call.args());
    let now = millis(call)?;
    let ends = text(call.call(&[b"ZSCORE", holders, args[0]])?);
    match ends.map(|ends| number(&ends)).transpose()? {
        Some(ends) if ends > now => {
            hold(call, holders, args[0], now + number(args[1])?)?;
            Ok(Value::Int(1))
        }
        _ => Ok(Value::Int(0)),
    }
}

/// KEYS: the holders. ARGV: the owner.
///
/// Returns 1 if the owner held a permit.
pub(crate) static RELEASE: Script =
    script!("return redis.call('ZREM', KEYS[1], ARGV[1])", |call| call
        .call(&[b"ZREM", call.keys()[0], call.args()[0]]));

/// KEYS: the holders.
///
/// Returns how many permits are held.
pub(crate) static COUNT: Script = script!(
    "local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return redis.call('ZCOUNT', KEYS[1], '(' .. string.format('%.0f', now), '+inf')",
    |call| {
        let after = format!("({:.0}", millis(call)?);
        call.call(&[b"ZCOUNT", call.keys()[0], after.as_bytes(), b"+inf"])
    }
);

/// Gives an owner a permit until then, and has the set live as long as its last holder.
#[cfg(feature = "embedded")]
fn hold(call: &mut Call<'_>, holders: &[u8], owner: &[u8], until: f64) -> Result<(), ScriptError> {
    let until = format!("{until:.0}");
    call.call(&[b"ZADD", holders, until.as_bytes(), owner])?;
    let last = end_at(call, b"-1")?.unwrap_or_default();
    let last = format!("{last:.0}");
    call.call(&[b"PEXPIREAT", holders, last.as_bytes()])?;
    Ok(())
}

/// When the holder at this rank ends.
#[cfg(feature = "embedded")]
fn end_at(call: &mut Call<'_>, rank: &[u8]) -> Result<Option<f64>, ScriptError> {
    let ends: [&[u8]; 5] = [b"ZRANGE", call.keys()[0], rank, rank, b"WITHSCORES"];
    match call.call(&ends)? {
        Value::Array(mut pair) => pair
            .pop()
            .and_then(text)
            .map(|ends| number(&ends))
            .transpose(),
        _ => Ok(None),
    }
}
