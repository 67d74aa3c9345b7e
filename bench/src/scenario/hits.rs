//! The hit ratio of the near tier, and of other caches in a process, with the same number of entries.
//!
//! A trace is replayed as a cache is used: a look-up, and an insertion after a miss. The near tier stands in front of a
//! store that has every key, so its misses are reads of the store. Caches choose what to evict at random to some degree,
//! by their hashers for one, so each is measured several times, and the median counts.

use std::collections::HashSet;

use foyer_memory::{CacheBuilder, EvictionConfig, LruConfig, S3FifoConfig};
use nearcache::{Raw, blocking};

use super::traces::{ACCESSES, TRACES, trace, zipf};
use crate::Result;
use crate::harness::Bench;
use crate::report::{Figure, Spread};

/// The numbers of entries, in percent of the trace's different keys.
const PARTS: [usize; 3] = [1, 5, 20];

/// By how many percentage points the near tier's hit ratio may be below the best one.
const POINTS: f64 = 0.3;

const TIMES: usize = 3;

/// A cache's name, and how it replays a trace with so many entries: its hits.
type Replay = (&'static str, fn(&[u32], usize) -> Result<u64>);

const NEARCACHE: &str = "nearcache";

const CACHES: [Replay; 5] = [
    (NEARCACHE, nearcache),
    ("quick_cache", quick_cache),
    ("moka", moka),
    ("foyer", |keys, entries| {
        foyer(keys, entries, LruConfig::default().into())
    }),
    ("foyer, S3-FIFO", |keys, entries| {
        foyer(keys, entries, S3FifoConfig::default().into())
    }),
];

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for name in TRACES.into_iter().chain(["zipf"]) {
        let scenario = format!("hits/{name}");
        bench.bound_beside(&scenario, "points less", POINTS, |bench| {
            let accesses = ACCESSES / bench.shortened();
            let mut keys = match name {
                "zipf" => zipf(accesses),
                name => match trace(name)? {
                    Some(keys) => keys,
                    None => return Ok(Vec::new()),
                },
            };
            keys.truncate(accesses);
            compare(&keys)
        })?;
    }
    Ok(())
}

/// By how many percentage points each cache's hit ratio is below the best peer's, for each number of entries.
fn compare(keys: &[u32]) -> Result<Vec<Figure>> {
    let different = keys.iter().collect::<HashSet<_>>().len();
    let mut figures = Vec::new();
    for part in PARTS {
        let entries = (different * part / 100).max(1);
        let mut ratios = Vec::new();
        for (name, replay) in CACHES {
            let mut times = Vec::new();
            for _ in 0..TIMES {
                let hits = replay(keys, entries)?;
                times.push(hits as f64 * 100.0 / keys.len() as f64);
            }
            ratios.push((name, Spread::of(times).median));
        }
        let peers = ratios.iter().filter(|(name, _)| *name != NEARCACHE);
        let best = peers.map(|(_, ratio)| *ratio).fold(0.0, f64::max);
        figures.extend(ratios.into_iter().map(|(name, ratio)| Figure {
            name: format!("{part:>2} %, {name}: {ratio:.2}"),
            value: best - ratio,
            ours: name == NEARCACHE,
        }));
    }
    Ok(figures)
}

/// The near tier, in front of a store in this process that has every key.
fn nearcache(keys: &[u32], entries: usize) -> Result<u64> {
    let cache = blocking::Cache::builder("memory://?maxmemory=0")
        .near(entries)
        .build()?;
    for id in keys.iter().collect::<HashSet<_>>() {
        cache.set(id.to_be_bytes(), &Raw(id.to_be_bytes())).run()?;
    }
    let before = cache.stats().near_hits;
    for id in keys {
        let found: Option<Raw> = cache.get(id.to_be_bytes()).run()?;
        if found.is_none_or(|raw| raw.0 != id.to_be_bytes()) {
            return Err("the store has another value".into());
        }
    }
    Ok(cache.stats().near_hits - before)
}

fn quick_cache(keys: &[u32], entries: usize) -> Result<u64> {
    let cache = quick_cache::sync::Cache::new(entries);
    count(keys, |id| cache.get(id), |id| cache.insert(id, id))
}

fn moka(keys: &[u32], entries: usize) -> Result<u64> {
    let cache = moka::sync::Cache::new(entries as u64);
    count(keys, |id| cache.get(id), |id| cache.insert(id, id))
}

fn foyer(keys: &[u32], entries: usize, eviction: EvictionConfig) -> Result<u64> {
    let cache = CacheBuilder::new(entries)
        .with_eviction_config(eviction)
        .build();
    let insert = |id| drop::<foyer_memory::CacheEntry<u32, u32>>(cache.insert(id, id));
    count(keys, |id| cache.get(id).map(|entry| *entry.value()), insert)
}

/// Replays a trace: how many look-ups find their key.
fn count(keys: &[u32], get: impl Fn(&u32) -> Option<u32>, insert: impl Fn(u32)) -> Result<u64> {
    let mut hits = 0;
    for id in keys {
        match get(id) {
            Some(found) if found == *id => hits += 1,
            Some(_) => return Err("a cache has another value".into()),
            None => insert(*id),
        }
    }
    Ok(hits)
}
