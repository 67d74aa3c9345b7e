//! Gives a hook access to what its caches count.

use std::fmt;
use std::sync::{Arc, Weak};

use super::Stats;
#[cfg(any(feature = "metrics", feature = "otel"))]
use super::names::{COUNTED, Value};

/// What a cache counts, for a hook to export. It does not keep the cache alive.
#[derive(Clone)]
pub struct StatsHandle {
    /// The statistics, while the cache exists.
    now: Arc<dyn Fn() -> Option<Stats> + Send + Sync>,
    /// The counters, which outlive the cache.
    counted: Arc<dyn Fn() -> Stats + Send + Sync>,
}

impl StatsHandle {
    pub(crate) fn new<C: Send + Sync + 'static>(
        cache: &Arc<C>,
        now: fn(&C) -> Stats,
        counted: impl Fn() -> Stats + Send + Sync + 'static,
    ) -> Self {
        let cache: Weak<C> = Arc::downgrade(cache);
        StatsHandle {
            now: Arc::new(move || cache.upgrade().map(|cache| now(&cache))),
            counted: Arc::new(counted),
        }
    }

    /// What the cache has counted until now; `None` once the cache and its clones are dropped.
    pub fn stats(&self) -> Option<Stats> {
        (self.now)()
    }

    /// What the cache has counted until now, or until it was dropped.
    pub fn counted(&self) -> Stats {
        (self.counted)()
    }
}

impl fmt::Debug for StatsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatsHandle")
    }
}

/// The caches of a hook, whose counts are summed. What a cache has counted stays in the sum when the cache is
/// dropped, because a counter must not fall.
#[cfg(any(feature = "metrics", feature = "otel"))]
pub(super) struct Caches {
    alive: Vec<StatsHandle>,
    gone: [u64; COUNTED.len()],
}

#[cfg(any(feature = "metrics", feature = "otel"))]
impl Default for Caches {
    fn default() -> Self {
        Caches {
            alive: Vec::new(),
            gone: [0; COUNTED.len()],
        }
    }
}

#[cfg(any(feature = "metrics", feature = "otel"))]
impl Caches {
    pub(super) fn add(&mut self, cache: &StatsHandle) {
        self.alive.push(cache.clone());
    }

    /// What all caches have counted, in the order of [`COUNTED`].
    pub(super) fn read(&mut self) -> [u64; COUNTED.len()] {
        let Caches { alive, gone } = self;
        let mut there = [0; COUNTED.len()];
        alive.retain(|cache| {
            let stats = cache.stats();
            let (sums, counts) = match stats {
                Some(stats) => (&mut there, stats),
                None => (&mut *gone, cache.counted()),
            };
            for (sum, counted) in sums.iter_mut().zip(COUNTED) {
                *sum += match counted.value {
                    Value::Counter(field) => field(&counts),
                    Value::Gauge(_) if stats.is_none() => 0,
                    Value::Gauge(field) => field(&counts),
                };
            }
            stats.is_some()
        });
        for (sum, gone) in there.iter_mut().zip(gone) {
            *sum += *gone;
        }
        there
    }
}

#[cfg(all(test, any(feature = "metrics", feature = "otel")))]
mod tests {
    use super::*;

    #[test]
    fn a_counter_stays_when_its_cache_is_gone_and_a_gauge_does_not() {
        let at = |name| {
            let place = COUNTED.iter().position(|one| one.instrument.otel == name);
            place.unwrap()
        };
        let (hits, waiting) = (at("nearcache.hits"), at("nearcache.invalidations_waiting"));
        let cache = Arc::new(7u64);
        let mut caches = Caches::default();
        let stats = |hits: &u64| Stats {
            hits: *hits,
            invalidations_waiting: 1,
            ..Stats::default()
        };
        for _ in 0..2 {
            caches.add(&StatsHandle::new(&cache, stats, move || stats(&7)));
        }
        let read = caches.read();
        assert_eq!((read[hits], read[waiting]), (14, 2));
        drop(cache);
        for _ in 0..2 {
            let read = caches.read();
            assert_eq!((read[hits], read[waiting]), (14, 0));
        }
    }
}
