//! Leases: which process may load a key, and whether the loaded value may still be stored.
//!
//! A lease is a second key beside the entry's ([`StoredKey::lease`]). It holds the token of the load that owns it, and
//! expires by itself if that load's process dies. Only these scripts touch it, and invalidations, which unlink it: that
//! fences the running load.
//!
//! 1. Of all loads that ask for a free lease, one gets it.
//! 2. A load stores only if the lease holds its token *and* the entry is as it was when the load found it unusable
//!    *and* the tag versions are as they were before the loader ran. (Where no script can name them, `guards` sees to
//!    the versions.)
//! 3. Only the holder renews or releases a lease: the scripts compare the token.
//! 4. Every ACQUIRE that is sent has a new token, even if it is sent again. If the reply of an ACQUIRE is lost, nobody
//!    knows that token, so nobody owns its lease, and the lease expires.
//!
//! 5. A version key holds 16 bytes for each version, the current one first. The scripts return and compare that one:
//!    see `tags` for the others.
//!
//! The idea of leases as fences is from Facebook (Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, section
//! 3.2.1); `docs/protocols.md` explains what is different here.

use std::time::Duration;

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
use redis::Value;

use crate::codec::envelope::Version;
use crate::error::{Error, Result};
use crate::script::{Script, script, sha1_hex};

/// Identifies the load that owns a lease.
pub(crate) type Token = [u8; 16];

/// 128 random bits from the operating system: they do not repeat, neither in two processes nor after a `fork`.
pub(crate) fn random() -> Version {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without a random source of the system: these bits are still unlikely to repeat within a lease.
        fastrand::fill(&mut bytes);
    }
    bytes
}

/// How a load saw the entry when it judged it unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Absent,
    /// The entry had bytes with this digest.
    Digest(String),
    /// The load did not read the entry: accept whatever is there.
    Anything,
    /// The load could not read the entry, because Redis is away. It cannot get a lease either.
    Unknown,
}

impl Seen {
    /// The state of an entry that was just read.
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

/// KEYS: the entry, its lease, the version keys of its tags (none if keys are spread over slots: see `guards`). ARGV: the
/// token; the lease's time in ms; how the entry was seen; "1" to take the lease even if another load has it; and for each version a new one, to create it if it is
/// missing.
///
/// Returns `{0, entry}` if the entry differs from the one that was seen; `{1, seen, versions...}` if we have the lease;
/// `{2, ms}` if another load has it for that time.
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
  if not version or #version < 16 or #version > 144 or #version % 16 ~= 0 then
    version = ARGV[i + 2]
    redis.call('SET', KEYS[i], version, 'PX', 86400000)
  end
  mine[i] = string.sub(version, 1, 16)
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
    // The entry may have been deleted since it was seen.
    let seen = if entry.is_some() { seen } else { Vec::new() };
    let mut mine = vec![Value::Int(1), Value::BulkString(seen)];
    for (key, fresh) in keys[2..].iter().zip(&args[4..]) {
        mine.push(Value::BulkString(version(call, key, fresh)?));
    }
    Ok(Value::Array(mine))
}

/// KEYS: the entry, its lease, the version keys of its tags (none if keys are spread over slots: see `guards`). ARGV: the
/// token; how the entry was seen; the bytes to store; the TTL in ms ("0": no expiry; "-1": store nothing, only check whether it could be stored); and for each
/// version its expected value.
///
/// Returns 1 if the value was stored (or could have been), 0 if the load was fenced. In both cases the lease is no
/// longer ours. The versions live at least as long as the entry.
///
/// Each `EXISTS` at the end is for `CLIENT TRACKING` with `NOLOOP`: a server stops tracking a key for a client that has just
/// written it, and does not report later writes by others, until the client reads the key again (measured on Redis
/// 7.0). With the read, a client that tracks on this connection may keep the value it has just stored, and others that
/// have the same tags.
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
  local version = redis.call('GET', KEYS[i])
  if not version or string.sub(version, 1, 16) ~= ARGV[i + 2] then
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
  redis.call('EXISTS', KEYS[i])
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
        let held = bytes(call.call(&[b"GET", key])?);
        if held.is_none_or(|held| held[..held.len().min(16)] != **version) {
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

/// KEYS: version keys of tags. ARGV: the TTL in ms of an entry that will carry them ("0": no expiry); and for each
/// version a new one, to create it if it is missing.
///
/// Returns the versions. (The last `GET` is as in [`FILL`].)
///
/// model: Action::ReadTags
pub(crate) static TAGS: Script = script!(
    "local ttl = tonumber(ARGV[1])
local versions = {}
for i = 1, #KEYS do
  local version = redis.call('GET', KEYS[i])
  if not version or #version < 16 or #version > 144 or #version % 16 ~= 0 then
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
  redis.call('GET', KEYS[i])
  versions[i] = string.sub(version, 1, 16)
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

/// KEYS: a lease. ARGV: the token; the lease's time in ms from now.
///
/// Returns 1 if the lease was renewed, 0 if it is no longer ours.
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
/// Returns 1 if the lease was released, 0 if it was no longer ours.
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

/// All scripts, for the embedded store to register.
#[cfg_attr(
    not(any(feature = "serve", all(test, feature = "embedded"))),
    allow(dead_code, reason = "for a store without Lua, on a port")
)]
pub(crate) static ALL: [&Script; 5] = [&ACQUIRE, &FILL, &TAGS, &RENEW, &RELEASE];

#[cfg(feature = "embedded")]
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(feature = "embedded")]
pub(super) fn number(text: &[u8]) -> Result<i64, ScriptError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ScriptError::new("ERR value is not an integer or out of range"))
}

/// A tag's current version, created if it is missing.
#[cfg(feature = "embedded")]
fn version(call: &mut Call<'_>, key: &[u8], fresh: &[u8]) -> Result<Vec<u8>, ScriptError> {
    let found = bytes(call.call(&[b"GET", key])?);
    if let Some(mut versions) = found.filter(|versions| are_versions(versions)) {
        versions.truncate(16);
        return Ok(versions);
    }
    call.call(&[b"SET", key, fresh, b"PX", b"86400000"])?;
    Ok(fresh.to_vec())
}

/// Whether this is what a version key holds: the current version, and up to eight earlier ones, whose entries are stale.
pub(super) fn are_versions(bytes: &[u8]) -> bool {
    (16..=144).contains(&bytes.len()) && bytes.len().is_multiple_of(16)
}

#[cfg(feature = "embedded")]
pub(super) fn live_on(call: &mut Call<'_>, key: &[u8], ttl: i64) -> Result<(), ScriptError> {
    if ttl == 0 {
        call.call(&[b"PERSIST", key])?;
    } else if let Value::Int(left) = call.call(&[b"PTTL", key])?
        && (0..ttl).contains(&left)
    {
        call.call(&[b"PEXPIRE", key, ttl.to_string().as_bytes()])?;
    }
    Ok(())
}

/// The reply of ACQUIRE.
#[derive(Debug)]
pub(crate) enum Acquired {
    /// The entry differs from the one that was seen.
    Entry(Vec<u8>),
    /// The lease is ours: how the entry was seen, and the versions of the tags.
    Mine(Seen, Vec<Version>),
    /// Another load has the lease, for this time unless it renews it.
    Theirs(Duration),
}

impl Acquired {
    /// Parses a reply. If the lease is ours, it must contain `count` versions.
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

/// Parses the versions that a script returns.
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
