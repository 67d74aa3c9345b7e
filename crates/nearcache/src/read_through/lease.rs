//! Leases: who may load a key, across processes, and whether what was loaded may still be stored.
//!
//! A lease is a key beside the entry's ([`StoredKey::lease`]) that holds the token of the load that has it
//! and expires by itself, should its holder die. These scripts are all that ever touches it, but for
//! invalidations, which unlink it: that is what fences the load that is running.
//!
//! 1. Of all who ask for a free lease one gets it.
//! 2. A load stores only while the lease holds its token *and* the entry is as it was when the load was
//!    decided on *and* the versions of its tags are what they were before it ran.
//! 3. Only its holder renews or releases a lease, by comparing the token.
//! 4. Every ACQUIRE that is sent has a token of its own, a resent one too: a lease that was taken by a
//!    command whose reply was lost is nobody's, and ends by itself.
//!
//! The idea of leases as fences is Facebook's (Nishtala et al., "Scaling Memcache at Facebook", NSDI
//! 2013, section 3.2.1); `docs/protocols.md` says what is different here.

use std::time::Duration;

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
use redis::Value;

use crate::codec::envelope::Version;
use crate::error::{Error, Result};
use crate::script::{Script, script, sha1_hex};

/// What a load knows its lease by.
pub(crate) type Token = [u8; 16];

/// 128 random bits from the operating system: the same in two processes by no accident, and not after a
/// `fork` either.
pub(crate) fn random() -> Version {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // A system without randomness: what is left is unlikely to meet its like within a lease.
        fastrand::fill(&mut bytes);
    }
    bytes
}

/// How a load saw the entry when it judged it unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Absent,
    /// The digest of its bytes.
    Digest(String),
    /// It has not looked: whatever is there now.
    Anything,
    /// It could not look: Redis is away, and there is no lease to be had.
    Unknown,
}

impl Seen {
    /// As it was seen just now.
    pub(crate) fn of(entry: Option<&[u8]>) -> Self {
        entry.map_or(Seen::Absent, |bytes| Seen::Digest(sha1_hex(bytes)))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Seen::Absent => b"",
            Seen::Digest(digest) => digest.as_bytes(),
            Seen::Anything | Seen::Unknown => b"*",
        }
    }
}

/// KEYS: the entry, its lease, the versions of its tags.
/// ARGV: the token; for how many ms; how the entry was seen; "1" to take the lease from whoever has it;
/// and for each version one to make, should it be missing.
///
/// Answers `{0, entry}`, where there is one that was not seen; `{1, seen, versions...}`, the lease is ours;
/// `{2, ms}`, someone else has it for so long.
///
/// model: Action::Acquire, Action::ReadTags
pub(crate) static ACQUIRE: Script = script!(
    "local entry = redis.call('GET', KEYS[1])
local seen = ARGV[3]
if seen == '*' then
  seen = entry and redis.sha1hex(entry) or ''
elseif entry and (seen == '' or redis.sha1hex(entry) ~= seen) then
  return {0, entry}
end
if ARGV[4] == '1' then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
elseif not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return {2, redis.call('PTTL', KEYS[2])}
end
local mine = {1, entry and seen or ''}
for i = 3, #KEYS do
  local version = redis.call('GET', KEYS[i])
  if not version or #version ~= 16 then
    version = ARGV[i + 2]
    redis.call('SET', KEYS[i], version, 'PX', 86400000)
  end
  mine[i] = version
end
return mine",
    acquire
);

#[cfg(feature = "embedded")]
fn acquire(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let entry = bytes(call.call(&[b"GET", keys[0]])?);
    let digest = || entry.as_deref().map(sha1_hex).unwrap_or_default();
    let mut seen = args[2].to_vec();
    if seen == b"*" {
        seen = digest().into_bytes();
    } else if entry.is_some() && digest().as_bytes() != seen {
        let entry = Value::BulkString(entry.unwrap_or_default());
        return Ok(Value::Array(vec![Value::Int(0), entry]));
    }
    if args[3] == b"1" {
        call.call(&[b"SET", keys[1], args[0], b"PX", args[1]])?;
    } else if call.call(&[b"SET", keys[1], args[0], b"NX", b"PX", args[1]])? == Value::Nil {
        let left = call.call(&[b"PTTL", keys[1]])?;
        return Ok(Value::Array(vec![Value::Int(2), left]));
    }
    // An entry that was seen may be gone by now.
    let seen = if entry.is_some() { seen } else { Vec::new() };
    let mut mine = vec![Value::Int(1), Value::BulkString(seen)];
    for (key, fresh) in keys[2..].iter().zip(&args[4..]) {
        mine.push(Value::BulkString(version(call, key, fresh)?));
    }
    Ok(Value::Array(mine))
}

/// KEYS: the entry, its lease, the versions of its tags.
/// ARGV: the token; how the entry was seen; what to store; for how many ms ("0" without end, "-1" not to
/// store it at all, which only asks whether it could have been); and for each version what it was.
///
/// Answers 1, stored (or it could have been), or 0, fenced. Either way the lease is no longer ours.
/// Versions live on at least as long as the entry.
///
/// The last `EXISTS` is there for `CLIENT TRACKING` with `NOLOOP`: a server forgets a key that the client has just
/// written, and tells it of nobody's later write, unless the client reads the key afterwards (measured on Redis 7.0).
/// So whoever tracks on this connection may keep what it has just stored.
///
/// model: Action::Fill
pub(crate) static FILL: Script = script!(
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if ARGV[2] == '' then
  if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
  end
else
  local entry = redis.call('GET', KEYS[1])
  if not entry or redis.sha1hex(entry) ~= ARGV[2] then
    return 0
  end
end
for i = 3, #KEYS do
  if redis.call('GET', KEYS[i]) ~= ARGV[i + 2] then
    return 0
  end
end
local ttl = tonumber(ARGV[4])
if ttl < 0 then
  return 1
end
if ttl == 0 then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
for i = 3, #KEYS do
  if ttl == 0 then
    redis.call('PERSIST', KEYS[i])
  else
    local left = redis.call('PTTL', KEYS[i])
    if left >= 0 and left < ttl then
      redis.call('PEXPIRE', KEYS[i], ARGV[4])
    end
  end
end
redis.call('EXISTS', KEYS[1])
return 1",
    fill
);

#[cfg(feature = "embedded")]
fn fill(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    const FENCED: Value = Value::Int(0);
    let (keys, args) = (call.keys(), call.args());
    if bytes(call.call(&[b"GET", keys[1]])?).as_deref() != Some(args[0]) {
        return Ok(FENCED);
    }
    call.call(&[b"DEL", keys[1]])?;
    let as_seen = if args[1].is_empty() {
        call.call(&[b"EXISTS", keys[0]])? == Value::Int(0)
    } else {
        let entry = bytes(call.call(&[b"GET", keys[0]])?);
        entry.is_some_and(|entry| sha1_hex(&entry).as_bytes() == args[1])
    };
    if !as_seen {
        return Ok(FENCED);
    }
    let versions = || keys[2..].iter().zip(&args[4..]);
    for (key, version) in versions() {
        if bytes(call.call(&[b"GET", key])?).as_deref() != Some(*version) {
            return Ok(FENCED);
        }
    }
    let ttl = number(args[3])?;
    match ttl {
        ..0 => return Ok(Value::Int(1)),
        0 => call.call(&[b"SET", keys[0], args[2]])?,
        1.. => call.call(&[b"SET", keys[0], args[2], b"PX", args[3]])?,
    };
    for (key, _) in versions() {
        live_on(call, key, ttl)?;
    }
    Ok(Value::Int(1))
}

/// KEYS: versions of tags. ARGV: for how many ms an entry will live that carries them ("0" without end);
/// and for each version one to make, should it be missing.
///
/// Answers the versions.
///
/// model: Action::ReadTags
pub(crate) static TAGS: Script = script!(
    "local ttl = tonumber(ARGV[1])
local versions = {}
for i = 1, #KEYS do
  local version = redis.call('GET', KEYS[i])
  if not version or #version ~= 16 then
    version = ARGV[i + 1]
    redis.call('SET', KEYS[i], version, 'PX', 86400000)
  end
  if ttl == 0 then
    redis.call('PERSIST', KEYS[i])
  else
    local left = redis.call('PTTL', KEYS[i])
    if left >= 0 and left < ttl then
      redis.call('PEXPIRE', KEYS[i], ARGV[1])
    end
  end
  versions[i] = version
end
return versions",
    tags
);

#[cfg(feature = "embedded")]
fn tags(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let ttl = number(args[0])?;
    let mut versions = Vec::with_capacity(keys.len());
    for (key, fresh) in keys.iter().zip(&args[1..]) {
        let version = version(call, key, fresh)?;
        live_on(call, key, ttl)?;
        versions.push(Value::BulkString(version));
    }
    Ok(Value::Array(versions))
}

/// KEYS: a lease. ARGV: the token; for how many ms from now.
///
/// Answers 1, renewed, or 0, it is not ours any more.
///
/// model: Action::Renew
pub(crate) static RENEW: Script = script!(
    "if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0",
    |call| {
        let (keys, args) = (call.keys(), call.args());
        if bytes(call.call(&[b"GET", keys[0]])?).as_deref() == Some(args[0]) {
            return call.call(&[b"PEXPIRE", keys[0], args[1]]);
        }
        Ok(Value::Int(0))
    }
);

/// KEYS: a lease. ARGV: the token.
///
/// Answers 1, released, or 0, it was not ours any more.
///
/// model: Action::Release
pub(crate) static RELEASE: Script = script!(
    "if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0",
    |call| {
        let (keys, args) = (call.keys(), call.args());
        if bytes(call.call(&[b"GET", keys[0]])?).as_deref() == Some(args[0]) {
            return call.call(&[b"DEL", keys[0]]);
        }
        Ok(Value::Int(0))
    }
);

/// All of them, for the embedded store to know.
pub(crate) static ALL: [&Script; 5] = [&ACQUIRE, &FILL, &TAGS, &RENEW, &RELEASE];

#[cfg(feature = "embedded")]
fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(feature = "embedded")]
fn number(text: &[u8]) -> Result<i64, ScriptError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ScriptError::new("ERR value is not an integer or out of range"))
}

/// A version, which is made where it is missing.
#[cfg(feature = "embedded")]
fn version(call: &mut Call<'_>, key: &[u8], fresh: &[u8]) -> Result<Vec<u8>, ScriptError> {
    let found = bytes(call.call(&[b"GET", key])?);
    if let Some(version) = found.filter(|version| version.len() == 16) {
        return Ok(version);
    }
    call.call(&[b"SET", key, fresh, b"PX", b"86400000"])?;
    Ok(fresh.to_vec())
}

#[cfg(feature = "embedded")]
fn live_on(call: &mut Call<'_>, key: &[u8], ttl: i64) -> Result<(), ScriptError> {
    if ttl == 0 {
        call.call(&[b"PERSIST", key])?;
    } else if let Value::Int(left) = call.call(&[b"PTTL", key])?
        && (0..ttl).contains(&left)
    {
        call.call(&[b"PEXPIRE", key, ttl.to_string().as_bytes()])?;
    }
    Ok(())
}

/// What ACQUIRE answers.
#[derive(Debug)]
pub(crate) enum Acquired {
    /// There is an entry that was not seen.
    Entry(Vec<u8>),
    /// The lease is ours; how the entry was seen; the versions of the tags.
    Mine(Seen, Vec<Version>),
    /// Someone else has the lease, for so long unless they renew it.
    Theirs(Duration),
}

impl Acquired {
    /// With so many versions, where the lease is ours.
    pub(crate) fn from_reply(reply: Value, count: usize) -> Result<Self> {
        let unexpected = |reply: &Value| Error::unexpected("ACQUIRE", reply);
        let Value::Array(parts) = reply else {
            return Err(unexpected(&reply));
        };
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next()) {
            (Some(Value::Int(0)), Some(Value::BulkString(entry))) => Ok(Acquired::Entry(entry)),
            (Some(Value::Int(1)), Some(Value::BulkString(seen))) => {
                let seen = match String::from_utf8(seen) {
                    Ok(digest) if digest.is_empty() => Seen::Absent,
                    Ok(digest) => Seen::Digest(digest),
                    Err(_) => return Err(unexpected(&Value::Nil)),
                };
                let versions = versions(parts)?;
                if versions.len() != count {
                    return Err(unexpected(&Value::Nil));
                }
                Ok(Acquired::Mine(seen, versions))
            }
            (Some(Value::Int(2)), Some(Value::Int(left))) => Ok(Acquired::Theirs(
                Duration::from_millis(left.max(0).unsigned_abs()),
            )),
            _ => Err(unexpected(&Value::Nil)),
        }
    }
}

/// Versions, as a script answers them.
pub(crate) fn versions(replies: impl IntoIterator<Item = Value>) -> Result<Vec<Version>> {
    replies
        .into_iter()
        .map(|reply| {
            match &reply {
                Value::BulkString(bytes) => <Version>::try_from(&**bytes).ok(),
                _ => None,
            }
            .ok_or_else(|| Error::unexpected("a script", &reply))
        })
        .collect()
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
