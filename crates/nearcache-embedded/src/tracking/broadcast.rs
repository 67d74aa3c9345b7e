//! The broadcast mode: which clients are told of changes of keys with which prefix.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::{News, Tracker, Trackers};
use crate::event::Record;
use crate::reply::bulk;

/// The clients of a prefix.
type Clients = Vec<Arc<Tracker>>;
/// A key, and who changed it last.
type Changed<'k> = (&'k [u8], Option<u64>);

#[derive(Debug, Default)]
pub(super) struct Prefixes {
    count: AtomicUsize,
    clients: RwLock<BTreeMap<Box<[u8]>, Clients>>,
}

impl Prefixes {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, prefix: &[u8], tracker: &Arc<Tracker>) {
        let mut clients = self.clients.write();
        clients
            .entry(prefix.into())
            .or_default()
            .push(tracker.clone());
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    pub(super) fn remove(&self, prefix: &[u8], tracker: &Arc<Tracker>) {
        let mut clients = self.clients.write();
        if let Some(of_prefix) = clients.get_mut(prefix) {
            of_prefix.retain(|other| !Arc::ptr_eq(other, tracker));
            if of_prefix.is_empty() {
                clients.remove(prefix);
            }
        }
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// Tells of all changes at once: one message for each prefix, with the keys in order.
    pub(super) fn tell(&self, trackers: &Trackers, records: &[Record], by: Option<u64>) {
        if self.count() == 0 {
            return;
        }
        // Each key with who changed it last.
        let mut changed = BTreeMap::new();
        for record in records {
            match record {
                Record::Changed { key, .. } => changed.insert(&**key, by),
                Record::Dropped { key, .. } => changed.insert(&**key, None),
                _ => None,
            };
        }
        if changed.is_empty() {
            return;
        }
        let mut outgoing: Vec<(Vec<Changed<'_>>, Clients)> = Vec::new();
        for (prefix, clients) in &*self.clients.read() {
            let matching = changed
                .range::<[u8], _>((Bound::Included(&**prefix), Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix));
            let keys: Vec<_> = matching.map(|(key, by)| (*key, *by)).collect();
            if !keys.is_empty() {
                outgoing.push((keys, clients.clone()));
            }
        }
        for (keys, clients) in outgoing {
            let mut to_all = News::of_keys(keys.iter().map(|(key, _)| bulk(key)).collect());
            for tracker in clients {
                if !keys.iter().any(|(_, by)| tracker.is_own(*by)) {
                    trackers.send(&tracker, &mut to_all);
                    continue;
                }
                let others = keys.iter().filter(|(_, by)| !tracker.is_own(*by));
                let others: Vec<_> = others.map(|(key, _)| bulk(key)).collect();
                if !others.is_empty() {
                    trackers.send(&tracker, &mut News::of_keys(others));
                }
            }
        }
    }
}
