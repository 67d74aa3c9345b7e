//! Keyspace notifications: the same commands here and on a real server, and what is told of expiry and eviction.

mod both;

use std::time::Duration;

use both::Both;
use nearcache_embedded::{Clock, Connection, Pushes, Store};
use redis::{Value, cmd};

fn run(con: &mut Connection, line: &str) -> Value {
    let args: Vec<&str> = line.split(' ').collect();
    con.execute(cmd(args[0]).arg(&args[1..]))
}

/// A connection that is told everything, after its confirmation.
fn listener(store: &Store, flags: &str) -> (Connection, Pushes) {
    let mut con = store.connect();
    run(
        &mut con,
        &format!("CONFIG SET notify-keyspace-events {flags}"),
    );
    let mut pushes = con.pushes();
    run(&mut con, "PSUBSCRIBE __key*");
    assert!(pushes.try_next().is_some());
    (con, pushes)
}

/// What was told since.
fn told(pushes: &mut Pushes) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    };
    std::iter::from_fn(|| pushes.try_next())
        .map(|push| format!("{} {}", text(&push.data[1]), text(&push.data[2])))
        .collect()
}

/// The commands of each family whose notifications a server and this store have in common.
const COMMANDS: &[&str] = &[
    "SET a 1",
    "SET a 2",
    "SET a 3 EX 100",
    "SET a 3 KEEPTTL",
    "SET a 4 NX",
    "SET b 4 XX",
    "SET a 5 GET",
    "SET new 5 GET",
    "SETNX a 1",
    "SETNX c 1",
    "SETEX a 100 1",
    "PSETEX a 100000 1",
    "GETSET a 2",
    "GETSET fresh 2",
    "GETDEL nothing",
    "GETDEL fresh",
    "GETEX nothing",
    "GETEX a EX 100",
    "GETEX a PERSIST",
    "GETEX a PERSIST",
    "GETEX a EXAT 1",
    "GET a",
    "GET nothing",
    "MGET a nothing b nothing",
    "MSET a 1 b 2",
    "MSETNX a 1 z 2",
    "MSETNX y 1 z 2",
    "STRLEN nothing",
    "GETRANGE nothing 0 1",
    "APPEND a x",
    "APPEND q x",
    "SETRANGE a 1 y",
    "SETRANGE r 1 y",
    "SETRANGE s 1 \"\"",
    "DEL a b nothing",
    "INCR n",
    "INCRBY n 2",
    "DECR n",
    "INCRBYFLOAT n 1.5",
    "EXPIRE n 100",
    "EXPIRE n 100 NX",
    "EXPIRE nothing 100",
    "PEXPIRE n 100000",
    "PERSIST n",
    "PERSIST n",
    "EXPIRE n -1",
    "TTL nothing",
    "PTTL nothing",
    "EXPIRETIME nothing",
    "TYPE nothing",
    "EXISTS nothing y nothing",
    "TOUCH nothing y",
    "OBJECT ENCODING nothing",
    "OBJECT REFCOUNT nothing",
    "MEMORY USAGE nothing",
    "RENAME nothing x",
    "RENAME y x",
    "RENAME x z",
    "RENAMENX z r",
    "RENAMENX z w",
    "COPY w v",
    "COPY w v",
    "COPY w v REPLACE",
    "COPY nothing v",
    "COPY w v DB 3",
    "MOVE w 2",
    "MOVE nothing 2",
    "SELECT 2",
    "SET in-two 1",
    "SELECT 0",
    "UNLINK v",
    "RPUSH list a b",
    "LPUSH list c",
    "LLEN nothing",
    "LRANGE nothing 0 -1",
    "DUMP nothing",
    "MULTI",
    "SET in-multi 1",
    "GET nothing",
    "INCR in-multi",
    "DEL in-multi",
    "EXEC",
    "FLUSHDB",
    "SWAPDB 0 2",
    "GET in-two",
    "FLUSHALL",
];

#[test]
fn commands_notify_what_a_server_notifies() {
    let mut both = Both::start(2);
    both.step(0, "CONFIG SET notify-keyspace-events KEAmn");
    both.step(0, "CONFIG GET notify-keyspace-events");
    both.step(1, "PSUBSCRIBE __key*");
    for line in COMMANDS {
        both.step(0, line);
    }
}

#[test]
fn only_the_classes_and_channels_that_are_chosen_are_notified() {
    let mut both = Both::start(2);
    both.step(1, "PSUBSCRIBE __key*");
    for flags in [
        "Kg", "E$", "KEl", "K", "A", "KE", "En", "Km", "\"\"", "KEx$", "nKmE",
    ] {
        both.step(0, &format!("CONFIG SET notify-keyspace-events {flags}"));
        both.step(0, "CONFIG GET notify-keyspace-events");
        for line in ["SET k v", "GET nothing", "RPUSH l x", "DEL k l"] {
            both.step(0, line);
        }
    }
    both.step(0, "CONFIG SET notify-keyspace-events KEy");
}

#[test]
fn a_key_that_a_command_finds_expired_is_notified_first() {
    let mut both = Both::start(2);
    both.step(0, "CONFIG SET notify-keyspace-events KEAmn");
    both.step(1, "PSUBSCRIBE __key*");
    // In one transaction the clock stands still on a server, so the pauses are between commands.
    for line in [
        "GET k",
        "SET k 2",
        "INCR k",
        "DEL k",
        "EXISTS k",
        "RENAME k x",
        "SETNX k 1",
    ] {
        both.step(0, "DEL k");
        both.step(0, "PSETEX k 1 v");
        both.sleep(5);
        // The key may have been removed in the background: that tells the same, but sooner.
        both.step(0, line);
    }
}

#[test]
fn expiry_is_notified_once_by_whoever_finds_the_key() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let (_listener, mut pushes) = listener(&store, "Ex");
    let mut con = store.connect();
    run(&mut con, "PSETEX a 10 v");
    run(&mut con, "PSETEX b 10 v");
    run(&mut con, "PSETEX c 10 v");
    clock.advance(Duration::from_millis(20));
    run(&mut con, "GET a");
    assert_eq!(told(&mut pushes), ["__keyevent@0__:expired a"]);
    run(&mut con, "SET b v");
    assert_eq!(told(&mut pushes), ["__keyevent@0__:expired b"]);
    store.expire_cycle();
    assert_eq!(told(&mut pushes), ["__keyevent@0__:expired c"]);
    run(&mut con, "GET a");
    store.expire_cycle();
    assert!(told(&mut pushes).is_empty());
}

#[test]
fn evictions_are_notified() {
    let store = Store::new();
    let (mut con, mut pushes) = listener(&store, "Ee");
    let mut writer = store.connect();
    run(&mut writer, "SET a v");
    run(&mut writer, "CONFIG SET maxmemory-policy allkeys-lru");
    run(&mut writer, "CONFIG SET maxmemory 1");
    assert_eq!(told(&mut pushes), ["__keyevent@0__:evicted a"]);
    run(&mut con, "PUNSUBSCRIBE");
}

#[test]
fn notifications_of_a_transaction_come_in_the_order_of_its_commands() {
    let store = Store::new();
    let (_listener, mut pushes) = listener(&store, "KEA");
    let mut con = store.connect();
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("SET")
        .arg("a")
        .arg(1)
        .cmd("INCR")
        .arg("b")
        .cmd("DEL")
        .arg("a");
    con.transaction(pipeline.cmd_iter());
    assert_eq!(
        told(&mut pushes),
        [
            "__keyspace@0__:a set",
            "__keyevent@0__:set a",
            "__keyspace@0__:b incrby",
            "__keyevent@0__:incrby b",
            "__keyspace@0__:a del",
            "__keyevent@0__:del a",
        ]
    );
}
