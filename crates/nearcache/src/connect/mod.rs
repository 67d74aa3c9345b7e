//! The narrow waist: everything above speaks the Redis command language through one small trait,
//! [`Backend`], and knows nothing of where it runs; nothing below knows what a cache is.
//!
//! `url` reads where to go, `target` is the place with its identity, `registry` lets equal targets
//! share a connection, and a file each implements the trait: `embedded` (a store in this process),
//! `tokio` (a server, for async callers), `socket` (a server, for blocking callers, over the `stream`
//! that keeps a deadline). `lease` is one cache's use of a backend, `raw` the way past the cache.

#[cfg(feature = "embedded")]
mod embedded;
mod events;
mod lease;
mod raw;
mod registry;
mod server;
#[cfg(feature = "blocking")]
pub(crate) mod socket;
#[cfg(feature = "blocking")]
mod stream;
pub(crate) mod target;
mod tokio;
pub(crate) mod url;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::{Cmd, Pipeline, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::read_through::flight::Flights;
use crate::resilience::{Breaker, Outbox};
use crate::runtime::Runtime;

#[cfg(feature = "embedded")]
pub(crate) use embedded::over_store;
pub(crate) use events::{LinkEvent, Listeners};
pub(crate) use lease::{Entry, Lease};
#[cfg(feature = "blocking")]
pub use raw::BlockingConnection;
pub use raw::Connection;
pub(crate) use raw::Raw;
pub(crate) use registry::{Mode, open};
pub use server::{ServerInfo, ServerKind};
pub use target::Protocol;
use target::Target;
pub(crate) use tokio::no_runtime;

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
/// 5. Nothing is sent to a server that turned out to be another one after the epoch of its terms: that is
///    an error ([`Error::is_outdated`]), and the outbox comes first.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// One command, one reply. An error reply is an `Err`.
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
    /// The outbox's epoch of when it was last seen to be empty.
    pub(crate) epoch: u64,
}

/// What every backend has, and what those who share one share.
#[derive(Debug)]
pub(crate) struct Common {
    host: Arc<str>,
    listeners: Listeners,
    runtime: Runtime,
    breaker: Breaker,
    users: AtomicUsize,
    server: OnceLock<ServerInfo>,
    outbox: Outbox,
    flights: Arc<Flights>,
    wall: Wall,
}

/// Where the time of day comes from.
#[derive(Debug)]
enum Wall {
    System,
    #[cfg(feature = "embedded")]
    Store(nearcache_embedded::Clock),
}

impl Common {
    pub(crate) fn new(target: &Target, runtime: Runtime) -> Self {
        let outbox = Outbox::new(!matches!(target.place, target::Place::Embedded { .. }));
        Common {
            outbox,
            flights: Arc::default(),
            wall: Wall::System,
            host: target.host(),
            listeners: Listeners::default(),
            runtime,
            breaker: Breaker::new(target.breaker),
            users: AtomicUsize::new(0),
            server: OnceLock::new(),
        }
    }

    /// The host, as messages name it.
    pub(crate) fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// Where time comes from.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What keeps callers from a server that does not answer.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What the server said it is, once it was asked.
    pub(crate) fn server(&self) -> &OnceLock<ServerInfo> {
        &self.server
    }

    /// What is to be sent before anything else.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Which keys are being loaded by callers of this process.
    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.flights
    }

    /// The time in Unix milliseconds.
    pub(crate) fn unix_millis(&self) -> u64 {
        match &self.wall {
            Wall::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.unwrap_or_default().as_millis() as u64
            }
            #[cfg(feature = "embedded")]
            Wall::Store(clock) => clock.now_ms().max(0).unsigned_abs(),
        }
    }

    /// A connection is about to be used, to a server that said this of itself.
    fn connected(&self, info: Option<&Value>) {
        self.outbox.connected(info.and_then(server::run_id));
    }

    /// Whether what goes by these terms may be sent, on a connection that is there.
    ///
    /// # Errors
    /// `is_outdated`.
    fn check(&self, terms: Terms) -> Result<()> {
        if self.outbox.epoch() == terms.epoch {
            Ok(())
        } else {
            Err(Error::outdated())
        }
    }

    /// A connection was lost.
    fn lost(&self) {
        self.outbox.lost(self.runtime.now());
        self.listeners.tell(LinkEvent::Lost);
    }

    /// Whom to tell when the connection is made and lost.
    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }
}

/// A reply as the waist hands it on: errors of the server become ours.
fn checked(value: Value) -> Result<Value> {
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
