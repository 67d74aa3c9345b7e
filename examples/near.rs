//! The near tier: values in the process, in front of Redis.
//!
//! A product page that is read far more often than it is changed. The first read of a product takes a round trip, the
//! others take none, until something changes it.
//!
//! ```text
//! cargo run --release --example near
//! cargo run --release --example near -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};
use support::{Table, count, percent, time};

const PRODUCTS: u32 = 1_000;
const READS: u32 = 100_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Product {
    name: String,
    cents: u64,
    text: String,
}

fn product(id: u32, cents: u64) -> Product {
    Product {
        name: format!("Product {id}"),
        cents,
        text: "What it is, and what it is for. ".repeat(30),
    }
}

/// Reads products, some far more often than others, and says how long a read took on average.
async fn read(cache: &Cache) -> Result<Duration> {
    let mut took = Duration::ZERO;
    for id in support::Zipf::new(PRODUCTS, 0.99, 7).take(READS as usize) {
        let key = format!("product:{id}");
        let begun = Instant::now();
        let found = cache.get_arc::<Product>(&key).await?;
        took += begun.elapsed();
        assert!(found.is_some(), "{key}");
    }
    Ok(took / READS)
}

#[tokio::main]
async fn main() -> Result<()> {
    // A store without a name would be one for each cache.
    let url = match support::url() {
        url if url == "memory://" => "memory://products".to_owned(),
        url => url,
    };
    let open = |near: usize| {
        let prefix = format!("near-{}", std::process::id());
        Cache::builder(&url).prefix(prefix).near(near).build()
    };
    let cache = open(0)?;
    let products = (0..PRODUCTS).map(|id| (format!("product:{id}"), product(id, 999)));
    cache.set_many(products).ttl("1h").await?;

    println!("{} reads of {PRODUCTS} products", count(u64::from(READS)));
    let mut table = Table::new(["entries near", "a read", "near hits", "entries", "evicted"]);
    for near in [0, 100, 10_000] {
        let cache = if near == 0 {
            cache.clone()
        } else {
            open(near)?
        };
        let took = read(&cache).await?;
        let stats = cache.stats();
        table.row([
            count(near as u64),
            time(took),
            percent(stats.near_hits as f64 / f64::from(READS)),
            count(stats.near_entries),
            count(stats.near_evictions),
        ]);
    }
    println!("{table}");

    // All who read a product share one value.
    let near = open(10_000)?;
    near.get_arc::<Product>("product:1").await?;
    let one: Option<Arc<Product>> = near.get_arc("product:1").await?;
    let other: Option<Arc<Product>> = near.get_arc("product:1").await?;
    assert!(
        one.zip(other)
            .is_some_and(|(one, other)| Arc::ptr_eq(&one, &other))
    );

    // A change is seen at once, in this process, by whichever verb and cache it was made.
    cache
        .set("product:1", &product(1, 899))
        .tags(["shop:1"])
        .await?;
    let changed = near.get::<Product>("product:1").await?;
    assert_eq!(changed.map(|product| product.cents), Some(899));
    cache.invalidate_tag("shop:1").await?;
    assert_eq!(near.get::<Product>("product:1").await?, None);
    println!("after a change: the new price; after its tag was invalidated: nothing");

    cache.clear().await?;
    support::closing("near", &url);
    Ok(())
}
