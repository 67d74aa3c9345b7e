//! Which clients have read which keys.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use parking_lot::{Mutex, MutexGuard};

use super::Tracker;
use crate::keyspace::access::scatter;

/// Into how many parts, each with a lock, the keys are divided.
const BUCKETS: usize = 64;

/// Keys, and those who have read them. (An index map has an entry at each position, so that any one is found at once.)
type Bucket = IndexMap<Box<[u8]>, Readers, RandomState>;

/// Ordered by number. A client that is gone stays until the key changes, or the list has grown to twice its size.
type Readers = Vec<(u64, Weak<Tracker>)>;

#[derive(Debug)]
pub(super) struct Table {
    hasher: RandomState,
    buckets: Box<[Mutex<Bucket>]>,
    keys: AtomicUsize,
    items: AtomicUsize,
    draws: AtomicU64,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            hasher: RandomState::default(),
            buckets: (0..BUCKETS).map(|_| Mutex::default()).collect(),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            draws: AtomicU64::new(0),
        }
    }
}

impl Table {
    pub(super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// For how many clients keys are remembered, in sum.
    pub(super) fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    fn bucket(&self, key: &[u8]) -> MutexGuard<'_, Bucket> {
        self.buckets[self.hasher.hash_one(key) as usize % BUCKETS].lock()
    }

    /// Remembers that a client has read a key.
    pub(super) fn add(&self, key: &[u8], tracker: &Arc<Tracker>) {
        let mut bucket = self.bucket(key);
        if !bucket.contains_key(key) {
            bucket.insert(key.into(), Vec::new());
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
        let Some(readers) = bucket.get_mut(key) else {
            return;
        };
        let Err(mut at) = readers.binary_search_by_key(&tracker.number, |(number, _)| *number)
        else {
            return;
        };
        if readers.len() == readers.capacity() {
            let before = readers.len();
            readers.retain(|(_, reader)| reader.strong_count() > 0);
            self.items
                .fetch_sub(before - readers.len(), Ordering::Relaxed);
            at = readers.partition_point(|(number, _)| *number < tracker.number);
        }
        readers.insert(at, (tracker.number, Arc::downgrade(tracker)));
        self.items.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets a key, and returns those who have read it.
    pub(super) fn take(&self, key: &[u8]) -> Vec<Arc<Tracker>> {
        let mut bucket = self.bucket(key);
        let Some(readers) = bucket.swap_remove(key) else {
            return Vec::new();
        };
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.items.fetch_sub(readers.len(), Ordering::Relaxed);
        drop(bucket);
        readers
            .iter()
            .filter_map(|(_, reader)| reader.upgrade())
            .collect()
    }

    /// A key picked at random, if there is one.
    pub(super) fn any(&self) -> Option<Box<[u8]>> {
        let draw = scatter(self.draws.fetch_add(1, Ordering::Relaxed));
        let first = draw as usize % BUCKETS;
        for index in (first..BUCKETS).chain(0..first) {
            let bucket = self.buckets[index].lock();
            let at = (draw >> 32) as usize % bucket.len().max(1);
            if let Some((key, _)) = bucket.get_index(at) {
                return Some(key.clone());
            }
        }
        None
    }

    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            let cleared = {
                let mut bucket = bucket.lock();
                let items = bucket.values().map(Vec::len).sum();
                self.keys.fetch_sub(bucket.len(), Ordering::Relaxed);
                self.items.fetch_sub(items, Ordering::Relaxed);
                std::mem::take(&mut *bucket)
            };
            drop(cleared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trackers;
    use super::*;
    use crate::mailbox::Mailbox;

    fn tracker(trackers: &Arc<Trackers>, client: u64) -> super::super::Tracking {
        trackers.join(client, Arc::new(Mailbox::new(Arc::default())))
    }

    #[test]
    fn who_has_read_a_key_is_known_once_until_it_is_taken() {
        let trackers = Arc::new(Trackers::new(Arc::default(), Arc::default()));
        let (one, two) = (tracker(&trackers, 1), tracker(&trackers, 2));
        let table = Table::default();
        for reader in [&two, &one, &two] {
            table.add(b"key", &reader.tracker);
        }
        table.add(b"other", &one.tracker);
        assert_eq!((table.keys(), table.items()), (2, 3));
        let clients: Vec<_> = table
            .take(b"key")
            .iter()
            .map(|known| known.client)
            .collect();
        assert_eq!(clients, [1, 2]);
        assert_eq!((table.keys(), table.items()), (1, 1));
        assert_eq!(table.any().as_deref(), Some(&b"other"[..]));
        table.clear();
        assert_eq!((table.keys(), table.items(), table.any()), (0, 0, None));
    }

    #[test]
    fn clients_that_are_gone_do_not_pile_up() {
        let trackers = Arc::new(Trackers::new(Arc::default(), Arc::default()));
        let table = Table::default();
        for client in 0..1_000 {
            table.add(b"key", &tracker(&trackers, client).tracker);
        }
        assert!(table.items() < 10);
        assert_eq!(table.take(b"key").len(), 0);
    }
}
