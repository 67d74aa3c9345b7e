//! One cache's entrance to Redis. It counts the running calls, and admits none after the cache was closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::Guarded;
use crate::error::{Error, Result};
use crate::striped::Striped;

/// All calls of a cache pass its gate. When the last gate of a connection closes, the connection is closed.
///
/// 1. An admitted call is counted until it ends.
/// 2. After closing, no call is admitted. (A call counts itself before it checks whether the gate is open, and closing
///    checks the count after it has closed the gate. So at least one of the two notices the other.)
#[derive(Debug)]
pub(crate) struct Gate {
    guarded: Arc<Guarded>,
    open: AtomicBool,
    calls: Striped<AtomicUsize>,
    drained: Notify,
}

/// A running call. `close` waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'g> {
    gate: &'g Gate,
    /// The counter that includes the call: the call may end on another thread.
    calls: &'g AtomicUsize,
}

impl Gate {
    pub(crate) fn new(guarded: Arc<Guarded>) -> Self {
        guarded.users.fetch_add(1, Ordering::Relaxed);
        guarded.note_use(true);
        Gate {
            guarded,
            open: AtomicBool::new(true),
            calls: Striped::default(),
            drained: Notify::new(),
        }
    }

    /// # Errors
    /// `Closed`, after the gate was closed.
    pub(crate) fn enter(&self) -> Result<Pass<'_>> {
        let calls = self.calls.mine();
        calls.fetch_add(1, Ordering::SeqCst);
        let pass = Pass { gate: self, calls };
        if self.open.load(Ordering::SeqCst) {
            Ok(pass)
        } else {
            Err(Error::closed())
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// The backend behind the gate, for uses that are no call.
    pub(crate) fn guarded(&self) -> &Arc<Guarded> {
        &self.guarded
    }

    /// Admits no more calls, and releases the connections. Running calls go on.
    pub(crate) fn close(&self) {
        if self.open.swap(false, Ordering::SeqCst)
            && self.guarded.users.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.guarded.note_use(false);
            self.guarded.disconnect();
        }
    }

    /// After closing: waits for the running calls.
    pub(crate) async fn drain(&self) {
        loop {
            let notified = self.drained.notified();
            if self
                .calls
                .all()
                .all(|calls| calls.load(Ordering::SeqCst) == 0)
            {
                break;
            }
            notified.await;
        }
        // Closes the connection of a call that was connecting during the close.
        if self.guarded.users.load(Ordering::Acquire) == 0 {
            self.guarded.disconnect();
        }
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
            self.gate.drained.notify_waiters();
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}
