//! Processes that are killed while they write, at every step of a rewrite, and on a disk that is full.
//!
//! The process is this test binary again, with its task in an environment variable. `NEARCACHE_KILLS=100` sets how
//! often it is killed; 8 times by default.

mod persist;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nearcache_embedded::{Fsync, Store};
use persist::{Folder, run};
use redis::{ConnectionLike, Value};

const WRITERS: usize = 4;

fn task(name: &str) -> Option<String> {
    std::env::var(format!("NEARCACHE_TASK_{name}")).ok()
}

fn child(test: &str, task: &str, folder: &Folder) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(format!("NEARCACHE_TASK_{task}"), folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// What a writer does: a counter and a list change together, and when that is acknowledged, it says so.
fn write_on(store: &Store, writer: usize, say: &Mutex<std::io::Stdout>) {
    let mut connection = store.connect();
    loop {
        let mut pipeline = redis::pipe();
        pipeline
            .atomic()
            .cmd("INCR")
            .arg(format!("counter:{writer}"))
            .cmd("RPUSH")
            .arg(format!("list:{writer}"))
            .arg("x");
        let (count, _): (u64, u64) = pipeline.query(&mut connection).unwrap();
        let line = format!("ack {writer} {count}\n");
        let mut say = say.lock().unwrap();
        // In one write, so that a kill does not cut it.
        if say.write_all(line.as_bytes()).is_err() || say.flush().is_err() {
            return;
        }
    }
}

/// Reads what was acknowledged until so many lines have come, and then kills the process.
/// Returns whether it has said that it got through.
fn kill_after(child: &mut Child, lines: usize, acknowledged: &mut [u64; WRITERS]) -> bool {
    let mut through = false;
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut seen = 0;
    let mut alive = true;
    loop {
        line.clear();
        if output.read_line(&mut line).unwrap() == 0 {
            break;
        }
        through |= line.contains("through");
        let Some(rest) = line.find("ack ").map(|at| &line[at + 4..]) else {
            continue;
        };
        let mut words = rest.split_whitespace();
        let writer: usize = words.next().unwrap().parse().unwrap();
        let count: u64 = words.next().unwrap().parse().unwrap();
        acknowledged[writer] = acknowledged[writer].max(count);
        seen += 1;
        if alive && seen >= lines {
            // What it has said until then still comes.
            child.kill().unwrap();
            alive = false;
        }
    }
    child.wait().unwrap();
    through
}

/// Nothing acknowledged is lost, and the two keys of a writer agree.
#[track_caller]
fn check(folder: &Folder, acknowledged: &[u64; WRITERS]) {
    let store = folder.open();
    let mut connection = store.connect();
    for (writer, least) in acknowledged.iter().enumerate() {
        let get = redis::cmd("GET")
            .arg(format!("counter:{writer}"))
            .to_owned();
        let count = get
            .query::<Option<u64>>(&mut connection)
            .unwrap()
            .unwrap_or(0);
        assert!(
            count >= *least,
            "{writer}: {count}, but {least} were acknowledged"
        );
        let length = run(&mut connection, &format!("LLEN list:{writer}"));
        assert_eq!(length, Value::Int(count.cast_signed()));
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    if let Some(path) = task("LOAD") {
        let store = Store::builder()
            .persist(path)
            .appendfsync(Fsync::Always)
            .rewrite_at(0, 0)
            .open()
            .unwrap();
        let say = Mutex::new(std::io::stdout());
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (store, say) = (&store, &say);
                scope.spawn(move || write_on(store, writer, say));
            }
            loop {
                store.rewrite().unwrap();
            }
        });
    }
    let rounds = std::env::var("NEARCACHE_KILLS").map_or(8, |n| n.parse().unwrap());
    let folder = Folder::new();
    let mut acknowledged = [0; WRITERS];
    for round in 0..rounds {
        let mut child = child("what_was_acknowledged_survives_a_kill", "LOAD", &folder)
            .spawn()
            .unwrap();
        let before: u64 = acknowledged.iter().sum();
        kill_after(&mut child, 40 + round * 37 % 300, &mut acknowledged);
        assert!(
            acknowledged.iter().sum::<u64>() > before,
            "it wrote nothing"
        );
        check(&folder, &acknowledged);
    }
}

#[test]
fn a_kill_at_any_step_of_a_rewrite_loses_nothing() {
    if let Some(path) = task("STEPS") {
        let at: usize = std::env::var("NEARCACHE_STEP").unwrap().parse().unwrap();
        let steps = AtomicUsize::new(0);
        let store = Store::builder()
            .persist(path)
            .appendfsync(Fsync::Always)
            .__at_steps(move |_| {
                if steps.fetch_add(1, Ordering::SeqCst) == at {
                    // As kill -9: no destructor runs.
                    std::process::abort();
                }
            })
            .open()
            .unwrap();
        let say = Mutex::new(std::io::stdout());
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (store, say) = (&store, &say);
                scope.spawn(move || write_on(store, writer, say));
            }
            std::thread::sleep(Duration::from_millis(30));
            store.rewrite().unwrap();
            std::thread::sleep(Duration::from_millis(30));
            say.lock().unwrap().write_all(b"through\n").unwrap();
            std::process::abort();
        });
    }
    // Making a new folder, and opening one, have steps as well.
    let mut steps = 0;
    loop {
        let folder = Folder::new();
        let mut acknowledged = [0; WRITERS];
        let mut through = false;
        for round in 0..2 {
            let mut child = child(
                "a_kill_at_any_step_of_a_rewrite_loses_nothing",
                "STEPS",
                &folder,
            )
            .env("NEARCACHE_STEP", steps.to_string())
            .spawn()
            .unwrap();
            let ended = kill_after(&mut child, usize::MAX, &mut acknowledged);
            through |= round == 0 && ended;
            check(&folder, &acknowledged);
        }
        if through {
            break;
        }
        steps += 1;
        assert!(steps < 60, "it never gets through");
    }
    assert!(steps > 15, "it has only {steps} steps");
}

#[test]
fn a_full_disk_refuses_writes_keeps_reads_and_recovers() {
    for (fsync, name) in [(Fsync::Always, "always"), (Fsync::EverySec, "everysec")] {
        if let Some(path) = task("FULL") {
            fill(&path);
            return;
        }
        let folder = Folder::new();
        // The shell lets the child ignore the signal, and limits how large its files may become.
        let test = "a_full_disk_refuses_writes_keeps_reads_and_recovers";
        let output = Command::new("bash")
            .args(["-c", "trap '' XFSZ; ulimit -S -f 64; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env("NEARCACHE_TASK_FULL", folder.path())
            .env("NEARCACHE_FSYNC", name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let done = text
            .lines()
            .find_map(|line| line.split("recovered ").nth(1));
        let keys: usize = done
            .unwrap_or_else(|| panic!("{text}{errors}"))
            .parse()
            .unwrap();
        let store = folder.try_open(fsync).unwrap();
        assert_eq!(store.loaded().unwrap().truncated, None);
        assert_eq!(run(&mut store.connect(), "DBSIZE"), Value::Int(keys as i64));
    }
}

fn fill(path: &str) {
    let fsync: Fsync = std::env::var("NEARCACHE_FSYNC").unwrap().parse().unwrap();
    let store = Store::builder()
        .persist(path)
        .appendfsync(fsync)
        .rewrite_at(0, 0)
        .open()
        .unwrap();
    let mut connection = store.connect();
    let value = "v".repeat(1000);
    let mut set = |n: usize| run(&mut connection, &format!("SET {n} {value}"));
    let refusal = (0..1_000_000).find_map(|n| match set(n) {
        Value::ServerError(error) => {
            Some((n, format!("{} {}", error.code(), error.details().unwrap())))
        }
        _ => {
            if fsync == Fsync::EverySec {
                std::thread::sleep(Duration::from_millis(1));
            }
            None
        }
    });
    let (refused, text) = refusal.unwrap();
    assert_eq!(
        text,
        "MISCONF Errors writing to the AOF file: File too large"
    );
    assert!(refused > 50);
    let mut other = store.connect();
    // Reads go on, and so does what changes nothing; everything else is refused.
    assert_eq!(run(&mut other, "STRLEN 7"), Value::Int(1000));
    assert!(matches!(run(&mut other, "DEL 7"), Value::ServerError(_)));
    run(&mut other, "MULTI");
    assert!(matches!(run(&mut other, "SET a b"), Value::ServerError(_)));
    let Value::ServerError(error) = run(&mut other, "EXEC") else {
        panic!("a transaction was run");
    };
    assert_eq!(error.code(), "EXECABORT");
    let info: String = redis::from_redis_value(run(&mut other, "INFO persistence")).unwrap();
    assert!(info.contains("aof_last_write_status:err"), "{info}");
    let transaction = redis::pipe().atomic().cmd("SET").arg(1).arg(1).to_owned();
    let packed = transaction.get_packed_pipeline();
    assert!(other.req_packed_commands(&packed, 2, 1).is_err());
    // There is room again.
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited:"])
        .status()
        .unwrap();
    assert!(status.success());
    nearcache_testkit::eventually("writes go on", || set(refused + 1) == Value::Okay);
    assert_eq!(set(refused), Value::Okay);
    let Value::Int(keys) = run(&mut other, "DBSIZE") else {
        panic!("no size");
    };
    store.sync().unwrap();
    let said = format!("recovered {keys}\n");
    std::io::stdout().write_all(said.as_bytes()).unwrap();
}
