//! What things take in memory, and the meter that adds it up.
//!
//! Sizes are what the allocator hands out rather than what was asked for: its blocks have a header and
//! come in steps, and what lies between them when sizes are mixed and much comes and goes is lost. [`block`]
//! knows how glibc does that; others differ by a few percent. Every table keeps the sum for its own entries
//! and its own structure, so that `used_memory` is a count and no estimate.
//!
//! A meter is written by every shard, so each writes only when what it has not told yet exceeds its
//! *slack*. All slacks together are a 256th of the limit, and kept free below it: the sum of all shards
//! stays under the limit, though the meter lags behind. Without a limit nothing is told at all.

use std::sync::atomic::{AtomicIsize, Ordering};

/// Blocks from this size on are pages of their own.
const MAPPED: usize = 128 << 10;
const PAGE: usize = 4096;
/// What is lost between blocks: one part in so many.
const LOST: usize = 32;

/// What an allocation of that many bytes takes.
#[inline]
pub(crate) const fn block(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    if bytes >= MAPPED {
        return (bytes + 16).next_multiple_of(PAGE);
    }
    let block = (bytes + 8).next_multiple_of(16);
    let block = if block < 32 { 32 } else { block };
    block + block / LOST
}

/// How much memory the keys of a store take, and how much they may. Every write looks at it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Meter {
    used: AtomicIsize,
    limit: AtomicIsize,
    slack: AtomicIsize,
}

impl Default for Meter {
    fn default() -> Self {
        Meter {
            used: AtomicIsize::new(0),
            limit: AtomicIsize::new(isize::MAX),
            slack: AtomicIsize::new(isize::MAX),
        }
    }
}

impl Meter {
    /// Sets how much may be used; 0 is any amount. Afterwards each shard must tell what it has not told.
    pub(crate) fn set_limit(&self, bytes: usize, shards: usize) {
        let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
        let shards = shards.cast_signed();
        let (limit, slack) = if bytes == 0 {
            (isize::MAX, isize::MAX)
        } else {
            let slack = bytes / 256 / shards;
            (bytes - slack * shards, slack)
        };
        self.slack.store(slack, Ordering::SeqCst);
        self.limit.store(limit, Ordering::SeqCst);
    }

    /// Whether a shard that has not told of so much should.
    #[inline]
    pub(crate) fn is_due(&self, untold: isize) -> bool {
        untold.saturating_abs() > self.slack.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: isize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether there is a limit, and it is exceeded.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit.load(Ordering::Relaxed)
    }
}

#[cfg(any(fuzzing, test))]
impl Meter {
    pub(crate) fn told(&self) -> isize {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_never_smaller_than_what_was_asked_for() {
        assert_eq!(block(0), 0);
        assert_eq!((block(1), block(24), block(25)), (33, 33, 49));
        for bytes in (1..300_000).step_by(7) {
            assert!(block(bytes) >= bytes + 8, "{bytes}");
            assert!(block(bytes) <= bytes + bytes / 16 + 33, "{bytes}");
        }
    }

    #[test]
    fn a_limit_holds_whatever_the_shards_have_not_told() {
        let meter = Meter::default();
        assert!(!meter.is_over() && !meter.is_due(1 << 40));
        for limit in [1, 255, 256, 1 << 20, 100 << 20] {
            meter.set_limit(limit, 32);
            let untold = meter.slack.load(Ordering::Relaxed);
            assert!(meter.is_due(untold + 1) && !meter.is_due(untold));
            let told = meter.limit.load(Ordering::Relaxed);
            assert_eq!((told + 32 * untold).cast_unsigned(), limit);
        }
        meter.set_limit(0, 32);
        assert!(!meter.is_due(isize::MIN));
    }
}
