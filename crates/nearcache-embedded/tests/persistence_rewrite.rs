//! Rewrites while commands go on, compared exactly; and logs that are cut anywhere.

mod persist;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use nearcache_embedded::{Fsync, Store};
use persist::{Contents, Folder, contents, run};
use proptest::prelude::*;
use redis::ConnectionLike;

/// Numbers that look random.
struct Draws(u64);

impl Draws {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A command whose effect depends on how often it is run.
fn command(draws: &mut Draws) -> String {
    let (a, b) = (draws.next(200), draws.next(200));
    match draws.next(24) {
        0..=3 => format!("INCR counter:{a}"),
        4..=6 => format!("APPEND text:{a} x{b}"),
        7..=9 => format!("LPUSH list:{a} {b}"),
        10 => format!("RPUSH list:{a} {b} {b} {b}"),
        11..=13 => format!("XADD stream:{a} * field {b}"),
        14 => format!("HINCRBY hash:{a} f{} {b}", b % 10),
        15 => format!("ZINCRBY zset:{a} {b} m{}", b % 10),
        16 => format!("SADD set:{a} {b}"),
        17 => format!("SPOP set:{a}"),
        18 => format!("LPOP list:{a}"),
        19 => format!("RPOPLPUSH list:{a} list:{b}"),
        20 => format!("DEL counter:{a} text:{b} list:{b}"),
        21 => format!("RENAME counter:{a} counter:{b}"),
        22 => format!("SET text:{a} {b} EX 10000"),
        _ => format!("MSET counter:{a} 1 counter:{b} 2"),
    }
}

fn reopened(folder: &Folder) -> Contents {
    contents(&mut folder.open().connect())
}

#[track_caller]
fn assert_same(a: &Contents, b: &Contents) {
    for (key, value) in a {
        assert_eq!(Some(value), b.get(key), "{key:?}");
    }
    assert_eq!(a.len(), b.len());
}

#[test]
fn a_rewrite_under_commands_that_add_up_is_exact() {
    let folder = Folder::new();
    for round in 0..4 {
        let store = folder.open();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (mut connection, stop) = (store.connect(), &stop);
                scope.spawn(move || {
                    let mut draws = Draws(round * 10 + thread + 1);
                    while !stop.load(Ordering::Relaxed) {
                        match draws.next(100) {
                            0 => {
                                let mut pipeline = redis::pipe();
                                pipeline.atomic();
                                for _ in 0..5 {
                                    let command = command(&mut draws);
                                    let mut words = command.split(' ');
                                    let cmd = pipeline.cmd(words.next().unwrap());
                                    words.for_each(|word| {
                                        cmd.arg(word);
                                    });
                                }
                                let packed = pipeline.get_packed_pipeline();
                                let _ = connection.req_packed_commands(&packed, 6, 1);
                            }
                            1 if draws.next(50) == 0 => {
                                run(&mut connection, "FLUSHDB");
                            }
                            2 if draws.next(20) == 0 => {
                                run(&mut connection, "SWAPDB 0 1");
                            }
                            3 => {
                                run(&mut connection, &format!("SELECT {}", draws.next(3)));
                            }
                            _ => {
                                run(&mut connection, &command(&mut draws));
                            }
                        }
                    }
                });
            }
            for _ in 0..15 {
                store.rewrite().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let before = contents(&mut store.connect());
        assert!(before.len() > 100);
        drop(store);
        assert_same(&before, &reopened(&folder));
        assert_eq!(folder.names().len(), 3);
    }
}

#[test]
fn a_saved_file_is_one_moment() {
    let folder = Folder::new();
    let path = folder.path().join("copy");
    let store = Store::builder().shards(16).build();
    let stop = AtomicBool::new(false);
    for n in 0..2000 {
        run(&mut store.connect(), &format!("SET filler:{n} {n}"));
    }
    std::thread::scope(|scope| {
        let (mut connection, stop_it) = (store.connect(), &stop);
        scope.spawn(move || {
            while !stop_it.load(Ordering::Relaxed) {
                // At every moment these are equal, wherever they are.
                let mut pipeline = redis::pipe();
                pipeline.atomic();
                for n in 0..20 {
                    pipeline.cmd("INCR").arg(format!("equal:{n}"));
                }
                let () = pipeline.query(&mut connection).unwrap();
            }
        });
        for _ in 0..30 {
            store.save(&path).unwrap();
            let other = Store::new();
            other.load(&path).unwrap();
            let mut connection = other.connect();
            assert!(connection.check_connection());
            let values: Vec<Option<u64>> = (0..20)
                .map(|n| {
                    let get = redis::cmd("GET").arg(format!("equal:{n}")).to_owned();
                    get.query(&mut connection).unwrap()
                })
                .collect();
            assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The model is the store itself: what it held after each command.
    #[test]
    fn a_log_that_is_cut_holds_what_was_there_at_that_moment(
        seed in 1..u64::MAX,
        rewrite_at in 0..60usize,
        cuts in prop::collection::vec(0.0..1.0f64, 6),
    ) {
        let folder = Folder::new();
        let store = folder.try_open(Fsync::No).unwrap();
        let mut connection = store.connect();
        let mut draws = Draws(seed);
        let mut history = vec![(0, Contents::new())];
        for step in 0..60 {
            if step == rewrite_at {
                store.rewrite().unwrap();
                history = vec![(0, contents(&mut connection))];
            }
            if draws.next(6) == 0 {
                run(&mut connection, "MULTI");
                for _ in 0..3 {
                    run(&mut connection, &command(&mut draws));
                }
                run(&mut connection, "EXEC");
            } else {
                run(&mut connection, &command(&mut draws));
            }
            store.sync().unwrap();
            let length = fs::metadata(folder.increment()).unwrap().len();
            history.push((length, contents(&mut connection)));
        }
        let length = history.last().unwrap().0;
        for cut in cuts {
            let copy = folder.copy();
            let end = (cut * (length as f64 + 1.0)) as u64;
            let file = fs::OpenOptions::new().write(true).open(copy.increment()).unwrap();
            file.set_len(end).unwrap();
            let (_, expected) = history.iter().rev().find(|(length, _)| *length <= end).unwrap();
            assert_same(expected, &reopened(&copy));
            // It goes on from there.
            run(&mut copy.open().connect(), "SET went on");
            prop_assert_eq!(reopened(&copy).len(), expected.len() + 1);
        }
    }
}
