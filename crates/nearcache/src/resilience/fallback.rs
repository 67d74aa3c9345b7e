//! What a read returns when Redis does not answer.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::keyspace::Key;

/// What `get`, `lookup` and `get_many` return when Redis does not answer: it is away, silent, or the circuit breaker is
/// open. Writes and all other calls fail with an error.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Fallback {
    /// The error. This is the default: going on without a cache is a choice of the caller.
    #[default]
    Error,
    /// A miss, so that the caller reads from its source.
    Miss,
    /// The last value that this process read, or stored with `remember`, however old it is; a miss if there is none.
    /// For this, up to 10,000 values (64 MiB) are kept in memory. Values that this process has invalidated since are
    /// not among them; values that other processes have invalidated may be.
    Stale,
    /// The result of this function: the bytes of a value as they would be in Redis, or `None` for a miss. It is called
    /// once for each key, and must be quick.
    Call(Arc<Answer>),
}

/// The function of [`Fallback::Call`].
type Answer = dyn Fn(&Outage<'_>) -> Option<Vec<u8>> + Send + Sync;

impl Fallback {
    /// [`Fallback::Call`] of a closure.
    pub fn call(f: impl Fn(&Outage<'_>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Fallback::Call(Arc::new(f))
    }

    /// Whether fallbacks apply to this error: to whatever Redis answers, or does not, and not to what the caller did
    /// wrong.
    pub(crate) fn covers(error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Connect
            | ErrorKind::Auth
            | ErrorKind::Denied
            | ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::PoolExhausted
            | ErrorKind::Server
            | ErrorKind::Protocol
            | ErrorKind::WrongType
            | ErrorKind::NotInteger
            | ErrorKind::Overflow
            | ErrorKind::TooLarge => true,
            // The server is another one than the URL says, a node of a Cluster for example. Without a host it is an
            // option of the caller's.
            ErrorKind::InvalidConfig => error.host().is_some(),
            _ => false,
        }
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fallback::Error => "Error",
            Fallback::Miss => "Miss",
            Fallback::Stale => "Stale",
            Fallback::Call(_) => "Call(..)",
        })
    }
}

/// The argument of a fallback function.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outage<'o> {
    /// The key, without the prefix.
    pub key: &'o Key,
    /// Why Redis did not answer.
    pub error: &'o Error,
}
