//! The keys of calls: given by an expression, or made from the function and all its arguments.
//!
//! **No two argument lists of a function share a key.** Each argument is written in a form that shows where it ends:
//! numbers as digits, texts in quotes with quotes escaped, everything else in brackets, with the names of fields and
//! variants. Two arguments differ if serde sees a difference: what an argument's `Serialize` leaves out is not part
//! of the key.

use std::any::type_name;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::ser::{self, Serialize};
use smallvec::SmallVec;

use super::of_the_caller;
use crate::error::BoxError;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Key;

/// The key of a call. A short one is made without an allocation, and so is what a near hit is looked up by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallKey(SmallVec<[u8; 64]>);

impl CallKey {
    fn new() -> Self {
        CallKey(SmallVec::new())
    }

    #[inline]
    fn push_str(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn push(&mut self, char: char) {
        self.push_str(char.encode_utf8(&mut [0; 4]));
    }
}

impl AsRef<[u8]> for CallKey {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for CallKey {
    fn from(bytes: &[u8]) -> Self {
        CallKey(SmallVec::from_slice(bytes))
    }
}

impl std::fmt::Write for CallKey {
    #[inline]
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

impl std::fmt::Debug for CallKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Key::from(self.as_ref()).fmt(f)
    }
}

/// The key that a template is filled to.
///
/// # Errors
/// `InvalidKey`: an argument could not be written.
pub fn filled_key(template: std::fmt::Arguments<'_>) -> Result<CallKey> {
    let mut key = CallKey::new();
    match key.write_fmt(template) {
        Ok(()) => Ok(key),
        Err(_) => Err(Error::new(
            ErrorKind::InvalidKey,
            "an argument in the key's template cannot be written: its `Display` failed",
        )),
    }
}

/// What an expression for a key may evaluate to.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key",
    label = "not a key",
    note = "give text or bytes, or a `Result` of them"
)]
pub trait IntoKey {
    fn into_key(self) -> Result<CallKey>;
}

macro_rules! into_key {
    ($($type:ty $(where const $n:ident)?),* $(,)?) => {$(
        impl$(<const $n: usize>)? IntoKey for $type {
            fn into_key(self) -> Result<CallKey> {
                let bytes: &[u8] = AsRef::<[u8]>::as_ref(&*self);
                Ok(CallKey::from(bytes))
            }
        }
    )*};
}

into_key!(
    &str, String, &String, Box<str>, Arc<str>, Cow<'_, str>,
    &[u8], Vec<u8>, &Vec<u8>, Cow<'_, [u8]>, &Key, &[u8; N] where const N,
);

impl IntoKey for Key {
    fn into_key(self) -> Result<CallKey> {
        Ok(CallKey::from(self.as_bytes()))
    }
}

impl IntoKey for CallKey {
    #[inline]
    fn into_key(self) -> Result<CallKey> {
        Ok(self)
    }
}

impl<K: IntoKey, E: Into<BoxError>> IntoKey for Result<K, E> {
    #[inline]
    fn into_key(self) -> Result<CallKey> {
        match self {
            Ok(key) => key.into_key(),
            Err(error) => Err(of_the_caller(ErrorKind::InvalidKey, error)),
        }
    }
}

/// The key that an expression evaluates to.
pub fn key(key: impl IntoKey) -> Result<Key> {
    Ok(Key::from(key.into_key()?.as_ref()))
}

/// The same, for a call.
#[inline]
pub fn call_key(key: impl IntoKey) -> Result<CallKey> {
    key.into_key()
}

/// The key of a function and its arguments: `my_app::users::find(7,"acme")`.
#[derive(Debug)]
#[must_use]
pub struct ArgumentKey {
    text: CallKey,
    within: Option<char>,
    error: Option<Error>,
}

impl ArgumentKey {
    /// Starts the key of a free function. `T` is a type declared next to it, with the function's name.
    pub fn of<T: ?Sized>() -> Self {
        ArgumentKey {
            text: CallKey::from(type_name::<T>().as_bytes()),
            within: None,
            error: None,
        }
    }

    /// Starts the key of a method.
    pub fn of_method<T: ?Sized>(name: &str) -> Self {
        let mut key = ArgumentKey::of::<T>();
        key.text.push_str("::");
        key.text.push_str(name);
        key
    }

    fn next(&mut self, within: char) {
        let separator = if self.within.replace(within) == Some(within) {
            ','
        } else {
            within
        };
        self.text.push(separator);
    }

    /// Adds a generic type; all of them come before the arguments.
    pub fn generic<T: ?Sized>(mut self) -> Self {
        self.next('<');
        self.text.push_str(type_name::<T>());
        self
    }

    /// Adds a generic constant, likewise.
    pub fn constant<T: Serialize>(mut self, value: &T) -> Self {
        self.next('<');
        self.write(value);
        self
    }

    pub fn argument<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        self.open();
        self.write(value);
        self
    }

    /// Adds an argument whose type the caller chooses, so the type is part of the key.
    pub fn argument_of_any<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        self.open();
        self.text.push_str(type_name::<T>());
        self.text.push(' ');
        self.write(value);
        self
    }

    fn open(&mut self) {
        if self.within == Some('<') {
            self.text.push('>');
        }
        self.next('(');
    }

    fn write<T: Serialize + ?Sized>(&mut self, value: &T) {
        if let Err(Unwritten(why)) = value.serialize(Writer(&mut self.text)) {
            let why = format!("an argument cannot be written: {why}");
            self.error
                .get_or_insert_with(|| Error::new(ErrorKind::InvalidKey, why));
        }
    }

    /// The key of a call.
    pub fn finish(mut self) -> Result<CallKey> {
        self.text.push_str(match self.within {
            None => "()",
            Some('<') => ">()",
            Some(_) => ")",
        });
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.text),
        }
    }
}

/// An argument's `Serialize` failed, with this message.
#[derive(Debug)]
struct Unwritten(String);

impl std::fmt::Display for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unwritten {}

impl ser::Error for Unwritten {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Unwritten(why.to_string())
    }
}

type Written = std::result::Result<(), Unwritten>;

/// Writes a value so that no other value of its type is written in the same way.
struct Writer<'t>(&'t mut CallKey);

impl<'t> Writer<'t> {
    fn display(self, value: impl std::fmt::Display) -> Written {
        let _ = write!(self.0, "{value}");
        Ok(())
    }

    /// Writes text in quotes. The start of nearcache's own keys, `#nearcache:`, is escaped, because a user's key must
    /// not contain it.
    fn quoted(self, text: &str) -> Written {
        self.0.push('"');
        for (at, char) in text.char_indices() {
            match char {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(char);
                }
                '#' if text[at..].starts_with("#nearcache:") => self.0.push_str("\\u23;"),
                _ if char.is_control() => {
                    let _ = write!(self.0, "\\u{:x};", u32::from(char));
                }
                _ => self.0.push(char),
            }
        }
        self.0.push('"');
        Ok(())
    }

    /// Writes the name of a type, a field or a variant, without quotes if it is unambiguous.
    fn name(self, name: &str) -> Written {
        if name
            .chars()
            .all(|char| char.is_alphanumeric() || char == '_')
        {
            self.0.push_str(name);
            Ok(())
        } else {
            self.quoted(name)
        }
    }

    fn variant(self, name: &str, variant: &str) -> Written {
        Writer(self.0).name(name)?;
        self.0.push_str("::");
        self.name(variant)
    }

    fn several(self, open: char, close: char) -> Several<'t> {
        self.0.push(open);
        Several {
            text: self.0,
            close,
            first: true,
        }
    }
}

macro_rules! displayed {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, value: $type) -> Written {
            self.display(value)
        }
    )*};
}

impl<'t> ser::Serializer for Writer<'t> {
    type Ok = ();
    type Error = Unwritten;
    type SerializeSeq = Several<'t>;
    type SerializeTuple = Several<'t>;
    type SerializeTupleStruct = Several<'t>;
    type SerializeTupleVariant = Several<'t>;
    type SerializeMap = Entries<'t>;
    type SerializeStruct = Several<'t>;
    type SerializeStructVariant = Several<'t>;

    displayed!(
        serialize_bool: bool,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_i128: i128, serialize_u128: u128
    );

    fn serialize_f32(self, value: f32) -> Written {
        self.display(format_args!("{value:?}"))
    }

    fn serialize_f64(self, value: f64) -> Written {
        self.display(format_args!("{value:?}"))
    }

    fn serialize_char(self, value: char) -> Written {
        self.quoted(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Written {
        self.quoted(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Written {
        self.0.push_str("0x");
        for byte in value {
            let _ = write!(self.0, "{byte:02x}");
        }
        Ok(())
    }

    fn serialize_none(self) -> Written {
        self.display("None")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        self.0.push_str("Some(");
        value.serialize(Writer(self.0))?;
        self.0.push(')');
        Ok(())
    }

    fn serialize_unit(self) -> Written {
        self.display('~')
    }

    fn serialize_unit_struct(self, name: &'static str) -> Written {
        Writer(self.0).name(name)?;
        self.display('~')
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Written {
        self.variant(name, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Written {
        Writer(self.0).name(name)?;
        self.0.push('(');
        value.serialize(Writer(self.0))?;
        self.0.push(')');
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        Writer(self.0).variant(name, variant)?;
        self.0.push('(');
        value.serialize(Writer(self.0))?;
        self.0.push(')');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> std::result::Result<Several<'t>, Unwritten> {
        Ok(self.several('[', ']'))
    }

    fn serialize_tuple(self, _: usize) -> std::result::Result<Several<'t>, Unwritten> {
        Ok(self.several('(', ')'))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> std::result::Result<Several<'t>, Unwritten> {
        Writer(self.0).name(name)?;
        Ok(self.several('(', ')'))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> std::result::Result<Several<'t>, Unwritten> {
        Writer(self.0).variant(name, variant)?;
        Ok(self.several('(', ')'))
    }

    fn serialize_map(self, _: Option<usize>) -> std::result::Result<Entries<'t>, Unwritten> {
        Ok(Entries {
            text: self.0,
            entries: Vec::new(),
            entry: CallKey::new(),
        })
    }

    fn serialize_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> std::result::Result<Several<'t>, Unwritten> {
        Writer(self.0).name(name)?;
        Ok(self.several('(', ')'))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> std::result::Result<Several<'t>, Unwritten> {
        Writer(self.0).variant(name, variant)?;
        Ok(self.several('(', ')'))
    }
}

/// Writes values in brackets.
struct Several<'t> {
    text: &'t mut CallKey,
    close: char,
    first: bool,
}

impl Several<'_> {
    fn next(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.text.push(',');
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.next();
        value.serialize(Writer(self.text))
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Written {
        self.next();
        Writer(self.text).name(name)?;
        self.text.push(':');
        value.serialize(Writer(self.text))
    }

    fn close(self) -> Written {
        self.text.push(self.close);
        Ok(())
    }
}

macro_rules! several {
    ($($trait:ident: $method:ident($($name:ident)?) via $via:ident),*) => {$(
        impl ser::$trait for Several<'_> {
            type Ok = ();
            type Error = Unwritten;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Written {
                self.$via($($name,)? value)
            }

            fn end(self) -> Written {
                self.close()
            }
        }
    )*};
}

several!(
    SerializeSeq: serialize_element() via value,
    SerializeTuple: serialize_element() via value,
    SerializeTupleStruct: serialize_field() via value,
    SerializeTupleVariant: serialize_field() via value,
    SerializeStruct: serialize_field(name) via field,
    SerializeStructVariant: serialize_field(name) via field
);

/// Writes the entries of a map in sorted order, so that equal maps give the same key. An empty map differs from an
/// empty list.
struct Entries<'t> {
    text: &'t mut CallKey,
    entries: Vec<CallKey>,
    entry: CallKey,
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Unwritten;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        key.serialize(Writer(&mut self.entry))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.entry.push(':');
        value.serialize(Writer(&mut self.entry))?;
        let entry = std::mem::replace(&mut self.entry, CallKey::new());
        self.entries.push(entry);
        Ok(())
    }

    fn end(mut self) -> Written {
        self.entries.sort_unstable();
        self.text.push_str("[:");
        for (at, entry) in self.entries.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            self.text.0.extend_from_slice(entry.as_ref());
        }
        self.text.push(']');
        Ok(())
    }
}
