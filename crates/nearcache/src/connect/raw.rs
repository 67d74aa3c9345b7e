//! Connections for the caller alone, for commands that the cache has no method for. They bypass the cache, and
//! implement redis-rs's own traits.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};

use super::driven::Driven;
#[cfg(feature = "blocking")]
use super::socket::Socket;

/// The connection that a backend opens.
#[derive(Debug)]
pub(crate) enum Raw {
    #[cfg(feature = "embedded")]
    Embedded(nearcache_embedded::Connection),
    Multiplexed(Arc<Driven>),
    #[cfg(feature = "blocking")]
    Socket(Box<Socket>),
}

/// A Redis connection for the caller alone, for every command, through redis-rs.
///
/// It implements [`redis::aio::ConnectionLike`], so [`redis::Cmd::query_async`], [`redis::Pipeline::query_async`] and
/// `redis::AsyncCommands` work on it, on the embedded store as on a server. It is not shared with the cache: `SELECT`,
/// `MULTI` and `WATCH` affect no one else. Keys are as they are in Redis, **with the prefix**. Nothing here is cached,
/// fenced or counted.
///
/// A command that takes longer than the cache's timeout fails with a timeout, so give blocking commands such as `BLPOP`
/// a shorter one. The connection does not reconnect: open another one, or use a
/// [`shared_connection`](crate::CacheOf::shared_connection).
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = nearcache::Cache::open("memory://?prefix=app")?;
/// cache.set("greeting", &"hello").await?;
///
/// let mut connection = cache.connection().await?;
/// let length: u64 = redis::cmd("STRLEN").arg("app:greeting").query_async(&mut connection).await?;
/// assert_eq!(length, 7); // JSON, with its quotes
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
#[derive(Clone)]
pub struct Connection {
    kind: Kind,
    db: i64,
    limit: Duration,
}

#[derive(Clone)]
enum Kind {
    #[cfg(feature = "embedded")]
    Embedded(nearcache_embedded::Connection),
    Multiplexed(Arc<Driven>),
}

impl Connection {
    pub(crate) fn new(raw: Raw, db: i64, limit: Duration) -> Self {
        let kind = match raw {
            #[cfg(feature = "embedded")]
            Raw::Embedded(connection) => Kind::Embedded(connection),
            Raw::Multiplexed(connected) => Kind::Multiplexed(connected),
            #[cfg(feature = "blocking")]
            Raw::Socket(_) => unreachable!("an async backend opens no blocking connection"),
        };
        Connection { kind, db, limit }
    }
}

impl redis::aio::ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.kind {
            #[cfg(feature = "embedded")]
            Kind::Embedded(connection) => connection.req_packed_command(cmd),
            Kind::Multiplexed(connected) => {
                let mut connection = connected.connection();
                let limit = self.limit;
                Box::pin(async move { within(limit, connection.send_packed_command(cmd)).await })
            }
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.kind {
            #[cfg(feature = "embedded")]
            Kind::Embedded(connection) => connection.req_packed_commands(pipeline, offset, count),
            Kind::Multiplexed(connected) => {
                let mut connection = connected.connection();
                let limit = self.limit;
                Box::pin(async move {
                    within(
                        limit,
                        connection.send_packed_commands(pipeline, offset, count),
                    )
                    .await
                })
            }
        }
    }

    fn get_db(&self) -> i64 {
        self.db
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

async fn within<T>(limit: Duration, reply: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match tokio::time::timeout(limit, reply).await {
        Ok(reply) => reply,
        Err(_) => Err(timed_out(limit)),
    }
}

fn timed_out(limit: Duration) -> RedisError {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within {limit:?}"),
    )
    .into()
}

/// A blocking Redis connection for the caller alone, for every command, through redis-rs.
///
/// Like [`Connection`], with [`redis::ConnectionLike`]: [`redis::Cmd::query`] and `redis::Commands` work on it.
///
/// ```
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = nearcache::blocking::Cache::open("memory://?prefix=app")?;
/// cache.set("greeting", &"hello").run()?;
///
/// let mut connection = cache.connection().run()?;
/// let length: u64 = redis::cmd("STRLEN").arg("app:greeting").query(&mut connection)?;
/// assert_eq!(length, 7); // JSON, with its quotes
/// # Ok(())
/// # }
/// # nearcache::__example(async { example() });
/// ```
#[cfg(feature = "blocking")]
pub struct BlockingConnection {
    kind: BlockingKind,
    db: i64,
    limit: Duration,
}

#[cfg(feature = "blocking")]
enum BlockingKind {
    #[cfg(feature = "embedded")]
    Embedded(nearcache_embedded::Connection),
    Socket(Box<Socket>),
}

#[cfg(feature = "blocking")]
fn exchange(
    socket: &mut Socket,
    packed: &[u8],
    offset: usize,
    count: usize,
    limit: Duration,
) -> RedisResult<Vec<Value>> {
    let now = std::time::Instant::now();
    socket.exchange(packed, offset, count, now, now + limit)
}

#[cfg(feature = "blocking")]
impl BlockingConnection {
    pub(crate) fn new(raw: Raw, db: i64, limit: Duration) -> Self {
        let kind = match raw {
            #[cfg(feature = "embedded")]
            Raw::Embedded(connection) => BlockingKind::Embedded(connection),
            Raw::Socket(socket) => BlockingKind::Socket(socket),
            Raw::Multiplexed(_) => unreachable!("a blocking backend opens no async connection"),
        };
        BlockingConnection { kind, db, limit }
    }
}

#[cfg(feature = "blocking")]
impl redis::ConnectionLike for BlockingConnection {
    fn req_packed_command(&mut self, cmd: &[u8]) -> RedisResult<Value> {
        match &mut self.kind {
            #[cfg(feature = "embedded")]
            BlockingKind::Embedded(connection) => {
                redis::ConnectionLike::req_packed_command(connection, cmd)
            }
            BlockingKind::Socket(socket) => {
                let mut replies = exchange(socket, cmd, 0, 1, self.limit)?;
                Ok(replies.pop().unwrap_or(Value::Nil))
            }
        }
    }

    fn req_packed_commands(
        &mut self,
        cmd: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        match &mut self.kind {
            #[cfg(feature = "embedded")]
            BlockingKind::Embedded(connection) => {
                redis::ConnectionLike::req_packed_commands(connection, cmd, offset, count)
            }
            BlockingKind::Socket(socket) => exchange(socket, cmd, offset, count, self.limit),
        }
    }

    fn get_db(&self) -> i64 {
        self.db
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").query::<String>(self).is_ok()
    }

    fn is_open(&self) -> bool {
        match &self.kind {
            #[cfg(feature = "embedded")]
            BlockingKind::Embedded(_) => true,
            BlockingKind::Socket(socket) => socket.is_in_step(),
        }
    }
}

#[cfg(feature = "blocking")]
impl fmt::Debug for BlockingConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingConnection")
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}
