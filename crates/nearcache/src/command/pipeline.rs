//! Several commands in one round trip.
//!
//! A fence of loads is in the same step as the change if the pipeline is atomic. If it is not, the leases are unlinked
//! before the commands, in the same round trip (in a Cluster in one of their own): a load that began before is fenced, and one that begins after it has
//! seen what the caller had changed before this call.

use std::fmt;
use std::marker::PhantomData;

use redis::Value;

use super::{Built, Command, FromReply, Reply, check};
use crate::cache::operation::{Async, Marked, Pending};
use crate::client::batch::{parts, unlink_leases};
use crate::error::{Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;

/// Commands that are sent together: see [`CacheOf::pipeline`](crate::CacheOf::pipeline).
#[must_use = "nothing is sent before `query`"]
pub struct Pipeline<M = Async> {
    core: ReadThrough,
    commands: Vec<Result<Built>>,
    atomic: bool,
    mode: Marked<M>,
}

impl<M> Pipeline<M> {
    pub(super) fn new(core: ReadThrough) -> Self {
        Pipeline {
            core,
            commands: Vec::new(),
            atomic: false,
            mode: PhantomData,
        }
    }

    /// Adds a command. It is of the same cache.
    #[allow(clippy::should_implement_trait, reason = "it adds no numbers")]
    pub fn add(mut self, command: Command<M>) -> Self {
        self.commands.push(command.built);
        self
    }

    /// All of them in one step (`MULTI`): no other command is carried out between them. If one fails, the others are
    /// carried out all the same, as Redis has it. In a Redis Cluster all keys must be in one slot.
    pub fn atomic(mut self) -> Self {
        self.atomic = true;
        self
    }

    /// Sends them, and returns the replies, in their order, as a `T`: a tuple, or a `Vec` if they are of one type; `()`
    /// for none. More than 1,000 commands that are not atomic are sent in parts.
    ///
    /// # Errors
    /// The first error among the replies: the other commands were carried out. Otherwise those of
    /// [`Command::query`]; if one command is refused, none was sent.
    pub fn query<T: FromReply + Send + 'static>(self) -> Pending<'static, T, M> {
        let Pipeline {
            core,
            commands,
            atomic,
            ..
        } = self;
        Pending::new(async move {
            let commands: Vec<Built> = commands.into_iter().collect::<Result<_>>()?;
            let keys = commands.iter().flat_map(|one| one.keys.clone());
            let keys: Vec<StoredKey> = keys.collect();
            core.perform("pipeline", CallKeys::Stored(&keys), async |core| {
                let replies = send(core, &commands, atomic).await?;
                let replies = replies.into_iter().map(Reply::from_redis);
                T::from_reply(Reply::Array(replies.collect::<Result<_>>()?))
            })
            .await
        })
    }
}

async fn send(core: &ReadThrough, commands: &[Built], atomic: bool) -> Result<Vec<Value>> {
    let client = core.client();
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let asked = commands.iter().map(|one| (&one.cmd, &*one.keys));
    let reads = check::all(client, asked).await?;
    let changed = commands.iter().zip(&reads).filter(|(_, reads)| !**reads);
    let changed: Vec<&StoredKey> = changed.flat_map(|(one, _)| &one.keys).collect();
    let _poisons: Vec<_> = changed.iter().map(|key| Poison::key(core, key)).collect();
    if atomic {
        let mut pipeline = redis::Pipeline::with_capacity(commands.len() + 1);
        pipeline.atomic();
        for one in commands {
            pipeline.add_command(one.cmd.clone());
        }
        if !changed.is_empty() {
            pipeline.add_command(unlink_leases(changed.iter().copied()));
        }
        let mut replies = client.transaction(&pipeline).await?;
        replies.truncate(commands.len());
        return checked(client, replies);
    }
    let mut all = Vec::with_capacity(commands.len());
    let numbered: Vec<(&Built, bool)> = commands.iter().zip(reads).collect();
    for part in parts(&numbered, |(one, _)| one.cmd.get_packed_command().len()) {
        let mut pipeline = redis::Pipeline::new();
        for (one, reads) in part {
            if !reads {
                // Each in its own slot.
                for key in &one.keys {
                    pipeline.add_command(unlink_leases([key]));
                }
            }
        }
        if client.is_spread() && !pipeline.is_empty() {
            // Before the commands, wherever the leases are by now.
            checked(client, client.pipeline(&pipeline).await?)?;
            pipeline = redis::Pipeline::new();
        }
        let fences = pipeline.len();
        for (one, _) in part {
            pipeline.add_command(one.cmd.clone());
        }
        let replies = client.pipeline(&pipeline).await?;
        all.extend(replies.into_iter().skip(fences));
    }
    checked(client, all)
}

/// # Errors
/// The first error among the replies.
fn checked(client: &crate::client::Client, replies: Vec<Value>) -> Result<Vec<Value>> {
    for reply in &replies {
        if let Value::ServerError(error) = reply {
            return Err(Error::from_server(error).on_host(client.host()));
        }
    }
    Ok(replies)
}

impl<M> fmt::Debug for Pipeline<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("commands", &self.commands.len())
            .field("atomic", &self.atomic)
            .finish_non_exhaustive()
    }
}
