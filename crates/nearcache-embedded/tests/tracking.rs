//! `CLIENT TRACKING`: the same steps here and on a real server, and races that must not lose a change.

mod both;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use both::Both;
use nearcache_embedded::{Clock, Connection, Pushes, Script, Store};
use redis::{ProtocolVersion, PushKind, Value, cmd};

fn run(con: &mut Connection, line: &str) -> Value {
    let args: Vec<&str> = line.split(' ').collect();
    con.execute(cmd(args[0]).arg(&args[1..]))
}

fn client(store: &Store, tracking: &str) -> (Connection, Pushes) {
    let mut con = store.connect();
    con.set_protocol(ProtocolVersion::RESP3);
    let pushes = con.pushes();
    assert_eq!(run(&mut con, tracking), Value::Okay);
    (con, pushes)
}

/// The keys of an invalidation; `None` for all keys.
fn keys(data: &[Value]) -> Option<Vec<String>> {
    match data {
        [Value::Array(keys)] => Some(
            keys.iter()
                .map(|key| match key {
                    Value::BulkString(key) => String::from_utf8_lossy(key).into_owned(),
                    other => format!("{other:?}"),
                })
                .collect(),
        ),
        [Value::Nil] => None,
        other => panic!("no invalidation: {other:?}"),
    }
}

/// The keys that were invalidated since; `*` for all.
fn invalidated(pushes: &mut Pushes) -> Vec<String> {
    std::iter::from_fn(|| pushes.try_next())
        .flat_map(|push| {
            assert_eq!(push.kind, PushKind::Invalidate);
            keys(&push.data).unwrap_or_else(|| vec!["*".to_owned()])
        })
        .collect()
}

const STEPS: &[(usize, &str)] = &[
    (0, "CLIENT TRACKINGINFO"),
    (0, "CLIENT GETREDIR"),
    (0, "CLIENT CACHING YES"),
    // Hostile arguments, in the order of a server's checks.
    (0, "CLIENT TRACKING"),
    (0, "CLIENT TRACKING maybe"),
    (0, "CLIENT TRACKING ON NOPE"),
    (0, "CLIENT TRACKING maybe NOPE"),
    (0, "CLIENT TRACKING ON REDIRECT"),
    (0, "CLIENT TRACKING ON REDIRECT x"),
    (0, "CLIENT TRACKING ON REDIRECT 0"),
    (0, "CLIENT TRACKING ON REDIRECT -1"),
    (0, "CLIENT TRACKING ON REDIRECT 99999"),
    (0, "CLIENT TRACKING ON REDIRECT $id1 REDIRECT $id2"),
    (0, "CLIENT TRACKING ON REDIRECT $id1 REDIRECT x"),
    (0, "CLIENT TRACKING OFF REDIRECT 99999"),
    (0, "CLIENT TRACKING ON PREFIX"),
    (0, "CLIENT TRACKING ON PREFIX a"),
    (0, "CLIENT TRACKING ON BCAST OPTIN"),
    (0, "CLIENT TRACKING ON BCAST OPTOUT"),
    (0, "CLIENT TRACKING ON OPTIN OPTOUT"),
    (0, "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab"),
    (0, "CLIENT TRACKING ON BCAST PREFIX ab PREFIX x PREFIX a"),
    (0, "CLIENT TRACKING OFF"),
    (0, "CLIENT TRACKINGINFO"),
    // The default mode.
    (0, "CLIENT TRACKING ON"),
    (0, "CLIENT TRACKINGINFO"),
    (0, "CLIENT GETREDIR"),
    (0, "CLIENT TRACKING ON BCAST"),
    (0, "CLIENT CACHING YES"),
    (0, "CLIENT CACHING NO"),
    (0, "CLIENT CACHING MAYBE"),
    (0, "GET k"),
    (1, "SET k 1"),
    (1, "SET k 2"),
    (0, "MGET k l m"),
    (0, "GET k"),
    (1, "MSET l 1 m 2 n 3"),
    (1, "DEL k"),
    (0, "EXISTS k"),
    (1, "APPEND k x"),
    (0, "TTL k"),
    (1, "EXPIRE k 100"),
    (0, "TYPE k"),
    (1, "PERSIST k"),
    (0, "STRLEN k"),
    (1, "GETDEL k"),
    (0, "GET k"),
    (1, "GETDEL k"),
    (1, "SETNX k 1"),
    (0, "GET k"),
    (1, "SETNX k 2"),
    (1, "SET k 2 NX"),
    (1, "DEL nothing"),
    (1, "RENAME k r"),
    (0, "MGET r k"),
    (1, "COPY r k"),
    (1, "INCR r"),
    // A client's own changes.
    (0, "GET own"),
    (0, "SET own 1"),
    (0, "SET own 2"),
    (0, "GETEX own EX 100"),
    (1, "SET own 3"),
    (0, "GET own"),
    (0, "MULTI"),
    (0, "INCR own"),
    (0, "GET r"),
    (0, "EXEC"),
    (1, "DEL r"),
    (0, "GET r"),
    (1, "MULTI"),
    (1, "SET r 1"),
    (1, "INCR r"),
    (1, "DEL r"),
    (1, "EXEC"),
    (0, "GET r"),
    (1, "FLUSHDB"),
    (1, "SET r 1"),
    (0, "FLUSHALL"),
    (0, "GET other-db"),
    (1, "SELECT 3"),
    (1, "SET other-db 1"),
    (1, "SELECT 0"),
    // Those who want no news of their own changes.
    (0, "CLIENT TRACKING ON NOLOOP"),
    (0, "CLIENT TRACKINGINFO"),
    (0, "MGET a b c"),
    (0, "SET a 1"),
    (1, "SET b 1"),
    (1, "SET a 1"),
    (0, "MULTI"),
    (0, "SET c 1"),
    (0, "EXEC"),
    (0, "FLUSHALL"),
    // Some keys only.
    (0, "CLIENT TRACKING ON OPTIN"),
    (0, "CLIENT TRACKINGINFO"),
    (0, "CLIENT TRACKING ON OPTOUT"),
    (0, "CLIENT CACHING NO"),
    (0, "CLIENT CACHING MAYBE"),
    (0, "GET a"),
    (1, "SET a 1"),
    (0, "CLIENT CACHING YES"),
    (0, "CLIENT TRACKINGINFO"),
    (0, "GET a"),
    (0, "GET b"),
    (1, "MSET a 1 b 1"),
    (0, "CLIENT CACHING YES"),
    (0, "MULTI"),
    (0, "GET a"),
    (0, "GET b"),
    (0, "EXEC"),
    (0, "GET c"),
    (1, "MSET a 1 b 1 c 1"),
    (0, "CLIENT TRACKING OFF"),
    (0, "CLIENT TRACKING ON OPTOUT"),
    (0, "CLIENT CACHING YES"),
    (0, "CLIENT CACHING NO"),
    (0, "CLIENT TRACKINGINFO"),
    (0, "GET a"),
    (0, "GET b"),
    (1, "MSET a 1 b 1"),
    (0, "CLIENT TRACKING OFF"),
    (1, "SET a 1"),
    // Broadcasts.
    (0, "CLIENT TRACKING ON BCAST"),
    (0, "CLIENT TRACKINGINFO"),
    (1, "SET x 1"),
    (1, "MSET z 1 y 2 x 3 z 4"),
    (0, "SET own 1"),
    (1, "DEL nothing"),
    (0, "CLIENT TRACKING ON BCAST PREFIX x"),
    (0, "CLIENT TRACKING ON"),
    (0, "CLIENT TRACKING OFF"),
    (0, "CLIENT TRACKING ON BCAST PREFIX a: PREFIX b: NOLOOP"),
    (0, "CLIENT TRACKINGINFO"),
    (0, "CLIENT TRACKING ON BCAST PREFIX a:b NOLOOP"),
    (0, "CLIENT TRACKING ON BCAST PREFIX a: NOLOOP"),
    (0, "CLIENT TRACKING ON BCAST PREFIX c: NOLOOP"),
    (0, "CLIENT TRACKINGINFO"),
    (1, "MSET a:1 x b:1 x b:2 x c:1 x d:1 x a: x"),
    (0, "MSET a:1 x b:1 x"),
    (0, "MULTI"),
    (0, "SET a:1 x"),
    (0, "DEL a:2 b:2"),
    (0, "EXEC"),
    (1, "MULTI"),
    (1, "SET a:1 x"),
    (1, "DEL a:2 b:1"),
    (1, "INCR n"),
    (1, "EXEC"),
    (1, "FLUSHALL"),
    (0, "CLIENT TRACKING OFF"),
    (1, "SET a:1 x"),
    // To another client.
    (2, "SUBSCRIBE __redis__:invalidate"),
    (0, "CLIENT TRACKING ON REDIRECT $id2"),
    (0, "CLIENT GETREDIR"),
    (0, "GET k"),
    (1, "SET k 1"),
    (0, "GET k"),
    (0, "SET k 2"),
    (1, "FLUSHALL"),
    (0, "CLIENT TRACKING OFF"),
    (0, "CLIENT TRACKING ON BCAST REDIRECT $id2 PREFIX k"),
    (1, "MSET k1 1 k2 2 x 3"),
    (0, "SET k1 1"),
    (1, "GET k"),
    (0, "RESET"),
    (0, "CLIENT TRACKINGINFO"),
    (1, "SET k1 2"),
];

#[test]
fn clients_of_resp3_are_told_what_a_server_tells_them() {
    let mut both = Both::start(3);
    for client in 0..3 {
        both.speak_3(client);
    }
    for (client, line) in STEPS {
        both.step(*client, line);
    }
}

#[test]
fn clients_of_resp2_are_told_by_another_one() {
    let mut both = Both::start(3);
    both.step(2, "SUBSCRIBE __redis__:invalidate");
    for (client, line) in [
        (0, "CLIENT TRACKING ON REDIRECT $id2 NOLOOP"),
        (0, "CLIENT TRACKINGINFO"),
        (0, "MGET a b c"),
        (0, "SET a 1"),
        (1, "MSET b 1 c 1"),
        (1, "SET a 1"),
        (0, "GET a"),
        (1, "FLUSHDB"),
        (0, "CLIENT TRACKING OFF"),
        (
            0,
            "CLIENT TRACKING ON BCAST REDIRECT $id2 PREFIX a PREFIX b",
        ),
        (0, "CLIENT TRACKINGINFO"),
        (1, "MSET a 1 a2 1 b 1 c 1"),
        (1, "FLUSHALL"),
    ] {
        both.step(client, line);
    }
}

#[test]
fn a_client_whose_redirection_is_gone_is_told_so() {
    let mut both = Both::start(3);
    both.speak_3(0);
    both.step(0, "CLIENT TRACKING ON REDIRECT $id2");
    both.step(0, "GET k");
    both.quit(2);
    both.step(1, "SET k 1");
    both.step(0, "CLIENT TRACKINGINFO");
    both.step(0, "CLIENT TRACKING ON");
    both.step(0, "CLIENT TRACKINGINFO");
}

#[test]
fn what_expires_or_is_evicted_is_told() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let (mut con, mut pushes) = client(&store, "CLIENT TRACKING ON");
    let (_all, mut broadcast) = client(&store, "CLIENT TRACKING ON BCAST");
    let mut writer = store.connect();
    for line in ["PSETEX a 10 v", "PSETEX b 10 v", "PSETEX c 10 v", "SET d v"] {
        run(&mut writer, line);
    }
    run(&mut con, "MGET a b c d");
    clock.advance(Duration::from_millis(20));
    assert_eq!(invalidated(&mut broadcast), ["a", "b", "c", "d"]);
    run(&mut writer, "GET a");
    assert_eq!(invalidated(&mut pushes), ["a"]);
    assert_eq!(invalidated(&mut broadcast), ["a"]);
    run(&mut writer, "SET b v");
    assert_eq!(invalidated(&mut pushes), ["b"]);
    store.expire_cycle();
    assert_eq!(invalidated(&mut pushes), ["c"]);
    assert_eq!(invalidated(&mut broadcast), ["b", "c"]);
    run(&mut writer, "CONFIG SET maxmemory-policy allkeys-lru");
    run(&mut writer, "CONFIG SET maxmemory 1");
    assert_eq!(invalidated(&mut pushes), ["d"]);
    let mut evicted = invalidated(&mut broadcast);
    evicted.sort_unstable();
    assert_eq!(evicted, ["b", "d"]);
}

#[test]
fn the_table_is_bounded_and_tells_what_it_forgets() {
    let store = Store::new();
    let (mut con, mut pushes) = client(&store, "CLIENT TRACKING ON");
    for n in 0..250 {
        run(&mut con, &format!("GET key{n}"));
    }
    assert!(invalidated(&mut pushes).is_empty());
    run(&mut store.connect(), "CONFIG SET tracking-table-max-keys 1");
    assert_eq!(invalidated(&mut pushes).len(), 249);
    run(&mut con, "MGET x y z");
    assert_eq!(invalidated(&mut pushes).len(), 3);
    run(&mut store.connect(), "CONFIG SET tracking-table-max-keys 0");
    run(&mut con, "MGET x y z");
    assert!(invalidated(&mut pushes).is_empty());
}

static READS: Script = Script::new("return redis.call('GET', KEYS[1])", |call| {
    let key = call.keys()[0];
    call.call(&[b"GET", key])
});
static WRITES: Script = Script::new("return redis.call('SET', KEYS[1], '1')", |call| {
    let key = call.keys()[0];
    call.call(&[b"SET", key, b"1"])
});

#[test]
fn a_script_that_reads_reads_all_its_keys() {
    let store = Store::builder().script(READS).script(WRITES).build();
    let (mut con, mut pushes) = client(&store, "CLIENT TRACKING ON NOLOOP");
    let eval = |con: &mut Connection, script: &Script| {
        con.execute(cmd("EVAL").arg(script.lua()).arg(2).arg("a").arg("b"))
    };
    let mut writer = store.connect();
    eval(&mut con, &WRITES);
    run(&mut writer, "MSET a 1 b 1");
    assert!(invalidated(&mut pushes).is_empty());
    eval(&mut con, &READS);
    run(&mut writer, "MSET a 1 b 1");
    assert_eq!(invalidated(&mut pushes), ["a", "b"]);
}

#[test]
fn a_subscriber_of_resp2_in_process_gets_invalidations_by_its_pushes() {
    let store = Store::new();
    let mut con = store.connect();
    let mut pushes = con.pushes();
    run(&mut con, "CLIENT TRACKING ON");
    run(&mut con, "GET k");
    run(&mut store.connect(), "SET k 1");
    assert_eq!(invalidated(&mut pushes), ["k"]);
}

/// Readers keep copies as clients do: a copy is dropped when its key is invalidated. In the end, when all changes were
/// told, no copy may differ from the store.
fn readers_never_keep_a_stale_value(tracking: &str, write: fn(&mut Connection, usize, usize)) {
    const KEYS: usize = 8;
    let store = Store::new();
    let stop = AtomicBool::new(false);
    let (store, stop) = (&store, &stop);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                scope.spawn(move || {
                    let mut con = store.connect();
                    for n in 0..20_000 {
                        write(&mut con, (n * 7 + writer) % KEYS, n);
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(move || {
                let (mut con, mut pushes) = client(store, tracking);
                let mut copies: HashMap<String, Value> = HashMap::new();
                let mut hits = 0;
                loop {
                    let last = stop.load(Ordering::SeqCst);
                    for n in 0..KEYS {
                        let key = format!("k{n}");
                        let copy = copies.get(&key);
                        hits += usize::from(copy.is_some());
                        if copy.is_none() {
                            let value = run(&mut con, &format!("GET {key}"));
                            copies.insert(key, value);
                        }
                    }
                    while let Some(push) = pushes.try_next() {
                        match keys(&push.data) {
                            Some(keys) => keys.iter().for_each(|key| {
                                copies.remove(key);
                            }),
                            None => copies.clear(),
                        }
                    }
                    if last {
                        break;
                    }
                }
                for (key, copy) in copies {
                    assert_eq!(run(&mut con, &format!("GET {key}")), copy, "{key}");
                }
                assert!(hits > 0);
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    });
}

fn set(con: &mut Connection, key: usize, n: usize) {
    run(con, &format!("SET k{key} {n}"));
}

#[test]
fn no_change_is_missed_in_the_default_mode() {
    readers_never_keep_a_stale_value("CLIENT TRACKING ON", set);
}

#[test]
fn no_change_is_missed_in_the_broadcast_mode() {
    readers_never_keep_a_stale_value("CLIENT TRACKING ON BCAST PREFIX k", set);
}

#[test]
fn no_change_is_missed_while_the_table_is_full_and_keys_are_flushed() {
    readers_never_keep_a_stale_value("CLIENT TRACKING ON", |con, key, n| match n % 100 {
        0 => {
            run(con, "FLUSHALL ASYNC");
        }
        1 => {
            run(
                con,
                &format!("CONFIG SET tracking-table-max-keys {}", n / 100 % 7 + 1),
            );
        }
        2 => {
            run(con, &format!("PSETEX k{key} 1 x"));
        }
        _ => set(con, key, n),
    });
}

#[test]
fn tracking_ends_with_the_connection() {
    let store = Store::new();
    let (mut con, pushes) = client(&store, "CLIENT TRACKING ON");
    run(&mut con, "GET k");
    drop((con, pushes));
    let (mut con, _pushes) = client(&store, "CLIENT TRACKING ON BCAST PREFIX a");
    let info = format!("{:?}", run(&mut con, "INFO"));
    assert!(info.contains("tracking_clients:1"), "{info}");
    assert!(info.contains("tracking_total_keys:0"), "{info}");
    assert!(info.contains("tracking_total_prefixes:1"), "{info}");
}
