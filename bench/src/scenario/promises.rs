//! What goes wrong with caches: a stampede, a value that is older than its invalidation, a server that hangs.
//!
//! Counts how often it happens with each contender, on the same Redis and the same source. Each contender is set up
//! as its documentation says for the case. It runs in a process of its own (in four for the stampede), so that
//! nothing of one contender affects another. `child` is the program of such a process.

mod child;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use nearcache_testkit::Redis;

use crate::Result;
use crate::harness::Bench;
use crate::report::Figure;

pub(crate) use child::run as child;

/// The variable that makes this program run as such a process: `WHAT,CONTENDER,URL`.
pub(crate) const CHILD: &str = "NEARCACHE_BENCH_CHILD";

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
        .map(|_| Process::start("stampede", contender, &redis.url()))
        .collect::<Result<Vec<_>>>()?;
    for process in &mut processes {
        process.go()?;
    }
    processes.iter_mut().map(Process::figure).sum()
}

/// How often an old value is served: one that was loaded before the invalidation and stored after it.
fn stale(contender: &str) -> Result<f64> {
    let redis = Redis::start();
    let mut process = Process::start("stale", contender, &redis.url())?;
    process.go()?;
    process.figure()
}

/// How many seconds the cache adds to ten calls, one after another, while the server is stopped; and how many of them
/// fail.
fn hanging(contender: &str) -> Result<(f64, f64)> {
    let redis = Redis::start();
    let mut process = Process::start("hanging", contender, &redis.url())?;
    redis.freeze();
    process.go()?;
    let figures = (process.figure()?, process.figure()?);
    redis.thaw();
    Ok(figures)
}

/// A child process. It is killed when this is dropped.
struct Process {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it, and waits until it is connected.
    fn start(what: &str, contender: &str, url: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(CHILD, format!("{what},{contender},{url}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let says = BufReader::new(child.stdout.take().ok_or("it has an output")?);
        let mut process = Process { child, says };
        process.line()?;
        Ok(process)
    }

    fn go(&mut self) -> Result<()> {
        let told = self.child.stdin.as_mut().ok_or("it has an input")?;
        Ok(told.write_all(b"go\n")?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.says.read_line(&mut line)? == 0 {
            return Err("a process ended early".into());
        }
        Ok(line)
    }

    fn figure(&mut self) -> Result<f64> {
        Ok(self.line()?.trim().parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
