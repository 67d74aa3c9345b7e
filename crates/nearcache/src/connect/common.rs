//! The parts that every backend has: host, clocks, listeners and epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use redis::{ServerError, Value};

use super::Terms;
use super::doubts::Doubts;
use super::events::{LinkEvent, Listeners};
use super::pace::Pace;
use super::target::Target;
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// How often a replica is left at most, to look for the primary.
const LEAVE_EVERY: Duration = Duration::from_secs(1);

/// The parts that every backend has.
#[derive(Debug)]
pub(crate) struct Common {
    host: Arc<str>,
    listeners: Listeners,
    runtime: Runtime,
    epoch: Epoch,
    wall: Wall,
    /// When a replica was left last.
    left: Mutex<Option<Instant>>,
    pace: Pace,
    doubts: Doubts,
    /// The process that the connections belong to.
    process: AtomicU32,
    said_no_transactions: AtomicBool,
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
        }
    }

    /// The same place, for callers on another runtime.
    #[cfg(all(feature = "blocking", feature = "embedded"))]
    pub(super) fn for_runtime(&self, runtime: Runtime) -> Self {
        Common {
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

    /// The host, as it appears in messages.
    pub(crate) fn host(&self) -> &Arc<str> {
        &self.host
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

    /// Whether the connection with these replies is of no use any more: it is stuck in a transaction, or leads to a
    /// read-only replica (promise 6 of [`Backend`](super::Backend)).
    pub(super) fn must_leave(&self, replies: &[Value]) -> bool {
        super::is_stuck(replies) || (super::is_replica(replies) && self.may_leave())
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

    /// Whether to leave a server that says that it is a replica, and connect anew: after a failover its name leads to
    /// the new primary. Rarely enough that a cache on a replica for good can go on reading.
    fn may_leave(&self) -> bool {
        let now = self.runtime.now();
        let mut left = self.left.lock();
        let due = left.is_none_or(|at| now.saturating_duration_since(at) >= LEAVE_EVERY);
        if due {
            *left = Some(now);
            drop(left);
            tracing::warn!(host = %self.host, "Redis is a read-only replica: connecting anew, because the primary may have moved");
        }
        due
    }

    pub(super) fn tell(&self, event: &LinkEvent) {
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
