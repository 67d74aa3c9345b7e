//! Cells: one for each tag that an entry of the near tier carries. Entries point to the cells of their tags, and a change
//! of a tag's version changes its cell. So however many entries carry a tag, nothing lists them.
//!
//! 1. An entry notes the state of its cells after they were found, and is kept only if the marks of the tags hold then.
//!    A change spoils the marks first, and changes the cell after that: so one of the two is seen.
//! 2. There are at most as many cells as the limit, and as many as entries have tags: those to which no entry points
//!    are removed when the number has doubled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How often a tag was changed.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// By an invalidation: entries from before are no answers any more.
    invalidated: AtomicU64,
    /// In whatever way: entries from before are no hits any more.
    changed: AtomicU64,
}

/// A cell, as an entry has found it.
#[derive(Debug)]
pub(super) struct Pointer {
    cell: Arc<Cell>,
    invalidated: u64,
    changed: u64,
}

#[derive(Debug)]
pub(super) struct Cells {
    table: Mutex<Table>,
    count: AtomicUsize,
    limit: usize,
}

#[derive(Debug, Default)]
struct Table {
    cells: HashMap<Box<[u8]>, Arc<Cell>>,
    /// How many cells there may be before those that are not used are removed.
    next: usize,
}

/// The least number of cells for which it is worthwhile to look.
const FEW: usize = 256;

impl Cells {
    pub(super) fn new(limit: usize) -> Self {
        Cells {
            table: Mutex::default(),
            count: AtomicUsize::new(0),
            limit: limit.max(FEW),
        }
    }

    /// The cell of a tag's version key; `None` if there are too many.
    pub(super) fn point(&self, key: &[u8]) -> Option<Pointer> {
        let mut table = self.table.lock();
        let cell = match table.cells.get(key) {
            Some(cell) => Arc::clone(cell),
            None => {
                if table.cells.len() >= table.next.clamp(FEW, self.limit) {
                    table.cells.retain(|_, cell| Arc::strong_count(cell) > 1);
                    table.next = 2 * table.cells.len();
                    if table.cells.len() >= self.limit {
                        self.count.store(table.cells.len(), Ordering::SeqCst);
                        return None;
                    }
                }
                Arc::clone(table.cells.entry(key.into()).or_default())
            }
        };
        self.count.store(table.cells.len(), Ordering::SeqCst);
        drop(table);
        Some(Pointer {
            invalidated: cell.invalidated.load(Ordering::SeqCst),
            changed: cell.changed.load(Ordering::SeqCst),
            cell,
        })
    }

    /// The version of a tag was changed, if this is its key.
    pub(super) fn change(&self, key: &[u8], invalidated: bool) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let cell = self.table.lock().cells.get(key).cloned();
        if let Some(cell) = cell {
            cell.change(invalidated);
        }
    }

    pub(super) fn invalidate_all(&self) {
        for cell in self.table.lock().cells.values() {
            cell.change(true);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.lock().cells.len()
    }
}

impl Cell {
    fn change(&self, invalidated: bool) {
        self.invalidated
            .fetch_add(u64::from(invalidated), Ordering::SeqCst);
        self.changed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Pointer {
    /// Whether the tag was not changed since.
    #[inline]
    pub(super) fn holds(&self) -> bool {
        self.cell.changed.load(Ordering::Acquire) == self.changed
    }

    /// Whether the tag was not invalidated since.
    pub(super) fn is_valid(&self) -> bool {
        self.cell.invalidated.load(Ordering::Acquire) == self.invalidated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_all_who_point_to_the_tag() {
        let cells = Cells::new(1_000);
        let (one, two) = (cells.point(b"v").unwrap(), cells.point(b"v").unwrap());
        let other = cells.point(b"w").unwrap();
        cells.change(b"v", false);
        assert!(!one.holds() && !two.holds() && one.is_valid() && other.holds());
        cells.change(b"v", true);
        assert!(!one.is_valid() && other.is_valid());
        assert!(cells.point(b"v").unwrap().holds());
        cells.invalidate_all();
        assert!(!other.holds() && !other.is_valid());
    }

    #[test]
    fn invariant_2_they_are_as_many_as_are_pointed_to() {
        let cells = Cells::new(1_000);
        for number in 0..100_000_u32 {
            drop(cells.point(&number.to_be_bytes()));
            assert!(cells.len() <= FEW);
        }
        let held: Vec<_> = (0..2_000_u32)
            .filter_map(|number| cells.point(&number.to_be_bytes()))
            .collect();
        assert_eq!((held.len(), cells.len()), (1_000, 1_000));
        drop(held);
        assert!(cells.point(b"v").is_some());
        assert_eq!(cells.len(), 1);
    }
}
