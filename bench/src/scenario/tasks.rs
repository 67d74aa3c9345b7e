//! Async callers: N tasks of one runtime, each of which waits for its reply before it asks again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use super::APART;
use crate::Result;
use crate::harness::{Contender, Sample};

/// A client that tasks share: each has a clone.
pub(super) trait Caller: Clone + Send + 'static {
    /// The call at a position, which checks its reply.
    fn call(&mut self, place: usize) -> impl Future<Output = Result<()>> + Send;
}

/// The runtime of a scenario's contenders, one at a time.
pub(super) fn runtime() -> Result<Arc<Runtime>> {
    let mut builder = runtime::Builder::new_multi_thread();
    Ok(Arc::new(builder.worker_threads(2).enable_all().build()?))
}

pub(super) fn contender<C: Caller>(
    name: &'static str,
    caller: C,
    tasks: usize,
    runtime: &Arc<Runtime>,
) -> Contender<'static> {
    let runtime = Arc::clone(runtime);
    Contender::new(name, move |span| {
        let (sample, _) = runtime.block_on(run(&caller, tasks, span, false))?;
        Ok(sample)
    })
}

/// Runs tasks until the time is over. Returns how many calls they have made and, if they are `timed`, how long each
/// call took.
pub(super) async fn run<C: Caller>(
    caller: &C,
    tasks: usize,
    span: Duration,
    timed: bool,
) -> Result<(Sample, Vec<Duration>)> {
    let start = Instant::now();
    let until = start + span;
    let mut running = JoinSet::new();
    for task in 0..tasks {
        running.spawn(ask(caller.clone(), task * APART, until, timed));
    }
    let (mut calls, mut took) = (0, Vec::new());
    while let Some(asked) = running.join_next().await {
        let (made, times) = asked??;
        calls += made;
        took.extend(times);
    }
    let elapsed = start.elapsed();
    Ok((Sample { calls, elapsed }, took))
}

async fn ask<C: Caller>(
    mut caller: C,
    mut place: usize,
    until: Instant,
    timed: bool,
) -> Result<(u64, Vec<Duration>)> {
    let (mut calls, mut took) = (0, Vec::new());
    let mut now = Instant::now();
    while now < until {
        caller.call(place).await?;
        let after = Instant::now();
        if timed {
            took.push(after - now);
        }
        now = after;
        place += 1;
        calls += 1;
    }
    Ok((calls, took))
}
