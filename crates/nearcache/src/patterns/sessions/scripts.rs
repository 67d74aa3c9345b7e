//! The scripts of sessions, and their twins.
//!
//! 1. A script has one key, a session's record. The user's version is another key, perhaps in another cluster slot: it
//!    is compared by the caller.
//! 2. The time is the server's. A session past its end is deleted by whoever looks.
//! 3. What is no record is answered by 0, and left as it is.
//! 4. A script that is sent twice does no harm: a write knows its own revision.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

#[cfg(feature = "embedded")]
use super::record::{ENDS, MAGIC, REVISION, value_at};
use crate::script::{Script, script};

/// The furthest end that a record can have: an integer that Lua still counts exactly, of 16 digits.
#[cfg(feature = "embedded")]
const FURTHEST: u64 = 9_000_000_000_000_000;

/// Gets the time.
macro_rules! clock {
    () => {
        "local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function alive(idle, left)
  return string.format('%.0f', math.min(tonumber(idle), left))
end
"
    };
}

/// Gets the record and how long it has left, or returns.
macro_rules! record {
    () => {
        concat!(
            clock!(),
            "local record = redis.pcall('GET', KEYS[1])
if not record then
  return false
end
if type(record) ~= 'string' then
  return 0
end
local digits = string.rep('%d', 16)
local ends = string.match(record, '^\\193NS\\1(' .. digits .. ')')
if not ends or #record < 38 then
  return 0
end
local user = string.byte(record, 37) * 256 + string.byte(record, 38)
if user > 0 then
  user = user + 16
end
if #record < 38 + user then
  return 0
end
local left = tonumber(ends) - now
if left <= 0 then
  redis.call('DEL', KEYS[1])
  return false
end
"
        )
    };
}

/// KEYS: the session. ARGV: the idle time in ms.
///
/// Returns the record, which now has the idle time before it; nil if there is none; 0 if there is something else.
pub(crate) static LOAD: Script = script!(
    concat!(
        record!(),
        "redis.call('PEXPIRE', KEYS[1], alive(ARGV[1], left))
return record"
    ),
    |call| {
        let found = match Found::of(call)? {
            Ok(found) => found,
            Err(answer) => return Ok(answer),
        };
        let time = alive(call.args()[0], found.left)?;
        call.call(&[b"PEXPIRE", call.keys()[0], time.as_bytes()])?;
        Ok(Value::BulkString(found.record))
    }
);

/// KEYS: the session. ARGV: a new revision; whose it is; the value; the idle time in ms; when it ends ("": after the
/// time that follows), as 16 digits; the absolute time in ms.
///
/// Returns 1; 2 if the key is taken; 0 if the end has passed.
pub(crate) static OPEN: Script = script!(
    concat!(
        clock!(),
        "local ends = ARGV[5]
if ends == '' then
  ends = string.format('%016.0f', math.min(now + tonumber(ARGV[6]), 9000000000000000))
end
local left = tonumber(ends) - now
if left <= 0 then
  return 0
end
local record = '\\193NS\\1' .. ends .. ARGV[1] .. ARGV[2] .. ARGV[3]
if redis.call('SET', KEYS[1], record, 'NX', 'PX', alive(ARGV[4], left)) then
  return 1
end
if redis.pcall('GETRANGE', KEYS[1], 20, 35) == ARGV[1] then
  return 1
end
return 2"
    ),
    open
);

#[cfg(feature = "embedded")]
fn open(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (key, args) = (call.keys()[0], call.args());
    let now = now(call)?;
    let ends = match args[4] {
        b"" => now.saturating_add(number(args[5])?).min(FURTHEST),
        ends => number(ends)?,
    };
    if ends <= now {
        return Ok(Value::Int(0));
    }
    let digits = format!("{ends:016}");
    let record = [&MAGIC, digits.as_bytes(), args[0], args[1], args[2]].concat();
    let time = alive(args[3], ends - now)?;
    if call.call(&[b"SET", key, &record, b"NX", b"PX", time.as_bytes()])? != Value::Nil {
        return Ok(Value::Int(1));
    }
    let revision = call.call(&[b"GETRANGE", key, b"20", b"35"]).ok();
    let own = revision == Some(Value::BulkString(args[0].to_vec()));
    Ok(Value::Int(if own { 1 } else { 2 }))
}

/// KEYS: the session. ARGV: the revision that was read ("": any); a new revision; the value; the idle time in ms; when
/// it ends ("": as before), as 16 digits.
///
/// Returns `{1, whose it is}`; `{0, record}` if the record has another revision; nil if there is none, or if the end
/// has passed; 0 if there is something else.
pub(crate) static SAVE: Script = script!(
    concat!(
        record!(),
        "local revision = string.sub(record, 21, 36)
if ARGV[1] ~= '' and revision ~= ARGV[1] and revision ~= ARGV[2] then
  return {0, record}
end
if ARGV[5] ~= '' then
  ends = ARGV[5]
  left = tonumber(ends) - now
  if left <= 0 then
    redis.call('DEL', KEYS[1])
    return false
  end
end
local owner = string.sub(record, 37, 38 + user)
redis.call('SET', KEYS[1], '\\193NS\\1' .. ends .. ARGV[2] .. owner .. ARGV[3], 'PX', alive(ARGV[4], left))
return {1, owner}"
    ),
    save
);

#[cfg(feature = "embedded")]
fn save(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let found = match Found::of(call)? {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let (key, args) = (call.keys()[0], call.args());
    let Found {
        record, now, left, ..
    } = &found;
    let (mut ends, mut left) = (&record[ENDS], *left);
    let known = [args[0], args[1]].contains(&&record[REVISION]);
    if !args[0].is_empty() && !known {
        let record = Value::BulkString(found.record);
        return Ok(Value::Array(vec![Value::Int(0), record]));
    }
    if !args[4].is_empty() {
        ends = args[4];
        left = number(ends)?.saturating_sub(*now);
        if left == 0 {
            call.call(&[b"DEL", key])?;
            return Ok(Value::Nil);
        }
    }
    let owner = &record[REVISION.end..found.value_at];
    let record = [&MAGIC, ends, args[1], owner, args[2]].concat();
    let time = alive(args[3], left)?;
    call.call(&[b"SET", key, &record, b"PX", time.as_bytes()])?;
    let owner = Value::BulkString(owner.to_vec());
    Ok(Value::Array(vec![Value::Int(1), owner]))
}

/// KEYS: the session. ARGV: the revision that was read.
///
/// Returns 1: the session is deleted; 2 if it has another revision; nil if there is none; 0 if there is something else.
pub(crate) static REMOVE: Script = script!(
    concat!(
        record!(),
        "if string.sub(record, 21, 36) ~= ARGV[1] then
  return 2
end
redis.call('DEL', KEYS[1])
return 1"
    ),
    |call| {
        let found = match Found::of(call)? {
            Ok(found) => found,
            Err(answer) => return Ok(answer),
        };
        if &found.record[REVISION] != call.args()[0] {
            return Ok(Value::Int(2));
        }
        call.call(&[b"DEL", call.keys()[0]])
    }
);

/// A record, and how long it has left.
#[cfg(feature = "embedded")]
struct Found {
    record: Vec<u8>,
    value_at: usize,
    now: u64,
    left: u64,
}

#[cfg(feature = "embedded")]
impl Found {
    /// The record, or the script's answer if there is none.
    fn of(call: &mut Call<'_>) -> Result<Result<Found, Value>, ScriptError> {
        const FOREIGN: Value = Value::Int(0);
        let key = call.keys()[0];
        let now = now(call)?;
        let record = match call.call(&[b"GET", key]) {
            Ok(Value::BulkString(record)) => record,
            Ok(Value::Nil) => return Ok(Err(Value::Nil)),
            _ => return Ok(Err(FOREIGN)),
        };
        let Some(value_at) = value_at(&record) else {
            return Ok(Err(FOREIGN));
        };
        let left = number(&record[ENDS])?.saturating_sub(now);
        if left == 0 {
            call.call(&[b"DEL", key])?;
            return Ok(Err(Value::Nil));
        }
        Ok(Ok(Found {
            record,
            value_at,
            now,
            left,
        }))
    }
}

/// The server's time, in Unix milliseconds.
#[cfg(feature = "embedded")]
fn now(call: &mut Call<'_>) -> Result<u64, ScriptError> {
    if let Value::Array(time) = call.call(&[b"TIME"])?
        && let [Value::BulkString(seconds), Value::BulkString(micros)] = &time[..]
    {
        return Ok(number(seconds)? * 1_000 + number(micros)? / 1_000);
    }
    Err(ScriptError::new("ERR TIME gave no time"))
}

/// How long the key lives: the idle time, but not past the end.
#[cfg(feature = "embedded")]
fn alive(idle: &[u8], left: u64) -> Result<String, ScriptError> {
    Ok(number(idle)?.min(left).to_string())
}

#[cfg(feature = "embedded")]
fn number(text: &[u8]) -> Result<u64, ScriptError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ScriptError::new("ERR value is not an integer or out of range"))
}
