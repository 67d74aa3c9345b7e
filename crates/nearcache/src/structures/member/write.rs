//! Writes what is bare: text, bytes, integers, and newtypes of these.

use std::fmt;

use serde::ser::{Error, Impossible, Serialize, Serializer};

/// Appends a bare value.
pub(super) struct Bare<'o>(pub(super) &'o mut Vec<u8>);

/// The value is not bare, or cannot be serialized: JSON will say.
#[derive(Debug)]
pub(super) struct NotBare;

impl fmt::Display for NotBare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a bare value")
    }
}

impl std::error::Error for NotBare {}

impl Error for NotBare {
    fn custom<T: fmt::Display>(_: T) -> Self {
        NotBare
    }
}

type Compound = Impossible<(), NotBare>;

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), NotBare> {
            self.0.extend(value.to_string().bytes());
            Ok(())
        }
    )*};
}

macro_rules! not_bare {
    ($($method:ident($($argument:ty),*) -> $output:ty;)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$output, NotBare> {
            Err(NotBare)
        }
    )*};
}

impl Serializer for Bare<'_> {
    type Ok = ();
    type Error = NotBare;
    type SerializeSeq = Compound;
    type SerializeTuple = Compound;
    type SerializeTupleStruct = Compound;
    type SerializeTupleVariant = Compound;
    type SerializeMap = Compound;
    type SerializeStruct = Compound;
    type SerializeStructVariant = Compound;

    integers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128,
        serialize_char: char
    }

    fn serialize_str(self, text: &str) -> Result<(), NotBare> {
        self.serialize_bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), NotBare> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NotBare> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), NotBare> {
        Err(NotBare)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NotBare> {
        Err(NotBare)
    }

    not_bare! {
        serialize_bool(bool) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Compound;
        serialize_tuple(usize) -> Compound;
        serialize_tuple_struct(&'static str, usize) -> Compound;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Compound;
        serialize_map(Option<usize>) -> Compound;
        serialize_struct(&'static str, usize) -> Compound;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Compound;
    }
}
