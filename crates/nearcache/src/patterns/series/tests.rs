//! The scripts and their twins do the same; and a series is what a plain list of what happened when says, whatever the
//! clock does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use nearcache_embedded::{Clock, Store};
use proptest::prelude::*;
use redis::Value;

use super::scripts::{COUNT, READ};
use crate::Cache;
use crate::script::twins::{self, Family, Step};
use crate::script::{Input, Script};

const KEYS: [&[u8]; 4] = [b"{t}a", b"{t}b", b"{t}c", b"{t}d"];

/// So long that no run of this test meets its end.
const LENGTH: i64 = 1 << 52;

fn step(rng: &mut Rng) -> Step {
    let mut input = Input::default();
    for _ in 0..rng.usize(1..4) {
        input.key(KEYS[rng.usize(..KEYS.len())]);
    }
    // The current bucket is number 0.
    input.arg(rng.i64(-3..2).to_string().as_bytes());
    input.arg(LENGTH.to_string().as_bytes());
    if rng.u8(..8) == 0 {
        let mut other = redis::Cmd::new();
        other.arg("UNLINK").arg(KEYS[rng.usize(..KEYS.len())]);
        return Step::Other(other);
    }
    if rng.bool() {
        input.arg((2 * LENGTH).to_string().as_bytes());
        let number = rng.u8(..5).to_string();
        match rng.u8(..3) {
            0 if rng.bool() => input.arg(b"INCRBY").arg(b"9007199254740993"),
            0 => input.arg(b"INCRBY").arg(number.as_bytes()),
            1 => input.arg(b"PFADD").arg(number.as_bytes()),
            _ => input
                .arg(b"ZINCRBY")
                .arg(number.as_bytes())
                .arg(&[b'a' + rng.u8(..4)]),
        };
        return Step::Call("COUNT", &COUNT, input);
    }
    input.arg(rng.u8(1..4).to_string().as_bytes());
    let commands: [&[u8]; 3] = [b"MGET", b"PFCOUNT", b"ZUNION"];
    input.arg(commands[rng.usize(..3)]);
    input.arg(rng.u8(..4).to_string().as_bytes());
    Step::Call("READ", &READ, input)
}

static ALL: [&Script; 2] = [&COUNT, &READ];

#[test]
fn the_scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &ALL,
        sequences: 200,
        steps: 40,
        step,
        contents: || {
            let mut contents = redis::Pipeline::new();
            for key in KEYS {
                contents.cmd("TYPE").arg(key);
                contents.cmd("PTTL").arg(key);
                contents
                    .cmd("ZRANGE")
                    .arg(key)
                    .arg(0)
                    .arg(-1)
                    .arg("WITHSCORES");
            }
            contents
        },
        alike: twins::alike,
        answer: |_, reply| match reply {
            Value::Array(parts) => match parts.get(1) {
                None => "elsewhere".to_owned(),
                Some(Value::Array(_)) => "values".to_owned(),
                Some(Value::Int(_)) => "a number".to_owned(),
                Some(_) => "a text".to_owned(),
            },
            other => format!("{other:?}"),
        },
        answers: &[
            "COUNT elsewhere",
            "COUNT a number",
            "COUNT a text",
            "COUNT WRONGTYPE",
            "READ elsewhere",
            "READ values",
            "READ a number",
            "READ WRONGTYPE",
        ],
    });
}

#[derive(Clone, Debug)]
enum Act {
    Add(u64),
    Unique(u8),
    Item(u8, u64),
    Wait(u64),
    Look(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0..100_u64).prop_map(Act::Add),
        2 => (0..8_u8).prop_map(Act::Unique),
        2 => (0..5_u8, 1..9_u64).prop_map(|(item, n)| Act::Item(item, n)),
        3 => (0..150_000_u64).prop_map(Act::Wait),
        3 => (1..=10 * 60_000_u64).prop_map(Act::Look),
    ];
    prop::collection::vec(act, 1..60)
}

/// What a plain list says.
#[derive(Default)]
struct Model {
    /// By bucket.
    adds: BTreeMap<i64, u64>,
    uniques: Vec<(i64, u8)>,
    items: Vec<(i64, u8, u64)>,
}

const MINUTE: i64 = 60_000;

async fn agree(acts: Vec<Act>) {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let cache = Cache::builder("memory://")
        .store(&store)
        .prefix("p")
        .build()
        .unwrap();
    let series = cache.series("s").per("1m").keep("10m");
    let mut model = Model::default();
    for act in acts {
        let bucket = clock.now_ms().div_euclid(MINUTE);
        match act {
            Act::Wait(millis) => clock.advance(Duration::from_millis(millis)),
            Act::Add(n) => {
                let sum = model.adds.entry(bucket).or_default();
                *sum += n;
                assert_eq!(series.add(n).await.unwrap(), *sum);
            }
            Act::Unique(who) => {
                let known = model.uniques.contains(&(bucket, who));
                assert_eq!(series.add_unique(who).await.unwrap(), !known);
                model.uniques.push((bucket, who));
            }
            Act::Item(item, n) => {
                model.items.push((bucket, item, n));
                let there = model
                    .items
                    .iter()
                    .filter(|(at, of, _)| (*at, *of) == (bucket, item));
                let sum: u64 = there.map(|(.., n)| n).sum();
                assert_eq!(series.count(item, n).await.unwrap(), sum);
            }
            Act::Look(span) => {
                let time = Duration::from_millis(span);
                let wanted = (span as i64 + MINUTE - 1) / MINUTE;
                let seen = bucket - wanted + 1..=bucket;
                let expected: Vec<u64> = seen
                    .clone()
                    .map(|at| model.adds.get(&at).copied().unwrap_or(0))
                    .collect();
                let last = series.last(time).await.unwrap();
                assert_eq!(last.iter().map(|(_, n)| *n).collect::<Vec<_>>(), expected);
                let begins = last[0].0.duration_since(std::time::UNIX_EPOCH).unwrap();
                assert_eq!(begins.as_millis() as i64, (bucket - wanted + 1) * MINUTE);
                let total: u64 = expected.iter().sum();
                assert_eq!(series.total(time).await.unwrap(), total);
                let different: BTreeSet<u8> = model
                    .uniques
                    .iter()
                    .filter(|(at, _)| seen.contains(at))
                    .map(|(_, who)| *who)
                    .collect();
                assert_eq!(series.unique(time).await.unwrap(), different.len() as u64);
                let mut items = BTreeMap::<u8, u64>::new();
                for (_, item, n) in model.items.iter().filter(|(at, ..)| seen.contains(at)) {
                    *items.entry(*item).or_default() += n;
                }
                let mut items: Vec<(u8, u64)> = items.into_iter().collect();
                items.sort_by_key(|(item, n)| std::cmp::Reverse((*n, *item)));
                items.truncate(3);
                assert_eq!(series.top::<u8>(3, time).await.unwrap(), items);
            }
        }
    }
    // All of it expires by itself.
    clock.advance(Duration::from_millis(11 * 60_000));
    let mut connection = store.connect();
    let left: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert!(keys.is_empty(), "{left} keys");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_series_is_what_a_plain_list_says(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(agree(acts));
    }
}
