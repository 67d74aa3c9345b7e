//! Whatever happens to the keys, the meter shows what they really take.

use std::time::Duration;

use proptest::prelude::*;
use redis::{Cmd, Value};

use crate::__fuzz::check;
use crate::{Clock, Policy, Store};

const KEYS: u32 = 60;

/// A command, several commands in one step, or the passing of time.
#[derive(Clone, Debug)]
enum Step {
    Commands(Vec<Vec<Vec<u8>>>),
    Seconds(u64),
}

fn command() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let key = || (0..KEYS).prop_map(|n| format!("{n:0>width$}", width = n as usize).into_bytes());
    let value = || prop_oneof![3 => 0..40usize, 1 => 0..3_000usize].prop_map(|n| vec![b'v'; n]);
    let line = |words: &str| -> Vec<Vec<u8>> { words.split(' ').map(Vec::from).collect() };
    (key(), key(), value(), 0..40u32, 1..30u32).prop_map(move |(key, other, value, kind, n)| {
        let number = n.to_string().into_bytes();
        let args = |name: &str, args: &[&Vec<u8>]| {
            let args = args.iter().map(|arg| (*arg).clone());
            line(name).into_iter().chain(args).collect::<Vec<_>>()
        };
        match kind {
            0..8 => args("SET", &[&key, &value]),
            8..12 => args("SETEX", &[&key, &number, &value]),
            12..14 => args("MSET", &[&key, &value, &other, &value]),
            14..17 => args("APPEND", &[&key, &value]),
            17..19 => args("SETRANGE", &[&key, &number, &value]),
            19..23 => args("RPUSH", &[&key, &value, &value]),
            23 => args("LPUSH", &[&key, &value]),
            24..26 => args("RENAME", &[&key, &other]),
            26 => args("COPY", &[&key, &other, &b"REPLACE".to_vec()]),
            27 => args("COPY", &[&key, &other, &b"DB".to_vec(), &b"3".to_vec()]),
            28..30 => args("EXPIRE", &[&key, &number]),
            30 => args("PERSIST", &[&key]),
            31 => args("GETDEL", &[&key]),
            32..34 => args("DEL", &[&key, &other]),
            34 => args("INCR", &[&key]),
            35 => args("INCRBYFLOAT", &[&key, &b"0.1".to_vec()]),
            36 if n == 1 => line("FLUSHALL"),
            37 if n < 3 => line("FLUSHDB"),
            38 if n < 10 => line("CONFIG SET maxmemory 0"),
            38 => args("CONFIG SET maxmemory", &[&format!("{n}000").into_bytes()]),
            39 => args(
                "CONFIG SET maxmemory-policy",
                &[&Policy::ALL[n as usize % 8].name().into()],
            ),
            _ => args("GET", &[&key]),
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => command().prop_map(|command| Step::Commands(vec![command])),
        3 => prop::collection::vec(command(), 1..6).prop_map(Step::Commands),
        1 => (1..20u64).prop_map(Step::Seconds),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_is_what_is_there(
        shards in prop_oneof![Just(1usize), Just(8)],
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let clock = Clock::manual();
        let store = Store::builder().clock(clock.clone()).shards(shards).build();
        let connection = store.connect();
        for step in &steps {
            match step {
                Step::Seconds(seconds) => {
                    clock.advance(Duration::from_secs(*seconds));
                    store.expire_cycle();
                }
                Step::Commands(commands) => {
                    let commands: Vec<Cmd> = commands
                        .iter()
                        .map(|args| Cmd::new().arg(args).take())
                        .collect();
                    if let [command] = &commands[..] {
                        connection.call(command);
                    } else {
                        connection.transaction(&commands);
                    }
                }
            }
            check(&store);
        }
    }
}

#[test]
fn a_store_that_is_emptied_takes_no_more_than_before() {
    let store = Store::builder().shards(4).build();
    let connection = store.connect();
    // Creates the tables of every shard.
    connection.call(&redis::cmd("FLUSHALL"));
    for round in 0..3 {
        for n in 0..20_000 {
            connection.call(redis::cmd("SET").arg(n).arg("value"));
        }
        assert!(store.used_memory() > 20_000 * 80);
        for n in 0..20_000 {
            connection.call(redis::cmd("DEL").arg(n));
        }
        assert!(
            store.used_memory() < 20_000,
            "{round}: {}",
            store.used_memory()
        );
        check(&store);
    }
    assert_eq!(connection.call(&redis::cmd("DBSIZE")), Value::Int(0));
}
