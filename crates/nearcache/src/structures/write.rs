//! A write to a structure: its commands, the fence of the key's loads, and a TTL, in one step.
//!
//! 1. The lease of a running load is deleted in the same step as the write: the load may have found the key absent,
//!    and must not store over a structure that came after it.
//! 2. A write that fails changes nothing, its TTL neither.

use std::fmt;
use std::marker::PhantomData;

use redis::{Arg, Cmd, Pipeline, Value};

use super::handle::Handle;
use crate::cache::operation::{Async, CacheFuture, Marked, operation};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::{Key, StoredKey};
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;
use crate::script::{Input, Script, script};
use crate::ttl::{IntoTtl, Ttl};

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};

/// KEYS: the structure, its lease. ARGV: the TTL in ms; "1" if only a new structure gets it; the command's name; its
/// arguments after the key.
///
/// Returns the command's reply. The lease is gone.
pub(crate) static TIMED: Script = script!(
    "local new = redis.call('EXISTS', KEYS[1]) == 0
local reply = redis.call(ARGV[3], KEYS[1], unpack(ARGV, 4))
if new or ARGV[2] ~= '1' then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
redis.call('DEL', KEYS[2])
return reply",
    timed
);

#[cfg(feature = "embedded")]
fn timed(call: &mut Call<'_>) -> std::result::Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let new = call.call(&[b"EXISTS", keys[0]])? == Value::Int(0);
    let mut command = vec![args[2], keys[0]];
    command.extend(&args[3..]);
    let reply = call.call(&command)?;
    if new || args[1] != b"1" {
        call.call(&[b"PEXPIRE", keys[0], args[0]])?;
    }
    call.call(&[b"DEL", keys[1]])?;
    Ok(reply)
}

/// What a write gives its structure.
#[derive(Clone, Copy, Debug)]
struct Time {
    ttl: Ttl,
    only_if_new: bool,
}

/// A pending write to a structure.
#[must_use = "nothing is written until it is carried out, by `.await` or `.run()`"]
pub struct Write<T, M = Async> {
    core: ReadThrough,
    key: Key,
    verb: &'static str,
    commands: Result<Vec<Cmd>>,
    parse: Parse<T>,
    time: Option<Result<Time>>,
    mode: Marked<M>,
}

/// Makes an answer of the replies.
type Parse<T> = Box<dyn FnOnce(Vec<Value>) -> Result<T> + Send>;

impl<T, M> Write<T, M> {
    pub(super) fn new(
        handle: &Handle<M>,
        verb: &'static str,
        commands: Result<Vec<Cmd>>,
        parse: impl FnOnce(Vec<Value>) -> Result<T> + Send + 'static,
    ) -> Self {
        Write {
            core: handle.core().clone(),
            key: handle.key().clone(),
            verb,
            commands,
            parse: Box::new(parse),
            time: None,
            mode: PhantomData,
        }
    }

    /// How long the structure lives from now on, all its elements together. Set in the same step as the write. The
    /// cache's jitter does not apply. Without it a structure keeps the TTL that it has, and a new one has none.
    pub fn ttl(self, ttl: impl IntoTtl) -> Self {
        self.timed(ttl, false)
    }

    /// How long the structure lives if this write makes it. One that is there keeps its TTL.
    pub fn ttl_if_new(self, ttl: impl IntoTtl) -> Self {
        self.timed(ttl, true)
    }

    fn timed(mut self, ttl: impl IntoTtl, only_if_new: bool) -> Self {
        self.time = Some(ttl.into_ttl().map(|ttl| Time { ttl, only_if_new }));
        self
    }
}

impl<T: Send + 'static, M> Write<T, M> {
    fn start(self) -> CacheFuture<'static, T> {
        let Write {
            core,
            key,
            verb,
            commands,
            parse,
            time,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let (commands, time) = (commands?, time.transpose()?);
            core.perform(verb, CallKeys::One(key.as_bytes()), async |core| {
                let key = core.client().stored(key.as_bytes())?;
                let _poison = Poison::key(core, &key);
                let replies = send(core.client(), &key, &commands, time).await;
                replies.and_then(parse).map_err(|error| error.for_key(&key))
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
    commands: &[Cmd],
    time: Option<Time>,
) -> Result<Vec<Value>> {
    let mut replies = Vec::with_capacity(commands.len());
    let mut left = time;
    for command in commands {
        replies.push(match left {
            Some(time) => client.run(&TIMED, &input(key, command, time)).await?,
            None => fenced(client, [key], command).await?,
        });
        // The structure is there now: only the first part may have made it.
        left = left.filter(|time| !time.only_if_new);
    }
    Ok(replies)
}

/// Sends a command that changes these keys, and fences their loads in the same step.
pub(super) async fn fenced<'k>(
    client: &Client,
    keys: impl IntoIterator<Item = &'k StoredKey>,
    command: &Cmd,
) -> Result<Value> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.atomic();
    pipeline.add_command(command.clone());
    pipeline.add_command(crate::client::batch::unlink_leases(keys));
    let mut replies = client.pipeline(&pipeline).await?.into_iter();
    match replies.next() {
        Some(Value::ServerError(error)) => Err(Error::from_server(&error).on_host(client.host())),
        reply => Ok(reply.unwrap_or(Value::Nil)),
    }
}

/// The command's words: its name, the key, and the rest.
fn input(key: &StoredKey, command: &Cmd, time: Time) -> Input {
    let mut input = Input::default();
    input.key(key.as_bytes()).key(&key.lease());
    input.arg(time.ttl.as_millis().to_string().as_bytes());
    input.arg(if time.only_if_new { b"1" } else { b"0" });
    for (at, word) in command.args_iter().enumerate() {
        if let (Arg::Simple(word), true) = (word, at != 1) {
            input.arg(word);
        }
    }
    input
}
