//! Locks: at most one holder at a time, in all processes that share a server.
//!
//! `hold` has what locks and semaphores share: trying, waiting, renewing, releasing. `scripts` has the steps at the
//! server, `guard` what a holder gets, and `acquire` the operation that waits.

mod acquire;
mod guard;
pub(super) mod hold;
pub(super) mod scripts;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

pub use self::acquire::Acquire;
pub use self::guard::LockGuard;
use self::hold::{Sort, Verbs, Wanted};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Marked, Pending};
use crate::client::reply;
use crate::hooks::CallKeys;
use crate::keyspace::Key;
use crate::ttl::{IntoTtl, Ttl};

/// How long a lock or a permit is held without a renewal, unless told.
pub(super) const TTL: Duration = Duration::from_secs(30);

static LOCK: Sort = Sort {
    helper: "lock",
    noun: "lock",
    not_free: "the lock is held by another",
    acquire: &scripts::ACQUIRE,
    renew: &scripts::RENEW,
    release: &scripts::RELEASE,
    verbs: Verbs {
        try_acquire: "lock.try_acquire",
        acquire: "lock.acquire",
        renew: "lock.renew",
        release: "lock.release",
    },
};

impl<M> CacheOf<M> {
    /// The lock of this name: one holder at a time, in all tasks, threads and processes that use the same server and
    /// prefix.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let lock = cache.lock("nightly-report").ttl("30s");
    /// if let Some(guard) = lock.try_acquire().await? {
    ///     // Nobody else has it. It is renewed until the guard is released or dropped.
    ///     assert!(guard.is_held());
    ///     assert!(lock.try_acquire().await?.is_none());
    ///     guard.release().await?;
    /// }
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn lock(&self, name: impl AsRef<[u8]>) -> Lock<M> {
        Lock {
            wanted: Wanted {
                core: self.core().clone(),
                sort: &LOCK,
                name: Key::from(name.as_ref()),
                ttl: TTL.into_ttl(),
                of: 1,
                renewed: true,
            },
            mode: PhantomData,
        }
    }
}

/// A lock: see [`CacheOf::lock`].
///
/// # What it promises
/// Of all guards of one lock, [`is_held`](LockGuard::is_held) is true for at most one at any time, as long as **one
/// primary** keeps its data. It ends in this process *before* the lock ends at the server: at the time at which the
/// last renewal was sent, plus the TTL, minus a margin of 1 % of the TTL and 2 ms. The margin covers clocks that drift
/// apart by up to 1 %. Time is measured by the monotonic clock of the operating system; a machine that is suspended
/// may not count the time of its sleep.
///
/// # What it does not promise
/// A process can be paused right after it has asked `is_held`, for longer than the TTL. Then another one holds the
/// lock, and the first one goes on believing what it was told. No lock of this kind can prevent that. So:
///
/// - For **efficiency** (that work is not done twice) the lock is enough.
/// - For **correctness** send the [token](LockGuard::token) along with each write, and have the storage refuse a
///   token lower than one that it has seen: *fencing*, after Martin Kleppmann, "How to do distributed locking" (2016).
///   The token of a later holder is always higher. Redis's own page, "Distributed Locks with Redis", says the same of
///   its algorithms.
///
/// There is no claim beyond one primary. A replica that is promoted may not have the lock yet, and a server that is
/// restarted without its data has none: two may hold it then. The token grows all the same: it is the server's time
/// in microseconds, or one more than the last one, whichever is higher. So it falls only if the last token is lost
/// *and* the clock was set back.
///
/// Time at the server is its clock's: one that is set forward ends locks early.
///
/// # What eviction costs
/// A lock is a key with a TTL. A server that evicts (`maxmemory-policy` other than `noeviction`) may evict it, and
/// then another one can take the lock before the first one notices at its next renewal. Keep locks on a server, or an
/// embedded store, with `noeviction`. (The default of `memory://` is `allkeys-lfu` at 256 MiB; one with a folder is
/// `noeviction`.)
///
/// # Waiting
/// Those who wait ask again and again, after 10 to 250 ms, at random. Who asked first is not served first.
///
/// # While Redis is away
/// `try_acquire` fails within the timeout; `acquire` tries until its wait has ended. A guard is renewed from a third
/// of its TTL on, again and again; if Redis stays away for longer than the rest, `is_held` ends.
pub struct Lock<M = Async> {
    wanted: Wanted,
    mode: Marked<M>,
}

impl<M> Lock<M> {
    /// For how long it is held without a renewal: 30 s unless told, 100 ms at least. It is renewed after a third of
    /// it. That is how long others wait after a holder was killed, and how long Redis may be away before a holder
    /// loses the lock.
    #[must_use]
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.wanted.set_ttl(ttl);
        self
    }

    /// It is not renewed: a guard holds the lock for the TTL at most.
    #[must_use]
    pub fn without_renewal(mut self) -> Self {
        self.wanted.renewed = false;
        self
    }

    /// Takes the lock if it is free; `None` if another one has it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) for an empty name,
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) for a TTL below 100 ms, and those of every call (see
    /// [`CacheOf`]). After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) the lock may have been taken: it is
    /// released in the background, or ends with its TTL.
    pub fn try_acquire(&self) -> Pending<'static, Option<LockGuard<M>>, M>
    where
        M: 'static,
    {
        let wanted = self.wanted.clone();
        Pending::new(async move { Ok(wanted.try_once().await?.map(LockGuard::new)) })
    }

    /// Takes the lock, and waits until it is free: for as long as [`wait`](Acquire::wait) says, or for the lock's TTL.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let guard = cache.lock("stock:7").acquire().wait("10s").await?;
    /// // Every write carries the token; the storage refuses one that is lower than the last.
    /// let statement = "UPDATE stock SET left = left - 1, fence = $1 WHERE id = 7 AND fence < $1";
    /// let _ = (statement, guard.token());
    /// assert!(guard.release().await?);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if it was not free in time, the last error if Redis was away
    /// then, and those of [`try_acquire`](Lock::try_acquire).
    pub fn acquire(&self) -> Acquire<LockGuard<M>, M> {
        Acquire::new(self.wanted.clone(), LockGuard::new)
    }

    /// Whether somebody holds the lock. By the time the answer is here it may have changed.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn is_locked(&self) -> Pending<'static, bool, M> {
        let wanted = self.wanted.clone();
        Pending::new(async move {
            let name = CallKeys::One(wanted.name.as_bytes());
            let asked = wanted.core.perform("lock.is_locked", name, async |core| {
                let mut command = redis::cmd("EXISTS");
                command.arg(wanted.holders()?);
                reply::flag("EXISTS", &core.client().request(&command).await?)
            });
            asked.await
        })
    }
}

/// How long an `acquire` waits, unless told: as long as a holder that was killed keeps it.
fn patience(ttl: &crate::error::Result<Ttl>) -> Duration {
    ttl.as_ref().map_or(TTL, |ttl| ttl.as_duration())
}

impl<M> Clone for Lock<M> {
    fn clone(&self) -> Self {
        Lock {
            wanted: self.wanted.clone(),
            mode: PhantomData,
        }
    }
}

impl<M> fmt::Debug for Lock<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wanted.describe(f, "Lock")
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
