//! How values become bytes, and bytes values.
//!
//! 1. Values that serde can serialize are plain JSON by default, so that other programs and languages can read them.
//!    `Text` and `Raw` are stored unchanged. These types implement [`Encode`] and [`Decode`]; nobody else needs to.
//! 2. Entries in another format, or compressed ones, have an `envelope` that says so. So every entry can be read,
//!    whatever format the cache writes now.
//! 3. A cached nothing is the JSON `null` in every format.
//! 4. Bytes that are invalid, or that would unpack to more than 64 MiB, are an error; never a panic.

#[cfg(feature = "postcard")]
mod bounds;
pub(crate) mod compression;
#[cfg(any(feature = "zstd", feature = "zlib"))]
mod contexts;
mod custom;
pub(crate) mod envelope;
mod format;
mod guard;
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
pub(crate) use json::canonical as canonical_json;
pub use raw::{Raw, Text};

use crate::error::{Error, ErrorKind, Result};

/// The bytes of a cached nothing.
pub(crate) const NOTHING: &[u8] = b"null";

/// The largest value that Redis takes (the default of `proto-max-bulk-len`).
const MAX_VALUE: usize = 512 * 1024 * 1024;

/// A value that can be stored.
///
/// Implemented for every type that implements [`serde::Serialize`] (stored in the cache's [`Format`]), and for
/// [`Text`] and [`Raw`] (stored unchanged), and for references to all of these. It cannot be implemented outside this
/// crate; a format of your own comes in as a [`Serializer`], with [`Codec::custom`].
///
/// A function of your own that stores what a reference points to is generic over `T: Serialize + ?Sized`, and takes a
/// `&T`: then `&T` can be stored, too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored",
    note = "derive `serde::Serialize` for it, or wrap it in `Text` or `Raw`"
)]
pub trait Encode: sealed::Encode {
    /// Appends the value's bytes, in the codec's format or unchanged, and returns which format that is. It returns
    /// [`ErrorKind::Codec`] if the value cannot be represented in the format.
    #[doc(hidden)]
    fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> Result<Format>;

    /// The bytes that mean "no value", if the type has such bytes.
    #[doc(hidden)]
    const NOTHING: Option<&'static [u8]>;

    /// Whether this value means "no value".
    #[doc(hidden)]
    fn is_nothing(&self) -> bool {
        false
    }
}

/// A value that can be read back.
///
/// Implemented for every type that implements [`serde::de::DeserializeOwned`] (read from any [`Format`]), and for
/// [`Text<String>`](Text) and [`Raw<Vec<u8>>`](Raw). It cannot be implemented outside this crate; a format of your own
/// comes in as a [`Serializer`], with [`Codec::custom`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read back",
    note = "derive `serde::Deserialize` for it (without borrowed parts), or use `Text` or `Raw`; it must also be \
            `Send` and `Sync`"
)]
pub trait Decode: sealed::Decode + Sized + Send + Sync + 'static {
    /// Reads the value, which begins at `from`; it may take the bytes. The codec has the serializer for the format
    /// `Custom`. If the bytes are not a value of this type, it returns [`ErrorKind::Codec`] and leaves the bytes
    /// unchanged.
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

/// Keeps [`Encode`] and [`Decode`] this crate's own: nobody else can name these traits.
pub(crate) mod sealed {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub trait Encode {}

    impl<T: Serialize + ?Sized> Encode for T {}

    pub trait Decode {}

    impl<T: DeserializeOwned + Send + Sync + 'static> Decode for T {}
}

/// What an entry contains.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<T> {
    /// A value.
    Value(T),
    /// A cached nothing: the source is known to have no value.
    Nothing,
}

/// The format and compression of a value's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) format: Format,
    pub(crate) packing: Option<Packing>,
}

impl Form {
    /// Whether bytes in this form are stored without an envelope, if nothing else needs one.
    fn is_plain(&self, bytes: &[u8]) -> bool {
        let plain = match self.format {
            Format::Json => true,
            // `null` would be read as a cached nothing.
            Format::Custom => bytes != NOTHING,
            Format::MessagePack | Format::Postcard => false,
        };
        plain && self.packing.is_none()
    }
}

/// An encoded value.
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

    /// Whether it is a cached nothing for this type.
    pub(crate) fn is_nothing<V: Encode>(&self) -> bool {
        self.form == Form::default() && V::NOTHING == Some(&self.bytes)
    }

    /// The same, compressed, if the codec says so and it gets smaller.
    pub(crate) fn packed(self, codec: &Codec) -> Result<Self> {
        Ok(match pack(&self.bytes, codec)? {
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

/// Encodes a value, and checks that Redis takes one of this size. Does not compress it.
pub(crate) fn encode<V: Encode + ?Sized>(value: &V, codec: &Codec) -> Result<Body> {
    // Enough for most structs, in one allocation.
    let mut bytes = Vec::with_capacity(256);
    let form = encode_in(value, codec, &mut bytes)?;
    Ok(Body { bytes, form })
}

/// Encodes a value in an empty vector.
fn encode_in<V: Encode + ?Sized>(value: &V, codec: &Codec, bytes: &mut Vec<u8>) -> Result<Form> {
    codec.check()?;
    let format = match V::NOTHING {
        Some(nothing) if codec.format != Format::Json && value.is_nothing() => {
            bytes.extend_from_slice(nothing);
            Format::Json
        }
        _ => value.encode(codec, bytes)?,
    };
    if bytes.len() > MAX_VALUE {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the value has {} bytes once encoded; Redis takes 512 MB ({MAX_VALUE} bytes). \
                 Store it in parts, or store only a reference to it",
                bytes.len()
            ),
        ));
    }
    Ok(Form {
        format,
        packing: None,
    })
}

fn pack(bytes: &[u8], codec: &Codec) -> Result<Option<(Packing, Vec<u8>)>> {
    match &codec.compression {
        Some(compression) => compression.pack(bytes),
        None => Ok(None),
    }
}

/// Encoded values, one behind the other, so that many take few allocations.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    bytes: Vec<u8>,
    /// What is being encoded: a serializer may do with its vector what it likes.
    scratch: Vec<u8>,
}

/// Where one of [`Bodies`] is, and in what form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    begin: usize,
    end: usize,
    pub(crate) form: Form,
}

impl Piece {
    pub(crate) fn len(&self) -> usize {
        self.end - self.begin
    }
}

impl Bodies {
    /// Encodes a value, compressed if the codec says so and it gets smaller.
    pub(crate) fn encode<V: Encode + ?Sized>(&mut self, value: &V, codec: &Codec) -> Result<Piece> {
        self.scratch.clear();
        let mut form = encode_in(value, codec, &mut self.scratch)?;
        let begin = self.bytes.len();
        match pack(&self.scratch, codec)? {
            Some((packing, packed)) => {
                form.packing = Some(packing);
                self.bytes.extend_from_slice(&packed);
            }
            None => self.bytes.extend_from_slice(&self.scratch),
        }
        let end = self.bytes.len();
        Ok(Piece { begin, end, form })
    }

    pub(crate) fn of(&self, piece: &Piece) -> &[u8] {
        &self.bytes[piece.begin..piece.end]
    }
}

#[allow(dead_code, reason = "unused if all formats are in the build")]
fn not_in_this_build() -> Error {
    Error::new(ErrorKind::Codec, "its format is not in this build")
}

/// Adds "no value" to types that do not have one.
#[derive(Clone, Debug)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T: Encode> sealed::Encode for Maybe<T> {}

impl<T: Decode> sealed::Decode for Maybe<T> {}

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
