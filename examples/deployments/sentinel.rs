//! A primary that Sentinels name is replaced by its replica, and the cache follows.
//!
//! Without a URL, the example starts a primary, a replica and three Sentinels, if there is a `redis-server`. It takes the
//! primary away, and shows how long writes fail, and that what was deleted stays deleted.
//!
//! ```text
//! cargo run --release --example sentinel
//! cargo run --release --example sentinel -- redis-sentinel://localhost/mymaster
//! ```

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use nearcache::Cache;
use nearcache_testkit::Sentinels;
use support::time;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn is_installed() -> bool {
    let version = std::process::Command::new("redis-server")
        .arg("--version")
        .output();
    version.is_ok_and(|version| version.status.success())
}

#[tokio::main]
async fn main() -> Result<()> {
    if let Some(url) = std::env::args().nth(1) {
        let cache = Cache::builder(&url).prefix("nearcache-sentinel").build()?;
        cache.set("greeting", "hello").ttl("1m").await?;
        println!("{} through {url}", cache.server().await?);
        cache.clear().await?;
        return Ok(());
    }
    if !is_installed() {
        println!("There is no redis-server here; give the URL of a group that runs:");
        println!("  cargo run --example sentinel -- redis-sentinel://localhost/mymaster");
        return Ok(());
    }
    let mut group = Sentinels::start();
    println!("{}", group.url());
    let cache = Cache::builder(&format!("{}?prefix=shop", group.url()))
        .timeout("300ms")
        .build()?;
    cache.set("price", &10).await?;
    println!("  the primary is {}", group.server(0).address());

    println!("\nThe primary is killed");
    let begun = Instant::now();
    group.server_mut(0).kill();
    // Reads go on with their source: an outage costs no answer.
    let price = cache
        .remember("price", || async { Ok::<_, std::io::Error>(11) })
        .await?;
    println!("  remember   {price}, after {}", time(begun.elapsed()));
    // This deletion is kept until the new primary is known.
    let error = cache.delete("price").await.unwrap_err();
    assert!(error.is_deferred());
    println!("  delete     deferred: {error}");
    let mut failed = 0;
    while cache.set("stock", &7).await.is_err() {
        failed += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "  set        succeeds after {}, and {failed} tries",
        time(begun.elapsed())
    );
    assert_eq!(
        cache.get::<u32>("price").await?,
        None,
        "what was deleted stays deleted"
    );
    println!("  get        a miss: the deletion went first");
    // The cache believed the Sentinel that knows most; the others may hear of it later.
    group.until_moved_from(0);
    println!(
        "  the primary is {}",
        group.server(group.primary()).address()
    );
    assert_eq!(group.primary(), 1);
    Ok(())
}
