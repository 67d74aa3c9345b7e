//! A store in a folder: what is in it after it was opened again, and what is refused.

mod persist;

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcache_embedded::{Clock, Fsync, PersistError, Policy, Script, Store};
use persist::{Contents, Folder, contents, run, run_all};
use redis::Value;

fn reopened(folder: &Folder) -> Contents {
    contents(&mut folder.open().connect())
}

#[test]
fn what_was_written_is_there_again() {
    let folder = Folder::new();
    let before = {
        let store = folder.open();
        assert_eq!(store.loaded().unwrap().commands, 0);
        let mut connection = store.connect();
        run_all(
            &mut connection,
            "SET a 1
             SET b 2 EX 1000
             APPEND a 23
             INCRBYFLOAT f 1.5
             RPUSH list x y z
             LPUSH list w
             SELECT 3
             SET other db
             MSET p 1 q 2 r 3
             DEL q
             EXPIRE p 500",
        );
        contents(&mut connection)
    };
    assert_eq!(before.len(), 7);
    assert_eq!(reopened(&folder), before);
    // And once more, after it went on.
    let store = folder.open();
    run(&mut store.connect(), "INCR a");
    let before = contents(&mut store.connect());
    drop(store);
    assert_eq!(reopened(&folder), before);
}

#[test]
fn a_transaction_a_script_and_a_command_of_several_steps_are_one_block_each() {
    static TWO: Script = Script::new("two", |call| {
        call.call(&[b"SET", call.keys()[0], b"1"])?;
        call.call(&[b"INCR", call.keys()[0]])
    });
    let folder = Folder::new();
    let store = Store::builder()
        .script(TWO)
        .persist(folder.path())
        .open()
        .unwrap();
    let mut connection = store.connect();
    run_all(
        &mut connection,
        "MULTI
         SET a 1
         SELECT 1
         SET b 2
         EXEC
         SELECT 0
         EVAL two 1 k
         GET a",
    );
    drop((connection, store));
    let text = fs::read_to_string(folder.increment()).unwrap();
    let words: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with(['*', '$']))
        .collect();
    assert_eq!(
        words.join(" "),
        "SELECT 0 MULTI SET a 1 SELECT 1 SET b 2 EXEC SELECT 0 MULTI SET k 1 INCR k EXEC"
    );
}

#[test]
fn what_changes_nothing_is_not_logged() {
    let folder = Folder::new();
    let store = folder.open();
    let mut connection = store.connect();
    run_all(
        &mut connection,
        "GET a
         DEL a
         PERSIST a
         EXPIRE a 10
         WATCH a
         UNWATCH
         KEYS *",
    );
    assert!(matches!(
        run(&mut connection, "INCR"),
        Value::ServerError(_)
    ));
    drop((connection, store));
    assert_eq!(fs::metadata(folder.increment()).unwrap().len(), 0);
}

#[test]
fn deadlines_are_absolute_and_expired_keys_stay_away() {
    let folder = Folder::new();
    let clock = Clock::manual();
    let open = || {
        let builder = Store::builder().clock(clock.clone());
        builder.persist(folder.path()).open().unwrap()
    };
    let store = open();
    let mut connection = store.connect();
    run_all(
        &mut connection,
        "SET short 1 EX 10
         SET long 1 EX 100
         SET counted 5 EX 10
         SET pushed 5 EX 10
         SET getex 1
         GETEX getex EX 100",
    );
    clock.advance(Duration::from_secs(20));
    // These find keys that have expired: the log must not go on with the old values.
    run_all(
        &mut connection,
        "INCR counted
         RPUSH pushed a",
    );
    drop((connection, store));
    clock.advance(Duration::from_secs(20));
    let store = open();
    let mut connection = store.connect();
    assert_eq!(run(&mut connection, "GET short"), Value::Nil);
    assert_eq!(run(&mut connection, "TTL long"), Value::Int(60));
    assert_eq!(run(&mut connection, "TTL getex"), Value::Int(60));
    assert_eq!(run(&mut connection, "INCR counted"), Value::Int(2));
    assert_eq!(run(&mut connection, "TTL counted"), Value::Int(-1));
    assert_eq!(run(&mut connection, "LLEN pushed"), Value::Int(1));
}

#[test]
fn one_store_at_a_time_has_the_folder() {
    let folder = Folder::new();
    let store = folder.open();
    let error = folder.try_open(Fsync::No).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(error, PersistError::Locked { pid: Some(by), .. } if by == pid),
        "{error}"
    );
    assert!(error.to_string().contains(&pid.to_string()), "{error}");
    drop(store);
    folder.open();
}

#[test]
fn a_cut_tail_is_trimmed_and_told() {
    let folder = Folder::new();
    run_all(
        &mut folder.open().connect(),
        "SET a 1
         MULTI
         SET b 1
         SET c 1
         EXEC",
    );
    let whole = fs::read(folder.increment()).unwrap();
    let first = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n".len();
    for end in first..whole.len() {
        fs::write(folder.increment(), &whole[..end]).unwrap();
        let store = folder.open();
        let cut = store.loaded().unwrap().truncated.clone();
        assert_eq!(contents(&mut store.connect()).len(), 1);
        if end == first {
            assert_eq!(cut, None);
        } else {
            let cut = cut.unwrap();
            assert_eq!(cut.file, folder.increment());
            assert_eq!(
                (cut.offset, cut.bytes),
                (first as u64, (end - first) as u64)
            );
        }
        drop(store);
        assert_eq!(fs::read(folder.increment()).unwrap(), &whole[..first]);
    }
}

#[test]
fn damage_is_an_error_that_names_the_place_and_nothing_is_touched() {
    let folder = Folder::new();
    run_all(
        &mut folder.open().connect(),
        "SET a 1
         RPUSH list 1
         INCR n
         SET b 1",
    );
    let whole = fs::read(folder.increment()).unwrap();
    let at = |what: &[u8]| {
        let mut windows = whole.windows(what.len());
        windows.position(|window| window == what).unwrap()
    };
    let record = at(b"*3\r\n$5\r\nRPUSH");
    for (what, with, reason) in [
        (&b"RPUSH"[..], &b"RPUSX"[..], "unknown command"),
        (b"RPUSH", b"LRANG", "unknown command"),
        (b"$5\r\nRPUSH", b"$6\r\nRPUSH", "longer or shorter"),
        (b"$4\r\nlist", b"$9\r\nlist", "longer or shorter"),
        (b"$1\r\n1\r\n*2", b"$8\r\n1\r\n*2", "longer or shorter"),
        (b"*3\r\n$5", b"*4\r\n$5", "expected '$'"),
        (b"*3\r\n$5", b"+3\r\n$5", "expected '*'"),
        (b"*3\r\n$5", b"\0\0\0\0$5", "expected '*'"),
        (
            b"$4\r\nlist\r\n$1\r\n1\r\n",
            b"$1\r\na\r\n$4\r\n1234\r\n",
            "WRONGTYPE",
        ),
    ] {
        let mut damaged = whole.clone();
        let start = at(what).max(record);
        damaged[start..start + with.len()].copy_from_slice(with);
        fs::write(folder.increment(), &damaged).unwrap();
        let error = folder.try_open(Fsync::No).unwrap_err();
        let PersistError::Damaged { file, offset, why } = &error else {
            panic!("{error}");
        };
        assert_eq!(
            (file, *offset),
            (&folder.increment(), record as u64),
            "{error}"
        );
        assert!(why.contains(reason), "{error}");
        assert_eq!(fs::read(folder.increment()).unwrap(), damaged);
    }
    // An argument that claims to reach to the end of the file.
    let mut longer = whole[..record].to_vec();
    longer.extend_from_slice(b"*3\r\n$5\r\nRPUSH\r\n$4\r\nlist\r\n$900\r\n1\r\n");
    longer.extend_from_slice(&whole[at(b"*2\r\n$4\r\nINCR")..]);
    fs::write(folder.increment(), &longer).unwrap();
    let error = folder.try_open(Fsync::No).unwrap_err().to_string();
    assert!(error.contains("does not end"), "{error}");
    assert_eq!(fs::read(folder.increment()).unwrap(), longer);
}

#[test]
fn files_that_are_missing_or_foreign_are_refused() {
    let folder = Folder::new();
    let fresh = || {
        run(&mut folder.open().connect(), "SET a 1");
    };
    let refused = |reason: &str| {
        let error = folder.try_open(Fsync::No).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    fresh();
    let manifest = folder.files().join("appendonly.aof.manifest");
    let text = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    refused("no appendonly.aof.manifest");
    fs::write(&manifest, "nonsense\n").unwrap();
    refused("is damaged at byte 0");
    fs::write(&manifest, b"").unwrap();
    refused("it names no file");
    fs::write(&manifest, &text).unwrap();
    let base = folder.files().join("appendonly.aof.1.base.aof");
    fs::remove_file(&base).unwrap();
    refused("it is missing");
    fs::write(&base, b"REDIS0010\xfa").unwrap();
    refused("aof-use-rdb-preamble no");
    fs::write(&base, b"").unwrap();
    fresh();
    // The folder of the files, in place of that above it.
    let inner = Store::builder().persist(folder.files()).open();
    let error = inner.unwrap_err().to_string();
    assert!(error.contains("open the folder in which it is"), "{error}");
    fs::remove_dir_all(folder.files()).unwrap();
    fs::write(folder.path().join("dump.rdb"), b"REDIS0010").unwrap();
    refused("CONFIG SET appendonly yes");
    fs::rename(
        folder.path().join("dump.rdb"),
        folder.path().join("appendonly.aof"),
    )
    .unwrap();
    refused("before version 7");
    // What is left behind by a folder that was being made is in nobody's way.
    fs::remove_file(folder.path().join("appendonly.aof")).unwrap();
    fs::create_dir(folder.files()).unwrap();
    fs::write(&base, b"").unwrap();
    fs::write(folder.files().join("temp-appendonly.aof.manifest"), b"x").unwrap();
    fresh();
    assert_eq!(
        folder.names(),
        [
            "appendonly.aof.1.base.aof",
            "appendonly.aof.1.incr.aof",
            "appendonly.aof.manifest"
        ]
    );
}

#[test]
fn a_database_that_the_store_has_not_is_told() {
    let folder = Folder::new();
    run_all(
        &mut folder.open().connect(),
        "SELECT 9
         SET a 1",
    );
    let opened = Store::builder().databases(4).persist(folder.path()).open();
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("DB index is out of range"), "{error}");
}

#[test]
fn loading_tells_its_progress() {
    let folder = Folder::new();
    {
        let store = folder.open();
        let mut connection = store.connect();
        for n in 0..3000 {
            let mut cmd = redis::cmd("SET");
            cmd.arg(n).arg(&[b'v'; 1000]).exec(&mut connection).unwrap();
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let store = Store::builder()
        .persist(folder.path())
        .on_load(move |progress| told.lock().unwrap().push(*progress))
        .open()
        .unwrap();
    let seen = seen.lock().unwrap();
    let last = seen.last().unwrap();
    assert!(seen.len() >= 3);
    assert!(seen.is_sorted_by_key(|progress| progress.bytes));
    assert_eq!(last.bytes, last.total);
    assert_eq!(last.commands, 3001);
    assert_eq!(store.loaded().unwrap().bytes, last.total);
}

#[test]
fn a_rewrite_leaves_one_base_and_one_increment() {
    let folder = Folder::new();
    let store = folder.open();
    let mut connection = store.connect();
    for n in 0..500 {
        run(&mut connection, &format!("RPUSH list {n}"));
        run(&mut connection, "INCR n");
        run(&mut connection, &format!("SET k{n} {n} EX 10000"));
    }
    run_all(&mut connection, "SELECT 2\nSET x y");
    store.rewrite().unwrap();
    run_all(&mut connection, "INCR n\nSELECT 0\nINCR n");
    let before = contents(&mut connection);
    drop((connection, store));
    assert_eq!(
        folder.names(),
        [
            "appendonly.aof.2.base.aof",
            "appendonly.aof.2.incr.aof",
            "appendonly.aof.manifest"
        ]
    );
    assert_eq!(reopened(&folder), before);
    let info = {
        let store = folder.open();
        let mut connection = store.connect();
        let started = run(&mut connection, "BGREWRITEAOF");
        let text = "Background append only file rewriting started";
        assert_eq!(started, Value::SimpleString(text.into()));
        nearcache_testkit::eventually("the rewrite ends", || {
            let info = run(&mut connection, "INFO persistence");
            let info: String = redis::from_redis_value(info).unwrap();
            info.contains("aof_rewrite_in_progress:0")
        });
        let info = run(&mut connection, "INFO persistence");
        redis::from_redis_value::<String>(info).unwrap()
    };
    for field in [
        "aof_enabled:1",
        "aof_rewrites:1",
        "aof_last_bgrewrite_status:ok",
    ] {
        assert!(info.contains(field), "{info}");
    }
    assert_eq!(reopened(&folder), before);
}

#[test]
fn a_log_that_has_grown_is_rewritten_by_itself() {
    let folder = Folder::new();
    let store = Store::builder()
        .persist(folder.path())
        .rewrite_at(100, 10_000)
        .open()
        .unwrap();
    let mut connection = store.connect();
    for n in 0..2000 {
        run(&mut connection, &format!("SET key {n}"));
    }
    nearcache_testkit::eventually("the log is rewritten", || {
        !folder
            .names()
            .contains(&"appendonly.aof.1.base.aof".to_owned())
    });
    drop((connection, store));
    assert_eq!(reopened(&folder).len(), 1);
    let sizes = folder.names().into_iter().map(|name| {
        let path = folder.files().join(name);
        fs::metadata(path).unwrap().len()
    });
    assert!(sizes.sum::<u64>() < 70_000);
}

#[test]
fn a_store_is_saved_to_one_file_and_loaded_from_it() {
    let folder = Folder::new();
    let path = folder.path().join("copy.aof");
    let store = Store::new();
    let mut connection = store.connect();
    for n in 0..300 {
        run(&mut connection, &format!("RPUSH list {n}"));
        run(&mut connection, &format!("SET k{n} {n}"));
    }
    store.save(&path).unwrap();
    let before = contents(&mut connection);
    let other = Store::new();
    run(&mut other.connect(), "SET gone 1");
    assert!(other.load(&path).unwrap() >= 300);
    assert_eq!(contents(&mut other.connect()), before);
    // A file that is cut or damaged changes nothing.
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(
        other.load(&path),
        Err(PersistError::Damaged { .. })
    ));
    fs::write(&path, b"REDIS0010").unwrap();
    assert!(matches!(
        other.load(&path),
        Err(PersistError::Unsupported { .. })
    ));
    assert_eq!(contents(&mut other.connect()), before);
    // What is loaded is logged like anything else.
    fs::write(&path, &whole).unwrap();
    let persistent = folder.open();
    persistent.load(&path).unwrap();
    drop(persistent);
    assert_eq!(reopened(&folder), before);
}

#[test]
fn another_process_is_told_who_has_the_folder() {
    if let Ok(path) = std::env::var("NEARCACHE_LOCKED_FOLDER") {
        let error = Store::builder().persist(path).open().unwrap_err();
        writeln!(std::io::stdout(), "<{error}>").unwrap();
        return;
    }
    let folder = Folder::new();
    let store = folder.open();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["another_process_is_told_who_has_the_folder", "--nocapture"])
        .env("NEARCACHE_LOCKED_FOLDER", folder.path())
        .output()
        .unwrap();
    drop(store);
    let text = String::from_utf8_lossy(&child.stdout);
    let expected = format!("in use by process {}", std::process::id());
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn config_shows_the_files_and_changes_the_policy() {
    let folder = Folder::new();
    let store = folder.try_open(Fsync::EverySec).unwrap();
    let mut connection = store.connect();
    let mut get = |name: &str| {
        let get = redis::cmd("CONFIG").arg("GET").arg(name).to_owned();
        let pair: Vec<String> = get.query(&mut connection).unwrap();
        pair[1].clone()
    };
    assert_eq!(get("appendonly"), "yes");
    assert_eq!(get("appendfsync"), "everysec");
    assert_eq!(get("dir"), folder.text());
    assert_eq!(get("auto-aof-rewrite-percentage"), "100");
    assert_eq!(get("auto-aof-rewrite-min-size"), "67108864");
    let mut connection = store.connect();
    run_all(
        &mut connection,
        "CONFIG SET appendfsync always
         CONFIG SET appendonly yes
         CONFIG SET auto-aof-rewrite-percentage 50 auto-aof-rewrite-min-size 1mb
         SET a 1",
    );
    // It is on the disk at once.
    assert_eq!(reopened(&folder.copy()).len(), 1);
    for refused in [
        "CONFIG SET appendfsync sometimes",
        "CONFIG SET appendonly no",
        "CONFIG SET dir /tmp",
        "CONFIG SET aof-use-rdb-preamble yes",
        "SAVE",
        "BGSAVE",
    ] {
        let reply = run(&mut connection, refused);
        assert!(matches!(reply, Value::ServerError(_)), "{refused}");
    }
    let Value::Int(saved) = run(&mut connection, "LASTSAVE") else {
        panic!("no time");
    };
    assert!(saved > 1_700_000_000);
}

#[test]
fn what_the_store_removes_by_itself_stays_away() {
    let folder = Folder::new();
    let clock = Clock::manual();
    let store = Store::builder()
        .clock(clock.clone())
        .max_memory(60_000)
        .policy(Policy::AllKeysRandom)
        .persist(folder.path())
        .open()
        .unwrap();
    let mut connection = store.connect();
    for n in 0..2000 {
        run(&mut connection, &format!("SET key:{n} {n} EX 10"));
        run(&mut connection, &format!("RPUSH list:{} {n}", n % 50));
    }
    let before = contents(&mut connection);
    assert!(before.len() < 700, "nothing was evicted");
    drop((connection, store));
    let open = || {
        let builder = Store::builder().clock(clock.clone());
        builder.persist(folder.path()).open().unwrap()
    };
    assert_eq!(contents(&mut open().connect()), before);
    clock.advance(Duration::from_secs(20));
    let removed = open().expire_cycle();
    let lists = before.keys().filter(|(_, key)| key.starts_with(b"list"));
    assert_eq!(removed + lists.count(), before.len());
    // The log says that they are gone, whatever the time.
    let early = Store::builder()
        .clock(Clock::manual())
        .persist(folder.path())
        .open()
        .unwrap();
    assert_eq!(contents(&mut early.connect()).len(), before.len() - removed);
}

#[test]
fn what_a_waiter_took_is_logged() {
    let folder = Folder::new();
    let store = folder.try_open(Fsync::Always).unwrap();
    std::thread::scope(|scope| {
        let mut waiter = store.connect();
        let taken = scope.spawn(move || run(&mut waiter, "BLPOP list 0"));
        nearcache_testkit::eventually("it waits", || {
            let info = run(&mut store.connect(), "INFO clients");
            let info: String = redis::from_redis_value(info).unwrap();
            info.contains("blocked_clients:1")
        });
        run(&mut store.connect(), "RPUSH list a b");
        assert!(matches!(taken.join().unwrap(), Value::Array(_)));
    });
    // As a kill would leave it.
    let copy = folder.copy();
    let left = run(&mut copy.open().connect(), "LRANGE list 0 -1");
    assert_eq!(left, Value::Array(vec![Value::BulkString(b"b".to_vec())]));
}

#[test]
fn a_rewrite_that_fails_leaves_a_log_that_goes_on() {
    let folder = Folder::new();
    let store = folder.open();
    let mut connection = store.connect();
    run_all(&mut connection, "INCR n\nINCR n");
    // The new base cannot take its place.
    let obstacle = folder.files().join("appendonly.aof.2.base.aof");
    fs::create_dir(&obstacle).unwrap();
    for _ in 0..2 {
        let error = store.rewrite().unwrap_err();
        assert!(matches!(error, PersistError::Io { .. }), "{error}");
        run(&mut connection, "INCR n");
    }
    let info: String = redis::from_redis_value(run(&mut connection, "INFO persistence")).unwrap();
    assert!(info.contains("aof_last_bgrewrite_status:err"), "{info}");
    assert!(
        info.contains("aof_rewrites_consecutive_failures:2"),
        "{info}"
    );
    store.sync().unwrap();
    fs::remove_dir(&obstacle).unwrap();
    // Three increments, none of them lost.
    assert_eq!(folder.names().len(), 5);
    let value = run(&mut folder.copy().open().connect(), "GET n");
    assert_eq!(value, Value::BulkString(b"4".to_vec()));
    store.rewrite().unwrap();
    run(&mut connection, "INCR n");
    drop((connection, store));
    assert_eq!(folder.names().len(), 3);
    let value = run(&mut folder.open().connect(), "GET n");
    assert_eq!(value, Value::BulkString(b"5".to_vec()));
}
