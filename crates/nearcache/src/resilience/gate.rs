//! One cache's way to Redis, and its end: which calls are under way, and that no more are let in once the
//! cache is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::Guarded;
use crate::error::{Error, Result};
use crate::striped::Striped;

/// What a cache's calls go through. With the last gate, the connections are closed.
///
/// 1. A call that was let in is counted until it is over.
/// 2. Once it is closed no call is let in. (A call counts itself before it looks, and closing looks at
///    the count after it has closed: one of the two sees the other.)
#[derive(Debug)]
pub(crate) struct Gate {
    guarded: Arc<Guarded>,
    open: AtomicBool,
    calls: Striped<AtomicUsize>,
    drained: Notify,
}

/// A call under way. It keeps `close` waiting until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'g> {
    gate: &'g Gate,
    /// Where the call is counted: it may end on another thread.
    calls: &'g AtomicUsize,
}

impl Gate {
    pub(crate) fn new(guarded: Arc<Guarded>) -> Self {
        guarded.users.fetch_add(1, Ordering::Relaxed);
        Gate {
            guarded,
            open: AtomicBool::new(true),
            calls: Striped::default(),
            drained: Notify::new(),
        }
    }

    /// # Errors
    /// `Closed`, once it was.
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

    /// What is behind it, for what needs no call.
    pub(crate) fn guarded(&self) -> &Arc<Guarded> {
        &self.guarded
    }

    /// Lets no call in any more, and gives the connections back. Calls under way go on.
    pub(crate) fn close(&self) {
        if self.open.swap(false, Ordering::SeqCst)
            && self.guarded.users.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.guarded.disconnect();
        }
    }

    /// Waits, once it is closed, for the calls under way.
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
        // What a call that was connecting while it was closed has left.
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
