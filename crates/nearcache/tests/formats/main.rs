//! What values look like in Redis, and that they come back as they were: formats, compression, versions of
//! keys, and what becomes of an entry that cannot be read.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;

mod codecs;
mod custom;
mod frozen;
mod healing;
mod shapes;
mod versions;

use nearcache::{Codec, Compression};

/// Every format, each with every compression and with none.
fn all_codecs() -> Vec<Codec> {
    let formats = [Codec::json(), Codec::message_pack(), Codec::postcard()];
    let compressions = [Compression::zstd(), Compression::lz4(), Compression::zlib()];
    let all = formats.into_iter().flat_map(|format| {
        let compress = |compression: Compression| format.clone().compressed(compression.above(1));
        let [zstd, lz4, zlib] = compressions.map(compress);
        [format, zstd, lz4, zlib]
    });
    all.collect()
}
