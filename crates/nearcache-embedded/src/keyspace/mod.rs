//! The key space: which shard a key belongs to, and how shards are locked.
//!
//! Invariants:
//! 1. **Lock order.** A thread that holds several shards took them in ascending order, all at once, and takes no
//!    other before all are released. [`Keyspace::lock`] is the only place that locks more than one.
//! 2. **No callback under a lock.** Subscribers are called, and the values of a flushed database are dropped, only
//!    after every shard is released.
//! 3. A command sees and changes only shards that are locked for it, so every command is atomic, also one with
//!    several keys, a `MULTI`, or a script.
//!
//! [`table`] explains how the keys of a shard are stored, and what `SCAN` promises; [`size`], how the memory that
//! they take is counted.

pub(crate) mod access;
pub(crate) mod bytes;
pub(crate) mod cut;
pub(crate) mod entry;
pub(crate) mod hash;
mod integers;
mod key;
pub(crate) mod list;
mod nodes;
pub(crate) mod pack;
pub(crate) mod random;
pub(crate) mod set;
mod shard;
pub(crate) mod size;
pub(crate) mod sorted_set;
pub(crate) mod stream;
pub(crate) mod table;
mod wide;

use foldhash::quality::RandomState;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;

pub(crate) use shard::Shard;
use size::Meter;

/// The maximum number of shards, which is the capacity of a [`ShardSet`].
pub(crate) const MAX_SHARDS: usize = 256;

/// Each shard has cache lines of its own, so that locking one does not slow down its neighbours.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(RwLock<Shard>);

#[derive(Debug)]
pub(crate) struct Keyspace {
    shards: Box<[Padded]>,
    /// How many of a hash's top bits choose the shard.
    bits: u32,
    hasher: RandomState,
    /// Counts the memory that all shards take.
    pub(crate) meter: Arc<Meter>,
}

impl Keyspace {
    /// A key space of that many shards, rounded up to a power of two.
    pub(crate) fn new(shards: usize) -> Self {
        let count = shards.clamp(1, MAX_SHARDS).next_power_of_two();
        let bits = count.trailing_zeros();
        // A new random seed, so that nobody can choose keys that collide.
        let hasher = RandomState::default();
        let meter = Arc::<Meter>::default();
        let shard = |index: u64| {
            let start = index << 1 << (63 - bits);
            Shard::new(start, bits, hasher.clone(), meter.clone())
        };
        let shards = (0..count as u64)
            .map(|index| Padded(RwLock::new(shard(index))))
            .collect();
        Keyspace {
            shards,
            bits,
            hasher,
            meter,
        }
    }

    /// Limits the memory that all keys may take; 0 means no limit.
    pub(crate) fn set_limit(&self, bytes: usize) {
        self.meter.set_limit(bytes, self.shards());
        (0..self.shards()).for_each(|index| self.write(index).tell());
    }

    /// How much memory all keys take.
    pub(crate) fn used(&self) -> usize {
        (0..self.shards())
            .map(|index| self.read(index).bytes())
            .sum()
    }

    /// Begins a [cut](cut) of all shards, and calls `at` while every one of them is locked.
    pub(crate) fn begin_cut<R>(&self, keeper: &Arc<dyn cut::Keeper>, at: impl FnOnce() -> R) -> R {
        let mut locked = self.lock(self.every_shard(), true);
        for index in 0..self.shards() {
            if let Some(shard) = locked.held.shard_mut(index) {
                shard.begin_cut(keeper);
            }
        }
        at()
    }

    /// Ends the cut, whether everything was walked or not.
    pub(crate) fn end_cut(&self) {
        (0..self.shards()).for_each(|index| self.write(index).end_cut());
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The shard that covers a position of the hash space.
    #[inline]
    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        (hash >> 1 >> (63 - self.bits)) as usize
    }

    pub(crate) fn shard_of_key(&self, key: &[u8]) -> usize {
        self.shard_of(self.hash(key))
    }

    /// The position at which a shard ends; 0 for the last one.
    pub(crate) fn end_of(&self, index: usize) -> u64 {
        (index as u64 + 1).wrapping_shl(63 - self.bits) << 1
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn every_shard(&self) -> ShardSet {
        let mut set = ShardSet::default();
        (0..self.shards.len()).for_each(|index| set.add(index));
        set
    }

    #[inline]
    pub(crate) fn read(&self, index: usize) -> RwLockReadGuard<'_, Shard> {
        self.shards[index].0.read()
    }

    #[inline]
    pub(crate) fn write(&self, index: usize) -> RwLockWriteGuard<'_, Shard> {
        self.shards[index].0.write()
    }

    /// Locks the shard of a key.
    #[inline]
    pub(crate) fn lock_one<'k>(&'k self, key: &'k [u8], exclusive: bool) -> Locked<'k> {
        let hash = self.hash(key);
        let index = self.shard_of(hash);
        let held = if exclusive {
            Held::Write(index, self.write(index))
        } else {
            Held::Read(index, self.read(index))
        };
        Locked {
            held,
            hashed: (key, hash),
        }
    }

    /// Locks a set of shards, in order.
    pub(crate) fn lock(&self, set: ShardSet, exclusive: bool) -> Locked<'_> {
        let held = if exclusive {
            let mut shards = SmallVec::new();
            set.each(|index| shards.push((index, self.write(index))));
            Held::Writes(shards)
        } else {
            let mut shards = SmallVec::new();
            set.each(|index| shards.push((index, self.read(index))));
            Held::Reads(shards)
        };
        Locked::from(held)
    }
}

/// A set of shards. They are visited in ascending order, which is the lock order.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct ShardSet([u64; MAX_SHARDS / 64]);

impl ShardSet {
    pub(crate) fn add(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(crate) fn add_all(&mut self, other: ShardSet) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
    }

    /// Visits them in ascending order.
    #[inline]
    pub(crate) fn each(self, mut visit: impl FnMut(usize)) {
        for (at, mut word) in self.0.into_iter().enumerate() {
            while word != 0 {
                visit(at * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
    }
}

/// Locked shards, and the hash that was computed to find the shard of a single key.
pub(crate) struct Locked<'k> {
    pub(crate) held: Held<'k>,
    pub(crate) hashed: (&'k [u8], u64),
}

impl<'k> From<Held<'k>> for Locked<'k> {
    fn from(held: Held<'k>) -> Self {
        // A key is compared by its address, and no key has this one.
        const NO_KEY: &[u8] = &[0];
        Locked {
            held,
            hashed: (NO_KEY, 0),
        }
    }
}

/// So many shards are held without an allocation: those of a value and of what belongs to it.
const FEW: usize = 2;

/// The shards that are locked for a command.
pub(crate) enum Held<'k> {
    /// None: for commands without keys, and for those that walk the shards one by one.
    Nothing,
    Read(usize, RwLockReadGuard<'k, Shard>),
    Write(usize, RwLockWriteGuard<'k, Shard>),
    Reads(SmallVec<[(usize, RwLockReadGuard<'k, Shard>); FEW]>),
    Writes(SmallVec<[(usize, RwLockWriteGuard<'k, Shard>); FEW]>),
}

impl Held<'_> {
    /// A shard, if it is held.
    #[inline]
    pub(crate) fn shard(&self, index: usize) -> Option<&Shard> {
        match self {
            Held::Nothing => None,
            Held::Read(held, shard) => (*held == index).then_some(&**shard),
            Held::Write(held, shard) => (*held == index).then_some(&**shard),
            Held::Reads(shards) => position(shards, index).map(|at| &*shards[at].1),
            Held::Writes(shards) => position(shards, index).map(|at| &*shards[at].1),
        }
    }

    /// A shard, if it is held for writing.
    #[inline]
    pub(crate) fn shard_mut(&mut self, index: usize) -> Option<&mut Shard> {
        match self {
            Held::Write(held, shard) => (*held == index).then_some(&mut **shard),
            Held::Writes(shards) => position(shards, index).map(|at| &mut *shards[at].1),
            Held::Nothing | Held::Read(..) | Held::Reads(_) => None,
        }
    }

    #[inline]
    pub(crate) fn is_exclusive(&self) -> bool {
        matches!(self, Held::Write(..) | Held::Writes(_))
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Held::Nothing)
    }
}

fn position<G>(shards: &[(usize, G)], index: usize) -> Option<usize> {
    shards.binary_search_by_key(&index, |(held, _)| *held).ok()
}
