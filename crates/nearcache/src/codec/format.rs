//! The formats that values are written in. The header of an entry tells them apart.

use std::fmt;
use std::sync::Arc;

use super::Serializer;
use super::compression::Compression;
use crate::error::{Error, ErrorKind, Result};

/// The format of a value's bytes: how serde writes it.
///
/// A cache writes one format and reads all of them: each entry says which one it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JSON without a header: every other program and language can read it. Maps need keys that are text or numbers.
    /// What could not be read back is not written: NaN and infinities, and 128-bit integers beside flattened fields
    /// ([`ErrorKind::Codec`]; `remember` returns such a value, and does not store it).
    #[default]
    Json,
    /// MessagePack with field names (feature `msgpack`): smaller and faster than JSON. It can represent bytes, all
    /// floats and any map keys, and fields can be added to or removed from a struct. Byte strings are only compact if
    /// their type serializes as bytes (`serde_bytes`).
    MessagePack,
    /// postcard (feature `postcard`): the smallest and fastest, because it stores neither types nor field names. A
    /// value must be read as exactly the type that wrote it: give the cache a [`version`](crate::Builder::version),
    /// and change it when the type changes. It does not support types that need a self-describing format
    /// (`serde_json::Value`, untagged enums, `skip_serializing_if`). Values that nest deeper than 256 levels are not
    /// read (128 in the other two formats), so that no entry can overflow the stack.
    Postcard,
    /// The application's own format: [`Codec::custom`]. An entry is the serializer's plain bytes, or has an envelope
    /// that says "the application's own format", but not which one. When you change the serializer, change the
    /// cache's [`version`](crate::Builder::version).
    Custom,
}

impl Format {
    /// The number of the format in entries. Frozen.
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

    /// The name in URLs and configurations: `json`, `msgpack`, `postcard`. (They cannot choose `custom`.)
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::MessagePack => "msgpack",
            Format::Postcard => "postcard",
            Format::Custom => "custom",
        }
    }

    /// Checks that this build has the format.
    ///
    /// # Errors
    /// `InvalidConfig` that names the feature.
    pub(crate) fn check(self) -> Result<()> {
        let there = match self {
            Format::Json => true,
            Format::MessagePack => cfg!(feature = "msgpack"),
            Format::Postcard => cfg!(feature = "postcard"),
            // It needs no feature.
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

/// How values are written: a format, and optionally compression. The default is JSON without compression.
///
/// It matters little for reading, because every entry says how it was written. So you can change the codec of a live
/// system: entries that were written before remain readable.
///
/// Set it for a cache with [`Builder::codec`](crate::Builder::codec) or in the URL, and for single calls with
/// [`Cache::with_codec`](crate::Cache::with_codec).
#[derive(Clone, Default)]
pub struct Codec {
    pub(crate) format: Format,
    pub(crate) compression: Option<Compression>,
    /// The application's own serializer, for the format `Custom`.
    custom: Option<Arc<dyn Serializer>>,
}

impl Codec {
    /// A codec for this format. [`Format::Custom`] needs a serializer, so use [`Codec::custom`] for it.
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
    /// It then reads the plain bytes in Redis. If it refuses them they are read as JSON, so that counters, and
    /// entries from before the change, remain readable. Entries whose envelope names a built-in format are read in
    /// that format.
    pub fn custom(serializer: impl Serializer) -> Self {
        Codec {
            format: Format::Custom,
            compression: None,
            custom: Some(Arc::new(serializer)),
        }
    }

    /// Compresses values where it helps.
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

    /// The format of entries that do not name one.
    pub(crate) fn plain_format(&self) -> Format {
        match self.custom {
            Some(_) => Format::Custom,
            None => Format::Json,
        }
    }

    /// Checks that this build supports the codec, and that its numbers are in range.
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
