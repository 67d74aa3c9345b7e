//! The scripts on a server and their twins in the embedded store. The two clocks differ by a little, and so do the
//! ends that they compute.

use fastrand::Rng;
use redis::{Cmd, Value};

use super::super::scripts::{LOAD, OPEN, REMOVE, SAVE};
use crate::script::twins::{self, Family, Step, TOLERANCE};
use crate::script::{Input, Script};

static ALL: [&Script; 4] = [&LOAD, &OPEN, &SAVE, &REMOVE];

const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];
const REVISIONS: [&[u8]; 3] = [
    b"revision 1 of 16",
    b"revision 2 of 16",
    b"revision 3 of 16",
];
const OWNERS: [&[u8]; 3] = [
    b"\0\0",
    b"\0\x05aliceversion 1, of 16",
    b"\0\x01bversion 2, of 16",
];
const VALUES: [&[u8]; 3] = [b"", b"{}", b"\xC1NS\x01 is no record here"];
const IDLES: [&[u8]; 2] = [b"3600000", b"7200000"];
/// An hour, a day, 1,000 years.
const ABSOLUTES: [&[u8]; 3] = [b"3600000", b"86400000", b"31536000000000"];
/// In 2100, long past, and beyond what Lua counts exactly.
const ENDS: [&[u8]; 3] = [
    b"0004102444800000",
    b"0000000000000001",
    b"9000000000000000",
];
/// What is no record, and what nearly is.
const FOREIGN: [&[u8]; 8] = [
    b"",
    b"text",
    b"\xC1NC\x01\x00body",
    b"\xC1NS\x020004102444800000revision 1 of 16\0\0{}",
    b"\xC1NS\x01000410244480000xrevision 1 of 16\0\0{}",
    b"\xC1NS\x010004102444800000revision 1 of 16\0",
    b"\xC1NS\x010004102444800000revision 1 of 16\0\x05alice",
    b"\xC1NS\x010004102444800000revision 1 of 16\xFF\xFFalice",
];

fn one<'a>(rng: &mut Rng, of: &[&'a [u8]]) -> &'a [u8] {
    of[rng.usize(..of.len())]
}

fn script(rng: &mut Rng) -> Step {
    let mut input = Input::default();
    input.key(one(rng, &KEYS));
    match rng.u8(..8) {
        0..2 => {
            input.arg(one(rng, &IDLES));
            Step::Call("LOAD", &LOAD, input)
        }
        2..5 => {
            input.arg(one(rng, &REVISIONS)).arg(one(rng, &OWNERS));
            input.arg(one(rng, &VALUES)).arg(one(rng, &IDLES));
            let ends = if rng.bool() { b"" } else { one(rng, &ENDS) };
            input.arg(ends).arg(one(rng, &ABSOLUTES));
            Step::Call("OPEN", &OPEN, input)
        }
        5..7 => {
            let read = if rng.u8(..4) == 0 {
                b""
            } else {
                one(rng, &REVISIONS)
            };
            input.arg(read).arg(one(rng, &REVISIONS));
            input.arg(one(rng, &VALUES)).arg(one(rng, &IDLES));
            let ends = if rng.bool() { b"" } else { one(rng, &ENDS) };
            input.arg(ends);
            Step::Call("SAVE", &SAVE, input)
        }
        _ => {
            input.arg(one(rng, &REVISIONS));
            Step::Call("REMOVE", &REMOVE, input)
        }
    }
}

fn other(rng: &mut Rng) -> Cmd {
    let key = one(rng, &KEYS);
    let mut command = Cmd::new();
    match rng.u8(..6) {
        0 => command.arg("SET").arg(key).arg(one(rng, &FOREIGN)),
        // A record past its end.
        1 => command
            .arg("SET")
            .arg(key)
            .arg(b"\xC1NS\x010000000000000001revision 1 of 16\0\0{}"),
        // A value of another type.
        2 => command.arg("LPUSH").arg(key).arg("x"),
        _ => command.arg("UNLINK").arg(key),
    };
    command
}

/// As [`twins::alike`], and records whose ends differ by a little.
fn alike(ours: &Value, theirs: &Value) -> bool {
    let split = |bytes: &[u8]| -> Option<(u64, Vec<u8>)> {
        let digits = bytes.strip_prefix(b"\xC1NS\x01")?.get(..16)?;
        let ends = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some((ends, bytes[20..].to_vec()))
    };
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| alike(a, b))
        }
        (Value::BulkString(ours), Value::BulkString(theirs)) => {
            match (split(ours), split(theirs)) {
                (Some((ours, a)), Some((theirs, b))) => ours.abs_diff(theirs) < TOLERANCE && a == b,
                _ => ours == theirs,
            }
        }
        (ours, theirs) => twins::alike(ours, theirs),
    }
}

#[test]
fn scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &ALL,
        sequences: 300,
        steps: 30,
        step: |rng| {
            if rng.u8(..5) == 0 {
                Step::Other(other(rng))
            } else {
                script(rng)
            }
        },
        contents: || twins::contents(&KEYS),
        alike,
        answer: |_, reply| match reply {
            Value::Array(parts) => format!("{:?}", parts[0]),
            Value::BulkString(_) => "a record".to_owned(),
            other => format!("{other:?}"),
        },
        answers: &[
            "LOAD a record",
            "LOAD nil",
            "LOAD int(0)",
            "OPEN int(0)",
            "OPEN int(1)",
            "OPEN int(2)",
            "SAVE int(0)",
            "SAVE int(1)",
            "SAVE nil",
            "REMOVE int(0)",
            "REMOVE int(1)",
            "REMOVE int(2)",
            "REMOVE nil",
        ],
    });
}
