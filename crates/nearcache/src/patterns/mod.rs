//! What people build on a cache: rate limits, sessions, leaderboards, locks, queues, each as one helper.
//!
//! A helper is opened on a cache and keeps its state in keys of its own, under the cache's prefix:
//! `prefix:#nearcache:HELPER:{NAME}`. They are hidden from [`keys`](crate::CacheOf::keys) and from patterns, and
//! [`clear`](crate::CacheOf::clear) spares them. All keys of one name are in one cluster slot.
//!
//! A helper owns a clone of its cache, so it can be kept, cloned, and moved to a task or thread.

mod leaderboard;
mod lock;
mod queue;
mod rate_limiter;
mod semaphore;
mod series;
mod sessions;
mod upkeep;

pub use leaderboard::{Leaderboard, Ranked, Standing, Submit};
pub use lock::{Acquire, Lock, LockGuard};
pub use queue::{
    DeadJob, DeadLetters, Delivery, Job, Next, Push, Queue, QueueStats, StopHandle, Worker,
};
pub use rate_limiter::{Check, Decision, Quota, RateLimiter, UntilReady, WhenAway};
pub use semaphore::{Permit, Semaphore};
pub use series::Series;
pub use sessions::{CreateSession, RenewSessionId, SaveSession, SessionId, Sessions};

use crate::script::Script;

/// The scripts of all helpers, for a store without Lua.
#[cfg_attr(not(feature = "serve"), allow(dead_code))]
pub(crate) const SCRIPTS: &[&Script] = &[
    &rate_limiter::GCRA,
    &rate_limiter::SLIDING_WINDOW,
    &rate_limiter::FIXED_WINDOW,
    &leaderboard::SUBMIT,
    &leaderboard::STANDING,
    &leaderboard::AROUND,
    &lock::scripts::ACQUIRE,
    &lock::scripts::RENEW,
    &lock::scripts::RELEASE,
    &semaphore::scripts::ACQUIRE,
    &semaphore::scripts::RENEW,
    &semaphore::scripts::RELEASE,
    &semaphore::scripts::COUNT,
    &queue::scripts::PUSH,
    &queue::scripts::TAKE,
    &queue::scripts::KEEP,
    &queue::scripts::LEAVE,
    &queue::scripts::DONE,
    &queue::scripts::FAIL,
    &queue::scripts::SWEEP,
    &queue::scripts::REVIVE,
    &series::scripts::COUNT,
    &series::scripts::READ,
    &sessions::LOAD,
    &sessions::OPEN,
    &sessions::REMOVE,
    &sessions::SAVE,
];
