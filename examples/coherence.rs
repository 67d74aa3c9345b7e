//! Two processes with near tiers: one changes a price, and the other, which reads it without asking Redis, sees the change.
//!
//! The second process is this program, started again. Both are told by Redis (`CLIENT TRACKING`). Without a URL there is no
//! server that two processes could share, so two caches on one store in this process stand for them.
//!
//! ```text
//! cargo run --release --example coherence
//! cargo run --release --example coherence -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nearcache::{Cache, Result};
use support::{Table, count, time};

const CHANGES: u64 = 20;
const KEY: &str = "price";

fn open(url: &str, prefix: &str) -> Result<Cache> {
    Cache::builder(url)
        .prefix(prefix)
        .near(1_000)
        .timeout("5s")
        .build()
}

fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

/// Reads the price again and again, and says each new one with the time. Ends with the last price.
async fn watch(cache: &Cache, mut seen: impl FnMut(u64, u64)) -> Result<(u64, u64)> {
    let (mut last, mut reads) = (0, 0);
    let begun = Instant::now();
    while last < CHANGES && begun.elapsed() < Duration::from_secs(60) {
        reads += 1;
        if let Some(price) = cache.get::<u64>(KEY).await?
            && price != last
        {
            assert!(price > last, "an old price came back: {price} after {last}");
            last = price;
            seen(price, micros());
        }
        // Others want to work, too.
        tokio::task::yield_now().await;
    }
    assert_eq!(last, CHANGES);
    Ok((reads, cache.stats().near_hits))
}

/// Changes the price, and says when each change had returned.
async fn change(cache: &Cache) -> Result<Vec<u64>> {
    let mut returned = Vec::new();
    for price in 1..=CHANGES {
        cache.set(KEY, &price).await?;
        returned.push(micros());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(returned)
}

fn report(returned: &[u64], seen: &[(u64, u64)], (reads, near): (u64, u64)) {
    let mut late: Vec<u64> = seen
        .iter()
        .map(|(price, at)| at.saturating_sub(returned[*price as usize - 1]))
        .collect();
    late.sort_unstable();
    let mut table = Table::new([
        "reads",
        "of them near",
        "changes seen",
        "median after it returned",
        "longest",
    ]);
    table.row([
        count(reads),
        count(near),
        count(seen.len() as u64),
        time(Duration::from_micros(late[late.len() / 2])),
        time(Duration::from_micros(late[late.len() - 1])),
    ]);
    println!("{table}");
    assert!(near > reads / 2, "most reads took no round trip");
}

async fn two_caches() -> Result<()> {
    let url = "memory://prices";
    let (writer, reader) = (open(url, "coherence")?, open(url, "coherence")?);
    let mut seen = Vec::new();
    let changing = change(&writer);
    let watching = watch(&reader, |price, at| seen.push((price, at)));
    let (returned, reads) = tokio::try_join!(changing, watching)?;
    report(&returned, &seen, reads);
    Ok(())
}

async fn two_processes(url: &str) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let prefix = format!("coherence-{}", std::process::id());
    let cache = open(url, &prefix)?;
    let mut other = Command::new(std::env::current_exe()?)
        .args([url, &prefix])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = other.stdout.take().ok_or("it has an output")?;
    let mut lines = BufReader::new(said).lines();
    assert_eq!(lines.next().ok_or("it says that it is ready")??, "ready");
    let returned = change(&cache).await?;
    let (mut seen, mut reads) = (Vec::new(), (0, 0));
    for line in lines {
        let line = line?;
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match kind {
            "seen" => seen.push((number(), number())),
            "reads" => reads = (number(), number()),
            _ => println!("{line}"),
        }
    }
    assert!(other.wait()?.success());
    report(&returned, &seen, reads);
    cache.clear().await?;
    support::closing("coherence", url);
    Ok(())
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let url = support::url();
    if let Some(prefix) = std::env::args().nth(2) {
        let cache = open(&url, &prefix)?;
        cache.ping().await?;
        println!("ready");
        std::io::stdout().flush()?;
        let reads = watch(&cache, |price, at| println!("seen {price} {at}")).await?;
        println!("reads {} {}", reads.0, reads.1);
        return Ok(());
    }
    if url.starts_with("memory:") {
        two_caches().await?;
        support::closing("coherence", &url);
        return Ok(());
    }
    two_processes(&url).await
}
