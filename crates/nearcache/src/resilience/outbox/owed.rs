//! Sweeps that are owed: a part of a keyspace whose keys must be deleted, and how far the deletion has come.
//!
//! 1. A sweep goes on page by page from where it is, whatever comes meanwhile. It begins again only on another server,
//!    or after its end if it was owed once more before.
//! 2. Until it ends, the keys that it is about count as invalidated. A command that names one of them takes it over:
//!    the sweep spares it from then on, and an invalidation of its own is sent before the command.

use std::collections::HashSet;
use std::hash::BuildHasher;

use smallvec::SmallVec;

use super::super::glob;
use super::super::invalidation::{Invalidation, Kind};
use super::super::sweep::EVERYTHING;
use crate::keyspace::Keyspace;

/// The maximum number of keys that a sweep spares. Beyond it, a key is deleted whenever it is read, and perhaps once
/// more by the sweep.
const SPARED: usize = 1 << 18;

/// A part of a keyspace.
pub(super) type Sweep = (Keyspace, Scope);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Scope {
    /// The keys that match a caller's pattern, whatever they hold.
    Asked(Vec<u8>),
    /// The keys and leases that are marked.
    Marked,
    /// Every entry. Nobody asked for it, so only strings are deleted: entries are strings.
    Entries,
    /// Every lease.
    Leases,
}

impl Scope {
    /// The pattern of its keys.
    pub(super) fn pattern(&self) -> &[u8] {
        match self {
            Scope::Asked(pattern) => pattern,
            _ => EVERYTHING,
        }
    }

    fn is_everything(&self) -> bool {
        matches!(self, Scope::Entries)
            || matches!(self, Scope::Asked(pattern) if pattern == EVERYTHING)
    }
}

/// Hashes of names, with seeds that no other process has. An invalidation too many does no harm, but one too few does.
/// So 64 bits are enough for what is deleted, and 128 are used for what is spared.
#[derive(Debug, Default)]
pub(super) struct Hashes([foldhash::quality::RandomState; 2]);

impl Hashes {
    pub(super) fn of(&self, name: &[u8]) -> u128 {
        let [high, low] = [&self.0[0], &self.0[1]].map(|seed| seed.hash_one(name));
        u128::from(high) << 64 | u128::from(low)
    }
}

/// The short form of a hash.
pub(super) fn mark(hash: u128) -> u64 {
    hash as u64
}

/// The position of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Changes when the sweep begins again.
    pub(super) round: u64,
    /// Whether the leases are done. They go first: only then can no earlier load fill a key that was just deleted.
    pub(super) leases_are_done: bool,
    /// Which of the primaries is scanned.
    pub(super) primary: usize,
    /// The cursor of the scan there.
    pub(super) cursor: u64,
}

/// A sweep that is owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The number of the newest call that owes it.
    pub(super) number: u64,
    pub(super) position: Position,
    /// Whether a page was asked for since it began.
    begun: bool,
    /// Whether it was owed once more while it was under way.
    again: bool,
    /// The keys that were taken over from it.
    spared: HashSet<u128>,
    /// Of a [`Scope::Marked`].
    marks: Marks,
}

/// The hashes of keys and leases whose invalidations wait.
#[derive(Debug, Default)]
struct Marks {
    now: Marked,
    /// Those that came while the sweep was under way, which may have passed them.
    later: Marked,
}

#[derive(Debug, Default)]
struct Marked {
    entries: HashSet<u64>,
    leases: HashSet<u64>,
}

impl Marked {
    fn len(&self) -> usize {
        self.entries.len() + self.leases.len()
    }

    fn of(&mut self, lease: bool) -> &mut HashSet<u64> {
        if lease {
            &mut self.leases
        } else {
            &mut self.entries
        }
    }
}

impl Owed {
    /// Owes it once more: what was spared may have come back since.
    pub(super) fn owe(&mut self, number: u64) {
        self.number = number;
        self.again |= self.begun;
        self.spared.clear();
    }

    /// Its position, for the next page.
    pub(super) fn next(&mut self) -> Position {
        self.begun = true;
        self.position
    }

    /// Begins again, because of another server.
    pub(super) fn restart(&mut self, number: u64) {
        self.number = number;
        self.again = false;
        self.spared.clear();
        let later = std::mem::take(&mut self.marks.later);
        self.marks.now.entries.extend(later.entries);
        self.marks.now.leases.extend(later.leases);
        self.begin();
    }

    /// Goes round once more after this round, because keys may have moved past it.
    #[cfg(feature = "cluster")]
    pub(super) fn go_round_again(&mut self) {
        self.again |= self.begun;
    }

    fn begin(&mut self) {
        self.begun = false;
        self.position = Position {
            round: self.position.round + 1,
            ..Position::default()
        };
    }

    /// Marks a key or a lease.
    pub(super) fn mark(&mut self, mark: u64, lease: bool) {
        let marks = if self.begun {
            &mut self.marks.later
        } else {
            &mut self.marks.now
        };
        marks.of(lease).insert(mark);
    }

    /// How many keys and leases are marked.
    pub(super) fn marked(&self) -> usize {
        self.marks.now.len() + self.marks.later.len()
    }

    /// Whether it is about this name, and how it must be invalidated.
    fn is_about(&self, (keyspace, scope): &Sweep, name: &[u8], hash: u128) -> Option<Kind> {
        let about = match scope {
            Scope::Marked => {
                let marked = |lease: bool| {
                    let marks = [&self.marks.now, &self.marks.later];
                    marks.into_iter().any(|marks| {
                        let marks = if lease { &marks.leases } else { &marks.entries };
                        marks.contains(&mark(hash))
                    })
                };
                if marked(true) && keyspace.is_lease(name) {
                    return Some(Kind::Lease);
                }
                (marked(false) && keyspace.user(name).is_some()).then_some(Kind::Entry)
            }
            Scope::Leases => keyspace.is_lease(name).then_some(Kind::Lease),
            Scope::Entries => keyspace.user(name).map(|_| Kind::String),
            Scope::Asked(pattern) => keyspace
                .user(name)
                .filter(|key| glob::matches(pattern, key))
                .map(|_| Kind::Entry),
        };
        about.filter(|_| !self.spared.contains(&hash))
    }

    /// Whether a key counts as invalidated because of it.
    pub(super) fn hides(&self, sweep: &Sweep, name: &[u8], hash: u128) -> bool {
        let about = self.is_about(sweep, name, hash);
        matches!(about, Some(Kind::Entry | Kind::String))
    }

    /// Takes a name over from it, if it is about it.
    pub(super) fn take_over(&mut self, sweep: &Sweep, name: &[u8], hash: u128) -> Option<Kind> {
        let (keyspace, scope) = sweep;
        // A version or an index that is used again is not deleted any more.
        if scope.is_everything() && keyspace.is_tag_or_index(name) {
            self.spare(hash);
            return None;
        }
        let kind = self.is_about(sweep, name, hash)?;
        if *scope == Scope::Marked {
            for marks in [&mut self.marks.now, &mut self.marks.later] {
                marks.of(kind == Kind::Lease).remove(&mark(hash));
            }
        } else {
            self.spare(hash);
        }
        Some(kind)
    }

    fn spare(&mut self, hash: u128) {
        if self.spared.len() < SPARED {
            self.spared.insert(hash);
        }
    }

    /// Which keys of a page must be deleted.
    pub(super) fn doomed(
        &self,
        sweep: &Sweep,
        found: Vec<Vec<u8>>,
        hashes: &Hashes,
    ) -> Vec<Vec<u8>> {
        let (keyspace, scope) = sweep;
        let about = |name: &[u8]| self.is_about(sweep, name, hashes.of(name)).is_some();
        let mut doomed = found;
        if self.position.leases_are_done {
            // Without entries, tag versions and the index have no use.
            let useless = |name: &[u8]| {
                scope.is_everything()
                    && keyspace.is_tag_or_index(name)
                    && !self.spared.contains(&hashes.of(name))
            };
            doomed.retain(|name| about(name) || useless(name));
        } else {
            // Whatever key it belongs to: the lease of a key that was taken over was deleted then.
            let spared = |entry: &[u8]| self.spared.contains(&hashes.of(entry));
            doomed.retain(|lease| {
                keyspace.is_lease(lease)
                    && !keyspace.entries_of(lease).any(spared)
                    && (about(lease) || keyspace.entries_of(lease).any(about))
            });
        }
        doomed
    }

    /// Goes on after a page. `next`: the cursor of the next one, 0 after the last of a primary; `None` after the last of
    /// all. Returns whether this was its end. Adds to `done` what it has deleted for good.
    pub(super) fn go_on(
        &mut self,
        (keyspace, scope): &Sweep,
        next: Option<u64>,
        deleted: &[Vec<u8>],
        hashes: &Hashes,
        done: &mut SmallVec<[Invalidation; 4]>,
    ) -> bool {
        let leases = !self.position.leases_are_done;
        if *scope == Scope::Marked {
            for name in deleted {
                // Not those that were marked since: the mark may be newer than the deletion.
                if self.marks.now.of(leases).remove(&mark(hashes.of(name))) {
                    done.push(Invalidation {
                        kind: if leases { Kind::Lease } else { Kind::Entry },
                        name: name.as_slice().into(),
                        prefix: keyspace.prefix_len(),
                    });
                }
            }
        }
        self.position.cursor = next.unwrap_or(0);
        match next {
            Some(0) => {
                self.position.primary += 1;
                return false;
            }
            Some(_) => return false,
            None => self.position.primary = 0,
        }
        if leases && *scope != Scope::Leases {
            self.position.leases_are_done = true;
            return false;
        }
        self.begin();
        self.marks.now = std::mem::take(&mut self.marks.later);
        !std::mem::take(&mut self.again) && self.marked() == 0
    }
}
