//! The formats that values are written in, each told from the others by what stands before it.

use std::fmt;
use std::sync::Arc;

use super::Serializer;
use super::compression::Compression;
use crate::error::{Error, ErrorKind, Result};

/// The form of a value's bytes: how serde writes it.
///
/// Whatever a cache writes, it reads all of them: an entry says which one it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JSON, as it is: every other program and language reads it. Maps need keys that are text or numbers, and
    /// a float that is no number (NaN, infinite) is stored as `null`.
    #[default]
    Json,
    /// MessagePack, with the names of fields (feature `msgpack`): smaller and faster than JSON, has bytes, all
    /// floats and any keys, and a struct may have gained or lost fields. Strings of bytes are only short if
    /// their type serializes as bytes (`serde_bytes`).
    MessagePack,
    /// postcard (feature `postcard`): the smallest and fastest, since it says nothing of types and fields. A
    /// value must be read as the very type that wrote it: give the cache a
    /// [`version`](crate::Builder::version), and change it with the type. No types that ask what comes
    /// (`serde_json::Value`, untagged enums, `skip_serializing_if`). What nests deeper than 256 levels is not
    /// read (128 with the other two), so that no bytes can end the stack.
    Postcard,
    /// The application's own: [`Codec::custom`]. Such an entry is the serializer's plain bytes, or says in its envelope
    /// that it is of the application's own format; which one, it does not say. Give the cache another
    /// [`version`](crate::Builder::version) when you change the serializer.
    Custom,
}

impl Format {
    /// The number that an entry has for it. Frozen.
    pub(super) fn id(self) -> u8 {
        match self {
            Format::Json => 0,
            Format::MessagePack => 1,
            Format::Postcard => 2,
            Format::Custom => 255,
        }
    }

    pub(super) fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0 => Format::Json,
            1 => Format::MessagePack,
            2 => Format::Postcard,
            255 => Format::Custom,
            _ => return None,
        })
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = [Format::Json, Format::MessagePack, Format::Postcard].into_iter();
        all.find(|format| format.as_str() == name)
    }

    /// The name that URLs and configurations have for it: `json`, `msgpack`, `postcard`. (`custom` has none there.)
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::MessagePack => "msgpack",
            Format::Postcard => "postcard",
            Format::Custom => "custom",
        }
    }

    /// Whether this build has it.
    ///
    /// # Errors
    /// `InvalidConfig` that names the feature.
    pub(crate) fn check(self) -> Result<()> {
        let there = match self {
            Format::Json => true,
            Format::MessagePack => cfg!(feature = "msgpack"),
            Format::Postcard => cfg!(feature = "postcard"),
            // Whoever has a serializer may use it.
            Format::Custom => true,
        };
        if there {
            return Ok(());
        }
        let name = self.as_str();
        Err(Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "the format {name} is not in this build; it is the feature `{name}` of nearcache"
            ),
        ))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How values are written: a format, and perhaps compression. JSON without compression, unless said otherwise.
///
/// What is read needs no saying: every entry says itself what it is. So a codec can be changed on a live
/// system; what was written before reads as it did.
///
/// Of a whole cache by [`Builder::codec`](crate::Builder::codec) or in the URL, of single calls by
/// [`Cache::with_codec`](crate::Cache::with_codec).
#[derive(Clone, Default)]
pub struct Codec {
    pub(crate) format: Format,
    pub(crate) compression: Option<Compression>,
    /// The application's own serializer, of the format `Custom`.
    custom: Option<Arc<dyn Serializer>>,
}

impl Codec {
    /// In this format. [`Format::Custom`] needs its serializer: [`Codec::custom`].
    pub const fn new(format: Format) -> Self {
        Codec {
            format,
            compression: None,
            custom: None,
        }
    }

    /// JSON.
    pub const fn json() -> Self {
        Codec::new(Format::Json)
    }

    /// MessagePack (feature `msgpack`).
    pub const fn message_pack() -> Self {
        Codec::new(Format::MessagePack)
    }

    /// postcard (feature `postcard`).
    pub const fn postcard() -> Self {
        Codec::new(Format::Postcard)
    }

    /// A serializer of the application's own: see [`Serializer`].
    ///
    /// Plain bytes in Redis are then read by it, and as JSON if it refuses them: entries from before the change, and
    /// counters, are still read. What says in its envelope which built-in format it is in is read as that.
    pub fn custom(serializer: impl Serializer) -> Self {
        Codec {
            format: Format::Custom,
            compression: None,
            custom: Some(Arc::new(serializer)),
        }
    }

    /// With values compressed where it helps.
    #[must_use]
    pub const fn compressed(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// The format.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The compression, if there is one.
    pub const fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// The application's own serializer.
    ///
    /// # Errors
    /// `InvalidConfig`: there is none.
    pub(super) fn serializer(&self) -> Result<&dyn Serializer> {
        self.custom.as_deref().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidConfig,
                "the format custom is the application's own; give the cache its serializer with Codec::custom",
            )
        })
    }

    /// The format of bytes that do not say theirs.
    pub(crate) fn plain_format(&self) -> Format {
        match self.custom {
            Some(_) => Format::Custom,
            None => Format::Json,
        }
    }

    /// Whether a value of this format can be read.
    pub(crate) fn reads(&self, format: Format) -> bool {
        match format {
            Format::Custom => self.custom.is_some(),
            format => format.check().is_ok(),
        }
    }

    /// Whether this build has it, and its numbers are in their ranges.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub(crate) fn check(&self) -> Result<()> {
        self.format.check()?;
        if self.format == Format::Custom {
            self.serializer()?;
        }
        self.compression
            .map_or(Ok(()), |compression| compression.check())
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Codec");
        match &self.custom {
            Some(serializer) => shown.field("format", &serializer.name()),
            None => shown.field("format", &self.format),
        };
        shown.field("compression", &self.compression).finish()
    }
}
