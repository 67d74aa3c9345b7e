//! The cost of a call when Redis fails: how far the slowest one exceeds its timeout, and what a call costs while the
//! breaker is open.

use std::time::{Duration, Instant};

use nearcache::{Cache, ErrorKind, Raw, blocking};
use nearcache_testkit::{Direction, Fault, Proxy, Redis};
use tokio::runtime::Runtime;

use crate::Result;
use crate::harness::Bench;

/// The timeout of every cache here.
const TIMEOUT: Duration = Duration::from_millis(200);

/// How far a call may exceed its timeout, in milliseconds.
const BEYOND: f64 = 20.0;

/// How long a call may take while the breaker is open, in microseconds.
const TURNED_AWAY: f64 = 20.0;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    bench.bound("failure/slowest call", "ms beyond", BEYOND, |bench| {
        let mut figures = Vec::new();
        for (name, fault) in faults() {
            let (asynchronous, blocking) = slowest(&fault, 2 * bench.rounds())?;
            figures.push((format!("{name}, async"), asynchronous));
            figures.push((format!("{name}, blocking"), blocking));
        }
        Ok(figures)
    })?;
    bench.bound("failure/breaker open", "µs a call", TURNED_AWAY, |_| {
        breaker_open()
    })
}

enum What {
    Killed,
    Frozen,
    OnTheWay(Fault),
}

fn faults() -> [(&'static str, What); 4] {
    let dribble = Fault::Limit {
        direction: Direction::ToClient,
        bytes_per_second: 20_000,
    };
    [
        ("nobody listens", What::Killed),
        ("the server is stopped", What::Frozen),
        ("half-open", What::OnTheWay(Fault::Silence)),
        ("1 MB that dribbles", What::OnTheWay(dribble)),
    ]
}

/// How far the slowest of this many calls exceeded its timeout, in milliseconds: async, blocking.
fn slowest(what: &What, calls: usize) -> Result<(f64, f64)> {
    let mut redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let url = format!(
        "{}?breaker=off&timeout={}ms",
        proxy.url(),
        TIMEOUT.as_millis()
    );
    let runtime = Runtime::new()?;
    let cache = Cache::open(&url)?;
    let sync = blocking::Cache::open(&url)?;
    runtime.block_on(async { cache.set("k", &Raw(vec![7; 1_000_000])).await })?;
    sync.ping().run()?;
    match what {
        What::Killed => {
            redis.kill();
            proxy.set(Fault::Refuse);
        }
        What::Frozen => redis.freeze(),
        What::OnTheWay(fault) => proxy.set(fault.clone()),
    }
    let mut asynchronous = Duration::ZERO;
    let mut blocking = Duration::ZERO;
    for _ in 0..calls {
        asynchronous = asynchronous.max(failing(|| {
            runtime.block_on(async { cache.get::<Raw>("k").await })
        })?);
        blocking = blocking.max(failing(|| sync.get::<Raw>("k").run())?);
    }
    proxy.heal();
    let beyond = |took: Duration| (took.as_secs_f64() - TIMEOUT.as_secs_f64()).max(0.0) * 1_000.0;
    Ok((beyond(asynchronous), beyond(blocking)))
}

fn failing<T>(call: impl FnOnce() -> nearcache::Result<T>) -> Result<Duration> {
    let since = Instant::now();
    if call().is_ok() {
        return Err("a call succeeded that should have failed".into());
    }
    Ok(since.elapsed())
}

/// The median duration of a call while the breaker is open, in microseconds.
fn breaker_open() -> Result<Vec<(String, f64)>> {
    let mut redis = Redis::start();
    let url = redis.url();
    let runtime = Runtime::new()?;
    let cache = Cache::open(&url)?;
    let sync = blocking::Cache::open(&url)?;
    redis.kill();
    let asynchronous = runtime.block_on(async {
        let mut took = Vec::new();
        while took.len() < 20_000 {
            let since = Instant::now();
            let outcome = cache.get::<Raw>("k").await;
            keep_turned_away(&mut took, since, &outcome);
        }
        took
    });
    let mut blocking = Vec::new();
    while blocking.len() < 20_000 {
        let since = Instant::now();
        let outcome = sync.get::<Raw>("k").run();
        keep_turned_away(&mut blocking, since, &outcome);
    }
    Ok(vec![
        ("async".into(), median(asynchronous)),
        ("blocking".into(), median(blocking)),
    ])
}

/// Keeps only the calls that the breaker turned away: not those that opened it, nor those that probe.
fn keep_turned_away(took: &mut Vec<f64>, since: Instant, outcome: &nearcache::Result<Option<Raw>>) {
    let elapsed = since.elapsed();
    if outcome
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::Unavailable)
    {
        took.push(elapsed.as_secs_f64() * 1e6);
    }
}

fn median(mut took: Vec<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}
