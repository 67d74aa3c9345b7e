//! Expiry, by a clock that the test moves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcache_embedded::{Clock, Connection, Event, Store};
use redis::{Commands, cmd};

fn store() -> (Store, Connection, Clock) {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let con = store.connect();
    (store, con, clock)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_key_is_there_until_its_deadline_and_not_a_millisecond_longer() {
    let (_store, mut con, clock) = store();
    cmd("SET")
        .arg(&["k", "v", "PX", "1000"])
        .exec(&mut con)
        .unwrap();
    clock.advance(Duration::from_millis(999));
    assert_eq!(con.pttl::<_, i64>("k").unwrap(), 1);
    assert_eq!(
        con.get::<_, Option<String>>("k").unwrap().as_deref(),
        Some("v")
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(con.pttl::<_, i64>("k").unwrap(), -2);
    assert_eq!(con.get::<_, Option<String>>("k").unwrap(), None);
}

#[test]
fn no_command_returns_an_expired_key() {
    let (_store, mut con, clock) = store();
    for n in 0..500 {
        cmd("SET")
            .arg(format!("k{n}"))
            .arg("v")
            .arg("EX")
            .arg(10)
            .exec(&mut con)
            .unwrap();
    }
    let () = con.set("stays", "v").unwrap();
    clock.advance(seconds(10));
    assert_eq!(con.keys::<_, Vec<String>>("*").unwrap(), ["stays"]);
    assert_eq!(
        con.scan::<String>()
            .unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>(),
        ["stays"]
    );
    assert_eq!(cmd("RANDOMKEY").query::<String>(&mut con).unwrap(), "stays");
    assert_eq!(
        con.mget::<_, Vec<Option<String>>>(&["k1", "stays"])
            .unwrap(),
        [None, Some("v".into())]
    );
    assert!(con.set_nx::<_, _, bool>("k2", "again").unwrap());
    assert!(con.rename::<_, _, ()>("k3", "elsewhere").is_err());
    assert_eq!(con.append::<_, _, i64>("k4", "tail").unwrap(), 4);
    assert_eq!(con.ttl::<_, i64>("k4").unwrap(), -1);
    assert_eq!(con.incr::<_, _, i64>("k5", 1).unwrap(), 1);
    assert!(!con.del::<_, bool>("k6").unwrap());
}

#[test]
fn dbsize_counts_an_expired_key_until_somebody_comes_across_it() {
    let (_store, mut con, clock) = store();
    cmd("SET")
        .arg(&["k", "v", "EX", "1"])
        .exec(&mut con)
        .unwrap();
    clock.advance(seconds(1));
    assert_eq!(cmd("DBSIZE").query::<i64>(&mut con).unwrap(), 1);
    let _: Option<String> = con.get("k").unwrap();
    assert_eq!(cmd("DBSIZE").query::<i64>(&mut con).unwrap(), 0);
}

#[test]
fn an_expire_cycle_removes_what_expired_in_bounded_steps() {
    let (store, mut con, clock) = store();
    for n in 0..5_000 {
        let ttl = if n % 2 == 0 { 10 } else { 1_000 };
        cmd("SET")
            .arg(n)
            .arg("v")
            .arg("EX")
            .arg(ttl)
            .exec(&mut con)
            .unwrap();
    }
    assert_eq!(store.expire_cycle(), 0);
    clock.advance(seconds(10));
    let steps: Vec<usize> = std::iter::repeat_with(|| store.expire_cycle())
        .take_while(|n| *n > 0)
        .collect();
    assert!(steps.len() > 1, "{steps:?}");
    assert_eq!(steps.iter().sum::<usize>(), 2_500);
    assert_eq!(cmd("DBSIZE").query::<i64>(&mut con).unwrap(), 2_500);
    clock.advance(seconds(1_000));
    while store.expire_cycle() > 0 {}
    assert_eq!(cmd("DBSIZE").query::<i64>(&mut con).unwrap(), 0);
}

#[test]
fn a_deadline_that_was_moved_or_removed_no_longer_counts() {
    let (store, mut con, clock) = store();
    for key in ["persisted", "extended", "overwritten", "left"] {
        cmd("SET")
            .arg(key)
            .arg("v")
            .arg("EX")
            .arg(10)
            .exec(&mut con)
            .unwrap();
    }
    let () = con.persist("persisted").unwrap();
    let () = con.expire("extended", 100).unwrap();
    let () = con.set("overwritten", "w").unwrap();
    clock.advance(seconds(10));
    assert_eq!(store.expire_cycle(), 1);
    assert_eq!(
        con.exists::<_, i64>(&["persisted", "extended", "overwritten", "left"])
            .unwrap(),
        3
    );
}

#[test]
fn expiry_is_told_as_the_work_of_the_store() {
    let (store, mut con, clock) = store();
    let told = Arc::new(Mutex::new(Vec::new()));
    let writer = told.clone();
    let _subscription =
        store.subscribe(move |event| writer.lock().unwrap().push(format!("{event:?}")));
    for key in ["read", "overwritten", "swept"] {
        cmd("SET")
            .arg(key)
            .arg("v")
            .arg("EX")
            .arg(10)
            .exec(&mut con)
            .unwrap();
    }
    clock.advance(seconds(10));
    told.lock().unwrap().clear();
    let _: Option<String> = con.get("read").unwrap();
    let () = con.set("overwritten", "w").unwrap();
    assert_eq!(store.expire_cycle(), 1);
    let key = |key: &str| format!("{:?}", key.as_bytes());
    let changed =
        |name: &str, by: &str| format!("Changed {{ db: 0, keys: [{}], by: {by} }}", key(name));
    assert_eq!(
        *told.lock().unwrap(),
        [
            changed("read", "None"),
            changed("overwritten", "None"),
            changed("overwritten", &format!("Some({})", con.id())),
            changed("swept", "None"),
        ]
    );
}

#[test]
fn a_watched_key_that_expires_makes_the_transaction_fail() {
    let (_store, mut con, clock) = store();
    cmd("SET")
        .arg(&["k", "v", "EX", "10"])
        .exec(&mut con)
        .unwrap();
    cmd("WATCH").arg("k").exec(&mut con).unwrap();
    clock.advance(seconds(10));
    let done: Option<(bool,)> = redis::pipe().atomic().exists("k").query(&mut con).unwrap();
    assert_eq!(done, None);

    // One that had expired before is as good as absent.
    cmd("SET")
        .arg(&["k", "v", "EX", "10"])
        .exec(&mut con)
        .unwrap();
    clock.advance(seconds(10));
    cmd("WATCH").arg("k").exec(&mut con).unwrap();
    let done: Option<(bool,)> = redis::pipe().atomic().exists("k").query(&mut con).unwrap();
    assert_eq!(done, Some((false,)));
}

#[test]
fn with_the_system_clock_keys_are_removed_without_being_asked_for() {
    let store = Store::new();
    let (send, removed) = std::sync::mpsc::channel();
    let _subscription = store.subscribe(move |event| {
        if let Event::Changed { keys, by: None, .. } = event {
            send.send(keys[0].to_vec()).unwrap();
        }
    });
    let mut con = store.connect();
    // Twice, as the thread ends when there is nothing left to expire.
    for key in ["first", "second"] {
        cmd("SET")
            .arg(key)
            .arg("v")
            .arg("PX")
            .arg(1)
            .exec(&mut con)
            .unwrap();
        assert_eq!(
            removed.recv_timeout(Duration::from_secs(60)).unwrap(),
            key.as_bytes()
        );
        assert_eq!(cmd("DBSIZE").query::<i64>(&mut con).unwrap(), 0);
    }
}
