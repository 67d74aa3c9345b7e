//! `remember` of a key that is invalidated more often than a load takes: 100 readers, a loader of 230 ms, and a `delete`
//! every 20 to 200 ms. How long a read takes, as a multiple of the load: without a cache it would be 1.
//!
//! A read that joins while a load runs waits for the rest of it and for one more, because the value of that load may be
//! older than the read. So it depends on when readers come: as soon as they are answered, or spread over the time of a
//! load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nearcache::Cache;
use nearcache_testkit::Redis;
use tokio::runtime::Runtime;

use crate::Result;
use crate::harness::Bench;

const LOAD: Duration = Duration::from_millis(230);

const READERS: u64 = 100;

/// A read that joins in the middle of a load takes 1.5 loads, one that joins at its beginning 2.
const MIDDLE: f64 = 1.6;
const MOST: f64 = 2.1;

/// How long the readers pause after each read.
const PAUSES: [(&str, u64); 3] = [("no pause", 1), ("up to a load", 230), ("up to two", 460)];

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    bench.bound("invalidated/median read", "loads", MIDDLE, |bench| {
        each(bench.rounds(), |took| took[took.len() / 2])
    })?;
    bench.bound("invalidated/slowest read", "loads", MOST, |bench| {
        each(bench.rounds(), |took| took[took.len() - 1])
    })
}

fn each(seconds: usize, figure: impl Fn(&[f64]) -> f64) -> Result<Vec<(String, f64)>> {
    let measured = PAUSES.iter().map(|(name, pause)| {
        let took = measure(seconds, *pause)?;
        Ok(((*name).to_owned(), figure(&took)))
    });
    measured.collect()
}

/// Numbers that look random, the same in each run.
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// How long the reads of so many seconds take, in loads, sorted. Hits do not count.
fn measure(seconds: usize, pause: u64) -> Result<Vec<f64>> {
    let redis = Redis::start();
    let runtime = Runtime::new()?;
    let mut took = runtime.block_on(async {
        let cache = Cache::connect(&redis.url()).await?;
        let over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (cache, over) = (cache.clone(), Arc::clone(&over));
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        let load = || async {
                            tokio::time::sleep(LOAD).await;
                            Ok::<_, std::io::Error>(7)
                        };
                        cache.remember("k", load).await?;
                        took.push(begun.elapsed().as_secs_f64() / LOAD.as_secs_f64());
                        // The reader does something else in between.
                        tokio::time::sleep(Duration::from_millis(
                            spread(reader + took.len() as u64) % pause,
                        ))
                        .await;
                    }
                    Ok::<_, nearcache::Error>(took)
                })
            })
            .collect();
        let until = Instant::now() + Duration::from_secs(seconds as u64);
        let mut number = 0;
        while Instant::now() < until {
            number += 1;
            tokio::time::sleep(Duration::from_millis(20 + spread(number) % 180)).await;
            cache.delete("k").await?;
        }
        over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for reader in readers {
            all.extend(reader.await.expect("a reader ends")?);
        }
        Ok::<_, nearcache::Error>(all)
    })?;
    took.retain(|loads| *loads > 0.1);
    took.sort_by(f64::total_cmp);
    for q in 0..=20 { eprint!("{:.2} ", took[(took.len() - 1) * q / 20]); }
    eprintln!(" of {}", took.len());
    match took.is_empty() {
        true => Err("nothing was read".into()),
        false => Ok(took),
    }
}
