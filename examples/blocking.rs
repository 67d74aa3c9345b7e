//! The cache without an async runtime: threads share one cache, and each call uses a connection from its pool.
//!
//! Eight threads draw the thumbnails of a gallery, and each finds what the others have drawn. Then they compete for a
//! key that only one of them can add, and share jobs so that each job is done exactly once.
//!
//! ```text
//! cargo run --example blocking
//! cargo run --example blocking -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::thread;
use std::time::{Duration, Instant};

use nearcache::blocking::Cache;
use nearcache::{Raw, Result};
use support::{percent, time};

const THREADS: u32 = 8;
const IMAGES: u32 = 200;
const JOBS: u32 = 100;

fn main() -> Result<()> {
    let url = support::url();
    // The operations are those of the async cache; each ends in `.run()` instead of `.await`.
    let cache = Cache::builder(&url)
        .prefix("nearcache-blocking")
        .default_ttl("10m")
        .build()?;
    cache.clear().run()?;

    // Cache-aside, from eight threads. They could also have clones, which are the same cache.
    let start = Instant::now();
    on_all_threads(|thread| {
        // Each thread begins at another image, and later finds those that the others have drawn.
        let first = thread * IMAGES / THREADS;
        for id in (first..IMAGES).chain(0..first) {
            thumbnail(&cache, id)?;
        }
        Ok(())
    })?;
    let shared = start.elapsed();
    let stats = cache.stats();
    assert_eq!(stats.hits + stats.misses, u64::from(THREADS * IMAGES));
    assert!(stats.hit_ratio() > 0.5, "the threads share what they draw");

    println!("{THREADS} threads at {}\n", support::shown(&url));
    println!(
        "  {IMAGES} thumbnails asked for by each thread, in {}",
        time(shared)
    );
    println!("    found in the cache: {}", percent(stats.hit_ratio()));

    // Who is first? `add` stores only if there is no entry, and returns whether it did.
    let first = on_all_threads(|thread| cache.add("leader", &thread).ttl("30s").run())?;
    assert_eq!(first.iter().filter(|added| **added).count(), 1);
    let leader: Option<u32> = cache.get("leader").run()?;
    let leader = leader.expect("there is one for 30 s");
    println!("  {THREADS} threads add \"leader\": one succeeds, number {leader}");

    // `take` reads and deletes in one step, so no job is done twice, and none is lost.
    cache
        .set_many((0..JOBS).map(|job| (format!("job:{job}"), job)))
        .run()?;
    let done: Vec<Vec<u32>> = on_all_threads(|_| {
        let mut mine = Vec::new();
        for job in 0..JOBS {
            if let Some(job) = cache.take::<u32>(format!("job:{job}")).run()? {
                thread::sleep(Duration::from_micros(100)); // the job
                mine.push(job);
            }
        }
        Ok(mine)
    })?;
    let shares: Vec<usize> = done.iter().map(Vec::len).collect();
    let mut jobs: Vec<u32> = done.into_iter().flatten().collect();
    jobs.sort_unstable();
    assert!(jobs.into_iter().eq(0..JOBS));
    println!("  {JOBS} jobs, each taken once; by thread: {shares:?}");

    // Keys are returned by an iterator, page by page.
    let mut thumbnails = 0;
    for key in cache.keys().matching("thumbnail:*") {
        assert!(
            key?.as_str()
                .is_some_and(|key| key.starts_with("thumbnail:"))
        );
        thumbnails += 1;
    }
    assert_eq!(thumbnails, IMAGES);
    println!("  {thumbnails} keys match \"thumbnail:*\"");

    cache.clear().run()?;
    support::closing("blocking", &url);
    Ok(())
}

/// A thumbnail: from the cache, or drawn and cached for the other threads.
fn thumbnail(cache: &Cache, id: u32) -> Result<Vec<u8>> {
    let key = format!("thumbnail:{id}");
    // `Raw` is stored byte for byte; other values are stored as JSON.
    if let Some(Raw(image)) = cache.get(&key).run()? {
        return Ok(image);
    }
    thread::sleep(Duration::from_millis(1)); // the work
    let image = vec![id as u8; 500];
    cache.set(&key, &Raw(&image)).run()?;
    Ok(image)
}

/// Runs the work on all threads, and collects the results.
fn on_all_threads<T: Send>(work: impl Fn(u32) -> Result<T> + Sync) -> Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"))
            .collect()
    })
}
