//! Consumer groups: how far a group has read, and which entries its consumers have not acknowledged.
//!
//! Invariants:
//! 1. An id is pending in a group for exactly one consumer: `pending` names the consumer, and the id is among the
//!    consumer's own.
//! 2. `names` sums up the memory of the consumers' names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::entries::Entries;
use super::id::Id;
use super::tree;
use crate::keyspace::size::block;

#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The last entry that was delivered.
    pub(crate) last_id: Id,
    /// How many of all entries ever added were delivered, if that is known.
    pub(crate) entries_read: Option<i64>,
    pending: BTreeMap<Id, Pending>,
    consumers: BTreeMap<Name, Consumer>,
    names: usize,
}

pub(crate) type Name = Arc<[u8]>;

/// An entry that was delivered and is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) consumer: Name,
    /// When, in unix milliseconds.
    pub(crate) delivered: i64,
    pub(crate) deliveries: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Consumer {
    /// When it last did something, in unix milliseconds.
    pub(crate) seen: i64,
    pending: BTreeSet<Id>,
}

impl Consumer {
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The pending ids from this one on.
    pub(crate) fn from(&self, start: Id) -> impl Iterator<Item = Id> {
        self.pending.range(start..).copied()
    }
}

/// How many deliveries an entry has had after one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deliveries {
    /// As many as before.
    Same,
    OneMore,
    Exactly(i64),
}

impl Group {
    pub(super) fn new(last_id: Id, entries_read: Option<i64>) -> Self {
        Group {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            consumers: BTreeMap::new(),
            names: 0,
        }
    }

    /// How much memory it takes on the heap: about, because the nodes of trees are not counted one by one.
    pub(super) fn heap(&self) -> usize {
        self.names
            + tree(self.consumers.len(), size_of::<(Name, Consumer)>())
            + tree(self.pending.len(), size_of::<(Id, Pending)>())
            + tree(self.pending.len(), size_of::<Id>())
    }

    #[cfg(test)]
    pub(super) fn recount(&self) -> usize {
        let mut seen = 0;
        for (name, consumer) in &self.consumers {
            for id in &consumer.pending {
                assert_eq!(self.pending[id].consumer, *name);
            }
            seen += consumer.pending.len();
        }
        assert_eq!(seen, self.pending.len());
        self.consumers.keys().map(name_heap).sum()
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.names
    }

    pub(crate) fn pending(&self) -> &BTreeMap<Id, Pending> {
        &self.pending
    }

    pub(crate) fn consumers(&self) -> &BTreeMap<Name, Consumer> {
        &self.consumers
    }

    pub(crate) fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// The consumer of that name, which is seen now; or a new one. Returns whether it is new.
    pub(crate) fn see(&mut self, name: &[u8], now: i64) -> bool {
        let known = self.consumers.get_mut(name);
        let is_new = known.is_none();
        match known {
            Some(consumer) => consumer.seen = now,
            None => {
                self.create(name, now);
            }
        }
        is_new
    }

    /// Makes a consumer, and returns whether there was none of that name.
    pub(crate) fn create(&mut self, name: &[u8], now: i64) -> bool {
        if self.consumers.contains_key(name) {
            return false;
        }
        let name = Name::from(name);
        self.names += name_heap(&name);
        let consumer = Consumer {
            seen: now,
            ..Consumer::default()
        };
        self.consumers.insert(name, consumer);
        true
    }

    /// Removes a consumer with its pending entries, and returns how many these were.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<usize> {
        let (name, consumer) = self.consumers.remove_entry(name)?;
        self.names -= name_heap(&name);
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// Notes that an entry is delivered for the first time, if it is beyond what was. Returns whether it is.
    pub(crate) fn advance(&mut self, entries: &Entries, id: Id) -> bool {
        if id <= self.last_id {
            return false;
        }
        if let Some(read) = self.entries_read
            && !has_gap_from(entries, id)
        {
            self.entries_read = Some(read.wrapping_add(1));
        } else if entries.added > 0 {
            self.entries_read = distance(entries, id);
        }
        self.last_id = id;
        true
    }

    /// How many entries are still to be delivered, if that can be known.
    pub(crate) fn lag(&self, entries: &Entries) -> Option<i64> {
        let added = entries.added.cast_signed();
        if added == 0 {
            return Some(0);
        }
        let read = match self.entries_read {
            Some(read) if !has_gap_from(entries, self.last_id) => Some(read),
            _ => distance(entries, self.last_id),
        };
        read.map(|read| added.wrapping_sub(read))
    }

    /// Makes an entry pending for a consumer that exists, whoever had it before.
    pub(crate) fn assign(
        &mut self,
        id: Id,
        consumer: &[u8],
        delivered: i64,
        deliveries: Deliveries,
    ) {
        let Some((name, _)) = self.consumers.get_key_value(consumer) else {
            return;
        };
        let name = name.clone();
        match self.pending.get_mut(&id) {
            Some(pending) => {
                pending.delivered = delivered;
                pending.deliveries = deliveries.after(pending.deliveries);
                if *pending.consumer == *name {
                    return;
                }
                let before = std::mem::replace(&mut pending.consumer, name.clone());
                if let Some(before) = self.consumers.get_mut(&before) {
                    before.pending.remove(&id);
                }
            }
            None => {
                let pending = Pending {
                    consumer: name.clone(),
                    delivered,
                    deliveries: deliveries.after(1),
                };
                self.pending.insert(id, pending);
            }
        }
        if let Some(consumer) = self.consumers.get_mut(&name) {
            consumer.pending.insert(id);
        }
    }

    /// Ends the wait for an acknowledgement.
    pub(crate) fn release(&mut self, id: Id) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if let Some(consumer) = self.consumers.get_mut(&pending.consumer) {
            consumer.pending.remove(&id);
        }
        Some(pending)
    }
}

impl Deliveries {
    fn after(self, before: i64) -> i64 {
        match self {
            Deliveries::Same => before,
            Deliveries::OneMore => before.wrapping_add(1),
            Deliveries::Exactly(count) => count,
        }
    }
}

fn name_heap(name: &Name) -> usize {
    block(name.len() + 2 * size_of::<usize>())
}

/// Whether an entry may have been deleted from this id on, so that counts of what was read do not hold.
fn has_gap_from(entries: &Entries, id: Id) -> bool {
    let deleted = entries.max_deleted_id;
    entries.len() > 0 && deleted != Id::MIN && entries.first_id() <= deleted && id <= deleted
}

/// How many entries were ever added up to this id, if that can be known: of the last entry, the first, and what is
/// before it.
fn distance(entries: &Entries, id: Id) -> Option<i64> {
    let added = entries.added.cast_signed();
    let len = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    if added == 0 {
        return Some(0);
    }
    if id == entries.last_id || len == 0 && id < entries.last_id {
        return Some(added);
    }
    let (first, deleted) = (entries.first_id(), entries.max_deleted_id);
    if id > entries.last_id || deleted != Id::MIN && deleted >= first {
        return None;
    }
    match id.cmp(&first) {
        std::cmp::Ordering::Less => Some(added.wrapping_sub(len)),
        std::cmp::Ordering::Equal => Some(added.wrapping_sub(len).wrapping_add(1)),
        std::cmp::Ordering::Greater => None,
    }
}
