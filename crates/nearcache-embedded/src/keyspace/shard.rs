//! A shard: the data under one lock. It has a part of every database, and the watches of its keys.
//!
//! Tables are changed only through [`Shard::change`], which reports to the store's meter how much memory they gained
//! or lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use foldhash::quality::RandomState;

use super::access::Ticks;
use super::cut::{Cut, Keeper};
use super::entry::Entry;
use super::size::Meter;
use super::table::Table;
use crate::waiting::Queues;

#[derive(Debug)]
pub(crate) struct Shard {
    start: u64,
    bits: u32,
    hasher: RandomState,
    /// By database number. Databases beyond the end have never been written to.
    databases: Vec<Table>,
    pub(crate) ticks: Ticks,
    meter: Arc<Meter>,
    /// The change in memory that was not yet reported to the meter.
    untold: isize,
    watches: Vec<Watch>,
    /// Who waits for its keys.
    pub(crate) queues: Queues,
    /// The number of watches at which dropped ones are next removed.
    purge_at: usize,
}

/// A `WATCH`ed key. The flag belongs to the connection; dropping the flag ends the watch.
#[derive(Debug)]
struct Watch {
    db: u32,
    key: Box<[u8]>,
    dirty: Weak<AtomicBool>,
}

impl Shard {
    pub(super) fn new(start: u64, bits: u32, hasher: RandomState, meter: Arc<Meter>) -> Self {
        Shard {
            start,
            bits,
            hasher,
            databases: Vec::new(),
            ticks: Ticks::default(),
            meter,
            untold: 0,
            watches: Vec::new(),
            queues: Queues::default(),
            purge_at: 16,
        }
    }

    #[inline]
    pub(crate) fn table(&self, db: u32) -> Option<&Table> {
        self.databases.get(db as usize)
    }

    /// Changes a database's table, and accounts for the memory that it then takes.
    pub(crate) fn change<R>(&mut self, db: u32, change: impl FnOnce(&mut Table) -> R) -> R {
        let index = db as usize;
        if index >= self.databases.len() {
            self.make_databases(index + 1);
        }
        let table = &mut self.databases[index];
        let before = table.bytes();
        let result = change(table);
        let grown = table.bytes().cast_signed() - before.cast_signed();
        self.account(grown);
        result
    }

    #[cold]
    fn make_databases(&mut self, count: usize) {
        while self.databases.len() < count {
            let table = Table::new(self.start, self.bits, self.hasher.clone());
            self.account(table.bytes().cast_signed());
            self.databases.push(table);
        }
    }

    #[inline]
    fn account(&mut self, grown: isize) {
        self.untold += grown;
        if self.meter.is_due(self.untold) {
            self.tell();
        }
    }

    /// Reports everything that the meter does not know yet.
    pub(crate) fn tell(&mut self) {
        self.meter.add(std::mem::take(&mut self.untold));
    }

    #[cfg(any(fuzzing, test))]
    pub(crate) fn untold(&self) -> isize {
        self.untold
    }

    /// How much memory all databases take.
    pub(crate) fn bytes(&self) -> usize {
        self.databases.iter().map(Table::bytes).sum()
    }

    /// The databases that have ever been written to, with their numbers.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (u32, &Table)> {
        (0..).zip(&self.databases)
    }

    pub(crate) fn has_volatile(&self) -> bool {
        self.databases.iter().any(|table| table.volatile() > 0)
    }

    pub(crate) fn is_due(&self, now: i64) -> bool {
        self.databases.iter().any(|table| table.is_due(now))
    }

    /// Begins to read what the shard holds now: see [`super::cut`].
    pub(super) fn begin_cut(&mut self, keeper: &Arc<dyn Keeper>) {
        for (db, table) in (0..).zip(&mut self.databases) {
            table.begin_cut(db, keeper);
        }
    }

    pub(super) fn end_cut(&mut self) {
        self.databases.iter_mut().for_each(Table::end_cut);
    }

    /// Visits a few entries of the cut. Returns whether there may be more.
    pub(crate) fn walk_cut(&self, mut visit: impl FnMut(u32, &Entry) -> bool) -> bool {
        for table in &self.databases {
            if table.cut().is_some_and(|cut| cut.next().is_some()) {
                table.walk_cut(&mut visit);
                return true;
            }
        }
        false
    }

    /// Empties a database and returns its contents, which must be dropped after the lock is released.
    pub(crate) fn clear(&mut self, db: u32) -> Option<Table> {
        let emptied = Table::new(self.start, self.bits, self.hasher.clone());
        let left = emptied.bytes().cast_signed();
        let table = self.databases.get_mut(db as usize)?;
        let cleared = std::mem::replace(table, emptied);
        self.account(left - cleared.bytes().cast_signed());
        self.watches.retain(|watch| {
            let hit = watch.db == db && cleared.contains(&watch.key);
            hit.then(|| watch.touch()).is_none()
        });
        Cut::give(cleared)
    }

    /// Exchanges the contents of two databases.
    pub(crate) fn swap(&mut self, a: u32, b: u32) {
        self.make_databases(a.max(b) as usize + 1);
        let databases = &mut self.databases;
        self.watches.retain(|watch| {
            let there = |db: u32| databases[db as usize].contains(&watch.key);
            let hit = [a, b].contains(&watch.db) && (there(a) || there(b));
            hit.then(|| watch.touch()).is_none()
        });
        databases.swap(a as usize, b as usize);
    }

    pub(crate) fn watch(&mut self, db: u32, key: &[u8], dirty: Weak<AtomicBool>) {
        if self.watches.len() >= self.purge_at {
            self.watches.retain(|watch| watch.dirty.strong_count() > 0);
            self.purge_at = (self.watches.len() * 2).max(16);
        }
        self.watches.push(Watch {
            db,
            key: key.into(),
            dirty,
        });
    }

    /// Marks the watches of this key as changed.
    #[inline]
    pub(crate) fn touch(&mut self, db: u32, key: &[u8]) {
        if !self.watches.is_empty() {
            self.watches.retain(|watch| {
                let hit = watch.db == db && *watch.key == *key;
                hit.then(|| watch.touch()).is_none()
            });
        }
    }
}

impl Watch {
    fn touch(&self) {
        if let Some(dirty) = self.dirty.upgrade() {
            // The shard's lock orders this store before the check in EXEC.
            dirty.store(true, Ordering::Relaxed);
        }
    }
}
