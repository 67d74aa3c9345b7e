//! Async callers of a Cluster of three primaries, as in `asynchronous`: N tasks, each of which waits for its reply before
//! it asks again. The peer is redis-rs's own client of a Cluster.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nearcache::{Cache, Raw};
use nearcache_testkit::{Cluster, ClusterOptions};
use redis::AsyncCommands;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use tokio::runtime;

use super::asynchronous::{Peer, contender};
use super::{KEYS, VALUE, Verb, key};
use crate::Result;
use crate::harness::{Bench, Contender, Unit};

const PEER: &str = "redis-rs";

/// The lowest acceptable speed of nearcache, as a ratio to the peer's.
const GOAL: f64 = 1.0;

/// Three primaries without replicas, whose work would be measured as well. They end with the process.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    Cluster::start_with(ClusterOptions {
        replicas: 0,
        ..ClusterOptions::default()
    })
});

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for verb in [Verb::Get, Verb::Set, Verb::GetMany] {
        for tasks in [1, 64, 512] {
            let plural = if tasks == 1 { "" } else { "s" };
            let name = format!("cluster/{}/{tasks} task{plural}", verb.name());
            bench.compare(&name, Unit::Rate, PEER, |_| contenders(verb, tasks))?;
        }
    }
    Ok(())
}

fn contenders(verb: Verb, tasks: usize) -> Result<Vec<Contender<'static>>> {
    let url = CLUSTER.url();
    let runtime = Arc::new(
        runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?,
    );
    // Three servers and their client share the machine: a call is to be slow rather than given up.
    let cache = Cache::builder(&url)
        .timeout(Duration::from_secs(10))
        .build()?;
    runtime.block_on(async {
        let entries = (0..KEYS).map(|place| (key(place), Raw(VALUE)));
        let entries: Vec<_> = entries.collect();
        for some in entries.chunks(500) {
            cache.set_many(some.to_vec()).await?;
        }
        Ok::<_, nearcache::Error>(())
    })?;
    let nodes = (0..CLUSTER.len()).map(|node| CLUSTER.node(node).url());
    let client = ClusterClient::new(nodes)?;
    let raw = runtime.block_on(client.get_async_connection())?;
    Ok(vec![
        contender("nearcache", cache, verb, tasks, &runtime).goal(GOAL),
        contender(PEER, raw, verb, tasks, &runtime),
    ])
}

impl Peer for ClusterConnection {
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
