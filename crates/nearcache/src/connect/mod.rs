//! The narrow waist: everything above speaks the Redis command language through one small trait,
//! [`Backend`], and knows nothing of where it runs; nothing below knows what a cache is.
//!
//! A backend is transport, and nothing else: it sends a command within a limit, and tells when its
//! connection comes and goes. Whether a command should be sent, sent again, or kept for later is decided
//! above, in `resilience`.
//!
//! `target` is the place with its identity, `open` makes a backend for it, and a file each implements the
//! trait: `embedded` (a store in this process), `multiplexed` (a server, for async callers, over what
//! `driven` drives), `pooled` (a server, for blocking callers, over a pool of `socket`s on the `stream`
//! that keeps a deadline). `common` and `events` are what all of them have, `raw` is the way past the cache.

mod common;
mod driven;
#[cfg(feature = "embedded")]
mod embedded;
mod events;
mod multiplexed;
mod open;
#[cfg(feature = "blocking")]
mod pooled;
mod raw;
mod server;
#[cfg(feature = "blocking")]
pub(crate) mod socket;
#[cfg(feature = "blocking")]
mod stream;
pub(crate) mod target;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::script::Script;

pub(crate) use common::{Common, Epoch};
#[cfg(feature = "embedded")]
pub(crate) use embedded::over_store;
pub(crate) use events::LinkEvent;
pub(crate) use open::{Mode, open};
#[cfg(feature = "blocking")]
pub use raw::BlockingConnection;
pub use raw::Connection;
pub(crate) use raw::Raw;
pub use server::{ServerInfo, ServerKind};
pub use target::Protocol;

/// A future behind a pointer, as the waist hands them out.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place that answers Redis commands.
///
/// What an implementation promises:
///
/// 1. A future of a blocking backend is ready when it is first polled; one of an async backend
///    never blocks its thread.
/// 2. A call costs at most `limit`, connecting included, whatever the server does. What was given up
///    on may still happen on the server, and its reply is never taken for another command's.
/// 3. A broken connection is replaced by the next call that needs one. Making a backend never fails
///    because the server is away.
/// 4. A dropped future leaves the backend usable for everyone else.
/// 5. Nothing is sent once the epoch is past that of the terms: that is an error ([`Error::is_outdated`]).
///    A listener that is told of a new connection may begin a new epoch, and is told before anyone can use
///    the connection.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// One command, one reply. An error reply is an `Err`. (Errors need not name the host: who asks does.)
    fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>>;

    /// Commands that travel together. Error replies stand among the replies, each in its place; an
    /// atomic pipeline is a `MULTI`, and its replies are those inside `EXEC`.
    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>>;

    /// The servers that hold keys of their own, where there are several (a cluster's primaries):
    /// what must reach every key, a scan say, goes to each. Empty: this is the only one.
    fn nodes(&self) -> Vec<Arc<dyn Backend>> {
        Vec::new()
    }

    /// Teaches a place that has no Lua these scripts' twins. A server learns a script when it is run.
    fn learn(&self, scripts: &[&'static Script]) {
        let _ = scripts;
    }

    /// A backend of the same place for callers that wait in another way, where the place cannot be opened anew: a
    /// store in this process.
    fn in_mode(&self, mode: Mode) -> Option<Arc<dyn Backend>> {
        let _ = mode;
        None
    }

    /// A connection of the caller's own, for commands that the cache has no verb for.
    fn connection(&self, limit: Duration) -> BoxFuture<'_, Result<Raw>>;

    /// Closes what is open. A later call opens it again.
    fn disconnect(&self);

    /// What every backend has.
    fn common(&self) -> &Common;
}

/// What a command may cost, and what its caller knows of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) limit: Duration,
    /// The backend's epoch, of when the caller decided that the command may be sent.
    pub(crate) epoch: u64,
}

/// A reply as the waist hands it on: errors of the server become ours.
fn result_of(value: Value) -> Result<Value> {
    match value {
        Value::ServerError(error) => Err(Error::from_server(&error)),
        value => Ok(value),
    }
}

/// How many replies a pipeline has: those of MULTI and EXEC among them, so that what the transaction did not
/// take says why.
fn count(pipeline: &Pipeline) -> usize {
    if pipeline.is_transaction() {
        pipeline.len() + 2
    } else {
        pipeline.len()
    }
}

/// The replies of a pipeline's own commands.
fn replies(pipeline: &Pipeline, mut replies: Vec<Value>) -> Result<Vec<Value>> {
    if !pipeline.is_transaction() {
        return Ok(replies);
    }
    match replies.pop() {
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

fn timed_out(limit: Duration, doing: &str) -> Error {
    let doing = if doing.is_empty() {
        String::new()
    } else {
        format!(" {doing}")
    };
    Error::new(
        ErrorKind::Timeout,
        format!("gave up after {limit:?}{doing}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearcache_testkit::Redis;

    /// What a server was sent is told by what it counts.
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
