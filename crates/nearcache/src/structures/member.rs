//! How elements become bytes, and bytes elements.
//!
//! Redis compares elements by their bytes, so one value has exactly one form, which every program and version agrees
//! on. It depends on no setting of the cache.
//!
//! 1. Text, bytes and integers are bare: what `redis-cli` shows and other programs write.
//! 2. Everything else is JSON with sorted keys and no spaces.
//! 3. Bytes that are no `T` are an error of the kind `Codec`, never a panic.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Raw, Text, canonical_json};
use crate::error::{Error, ErrorKind, Result};

mod read;
mod write;

pub(crate) use read::{Bare, Options, Unreadable};

/// What can be an element of a structure, or the name of a field, and be read back.
///
/// Implemented for every type that implements [`serde::Serialize`] and [`serde::de::DeserializeOwned`], and for
/// [`Text<String>`](Text) and [`Raw<Vec<u8>>`](Raw). Redis compares elements by their bytes, so each value has one
/// form:
///
/// | type | stored as |
/// | --- | --- |
/// | `String`, `char`, `Text` | the text |
/// | integers | decimal digits |
/// | `Raw`, what serde calls bytes | the bytes |
/// | a newtype (`struct UserId(u64)`) | what it holds |
/// | everything else: structs, enums, `bool`, floats, `Option`, `Vec` | JSON, with sorted keys and no spaces |
///
/// There is no envelope and no compression, whatever the cache's format. (`Vec<u8>` is a JSON array, as serde has it;
/// use `Raw`.)
///
/// It cannot be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an element of a structure",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or use `Text` or `Raw`"
)]
pub trait Member: AsMember + Sized + Send + Sync + 'static {
    /// Reads it from its bytes.
    #[doc(hidden)]
    fn from_member(bytes: Vec<u8>) -> Result<Self>;
}

/// What can be written as an element of a structure, or named as one: a [`Member`], or a reference to what it borrows
/// as (`str` for a `String`).
///
/// It cannot be implemented elsewhere.
pub trait AsMember: sealed::AsMember {
    /// Appends its bytes.
    #[doc(hidden)]
    fn write_member(&self, out: &mut Vec<u8>) -> Result<()>;
}

mod sealed {
    use super::{Raw, Serialize, Text};

    pub trait AsMember {}

    impl<T: Serialize + ?Sized> AsMember for T {}
    impl<S: AsRef<str>> AsMember for Text<S> {}
    impl<B: AsRef<[u8]>> AsMember for Raw<B> {}

    pub trait Element<T> {}

    impl<T: AsMember> Element<T> for T {}
    impl<T: AsMember> Element<T> for &T {}
}

/// The bytes of an element.
///
/// # Errors
/// `Codec`: it has no form in JSON.
pub(crate) fn encoded(member: &(impl AsMember + ?Sized)) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    member.write_member(&mut bytes)?;
    Ok(bytes)
}

/// What a structure of `T` takes as an element: a `T`, a reference to one, or what stands for one, such as a `&str` for
/// a `String`.
///
/// It cannot be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no element of a structure of `{T}`",
    note = "give a `{T}`, or a reference to one"
)]
pub trait Element<T>: sealed::Element<T> {
    /// Appends its bytes.
    #[doc(hidden)]
    fn write_element(&self, out: &mut Vec<u8>) -> Result<()>;
}

impl<T: AsMember> Element<T> for T {
    fn write_element(&self, out: &mut Vec<u8>) -> Result<()> {
        self.write_member(out)
    }
}

impl<T: AsMember> Element<T> for &T {
    fn write_element(&self, out: &mut Vec<u8>) -> Result<()> {
        (*self).write_member(out)
    }
}

macro_rules! stand_for {
    ($($given:ty => $element:ty),*) => {$(
        impl sealed::Element<$element> for $given {}

        impl Element<$element> for $given {
            fn write_element(&self, out: &mut Vec<u8>) -> Result<()> {
                self.write_member(out)
            }
        }
    )*};
}
stand_for!(
    &str => String, &&str => String, Text<&str> => Text<String>, Raw<&[u8]> => Raw<Vec<u8>>,
    Raw<&str> => Raw<Vec<u8>>
);

/// The bytes of an element of a structure of `T`.
///
/// # Errors
/// `Codec`: it has no form in JSON.
pub(crate) fn element<T>(element: &impl Element<T>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    element.write_element(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of each.
///
/// # Errors
/// `Codec`: one has no form in JSON.
pub(crate) fn elements<T>(all: impl IntoIterator<Item: Element<T>>) -> Result<Vec<Vec<u8>>> {
    all.into_iter().map(|each| element(&each)).collect()
}

impl<T: Serialize + ?Sized> AsMember for T {
    fn write_member(&self, out: &mut Vec<u8>) -> Result<()> {
        let from = out.len();
        match self.serialize(write::Bare(out)) {
            Ok(()) => Ok(()),
            Err(write::NotBare) => {
                out.truncate(from);
                canonical_json(self, out)
            }
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Member for T {
    fn from_member(bytes: Vec<u8>) -> Result<T> {
        T::deserialize(Bare::new(&bytes, Options::Json)).map_err(Unreadable::into_error)
    }
}

impl<S: AsRef<str>> AsMember for Text<S> {
    fn write_member(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.0.as_ref().as_bytes());
        Ok(())
    }
}

impl Member for Text<String> {
    fn from_member(bytes: Vec<u8>) -> Result<Self> {
        String::from_utf8(bytes).map(Text).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::new(
                ErrorKind::Codec,
                format!("the element is no text: not UTF-8 at byte {at}"),
            )
        })
    }
}

impl<B: AsRef<[u8]>> AsMember for Raw<B> {
    fn write_member(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.0.as_ref());
        Ok(())
    }
}

impl Member for Raw<Vec<u8>> {
    fn from_member(bytes: Vec<u8>) -> Result<Self> {
        Ok(Raw(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct UserId(u64);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Colour {
        Red,
        Of(u8),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Event {
        zone: Option<String>,
        at: u64,
        by: HashMap<String, f64>,
        colour: Colour,
    }

    fn text(member: &(impl AsMember + ?Sized)) -> String {
        String::from_utf8(encoded(member).unwrap()).unwrap()
    }

    #[test]
    fn text_and_integers_are_bare_and_the_rest_is_sorted_json() {
        assert_eq!(text("ada"), "ada");
        assert_eq!(text(&"5".to_owned()), "5");
        assert_eq!(text(""), "");
        assert_eq!(text(&'x'), "x");
        assert_eq!(text(&-7_i8), "-7");
        assert_eq!(text(&u128::MAX), u128::MAX.to_string());
        assert_eq!(text(&UserId(7)), "7");
        assert_eq!(text(&true), "true");
        assert_eq!(text(&1.5), "1.5");
        assert_eq!(text(&Some("a")), "\"a\"");
        assert_eq!(text(&None::<u8>), "null");
        assert_eq!(text(&Colour::Red), "\"Red\"");
        assert_eq!(text(&(1, "b")), "[1,\"b\"]");
        let event = Event {
            zone: None,
            at: 3,
            by: [("b".to_owned(), 0.5), ("a".to_owned(), 2.0)].into(),
            colour: Colour::Of(1),
        };
        assert_eq!(
            text(&event),
            r#"{"at":3,"by":{"a":2.0,"b":0.5},"colour":{"Of":1},"zone":null}"#
        );
        assert_eq!(encoded(&Raw([0, 255])).unwrap(), [0, 255]);
        assert_eq!(
            encoded(&f64::NAN).unwrap_err().kind(),
            ErrorKind::Codec,
            "it would be read back as null"
        );
    }

    #[test]
    fn what_another_program_wrote_is_read_by_its_type() {
        let read = |bytes: &[u8]| bytes.to_vec();
        assert_eq!(String::from_member(read(b"5")).unwrap(), "5");
        assert_eq!(u64::from_member(read(b"5")).unwrap(), 5);
        assert_eq!(
            f64::from_member(read(b"5")).unwrap().to_bits(),
            5.0_f64.to_bits()
        );
        assert_eq!(Colour::from_member(read(b"Red")).unwrap(), Colour::Red);
        assert_eq!(
            Option::<String>::from_member(read(b"John")).unwrap(),
            Some("John".into())
        );
        assert_eq!(
            serde_json::Value::from_member(read(b"John")).unwrap(),
            serde_json::json!("John")
        );
        for wrong in [&b"five"[..], b"", b"5 ", b"1.5", b"-1", b"\xff", b"300"] {
            let error = u8::from_member(wrong.to_vec()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec, "{wrong:?}");
        }
        assert!(bool::from_member(read(b"true false")).is_err());
        assert!(String::from_member(vec![0xff]).is_err());
    }

    fn events() -> impl Strategy<Value = Event> {
        let by = prop::collection::hash_map(".*", -1e300..1e300, 0..4);
        let colour = prop_oneof![Just(Colour::Red), any::<u8>().prop_map(Colour::Of)];
        (any::<Option<String>>(), any::<u64>(), by, colour).prop_map(|(zone, at, by, colour)| {
            Event {
                zone,
                at,
                by,
                colour,
            }
        })
    }

    fn round<T: Member + PartialEq + std::fmt::Debug>(value: &T) {
        let bytes = encoded(value).unwrap();
        assert_eq!(&T::from_member(bytes.clone()).unwrap(), value);
        assert_eq!(encoded(value).unwrap(), bytes, "one value has one form");
    }

    proptest! {
        #[test]
        fn every_element_comes_back(text in any::<String>(), number in any::<i128>(), event in events()) {
            round(&text);
            round(&number);
            round(&text.chars().next());
            round(&UserId(event.at));
            round(&Some(text.clone()));
            round(&vec![Some(event.clone()), None]);
            round(&event);
            round(&Text(text.clone()));
            round(&Raw(text.into_bytes()));
        }

        #[test]
        fn maps_in_any_order_are_one_element(pairs in prop::collection::vec((".*", any::<i64>()), 0..8)) {
            let forward: HashMap<String, i64> = pairs.iter().cloned().collect();
            let sorted: std::collections::BTreeMap<String, i64> = forward.clone().into_iter().collect();
            prop_assert_eq!(encoded(&forward).unwrap(), encoded(&sorted).unwrap());
        }

        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let _ = String::from_member(bytes.clone());
            let _ = i64::from_member(bytes.clone());
            let _ = Event::from_member(bytes.clone());
            let _ = Option::<Colour>::from_member(bytes.clone());
            let _ = serde_json::Value::from_member(bytes);
        }
    }
}
