//! The elements of a large hash or set: a hash table in **segments**, which grows and shrinks by one segment at a
//! time, so that no insertion has to move more than a few dozen elements.
//!
//! This is linear hashing. The last bits of an element's hash choose its segment. With `n` segments, from `2^level`
//! to less than twice as many, the next segment to be divided is always number `n - 2^level`; the new one gets the
//! elements that have the next bit. Read backwards, the bits of a hash are a **position** in `0..2^64`, and a segment
//! covers a contiguous range of positions. That is what a scan's cursor is: the position up to which all elements
//! were returned. It stays valid however the table grows or shrinks in between.
//!
//! Invariants:
//! 1. An element is in the segment that covers its position; the ranges of all segments partition the space.
//! 2. A walk that starts at 0 and follows the returned positions sees every element that exists throughout, exactly
//!    once, whatever is inserted and removed in between.
//! 3. `len` counts the elements, `heap` sums up their memory, and `slots` that of the segments' own tables.
//! 4. No segment has more than `widest` buckets, so a random bucket of a random segment is as likely as any other.

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::bytes::Bytes;
use super::random::{Random, at_positions};
use super::size::block;

/// How many elements there are per segment, at most, on average. Most segments then have 32 or 64 buckets.
const MOST: usize = 46;
/// How many there are at least, before segments are joined: far enough below half of [`MOST`] that one insertion does
/// not divide them again.
const LEAST: usize = 14;
/// How many draws find a random element before the next one is good enough. Ten are enough on average.
const MOST_DRAWS: usize = 10_000;

/// Something that is found by its name.
pub(crate) trait Element: Clone {
    fn name(&self) -> &[u8];

    /// How much memory it takes on the heap. A clone takes the same.
    fn heap(&self) -> usize;
}

impl Element for Bytes {
    fn name(&self) -> &[u8] {
        self
    }

    fn heap(&self) -> usize {
        Bytes::heap(self)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Wide<T> {
    segments: Vec<HashTable<T>>,
    len: usize,
    heap: usize,
    slots: usize,
    widest: usize,
    hasher: RandomState,
}

impl<T: Element> Wide<T> {
    /// An empty table with room for some elements.
    pub(crate) fn with_capacity(elements: usize) -> Self {
        let segments = elements.div_ceil(MOST).max(1);
        Wide {
            segments: (0..segments).map(|_| HashTable::new()).collect(),
            len: 0,
            heap: 0,
            slots: 0,
            widest: 0,
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How much memory it takes, boxed.
    pub(crate) fn bytes(&self) -> usize {
        let frame = block(self.segments.capacity() * size_of::<HashTable<T>>());
        block(size_of::<Self>()) + frame + self.slots + self.heap
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flatten()
    }

    #[inline]
    pub(crate) fn get(&self, name: &[u8]) -> Option<&T> {
        let hash = self.hasher.hash_one(name);
        let segment = self.segments.get(self.locate(hash))?;
        segment.find(spread(hash), |element| element.name() == name)
    }

    /// Changes the element of that name, or else adds what `make` makes, which must have that name. Returns whether
    /// it is new.
    pub(crate) fn put(
        &mut self,
        name: &[u8],
        make: impl FnOnce() -> T,
        change: impl FnOnce(&mut T),
    ) -> bool {
        let hash = self.hasher.hash_one(name);
        let at = self.locate(hash);
        let found = self.segments[at].find_mut(spread(hash), |element| element.name() == name);
        if let Some(element) = found {
            self.heap -= element.heap();
            change(element);
            self.heap += element.heap();
            return false;
        }
        self.place(hash, at, make());
        self.len += 1;
        if self.len > self.segments.len() * MOST {
            self.divide();
        }
        true
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<T> {
        let hash = self.hasher.hash_one(name);
        let at = self.locate(hash);
        let found = self.segments[at].find_entry(spread(hash), |element| element.name() == name);
        let (element, _) = found.ok()?.remove();
        self.len -= 1;
        self.heap -= element.heap();
        if self.segments.len() > 1 && self.len < self.segments.len() * LEAST {
            self.join();
        }
        self.shrink(self.locate(hash));
        Some(element)
    }

    /// Visits the elements of the segment at a position, from there on. Returns the position to continue from; 0 at
    /// the end.
    pub(crate) fn walk(&self, position: u64, mut visit: impl FnMut(&T)) -> u64 {
        let at = self.locate(position.reverse_bits());
        let start = (at as u64).reverse_bits();
        for element in &self.segments[at] {
            if position == start || self.position(element) >= position {
                visit(element);
            }
        }
        match self.bits(at) {
            0 => 0,
            bits => start.wrapping_add(1 << (64 - bits)),
        }
    }

    /// Any element; all are equally likely.
    pub(crate) fn random(&self, random: &mut Random) -> Option<&T> {
        let widest = match &self.segments[..] {
            [segment] => segment.num_buckets(),
            _ => self.widest,
        };
        for _ in 0..MOST_DRAWS {
            let segment = self.segments.get(random.below(self.segments.len()))?;
            let bucket = random.below(widest);
            if bucket < segment.num_buckets()
                && let Some(element) = segment.get_bucket(bucket)
            {
                return Some(element);
            }
        }
        self.iter().next()
    }

    /// As many different elements, or all if there are fewer.
    pub(crate) fn sample(&self, count: usize, random: &mut Random) -> Vec<&T> {
        if count.saturating_mul(3) > self.len {
            let positions = random.choose(count, self.len);
            return at_positions(self.iter(), &positions).collect();
        }
        let mut seen = std::collections::HashSet::with_capacity(count);
        let mut sample = Vec::with_capacity(count);
        while sample.len() < count {
            let Some(element) = self.random(random) else {
                break;
            };
            if seen.insert(std::ptr::from_ref(element)) {
                sample.push(element);
            }
        }
        sample
    }

    /// How many bits of the hash choose a segment, rounded down.
    fn level(&self) -> u32 {
        self.segments.len().ilog2()
    }

    /// The segment for a hash.
    #[inline]
    fn locate(&self, hash: u64) -> usize {
        let level = self.level();
        let at = hash as usize & ((2 << level) - 1);
        if at < self.segments.len() {
            at
        } else {
            at & ((1 << level) - 1)
        }
    }

    /// How many bits the hashes in a segment have in common.
    fn bits(&self, at: usize) -> u32 {
        let (level, other) = (self.level(), at + (1 << self.level()));
        let is_divided = at >= 1 << level || other < self.segments.len();
        level + u32::from(is_divided)
    }

    fn position(&self, element: &T) -> u64 {
        self.hasher.hash_one(element.name()).reverse_bits()
    }

    fn place(&mut self, hash: u64, at: usize, element: T) {
        let Wide {
            segments, hasher, ..
        } = self;
        let segment = &mut segments[at];
        self.heap += element.heap();
        self.slots -= slots(segment);
        segment.insert_unique(spread(hash), element, |element| {
            spread(hasher.hash_one(element.name()))
        });
        self.slots += slots(segment);
        self.widest = self.widest.max(segment.num_buckets());
    }

    /// Divides the next segment in two.
    fn divide(&mut self) {
        let at = self.segments.len() - (1 << self.level());
        self.segments.push(HashTable::new());
        self.distribute(at);
    }

    /// Joins the last segment with the one that it was divided from.
    fn join(&mut self) {
        let last = self.segments.len() - 1;
        self.distribute(last);
        if self.segments.len() < self.segments.capacity() / 4 {
            self.segments.shrink_to(self.segments.len() * 2);
        }
    }

    /// Moves the elements of a segment to where they belong: what is the last segment is taken away if it is that.
    fn distribute(&mut self, at: usize) {
        let elements = if at + 1 == self.segments.len() {
            self.segments.pop().unwrap_or_default()
        } else {
            std::mem::take(&mut self.segments[at])
        };
        self.slots -= slots(&elements);
        for element in elements {
            let hash = self.hasher.hash_one(element.name());
            self.heap -= element.heap();
            self.place(hash, self.locate(hash), element);
        }
    }

    /// Gives back memory of a segment that is nearly empty.
    fn shrink(&mut self, at: usize) {
        let Wide {
            segments, hasher, ..
        } = self;
        let segment = &mut segments[at];
        if segment.num_buckets() > 16 && segment.len() < segment.num_buckets() / 8 {
            self.slots -= slots(segment);
            segment.shrink_to_fit(|element| spread(hasher.hash_one(element.name())));
            self.slots += slots(segment);
        }
    }
}

fn slots<T>(segment: &HashTable<T>) -> usize {
    block(segment.allocation_size())
}

/// The hash for a segment's own table, which goes by the first and the last bits. The last ones are the same within a
/// segment.
#[inline]
fn spread(hash: u64) -> u64 {
    hash.rotate_right(32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl<T: Element> Wide<T> {
        fn check(&self) {
            let heap: usize = self.iter().map(Element::heap).sum();
            let slots: usize = self.segments.iter().map(slots).sum();
            assert_eq!(
                (self.len, self.heap, self.slots),
                (self.iter().count(), heap, slots)
            );
            for (at, segment) in self.segments.iter().enumerate() {
                assert!(segment.num_buckets() <= self.widest || self.segments.len() == 1);
                let start = (at as u64).reverse_bits();
                for element in segment {
                    let position = self.position(element);
                    let end = start.checked_add((1_u64 << 63 >> (self.bits(at).max(1) - 1)) - 1);
                    assert!(
                        self.bits(at) == 0
                            || start <= position && end.is_none_or(|end| position <= end)
                    );
                }
            }
        }
    }

    fn name(n: usize) -> Vec<u8> {
        let mut name = n.to_string().into_bytes();
        name.resize(name.len() + n % 20, b'.');
        name
    }

    fn put(wide: &mut Wide<Bytes>, n: usize) -> bool {
        let name = name(n);
        wide.put(&name, || Bytes::from(&name[..]), |_| ())
    }

    #[test]
    fn it_grows_and_shrinks_and_finds_what_is_there() {
        let mut wide = Wide::<Bytes>::with_capacity(0);
        let empty = wide.bytes();
        for n in 0..20_000 {
            assert!(put(&mut wide, n) && !put(&mut wide, n));
        }
        wide.check();
        assert!(wide.segments.len() > 400);
        assert!((0..20_000).all(|n| wide.get(&name(n)).is_some()));
        assert!(wide.get(b"-1").is_none());
        let copy = wide.clone();
        for n in (0..20_000).rev() {
            assert_eq!(wide.remove(&name(n)).as_deref(), Some(&name(n)[..]));
            assert!(wide.remove(&name(n)).is_none());
        }
        wide.check();
        copy.check();
        assert_eq!((wide.len(), wide.segments.len()), (0, 1));
        assert!(wide.bytes() <= empty + 1_000);
    }

    #[test]
    fn random_elements_are_equally_likely() {
        let mut random = Random::new(1);
        for len in [1, 5, 100, 300] {
            let mut wide = Wide::<Bytes>::with_capacity(0);
            assert!((0..len).all(|n| put(&mut wide, n)));
            let mut hits = std::collections::HashMap::<Vec<u8>, usize>::new();
            for _ in 0..len * 1_000 {
                let element = wide.random(&mut random).expect("an element");
                *hits.entry(element.to_vec()).or_default() += 1;
            }
            assert_eq!(hits.len(), len);
            assert!(
                hits.values().all(|hits| (800..1_200).contains(hits)),
                "{hits:?}"
            );
            for count in [0, 1, len / 4, len, len + 1] {
                let sample: BTreeSet<_> = wide
                    .sample(count, &mut random)
                    .iter()
                    .map(|e| e.to_vec())
                    .collect();
                assert_eq!(sample.len(), count.min(len));
            }
        }
    }

    proptest! {
        #[test]
        fn a_walk_sees_what_stays_exactly_once(
            stays in 0..300_usize,
            changes in prop::collection::vec((0..20_usize, 0..600_usize, any::<bool>()), 0..40),
        ) {
            let mut wide = Wide::<Bytes>::with_capacity(0);
            prop_assert!((0..stays).all(|n| put(&mut wide, n)));
            let (mut position, mut seen) = (0, Vec::new());
            let mut changes = changes.into_iter();
            loop {
                position = wide.walk(position, |element| seen.push(element.to_vec()));
                if let Some((_, count, add)) = changes.next() {
                    for n in 1_000..1_000 + count {
                        if add { put(&mut wide, n); } else { wide.remove(&name(n)); }
                    }
                    wide.check();
                }
                if position == 0 { break; }
            }
            let staying: BTreeSet<_> = (0..stays).map(name).collect();
            seen.retain(|element| staying.contains(element));
            prop_assert_eq!(seen.len(), stays);
            prop_assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), staying);
        }
    }
}
