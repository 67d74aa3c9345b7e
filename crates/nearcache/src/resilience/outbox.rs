//! The outbox: invalidations that a primary has not acknowledged, and the last ones that it has.
//!
//! While Redis is away an invalidation cannot be carried out. If it were dropped, readers would find the old value once
//! Redis answers again. So the outbox keeps it, and sends it before any other command. Redis may also lose
//! invalidations that it has acknowledged, when a replica takes over or an older snapshot is loaded. So the outbox
//! remembers the last acknowledged ones, and repeats them on a server that has replaced the one that acknowledged them.
//!
//! 1. What is in the outbox when a call is made reaches the server before the call does. So no call of this process
//!    reads or fills what this process has invalidated before it.
//! 2. Invariant 1 also holds for what comes into the outbox by invariant 5 while a call connects. The outbox is told of
//!    a new connection before anyone can use it, and begins a new epoch if it has something to send first. A call that
//!    found the outbox empty in an earlier epoch is not sent.
//! 3. An invalidation leaves the outbox when the server has acknowledged it, unless a newer one of the same key or tag
//!    came meanwhile. Each key and tag is kept once, under the number of the newest invalidation. A `set` is kept as
//!    the deletion of its key, an `add` as that of its lease (the entry may be another caller's).
//! 4. The outbox is bounded. When it is full, the cache's whole prefix will be cleared instead, and that is logged. For
//!    a cache without a prefix, the invalidation is not kept, and its error says so.
//! 5. When another server answers than before, the last acknowledged invalidation is sent again, and all of the
//!    [`RECENT`] before it.
//! 6. A server that accepts no writes (a replica, or one that is out of memory) is still read from. The outbox tries
//!    again every [`PAUSE`].
//! 7. The outbox is lost with the process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Pipeline, Value};

use super::sweep::{self, EVERYTHING, Position};
use super::{Fallback, Guarded, Invalidation};
use crate::connect::Epoch;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;

/// The maximum number of invalidations.
const ENTRIES: usize = 10_000;

/// The maximum size of their keys in bytes.
const BYTES: usize = 4 * 1024 * 1024;

/// The maximum number of patterns.
const SWEEPS: usize = 100;

/// The maximum number of acknowledged invalidations to remember.
const REMEMBERED: usize = 4_096;

/// How far back from the last acknowledged invalidation others may have been lost with it. Replication is asynchronous,
/// but lags by less than this. (Counted from the last acknowledgement, because the loss itself came after it and may be
/// noticed much later.)
const RECENT: Duration = Duration::from_secs(5);

/// The pause between tries on a server that accepts no writes.
const PAUSE: Duration = Duration::from_secs(1);

/// How many invalidations are sent together.
const PART: usize = 500;

/// What to do when another server answers than before, which may have lost invalidations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataLoss {
    /// Repeat the invalidations of the last 5 s before the connection was lost.
    #[default]
    Replay,
    /// Clear the cache's whole prefix, so that no entry survives whose invalidation was lost.
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
    /// Held while the outbox is being emptied.
    emptying: tokio::sync::Mutex<()>,
}

/// A pattern in a cache's keyspace.
type Sweep = (Keyspace, Vec<u8>);

/// An acknowledged invalidation.
#[derive(Debug)]
enum Done {
    One(Invalidation),
    Sweep(Sweep),
}

#[derive(Debug, Default)]
struct State {
    /// Each with the number of its newest request.
    invalidations: HashMap<Invalidation, u64>,
    bytes: usize,
    next: u64,
    /// Patterns whose keys are to be deleted (`*` for a whole prefix), each with its number and its position.
    sweeps: HashMap<Sweep, (u64, Position)>,
    /// The acknowledged invalidations, the oldest first.
    done: VecDeque<(Instant, Done)>,
    /// Whether a connection was lost, and none has been made since.
    lost: bool,
    /// The server's `run_id`.
    server: Option<String>,
    /// No try before this time, because the server accepts no writes.
    not_before: Option<Instant>,
    /// Prefixes to clear when another server answers.
    clear_on_loss: Vec<Keyspace>,
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
        let state = self.state.lock();
        state.invalidations.len() + state.sweeps.len()
    }

    /// Whether there is something to send first.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// The epoch for a command's terms. Read it before calling [`Outbox::is_waiting`].
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.current()
    }

    /// Keeps invalidations that were not acknowledged. Returns whether all could be kept.
    pub(crate) fn defer(
        &self,
        invalidations: impl IntoIterator<Item = Invalidation>,
        of: &Keyspace,
    ) -> bool {
        if !self.enabled {
            return false;
        }
        let mut state = self.state.lock();
        let mut kept = true;
        for invalidation in invalidations {
            kept &= state.add(invalidation, of);
        }
        self.waiting.store(!state.is_empty(), Ordering::Release);
        kept
    }

    /// Keeps the deletion of the keys that match. Returns whether it could be kept.
    pub(super) fn defer_sweep(&self, of: &Keyspace, pattern: &[u8]) -> bool {
        let mut state = self.state.lock();
        let sweep = (of.clone(), pattern.to_vec());
        let room = state.sweeps.len() < SWEEPS || state.sweeps.contains_key(&sweep);
        if !self.enabled || !room {
            return false;
        }
        state.put_sweep(sweep);
        self.waiting.store(true, Ordering::Release);
        true
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
            state.remember(now, Done::One(invalidation));
        }
    }

    /// Remembers that the keys that match were deleted.
    pub(super) fn record_sweep(&self, of: &Keyspace, pattern: &[u8], now: Instant) {
        if self.enabled {
            let done = Done::Sweep((of.clone(), pattern.to_vec()));
            self.state.lock().remember(now, done);
        }
    }

    /// Notes that a connection was lost.
    pub(super) fn note_loss(&self) {
        self.state.lock().lost = true;
    }

    /// Notes a new connection, which nobody has used yet, and the server's `run_id` if it sends one.
    pub(super) fn note_connection(&self, server: Option<String>) {
        let mut state = self.state.lock();
        let lost = std::mem::take(&mut state.lost);
        // A server without a `run_id` may have been replaced whenever a connection was lost.
        let same = match (&state.server, &server) {
            (Some(before), Some(now)) => before == now,
            (None, Some(_)) | (_, None) => !lost,
        };
        let first = state.server.is_none() && !lost;
        if server.is_some() {
            state.server = server;
        }
        if same || first {
            return;
        }
        let done = std::mem::take(&mut state.done);
        // The loss may have been noticed late, but it came after the last acknowledgement: count back from there.
        let since = done.back().and_then(|(last, _)| last.checked_sub(RECENT));
        let mut replayed = 0;
        for (at, done) in done {
            if since.is_some_and(|since| at < since) {
                continue;
            }
            replayed += 1;
            match done {
                Done::One(invalidation) => state.put(invalidation),
                Done::Sweep(sweep) => state.put_sweep(sweep),
            }
        }
        // A sweep that began on the old server must start again on this one.
        for sweep in state.sweeps.keys().cloned().collect::<Vec<_>>() {
            state.put_sweep(sweep);
        }
        let cleared = state.clear_on_loss.len();
        for keyspace in state.clear_on_loss.clone() {
            state.put_sweep((keyspace, EVERYTHING.to_vec()));
        }
        if replayed + cleared == 0 {
            return;
        }
        self.waiting.store(!state.is_empty(), Ordering::Release);
        // Under the lock: a call that makes a second connection meanwhile waits until the new epoch has begun.
        self.epoch.advance();
        drop(state);
        tracing::warn!(
            replayed,
            cleared,
            "another Redis server answers than before the connection was lost: the last invalidations are repeated"
        );
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

    /// Sends the waiting invalidations.
    ///
    /// # Errors
    /// The error that kept the server from acknowledging them. They stay in the outbox.
    pub(super) async fn empty(&self, guarded: &Guarded, limit: Duration) -> Result<()> {
        let _mine = self.emptying.lock().await;
        let not_before = self.state.lock().not_before;
        if not_before.is_some_and(|at| guarded.runtime().now() < at) {
            return Ok(());
        }
        let refused = loop {
            let (part, sweep) = self.state.lock().part();
            let sent = match (part.is_empty(), sweep) {
                (true, None) => break None,
                (true, Some(sweep)) => self.sweep(guarded, sweep, limit).await,
                (false, _) => self.send(guarded, &part, limit).await,
            };
            match sent {
                Ok(()) => {}
                Err(error) if takes_no_writes(&error) => break Some(error),
                Err(error) => return Err(error),
            }
        };
        let mut state = self.state.lock();
        state.not_before = None;
        if let Some(error) = refused {
            state.not_before = Some(guarded.runtime().now() + PAUSE);
            tracing::warn!(host = %guarded.host(), %error, "Redis accepts no writes: invalidations wait in the outbox, and reads go on");
        }
        Ok(())
    }

    /// Continues a sweep. It may take longer than one call allows; the next call continues from there.
    async fn sweep(&self, guarded: &Guarded, sweep: Sweep, limit: Duration) -> Result<()> {
        let Some((number, from)) = self.state.lock().sweeps.get(&sweep).copied() else {
            return Ok(());
        };
        let runtime = guarded.runtime();
        let begun = runtime.now();
        let come_to = |position| {
            let mut state = self.state.lock();
            match state.sweeps.get_mut(&sweep) {
                // The sweep was replaced: by a newer call, or because of another server.
                Some((other, at)) if *other == number => *at = position,
                _ => return Err(Error::outdated()),
            }
            if runtime.now().saturating_duration_since(begun) < limit {
                Ok(())
            } else {
                Err(guarded.gave_up(limit))
            }
        };
        match sweep::matching(&[guarded], &sweep.0, &sweep.1, limit, from, come_to).await {
            Ok(_) => {}
            // The newer sweep comes next.
            Err(error) if error.is_outdated() => return Ok(()),
            Err(error) if leaves_open(&error) => return Err(error),
            Err(error) => refused(guarded, &error),
        }
        let mut state = self.state.lock();
        if matches!(state.sweeps.get(&sweep), Some((other, _)) if *other == number) {
            state.sweeps.remove(&sweep);
        }
        self.waiting.store(!state.is_empty(), Ordering::Release);
        Ok(())
    }

    async fn send(
        &self,
        guarded: &Guarded,
        part: &[(Invalidation, u64)],
        limit: Duration,
    ) -> Result<()> {
        let mut pipeline = Pipeline::with_capacity(part.len());
        for (invalidation, _) in part {
            invalidation.add_to(&mut pipeline);
        }
        for reply in guarded.directly(&pipeline, limit).await? {
            let Value::ServerError(error) = reply else {
                continue;
            };
            let error = Error::from_server(&error).on_host(guarded.host());
            if leaves_open(&error) {
                return Err(error);
            }
            refused(guarded, &error);
        }
        let mut state = self.state.lock();
        for (invalidation, number) in part {
            state.remove(invalidation, *number);
        }
        self.waiting.store(!state.is_empty(), Ordering::Release);
        drop(state);
        tracing::info!(host = %guarded.host(), sent = part.len(), "deferred invalidations were sent");
        Ok(())
    }
}

/// Whether an invalidation with this error may not have happened, and may still succeed: Redis is away, cannot do it
/// now, or sent an invalid answer.
pub(crate) fn leaves_open(error: &Error) -> bool {
    Fallback::covers(error) || error.kind() == ErrorKind::Protocol
}

/// Whether the server currently answers reads but accepts no writes. (A server that is loading its data does neither;
/// invalidations go first once it is ready.)
fn takes_no_writes(error: &Error) -> bool {
    let says = |code: &str| error.detail().starts_with(code);
    error.kind() == ErrorKind::Unavailable
        && ["READONLY", "OOM", "MISCONF", "NOREPLICAS"]
            .into_iter()
            .any(says)
}

/// Logs an invalidation that the server refuses for good. It is dropped, so that it does not block all calls.
fn refused(guarded: &Guarded, error: &Error) {
    tracing::error!(host = %guarded.host(), %error, "Redis refuses a deferred invalidation, which is dropped");
}

impl State {
    fn is_empty(&self) -> bool {
        self.invalidations.is_empty() && self.sweeps.is_empty()
    }

    fn add(&mut self, invalidation: Invalidation, of: &Keyspace) -> bool {
        let full = self.invalidations.len() >= ENTRIES || self.bytes + invalidation.bytes() > BYTES;
        let everything = || (of.clone(), EVERYTHING.to_vec());
        if matches!(invalidation, Invalidation::Entry { .. })
            && self.sweeps.contains_key(&everything())
        {
            // Restart it, because it may have passed this key already.
            self.put_sweep(everything());
            return true;
        }
        if full && !self.invalidations.contains_key(&invalidation) {
            if !of.has_prefix() {
                return false;
            }
            tracing::warn!(
                prefix = %of,
                "too many invalidations wait for Redis: the whole prefix will be cleared"
            );
            self.put_sweep(everything());
            return true;
        }
        self.put(invalidation);
        true
    }

    fn put(&mut self, invalidation: Invalidation) {
        let (bytes, number) = (invalidation.bytes(), self.next);
        self.next += 1;
        if self.invalidations.insert(invalidation, number).is_none() {
            self.bytes += bytes;
        }
    }

    fn put_sweep(&mut self, sweep: Sweep) {
        self.sweeps.insert(sweep, (self.next, Position::default()));
        self.next += 1;
    }

    fn remember(&mut self, now: Instant, done: Done) {
        if self.done.len() >= REMEMBERED {
            self.done.pop_front();
        }
        self.done.push_back((now, done));
    }

    fn remove(&mut self, invalidation: &Invalidation, number: u64) {
        if self.invalidations.get(invalidation) == Some(&number) {
            self.invalidations.remove(invalidation);
            self.bytes -= invalidation.bytes();
        }
    }

    /// A part of the waiting invalidations; if there are none left, a sweep.
    fn part(&self) -> (Vec<(Invalidation, u64)>, Option<Sweep>) {
        let part: Vec<_> = self
            .invalidations
            .iter()
            .take(PART)
            .map(|(invalidation, number)| (invalidation.clone(), *number))
            .collect();
        let sweep = part.is_empty().then(|| self.sweeps.keys().next().cloned());
        (part, sweep.flatten())
    }
}

#[cfg(test)]
mod tests;
