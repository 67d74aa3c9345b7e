//! What goes wrong with caches: a stampede, a value that is older than its invalidation, a server that hangs.
//!
//! Counts how often it happens with each contender, on the same Redis and the same source. Each contender is set up
//! as its documentation says for the case. It runs in a process of its own (in four for the stampede), so that
//! nothing of one contender affects another. `child` is the program of such a process.

mod child;

use nearcache_testkit::Redis;

use super::process::Process;
use crate::Result;
use crate::harness::Bench;
use crate::report::Figure;

pub(super) use child::run as child;

const PROCESSES: usize = 4;

/// How many seconds the cache may add to ten calls in total while the server hangs: five timeouts of half a second
/// until the breaker opens, and two of calls that probe whether the server is back.
const HANGING: f64 = 3.6;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    bench.bound_beside("promises/stampede", "loads", 1.0, |_| each(stampede))?;
    bench.bound_beside("promises/invalidation", "of 20 stale", 0.0, |_| each(stale))?;
    bench.bound_beside("promises/server hangs", "s, ten calls", HANGING, |_| {
        each(|contender| Ok(hanging(contender)?.0))
    })?;
    bench.bound_beside("promises/server hangs", "of 10 failed", 0.0, |_| {
        each(|contender| Ok(hanging(contender)?.1))
    })
}

fn each(measure: impl Fn(&str) -> Result<f64>) -> Result<Vec<Figure>> {
    let measured = child::CONTENDERS.iter().map(|&name| {
        Ok(Figure {
            name: name.to_owned(),
            value: measure(name)?,
            ours: name == "nearcache",
        })
    });
    measured.collect()
}

/// How often the source is loaded when 500 tasks in four processes miss the same key at once.
fn stampede(contender: &str) -> Result<f64> {
    let redis = Redis::start();
    let mut processes = (0..PROCESSES)
        .map(|_| start("stampede", contender, &redis))
        .collect::<Result<Vec<_>>>()?;
    for process in &mut processes {
        process.go()?;
    }
    processes.iter_mut().map(Process::figure).sum()
}

/// How often an old value is served: one that was loaded before the invalidation and stored after it.
fn stale(contender: &str) -> Result<f64> {
    let redis = Redis::start();
    let mut process = start("stale", contender, &redis)?;
    process.go()?;
    process.figure()
}

/// How many seconds the cache adds to ten calls, one after another, while the server is stopped; and how many of them
/// fail.
fn hanging(contender: &str) -> Result<(f64, f64)> {
    let redis = Redis::start();
    let mut process = start("hanging", contender, &redis)?;
    redis.freeze();
    process.go()?;
    let figures = (process.figure()?, process.figure()?);
    redis.thaw();
    Ok(figures)
}

fn start(what: &str, contender: &str, redis: &Redis) -> Result<Process> {
    Process::start("promises", &format!("{what},{contender},{}", redis.url()))
}
