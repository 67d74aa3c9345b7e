//! The outbox: invalidations that a primary has not acknowledged, and the last ones that it has.
//!
//! While Redis is away an invalidation cannot be carried out. If it were dropped, readers would find the old value once
//! Redis answers again. So the outbox keeps it, and sends it before any command that it is about. Redis may also lose
//! invalidations that it has acknowledged, when a replica takes over or an older snapshot is loaded. So the outbox
//! remembers the last acknowledged ones, and repeats them on a server that has replaced the one that acknowledged them.
//!
//! 1. Before a command of this process is sent, the server has acknowledged what waits of the keys, leases and tag
//!    versions that the command names. So no call of this process reads or fills what this process has invalidated
//!    before it. A call waits for nothing else: the rest is sent in the background.
//! 2. Invariant 1 also holds for what comes into the outbox by invariant 5 while a call connects. The outbox is told of
//!    a new connection before anyone can use it, and begins a new epoch if something waits then. A call that looked
//!    into the outbox in an earlier epoch is not sent.
//! 3. An invalidation leaves the outbox when the server has acknowledged it, unless a newer one of the same key or tag
//!    came meanwhile. Each key and tag is kept once, under the number of the newest invalidation. A `set` is kept as
//!    the deletion of its key, an `add` as that of its lease (the entry may be another caller's).
//! 4. The outbox is bounded. What the list cannot hold is kept as a mark of 8 bytes, and what the marks cannot hold as
//!    the clearing of all entries of the prefix (for an `add`: of its leases), which is logged. For a cache without a
//!    prefix, such an invalidation is not kept, and its error says so. Tags have no marks. Marks and patterns are
//!    swept in the background: see `owed`.
//! 5. When another server answers than before, the last acknowledged invalidation is sent again, and all of the
//!    [`RECENT`](ring::RECENT) before it. The first server that answers has replaced nobody.
//!    Wherever the epoch and the versions of tags are, it is all of a tag's invalidation that is repeated, whichever
//!    server was replaced; and one that is under way meanwhile begins again.
//! 6. A server that accepts no writes (a replica, or one that is out of memory) is still read from. The outbox tries
//!    again every [`PAUSE`].
//! 7. The outbox is lost with the process.
//! 8. A deletion that nobody asked for (by invariants 4 and 5) takes only strings: entries are strings.

mod drain;
mod owed;
mod ring;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::seldom::Seldom;
use super::{Guarded, Invalidation};
use crate::connect::{Epoch, ServerId};
use crate::error::{Error, ErrorKind};
use crate::keyspace::Keyspace;
pub(super) use drain::Drain;
use owed::{Scope, Sweep};
use ring::{Done, Ring};
use waiting::{Numbered, Waiting};

/// The maximum number of invalidations in the list.
const ENTRIES: usize = 10_000;

/// The maximum size of their names in bytes.
const BYTES: usize = 4 * 1024 * 1024;

/// The maximum number of marks.
const MARKS: usize = 1 << 20;

/// The maximum number of patterns.
const SWEEPS: usize = 100;

/// The pause between tries on a server that accepts no writes.
const PAUSE: Duration = Duration::from_secs(1);

/// How often invalidations begin again because a server was replaced by another meanwhile.
pub(crate) const BEGINNINGS: usize = 3;

/// How many invalidations are sent together.
const PART: usize = 500;

/// What to do when another server answers than before, or one that was a replica meanwhile: it may have lost
/// invalidations. It is told by its `run_id` and its `master_replid` (`INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataLoss {
    /// Repeat the invalidations of the last 5 s before the connection was lost.
    #[default]
    Replay,
    /// Delete all entries under the cache's prefix, so that none survives whose invalidation was lost. What is no
    /// entry, a list for example, stays. The first server that a process meets is not another one.
    Clear,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    /// Whether it keeps invalidations at all.
    enabled: bool,
    waiting: AtomicBool,
    /// The backend's epoch (invariant 2).
    epoch: Epoch,
    state: Mutex<State>,
    /// Held while the background deletes something.
    emptying: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    done: Ring,
    /// What is known of the server of each host.
    hosts: HashMap<Arc<str>, Host>,
    /// How many servers have taken another's place so far.
    servers: u64,
    /// No try before this time, because the server accepts no writes.
    not_before: Option<Instant>,
    /// Prefixes to clear when another server answers.
    clear_on_loss: Vec<Keyspace>,
    /// How many deferred invalidations were sent and not yet logged.
    sent: usize,
    said_sent: Seldom,
    said_cleared: Seldom,
    said_refused: Seldom,
    said_no_writes: Seldom,
}

/// What is known of the server of a host.
#[derive(Debug, Default)]
struct Host {
    /// Whether a server has answered yet.
    met: bool,
    /// Whether a connection was lost, and none has been made since.
    lost: bool,
    /// What tells it from others.
    server: Option<ServerId>,
}

impl Outbox {
    pub(super) fn new(enabled: bool, epoch: Epoch) -> Self {
        Outbox {
            enabled,
            waiting: AtomicBool::new(false),
            epoch,
            state: Mutex::default(),
            emptying: tokio::sync::Mutex::default(),
        }
    }

    /// The number of waiting invalidations.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// The number of sweeps that go on in the background.
    pub(crate) fn sweeps(&self) -> usize {
        self.state.lock().waiting.sweeps()
    }

    /// Whether something waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    fn note_waiting(&self, state: &State) {
        self.waiting
            .store(!state.waiting.is_empty(), Ordering::Release);
    }

    /// The epoch for a command's terms. Read it before calling [`Outbox::is_waiting`].
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.current()
    }

    /// Keeps invalidations that were not acknowledged. Returns whether all could be kept.
    pub(crate) fn defer(
        &self,
        invalidations: impl IntoIterator<Item = Invalidation>,
        now: Instant,
    ) -> bool {
        if !self.enabled {
            return false;
        }
        let mut state = self.state.lock();
        let mut kept = true;
        for invalidation in invalidations {
            kept &= state.add(invalidation, now);
        }
        self.note_waiting(&state);
        kept
    }

    /// Keeps the deletion of the keys that match. Returns whether it could be kept.
    pub(super) fn defer_sweep(&self, of: &Keyspace, pattern: &[u8]) -> bool {
        let mut state = self.state.lock();
        let kept = self.enabled && state.waiting.owe_asked(asked(of, pattern));
        self.note_waiting(&state);
        kept
    }

    /// The number of this sweep, if it is owed.
    pub(super) fn number_of(&self, of: &Keyspace, pattern: &[u8]) -> Option<u64> {
        self.state.lock().waiting.number_of(&asked(of, pattern))
    }

    /// Whether it keeps invalidations at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Remembers acknowledged invalidations.
    pub(crate) fn record(&self, done: impl IntoIterator<Item = Invalidation>, now: Instant) {
        if !self.enabled {
            return;
        }
        let mut state = self.state.lock();
        for invalidation in done {
            state.done.remember(now, Done::One(invalidation));
        }
    }

    /// Remembers that the keys that match were deleted. If the same was owed before it began, under this number, it is
    /// not owed any more.
    pub(super) fn record_sweep(
        &self,
        of: &Keyspace,
        pattern: &[u8],
        number: Option<u64>,
        now: Instant,
    ) {
        if !self.enabled {
            return;
        }
        let sweep = asked(of, pattern);
        let mut state = self.state.lock();
        if let Some(number) = number {
            state.waiting.settle(&sweep, number);
        }
        self.note_waiting(&state);
        state.done.remember(now, Done::Sweep(sweep));
    }

    /// Notes that a connection to this host was lost.
    pub(super) fn note_loss(&self, host: &Arc<str>) {
        self.state.lock().host(host).lost = true;
    }

    /// How many servers have taken another's place so far.
    pub(crate) fn servers(&self) -> u64 {
        self.state.lock().servers
    }

    /// Notes a new connection to this host, which nobody has used yet, and what the server says it is.
    pub(super) fn note_connection(&self, host: &Arc<str>, server: Option<ServerId>, now: Instant) {
        let mut state = self.state.lock();
        let of_host = state.host(host);
        let lost = std::mem::take(&mut of_host.lost);
        // A server that does not say it may have been replaced whenever a connection was lost.
        let same = match (&mut of_host.server, server) {
            (Some(known), Some(newer)) => known.follow(newer),
            (_, None) => !lost,
            (known, newer) => {
                *known = newer;
                !lost
            }
        };
        let met = std::mem::replace(&mut of_host.met, true);
        if !same && met {
            self.replaced(state, now);
        }
    }

    /// Notes that a node of a Cluster has taken over from another, before anything is sent to it.
    #[cfg(feature = "cluster")]
    pub(super) fn note_failover(&self, now: Instant) {
        self.replaced(self.state.lock(), now);
    }

    /// Notes that slots of a Cluster have moved from one node to another, with their keys: a sweep may have missed them.
    #[cfg(feature = "cluster")]
    pub(super) fn note_moved(&self) {
        self.state.lock().waiting.go_round_again();
    }

    fn replaced(&self, mut state: MutexGuard<'_, State>, now: Instant) {
        state.servers += 1;
        // A sweep that began on the old server must begin again on this one.
        state.waiting.restart();
        let mut replayed = 0;
        for done in state.done.take() {
            replayed += 1;
            match done {
                Done::One(invalidation) => {
                    state.add(invalidation, now);
                }
                Done::Sweep(sweep) => state.waiting.owe(sweep),
            }
        }
        let cleared = state.clear_on_loss.len();
        for keyspace in state.clear_on_loss.clone() {
            state.waiting.owe((keyspace, Scope::Entries));
        }
        // Even if nothing was added: a key that was taken over from a sweep belongs to it again.
        if state.waiting.is_empty() {
            return;
        }
        self.note_waiting(&state);
        // Under the lock: a call that makes a second connection meanwhile waits until the new epoch has begun.
        self.epoch.advance();
        drop(state);
        if replayed + cleared > 0 {
            tracing::warn!(
                replayed,
                cleared,
                "another Redis server answers than before the connection was lost, or the same with another's data: the last invalidations are repeated"
            );
        }
    }

    /// Clears this prefix whenever another server answers than before.
    pub(super) fn clear_on_loss(&self, keyspace: &Keyspace) {
        self.state.lock().clear_on_loss.push(keyspace.clone());
    }

    pub(super) fn forget(&self, keyspace: &Keyspace) {
        let mut state = self.state.lock();
        if let Some(at) = state
            .clear_on_loss
            .iter()
            .position(|other| other == keyspace)
        {
            state.clear_on_loss.swap_remove(at);
        }
    }

    /// What waits of the names in a command that is about to be sent. `spares`: nothing, if the server takes no writes at
    /// present.
    pub(super) fn claim(&self, names: &[&[u8]], spares: bool, now: Instant) -> Claim<'_> {
        let mut state = self.state.lock();
        let (part, wait) = if spares && state.not_before.is_some_and(|at| now < at) {
            (Numbered::new(), false)
        } else {
            state.waiting.claim(names)
        };
        Claim {
            outbox: self,
            part,
            wait,
        }
    }

    /// Whether there is something for the background to do.
    pub(super) fn has_work(&self) -> bool {
        self.state.lock().waiting.has_work()
    }

    /// Waits until the background deletes nothing, and keeps it from going on until the guard is dropped.
    pub(super) async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.emptying.lock().await
    }

    /// From now on, [`Listing::hide`] also knows the keys that are deleted meanwhile.
    pub(super) fn listing(&self) -> Listing<'_> {
        self.state.lock().waiting.begin_listing();
        Listing(self)
    }

    /// Whether the error says that the server currently answers reads but accepts no writes. Then nothing is tried for
    /// a while. (A server that is loading its data does neither; invalidations go first once it is ready.)
    pub(super) fn takes_no_writes(&self, guarded: &Guarded, error: &Error) -> bool {
        let says = |code: &str| error.detail().starts_with(code);
        let refused = error.kind() == ErrorKind::Unavailable
            && ["READONLY", "OOM", "MISCONF", "NOREPLICAS"]
                .into_iter()
                .any(says);
        if refused {
            let now = guarded.runtime().now();
            let mut state = self.state.lock();
            state.not_before = Some(now + PAUSE);
            if state.said_no_writes.may(now) {
                tracing::warn!(host = %guarded.host(), %error, "Redis accepts no writes: invalidations wait in the outbox, and reads go on");
            }
        }
        refused
    }

    /// Logs an invalidation that the server refuses for good. It is dropped, so that it does not block all calls.
    fn refused(&self, guarded: &Guarded, error: &Error) {
        if self.state.lock().said_refused.may(guarded.runtime().now()) {
            tracing::error!(host = %guarded.host(), %error, "Redis refuses a deferred invalidation, which is dropped");
        }
    }
}

/// The invalidations that a call must send first. They wait on if it does not.
#[derive(Debug)]
pub(super) struct Claim<'o> {
    outbox: &'o Outbox,
    part: Numbered,
    wait: bool,
}

impl Claim<'_> {
    pub(super) fn part(&self) -> &Numbered {
        &self.part
    }

    /// Whether the background is deleting one of them at this moment. The call waits for that step, so that it does
    /// not delete what the call is about to write.
    pub(super) fn must_wait(&self) -> bool {
        self.wait
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.part.is_empty() {
            self.outbox.state.lock().waiting.release(&self.part);
        }
    }
}

/// A listing of keys that has not come back yet.
#[derive(Debug)]
pub(super) struct Listing<'o>(&'o Outbox);

impl Listing<'_> {
    /// Removes what was invalidated before it was listed.
    pub(super) fn hide(&self, keys: &mut Vec<Vec<u8>>) {
        let state = self.0.state.lock();
        keys.retain(|key| !state.waiting.hides(key));
    }
}

impl Drop for Listing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting.end_listing();
    }
}

/// Whether an invalidation with this error may not have happened, and may still succeed: Redis is away, cannot do it
/// now, or sent an invalid answer.
pub(crate) fn leaves_open(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Connect
            | ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::Auth
            | ErrorKind::PoolExhausted
            | ErrorKind::Protocol
    )
}

/// Invalidations were begun so often, and each time another server answered before all of their steps were acknowledged.
pub(crate) fn replaced(times: usize) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "another Redis server took the place of one that had acknowledged a part of this invalidation, \
             {times} times in a row"
        ),
    )
}

fn asked(of: &Keyspace, pattern: &[u8]) -> Sweep {
    (of.clone(), Scope::Asked(pattern.to_vec()))
}

impl State {
    fn host(&mut self, host: &Arc<str>) -> &mut Host {
        self.hosts.entry(Arc::clone(host)).or_default()
    }

    fn add(&mut self, invalidation: Invalidation, now: Instant) -> bool {
        let (mut cleared, keyspace) = (false, invalidation.keyspace());
        let kept = self.waiting.add(invalidation, &mut cleared);
        if cleared && self.said_cleared.may(now) {
            tracing::warn!(
                prefix = %keyspace,
                "too many invalidations wait for Redis: all entries under the prefix will be deleted"
            );
        }
        kept
    }

    fn note_sent(&mut self, count: usize, now: Instant, host: &Arc<str>) {
        self.not_before = None;
        self.sent += count;
        if self.said_sent.may(now) {
            tracing::info!(%host, sent = self.sent, "deferred invalidations were sent");
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests;
