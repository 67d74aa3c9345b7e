//! The transport layer, behind one small trait, [`Backend`]. The layers above send Redis commands through it, and do
//! not know where the store runs; the code below it does not know what a cache is.
//!
//! A backend only sends commands within a time limit, and reports when its connection is made or lost. `resilience`,
//! above it, decides whether a command is sent, sent again, or kept for later.
//!
//! `target` is the place and the user, `open` makes a backend for it. Three files implement the trait: `embedded` (a
//! store in this process), `multiplexed` (a server, for async callers, over connections of `driven`) and `pooled` (a
//! server, for blocking callers, over a pool of `socket`s, each on a `stream` with a deadline). `common` and `events`
//! are shared by all of them. `dial` finds which address of a host answers, `greeting` what
//! is asked first on a connection, `pace` how often connecting is tried,
//! `doubts` which old connections are closed first. `raw` has the connections for commands that bypass the cache, and
//! `waits` says how long such a command may take.

mod common;
mod dial;
mod doubts;
mod driven;
#[cfg(feature = "embedded")]
mod embedded;
mod events;
mod greeting;
mod multiplexed;
mod open;
mod pace;
#[cfg(feature = "blocking")]
pub(crate) mod packed;
#[cfg(feature = "blocking")]
mod pooled;
mod raw;
mod server;
#[cfg(feature = "blocking")]
pub(crate) mod socket;
#[cfg(feature = "blocking")]
mod stream;
pub(crate) mod target;
mod waits;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::{Arg, Cmd, Pipeline, ServerError, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::script::Script;
use crate::ttl::in_millis;

pub(crate) use common::{Common, Epoch};
#[cfg(feature = "embedded")]
pub(crate) use embedded::over_store;
pub(crate) use events::LinkEvent;
pub(crate) use open::{Mode, open};
#[cfg(feature = "blocking")]
pub use raw::BlockingConnection;
pub use raw::Connection;
pub(crate) use raw::{Alone, Dedicated};
pub use server::{ServerInfo, ServerKind};
pub use target::Protocol;

/// A connection that was idle for longer is looked at before it is used: the server may have closed it.
const LAIN_IDLE: Duration = Duration::from_millis(100);

/// A boxed future, as backends return it.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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
/// 6. After a reply that says that the server is a read-only replica, later calls go over a new connection to whatever
///    the place leads to by then, at most once a second.
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

    /// The servers that hold keys of their own, if there are several (a cluster's primaries). A command for all keys,
    /// such as a scan, goes to each. Empty: this is the only one.
    fn nodes(&self) -> Vec<Arc<dyn Backend>> {
        Vec::new()
    }

    /// Registers the Rust twins of these scripts, for a backend without Lua. A server learns a script when it is run.
    fn learn(&self, scripts: &[&'static Script]) {
        let _ = scripts;
    }

    /// A backend of the same place for the other kind of caller, if the place cannot be opened a second time: a store
    /// in this process.
    #[cfg(feature = "blocking")]
    fn in_mode(&self, mode: Mode) -> Option<Arc<dyn Backend>> {
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
fn replies(common: &Common, pipeline: &Pipeline, mut replies: Vec<Value>) -> Result<Vec<Value>> {
    if !pipeline.is_transaction() {
        return Ok(replies);
    }
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
            if let LinkEvent::Ready { run_id } = event {
                assert!(run_id.is_some(), "a server says who it is");
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
