//! The set type: a few integers are [sorted](Integers); everything else is a [hash table](Wide).

use super::bytes::Bytes;
use super::integers::Integers;
use super::random::{Random, at_positions};
use super::wide::Wide;

#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Integers(Integers),
    /// Boxed, because small sets must not pay for it.
    Wide(Box<Wide<Bytes>>),
}

impl Default for Form {
    fn default() -> Self {
        Form::Integers(Integers::default())
    }
}

/// An element, in the form that it is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member<'s> {
    Integer(i64),
    Text(&'s [u8]),
}

impl Member<'_> {
    /// Calls with its bytes.
    pub(crate) fn with<R>(self, call: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Member::Integer(number) => call(itoa::Buffer::new().format(number).as_bytes()),
            Member::Text(bytes) => call(bytes),
        }
    }

    pub(crate) fn to_vec(self) -> Vec<u8> {
        self.with(<[u8]>::to_vec)
    }
}

/// The number that bytes are, if in the one form that a number is printed in.
pub(super) fn as_integer(bytes: &[u8]) -> Option<i64> {
    let could_be = bytes.len() <= 20 && bytes.last().is_some_and(u8::is_ascii_digit);
    let number = std::str::from_utf8(bytes).ok().filter(|_| could_be)?;
    let number = number.parse().ok()?;
    (itoa::Buffer::new().format(number).as_bytes() == bytes).then_some(number)
}

impl Set {
    pub(crate) fn len(&self) -> usize {
        match &self.form {
            Form::Integers(integers) => integers.len(),
            Form::Wide(wide) => wide.len(),
        }
    }

    /// The name that `OBJECT ENCODING` gives.
    pub(crate) fn encoding(&self) -> &'static str {
        match self.form {
            Form::Integers(_) => "intset",
            Form::Wide(_) => "hashtable",
        }
    }

    /// How much memory it takes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        match &self.form {
            Form::Integers(integers) => integers.heap(),
            Form::Wide(wide) => wide.bytes(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        let (integers, wide) = match &self.form {
            Form::Integers(integers) => (Some(integers), None),
            Form::Wide(wide) => (None, Some(wide)),
        };
        let integers = integers.into_iter().flat_map(Integers::iter);
        let texts = wide.into_iter().flat_map(|wide| wide.iter());
        integers
            .map(Member::Integer)
            .chain(texts.map(|text| Member::Text(text)))
    }

    pub(crate) fn contains(&self, member: Member<'_>) -> bool {
        match (&self.form, member) {
            (Form::Integers(integers), Member::Integer(number)) => integers.contains(number),
            (Form::Integers(integers), Member::Text(text)) => {
                as_integer(text).is_some_and(|number| integers.contains(number))
            }
            (Form::Wide(wide), member) => member.with(|text| wide.get(text).is_some()),
        }
    }

    /// Returns whether the element is new. More integers than `most_integers` are not kept sorted.
    pub(crate) fn insert(&mut self, member: Member<'_>, most_integers: usize) -> bool {
        if let Form::Integers(integers) = &mut self.form {
            let number = match member {
                Member::Integer(number) => Some(number),
                Member::Text(text) => as_integer(text),
            };
            if let Some(number) = number {
                let is_new = integers.insert(number);
                if is_new && integers.len() > most_integers {
                    self.widen(0);
                }
                return is_new;
            }
            self.widen(1);
        }
        let Form::Wide(wide) = &mut self.form else {
            return false;
        };
        member.with(|text| wide.put(text, || Bytes::from(text), |_| ()))
    }

    fn widen(&mut self, more: usize) {
        let mut wide = Wide::with_capacity(self.len() + more);
        for member in self.iter() {
            member.with(|text| wide.put(text, || Bytes::from(text), |_| ()));
        }
        self.form = Form::Wide(Box::new(wide));
    }

    /// Returns whether the element was there.
    pub(crate) fn remove(&mut self, member: Member<'_>) -> bool {
        match (&mut self.form, member) {
            (Form::Integers(integers), Member::Integer(number)) => integers.remove(number),
            (Form::Integers(integers), Member::Text(text)) => {
                as_integer(text).is_some_and(|number| integers.remove(number))
            }
            (Form::Wide(wide), member) => member.with(|text| wide.remove(text).is_some()),
        }
    }

    /// Any element; all are equally likely.
    pub(crate) fn random(&self, random: &mut Random) -> Option<Member<'_>> {
        match &self.form {
            Form::Integers(integers) => {
                let index = random.below(integers.len());
                integers.get(index).map(Member::Integer)
            }
            Form::Wide(wide) => wide.random(random).map(|text| Member::Text(text)),
        }
    }

    /// As many different elements, or all if there are fewer.
    pub(crate) fn sample(&self, count: usize, random: &mut Random) -> Vec<Member<'_>> {
        match &self.form {
            Form::Integers(_) => {
                let positions = random.choose(count, self.len());
                at_positions(self.iter(), &positions).collect()
            }
            Form::Wide(wide) => {
                let sample = wide.sample(count, random);
                sample.into_iter().map(|text| Member::Text(text)).collect()
            }
        }
    }

    /// Visits a part of the elements, from a position on, and returns the position to continue from; 0 at the end. A
    /// sorted set of integers is visited as a whole.
    pub(crate) fn walk(&self, position: u64, mut visit: impl FnMut(Member<'_>)) -> u64 {
        match &self.form {
            Form::Integers(integers) => {
                integers.iter().map(Member::Integer).for_each(visit);
                0
            }
            Form::Wide(wide) => wide.walk(position, |text| visit(Member::Text(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::keyspace::size::block;

    #[test]
    fn only_what_is_printed_like_that_is_an_integer() {
        for number in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(as_integer(number.to_string().as_bytes()), Some(number));
        }
        for text in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "a",
        ] {
            assert_eq!(as_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_set_is_two_words_and_small_integers_take_little_more_than_themselves() {
        assert_eq!(size_of::<Set>(), 16);
        let mut set = Set::default();
        assert!((0..10).all(|n| set.insert(Member::Integer(n), 512)));
        assert_eq!(set.bytes(), block(1 + 10 * 2));
    }

    #[test]
    fn it_becomes_a_hash_table_when_it_must() {
        let mut set = Set::default();
        assert!((0..10).all(|n| set.insert(Member::Integer(n), 10)));
        assert_eq!(set.encoding(), "intset");
        assert!(!set.insert(Member::Text(b"7"), 10) && set.insert(Member::Text(b"-7"), 10));
        assert_eq!(set.encoding(), "hashtable");
        let mut set = Set::default();
        set.insert(Member::Integer(1), 10);
        assert!(set.insert(Member::Text(b"x"), 10));
        assert!(set.contains(Member::Integer(1)) && set.contains(Member::Text(b"x")));
        assert_eq!(set.encoding(), "hashtable");
    }

    fn member() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => (0..40_i64).prop_map(|n| n.to_string().into_bytes()),
            1 => "[a-c0]{0,2}".prop_map(String::into_bytes),
            1 => Just(vec![b'x'; 100]),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_model_does(
            steps in prop::collection::vec((0..4_u8, member()), 0..120),
            most in 0..40_usize,
            seed: u64,
        ) {
            let (mut set, mut model) = (Set::default(), BTreeSet::new());
            let mut random = Random::new(seed);
            for (kind, member) in steps {
                let text = Member::Text(&member);
                prop_assert_eq!(set.contains(text), model.contains(&member));
                match kind {
                    0 | 1 => prop_assert_eq!(set.insert(text, most), model.insert(member)),
                    2 => prop_assert_eq!(set.remove(text), model.remove(&member)),
                    _ => {
                        let any = set.random(&mut random).map(Member::to_vec);
                        prop_assert_eq!(any.is_none(), model.is_empty());
                        prop_assert!(any.is_none_or(|any| model.contains(&any)));
                        let sample: BTreeSet<_> = set.sample(3, &mut random).into_iter().map(Member::to_vec).collect();
                        prop_assert!(sample.len() == model.len().min(3) && sample.is_subset(&model));
                    }
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.iter().map(Member::to_vec).collect::<BTreeSet<_>>(), model.clone());
            }
        }
    }
}
