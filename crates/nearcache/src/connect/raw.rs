//! Connections for the caller alone, for commands that the cache has no method for. They bypass the cache, and
//! implement redis-rs's own traits.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "blocking")]
use std::time::Instant;

use redis::{Cmd, Pipeline, PushInfo, RedisError, RedisFuture, RedisResult, Value};

use super::driven::Driven;
#[cfg(feature = "blocking")]
use super::socket::Socket;
use super::waits::Wait;
use crate::runtime::Runtime;

/// The connection that a backend opens.
#[derive(Debug)]
pub(crate) enum Dedicated {
    #[cfg(feature = "embedded")]
    Embedded(nearcache_embedded::Connection),
    Multiplexed(Arc<Driven>),
    #[cfg(feature = "blocking")]
    Socket(Box<Socket>),
}

/// A connection for one caller of the cache itself, whichever way it waits.
pub(crate) struct Alone {
    way: Way,
    /// Told when the server says that it does not serve the key any more.
    moved: Option<Box<dyn Fn() + Send + Sync>>,
}

enum Way {
    Async(Box<Connection>),
    #[cfg(feature = "blocking")]
    Blocking(Box<BlockingConnection>),
}

impl Alone {
    pub(crate) fn new(dedicated: Dedicated, runtime: &Runtime, limit: Duration) -> Self {
        let _ = runtime;
        let way = match runtime {
            #[cfg(feature = "blocking")]
            Runtime::Threads => {
                Way::Blocking(Box::new(BlockingConnection::new(dedicated, 0, limit)))
            }
            _ => Way::Async(Box::new(Connection::new(dedicated, 0, limit))),
        };
        Alone { way, moved: None }
    }

    /// The same, for a key that may move to another server: then this is told, and the connection counts as broken.
    #[cfg(feature = "cluster")]
    pub(crate) fn telling(self, moved: impl Fn() + Send + Sync + 'static) -> Self {
        let moved = Some(Box::new(moved) as Box<_>);
        Alone { moved, ..self }
    }

    /// Whether a request blocks the thread.
    pub(crate) fn is_blocking(&self) -> bool {
        !matches!(self.way, Way::Async(_))
    }

    /// The next message that the server sends beside its replies; `None` if none comes within the time. A blocking
    /// connection blocks the thread.
    pub(crate) async fn next_push(
        &mut self,
        runtime: &Runtime,
        time: Duration,
    ) -> crate::error::Result<Option<PushInfo>> {
        let next = match &mut self.way {
            Way::Async(connection) => {
                let next = runtime.timeout(time, || connection.next_push()).await;
                next.transpose()
            }
            #[cfg(feature = "blocking")]
            Way::Blocking(connection) => connection.next_push(time),
        };
        next.map_err(crate::error::Error::from_redis)
    }

    /// Sends commands together. Error replies are among the replies.
    #[cfg(feature = "sentinel")]
    pub(super) async fn pipeline(
        &mut self,
        pipeline: &Pipeline,
    ) -> crate::error::Result<Vec<Value>> {
        let count = pipeline.len();
        let replies = match &mut self.way {
            Way::Async(connection) => {
                redis::aio::ConnectionLike::req_packed_commands(
                    &mut **connection,
                    pipeline,
                    0,
                    count,
                )
                .await
            }
            #[cfg(feature = "blocking")]
            Way::Blocking(connection) => redis::ConnectionLike::req_packed_commands(
                &mut **connection,
                &pipeline.get_packed_pipeline(),
                0,
                count,
            ),
        };
        replies.map_err(crate::error::Error::from_redis)
    }

    /// Sends a command. One that waits may take that long, and the limit.
    pub(crate) async fn request(&mut self, command: &Cmd) -> crate::error::Result<Value> {
        let reply = match &mut self.way {
            Way::Async(connection) => {
                redis::aio::ConnectionLike::req_packed_command(&mut **connection, command).await
            }
            #[cfg(feature = "blocking")]
            Way::Blocking(connection) => {
                redis::ConnectionLike::req_command(&mut **connection, command)
            }
        };
        let reply = reply.map_err(crate::error::Error::from_redis);
        reply
            .and_then(super::result_of)
            .map_err(|error| self.elsewhere(error))
    }

    /// An error that says that the key is at another server now is that of a connection that leads there no more.
    fn elsewhere(&self, error: crate::error::Error) -> crate::error::Error {
        match &self.moved {
            #[cfg(feature = "cluster")]
            Some(moved) if super::cluster::Redirect::of(&error, "").is_some() => {
                moved();
                crate::error::Error::new(
                    crate::error::ErrorKind::Connect,
                    "this part of the keys has moved to another node of the Cluster",
                )
            }
            _ => error,
        }
    }
}

/// A Redis connection for the caller alone, for every command, through redis-rs.
///
/// It implements [`redis::aio::ConnectionLike`], so [`redis::Cmd::query_async`], [`redis::Pipeline::query_async`] and
/// `redis::AsyncCommands` work on it, on the embedded store as on a server. It is not shared with the cache: `SELECT`,
/// `MULTI` and `WATCH` affect no one else. Keys are as they are in Redis, **with the prefix**. Nothing here is cached,
/// fenced or counted.
///
/// A command that takes longer than the cache's timeout fails with a timeout. One that waits for data by itself
/// (`BLPOP`, `XREAD BLOCK`, `WAIT` ...) may take as long as it says on top of that. With 0 it waits until something
/// comes or the connection breaks: a server that hangs without closing the connection holds it up, so prefer a time.
/// Messages that the server sends beside its replies, as after `SUBSCRIBE` or `CLIENT TRACKING`, are kept for
/// [`next_push`](Connection::next_push). The connection does not reconnect: open another one, or use a
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
    Embedded {
        connection: nearcache_embedded::Connection,
        pushes: Arc<tokio::sync::Mutex<nearcache_embedded::Pushes>>,
    },
    Multiplexed(Arc<Driven>),
}

impl Connection {
    pub(crate) fn new(dedicated: Dedicated, db: i64, limit: Duration) -> Self {
        let kind = match dedicated {
            #[cfg(feature = "embedded")]
            Dedicated::Embedded(mut connection) => Kind::Embedded {
                pushes: Arc::new(tokio::sync::Mutex::new(connection.pushes())),
                connection,
            },
            Dedicated::Multiplexed(connected) => Kind::Multiplexed(connected),
            #[cfg(feature = "blocking")]
            Dedicated::Socket(_) => unreachable!("an async backend opens no blocking connection"),
        };
        Connection { kind, db, limit }
    }

    /// The next message that the server sends beside its replies: of a channel after `SUBSCRIBE`, the confirmation of
    /// a subscription, or an invalidation after `CLIENT TRACKING`. Messages come in order; 100,000 of them, of 32 MiB
    /// together, are kept until they are read. Dropping the future loses none.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = nearcache::Cache::open("memory://")?;
    /// let mut subscriber = cache.connection().await?;
    /// redis::cmd("SUBSCRIBE").arg("news").exec_async(&mut subscriber).await?;
    ///
    /// let mut publisher = cache.shared_connection();
    /// redis::cmd("PUBLISH").arg("news").arg("hello").exec_async(&mut publisher).await?;
    ///
    /// let confirmation = subscriber.next_push().await?;
    /// assert_eq!(confirmation.kind, redis::PushKind::Subscribe);
    /// let message = subscriber.next_push().await?;
    /// assert_eq!(message.kind, redis::PushKind::Message);
    /// assert_eq!(message.data[1], redis::Value::BulkString(b"hello".to_vec()));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// The connection broke, or more messages came than are kept: then there may be a gap, so open another one. Or it
    /// speaks RESP2 (`protocol=2`, or a server before Redis 6), in which there are no such messages.
    pub async fn next_push(&mut self) -> RedisResult<PushInfo> {
        match &self.kind {
            #[cfg(feature = "embedded")]
            Kind::Embedded { pushes, .. } => {
                let push = pushes.lock().await.next().await;
                push.filter(|push| push.kind != redis::PushKind::Disconnection)
                    .ok_or_else(super::pushes::too_many_pushes)
            }
            Kind::Multiplexed(connected) => connected.next_push().await,
        }
    }
}

impl redis::aio::ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.kind {
            #[cfg(feature = "embedded")]
            Kind::Embedded { connection, .. } => connection.req_packed_command(cmd),
            Kind::Multiplexed(connected) => {
                let mut connection = connected.connection();
                let limit = Wait::of(cmd).limit(self.limit);
                let connected = Arc::clone(connected);
                Box::pin(async move {
                    let reply = connected.while_current(connection.send_packed_command(cmd));
                    within(limit, reply).await
                })
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
            Kind::Embedded { connection, .. } => {
                connection.req_packed_commands(pipeline, offset, count)
            }
            Kind::Multiplexed(connected) => {
                let mut connection = connected.connection();
                let limit = Wait::of_all(pipeline.cmd_iter()).limit(self.limit);
                let connected = Arc::clone(connected);
                Box::pin(async move {
                    let replies = connection.send_packed_commands(pipeline, offset, count);
                    within(limit, connected.while_current(replies)).await
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

async fn within<T>(
    limit: Option<Duration>,
    reply: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let Some(limit) = limit else {
        return reply.await;
    };
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
    Embedded(nearcache_embedded::Connection, nearcache_embedded::Pushes),
    Socket(Box<Socket>),
}

/// A limit for commands that wait for ever.
#[cfg(feature = "blocking")]
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Sends commands, and reads their replies.
#[cfg(feature = "blocking")]
fn exchange(
    socket: &mut Socket,
    packed: &[u8],
    offset: usize,
    count: usize,
    limit: Duration,
) -> RedisResult<Vec<Value>> {
    let commands = super::packed::commands(packed)?;
    let limit = Wait::of_all(&commands).limit(limit).unwrap_or(FOREVER);
    if !socket.is_current() {
        return Err(super::led::turned_away());
    }
    let now = Instant::now();
    if let [command] = &commands[..]
        && let Some(confirmations) = confirmations(command)
    {
        let reply = socket.subscribe(packed, confirmations, now, now + limit)?;
        return Ok(vec![reply]);
    }
    socket.exchange(packed, offset, count, now, now + limit)
}

/// How many confirmations answer this command, if it is `SUBSCRIBE` or one of its kin.
#[cfg(feature = "blocking")]
fn confirmations(command: &Cmd) -> Option<usize> {
    let mut args = command.args_iter();
    let Some(redis::Arg::Simple(name)) = args.next() else {
        return None;
    };
    let names: [&[u8]; 6] = [
        b"SUBSCRIBE",
        b"PSUBSCRIBE",
        b"SSUBSCRIBE",
        b"UNSUBSCRIBE",
        b"PUNSUBSCRIBE",
        b"SUNSUBSCRIBE",
    ];
    // Without arguments all subscriptions end: the first confirmation is waited for, and the others follow.
    names
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
        .then(|| args.count().max(1))
}

#[cfg(feature = "blocking")]
impl BlockingConnection {
    pub(crate) fn new(dedicated: Dedicated, db: i64, limit: Duration) -> Self {
        let kind = match dedicated {
            #[cfg(feature = "embedded")]
            Dedicated::Embedded(mut connection) => {
                let pushes = connection.pushes();
                BlockingKind::Embedded(connection, pushes)
            }
            Dedicated::Socket(socket) => BlockingKind::Socket(socket),
            Dedicated::Multiplexed(_) => {
                unreachable!("a blocking backend opens no async connection")
            }
        };
        BlockingConnection { kind, db, limit }
    }

    /// The next message that the server sends beside its replies, as [`Connection::next_push`]; `None` if none comes
    /// within the timeout.
    ///
    /// ```
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let cache = nearcache::blocking::Cache::open("memory://")?;
    /// let mut subscriber = cache.connection().run()?;
    /// redis::cmd("SUBSCRIBE").arg("news").exec(&mut subscriber)?;
    /// redis::cmd("PUBLISH").arg("news").arg("hello").exec(&mut cache.shared_connection())?;
    ///
    /// let timeout = Duration::from_secs(1);
    /// let confirmation = subscriber.next_push(timeout)?.unwrap();
    /// assert_eq!(confirmation.kind, redis::PushKind::Subscribe);
    /// let message = subscriber.next_push(timeout)?.unwrap();
    /// assert_eq!(message.data[1], redis::Value::BulkString(b"hello".to_vec()));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(async { example() });
    /// ```
    ///
    /// # Errors
    /// Those of [`Connection::next_push`].
    pub fn next_push(&mut self, timeout: Duration) -> RedisResult<Option<PushInfo>> {
        match &mut self.kind {
            #[cfg(feature = "embedded")]
            BlockingKind::Embedded(_, pushes) => match pushes.wait_for(timeout) {
                Some(push) if push.kind != redis::PushKind::Disconnection => Ok(Some(push)),
                None if !pushes.was_cut() => Ok(None),
                _ => Err(super::pushes::too_many_pushes()),
            },
            BlockingKind::Socket(socket) => socket.next_push(Instant::now() + timeout.min(FOREVER)),
        }
    }
}

#[cfg(feature = "blocking")]
impl redis::ConnectionLike for BlockingConnection {
    fn req_packed_command(&mut self, cmd: &[u8]) -> RedisResult<Value> {
        match &mut self.kind {
            #[cfg(feature = "embedded")]
            BlockingKind::Embedded(connection, _) => {
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
            BlockingKind::Embedded(connection, _) => {
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
            BlockingKind::Embedded(..) => true,
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
