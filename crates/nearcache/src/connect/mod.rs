//! The transport layer, behind one small trait, [`Backend`]. The layers above send Redis commands through it, and do
//! not know where the store runs; the code below it does not know what a cache is.
//!
//! A backend only sends commands within a time limit, and reports when its connection is made or lost. `resilience`,
//! above it, decides whether a command is sent, sent again, or kept for later.
//!
//! A backend is for one server. `cluster` is what is known of several that belong together.
//!
//! `target` is the place and the user, `open` makes a backend for it. Three files implement the trait: `embedded` (a
//! store in this process), `multiplexed` (a server, for async callers, over connections of `driven`) and `pooled` (a
//! server, for blocking callers, over a pool of `socket`s, each on a `stream` with a deadline). `common` and `events`
//! are shared by all of them. `tls` secures the connections to a server. `dial` finds which address of a host answers,
//! `greeting` what is asked first on a connection, `pace` how often connecting is tried, `led` where a place leads to, which
//! `sentinel` decides for a primary behind Sentinels, `doubts` which old connections are closed first, and `vain` when one
//! is given up. A connection of `driven` is written and read by its `driver`; `lane` has the calls that are on their way,
//! `packed` their bytes, and `frames` those of the replies. `raw` has the connections for commands that bypass the cache, and
//! `waits` says how long such a command may take. `carrier` brings the news of changed keys to those who keep copies;
//! for a pool, over a connection of its own (`broadcast`). `pushes` keeps messages of a server for who reads them.

mod alive;
mod ask;
#[cfg(feature = "blocking")]
mod broadcast;
mod carrier;
#[cfg(feature = "cluster")]
pub(crate) mod cluster;
mod common;
pub(crate) mod credentials;
mod dial;
mod doubts;
mod driven;
mod driver;
#[cfg(feature = "embedded")]
mod embedded;
mod events;
pub(crate) mod frames;
mod greeting;
mod lane;
mod led;
mod multiplexed;
mod open;
mod pace;
pub(crate) mod packed;
#[cfg(feature = "blocking")]
mod pooled;
mod pushes;
mod raw;
mod renewal;
mod sent;
#[cfg(feature = "sentinel")]
mod sentinel;
mod server;
#[cfg(feature = "blocking")]
pub(crate) mod socket;
#[cfg(feature = "blocking")]
mod stream;
pub(crate) mod supply;
pub(crate) mod target;
pub(crate) mod tls;
mod vain;
mod waits;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use redis::{Arg, Cmd, Pipeline, ServerError, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::script::Script;
use crate::ttl::in_millis;
use sent::{Next, OfOutcome, Sent};

pub(crate) use carrier::Carried;
pub(crate) use common::{Common, Epoch};
#[cfg(feature = "embedded")]
pub(crate) use embedded::over_store;
pub(crate) use events::LinkEvent;
#[cfg(feature = "cluster")]
pub(crate) use open::open_node;
pub(crate) use open::{Mode, open};
#[cfg(feature = "blocking")]
pub use raw::BlockingConnection;
pub use raw::Connection;
pub(crate) use raw::{Alone, Dedicated};
pub(crate) use server::ServerId;
pub use server::{ServerInfo, ServerKind};
pub use target::{Protocol, ReadFrom};
#[cfg(feature = "tls")]
pub use tls::Tls;

/// A connection that was idle for longer is looked at before it is used: the server may have closed it.
const LAIN_IDLE: Duration = Duration::from_millis(100);

/// A connection that was idle for longer answers a question before it is used: a firewall may have dropped it silently,
/// which the system does not know; or the server may have lost what it had acknowledged ([`greeting::Met::question`]).
const LONG_IDLE: Duration = Duration::from_secs(10);

/// How long a connection may take for that, in a call with this limit. Enough is left to make another one.
fn time_to_prove(limit: Duration) -> Duration {
    (limit / 4).max(Duration::from_millis(5)).min(limit)
}

/// A boxed future, as backends return it.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A reply: it is here already, or it is on its way, or a future brings it.
pub(crate) enum Answer<'a, T> {
    #[cfg(any(feature = "embedded", feature = "blocking"))]
    Now(Result<T>),
    /// Without a future in memory of its own.
    Sent(Sent<'a>),
    Later(BoxFuture<'a, Result<T>>),
    /// It was given out.
    #[cfg(any(feature = "embedded", feature = "blocking"))]
    Given,
}

impl<'a, T: OfOutcome + Send + Unpin + 'a> Future for Answer<'a, T> {
    type Output = Result<T>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        loop {
            match &mut *self {
                Answer::Sent(sent) => {
                    let again = match ready!(sent.poll_reply(context)) {
                        Ok(Next::Replied(reply)) => return Poll::Ready(Ok(reply)),
                        Ok(Next::Again(call)) => sent.again(call),
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    *self = Answer::Later(again);
                }
                Answer::Later(reply) => return reply.as_mut().poll(context),
                #[cfg(any(feature = "embedded", feature = "blocking"))]
                Answer::Now(_) => {
                    if let Answer::Now(reply) = std::mem::replace(&mut *self, Answer::Given) {
                        return Poll::Ready(reply);
                    }
                }
                // Polled after its end, which `.await` never does.
                #[cfg(any(feature = "embedded", feature = "blocking"))]
                Answer::Given => return Poll::Pending,
            }
        }
    }
}

impl<T> Answer<'_, T> {
    /// The reply, if it is here already.
    #[inline]
    pub(crate) fn at_once(self) -> Option<Result<T>> {
        match self {
            #[cfg(any(feature = "embedded", feature = "blocking"))]
            Answer::Now(reply) => Some(reply),
            _ => None,
        }
    }
}

#[cfg(feature = "embedded")]
impl<'a, T: OfOutcome + Send + Unpin + 'a> Answer<'a, T> {
    fn boxed(self) -> BoxFuture<'a, Result<T>> {
        match self {
            Answer::Later(reply) => reply,
            other => Box::pin(other),
        }
    }
}

/// A place that answers Redis commands.
///
/// Every implementation promises:
///
/// 1. The future of a blocking backend is ready at the first poll; that of an async backend never blocks its thread.
/// 2. A call takes at most `limit`, connecting included, whatever the server does; or, if the target has a
///    `connect_timeout`, at most that for connecting, and `limit` for the rest. After a timeout the command may still be
///    carried out by the server, but its reply is never taken for that of another command.
/// 3. The next call that needs a connection replaces a broken one. Making a backend never fails because the server is
///    away.
/// 4. Dropping a future does not harm other calls.
/// 5. A command is not sent if the epoch has advanced past that of its terms; the call fails with
///    [`Error::is_outdated`]. Listeners are told of a new connection before anyone can use it, and may begin a new
///    epoch.
/// 6. After a reply that says that the server is a read-only replica, or that the connection has no user any more, later
///    calls go over a new connection to whatever the place leads to by then, with the credentials of then, at most once
///    a second. Of commands without a user none was carried out.
/// 7. A write that was given up, on a connection that is not used any more, does not happen after a later call, if the
///    server permits `CLIENT KILL` (see `doubts`).
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Sends one command and returns its reply. An error reply is an `Err`. (Errors need not contain the host: the
    /// caller of the backend adds it.)
    fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>>;

    /// Sends commands together. Error replies are among the replies, each in its place. An atomic pipeline is sent as
    /// `MULTI`, and its replies are those inside `EXEC`.
    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>>;

    /// [`request`](Backend::request), carried out as far as it can be: a place that has the reply at once, and one whose
    /// callers block, need no future.
    fn begin<'a>(&'a self, command: &'a Cmd, terms: Terms) -> Answer<'a, Value> {
        Answer::Later(self.request(command, terms))
    }

    /// The same of [`pipeline`](Backend::pipeline).
    fn begin_together<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> Answer<'a, Vec<Value>> {
        Answer::Later(self.pipeline(pipeline, terms))
    }

    /// Sends transactions in one go, each in a `MULTI` of its own. Their replies are in one row; the error of one stands
    /// in the place of each of its replies.
    #[cfg(feature = "cluster")]
    fn transactions<'a>(
        &'a self,
        all: &'a [Pipeline],
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        Box::pin(async move {
            let mut sent = Pipeline::with_capacity(all.iter().map(|one| one.len() + 2).sum());
            for one in all {
                sent.cmd("MULTI");
                one.cmd_iter().for_each(|command| {
                    sent.add_command(command.clone());
                });
                sent.cmd("EXEC");
            }
            let mut replies = self.pipeline(&sent, terms).await?.into_iter();
            let mut inner = Vec::with_capacity(sent.len());
            for one in all {
                let outer = replies.by_ref().take(one.len() + 2).collect();
                let error = match inside(self.common(), outer) {
                    Ok(replies) if replies.len() == one.len() => {
                        inner.extend(replies);
                        continue;
                    }
                    Ok(_) => Error::unexpected("EXEC", &Value::Nil),
                    Err(error) => error,
                };
                inner.extend(one.cmd_iter().map(|_| error.as_reply()));
            }
            Ok(inner)
        })
    }

    /// [`begin`](Backend::begin) of a command that is given as its words.
    fn begin_words<'a>(&'a self, words: &'a [&'a [u8]], terms: Terms) -> Answer<'a, Value> {
        let command = command_of(words);
        Answer::Later(Box::pin(async move { self.request(&command, terms).await }))
    }

    /// [`begin_together`](Backend::begin_together) of commands that take effect together, given as their words in a row
    /// and where each of them ends.
    fn begin_steps<'a>(
        &'a self,
        words: &'a [&'a [u8]],
        ends: &'a [usize],
        terms: Terms,
    ) -> Answer<'a, Vec<Value>> {
        let mut pipeline = Pipeline::with_capacity(ends.len());
        pipeline.atomic();
        for command in each_of(words, ends) {
            pipeline.add_command(command_of(command));
        }
        Answer::Later(Box::pin(
            async move { self.pipeline(&pipeline, terms).await },
        ))
    }

    /// Whether the reply is always here at once, so that a call needs to keep nothing while it waits.
    fn is_at_once(&self) -> bool {
        false
    }

    /// Registers the Rust twins of these scripts, for a backend without Lua. A server learns a script when it is run.
    fn learn(&self, scripts: &[&'static Script]) {
        let _ = scripts;
    }

    /// A backend of the same place for the other kind of caller, if the place cannot be opened a second time: a store
    /// in this process.
    #[cfg(feature = "blocking")]
    fn in_mode(&self, mode: Mode) -> Option<std::sync::Arc<dyn Backend>> {
        let _ = mode;
        None
    }

    /// Opens a connection for the caller alone: for commands that wait, and for messages that the server sends by
    /// itself, which are kept for the caller.
    fn dedicated(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>>;

    /// The same for messages that the server sends by itself: it speaks RESP3, whatever the target says, because RESP2
    /// has none. A server before Redis 6 refuses it.
    fn for_messages(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        self.dedicated(limit)
    }

    /// Closes the connections. A later call opens new ones.
    fn disconnect(&self);

    /// The place leads elsewhere from now on: closes the connections to where it led before. Running calls stay.
    #[cfg_attr(not(feature = "sentinel"), allow(dead_code))]
    fn follow(&self) {}

    /// Notes whether a cache uses it. What goes on in the background is only for that.
    fn note_use(&self, used: bool) {
        #[cfg(feature = "sentinel")]
        if let Some(sentinels) = self.common().sentinels() {
            sentinels.note_use(used);
        }
        let _ = used;
    }

    /// The parts that every backend has.
    fn common(&self) -> &Common;
}

/// The time limit of a command, and what its caller knows of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) limit: Duration,
    /// The backend's epoch when the caller decided to send the command.
    pub(crate) epoch: u64,
}

/// Turns an error reply into an `Err`.
fn result_of(value: Value) -> Result<Value> {
    match value {
        Value::ServerError(error) => Err(Error::from_server(&error)),
        value => Ok(value),
    }
}

/// Whether one of the replies, or of those inside `EXEC`, says that the server is a read-only replica (promise 6).
fn is_replica(replies: &[Value]) -> bool {
    replies.iter().any(|reply| match reply {
        Value::ServerError(error) => Error::from_server(error).detail().starts_with("READONLY"),
        Value::Array(inside) => inside
            .iter()
            .any(|reply| matches!(reply, Value::ServerError(error) if error.code() == "READONLY")),
        _ => false,
    })
}

/// Whether this reply says that the connection has no user any more: the server, or a proxy before it, takes no command
/// on it (promise 6).
fn is_signed_out(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if matches!(error.code(), "NOAUTH" | "WRONGPASS"))
}

/// How long connecting may take in a call with this limit.
fn time_to_connect(target: &target::Target, limit: Duration) -> Duration {
    target.connect_timeout.unwrap_or(limit)
}

/// Whether a command of those used here changes nothing.
fn reads(verb: &[u8]) -> bool {
    matches!(
        verb,
        b"GET"
            | b"MGET"
            | b"EXISTS"
            | b"GETRANGE"
            | b"PTTL"
            | b"TYPE"
            | b"SCAN"
            | b"PING"
            | b"INFO"
            | b"COMMAND"
            | b"HGET"
            | b"HMGET"
            | b"HGETALL"
            | b"HKEYS"
            | b"HVALS"
            | b"HLEN"
            | b"HEXISTS"
            | b"HSCAN"
            | b"HRANDFIELD"
            | b"HPTTL"
            | b"LRANGE"
            | b"LLEN"
            | b"LINDEX"
            | b"LPOS"
            | b"SISMEMBER"
            | b"SMISMEMBER"
            | b"SMEMBERS"
            | b"SCARD"
            | b"SSCAN"
            | b"SRANDMEMBER"
            | b"SUNION"
            | b"SINTER"
            | b"SDIFF"
            | b"SINTERCARD"
            | b"ZSCORE"
            | b"ZMSCORE"
            | b"ZRANK"
            | b"ZREVRANK"
            | b"ZRANGE"
            | b"ZCOUNT"
            | b"ZLEXCOUNT"
            | b"ZCARD"
            | b"ZSCAN"
            | b"ZRANDMEMBER"
            | b"ZUNION"
            | b"ZINTER"
            | b"ZDIFF"
            | b"ZINTERCARD"
            | b"GETBIT"
            | b"BITCOUNT"
            | b"BITPOS"
            | b"BITFIELD_RO"
            | b"GEOPOS"
            | b"GEODIST"
            | b"GEOHASH"
            | b"GEOSEARCH"
            | b"XRANGE"
            | b"XREVRANGE"
            | b"XLEN"
    )
}

/// A command that is given as its words.
pub(crate) fn command_of(words: &[&[u8]]) -> Cmd {
    let bytes = words.iter().map(|word| word.len()).sum();
    // Allocated once, with the final size.
    let mut command = Cmd::with_capacity(words.len(), bytes);
    for word in words {
        command.arg(word);
    }
    command
}

/// Whether a command that is given as its words changes nothing at the server.
pub(crate) fn changes_nothing(words: &[&[u8]]) -> bool {
    words.first().is_some_and(|verb| reads(verb))
}

/// Commands that are given as their words in a row, and where each of them ends.
pub(crate) fn each_of<'s, 'w>(
    words: &'s [&'w [u8]],
    ends: &'s [usize],
) -> impl Iterator<Item = &'s [&'w [u8]]> {
    let mut begin = 0;
    ends.iter().map(move |end| {
        let command = words.get(begin..*end).unwrap_or_default();
        begin = *end;
        command
    })
}

/// Whether none of the commands changes anything at the server.
pub(crate) fn change_nothing<'c>(commands: impl IntoIterator<Item = &'c Cmd>) -> bool {
    commands
        .into_iter()
        .all(|command| matches!(command.args_iter().next(), Some(Arg::Simple(verb)) if reads(verb)))
}

/// How many replies a pipeline gets, those of MULTI and EXEC included. They are needed because a command that a
/// transaction refuses says why in its own reply.
fn count(pipeline: &Pipeline) -> usize {
    if pipeline.is_transaction() {
        pipeline.len() + 2
    } else {
        pipeline.len()
    }
}

/// Whether a connection is stuck in a transaction: the server has begun it and refuses to end it, which a user with
/// `MULTI` and without `EXEC` meets. Whatever else is sent on that connection is only queued.
fn is_stuck(replies: &[Value]) -> bool {
    matches!(
        replies,
        [Value::Okay, .., Value::ServerError(error)] if error.code() == "NOPERM"
    )
}

/// The replies of a pipeline's own commands.
///
/// A server that refuses `MULTI` (to this user, or because a proxy is before it) carries the commands out one by one, in
/// their order. Then these are the replies.
///
/// If the connection has no user, the error is that of the whole pipeline.
#[cfg(feature = "blocking")]
fn replies(common: &Common, pipeline: &Pipeline, replies: Vec<Value>) -> Result<Vec<Value>> {
    replies_of(common, pipeline.is_transaction(), replies)
}

/// The same, where it is known whether it is a transaction.
fn replies_of(common: &Common, transaction: bool, replies: Vec<Value>) -> Result<Vec<Value>> {
    if let Some(Value::ServerError(refused)) = replies.first()
        && replies.iter().all(is_signed_out)
    {
        return Err(Error::from_server(refused));
    }
    if transaction {
        inside(common, replies)
    } else {
        Ok(replies)
    }
}

/// The same, of a transaction.
fn inside(common: &Common, mut replies: Vec<Value>) -> Result<Vec<Value>> {
    let end = replies.pop();
    if let (Some(Value::ServerError(refused)), Some(Value::ServerError(_))) =
        (replies.first(), &end)
        && has_no_transactions(refused)
    {
        common.warn_of_no_transactions(refused);
        replies.remove(0);
        return Ok(replies);
    }
    match end {
        Some(Value::Array(inside)) => Ok(inside),
        Some(Value::ServerError(aborted)) => {
            let refused = replies.into_iter().find_map(|reply| match reply {
                Value::ServerError(error) => Some(error),
                _ => None,
            });
            Err(Error::from_server(&refused.unwrap_or(aborted)))
        }
        other => Err(Error::unexpected("EXEC", &other.unwrap_or(Value::Nil))),
    }
}

/// Whether a server that answers `MULTI` with this does not know it, or not permit it.
fn has_no_transactions(refused: &ServerError) -> bool {
    let detail = refused.details().unwrap_or_default().to_ascii_lowercase();
    refused.code() == "NOPERM"
        || (detail.contains("multi")
            && ["unknown", "unsupported", "not supported", "not allowed"]
                .iter()
                .any(|word| detail.contains(word)))
}

fn timed_out(limit: Duration, doing: &str) -> Error {
    let doing = if doing.is_empty() {
        String::new()
    } else {
        format!(" {doing}")
    };
    let limit = in_millis(limit);
    Error::new(
        ErrorKind::Timeout,
        format!("gave up after {limit:?}{doing}"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use nearcache_testkit::Redis;

    /// The server's counter shows which commands it received.
    async fn nothing_of_an_earlier_epoch_is_sent(mode: Mode) {
        let redis = Redis::start();
        let client = redis::Client::open(redis.url()).unwrap();
        let target = target::Target::from_client(&client).unwrap();
        let backend = open(&target, mode).unwrap();
        let epoch = backend.common().epoch().clone();
        let advancing = epoch.clone();
        backend.common().listeners().add(Arc::new(move |event| {
            if let LinkEvent::Ready { server } = event {
                assert!(server.is_some(), "a server says who it is");
                advancing.advance();
            }
        }));
        let terms = Terms {
            limit: Duration::from_secs(10),
            epoch: epoch.current(),
        };
        let mut incr = redis::cmd("INCR");
        incr.arg("calls");
        let error = backend.request(&incr, terms).await.unwrap_err();
        assert!(error.is_outdated(), "the connection came after the terms");
        let terms = Terms {
            epoch: epoch.current(),
            ..terms
        };
        let counted = backend.request(&incr, terms).await.unwrap();
        assert_eq!(counted, Value::Int(1));
    }

    #[tokio::test]
    async fn promise_5_nothing_of_an_earlier_epoch_is_sent() {
        nothing_of_an_earlier_epoch_is_sent(Mode::Async).await;
        #[cfg(feature = "blocking")]
        nothing_of_an_earlier_epoch_is_sent(Mode::Blocking).await;
    }
}
