//! What a holder of a lock has.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::hold::Hold;
use crate::cache::operation::{Async, Marked, Pending};

/// A lock that is held. It can be sent to another task or thread.
///
/// # Dropping it
/// releases the lock as well as it can:
///
/// - A blocking cache's guard releases it on the thread that drops it, which takes a round trip, and the timeout while
///   Redis is away.
/// - An async cache's guard starts a task on the runtime on which the lock was taken, wherever it is dropped. If that
///   runtime is gone, or ends before the task (as at the end of `main`), the lock ends with its TTL.
///
/// [`release`](LockGuard::release) says whether it worked. Release the guard before you
/// [close](crate::CacheOf::close) the cache: afterwards nothing is sent, and the lock ends with its TTL.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<M = Async> {
    hold: Hold,
    mode: Marked<M>,
}

impl<M> LockGuard<M> {
    pub(super) fn new(hold: Hold) -> Self {
        LockGuard {
            hold,
            mode: PhantomData,
        }
    }

    /// The fencing token: higher than that of every earlier holder of the lock. Send it along with what you write,
    /// and have the storage refuse a lower one. See [`Lock`](super::Lock).
    pub fn token(&self) -> u64 {
        self.hold.token()
    }

    /// Whether the lock is surely still held. It asks nobody. Once false, it stays false.
    pub fn is_held(&self) -> bool {
        self.hold.is_held()
    }

    /// For how long the lock is surely held, even if it cannot be renewed. Zero if it is not held any more.
    pub fn remaining(&self) -> Duration {
        self.hold.left()
    }

    /// Releases the lock. Returns whether it was still held: `false` says that it had expired, and that another one
    /// may have held it since.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`](crate::CacheOf)). The lock then ends with its TTL.
    pub fn release(self) -> Pending<'static, bool, M> {
        let hold = self.hold;
        Pending::new(async move { hold.release().await })
    }
}

impl<M> fmt::Debug for LockGuard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(&self.hold).finish()
    }
}
