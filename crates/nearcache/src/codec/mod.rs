//! How a value becomes bytes and comes back.
//!
//! Anything that serde knows is stored as plain JSON, which other programs and other languages read
//! too. [`Text`] and [`Raw`] go beside it, byte for byte as they are. A type chooses through
//! [`Encode`] and [`Decode`]; nobody else needs to implement these. What needs to be said of the bytes
//! stands before them, in an `envelope`.

pub(crate) mod envelope;
mod json;
mod raw;

pub use raw::{Raw, Text};

use crate::error::{Error, ErrorKind, Result};

/// The largest value that Redis takes (`proto-max-bulk-len`, as it is delivered).
const MAX_VALUE: usize = 512 * 1024 * 1024;

/// A value that can be stored.
///
/// It is, if it implements [`serde::Serialize`] (it is stored as JSON) or is a [`Text`] or a [`Raw`].
/// Not to be implemented otherwise.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored",
    note = "derive `serde::Serialize` for it, or wrap it in `Text` or `Raw`"
)]
pub trait Encode {
    /// Appends the value's bytes, or says with [`ErrorKind::Codec`] that it has no form in the format.
    #[doc(hidden)]
    fn encode(&self, out: &mut Vec<u8>) -> Result<()>;

    /// What says in this format that there is no value, if anything does.
    #[doc(hidden)]
    const NOTHING: Option<&'static [u8]>;
}

/// A value that can be read back.
///
/// It is, if it implements [`serde::de::DeserializeOwned`] (it is read from JSON) or is a
/// [`Text<String>`](Text) or a [`Raw<Vec<u8>>`](Raw). Not to be implemented otherwise.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read back",
    note = "derive `serde::Deserialize` for it (without borrowed parts), or use `Text` or `Raw`"
)]
pub trait Decode: Sized + Send + 'static {
    /// Reads the value, for which it may take the bytes; or says with [`ErrorKind::Codec`] that they are
    /// none, and leaves them.
    #[doc(hidden)]
    fn decode(bytes: &mut Vec<u8>) -> Result<Stored<Self>>;

    /// The value that stands for a cached nothing, if the type has one (`Option::None`).
    #[doc(hidden)]
    fn nothing() -> Option<Self>;
}

/// What the bytes of an entry say.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<T> {
    /// A value.
    Value(T),
    /// A cached nothing: it is known that there is no value.
    Nothing,
}

/// Encodes within the size that Redis takes.
pub(crate) fn encode<V: Encode + ?Sized>(value: &V) -> Result<Vec<u8>> {
    // Enough for a small struct in one allocation.
    let mut bytes = Vec::with_capacity(128);
    value.encode(&mut bytes)?;
    if bytes.len() > MAX_VALUE {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the value has {} bytes once encoded; Redis takes 512 MB ({MAX_VALUE} bytes). \
                 Store it in parts, or store where it can be found",
                bytes.len()
            ),
        ));
    }
    Ok(bytes)
}

/// A value, or that there is none, for types that have no such value themselves.
#[derive(Debug)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T: Encode> Encode for Maybe<T> {
    const NOTHING: Option<&'static [u8]> = T::NOTHING;

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        match &self.0 {
            Some(value) => value.encode(out),
            None => {
                out.extend_from_slice(T::NOTHING.unwrap_or_default());
                Ok(())
            }
        }
    }
}

impl<T: Decode> Decode for Maybe<T> {
    fn decode(bytes: &mut Vec<u8>) -> Result<Stored<Self>> {
        Ok(match T::decode(bytes)? {
            Stored::Value(value) => Stored::Value(Maybe(Some(value))),
            Stored::Nothing => Stored::Nothing,
        })
    }

    fn nothing() -> Option<Self> {
        Some(Maybe(None))
    }
}
