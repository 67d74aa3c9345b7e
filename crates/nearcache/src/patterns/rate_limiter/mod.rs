//! Rate limits: how often somebody may do something.
//!
//! `quota` and `decision` are what goes in and comes out; `algorithm` says what the three algorithms have in common,
//! and `gcra`, `sliding` and `window` are they; `operation` asks the server, and `local` answers while it is away.

mod algorithm;
mod decision;
mod gcra;
mod local;
mod operation;
mod quota;
mod sliding;
mod window;

use std::fmt;
use std::marker::PhantomData;

use crate::cache::CacheOf;
use crate::cache::operation::{Async, Marked, Pending};
use crate::error::Result;
use crate::keyspace::Key;
use crate::read_through::ReadThrough;

use algorithm::Kind;

pub use decision::Decision;
pub(super) use gcra::GCRA;
pub use operation::{Check, UntilReady};
pub use quota::Quota;
pub(super) use sliding::SLIDING_WINDOW;
pub(super) use window::FIXED_WINDOW;

impl<M> CacheOf<M> {
    /// A rate limiter: how often each id (a user, an address, an API key) may do something. All processes that use the
    /// same server and prefix, and the same name, share it.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::patterns::{Decision, Quota};
    ///
    /// let api = cache.rate_limiter("api", Quota::per_minute(100).burst(20));
    /// match api.check("alice").await? {
    ///     Decision::Allowed { remaining, .. } => println!("{remaining} left"),
    ///     Decision::Denied { retry_after, .. } => println!("too many: again in {retry_after:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// A check is one round trip, and atomic. The time is the server's. See [`RateLimiter`] for what each algorithm
    /// promises, and [`WhenAway`] for what happens while Redis is away.
    pub fn rate_limiter(&self, name: impl AsRef<[u8]>, quota: Quota) -> RateLimiter<M> {
        RateLimiter {
            limiter: Limiter {
                core: self.core().clone(),
                name: Key::from(name.as_ref()),
                quota,
                kind: Kind::Gcra,
                when_away: WhenAway::default(),
            },
            mode: PhantomData,
        }
    }
}

/// What a rate limiter does while Redis is away: when it does not answer, or answers that it cannot or may not.
///
/// A decision of that time says so ([`Decision::is_away`]). It takes as long as the call to Redis: up to the timeout
/// at first, and nothing once the circuit breaker is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenAway {
    /// Everything is allowed. For limits that only share resources fairly.
    Allow,
    /// Everything is denied, with [`retry_after`](Decision::retry_after) of 2 s: by then a cache notices that Redis is
    /// back. For limits that keep attackers out, such as of logins.
    Deny,
    /// Each process limits by itself, with the whole quota: `n` processes together allow up to `n` times as much. It
    /// begins with full quotas, and what it counts is not given to Redis later. It knows at most 100,000 ids
    /// (of a sliding window: ids and allowed checks): beyond that, the ids that are idle first are forgotten.
    ///
    /// The default, because an outage of Redis then neither stops a service nor takes away its protection.
    #[default]
    Local,
}

/// What clones of a limiter have.
#[derive(Clone)]
struct Limiter {
    core: ReadThrough,
    name: Key,
    quota: Quota,
    kind: Kind,
    when_away: WhenAway,
}

/// A rate limiter: see [`CacheOf::rate_limiter`].
///
/// | algorithm | what it promises | what it keeps for an id |
/// | --- | --- | --- |
/// | [`gcra`](RateLimiter::gcra), the default | at most `burst + rate · t` permits in any span of time `t` | one time |
/// | [`sliding_window`](RateLimiter::sliding_window) | at most the quota in any span as long as the period: exact | an entry of some 100 bytes for each allowed check in the period |
/// | [`fixed_window`](RateLimiter::fixed_window) | at most the quota in each aligned period, so up to twice as much across the edge of two | one counter |
///
/// None of them denies what its promise allows. Ids that are idle vanish: a key expires when it does not matter any
/// more. Times are exact to the microsecond on a server, and to the millisecond on the embedded store and with
/// [`WhenAway::Local`].
///
/// A quota can be changed at any time. GCRA keeps what an id owes as a time (up to that of two bursts); a window counts what is in it by the new quota; a change of the algorithm begins anew. Two limiters of one name with
/// different quotas share their counts all the same: give them different names.
///
/// If the server's clock goes back (after a failover), an id has all of its permits after twice the usual time at the
/// latest, and nobody gets more than before. What is under a limiter's key and was
/// not written by a limiter is ignored, and replaced by the next check. If the server evicts a key, or fails over
/// before the key arrived at the replica, that id begins anew: use a server without eviction (`noeviction`), or one
/// that evicts by TTL (`volatile-ttl`), where this matters.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for a [`Quota`] out of its range, and for a check that
/// costs more than there can ever be; [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) for a name or an id that
/// is empty or very long; [`ErrorKind::Closed`](crate::ErrorKind::Closed).
pub struct RateLimiter<M = Async> {
    limiter: Limiter,
    mode: Marked<M>,
}

impl<M> RateLimiter<M> {
    /// Uses GCRA, the generic cell rate algorithm (ITU-T I.371): a bucket that leaks. An id that was idle has the whole
    /// burst, and gets a permit back every `period / permits`. This is the default.
    pub fn gcra(self) -> Self {
        self.by(Kind::Gcra)
    }

    /// Uses a log of what was allowed. Exact, and larger: for quotas up to some thousands. The quota's burst does not
    /// apply.
    pub fn sliding_window(self) -> Self {
        self.by(Kind::SlidingWindow)
    }

    /// Counts in aligned windows, such as each minute of the clock; a day begins at 0:00 UTC. For quotas that users know
    /// to begin anew then. The quota's burst does not apply.
    pub fn fixed_window(self) -> Self {
        self.by(Kind::FixedWindow)
    }

    /// The name.
    pub fn name(&self) -> &Key {
        &self.limiter.name
    }

    /// The quota.
    pub fn quota(&self) -> &Quota {
        &self.limiter.quota
    }

    /// What happens while Redis is away.
    pub fn away(&self) -> WhenAway {
        self.limiter.when_away
    }

    /// Whether checks can work: name and quota are valid. Nothing is asked of the server.
    ///
    /// # Errors
    /// Those of every check: see [`RateLimiter`].
    pub fn validate(&self) -> Result<()> {
        operation::validate(&self.limiter)
    }

    fn by(mut self, kind: Kind) -> Self {
        self.limiter.kind = kind;
        self
    }

    /// What happens while Redis is away. [`WhenAway::Local`] is the default.
    pub fn when_away(mut self, when_away: WhenAway) -> Self {
        self.limiter.when_away = when_away;
        self
    }

    /// Takes a permit for this id, or as many as `.cost(..)` says, if they are there.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::patterns::Quota;
    ///
    /// let exports = cache.rate_limiter("exports", Quota::per_hour(10)).sliding_window();
    /// assert!(exports.check("alice").cost(8).await?.is_allowed());
    /// let decision = exports.check("alice").cost(3).await?;
    /// assert!(!decision.is_allowed());
    /// assert_eq!(decision.remaining(), 2);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// While Redis is away, the answer is that of [`when_away`](RateLimiter::when_away). If Redis does not answer in
    /// time, the permits may or may not have been taken there.
    ///
    /// # Errors
    /// Those of a [`RateLimiter`].
    pub fn check(&self, id: impl AsRef<[u8]>) -> Check<M> {
        Check::new(&self.limiter, id.as_ref(), true)
    }

    /// What [`check`](RateLimiter::check) would answer now, without taking anything.
    /// [`remaining`](Decision::remaining) is what is left now.
    ///
    /// # Errors
    /// Those of a [`RateLimiter`].
    pub fn peek(&self, id: impl AsRef<[u8]>) -> Check<M> {
        Check::new(&self.limiter, id.as_ref(), false)
    }

    /// Gives an id all of its permits back.
    ///
    /// # Errors
    /// Those of a [`RateLimiter`], and while Redis is away those of every call (see [`CacheOf`]). What this process
    /// has counted meanwhile is forgotten all the same.
    pub fn reset(&self, id: impl AsRef<[u8]>) -> Pending<'static, (), M> {
        operation::reset(&self.limiter, id.as_ref())
    }

    /// Waits until a check is allowed, and takes its permits. Waits as long as it takes, unless there is a
    /// `.max_wait(..)`.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::patterns::Quota;
    ///
    /// let mails = cache.rate_limiter("mails", Quota::per_second(50).burst(1));
    /// for _ in 0..3 {
    ///     mails.until_ready("smtp").await?; // every 20 ms
    /// }
    /// let decision = mails.until_ready("smtp").cost(1).max_wait("1ms").await?;
    /// assert!(!decision.is_allowed()); // it would take longer
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// It asks again after each [`retry_after`](Decision::retry_after). Those who wait are not in a queue: whoever asks
    /// first is next. While Redis is away, a limiter that denies then lets its callers wait for Redis.
    ///
    /// # Errors
    /// Those of a [`RateLimiter`].
    pub fn until_ready(&self, id: impl AsRef<[u8]>) -> UntilReady<M> {
        UntilReady::new(&self.limiter, id.as_ref())
    }
}

impl<M> Clone for RateLimiter<M> {
    fn clone(&self) -> Self {
        RateLimiter {
            limiter: self.limiter.clone(),
            mode: PhantomData,
        }
    }
}

impl<M> fmt::Debug for RateLimiter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.limiter.name)
            .field("quota", &self.limiter.quota)
            .field("algorithm", &self.limiter.kind)
            .field("when_away", &self.limiter.when_away)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
