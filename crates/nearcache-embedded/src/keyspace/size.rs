//! How much memory things take, and the meter that sums it up.
//!
//! Sizes are what the allocator really uses, and not what was asked for: its blocks have a header and come in steps,
//! and fragmentation loses some memory between blocks when sizes are mixed and much comes and goes. [`block`] models
//! glibc; other allocators differ by a few percent. Every table sums up its own entries and its own structure, so
//! `used_memory` is a count and not an estimate.
//!
//! All shards write to the same meter, so a shard reports only when its unreported change exceeds its *slack*. All
//! slacks together are 1/256 of the limit, and this much is kept free below the limit. So the sum of all shards stays
//! under the limit, although the meter lags behind. Without a limit nothing is reported.

use std::sync::atomic::{AtomicIsize, Ordering};

/// Larger blocks are mapped as pages of their own.
const MAPPED: usize = 128 << 10;
const PAGE: usize = 4096;
/// The fraction that fragmentation loses: 1 / `LOST`.
const LOST: usize = 32;

/// How much memory an allocation of this many bytes takes.
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

/// How much memory the keys of a store take, and their limit. Every write checks it.
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
    /// Sets the limit; 0 means none. Afterwards each shard must report what it has not reported.
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

    /// Whether a shard with this much unreported change should report it.
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
