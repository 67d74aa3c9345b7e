//! MessagePack, with the names of fields.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    rmp_serde::encode::write_named(out, value).map_err(|error| {
        Error::new(ErrorKind::Codec, format!("as MessagePack: {error}")).caused_by(error)
    })
}

/// How deep values nest at most, as with JSON.
const DEPTH: usize = 128;

/// The whole of the bytes is the value. What a length claims is not believed before it has been read.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(DEPTH);
    let value = T::deserialize(&mut deserializer)
        // serde's message may quote the data.
        .map_err(|error| Error::new(ErrorKind::Codec, "as MessagePack").caused_by(error))?;
    if !rest.is_empty() {
        return Err(Error::new(
            ErrorKind::Codec,
            "as MessagePack: there are bytes after the value",
        ));
    }
    Ok(value)
}
