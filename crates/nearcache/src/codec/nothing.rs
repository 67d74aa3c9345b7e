//! Finds out whether serde would write a value as nothing (`Option::None`), without writing it.
//!
//! In JSON the bytes show it (`null`). In formats that are not self-describing they do not. So the value is
//! serialized with a serializer that only looks at the first call, which tells what the value is.

use std::fmt;

use serde::ser::{Impossible, Serialize, Serializer};

/// Whether the value is `None`, `()`, or a newtype of one of these.
pub(super) fn is_nothing<T: Serialize + ?Sized>(value: &T) -> bool {
    value.serialize(Asked).is_ok()
}

/// `Ok` for a nothing, `Err` for everything else.
struct Asked;

#[derive(Debug)]
struct Something;

type Never = Impossible<(), Something>;

macro_rules! something {
    ($($method:ident($($type:ty),*) -> $of:ty;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$of, Something> {
            Err(Something)
        })*
    };
}

impl Serializer for Asked {
    type Ok = ();
    type Error = Something;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    something! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    fn serialize_none(self) -> Result<(), Something> {
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Something> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Something> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Something> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Something> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Something> {
        Err(Something)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Something> {
        Err(Something)
    }
}

impl fmt::Display for Something {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is something")
    }
}

impl std::error::Error for Something {}

impl serde::ser::Error for Something {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Something
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Wrapped(Option<u8>);

    #[derive(serde::Serialize)]
    struct Empty;

    #[derive(serde::Serialize)]
    enum Of {
        None,
        Some(Option<u8>),
    }

    /// The reference: the other formats must agree with JSON.
    fn as_json<T: Serialize>(value: &T) -> bool {
        serde_json::to_string(value).unwrap() == "null"
    }

    #[test]
    fn a_nothing_is_what_json_writes_as_null() {
        macro_rules! agree {
            ($($value:expr),*) => {
                $(assert_eq!(is_nothing(&$value), as_json(&$value), stringify!($value));)*
            };
        }
        agree!(
            None::<u8>,
            Some(1),
            Some(None::<u8>),
            (),
            0,
            0.5,
            "",
            [0u8; 0],
            Wrapped(None),
            Wrapped(Some(1)),
            Empty,
            Of::None,
            Of::Some(None),
            Box::new(None::<u8>),
            (None::<u8>,),
            std::net::Ipv4Addr::LOCALHOST
        );
        // JSON writes it as `null` because it has no NaN; other formats have one.
        assert!(!is_nothing(&f64::NAN));
    }
}
