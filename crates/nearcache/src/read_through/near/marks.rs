//! Marks: a mark stands for one read, from before it is sent until what it found is kept. It shows whether the key was
//! changed, or may have been, in between.
//!
//! Keys share counters by their hash. To change a key therefore spoils the marks of others, too, which costs no more than an
//! entry that is not kept. So all marks together have a fixed size.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use crate::connect::Carried;

/// How many counters there are.
const COUNTS: usize = 4_096;

/// How often the keys of one hash were changed.
#[derive(Debug, Default)]
struct Count {
    /// By an invalidation: what was read is not even an answer for the time when Redis is away.
    invalidated: AtomicU64,
    /// By whatever it was, an invalidation too: what was read is no hit.
    changed: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Marks {
    counts: Box<[Count]>,
    hasher: foldhash::fast::RandomState,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Mark {
    at: usize,
    invalidated: u64,
    changed: u64,
}

/// A mark, and what the news of later changes come by.
#[derive(Clone, Debug)]
pub(in super::super) struct Reading {
    pub(super) mark: Mark,
    /// Those of the key, and of the versions of its tags, each once.
    pub(super) carried: SmallVec<[Carried; 1]>,
    /// Whether the news of one of them do not come, so that what is read is no hit later.
    pub(super) untold: bool,
    /// How commands went to servers when the carriers were noted.
    pub(super) routes: u64,
    /// When the read was sent at the earliest, by the tier's clock.
    pub(super) sent: u64,
    /// How long Redis keeps the entry, in ms (-1: for ever), if that was asked.
    pub(super) left: Option<i64>,
    /// The marks of the entry's tags, by their version keys, from before the versions were read.
    pub(super) tags: Vec<(Vec<u8>, Mark)>,
}

impl Reading {
    /// How long Redis keeps what was read: the reply to `PTTL`, if there is one.
    pub(in super::super) fn set_left(&mut self, left: Option<i64>) {
        self.left = left;
    }

    /// What else the news come by.
    pub(super) fn carry(&mut self, carried: Option<Carried>) {
        match carried {
            Some(carried) if self.carried.iter().any(|known| known.is(&carried)) => {}
            Some(carried) => self.carried.push(carried),
            None => self.untold = true,
        }
    }
}

impl Marks {
    pub(super) fn new() -> Self {
        Marks {
            counts: (0..COUNTS).map(|_| Count::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    pub(super) fn mark(&self, key: &[u8]) -> Mark {
        let at = self.hasher.hash_one(key) as usize % COUNTS;
        let count = &self.counts[at];
        Mark {
            at,
            invalidated: count.invalidated.load(Ordering::SeqCst),
            changed: count.changed.load(Ordering::SeqCst),
        }
    }

    /// Whether the key was not changed since.
    pub(super) fn holds(&self, mark: Mark) -> bool {
        self.counts[mark.at].changed.load(Ordering::SeqCst) == mark.changed
    }

    /// Whether the key was not invalidated since.
    pub(super) fn is_valid(&self, mark: Mark) -> bool {
        self.counts[mark.at].invalidated.load(Ordering::SeqCst) == mark.invalidated
    }

    /// The key was changed, by the write that this mark stands for. Returns a mark from now on, if nothing else has
    /// changed it.
    pub(super) fn renew(&self, mark: Mark) -> Option<Mark> {
        let changed = mark.changed + 1;
        let renewed = self.counts[mark.at].changed.compare_exchange(
            mark.changed,
            changed,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        renewed.is_ok().then_some(Mark { changed, ..mark })
    }

    pub(super) fn change(&self, key: &[u8]) {
        let at = self.hasher.hash_one(key) as usize % COUNTS;
        self.counts[at].changed.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn invalidate(&self, key: &[u8]) {
        let at = self.hasher.hash_one(key) as usize % COUNTS;
        self.counts[at].invalidate();
    }

    pub(super) fn invalidate_all(&self) {
        for count in &self.counts {
            count.invalidate();
        }
    }
}

impl Count {
    fn invalidate(&self) {
        self.invalidated.fetch_add(1, Ordering::SeqCst);
        self.changed.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_until_its_key_is_changed() {
        let marks = Marks::new();
        let mark = marks.mark(b"k");
        assert!(marks.holds(mark) && marks.is_valid(mark));
        marks.change(b"k");
        assert!(!marks.holds(mark) && marks.is_valid(mark));
        marks.invalidate(b"k");
        assert!(!marks.is_valid(mark));
        let mark = marks.mark(b"k");
        marks.invalidate_all();
        assert!(!marks.holds(mark) && !marks.is_valid(mark));
    }

    #[test]
    fn a_write_renews_its_own_mark_and_spoils_all_others() {
        let marks = Marks::new();
        let (mine, other) = (marks.mark(b"k"), marks.mark(b"k"));
        let renewed = marks.renew(mine).unwrap();
        assert!(marks.holds(renewed) && !marks.holds(other));
        marks.change(b"k");
        assert!(marks.renew(renewed).is_none());
    }
}
