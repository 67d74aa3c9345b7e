//! What the tests of persistence share: folders, and the contents of a store or a server.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nearcache_embedded::{Fsync, PersistError, Store};
use redis::{Cmd, ConnectionLike, Value};

/// A folder that is removed when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nearcache-persistence-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(crate) fn try_open(&self, fsync: Fsync) -> Result<Store, PersistError> {
        Store::builder()
            .shards(8)
            .persist(&self.0)
            .appendfsync(fsync)
            .open()
    }

    pub(crate) fn open(&self) -> Store {
        self.try_open(Fsync::No).unwrap()
    }

    /// The files of the log.
    pub(crate) fn files(&self) -> PathBuf {
        self.0.join("appendonlydir")
    }

    /// The names of the files of the log, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.files()).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    /// The increment that is written to.
    pub(crate) fn increment(&self) -> PathBuf {
        let manifest = self.files().join("appendonly.aof.manifest");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let last = manifest.lines().last().unwrap();
        self.files().join(last.split(' ').nth(1).unwrap())
    }

    /// A copy of it as it is now.
    pub(crate) fn copy(&self) -> Folder {
        let copy = Folder::new();
        std::fs::create_dir_all(copy.files()).unwrap();
        for name in self.names() {
            std::fs::copy(self.files().join(&name), copy.files().join(&name)).unwrap();
        }
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a command written as words.
pub(crate) fn run(connection: &mut impl ConnectionLike, words: &str) -> Value {
    let args: Vec<&str> = words.split(' ').collect();
    connection.req_command(Cmd::new().arg(&args)).unwrap()
}

/// Runs commands, one a line, that must succeed.
pub(crate) fn run_all(connection: &mut impl ConnectionLike, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let reply = run(connection, line);
        assert!(!matches!(reply, Value::ServerError(_)), "{line}: {reply:?}");
    }
}

/// What is in the first databases: type, value and deadline of every key.
pub(crate) type Contents = BTreeMap<(u32, Vec<u8>), String>;

pub(crate) fn contents(connection: &mut impl ConnectionLike) -> Contents {
    let mut contents = Contents::new();
    for db in 0..4 {
        run(connection, &format!("SELECT {db}"));
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(connection).unwrap();
        for key in keys {
            let text = describe(connection, &key);
            contents.insert((db, key), text);
        }
    }
    run(connection, "SELECT 0");
    contents
}

fn describe(connection: &mut impl ConnectionLike, key: &[u8]) -> String {
    let mut ask = |words: &str| {
        let mut cmd = Cmd::new();
        for word in words.split(' ') {
            if word == "KEY" {
                cmd.arg(key);
            } else {
                cmd.arg(word);
            }
        }
        connection.req_command(&cmd).unwrap()
    };
    let kind: String = redis::from_redis_value(ask("TYPE KEY")).unwrap();
    let value = match kind.as_str() {
        "string" => ask("GET KEY"),
        "list" => ask("LRANGE KEY 0 -1"),
        "hash" => sorted(ask("HGETALL KEY"), 2),
        "set" => sorted(ask("SMEMBERS KEY"), 1),
        "zset" => ask("ZRANGE KEY 0 -1 WITHSCORES"),
        "stream" => Value::Array(vec![
            ask("XRANGE KEY - +"),
            without_radix(ask("XINFO STREAM KEY FULL COUNT 0")),
        ]),
        other => panic!("a {other}"),
    };
    format!("{kind} {value:?} {:?}", ask("PEXPIRETIME KEY"))
}

fn sorted(value: Value, step: usize) -> Value {
    let Value::Array(values) = value else {
        panic!("{value:?}")
    };
    let mut rows: Vec<_> = values.chunks(step).map(|row| format!("{row:?}")).collect();
    rows.sort();
    Value::SimpleString(rows.join(" "))
}

/// Leaves out the fields that say how a stream is stored, and when a consumer was seen.
fn without_radix(value: Value) -> Value {
    match value {
        Value::Array(values) => {
            let mut kept = Vec::new();
            let mut values = values.into_iter();
            while let Some(value) = values.next() {
                let hidden = matches!(&value, Value::BulkString(name)
                    if name.starts_with(b"radix-tree") || name == b"seen-time");
                if hidden {
                    values.next();
                } else {
                    kept.push(without_radix(value));
                }
            }
            Value::Array(kept)
        }
        value => value,
    }
}
