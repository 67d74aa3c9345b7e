//! A cache in front of a database: what it saves, and how to keep it correct.
//!
//! A shop in SQLite (100,000 products, 500,000 reviews) shows a product page that takes a real query. The page is
//! read cold and warm; then the product changes in the database, its entry is deleted, and the page is read again.
//! After that, shoppers read thousands of pages, the popular ones most.
//!
//! ```text
//! cargo run --release --example quickstart                         # in this process
//! cargo run --release --example quickstart -- redis://localhost    # on a Redis
//! ```

#![allow(clippy::print_stdout)]

mod shop;

use std::time::{Duration, Instant};

use nearcache::Cache;
use shop::{PRODUCTS, Page, REVIEWS, Shop};
use support::{Table, Zipf, count, percent, time};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Cache-aside: ask the cache; on a miss, ask the database and cache the answer.
async fn page(cache: &Cache, shop: &Shop, id: u32) -> Result<Page> {
    let key = format!("page:{id}");
    if let Some(page) = cache.get(&key).await? {
        return Ok(page);
    }
    let page = shop.load(id)?;
    cache.set(&key, &page).ttl("10m").await?;
    Ok(page)
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url)
        .prefix("nearcache-quickstart")
        .build()?;
    cache.clear().await?; // what an earlier run may have left in Redis

    let shop = Shop::open()?;
    println!("nearcache at {}, in front of SQLite", support::shown(&url));
    println!("{} products, {} reviews\n", count(PRODUCTS), count(REVIEWS));

    one_page(&cache, &shop).await?;
    many_pages(&cache, &shop).await?;

    cache.clear().await?;
    support::closing("quickstart", &url);
    Ok(())
}

/// One page: cold, warm, changed.
async fn one_page(cache: &Cache, shop: &Shop) -> Result<()> {
    const ID: u32 = 4_711;
    let mut table = Table::new(["one product page", "", "took"]).left(1);

    let start = Instant::now();
    let cold = page(cache, shop, ID).await?;
    table.row(["first read", "a miss: asks SQLite", &time(start.elapsed())]);

    let start = Instant::now();
    let warm = page(cache, shop, ID).await?;
    table.row(["second read", "a hit", &time(start.elapsed())]);
    assert_eq!(warm, cold);

    // First the database, then the cache: every read from here on gets the new price.
    let start = Instant::now();
    shop.set_price(ID, cold.cents - 100)?;
    cache.delete(format!("page:{ID}")).await?;
    table.row(["new price", "UPDATE, then delete", &time(start.elapsed())]);

    let start = Instant::now();
    let fresh = page(cache, shop, ID).await?;
    table.row(["third read", "a miss: new price", &time(start.elapsed())]);
    assert_eq!(fresh.cents, cold.cents - 100);

    let start = Instant::now();
    assert_eq!(page(cache, shop, ID).await?, fresh);
    table.row(["fourth read", "a hit: new price", &time(start.elapsed())]);

    println!("{table}");
    Ok(())
}

/// Thousands of pages, as shoppers read them.
async fn many_pages(cache: &Cache, shop: &Shop) -> Result<()> {
    const READS: u32 = 20_000;
    let (mut hit, mut missed) = (Tally::default(), Tally::default());
    for id in Zipf::new(PRODUCTS, 1.1, 1).take(READS as usize) {
        let misses = cache.stats().misses;
        let start = Instant::now();
        page(cache, shop, id).await?;
        let was_hit = cache.stats().misses == misses;
        let tally = if was_hit { &mut hit } else { &mut missed };
        tally.add(start.elapsed());
    }
    let cached = Tally {
        reads: READS,
        total: hit.total + missed.total,
    };
    let uncached = Tally {
        reads: READS,
        total: missed.mean() * READS,
    };

    let mut table = Table::new(["shoppers", "reads", "each", "together"]);
    for (name, tally) in [
        ("hits", &hit),
        ("misses", &missed),
        ("with the cache", &cached),
        ("without it, about", &uncached),
    ] {
        table.row([
            name.to_owned(),
            count(tally.reads),
            time(tally.mean()),
            time(tally.total),
        ]);
    }
    println!("{table}");

    let hit_ratio = f64::from(hit.reads) / f64::from(READS);
    assert_eq!(hit.reads + missed.reads, READS);
    assert!(hit_ratio > 0.5, "popular pages are found in the cache");
    println!("  hit ratio        {}", percent(hit_ratio));
    println!(
        "  time saved       {}",
        percent(1.0 - cached.total.div_duration_f64(uncached.total))
    );
    Ok(())
}

/// A number of reads, and how long they took in total.
#[derive(Default)]
struct Tally {
    reads: u32,
    total: Duration,
}

impl Tally {
    fn add(&mut self, took: Duration) {
        self.reads += 1;
        self.total += took;
    }

    fn mean(&self) -> Duration {
        self.total / self.reads.max(1)
    }
}
