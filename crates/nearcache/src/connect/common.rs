//! The parts that every backend has: host, clocks, listeners and epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use redis::{ServerError, Value};

use super::Terms;
use super::carrier::Carriers;
use super::doubts::Doubts;
use super::events::{LinkEvent, Listeners};
use super::pace::Pace;
#[cfg(feature = "sentinel")]
use super::sentinel::Sentinels;
use super::target::Target;
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// How often a replica, or a connection without a user, is left at most.
const LEAVE_EVERY: Duration = Duration::from_secs(1);

/// The parts that every backend has.
#[derive(Debug)]
pub(crate) struct Common {
    host: Arc<str>,
    listeners: Listeners,
    runtime: Runtime,
    epoch: Epoch,
    wall: Wall,
    /// When a connection was left last, to connect anew.
    left: Mutex<Option<Instant>>,
    pace: Pace,
    doubts: Doubts,
    /// The process that the connections belong to.
    process: AtomicU32,
    said_no_transactions: AtomicBool,
    carriers: Carriers,
    said_no_tracking: AtomicBool,
    /// How often all connections that tasks share were left.
    partings: AtomicU64,
    /// How many batches were sent, and how many calls in them.
    batches: AtomicU64,
    batched: AtomicU64,
    /// Those who name the primary.
    #[cfg(feature = "sentinel")]
    sentinels: Option<Arc<Sentinels>>,
}

/// The source of the time of day.
#[derive(Clone, Debug)]
enum Wall {
    System,
    #[cfg(feature = "embedded")]
    Store(nearcache_embedded::Clock),
}

impl Common {
    pub(crate) fn new(target: &Target, runtime: Runtime) -> Self {
        Common {
            #[cfg(feature = "sentinel")]
            sentinels: Sentinels::of(target, &runtime),
            host: target.host(),
            listeners: Listeners::default(),
            runtime,
            epoch: Epoch::default(),
            wall: Wall::System,
            left: Mutex::default(),
            pace: Pace::new(target.breaker),
            doubts: Doubts::default(),
            process: AtomicU32::new(std::process::id()),
            said_no_transactions: AtomicBool::new(false),
            carriers: Carriers::default(),
            said_no_tracking: AtomicBool::new(false),
            partings: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            batched: AtomicU64::new(0),
        }
    }

    /// The same place, for callers on another runtime.
    #[cfg(all(feature = "blocking", feature = "embedded"))]
    pub(super) fn for_runtime(&self, runtime: Runtime) -> Self {
        Common {
            #[cfg(feature = "sentinel")]
            sentinels: None,
            host: Arc::clone(&self.host),
            listeners: Listeners::default(),
            runtime,
            epoch: Epoch::default(),
            wall: self.wall.clone(),
            left: Mutex::default(),
            pace: Pace::new(false),
            doubts: Doubts::default(),
            process: AtomicU32::new(std::process::id()),
            said_no_transactions: AtomicBool::new(false),
            carriers: Carriers::default(),
            said_no_tracking: AtomicBool::new(false),
            partings: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            batched: AtomicU64::new(0),
        }
    }

    /// Takes the time of day from a store's clock.
    #[cfg(feature = "embedded")]
    pub(super) fn with_clock(self, clock: nearcache_embedded::Clock) -> Self {
        Common {
            wall: Wall::Store(clock),
            ..self
        }
    }

    /// Shares the epoch of others.
    #[cfg(feature = "cluster")]
    pub(super) fn with_epoch(self, epoch: &Epoch) -> Self {
        Common {
            epoch: epoch.clone(),
            ..self
        }
    }

    /// The host, as it appears in messages.
    pub(crate) fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// Those who name the primary, if the place is behind Sentinels.
    #[cfg(feature = "sentinel")]
    pub(super) fn sentinels(&self) -> Option<&Arc<Sentinels>> {
        self.sentinels.as_ref()
    }

    /// The runtime, which also provides the time.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The listeners for connection events.
    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The epoch, which decides which commands may still be sent.
    pub(crate) fn epoch(&self) -> &Epoch {
        &self.epoch
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

    /// The time in Unix milliseconds by the clock that decides what has expired, if that clock is in this process: the
    /// embedded store's.
    pub(crate) fn store_millis(&self) -> Option<u64> {
        match &self.wall {
            Wall::System => None,
            #[cfg(feature = "embedded")]
            Wall::Store(_) => Some(self.unix_millis()),
        }
    }

    /// Whether that clock is one that a test advances, if it is in this process.
    pub(crate) fn has_manual_clock(&self) -> Option<bool> {
        match &self.wall {
            Wall::System => None,
            #[cfg(feature = "embedded")]
            Wall::Store(clock) => Some(clock.is_manual()),
        }
    }

    /// Checks whether a command with these terms may be sent on an existing connection.
    ///
    /// # Errors
    /// `is_outdated` if the epoch has changed.
    pub(super) fn check(&self, terms: Terms) -> Result<()> {
        if self.epoch.current() == terms.epoch {
            Ok(())
        } else {
            Err(Error::outdated())
        }
    }

    /// Whether this process is a fork of the one that the connections belong to. It must not touch them: both would
    /// read each other's replies.
    pub(super) fn is_fork(&self) -> bool {
        self.process.load(Ordering::Acquire) != std::process::id()
    }

    /// The parent's connections were put aside: those that follow belong to this process.
    pub(super) fn take_over(&self) {
        self.process.store(std::process::id(), Ordering::Release);
        self.carriers.abandon();
        self.tell(&LinkEvent::Dropped);
    }

    /// The pace of connecting, whose outcomes are noted here.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The connections that may still carry out what was given up.
    pub(super) fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    /// Leaves the connection with these replies, if it is of no use any more: it is stuck in a transaction, leads to a
    /// read-only replica, or has no user (promise 6 of [`Backend`](super::Backend)).
    ///
    /// That it was left is noted only afterwards: whoever is told the same and need not leave it any more is sure to
    /// find another connection. (Those who are told at the same time may leave the next one, too.)
    pub(super) fn leave_if_useless(&self, replies: &[Value], leave: impl FnOnce()) {
        if super::is_stuck(replies) {
            leave();
            return;
        }
        let why = if super::is_replica(replies) {
            "is a read-only replica; the primary may have moved"
        } else if replies.iter().any(super::is_signed_out) {
            "takes no command without credentials any more"
        } else {
            return;
        };
        if self.may_leave() {
            leave();
            self.note_left(why);
        }
    }

    /// Whether the connection with these replies is of no use any more, for one who leaves it before anyone learns of them.
    pub(super) fn must_leave(&self, replies: &[Value]) -> bool {
        let mut must = false;
        self.leave_if_useless(replies, || must = true);
        must
    }

    /// Logs, once, that the commands of a transaction are carried out one by one.
    pub(super) fn warn_of_no_transactions(&self, refused: &ServerError) {
        if !self.said_no_transactions.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                host = %self.host,
                error = %Error::from_server(refused),
                "Redis refuses MULTI: a write and what it fences are two steps, not one; permit MULTI and EXEC"
            );
        }
    }

    /// Counts a batch of so many calls.
    pub(super) fn note_batch(&self, calls: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.batched.fetch_add(calls as u64, Ordering::Relaxed);
    }

    /// How many batches were sent, and how many calls in them.
    pub(crate) fn batches(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.batches), count(&self.batched))
    }

    /// Logs, once, that the server does not tell of changes.
    pub(super) fn warn_of_no_tracking(&self, refused: Option<&Error>) {
        if self.said_no_tracking.swap(true, Ordering::Relaxed) {
            return;
        }
        let host = &self.host;
        let text = "the near tier keeps values for a bounded time (near_ttl), because the server does not tell of changes";
        match refused {
            Some(error) => tracing::warn!(%host, %error, "{text}; permit CLIENT TRACKING"),
            None => tracing::warn!(%host, "{text}: that needs RESP3"),
        }
    }

    /// Whether to leave a server that says this, and connect anew. After a failover its name leads to the new primary,
    /// and a new connection has the credentials of now. Rarely enough that a cache on a replica for good can go on
    /// reading.
    fn may_leave(&self) -> bool {
        let now = self.runtime.now();
        let left = *self.left.lock();
        left.is_none_or(|at| now.saturating_duration_since(at) >= LEAVE_EVERY)
    }

    fn note_left(&self, why: &'static str) {
        *self.left.lock() = Some(self.runtime.now());
        tracing::warn!(host = %self.host, why, "connecting anew, because of what Redis says");
    }

    /// Later calls of tasks go over new connections. Those that are running stay.
    pub(super) fn part(&self) {
        self.partings.fetch_add(1, Ordering::Release);
        self.carriers.end();
        self.tell(&LinkEvent::Dropped);
    }

    /// How often that was so.
    #[inline]
    pub(super) fn partings(&self) -> u64 {
        self.partings.load(Ordering::Acquire)
    }

    /// What carries the news of changed keys.
    pub(crate) fn carriers(&self) -> &Carriers {
        &self.carriers
    }

    /// Tells the listeners.
    pub(crate) fn tell(&self, event: &LinkEvent) {
        self.listeners.tell(event);
    }
}

/// A counter that goes up when what callers know of the server is out of date. A command that was decided on in an
/// earlier epoch is not sent. Clones share the counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    pub(crate) fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// From now on, commands with terms of an earlier epoch are not sent.
    pub(crate) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}
