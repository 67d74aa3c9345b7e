//! One database's keys within one shard: a hash table in **segments**, each of which covers a contiguous range of the
//! hash space.
//!
//! A hash is a position in `0..2^64`. The top bits choose the shard, the next ones the segment, so walking shards and
//! segments in order walks the space in order. That gives `SCAN` a cursor that stays valid however the table grows or
//! shrinks in between: the position up to which all keys were returned. A full segment is split in two, by the next
//! bit; two halves that are nearly empty are joined again. So growth never rehashes the whole table: a split moves at
//! most one segment.
//!
//! Invariants:
//! 1. The segments' ranges partition the shard's range, and an entry is in the segment that covers its hash.
//! 2. `directory[i]` is the segment that covers the i-th of `2^depth` equal parts of the shard's range.
//! 3. A walk that starts at 0 and follows the returned positions sees every entry that exists throughout, exactly
//!    once, whatever is inserted and removed in between.
//! 4. `len` and `volatile` count the entries and those with a deadline; no deadline in a segment is
//!    earlier than its `soonest`.
//! 5. `heap` is the memory of all entries, `slots` that of the segments' own tables, and `frame` that of `directory`
//!    and `segments`.
//!
//! Entries are boxed, so that removing one frees all of its memory except for a slot of eight bytes. With entries
//! inside the slots, evicting small ones would free nothing.
//!
//! [`Table::put`], [`Table::edit`] and [`Table::take`] are the only ways to change an entry, except for its access
//! word: they keep all the sums.

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::access::{Access, Tick};
use super::cut::{Cut, Keeper};
use super::entry::{Deadline, Entry, Given};
use super::key::Key;
use super::size::block;

/// A segment with more entries is split rather than grown: 128 buckets hold this many.
const SEGMENT_MAX: usize = 112;
/// Two halves are joined when they hold no more than this together. That is far enough below [`SEGMENT_MAX`] that one
/// insertion does not split them again.
const SEGMENT_MIN: usize = SEGMENT_MAX / 4;
/// Ranges are never cut finer than this, so a position between two segments has [`CURSOR_BITS`] significant bits.
pub(crate) const CURSOR_BITS: u32 = 48;

#[derive(Debug)]
struct Segment {
    entries: HashTable<Box<Entry>>,
    /// The first position that it covers.
    start: u64,
    /// How many bits its entries have in common, after the shard's bits.
    depth: u32,
    /// A lower bound of the deadlines in it. As long as it is in the future, nothing here has expired.
    soonest: i64,
}

impl Segment {
    fn new(start: u64, depth: u32) -> Self {
        Segment {
            entries: HashTable::new(),
            start,
            depth,
            soonest: i64::MAX,
        }
    }

    fn slots(&self) -> usize {
        block(self.entries.allocation_size())
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    directory: Vec<u32>,
    segments: Vec<Segment>,
    depth: u32,
    /// How many segments are as deep as the directory. If there is none, the directory can be halved.
    deepest: usize,
    len: usize,
    volatile: usize,
    heap: usize,
    slots: usize,
    frame: usize,
    hasher: RandomState,
    /// How many of the hash's top bits choose the shard.
    shard_bits: u32,
    /// While what the table held at some moment is being read.
    cut: Option<Box<Cut>>,
}

impl Table {
    /// The table of the shard whose range begins at `start`.
    pub(crate) fn new(start: u64, shard_bits: u32, hasher: RandomState) -> Self {
        let mut table = Table {
            directory: vec![0],
            segments: vec![Segment::new(start, 0)],
            depth: 0,
            deepest: 1,
            len: 0,
            volatile: 0,
            heap: 0,
            slots: 0,
            frame: 0,
            hasher,
            shard_bits,
            cut: None,
        };
        table.measure();
        table
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many entries have a deadline.
    pub(crate) fn volatile(&self) -> usize {
        self.volatile
    }

    /// How much memory it takes.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.heap + self.slots + self.frame
    }

    /// Measures the frame again, after it has changed.
    fn measure(&mut self) {
        let directory = self.directory.capacity() * size_of::<u32>();
        let segments = self.segments.capacity() * size_of::<Segment>();
        self.frame = block(directory) + block(segments);
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.segments[self.locate(hash)]
            .entries
            .find(spread(hash), |e| *e.key == *key)
            .map(|entry| &**entry)
    }

    /// Gives a key a value and a deadline. Returns whether the key was there, and the deadline that it had. Its count
    /// of uses stays, plus one.
    pub(crate) fn put(
        &mut self,
        hash: u64,
        key: &[u8],
        value: Given<'_>,
        deadline: Option<Deadline>,
        tick: Tick,
    ) -> Option<Option<Deadline>> {
        self.before_change(hash, key);
        let mut index = self.locate(hash);
        let segment = &mut self.segments[index];
        self.volatile += usize::from(deadline.is_some());
        note(&mut segment.soonest, deadline);
        if let Some(entry) = segment.entries.find_mut(spread(hash), |e| *e.key == *key) {
            entry.access.touch(tick);
            self.heap -= entry.data.heap();
            value.replace(&mut entry.data);
            self.heap += entry.data.heap();
            let old = std::mem::replace(&mut entry.deadline, deadline);
            self.volatile -= usize::from(old.is_some());
            return Some(old);
        }
        while self.segments[index].entries.len() >= SEGMENT_MAX && self.split(index) {
            index = self.locate(hash);
        }
        let entry = Box::new(Entry {
            key: Key::from(key),
            data: value.into_data(),
            deadline,
            access: Access::new(tick),
        });
        self.heap += entry.bytes();
        let hasher = &self.hasher;
        let segment = &mut self.segments[index];
        self.slots -= segment.slots();
        segment
            .entries
            .insert_unique(spread(hash), entry, |e| spread(hash_of(hasher, &e.key)));
        self.slots += segment.slots();
        self.len += 1;
        None
    }

    /// Changes an entry in place. Its key must stay the same.
    pub(crate) fn edit<R>(
        &mut self,
        hash: u64,
        key: &[u8],
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        self.before_change(hash, key);
        let index = self.locate(hash);
        let segment = &mut self.segments[index];
        let entry = segment.entries.find_mut(spread(hash), |e| *e.key == *key)?;
        let was_volatile = entry.deadline.is_some();
        self.heap -= entry.bytes();
        let result = change(entry);
        self.heap += entry.bytes();
        self.volatile += usize::from(entry.deadline.is_some());
        self.volatile -= usize::from(was_volatile);
        note(&mut segment.soonest, entry.deadline);
        Some(result)
    }

    /// Removes an entry.
    pub(crate) fn take(&mut self, hash: u64, key: &[u8]) -> Option<Entry> {
        self.take_if(hash, |e| *e.key == *key)
    }

    /// Removes the entry with this hash for which `is_it` is true.
    pub(crate) fn take_if(&mut self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let index = self.locate(hash);
        let occupied = self.segments[index]
            .entries
            .find_entry(spread(hash), |e| is_it(e))
            .ok()?;
        if let Some(cut) = &self.cut {
            let entry = occupied.get();
            cut.before_change(hash, &entry.key, Some(entry));
        }
        let (entry, _) = occupied.remove();
        self.len -= 1;
        self.volatile -= usize::from(entry.deadline.is_some());
        self.heap -= entry.bytes();
        self.join(hash);
        Some(*entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.segments
            .iter()
            .flat_map(|segment| segment.entries.iter())
            .map(|entry| &**entry)
    }

    /// Visits entries from a random place on, each once, until `visit` returns false. If only entries with a deadline
    /// are wanted, it skips segments that have none.
    pub(crate) fn sample(
        &self,
        random: u64,
        volatile_only: bool,
        mut visit: impl FnMut(&Entry) -> bool,
    ) {
        let (before, after) = self
            .segments
            .split_at((random >> 32) as usize % self.segments.len());
        for segment in after.iter().chain(before) {
            let buckets = segment.entries.num_buckets();
            if segment.entries.is_empty() || volatile_only && segment.soonest == i64::MAX {
                continue;
            }
            let first = random as u32 as usize % buckets;
            for index in (first..buckets).chain(0..first) {
                if let Some(entry) = segment.entries.get_bucket(index)
                    && !visit(entry)
                {
                    return;
                }
            }
        }
    }

    /// Visits the entries from position `from` to the end of its segment, and returns the position to continue from;
    /// after the last segment that is the shard's end (0 in the last shard).
    pub(crate) fn walk<'t>(&'t self, from: u64, mut visit: impl FnMut(&'t Entry)) -> u64 {
        let segment = &self.segments[self.locate(from)];
        for entry in &segment.entries {
            // A segment that was joined since then also covers positions that were walked already.
            if from <= segment.start || hash_of(&self.hasher, &entry.key) >= from {
                visit(entry);
            }
        }
        self.end(segment)
    }

    /// Whether something may have expired by `now`.
    pub(crate) fn is_due(&self, now: i64) -> bool {
        self.volatile > 0 && self.segments.iter().any(|segment| segment.soonest <= now)
    }

    /// Removes entries that expired by `now`, segment by segment, until at least `limit` are removed or there are no
    /// more.
    pub(crate) fn expire(&mut self, now: i64, limit: usize, mut removed: impl FnMut(Entry)) {
        let mut position = self.segments[self.directory[0] as usize].start;
        let end = position.wrapping_add(self.span(0));
        let mut count = 0;
        loop {
            let index = self.locate(position);
            let next = self.end(&self.segments[index]);
            let segment = &mut self.segments[index];
            if segment.soonest <= now {
                segment.soonest = i64::MAX;
                let soonest = &mut segment.soonest;
                let (cut, hasher) = (&self.cut, &self.hasher);
                let due = segment.entries.extract_if(|entry| {
                    let expired = entry
                        .deadline
                        .is_some_and(|deadline| deadline.unix_ms() <= now);
                    if !expired {
                        note(soonest, entry.deadline);
                    }
                    expired
                });
                for entry in due {
                    if let Some(cut) = cut {
                        cut.before_change(hash_of(hasher, &entry.key), &entry.key, Some(&entry));
                    }
                    count += 1;
                    self.len -= 1;
                    self.volatile -= 1;
                    self.heap -= entry.bytes();
                    removed(*entry);
                }
                self.join(position);
            }
            if next == end || count >= limit {
                return;
            }
            position = next;
        }
    }

    /// The segment that covers a position.
    #[inline]
    fn locate(&self, position: u64) -> usize {
        // Two shifts, because one by 64 is not allowed.
        let part = position << self.shard_bits >> 1 >> (63 - self.depth);
        self.directory[part as usize] as usize
    }

    /// How many positions a segment of this depth covers, modulo 2^64.
    fn span(&self, depth: u32) -> u64 {
        1u64.checked_shl(64 - self.shard_bits - depth).unwrap_or(0)
    }

    fn end(&self, segment: &Segment) -> u64 {
        segment.start.wrapping_add(self.span(segment.depth))
    }

    /// Enters `index` in the directory for the whole range of its segment.
    fn claim(&mut self, index: usize) {
        let segment = &self.segments[index];
        let parts = 1usize << (self.depth - segment.depth);
        let first = (segment.start << self.shard_bits >> 1 >> (63 - self.depth)) as usize;
        self.directory[first..first + parts].fill(index as u32);
    }

    /// Splits a segment in two. False if its range is too small.
    fn split(&mut self, index: usize) -> bool {
        let depth = self.segments[index].depth + 1;
        if self.shard_bits + depth > CURSOR_BITS {
            return false;
        }
        if depth > self.depth {
            self.directory = self
                .directory
                .iter()
                .flat_map(|&segment| [segment, segment])
                .collect();
            self.depth = depth;
            self.deepest = 0;
        }
        let half = self.span(depth);
        let hasher = &self.hasher;
        let lower = &mut self.segments[index];
        lower.depth = depth;
        let mut upper = Segment::new(lower.start | half, depth);
        upper.soonest = lower.soonest;
        upper
            .entries
            .reserve(SEGMENT_MAX, |e| spread(hash_of(hasher, &e.key)));
        for entry in lower
            .entries
            .extract_if(|e| hash_of(hasher, &e.key) & half != 0)
        {
            let hash = spread(hash_of(hasher, &entry.key));
            upper
                .entries
                .insert_unique(hash, entry, |e| spread(hash_of(hasher, &e.key)));
        }
        self.slots += upper.slots();
        self.segments.push(upper);
        self.measure();
        self.claim(self.segments.len() - 1);
        if depth == self.depth {
            self.deepest += 2;
        }
        true
    }

    /// After a removal, joins the segment at a position with its other half, and the result with its own other half,
    /// as long as both are nearly empty.
    fn join(&mut self, position: u64) {
        while let Some((low, high)) = self.nearly_empty_halves(position) {
            self.merge(low, high);
        }
        let index = self.locate(position);
        let segment = &mut self.segments[index];
        if segment.entries.is_empty() && segment.entries.capacity() > SEGMENT_MIN {
            self.slots -= segment.slots();
            segment.entries = HashTable::new();
        }
    }

    /// The segment at a position and its other half, in order, if they should be joined.
    fn nearly_empty_halves(&self, position: u64) -> Option<(usize, usize)> {
        let index = self.locate(position);
        let Segment {
            ref entries,
            depth,
            start,
            ..
        } = self.segments[index];
        if depth == 0 || entries.len() > SEGMENT_MIN {
            return None;
        }
        let half = self.span(depth);
        let other = self.locate(start ^ half);
        let together = entries.len() + self.segments[other].entries.len();
        if together > SEGMENT_MIN || self.segments[other].depth != depth {
            return None;
        }
        Some(if start & half == 0 {
            (index, other)
        } else {
            (other, index)
        })
    }

    fn merge(&mut self, low: usize, high: usize) {
        let upper = std::mem::replace(&mut self.segments[high], Segment::new(0, 0));
        let depth = upper.depth;
        let hasher = &self.hasher;
        let lower = &mut self.segments[low];
        self.slots -= lower.slots() + upper.slots();
        for entry in upper.entries {
            let hash = spread(hash_of(hasher, &entry.key));
            lower
                .entries
                .insert_unique(hash, entry, |e| spread(hash_of(hasher, &e.key)));
        }
        self.slots += lower.slots();
        lower.soonest = lower.soonest.min(upper.soonest);
        lower.depth = depth - 1;
        self.claim(low);
        self.segments.swap_remove(high);
        if high < self.segments.len() {
            self.claim(high);
        }
        if depth == self.depth {
            self.deepest -= 2;
            self.halve();
        }
    }

    /// Halves the directory as long as no segment needs all of it.
    fn halve(&mut self) {
        while self.deepest == 0 && self.depth > 0 {
            self.directory = self.directory.iter().copied().step_by(2).collect();
            self.depth -= 1;
            self.measure();
            self.deepest = self
                .segments
                .iter()
                .filter(|segment| segment.depth == self.depth)
                .count();
        }
    }
}

fn hash_of(hasher: &RandomState, key: &[u8]) -> u64 {
    hasher.hash_one(key)
}

/// The hash for a segment's own table. The top bits are the same within a segment, but hashbrown uses them to tell
/// entries apart, so they are mixed.
#[inline]
fn spread(hash: u64) -> u64 {
    hash.rotate_left(32)
}

fn note(soonest: &mut i64, deadline: Option<Deadline>) {
    if let Some(deadline) = deadline {
        *soonest = (*soonest).min(deadline.unix_ms());
    }
}

/// Reading what the table held at one moment: see [`super::cut`].
impl Table {
    #[inline]
    fn before_change(&self, hash: u64, key: &[u8]) {
        if let Some(cut) = &self.cut {
            cut.before_change(hash, key, self.get(hash, key));
        }
    }

    /// From now on, whatever changes is first handed to the keeper, until it was walked.
    pub(super) fn begin_cut(&mut self, db: u32, keeper: &Arc<dyn Keeper>) {
        let start = self.segments[self.directory[0] as usize].start;
        let cut = || Box::new(Cut::new(db, start, keeper.clone()));
        self.cut = (self.len > 0).then(cut);
    }

    pub(super) fn end_cut(&mut self) {
        self.cut = None;
    }

    pub(super) fn cut(&self) -> Option<&Cut> {
        self.cut.as_deref()
    }

    /// Visits a few entries of the cut, with their database; as long as `visit` returns true, goes on to the next
    /// segment. Returns whether there may be more.
    pub(crate) fn walk_cut(&self, mut visit: impl FnMut(u32, &Entry) -> bool) -> bool {
        let Some(cut) = &self.cut else {
            return false;
        };
        let end = self.segments[self.directory[0] as usize]
            .start
            .wrapping_add(self.span(0));
        let mut next = cut.next();
        while let Some(position) = next {
            let mut go_on = true;
            let after = self.walk(position, |entry| {
                if !cut.has_changed(&entry.key) {
                    go_on = visit(cut.db(), entry);
                }
            });
            next = (after != end).then_some(after);
            cut.walked_to(next);
            if !go_on {
                break;
            }
        }
        next.is_some()
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.get(hash_of(&self.hasher, key), key).is_some()
    }

    /// How much memory it takes, counted again from scratch.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn recount(&self) -> usize {
        let heap: usize = self.iter().map(Entry::bytes).sum();
        let slots: usize = self.segments.iter().map(Segment::slots).sum();
        let directory = block(self.directory.capacity() * size_of::<u32>());
        let frame = directory + block(self.segments.capacity() * size_of::<Segment>());
        let counted = (self.heap, self.slots, self.frame);
        assert_eq!(counted, (heap, slots, frame), "invariant 5");
        self.bytes()
    }
}

#[cfg(test)]
mod tests;
