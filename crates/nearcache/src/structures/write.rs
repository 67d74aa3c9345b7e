//! A write to a structure: its commands, the fence of the key's loads, and a TTL, in one step.
//!
//! 1. The lease of a running load is deleted in the same step as the write: the load may have found the key absent,
//!    and must not store over a structure that came after it.
//! 2. A write that fails changes nothing, its TTL neither.

use std::fmt;
use std::marker::PhantomData;

use redis::{Arg, Cmd, Pipeline, Value};
use smallvec::SmallVec;

use super::handle::Handle;
use crate::cache::operation::{Async, CacheFuture, Marked, operation};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;
use crate::script::{Input, Script, script};
use crate::ttl::{IntoTtl, Ttl};

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};

/// KEYS: the structure, its lease, and the keys that are only read. ARGV: the TTL in ms; "1" if only a new structure
/// gets it; and for each command the number of its words without the key, its name, and its arguments after the key.
///
/// Returns the reply of the first command; of HINCRBY the sum as text, because a number of Lua is exact up to 2^53
/// only. The lease is gone.
pub(crate) static TIMED: Script = script!(
    "local new = redis.call('EXISTS', KEYS[1]) == 0
local at, reply = 3, nil
while ARGV[at] do
  local words = tonumber(ARGV[at])
  local one = redis.call(ARGV[at + 1], KEYS[1], unpack(ARGV, at + 2, at + words))
  if at == 3 then
    reply = one
    if ARGV[4] == 'HINCRBY' then
      reply = redis.call('HGET', KEYS[1], ARGV[5])
    end
  end
  at = at + words + 1
end
if new or ARGV[2] ~= '1' then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
redis.call('DEL', KEYS[2])
return reply",
    carry_out
);

#[cfg(feature = "embedded")]
fn carry_out(call: &mut Call<'_>) -> std::result::Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let new = call.call(&[b"EXISTS", keys[0]])? == Value::Int(0);
    let (mut rest, mut reply) = (&args[2..], None);
    while let [words, after @ ..] = rest {
        let words = std::str::from_utf8(words)
            .ok()
            .and_then(|words| words.parse().ok());
        let (words, after) = after.split_at(words.unwrap_or(1).clamp(1, after.len()));
        let mut command = vec![words[0], keys[0]];
        command.extend(&words[1..]);
        let mut one = call.call(&command)?;
        if reply.is_none() && words[0] == b"HINCRBY" {
            one = call.call(&[b"HGET", keys[0], words[1]])?;
        }
        reply.get_or_insert(one);
        rest = after;
    }
    if new || args[1] != b"1" {
        call.call(&[b"PEXPIRE", keys[0], args[0]])?;
    }
    call.call(&[b"DEL", keys[1]])?;
    Ok(reply.unwrap_or(Value::Nil))
}

/// What a write gives its structure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    ttl: Ttl,
    only_if_new: bool,
}

/// The TTL option of a write.
pub(crate) type Timing = Option<Result<Time>>;

pub(crate) fn timing(ttl: impl IntoTtl, only_if_new: bool) -> Timing {
    Some(ttl.into_ttl().map(|ttl| Time { ttl, only_if_new }))
}

/// Adds `.ttl(..)` and `.ttl_if_new(..)` to an operation with a field `time`.
macro_rules! timed {
    ($name:ident $(<$generic:ident>)?) => {
        impl<$($generic,)? M> $name<$($generic,)? M> {
            /// How long the structure lives from now on, all its elements together. Set in the same step as the write.
            /// The cache's jitter does not apply. Without it a structure keeps the TTL that it has, and a new one has
            /// none.
            pub fn ttl(mut self, ttl: impl $crate::ttl::IntoTtl) -> Self {
                self.time = $crate::structures::write::timing(ttl, false);
                self
            }

            /// How long the structure lives if this write makes it. One that is there keeps its TTL.
            pub fn ttl_if_new(mut self, ttl: impl $crate::ttl::IntoTtl) -> Self {
                self.time = $crate::structures::write::timing(ttl, true);
                self
            }
        }
    };
}
pub(crate) use timed;

/// Commands about the key that are carried out together; the answer is the reply of the first.
pub(crate) struct Step(SmallVec<[Cmd; 1]>);

impl From<Cmd> for Step {
    fn from(command: Cmd) -> Self {
        Step(smallvec::smallvec![command])
    }
}

impl Step {
    /// And then this one.
    pub(crate) fn then(mut self, command: Cmd) -> Self {
        self.0.push(command);
        self
    }
}

/// A pending write to a structure.
#[must_use = "nothing is written until it is carried out, by `.await` or `.run()`"]
pub struct Write<T, M = Async> {
    core: ReadThrough,
    key: Result<StoredKey>,
    verb: &'static str,
    steps: Result<Vec<Step>>,
    /// Other keys that the commands read.
    reads: Vec<StoredKey>,
    parse: Parse<T>,
    time: Timing,
    mode: Marked<M>,
}

/// Makes an answer of the replies.
type Parse<T> = Box<dyn FnOnce(Vec<Value>) -> Result<T> + Send>;

impl<T, M> Write<T, M> {
    pub(super) fn new<S: Into<Step>>(
        handle: &Handle<M>,
        verb: &'static str,
        steps: Result<Vec<S>>,
        parse: impl FnOnce(Vec<Value>) -> Result<T> + Send + 'static,
    ) -> Self {
        let key = handle.stored();
        Write::at(handle, key, verb, steps, parse)
    }

    /// The same for another key.
    pub(super) fn at<S: Into<Step>>(
        handle: &Handle<M>,
        key: Result<StoredKey>,
        verb: &'static str,
        steps: Result<Vec<S>>,
        parse: impl FnOnce(Vec<Value>) -> Result<T> + Send + 'static,
    ) -> Self {
        Write {
            core: handle.core().clone(),
            key,
            verb,
            steps: steps.map(|steps| steps.into_iter().map(Into::into).collect()),
            reads: Vec::new(),
            parse: Box::new(parse),
            time: None,
            mode: PhantomData,
        }
    }

    /// With this TTL.
    pub(super) fn with_time(mut self, time: Timing) -> Self {
        self.time = time;
        self
    }

    /// Names the other keys that the commands read.
    pub(super) fn reading(mut self, keys: Vec<StoredKey>) -> Self {
        self.reads = keys;
        self
    }
}

timed!(Write<T>);

impl<T: Send + 'static, M> Write<T, M> {
    pub(super) fn start(self) -> CacheFuture<'static, T> {
        let Write {
            core,
            key,
            verb,
            steps,
            reads,
            parse,
            time,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let (steps, time) = (steps?, time.transpose()?);
            let mut keys = vec![key?];
            keys.extend(reads);
            core.perform(verb, CallKeys::Stored(&keys), async |core| {
                let [key, reads @ ..] = &keys[..] else {
                    return parse(Vec::new());
                };
                let _poison = Poison::key(core, key);
                let replies = send(core.client(), key, reads, &steps, time).await;
                replies.and_then(parse).map_err(|error| error.for_key(key))
            })
            .await
        })
    }
}

operation!(Write<T: Send> -> T);

impl<T, M> fmt::Debug for Write<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("verb", &self.verb)
            .field("ttl", &self.time)
            .finish_non_exhaustive()
    }
}

async fn send(
    client: &Client,
    key: &StoredKey,
    reads: &[StoredKey],
    steps: &[Step],
    time: Option<Time>,
) -> Result<Vec<Value>> {
    let mut replies = Vec::with_capacity(steps.len());
    let mut left = time;
    for Step(commands) in steps {
        replies.push(match left {
            Some(time) => {
                client
                    .run(&TIMED, &input(key, reads, commands, time))
                    .await?
            }
            None => fenced(client, [key], commands).await?,
        });
        // The structure is there now: only the first part may have made it.
        left = left.filter(|time| !time.only_if_new);
    }
    Ok(replies)
}

/// Sends commands that change these keys together, and fences the loads of the keys in the same step. Returns the
/// reply of the first command.
pub(super) async fn fenced<'k>(
    client: &Client,
    keys: impl IntoIterator<Item = &'k StoredKey>,
    commands: &[Cmd],
) -> Result<Value> {
    let mut pipeline = Pipeline::with_capacity(commands.len() + 1);
    pipeline.atomic();
    for command in commands {
        pipeline.add_command(command.clone());
    }
    pipeline.add_command(crate::client::batch::unlink_leases(keys));
    let mut replies = client.pipeline(&pipeline).await?;
    for reply in &replies {
        if let Value::ServerError(error) = reply {
            return Err(Error::from_server(error).on_host(client.host()));
        }
    }
    Ok(match replies.is_empty() {
        true => Value::Nil,
        false => replies.swap_remove(0),
    })
}

fn input(key: &StoredKey, reads: &[StoredKey], commands: &[Cmd], time: Time) -> Input {
    let mut input = Input::default();
    input.key(key.as_bytes()).key(&key.lease());
    for other in reads {
        input.key(other.as_bytes());
    }
    input.arg(time.ttl.as_millis().to_string().as_bytes());
    input.arg(if time.only_if_new { b"1" } else { b"0" });
    for command in commands {
        let words = || {
            let words = command.args_iter().enumerate();
            // The second one is the key.
            words.filter_map(|(at, word)| match word {
                Arg::Simple(word) if at != 1 => Some(word),
                _ => None,
            })
        };
        input.arg(words().count().to_string().as_bytes());
        for word in words() {
            input.arg(word);
        }
    }
    input
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::script::twins::{self, Family};

    const KEYS: [&[u8]; 3] = [b"{t}a", b"{t}b", b"{t}c"];
    const LINES: [&[&str]; 10] = [
        &["HSET", "f", "1"],
        &["HINCRBY", "f", "9007199254740993"],
        &["HDEL", "f"],
        &["RPUSH", "1", "2"],
        &["LTRIM", "0", "2"],
        &["LPOP"],
        &["SADD", "1"],
        &["SPOP"],
        &["ZADD", "1", "a"],
        &["SUNIONSTORE", "{t}b", "{t}c"],
    ];

    fn step(rng: &mut Rng) -> twins::Step {
        let one = |rng: &mut Rng, of: &[&'static [u8]]| of[rng.usize(..of.len())];
        let mut input = Input::default();
        input.key(one(rng, &KEYS)).key(one(rng, &KEYS));
        // What `SUNIONSTORE` reads.
        input.key(KEYS[1]).key(KEYS[2]);
        input.arg(one(rng, &[b"60000", b"3600000"]));
        input.arg(one(rng, &[b"0", b"1"]));
        for _ in 0..rng.usize(1..3) {
            let words = LINES[rng.usize(..LINES.len())];
            input.arg(words.len().to_string().as_bytes());
            for word in words {
                input.arg(word.as_bytes());
            }
        }
        if rng.u8(..5) == 0 {
            let mut other = Cmd::new();
            other.arg("UNLINK").arg(one(rng, &KEYS));
            return twins::Step::Other(other);
        }
        twins::Step::Call("TIMED", &TIMED, input)
    }

    static ALL: [&Script; 1] = [&TIMED];

    #[test]
    fn the_script_and_its_twin_do_the_same() {
        twins::compare(&Family {
            scripts: &ALL,
            sequences: 200,
            steps: 30,
            step,
            contents: || {
                let mut contents = twins::contents(&KEYS);
                for key in KEYS {
                    contents.cmd("LRANGE").arg(key).arg(0).arg(-1);
                    contents.cmd("HGETALL").arg(key);
                    contents.cmd("SCARD").arg(key);
                }
                contents
            },
            alike: twins::alike,
            answer: |_, reply| match reply {
                Value::BulkString(_) => "an element".to_owned(),
                other => format!("{other:?}"),
            },
            answers: &[
                "TIMED int(0)",
                "TIMED int(1)",
                "TIMED int(2)",
                "TIMED ok",
                "TIMED nil",
                "TIMED an element",
                "TIMED WRONGTYPE",
            ],
        });
    }
}
