//! Scripts that change an entry only if there is one, or only if there is none. What counts as one is in `presence`.
//!
//! A script cannot judge an envelope: that needs the versions of its tags, which are other keys, perhaps in another
//! slot. So it does at once what needs no judgement, which is everything about plain bytes; and for an envelope it
//! returns the beginning, which the caller judges. The next script then names the beginning that was judged, and does
//! nothing if another one is there by now.
//!
//! 1. A script about an entry has no keys but the entry and its lease.
//! 2. A judgement holds as long as the beginning is the same: it holds the versions of the tags, which never repeat,
//!    and the time at which the value becomes stale.
//! 3. What may create an entry deletes its lease in the same script.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

#[cfg(feature = "embedded")]
use super::lease::{are_versions, bytes, live_on, number};
#[cfg(feature = "embedded")]
use crate::codec::envelope::{MAGIC, SOFT_FIELD};
use crate::script::{Script, script};

/// How many bytes of an entry to read in order to get nearly every envelope whole.
pub(super) const HEAD: usize = 512;

/// KEYS: the entry, its lease. ARGV: the value; its TTL in ms ("0": no expiry; "-1": that of the entry); "NX" or "XX"
/// for a condition; the beginning of the entry that was judged ("": none yet); "1" if that is the whole entry.
///
/// Returns 1 if the value was stored, 0 if not; 2 if the entry is not the judged one any more; `{beginning, PTTL}` if
/// it has an envelope, which is to be judged. In every case the lease is gone. A judged entry is replaced without a
/// condition.
pub(crate) static PUT: Script = script!(
    "redis.call('DEL', KEYS[2])
local judged = ARGV[4]
local head = redis.pcall('GETRANGE', KEYS[1], 0, 2)
if judged ~= '' then
  if head ~= '\\193NC' or redis.call('GETRANGE', KEYS[1], 0, #judged - 1) ~= judged then
    return 2
  end
  if ARGV[5] == '1' and redis.call('STRLEN', KEYS[1]) ~= #judged then
    return 2
  end
elseif head == '\\193NC' then
  return {redis.call('GETRANGE', KEYS[1], 0, 511), redis.call('PTTL', KEYS[1])}
end
local set = {'SET', KEYS[1], ARGV[1]}
if ARGV[2] == '-1' then
  set[4] = 'KEEPTTL'
elseif ARGV[2] ~= '0' then
  set[4] = 'PX'
  set[5] = ARGV[2]
end
if judged == '' and ARGV[3] ~= '' then
  set[#set + 1] = ARGV[3]
end
if redis.call(unpack(set)) then
  return 1
end
return 0",
    put
);

#[cfg(feature = "embedded")]
fn put(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let (entry, judged) = (keys[0], args[3]);
    call.call(&[b"DEL", keys[1]])?;
    let enveloped = begins_like_an_envelope(call, entry);
    if !judged.is_empty() {
        if !enveloped || !is_still(call, entry, judged, args[4])? {
            return Ok(Value::Int(2));
        }
    } else if enveloped {
        return beginning(call, entry);
    }
    let mut set: Vec<&[u8]> = vec![b"SET", entry, args[0]];
    match args[1] {
        b"-1" => set.push(b"KEEPTTL"),
        b"0" => {}
        millis => set.extend([&b"PX"[..], millis]),
    }
    if judged.is_empty() && !args[2].is_empty() {
        set.push(args[2]);
    }
    Ok(Value::Int(i64::from(call.call(&set)? != Value::Nil)))
}

/// KEYS: the entry. ARGV: "PEXPIRE", "PEXPIREAT", "PERSIST" or "TOUCH"; its argument ("": none); "1" to read the entry
/// as well.
///
/// Without an envelope, runs the command, and returns the entry if it is to be read, the command's reply if not. With
/// one, returns `{beginning, PTTL}`, or `{entry, PTTL}` if it is to be read: it is to be judged, and nothing has
/// changed.
pub(crate) static PROLONG: Script = script!(
    "if redis.pcall('GETRANGE', KEYS[1], 0, 2) == '\\193NC' then
  local head = redis.call('GETRANGE', KEYS[1], 0, ARGV[3] == '1' and -1 or 511)
  return {head, redis.call('PTTL', KEYS[1])}
end
local entry = false
if ARGV[3] == '1' then
  entry = redis.call('GET', KEYS[1])
end
local done
if ARGV[2] == '' then
  done = redis.call(ARGV[1], KEYS[1])
else
  done = redis.call(ARGV[1], KEYS[1], ARGV[2])
end
if ARGV[3] == '1' then
  return entry
end
return done",
    prolong
);

#[cfg(feature = "embedded")]
fn prolong(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (key, args) = (call.keys()[0], call.args());
    let reads = args[2] == b"1";
    if begins_like_an_envelope(call, key) {
        if !reads {
            return beginning(call, key);
        }
        let whole = call.call(&[b"GET", key])?;
        return Ok(Value::Array(vec![whole, call.call(&[b"PTTL", key])?]));
    }
    let entry = if reads {
        Some(call.call(&[b"GET", key])?)
    } else {
        None
    };
    let done = run(call, key, args[0], args[1])?;
    Ok(entry.unwrap_or(done))
}

/// KEYS: the entry. ARGV: its beginning, as it was judged; "1" if that is the whole entry; the new beginning, of the
/// same length; a command and its argument, as in PROLONG.
///
/// Returns 1, or 0 if the entry is not the judged one any more.
pub(crate) static RETIME: Script = script!(
    "if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '1' and redis.call('STRLEN', KEYS[1]) ~= #ARGV[1] then
  return 0
end
if ARGV[3] ~= ARGV[1] then
  redis.call('SETRANGE', KEYS[1], 0, ARGV[3])
end
if ARGV[5] == '' then
  redis.call(ARGV[4], KEYS[1])
else
  redis.call(ARGV[4], KEYS[1], ARGV[5])
end
return 1",
    |call| {
        let (key, args) = (call.keys()[0], call.args());
        if !is_still(call, key, args[0], args[1])? {
            return Ok(Value::Int(0));
        }
        if args[2] != args[0] {
            call.call(&[b"SETRANGE", key, b"0", args[2]])?;
        }
        run(call, key, args[3], args[4])?;
        Ok(Value::Int(1))
    }
);

/// KEYS: version keys of tags. ARGV: the TTL in ms of an entry that carries them ("0": no expiry).
///
/// Returns what they hold, "" for a missing one. Those that are there live at least as long as the entry; none is
/// created. (The last `GET` is as in `FILL`.)
pub(crate) static KEEP_TAGS: Script = script!(
    "local ttl = tonumber(ARGV[1])
local versions = {}
for i = 1, #KEYS do
  local version = redis.pcall('GET', KEYS[i])
  versions[i] = type(version) == 'string' and version or ''
  if ttl == 0 then
    redis.call('PERSIST', KEYS[i])
  else
    local left = redis.call('PTTL', KEYS[i])
    if left >= 0 and left < ttl then
      redis.call('PEXPIRE', KEYS[i], ARGV[1])
    end
  end
  redis.pcall('GET', KEYS[i])
end
return versions",
    |call| {
        let (keys, args) = (call.keys(), call.args());
        let ttl = number(args[0])?;
        let mut versions = Vec::with_capacity(keys.len());
        for key in keys {
            let version = call.call(&[b"GET", key]).ok().and_then(bytes);
            versions.push(Value::BulkString(version.unwrap_or_default()));
            live_on(call, key, ttl)?;
        }
        Ok(Value::Array(versions))
    }
);

/// KEYS: the entry, its lease. ARGV: the time from which on the value is stale, in Unix milliseconds, as the eight bytes
/// of an envelope and as text.
///
/// Returns 1 if the value is stale from then on at the latest, 0 if there is nothing that can be marked: nothing at all,
/// a damaged envelope or one of another version. The TTL in Redis stays. In every case the lease is gone.
///
/// It needs no judgement: to mark a dead entry does no harm.
pub(crate) static MARK: Script = script!(
    "redis.call('DEL', KEYS[2])
local head = redis.call('GETRANGE', KEYS[1], 0, 12)
if head == '' and redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local before, after = '\\193NC\\1\\1', 1
if string.sub(head, 1, 3) == '\\193NC' then
  local flags = string.byte(head, 5)
  if not flags or string.byte(head, 4) ~= 1 or flags > 31 then
    return 0
  end
  if flags % 2 == 1 then
    if #head < 13 then
      return 0
    end
    local soft = 0
    for i = 6, 13 do
      soft = soft * 256 + string.byte(head, i)
    end
    if soft > tonumber(ARGV[2]) then
      redis.call('SETRANGE', KEYS[1], 5, ARGV[1])
    end
    return 1
  end
  before, after = '\\193NC\\1' .. string.char(flags + 1), 6
end
local left = redis.call('PTTL', KEYS[1])
local entry = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], before .. ARGV[1] .. string.sub(entry, after))
if left >= 0 then
  redis.call('PEXPIRE', KEYS[1], left)
end
return 1",
    mark
);

#[cfg(feature = "embedded")]
fn mark(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    const NOTHING: Value = Value::Int(0);
    const MARKED: Value = Value::Int(1);
    let (keys, args) = (call.keys(), call.args());
    let (key, time) = (keys[0], args[0]);
    call.call(&[b"DEL", keys[1]])?;
    let head = bytes(call.call(&[b"GETRANGE", key, b"0", b"12"])?).unwrap_or_default();
    if head.is_empty() && call.call(&[b"EXISTS", key])? == Value::Int(0) {
        return Ok(NOTHING);
    }
    let (mut flags, mut after) = (1, 0);
    if head.starts_with(&MAGIC) {
        match head.get(3..5) {
            Some(&[1, known @ 0..=31]) => (flags, after) = (known | 1, 5),
            _ => return Ok(NOTHING),
        }
        if head[4] & 1 == 1 {
            let Some(soft) = head.get(SOFT_FIELD).and_then(|soft| soft.try_into().ok()) else {
                return Ok(NOTHING);
            };
            if u64::from_be_bytes(soft) > number(args[1])?.cast_unsigned() {
                call.call(&[b"SETRANGE", key, b"5", time])?;
            }
            return Ok(MARKED);
        }
    }
    let left = call.call(&[b"PTTL", key])?;
    let entry = bytes(call.call(&[b"GET", key])?).unwrap_or_default();
    let entry = [&MAGIC, &[1, flags][..], time, &entry[after..]].concat();
    call.call(&[b"SET", key, &entry])?;
    if let Value::Int(left @ 0..) = left {
        call.call(&[b"PEXPIRE", key, left.to_string().as_bytes()])?;
    }
    Ok(MARKED)
}

/// KEYS: a version key. ARGV: a new version.
///
/// Puts it in front of the others, and returns 1; returns 0 if the key holds no version, so that no entry is alive.
pub(crate) static MARK_TAG: Script = script!(
    "local versions = redis.call('GET', KEYS[1])
if not versions or #versions < 16 or #versions > 144 or #versions % 16 ~= 0 then
  return 0
end
local left = redis.call('PTTL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1] .. string.sub(versions, 1, 128))
if left >= 0 then
  redis.call('PEXPIRE', KEYS[1], left)
end
return 1",
    |call| {
        let (key, version) = (call.keys()[0], call.args()[0]);
        let held = bytes(call.call(&[b"GET", key])?);
        let Some(mut versions) = held.filter(|held| are_versions(held)) else {
            return Ok(Value::Int(0));
        };
        versions.truncate(128);
        let left = call.call(&[b"PTTL", key])?;
        call.call(&[b"SET", key, &[version, &versions].concat()])?;
        if let Value::Int(left @ 0..) = left {
            call.call(&[b"PEXPIRE", key, left.to_string().as_bytes()])?;
        }
        Ok(Value::Int(1))
    }
);

/// The scripts, for the embedded store to register.
#[cfg_attr(
    not(any(feature = "serve", all(test, feature = "embedded"))),
    allow(dead_code, reason = "for a store without Lua, on a port")
)]
pub(crate) static ALL: [&Script; 6] = [&PUT, &PROLONG, &RETIME, &KEEP_TAGS, &MARK, &MARK_TAG];

#[cfg(feature = "embedded")]
fn begins_like_an_envelope(call: &mut Call<'_>, key: &[u8]) -> bool {
    let head = call.call(&[b"GETRANGE", key, b"0", b"2"]).ok();
    head.and_then(bytes).as_deref() == Some(&MAGIC)
}

/// Whether an entry still begins so, or is still exactly that.
#[cfg(feature = "embedded")]
fn is_still(
    call: &mut Call<'_>,
    key: &[u8],
    judged: &[u8],
    exactly: &[u8],
) -> Result<bool, ScriptError> {
    let last = (judged.len() as i64 - 1).to_string();
    let head = bytes(call.call(&[b"GETRANGE", key, b"0", last.as_bytes()])?);
    let is_prefix = head.as_deref() == Some(judged);
    let length = Value::Int(judged.len() as i64);
    Ok(is_prefix && (exactly != b"1" || call.call(&[b"STRLEN", key])? == length))
}

/// The beginning of an entry, and its PTTL.
#[cfg(feature = "embedded")]
fn beginning(call: &mut Call<'_>, key: &[u8]) -> Result<Value, ScriptError> {
    let head = call.call(&[b"GETRANGE", key, b"0", b"511"])?;
    Ok(Value::Array(vec![head, call.call(&[b"PTTL", key])?]))
}

#[cfg(feature = "embedded")]
fn run(
    call: &mut Call<'_>,
    key: &[u8],
    command: &[u8],
    argument: &[u8],
) -> Result<Value, ScriptError> {
    match argument {
        b"" => call.call(&[command, key]),
        argument => call.call(&[command, key, argument]),
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
