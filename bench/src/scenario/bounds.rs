//! The embedded store when it is full: its hit ratio compared with that of a real server with the same memory limit,
//! on traces of real accesses; and how far the process grows beyond the limit.
//!
//! A trace is replayed as a cache is used: GET, and SET after a miss. Values have 64 to 2,048 bytes, the same for
//! each key every time. The limit is a fraction of the size of all keys and values of the trace. A server also counts
//! about a megabyte that it takes without any keys, so what it takes once it is warm is added to its limit.

use std::collections::HashSet;

use nearcache_embedded::{Policy, Store};
use nearcache_testkit::Redis;
use redis::{ConnectionLike, Value};

use super::resident;
use super::traces::{ACCESSES, TRACES, trace};
use crate::Result;
use crate::harness::Bench;

/// The limits, in percent of the trace's bytes.
const PARTS: [usize; 3] = [1, 5, 20];

const POLICIES: [Policy; 2] = [Policy::AllKeysLru, Policy::AllKeysLfu];

/// In percentage points. Two runs of the same server differ by more, because it evicts by samples.
const POINTS: f64 = 0.1;

const MAX_MEMORY: usize = 256 << 20;

/// How many values are written to see how far the process grows; a tenth of them in a quick run.
const WRITES: usize = 10_000_000;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    // This comes first, because memory that was freed before would hide the growth.
    bench.bound("bounds/growth", "% of 256 MiB", 105.0, |bench| {
        let writes = WRITES / bench.shortened();
        let grown = growth(writes)? as f64 / MAX_MEMORY as f64;
        Ok(vec![(format!("{writes} writes"), grown * 100.0)])
    })?;
    for name in TRACES {
        let scenario = format!("bounds/hits/{name}");
        bench.bound(&scenario, "points less", POINTS, |bench| {
            let Some(mut keys) = trace(name)? else {
                return Ok(Vec::new());
            };
            keys.truncate(ACCESSES / bench.shortened());
            compare(&keys)
        })?;
    }
    Ok(())
}

fn key(id: u32) -> String {
    format!("key:{id}")
}

fn value(id: u32) -> &'static [u8] {
    const VALUE: [u8; 2_048] = [b'v'; 2_048];
    let scattered = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    &VALUE[..64 + scattered as usize % (VALUE.len() - 63)]
}

/// By how many percentage points the store's hit ratio is below a server's, for each limit and policy.
fn compare(keys: &[u32]) -> Result<Vec<(String, f64)>> {
    let distinct: HashSet<u32> = keys.iter().copied().collect();
    let bytes: usize = distinct
        .iter()
        .map(|id| key(*id).len() + value(*id).len())
        .sum();
    let mut figures = Vec::new();
    for part in PARTS {
        for policy in POLICIES {
            let max_memory = bytes * part / 100;
            let store = Store::builder()
                .max_memory(max_memory)
                .policy(policy)
                .build();
            let ours = replay(keys, &mut store.connect())?;
            let (_server, mut connection) =
                server(max_memory, policy, &keys[..keys.len().min(1_000)])?;
            let theirs = replay(keys, &mut connection)?;
            let name = format!("{part:>2} %, {policy}: {ours:.2}, Redis {theirs:.2}");
            figures.push((name, theirs - ours));
        }
    }
    Ok(figures)
}

/// A server with this limit, in addition to what it takes without any keys.
fn server(
    max_memory: usize,
    policy: Policy,
    warm_up: &[u32],
) -> Result<(Redis, redis::Connection)> {
    let server = Redis::start();
    let mut connection = redis::Client::open(server.unix_url())?.get_connection()?;
    // The memory that it needs for itself (buffers, for example) grows with the first commands, and stays.
    replay(warm_up, &mut connection)?;
    redis::cmd("FLUSHALL").arg("SYNC").exec(&mut connection)?;
    let info: String = redis::cmd("INFO").arg("memory").query(&mut connection)?;
    let base = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let base: usize = base.ok_or("INFO does not say used_memory")?.parse()?;
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg(base + max_memory)
        .arg("maxmemory-policy")
        .arg(policy.name())
        .exec(&mut connection)?;
    Ok((server, connection))
}

/// The hit ratio, in percent.
fn replay(keys: &[u32], connection: &mut impl ConnectionLike) -> Result<f64> {
    let mut hits = 0;
    for id in keys {
        let key = key(*id);
        match connection.req_command(redis::cmd("GET").arg(&key))? {
            Value::BulkString(found) if found.len() == value(*id).len() => hits += 1,
            Value::Nil => {
                redis::cmd("SET")
                    .arg(&key)
                    .arg(value(*id))
                    .exec(connection)?;
            }
            other => return Err(format!("GET was answered with {other:?}").into()),
        }
    }
    Ok(f64::from(hits) * 100.0 / keys.len() as f64)
}

/// By how many bytes the process grows at most while values of 8 bytes to 20 KiB are written and evicted.
fn growth(writes: usize) -> Result<usize> {
    let store = Store::builder()
        .max_memory(MAX_MEMORY)
        .policy(Policy::AllKeysLfu)
        .build();
    let connection = store.connect();
    let value = vec![b'v'; 20 << 10];
    let (before, mut most, mut seed) = (resident()?, 0, 1u64);
    for write in 0..writes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let step = 8usize << ((seed >> 40) % 12);
        let len = (step + (seed >> 20) as usize % step).min(value.len());
        let set = redis::cmd("SET")
            .arg(seed % 5_000_000)
            .arg(&value[..len])
            .take();
        if connection.call(&set) != Value::Okay {
            return Err("SET failed".into());
        }
        if write % 1_000 == 0 {
            most = most.max(resident()?.saturating_sub(before));
        }
    }
    Ok(most)
}
