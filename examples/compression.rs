//! Compression of values, where it helps.
//!
//! A page of 100 rows as JSON, with each algorithm: its size in Redis, and the time it takes.
//!
//! ```text
//! cargo run --release --example compression
//! cargo run --release --example compression -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::time::Instant;

use nearcache::{Cache, Codec, Compression, Raw, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u32,
    name: String,
    city: String,
    balance: f64,
}

fn rows() -> Vec<Row> {
    let cities = ["Amsterdam", "Berlin", "Chicago", "Delhi", "Edinburgh"];
    let row = |id: u32| Row {
        id,
        name: format!("customer {}", id.wrapping_mul(2_654_435_761) % 10_000),
        city: cities[id as usize % cities.len()].to_owned(),
        balance: f64::from(id) * 1.25,
    };
    (0..100).map(row).collect()
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url)
        .prefix("nearcache-compression")
        .build()?;
    let page = rows();

    let mut table = support::Table::new(["compression", "bytes in Redis", "set", "get"]);
    let mut plain = 0;
    for compression in [
        None,
        Some(Compression::lz4()),
        Some(Compression::zstd().level(1)),
        Some(Compression::zstd()),
        Some(Compression::zlib()),
    ] {
        let codec = compression.map_or(Codec::json(), |compression| {
            Codec::json().compressed(compression)
        });
        let cache = cache.with_codec(codec);
        const ROUNDS: u32 = 200;
        let before = cache.stats().bytes_out;
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            cache.set("page", &page).ttl("1h").await?;
        }
        let set = begun.elapsed() / ROUNDS;
        let bytes = (cache.stats().bytes_out - before) / u64::from(ROUNDS);
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let found: Option<Vec<Row>> = cache.get("page").await?;
            assert_eq!(found.as_deref(), Some(&*page));
        }
        let get = begun.elapsed() / ROUNDS;
        match compression {
            None => plain = bytes,
            Some(_) => assert!(bytes < plain / 2, "{bytes} of {plain}"),
        }
        table.row([
            compression.map_or("none".to_owned(), |compression| compression.to_string()),
            bytes.to_string(),
            support::time(set),
            support::time(get),
        ]);
    }
    print!("{table}");

    // A value that would not become smaller is stored uncompressed: noise, and short values.
    let cache = cache.with_codec(Codec::json().compressed(Compression::zstd()));
    let noise: Vec<u8> = (0..4_096).map(|_| fastrand::u8(..)).collect();
    let before = cache.stats().bytes_out;
    cache.set("noise", &Raw(&noise)).await?;
    assert_eq!(cache.stats().bytes_out - before, 4_096);
    println!("\n4,096 bytes of noise stay 4,096.");

    cache.clear().await?;
    support::closing("compression", &url);
    Ok(())
}
