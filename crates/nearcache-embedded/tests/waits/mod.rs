//! Commands that wait on threads of their own.

use std::thread;

use nearcache_embedded::Store;
use redis::{Cmd, Value};

/// Runs a command on a thread, and returns when it waits.
pub(crate) fn waits(store: &Store, line: &'static str) -> thread::JoinHandle<Value> {
    let before = blocked(store);
    let mut connection = store.connect();
    let handle = thread::spawn(move || {
        connection.execute(Cmd::new().arg(line.split(' ').collect::<Vec<_>>()))
    });
    while blocked(store) == before {
        assert!(!handle.is_finished(), "{line} does not wait");
        thread::yield_now();
    }
    handle
}

/// How many clients wait.
pub(crate) fn blocked(store: &Store) -> usize {
    let info: String = redis::cmd("INFO")
        .arg("clients")
        .query(&mut store.connect())
        .unwrap();
    let field = info
        .lines()
        .find_map(|line| line.strip_prefix("blocked_clients:"));
    field.unwrap().parse().unwrap()
}
