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
    "LPUSH list2 a",
    "LINDEX nothing 0",
    "LPOS nothing a",
    "LSET list 0 z",
    "LINSERT list BEFORE z y",
    "LREM list 0 a",
    "LTRIM list 0 0",
    "LMOVE list list3 LEFT RIGHT",
    "RPOPLPUSH list3 list3",
    "RPOP nothing",
    "LMPOP 2 nothing list3 LEFT",
    "BLPOP list2 0.01",
    "BLPOP list2 0.01",
    "LPUSHX nothing a",
    "HSET h a 1 b 2",
    "HGET nothing a",
    "HGETALL nothing",
    "HINCRBY h a 1",
    "HINCRBYFLOAT h a 1",
    "HSETNX h c 1",
    "HSETNX h c 1",
    "HDEL h a b c",
    "HDEL h a",
    "SADD s1 a b",
    "SADD s1 a",
    "SREM s1 a nothing",
    "SCARD nothing",
    "SISMEMBER nothing a",
    "SMISMEMBER nothing a",
    "SINTER s1 nothing",
    "SINTERCARD 2 s1 nothing",
    "SUNIONSTORE s2 s1 nothing nothing",
    "SINTERSTORE s2 nothing s1",
    "SDIFFSTORE s2 s1 nothing",
    "SMOVE s1 s3 b",
    "SPOP s3",
    "SPOP nothing",
    "SETBIT bits 7 1",
    "GETBIT nothing 1",
    "BITCOUNT nothing",
    "BITPOS nothing 1",
    "BITOP NOT notbits bits",
    "BITOP AND notbits bits nothing",
    "BITOP OR notbits nothing",
    "BITFIELD nothing GET u8 0",
    "BITFIELD_RO nothing GET u8 0",
    "BITFIELD bf SET u8 0 1 INCRBY u8 0 1",
    "PFADD p1 a",
    "PFADD p1 a",
    "PFCOUNT nothing",
    "PFCOUNT p1 nothing",
    "PFMERGE p2 p1 nothing",
    "XADD st 1-1 a b",
    "XLEN nothing",
    "XRANGE nothing - +",
    "XREAD STREAMS nothing 0",
    "XGROUP CREATE st g 0",
    "XGROUP CREATE made g $ MKSTREAM",
    "XGROUP CREATECONSUMER st g c",
    "XREADGROUP GROUP g c STREAMS st >",
    "XREADGROUP GROUP g other STREAMS st >",
    "XACK nothing g 1-1",
    "XACK st g 1-1",
    "XTRIM st MAXLEN 0",
    "XADD st 2-2 a b",
    "XDEL st 2-2",
    "XSETID st 9-9",
    "XGROUP SETID st g 0",
    "XGROUP DELCONSUMER st g c",
    "XGROUP DESTROY st g",
    "RPUSH sorted 3 1 2",
    "SORT sorted STORE result",
    "SORT nothing",
    "SORT nothing STORE result",
    "SORT_RO nothing",
    "LCS nothing nothing2",
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

const SORTED_SETS: &[&str] = &[
    "ZADD z1 1 a 2 b",
    "ZADD z1 1 a",
    "ZADD z1 XX 1 q",
    "ZINCRBY z1 1 a",
    "ZSCORE nothing a",
    "ZRANK nothing a",
    "ZCARD nothing",
    "ZRANGE nothing 0 -1",
    "ZRANGESTORE z2 nothing 0 -1",
    "ZRANGESTORE z2 z1 0 -1",
    "ZUNIONSTORE z3 2 z1 nothing",
    "ZINTERSTORE z3 2 z1 nothing",
    "ZDIFFSTORE z3 2 z1 nothing",
    "ZUNIONSTORE z3 x nothing",
    "ZREM z1 a nothing",
    "ZREMRANGEBYSCORE z2 0 1",
    "ZREMRANGEBYRANK z2 0 -1",
    "ZREMRANGEBYLEX z3 - +",
    "ZPOPMIN z1",
    "ZPOPMAX nothing",
    "BZPOPMIN nothing 0.01",
];

const COLLECTIONS: &[&str] = &[
    "RPUSH l a b c d e",
    "RPUSHX l f",
    "LPUSHX l z",
    "LINSERT l AFTER nothing x",
    "LREM l 0 nothing",
    "LTRIM l 0 -1",
    "LPOP l 0",
    "LPOP l 2",
    "LMOVE l l LEFT RIGHT",
    "LMOVE l l RIGHT RIGHT",
    "LMOVE l m RIGHT LEFT",
    "RPOPLPUSH nothing m",
    "BLMOVE l m LEFT RIGHT 0.01",
    "BRPOPLPUSH nothing m 0.01",
    "BRPOPLPUSH m n 0.01",
    "BLMPOP 0.01 2 nothing m RIGHT COUNT 10",
    "BRPOP n m l 0.01",
    "RPOP l 100",
    "LTRIM n 5 1",
    "RPUSH one a",
    "LMOVE one one LEFT RIGHT",
    "LMOVE one two LEFT RIGHT",
    "LREM two 0 a",
    "HMSET h a 1",
    "HSET h a 1",
    "HINCRBY h new 0",
    "HINCRBYFLOAT h a 0",
    "HDEL h nothing",
    "HDEL h a new a",
    "SADD s 1 2 3",
    "SMOVE s s 1",
    "SMOVE s t nothing",
    "SMOVE s t 1",
    "SADD t 2",
    "SMOVE s t 2",
    "SMOVE s t 3",
    "SPOP t 0",
    "SPOP t 3",
    "SPOP t 3",
    "SADD u a",
    "SPOP u",
    "SADD u a b",
    "SUNIONSTORE v u u",
    "SDIFFSTORE v u u",
    "SINTERSTORE v nothing u",
    "SDIFFSTORE u u nothing",
    "SREM u a b c",
    "HSET taken a 1",
    "SADD from a",
    "SINTERSTORE taken from",
];

#[test]
fn commands_of_collections_notify_what_a_server_notifies() {
    let mut both = Both::start(2);
    both.step(0, "CONFIG SET notify-keyspace-events KEAmn");
    both.step(1, "PSUBSCRIBE __key*");
    agree(&mut both, COLLECTIONS);
}

#[test]
fn commands_notify_what_a_server_notifies() {
    let mut both = Both::start(2);
    both.step(0, "CONFIG SET notify-keyspace-events KEAmn");
    both.step(0, "CONFIG GET notify-keyspace-events");
    both.step(1, "PSUBSCRIBE __key*");
    agree(&mut both, COMMANDS);
}

#[test]
fn commands_of_sorted_sets_notify_what_a_server_notifies() {
    let mut both = Both::start(2);
    both.step(0, "CONFIG SET notify-keyspace-events KEAmn");
    both.step(1, "PSUBSCRIBE __key*");
    agree(&mut both, SORTED_SETS);
}

fn agree(both: &mut Both, lines: &[&str]) {
    let differences: Vec<_> = lines
        .iter()
        .filter_map(|line| both.difference(0, line))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
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
    for line in [
        "GET k",
        "SET k 2",
        "INCR k",
        "DEL k",
        "EXISTS k",
        "RENAME k x",
        "SETNX k 1",
    ] {
        let lines = ["DEL k", "PSETEX k 1 v", line];
        both.steps(0, &lines, Duration::from_millis(5));
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
    let con = store.connect();
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
