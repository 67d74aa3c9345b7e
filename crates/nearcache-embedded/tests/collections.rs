//! Lists, hashes and sets in a folder: what is logged has the same effect at any time, whatever chance or a wait
//! decided.

mod persist;

use std::fs;

use persist::{Folder, contents, run, run_all};
use redis::Value;

/// The log of these commands, without a `SELECT`.
fn logged(commands: &str) -> String {
    let folder = Folder::new();
    let store = folder.open();
    run_all(&mut store.connect(), commands);
    drop(store);
    let text = fs::read_to_string(folder.increment()).unwrap();
    let words = text.lines().filter(|line| !line.starts_with(['*', '$']));
    let words: Vec<_> = words.skip(2).collect();
    words.join(" ")
}

#[test]
fn what_is_popped_from_lists_is_logged_as_plain_pops_and_moves() {
    let log = logged(
        "RPUSH l a b c d e f g h
         LMPOP 2 none l LEFT COUNT 2
         BLMPOP 1 2 none l RIGHT
         BLPOP none l 1
         BRPOP l 1
         BLMOVE l m LEFT RIGHT 1
         BRPOPLPUSH l m 1
         BLPOP none 0.001
         LMPOP 1 none LEFT
         BLMPOP 1 1 l LEFT COUNT 100",
    );
    assert_eq!(
        log,
        "RPUSH l a b c d e f g h LPOP l 2 RPOP l 1 LPOP l RPOP l LMOVE l m LEFT RIGHT RPOPLPUSH l m LPOP l 1"
    );
}

#[test]
fn what_chance_or_rounding_decides_is_logged_as_it_was() {
    let log = logged(
        "HSET h a 1.5
         HINCRBYFLOAT h a 0.1
         HDEL h none
         HSETNX h a 2
         SADD one x
         SADD one x
         SPOP one
         SADD all 1 2
         SPOP all 2
         SPOP all 2
         SADD same 1 2
         SMOVE same same 1
         SDIFFSTORE none none
         SREM same 3",
    );
    assert_eq!(
        log,
        "HSET h a 1.5 HSET h a 1.6 SADD one x SREM one x SADD all 1 2 DEL all SADD same 1 2"
    );
}

#[test]
fn large_collections_are_the_same_after_a_restart() {
    let folder = Folder::new();
    let before = {
        let store = folder.open();
        let mut connection = store.connect();
        for n in 0..2_000 {
            run(&mut connection, &format!("SADD set m{n} {n}"));
            run(&mut connection, &format!("SADD integers {n}"));
            run(&mut connection, &format!("HSET hash f{n} {n}"));
            run(&mut connection, &format!("RPUSH list {n} element-{n}"));
        }
        for command in [
            "SPOP set",
            "SPOP set 100",
            "SPOP set 3500",
            "SPOP integers 1999",
            "LTRIM list 7 -9",
            "LREM list -3 element-500",
            "LINSERT list BEFORE 1000 new",
            "HINCRBY hash f7 5",
        ] {
            let reply = run(&mut connection, command);
            assert!(!matches!(reply, Value::ServerError(_)), "{reply:?}");
        }
        contents(&mut connection)
    };
    assert_eq!(before.len(), 4);
    assert_eq!(contents(&mut folder.open().connect()), before);
}
