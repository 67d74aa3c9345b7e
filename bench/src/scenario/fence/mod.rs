//! The cost of deleting the lease key in a `set`, so that no load that began before the `set` can fill after it: the
//! possible ways, compared with a plain `SET` with a TTL.
//!
//! Lease keys do not exist, as is nearly always the case. The client takes its share of the machine, so the server's
//! cost of a set is reported separately. `way` has the commands of each contender.

mod way;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Connection;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use self::way::{Ready, Way};
use super::{APART, fill};
use crate::Result;
use crate::harness::{Bench, Contender, Sample, Unit, on_threads};

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for tasks in [1, 8, 64, 512] {
        for count in [1, 8, 32] {
            let plural = if tasks == 1 { "" } else { "s" };
            let name = format!("fence/async/{count} at once/{tasks} task{plural}");
            let (ways, peer) = match count {
                1 => (&Way::ONE[..], Way::Plain),
                _ => (&Way::MANY[..], Way::PlainPipeline),
            };
            bench.compare(&name, Unit::RateAndCost, peer.name(), |bench| {
                asynchronous(bench, ways, tasks, count)
            })?;
        }
    }
    for threads in [1, 8] {
        let name = format!("fence/blocking/{}", super::threads(threads));
        bench.compare(&name, Unit::RateAndCost, Way::Plain.name(), |bench| {
            blocking(bench, threads)
        })?;
    }
    Ok(())
}

/// Tasks on one connection, with `TCP_NODELAY` as nearcache sets it. Each call makes `count` sets.
fn asynchronous(
    bench: &Bench,
    ways: &[Way],
    tasks: usize,
    count: usize,
) -> Result<Vec<Contender<'static>>> {
    let server = bench.server()?;
    fill(server)?;
    let mut setup = server.client()?.get_connection()?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let runtime = Arc::new(runtime);
    let client = server.client_with(TcpSettings::default().set_nodelay(true))?;
    let contender = |way: &Way| {
        let ready = Ready::new(*way, &mut setup)?;
        let connection = runtime.block_on(client.get_multiplexed_async_connection())?;
        let runtime: Arc<Runtime> = Arc::clone(&runtime);
        Ok(Contender::new(way.name(), move |span| {
            runtime.block_on(on_tasks(&connection, &ready, tasks, count, span))
        }))
    };
    ways.iter().map(contender).collect()
}

async fn on_tasks(
    connection: &MultiplexedConnection,
    ready: &Ready,
    tasks: usize,
    count: usize,
    span: Duration,
) -> Result<Sample> {
    let start = Instant::now();
    let until = start + span;
    let mut running: JoinSet<Result<u64>> = JoinSet::new();
    for task in 0..tasks {
        let (mut connection, ready) = (connection.clone(), ready.clone());
        running.spawn(async move {
            let (mut place, mut sets) = (task * APART, 0);
            while Instant::now() < until {
                let made = ready.run_async(&mut connection, place, count).await?;
                place += made;
                sets += made as u64;
            }
            Ok(sets)
        });
    }
    let mut calls = 0;
    while let Some(sets) = running.join_next().await {
        calls += sets??;
    }
    Ok(Sample {
        calls,
        elapsed: start.elapsed(),
    })
}

/// Threads with a connection each; each call makes one set.
fn blocking(bench: &Bench, threads: usize) -> Result<Vec<Contender<'static>>> {
    let server = bench.server()?;
    fill(server)?;
    let client = server.client_with(TcpSettings::default().set_nodelay(true))?;
    let mut setup = client.get_connection()?;
    let contender = |way: &Way| {
        let ready = Ready::new(*way, &mut setup)?;
        let mut connections = (0..threads)
            .map(|_| client.get_connection())
            .collect::<Result<Vec<Connection>, _>>()?;
        Ok(Contender::new(way.name(), move |span| {
            on_threads(&mut connections, span, 1, |connection, place, count| {
                ready.run(connection, place, count).map(drop)
            })
        }))
    };
    Way::ONE.iter().map(contender).collect()
}
