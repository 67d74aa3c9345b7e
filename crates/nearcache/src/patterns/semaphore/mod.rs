//! Semaphores: at most so many holders at a time, in all processes that share a server.
//!
//! A permit is taken, renewed and given back as a lock is: see `lock::hold`. `scripts` has the steps at the server.

pub(super) mod scripts;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::lock::hold::{Hold, Sort, Verbs, Wanted};
use super::lock::{Acquire, TTL};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Marked, Pending};
use crate::client::reply;
use crate::hooks::CallKeys;
use crate::keyspace::Key;
use crate::script::Input;
use crate::ttl::IntoTtl;

static SEMAPHORE: Sort = Sort {
    helper: "semaphore",
    noun: "permit",
    not_free: "no permit of the semaphore is free",
    acquire: &scripts::ACQUIRE,
    renew: &scripts::RENEW,
    release: &scripts::RELEASE,
    verbs: Verbs {
        try_acquire: "semaphore.try_acquire",
        acquire: "semaphore.acquire",
        renew: "semaphore.renew",
        release: "semaphore.release",
    },
};

impl<M> CacheOf<M> {
    /// The semaphore of this name: at most so many permits at a time, in all tasks, threads and processes that use the
    /// same server and prefix.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let exports = cache.semaphore("exports", 2).ttl("1m");
    /// let one = exports.acquire().wait("5s").await?;
    /// let two = exports.acquire().wait("5s").await?;
    /// assert!(exports.try_acquire().await?.is_none());
    /// one.release().await?;
    /// assert_eq!(exports.in_use().await?, 1);
    /// # drop(two);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn semaphore(&self, name: impl AsRef<[u8]>, permits: u64) -> Semaphore<M> {
        Semaphore {
            wanted: Wanted {
                core: self.core().clone(),
                sort: &SEMAPHORE,
                name: Key::from(name.as_ref()),
                ttl: TTL.into_ttl(),
                of: permits,
                renewed: true,
            },
            mode: PhantomData,
        }
    }
}

/// A semaphore: see [`CacheOf::semaphore`].
///
/// What is said of a [lock](super::Lock) holds for each permit: when [`is_held`](Permit::is_held) ends, what the token
/// is for, what a failover, a clock that is set and an eviction cost, what happens while Redis is away.
///
/// Permits end by the server's clock, and each has its own TTL. All callers must give the same number: each is
/// refused while as many permits are held as it says itself. Those who wait ask again after 10 to 250 ms, at random,
/// so each has the same chance, and nobody waits for long while others come and go; who asked first is not served
/// first.
pub struct Semaphore<M = Async> {
    wanted: Wanted,
    mode: Marked<M>,
}

impl<M> Semaphore<M> {
    /// For how long a permit is held without a renewal: 30 s unless told, 100 ms at least.
    #[must_use]
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.wanted.set_ttl(ttl);
        self
    }

    /// Permits are not renewed: each is held for the TTL at most.
    #[must_use]
    pub fn without_renewal(mut self) -> Self {
        self.wanted.renewed = false;
        self
    }

    /// Takes a permit if one is free.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for a semaphore of no permits, and those of
    /// [`Lock::try_acquire`](super::Lock::try_acquire).
    pub fn try_acquire(&self) -> Pending<'static, Option<Permit<M>>, M>
    where
        M: 'static,
    {
        let wanted = self.wanted.clone();
        Pending::new(async move { Ok(wanted.try_once().await?.map(Permit::new)) })
    }

    /// Takes a permit, and waits until one is free: for as long as [`wait`](Acquire::wait) says, or for the TTL.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if none was free in time, and those of
    /// [`try_acquire`](Semaphore::try_acquire).
    pub fn acquire(&self) -> Acquire<Permit<M>, M> {
        Acquire::new(self.wanted.clone(), Permit::new)
    }

    /// How many permits are held. By the time the answer is here it may have changed.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn in_use(&self) -> Pending<'static, u64, M> {
        let wanted = self.wanted.clone();
        Pending::new(async move {
            let name = CallKeys::One(wanted.name.as_bytes());
            let asked = wanted.core.perform("semaphore.in_use", name, async |core| {
                let mut input = Input::default();
                input.key(wanted.holders()?.as_bytes());
                let held = core.client().run(&scripts::COUNT, &input).await?;
                reply::count("the script", &held)
            });
            asked.await
        })
    }
}

impl<M> Clone for Semaphore<M> {
    fn clone(&self) -> Self {
        Semaphore {
            wanted: self.wanted.clone(),
            mode: PhantomData,
        }
    }
}

impl<M> fmt::Debug for Semaphore<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wanted.describe(f, "Semaphore")
    }
}

/// A permit of a semaphore that is held. What happens when it is dropped is said of a
/// [`LockGuard`](super::LockGuard).
#[must_use = "the permit is given back when it is dropped"]
pub struct Permit<M = Async> {
    hold: Hold,
    mode: Marked<M>,
}

impl<M> Permit<M> {
    fn new(hold: Hold) -> Self {
        Permit {
            hold,
            mode: PhantomData,
        }
    }

    /// The fencing token: higher than that of every earlier permit of this semaphore.
    pub fn token(&self) -> u64 {
        self.hold.token()
    }

    /// Whether the permit is surely still held. It asks nobody. Once false, it stays false.
    pub fn is_held(&self) -> bool {
        self.hold.is_held()
    }

    /// For how long the permit is surely held, even if it cannot be renewed.
    pub fn remaining(&self) -> Duration {
        self.hold.left()
    }

    /// Gives the permit back. Returns whether it was still held.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]). The permit then ends with its TTL.
    pub fn release(self) -> Pending<'static, bool, M> {
        let hold = self.hold;
        Pending::new(async move { hold.release().await })
    }
}

impl<M> fmt::Debug for Permit<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.hold).finish()
    }
}
