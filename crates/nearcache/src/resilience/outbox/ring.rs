//! The last invalidations that a server has acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::Invalidation;
use super::owed::{Scope, Sweep};

/// The maximum number of acknowledged invalidations to remember.
const REMEMBERED: usize = 4_096;

/// The maximum size of their names in bytes.
const BYTES: usize = 4 * 1024 * 1024;

/// How far back from the last acknowledged invalidation others may have been lost with it. Replication is asynchronous,
/// but lags by less than this. (Counted from the last acknowledgement, because the loss itself came after it and may be
/// noticed much later.)
pub(super) const RECENT: Duration = Duration::from_secs(5);

/// An acknowledged invalidation.
#[derive(Debug)]
pub(super) enum Done {
    One(Invalidation),
    Sweep(Sweep),
}

impl Done {
    fn bytes(&self) -> usize {
        match self {
            Done::One(invalidation) => invalidation.bytes(),
            Done::Sweep((keyspace, Scope::Asked(pattern))) => keyspace.prefix_len() + pattern.len(),
            Done::Sweep((keyspace, _)) => keyspace.prefix_len(),
        }
    }
}

/// Acknowledged invalidations, the oldest first. It is bounded by number and by size; the last one always stays.
#[derive(Debug, Default)]
pub(super) struct Ring {
    done: VecDeque<(Instant, Done)>,
    bytes: usize,
}

impl Ring {
    pub(super) fn remember(&mut self, now: Instant, done: Done) {
        self.bytes += done.bytes();
        self.done.push_back((now, done));
        while self.done.len() > REMEMBERED || (self.bytes > BYTES && self.done.len() > 1) {
            if let Some((_, oldest)) = self.done.pop_front() {
                self.bytes -= oldest.bytes();
            }
        }
    }

    /// Empties it. Returns the last one, and all that came [`RECENT`]ly before it.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Done> + use<> {
        let Ring { done, .. } = std::mem::take(self);
        // The loss may have been noticed late, but it came after the last acknowledgement: count back from there.
        let since = done.back().and_then(|(last, _)| last.checked_sub(RECENT));
        let recent = move |(at, done)| since.is_none_or(|since| at >= since).then_some(done);
        done.into_iter().filter_map(recent)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
