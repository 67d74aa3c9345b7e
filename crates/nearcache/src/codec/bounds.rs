//! Limits what a few bytes can make a reader do, for formats that have no limits of their own.
//!
//! Two things can cost far more than the bytes that ask for them. A recursive type is read by recursive calls, as
//! deep as the bytes say, until the stack overflows and the process dies. And a sequence of empty elements
//! (`Vec<()>`) has a length but takes no bytes: a few bytes can claim a length that takes years to count.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// The maximum nesting. A struct, a sequence, a map, an enum, an option and a newtype are one level each.
pub(super) const DEPTH: usize = 256;

/// How many elements that take no bytes are read at most.
const NOTHINGS: usize = 1 << 16;

/// Which limit was exceeded.
#[derive(Clone, Copy)]
pub(super) enum Exceeded {
    Depth,
    Elements,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exceeded::Depth => write!(f, "it nests deeper than {DEPTH} levels"),
            Exceeded::Elements => f.write_str("a length is more than its bytes can hold"),
        }
    }
}

/// The limits of one read, and whether it exceeded one.
pub(super) struct Bounds {
    /// How many more elements of sequences and maps may be read.
    elements: Cell<usize>,
    exceeded: Cell<Option<Exceeded>>,
}

impl Bounds {
    /// Limits for reading these bytes: each element takes at least one byte, except up to `NOTHINGS` empty ones.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Bounds {
            elements: Cell::new(bytes.len() + NOTHINGS),
            exceeded: Cell::new(None),
        }
    }

    /// The limit that was exceeded. It is kept here because an error of the format itself may have no room for it.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.get()
    }

    pub(super) fn hold<D>(&self, inner: D) -> Bounded<'_, D> {
        Bounded {
            inner,
            level: Level {
                bounds: self,
                left: DEPTH,
                counts: false,
            },
        }
    }

    fn exceed<E: Error>(&self, bound: Exceeded) -> E {
        self.exceeded.set(Some(bound));
        E::custom(bound)
    }
}

/// How deep the reader is.
#[derive(Clone, Copy)]
struct Level<'b> {
    bounds: &'b Bounds,
    left: usize,
    /// Whether the number of elements comes from the bytes, and not from the type.
    counts: bool,
}

impl Level<'_> {
    fn inside<E: Error>(mut self, counts: bool) -> Result<Self, E> {
        self.counts = counts;
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(self.bounds.exceed(Exceeded::Depth)),
        }
        Ok(self)
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        if self.counts {
            match self.bounds.elements.get().checked_sub(1) {
                Some(left) => self.bounds.elements.set(left),
                None => {
                    return Err(self.bounds.exceed(Exceeded::Elements));
                }
            }
        }
        Ok(())
    }
}

/// A deserializer, seed, visitor or access of serde, and the level that it is at.
pub(super) struct Bounded<'b, T> {
    inner: T,
    level: Level<'b>,
}

impl<'b, T> Bounded<'b, T> {
    fn around<U>(&self, inner: U) -> Bounded<'b, U> {
        Bounded {
            inner,
            level: self.level,
        }
    }
}

macro_rules! leaves {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* visitor)
        })*
    };
}

macro_rules! containers {
    ($counts:literal: $($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let level = self.level.inside($counts)?;
            self.inner.$method($($argument,)* Bounded { inner: visitor, level })
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    containers! { true:
        deserialize_seq();
        deserialize_map();
    }

    containers! { false:
        deserialize_option();
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Only what a container's visitor may be called with: the visitors of leaves are not wrapped.
impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.around(value);
        self.inner.visit_some(value)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.around(value);
        self.inner.visit_newtype_struct(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        let elements = self.around(elements);
        self.inner.visit_seq(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let entries = self.around(entries);
        self.inner.visit_map(entries)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let variant = self.around(variant);
        self.inner.visit_enum(variant)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let inner = self.around(inner);
        self.inner.deserialize(inner)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        let element = self.inner.next_element_seed(seed)?;
        if element.is_some() {
            self.level.element()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        let element = self.inner.next_key_seed(seed)?;
        if element.is_some() {
            self.level.element()?;
        }
        Ok(element)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        let level = self.level;
        Ok((
            value,
            Bounded {
                inner: variant,
                level,
            },
        ))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
