//! Any command of Redis on the cache's keys, for what has no verb of its own.
//!
//! [`CacheOf::command`] sends one, [`CacheOf::pipeline`] several in one round trip. They keep what every verb keeps: the
//! prefix, the timeout, the breaker, the hooks, and the fence of loads.
//!
//! ```
//! # async fn example() -> nearcache::Result<()> {
//! # let cache = nearcache::Cache::open("memory://?prefix=app")?;
//! let added: i64 = cache.command("ZADD").key("board").arg(7).arg("ada").query().await?;
//! assert_eq!(added, 1); // ZADD app:board 7 ada
//!
//! let (visits, tags): (i64, Vec<String>) = cache
//!     .pipeline()
//!     .add(cache.command("INCR").key("visits"))
//!     .add(cache.command("SMEMBERS").key("tags"))
//!     .atomic()
//!     .query()
//!     .await?;
//! assert_eq!((visits, tags.len()), (1, 0));
//! # Ok(())
//! # }
//! # nearcache::__example(example());
//! ```
//!
//! # Keys
//! A key is named by `.key(..)`, which adds the prefix; everything else is an argument. Which words of a command are keys
//! is asked of the server (`COMMAND INFO`, once for each name; `COMMAND GETKEYS`, for each command whose keys are not at
//! a fixed place, such as `ZUNIONSTORE`). A command in which they are not the same is refused before it is sent: so no
//! command leaves the prefix.
//!
//! Unless the server says that the command only reads, each of its keys counts as invalidated: loads that run are fenced
//! in the same step, and values that this process holds of it are dropped.
//!
//! # What is refused
//! [`ErrorKind::Refused`](crate::ErrorKind::Refused): a command without a key, such as `KEYS`, `SCAN`, `FLUSHALL`; what
//! changes the connection, or waits: `SELECT`, `AUTH`, `MULTI`, `WATCH`, `SUBSCRIBE`, `BLPOP`, `XREAD BLOCK`; scripts; and
//! what reaches keys that are not named: `SORT` with `BY` or `GET`, `COPY` to another database, `MOVE`, `MIGRATE`. (`PING`,
//! `ECHO`, `TIME`, `INFO` and `DBSIZE` need no key.) For these use a
//! [`connection`](crate::CacheOf::connection) or [`shared_connection`](crate::CacheOf::shared_connection).

mod check;
mod pipeline;
mod reply;

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Value};

pub use pipeline::Pipeline;
pub use reply::{FromReply, Reply};

use crate::cache::CacheOf;
use crate::cache::operation::{Async, Marked, Pending};
use crate::client::Client;
use crate::client::batch::unlink_leases;
use crate::error::{Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;
use crate::structures::{AsKey, AsMember, stored_key};

impl<M> CacheOf<M> {
    /// A command of Redis, by its name: see [`command`](crate::command). A name may have two words (`OBJECT ENCODING`).
    pub fn command(&self, name: &str) -> Command<M> {
        let mut cmd = Cmd::new();
        for word in name.split_whitespace() {
            cmd.arg(word);
        }
        Command {
            core: self.core().clone(),
            built: Ok(Built {
                cmd,
                keys: Vec::new(),
            }),
            mode: PhantomData,
        }
    }

    /// Several commands in one round trip: see [`command`](crate::command).
    pub fn pipeline(&self) -> Pipeline<M> {
        Pipeline::new(self.core().clone())
    }
}

/// A command under construction: see [`CacheOf::command`].
#[must_use = "nothing is sent before `query`"]
pub struct Command<M = Async> {
    core: ReadThrough,
    built: Result<Built>,
    mode: Marked<M>,
}

/// The words, and those of them that are keys.
#[derive(Clone)]
struct Built {
    cmd: Cmd,
    keys: Vec<StoredKey>,
}

impl<M> Command<M> {
    fn with(mut self, add: impl FnOnce(&ReadThrough, &mut Built) -> Result<()>) -> Self {
        self.built = self.built.and_then(|mut built| {
            add(&self.core, &mut built)?;
            Ok(built)
        });
        self
    }

    /// A key of the cache.
    pub fn key(self, key: impl AsKey) -> Self {
        self.with(|core, built| {
            let key = stored_key(&key, core.client())?;
            built.cmd.arg(&key);
            built.keys.push(key);
            Ok(())
        })
    }

    /// Keys of the cache.
    pub fn keys(self, keys: impl IntoIterator<Item: AsKey>) -> Self {
        keys.into_iter().fold(self, Self::key)
    }

    /// An argument that is no key, as elements of structures are written: text and integers bare, bytes by
    /// [`Raw`](crate::Raw), everything else as JSON (see [`Member`](crate::structures::Member)).
    #[allow(
        clippy::needless_pass_by_value,
        reason = "it is given as it is: `arg(7)`, `arg(\"ada\")`"
    )]
    pub fn arg(self, argument: impl AsMember) -> Self {
        self.with(|_, built| {
            let mut bytes = Vec::new();
            argument.write_member(&mut bytes)?;
            built.cmd.arg(bytes);
            Ok(())
        })
    }

    /// Arguments that are no keys.
    pub fn args(self, arguments: impl IntoIterator<Item: AsMember>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sends it, and returns its reply as a `T`; `()` for none, [`Reply`] for any.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) for what is [refused](crate::command#what-is-refused), which
    /// was not sent; [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a reply that is no `T`; and those of every call
    /// (see [`CacheOf`]). After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) a write may or may not have been
    /// carried out.
    pub fn query<T: FromReply + Send + 'static>(self) -> Pending<'static, T, M> {
        let Command { core, built, .. } = self;
        Pending::new(async move {
            let Built { cmd, keys } = built?;
            core.perform("command", CallKeys::Stored(&keys), async |core| {
                let reply = send(core, &cmd, &keys).await;
                let reply = reply.and_then(Reply::from_redis);
                reply
                    .and_then(T::from_reply)
                    .map_err(|error| match keys.first() {
                        Some(key) => error.for_key(key),
                        None => error,
                    })
            })
            .await
        })
    }
}

async fn send(core: &ReadThrough, cmd: &Cmd, keys: &[StoredKey]) -> Result<Value> {
    let client = core.client();
    let [reads] = check::all(client, [(cmd, keys)]).await?[..] else {
        return Ok(Value::Nil);
    };
    if reads || keys.is_empty() {
        return client.request(cmd).await;
    }
    let _poisons: Vec<_> = keys.iter().map(|key| Poison::key(core, key)).collect();
    let mut pipeline = redis::Pipeline::with_capacity(3);
    pipeline.atomic();
    let fences = fence_first(client, &mut pipeline, keys);
    pipeline.add_command(cmd.clone());
    pipeline.add_command(unlink_leases(keys));
    let replies = client.pipeline(&pipeline).await?;
    match replies.into_iter().nth(fences) {
        Some(Value::ServerError(error)) => Err(Error::from_server(&error).on_host(client.host())),
        reply => Ok(reply.unwrap_or(Value::Nil)),
    }
}

/// Unlinks the leases before the commands as well, where their slot may be being moved: the commands are then carried out
/// one after the other. What removes a key must come after this, and what stores one before the other. Returns how many
/// commands it has added.
fn fence_first<'k>(
    client: &Client,
    pipeline: &mut redis::Pipeline,
    keys: impl IntoIterator<Item = &'k StoredKey>,
) -> usize {
    if client.is_spread() {
        pipeline.add_command(unlink_leases(keys));
    }
    pipeline.len()
}

impl<M> Clone for Command<M> {
    fn clone(&self) -> Self {
        Command {
            core: self.core.clone(),
            built: self.built.clone(),
            mode: PhantomData,
        }
    }
}

/// The name and the keys; not the arguments, which may be private.
impl<M> fmt::Debug for Command<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.built {
            Ok(built) => f
                .debug_struct("Command")
                .field("name", &check::name(&built.cmd))
                .field("keys", &built.keys)
                .finish_non_exhaustive(),
            Err(error) => f.debug_tuple("Command").field(error).finish(),
        }
    }
}
