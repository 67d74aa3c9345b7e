//! Streams: who waits for entries and what ends it, who is told of changes, and what the log holds.

mod waits;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nearcache_embedded::{Clock, Store};
use nearcache_testkit::Redis;
use proptest::prelude::*;
use proptest::sample::select;
use redis::{Cmd, ConnectionLike, ProtocolVersion, Value};
use waits::{blocked, waits};

fn run(connection: &mut impl ConnectionLike, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').collect();
    connection.req_command(Cmd::new().arg(&words)).unwrap()
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

fn array(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

/// An entry with one field.
fn entry(id: &str, field: &str, value: &str) -> Value {
    array([bulk(id), array([bulk(field), bulk(value)])])
}

/// What a reader of one stream gets.
fn read(key: &str, entries: impl IntoIterator<Item = Value>) -> Value {
    array([array([bulk(key), array(entries)])])
}

fn code(reply: &Value) -> &str {
    match reply {
        Value::ServerError(error) => error.code(),
        _ => "",
    }
}

#[test]
fn readers_wait_for_what_comes_after_they_asked() {
    let store = Store::new();
    let mut connection = store.connect();
    run(&mut connection, "XADD s 1-1 f old");
    let first = waits(&store, "XREAD BLOCK 0 STREAMS other s $ $");
    let second = waits(&store, "XREAD COUNT 5 BLOCK 0 STREAMS s 1-1");
    let later = waits(&store, "XREAD BLOCK 0 STREAMS s 2-1");
    run(&mut connection, "XADD s 2-1 f new");
    let new = read("s", [entry("2-1", "f", "new")]);
    assert_eq!(first.join().unwrap(), new);
    assert_eq!(second.join().unwrap(), new);
    assert_eq!(blocked(&store), 1);
    run(&mut connection, "XADD s 3-1 f newer");
    assert_eq!(
        later.join().unwrap(),
        read("s", [entry("3-1", "f", "newer")])
    );
    assert_eq!(
        run(&mut connection, "XREAD BLOCK 0 COUNT 1 STREAMS s 1-1"),
        read("s", [entry("2-1", "f", "new")])
    );
}

#[test]
fn a_reader_waits_on_while_its_stream_is_gone() {
    let store = Store::new();
    let mut connection = store.connect();
    run(&mut connection, "XADD s 5-1 f v");
    let reader = waits(&store, "XREAD BLOCK 0 STREAMS s 5-1");
    for line in [
        "DEL s",
        "SET s text",
        "DEL s",
        "XADD s 4-1 f v",
        "XTRIM s MAXLEN 0",
    ] {
        run(&mut connection, line);
        assert_eq!(blocked(&store), 1, "{line}");
    }
    run(&mut connection, "XADD s 6-1 f v");
    assert_eq!(reader.join().unwrap(), read("s", [entry("6-1", "f", "v")]));
}

#[test]
fn entries_of_a_group_go_to_one_consumer_each() {
    let store = Store::new();
    let mut connection = store.connect();
    run(&mut connection, "XGROUP CREATE s g $ MKSTREAM");
    let ada = waits(&store, "XREADGROUP GROUP g ada BLOCK 0 STREAMS s >");
    let bob = waits(&store, "XREADGROUP GROUP g bob COUNT 1 BLOCK 0 STREAMS s >");
    run(&mut connection, "XADD s 1-1 f v");
    assert_eq!(ada.join().unwrap(), read("s", [entry("1-1", "f", "v")]));
    assert_eq!(blocked(&store), 1);
    run(&mut connection, "XADD s 1-2 f w");
    assert_eq!(bob.join().unwrap(), read("s", [entry("1-2", "f", "w")]));
    let consumers = array([
        array([bulk("ada"), bulk("1")]),
        array([bulk("bob"), bulk("1")]),
    ]);
    assert_eq!(
        run(&mut connection, "XPENDING s g"),
        array([Value::Int(2), bulk("1-1"), bulk("1-2"), consumers])
    );
}

#[test]
fn readers_of_a_group_are_told_that_it_is_gone() {
    for (line, told) in [
        ("DEL s", "UNBLOCKED"),
        ("SET s text", "UNBLOCKED"),
        ("RENAME s t", "UNBLOCKED"),
        ("FLUSHALL", "UNBLOCKED"),
        ("XGROUP DESTROY s g", "NOGROUP"),
    ] {
        let store = Store::new();
        let mut connection = store.connect();
        run(&mut connection, "XGROUP CREATE s g $ MKSTREAM");
        let first = waits(&store, "XREADGROUP GROUP g ada BLOCK 0 STREAMS s >");
        let second = waits(&store, "XREADGROUP GROUP g bob BLOCK 0 STREAMS s >");
        run(&mut connection, line);
        for reader in [first, second] {
            assert_eq!(code(&reader.join().unwrap()), told, "{line}");
        }
        assert_eq!(blocked(&store), 0);
    }
}

#[test]
fn a_wait_ends_in_time_and_there_is_none_in_a_transaction() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let mut connection = store.connect();
    connection.set_protocol(ProtocolVersion::RESP3);
    let reader = waits(&store, "XREAD BLOCK 100 STREAMS s $");
    clock.advance(Duration::from_millis(99));
    assert_eq!(blocked(&store), 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(reader.join().unwrap(), Value::Nil);
    run(&mut connection, "MULTI");
    run(&mut connection, "XREAD BLOCK 0 STREAMS s $");
    assert_eq!(run(&mut connection, "EXEC"), array([Value::Nil]));
    run(&mut connection, "XADD s 1 f v");
    assert_eq!(
        run(&mut connection, "XREAD BLOCK 0 STREAMS s 0"),
        Value::Map(vec![(bulk("s"), array([entry("1-0", "f", "v")]))])
    );
}

#[test]
fn ids_are_of_the_clock_and_never_go_back() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let mut connection = store.connect();
    let now = clock.now_ms();
    for seq in 0..3 {
        let id = run(&mut connection, "XADD s * f v");
        assert_eq!(id, bulk(&format!("{now}-{seq}")));
    }
    clock.advance(Duration::from_millis(5));
    let id = run(&mut connection, "XADD s * f v");
    assert_eq!(id, bulk(&format!("{}-0", now + 5)));
}

#[test]
fn those_who_watch_a_stream_are_not_told_of_its_groups() {
    let store = Store::new();
    let mut connection = store.connect();
    run(&mut connection, "XADD s 1-1 f v");
    let mut other = store.connect();
    for (line, is_told) in [
        ("XGROUP CREATE s g 0", false),
        ("XREADGROUP GROUP g ada STREAMS s >", false),
        ("XCLAIM s g bob 0 1-1", false),
        ("XACK s g 1-1", false),
        ("XGROUP SETID s g 0", false),
        ("XSETID s 2-0", false),
        ("XADD s 3-1 f v", true),
        ("XDEL s 3-1", true),
        ("XDEL s 3-1", false),
        ("XTRIM s MAXLEN 0", true),
        ("XTRIM s MAXLEN 0", false),
    ] {
        run(&mut connection, "WATCH s");
        run(&mut other, line);
        run(&mut connection, "MULTI");
        let reply = run(&mut connection, "EXEC");
        assert_eq!(reply == Value::Nil, is_told, "{line}");
    }
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nearcache-streams-{}-{count}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything about a stream, but what a log does not hold: when its consumers were last seen, and its nodes.
fn state(connection: &mut impl ConnectionLike) -> Vec<String> {
    run(connection, "HELLO 3");
    let mut state = Vec::new();
    for key in ["s", "t"] {
        let full = run(connection, &format!("XINFO STREAM {key} FULL COUNT 0"));
        state.push(format!("{:?}", without_what_is_lost(full)));
    }
    state
}

fn without_what_is_lost(value: Value) -> Value {
    let lost = ["seen-time", "radix-tree-keys", "radix-tree-nodes"].map(bulk);
    match value {
        Value::Map(pairs) => {
            let kept = pairs.into_iter().filter(|(name, _)| !lost.contains(name));
            let kept = kept.map(|(name, value)| (name, without_what_is_lost(value)));
            Value::Map(kept.collect())
        }
        Value::Array(values) => array(values.into_iter().map(without_what_is_lost)),
        value => value,
    }
}

const LINES: &[&str] = &[
    "XADD KEY * f v",
    "XADD KEY 1-* f v g w",
    "XADD KEY 1-* f 1000",
    "XADD KEY 1-* f -1",
    "XADD KEY 1-* g v",
    "XADD KEY 1-* f 1 f 2",
    "XADD KEY NOMKSTREAM MAXLEN ~ 3 1-* f v",
    "XADD KEY MAXLEN ~ 2 LIMIT 2 1-* f v",
    "XADD KEY MAXLEN 4 1-* f v",
    "XADD KEY MINID ~ 1-3 1-* f v",
    "XTRIM KEY MAXLEN ~ 2",
    "XTRIM KEY MAXLEN ~ 1 LIMIT 3",
    "XTRIM KEY MINID ~ 1-4",
    "XTRIM KEY MAXLEN 3",
    "XDEL KEY 1-1 1-2",
    "XDEL KEY 1-3",
    "XGROUP CREATE KEY NAME 0 MKSTREAM",
    "XGROUP CREATE KEY NAME $",
    "XGROUP CREATE KEY NAME 0 ENTRIESREAD 1",
    "XGROUP SETID KEY NAME 1-2",
    "XGROUP SETID KEY NAME 0 ENTRIESREAD 0",
    "XGROUP DESTROY KEY NAME",
    "XGROUP CREATECONSUMER KEY NAME ada",
    "XGROUP DELCONSUMER KEY NAME bob",
    "XREADGROUP NAME GROUP ada COUNT 2 STREAMS KEY >",
    "XREADGROUP NAME GROUP bob STREAMS KEY >",
    "XREADGROUP NAME GROUP cy NOACK COUNT 1 STREAMS KEY >",
    "XREADGROUP NAME GROUP ada STREAMS KEY 0",
    "XREADGROUP NAME GROUP dee STREAMS KEY 0",
    "XACK KEY NAME 1-1 1-2",
    "XCLAIM KEY NAME bob 0 1-1 1-2 1-3",
    "XCLAIM KEY NAME bob 0 1-4 1-5 FORCE JUSTID",
    "XCLAIM KEY NAME ada 0 1-1 IDLE 500 LASTID 1-9",
    "XAUTOCLAIM KEY NAME bob 0 0 COUNT 2",
    "XAUTOCLAIM KEY NAME ada 10 1-2 JUSTID",
    "XSETID KEY 99999999999999-0 ENTRIESADDED 50",
    "COPY s t REPLACE",
    "RENAME s t",
    "DEL t",
];

fn lines() -> impl Strategy<Value = Vec<String>> {
    let names = (select(vec!["s", "s", "t"]), select(vec!["g", "g", "h"]));
    let line = (select(LINES), names)
        .prop_map(|(line, (key, group))| line.replace("KEY", key).replace("NAME", group));
    prop::collection::vec(line, 20..120)
}

/// Entries that are pending but deleted are not written by a rewrite.
fn forget_deleted(connection: &mut impl ConnectionLike) {
    for key in ["s", "t"] {
        for group in ["g", "h"] {
            let forget = format!("XAUTOCLAIM {key} {group} ada 999999999 0 COUNT 1000");
            run(connection, &forget);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_is_the_same_after_a_restart(
        lines in lines(),
        rewrites: bool,
    ) {
        let folder = Folder::new();
        let clock = Clock::manual();
        let open = || {
            let store = Store::builder().clock(clock.clone()).persist(folder.path()).open().unwrap();
            let mut connection = store.connect();
            run(&mut connection, "CONFIG SET stream-node-max-entries 3");
            (store, connection)
        };
        let (store, mut connection) = open();
        for line in &lines {
            clock.advance(Duration::from_millis(7));
            run(&mut connection, line);
        }
        if rewrites {
            forget_deleted(&mut connection);
        }
        let before = state(&mut connection);
        if rewrites {
            store.rewrite().unwrap();
        }
        drop((store, connection));
        clock.advance(Duration::from_secs(1));
        let (store, mut connection) = open();
        prop_assert_eq!(&state(&mut connection), &before, "{:?}", lines);
        drop((store, connection));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn a_server_has_the_same_streams_when_it_starts_on_a_folder(lines in lines(), rewrites: bool) {
        let folder = Folder::new();
        let store = Store::builder().persist(folder.path()).open().unwrap();
        let mut connection = store.connect();
        for line in &lines {
            run(&mut connection, line);
        }
        if rewrites {
            forget_deleted(&mut connection);
            store.rewrite().unwrap();
        }
        let ours = state(&mut connection);
        drop((store, connection));
        let path = folder.path().to_str().unwrap();
        let server = Redis::start_with(&["--dir", path, "--appendonly", "yes", "--save", ""]);
        let client = redis::Client::open(server.url()).unwrap();
        let mut theirs = client.get_connection().unwrap();
        prop_assert_eq!(&state(&mut theirs), &ours, "{:?}", lines);
    }
}
