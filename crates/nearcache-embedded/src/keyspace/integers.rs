//! A sorted set of integers, each in as few bytes as the largest needs: how small sets of integers are kept.
//!
//! All of them lie in one block, with a byte before them that says how many bytes each takes. The block is just as
//! large as that, because there are many such sets, and moving a small one is cheap.

use super::size::block;

/// Two words, so that a key's entry has room for it. Nothing at all is no numbers, of [`NARROWEST`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Integers(Box<[u8]>);

/// How many bytes a number takes at least.
const NARROWEST: u8 = 2;

/// The numbers, as they lie there.
#[derive(Clone, Copy)]
enum Numbers<'i> {
    Two(&'i [[u8; 2]]),
    Four(&'i [[u8; 4]]),
    Eight(&'i [[u8; 8]]),
}

/// Does the same for whichever width: `$read` makes a number of its bytes.
macro_rules! each {
    ($integers:expr, ($list:ident, $read:ident) => $do:expr) => {
        match $integers.numbers() {
            Numbers::Two($list) => {
                let $read = |bytes: &[u8; 2]| i64::from(i16::from_le_bytes(*bytes));
                $do
            }
            Numbers::Four($list) => {
                let $read = |bytes: &[u8; 4]| i64::from(i32::from_le_bytes(*bytes));
                $do
            }
            Numbers::Eight($list) => {
                let $read = |bytes: &[u8; 8]| i64::from_le_bytes(*bytes);
                $do
            }
        }
    };
}

impl Integers {
    /// How many bytes each number takes.
    fn width(&self) -> u8 {
        self.0.first().map_or(NARROWEST, |width| *width)
    }

    fn numbers(&self) -> Numbers<'_> {
        match self.0.split_first() {
            Some((2, numbers)) => Numbers::Two(numbers.as_chunks().0),
            Some((4, numbers)) => Numbers::Four(numbers.as_chunks().0),
            Some((_, numbers)) => Numbers::Eight(numbers.as_chunks().0),
            None => Numbers::Two(&[]),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len().saturating_sub(1) / usize::from(self.width())
    }

    /// How much memory it takes on the heap.
    pub(crate) fn heap(&self) -> usize {
        block(self.0.len())
    }

    pub(crate) fn get(&self, index: usize) -> Option<i64> {
        each!(self, (list, read) => list.get(index).map(read))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = i64> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Where a number is, or else where it belongs.
    fn find(&self, number: i64) -> Result<usize, usize> {
        each!(self, (list, read) => list.binary_search_by(|other| read(other).cmp(&number)))
    }

    pub(crate) fn contains(&self, number: i64) -> bool {
        self.find(number).is_ok()
    }

    /// Returns whether the number is new.
    pub(crate) fn insert(&mut self, number: i64) -> bool {
        let Err(at) = self.find(number) else {
            return false;
        };
        self.widen(number);
        let width = usize::from(self.width());
        let start = 1 + at * width;
        self.change(width, |bytes| {
            let end = bytes.len();
            bytes.resize(end + width, 0);
            bytes.copy_within(start..end, start + width);
            bytes[start..start + width].copy_from_slice(&number.to_le_bytes()[..width]);
        });
        true
    }

    /// Returns whether the number was there.
    pub(crate) fn remove(&mut self, number: i64) -> bool {
        let Ok(at) = self.find(number) else {
            return false;
        };
        let width = usize::from(self.width());
        let start = 1 + at * width;
        self.change(0, |bytes| drop(bytes.drain(start..start + width)));
        true
    }

    /// Changes the block, which grows by so many bytes.
    fn change(&mut self, more: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let width = self.width();
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        if bytes.is_empty() {
            bytes.reserve_exact(1 + more);
            bytes.push(width);
        }
        bytes.reserve_exact(more);
        change(&mut bytes);
        self.0 = bytes.into_boxed_slice();
    }

    /// Makes the numbers as wide as this one.
    fn widen(&mut self, number: i64) {
        let needed = if i16::try_from(number).is_ok() {
            2
        } else if i32::try_from(number).is_ok() {
            4
        } else {
            8
        };
        if needed > self.width() {
            let width = usize::from(needed);
            let mut wider = Vec::with_capacity(1 + self.len() * width);
            wider.push(needed);
            for number in self.iter() {
                wider.extend_from_slice(&number.to_le_bytes()[..width]);
            }
            self.0 = wider.into_boxed_slice();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![
            -20..20_i64,
            (-3..3_i64).prop_map(|n| n + i64::from(i16::MAX)),
            (-3..3_i64).prop_map(|n| n + i64::from(i16::MIN)),
            (-3..3_i64).prop_map(|n| n + i64::from(i32::MAX)),
            (-3..3_i64).prop_map(|n| n + i64::from(i32::MIN)),
            any::<i64>(),
            Just(i64::MIN),
            Just(i64::MAX),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_set_does(steps in prop::collection::vec((any::<bool>(), number()), 0..60)) {
            let (mut integers, mut model) = (Integers::default(), BTreeSet::new());
            for (insert, number) in steps {
                if insert {
                    prop_assert_eq!(integers.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(integers.remove(number), model.remove(&number));
                }
                prop_assert_eq!(integers.contains(number), model.contains(&number));
                prop_assert!(integers.iter().eq(model.iter().copied()));
            }
        }
    }

    #[test]
    fn small_numbers_take_two_bytes_each() {
        let mut integers = Integers::default();
        assert!((0..512).all(|n| integers.insert(n)));
        assert!(integers.heap() <= block(2 * 512 + 1), "{}", integers.heap());
    }
}
