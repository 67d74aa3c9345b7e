//! The outbox: invalidations that a server has not acknowledged, to be sent before anything else once it
//! answers again; and the last ones that it has, to be sent again should it turn out to be another server.
//!
//! 1. What is in the outbox when a call is made reaches the server before the call does. (So nothing that
//!    this process has invalidated is read, or filled, by it afterwards.) What comes into it by invariant 4
//!    does so before the connection is used that it is about: the epoch changes, and a command whose caller
//!    saw the outbox empty in an earlier one is not sent.
//! 2. An entry leaves when the server has acknowledged it, and only if no newer one took its place
//!    meanwhile. For each key and tag the newest is kept; a `set` is kept as the deletion of its key, an
//!    `add` as that of its lease (the entry may be another's).
//! 3. It is bounded. When it overflows, the whole prefix of the cache whose invalidation found no place is
//!    cleared instead, which is logged; a cache without a prefix is told that its invalidation was not kept.
//! 4. A server that says it is another one than before (a restart, a failover) may have lost what was
//!    acknowledged last: the last invalidation is sent again, and those of the [`RECENT`] before it.
//! 5. A server that answers reads, but takes no writes (a replica, say), is read from all the same; it is
//!    tried again every [`PAUSE`].
//! 6. It dies with the process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Pipeline, Value};

use super::{Fallback, direct};
use crate::connect::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::read_through::sweep::{self, EVERYTHING, Position};

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

/// What is to be invalidated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Undone {
    /// An entry, with its lease.
    Key { key: Box<[u8]>, lease: Box<[u8]> },
    /// The lease of an entry that may be another's: what was written only if there was none.
    Lease { lease: Box<[u8]> },
    /// A tag's counter, with what changes when any of them does.
    Tag {
        counter: Box<[u8]>,
        epoch: Box<[u8]>,
    },
}

impl Undone {
    fn bytes(&self) -> usize {
        match self {
            Undone::Key { key, lease } => key.len() + lease.len(),
            Undone::Lease { lease } => lease.len(),
            Undone::Tag { counter, epoch } => counter.len() + epoch.len(),
        }
    }
}

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
    /// A server can be away and lose things; the store in this process cannot.
    enabled: bool,
    waiting: AtomicBool,
    /// How often the server turned out to be another one, of which something is to be invalidated.
    epoch: AtomicU64,
    state: Mutex<State>,
    /// Held by the one who empties it.
    emptying: tokio::sync::Mutex<()>,
}

/// A pattern of a cache's.
type Sweep = (Keyspace, Vec<u8>);

/// What was acknowledged.
#[derive(Debug)]
enum Done {
    One(Undone),
    Sweep(Sweep),
}

#[derive(Debug, Default)]
struct State {
    /// Each with the number it came under.
    undone: HashMap<Undone, u64>,
    bytes: usize,
    next: u64,
    /// Patterns whose keys are to be deleted, `*` for a whole prefix: each with the number it came under, and
    /// how far it has come.
    sweeps: HashMap<Sweep, (u64, Position)>,
    /// What the server has acknowledged, the oldest first.
    done: VecDeque<(Instant, Done)>,
    /// When the connection was lost, if it has not come back since.
    lost: Option<Instant>,
    /// The server's `run_id`.
    server: Option<String>,
    /// Not before then, because the server takes no writes.
    not_before: Option<Instant>,
    /// Prefixes to be cleared when the server is another one.
    clear_on_loss: Vec<Keyspace>,
}

impl Outbox {
    pub(crate) fn new(enabled: bool) -> Self {
        Outbox {
            enabled,
            waiting: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            state: Mutex::default(),
            emptying: tokio::sync::Mutex::default(),
        }
    }

    /// How many invalidations wait.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.undone.len() + state.sweeps.len()
    }

    /// Whether something is to be sent before anything else.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Changes before a connection is used on which something is to be sent before anything else.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Keeps what was not acknowledged; says whether it could.
    pub(crate) fn defer(&self, undone: impl IntoIterator<Item = Undone>, of: &Keyspace) -> bool {
        if !self.enabled {
            return false;
        }
        let mut state = self.state.lock();
        let mut kept = true;
        for undone in undone {
            kept &= state.add(undone, of);
        }
        self.waiting.store(!state.is_empty(), Ordering::Release);
        kept
    }

    /// Keeps the deletion of the keys that match; says whether it could.
    pub(crate) fn defer_sweep(&self, of: &Keyspace, pattern: &[u8]) -> bool {
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
    pub(crate) fn acknowledged(&self, done: impl IntoIterator<Item = Undone>, now: Instant) {
        if !self.enabled {
            return;
        }
        let mut state = self.state.lock();
        for undone in done {
            state.remember(now, Done::One(undone));
        }
    }

    /// Remembers that the keys that match were deleted.
    pub(crate) fn swept(&self, of: &Keyspace, pattern: &[u8], now: Instant) {
        if self.enabled {
            let done = Done::Sweep((of.clone(), pattern.to_vec()));
            self.state.lock().remember(now, done);
        }
    }

    /// The connection was lost.
    pub(crate) fn lost(&self, now: Instant) {
        self.state.lock().lost.get_or_insert(now);
    }

    /// A connection is about to be used, to the server of this `run_id`, where it says one.
    pub(crate) fn connected(&self, server: Option<String>) {
        let mut state = self.state.lock();
        let lost = state.lost.take();
        // A server that does not say who it is may be another one whenever the connection was lost.
        let same = match (&state.server, &server) {
            (Some(before), Some(now)) => before == now,
            (None, Some(_)) => lost.is_none(),
            (_, None) => lost.is_none(),
        };
        let first = state.server.is_none() && lost.is_none();
        if server.is_some() {
            state.server = server;
        }
        if same || first {
            return;
        }
        let done = std::mem::take(&mut state.done);
        // When it was lost is not known where nobody asked for a while: after the last acknowledgement.
        let since = done.back().and_then(|(last, _)| last.checked_sub(RECENT));
        let mut replayed = 0;
        for (at, done) in done {
            if since.is_some_and(|since| at < since) {
                continue;
            }
            replayed += 1;
            match done {
                Done::One(undone) => state.put(undone),
                Done::Sweep(sweep) => state.put_sweep(sweep),
            }
        }
        // A scan of the server before is none of this one.
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
        self.epoch.fetch_add(1, Ordering::Release);
        drop(state);
        tracing::warn!(
            replayed,
            cleared,
            "Redis is another server than before the connection was lost: what was invalidated last is invalidated again"
        );
    }

    /// Clears this prefix whenever the server has become another one.
    pub(crate) fn clear_on_loss(&self, keyspace: &Keyspace) {
        self.state.lock().clear_on_loss.push(keyspace.clone());
    }

    pub(crate) fn forget(&self, keyspace: &Keyspace) {
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
    pub(super) async fn empty(&self, backend: &dyn Backend, limit: Duration) -> Result<()> {
        let _mine = self.emptying.lock().await;
        let not_before = self.state.lock().not_before;
        if not_before.is_some_and(|at| backend.common().runtime().now() < at) {
            return Ok(());
        }
        let refused = loop {
            let (part, sweep) = self.state.lock().part();
            let sent = match (part.is_empty(), sweep) {
                (true, None) => break None,
                (true, Some(sweep)) => self.sweep(backend, sweep, limit).await,
                (false, _) => self.send(backend, &part, limit).await,
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
            state.not_before = Some(backend.common().runtime().now() + PAUSE);
            tracing::warn!(host = %backend.common().host(), %error, "Redis takes no invalidations: they wait, and reads go on");
        }
        Ok(())
    }

    /// Goes on with a sweep: where one call's time does not suffice, the next one's does.
    async fn sweep(&self, backend: &dyn Backend, sweep: Sweep, limit: Duration) -> Result<()> {
        let Some((number, from)) = self.state.lock().sweeps.get(&sweep).copied() else {
            return Ok(());
        };
        let runtime = backend.common().runtime();
        let begun = runtime.now();
        let come_to = |position| {
            let mut state = self.state.lock();
            match state.sweeps.get_mut(&sweep) {
                // It is not the one that began, or not on the server where it began.
                Some((other, at)) if *other == number => *at = position,
                _ => return Err(Error::outdated()),
            }
            if runtime.now().saturating_duration_since(begun) < limit {
                Ok(())
            } else {
                Err(super::gave_up(backend, limit))
            }
        };
        match sweep::matching(backend, &sweep.0, &sweep.1, limit, from, come_to).await {
            Ok(_) => {}
            // It begins again.
            Err(error) if error.is_outdated() => return Ok(()),
            Err(error) if leaves_open(&error) => return Err(error),
            Err(error) => refused(backend, &error),
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
        backend: &dyn Backend,
        part: &[(Undone, u64)],
        limit: Duration,
    ) -> Result<()> {
        let mut pipeline = Pipeline::with_capacity(part.len());
        for (undone, _) in part {
            invalidate(&mut pipeline, undone);
        }
        let replies = direct::pipeline(backend, &pipeline, limit).await?;
        for reply in replies {
            let Value::ServerError(error) = reply else {
                continue;
            };
            let error = Error::from_server(&error).on_host(backend.common().host());
            if leaves_open(&error) {
                return Err(error);
            }
            refused(backend, &error);
        }
        let mut state = self.state.lock();
        for (undone, number) in part {
            state.remove(undone, *number);
        }
        self.waiting.store(!state.is_empty(), Ordering::Release);
        drop(state);
        tracing::info!(host = %backend.common().host(), sent = part.len(), "invalidations that had to wait were sent");
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
fn refused(backend: &dyn Backend, error: &Error) {
    tracing::error!(host = %backend.common().host(), %error, "Redis refuses an invalidation that was to be sent again");
}

impl State {
    fn is_empty(&self) -> bool {
        self.undone.is_empty() && self.sweeps.is_empty()
    }

    fn add(&mut self, undone: Undone, of: &Keyspace) -> bool {
        let full = self.undone.len() >= ENTRIES || self.bytes + undone.bytes() > BYTES;
        let everything = || (of.clone(), EVERYTHING.to_vec());
        if matches!(undone, Undone::Key { .. }) && self.sweeps.contains_key(&everything()) {
            // From the beginning, should it be under way: it may have passed this key.
            self.put_sweep(everything());
            return true;
        }
        if full && !self.undone.contains_key(&undone) {
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
        self.put(undone);
        true
    }

    fn put(&mut self, undone: Undone) {
        let (bytes, number) = (undone.bytes(), self.next);
        self.next += 1;
        if self.undone.insert(undone, number).is_none() {
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

    fn remove(&mut self, undone: &Undone, number: u64) {
        if self.undone.get(undone) == Some(&number) {
            self.undone.remove(undone);
            self.bytes -= undone.bytes();
        }
    }

    /// Some of what is to be sent, and after all of that a pattern.
    fn part(&self) -> (Vec<(Undone, u64)>, Option<Sweep>) {
        let part: Vec<_> = self
            .undone
            .iter()
            .take(PART)
            .map(|(undone, number)| (undone.clone(), *number))
            .collect();
        let sweep = part.is_empty().then(|| self.sweeps.keys().next().cloned());
        (part, sweep.flatten())
    }
}

/// Invalidates, as `delete` and `invalidate_tag` do.
pub(crate) fn invalidate(pipeline: &mut Pipeline, undone: &Undone) {
    match undone {
        // The lease first: a load that is fenced by it must not fill between the two.
        Undone::Key { key, lease } => {
            pipeline.cmd("UNLINK").arg(&**lease);
            pipeline.cmd("UNLINK").arg(&**key);
        }
        Undone::Lease { lease } => {
            pipeline.cmd("UNLINK").arg(&**lease);
        }
        // A counter that is gone ends its entries as another version would; and removing it works where
        // Redis is out of memory. What stands for all tags goes with it, for the loads that learn their tags
        // only at their end.
        Undone::Tag { counter, epoch } => {
            pipeline.cmd("UNLINK").arg(&**epoch).arg(&**counter);
        }
    }
}

#[cfg(test)]
mod tests;
