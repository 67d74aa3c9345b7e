//! A cache with a maximum number of values, also on a server: this is what a component's `max_size` asks for.
//!
//! Next to the values there is an index ([`Keyspace::index`](crate::keyspace::Keyspace::index)): a sorted set of the
//! keys, whose scores are their expiries. So the values to evict come first.
//!
//! 1. One script stores a value and adds it to the index, so every stored value is in the index.
//! 2. To make room, the script first drops expired values from the index, and then evicts those that expire first,
//!    but never the value that is being stored.
//! 3. All processes use one clock, the server's.
//! 4. The caller that stored a value deletes the evicted values after the script, so until then there may be more
//!    values than the limit. If its process dies in between, they stay until they expire.
//!
//! A `store` costs what a sorted set's ZADD does: the logarithm of the number of values.

use redis::{Cmd, Pipeline, Value};

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};

use crate::client::reply;
use crate::codec::envelope::Head;
use crate::codec::{Form, Raw};
use crate::error::{Error, Result};
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::{self, Delivery};
use crate::script::{self, Input, Script, script};
use crate::ttl::Ttl;

/// The highest `max_size`.
pub(crate) const MAX_SIZE: usize = 100_000;

/// KEYS: the index, the entry, its lease.
/// ARGV: the key without the prefix; the TTL in ms; the maximum number of values; the value.
///
/// Returns the keys of the evicted values.
///
/// An index that is a string is that of an older version, and counts as an empty one.
pub(crate) static STORE: Script = script!(
    "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok == 'string' then
  redis.call('UNLINK', KEYS[1])
end
local stays = redis.call('PTTL', KEYS[1])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now))
local over = redis.call('ZCARD', KEYS[1]) - ARGV[3]
local gone = {}
if over >= 0 then
  gone = redis.call('ZRANGE', KEYS[1], '0', string.format('%d', over))
  redis.call('ZREMRANGEBYRANK', KEYS[1], '0', string.format('%d', over))
end
redis.call('ZADD', KEYS[1], string.format('%d', now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%d', math.max(stays, tonumber(ARGV[2]))))
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[2])
redis.call('UNLINK', KEYS[3])
return gone",
    store_twin
);

/// KEYS: the index, the entry, its lease. ARGV: the key without the prefix.
///
/// Returns the value that was there, or nil.
pub(crate) static REMOVE: Script = script!(
    "local value = redis.call('GET', KEYS[2])
redis.call('UNLINK', KEYS[2], KEYS[3])
if redis.call('TYPE', KEYS[1]).ok == 'zset' then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return value",
    remove_twin
);

/// All of the scripts, which the embedded store needs to know.
pub(crate) static ALL: [&Script; 2] = [&STORE, &REMOVE];

#[cfg(feature = "embedded")]
fn store_twin(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let now = match call.call(&[b"TIME"])? {
        Value::Array(parts) => match &parts[..] {
            [seconds, micros] => number(seconds)? * 1000 + number(micros)? / 1000,
            _ => 0,
        },
        _ => 0,
    };
    let index = keys[0];
    if is_a(&call.call(&[b"TYPE", index])?, "string") {
        call.call(&[b"UNLINK", index])?;
    }
    let stays = int(&call.call(&[b"PTTL", index])?);
    call.call(&[b"ZREM", index, args[0]])?;
    let past = now.to_string();
    call.call(&[b"ZREMRANGEBYSCORE", index, b"-inf", past.as_bytes()])?;
    let over = int(&call.call(&[b"ZCARD", index])?) - parsed(args[2])?;
    let mut gone = Value::Array(Vec::new());
    if over >= 0 {
        let over = over.to_string();
        gone = call.call(&[b"ZRANGE", index, b"0", over.as_bytes()])?;
        call.call(&[b"ZREMRANGEBYRANK", index, b"0", over.as_bytes()])?;
    }
    let ttl = parsed(args[1])?;
    let expiry = (now + ttl).to_string();
    call.call(&[b"ZADD", index, expiry.as_bytes(), args[0]])?;
    let stays = stays.max(ttl).to_string();
    call.call(&[b"PEXPIRE", index, stays.as_bytes()])?;
    call.call(&[b"SET", keys[1], args[3], b"PX", args[1]])?;
    call.call(&[b"UNLINK", keys[2]])?;
    Ok(gone)
}

#[cfg(feature = "embedded")]
fn remove_twin(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let value = call.call(&[b"GET", keys[1]])?;
    call.call(&[b"UNLINK", keys[1], keys[2]])?;
    if is_a(&call.call(&[b"TYPE", keys[0]])?, "zset") {
        call.call(&[b"ZREM", keys[0], args[0]])?;
    }
    Ok(value)
}

#[cfg(feature = "embedded")]
fn is_a(reply: &Value, name: &str) -> bool {
    *reply == Value::SimpleString(name.to_owned())
}

#[cfg(feature = "embedded")]
fn int(reply: &Value) -> i64 {
    match reply {
        Value::Int(number) => *number,
        _ => 0,
    }
}

#[cfg(feature = "embedded")]
fn number(value: &Value) -> Result<i64, ScriptError> {
    match value {
        Value::BulkString(text) => parsed(text),
        _ => Ok(0),
    }
}

#[cfg(feature = "embedded")]
fn parsed(text: &[u8]) -> Result<i64, ScriptError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ScriptError::new("ERR value is not an integer or out of range"))
}

/// The input of a script: its keys, and the key without the prefix.
fn input(core: &ReadThrough, key: &StoredKey) -> Input {
    let mut input = Input::default();
    input
        .key(&core.client().keyspace().index())
        .key(key.as_bytes())
        .key(&key.lease());
    input.arg(key.user());
    input
}

/// Stores a value, and evicts others if there are more than `most`.
pub(super) async fn store(
    core: &ReadThrough,
    key: &[u8],
    value: &[u8],
    ttl: Ttl,
    most: usize,
) -> Result<()> {
    let key = core.client().stored(key)?;
    let entry = Head::default().seal_as(Form::default(), value);
    let mut input = input(core, &key);
    input.arg(core.jittered(ttl).as_millis().to_string().as_bytes());
    input.arg(most.to_string().as_bytes()).arg(&entry);
    core.invalidate("set", CallKeys::One(key.user()), async |core| {
        let client = core.client();
        let reply = write(core, &STORE, &input, &key).await?;
        client.count_write(entry.len());
        client.note(Outcome::Stored, entry.len());
        let Value::Array(gone) = reply else {
            return Err(Error::unexpected("STORE", &reply));
        };
        let gone = gone.into_iter().filter_map(|name| match name {
            Value::BulkString(name) => client.stored(&name).ok(),
            _ => None,
        });
        let gone: Vec<StoredKey> = gone.collect();
        if !gone.is_empty()
            // The value is stored. An evicted value that cannot be deleted now is deleted when Redis is back.
            && let Err(error) = delivery::unlink(core, &gone).await
        {
            tracing::debug!(%error, "an evicted value is not deleted yet");
        }
        Ok(())
    })
    .await
    .map_err(|error| error.for_key(&key))
}

/// Removes a value, and returns what was there.
pub(super) async fn remove(core: &ReadThrough, key: &[u8]) -> Result<Option<Raw>> {
    let key = core.client().stored(key)?;
    core.invalidate("take", CallKeys::One(key.user()), async |core| {
        let reply = write(core, &REMOVE, &input(core, &key), &key).await?;
        core.decode_fresh(reply::bytes("REMOVE", reply)?).await
    })
    .await
    .map_err(|error| error.for_key(&key))
}

/// Runs a script that is an invalidation of a key.
async fn write(
    core: &ReadThrough,
    script: &Script,
    input: &Input,
    key: &StoredKey,
) -> Result<Value> {
    match deliver(core, script.by_name(input), key).await {
        Err(error) if script::unknown(&error) => deliver(core, script.by_text(input), key).await,
        reply => reply,
    }
}

async fn deliver(core: &ReadThrough, command: Cmd, key: &StoredKey) -> Result<Value> {
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.add_command(command);
    let mut replies = Delivery::keys(core, [key]).send(&pipeline).await?;
    Ok(replies.pop().unwrap_or(Value::Nil))
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
