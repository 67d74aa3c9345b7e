//! Batches of 100 keys, of which all, half or none are there: `get_many`, and redis-rs's `MGET`.

use std::sync::Arc;

use nearcache::{Cache, Raw};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::tasks::{Caller, contender, runtime};
use super::{BATCH, KEYS, VALUE, check, fill, key, tasks};
use crate::Result;
use crate::harness::{Bench, Contender, Unit};

const PEER: &str = "redis-rs";

/// The lowest acceptable speed of nearcache, as a ratio to the peer's.
const GOAL: f64 = 1.0;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for percent in [0, 50, 100] {
        for count in [1, 64] {
            let name = format!("batches/{percent} % there/{}", tasks(count));
            bench.compare(&name, Unit::Rate, PEER, |bench| {
                contenders(bench, percent, count)
            })?;
        }
    }
    Ok(())
}

fn contenders(bench: &Bench, percent: usize, tasks: usize) -> Result<Vec<Contender<'static>>> {
    let server = bench.server()?;
    fill(server)?;
    let runtime = runtime()?;
    let batches = Arc::new(batches(percent));
    let cache = runtime.block_on(Cache::connect(&server.url()))?;
    let client = server.client()?;
    let raw = runtime.block_on(async { client.get_multiplexed_async_connection().await })?;
    let bytes = BATCH * percent / 100 * VALUE.len();
    let batch = Batch { batches, bytes };
    Ok(vec![
        contender("nearcache", (cache, batch.clone()), tasks, &runtime).goal(GOAL),
        contender(PEER, (raw, batch), tasks, &runtime),
    ])
}

/// All keys in batches, in which so many of a hundred are there.
fn batches(percent: usize) -> Vec<Vec<String>> {
    let one = |batch: usize| {
        let one = |index: usize| {
            let place = batch * BATCH + index;
            // Spread over the batch.
            match index * percent % 100 < percent {
                true => key(place).to_owned(),
                false => format!("none_:{place:08}"),
            }
        };
        (0..BATCH).map(one).collect()
    };
    (0..KEYS / BATCH).map(one).collect()
}

#[derive(Clone)]
struct Batch {
    batches: Arc<Vec<Vec<String>>>,
    /// The size of the values of a batch.
    bytes: usize,
}

impl Batch {
    fn keys(&self, place: usize) -> &[String] {
        &self.batches[place % self.batches.len()]
    }
}

impl Caller for (Cache, Batch) {
    async fn call(&mut self, place: usize) -> Result<()> {
        let values: Vec<Option<Raw>> = self.0.get_many(self.1.keys(place)).await?;
        let bytes = values.iter().flatten().map(|value| value.0.len()).sum();
        check(bytes, self.1.bytes)
    }
}

impl Caller for (MultiplexedConnection, Batch) {
    async fn call(&mut self, place: usize) -> Result<()> {
        let values: Vec<Option<Vec<u8>>> = self.0.mget(self.1.keys(place)).await?;
        check(values.iter().flatten().map(Vec::len).sum(), self.1.bytes)
    }
}
