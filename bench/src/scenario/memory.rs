//! What a process of nearcache grows by, at most, while it does a lot of what could grow for ever.
//!
//! Each part runs in a process of its own, with a Redis of its own. It first does a little of the same, so that what
//! is made once (connections, buffers, tables, a full near tier) is there. After that, the growth of its resident
//! memory is measured until the end, all the time. The limits are of the process, not only of nearcache: they include
//! what the allocator keeps.

mod child;

use nearcache_testkit::Redis;

use super::process::Process;
use crate::Result;
use crate::harness::Bench;

pub(super) use child::run as child;

/// The limit of each part's growth, in MiB.
const MOST: f64 = 32.0;

/// The size of the near tier that is limited by bytes, in MiB.
const NEAR_BYTES: u64 = 64;

/// How far a process may grow while that fills, in percent: an entry is its bytes, its value, and 256 bytes for the
/// rest; and the rest is counted, the value is not.
const NEAR_MOST: f64 = 200.0;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let parts = [
        ("misses", "of different keys", 1_000_000, 30_000),
        (
            "tags",
            "of different keys, each with a tag of its own",
            1_000_000,
            30_000,
        ),
        // An hour with 500 invalidations a second.
        (
            "outage",
            "invalidations while Redis is away",
            1_800_000,
            1_000,
        ),
        (
            "hanging",
            "reads while Redis hangs, 2,000 at a time",
            1_000_000,
            30_000,
        ),
        (
            "callers",
            "reads by 20,000 callers at a time",
            1_000_000,
            100_000,
        ),
    ];
    for (what, of, calls, first) in parts {
        bench.bound(&format!("memory/{what}"), "MiB", MOST, |bench| {
            let calls = calls / bench.shortened();
            let grown = measure(what, first, calls)?;
            Ok(vec![(format!("{calls} {of}"), grown)])
        })?;
    }
    bench.bound("memory/near_bytes", "% of 64 MiB", NEAR_MOST, |bench| {
        let calls = 500_000 / bench.shortened().min(3);
        let grown = measure("near_bytes", 100, calls)?;
        let name = format!("{calls} values of 64 to 2,048 bytes");
        Ok(vec![(name, grown * 100.0 / NEAR_BYTES as f64)])
    })
}

/// By how many MiB a process grows.
fn measure(what: &str, first: usize, calls: usize) -> Result<f64> {
    // Nothing in it is needed again, so the server need not grow.
    let mut redis =
        Redis::start_with(&["--maxmemory", "512mb", "--maxmemory-policy", "allkeys-lru"]);
    let told = format!("{what},{first},{calls},{}", redis.url());
    let mut process = Process::start("memory", &told)?;
    match what {
        "outage" => redis.kill(),
        "hanging" => redis.freeze(),
        _ => {}
    }
    process.go()?;
    let grown = process.figure()?;
    match what {
        "outage" => redis.restart(),
        "hanging" => redis.thaw(),
        _ => return Ok(grown),
    }
    // What was kept must be delivered, and the process must go on.
    process.go()?;
    match process.figure()? {
        0.0 => Ok(grown),
        waiting => Err(format!("{waiting} invalidations still wait").into()),
    }
}
