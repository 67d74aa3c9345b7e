//! Where the accesses come from: a file, or a generator.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use liblzma::bufread::XzDecoder;
use support::Zipf;

use crate::{Result, in_file};

/// The first bytes of an xz file.
const XZ: &[u8] = b"\xfd7zXZ\0";

/// The first `limit` keys of a file. No more than these are read, however large the file is, or becomes when it is
/// decompressed.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u32>> {
    let file = File::open(path).map_err(|error| in_file(path, &error))?;
    let mut file = BufReader::new(file);
    let start = file.fill_buf().map_err(|error| in_file(path, &error))?;
    let bytes: Box<dyn Read> = if start.starts_with(XZ) {
        Box::new(XzDecoder::new_multi_decoder(file))
    } else {
        Box::new(file)
    };
    let mut wanted = Vec::new();
    bytes
        .take(limit as u64 * 4)
        .read_to_end(&mut wanted)
        .map_err(|error| in_file(path, &error))?;
    let (keys, rest) = wanted.as_chunks::<4>();
    if keys.is_empty() || !rest.is_empty() {
        let size = wanted.len();
        let name = path.display();
        return Err(format!("{name}: {size} bytes are no trace of 4-byte keys").into());
    }
    Ok(keys.iter().copied().map(u32::from_be_bytes).collect())
}

/// Accesses to 100,000 keys, some far more popular than others. They are the same in every run.
pub(crate) fn synthetic(limit: usize) -> Vec<u32> {
    Zipf::new(100_000, 0.9, 1).take(limit).collect()
}

/// The number of different keys.
pub(crate) fn distinct(keys: &[u32]) -> u64 {
    keys.iter().collect::<HashSet<_>>().len() as u64
}
