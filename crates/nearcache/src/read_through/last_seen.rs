//! The values that were read last, for [`Fallback::Stale`](crate::Fallback::Stale), which returns them while Redis is
//! away.
//!
//! 1. No value stays here after this process has invalidated it. A read marks its key before it is sent, and its result
//!    is kept only if nothing has poisoned the key since.
//! 2. A value does not stay here after a later read found it dead or absent.
//! 3. It holds at most [`ENTRIES`] entries, of [`BYTES`] bytes together. Values that are read often stay longest.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::entry::{Entry, Judgement};
use crate::keyspace::StoredKey;

const ENTRIES: usize = 10_000;
const BYTES: u64 = 64 * 1024 * 1024;

/// Keys share counters by their hash. Poisoning a key therefore also poisons others, which costs no more than an entry
/// that is not kept.
const COUNTS: usize = 1_024;

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<[u8]>, Arc<[u8]>> for Bytes {
    fn weight(&self, key: &Box<[u8]>, entry: &Arc<[u8]>) -> u64 {
        (key.len() + entry.len()) as u64 + BYTES / ENTRIES as u64 / 8
    }
}

/// The entries that were read last; `None` unless the fallback needs them.
#[derive(Debug)]
pub(super) struct LastSeen(Option<Entries>);

#[derive(Debug)]
struct Entries {
    entries: Cache<Box<[u8]>, Arc<[u8]>, Bytes>,
    /// How often keys of each hash were poisoned.
    poisoned: Box<[AtomicU64]>,
    hasher: foldhash::fast::RandomState,
}

/// Taken before a read: shows whether the key was poisoned since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u64);

impl Entries {
    fn new() -> Self {
        Entries {
            entries: Cache::with_weighter(ENTRIES, BYTES, Bytes),
            poisoned: (0..COUNTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    fn count(&self, key: &[u8]) -> &AtomicU64 {
        &self.poisoned[self.hasher.hash_one(key) as usize % COUNTS]
    }

    fn keep(&self, key: &[u8], entry: &[u8], mark: Mark) {
        let count = self.count(key);
        if count.load(Ordering::SeqCst) != mark.0 {
            return;
        }
        self.entries.insert(key.into(), entry.into());
        // Check again: if the key was poisoned between check and insertion, its removal may have come before the
        // insertion.
        if count.load(Ordering::SeqCst) != mark.0 {
            self.entries.remove(key);
        }
    }
}

impl LastSeen {
    pub(super) fn new(enabled: bool) -> Self {
        LastSeen(enabled.then(Entries::new))
    }

    /// Whether entries are kept at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Marks a key. Call it before a read is sent.
    pub(super) fn mark(&self, key: &StoredKey) -> Option<Mark> {
        let seen = self.0.as_ref()?;
        let count = seen.count(key.as_bytes());
        Some(Mark(count.load(Ordering::SeqCst)))
    }

    /// Keeps an entry that was read under this mark.
    pub(super) fn keep(&self, key: &StoredKey, entry: &[u8], mark: Option<Mark>) {
        if let (Some(seen), Some(mark)) = (&self.0, mark) {
            seen.keep(key.as_bytes(), entry, mark);
        }
    }

    /// Keeps an entry that was read and judged. If the entry is dead or absent, removes the older one, which must not
    /// be returned either.
    pub(super) fn record(
        &self,
        key: &StoredKey,
        entry: Option<&Entry>,
        judgement: Judgement,
        mark: Option<Mark>,
    ) {
        match (entry, &self.0) {
            (Some(entry), _) if judgement != Judgement::Dead => {
                self.keep(key, entry.bytes(), mark);
            }
            (_, Some(seen)) => drop(seen.entries.remove(key.as_bytes())),
            (_, None) => {}
        }
    }

    /// Call when a key is invalidated.
    pub(super) fn poison(&self, key: &StoredKey) {
        if let Some(seen) = &self.0 {
            seen.count(key.as_bytes()).fetch_add(1, Ordering::SeqCst);
            seen.entries.remove(key.as_bytes());
        }
    }

    /// Call when every key is invalidated.
    pub(super) fn poison_all(&self) {
        if let Some(seen) = &self.0 {
            for count in &seen.poisoned {
                count.fetch_add(1, Ordering::SeqCst);
            }
            seen.entries.clear();
        }
    }

    /// The last entry that was read of a key.
    pub(super) fn get(&self, key: &StoredKey) -> Option<Entry> {
        let entry = self.0.as_ref()?.entries.get(key.as_bytes())?;
        Some(Entry::new(entry.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Keyspace;

    fn key(name: &str) -> StoredKey {
        let keyspace = Keyspace::new("", ":").unwrap();
        keyspace.stored(name.as_bytes()).unwrap()
    }

    #[test]
    fn what_was_poisoned_between_mark_and_keep_is_not_kept() {
        let (seen, key) = (LastSeen::new(true), key("k"));
        let mark = seen.mark(&key);
        seen.keep(&key, b"old", mark);
        assert_eq!(seen.get(&key).unwrap().bytes(), b"old");
        let mark = seen.mark(&key);
        seen.poison(&key);
        seen.keep(&key, b"old", mark);
        assert!(seen.get(&key).is_none());
        let mark = seen.mark(&key);
        seen.poison_all();
        seen.keep(&key, b"old", mark);
        assert!(seen.get(&key).is_none());
    }

    #[test]
    fn it_is_bounded() {
        let seen = LastSeen::new(true);
        for number in 0..3 * ENTRIES {
            let key = key(&number.to_string());
            let mark = seen.mark(&key);
            seen.keep(&key, &[0; 10_000], mark);
        }
        let weight = seen.0.unwrap().entries.weight();
        assert!(weight <= BYTES, "{weight}");
    }
}
