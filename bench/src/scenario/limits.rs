//! Rate limits: checks a second in this process, beside `governor`; and on Redis, beside a counter written by hand.
//!
//! Each check is of one of 10,000 ids, with 1,000 permits a second each, and on Redis each is allowed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use governor::{DefaultKeyedRateLimiter, Quota as GovernorQuota, RateLimiter as Governor};
use nearcache::operation::{Async, Blocking};
use nearcache::patterns::{Quota, RateLimiter};
use nearcache::{Cache, CacheOf, blocking};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use super::{APART, key, threads};
use crate::Result;
use crate::harness::{Bench, Contender, Sample, Unit, on_threads};

const PERMITS: u32 = 1_000;
const GOVERNOR: &str = "governor";
const BY_HAND: &str = "INCR, EXPIRE by hand";

/// The clock is read after this many checks.
const AT_ONCE: usize = 64;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for count in [1, 2] {
        let name = format!("limits/in process/{}", threads(count));
        bench.compare(&name, Unit::Rate, GOVERNOR, |_| in_process(count))?;
    }
    for tasks in [1, 64] {
        let plural = if tasks == 1 { "" } else { "s" };
        let name = format!("limits/redis/{tasks} task{plural}");
        bench.compare(&name, Unit::RateAndCost, BY_HAND, |bench| {
            on_redis(bench, tasks)
        })?;
    }
    Ok(())
}

/// A limiter by each algorithm.
fn limiters<M>(cache: &CacheOf<M>) -> [(&'static str, RateLimiter<M>); 3] {
    let limiter = || cache.rate_limiter("api", Quota::per_second(PERMITS.into()));
    [
        ("nearcache, GCRA", limiter().gcra()),
        ("nearcache, sliding window", limiter().sliding_window()),
        ("nearcache, fixed window", limiter().fixed_window()),
    ]
}

fn in_process(count: usize) -> Result<Vec<Contender<'static>>> {
    let quota = PERMITS.try_into().map_err(|_| "a quota is not zero")?;
    let governor: DefaultKeyedRateLimiter<&'static str> =
        Governor::keyed(GovernorQuota::per_second(quota));
    let governor = Arc::new(governor);
    let mut contenders = vec![Contender::new(GOVERNOR, move |span| {
        let mut workers = vec![Arc::clone(&governor); count];
        on_threads(&mut workers, span, AT_ONCE, |governor, place, times| {
            for place in place..place + times {
                // A quick one may exceed the quota.
                let _ = std::hint::black_box(governor.check_key(&key(place)));
            }
            Ok(())
        })
    })];
    let cache = blocking::Cache::open("memory://")?;
    for (name, limiter) in limiters::<Blocking>(&cache) {
        contenders.push(Contender::new(name, move |span| {
            let mut workers = vec![limiter.clone(); count];
            on_threads(&mut workers, span, AT_ONCE, |limiter, place, times| {
                for place in place..place + times {
                    let _ = std::hint::black_box(limiter.check(key(place)).run()?);
                }
                Ok(())
            })
        }));
    }
    Ok(contenders)
}

fn on_redis(bench: &Bench, tasks: usize) -> Result<Vec<Contender<'static>>> {
    let server = bench.server()?;
    let runtime = runtime::Builder::new_multi_thread();
    let runtime = Arc::new({ runtime }.worker_threads(2).enable_all().build()?);
    let client = server.client_with(TcpSettings::default().set_nodelay(true))?;
    let raw = runtime.block_on(async move { client.get_multiplexed_async_connection().await })?;
    let cache = runtime.block_on(Cache::connect(&server.url()))?;
    let mut contenders = vec![contender(BY_HAND, raw, tasks, &runtime)];
    for (name, limiter) in limiters::<Async>(&cache) {
        contenders.push(contender(name, limiter, tasks, &runtime));
    }
    Ok(contenders)
}

/// What tasks share: each has a clone.
trait Limiter: Clone + Send + 'static {
    fn check(&mut self, id: &str) -> impl Future<Output = Result<bool>> + Send;
}

impl Limiter for RateLimiter {
    async fn check(&mut self, id: &str) -> Result<bool> {
        Ok(RateLimiter::check(self, id).await?.is_allowed())
    }
}

/// A counter for each second, which is forgotten after it.
impl Limiter for MultiplexedConnection {
    async fn check(&mut self, id: &str) -> Result<bool> {
        let second = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let counter = format!("{id}:{second}");
        let count: u32 = redis::cmd("INCR").arg(&counter).query_async(self).await?;
        if count == 1 {
            let mut expire = redis::cmd("EXPIRE");
            expire.arg(&counter).arg(1).exec_async(self).await?;
        }
        Ok(count <= PERMITS)
    }
}

fn contender<L: Limiter>(
    name: &'static str,
    limiter: L,
    tasks: usize,
    runtime: &Arc<Runtime>,
) -> Contender<'static> {
    let runtime = Arc::clone(runtime);
    Contender::new(name, move |span| {
        runtime.block_on(on_tasks(&limiter, tasks, span))
    })
}

async fn on_tasks<L: Limiter>(limiter: &L, tasks: usize, span: Duration) -> Result<Sample> {
    let start = Instant::now();
    let until = start + span;
    let mut running = JoinSet::new();
    for task in 0..tasks {
        running.spawn(ask(limiter.clone(), task * APART, until));
    }
    let mut calls = 0;
    while let Some(asked) = running.join_next().await {
        calls += asked??;
    }
    Ok(Sample {
        calls,
        elapsed: start.elapsed(),
    })
}

/// One task: checks until the time is over, and returns how often.
async fn ask<L: Limiter>(mut limiter: L, mut place: usize, until: Instant) -> Result<u64> {
    let mut calls = 0;
    while Instant::now() < until {
        if !limiter.check(key(place)).await? {
            return Err("a check was denied".into());
        }
        place += 1;
        calls += 1;
    }
    Ok(calls)
}
