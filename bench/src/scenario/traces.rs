//! Traces of real accesses, and an artificial one.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;

pub(super) const TRACES: [&str; 2] = ["web12", "orm-busy"];

/// How many accesses of a trace are replayed; a tenth of them in a quick run.
pub(super) const ACCESSES: usize = 1_000_000;

/// A trace's keys, if it exists: in `$NEARCACHE_TRACES`, or next to the repository.
pub(super) fn trace(name: &str) -> Result<Option<Vec<u32>>> {
    let folder = std::env::var_os("NEARCACHE_TRACES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/traces")),
        PathBuf::from,
    );
    let file = folder.join(format!("{name}.trace.xz"));
    if !file.exists() {
        return Ok(None);
    }
    let unpacked = Command::new("xz").arg("-dc").arg(file).output()?;
    if !unpacked.status.success() {
        return Err(String::from_utf8_lossy(&unpacked.stderr).into());
    }
    let (keys, _) = unpacked.stdout.as_chunks::<4>();
    Ok(Some(keys.iter().copied().map(u32::from_be_bytes).collect()))
}

/// How many different keys the artificial trace has.
const DIFFERENT: u32 = 100_000;

/// Accesses by Zipf's law with an exponent of 0.99: the usual stand-in for the popularity of things on the web. They
/// are the same every time.
pub(super) fn zipf(accesses: usize) -> Vec<u32> {
    let mut sums = Vec::with_capacity(DIFFERENT as usize);
    let mut sum = 0.0;
    for rank in 1..=DIFFERENT {
        sum += f64::from(rank).powf(-0.99);
        sums.push(sum);
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let at = (seed >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        sums.partition_point(|&sum| sum <= at) as u32
    };
    (0..accesses).map(|_| draw()).collect()
}
