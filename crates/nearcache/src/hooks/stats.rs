//! What a cache counts: relaxed atomics, always on.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::resilience::BreakerState;
use crate::striped::Striped;

/// What a cache has done since it was opened, its clones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found a cached nothing.
    pub nothings: u64,
    /// Reads that found no value, or none that was readable.
    pub misses: u64,
    /// The misses among them that found bytes which are not what was asked for: another format, an
    /// older struct, garbage.
    pub undecodable: u64,
    /// The hits among them that were answered with a value past its TTL, because the caller takes one.
    pub stale_hits: u64,
    /// Loaders run.
    pub loads: u64,
    /// The time that they took together, in microseconds.
    pub load_micros: u64,
    /// The loads among them that failed.
    pub load_errors: u64,
    /// Callers that waited for the load of another caller in this process.
    pub coalesced: u64,
    /// Loads that waited for the load of another process.
    pub lease_waits: u64,
    /// Loads whose value was not stored, because an invalidation came between.
    pub fenced: u64,
    /// Loads made beside a caller who had his answer already.
    pub refreshes: u64,
    /// Invalidations of keys and tags that Redis has acknowledged (`set` is one, too).
    pub invalidations: u64,
    /// Those that it did not, and that are sent as soon as it answers again.
    pub invalidations_deferred: u64,
    /// How many of these wait now. Caches that share a connection share them.
    pub invalidations_waiting: u64,
    /// Values written.
    pub writes: u64,
    /// Keys deleted.
    pub deletes: u64,
    /// Bytes of values read.
    pub bytes_in: u64,
    /// Bytes of values written.
    pub bytes_out: u64,
    /// Connections made. Those of a connection that several caches share count in each.
    pub connects: u64,
    /// Connections that broke.
    pub losses: u64,
    /// Reads that were answered by the fallback, because Redis did not.
    pub fallbacks: u64,
    /// Whether calls go through to the server. Caches that share a connection share its breaker.
    pub breaker: BreakerState,
    /// How often the breaker has opened.
    pub breaker_openings: u64,
}

impl Stats {
    /// The part of the reads that Redis answered, from 0 to 1: a cached nothing is an answer. 0 while
    /// there were no reads.
    pub fn hit_ratio(&self) -> f64 {
        let answered = self.hits + self.nothings;
        let reads = answered + self.misses;
        if reads == 0 {
            0.0
        } else {
            answered as f64 / reads as f64
        }
    }
}

/// One number that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($name:ident),*) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter),*
        }

        impl Counters {
            /// What all threads have counted.
            pub(crate) fn sum(all: &Striped<Counters>) -> Stats {
                let mut stats = Stats::default();
                for counters in all.all() {
                    $(stats.$name += counters.$name.get();)*
                }
                stats
            }
        }
    };
}

counters!(
    hits,
    stale_hits,
    loads,
    load_micros,
    load_errors,
    coalesced,
    lease_waits,
    fenced,
    refreshes,
    invalidations,
    invalidations_deferred,
    nothings,
    misses,
    undecodable,
    writes,
    deletes,
    bytes_in,
    bytes_out,
    connects,
    losses,
    fallbacks
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_ratio_counts_a_cached_nothing_as_an_answer() {
        assert_eq!(Stats::default().hit_ratio(), 0.0);
        let stats = Stats {
            hits: 2,
            nothings: 1,
            misses: 1,
            ..Stats::default()
        };
        assert_eq!(stats.hit_ratio(), 0.75);
    }
}
