//! Compares the scripts of the index with their twins. The times in the index may differ within a tolerance; the
//! order of the keys may not.

use fastrand::Rng;
use redis::{Cmd, ConnectionLike, Pipeline, Value};

use super::{ALL, REMOVE, STORE};
use crate::script::Input;
use crate::script::twins::{self, Family, Step, TOLERANCE};

const INDEX: &[u8] = b"{t}#nearcache:index";
const NAMES: [&str; 7] = [
    "a",
    "b",
    "a b",
    "%",
    "a-long-name-that-is-more-than-the-others",
    "\n",
    "b:a",
];
/// About how long values live.
const TIMES: [u64; 6] = [
    60_000,
    600_000,
    3_600_000,
    86_400_000,
    2_592_000_000,
    31_536_000_000_000,
];

fn script(rng: &mut Rng) -> Step {
    let name = NAMES[rng.usize(..NAMES.len())];
    let mut input = Input::default();
    input
        .key(INDEX)
        .key(format!("{{t}}{name}").as_bytes())
        .key(format!("{{t}}{name}#lease").as_bytes());
    input.arg(name.as_bytes());
    if rng.u8(..4) == 0 {
        return Step::Call("REMOVE", &REMOVE, input);
    }
    // No two are the same within the tolerance, so that the order is certain.
    let time = TIMES[rng.usize(..TIMES.len())] + u64::from(rng.u16(..)) * 2 * TOLERANCE;
    input
        .arg(time.to_string().as_bytes())
        .arg(rng.u8(1..5).to_string().as_bytes())
        .arg(&[b'v', rng.u8(..)]);
    Step::Call("STORE", &STORE, input)
}

/// A command of another client, between the scripts.
fn command(rng: &mut Rng) -> Cmd {
    let key = format!("{{t}}{}", NAMES[rng.usize(..NAMES.len())]);
    let mut command = Cmd::new();
    match rng.u8(..8) {
        0 => command.arg("UNLINK").arg(INDEX),
        // The index of an older version.
        1 => command.arg("SET").arg(INDEX).arg("00000001\n"),
        // Keys that have expired, at the start.
        2 | 3 => command.arg("ZADD").arg(INDEX).arg(&["1", "a", "2", "gone"]),
        4 if rng.bool() => command.arg("RPUSH").arg(INDEX).arg("x"),
        5 => command.arg("RPUSH").arg(key).arg("x"),
        6 => command.arg("PERSIST").arg(INDEX),
        _ => command.arg("UNLINK").arg(key),
    };
    command
}

/// The keys of an index, with their expiries.
fn members(value: &Value) -> Option<Vec<(u64, String)>> {
    let Value::Array(parts) = value else {
        return None;
    };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    };
    let pair = |pair: &[Value]| Some((text(pair.get(1)?)?.parse().ok()?, text(&pair[0])?));
    parts.chunks(2).map(pair).collect()
}

fn alike(ours: &Value, theirs: &Value) -> bool {
    if let (Some(mine), Some(yours)) = (members(ours), members(theirs)) {
        let near = |((a, x), (b, y)): (&(u64, String), &(u64, String))| {
            a.abs_diff(*b) < TOLERANCE && x == y
        };
        return mine.len() == yours.len() && mine.iter().zip(&yours).all(near);
    }
    match (ours, theirs) {
        (Value::ServerError(ours), Value::ServerError(theirs)) => ours.code() == theirs.code(),
        (Value::Int(ours), Value::Int(theirs)) => ours.abs_diff(*theirs) < TOLERANCE,
        (ours, theirs) => ours == theirs,
    }
}

/// Reads everything in the store.
fn contents() -> Pipeline {
    let mut all = Pipeline::new();
    all.cmd("ZRANGE").arg(INDEX).arg(&["0", "-1", "WITHSCORES"]);
    all.cmd("PTTL").arg(INDEX);
    for name in NAMES {
        let key = format!("{{t}}{name}");
        all.cmd("GET").arg(&key);
        all.cmd("PTTL").arg(&key);
        all.cmd("EXISTS").arg(format!("{key}#lease"));
    }
    all
}

#[test]
fn scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &ALL,
        sequences: 300,
        steps: 40,
        step: |rng| {
            if rng.u8(..6) == 0 {
                Step::Other(command(rng))
            } else {
                script(rng)
            }
        },
        contents,
        alike,
        answer: |_, reply| match reply {
            Value::Array(gone) => format!("{} gone", gone.len().min(2)),
            Value::BulkString(_) => "value".to_owned(),
            other => format!("{other:?}"),
        },
        answers: &[
            "STORE 0 gone",
            "STORE 1 gone",
            "STORE 2 gone",
            "STORE WRONGTYPE",
            "REMOVE value",
            "REMOVE nil",
            "REMOVE WRONGTYPE",
        ],
    });
}

#[test]
fn an_index_never_has_more_than_the_maximum() {
    let mut connection = twins::store(&ALL).connect();
    let mut rng = Rng::with_seed(7);
    for _ in 0..2_000 {
        let name = "x".repeat(rng.usize(1..60)) + &rng.u8(..50).to_string();
        let mut input = Input::default();
        input
            .key(INDEX)
            .key(name.as_bytes())
            .key(b"lease")
            .arg(name.as_bytes());
        input
            .arg(rng.u32(1_000..1_000_000).to_string().as_bytes())
            .arg(b"100")
            .arg(b"v");
        connection.req_command(&STORE.by_text(&input)).unwrap();
        let mut range = Cmd::new();
        range
            .arg("ZRANGE")
            .arg(INDEX)
            .arg(&["0", "-1", "WITHSCORES"]);
        let members = members(&connection.req_command(&range).unwrap()).unwrap();
        assert!(members.len() <= 100, "{members:?}");
    }
}
