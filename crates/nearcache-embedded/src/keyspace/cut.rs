//! A cut: what a table held at one moment, read bit by bit while the table goes on changing.
//!
//! There is no fork here, so a consistent copy of the whole key space is made like this: with all shards locked, every
//! table gets a cut. That takes microseconds. Then someone walks the tables, a few entries at a time, each time under
//! a shared lock. Whoever changes an entry in between hands its old value to the cut's [`Keeper`] first.
//!
//! Invariants:
//! 1. Every entry that the table held when the cut began is visited or kept exactly once, as it was at that moment.
//! 2. No entry that was made later is visited or kept.
//! 3. A position that was walked is never walked again, so an entry at a hash before `next` needs no care.
//!
//! The table's own [`put`](super::table::Table::put), [`edit`](super::table::Table::edit) and the removals are the only
//! ways to change an entry, and they call [`Cut::before_change`]: commands need not know of cuts.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::entry::Entry;
use super::table::Table;

/// Takes what is about to change before it was walked. It is called with a shard locked, so it must not lock another.
pub(crate) trait Keeper: Send + Sync {
    fn keep(&self, db: u32, entry: &Entry);

    /// Takes a whole table that was emptied. What its cut has not seen yet must be [walked](Table::walk_cut).
    fn keep_table(&self, table: Table);
}

pub(crate) struct Cut {
    /// The database when the cut began. (The tables of two databases may be swapped since then.)
    db: u32,
    keeper: Arc<dyn Keeper>,
    progress: Mutex<Progress>,
}

struct Progress {
    /// The position to walk on from; `None` when everything was walked.
    next: Option<u64>,
    /// The keys from there on that changed since the cut began: kept, or made new.
    changed: HashSet<Box<[u8]>>,
}

impl Cut {
    pub(super) fn new(db: u32, start: u64, keeper: Arc<dyn Keeper>) -> Self {
        Cut {
            db,
            keeper,
            progress: Mutex::new(Progress {
                next: Some(start),
                changed: HashSet::new(),
            }),
        }
    }

    pub(super) fn db(&self) -> u32 {
        self.db
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.progress.lock().next
    }

    /// Must be called before the entry at a key changes, or is removed; with `None` before one is made.
    pub(super) fn before_change(&self, hash: u64, key: &[u8], entry: Option<&Entry>) {
        let mut progress = self.progress.lock();
        if progress.next.is_none_or(|next| hash < next) || progress.changed.contains(key) {
            return;
        }
        progress.changed.insert(key.into());
        if let Some(entry) = entry {
            self.keeper.keep(self.db, entry);
        }
    }

    /// Whether the walk must leave out this key.
    pub(super) fn has_changed(&self, key: &[u8]) -> bool {
        let progress = self.progress.lock();
        !progress.changed.is_empty() && progress.changed.contains(key)
    }

    pub(super) fn walked_to(&self, next: Option<u64>) {
        let mut progress = self.progress.lock();
        progress.next = next;
        if next.is_none() {
            progress.changed = HashSet::new();
        }
    }

    /// Hands an emptied table to the keeper, unless everything in it was walked.
    pub(super) fn give(table: Table) -> Option<Table> {
        match table.cut() {
            Some(cut) if cut.next().is_some() => {
                let keeper = cut.keeper.clone();
                keeper.keep_table(table);
                None
            }
            _ => Some(table),
        }
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut")
            .field("db", &self.db)
            .field("next", &self.next())
            .finish_non_exhaustive()
    }
}
