//! The contexts that compressors work with, one per thread and kind.
//!
//! To create one takes longer than to compress a small value with it: 50 µs for zstd, half a millisecond for zlib. So
//! each thread keeps its contexts for values of up to [`SMALL`], which take up to 2 MiB. A larger value gets a
//! context of its own, which is freed afterwards.

use std::cell::RefCell;
#[cfg(feature = "zlib")]
use std::io::Error;
use std::io::Result;

/// Up to this size, creating a context takes longer than compressing.
#[cfg(feature = "zstd")]
const SMALL: usize = 256 * 1024;

#[cfg(feature = "zstd")]
mod zstandard {
    use super::{RefCell, Result, SMALL};
    use zstd::bulk::{Compressor, Decompressor};

    thread_local! {
        static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }

    pub(in crate::codec) fn zstd_pack(bytes: &[u8], level: i32) -> Result<Vec<u8>> {
        if bytes.len() > SMALL {
            return zstd::bulk::compress(bytes, level);
        }
        COMPRESSOR.with_borrow_mut(|kept| {
            let compressor = match kept {
                Some((of, compressor)) if *of == level => compressor,
                _ => &mut kept.insert((level, Compressor::new(level)?)).1,
            };
            compressor.compress(bytes)
        })
    }

    pub(in crate::codec) fn zstd_unpack(packed: &[u8], length: usize) -> Result<Vec<u8>> {
        if length > SMALL {
            return zstd::bulk::decompress(packed, length);
        }
        DECOMPRESSOR.with_borrow_mut(|kept| {
            let decompressor = match kept {
                Some(decompressor) => decompressor,
                None => kept.insert(Decompressor::new()?),
            };
            decompressor.decompress(packed, length)
        })
    }
}

#[cfg(feature = "zstd")]
pub(super) use zstandard::{zstd_pack, zstd_unpack};

#[cfg(feature = "zlib")]
mod zlib {
    use super::{Error, RefCell, Result};
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

    thread_local! {
        static COMPRESS: RefCell<Option<(i32, Compress)>> = const { RefCell::new(None) };
        static DECOMPRESS: RefCell<Option<Decompress>> = const { RefCell::new(None) };
    }

    pub(in crate::codec) fn zlib_pack(bytes: &[u8], level: i32) -> Result<Vec<u8>> {
        COMPRESS.with_borrow_mut(|kept| {
            let compress = match kept {
                Some((of, compress)) if *of == level => {
                    compress.reset();
                    compress
                }
                _ => {
                    let made = Compress::new(Compression::new(level.unsigned_abs()), true);
                    &mut kept.insert((level, made)).1
                }
            };
            let mut packed = Vec::with_capacity(bytes.len() / 2 + 64);
            loop {
                let rest = &bytes[compress.total_in() as usize..];
                match compress.compress_vec(rest, &mut packed, FlushCompress::Finish)? {
                    Status::StreamEnd => return Ok(packed),
                    Status::Ok | Status::BufError => packed.reserve(packed.len().max(64)),
                }
            }
        })
    }

    pub(in crate::codec) fn zlib_unpack(packed: &[u8], length: usize) -> Result<Vec<u8>> {
        DECOMPRESS.with_borrow_mut(|kept| {
            let decompress = match kept {
                Some(decompress) => {
                    decompress.reset(true);
                    decompress
                }
                None => kept.insert(Decompress::new(true)),
            };
            // Room for one byte more, to notice data that is longer than it claims.
            let mut bytes = Vec::with_capacity(length + 1);
            match decompress.decompress_vec(packed, &mut bytes, FlushDecompress::Finish)? {
                Status::StreamEnd => Ok(bytes),
                Status::Ok | Status::BufError => Err(Error::other("it is cut off, or too long")),
            }
        })
    }
}

#[cfg(feature = "zlib")]
pub(super) use zlib::{zlib_pack, zlib_unpack};
