//! A cache's counters and hooks.

use std::sync::Arc;

use super::{Counter, Counters, Hooks, Stats};
use crate::striped::Striped;

/// The counters and the hooks of a cache. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    counters: Arc<Striped<Counters>>,
    hooks: Arc<Hooks>,
}

impl Telemetry {
    pub(crate) fn new(hooks: Hooks) -> Self {
        Telemetry {
            counters: Arc::default(),
            hooks: Arc::new(hooks),
        }
    }

    /// The counters of this thread.
    pub(crate) fn counters(&self) -> &Counters {
        self.counters.mine()
    }

    /// Adds to some counters of this thread: what is done with every call, in as few instructions as it takes.
    #[inline]
    pub(crate) fn count<const N: usize>(
        &self,
        which: impl for<'c> Fn(&'c Counters) -> [(&'c Counter, u64); N],
    ) {
        Counters::count(&self.counters, which);
    }

    /// The sum over all threads.
    pub(crate) fn stats(&self) -> Stats {
        Counters::sum(&self.counters)
    }

    #[inline]
    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }
}
