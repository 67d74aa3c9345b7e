//! What a cache counts, always, with relaxed atomics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::resilience::BreakerState;
use crate::striped::Striped;

/// Whether the near tier is told of changed keys, so that it can answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NearTracking {
    /// There is no near tier.
    #[default]
    Off,
    /// It is told, and answers.
    On,
    /// There is no connection yet, or it was lost or is silent. All reads go to Redis until it is told again.
    Waiting,
    /// The server does not tell, or not this user. Entries are answers for a bounded time: `near_ttl`, or 1 s.
    Refused,
}

/// What a cache and its clones have done since the cache was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found a cached nothing.
    pub nothings: u64,
    /// Reads that found no value, or none that was readable.
    pub misses: u64,
    /// How many of these misses found bytes that are not what was asked for: another format, an older struct,
    /// garbage.
    pub undecodable: u64,
    /// How many of the hits were answered with a value past its TTL, because the caller allows it.
    pub stale_hits: u64,
    /// Loaders run.
    pub loads: u64,
    /// The time that they took in total, in microseconds.
    pub load_micros: u64,
    /// How many of the loads failed.
    pub load_errors: u64,
    /// Callers that waited for the load of another caller in this process.
    pub coalesced: u64,
    /// Loads that waited for the load of another process.
    pub lease_waits: u64,
    /// Loads whose value was not stored, because an invalidation came between.
    pub fenced: u64,
    /// Loaded values that were not stored for another reason: Redis did not answer or refused, the value cannot be
    /// encoded, or its TTL or its tags are not valid. Their callers got them all the same.
    pub not_stored: u64,
    /// Errors of Redis that `remember` went on without: it ran its loader.
    pub degraded: u64,
    /// Loads in the background, for callers that had already been answered.
    pub refreshes: u64,
    /// Invalidations of keys and tags that Redis has acknowledged (a `set` counts as one).
    pub invalidations: u64,
    /// Invalidations that Redis did not acknowledge, and that are sent again when it answers.
    pub invalidations_deferred: u64,
    /// How many of these are waiting now. Caches that share a connection share this number.
    pub invalidations_waiting: u64,
    /// How many deletions of many keys (a `clear` that did not end, for example) go on in the background, or wait for
    /// Redis to answer again. Caches that share a connection share this number.
    pub sweeps_waiting: u64,
    /// Values written.
    pub writes: u64,
    /// Keys deleted.
    pub deletes: u64,
    /// Bytes of values read.
    pub bytes_in: u64,
    /// Bytes of values written.
    pub bytes_out: u64,
    /// Connections made. If several caches share a connection, each of them counts it.
    pub connects: u64,
    /// Connections that broke.
    pub losses: u64,
    /// Calls that were answered by the fallback, because Redis did not.
    pub fallbacks: u64,
    /// How many of the hits the near tier has answered.
    pub near_hits: u64,
    /// How many entries it has now.
    pub near_entries: u64,
    /// How many entries it has evicted, because it was full.
    pub near_evictions: u64,
    /// How many keys it was told to be changed: by Redis, or by the embedded store.
    pub near_invalidations: u64,
    /// Whether it is told.
    pub near_tracking: NearTracking,
    /// The state of the circuit breaker. Caches that share a connection share the breaker.
    pub breaker: BreakerState,
    /// How often the breaker has opened.
    pub breaker_openings: u64,
    /// How many messages carried several calls together. Caches that share a connection share this number and the next.
    pub batches: u64,
    /// How many calls they carried: divided by `batches`, how many leave together.
    pub batched_calls: u64,
}

impl Stats {
    /// The share of reads that were answered from the cache, from 0 to 1; a cached nothing is an answer. 0 if there
    /// were no reads.
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

/// A number that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The same for the only thread that adds to it.
    #[inline]
    fn add_alone(&self, count: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(sum, Ordering::Relaxed);
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
            /// Adds to some of this thread's.
            #[inline]
            pub(super) fn count<const N: usize>(
                all: &Striped<Counters>,
                which: impl for<'c> Fn(&'c Counters) -> [(&'c Counter, u64); N],
            ) {
                match all.alone() {
                    Some(mine) => which(mine).map(|(counter, count)| counter.add_alone(count)),
                    None => which(all.mine()).map(|(counter, count)| counter.add(count)),
                };
            }

            /// The sum over all threads.
            pub(crate) fn sum(all: &Striped<Counters>) -> Stats {
                let mut stats = Stats::default();
                for counters in all.all() {
                    $(stats.$name += counters.$name.get();)*
                }
                // Counted once: a near hit costs little more than that.
                stats.hits += stats.near_hits;
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
    not_stored,
    degraded,
    refreshes,
    invalidations,
    invalidations_deferred,
    nothings,
    near_hits,
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
