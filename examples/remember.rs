//! A stampede: 500 tasks want a value that is not cached and takes long to make.
//!
//! First the usual way (`get`, on a miss load, then `set`): each task misses and loads. Then with `remember`: one
//! task loads, and the others wait for it. After that: ten keys at once, a task that is aborted, and a loader that
//! fails.
//!
//! ```text
//! cargo run --release --example remember
//! cargo run --release --example remember -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nearcache::{Cache, ErrorKind, Result};
use support::{Table, count, time};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const TASKS: u64 = 500;

/// Makes reports. This takes time, only a few are made at once, and they are counted.
#[derive(Clone)]
struct Reports {
    made: Arc<AtomicU64>,
    places: Arc<Semaphore>,
}

impl Reports {
    const TIME: Duration = Duration::from_millis(200);
    const AT_ONCE: usize = 100;

    fn new() -> Self {
        Reports {
            made: Arc::default(),
            places: Arc::new(Semaphore::new(Self::AT_ONCE)),
        }
    }

    async fn make(self, name: String) -> std::result::Result<String, NoSuchReport> {
        self.made.fetch_add(1, Ordering::SeqCst);
        let _place = self.places.acquire().await.expect("never closed");
        tokio::time::sleep(Self::TIME).await;
        match &*name {
            "report:unknown" => Err(NoSuchReport),
            name => Ok(format!("{name}, as of today")),
        }
    }

    /// How many reports were made since the last call of this function.
    fn made(&self) -> u64 {
        self.made.swap(0, Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct NoSuchReport;

impl fmt::Display for NoSuchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such report")
    }
}

impl std::error::Error for NoSuchReport {}

/// The usual way, which has a gap: between the miss and the `set`, all other callers miss, too.
async fn get_or_set(cache: &Cache, reports: Reports, key: String) -> Result<String> {
    if let Some(report) = cache.get(&key).await? {
        return Ok(report);
    }
    let report = reports.make(key.clone()).await.expect("a report");
    cache.set(&key, &report).ttl("10m").await?;
    Ok(report)
}

/// The same with `remember`: the loader runs only if nothing is cached and no other load is in progress.
async fn remember(cache: &Cache, reports: Reports, key: String) -> Result<String> {
    let name = key.clone();
    cache.remember(&key, || reports.make(name)).ttl("10m").await
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-remember").build()?;
    cache.clear().await?;
    let reports = Reports::new();

    println!(
        "{TASKS} tasks want a report, which takes {} to make, {} at a time",
        time(Reports::TIME),
        Reports::AT_ONCE
    );
    println!("at {}\n", support::shown(&url));
    let mut table = Table::new(["", "made", "all answered in"]);

    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (cache, reports) = (cache.clone(), reports.clone());
        tasks.spawn(async move { get_or_set(&cache, reports, "report:may".into()).await });
    }
    all(tasks).await?;
    let made = reports.made();
    assert!(made > 1, "a stampede");
    table.row(["get, make, set", &times(made), &time(start.elapsed())]);

    // Runs each task, with the key that it asks for.
    let ask = |key: fn(u64) -> String| {
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (cache, reports) = (cache.clone(), reports.clone());
            tasks.spawn(async move { remember(&cache, reports, key(task)).await });
        }
        all(tasks)
    };

    let start = Instant::now();
    ask(|_| "report:june".into()).await?;
    let made = reports.made();
    assert_eq!(made, 1, "one for all");
    table.row(["remember", &times(made), &time(start.elapsed())]);

    let start = Instant::now();
    ask(|_| "report:june".into()).await?;
    assert_eq!(reports.made(), 0, "all hits");
    table.row(["remember, once more", "not", &time(start.elapsed())]);

    let start = Instant::now();
    ask(|task| format!("report:{}", task % 10)).await?;
    let made = reports.made();
    assert_eq!(made, 10, "each key once, and no key waits for another");
    table.row(["remember, 10 keys", &times(made), &time(start.elapsed())]);
    println!("{table}");

    // A load does not depend on its caller: the task that began it may be aborted.
    let begun = tokio::spawn({
        let (cache, reports) = (cache.clone(), reports.clone());
        async move { remember(&cache, reports, "report:july".into()).await }
    });
    while reports.made.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    begun.abort();
    let july = remember(&cache, reports.clone(), "report:july".into()).await?;
    assert_eq!(reports.made(), 1);
    println!("  The task that asked first was aborted; its load went on, and the next got");
    println!("    {july:?}\n");

    // All callers that waited get the loader's error, and it is not cached.
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (cache, reports) = (cache.clone(), reports.clone());
        tasks.spawn(async move {
            let asked = remember(&cache, reports, "report:unknown".into()).await;
            asked.expect_err("there is no such report")
        });
    }
    let errors = tasks.join_all().await;
    let made = reports.made();
    assert_eq!(made, 1);
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert!(error.downcast_ref::<NoSuchReport>().is_some());
    }
    println!(
        "  A loader that fails ran {}, and {} tasks got its error:",
        times(made),
        errors.len()
    );
    println!("    {}", errors[0]);
    assert!(!cache.contains("report:unknown").await?, "never cached");

    let stats = cache.stats();
    println!("\n  What the cache counted, in its stats():");
    for (what, number) in [
        ("loads", stats.loads),
        ("load_errors", stats.load_errors),
        ("coalesced (waited for another's load)", stats.coalesced),
        ("hits", stats.hits),
    ] {
        println!("    {:>5}   {what}", count(number));
    }

    cache.clear().await?;
    support::closing("remember", &url);
    Ok(())
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

/// Waits for all tasks.
async fn all(mut tasks: JoinSet<Result<String>>) -> Result<()> {
    while let Some(finished) = tasks.join_next().await {
        finished.expect("no task panics")?;
    }
    Ok(())
}
