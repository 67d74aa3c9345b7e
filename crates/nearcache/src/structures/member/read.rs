//! Reads an element by the type that is asked for: bare text, bytes and integers, and JSON for the rest.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, IgnoredAny, IntoDeserializer, Visitor};

use crate::error::{Error, ErrorKind};

/// How an `Option` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// As JSON: `null` is `None`.
    Json,
    /// What is there is `Some`. (A field of a hash that is missing is `None`.)
    There,
}

/// The bytes of an element.
pub(crate) struct Bare<'b> {
    bytes: &'b [u8],
    options: Options,
}

impl<'b> Bare<'b> {
    pub(crate) fn new(bytes: &'b [u8], options: Options) -> Self {
        Bare { bytes, options }
    }

    fn text(&self) -> Result<&'b str, Unreadable> {
        std::str::from_utf8(self.bytes).map_err(|error| {
            let at = error.valid_up_to();
            Unreadable(format!("not UTF-8 at byte {at}"))
        })
    }

    /// Whether the bytes are one JSON value.
    fn is_json(&self) -> bool {
        serde_json::from_slice::<IgnoredAny>(self.bytes).is_ok()
    }

    fn json<T>(
        &self,
        read: impl FnOnce(
            &mut serde_json::Deserializer<serde_json::de::SliceRead<'b>>,
        ) -> serde_json::Result<T>,
    ) -> Result<T, Unreadable> {
        let mut json = serde_json::Deserializer::from_slice(self.bytes);
        // serde's message may quote the data, so only the position is given.
        let failed = |error: serde_json::Error| {
            Unreadable(format!(
                "as JSON, line {} column {}",
                error.line(),
                error.column()
            ))
        };
        let value = read(&mut json).map_err(failed)?;
        json.end().map_err(failed)?;
        Ok(value)
    }
}

/// Why the bytes are not what is asked for.
#[derive(Debug)]
pub(crate) struct Unreadable(String);

impl Unreadable {
    pub(crate) fn new(why: String) -> Self {
        Unreadable(why)
    }

    pub(crate) fn into_error(self) -> Error {
        Error::new(
            ErrorKind::Codec,
            format!("the element is not of this type: {}", self.0),
        )
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl serde::de::Error for Unreadable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Unreadable(message.to_string())
    }

    /// Without the value, which may be private.
    fn invalid_type(_: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Unreadable(format!("it is not {expected}"))
    }

    /// Without the value, which may be private.
    fn invalid_value(_: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Unreadable(format!("it is not {expected}"))
    }

    /// Without the name that was found, which may be private.
    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Unreadable(format!("it is none of {}", expected.join(", ")))
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty => $visit:ident),*) => {$(
        fn $method<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
            match self.text()?.parse::<$type>() {
                Ok(number) => visitor.$visit(number),
                Err(_) => Err(Unreadable(concat!("it is no ", stringify!($type)).into())),
            }
        }
    )*};
}

macro_rules! json {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'b>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Unreadable> {
            self.json(|json| json.$method($($argument,)* visitor))
        }
    )*};
}

impl<'b> Deserializer<'b> for Bare<'b> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        if self.is_json() {
            return self.json(|json| json.deserialize_any(visitor));
        }
        match std::str::from_utf8(self.bytes) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => visitor.visit_borrowed_bytes(self.bytes),
        }
    }

    fn deserialize_str<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_borrowed_bytes(self.bytes)
    }

    fn deserialize_byte_buf<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_borrowed_bytes(self.bytes)
    }

    integers! {
        deserialize_i8: i8 => visit_i8, deserialize_i16: i16 => visit_i16, deserialize_i32: i32 => visit_i32,
        deserialize_i64: i64 => visit_i64, deserialize_i128: i128 => visit_i128,
        deserialize_u8: u8 => visit_u8, deserialize_u16: u16 => visit_u16, deserialize_u32: u32 => visit_u32,
        deserialize_u64: u64 => visit_u64, deserialize_u128: u128 => visit_u128
    }

    fn deserialize_option<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        if self.options == Options::There || !self.is_json() {
            return visitor.visit_some(self);
        }
        self.json(|json| json.deserialize_option(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'b>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    /// A variant without data may also be bare, as other programs write it.
    fn deserialize_enum<V: Visitor<'b>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        if self.is_json() {
            return self.json(|json| json.deserialize_enum(name, variants, visitor));
        }
        let text: StrDeserializer<'_, Unreadable> = self.text()?.into_deserializer();
        text.deserialize_enum(name, variants, visitor)
    }

    json! {
        deserialize_bool();
        deserialize_f32();
        deserialize_f64();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
    }

    /// Whatever it is.
    fn deserialize_ignored_any<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_unit()
    }
}
