//! The program of a process whose memory is measured: `WHAT,FIRST,CALLS,URL`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nearcache::Cache;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::NEAR_BYTES;
use crate::Result;
use crate::scenario::{Failed, process, resident};

const HOUR: &str = "1h";

/// How long a call may take where Redis answers.
const PATIENCE: &str = "20s";

/// How many entries the near tier may have.
const ENTRIES: usize = 10_000;

pub(in super::super) fn run(told: &str) -> Result<()> {
    let mut parts = told.splitn(4, ',');
    let mut part = || parts.next().ok_or("a part is missing");
    let what = What::of(part()?)?;
    let (first, calls, url): (usize, usize, _) = (part()?.parse()?, part()?.parse()?, part()?);
    let builder = Cache::builder(url).prefix("memory");
    let builder = match what {
        What::NearBytes => builder.near_bytes(NEAR_BYTES << 20),
        _ => builder.near(ENTRIES),
    };
    let builder = match what {
        What::Outage | What::Hanging => builder,
        // Nothing may fail here, on a busy machine neither.
        _ => builder.timeout(PATIENCE),
    };
    let cache = builder.build()?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        // The server tells of changes from now on.
        let _ = cache.ping().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        work(what, &cache, 0..first).await
    })?;
    process::ready()?;
    let watch = Watch::start()?;
    runtime.block_on(work(what, &cache, first..first + calls))?;
    println!("{}", watch.end() as f64 / f64::from(1 << 20));
    process::wait()?;
    println!("{}", runtime.block_on(delivered(&cache)));
    // Waits until it is killed.
    process::wait()
}

/// How many invalidations still wait when the server has answered again for some time.
async fn delivered(cache: &Cache) -> u64 {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let _ = cache.ping().await;
        let stats = cache.stats();
        let waiting = stats.invalidations_waiting + stats.sweeps_waiting;
        if waiting == 0 || Instant::now() > until {
            return waiting;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(Clone, Copy)]
enum What {
    Misses,
    Tags,
    Outage,
    Hanging,
    Callers,
    NearBytes,
}

impl What {
    fn of(name: &str) -> Result<Self> {
        Ok(match name {
            "misses" => What::Misses,
            "tags" => What::Tags,
            "outage" => What::Outage,
            "hanging" => What::Hanging,
            "callers" => What::Callers,
            "near_bytes" => What::NearBytes,
            name => return Err(format!("there is no part {name}").into()),
        })
    }

    /// How many callers there are.
    fn tasks(self) -> usize {
        match self {
            What::Hanging => 2_000,
            What::Callers => 20_000,
            _ => 64,
        }
    }
}

/// Makes the calls of this range.
async fn work(what: What, cache: &Cache, calls: std::ops::Range<usize>) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(calls.start));
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..what.tasks() {
        let (cache, next) = (cache.clone(), Arc::clone(&next));
        running.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls.end {
                    return Ok(());
                }
                call(what, &cache, number).await?;
            }
        });
    }
    while let Some(made) = running.join_next().await {
        made??;
    }
    Ok(())
}

/// One call, whose reply is checked.
async fn call(what: What, cache: &Cache, number: usize) -> Result<()> {
    match what {
        What::Misses => {
            let found: Option<u64> = cache.get(format!("absent:{number}")).await?;
            let load = || async { Err::<u64, _>(Failed("there is none".to_owned())) };
            let loaded = cache.remember(format!("absent:{number}"), load).await;
            expect(found.is_none() && loaded.is_err())
        }
        What::Tags => {
            let load = move || async move { Ok::<_, Failed>(number as u64) };
            let loading = cache.remember(format!("tagged:{number}"), load).ttl(HOUR);
            let loaded = loading.tags([format!("tag:{number}")]).await?;
            if number.is_multiple_of(10) {
                cache.invalidate_tag(format!("tag:{number}")).await?;
            }
            expect(loaded == number as u64)
        }
        // By the default policy, it is kept for later, and the caller is told so by an error.
        What::Outage => {
            let _ = match number % 10 {
                0 => cache.invalidate_tag(format!("tag:{number}")).await,
                _ => cache.delete(format!("key:{number}")).await.map(drop),
            };
            Ok(())
        }
        // It ends in time, with an error.
        What::Hanging => {
            let _ = cache.get::<u64>(format!("absent:{number}")).await;
            Ok(())
        }
        What::Callers => {
            let found: Option<u64> = cache.get(format!("absent:{number}")).await?;
            expect(found.is_none())
        }
        What::NearBytes => {
            let size = 64 + number * 7_919 % 1_985;
            let load = move || async move { Ok::<_, Failed>("x".repeat(size)) };
            let loading = cache.remember(format!("sized:{number}"), load).ttl(HOUR);
            let loaded: String = loading.await?;
            expect(loaded.len() == size)
        }
    }
}

fn expect(right: bool) -> Result<()> {
    match right {
        true => Ok(()),
        false => Err("a wrong reply".into()),
    }
}

/// Looks at the memory of the process all the time.
struct Watch {
    before: usize,
    most: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    watcher: thread::JoinHandle<()>,
}

impl Watch {
    fn start() -> Result<Self> {
        let before = resident()?;
        let most = Arc::new(AtomicUsize::new(before));
        let ended = Arc::new(AtomicBool::new(false));
        let seen = (Arc::clone(&most), Arc::clone(&ended));
        let watcher = thread::spawn(move || {
            while !seen.1.load(Ordering::Relaxed) {
                if let Ok(now) = resident() {
                    seen.0.fetch_max(now, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(Watch {
            before,
            most,
            ended,
            watcher,
        })
    }

    /// By how many bytes it has grown at most.
    fn end(self) -> usize {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.watcher.join();
        self.most
            .load(Ordering::Relaxed)
            .saturating_sub(self.before)
    }
}
