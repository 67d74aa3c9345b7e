//! Redis goes away and comes back: what works meanwhile, which errors you get, and which invalidations are sent
//! again.
//!
//! Between the cache and its server there is a plug, which is pulled. Then `remember` goes on with its loader, `get`
//! returns the value that it read last, and a `delete` that did not arrive is kept, and sent before anything else
//! when Redis answers again.
//!
//! Without a URL the plug has no server behind it, and the example only shows the time without Redis.
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

    // The source is asked instead, once for all callers that ask together.
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
        // Its result may be older than something that a later caller already knows.
        println!(
            "             (a caller that asks while a load runs gets the result of the next one)"
        );
    }

    // Fallback::Stale: the value that this process read last, or a miss.
    let last: Option<u32> = cache.get("price").await?;
    assert_eq!(last, plug.has_server().then_some(10));
    match last {
        Some(price) => println!("  get        {price}, read before the outage (Fallback::Stale)"),
        None => println!("  get        a miss: nothing was read before (Fallback::Stale)"),
    }

    // The price changes in the database. The invalidation cannot be sent now; the error says so, and it is kept.
    let error = cache.delete("price").await.unwrap_err();
    assert!(error.is_deferred());
    let waiting = cache.stats().invalidations_waiting;
    assert_eq!(waiting, 1);
    println!("  delete     an error, is_deferred() = true, and {waiting} invalidation waits:");
    println!("             {error}");

    // From here on, this process does not return the old price any more.
    let last: Option<u32> = cache.get("price").await?;
    assert_eq!(last, None);
    println!("  get        a miss: this process does not return what it has deleted");

    // After five failures the breaker opens, and calls do not wait for Redis any more.
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
            "  noticed    by the same cache, after {}",
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
            println!("\nTo see it come back, run it on a Redis:");
            println!("  cargo run --release --example outage -- redis://localhost");
        }
    }
    Ok(())
}
