//! What a reader gets when Redis does not answer.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::keyspace::Key;

/// What `get`, `lookup` and `get_many` answer when Redis does not: while it is away, silent, or turned
/// away by the breaker. Writes, and everything else, are told with an error.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Fallback {
    /// The error. The default: a caller that wants to go on without a cache says so.
    #[default]
    Error,
    /// A miss, so that the caller goes to its source.
    Miss,
    /// The value that this process has read last, or stored by `remember`, however old it is; a miss if
    /// it has none. For this it keeps up to 10,000 values (64 MiB) in memory. What it has invalidated
    /// itself since is not among them; what others have invalidated may be.
    Stale,
    /// What this function says: the bytes of a value as they would lie in Redis, or `None` for a miss.
    /// It is called once for each key, and must be quick.
    Call(Arc<Answer>),
}

/// What answers in Redis's place.
type Answer = dyn Fn(&Outage<'_>) -> Option<Vec<u8>> + Send + Sync;

impl Fallback {
    /// [`Fallback::Call`] of a closure.
    pub fn call(f: impl Fn(&Outage<'_>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Fallback::Call(Arc::new(f))
    }

    /// Whether this error is one that a fallback answers for.
    pub(crate) fn covers(error: &Error) -> bool {
        matches!(
            error.kind(),
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Auth
        )
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

/// What a fallback is told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outage<'o> {
    /// The key, without the prefix.
    pub key: &'o Key,
    /// Why Redis did not answer.
    pub error: &'o Error,
}
