//! Redis a network away: a proxy holds each reply back for some milliseconds. What a call takes is compared, because a
//! client that gathers calls, or waits for a reply before it sends the next ones, is slower here.
//!
//! redis-rs has `TCP_NODELAY`, as nearcache has: without it, the kernel holds small writes back for up to a round trip.

use std::time::Duration;

use nearcache::{Cache, Raw};
use nearcache_testkit::{Fault, Frames, Proxy};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo};

use super::tasks::{Caller, run as on_tasks, runtime};
use super::{VALUE, check, fill, key};
use crate::Result;
use crate::harness::Bench;
use crate::report::{Figure, Spread};

/// How long a call of nearcache may take, divided by what one of redis-rs takes.
const GOAL: f64 = 1.05;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for millis in [1, 5] {
        let name = format!("delayed/get/{millis} ms");
        bench.bound_beside(&name, "× redis-rs", GOAL, |bench| {
            let mut figures = Vec::new();
            for tasks in [8, 64] {
                figures.extend(compare(bench, millis, tasks)?);
            }
            Ok(figures)
        })?;
    }
    Ok(())
}

/// What a call of nearcache takes, divided by what one of redis-rs takes: the median and the 99th percentile.
fn compare(bench: &Bench, millis: u64, tasks: usize) -> Result<Vec<Figure>> {
    let server = bench.server()?;
    fill(server)?;
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    proxy.set(Fault::Delay {
        frames: Frames::replies(),
        by: Duration::from_millis(millis),
        jitter: Duration::ZERO,
    });
    let runtime = runtime()?;
    let cache = runtime.block_on(Cache::connect(&proxy.url()))?;
    let info = proxy.url().into_connection_info()?;
    let client = Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?;
    let raw = runtime.block_on(async { client.get_multiplexed_async_connection().await })?;
    let mut ratios = [Vec::new(), Vec::new()];
    let mut taken = [Vec::new(), Vec::new()];
    let span = bench.span();
    for _ in 0..bench.rounds() {
        let ours = runtime.block_on(on_tasks(&cache, tasks, span, true))?.1;
        let theirs = runtime.block_on(on_tasks(&raw, tasks, span, true))?.1;
        let (ours, theirs) = (percentiles(ours), percentiles(theirs));
        for (index, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
            ratios[index].push(ours / theirs);
            taken[index].push(ours);
        }
    }
    let named = ["p50", "p99"]
        .into_iter()
        .zip(ratios.into_iter().zip(taken));
    let figures = named.map(|(name, (ratios, taken))| {
        let (ratio, millis) = (Spread::of(ratios), Spread::of(taken));
        Figure {
            name: format!(
                "{tasks} tasks, {name} of {:.2} ms ({:.2}..{:.2})",
                millis.median, ratio.min, ratio.max
            ),
            value: ratio.median,
            ours: true,
        }
    });
    Ok(figures.collect())
}

/// The median and the 99th percentile, in milliseconds.
fn percentiles(mut took: Vec<Duration>) -> [f64; 2] {
    took.sort();
    [50, 99].map(|part| took[took.len() * part / 100].as_secs_f64() * 1e3)
}

impl Caller for Cache {
    async fn call(&mut self, place: usize) -> Result<()> {
        let value: Option<Raw> = self.get(key(place)).await?;
        check(value.map_or(0, |value| value.0.len()), VALUE.len())
    }
}

impl Caller for MultiplexedConnection {
    async fn call(&mut self, place: usize) -> Result<()> {
        let value: Option<Vec<u8>> = self.get(key(place)).await?;
        check(value.map_or(0, |value| value.len()), VALUE.len())
    }
}
