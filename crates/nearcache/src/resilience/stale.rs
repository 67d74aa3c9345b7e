//! What was read last, for [`Fallback::Stale`](super::Fallback::Stale): answers while Redis is away.
//!
//! 1. Nothing stays here that this process has invalidated since it was read: a read marks its key before
//!    it is sent, and what it brought is put here only if nothing has poisoned the key meanwhile.
//! 2. What a later read found dead or gone does not stay here.
//! 3. It holds at most [`ENTRIES`] entries of [`BYTES`] bytes together; what is read often stays longest.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

const ENTRIES: usize = 10_000;
const BYTES: u64 = 64 * 1024 * 1024;

/// Keys that share one count poison each other's reads, which costs nothing but an entry.
const COUNTS: usize = 1_024;

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<[u8]>, Arc<[u8]>> for Bytes {
    fn weight(&self, key: &Box<[u8]>, entry: &Arc<[u8]>) -> u64 {
        (key.len() + entry.len()) as u64 + BYTES / ENTRIES as u64 / 8
    }
}

/// Entries as they were read last.
#[derive(Debug)]
pub(crate) struct LastSeen {
    entries: Cache<Box<[u8]>, Arc<[u8]>, Bytes>,
    /// How often keys of a hash were poisoned.
    poisoned: Box<[AtomicU64]>,
    hasher: foldhash::fast::RandomState,
}

/// Stands for one read of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl LastSeen {
    pub(crate) fn new() -> Self {
        LastSeen {
            entries: Cache::with_weighter(ENTRIES, BYTES, Bytes),
            poisoned: (0..COUNTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    fn count(&self, key: &[u8]) -> &AtomicU64 {
        &self.poisoned[self.hasher.hash_one(key) as usize % COUNTS]
    }

    /// Before a read is sent.
    pub(crate) fn mark(&self, key: &[u8]) -> Mark {
        Mark(self.count(key).load(Ordering::SeqCst))
    }

    /// What the read brought.
    pub(crate) fn keep(&self, key: &[u8], entry: &[u8], mark: Mark) {
        let count = self.count(key);
        if count.load(Ordering::SeqCst) != mark.0 {
            return;
        }
        self.entries.insert(key.into(), entry.into());
        // Poisoned between the look and the insertion: the poisoner may have removed before we inserted.
        if count.load(Ordering::SeqCst) != mark.0 {
            self.entries.remove(key);
        }
    }

    /// The key is invalidated.
    pub(crate) fn poison(&self, key: &[u8]) {
        self.count(key).fetch_add(1, Ordering::SeqCst);
        self.entries.remove(key);
    }

    /// Everything is.
    pub(crate) fn poison_all(&self) {
        for count in &self.poisoned {
            count.fetch_add(1, Ordering::SeqCst);
        }
        self.entries.clear();
    }

    /// The key was read, and there is nothing to answer with.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.entries.remove(key);
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.entries.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_poisoned_between_mark_and_keep_is_not_kept() {
        let seen = LastSeen::new();
        let mark = seen.mark(b"k");
        seen.keep(b"k", b"old", mark);
        assert_eq!(seen.get(b"k").as_deref(), Some(&b"old"[..]));
        let mark = seen.mark(b"k");
        seen.poison(b"k");
        seen.keep(b"k", b"old", mark);
        assert!(seen.get(b"k").is_none());
        let mark = seen.mark(b"k");
        seen.poison_all();
        seen.keep(b"k", b"old", mark);
        assert!(seen.get(b"k").is_none());
    }

    #[test]
    fn it_is_bounded() {
        let seen = LastSeen::new();
        for number in 0..3 * ENTRIES {
            let key = number.to_string();
            let mark = seen.mark(key.as_bytes());
            seen.keep(key.as_bytes(), &[0; 10_000], mark);
        }
        assert!(seen.entries.weight() <= BYTES, "{}", seen.entries.weight());
    }
}
