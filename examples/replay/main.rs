//! A day of real traffic, replayed through a cache: its hit ratio and its speed.
//!
//! Takes a trace of accesses (a 4-byte big-endian key for each, plain or compressed with xz), or generates one in
//! which some keys are far more popular than others. N tasks replay it together, and each access is cache-aside:
//! `get` and, on a miss, `set`.
//!
//! ```text
//! cargo run --release --example replay
//! cargo run --release --example replay -- day.trace.xz --url redis://localhost --tasks 64
//! ```
//!
//! `--limit` limits its memory: 4 bytes for each access and, in this process, the distinct keys with their values.
//! Nothing is evicted, so the hit ratio is that of a cache without a memory limit, the best that any cache could have
//! on this trace. On a server it uses a prefix of its own, and clears it at the end; values have a TTL, in case it
//! does not get that far.
//!
//! Tasks that miss the same key at the same time each load it, as is usual for cache-aside, so the hit ratio falls as
//! `--tasks` grows.

#![allow(clippy::print_stdout)]

mod latency;
mod options;
mod trace;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nearcache::{Cache, Raw, Ttl};
use support::{Table, count, percent, rate, time};
use tokio::task::JoinSet;

use latency::Latency;
use options::Options;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(options) = Options::parse()? else {
        println!("{}", options::HELP);
        return Ok(());
    };
    let keys: Arc<[u32]> = match &options.file {
        Some(path) => trace::read(path, options.limit)?.into(),
        None => trace::synthetic(options.limit).into(),
    };
    // Two replays at the same time have different prefixes.
    let cache = Cache::builder(&options.url)
        .prefix(format!("nearcache-replay-{}", std::process::id()))
        .build()?;
    cache.ping().await?;

    println!("{}", headline(&options, &keys));
    let start = Instant::now();
    let latency = replay(&cache, &keys, &options).await;
    let took = start.elapsed();
    // Clears the cache before an error is returned.
    cache.clear().await?;
    report(&cache, &keys, &latency?, took);
    Ok(())
}

/// Makes every access once, with all tasks together, nearly in the order of the trace.
async fn replay(cache: &Cache, keys: &Arc<[u32]>, options: &Options) -> Result<Latency> {
    let next = Arc::new(AtomicUsize::new(0));
    let value: Arc<[u8]> = vec![b'v'; options.value_bytes].into();
    let mut tasks: JoinSet<nearcache::Result<Latency>> = JoinSet::new();
    for _ in 0..options.tasks {
        let (cache, keys, next) = (cache.clone(), Arc::clone(keys), Arc::clone(&next));
        let (value, ttl) = (Arc::clone(&value), options.ttl);
        tasks.spawn(async move {
            let mut latency = Latency::new();
            while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                let start = Instant::now();
                let hit = access(&cache, *key, &value, ttl).await?;
                latency.add(hit, start.elapsed());
            }
            Ok(latency)
        });
    }

    // Drawn on stderr, and only if that is a terminal.
    let style = "  {bar:48} {percent:>3} %  {per_sec}  {eta} left";
    let bar = ProgressBar::new(keys.len() as u64).with_style(ProgressStyle::with_template(style)?);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut latency = Latency::new();
    loop {
        tokio::select! {
            finished = tasks.join_next() => match finished {
                Some(task) => latency.merge(&task??),
                None => break,
            },
            _ = tick.tick() => bar.set_position(next.load(Ordering::Relaxed) as u64),
        }
    }
    bar.finish_and_clear();
    Ok(latency)
}

/// One access, cache-aside; returns whether it hit.
async fn access(cache: &Cache, key: u32, value: &[u8], ttl: Ttl) -> nearcache::Result<bool> {
    let key = key.to_string();
    if cache.get::<Raw>(&key).await?.is_some() {
        return Ok(true);
    }
    cache.set(&key, &Raw(value)).ttl(ttl).await?;
    Ok(false)
}

fn headline(options: &Options, keys: &[u32]) -> String {
    let source = match &options.file {
        Some(path) => path.file_name().unwrap_or_default().to_string_lossy(),
        None => "a made-up trace".into(),
    };
    let Options {
        url,
        tasks,
        value_bytes,
        ttl,
        ..
    } = options;
    format!(
        "{source} at {}\n{} accesses to {} keys, {tasks} tasks, values of {value_bytes} B, TTL {ttl}\n",
        support::shown(url),
        count(keys.len() as u64),
        count(trace::distinct(keys)),
    )
}

fn report(cache: &Cache, keys: &[u32], latency: &Latency, took: Duration) {
    let stats = cache.stats();
    let accesses = keys.len() as u64;
    assert_eq!(latency.len(), accesses, "every access was made once");
    assert_eq!(stats.hits + stats.misses, accesses);
    assert_eq!(stats.writes, stats.misses, "every miss was filled");

    println!(
        "  hit ratio    {}   (nothing is evicted)",
        percent(stats.hit_ratio())
    );
    println!(
        "  throughput   {}   in {}\n",
        rate(accesses, took),
        time(took)
    );

    let mut table = Table::new(["latency", "accesses", "p50", "p99", "p99.9", "max"]);
    for (name, part) in latency.parts() {
        let quantile = |q| time(Duration::from_nanos(part.value_at_quantile(q)));
        table.row([
            name.to_owned(),
            count(part.len()),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            quantile(1.0),
        ]);
    }
    println!("{table}");
    print!("{}", latency.bars());
}

/// An error of a file, with its name.
fn in_file(path: &std::path::Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
