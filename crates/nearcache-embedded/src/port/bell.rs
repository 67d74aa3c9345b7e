//! Wakes the task of a connection: something is there for it that does not come from its socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

/// One task waits, and anyone rings.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    waker: Mutex<Option<Waker>>,
    rung: AtomicBool,
}

impl Bell {
    /// Wakes the task. If it is not waiting, it finds that the bell has rung before it waits again.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the bell has rung since the last call. If not, the next ring wakes this task.
    pub(crate) fn has_rung(&self, waker: &Waker) -> bool {
        {
            let mut slot = self.waker.lock();
            if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
                *slot = Some(waker.clone());
            }
        }
        // After the waker is in its place, so that no ring is lost.
        self.rung.swap(false, Ordering::AcqRel)
    }
}
