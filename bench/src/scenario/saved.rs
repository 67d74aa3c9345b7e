//! What near tiers save a server: a trace through four processes with `remember`, without and with near tiers.
//!
//! The accesses go to the processes in turn, as behind a load balancer. Each process has eight callers. The server
//! counts its commands (`INFO commandstats`); those inside a script count as well.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nearcache::Cache;
use nearcache_testkit::Redis;
use tokio::task::JoinSet;

use super::process::{self, Process};
use super::traces::{ACCESSES, TRACES, trace};
use crate::Result;
use crate::harness::Bench;
use crate::report::Figure;

const PROCESSES: usize = 4;

/// The callers of a process.
const TASKS: usize = 8;

/// The numbers of entries of each near tier, in percent of the trace's different keys.
const PARTS: [usize; 3] = [1, 5, 20];

/// How many commands the server may get, in percent of those that it gets without near tiers. A read that misses the near
/// tier is `GET` and `PTTL`: two commands in one round trip.
const MOST: f64 = 100.0;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for name in TRACES {
        let scenario = format!("saved/{name}");
        bench.bound_beside(&scenario, "% of without", MOST, |bench| {
            let accesses = ACCESSES / 2 / bench.shortened();
            match trace(name)? {
                Some(keys) => compare(name, &keys[..accesses.min(keys.len())]),
                None => Ok(Vec::new()),
            }
        })?;
    }
    Ok(())
}

fn compare(name: &str, keys: &[u32]) -> Result<Vec<Figure>> {
    let different = keys.iter().collect::<HashSet<_>>().len();
    let without = replay(name, keys.len(), 0)?;
    let mut figures = Vec::new();
    for part in PARTS {
        let with = replay(name, keys.len(), different * part / 100)?;
        let percent = |with: f64, of: f64| 100.0 * with / of;
        let asked = percent(keys.len() as f64 - with.near, keys.len() as f64);
        let commands = percent(with.commands, without.commands);
        let cpu = percent(with.cpu, without.cpu);
        let lines = [
            ("reads that ask Redis", asked, true),
            ("commands", commands, true),
            ("the server's processor time", cpu, false),
        ];
        figures.extend(lines.map(|(what, value, ours)| Figure {
            name: format!("{part:>2} % of the keys near: {what}"),
            value,
            ours,
        }));
    }
    Ok(figures)
}

/// What a replay took.
struct Took {
    commands: f64,
    /// The processor time of the server, in seconds.
    cpu: f64,
    /// How many reads the near tiers have answered.
    near: f64,
}

/// Replays so many accesses of a trace in all processes together. With 0 entries there is no near tier.
fn replay(trace: &str, accesses: usize, entries: usize) -> Result<Took> {
    let redis = Redis::start();
    let mut processes = (0..PROCESSES)
        .map(|index| {
            let url = redis.url();
            let what = format!("{trace},{accesses},{index},{entries},{url}");
            Process::start("saved", &what)
        })
        .collect::<Result<Vec<_>>>()?;
    let (commands, cpu) = (commands(&redis)?, cpu(&redis)?);
    for process in &mut processes {
        process.go()?;
    }
    let near: Result<f64> = processes.iter_mut().map(Process::figure).sum();
    Ok(Took {
        near: near?,
        commands: self::commands(&redis)? - commands,
        cpu: self::cpu(&redis)? - cpu,
    })
}

/// How many commands the server has carried out, but for those that look after connections.
fn commands(redis: &Redis) -> Result<f64> {
    let mut sum = 0.0;
    for line in redis.inline("INFO commandstats").lines() {
        let Some((name, rest)) = line
            .strip_prefix("cmdstat_")
            .and_then(|line| line.split_once(":calls="))
        else {
            continue;
        };
        let for_connections = ["client", "hello", "info", "ping"];
        if !for_connections.iter().any(|&which| name.starts_with(which)) {
            let calls: f64 = rest.split(',').next().unwrap_or_default().parse()?;
            sum += calls;
        }
    }
    Ok(sum)
}

fn cpu(redis: &Redis) -> Result<f64> {
    let info = redis.inline("INFO cpu");
    let seconds = info.lines().filter_map(|line| {
        let line = line.strip_prefix("used_cpu_")?;
        let figure = line.strip_prefix("user:").or(line.strip_prefix("sys:"))?;
        figure.trim().parse::<f64>().ok()
    });
    Ok(seconds.sum())
}

/// The program of a process: `TRACE,ACCESSES,INDEX,ENTRIES,URL`.
pub(super) fn child(told: &str) -> Result<()> {
    let mut parts = told.splitn(5, ',');
    let mut part = || parts.next().ok_or("a part is missing");
    let (name, accesses, index) = (part()?, part()?.parse()?, part()?.parse::<usize>()?);
    let (entries, url) = (part()?.parse::<usize>()?, part()?);
    let keys = trace(name)?.ok_or("the trace is missing")?;
    let keys = keys.into_iter().take(accesses);
    let mine: Arc<[u32]> = keys.skip(index).step_by(PROCESSES).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let cache = match entries {
            0 => Cache::connect(url).await?,
            entries => Cache::builder(url).near(entries).build()?,
        };
        // With a near tier, the server tells of changes before the replay begins.
        cache.ping().await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        process::ready()?;
        let mut running = JoinSet::new();
        for task in 0..TASKS {
            running.spawn(ask(cache.clone(), Arc::clone(&mine), task));
        }
        while let Some(asked) = running.join_next().await {
            asked??;
        }
        println!("{}", cache.stats().near_hits);
        // Waits until it is killed.
        process::wait()
    })
}

async fn ask(cache: Cache, keys: Arc<[u32]>, task: usize) -> Result<()> {
    for &id in keys.iter().skip(task).step_by(TASKS) {
        let load = move || async move { Ok::<u32, Infallible>(id) };
        let found = cache.remember(id.to_be_bytes(), load).ttl("1h").await?;
        if found != id {
            return Err("another value".into());
        }
    }
    Ok(())
}
