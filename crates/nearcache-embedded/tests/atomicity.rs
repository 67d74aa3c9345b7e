//! Threads: what is atomic on a server is atomic here.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nearcache_embedded::{Connection, Store};
use redis::{Commands, Value, cmd, pipe};

const ROUNDS: usize = 2_000;

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key:{n}")).collect()
}

/// Runs `read` on this thread while two others `write`, until those have written all their rounds.
fn against_writers(
    store: &Store,
    write: impl Fn(&mut Connection, usize) + Sync,
    mut read: impl FnMut(&mut Connection),
) {
    let running = AtomicUsize::new(2);
    thread::scope(|scope| {
        for writer in 0..2 {
            let (write, running, mut con) = (&write, &running, store.connect());
            scope.spawn(move || {
                (0..ROUNDS).for_each(|round| write(&mut con, writer * ROUNDS + round));
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let mut con = store.connect();
        while running.load(Ordering::Relaxed) > 0 {
            read(&mut con);
        }
    });
}

#[test]
fn an_mget_never_sees_half_of_an_mset() {
    let (store, keys) = (Store::new(), keys(20));
    let set = |con: &mut Connection, value| {
        let pairs: Vec<(&String, usize)> = keys.iter().map(|key| (key, value)).collect();
        con.mset::<_, _, ()>(&pairs).unwrap();
    };
    set(&mut store.connect(), 0);
    against_writers(&store, set, |con| {
        let values: Vec<usize> = con.mget(&keys).unwrap();
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    });
}

#[test]
fn a_reader_never_sees_half_of_a_transaction() {
    let (store, keys) = (Store::new(), keys(5));
    let set = |con: &mut Connection, value: usize| {
        let mut pipe = pipe();
        pipe.atomic();
        keys.iter().for_each(|key| {
            pipe.set(key, value).ignore();
        });
        pipe.exec(con).unwrap();
    };
    set(&mut store.connect(), 0);
    against_writers(&store, set, |con| {
        let values: Vec<usize> = con.mget(&keys).unwrap();
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        let mut read = pipe();
        read.atomic();
        keys.iter().for_each(|key| {
            read.get(key);
        });
        let values: Vec<usize> = read.query(con).unwrap();
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    });
}

#[test]
fn no_increment_is_lost() {
    let store = Store::new();
    against_writers(
        &store,
        |con, _| con.incr::<_, _, ()>("n", 1).unwrap(),
        |_| thread::yield_now(),
    );
    assert_eq!(store.connect().get::<_, usize>("n").unwrap(), 2 * ROUNDS);
}

#[test]
fn an_increment_by_watch_get_and_exec_is_never_lost_either() {
    let store = Store::new();
    let increment = |con: &mut Connection, _| {
        loop {
            cmd("WATCH").arg("n").exec(con).unwrap();
            let n = con.get::<_, Option<usize>>("n").unwrap().unwrap_or(0);
            let done: Option<Value> = pipe().atomic().set("n", n + 1).query(con).unwrap();
            if done.is_some() {
                return;
            }
        }
    };
    against_writers(&store, increment, |_| thread::yield_now());
    assert_eq!(store.connect().get::<_, usize>("n").unwrap(), 2 * ROUNDS);
}

#[test]
fn renaming_back_and_forth_never_shows_two_keys_or_none() {
    let store = Store::new();
    let () = store.connect().set("a", "v").unwrap();
    against_writers(
        &store,
        |con, round| {
            // Both writers try; whoever finds the key moves it.
            let (from, to) = if round % 2 == 0 {
                ("a", "b")
            } else {
                ("b", "a")
            };
            let _ = cmd("RENAME").arg(from).arg(to).exec(con);
        },
        |con| assert_eq!(con.exists::<_, usize>(&["a", "b"]).unwrap(), 1),
    );
}

/// Locks that are taken in any other than ascending order would soon wait for each other here (invariant 1
/// of the key space).
#[test]
fn commands_of_many_keys_in_opposite_orders_do_not_wait_for_each_other() {
    let store = Store::builder().shards(8).build();
    let (forward, backward) = (keys(16), keys(16).into_iter().rev().collect::<Vec<_>>());
    against_writers(
        &store,
        |con, round| match round % 5 {
            0 => con
                .mset(&forward.iter().map(|key| (key, 1)).collect::<Vec<_>>())
                .unwrap(),
            1 => con
                .mset(&backward.iter().map(|key| (key, 2)).collect::<Vec<_>>())
                .unwrap(),
            2 => con.del(&backward).unwrap(),
            3 => cmd("RENAMENX")
                .arg(&forward[0])
                .arg(&forward[1])
                .exec(con)
                .unwrap_or_default(),
            _ => cmd("FLUSHALL").exec(con).unwrap(),
        },
        |con| {
            let _: Vec<Option<usize>> = con.mget(&forward).unwrap();
            let _: usize = cmd("DBSIZE").query(con).unwrap();
        },
    );
}

/// Invariant 2 of the key space: a subscriber may use the store, so nothing may be locked.
#[test]
fn a_subscriber_may_use_the_store() {
    let store = Store::new();
    let seen = std::sync::Arc::new(AtomicUsize::new(0));
    let (con, counted) = (store.connect(), seen.clone());
    let _subscription = store.subscribe(move |_| {
        let mut con = con.clone();
        let _: usize = cmd("DBSIZE").query(&mut con).unwrap();
        let _: Option<String> = con.get("k").unwrap();
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let mut con = store.connect();
    let () = con.set("k", "v").unwrap();
    pipe()
        .atomic()
        .set("k", "w")
        .del("k")
        .exec(&mut con)
        .unwrap();
    cmd("FLUSHALL").exec(&mut con).unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 4);
}

/// Invariant 3 of the table.
#[test]
fn a_scan_returns_every_key_that_stays_exactly_once_whatever_else_comes_and_goes() {
    let store = Store::builder().shards(2).build();
    let staying: HashSet<String> = (0..2_000).map(|n| format!("staying:{n}")).collect();
    let mut con = store.connect();
    staying
        .iter()
        .for_each(|key| con.set::<_, _, ()>(key, 1).unwrap());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut con = store.connect();
            let mut waves = 0;
            // Each wave makes the table grow to many times its size, and shrink again.
            while !stop.load(Ordering::Relaxed) {
                let wave: Vec<String> = (0..20_000).map(|n| format!("wave:{waves}:{n}")).collect();
                wave.iter()
                    .for_each(|key| con.set::<_, _, ()>(key, 1).unwrap());
                wave.chunks(100)
                    .for_each(|keys| con.del::<_, ()>(keys).unwrap());
                waves += 1;
            }
            waves
        });
        for count in [1, 10, 100, 1_000].repeat(5) {
            let mut seen = HashMap::<String, usize>::new();
            let options = redis::ScanOptions::default().with_count(count);
            for key in con.scan_options::<String>(options).unwrap() {
                *seen.entry(key.unwrap()).or_default() += 1;
            }
            for key in &staying {
                assert_eq!(seen.get(key), Some(&1), "{key}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(churn.join().unwrap() > 0);
    });
}

#[test]
fn stores_connections_and_what_they_hand_out_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Store>();
    shared::<Connection>();
    shared::<nearcache_embedded::Subscription>();
    shared::<nearcache_embedded::Clock>();
    shared::<nearcache_embedded::Script>();
}

#[test]
fn a_shared_connections_transaction_is_all_or_nothing_and_seen_whole() {
    let store = Store::new();
    let shared = store.connect();
    let set = |_: &mut Connection, value: usize| {
        let mut both = pipe();
        both.set("a", value).set("b", value);
        let replies = shared.transaction(both.cmd_iter());
        assert_eq!(replies, Value::Array(vec![Value::Okay, Value::Okay]));
    };
    set(&mut store.connect(), 0);
    against_writers(&store, set, |con| {
        let (a, b): (usize, usize) = con.mget(&["a", "b"]).unwrap();
        assert_eq!(a, b);
    });
    // One that cannot be run keeps all from being run; one that fails keeps none.
    let mut refused = pipe();
    refused.set("a", "x").cmd("NOSUCH");
    assert!(matches!(
        shared.transaction(refused.cmd_iter()),
        Value::ServerError(_)
    ));
    assert_ne!(
        cmd("GET")
            .arg("a")
            .query::<String>(&mut store.connect())
            .unwrap(),
        "x"
    );
    let mut fails = pipe();
    fails.set("a", "y").cmd("INCR").arg("a");
    let Value::Array(replies) = shared.transaction(fails.cmd_iter()) else {
        panic!("refused");
    };
    assert!(matches!(&replies[..], [Value::Okay, Value::ServerError(_)]));
    assert_eq!(
        cmd("GET")
            .arg("a")
            .query::<String>(&mut store.connect())
            .unwrap(),
        "y"
    );
}
