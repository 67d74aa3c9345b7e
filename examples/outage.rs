//! Redis goes away: what still works, what is told, and what is made up for when it is back.
//!
//! Between the cache and its server is a plug, which is pulled. Then `remember` goes on with its loader,
//! `get` answers with what it read last, and a `delete` that did not arrive is kept, and goes first when
//! Redis answers again.
//!
//! Without a URL the plug leads nowhere, and the example is about the time without Redis only.
//!
//! ```text
//! cargo run --release --example outage
//! cargo run --release --example outage -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nearcache::{BreakerState, Cache, Fallback, Lookup};
use support::{Plug, time};
use tokio::time::sleep;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A source that counts how often it is asked.
#[derive(Clone, Default)]
struct Database(Arc<AtomicU32>);

impl Database {
    async fn price(self, price: u32) -> Result<u32, std::io::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(50)).await;
        Ok(price)
    }

    fn asked(&self) -> u32 {
        self.0.swap(0, Ordering::SeqCst)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = std::env::args().nth(1);
    let mut plug = Plug::new(server.as_deref()).await?;
    let cache = Cache::builder(plug.url())
        .prefix("nearcache-outage")
        .default_ttl("10m")
        .on_unavailable(Fallback::Stale)
        .build()?;
    let database = Database::default();

    if plug.has_server() {
        cache.clear().await?;
        println!("Redis is there");
        let price = database.clone();
        let price = cache.remember("price", || price.price(10)).await?;
        assert_eq!(cache.get::<u32>("price").await?, Some(price));
        println!("  remember   {price}, loaded and stored; get reads it\n");
        plug.pull().await;
        println!("The plug is pulled");
    } else {
        println!("Nobody listens at {}", plug.url());
    }
    database.asked();

    // The source is asked instead, together for those who ask together.
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (cache, database) = (cache.clone(), database.clone());
        tasks.spawn(async move {
            let remembered = cache.remember("stock", || database.price(7));
            remembered.await.expect("the loader works")
        });
    }
    assert!(tasks.join_all().await.iter().all(|stock| *stock == 7));
    let asked = database.asked();
    assert!(asked < 10, "not once for each");
    println!(
        "  remember   100 tasks, all answered in {}; loads: {asked}",
        time(start.elapsed())
    );
    if asked > 1 {
        // What it reads may be older than what a later caller knows.
        println!("             (who asks while a load runs is answered by the next one)");
    }

    // Fallback::Stale: what this process read last, or a miss.
    let last: Option<u32> = cache.get("price").await?;
    assert_eq!(last, plug.has_server().then_some(10));
    match last {
        Some(price) => println!("  get        {price}, read before the outage (Fallback::Stale)"),
        None => println!("  get        a miss: nothing was read before (Fallback::Stale)"),
    }

    // The price changes in the database. The cache cannot be told now; it says so, and keeps it.
    let error = cache.delete("price").await.unwrap_err();
    assert!(error.is_deferred());
    let waiting = cache.stats().invalidations_waiting;
    assert_eq!(waiting, 1);
    println!("  delete     an error, is_deferred() = true, and {waiting} invalidation waits:");
    println!("             {error}");

    // From here on this process does not answer with the old price any more.
    let last: Option<u32> = cache.get("price").await?;
    assert_eq!(last, None);
    println!("  get        a miss: what was deleted here is not answered with");

    // After five failures the breaker opens, and nobody waits for Redis any more.
    while cache.stats().breaker != BreakerState::Open {
        let _: Option<u32> = cache.get("price").await?;
    }
    let start = Instant::now();
    for _ in 0..100 {
        let _: Option<u32> = cache.get("price").await?;
    }
    println!(
        "  breaker    open; a get costs {} now\n",
        time(start.elapsed() / 100)
    );

    if plug.has_server() {
        plug.put_back().await?;
        let start = Instant::now();
        while cache.ping().await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        println!("The plug is back");
        println!(
            "  noticed    after {}, by the same cache",
            time(start.elapsed())
        );
        assert_eq!(cache.lookup::<u32>("price").await?, Lookup::Miss);
        assert_eq!(cache.stats().invalidations_waiting, 0);
        println!("  lookup     a miss: the deletion that waited went first");
        let price = database.clone();
        let price = cache.remember("price", || price.price(12)).await?;
        assert_eq!(price, 12);
        println!("  remember   {price}, loaded and stored\n");
        cache.clear().await?;
    }

    let stats = cache.stats();
    println!(
        "  {} reads answered by the fallback, {} invalidation deferred, breaker opened {} ×",
        stats.fallbacks, stats.invalidations_deferred, stats.breaker_openings
    );
    match server {
        Some(url) => support::closing("outage", &url),
        None => {
            println!("\nTo see it come back, with a Redis that is there:");
            println!("  cargo run --release --example outage -- redis://localhost");
        }
    }
    Ok(())
}
