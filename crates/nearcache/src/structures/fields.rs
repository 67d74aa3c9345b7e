//! A struct as the fields of a hash, and the fields of a hash as a struct.
//!
//! 1. Each field is in its canonical form (see [`super::member`]), so each can be read and written on its own.
//! 2. `None` is not stored, and what is not there is `None`.
//! 3. An error names the field, and not its value.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
};
use serde::ser::{self, Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};

use super::member::{Bare, Options, Unreadable, encoded};
use crate::error::{Error, ErrorKind, Result};

/// The fields of a struct or a map.
///
/// # Errors
/// `Codec`.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    value.serialize(Whole).map_err(|Unwritable(error)| error)
}

/// A struct or a map of the fields.
///
/// # Errors
/// `Codec`.
pub(super) fn read<T: DeserializeOwned>(fields: &[(Vec<u8>, Vec<u8>)]) -> Result<T> {
    let stored = Stored {
        fields: fields.iter(),
        value: None,
    };
    T::deserialize(stored).map_err(|error| {
        Error::new(
            ErrorKind::Codec,
            format!("the hash is not of this type: {error}"),
        )
    })
}

#[derive(Debug)]
struct Unwritable(Error);

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unwritable {}

impl ser::Error for Unwritable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Unwritable(Error::new(ErrorKind::Codec, message.to_string()))
    }
}

impl Unwritable {
    fn no_fields() -> Self {
        Unwritable(Error::new(
            ErrorKind::Codec,
            "only a struct with named fields or a map has fields; use `set` for one field",
        ))
    }
}

/// What has fields.
struct Whole;

/// The fields so far, and the name of the next.
#[derive(Default)]
struct Fields {
    written: Vec<(Vec<u8>, Vec<u8>)>,
    name: Vec<u8>,
}

impl Fields {
    fn add<T: Serialize + ?Sized>(
        &mut self,
        name: Vec<u8>,
        value: &T,
    ) -> std::result::Result<(), Unwritable> {
        if let Some(bytes) = there(value).map_err(|error| {
            let why = format!(
                "field `{}`: {}",
                String::from_utf8_lossy(&name),
                error.detail()
            );
            Unwritable(Error::new(ErrorKind::Codec, why))
        })? {
            self.written.push((name, bytes));
        }
        Ok(())
    }
}

macro_rules! no_fields {
    ($($method:ident($($argument:ty),*) -> $output:ty;)*) => {$(
        fn $method(self, $(_: $argument),*) -> std::result::Result<$output, Unwritable> {
            Err(Unwritable::no_fields())
        }
    )*};
}

impl Serializer for Whole {
    type Ok = Vec<(Vec<u8>, Vec<u8>)>;
    type Error = Unwritable;
    type SerializeSeq = Impossible<Self::Ok, Unwritable>;
    type SerializeTuple = Impossible<Self::Ok, Unwritable>;
    type SerializeTupleStruct = Impossible<Self::Ok, Unwritable>;
    type SerializeTupleVariant = Impossible<Self::Ok, Unwritable>;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Impossible<Self::Ok, Unwritable>;

    fn serialize_map(self, _: Option<usize>) -> std::result::Result<Fields, Unwritable> {
        Ok(Fields::default())
    }

    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Fields, Unwritable> {
        Ok(Fields::default())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> std::result::Result<Self::Ok, Unwritable> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(
        self,
        value: &T,
    ) -> std::result::Result<Self::Ok, Unwritable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> std::result::Result<Self::Ok, Unwritable> {
        Err(Unwritable::no_fields())
    }

    no_fields! {
        serialize_bool(bool) -> Self::Ok;
        serialize_i8(i8) -> Self::Ok;
        serialize_i16(i16) -> Self::Ok;
        serialize_i32(i32) -> Self::Ok;
        serialize_i64(i64) -> Self::Ok;
        serialize_u8(u8) -> Self::Ok;
        serialize_u16(u16) -> Self::Ok;
        serialize_u32(u32) -> Self::Ok;
        serialize_u64(u64) -> Self::Ok;
        serialize_f32(f32) -> Self::Ok;
        serialize_f64(f64) -> Self::Ok;
        serialize_char(char) -> Self::Ok;
        serialize_str(&str) -> Self::Ok;
        serialize_bytes(&[u8]) -> Self::Ok;
        serialize_none() -> Self::Ok;
        serialize_unit() -> Self::Ok;
        serialize_unit_struct(&'static str) -> Self::Ok;
        serialize_unit_variant(&'static str, u32, &'static str) -> Self::Ok;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}

impl SerializeStruct for Fields {
    type Ok = Vec<(Vec<u8>, Vec<u8>)>;
    type Error = Unwritable;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> std::result::Result<(), Unwritable> {
        self.add(name.as_bytes().to_vec(), value)
    }

    fn end(self) -> std::result::Result<Self::Ok, Unwritable> {
        Ok(self.written)
    }
}

impl SerializeMap for Fields {
    type Ok = Vec<(Vec<u8>, Vec<u8>)>;
    type Error = Unwritable;

    fn serialize_key<T: Serialize + ?Sized>(
        &mut self,
        name: &T,
    ) -> std::result::Result<(), Unwritable> {
        self.name = encoded(name).map_err(Unwritable)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> std::result::Result<(), Unwritable> {
        let name = std::mem::take(&mut self.name);
        self.add(name, value)
    }

    fn end(self) -> std::result::Result<Self::Ok, Unwritable> {
        Ok(self.written)
    }
}

/// The canonical form of a field's value; none for `None`.
fn there<T: Serialize + ?Sized>(value: &T) -> Result<Option<Vec<u8>>> {
    match value.serialize(Optional) {
        Ok(Some(found)) => Ok(Some(found)),
        Ok(None) => Ok(None),
        Err(NoOption(Some(error))) => Err(error),
        Err(NoOption(None)) => encoded(value).map(Some),
    }
}

/// Whether a value is an `Option`, and what it holds.
struct Optional;

/// It is none; or its content has no form.
#[derive(Debug)]
struct NoOption(Option<Error>);

impl fmt::Display for NoOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no option")
    }
}

impl std::error::Error for NoOption {}

impl ser::Error for NoOption {
    fn custom<T: fmt::Display>(_: T) -> Self {
        NoOption(None)
    }
}

type Within = Option<Vec<u8>>;
type Never = Impossible<Within, NoOption>;

macro_rules! no_option {
    ($($method:ident($($argument:ty),*) -> $output:ty;)*) => {$(
        fn $method(self, $(_: $argument),*) -> std::result::Result<$output, NoOption> {
            Err(NoOption(None))
        }
    )*};
}

impl Serializer for Optional {
    type Ok = Within;
    type Error = NoOption;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_none(self) -> std::result::Result<Within, NoOption> {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(
        self,
        value: &T,
    ) -> std::result::Result<Within, NoOption> {
        there(value).map_err(|error| NoOption(Some(error)))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> std::result::Result<Within, NoOption> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> std::result::Result<Within, NoOption> {
        Err(NoOption(None))
    }

    no_option! {
        serialize_bool(bool) -> Within;
        serialize_i8(i8) -> Within;
        serialize_i16(i16) -> Within;
        serialize_i32(i32) -> Within;
        serialize_i64(i64) -> Within;
        serialize_i128(i128) -> Within;
        serialize_u8(u8) -> Within;
        serialize_u16(u16) -> Within;
        serialize_u32(u32) -> Within;
        serialize_u64(u64) -> Within;
        serialize_u128(u128) -> Within;
        serialize_f32(f32) -> Within;
        serialize_f64(f64) -> Within;
        serialize_char(char) -> Within;
        serialize_str(&str) -> Within;
        serialize_bytes(&[u8]) -> Within;
        serialize_unit() -> Within;
        serialize_unit_struct(&'static str) -> Within;
        serialize_unit_variant(&'static str, u32, &'static str) -> Within;
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }
}

/// The fields as they were read.
struct Stored<'de> {
    fields: std::slice::Iter<'de, (Vec<u8>, Vec<u8>)>,
    /// The value whose name was just given.
    value: Option<&'de (Vec<u8>, Vec<u8>)>,
}

impl<'de> Deserializer<'de> for Stored<'de> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Unreadable> {
        visitor.visit_map(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Unreadable> {
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Stored<'de> {
    type Error = Unreadable;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, Unreadable> {
        self.value = self.fields.next();
        let Some((name, _)) = self.value else {
            return Ok(None);
        };
        // A name is text to a struct, and may be anything to a map.
        seed.deserialize(Name(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> std::result::Result<V::Value, Unreadable> {
        let (name, value) = self
            .value
            .take()
            .ok_or_else(|| Unreadable::new("a value without a name".into()))?;
        seed.deserialize(Bare::new(value, Options::There))
            .map_err(|error| {
                let name = String::from_utf8_lossy(name);
                Unreadable::new(format!("field `{name}`: {error}"))
            })
    }
}

/// The name of a field. Text where nothing else is asked for, even if it looks like a number.
struct Name<'de>(&'de [u8]);

macro_rules! bare {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Unreadable> {
            Bare::new(self.0, Options::There).$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Name<'de> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Unreadable> {
        match std::str::from_utf8(self.0) {
            Ok(name) => visitor.visit_borrowed_str(name),
            Err(_) => visitor.visit_borrowed_bytes(self.0),
        }
    }

    /// A field of a struct; a name that is no text is none.
    fn deserialize_identifier<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Unreadable> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Unreadable> {
        match std::str::from_utf8(self.0) {
            Ok(text) => {
                let text: StrDeserializer<'_, Unreadable> = text.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            Err(_) => Bare::new(self.0, Options::There).deserialize_enum(name, variants, visitor),
        }
    }

    bare! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq deserialize_map
        deserialize_ignored_any
    }

    serde::forward_to_deserialize_any! { unit_struct tuple tuple_struct struct }
}
