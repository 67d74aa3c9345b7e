//! The embedded store behind its port, beside redis-server: both are driven by `redis-benchmark`, with 50 connections,
//! without and with pipelines, and with each policy of the append-only file.
//!
//! The two take turns. Each has a process of its own: the store's is this program, started again. Both serve with one
//! thread. That is how redis-server works; and of the runtimes on which a store may be served, the one of a single
//! thread does the least work for each command.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nearcache_embedded::{Fsync, Server, Store};
use nearcache_testkit::Redis;

use crate::Result;
use crate::harness::{Bench, Contender, Sample, Unit};

const PEER: &str = "redis-server";
const OURS: &str = "nearcache on a port";

/// What is measured: a test of `redis-benchmark`, or a command, and what must be there for it.
#[derive(Clone, Copy)]
struct Test {
    name: &'static str,
    command: &'static [&'static str],
    fill: Fill,
}

/// Makes what a command reads.
type Fill = fn(&mut redis::Connection) -> redis::RedisResult<()>;

const fn known(name: &'static str) -> Test {
    Test {
        name,
        command: &[],
        fill: |_| Ok(()),
    }
}

const TESTS: [Test; 10] = [
    known("get"),
    SET,
    known("incr"),
    known("lpush"),
    known("rpop"),
    known("sadd"),
    known("hset"),
    known("zadd"),
    Test {
        name: "lrange of 100",
        command: &["LRANGE", "list of 100", "0", "-1"],
        fill: |connection| {
            let elements = (0..100).map(|n| format!("element {n}"));
            let elements: Vec<_> = elements.collect();
            redis::cmd("RPUSH")
                .arg("list of 100")
                .arg(elements)
                .exec(connection)
        },
    },
    Test {
        name: "hgetall of 20",
        command: &["HGETALL", "hash of 20"],
        fill: |connection| {
            let fields = (0..20).flat_map(|n| [format!("field {n}"), format!("value {n}")]);
            let fields: Vec<_> = fields.collect();
            redis::cmd("HSET")
                .arg("hash of 20")
                .arg(fields)
                .exec(connection)
        },
    },
];

const SET: Test = known("set");

/// For each length of a pipeline, the goal.
const PIPELINES: [(usize, f64); 2] = [(1, 1.0), (16, 0.8)];

const POLICIES: [&str; 4] = ["none", "no", "everysec", "always"];

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for (pipeline, goal) in PIPELINES {
        for test in TESTS {
            let name = format!("port/{}/pipeline of {pipeline}", test.name);
            bench.compare(&name, Unit::Rate, PEER, |_| {
                contenders("none", test, pipeline, goal)
            })?;
        }
    }
    for policy in POLICIES {
        let name = format!("port/set/appendfsync {policy}");
        bench.compare(&name, Unit::Rate, PEER, |_| contenders(policy, SET, 1, 1.0))?;
    }
    Ok(())
}

fn contenders(
    policy: &'static str,
    test: Test,
    pipeline: usize,
    goal: f64,
) -> Result<Vec<Contender<'static>>> {
    let options = ["--appendonly", "yes", "--appendfsync", policy, "--save", ""];
    let theirs = Redis::start_with(if policy == "none" { &[] } else { &options });
    let ours = Served::start(policy)?;
    for port in [theirs.port(), ours.port] {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
        (test.fill)(&mut client.get_connection()?)?;
    }
    Ok(vec![
        Contender::new(PEER, move |span| {
            measure(theirs.port(), test, pipeline, span)
        }),
        Contender::new(OURS, move |span| {
            // All of it moves in here, or else it would be killed now.
            let served = &ours;
            measure(served.port, test, pipeline, span)
        })
        .goal(goal),
    ])
}

/// Runs `redis-benchmark` for about this long.
fn measure(port: u16, test: Test, pipeline: usize, span: Duration) -> Result<Sample> {
    // A first guess of the rate.
    let calls = (60_000.0 * pipeline as f64 * span.as_secs_f64()).max(2_000.0) as u64;
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port.to_string(), "-n", &calls.to_string()]);
    command.args(["-P", &pipeline.to_string(), "--csv"]);
    match test.command {
        [] => command.args(["-t", test.name, "-r", "100000", "-d", "100"]),
        words => command.args(words),
    };
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The rate is the first number after the name.
    let line = text.lines().rfind(|line| line.starts_with('"'));
    let rate = line.and_then(|line| {
        let mut numbers = line.split(',').map(|word| word.trim_matches('"'));
        numbers.find_map(|word| word.parse::<f64>().ok())
    });
    let rate = rate.ok_or_else(|| format!("redis-benchmark says {text}"))?;
    Ok(Sample {
        calls,
        elapsed: Duration::from_secs_f64(calls as f64 / rate),
    })
}

/// A store on a port, in a process of its own, which is killed when this is dropped.
struct Served {
    child: Child,
    port: u16,
    folder: Option<std::path::PathBuf>,
}

/// Says to this program that it is to serve a store, and with which policy.
pub(crate) const SERVE: &str = "NEARCACHE_BENCH_SERVE";

impl Served {
    fn start(policy: &str) -> Result<Served> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(SERVE, policy)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut lines = BufReader::new(output).lines();
        let mut next = || {
            lines
                .next()
                .ok_or("the server ended")?
                .map_err(|_| "no text")
        };
        let port = next()?.parse()?;
        let folder = Some(next()?).filter(|folder| !folder.is_empty());
        Ok(Served {
            child,
            port,
            folder: folder.map(Into::into),
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// What the process of a [`Served`] does.
pub(crate) fn serve(policy: &str) -> Result<()> {
    let mut folder = None;
    let store = if policy == "none" {
        Store::new()
    } else {
        let name = format!("nearcache-bench-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let fsync: Fsync = policy.parse()?;
        let store = Store::builder().persist(&path).appendfsync(fsync).open()?;
        folder = Some(path);
        store
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(async {
        let server = Server::builder(&store).bind("127.0.0.1:0").start().await?;
        let port = server.local_addr().ok_or("no address")?.port();
        println!("{port}");
        println!(
            "{}",
            folder
                .map(|folder| folder.display().to_string())
                .unwrap_or_default()
        );
        server.serve().await;
        Ok(())
    })
}
