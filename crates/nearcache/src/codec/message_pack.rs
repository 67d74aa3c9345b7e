//! MessagePack with field names.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::guard::{Guarded, Rules};
use crate::error::{Error, ErrorKind, Result};

/// One level less than [`DEPTH`], at which the reader refuses.
const RULES: Rules = Rules {
    every_float: true,
    depth: DEPTH - 1,
};

pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    rmp_serde::encode::write_named(out, &Guarded::new(value, RULES)).map_err(|error| {
        Error::new(ErrorKind::Codec, format!("as MessagePack: {error}")).caused_by(error)
    })
}

/// The maximum nesting, the same as for JSON.
const DEPTH: usize = 128;

/// Reads a value from all of the bytes. No memory is allocated for a length before that many bytes have been read.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEPTH);
    let value = T::deserialize(&mut deserializer)
        // serde's message may quote the data.
        .map_err(|error| Error::new(ErrorKind::Codec, "as MessagePack").caused_by(error))?;
    // The deserializer does not tell its position. At the end of the bytes it finds no marker of a further value.
    match <()>::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(Error::new(
            ErrorKind::Codec,
            "as MessagePack: there are bytes after the value",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_the_value() {
        assert_eq!(read::<u8>(b"\x07").unwrap(), 7);
        for rest in 0..=0xFF_u8 {
            assert!(read::<u8>(&[7, rest]).is_err(), "{rest:#x}");
        }
        assert!(read::<u8>(b"").is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = [vec![0x91; 100_000], vec![0xC0]].concat();
        assert!(read::<serde_json::Value>(&deep).is_err());
    }
}
