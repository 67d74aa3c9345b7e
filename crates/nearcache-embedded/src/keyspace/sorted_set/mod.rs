//! The sorted set type: members, each with a score, ordered by score and then by the members' bytes.
//!
//! A small one is a [`Pack`], which takes little memory and is searched from the front. A large one finds a member by
//! its hash, and a place in the order, by score, member or rank, in O(log n): see [`large`] and [`tree`]. A set
//! becomes large when it passes a server's limits for small ones, and stays so.

mod large;
mod small;
#[cfg(test)]
mod tests;
mod tree;

use std::cmp::Ordering;
use std::ops::Range;

use super::pack::Pack;
use super::size::block;
use crate::limits::Compact;
use large::{Large, Ordered};
use small::Pairs;

#[derive(Clone, Debug)]
pub(crate) enum SortedSet {
    Small(Pack),
    Large(Box<Large>),
}

impl Default for SortedSet {
    fn default() -> Self {
        SortedSet::Small(Pack::default())
    }
}

/// Which scores are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scores {
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Whether the minimum itself is not.
    pub(crate) above_min: bool,
    /// Whether the maximum itself is not.
    pub(crate) below_max: bool,
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// Before all members.
    Lowest,
    /// After all members.
    Highest,
    Including(&'a [u8]),
    Excluding(&'a [u8]),
}

/// Which members are meant, where all have the same score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Members<'a> {
    pub(crate) min: End<'a>,
    pub(crate) max: End<'a>,
}

impl Scores {
    fn is_above_min(&self, score: f64) -> bool {
        if self.above_min {
            score > self.min
        } else {
            score >= self.min
        }
    }

    fn is_below_max(&self, score: f64) -> bool {
        if self.below_max {
            score < self.max
        } else {
            score <= self.max
        }
    }
}

impl Members<'_> {
    fn is_above_min(&self, member: &[u8]) -> bool {
        match self.min {
            End::Lowest => true,
            End::Highest => false,
            End::Including(min) => member >= min,
            End::Excluding(min) => member > min,
        }
    }

    fn is_below_max(&self, member: &[u8]) -> bool {
        match self.max {
            End::Lowest => false,
            End::Highest => true,
            End::Including(max) => member <= max,
            End::Excluding(max) => member < max,
        }
    }

    /// Whether no member can be meant.
    fn is_empty(&self) -> bool {
        match (self.min, self.max) {
            (End::Highest, _) | (_, End::Lowest) => true,
            (End::Lowest, _) | (_, End::Highest) => false,
            (End::Including(min), End::Including(max)) => min > max,
            (
                End::Including(min) | End::Excluding(min),
                End::Including(max) | End::Excluding(max),
            ) => min >= max,
        }
    }
}

/// The order of scores. There is hardly ever one that is not a number: it comes last.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The order of elements.
fn compare(score: f64, member: &[u8], other_score: f64, other: &[u8]) -> Ordering {
    order(score, other_score).then_with(|| member.cmp(other))
}

impl SortedSet {
    /// A set of these elements, in any order, each member once.
    pub(crate) fn of(mut pairs: Vec<(&[u8], f64)>, limits: &Compact) -> Self {
        SortedSet::sort(&mut pairs);
        let fits = pairs.len() <= limits.sorted_set_entries
            && pairs
                .iter()
                .all(|(member, _)| member.len() <= limits.sorted_set_value);
        if !fits {
            let set = Large::of_sorted(pairs.into_iter());
            return SortedSet::Large(Box::new(set));
        }
        let mut pack = Pack::default();
        for (member, score) in pairs {
            small::push(&mut pack, member, score);
        }
        pack.shrink();
        SortedSet::Small(pack)
    }

    /// Puts elements into the order of a sorted set.
    pub(crate) fn sort<M: AsRef<[u8]>>(pairs: &mut [(M, f64)]) {
        pairs.sort_unstable_by(|a, b| compare(a.1, a.0.as_ref(), b.1, b.0.as_ref()));
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            SortedSet::Small(pack) => pack.len() / 2,
            SortedSet::Large(large) => large.len(),
        }
    }

    /// The name that `OBJECT ENCODING` gives.
    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            SortedSet::Small(_) => "listpack",
            SortedSet::Large(_) => "skiplist",
        }
    }

    /// Whether it is kept as one sequence, which a scan returns whole.
    pub(crate) fn is_small(&self) -> bool {
        matches!(self, SortedSet::Small(_))
    }

    /// How much memory it takes, boxed.
    pub(crate) fn bytes(&self) -> usize {
        let inner = match self {
            SortedSet::Small(pack) => pack.heap(),
            SortedSet::Large(large) => large.bytes(),
        };
        block(size_of::<SortedSet>()) + inner
    }

    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            SortedSet::Small(pack) => small::find(pack, member).map(|(_, _, score)| score),
            SortedSet::Large(large) => large.score(member),
        }
    }

    /// How many elements come before a member.
    pub(crate) fn rank(&self, member: &[u8]) -> Option<usize> {
        match self {
            SortedSet::Small(pack) => small::find(pack, member).map(|(_, rank, _)| rank),
            SortedSet::Large(large) => large.rank(member),
        }
    }

    /// Gives a member the score that `decide` says, if it says one. It is told the score that the member has, or that
    /// the set does not have it.
    pub(crate) fn change(
        &mut self,
        member: &[u8],
        limits: &Compact,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) {
        let pack = match self {
            SortedSet::Large(large) => return large.change(member, decide),
            SortedSet::Small(pack) => pack,
        };
        if let Some((place, _, old)) = small::find(pack, member) {
            if let Some(score) = decide(Some(old)).filter(|score| *score != old) {
                pack.remove(place, 2);
                small::insert(pack, member, score);
            }
        } else if let Some(score) = decide(None) {
            if pack.len() / 2 < limits.sorted_set_entries && member.len() <= limits.sorted_set_value
            {
                small::insert(pack, member, score);
            } else {
                let mut large = Large::of_sorted(small::pairs(pack));
                large.change(member, |_| Some(score));
                *self = SortedSet::Large(Box::new(large));
            }
        }
    }

    /// Removes a member, and returns the score that it had.
    pub(crate) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            SortedSet::Small(pack) => {
                let (place, _, score) = small::find(pack, member)?;
                pack.remove(place, 2);
                Some(score)
            }
            SortedSet::Large(large) => large.remove(member),
        }
    }

    /// Removes the elements of these ranks, which must be within the set.
    pub(crate) fn remove_range(&mut self, range: Range<usize>) {
        match self {
            _ if range.is_empty() => {}
            SortedSet::Small(pack) => pack.remove(pack.place(2 * range.start), 2 * range.len()),
            SortedSet::Large(large) => large.remove_range(range),
        }
    }

    /// The elements of these ranks, which must be within the set, in order.
    pub(crate) fn range(&self, range: Range<usize>) -> Elements<'_> {
        match self {
            SortedSet::Small(pack) => {
                let mut pairs = small::pairs(pack);
                let behind = pairs.len().saturating_sub(range.end.max(range.start));
                pairs.by_ref().take(range.start).for_each(drop);
                pairs.by_ref().rev().take(behind).for_each(drop);
                Elements::Small(pairs)
            }
            SortedSet::Large(large) => Elements::Large(large.range(range)),
        }
    }

    /// All elements in order.
    pub(crate) fn iter(&self) -> Elements<'_> {
        self.range(0..self.len())
    }

    fn count_before(&self, is_before: impl Fn(f64, &[u8]) -> bool) -> usize {
        match self {
            SortedSet::Small(pack) => small::pairs(pack)
                .take_while(|(member, score)| is_before(*score, member))
                .count(),
            SortedSet::Large(large) => large.count_before(is_before),
        }
    }

    /// The ranks of the elements with these scores.
    pub(crate) fn with_scores(&self, scores: &Scores) -> Range<usize> {
        let start = self.count_before(|score, _| !scores.is_above_min(score));
        let end = self.count_before(|score, _| scores.is_below_max(score));
        start..end.max(start)
    }

    /// The ranks of these members, if all have the same score. If not, a small set is searched as a server does:
    /// from the front, or from the back.
    pub(crate) fn with_members(&self, members: &Members<'_>, backwards: bool) -> Range<usize> {
        let len = self.len();
        if members.is_empty() || len == 0 {
            return 0..0;
        }
        let ends = [self.iter().next(), self.iter().next_back()];
        let [first, last] = ends.map(|end| end.map(|(member, _)| member));
        if !last.is_some_and(|member| members.is_above_min(member))
            || !first.is_some_and(|member| members.is_below_max(member))
        {
            return 0..0;
        }
        let SortedSet::Small(pack) = self else {
            let start = self.count_before(|_, member| !members.is_above_min(member));
            let end = self.count_before(|_, member| members.is_below_max(member));
            return start..end.max(start);
        };
        let mut pairs = small::pairs(pack).map(|(member, _)| member);
        if backwards {
            let mut pairs = pairs.rev();
            let past = pairs
                .clone()
                .take_while(|member| !members.is_below_max(member))
                .count();
            let found = pairs.by_ref().skip(past);
            let count = found
                .take_while(|member| members.is_above_min(member))
                .count();
            return len - past - count..len - past;
        }
        let start = pairs
            .clone()
            .take_while(|member| !members.is_above_min(member))
            .count();
        let found = pairs.by_ref().skip(start);
        let count = found
            .take_while(|member| members.is_below_max(member))
            .count();
        start..start + count
    }

    /// The element at an index, in no particular order: every one has an index below the length.
    pub(crate) fn at(&self, index: usize) -> Option<(&[u8], f64)> {
        match self {
            SortedSet::Small(pack) => small::pairs(pack).nth(index),
            SortedSet::Large(large) => large.at(index),
        }
    }
}

/// Elements in order, from both ends.
#[derive(Clone, Debug)]
pub(crate) enum Elements<'s> {
    Small(Pairs<'s>),
    Large(Ordered<'s>),
}

impl<'s> Iterator for Elements<'s> {
    type Item = (&'s [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Elements::Small(pairs) => pairs.next(),
            Elements::Large(ordered) => ordered.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Elements::Small(pairs) => pairs.size_hint(),
            Elements::Large(ordered) => ordered.size_hint(),
        }
    }
}

impl DoubleEndedIterator for Elements<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Elements::Small(pairs) => pairs.next_back(),
            Elements::Large(ordered) => ordered.next_back(),
        }
    }
}

impl ExactSizeIterator for Elements<'_> {}
