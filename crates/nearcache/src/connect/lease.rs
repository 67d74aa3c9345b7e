//! One cache's use of a backend: which calls of it are under way, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::{Backend, Common};
use crate::error::{Error, Result};
use crate::striped::Striped;

/// One use of a backend. After the last, its connections are closed.
///
/// 1. A call that was let in is counted until it is over.
/// 2. Once it is closed no call is let in. (A call counts itself before it looks, and closing looks at
///    the count after it has closed: one of the two sees the other.)
#[derive(Debug)]
pub(crate) struct Lease {
    backend: Arc<dyn Backend>,
    open: AtomicBool,
    calls: Striped<AtomicUsize>,
    drained: Notify,
}

/// A call under way. It keeps `close` waiting until it is dropped.
#[derive(Debug)]
pub(crate) struct Entry<'l> {
    lease: &'l Lease,
    /// Where the call is counted: it may end on another thread.
    calls: &'l AtomicUsize,
}

impl Lease {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        backend.common().users.fetch_add(1, Ordering::Relaxed);
        let (open, calls, drained) = (AtomicBool::new(true), Striped::default(), Notify::new());
        Lease {
            backend,
            open,
            calls,
            drained,
        }
    }

    /// # Errors
    /// `Closed`, once it was.
    pub(crate) fn enter(&self) -> Result<Entry<'_>> {
        let calls = self.calls.mine();
        calls.fetch_add(1, Ordering::SeqCst);
        let entry = Entry { lease: self, calls };
        if self.open.load(Ordering::SeqCst) {
            Ok(entry)
        } else {
            Err(Error::closed())
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn common(&self) -> &Common {
        self.backend.common()
    }

    /// Lets no call in any more, and gives the connections back. Calls under way go on.
    pub(crate) fn close(&self) {
        if self.open.swap(false, Ordering::SeqCst)
            && self.common().users.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.backend.disconnect();
        }
    }

    /// Waits, once it is closed, for the calls under way.
    pub(crate) async fn drained(&self) {
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
        if self.common().users.load(Ordering::Acquire) == 0 {
            self.backend.disconnect();
        }
    }
}

impl Entry<'_> {
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.lease.backend
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if self.calls.fetch_sub(1, Ordering::SeqCst) == 1 && !self.lease.is_open() {
            self.lease.drained.notify_waiters();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.close();
    }
}
