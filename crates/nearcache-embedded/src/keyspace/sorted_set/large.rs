//! A large sorted set: every member once, in a dense vector, with an index by member and one by order.
//!
//! Invariants:
//! 1. The id of a member is its place in `elements`, which has no gaps: the last one moves to where one is removed.
//!    So a random member takes one look, and a scan from the end downwards misses no member that stays.
//! 2. `index` has each id once, under the hash of its member, and `tree` has each once, ordered by score and member.
//! 3. `heap` is the memory of the members that do not lie in place.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::tree::{Key, Keys, Tree};
use crate::keyspace::bytes::Bytes;
use crate::keyspace::size::block;

/// Vectors and tables of this size are not worth shrinking.
const SMALL: usize = 256;

#[derive(Clone, Debug)]
struct Element {
    member: Bytes,
    score: f64,
}

/// The hash is kept, so that the index grows without a look at the members.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    id: u32,
}

impl Slot {
    /// The hash as the table needs it, which looks at the highest and at the lowest bits.
    fn spread(self) -> u64 {
        spread(self.hash)
    }
}

fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[derive(Debug)]
pub(crate) struct Large {
    elements: Vec<Element>,
    index: HashTable<Slot>,
    tree: Tree,
    hasher: RandomState,
    heap: usize,
}

impl Clone for Large {
    fn clone(&self) -> Self {
        let elements = self.elements.clone();
        Large {
            heap: elements.iter().map(|element| element.member.heap()).sum(),
            elements,
            index: self.index.clone(),
            tree: self.tree.clone(),
            hasher: self.hasher.clone(),
        }
    }
}

impl Large {
    /// A set of members that come in order, each once.
    pub(super) fn of_sorted<'m>(pairs: impl Iterator<Item = (&'m [u8], f64)>) -> Self {
        let element = |(member, score): (&[u8], f64)| Element {
            member: Bytes::from(member),
            score,
        };
        Large::of_elements(pairs.map(element).collect())
    }

    fn of_elements(elements: Vec<Element>) -> Self {
        let keys = elements.iter().zip(0..).map(|(element, id)| Key {
            score: element.score,
            id,
        });
        let hasher = RandomState::default();
        let mut index = HashTable::with_capacity(elements.len());
        for (element, id) in elements.iter().zip(0..) {
            let hash = hasher.hash_one(&*element.member) as u32;
            index.insert_unique(spread(hash), Slot { hash, id }, |slot| slot.spread());
        }
        Large {
            tree: keys.collect(),
            heap: elements.iter().map(|element| element.member.heap()).sum(),
            index,
            hasher,
            elements,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    /// How much memory it takes, boxed.
    pub(super) fn bytes(&self) -> usize {
        block(size_of::<Large>())
            + block(self.elements.capacity() * size_of::<Element>())
            + block(self.index.allocation_size())
            + self.tree.bytes()
            + self.heap
    }

    fn hash(&self, member: &[u8]) -> u32 {
        self.hasher.hash_one(member) as u32
    }

    fn find(&self, hash: u32, member: &[u8]) -> Option<u32> {
        let is_it =
            |slot: &Slot| slot.hash == hash && *self.elements[slot.id as usize].member == *member;
        self.index.find(spread(hash), is_it).map(|slot| slot.id)
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        let id = self.find(self.hash(member), member)?;
        Some(self.elements[id as usize].score)
    }

    /// The rank of a member, or that it would have with this score.
    fn rank_of(&self, score: f64, member: &[u8]) -> usize {
        self.tree.rank(|key| match super::order(key.score, score) {
            Ordering::Equal => *self.elements[key.id as usize].member < *member,
            order => order == Ordering::Less,
        })
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<usize> {
        Some(self.rank_of(self.score(member)?, member))
    }

    /// How many elements come first: `is_before` is true of these, and of no others.
    pub(super) fn count_before(&self, is_before: impl Fn(f64, &[u8]) -> bool) -> usize {
        self.tree
            .rank(|key| is_before(key.score, &self.elements[key.id as usize].member))
    }

    /// Gives a member the score that `decide` says, which is told the one that it has; if any.
    pub(super) fn change(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) {
        let hash = self.hash(member);
        if let Some(id) = self.find(hash, member) {
            let old = self.elements[id as usize].score;
            if let Some(score) = decide(Some(old)).filter(|score| *score != old) {
                self.move_to(id, member, score);
            }
        } else if let Some(score) = decide(None) {
            self.insert(hash, member, score);
        }
    }

    fn move_to(&mut self, id: u32, member: &[u8], score: f64) {
        let old = self.elements[id as usize].score;
        let (from, to) = (self.rank_of(old, member), self.rank_of(score, member));
        let key = Key { score, id };
        if (from..=from + 1).contains(&to) {
            self.tree.replace(from, key);
        } else {
            self.tree.remove(from);
            self.tree.insert(if to > from { to - 1 } else { to }, key);
        }
        self.elements[id as usize].score = score;
    }

    fn insert(&mut self, hash: u32, member: &[u8], score: f64) {
        // Four billion members would take 200 gigabytes.
        let Ok(id) = u32::try_from(self.elements.len()) else {
            return;
        };
        self.tree
            .insert(self.rank_of(score, member), Key { score, id });
        self.index
            .insert_unique(spread(hash), Slot { hash, id }, |slot| slot.spread());
        let member = Bytes::from(member);
        self.heap += member.heap();
        self.elements.push(Element { member, score });
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.score(member)?;
        self.remove_at(self.rank_of(score, member));
        self.shrink();
        Some(score)
    }

    fn remove_at(&mut self, rank: usize) {
        let Some(Key { id, .. }) = self.tree.remove(rank) else {
            return;
        };
        let hash = self.hash(&self.elements[id as usize].member);
        if let Ok(slot) = self.index.find_entry(spread(hash), |slot| slot.id == id) {
            slot.remove();
        }
        let last = (self.elements.len() - 1) as u32;
        if id != last {
            let Element { member, score } = &self.elements[last as usize];
            let key = Key { score: *score, id };
            let (rank, hash) = (self.rank_of(*score, member), self.hash(member));
            self.tree.replace(rank, key);
            if let Some(slot) = self.index.find_mut(spread(hash), |slot| slot.id == last) {
                slot.id = id;
            }
        }
        self.heap -= self.elements.swap_remove(id as usize).member.heap();
    }

    /// Removes the elements of these ranks. If that is most of them, those that stay become a new set.
    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        let len = self.len();
        if range.len() > len / 2 {
            let stay: Vec<Element> = self
                .range(0..range.start)
                .chain(self.range(range.end..len))
                .map(|(member, score)| Element {
                    member: Bytes::from(member),
                    score,
                })
                .collect();
            *self = Large::of_elements(stay);
            return;
        }
        range.rev().for_each(|rank| self.remove_at(rank));
        self.shrink();
    }

    /// Gives back memory, when three quarters are unused.
    fn shrink(&mut self) {
        let len = self.len();
        if self.elements.capacity() > SMALL && len < self.elements.capacity() / 4 {
            self.elements.shrink_to(len * 2);
        }
        if self.index.capacity() > SMALL && len < self.index.capacity() / 8 {
            self.index.shrink_to(len * 2, |slot| slot.spread());
        }
    }

    /// The element at an index, in no particular order.
    pub(super) fn at(&self, index: usize) -> Option<(&[u8], f64)> {
        let element = self.elements.get(index)?;
        Some((&element.member, element.score))
    }

    pub(super) fn range(&self, range: Range<usize>) -> Ordered<'_> {
        Ordered {
            set: self,
            range,
            head: None,
            tail: None,
        }
    }
}

/// Elements in order, from both ends. Only one look at the tree is made for each leaf.
#[derive(Clone, Debug)]
pub(crate) struct Ordered<'s> {
    set: &'s Large,
    range: Range<usize>,
    /// The leaf with the first of the range, and its index there.
    head: Option<(&'s Keys, usize)>,
    /// The leaf with the last one.
    tail: Option<(&'s Keys, usize)>,
}

impl<'s> Iterator for Ordered<'s> {
    type Item = (&'s [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let (leaf, at) = self
            .head
            .unwrap_or_else(|| self.set.tree.leaf(self.range.start));
        self.range.start += 1;
        self.head = (at + 1 < leaf.len()).then_some((leaf, at + 1));
        self.set.at(leaf.get(at).id as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl DoubleEndedIterator for Ordered<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        self.range.end -= 1;
        let (leaf, at) = self
            .tail
            .unwrap_or_else(|| self.set.tree.leaf(self.range.end));
        self.tail = at.checked_sub(1).map(|at| (leaf, at));
        self.set.at(leaf.get(at).id as usize)
    }
}

impl ExactSizeIterator for Ordered<'_> {}

#[cfg(test)]
impl Large {
    /// Checks the invariants.
    pub(super) fn check(&self) {
        let keys = self.tree.check();
        assert_eq!(
            (keys.len(), self.index.len()),
            (self.len(), self.len()),
            "invariant 2"
        );
        for key in &keys {
            assert_eq!(
                self.elements[key.id as usize].score, key.score,
                "invariant 2"
            );
        }
        for pair in keys.windows(2) {
            let element = |key: Key| &self.elements[key.id as usize];
            let (a, b) = (element(pair[0]), element(pair[1]));
            let order = super::compare(a.score, &a.member, b.score, &b.member);
            assert_eq!(order, Ordering::Less, "invariant 2");
        }
        for (element, id) in self.elements.iter().zip(0..) {
            assert_eq!(
                self.find(self.hash(&element.member), &element.member),
                Some(id)
            );
        }
        let heap: usize = self.elements.iter().map(|e| e.member.heap()).sum();
        assert_eq!(heap, self.heap, "invariant 3");
    }
}
