//! What a cache counts, and who watches its calls.

use std::sync::Arc;

use super::{Counters, Hooks, Stats};
use crate::striped::Striped;

/// The counters and the hooks of a cache. Cheap to clone; clones are the same.
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

    /// What this thread counts in.
    pub(crate) fn counters(&self) -> &Counters {
        self.counters.mine()
    }

    /// What all threads have counted.
    pub(crate) fn stats(&self) -> Stats {
        Counters::sum(&self.counters)
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }
}
