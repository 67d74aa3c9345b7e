//! A cache with a maximum number of values, also on a server: this is what a component's `max_size` asks for.
//!
//! Next to the values there is an index ([`Keyspace::index`](crate::keyspace::Keyspace::index)): one string with a
//! line for each value, which has its expiry and its name. The lines are sorted by expiry, so the values to evict
//! come first, and the place of a line is found by bisection. (A sorted set would do as well, but the embedded store
//! only has strings.)
//!
//! 1. One script stores a value and adds it to the index, so every stored value is in the index.
//! 2. To make room, the script first drops expired values from the index, and then evicts those that expire first,
//!    but never the value that is being stored.
//! 3. All processes use one clock, the server's.
//! 4. The caller that stored a value deletes the evicted values after the script, so until then there may be more
//!    values than the limit. If its process dies in between, they stay until they expire.
//!
//! Each `store` reads and writes the whole index, so the cost grows with its size; `docs/component.md` has the
//! figures.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};
use redis::{Cmd, Pipeline, Value};

#[cfg(feature = "embedded")]
use memchr::{memchr, memmem};
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

/// The characters of a name that are written as `%XX`, because a blank ends the expiry, and a line feed the line.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// KEYS: the index, the entry, its lease.
/// ARGV: the name; the TTL in ms; the maximum number of values; the value.
///
/// Returns the names of the evicted values.
///
/// The index is the number of its lines in eight digits, a line feed, and the lines. A line is the expiry in Unix
/// milliseconds, in fifteen digits; a blank; the name; a line feed.
/// in Unix milliseconds, in fifteen digits; a blank; the name; the end of the line.
pub(crate) static STORE: Script = script!(
    "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local index = redis.call('GET', KEYS[1]) or ''
local stays = redis.call('PTTL', KEYS[1])
if not string.find(index, '^%d%d%d%d%d%d%d%d\\n') then
  index = '00000000\\n'
end
local count = tonumber(string.sub(index, 1, 8))
local list = string.sub(index, 10)
local name = ' ' .. ARGV[1] .. '\\n'
local at = string.find(list, name, 1, true)
if at and at > 15 then
  list = string.sub(list, 1, at - 16) .. string.sub(list, at + #name)
  count = count - 1
end
local function till(at)
  return string.find(list, '\\n', at, true) or #list
end
local from = 1
local past = string.format('%015d', now)
while from <= #list and string.sub(list, from, from + 14) <= past do
  from = till(from) + 1
  count = count - 1
end
local gone = {}
while from <= #list and count >= tonumber(ARGV[3]) do
  gone[#gone + 1] = string.sub(list, from + 16, till(from) - 1)
  from = till(from) + 1
  count = count - 1
end
local expiry = string.format('%015d', now + ARGV[2])
local low, high = from, #list + 1
while low < high do
  local start = till(math.floor((low + high) / 2)) + 1
  if start >= high then
    start = low
  end
  if string.sub(list, start, start + 14) <= expiry then
    low = till(start) + 1
  else
    high = start
  end
end
index = string.format('%08d', count + 1) .. '\\n' .. string.sub(list, from, low - 1) .. expiry .. name .. string.sub(list, low)
redis.call('SET', KEYS[1], index, 'PX', string.format('%d', math.max(stays, tonumber(ARGV[2]))))
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[2])
redis.call('UNLINK', KEYS[3])
return gone",
    store_twin
);

/// KEYS: the index, the entry, its lease. ARGV: the name.
///
/// Returns the value that was there, or nil.
pub(crate) static REMOVE: Script = script!(
    "local value = redis.call('GET', KEYS[2])
local index = redis.call('GET', KEYS[1])
redis.call('UNLINK', KEYS[2], KEYS[3])
if index and string.find(index, '^%d%d%d%d%d%d%d%d\\n') then
  local count = tonumber(string.sub(index, 1, 8))
  local name = ' ' .. ARGV[1] .. '\\n'
  local at = string.find(index, name, 10, true)
  if at and at > 24 and count > 1 then
    index = string.format('%08d', count - 1) .. '\\n' .. string.sub(index, 10, at - 16) .. string.sub(index, at + #name)
    redis.call('SET', KEYS[1], index, 'KEEPTTL')
  elseif at and at > 24 then
    redis.call('UNLINK', KEYS[1])
  end
end
return value",
    remove_twin
);

/// All of the scripts, which the embedded store needs to know.
pub(crate) static ALL: [&Script; 2] = [&STORE, &REMOVE];

/// An index, as the scripts' twins in Rust see it.
#[cfg(feature = "embedded")]
struct Index {
    count: i64,
    list: Vec<u8>,
}

#[cfg(feature = "embedded")]
impl Index {
    const HEAD: usize = 9;
    const EXPIRY: usize = 15;

    /// A text that is not an index counts as an empty one.
    fn read(index: &[u8]) -> Index {
        let (count, list) = match index.split_at_checked(Index::HEAD) {
            Some(([digits @ .., b'\n'], list)) if digits.iter().all(u8::is_ascii_digit) => {
                (parsed(digits).unwrap_or(0), list)
            }
            _ => (0, &[][..]),
        };
        Index {
            count,
            list: list.to_vec(),
        }
    }

    fn write(&self) -> Vec<u8> {
        [format!("{:08}\n", self.count).as_bytes(), &self.list].concat()
    }

    /// Removes the line of a name. The search is exact, because no other part of a line contains a blank or a line
    /// feed.
    fn forget(&mut self, name: &[u8]) -> bool {
        let line = [b" ", name, b"\n"].concat();
        let found = memmem::find(&self.list, &line);
        let Some(at) = found.filter(|at| *at >= Index::EXPIRY) else {
            return false;
        };
        self.list.drain(at - Index::EXPIRY..at + line.len());
        self.count -= 1;
        true
    }

    /// The end of the line that `from` is in, including its line feed.
    fn end(&self, from: usize) -> usize {
        let end = memchr(b'\n', &self.list[from..]);
        end.map_or(self.list.len(), |end| from + end + 1)
    }

    fn expiry(&self, from: usize) -> &[u8] {
        &self.list[from..self.list.len().min(from + Index::EXPIRY)]
    }

    fn name(&self, from: usize) -> &[u8] {
        let name = self.list.get(from + Index::EXPIRY + 1..self.end(from) - 1);
        name.unwrap_or_default()
    }

    /// Where a line with this expiry belongs: before the first one that expires later.
    fn place(&self, from: usize, expiry: &[u8]) -> usize {
        let (mut low, mut high) = (from, self.list.len());
        while low < high {
            let next = self.end(low + (high - low) / 2);
            let start = if next < high { next } else { low };
            if self.expiry(start) <= expiry {
                low = self.end(start);
            } else {
                high = start;
            }
        }
        low
    }
}

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
    let index = bytes(call.call(&[b"GET", keys[0]])?).unwrap_or_default();
    let stays = match call.call(&[b"PTTL", keys[0]])? {
        Value::Int(stays) => stays,
        _ => 0,
    };
    let mut index = Index::read(&index);
    index.forget(args[0]);
    let past = format!("{now:015}").into_bytes();
    let mut from = 0;
    while from < index.list.len() && index.expiry(from) <= &*past {
        from = index.end(from);
        index.count -= 1;
    }
    let bound = parsed(args[2])?;
    let mut gone = Vec::new();
    while from < index.list.len() && index.count >= bound {
        gone.push(Value::BulkString(index.name(from).to_vec()));
        from = index.end(from);
        index.count -= 1;
    }
    let ttl = parsed(args[1])?;
    let expiry = format!("{:015}", now + ttl).into_bytes();
    let place = index.place(from, &expiry);
    let line = [&*expiry, b" ", args[0], b"\n"].concat();
    index.list.splice(place..place, line);
    index.list.drain(..from);
    index.count += 1;
    let stays = stays.max(ttl).to_string();
    call.call(&[b"SET", keys[0], &index.write(), b"PX", stays.as_bytes()])?;
    call.call(&[b"SET", keys[1], args[3], b"PX", args[1]])?;
    call.call(&[b"UNLINK", keys[2]])?;
    Ok(Value::Array(gone))
}

#[cfg(feature = "embedded")]
fn remove_twin(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let value = call.call(&[b"GET", keys[1]])?;
    let index = bytes(call.call(&[b"GET", keys[0]])?);
    call.call(&[b"UNLINK", keys[1], keys[2]])?;
    if let Some(index) = index {
        let mut index = Index::read(&index);
        if index.forget(args[0]) {
            if index.count > 0 {
                call.call(&[b"SET", keys[0], &index.write(), b"KEEPTTL"])?;
            } else {
                call.call(&[b"UNLINK", keys[0]])?;
            }
        }
    }
    Ok(value)
}

#[cfg(feature = "embedded")]
fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
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

/// The input of a script: its keys, and the name.
fn input(core: &ReadThrough, key: &StoredKey) -> Input {
    let name: String = percent_encode(key.user(), ESCAPED).collect();
    let mut input = Input::default();
    input
        .key(&core.client().keyspace().index())
        .key(key.as_bytes())
        .key(&key.lease());
    input.arg(name.as_bytes());
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
            Value::BulkString(name) => {
                let name: Vec<u8> = percent_decode(&name).collect();
                client.stored(&name).ok()
            }
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
