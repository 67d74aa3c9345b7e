//! What sets and sorted sets have in common: union, intersection and difference of several keys, read, counted, or
//! stored.

use std::fmt;

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

use super::handle::Handle;
use crate::cache::operation::{Async, CacheFuture, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::script::{Input, Script, script};

/// KEYS: the sets. ARGV: the command; "1" if it wants the number of keys; how many are counted at most, 0: all.
///
/// Returns how many elements the command would return.
pub(crate) static COUNT: Script = script!(
    "local found
if ARGV[2] == '1' then
  found = #redis.call(ARGV[1], #KEYS, unpack(KEYS))
else
  found = #redis.call(ARGV[1], unpack(KEYS))
end
local limit = tonumber(ARGV[3])
if limit > 0 and found > limit then
  return limit
end
return found",
    count
);

#[cfg(feature = "embedded")]
fn count(call: &mut Call<'_>) -> std::result::Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let number = keys.len().to_string();
    let mut command = vec![args[0]];
    if args[1] == b"1" {
        command.push(number.as_bytes());
    }
    command.extend(keys);
    let found = match call.call(&command)? {
        Value::Array(found) | Value::Set(found) => found.len() as i64,
        _ => 0,
    };
    let limit: Option<i64> = std::str::from_utf8(args[2])
        .ok()
        .and_then(|limit| limit.parse().ok());
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(i64::MAX);
    Ok(Value::Int(found.min(limit)))
}

/// A pending count of what a union, an intersection or a difference has.
#[must_use = "nothing is counted until it is carried out, by `.await` or `.run()`"]
pub struct Count<M = Async> {
    pub(super) handle: Handle<M>,
    pub(super) verb: &'static str,
    /// `SUNION`, `ZINTER`, ...
    pub(super) command: &'static str,
    pub(super) keys: Result<Vec<StoredKey>>,
    pub(super) limit: u32,
}

impl<M> Count<M> {
    pub(super) fn new(
        handle: &Handle<M>,
        verb: &'static str,
        command: &'static str,
        keys: Result<Vec<StoredKey>>,
    ) -> Self {
        Count {
            handle: handle.clone(),
            verb,
            command,
            keys,
            limit: 0,
        }
    }

    /// Counts to this number and no further. An intersection is then not looked through to its end (Redis 7).
    pub fn limit(mut self, elements: u32) -> Self {
        self.limit = elements;
        self
    }

    fn start(self) -> CacheFuture<'static, u64> {
        let core = self.handle.core().clone();
        CacheFuture::asking(async move {
            let keys = self.keys?;
            core.perform(self.verb, CallKeys::Stored(&keys), async |core| {
                let client = core.client();
                let asking = async {
                    if let Some(name) = self.command.strip_suffix("INTER") {
                        let server = client.enter()?.guarded().server(client.limit()).await;
                        // A user who may not ask, or may not call what is newer, has the script.
                        let is_new = match server {
                            Ok(server) => server.is_at_least(7, 0),
                            Err(error) if error.kind() == ErrorKind::Denied => false,
                            Err(error) => return Err(error),
                        };
                        if is_new {
                            let mut command = redis::cmd(&format!("{name}INTERCARD"));
                            command.arg(keys.len());
                            for key in &keys {
                                command.arg(key);
                            }
                            command.arg("LIMIT").arg(self.limit);
                            match client.request(&command).await {
                                Err(error) if error.kind() == ErrorKind::Denied => {}
                                reply => return reply,
                            }
                        }
                    }
                    let mut input = Input::default();
                    for key in &keys {
                        input.key(key.as_bytes());
                    }
                    let sorted = self.command.starts_with('Z');
                    input.arg(self.command.as_bytes());
                    input.arg(if sorted { b"1" } else { b"0" });
                    input.arg(self.limit.to_string().as_bytes());
                    client.run(&COUNT, &input).await
                };
                let found = asking
                    .await
                    .and_then(|reply| reply::count(self.command, &reply));
                found.map_err(|error| named(error, &keys))
            })
            .await
        })
    }
}

/// An error with the key of the handle.
pub(super) fn named(error: Error, keys: &[StoredKey]) -> Error {
    match keys.first() {
        Some(key) => error.for_key(key),
        None => error,
    }
}

operation!(Count<> -> u64);

impl<M> fmt::Debug for Count<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Count")
            .field("command", &self.command)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::script::twins::{self, Family, Step};

    const KEYS: [&[u8]; 3] = [b"{t}a", b"{t}b", b"{t}c"];

    fn step(rng: &mut Rng) -> Step {
        let key = KEYS[rng.usize(..KEYS.len())];
        let member = rng.u8(..8).to_string();
        let mut other = redis::Cmd::new();
        match rng.u8(..10) {
            0..3 => other.arg("SADD").arg(key).arg(member),
            3..5 => other.arg("ZADD").arg(key).arg(1).arg(member),
            5 => other.arg("UNLINK").arg(key),
            _ => {
                let mut input = Input::default();
                for _ in 0..rng.usize(1..4) {
                    input.key(KEYS[rng.usize(..KEYS.len())]);
                }
                let names: [&[u8]; 3] = [b"UNION", b"INTER", b"DIFF"];
                let name = names[rng.usize(..3)];
                let sorted = rng.bool();
                input.arg(&[if sorted { b"Z" } else { b"S" }, name].concat());
                input.arg(if sorted { b"1" } else { b"0" });
                input.arg(rng.u8(..3).to_string().as_bytes());
                return Step::Call("COUNT", &COUNT, input);
            }
        };
        Step::Other(other)
    }

    static ALL: [&Script; 1] = [&COUNT];

    #[test]
    fn the_script_and_its_twin_do_the_same() {
        twins::compare(&Family {
            scripts: &ALL,
            sequences: 100,
            steps: 40,
            step,
            contents: || twins::contents(&KEYS),
            alike: twins::alike,
            answer: |_, reply| format!("{reply:?}"),
            answers: &[
                "COUNT int(0)",
                "COUNT int(1)",
                "COUNT int(2)",
                "COUNT int(3)",
                "COUNT WRONGTYPE",
            ],
        });
    }
}
