//! Compares the scripts with their twins.

use fastrand::Rng;
use redis::{Cmd, Value};

use super::{AROUND, STANDING, SUBMIT};
use crate::script::twins::{self, Family, Step};
use crate::script::{Input, Script};

static ALL: [&Script; 3] = [&SUBMIT, &STANDING, &AROUND];
const KEYS: [&[u8]; 2] = [b"{t}a", b"{t}b"];

fn step(rng: &mut Rng) -> Step {
    let key = KEYS[rng.usize(..KEYS.len())];
    let player = rng.u8(..9).to_string();
    let score = (f64::from(rng.i8(-4..4)) / 2.0).to_string();
    let mut input = Input::default();
    input.key(key);
    match rng.u8(..10) {
        0..5 => {
            let keep: [&[u8]; 3] = [b"best", b"sum", b"last"];
            input.arg(keep[rng.usize(..3)]).arg(score.as_bytes());
            input.arg(player.as_bytes());
            let ends: [&[u8]; 3] = [b"0", b"4102444800000", b"1"];
            input.arg(
                ends[match rng.u8(..20) {
                    0 => 2,
                    1..10 => 1,
                    _ => 0,
                }],
            );
            Step::Call("SUBMIT", &SUBMIT, input)
        }
        5..7 => {
            input.arg(player.as_bytes());
            Step::Call("STANDING", &STANDING, input)
        }
        7..9 => {
            input.arg(player.as_bytes());
            input.arg(rng.u8(..4).to_string().as_bytes());
            Step::Call("AROUND", &AROUND, input)
        }
        _ => {
            let mut other = Cmd::new();
            match rng.u8(..4) {
                0 => other.arg("SET").arg(key).arg("x"),
                1 => other.arg("ZREM").arg(key).arg(player),
                _ => other.arg("UNLINK").arg(key),
            };
            Step::Other(other)
        }
    }
}

#[test]
fn scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &ALL,
        sequences: 200,
        steps: 40,
        step,
        contents: || {
            let mut contents = redis::Pipeline::new();
            for key in KEYS {
                contents.cmd("TYPE").arg(key);
                contents
                    .cmd("ZRANGE")
                    .arg(key)
                    .arg(0)
                    .arg(-1)
                    .arg("WITHSCORES");
                contents.cmd("PTTL").arg(key);
            }
            contents
        },
        alike: twins::alike,
        answer: |_, reply| match reply {
            Value::Nil => "nil".to_owned(),
            Value::Array(_) => "an answer".to_owned(),
            other => format!("{other:?}"),
        },
        answers: &[
            "SUBMIT an answer",
            "SUBMIT WRONGTYPE",
            "STANDING nil",
            "STANDING an answer",
            "STANDING WRONGTYPE",
            "AROUND nil",
            "AROUND an answer",
            "AROUND WRONGTYPE",
        ],
    });
}
