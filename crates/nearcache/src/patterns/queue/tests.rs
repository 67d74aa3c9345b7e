//! Compares the scripts of queues with their Rust twins.

use fastrand::Rng;
use redis::{Cmd, Pipeline, Value};

use super::scripts::{ALL, DONE, FAIL, KEEP, LEAVE, PUSH, REVIVE, SWEEP, TAKE};
use crate::script::Input;
use crate::script::twins::{self, Family, Step};

const JOBS: &[u8] = b"{t}";
const LATER: &[u8] = b"{t}later";
const DEAD: &[u8] = b"{t}dead";
const CONSUMERS: [&[u8]; 2] = [b"one", b"two"];

fn one<'a>(rng: &mut Rng, of: &[&'a [u8]]) -> &'a [u8] {
    of[rng.usize(..of.len())]
}

/// The entries that others put there have ids that are known.
fn entry(rng: &mut Rng) -> Vec<u8> {
    format!("{}-0", rng.u8(1..12)).into_bytes()
}

/// None, or one that does not end within the test. No two are the same, so that the order of the jobs is not the clock's.
fn delay(rng: &mut Rng) -> Vec<u8> {
    match rng.bool() {
        true => b"0".to_vec(),
        false => (3_600_000 + 10_000 * rng.u64(..1_000_000))
            .to_string()
            .into_bytes(),
    }
}

fn script(rng: &mut Rng) -> Step {
    let mut input = Input::default();
    input.key(JOBS);
    match rng.u8(1..16) {
        1 => {
            input.key(LATER).arg(&[b'a' + rng.u8(..20)]);
            input.arg(one(rng, &[b"job", b"", b"\0\n:\xff:"]));
            input.arg(&delay(rng));
            input.arg(one(rng, &[b"0", b"0", b"5"]));
            Step::Call("PUSH", &PUSH, input)
        }
        2..8 => {
            input
                .key(LATER)
                .key(DEAD)
                .arg(b"workers")
                .arg(one(rng, &CONSUMERS));
            input.arg(one(rng, &[b"0", b"0", b"3600000"]));
            input.arg(one(rng, &[b"1", b"2", b"5"]));
            input.arg(one(rng, &[b"0", b"2", b"5"]));
            Step::Call("TAKE", &TAKE, input)
        }
        8 => {
            input.arg(b"workers").arg(one(rng, &CONSUMERS));
            input.arg(&entry(rng)).arg(&entry(rng));
            Step::Call("KEEP", &KEEP, input)
        }
        9 => {
            input.arg(b"workers").arg(one(rng, &CONSUMERS));
            input.arg(&entry(rng)).arg(&entry(rng));
            Step::Call("LEAVE", &LEAVE, input)
        }
        10 => {
            input.arg(b"workers").arg(&entry(rng));
            Step::Call("DONE", &DONE, input)
        }
        11..14 => {
            input
                .key(LATER)
                .key(DEAD)
                .arg(b"workers")
                .arg(one(rng, &CONSUMERS));
            input.arg(&entry(rng));
            if rng.bool() {
                input.arg(&delay(rng));
            } else {
                input.arg(b"");
            }
            input.arg(b"it failed");
            Step::Call("FAIL", &FAIL, input)
        }
        14 => {
            input.arg(b"workers").arg(one(rng, &[b"-1", b"3600000"]));
            Step::Call("SWEEP", &SWEEP, input)
        }
        _ => {
            let mut input = Input::default();
            input.key(JOBS).key(DEAD).arg(&entry(rng)).arg(&entry(rng));
            Step::Call("REVIVE", &REVIVE, input)
        }
    }
}

fn other(rng: &mut Rng) -> Cmd {
    let mut command = Cmd::new();
    let fields: [&[&str]; 7] = [
        &["id", "x", "attempt", "0", "job", "a job"],
        &["id", "y:z", "attempt", "3", "job", "another"],
        &["job", "of another program"],
        &["attempt", "many", "job", "1"],
        &["what", "is this"],
        &[
            "job", "first", "job", "second", "attempt", "1", "attempt", "9",
        ],
        &["attempt", "", "error", "an old one"],
    ];
    match rng.u8(..14) {
        0 | 12 | 13 => command
            .arg("XGROUP")
            .arg("CREATE")
            .arg(JOBS)
            .arg("workers")
            .arg("0")
            .arg("MKSTREAM"),
        1..5 => {
            let entry = entry(rng);
            command
                .arg("XADD")
                .arg(JOBS)
                .arg(entry)
                .arg(fields[rng.usize(..7)])
        }
        5 => {
            let entry = entry(rng);
            command
                .arg("XADD")
                .arg(DEAD)
                .arg(entry)
                .arg(fields[rng.usize(..7)])
        }
        // An entry that is pending and gone.
        6 => command.arg("XDEL").arg(JOBS).arg(entry(rng)),
        7 => command
            .arg("ZADD")
            .arg(LATER)
            .arg(rng.u8(..9))
            .arg("x:2:due"),
        8 => command
            .arg("ZADD")
            .arg(LATER)
            .arg(1)
            .arg(one(rng, &[b"stray", b":", b"a:b", b"::"])),
        9 => command
            .arg("XGROUP")
            .arg("CREATECONSUMER")
            .arg(JOBS)
            .arg("workers")
            .arg("three"),
        10 if rng.u8(..16) == 0 => command.arg("SET").arg(JOBS).arg("a text"),
        10 => command.arg("PING"),
        _ if rng.u8(..4) == 0 => command.arg("UNLINK").arg(JOBS),
        _ => command.arg("XDEL").arg(DEAD).arg(entry(rng)),
    };
    command
}

fn contents() -> Pipeline {
    let mut all = Pipeline::new();
    all.cmd("TYPE").arg(JOBS);
    all.cmd("XRANGE").arg(JOBS).arg("-").arg("+");
    all.cmd("XRANGE").arg(DEAD).arg("-").arg("+");
    all.cmd("ZRANGE")
        .arg(LATER)
        .arg(0)
        .arg(-1)
        .arg("WITHSCORES");
    all.cmd("XPENDING")
        .arg(JOBS)
        .arg("workers")
        .arg("-")
        .arg("+")
        .arg(100);
    all
}

/// Ids and scores that a clock makes differ between the servers.
fn alike(ours: &Value, theirs: &Value) -> bool {
    let time = |text: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number: Option<u64> = std::str::from_utf8(&text[..digits]).ok()?.parse().ok();
        number.filter(|_| digits == 13)
    };
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            match (&ours[..], &theirs[..]) {
                // A pending entry: its id, its consumer, for how long it is idle, how often it was delivered.
                ([a, x, Value::Int(i), Value::Int(n)], [b, y, Value::Int(j), Value::Int(m)]) => {
                    alike(a, b) && x == y && i.abs_diff(*j) < twins::TOLERANCE && n == m
                }
                _ => {
                    let mut both = ours.iter().zip(theirs);
                    ours.len() == theirs.len() && both.all(|(a, b)| alike(a, b))
                }
            }
        }
        (Value::BulkString(ours), Value::BulkString(theirs)) => match (time(ours), time(theirs)) {
            (Some(a), Some(b)) => a.abs_diff(b) < twins::TOLERANCE,
            _ => ours == theirs,
        },
        (ours, theirs) => twins::alike(ours, theirs),
    }
}

#[test]
fn scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &ALL,
        sequences: 1_200,
        steps: 40,
        step: |rng| {
            if rng.u8(..5) < 2 {
                Step::Other(other(rng))
            } else {
                script(rng)
            }
        },
        contents,
        alike,
        answer: |_, reply| match reply {
            Value::Array(parts) => match &parts[0] {
                Value::Array(jobs) => format!("{} jobs", jobs.len().min(2)),
                other => format!("{other:?}"),
            },
            Value::Int(count) => format!("{}", (*count).min(1)),
            other => format!("{other:?}"),
        },
        answers: &[
            "PUSH 0",
            "PUSH 1",
            "TAKE 0 jobs",
            "TAKE 1 jobs",
            "TAKE 2 jobs",
            "TAKE NOGROUP",
            "TAKE WRONGTYPE",
            "KEEP 0",
            "KEEP 1",
            "LEAVE 0",
            "LEAVE 1",
            "DONE 0",
            "DONE 1",
            "FAIL 0",
            "FAIL 1",
            "SWEEP 0",
            "SWEEP 1",
            "REVIVE 0",
            "REVIVE 1",
        ],
    });
}
