//! Compares these scripts with their Rust twins, on a few keys that serve as entry, lease and version in turn.

use fastrand::Rng;
use redis::{Cmd, Value};

use super::{ALL, KEEP_TAGS, MARK, MARK_TAG, PROLONG, PUT, RETIME};
use crate::script::Input;
use crate::script::twins::{self, Family, Step};

const KEYS: [&[u8]; 4] = [b"{t}a", b"{t}b", b"{t}c", b"{t}d"];
const VALUES: [&[u8]; 13] = [
    b"",
    b"7",
    b"plain",
    b"\xC1NC",
    b"\xC1NC\x01\x00body",
    b"\xC1NC\x01\x01\x00\x00\x00\x00\x00\x00\x00\x09body",
    b"\xC1NC\x01\x01\x00\x00\x00\x00\x00\x00\x00\x08another",
    b"\xC1NC\x01\x04\x01\x00\x01tversion 1, of 16{}",
    b"\xC1NC\x02\xFFof a later version",
    b"\xC1NC\x01\x20",
    b"\xC1NC\x01\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFfor ever",
    VERSION,
    b"version 2, of 16version 1, of 16",
];
const VERSION: &[u8] = b"version 1, of 16";
/// The times differ by more than the tolerance.
const TIMES: [&[u8]; 3] = [b"60000", b"3600000", b"86400000"];

fn one<'a>(rng: &mut Rng, of: &[&'a [u8]]) -> &'a [u8] {
    of[rng.usize(..of.len())]
}

/// The beginning of an entry, and whether that is all of it.
fn judged(rng: &mut Rng) -> (&'static [u8], &'static [u8]) {
    let entry = one(rng, &VALUES[3..]);
    if rng.bool() {
        (entry, b"1")
    } else {
        (&entry[..rng.usize(3..=entry.len().min(13))], b"0")
    }
}

fn command(input: &mut Input, rng: &mut Rng) {
    match rng.u8(..5) {
        0 => input.arg(b"TOUCH").arg(b""),
        1 => input.arg(b"PERSIST").arg(b""),
        // The past.
        2 => input.arg(b"PEXPIREAT").arg(b"1"),
        _ => input.arg(b"PEXPIRE").arg(one(rng, &TIMES)),
    };
}

fn script(rng: &mut Rng) -> Step {
    let mut input = Input::default();
    input.key(one(rng, &KEYS));
    match rng.u8(..11) {
        8..=9 => {
            let time = one(rng, &[b"1000", b"9", b"1767225600000"]);
            let millis: u64 = std::str::from_utf8(time).unwrap().parse().unwrap();
            input.key(one(rng, &KEYS));
            input.arg(&millis.to_be_bytes()).arg(time);
            Step::Call("MARK", &MARK, input)
        }
        10 => {
            input.arg(&[rng.u8(..); 16]);
            Step::Call("MARK_TAG", &MARK_TAG, input)
        }
        0..3 => {
            let ttl = one(rng, &[b"0", b"-1", TIMES[0], TIMES[1]]);
            input.key(one(rng, &KEYS)).arg(one(rng, &VALUES)).arg(ttl);
            let (head, whole) = if rng.bool() {
                judged(rng)
            } else {
                (&b""[..], &b"0"[..])
            };
            input.arg(one(rng, &[b"", b"NX", b"XX"]));
            input.arg(head).arg(whole);
            Step::Call("PUT", &PUT, input)
        }
        3..5 => {
            command(&mut input, rng);
            input.arg(one(rng, &[b"0", b"1"]));
            Step::Call("PROLONG", &PROLONG, input)
        }
        5 | 6 => {
            let (head, whole) = judged(rng);
            let mut moved = head.to_vec();
            if let Some(byte) = moved.get_mut(12) {
                *byte = rng.u8(..4);
            }
            input.arg(head).arg(whole).arg(&moved);
            command(&mut input, rng);
            Step::Call("RETIME", &RETIME, input)
        }
        _ => {
            input.key(one(rng, &KEYS));
            input.arg(one(rng, &[b"0", TIMES[0], TIMES[2]]));
            Step::Call("KEEP_TAGS", &KEEP_TAGS, input)
        }
    }
}

fn other(rng: &mut Rng) -> Cmd {
    let key = one(rng, &KEYS);
    let mut command = Cmd::new();
    match rng.u8(..8) {
        0..5 => command.arg("SET").arg(key).arg(one(rng, &VALUES)),
        5 => command.arg("PEXPIRE").arg(key).arg(one(rng, &TIMES)),
        6 => command.arg("UNLINK").arg(key),
        // A value of another type.
        _ => command.arg("LPUSH").arg(key).arg("x"),
    };
    command
}

#[test]
fn scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &ALL,
        sequences: 400,
        steps: 30,
        step: |rng| {
            if rng.u8(..5) < 2 {
                Step::Other(other(rng))
            } else {
                script(rng)
            }
        },
        contents: || twins::contents(&KEYS),
        alike: twins::alike,
        answer: |name, reply| match reply {
            Value::Array(_) if name == "PUT" || name == "PROLONG" => "an envelope".to_owned(),
            Value::Array(_) => "versions".to_owned(),
            Value::BulkString(_) => "an entry".to_owned(),
            other => format!("{other:?}"),
        },
        answers: &[
            "PUT int(0)",
            "PUT int(1)",
            "PUT int(2)",
            "PUT an envelope",
            "PROLONG int(0)",
            "PROLONG int(1)",
            "PROLONG nil",
            "PROLONG an entry",
            "PROLONG an envelope",
            "PROLONG WRONGTYPE",
            "RETIME int(0)",
            "RETIME int(1)",
            "RETIME WRONGTYPE",
            "KEEP_TAGS versions",
            "MARK int(0)",
            "MARK int(1)",
            "MARK WRONGTYPE",
            "MARK_TAG int(0)",
            "MARK_TAG int(1)",
        ],
    });
}
