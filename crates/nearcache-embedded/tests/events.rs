//! Events: one for each command that really changed something.

use std::sync::{Arc, Mutex};

use nearcache_embedded::{Connection, Event, Store, Subscription};
use redis::{Commands, cmd, pipe};

type Told = Arc<Mutex<Vec<String>>>;

fn subscribed() -> (Store, Connection, Told, Subscription) {
    let store = Store::new();
    let con = store.connect();
    let told = Told::default();
    let teller = told.clone();
    let subscription = store.subscribe(move |event| {
        let text = match event {
            Event::Changed { db, keys, by } => {
                let keys: Vec<_> = keys
                    .iter()
                    .map(|key| String::from_utf8_lossy(key))
                    .collect();
                format!("{db}: {} by {by:?}", keys.join(" "))
            }
            Event::Flushed { db, by } => format!("flushed {db:?} by {by:?}"),
            _ => "something new".to_owned(),
        };
        teller.lock().unwrap().push(text);
    });
    (store, con, told, subscription)
}

fn run(con: &mut Connection, line: &str) {
    let args: Vec<&str> = line.split(' ').collect();
    let _ = cmd(args[0]).arg(&args[1..]).exec(con);
}

#[test]
fn a_command_that_changes_something_tells_so_once() {
    let (_store, mut con, told, _subscription) = subscribed();
    for (line, event) in [
        ("SET a 1", Some("0: a by Some(1)")),
        ("SET a 1", Some("0: a by Some(1)")),
        ("INCR a", Some("0: a by Some(1)")),
        ("INCRBYFLOAT a 1.5", Some("0: a by Some(1)")),
        ("APPEND a 1", Some("0: a by Some(1)")),
        ("SETRANGE a 0 x", Some("0: a by Some(1)")),
        ("EXPIRE a 100", Some("0: a by Some(1)")),
        ("PERSIST a", Some("0: a by Some(1)")),
        ("GETEX a EX 100", Some("0: a by Some(1)")),
        ("MSET a 1 b 2 a 3", Some("0: a b by Some(1)")),
        ("RENAME a c", Some("0: a c by Some(1)")),
        ("COPY b a DB 2", Some("2: a by Some(1)")),
        ("RPUSH list x y", Some("0: list by Some(1)")),
        ("DEL c b nothing", Some("0: b c by Some(1)")),
        ("GETDEL list", None),
        ("EXPIRE list -1", Some("0: list by Some(1)")),
        ("SELECT 2", None),
        ("GETDEL a", Some("2: a by Some(1)")),
        ("FLUSHDB", Some("flushed Some(2) by Some(1)")),
        ("FLUSHALL", Some("flushed None by Some(1)")),
    ] {
        run(&mut con, line);
        let told = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(told, event.into_iter().collect::<Vec<_>>(), "{line}");
    }
}

#[test]
fn a_command_that_changes_nothing_tells_nothing() {
    let (_store, mut con, told, _subscription) = subscribed();
    run(&mut con, "SET a text");
    run(&mut con, "SET b 1 EX 100");
    told.lock().unwrap().clear();
    for line in [
        "GET a",
        "MGET a b",
        "EXISTS a",
        "TYPE a",
        "TTL b",
        "STRLEN a",
        "SET a x NX",
        "SET c x XX",
        "SETNX a x",
        "MSETNX c 1 a 2",
        "INCR a",
        "LPUSH a x",
        "DEL c",
        "PERSIST a",
        "GETEX a",
        "GETEX a PERSIST",
        "EXPIRE c 100",
        "EXPIRE b 1 GT",
        "EXPIRE b 1000000 LT",
        "EXPIRE b 100 NX",
        "RENAME c d",
        "RENAMENX a b",
        "RENAME a a",
        "COPY c d",
        "COPY a b",
        "SETRANGE c 0 ",
        "SCAN 0",
        "KEYS *",
        "GETDEL c",
        "SET a",
        "NOPE a",
    ] {
        run(&mut con, line);
        assert_eq!(*told.lock().unwrap(), [""; 0], "{line}");
    }
}

#[test]
fn the_commands_of_a_transaction_are_told_of_one_by_one() {
    let (_store, mut con, told, _subscription) = subscribed();
    pipe()
        .atomic()
        .set("a", 1)
        .set("b", 2)
        .get("a")
        .del(&["a", "b"])
        .exec(&mut con)
        .unwrap();
    assert_eq!(
        *told.lock().unwrap(),
        ["0: a by Some(1)", "0: b by Some(1)", "0: a b by Some(1)"]
    );
}

#[test]
fn an_event_comes_after_the_change_and_before_the_reply() {
    let store = Store::new();
    let reader = store.connect();
    let seen = Arc::new(Mutex::new(None));
    let writer = seen.clone();
    let _subscription = store.subscribe(move |_| {
        *writer.lock().unwrap() = reader.clone().get::<_, Option<String>>("k").unwrap();
    });
    let () = store.connect().set("k", "v").unwrap();
    assert_eq!(seen.lock().unwrap().as_deref(), Some("v"));
}

#[test]
fn a_dropped_subscription_hears_nothing_more() {
    let (store, mut con, told, subscription) = subscribed();
    let second = Told::default();
    let teller = second.clone();
    let _second = store.subscribe(move |_| teller.lock().unwrap().push(String::new()));
    drop(subscription);
    run(&mut con, "SET a 1");
    assert_eq!(
        (told.lock().unwrap().len(), second.lock().unwrap().len()),
        (0, 1)
    );
}
