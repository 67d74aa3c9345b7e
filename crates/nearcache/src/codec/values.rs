//! Everything that serde can serialize, in every format that this build has.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Decode, Encode, Format, NOTHING, Stored, custom, json, nothing};
use crate::error::Result;

impl<T: Serialize + ?Sized> Encode for T {
    const NOTHING: Option<&'static [u8]> = Some(NOTHING);

    fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> Result<Format> {
        match codec.format {
            Format::Json => json::write(self, out)?,
            Format::Custom => custom::write(codec.serializer()?, self, out)?,
            #[cfg(feature = "msgpack")]
            Format::MessagePack => super::message_pack::write(self, out)?,
            #[cfg(feature = "postcard")]
            Format::Postcard => super::postcard::write(self, out)?,
            #[allow(unreachable_patterns, reason = "reachable without the features")]
            other => other.check()?,
        }
        Ok(codec.format)
    }

    fn is_nothing(&self) -> bool {
        nothing::is_nothing(self)
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Decode for T {
    /// `null` is a cached nothing for every `T`; `Option::None` is stored as that, too.
    fn decode(
        format: Format,
        codec: &Codec,
        bytes: &mut Vec<u8>,
        from: usize,
    ) -> Result<Stored<T>> {
        let bytes = &bytes[from..];
        match format {
            Format::Json if bytes == NOTHING => return Ok(Stored::Nothing),
            Format::Json => json::read(bytes),
            Format::Custom => custom::read(codec.serializer()?, bytes),
            #[cfg(feature = "msgpack")]
            Format::MessagePack => super::message_pack::read(bytes),
            #[cfg(feature = "postcard")]
            Format::Postcard => super::postcard::read(bytes),
            #[allow(unreachable_patterns, reason = "reachable without the features")]
            other => Err(other.check().err().unwrap_or_else(super::not_in_this_build)),
        }
        .map(Stored::Value)
    }

    fn nothing() -> Option<T> {
        json::nothing()
    }
}
