//! The outbox: invalidations that a primary has not acknowledged, and those that it acknowledged last.
//!
//! While Redis is away an invalidation cannot be carried out, but it must not be forgotten either: once Redis
//! answers again, a reader would find the old value. So it is kept here, and sent before anything else.
//! What Redis did acknowledge it may still lose, when a replica takes over or an older snapshot is loaded. So
//! the last ones are remembered, and sent again to a server that is not the one that acknowledged them.
//!
//! 1. What is in the outbox when a call is made reaches the server before the call does. No call of this
//!    process reads or fills what this process has invalidated before it.
//! 2. Invariant 1 also holds for what comes into the outbox by invariant 5, which happens while a call
//!    connects. The outbox is told of a new connection before anyone can use it, and begins a new epoch if it
//!    has something for it. A call that found the outbox empty in an earlier epoch is not sent.
//! 3. An invalidation leaves the outbox when the server has acknowledged it, and only if no newer one of the
//!    same key or tag came meanwhile. Each key and tag is kept once, under the number of the newest. A `set`
//!    is kept as the deletion of its key, an `add` as that of its lease (the entry may be another's).
//! 4. The outbox is bounded. When it is full, the whole prefix of the cache is cleared later instead, and
//!    that is logged. A cache without a prefix is told that its invalidation was not kept.
//! 5. When the server says that it is another one than before, the last invalidation is sent again, and all
//!    of the [`RECENT`] before it.
//! 6. A server that takes no writes (a replica, or one that is out of memory) is read from all the same. It
//!    is tried again every [`PAUSE`].
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

/// How much is kept, together with the bytes.
const ENTRIES: usize = 10_000;

/// How many bytes of keys are kept.
const BYTES: usize = 4 * 1024 * 1024;

/// How many patterns are kept.
const SWEEPS: usize = 100;

/// How many acknowledged invalidations are remembered.
const REMEMBERED: usize = 4_096;

/// How long before the last one an acknowledged invalidation may have been lost with it: replication is
/// asynchronous, and lags by less. (The loss itself came later than that, and may have been noticed much
/// later still.)
const RECENT: Duration = Duration::from_secs(5);

/// How long a server that takes no writes is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// How many travel together.
const PART: usize = 500;

/// What to do when a server has come back as another one than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataLoss {
    /// Invalidate again what was invalidated in the last 5 s before the connection was lost.
    #[default]
    Replay,
    /// Clear the cache's whole prefix: nothing survives that a lost invalidation could have been about.
    Clear,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    /// Whether anything is ever kept.
    enabled: bool,
    waiting: AtomicBool,
    /// That of the backend, which goes by it: invariant 2.
    epoch: Epoch,
    state: Mutex<State>,
    /// Held by the one who empties it.
    emptying: tokio::sync::Mutex<()>,
}

/// A pattern of a cache's.
type Sweep = (Keyspace, Vec<u8>);

/// What was acknowledged.
#[derive(Debug)]
enum Done {
    One(Invalidation),
    Sweep(Sweep),
}

#[derive(Debug, Default)]
struct State {
    /// Each with the number it came under.
    invalidations: HashMap<Invalidation, u64>,
    bytes: usize,
    next: u64,
    /// Patterns whose keys are to be deleted, `*` for a whole prefix: each with the number it came under, and
    /// how far it has come.
    sweeps: HashMap<Sweep, (u64, Position)>,
    /// What the server has acknowledged, the oldest first.
    done: VecDeque<(Instant, Done)>,
    /// Whether a connection was lost, and none has been made since.
    lost: bool,
    /// The server's `run_id`.
    server: Option<String>,
    /// Not before then, because the server takes no writes.
    not_before: Option<Instant>,
    /// Prefixes to be cleared when the server is another one.
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

    /// How many invalidations wait.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.invalidations.len() + state.sweeps.len()
    }

    /// Whether something is to be sent before anything else.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// The epoch for the terms of a command, to be read before [`Outbox::is_waiting`] is.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.current()
    }

    /// Keeps what was not acknowledged; says whether it could.
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

    /// Keeps the deletion of the keys that match; says whether it could.
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

    /// Whether anything is ever kept.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Remembers what was acknowledged.
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

    /// A connection was lost.
    pub(super) fn note_loss(&self) {
        self.state.lock().lost = true;
    }

    /// A connection was made, which nobody has used yet, to the server of this `run_id`, where it says one.
    pub(super) fn note_connection(&self, server: Option<String>) {
        let mut state = self.state.lock();
        let lost = std::mem::take(&mut state.lost);
        // A server that does not say who it is may be another one whenever a connection was lost.
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
        // Nobody may have noticed the loss for a while. It came after the last acknowledgement: so much is sure.
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
        // A sweep that began on the server before says nothing of this one: it begins again.
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
        // Under the lock: who makes a second connection meanwhile waits until the epoch has begun.
        self.epoch.advance();
        drop(state);
        tracing::warn!(
            replayed,
            cleared,
            "Redis is another server than before the connection was lost: what was invalidated last is invalidated again"
        );
    }

    /// Clears this prefix whenever the server has become another one.
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

    /// Sends what is waiting.
    ///
    /// # Errors
    /// What kept the server from acknowledging it. It is kept.
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
            tracing::warn!(host = %guarded.host(), %error, "Redis takes no invalidations: they wait, and reads go on");
        }
        Ok(())
    }

    /// Goes on with a sweep. It may take longer than one call has: the next call goes on where this one ends.
    async fn sweep(&self, guarded: &Guarded, sweep: Sweep, limit: Duration) -> Result<()> {
        let Some((number, from)) = self.state.lock().sweeps.get(&sweep).copied() else {
            return Ok(());
        };
        let runtime = guarded.runtime();
        let begun = runtime.now();
        let come_to = |position| {
            let mut state = self.state.lock();
            match state.sweeps.get_mut(&sweep) {
                // Another one took its place: of a newer call, or for another server.
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
            // The other one is next.
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
        tracing::info!(host = %guarded.host(), sent = part.len(), "invalidations that had to wait were sent");
        Ok(())
    }
}

/// Whether an invalidation that ended so may not have happened, and may yet: Redis is away, or cannot just
/// now, or its answer makes no sense.
pub(crate) fn leaves_open(error: &Error) -> bool {
    Fallback::covers(error) || error.kind() == ErrorKind::Protocol
}

/// Whether the server takes no writes just now, while it answers reads. (One that is loading its data does
/// neither, and is told first once it has.)
fn takes_no_writes(error: &Error) -> bool {
    let says = |code: &str| error.detail().starts_with(code);
    error.kind() == ErrorKind::Unavailable
        && ["READONLY", "OOM", "MISCONF", "NOREPLICAS"]
            .into_iter()
            .any(says)
}

/// What the server will never take must not stand in everyone's way for ever.
fn refused(guarded: &Guarded, error: &Error) {
    tracing::error!(host = %guarded.host(), %error, "Redis refuses an invalidation that was to be sent again");
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
            // It begins again if it is under way: it may have passed this key.
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

    /// Some of what is to be sent, and after all of that a pattern.
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
