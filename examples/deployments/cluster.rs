//! A cache on a Cluster: keys spread over the primaries, what needs a hash tag, a slot that moves and a primary that dies.
//!
//! Without a URL, the example starts three primaries with a replica each, if there is a `redis-server`.
//!
//! ```text
//! cargo run --release --example cluster
//! cargo run --release --example cluster -- redis-cluster://localhost:7000,localhost:7001
//! ```

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use nearcache::{Cache, ErrorKind};
use nearcache_testkit::Cluster;
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
        let cache = Cache::builder(&url).prefix("nearcache-cluster").build()?;
        verbs(&cache).await?;
        cache.clear().await?;
        return Ok(());
    }
    if !is_installed() {
        println!("There is no redis-server here; give the URL of a Cluster that runs:");
        println!("  cargo run --example cluster -- redis-cluster://localhost:7000,localhost:7001");
        return Ok(());
    }
    let mut cluster = Cluster::start();
    let cache = Cache::builder(&cluster.url()).prefix("shop").build()?;
    verbs(&cache).await?;

    println!("\nA slot moves to another primary");
    let slot = cluster.slot("shop:user:1");
    let from = cluster.primary_of(slot);
    let to = (from + 1) % 3;
    cluster.migration(slot, to).whole();
    assert_eq!(cache.get("user:1").await?, Some("ada".to_owned()));
    println!(
        "  user:1 is found there: slot {slot} is at {} now",
        cluster.node(to).address()
    );

    println!("\nThe primary of another slot is killed");
    let dead = (from + 2) % 3;
    let replica = cluster.replicas_of(dead)[0];
    let lost = (0..100)
        .map(|id| format!("user:{id}"))
        .find(|name| cluster.primary_of_key(format!("shop:{name}")) == dead);
    let lost = lost.ok_or("no user there")?;
    cluster.kill(dead);
    let begun = Instant::now();
    let loaded: String = cache.remember(&lost, load).ttl("1h").await?;
    println!("  {lost} is loaded, since it cannot be read: {loaded:?}");
    assert_eq!(cache.get("user:1").await?, Some("ada".to_owned()));
    println!("  user:1 is at another primary, and read as before");
    while cache.set(&lost, &"bob".to_owned()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.taken_over(replica);
    println!(
        "  a replica took over; the first write succeeds after {}",
        time(begun.elapsed())
    );
    assert_eq!(cache.get(&lost).await?, Some("bob".to_owned()));
    Ok(())
}

async fn load() -> Result<String, std::io::Error> {
    Ok("from the database".to_owned())
}

async fn verbs(cache: &Cache) -> Result<()> {
    println!("Many keys in many slots: each primary is asked for its own");
    let users = (0..100).map(|id| (format!("user:{id}"), "ada".to_owned()));
    cache.set_many(users).await?;
    let names = (0..100).map(|id| format!("user:{id}"));
    let found: Vec<Option<String>> = cache.get_many(names).await?;
    println!("  {} of 100 found", found.iter().flatten().count());
    assert!(found.iter().all(Option::is_some));

    println!("\nA verb that needs several keys together wants them in one slot");
    cache
        .set_of::<u32>("fans:ada")
        .insert_many([1, 2, 3])
        .await?;
    cache
        .set_of::<u32>("fans:bob")
        .insert_many([2, 3, 4])
        .await?;
    let both = cache
        .set_of::<u32>("fans:ada")
        .intersection(["fans:bob"])
        .await;
    let error = both.err().ok_or("these keys are in several slots")?;
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    println!("  {error}");
    // What stands in braces decides on the slot.
    cache
        .set_of::<u32>("{fans}:ada")
        .insert_many([1, 2, 3])
        .await?;
    cache
        .set_of::<u32>("{fans}:bob")
        .insert_many([2, 3, 4])
        .await?;
    let mut both = cache
        .set_of::<u32>("{fans}:ada")
        .intersection(["{fans}:bob"])
        .await?;
    both.sort_unstable();
    assert_eq!(both, [2, 3]);
    println!("  with a hash tag: {both:?}");
    Ok(())
}
