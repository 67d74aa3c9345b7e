//! A sorted set of integers, each in as few bytes as the largest needs: how small sets of integers are kept.

use super::size::block;

#[derive(Clone, Debug)]
pub(crate) enum Integers {
    Two(Vec<i16>),
    Four(Vec<i32>),
    Eight(Vec<i64>),
}

/// Does the same for whichever width.
macro_rules! each {
    ($integers:expr, $list:ident => $do:expr) => {
        match $integers {
            Integers::Two($list) => $do,
            Integers::Four($list) => $do,
            Integers::Eight($list) => $do,
        }
    };
}

impl Default for Integers {
    fn default() -> Self {
        Integers::Two(Vec::new())
    }
}

impl Integers {
    pub(crate) fn len(&self) -> usize {
        each!(self, list => list.len())
    }

    /// How much memory it takes on the heap.
    pub(crate) fn heap(&self) -> usize {
        let width = match self {
            Integers::Two(_) => 2,
            Integers::Four(_) => 4,
            Integers::Eight(_) => 8,
        };
        block(each!(self, list => list.capacity()) * width)
    }

    pub(crate) fn get(&self, index: usize) -> Option<i64> {
        each!(self, list => get(list, index))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = i64> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Where a number is, or else where it belongs.
    fn find(&self, number: i64) -> Result<usize, usize> {
        each!(self, list => find(list, number))
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
        match self {
            Integers::Two(list) => insert(list, at, number as i16),
            Integers::Four(list) => insert(list, at, number as i32),
            Integers::Eight(list) => insert(list, at, number),
        }
        true
    }

    /// Returns whether the number was there.
    pub(crate) fn remove(&mut self, number: i64) -> bool {
        let Ok(at) = self.find(number) else {
            return false;
        };
        each!(self, list => {
            list.remove(at);
            if list.capacity() > 2 * list.len() + 32 {
                list.shrink_to_fit();
            }
        });
        true
    }

    /// Makes the numbers as wide as this one.
    fn widen(&mut self, number: i64) {
        let fits = match self {
            Integers::Two(_) => i16::try_from(number).is_ok(),
            Integers::Four(_) => i32::try_from(number).is_ok(),
            Integers::Eight(_) => true,
        };
        if !fits {
            *self = if i32::try_from(number).is_ok() {
                Integers::Four(self.iter().map(|n| n as i32).collect())
            } else {
                Integers::Eight(self.iter().collect())
            };
        }
    }
}

fn get<T: Copy + Into<i64>>(list: &[T], index: usize) -> Option<i64> {
    list.get(index).map(|number| (*number).into())
}

fn find<T: Copy + Into<i64>>(list: &[T], number: i64) -> Result<usize, usize> {
    list.binary_search_by(|other| (*other).into().cmp(&number))
}

/// Inserts, and grows by an eighth, because such a list is small, and there are many.
fn insert<T>(list: &mut Vec<T>, at: usize, number: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 8);
    }
    list.insert(at, number);
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
        assert!(integers.heap() <= 1_250, "{}", integers.heap());
    }
}
