//! How a value becomes bytes and comes back.
//!
//! 1. What serde knows is plain JSON unless a cache, or a call, says otherwise: other programs and other
//!    languages read it too. `Text` and `Raw` are stored as they are. A type chooses through [`Encode`] and
//!    [`Decode`]; nobody else needs to implement these.
//! 2. What is in another format, or compressed, says so in its `envelope`: whatever was written is read,
//!    whatever the cache writes now.
//! 3. A nothing is the JSON `null` in every format.
//! 4. Bytes that are not what they say, or would be more than 64 MiB, are an error; never a panic.

#[cfg(feature = "postcard")]
mod bounds;
pub(crate) mod compression;
#[cfg(any(feature = "zstd", feature = "zlib"))]
mod contexts;
mod custom;
pub(crate) mod envelope;
mod format;
mod json;
#[cfg(feature = "msgpack")]
mod message_pack;
mod nothing;
#[cfg(feature = "postcard")]
mod postcard;
mod raw;
mod values;

pub use compression::Compression;
pub(crate) use compression::Packing;
pub use custom::Serializer;
pub use format::{Codec, Format};
pub use raw::{Raw, Text};

use crate::error::{Error, ErrorKind, Result};

/// What a cached nothing is.
pub(crate) const NOTHING: &[u8] = b"null";

/// The largest value that Redis takes (`proto-max-bulk-len`, as it is delivered).
const MAX_VALUE: usize = 512 * 1024 * 1024;

/// A value that can be stored.
///
/// It is, if it implements [`serde::Serialize`] (it is stored in the cache's [`Format`]) or is a [`Text`] or a
/// [`Raw`] (which are stored as they are).
/// Not to be implemented otherwise.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored",
    note = "derive `serde::Serialize` for it, or wrap it in `Text` or `Raw`"
)]
pub trait Encode {
    /// Appends the value's bytes in the codec's format, or as they are, and says which; or says with
    /// [`ErrorKind::Codec`] that it has no form in the format.
    #[doc(hidden)]
    fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> Result<Format>;

    /// What says that there is no value, if anything does.
    #[doc(hidden)]
    const NOTHING: Option<&'static [u8]>;

    /// Whether the value is none.
    #[doc(hidden)]
    fn is_nothing(&self) -> bool {
        false
    }
}

/// A value that can be read back.
///
/// It is, if it implements [`serde::de::DeserializeOwned`] (it is read from whichever [`Format`] it was stored
/// in) or is a [`Text<String>`](Text) or a [`Raw<Vec<u8>>`](Raw). Not to be implemented otherwise.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read back",
    note = "derive `serde::Deserialize` for it (without borrowed parts), or use `Text` or `Raw`; it must also be \
            `Send` and `Sync`"
)]
pub trait Decode: Sized + Send + Sync + 'static {
    /// Reads the value, which begins at `from`, and for which it may take the bytes (the codec has the serializer of the
    /// format `Custom`); or says with
    /// [`ErrorKind::Codec`] that they are none, and leaves them.
    #[doc(hidden)]
    fn decode(
        format: Format,
        codec: &Codec,
        bytes: &mut Vec<u8>,
        from: usize,
    ) -> Result<Stored<Self>>;

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

/// What is said of a value's bytes beside themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) format: Format,
    pub(crate) packing: Option<Packing>,
}

impl Form {
    /// Whether it can be read.
    pub(crate) fn is_known(&self, codec: &Codec) -> bool {
        let unpacks = self.packing.is_none_or(Packing::is_known);
        unpacks && codec.reads(self.format)
    }

    /// Whether bytes in this form lie in Redis as they are, where nothing else needs to be said.
    fn is_plain(&self, bytes: &[u8]) -> bool {
        let plain = match self.format {
            Format::Json => true,
            // Those are a cached nothing.
            Format::Custom => bytes != NOTHING,
            Format::MessagePack | Format::Postcard => false,
        };
        plain && self.packing.is_none()
    }
}

/// A value as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) form: Form,
}

impl Body {
    /// Bytes as they are.
    #[cfg(test)]
    pub(crate) fn plain(bytes: &[u8]) -> Self {
        Body {
            bytes: bytes.to_vec(),
            form: Form::default(),
        }
    }

    /// Whether it says that there is no value of this type.
    pub(crate) fn is_nothing<V: Encode>(&self) -> bool {
        self.form == Form::default() && V::NOTHING == Some(&self.bytes)
    }

    /// The same, compressed if the codec says so and it helps.
    pub(crate) fn packed(self, codec: &Codec) -> Result<Self> {
        let Some(compression) = &codec.compression else {
            return Ok(self);
        };
        Ok(match compression.pack(&self.bytes)? {
            Some((packing, bytes)) => Body {
                bytes,
                form: Form {
                    packing: Some(packing),
                    ..self.form
                },
            },
            None => self,
        })
    }
}

/// Encodes within the size that Redis takes. Not compressed yet.
pub(crate) fn encode<V: Encode + ?Sized>(value: &V, codec: &Codec) -> Result<Body> {
    codec.check()?;
    // Enough for a small struct in one allocation.
    let mut bytes = Vec::with_capacity(128);
    let format = match V::NOTHING {
        Some(nothing) if codec.format != Format::Json && value.is_nothing() => {
            bytes.extend_from_slice(nothing);
            Format::Json
        }
        _ => value.encode(codec, &mut bytes)?,
    };
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
    let form = Form {
        format,
        packing: None,
    };
    Ok(Body { bytes, form })
}

#[allow(dead_code, reason = "not so without the formats' features")]
fn not_in_this_build() -> Error {
    Error::new(ErrorKind::Codec, "its format is not in this build")
}

/// A value, or that there is none, for types that have no such value themselves.
#[derive(Debug)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T: Encode> Encode for Maybe<T> {
    const NOTHING: Option<&'static [u8]> = T::NOTHING;

    fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> Result<Format> {
        match &self.0 {
            Some(value) => value.encode(codec, out),
            None => {
                out.extend_from_slice(T::NOTHING.unwrap_or_default());
                Ok(Format::Json)
            }
        }
    }

    fn is_nothing(&self) -> bool {
        self.0.as_ref().is_none_or(T::is_nothing)
    }
}

impl<T: Decode> Decode for Maybe<T> {
    fn decode(
        format: Format,
        codec: &Codec,
        bytes: &mut Vec<u8>,
        from: usize,
    ) -> Result<Stored<Self>> {
        Ok(match T::decode(format, codec, bytes, from)? {
            Stored::Value(value) => Stored::Value(Maybe(Some(value))),
            Stored::Nothing => Stored::Nothing,
        })
    }

    fn nothing() -> Option<Self> {
        Some(Maybe(None))
    }
}
