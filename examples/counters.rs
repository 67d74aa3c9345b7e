//! Counting: `incr` loses no count, however many tasks count at once; reading, adding and writing back does.
//!
//! A hundred tasks count visits, first the wrong way, then with `incr`. After that: a counter that does not exist,
//! one that would overflow, and a value that is not a counter.
//!
//! ```text
//! cargo run --example counters
//! cargo run --example counters -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::{Cache, ErrorKind, Result};
use support::{Table, count};
use tokio::task::{JoinSet, yield_now};

const TASKS: u32 = 100;
const VISITS: u32 = 50;

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-counters").build()?;
    cache.clear().await?;

    // The wrong way: other tasks write between the read and the write.
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let cache = cache.clone();
        tasks.spawn(async move {
            for _ in 0..VISITS {
                let visits: u64 = cache.get("wrong").await?.unwrap_or(0);
                yield_now().await; // any `.await` in between is enough
                cache.set("wrong", &(visits + 1)).await?;
            }
            Ok(())
        });
    }
    all(tasks).await?;

    // The right way: Redis does the addition.
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let cache = cache.clone();
        tasks.spawn(async move {
            for _ in 0..VISITS {
                cache.incr("visits").await?;
            }
            Ok(())
        });
    }
    all(tasks).await?;

    let expected = u64::from(TASKS * VISITS);
    let wrong: u64 = cache.get("wrong").await?.unwrap_or(0);
    let visits: u64 = cache.get("visits").await?.unwrap_or(0); // a counter reads as an integer
    assert!(wrong < expected, "visits were lost");
    assert_eq!(visits, expected, "none was lost");

    println!("{TASKS} tasks count {VISITS} visits each\n");
    let mut table = Table::new(["", "counted", "lost"]);
    table.row(["get, + 1, set", &count(wrong), &count(expected - wrong)]);
    table.row(["incr", &count(visits), "0"]);
    println!("{table}");

    // A counter is None before it is counted for the first time, and then starts at 0.
    assert_eq!(cache.counter("stock").await?, None);
    assert_eq!(cache.incr("stock").by(10).await?, 10);
    assert_eq!(cache.decr("stock").by(3).await?, 7);
    assert_eq!(cache.counter("stock").await?, Some(7));
    println!("  stock: nothing, + 10, - 3 = 7\n");

    // A limit of three requests a minute: the minute begins with the first one.
    for request in 1..=5 {
        let used = cache.incr("requests:alice").ttl("60s").await?;
        assert_eq!(used <= 3, request <= 3);
    }
    println!("  of five requests in a minute, the limit lets three pass\n");

    // A value that cannot be counted is an error, and does not change.
    cache.set("full", &i64::MAX).await?;
    let overflow = cache.incr("full").await.unwrap_err();
    assert_eq!(overflow.kind(), ErrorKind::Overflow);
    assert_eq!(cache.counter("full").await?, Some(i64::MAX));
    println!("  Overflow\n    {overflow}");

    cache.set("name", "Alice").await?;
    let not_integer = cache.incr("name").await.unwrap_err();
    assert_eq!(not_integer.kind(), ErrorKind::NotInteger);
    assert_eq!(cache.get::<String>("name").await?.as_deref(), Some("Alice"));
    println!("  NotInteger\n    {not_integer}");

    cache.clear().await?;
    support::closing("counters", &url);
    Ok(())
}

/// Waits for all tasks.
async fn all(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(finished) = tasks.join_next().await {
        finished.expect("no task panics")?;
    }
    Ok(())
}
