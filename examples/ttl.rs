//! TTLs: every way to write them, and testing expiry without waiting.
//!
//! The clock of the embedded store can be advanced, so a test of "it is gone after two hours" takes microseconds and
//! does not sleep. (A server has its own clock, so this example takes no URL.)
//!
//! ```text
//! cargo run --example ttl
//! ```

#![allow(clippy::print_stdout)]

use std::time::Duration;

use nearcache::embedded::{Clock, Store};
use nearcache::{Cache, ErrorKind, Remaining, Result, Ttl};
use support::Table;

#[tokio::main]
async fn main() -> Result<()> {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let cache = Cache::builder("memory://")
        .store(&store)
        .default_ttl("5m")
        .build()?;

    let mut table = Table::new(["written as", "stays for"]);
    cache.set("a", "text").ttl("2h30m").await?;
    table.row([".ttl(\"2h30m\")", &left(&cache, "a").await?]);
    cache
        .set("b", "a Duration")
        .ttl(Duration::from_millis(1500))
        .await?;
    table.row([
        ".ttl(Duration::from_millis(1500))",
        &left(&cache, "b").await?,
    ]);
    cache.set("c", "seconds").ttl(90).await?;
    table.row([".ttl(90)", &left(&cache, "c").await?]);
    cache.set("d", "the cache's default").await?;
    table.row([
        "nothing: the default_ttl(\"5m\")",
        &left(&cache, "d").await?,
    ]);
    cache.set("e", "none").forever().await?;
    table.row([".forever()", &left(&cache, "e").await?]);
    println!("{table}");

    // An invalid TTL is an error that says why, and nothing is stored.
    let error = cache.set("f", "?").ttl("2 hours").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
    println!("  .ttl(\"2 hours\") is an error:\n  {error}\n");

    // Expiry without sleeping: we advance the clock.
    clock.advance(Duration::from_secs(2 * 60 * 60 + 30 * 60 - 1));
    assert!(cache.contains("a").await?);
    clock.advance(Duration::from_secs(1));
    assert!(!cache.contains("a").await?);
    println!("  2h29m59s later \"a\" is there; a second after that it is gone.");

    // A session that ends 30 minutes after its last use.
    cache.set("session", "alice").ttl("30m").await?;
    for _ in 0..10 {
        clock.advance(Duration::from_secs(20 * 60));
        assert!(cache.touch("session").ttl("30m").await?);
    }
    println!("  touched every 20 minutes, a session of 30m is there after 3h20m.");

    // The same in one step with the read.
    for _ in 0..10 {
        clock.advance(Duration::from_secs(20 * 60));
        let user: Option<String> = cache.get("session").extend("30m").await?;
        assert_eq!(user.as_deref(), Some("alice"));
    }
    println!("  so is one that is read every 20 minutes with extend(\"30m\").");

    // A new value that keeps the old deadline.
    clock.advance(Duration::from_secs(10 * 60));
    cache.set("session", "bob").keep_ttl().await?;
    assert_eq!(cache.ttl("session").await?, minutes(20));
    println!("  a set with keep_ttl() 10 minutes later leaves it 20m.");

    // `expire` gives an existing entry a TTL, `persist` removes it.
    assert!(cache.expire("session", "1m").await?);
    assert_eq!(cache.ttl("session").await?, minutes(1));
    assert!(cache.persist("session").await?);
    assert_eq!(cache.ttl("session").await?, Remaining::Forever);
    assert!(!cache.expire("nobody", "1m").await?, "not there: false");
    assert_eq!(cache.ttl("nobody").await?, Remaining::Missing);

    // Jitter: entries that are written together do not all expire, and are not all reloaded, at the same time.
    let jittered = Cache::builder("memory://")
        .store(&store)
        .ttl_jitter(0.1)
        .build()?;
    let keys: Vec<String> = (0..1_000).map(|id| format!("page:{id}")).collect();
    jittered
        .set_many(keys.iter().map(|key| (key, "…")))
        .ttl("1h")
        .await?;
    let mut table = Table::new(["1,000 pages, 1h ± 10 %", "left"]);
    for passed in [50, 55, 60, 65, 70] {
        let at = format!("after {passed} minutes");
        let before = if passed == 50 { 50 } else { 5 };
        clock.advance(Duration::from_secs(before * 60));
        let pages = jittered.get_many::<String>(&keys).await?;
        let there = pages.iter().flatten().count();
        assert!(match passed {
            50 => there == 1_000,
            70 => there == 0,
            _ => (1..1_000).contains(&there),
        });
        table.row([at, there.to_string()]);
    }
    print!("\n{table}");
    Ok(())
}

fn minutes(minutes: u64) -> Remaining {
    Remaining::In(Duration::from_secs(minutes * 60))
}

/// The remaining TTL of an entry, as text that `.ttl(..)` takes.
async fn left(cache: &Cache, key: &str) -> Result<String> {
    Ok(match cache.ttl(key).await? {
        Remaining::In(left) => Ttl::from_millis(left.as_millis() as u64)?.to_string(),
        Remaining::Forever => "for ever".to_owned(),
        Remaining::Missing => "not there".to_owned(),
    })
}
