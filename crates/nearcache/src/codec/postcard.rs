//! postcard: values alone, without a word on what they are.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let written = postcard::to_extend(value, std::mem::take(out));
    *out = written.map_err(|error| {
        Error::new(ErrorKind::Codec, format!("as postcard: {error}")).caused_by(error)
    })?;
    Ok(())
}

/// The whole of the bytes is the value: of another type, some are mostly left over or missing.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (value, rest) = postcard::take_from_bytes(bytes)
        .map_err(|error| Error::new(ErrorKind::Codec, format!("as postcard: {error}")))?;
    if !rest.is_empty() {
        return Err(Error::new(
            ErrorKind::Codec,
            "as postcard: there are bytes after the value",
        ));
    }
    Ok(value)
}
