//! One cache's entrance to Redis. It counts the running calls, and admits none after the cache was closed.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::Guarded;
use crate::error::{Error, Result};
use crate::striped::Striped;

/// All calls of a cache pass its gate. When the last gate of a connection is shut, the connection is closed.
///
/// A gate closes in two steps: first it admits no more calls, except those of the loads that are under way; and when
/// these have ended, or are not waited for any longer, it is shut.
///
/// 1. An admitted call is counted until it ends, and so is a load.
/// 2. After closing, no call is admitted that is not a load's; after shutting, none. (A call counts itself before it
///    checks whether the gate is open, and closing checks the count after it has closed the gate. So at least one of
///    the two notices the other.)
#[derive(Debug)]
pub(crate) struct Gate {
    guarded: Arc<Guarded>,
    state: AtomicU8,
    calls: Striped<AtomicUsize>,
    loads: AtomicUsize,
    /// Told when a call or a load ends while the gate is not open.
    ended: Notify,
    /// Told when the gate closes.
    closed: Notify,
}

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const SHUT: u8 = 2;

/// A running call. `close` waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'g> {
    gate: &'g Gate,
    /// The counter that includes the call: the call may end on another thread.
    calls: &'g AtomicUsize,
}

/// A gate that is closed, and shut when this is dropped.
#[derive(Debug)]
pub(crate) struct Closing<'g>(&'g Gate);

impl Gate {
    pub(crate) fn new(guarded: Arc<Guarded>) -> Self {
        guarded.users.fetch_add(1, Ordering::Relaxed);
        guarded.note_use(true);
        Gate {
            guarded,
            state: AtomicU8::new(OPEN),
            calls: Striped::default(),
            loads: AtomicUsize::new(0),
            ended: Notify::new(),
            closed: Notify::new(),
        }
    }

    /// # Errors
    /// `Closed`, after the gate was closed; for the call of a load, after it was shut.
    pub(crate) fn enter(&self, of_load: bool) -> Result<Pass<'_>> {
        let calls = self.calls.mine();
        calls.fetch_add(1, Ordering::SeqCst);
        let pass = Pass { gate: self, calls };
        if self.admits(of_load) {
            Ok(pass)
        } else {
            Err(Error::closed())
        }
    }

    fn admits(&self, of_load: bool) -> bool {
        match self.state.load(Ordering::SeqCst) {
            OPEN => true,
            CLOSED => of_load,
            _ => false,
        }
    }

    /// Counts a load, until [`end_load`](Gate::end_load). A load may begin within another.
    ///
    /// # Errors
    /// Those of [`enter`](Gate::enter).
    pub(crate) fn begin_load(&self, of_load: bool) -> Result<()> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.admits(of_load) {
            return Ok(());
        }
        self.end_load();
        Err(Error::closed())
    }

    pub(crate) fn end_load(&self) {
        if self.loads.fetch_sub(1, Ordering::SeqCst) == 1 && !self.is_open() {
            self.ended.notify_waiters();
        }
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::SeqCst) == OPEN
    }

    /// The backend behind the gate, for uses that are no call.
    pub(crate) fn guarded(&self) -> &Arc<Guarded> {
        &self.guarded
    }

    /// Admits no more calls. Running calls and loads go on.
    pub(crate) fn close(&self) -> Closing<'_> {
        self.state.fetch_max(CLOSED, Ordering::SeqCst);
        self.closed.notify_waiters();
        Closing(self)
    }

    /// Waits until the gate closes: for what goes on for as long as the cache is open, and is no call.
    pub(crate) async fn closed(&self) {
        loop {
            let mut closed = pin!(self.closed.notified());
            closed.as_mut().enable();
            if !self.is_open() {
                return;
            }
            closed.await;
        }
    }

    /// Releases the connections. Running calls go on.
    fn shut(&self) {
        if self.state.swap(SHUT, Ordering::SeqCst) != SHUT
            && self.guarded.users.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.guarded.note_use(false);
            self.guarded.disconnect();
        }
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let mut ended = pin!(self.ended.notified());
            // Registered before the check, so that no end is missed.
            ended.as_mut().enable();
            if is_so() {
                return;
            }
            ended.await;
        }
    }
}

impl Closing<'_> {
    /// Waits for the loads under way.
    pub(crate) async fn loads_ended(&self) {
        let gate = self.0;
        gate.until(|| gate.loads.load(Ordering::SeqCst) == 0).await;
    }

    /// Shuts the gate, and waits for the running calls.
    pub(crate) async fn shut(self) {
        let gate = self.0;
        gate.shut();
        let ended = |calls: &AtomicUsize| calls.load(Ordering::SeqCst) == 0;
        gate.until(|| gate.calls.all().all(ended)).await;
        // Closes the connection of a call that was connecting during the close.
        if gate.guarded.users.load(Ordering::Acquire) == 0 {
            gate.guarded.disconnect();
        }
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.shut();
    }
}

impl Pass<'_> {
    pub(crate) fn guarded(&self) -> &Arc<Guarded> {
        &self.gate.guarded
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.calls.fetch_sub(1, Ordering::SeqCst) == 1 && !self.gate.is_open() {
            self.gate.ended.notify_waiters();
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shut();
    }
}
