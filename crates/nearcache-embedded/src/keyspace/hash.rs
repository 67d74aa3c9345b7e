//! The hash type: a few short fields are [packed](Pack), in the order in which they came; else it is a [hash
//! table](Wide).

use super::pack::{self, Pack, Place};
use super::random::{Random, at_positions};
use super::size::block;
use super::wide::{Element, Wide};
use crate::limits::Compact;

/// The most bytes that are packed.
const MOST_BYTES: usize = 1 << 30;

#[derive(Clone, Debug, Default)]
pub(crate) struct Hash {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Each field is followed by its value.
    Packed(Pack),
    /// Boxed, because small hashes must not pay for it.
    Wide(Box<Wide<Pair>>),
}

impl Default for Form {
    fn default() -> Self {
        Form::Packed(Pack::default())
    }
}

/// A field and its value, in one block: how long the field is, the field, and the value.
#[derive(Clone, Debug)]
struct Pair(Box<[u8]>);

impl Pair {
    fn new(field: &[u8], value: &[u8]) -> Self {
        let digits = pack::digits(field.len());
        let mut block = Vec::with_capacity(digits + field.len() + value.len());
        block.resize(digits, 0);
        pack::write(field.len(), block.iter_mut());
        block.extend_from_slice(field);
        block.extend_from_slice(value);
        Pair(block.into_boxed_slice())
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let (len, digits) = pack::read(self.0.iter());
        self.0[digits..].split_at(len)
    }

    fn value(&self) -> &[u8] {
        self.parts().1
    }

    fn set_value(&mut self, value: &[u8]) {
        let old = self.value().len();
        if old == value.len() {
            let start = self.0.len() - old;
            self.0[start..].copy_from_slice(value);
        } else {
            *self = Pair::new(self.name(), value);
        }
    }
}

impl Element for Pair {
    fn name(&self) -> &[u8] {
        self.parts().0
    }

    fn heap(&self) -> usize {
        block(self.0.len())
    }
}

/// A field and its value.
pub(crate) type Field<'h> = (&'h [u8], &'h [u8]);

impl Hash {
    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        match &self.form {
            Form::Packed(pack) => pack.len() / 2,
            Form::Wide(wide) => wide.len(),
        }
    }

    /// The name that `OBJECT ENCODING` gives.
    pub(crate) fn encoding(&self) -> &'static str {
        match self.form {
            Form::Packed(_) => "listpack",
            Form::Wide(_) => "hashtable",
        }
    }

    /// How much memory it takes, boxed.
    pub(crate) fn bytes(&self) -> usize {
        let form = match &self.form {
            Form::Packed(pack) => pack.heap(),
            Form::Wide(wide) => wide.bytes(),
        };
        block(size_of::<Hash>()) + form
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        let (pack, wide) = match &self.form {
            Form::Packed(pack) => (Some(pack), None),
            Form::Wide(wide) => (None, Some(wide)),
        };
        let packed = pack.into_iter().flat_map(pairs);
        let wide = wide.into_iter().flat_map(|wide| wide.iter());
        packed.chain(wide.map(Pair::parts))
    }

    #[inline]
    pub(crate) fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.form {
            Form::Packed(pack) => pairs(pack)
                .find(|(other, _)| *other == field)
                .map(|(_, value)| value),
            Form::Wide(wide) => wide.get(field).map(Pair::value),
        }
    }

    /// Becomes a hash table if one of these, which are to be fields or values, is too long to be packed, or all are
    /// too long together.
    pub(crate) fn prepare<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a [u8]>,
        compact: &Compact,
    ) {
        if let Form::Packed(pack) = &self.form {
            let mut sum = pack.size();
            for part in parts {
                sum += part.len();
                if part.len() > compact.hash_value || sum > MOST_BYTES {
                    return self.widen();
                }
            }
        }
    }

    /// Returns whether the field is new.
    pub(crate) fn set(&mut self, field: &[u8], value: &[u8], compact: &Compact) -> bool {
        self.prepare([field, value], compact);
        let is_new = match &mut self.form {
            Form::Packed(pack) => match place(pack, field) {
                Some((_, value_place)) => {
                    pack.replace(value_place, value);
                    false
                }
                None => {
                    pack.push_back(field);
                    pack.push_back(value);
                    true
                }
            },
            Form::Wide(wide) => {
                return wide.put(
                    field,
                    || Pair::new(field, value),
                    |pair| pair.set_value(value),
                );
            }
        };
        if self.len() > compact.hash_entries {
            self.widen();
        }
        is_new
    }

    fn widen(&mut self) {
        let mut wide = Wide::with_capacity(self.len() + 1);
        for (field, value) in self.iter() {
            wide.put(
                field,
                || Pair::new(field, value),
                |pair| pair.set_value(value),
            );
        }
        self.form = Form::Wide(Box::new(wide));
    }

    /// Returns whether the field was there.
    pub(crate) fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Packed(pack) => {
                let found = place(pack, field);
                if let Some((field, _)) = found {
                    pack.remove(field, 2);
                }
                found.is_some()
            }
            Form::Wide(wide) => wide.remove(field).is_some(),
        }
    }

    /// Any field; all are equally likely.
    pub(crate) fn random(&self, random: &mut Random) -> Option<Field<'_>> {
        match &self.form {
            Form::Packed(pack) => pairs(pack).nth(random.below(self.len())),
            Form::Wide(wide) => wide.random(random).map(Pair::parts),
        }
    }

    /// As many different fields, or all if there are fewer.
    pub(crate) fn sample(&self, count: usize, random: &mut Random) -> Vec<Field<'_>> {
        match &self.form {
            Form::Packed(pack) => {
                let positions = random.choose(count, self.len());
                at_positions(pairs(pack), &positions).collect()
            }
            Form::Wide(wide) => {
                let sample = wide.sample(count, random);
                sample.into_iter().map(Pair::parts).collect()
            }
        }
    }

    /// Visits a part of the fields, from a position on, and returns the position to continue from; 0 at the end. What
    /// is packed is visited as a whole.
    pub(crate) fn walk(&self, position: u64, mut visit: impl FnMut(Field<'_>)) -> u64 {
        match &self.form {
            Form::Packed(pack) => {
                pairs(pack).for_each(visit);
                0
            }
            Form::Wide(wide) => wide.walk(position, |pair| visit(pair.parts())),
        }
    }
}

fn pairs(pack: &Pack) -> impl Iterator<Item = Field<'_>> {
    let mut iter = pack.iter();
    std::iter::from_fn(move || Some((iter.next()?, iter.next()?)))
}

/// Where a field is, and its value.
fn place(pack: &Pack, field: &[u8]) -> Option<(Place, Place)> {
    let mut iter = pack.iter();
    loop {
        let field_place = iter.place();
        let found = iter.next()? == field;
        let value_place = iter.place();
        if found {
            return Some((field_place, value_place));
        }
        iter.next();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn compact(entries: usize, value: usize) -> Compact {
        Compact {
            hash_entries: entries,
            hash_value: value,
            ..Compact::default()
        }
    }

    #[test]
    fn it_becomes_a_hash_table_when_it_must() {
        let mut hash = Hash::default();
        for field in ["c", "a", "b"] {
            hash.set(field.as_bytes(), b"1", &compact(3, 5));
        }
        hash.set(b"a", b"22", &compact(3, 5));
        let fields: Vec<_> = hash.iter().collect();
        assert_eq!(
            fields,
            [(&b"c"[..], &b"1"[..]), (b"a", b"22"), (b"b", b"1")]
        );
        let mut long = hash.clone();
        hash.set(b"d", b"1", &compact(3, 5));
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 4));
        assert!(!long.set(b"a", b"123456", &compact(3, 5)));
        assert_eq!((long.encoding(), long.len()), ("hashtable", 3));
        assert_eq!(long.get(b"a"), Some(&b"123456"[..]));
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![9 => "[a-f]{0,2}", 1 => "[xy]{130,140}"].prop_map(String::into_bytes)
    }

    proptest! {
        #[test]
        fn it_does_what_a_model_does(
            steps in prop::collection::vec((0..4_u8, text(), text()), 0..120),
            entries in 0..30_usize,
            seed: u64,
        ) {
            let (mut hash, mut model) = (Hash::default(), BTreeMap::new());
            let mut random = Random::new(seed);
            for (kind, field, value) in steps {
                match kind {
                    0 | 1 => {
                        let is_new = hash.set(&field, &value, &compact(entries, 100));
                        prop_assert_eq!(is_new, model.insert(field, value).is_none());
                    }
                    2 => prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                    _ => {
                        let sample = hash.sample(3, &mut random);
                        prop_assert_eq!(sample.len(), model.len().min(3));
                        let any = hash.random(&mut random);
                        prop_assert_eq!(any.is_none(), model.is_empty());
                        for (field, value) in sample.into_iter().chain(any) {
                            prop_assert_eq!(model.get(field).map(Vec::as_slice), Some(value));
                        }
                    }
                }
                let all = hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec()));
                prop_assert_eq!(all.collect::<BTreeMap<_, _>>(), model.clone());
                prop_assert_eq!(hash.len(), model.len());
                for (field, value) in &model {
                    prop_assert_eq!(hash.get(field), Some(&value[..]));
                }
            }
        }
    }
}
