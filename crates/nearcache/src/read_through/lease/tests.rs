//! Compares the lease scripts with their Rust twins. They use only a few keys, so that each key serves as entry, lease
//! and version in turn.

use fastrand::Rng;
use redis::{Cmd, Value};

use super::{ACQUIRE, ALL, FILL, RELEASE, RENEW, TAGS};
use crate::script::twins::{self, Family, Step};
use crate::script::{Input, sha1_hex};

const KEYS: [&[u8]; 6] = [b"{t}a", b"{t}b", b"{t}c", b"{t}d", b"{t}e", b"{t}f"];
const VALUES: [&[u8]; 5] = [
    b"",
    b"one",
    b"two",
    b"token, 16 bytes.",
    b"\x00\xff\xc1NC\x01",
];
const VERSIONS: [&[u8]; 4] = [
    b"version 1, of 16",
    b"version 2, of 16",
    b"token, 16 bytes.",
    b"\xff\xfe\xfd\xfc\x00\x01\x02\x03\r\n*$+-:;",
];
/// The times differ by more than the tolerance.
const TIMES: [&str; 4] = ["60000", "3600000", "86400000", "31536000000000"];

fn one<'a>(rng: &mut Rng, of: &[&'a [u8]]) -> &'a [u8] {
    of[rng.usize(..of.len())]
}

fn time(rng: &mut Rng) -> &'static [u8] {
    TIMES[rng.usize(..TIMES.len())].as_bytes()
}

/// How an entry was seen.
fn seen(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..8) {
        0..3 => Vec::new(),
        3..7 => sha1_hex(one(rng, &VALUES)).into_bytes(),
        _ => b"*".to_vec(),
    }
}

/// The token of a lease: often one that is already stored under a key.
fn token(rng: &mut Rng) -> &'static [u8] {
    one(rng, &VERSIONS)
}

fn script(rng: &mut Rng) -> Step {
    let mut input = Input::default();
    let counters = rng.usize(..4);
    let keys = |input: &mut Input, count: usize, rng: &mut Rng| {
        for _ in 0..count {
            input.key(one(rng, &KEYS));
        }
    };
    match rng.u8(..10) {
        0..3 => {
            keys(&mut input, 2 + counters, rng);
            input.arg(token(rng));
            // 0 is an error in both.
            let lease: &[u8] = if rng.u8(..20) == 0 { b"0" } else { time(rng) };
            input.arg(lease).arg(&seen(rng));
            input.arg(if rng.u8(..4) == 0 { b"1" } else { b"0" });
            for _ in 0..counters {
                input.arg(one(rng, &VERSIONS));
            }
            Step::Call("ACQUIRE", &ACQUIRE, input)
        }
        3..7 => {
            keys(&mut input, 2 + counters, rng);
            let stays = match rng.u8(..4) {
                0 => b"0",
                1 => &b"-1"[..],
                _ => time(rng),
            };
            let value = one(rng, &VALUES);
            input.arg(token(rng)).arg(&seen(rng)).arg(value).arg(stays);
            for _ in 0..counters {
                input.arg(one(rng, &VERSIONS));
            }
            Step::Call("FILL", &FILL, input)
        }
        7 => {
            keys(&mut input, 1 + counters, rng);
            input.arg(if rng.bool() { b"0" } else { time(rng) });
            for _ in 0..=counters {
                input.arg(one(rng, &VERSIONS));
            }
            Step::Call("TAGS", &TAGS, input)
        }
        8 => {
            keys(&mut input, 1, rng);
            input.arg(token(rng)).arg(time(rng));
            Step::Call("RENEW", &RENEW, input)
        }
        _ => {
            keys(&mut input, 1, rng);
            input.arg(token(rng));
            Step::Call("RELEASE", &RELEASE, input)
        }
    }
}

/// A command of another client between the scripts.
fn command(rng: &mut Rng) -> Cmd {
    let key = one(rng, &KEYS);
    let mut command = Cmd::new();
    match rng.u8(..10) {
        0..3 => command.arg("SET").arg(key).arg(one(rng, &VALUES)),
        3 => command.arg("SET").arg(key).arg(one(rng, &VERSIONS)),
        // Of a tag that was marked stale; and too many.
        4 => {
            let versions = one(rng, &VERSIONS).repeat(rng.usize(2..=10));
            command.arg("SET").arg(key).arg(versions)
        }
        5 => {
            let value = one(rng, &VERSIONS);
            command
                .arg("SET")
                .arg(key)
                .arg(value)
                .arg("PX")
                .arg(time(rng))
        }
        6 => command.arg("PEXPIRE").arg(key).arg(time(rng)),
        7 => command.arg("PERSIST").arg(key),
        8 => command.arg("UNLINK").arg(key),
        // A value of another type.
        _ => command.arg("LPUSH").arg(key).arg("x"),
    };
    command
}

#[test]
fn scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &ALL,
        sequences: 800,
        steps: 30,
        step: |rng| {
            if rng.u8(..5) < 2 {
                Step::Other(command(rng))
            } else {
                script(rng)
            }
        },
        contents: || twins::contents(&KEYS),
        alike: twins::alike,
        answer: |name, reply| match reply {
            Value::Array(parts) if name == "ACQUIRE" => format!("{:?}", parts[0]),
            Value::Array(_) => "versions".to_owned(),
            other => format!("{other:?}"),
        },
        answers: &[
            "ACQUIRE int(0)",
            "ACQUIRE int(1)",
            "ACQUIRE int(2)",
            "ACQUIRE ERR",
            "ACQUIRE WRONGTYPE",
            "FILL int(0)",
            "FILL int(1)",
            "FILL WRONGTYPE",
            "TAGS versions",
            "TAGS WRONGTYPE",
            "RENEW int(0)",
            "RENEW int(1)",
            "RELEASE int(0)",
            "RELEASE int(1)",
        ],
    });
}
