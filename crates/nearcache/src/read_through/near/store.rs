//! The entries of the near tier, by key, within their bounds. What is read often stays longest.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};
use smallvec::SmallVec;

use super::kept::Kept;

/// How many entries, and how many bytes of them: of their keys and of what Redis holds. `None`: no limit of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) entries: Option<usize>,
    pub(crate) bytes: Option<u64>,
}

/// About how many bytes an entry takes beside its own.
const BESIDE: u64 = 256;

/// A key without its cache's prefix, in its place if it is short: one that lies elsewhere is one more line to fetch for
/// each hit.
type Key = SmallVec<[u8; 40]>;

type Hashing = foldhash::fast::RandomState;

/// A key, and what is kept of it.
///
/// To the store both are the key, and there is no value beside it. A store of values hands out clones of them, and to
/// clone an `Arc` and to drop it again takes as long as the rest of a hit. What compares keys instead sees the entry where
/// it lies: see [`Seek`].
#[derive(Debug)]
struct Slot {
    key: Key,
    kept: Arc<Kept>,
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.key);
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Slot {}

/// Looks for a key, and at what is kept of it, while the entry's place is locked. So `look` takes no time and waits for
/// nobody: it runs no code of users.
struct Seek<'k, L, R> {
    key: &'k [u8],
    look: L,
    found: Cell<Option<R>>,
}

impl<L, R> Hash for Seek<'_, L, R> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.key);
    }
}

impl<L: Fn(&Arc<Kept>) -> Option<R>, R> Equivalent<Slot> for Seek<'_, L, R> {
    #[inline]
    fn equivalent(&self, slot: &Slot) -> bool {
        let same = *self.key == *slot.key;
        if same {
            self.found.set((self.look)(&slot.kept));
        }
        same
    }
}

/// Looks for a key with exactly this entry.
struct Exactly<'k> {
    key: &'k [u8],
    kept: &'k Arc<Kept>,
}

impl Hash for Exactly<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.key);
    }
}

impl Equivalent<Slot> for Exactly<'_> {
    fn equivalent(&self, slot: &Slot) -> bool {
        *self.key == *slot.key && Arc::ptr_eq(self.kept, &slot.kept)
    }
}

/// Which share of the entries are new ones, of which it is not known yet whether they will be read again. In a small cache
/// it is larger, so that an entry is not gone before it could be. The hit ratios of `bench hits/` are best so, or close
/// to it, at each size.
fn cold_share(items: usize) -> f64 {
    const LEAST: f64 = 100.0;
    (LEAST / items as f64).clamp(0.05, 0.18)
}

#[derive(Debug)]
pub(super) struct Store {
    entries: Cache<Slot, (), Weight, Hashing, Evictions>,
    evictions: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Weight {
    limits: Limits,
}

impl Weighter<Slot, ()> for Weight {
    fn weight(&self, slot: &Slot, (): &()) -> u64 {
        let bytes = || (slot.key.len() + slot.kept.entry.bytes().len()) as u64;
        match (self.limits.entries, self.limits.bytes) {
            (_, None) => 1,
            (None, Some(_)) => bytes() + BESIDE,
            // So that as many as the limit of the entries have the weight of all bytes.
            (Some(entries), Some(limit)) => bytes().max(limit.div_ceil(entries.max(1) as u64)),
        }
    }
}

#[derive(Clone, Debug)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Slot, ()> for Evictions {
    type RequestState = Option<Slot>;

    fn begin_request(&self) -> Self::RequestState {
        None
    }

    fn on_evict(&self, state: &mut Self::RequestState, slot: Slot, (): ()) {
        self.0.fetch_add(1, Ordering::Relaxed);
        // Dropped when the lock is released.
        *state = Some(slot);
    }
}

impl Store {
    pub(super) fn new(limits: Limits) -> Self {
        let (items, weight) = match (limits.entries, limits.bytes) {
            (Some(entries), bytes) => (entries, bytes.unwrap_or(entries as u64)),
            (None, Some(bytes)) => (usize::try_from(bytes / 1_024).unwrap_or(usize::MAX), bytes),
            (None, None) => (0, 0),
        };
        let items = items.clamp(1, 1 << 24);
        let evictions = Arc::<AtomicU64>::default();
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(weight)
            .hot_allocation(1.0 - cold_share(items))
            .build();
        Store {
            entries: match options {
                Ok(options) => Cache::with_options(
                    options,
                    Weight { limits },
                    Hashing::default(),
                    Evictions(Arc::clone(&evictions)),
                ),
                // It says nothing of an option that is missing or out of range, because none is.
                Err(_) => Cache::with(
                    items,
                    weight,
                    Weight { limits },
                    Hashing::default(),
                    Evictions(Arc::clone(&evictions)),
                ),
            },
            evictions,
        }
    }

    /// What `look` finds in the entry of a key. It runs while the entry's place is locked, so it calls no code of users,
    /// and drops no entry.
    #[inline]
    pub(super) fn look<R>(&self, key: &[u8], look: impl Fn(&Arc<Kept>) -> Option<R>) -> Option<R> {
        let found = Cell::new(None);
        let seek = Seek { key, look, found };
        self.entries.get(&seek)?;
        seek.found.into_inner()
    }

    /// The entry of a key, without noting that it is used.
    pub(super) fn peek(&self, key: &[u8]) -> Option<Arc<Kept>> {
        let seek = Seek {
            key,
            look: |kept: &Arc<Kept>| Some(Arc::clone(kept)),
            found: Cell::new(None),
        };
        self.entries.peek(&seek)?;
        seek.found.into_inner()
    }

    pub(super) fn insert(&self, key: &[u8], kept: Arc<Kept>) {
        let key = Key::from_slice(key);
        self.entries.insert(Slot { key, kept }, ());
    }

    pub(super) fn remove(&self, key: &[u8]) {
        let look = |_: &Arc<Kept>| None::<()>;
        let found = Cell::new(None);
        self.entries.remove(&Seek { key, look, found });
    }

    /// Removes this entry, if it is still there.
    pub(super) fn remove_this(&self, key: &[u8], kept: &Arc<Kept>) {
        self.entries.remove(&Exactly { key, kept });
    }

    pub(super) fn clear(&self) {
        self.entries.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many it has evicted.
    pub(super) fn evictions(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.evictions)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::super::super::entry::Entry;
    use super::super::kept::State;
    use super::*;

    fn kept(bytes: &[u8]) -> Arc<Kept> {
        Arc::new(Kept {
            until: 1,
            state: State::default(),
            decoded: OnceLock::new(),
            carried: SmallVec::new(),
            tags: SmallVec::new(),
            entry: Entry::new(bytes.to_vec()),
        })
    }

    fn store() -> Store {
        Store::new(Limits {
            entries: Some(100),
            bytes: None,
        })
    }

    #[test]
    fn an_entry_is_seen_where_it_lies() {
        let (store, long) = (store(), vec![b'k'; 1_000]);
        for key in [b"k".as_slice(), &long] {
            let entry = kept(key);
            store.insert(key, Arc::clone(&entry));
            assert_eq!(Arc::strong_count(&entry), 2);
            let seen = store.look(key, |kept| Some(Arc::strong_count(kept)));
            assert_eq!(seen, Some(2), "it was cloned");
            assert_eq!(store.look(key, |_| None::<()>), None);
            assert!(Arc::ptr_eq(&store.peek(key).unwrap(), &entry));
        }
        assert_eq!(store.look(b"other", |_| Some(())), None);
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn only_the_entry_that_is_meant_is_removed_and_a_new_one_takes_the_place_of_the_old_one() {
        let store = store();
        let (old, new) = (kept(b"old"), kept(b"new"));
        store.insert(b"k", Arc::clone(&old));
        store.insert(b"k", Arc::clone(&new));
        assert_eq!(store.len(), 1);
        store.remove_this(b"k", &old);
        assert!(Arc::ptr_eq(&store.peek(b"k").unwrap(), &new));
        store.remove_this(b"k", &new);
        assert!(store.peek(b"k").is_none());
        assert_eq!(Arc::strong_count(&old) + Arc::strong_count(&new), 2);
        store.insert(b"k", new);
        store.remove(b"k");
        assert_eq!(store.len(), 0);
    }
}
