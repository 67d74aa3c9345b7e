//! Compression of values, where it helps.
//!
//! 1. A value that compression does not make at least a sixteenth smaller is stored uncompressed.
//! 2. A compressed entry contains its uncompressed length. It never unpacks to more than that, and an entry that
//!    claims more than [`MAX_UNPACKED`] is not unpacked at all. (Larger values are not compressed, so everything that
//!    is written can be read.)

use std::fmt;

#[cfg(any(feature = "zstd", feature = "zlib"))]
use super::contexts;
use crate::error::{Error, ErrorKind, Result};

/// The largest value that is compressed: 64 MiB. An entry that claims to be larger may be a decompression bomb.
pub(crate) const MAX_UNPACKED: usize = 64 * 1024 * 1024;

/// The default of [`Compression::above`].
const THRESHOLD: usize = 1_024;

/// How values are compressed.
///
/// ```
/// # #[cfg(all(feature = "zstd", feature = "embedded"))]
/// # fn main() -> nearcache::Result<()> {
/// use nearcache::{Cache, Codec, Compression};
///
/// let codec = Codec::json().compressed(Compression::zstd().level(1).above(4 * 1024));
/// let cache = Cache::builder("memory://").codec(codec).build()?;
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "zstd", feature = "embedded")))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    algorithm: Algorithm,
    level: i32,
    threshold: usize,
}

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Zstd,
    Lz4,
    Zlib,
}

impl Compression {
    /// Zstandard (feature `zstd`) at level 3: the best ratio for its time. RFC 8878.
    pub const fn zstd() -> Self {
        Compression::of(Algorithm::Zstd, 3)
    }

    /// LZ4 (feature `lz4`): the fastest. It has no levels.
    pub const fn lz4() -> Self {
        Compression::of(Algorithm::Lz4, 0)
    }

    /// zlib (feature `zlib`) at level 6: every language has it. RFC 1950.
    pub const fn zlib() -> Self {
        Compression::of(Algorithm::Zlib, 6)
    }

    const fn of(algorithm: Algorithm, level: i32) -> Self {
        Compression {
            algorithm,
            level,
            threshold: THRESHOLD,
        }
    }

    /// How hard to try: for zstd -7 (fast) to 22 (small), for zlib 0 to 9.
    #[must_use]
    pub const fn level(mut self, level: i32) -> Self {
        self.level = level;
        self
    }

    /// Leaves values of fewer bytes uncompressed; the default is 1,024.
    #[must_use]
    pub const fn above(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The name that URLs and configurations have for it: `zstd`, `lz4`, `zlib`.
    pub fn as_str(&self) -> &'static str {
        self.algorithm.name()
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Compression::zstd(), Compression::lz4(), Compression::zlib()]
            .into_iter()
            .find(|compression| compression.as_str() == name)
    }

    /// As configurations write it: the name, and the level for algorithms that have levels.
    #[cfg(feature = "config")]
    pub(crate) fn written(&self) -> String {
        match self.algorithm {
            Algorithm::Lz4 => self.as_str().to_owned(),
            Algorithm::Zstd | Algorithm::Zlib => format!("{}:{}", self.as_str(), self.level),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.algorithm.check(ErrorKind::InvalidConfig)?;
        let levels = match self.algorithm {
            Algorithm::Zstd => -7..=22,
            Algorithm::Lz4 => 0..=0,
            Algorithm::Zlib => 0..=9,
        };
        if levels.contains(&self.level) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "the level of {} is {}; it is from {} to {}",
                self.as_str(),
                self.level,
                levels.start(),
                levels.end()
            ),
        ))
    }

    /// The compressed bytes, if compression helps.
    pub(super) fn pack(&self, bytes: &[u8]) -> Result<Option<(Packing, Vec<u8>)>> {
        if bytes.len() < self.threshold.max(1) || bytes.len() > MAX_UNPACKED {
            return Ok(None);
        }
        let packed = self.algorithm.pack(bytes, self.level)?;
        if packed.len() + Packing::BYTES > bytes.len() - bytes.len() / 16 {
            return Ok(None);
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let packing = Packing {
            algorithm: self.algorithm,
            length,
        };
        Ok(Some((packing, packed)))
    }
}

/// What an entry says of compressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    pub(super) algorithm: Algorithm,
    /// The length of the uncompressed bytes.
    pub(super) length: u32,
}

impl Packing {
    /// How many bytes it adds to an envelope.
    const BYTES: usize = 5;

    pub(crate) fn is_known(self) -> bool {
        self.algorithm.check(ErrorKind::Codec).is_ok()
    }

    /// The uncompressed bytes.
    pub(crate) fn unpack(self, packed: &[u8]) -> Result<Vec<u8>> {
        let length = self.length as usize;
        if length > MAX_UNPACKED {
            return Err(Error::new(
                ErrorKind::Codec,
                format!(
                    "it says that it is {length} bytes once decompressed; the limit is {MAX_UNPACKED}"
                ),
            ));
        }
        self.algorithm.check(ErrorKind::Codec)?;
        match self.algorithm.unpack(packed, length) {
            Some(bytes) if bytes.len() == length => Ok(bytes),
            _ => Err(Error::new(
                ErrorKind::Codec,
                format!("as {}: it is damaged", self.algorithm.name()),
            )),
        }
    }
}

impl Algorithm {
    /// The number of the algorithm in entries. Frozen.
    pub(super) fn id(self) -> u8 {
        match self {
            Algorithm::Zstd => 1,
            Algorithm::Lz4 => 2,
            Algorithm::Zlib => 3,
        }
    }

    pub(super) fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            1 => Algorithm::Zstd,
            2 => Algorithm::Lz4,
            3 => Algorithm::Zlib,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Algorithm::Zstd => "zstd",
            Algorithm::Lz4 => "lz4",
            Algorithm::Zlib => "zlib",
        }
    }

    fn check(self, kind: ErrorKind) -> Result<()> {
        let there = match self {
            Algorithm::Zstd => cfg!(feature = "zstd"),
            Algorithm::Lz4 => cfg!(feature = "lz4"),
            Algorithm::Zlib => cfg!(feature = "zlib"),
        };
        if there {
            return Ok(());
        }
        let name = self.name();
        Err(Error::new(
            kind,
            format!("{name} is not in this build; it is the feature `{name}` of nearcache"),
        ))
    }

    fn pack(self, bytes: &[u8], level: i32) -> Result<Vec<u8>> {
        let packed: std::io::Result<Vec<u8>> = match self {
            #[cfg(feature = "zstd")]
            Algorithm::Zstd => contexts::zstd_pack(bytes, level),
            #[cfg(feature = "lz4")]
            Algorithm::Lz4 => Ok(lz4_flex::block::compress(bytes)),
            #[cfg(feature = "zlib")]
            Algorithm::Zlib => contexts::zlib_pack(bytes, level),
            #[allow(unreachable_patterns, reason = "reachable without the features")]
            _ => {
                let _ = (bytes, level);
                Err(std::io::Error::other("it is not in this build"))
            }
        };
        packed.map_err(|error| {
            Error::new(ErrorKind::Codec, format!("as {}", self.name())).caused_by(error)
        })
    }

    /// The unpacked bytes, if there are exactly `length`.
    fn unpack(self, packed: &[u8], length: usize) -> Option<Vec<u8>> {
        match self {
            #[cfg(feature = "zstd")]
            Algorithm::Zstd => contexts::zstd_unpack(packed, length).ok(),
            #[cfg(feature = "lz4")]
            Algorithm::Lz4 => lz4_flex::block::decompress(packed, length).ok(),
            #[cfg(feature = "zlib")]
            Algorithm::Zlib => contexts::zlib_unpack(packed, length).ok(),
            #[allow(unreachable_patterns, reason = "reachable without the features")]
            _ => {
                let _ = (packed, length);
                None
            }
        }
    }
}

/// The form in URLs: `zstd:3`.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            Algorithm::Lz4 => f.write_str(self.as_str()),
            Algorithm::Zstd | Algorithm::Zlib => write!(f, "{}:{}", self.as_str(), self.level),
        }
    }
}

#[cfg(all(test, feature = "zstd", feature = "lz4", feature = "zlib"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Compression; 3] = [Compression::zstd(), Compression::lz4(), Compression::zlib()];

    #[test]
    fn only_what_becomes_smaller_is_compressed() {
        let noise: Vec<u8> = (0..4_096).map(|_| fastrand::u8(..)).collect();
        for compression in ALL {
            assert_eq!(compression.pack(&noise).unwrap(), None);
            assert_eq!(compression.pack(&[b'a'; 1_023]).unwrap(), None);
            let (packing, packed) = compression.pack(&[b'a'; 1_024]).unwrap().unwrap();
            assert!(packed.len() < 64);
            assert_eq!(packing.unpack(&packed).unwrap(), [b'a'; 1_024]);
            let above = compression.above(10);
            assert!(above.pack(&[b'a'; 100]).unwrap().is_some());
        }
    }

    #[test]
    fn a_bomb_is_an_error_that_names_the_limit() {
        for compression in ALL {
            let (packing, packed) = compression.pack(&vec![0; 1 << 20]).unwrap().unwrap();
            // The entry claims a length that is too small, or too large.
            for length in [packing.length / 2, packing.length - 1, packing.length + 1] {
                let lies = Packing { length, ..packing };
                let error = lies.unpack(&packed).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Codec);
            }
            let length = MAX_UNPACKED as u32 + 1;
            let error = Packing { length, ..packing }.unpack(&packed).unwrap_err();
            assert!(error.to_string().contains("67108864"), "{error}");
        }
    }

    #[test]
    fn a_level_out_of_its_range_is_an_error() {
        for level in [-8, 23, i32::MIN, i32::MAX] {
            assert!(Compression::zstd().level(level).check().is_err());
            assert!(Compression::zlib().level(level).check().is_err());
            assert!(Compression::lz4().level(level).check().is_err());
        }
        for level in [-7, 22] {
            Compression::zstd().level(level).check().unwrap();
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_unpacks(
            bytes in proptest::collection::vec(0u8..4, 0..4_000),
            which in 0usize..3,
        ) {
            let compression = ALL[which].above(0);
            if let Some((packing, packed)) = compression.pack(&bytes).unwrap() {
                prop_assert_eq!(packing.unpack(&packed).unwrap(), bytes);
            }
        }

        #[test]
        fn no_bytes_panic(
            packed in proptest::collection::vec(any::<u8>(), 0..200),
            length in 0u32..100_000,
            which in 0usize..3,
        ) {
            let packing = Packing { algorithm: ALL[which].algorithm, length };
            let _ = packing.unpack(&packed);
        }
    }
}
