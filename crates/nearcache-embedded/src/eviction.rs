//! Eviction makes room when the keys exceed the memory limit.
//!
//! Keys are not kept in order of use, because then every read would be a write. To make room, the store looks at a
//! few keys picked at random (`maxmemory-samples`) and evicts the best candidate. The other good candidates are kept,
//! and compete with the keys that are picked the next time, so the choice comes close to that of a full order. This
//! is how Redis does it. Two things are better here, both in [`Judge::score`]: times of use are finer than seconds,
//! and also decide between keys that are used equally often; and a count of uses falls not only by the minute, but
//! also by one whenever as much was evicted as the store holds. Otherwise a key that was popular once would stay,
//! however fast the others come and go.
//!
//! Invariants:
//! 1. **Lock order.** A thread that makes room holds no shard when it begins. It holds the pool throughout, and one
//!    shard at a time in addition. A thread that holds a shard never takes the pool.
//! 2. A key is evicted only if its access word is the same as when it was picked, and its score has not fallen: a use in
//!    between saves it.
//! 3. An expired key goes before any other that is picked, and does not count as evicted.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::event::Journal;
use crate::keyspace::access::{Era, Lfu, scatter};
use crate::keyspace::entry::{Deadline, Entry};
use crate::keyspace::table::Table;
use crate::limits::Policy;
use crate::notify::Class;
use crate::store::Shared;

/// How many candidates are kept.
const POOL: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Evictor {
    pool: Mutex<Pool>,
    pub(crate) evicted: AtomicU64,
    pub(crate) expired: AtomicU64,
    /// How often as much was evicted as the store may hold.
    age: AtomicU64,
    /// A lower bound of the time: see [`Era`].
    time: AtomicU64,
}

impl Evictor {
    #[inline]
    pub(crate) fn era(&self) -> Era {
        Era {
            time: self.time.load(Ordering::Relaxed),
            age: self.age.load(Ordering::Relaxed),
        }
    }
}

/// Candidates for eviction, the best last.
#[derive(Debug, Default)]
struct Pool {
    candidates: Vec<Candidate>,
    /// The policy that they were scored by. When it changes, the candidates are discarded.
    policy: Policy,
    draws: u64,
    /// How many bytes were evicted since `age` last grew.
    gone: usize,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// The key with the highest score is evicted first.
    score: u64,
    shard: usize,
    db: u32,
    hash: u64,
    /// Its access word when it was picked. A word is unique within its shard.
    word: u64,
}

/// What candidates are scored by.
#[derive(Clone, Copy)]
struct Judge {
    policy: Policy,
    lfu: Lfu,
    now_ms: i64,
    coarse_ms: u64,
    age: u64,
}

impl Judge {
    fn score(self, entry: &Entry) -> Option<u64> {
        if self.policy.is_volatile() && entry.deadline.is_none() {
            return None;
        }
        if entry.is_over(self.now_ms) {
            return Some(u64::MAX);
        }
        let older = !entry.access.time();
        Some(match self.policy {
            Policy::AllKeysLru | Policy::VolatileLru => older,
            Policy::AllKeysLfu | Policy::VolatileLfu => {
                let uses = u64::from(entry.access.count(self.coarse_ms, self.lfu));
                // Its remaining uses, from 0 to 8191, inverted so that fewer uses give a higher score.
                let rarer = 8191 - (4096 + uses).saturating_sub(entry.access.aged(self.age));
                rarer << 50 | older & ((1 << 50) - 1)
            }
            Policy::VolatileTtl => {
                let deadline = entry.deadline.map_or(i64::MAX, Deadline::unix_ms);
                // Maps the earliest deadline, which is negative, to the highest score.
                !(deadline.cast_unsigned() ^ 1 << 63)
            }
            Policy::AllKeysRandom | Policy::VolatileRandom | Policy::NoEviction => 0,
        })
    }
}

impl Shared {
    /// Whether the keys exceed the memory limit and nothing may be evicted.
    #[inline]
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.keyspace.meter.is_over() && !self.make_room()
    }

    /// Applies the limit that was set last.
    pub(crate) fn bound(&self) {
        let pool = self.evictor.pool.lock();
        let bytes = self.settings.maxmemory.load(Ordering::Relaxed);
        self.keyspace.set_limit(bytes);
        drop(pool);
        self.trim();
    }

    /// Makes room after a command, if the policy allows it. Under `noeviction` the next command fails instead.
    #[cold]
    pub(crate) fn trim(&self) {
        if self.settings.policy() != Policy::NoEviction {
            self.make_room();
        }
    }

    /// Evicts until the keys are within the memory limit. False if that is impossible. The caller must not hold a
    /// shard.
    #[cold]
    pub(crate) fn make_room(&self) -> bool {
        let policy = self.settings.policy();
        if policy == Policy::NoEviction {
            while self.keyspace.meter.is_over() && self.expire_step() > 0 {}
            return !self.keyspace.meter.is_over();
        }
        let mut journal = Journal::default();
        let mut pool = self.evictor.pool.lock();
        if pool.policy != policy {
            pool.candidates.clear();
            pool.policy = policy;
        }
        while self.keyspace.meter.is_over() && self.evict_one(&mut pool, &mut journal) {}
        drop(pool);
        journal.tell(self, None);
        !self.keyspace.meter.is_over()
    }

    fn evict_one(&self, pool: &mut Pool, journal: &mut Journal) -> bool {
        let judge = Judge {
            policy: pool.policy,
            lfu: self.settings.lfu().unwrap_or(Lfu {
                log_factor: 0,
                decay_time: 0,
            }),
            now_ms: self.clock.now_ms(),
            coarse_ms: self.coarse_ms(),
            age: self.evictor.era().age,
        };
        loop {
            let found = self.fill(pool, judge);
            while let Some(candidate) = pool.candidates.pop() {
                if let Some(bytes) = self.evict(candidate, judge, journal) {
                    self.grow_older(pool, bytes);
                    return true;
                }
            }
            if !found {
                return false;
            }
        }
    }

    /// Picks a few keys. False if no key may be evicted.
    fn fill(&self, pool: &mut Pool, judge: Judge) -> bool {
        let random = judge.policy.is_random();
        let mut left = if random {
            1
        } else {
            self.settings.samples.load(Ordering::Relaxed) as usize
        };
        let even = left / self.keyspace.shards();
        let mut found = false;
        pool.draws += 1;
        let draw = scatter(pool.draws ^ self.keyspace.hash(&[]));
        let shards = self.keyspace.shards();
        let first = draw as usize % shards;
        for index in (first..shards).chain(0..first) {
            let shard = self.keyspace.read(index);
            for (db, table) in shard.tables() {
                if judge.policy.is_volatile() && table.volatile() == 0 {
                    continue;
                }
                // From a small table only a part is taken, because the next shards have candidates that are as good.
                let mut share = left.min((1 + table.len() / 16).max(even));
                table.sample(
                    scatter(draw ^ u64::from(db)),
                    judge.policy.is_volatile(),
                    |entry| {
                        if let Some(score) = judge.score(entry) {
                            found = true;
                            share -= 1;
                            left -= 1;
                            pool.add(score, || Candidate {
                                score,
                                shard: index,
                                db,
                                hash: self.keyspace.hash(&entry.key),
                                word: entry.access.word(),
                            });
                        }
                        share > 0
                    },
                );
                if left == 0 {
                    return found;
                }
            }
        }
        found
    }

    fn evict(&self, candidate: Candidate, judge: Judge, journal: &mut Journal) -> Option<usize> {
        let Candidate {
            shard, db, hash, ..
        } = candidate;
        let mut shard = self.keyspace.write(shard);
        let is_it = |entry: &Entry| {
            entry.access.word() == candidate.word && judge.score(entry) >= Some(candidate.score)
        };
        let entry = shard.change(db, |table: &mut Table| table.take_if(hash, is_it))?;
        shard.touch(db, &entry.key);
        self.log_removal(db, &entry.key);
        // Must be asked under the lock: see `Hub::is_listening`.
        let expired = entry.is_over(judge.now_ms);
        let (class, event, count) = if expired {
            (Class::EXPIRED, "expired", &self.evictor.expired)
        } else {
            (Class::EVICTED, "evicted", &self.evictor.evicted)
        };
        let heard = self.hears(class);
        drop(shard);
        count.fetch_add(1, Ordering::Relaxed);
        journal.dropped(heard, event, db, &entry.key);
        Some(entry.bytes())
    }

    /// Every eviction advances the time; and when as much was evicted as the store may hold, everything ages by one.
    fn grow_older(&self, pool: &mut Pool, gone: usize) {
        let time = self.evictor.era().after_eviction(self.coarse_ms());
        self.evictor.time.store(time, Ordering::Relaxed);
        pool.gone += gone;
        if pool.gone > self.settings.maxmemory.load(Ordering::Relaxed) {
            pool.gone = 0;
            self.evictor.age.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Pool {
    /// Adds a candidate, unless it is in the pool already, or the pool is full of better ones.
    fn add(&mut self, score: u64, candidate: impl FnOnce() -> Candidate) {
        let full = self.candidates.len() >= POOL;
        if full && self.candidates[0].score >= score {
            return;
        }
        let candidate = candidate();
        let at = self.candidates.partition_point(|other| other.score < score);
        let known = self.candidates[at..]
            .iter()
            .take_while(|other| other.score == score)
            .any(|other| (other.hash, other.db) == (candidate.hash, candidate.db));
        if known {
            return;
        }
        self.candidates.insert(at, candidate);
        if full {
            self.candidates.remove(0);
        }
    }
}

#[cfg(test)]
mod tests;
