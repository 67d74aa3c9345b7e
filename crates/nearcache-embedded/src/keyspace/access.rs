//! When an entry was last used, and how often. Evictions go by this.
//!
//! Both are in one word. Readers write it under a shared lock without a read-modify-write, so if two readers come at
//! once, one use may be lost. The low 8 bits count uses on a logarithmic scale, as Redis does: the higher the count,
//! the less likely one more use raises it, and it falls by one for every `lfu-decay-time` minutes without a use. The
//! next 9 bits are the store's age at the last use (see [`crate::eviction`]). The rest is the time: 36 bits of a
//! coarse clock, and 11 bits that order the uses within one of its ticks (see [`Ticks`]).

use std::sync::atomic::{AtomicU64, Ordering};

/// The count of a new entry, so that it is not evicted first.
pub(crate) const INITIAL: u8 = 5;
const COUNT_BITS: u32 = 8;
const AGE_BITS: u32 = 9;
const AGE_MASK: u64 = (1 << AGE_BITS) - 1;
const TIME_SHIFT: u32 = COUNT_BITS + AGE_BITS;
const WITHIN_BITS: u32 = 11;
/// The length of a tick of the coarse clock. The ticks last for eight years.
const TICK_MS: u64 = 4;
const LAST_TICK: u64 = (1 << (64 - TIME_SHIFT - WITHIN_BITS)) - 1;
const MINUTE_MS: u64 = 60_000;
/// How much an eviction advances the time.
const EVICTION: u64 = 4;

/// How uses are counted: `lfu-log-factor` and `lfu-decay-time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lfu {
    pub(crate) log_factor: u32,
    /// In minutes; 0 means never.
    pub(crate) decay_time: u32,
}

/// A use of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    time: u64,
    age: u64,
    /// `None` unless the policy counts uses.
    lfu: Option<Lfu>,
}

impl Tick {
    #[inline]
    fn word(self, count: u8) -> u64 {
        self.time << TIME_SHIFT | (self.age & AGE_MASK) << COUNT_BITS | u64::from(count)
    }
}

/// The part of the time that evictions determine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Era {
    /// A lower bound of the time.
    pub(crate) time: u64,
    /// How often as much was evicted as the store may hold.
    pub(crate) age: u64,
}

impl Era {
    /// The time after one more eviction.
    pub(crate) fn after_eviction(self, coarse_ms: u64) -> u64 {
        self.time.max(ticks(coarse_ms)) + EVICTION
    }
}

/// A shard's clock. It follows the coarse clock, and also advances with every eviction (all shards see evictions), so
/// that uses in different shards are in order, however fast they come; and by one for every use in between. (During
/// more than 128,000 evictions a second, it runs ahead of the coarse clock.)
#[derive(Debug, Default)]
pub(crate) struct Ticks(AtomicU64);

impl Ticks {
    #[inline]
    pub(crate) fn next(&self, coarse_ms: u64, era: Era, lfu: Option<Lfu>) -> Tick {
        let now = ticks(coarse_ms).max(era.time);
        let time = now.max(self.0.load(Ordering::Relaxed) + 1);
        // Another reader may do the same; two uses with the same time do no harm.
        self.0.store(time, Ordering::Relaxed);
        let age = era.age;
        Tick { time, age, lfu }
    }
}

#[inline]
fn ticks(coarse_ms: u64) -> u64 {
    (coarse_ms / TICK_MS).min(LAST_TICK) << WITHIN_BITS
}

#[derive(Debug)]
pub(crate) struct Access(AtomicU64);

impl Access {
    pub(crate) fn new(tick: Tick) -> Self {
        Access(AtomicU64::new(tick.word(INITIAL)))
    }

    /// Records a use.
    #[inline]
    pub(crate) fn touch(&self, tick: Tick) {
        let old = self.word();
        let count = match tick.lfu {
            None => old as u8,
            Some(lfu) => raise(decayed(old, tick.time, lfu), tick.time, lfu.log_factor),
        };
        self.0.store(tick.word(count), Ordering::Relaxed);
    }

    /// The word as it is. If it is the same later, there was no use in between.
    #[inline]
    pub(crate) fn word(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The time of the last use: a greater number is later. 47 bits.
    pub(crate) fn time(&self) -> u64 {
        self.word() >> TIME_SHIFT
    }

    /// How much the store has aged since the last use.
    pub(crate) fn aged(&self, age: u64) -> u64 {
        age.wrapping_sub(self.word() >> COUNT_BITS) & AGE_MASK
    }

    /// The count of recent uses, at a time in milliseconds.
    pub(crate) fn count(&self, coarse_ms: u64, lfu: Lfu) -> u8 {
        decayed(self.word(), ticks(coarse_ms), lfu)
    }

    /// For how many milliseconds the entry has not been used.
    pub(crate) fn idle_ms(&self, coarse_ms: u64) -> u64 {
        coarse_ms.saturating_sub((self.time() >> WITHIN_BITS) * TICK_MS)
    }
}

impl Clone for Access {
    fn clone(&self) -> Self {
        Access(AtomicU64::new(self.word()))
    }
}

fn decayed(word: u64, now: u64, lfu: Lfu) -> u8 {
    let then = word >> TIME_SHIFT >> WITHIN_BITS;
    let idle = (now >> WITHIN_BITS).saturating_sub(then);
    let periods = (idle / (MINUTE_MS / TICK_MS))
        .checked_div(u64::from(lfu.decay_time))
        .unwrap_or(0);
    (word as u8).saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX))
}

/// Raises the count, with a probability of 1 / (the count above the initial one × the factor + 1).
fn raise(count: u8, seed: u64, log_factor: u32) -> u8 {
    let above = u64::from(count.saturating_sub(INITIAL));
    let chances = above * u64::from(log_factor) + 1;
    // The time is never the same twice, so it can be hashed into a random number.
    let random = scatter(seed) >> 32;
    if count < u8::MAX && random * chances < 1 << 32 {
        count + 1
    } else {
        count
    }
}

/// Hashes a number: the last steps of SplitMix64.
pub(crate) fn scatter(seed: u64) -> u64 {
    let word = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const LFU: Lfu = Lfu {
        log_factor: 10,
        decay_time: 1,
    };

    #[test]
    fn uses_are_in_order_whatever_the_clock_does() {
        let ticks = Ticks::default();
        let mut last = 0;
        for ms in [5, 5, 5, 60, 40, 60, 1000] {
            let tick = ticks.next(ms, Era::default(), None);
            assert!(tick.time > last);
            last = tick.time;
        }
        let access = Access::new(ticks.next(2000, Era::default(), None));
        assert_eq!((access.idle_ms(2000), access.idle_ms(5000)), (0, 3000));
        assert_eq!(access.idle_ms(1000), 0);
    }

    #[test]
    fn uses_in_two_shards_are_in_order_if_something_was_evicted_in_between() {
        let (busy, idle) = (Ticks::default(), Ticks::default());
        let mut era = Era::default();
        let first = busy.next(1_000, era, None);
        era.time = era.after_eviction(1_000);
        let second = idle.next(1_000, era, None);
        era.time = era.after_eviction(1_000);
        let third = busy.next(1_000, era, None);
        assert!(first.time < second.time && second.time < third.time);
    }

    #[test]
    fn uses_are_counted_on_a_logarithmic_scale() {
        // The table in redis.conf, for a factor of 10.
        for (uses, low, high) in [(100, 6, 16), (1_000, 13, 25), (100_000, 120, 165)] {
            let (ticks, access) = (
                Ticks::default(),
                Access::new(Ticks::default().next(0, Era::default(), None)),
            );
            for _ in 0..uses {
                access.touch(ticks.next(0, Era::default(), Some(LFU)));
            }
            let count = access.count(0, LFU);
            assert!((low..=high).contains(&count), "{uses}: {count}");
        }
    }

    #[test]
    fn a_count_falls_while_nobody_comes() {
        let access = Access::new(Ticks::default().next(0, Era::default(), None));
        let after =
            |minutes: u64, decay_time| access.count(minutes * MINUTE_MS, Lfu { decay_time, ..LFU });
        assert_eq!((after(0, 1), after(2, 1), after(9, 1)), (5, 3, 0));
        assert_eq!((after(2, 2), after(1000, 0)), (4, 5));
    }

    #[test]
    fn uses_that_nobody_counts_leave_the_count() {
        let (ticks, access) = (
            Ticks::default(),
            Access::new(Ticks::default().next(0, Era::default(), None)),
        );
        (0..1000).for_each(|_| access.touch(ticks.next(0, Era::default(), None)));
        assert_eq!(access.count(0, LFU), INITIAL);
    }
}
