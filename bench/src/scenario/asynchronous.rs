//! Async callers over a socket: N tasks, each of which waits for its reply before it asks again.
//!
//! One tokio runtime with two workers drives all contenders, one at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nearcache::{Cache, Raw};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncCommands, Client};
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use super::{APART, BATCH, VALUE, Verb, check, fill, key, keys};
use crate::Result;
use crate::harness::{Bench, Contender, Sample, Unit};

const PEER: &str = "redis-rs";

/// The lowest acceptable speed of nearcache, as a ratio to the peer's. A lone caller cannot be faster than its round
/// trip. Many share theirs; a set deletes the key's lease as well, and with 512 tasks the server's own work is the limit.
fn goal(verb: Verb, tasks: usize) -> f64 {
    match (verb, tasks) {
        (Verb::Get, 1) => 0.97,
        (Verb::Get, 64..) => 1.7,
        (Verb::Set, 1) => 0.95,
        (Verb::Set, 64) => 1.3,
        _ => 1.0,
    }
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for verb in [Verb::Get, Verb::Set, Verb::GetMany] {
        for tasks in [1, 8, 64, 512] {
            let plural = if tasks == 1 { "" } else { "s" };
            let name = format!("async/{}/{tasks} task{plural}", verb.name());
            bench.compare(&name, Unit::Rate, PEER, |bench| {
                contenders(bench, verb, tasks)
            })?;
        }
    }
    Ok(())
}

fn contenders(bench: &Bench, verb: Verb, tasks: usize) -> Result<Vec<Contender<'static>>> {
    let server = bench.server()?;
    fill(server)?;
    let runtime = Arc::new(
        runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?,
    );
    let cache = runtime.block_on(Cache::connect(&server.url()))?;
    let connect = |client: Client| {
        runtime.block_on(async move { client.get_multiplexed_async_connection().await })
    };
    let raw = connect(server.client()?)?;
    // redis-rs does not set this by default, but nearcache does. Without it, the kernel collects small writes.
    let raw_nodelay = connect(server.client_with(TcpSettings::default().set_nodelay(true))?)?;
    let mut floor = verb.floor(server)?;
    Ok(vec![
        contender("nearcache", cache, verb, tasks, &runtime).goal(goal(verb, tasks)),
        contender(PEER, raw, verb, tasks, &runtime),
        contender("redis-rs, TCP_NODELAY", raw_nodelay, verb, tasks, &runtime),
        Contender::new("loopback floor", move |span| floor.run(tasks, span)),
    ])
}

/// A client that tasks share: each has a clone.
pub(super) trait Peer: Clone + Send + 'static {
    /// The size of the value.
    fn get(&mut self, key: &str) -> impl Future<Output = Result<usize>> + Send;

    fn set(&mut self, key: &str, value: &[u8]) -> impl Future<Output = Result<()>> + Send;

    /// The total size of the values.
    fn get_many(&mut self, keys: &[String]) -> impl Future<Output = Result<usize>> + Send;
}

impl Peer for Cache {
    async fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<Raw> = Cache::get(self, key).await?;
        Ok(value.map_or(0, |value| value.0.len()))
    }

    async fn set(&mut self, key: &str, value: &[u8]) -> Result<()> {
        Ok(Cache::set(self, key, &Raw(value)).await?)
    }

    async fn get_many(&mut self, keys: &[String]) -> Result<usize> {
        let values: Vec<Option<Raw>> = Cache::get_many(self, keys).await?;
        Ok(values.iter().flatten().map(|value| value.0.len()).sum())
    }
}

impl Peer for MultiplexedConnection {
    async fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<Vec<u8>> = AsyncCommands::get(self, key).await?;
        Ok(value.map_or(0, |value| value.len()))
    }

    async fn set(&mut self, key: &str, value: &[u8]) -> Result<()> {
        Ok(AsyncCommands::set(self, key, value).await?)
    }

    async fn get_many(&mut self, keys: &[String]) -> Result<usize> {
        let values: Vec<Option<Vec<u8>>> = self.mget(keys).await?;
        Ok(values.iter().flatten().map(Vec::len).sum())
    }
}

pub(super) fn contender<P: Peer>(
    name: &'static str,
    peer: P,
    verb: Verb,
    tasks: usize,
    runtime: &Arc<Runtime>,
) -> Contender<'static> {
    let runtime = Arc::clone(runtime);
    Contender::new(name, move |span| {
        runtime.block_on(on_tasks(&peer, verb, tasks, span))
    })
}

async fn on_tasks<P: Peer>(peer: &P, verb: Verb, tasks: usize, span: Duration) -> Result<Sample> {
    let start = Instant::now();
    let until = start + span;
    let mut running = JoinSet::new();
    for task in 0..tasks {
        running.spawn(ask(peer.clone(), verb, task * APART, until));
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

/// One task: makes calls until the time is over, and returns how many.
async fn ask<P: Peer>(mut peer: P, verb: Verb, mut place: usize, until: Instant) -> Result<u64> {
    let mut calls = 0;
    while Instant::now() < until {
        match verb {
            Verb::Get => check(peer.get(key(place)).await?, VALUE.len())?,
            Verb::Set => peer.set(key(place), &VALUE).await?,
            Verb::GetMany => check(peer.get_many(keys(place)).await?, BATCH * VALUE.len())?,
        }
        place += 1;
        calls += 1;
    }
    Ok(calls)
}
