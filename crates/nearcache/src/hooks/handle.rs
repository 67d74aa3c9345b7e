//! A way from a hook to what its caches count.

use std::fmt;
use std::sync::{Arc, Weak};

#[cfg(any(feature = "metrics", feature = "otel"))]
use super::names::{COUNTED, Value};
use crate::Stats;

/// What a cache counts, for a hook to export: it does not keep the cache alive.
#[derive(Clone)]
pub struct StatsHandle(Arc<dyn Fn() -> Option<Stats> + Send + Sync>);

impl StatsHandle {
    pub(crate) fn new<C: Send + Sync + 'static>(cache: &Arc<C>, stats: fn(&C) -> Stats) -> Self {
        let cache: Weak<C> = Arc::downgrade(cache);
        StatsHandle(Arc::new(move || cache.upgrade().map(|cache| stats(&cache))))
    }

    /// What the cache has counted until now; `None` once the cache and its clones are gone.
    pub fn stats(&self) -> Option<Stats> {
        (self.0)()
    }
}

impl fmt::Debug for StatsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatsHandle")
    }
}

/// The caches of a hook, whose counts are added up. What a cache had counted when it was read last stays in
/// the sum when the cache is gone: a counter does not fall.
#[cfg(any(feature = "metrics", feature = "otel"))]
#[derive(Default)]
pub(super) struct Caches {
    alive: Vec<(StatsHandle, Stats)>,
    gone: [u64; COUNTED.len()],
}

#[cfg(any(feature = "metrics", feature = "otel"))]
impl Caches {
    pub(super) fn add(&mut self, cache: &StatsHandle) {
        self.alive.push((cache.clone(), Stats::default()));
    }

    /// What all have counted, in the order of [`COUNTED`].
    pub(super) fn read(&mut self) -> [u64; COUNTED.len()] {
        let Caches { alive, gone } = self;
        alive.retain_mut(|(cache, last)| {
            let stats = cache.stats();
            *last = stats.unwrap_or(*last);
            if stats.is_none() {
                for (sum, counted) in gone.iter_mut().zip(COUNTED) {
                    if let Value::Counter(field) = counted.value {
                        *sum += field(last);
                    }
                }
            }
            stats.is_some()
        });
        let mut sums = *gone;
        for (sum, counted) in sums.iter_mut().zip(COUNTED) {
            let (Value::Counter(field) | Value::Gauge(field)) = counted.value;
            *sum += alive.iter().map(|(_, stats)| field(stats)).sum::<u64>();
        }
        sums
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
        caches.add(&StatsHandle::new(&cache, stats));
        caches.add(&StatsHandle::new(&cache, stats));
        let read = caches.read();
        assert_eq!((read[hits], read[waiting]), (14, 2));
        drop(cache);
        for _ in 0..2 {
            let read = caches.read();
            assert_eq!((read[hits], read[waiting]), (14, 0));
        }
    }
}
