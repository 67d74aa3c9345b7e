//! `shared_connection`: raw commands on the cache's own connections, for the life of the program.
//!
//! Each command goes the way of the cache's own: through the breaker, after what the outbox holds of its keys, on
//! whatever connection there is. So it reconnects by itself, and a blocking caller's takes a socket of the pool for as
//! long as the command takes. What would change the connection for others is refused.

use std::fmt;
use std::io;

use redis::{Cmd, Pipeline, RedisError, RedisResult, ServerError, Value};

use super::CacheOf;
use super::operation::Async;
use crate::client::Client;
#[cfg(feature = "blocking")]
use crate::connect::packed;
use crate::error::{Error, ErrorKind, Result};
use crate::resilience::keepers::announce_all;

/// The cache's own connections, for every command, through redis-rs: pooled, and reconnecting by themselves. Keep it for
/// as long as you like; clones are cheap, and all tasks and threads may use it at once.
///
/// It implements [`redis::aio::ConnectionLike`], or `redis::ConnectionLike` for a blocking cache, so
/// [`redis::Cmd::query_async`], [`redis::Pipeline::query_async`], `redis::AsyncCommands` and `redis::Script` work on it,
/// on the embedded store as on a server. Keys are as they are in Redis, **with the prefix**. Nothing here is cached,
/// fenced or counted: to change an entry of the cache, use the cache.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = nearcache::Cache::open("memory://?prefix=app")?;
///
/// let mut redis = cache.shared_connection(); // keep it
/// redis::cmd("RPUSH").arg("app:jobs").arg(&["a", "b"]).exec_async(&mut redis).await?;
/// let jobs: u64 = redis::cmd("LLEN").arg("app:jobs").query_async(&mut redis).await?;
/// assert_eq!(jobs, 2);
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
///
/// Timeout, breaker and [`close`](CacheOf::close) apply as for the cache: while Redis is away a command fails within
/// the timeout, or at once while the breaker is open, and works again once Redis is back. The error of the redis
/// crate says what the cache's would.
///
/// # What it refuses
/// Commands that would change the connection for everybody, or keep it busy: `SELECT`, `AUTH`, `WATCH`, a `MULTI` of its
/// own (use [`redis::pipe`] with `atomic`), `SUBSCRIBE`, `MONITOR`, `CLIENT` where it changes the connection, and those that
/// wait (`BLPOP`, `WAIT`, `XREAD BLOCK`). For these open a [`connection`](CacheOf::connection) of your own.
pub struct SharedConnection<M = Async> {
    cache: CacheOf<M>,
}

impl<M> CacheOf<M> {
    /// Raw commands on the cache's own connections, for commands that the cache has no method for. Unlike a
    /// [`connection`](CacheOf::connection) it reconnects by itself and can be kept. It connects when it is first used.
    pub fn shared_connection(&self) -> SharedConnection<M> {
        SharedConnection {
            cache: self.clone(),
        }
    }
}

impl<M> SharedConnection<M> {
    fn db(&self) -> i64 {
        i64::from(self.cache.core.client().db())
    }
}

impl redis::aio::ConnectionLike for SharedConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> redis::RedisFuture<'a, Value> {
        let client = self.cache.core.client();
        Box::pin(async move { one(client, cmd.clone()).await })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        _offset: usize,
        _count: usize,
    ) -> redis::RedisFuture<'a, Vec<Value>> {
        let client = self.cache.core.client();
        Box::pin(async move { many(client, pipeline).await })
    }

    fn get_db(&self) -> i64 {
        self.db()
    }
}

#[cfg(feature = "blocking")]
impl redis::ConnectionLike for SharedConnection<super::operation::Blocking> {
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        match packed::commands(packed)?.pop() {
            Some(command) => self.req_command(&command),
            None => Ok(Value::Nil),
        }
    }

    fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        crate::runtime::block_on(one(self.cache.core.client(), command.clone()))
    }

    fn req_packed_commands(
        &mut self,
        packed: &[u8],
        offset: usize,
        _count: usize,
    ) -> RedisResult<Vec<Value>> {
        // Of a transaction, only the reply to its `EXEC` is asked for.
        let pipeline = packed::pipeline(packed, offset > 0)?;
        crate::runtime::block_on(many(self.cache.core.client(), &pipeline))
    }

    fn get_db(&self) -> i64 {
        self.db()
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").query::<String>(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.cache.is_open()
    }
}

/// The reply to one command.
async fn one(client: &Client, command: Cmd) -> RedisResult<Value> {
    check(&command).map_err(into_redis)?;
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.add_command(command);
    // As a pipeline, whose replies are as the server gave them, errors included.
    let replies = send(client, &pipeline).await?;
    replies
        .into_iter()
        .next()
        .unwrap_or(Value::Nil)
        .extract_error()
}

/// The replies to a pipeline, or the one reply to a transaction.
async fn many(client: &Client, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
    for command in pipeline.cmd_iter() {
        check(command).map_err(into_redis)?;
    }
    let replies = send(client, pipeline).await?;
    Ok(match pipeline.is_transaction() {
        true => vec![Value::Array(replies)],
        false => replies,
    })
}

/// Sends a pipeline. What may write keys that it does not name is announced to those who keep copies.
async fn send(client: &Client, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
    let hides = pipeline.cmd_iter().any(hides_keys);
    let _announced = hides.then(|| announce_all(client.host()));
    client.pipeline(pipeline).await.map_err(into_redis)
}

/// Whether a command may write keys that are not among its arguments.
fn hides_keys(command: &Cmd) -> bool {
    let hiding = ["EVAL", "EVALSHA", "FCALL", "FLUSHALL", "FLUSHDB", "SWAPDB"];
    match command.args_iter().next() {
        Some(redis::Arg::Simple(verb)) => hiding
            .iter()
            .any(|name| verb.eq_ignore_ascii_case(name.as_bytes())),
        _ => false,
    }
}

/// The commands that change a connection for all who share it, or keep it busy.
const REFUSED: [&str; 36] = [
    "ASKING",
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "RESET",
    "SELECT",
    "SHUTDOWN",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
    "REPLCONF",
    "FAILOVER",
    "DEBUG",
];

/// What `CLIENT` may be told: nothing that changes this connection.
const OF_CLIENT: [&str; 7] = [
    "GETNAME",
    "GETREDIR",
    "ID",
    "INFO",
    "LIST",
    "TRACKINGINFO",
    "KILL",
];

/// # Errors
/// `Refused`: it would change the connection for others, or keep it busy.
pub(crate) fn check(command: &Cmd) -> Result<()> {
    let words = command.args_iter().map(|argument| match argument {
        redis::Arg::Simple(bytes) => bytes,
        _ => b"",
    });
    let words: Vec<&[u8]> = words.collect();
    let is = |word: Option<&&[u8]>, name: &str| {
        word.is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let verb = words.first();
    let waits = (is(verb, "XREAD") || is(verb, "XREADGROUP"))
        && words.iter().any(|word| is(Some(word), "BLOCK"));
    let client = is(verb, "CLIENT") && !OF_CLIENT.iter().any(|name| is(words.get(1), name));
    if waits || client || REFUSED.iter().any(|name| is(verb, name)) {
        let verb = String::from_utf8_lossy(verb.copied().unwrap_or_default()).to_uppercase();
        let why = format!(
            "{verb} would change or keep busy a connection that others share; use a `connection()` of your own"
        );
        return Err(Error::new(ErrorKind::Refused, why));
    }
    Ok(())
}

/// The cache's error as one of the redis crate: of the kind that its callers look for, with the same text.
fn into_redis(error: Error) -> RedisError {
    if let Some(reply) = server_error(&error) {
        return reply.into();
    }
    let kind = match error.kind() {
        ErrorKind::Timeout | ErrorKind::PoolExhausted => io::ErrorKind::TimedOut,
        ErrorKind::Connect | ErrorKind::Unavailable => io::ErrorKind::NotConnected,
        ErrorKind::Refused => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error).into()
}

/// The error reply of a server that this error tells of.
fn server_error(error: &Error) -> Option<ServerError> {
    let (code, detail) = error.detail().split_once(' ')?;
    let is_code = code.len() > 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if !is_code || detail.contains(['\r', '\n']) || error.host().is_none() {
        return None;
    }
    match redis::parse_redis_value(format!("-{code} {detail}\r\n").as_bytes()) {
        Ok(Value::ServerError(reply)) => Some(reply),
        _ => None,
    }
}

impl<M> Clone for SharedConnection<M> {
    fn clone(&self) -> Self {
        self.cache.shared_connection()
    }
}

impl<M> fmt::Debug for SharedConnection<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection")
            .field("db", &self.db())
            .finish_non_exhaustive()
    }
}
