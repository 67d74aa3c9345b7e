//! What a lock does at the server: it is taken, renewed and released in one step each.
//!
//! The lock is a string, `TOKEN:OWNER`, which expires. `OWNER` is 32 random hexadecimal digits: a step that names
//! another owner than the one in the lock changes nothing. The last token outlives the lock.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

use crate::script::{Script, script};

/// How long the last token is kept after the last lock has expired. By then the server's clock is ahead of it, unless
/// it was set back by as much.
#[cfg(feature = "embedded")]
const KEPT_MS: f64 = 604_800_000.0;

/// Lua that makes the next token in `token`, and keeps it in `KEYS[2]` for a week after what is taken for `ARGV[2]` ms:
/// the server's clock in microseconds, or one more than the last one if that is more.
macro_rules! token_lua {
    () => {
        "local time = redis.call('TIME')
local next = time[1] * 1000000 + time[2]
local last = redis.call('GET', KEYS[2])
if last and #last <= 16 and string.find(last, '^%d+$') then
  next = math.max(last + 1, next)
end
local token = string.format('%.0f', next)
redis.call('SET', KEYS[2], token, 'PXAT', string.format('%.0f', math.floor(next / 1000) + ARGV[2] + 604800000))
"
    };
}
pub(in crate::patterns) use token_lua;

/// KEYS: the lock, the last token. ARGV: the owner, the TTL in ms.
///
/// Returns `{1, token}` if the lock is the owner's now: it was free, or an earlier try whose reply was lost has taken
/// it. `{0, ms}` if somebody else has it, for so long at most unless it is renewed.
pub(crate) static ACQUIRE: Script = script!(
    concat!(
        "local held = redis.call('GET', KEYS[1])
if held then
  if string.sub(held, -#ARGV[1]) ~= ARGV[1] then
    return {0, redis.call('PTTL', KEYS[1])}
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, string.sub(held, 1, math.max(#held - #ARGV[1] - 1, 0))}
end
",
        token_lua!(),
        "redis.call('SET', KEYS[1], token .. ':' .. ARGV[1], 'PX', ARGV[2])
return {1, token}"
    ),
    acquire
);

#[cfg(feature = "embedded")]
fn acquire(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let (lock, owner, ttl) = (keys[0], args[0], args[1]);
    if let Some(held) = text(call.call(&[b"GET", lock])?) {
        let Some(token) = held.strip_suffix(owner) else {
            let left = call.call(&[b"PTTL", lock])?;
            return Ok(Value::Array(vec![Value::Int(0), left]));
        };
        call.call(&[b"PEXPIRE", lock, ttl])?;
        let token = token[..token.len().saturating_sub(1)].to_vec();
        return Ok(Value::Array(vec![Value::Int(1), Value::BulkString(token)]));
    }
    let token = next_token(call)?;
    let value = [token.as_bytes(), b":", owner].concat();
    call.call(&[b"SET", lock, &value, b"PX", ttl])?;
    Ok(taken(token))
}

/// KEYS: the lock. ARGV: the owner, the TTL in ms.
///
/// Returns 1 if the lock is the owner's, and lives for the whole TTL again.
pub(crate) static RENEW: Script = script!(
    "local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0",
    |call| {
        let (lock, args) = (call.keys()[0], call.args());
        match text(call.call(&[b"GET", lock])?) {
            Some(held) if held.ends_with(args[0]) => call.call(&[b"PEXPIRE", lock, args[1]]),
            _ => Ok(Value::Int(0)),
        }
    }
);

/// KEYS: the lock. ARGV: the owner.
///
/// Returns 1 if the lock was the owner's, and is free now.
pub(crate) static RELEASE: Script = script!(
    "local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0",
    |call| {
        let (lock, owner) = (call.keys()[0], call.args()[0]);
        match text(call.call(&[b"GET", lock])?) {
            Some(held) if held.ends_with(owner) => call.call(&[b"DEL", lock]),
            _ => Ok(Value::Int(0)),
        }
    }
);

/// What `token_lua!` does.
#[cfg(feature = "embedded")]
pub(in crate::patterns) fn next_token(call: &mut Call<'_>) -> Result<String, ScriptError> {
    let (last, ttl) = (call.keys()[1], number(call.args()[1])?);
    let mut next = micros(call)?;
    let held = text(call.call(&[b"GET", last])?);
    let held = held.filter(|held| held.len() <= 16 && held.iter().all(u8::is_ascii_digit));
    if let Some(held) = held.filter(|held| !held.is_empty()) {
        next = next.max(number(&held)? + 1.0);
    }
    let token = format!("{next:.0}");
    let until = format!("{:.0}", (next / 1_000.0).floor() + ttl + KEPT_MS);
    let kept: [&[u8]; 5] = [b"SET", last, token.as_bytes(), b"PXAT", until.as_bytes()];
    call.call(&kept)?;
    Ok(token)
}

/// The server's time in microseconds.
#[cfg(feature = "embedded")]
pub(in crate::patterns) fn micros(call: &mut Call<'_>) -> Result<f64, ScriptError> {
    let Value::Array(time) = call.call(&[b"TIME"])? else {
        return Err(ScriptError::new("ERR TIME tells no time"));
    };
    let mut parts = time.into_iter().map(text);
    let mut part = || number(&parts.next().flatten().unwrap_or_default());
    Ok(part()? * 1_000_000.0 + part()?)
}

/// The server's time in milliseconds.
#[cfg(feature = "embedded")]
pub(in crate::patterns) fn millis(call: &mut Call<'_>) -> Result<f64, ScriptError> {
    Ok((micros(call)? / 1_000.0).floor())
}

/// That it was taken, with its token.
#[cfg(feature = "embedded")]
pub(in crate::patterns) fn taken(token: String) -> Value {
    let token = Value::BulkString(token.into_bytes());
    Value::Array(vec![Value::Int(1), token])
}

#[cfg(feature = "embedded")]
pub(in crate::patterns) fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// A number, as Lua calculates: in 64 bits of floating point.
#[cfg(feature = "embedded")]
pub(in crate::patterns) fn number(text: &[u8]) -> Result<f64, ScriptError> {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| ScriptError::new("ERR an argument of the script is no number"))
}
