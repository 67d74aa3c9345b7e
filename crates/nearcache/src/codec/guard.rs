//! Refuses to write what could not be read back, instead of losing it silently.
//!
//! 1. JSON has no NaN and no infinity: serde writes `null`, which is not a number when it is read.
//! 2. serde buffers the fields of a `#[serde(flatten)]` struct while it reads, and its buffer has no 128-bit integers. A
//!    struct with such a field is written as a map of unknown length, which is how it is recognized here.
//! 3. A reader nests only so deep (it must not overflow the stack on hostile bytes), so a writer must not nest deeper.
//!
//! The guard is a serializer around the format's own. It passes everything on, and fails where one of these rules is
//! broken.

use std::fmt;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// What a format cannot hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether it has a form for NaN and infinity.
    pub(super) every_float: bool,
    /// How deep its reader nests.
    pub(super) depth: usize,
}

/// A value that is written under these rules.
pub(super) struct Guarded<'v, T: ?Sized> {
    value: &'v T,
    scope: Scope,
}

/// Where in the value the serializer is.
#[derive(Clone, Copy, Debug)]
struct Scope {
    rules: Rules,
    /// How many levels are left.
    left: usize,
    /// Whether it is within a struct that may have flattened fields.
    flattened: bool,
}

impl<'v, T: ?Sized> Guarded<'v, T> {
    pub(super) fn new(value: &'v T, rules: Rules) -> Self {
        let left = rules.depth;
        let scope = Scope {
            rules,
            left,
            flattened: false,
        };
        Guarded { value, scope }
    }
}

impl<T: Serialize + ?Sized> Serialize for Guarded<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Guard {
            inner: serializer,
            scope: self.scope,
        })
    }
}

impl Scope {
    /// The scope of what is nested in this one, so many levels deeper.
    fn deeper<E: Error>(self, levels: usize) -> Result<Scope, E> {
        match self.left.checked_sub(levels) {
            Some(left) => Ok(Scope { left, ..self }),
            None => Err(E::custom(format_args!(
                "the value is nested more than {} levels deep, which cannot be read back",
                self.rules.depth
            ))),
        }
    }

    fn float<E: Error>(self, float: f64) -> Result<(), E> {
        if float.is_finite() || self.rules.every_float {
            return Ok(());
        }
        Err(E::custom(format_args!(
            "{float} has no form in this format, and could not be read back; use an Option, or another format"
        )))
    }

    fn wide<E: Error>(self) -> Result<(), E> {
        if self.flattened {
            return Err(E::custom(
                "a 128-bit integer in a struct with flattened fields could not be read back: serde does not support it; \
                 write it as text",
            ));
        }
        Ok(())
    }
}

/// A serializer that checks what it passes on.
struct Guard<S> {
    inner: S,
    scope: Scope,
}

/// The same for the elements of a collection.
struct Elements<C> {
    inner: C,
    scope: Scope,
}

impl<C> Elements<C> {
    fn guarded<'v, T: ?Sized>(&self, value: &'v T) -> Guarded<'v, T> {
        Guarded {
            value,
            scope: self.scope,
        }
    }
}

macro_rules! pass_on {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {
        $(fn $method(self, $($name: $type),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($name),*)
        })*
    };
}

/// A collection, so many levels deeper.
macro_rules! nest {
    ($($method:ident($($name:ident: $type:ty),*) -> $of:ident, $levels:literal;)*) => {
        $(fn $method(self, $($name: $type),*) -> Result<Elements<S::$of>, S::Error> {
            let scope = self.scope.deeper($levels)?;
            let inner = self.inner.$method($($name),*)?;
            Ok(Elements { inner, scope })
        })*
    };
}

impl<S: Serializer> Serializer for Guard<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Elements<S::SerializeSeq>;
    type SerializeTuple = Elements<S::SerializeTuple>;
    type SerializeTupleStruct = Elements<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Elements<S::SerializeTupleVariant>;
    type SerializeMap = Elements<S::SerializeMap>;
    type SerializeStruct = Elements<S::SerializeStruct>;
    type SerializeStructVariant = Elements<S::SerializeStructVariant>;

    pass_on! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    nest! {
        serialize_seq(length: Option<usize>) -> SerializeSeq, 1;
        serialize_tuple(length: usize) -> SerializeTuple, 1;
        serialize_tuple_struct(name: &'static str, length: usize) -> SerializeTupleStruct, 1;
        serialize_struct(name: &'static str, length: usize) -> SerializeStruct, 1;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, length: usize)
            -> SerializeTupleVariant, 2;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, length: usize)
            -> SerializeStructVariant, 2;
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let mut scope = self.scope.deeper(1)?;
        scope.flattened |= length.is_none();
        let inner = self.inner.serialize_map(length)?;
        Ok(Elements { inner, scope })
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.scope.float(value.into())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.scope.float(value)?;
        self.inner.serialize_f64(value)
    }

    fn serialize_i128(self, value: i128) -> Result<S::Ok, S::Error> {
        self.scope.wide()?;
        self.inner.serialize_i128(value)
    }

    fn serialize_u128(self, value: u128) -> Result<S::Ok, S::Error> {
        self.scope.wide()?;
        self.inner.serialize_u128(value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let scope = self.scope;
        self.inner.serialize_some(&Guarded { value, scope })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let scope = self.scope;
        self.inner
            .serialize_newtype_struct(name, &Guarded { value, scope })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let scope = self.scope.deeper(1)?;
        let value = &Guarded { value, scope };
        self.inner
            .serialize_newtype_variant(name, index, variant, value)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! elements {
    ($($of:ident::$method:ident;)*) => {
        $(impl<C: $of> $of for Elements<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let value = self.guarded(value);
                self.inner.$method(&value)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

macro_rules! fields {
    ($($of:ident;)*) => {
        $(impl<C: $of> $of for Elements<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                let value = self.guarded(value);
                self.inner.serialize_field(key, &value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

elements! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<C: SerializeMap> SerializeMap for Elements<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let value = self.guarded(value);
        self.inner.serialize_value(&value)
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), C::Error> {
        let value = self.guarded(value);
        self.inner.serialize_entry(key, &value)
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::{Deserialize, Serialize};

    use crate::codec::{Codec, Decode, Encode, Stored};
    use crate::error::{ErrorKind, Result};

    fn codecs() -> Vec<Codec> {
        vec![
            Codec::json(),
            #[cfg(feature = "msgpack")]
            Codec::new(crate::Format::MessagePack),
        ]
    }

    /// Writes a value, and reads it back if that worked.
    fn comes_back<T: Encode + Decode>(codec: &Codec, value: &T) -> Result<Option<T>> {
        let mut bytes = Vec::new();
        let format = value.encode(codec, &mut bytes)?;
        Ok(match T::decode(format, codec, &mut bytes, 0) {
            Ok(Stored::Value(value)) => Some(value),
            _ => None,
        })
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        List(Vec<Tree>),
        Pair(Box<Tree>, u8),
        Named { inner: Box<Tree> },
        Boxed(Box<Tree>),
        Perhaps(Option<Box<Tree>>),
        Map(BTreeMap<String, Tree>),
    }

    fn nested(kind: usize, tree: Tree) -> Tree {
        match kind % 6 {
            0 => Tree::List(vec![tree]),
            1 => Tree::Pair(tree.into(), 1),
            2 => Tree::Named { inner: tree.into() },
            3 => Tree::Boxed(tree.into()),
            4 => Tree::Perhaps(Some(tree.into())),
            _ => Tree::Map(BTreeMap::from([("k".to_owned(), tree)])),
        }
    }

    #[test]
    fn what_is_written_is_not_nested_deeper_than_what_is_read() {
        for codec in codecs() {
            for kinds in [
                vec![0],
                vec![1],
                vec![2],
                vec![3],
                vec![4],
                vec![5],
                (0..6).collect(),
            ] {
                let mut tree = Tree::Leaf;
                let mut refused = 0;
                for depth in 1..200 {
                    tree = nested(kinds[depth % kinds.len()], tree);
                    match comes_back(&codec, &tree) {
                        Ok(back) => assert_eq!(back.as_ref(), Some(&tree), "{codec:?} {depth}"),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Codec);
                            refused += 1;
                        }
                    }
                }
                assert!(
                    (60..160).contains(&refused),
                    "{codec:?} {kinds:?} {refused}"
                );
            }
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner<T> {
        value: T,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer<T> {
        id: u8,
        #[serde(flatten)]
        inner: Inner<T>,
    }

    #[test]
    fn a_flattened_128_bit_integer_is_refused_and_another_is_not() {
        let outer = |value| Outer {
            id: 1,
            inner: Inner { value },
        };
        for codec in codecs() {
            for value in [7_u128, u128::MAX] {
                let error = comes_back(&codec, &outer(value)).unwrap_err();
                assert!(error.to_string().contains("as text"), "{error}");
                let inner = Inner { value };
                assert_eq!(comes_back(&codec, &inner).unwrap(), Some(inner));
                let map = HashMap::from([("k".to_owned(), value)]);
                assert_eq!(comes_back(&codec, &map).unwrap(), Some(map));
            }
            let nested = Outer {
                id: 1,
                inner: Inner {
                    value: vec![-1_i128],
                },
            };
            comes_back(&codec, &nested).unwrap_err();
            let narrow = Outer {
                id: 1,
                inner: Inner { value: u64::MAX },
            };
            assert_eq!(comes_back(&codec, &narrow).unwrap(), Some(narrow));
        }
    }

    #[test]
    fn a_float_that_json_has_no_form_for_is_refused_wherever_it_is() {
        let json = Codec::json();
        let refused = |value: &dyn Fn(f64) -> Result<()>| {
            for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let error = value(float).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Codec);
            }
            value(1.5).unwrap();
        };
        refused(&|float| comes_back(&json, &float).map(drop));
        refused(&|float| comes_back(&json, &(float as f32)).map(drop));
        refused(&|float| comes_back(&json, &Some(float)).map(drop));
        refused(&|float| comes_back(&json, &vec![1.0, float]).map(drop));
        refused(&|float| comes_back(&json, &(1, float)).map(drop));
        refused(&|float| comes_back(&json, &Inner { value: float }).map(drop));
        refused(&|float| {
            let outer = Outer {
                id: 1,
                inner: Inner { value: float },
            };
            comes_back(&json, &outer).map(drop)
        });
        refused(&|float| {
            let map = HashMap::from([("k".to_owned(), float)]);
            comes_back(&json, &map).map(drop)
        });
    }
}
