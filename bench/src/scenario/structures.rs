//! The data structures of the embedded store: what a command takes in process, in a structure of 100 members and in
//! one of a million; and how much memory a member takes, beside redis-server.
//!
//! The commands were built beforehand. They go round the members, so a large structure is met outside the caches of
//! the processor, as in a real program.

use nearcache_embedded::{Connection, Store};
use redis::{Cmd, Value};

use super::threads;
use crate::Result;
use crate::harness::{Bench, Contender, Unit, on_threads};

const SMALL: usize = 100;
const LARGE: usize = 1_000_000;
const FEW: &str = "100 members";
const MANY: &str = "1,000,000 members";

/// How many different commands each thread has.
const COMMANDS: usize = 4_096;
/// The clock is read after this many calls.
const AT_ONCE: usize = 256;

/// How much memory a member may take, in times of what it takes in redis-server.
const MOST_MEMORY: f64 = 1.3;

/// A command of a structure: how the structure is filled, and the command for a member.
struct Case {
    name: &'static str,
    fill: Fill,
    call: Fill,
}

fn cmd(name: &str, key: &str) -> Cmd {
    redis::cmd(name).arg(key).take()
}

fn member(number: usize) -> String {
    format!("member:{number:08}")
}

fn hset(key: &str, n: usize) -> Cmd {
    cmd("HSET", key).arg(member(n)).arg(n).take()
}

fn rpush(key: &str, n: usize) -> Cmd {
    cmd("RPUSH", key).arg(member(n)).take()
}

fn sadd(key: &str, n: usize) -> Cmd {
    cmd("SADD", key).arg(member(n)).take()
}

fn zadd(key: &str, n: usize) -> Cmd {
    let score = n.wrapping_mul(2_654_435_761) % 1_000_003;
    cmd("ZADD", key).arg(score).arg(member(n)).take()
}

fn setbit(key: &str, n: usize) -> Cmd {
    cmd("SETBIT", key).arg(n).arg(n % 2).take()
}

fn pfadd(key: &str, n: usize) -> Cmd {
    cmd("PFADD", key).arg(member(n)).take()
}

fn geoadd(key: &str, n: usize) -> Cmd {
    let (longitude, latitude) = place(n);
    cmd("GEOADD", key)
        .arg(longitude)
        .arg(latitude)
        .arg(member(n))
        .take()
}

/// A place in an area of about 1,000 by 1,000 km.
fn place(n: usize) -> (f64, f64) {
    let part = |factor: usize| (n.wrapping_mul(factor) % 100_003) as f64 / 10_000.0;
    (part(2_654_435_761), 40.0 + part(40_503))
}

fn xadd(key: &str, n: usize) -> Cmd {
    cmd("XADD", key)
        .arg(format!("{}-1", n + 1))
        .arg("field")
        .arg(n)
        .take()
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "HGET", fill: hset, call: |key, n| cmd("HGET", key).arg(member(n)).take() },
    Case { name: "HSET", fill: hset, call: hset },
    Case { name: "HINCRBY", fill: hset, call: |key, n| cmd("HINCRBY", key).arg(member(n)).arg(1).take() },
    Case { name: "LINDEX", fill: rpush, call: |key, n| cmd("LINDEX", key).arg(n).take() },
    Case { name: "LRANGE of 10", fill: rpush, call: |key, _| cmd("LRANGE", key).arg(0).arg(9).take() },
    Case { name: "LMOVE", fill: rpush, call: |key, _| cmd("LMOVE", key).arg(&[key, "RIGHT", "LEFT"]).take() },
    Case { name: "SISMEMBER", fill: sadd, call: |key, n| cmd("SISMEMBER", key).arg(member(n)).take() },
    Case { name: "SADD", fill: sadd, call: sadd },
    Case { name: "SRANDMEMBER", fill: sadd, call: |key, _| cmd("SRANDMEMBER", key) },
    Case { name: "ZSCORE", fill: zadd, call: |key, n| cmd("ZSCORE", key).arg(member(n)).take() },
    Case { name: "ZADD", fill: zadd, call: |key, n| cmd("ZINCRBY", key).arg(1).arg(member(n)).take() },
    Case { name: "ZRANK", fill: zadd, call: |key, n| cmd("ZRANK", key).arg(member(n)).take() },
    Case { name: "ZRANGE of 10", fill: zadd, call: |key, n| cmd("ZRANGE", key).arg(n / 2).arg(n / 2 + 9).take() },
    Case { name: "ZRANGE BYSCORE of 10", fill: zadd, call: |key, n| {
        cmd("ZRANGE", key).arg(n).arg("inf").arg(&["BYSCORE", "LIMIT", "0", "10"]).take()
    } },
    Case { name: "SETBIT", fill: setbit, call: setbit },
    Case { name: "PFADD", fill: pfadd, call: pfadd },
    Case { name: "GEOSEARCH of 10", fill: geoadd, call: |key, n| {
        let (longitude, latitude) = place(n);
        cmd("GEOSEARCH", key).arg("FROMLONLAT").arg(longitude).arg(latitude).arg("BYRADIUS").arg(10).arg("km")
            .arg(&["ASC", "COUNT", "10"]).take()
    } },
    Case { name: "XRANGE of 10", fill: xadd, call: |key, n| {
        cmd("XRANGE", key).arg(n / 2).arg("+").arg(&["COUNT", "10"]).take()
    } },
    Case { name: "XADD", fill: xadd, call: |key, n| {
        cmd("XADD", key).arg(&["MAXLEN", "~", "1000000", "*", "field"]).arg(n).take()
    } },
];

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for case in CASES {
        for count in [1, 2] {
            let name = format!("structures/{}/{}", case.name, threads(count));
            let unit = Unit::Nanos { threads: count };
            bench.compare(&name, unit, FEW, |_| {
                Ok(vec![
                    contender(FEW, case, SMALL, count)?,
                    contender(MANY, case, LARGE, count)?,
                ])
            })?;
        }
    }
    bench.bound("structures/memory", "× redis-server", MOST_MEMORY, memory)
}

fn contender(
    name: &'static str,
    case: &'static Case,
    members: usize,
    threads: usize,
) -> Result<Contender<'static>> {
    let store = Store::new();
    let mut connection = store.connect();
    let mut commands = Vec::new();
    for n in 0..members {
        run_one(&mut connection, &(case.fill)("structure", n))?;
    }
    // Spread over all members.
    for n in 0..COMMANDS {
        commands.push((case.call)("structure", n * 244_837 % members));
    }
    let mut connections: Vec<Connection> = (0..threads).map(|_| store.connect()).collect();
    Ok(Contender::new(name, move |span| {
        on_threads(
            &mut connections,
            span,
            AT_ONCE,
            |connection, place, calls| {
                for place in place..place + calls {
                    run_one(connection, &commands[place % COMMANDS])?;
                }
                Ok(())
            },
        )
    }))
}

fn run_one(connection: &mut Connection, cmd: &Cmd) -> Result<()> {
    match connection.execute(cmd) {
        Value::ServerError(error) => Err(format!("{error:?}").into()),
        _ => Ok(()),
    }
}

/// Makes the command that adds a member to a structure.
type Fill = fn(&str, usize) -> Cmd;

/// The structures whose memory is compared, and how they are filled.
const FILLS: [(&str, Fill); 6] = [
    ("hash", hset),
    ("list", rpush),
    ("set", sadd),
    ("sorted set", zadd),
    ("stream", xadd),
    ("set of integers", |key, n| {
        cmd("SADD", key).arg(n * 7).take()
    }),
];

fn memory(bench: &Bench) -> Result<Vec<(String, f64)>> {
    let parts = if bench.rounds() < 5 { 10 } else { 1 };
    let mut figures = Vec::new();
    for (name, fill) in FILLS {
        for members in [10, SMALL, LARGE] {
            let total = LARGE / parts;
            let ours = {
                let store = Store::new();
                let mut connection = store.connect();
                each(members.min(total), total, fill, |cmd| {
                    run_one(&mut connection, &cmd)
                })?;
                store.used_memory()
            };
            let theirs = {
                let server = nearcache_testkit::Redis::start();
                let mut connection = redis::Client::open(server.url())?.get_connection()?;
                let before = used(&server.inline("INFO memory"))?;
                let mut pipeline = redis::pipe();
                each(members.min(total), total, fill, |cmd| {
                    pipeline.add_command(cmd).ignore();
                    if pipeline.len() == 10_000 {
                        pipeline.exec(&mut connection)?;
                        pipeline.clear();
                    }
                    Ok(())
                })?;
                if !pipeline.is_empty() {
                    pipeline.exec(&mut connection)?;
                }
                used(&server.inline("INFO memory"))? - before
            };
            let ratio = ours as f64 / theirs as f64;
            figures.push((format!("{name} of {members}"), ratio));
        }
    }
    Ok(figures)
}

/// Fills structures of so many members, until there are `total` in all.
fn each(
    members: usize,
    total: usize,
    fill: Fill,
    mut run: impl FnMut(Cmd) -> Result<()>,
) -> Result<()> {
    for structure in 0..total / members {
        let key = format!("structure:{structure:06}");
        for n in 0..members {
            run(fill(&key, n))?;
        }
    }
    Ok(())
}

/// `used_memory` of a server.
fn used(info: &str) -> Result<usize> {
    let mut lines = info.lines();
    let used = lines.find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used.ok_or("INFO memory says nothing")?.trim().parse()?)
}
