//! Processes that hold locks or work on jobs. Each writes what it does to a file of
//! its own, a line at a time, so that the file says what happened up to the moment at which it is killed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nearcache::{Cache, blocking};

use crate::child::{Folder, Process, clock};
use crate::face::run;

/// Says to this binary that it is one of the processes, and which: `WHAT PORT PREFIX WAY FILE`.
const ROLE: &str = "NEARCACHE_TEST_COORDINATION";

/// The TTL of what is held, in these tests.
pub(crate) const TTL: Duration = Duration::from_millis(300);

/// After what time a job is given to another worker, in these tests.
pub(crate) const CLAIM: Duration = Duration::from_millis(400);

/// How many permits the semaphore has.
pub(crate) const PERMITS: u64 = 3;

/// Starts one that does this.
pub(crate) fn start(what: &str, port: u16, prefix: &str, blocking: bool, to: &Folder) -> Process {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = to.path().join(number.to_string());
    let way = if blocking { "blocking" } else { "async" };
    let role = format!("{what} {port} {prefix} {way} {}", file.display());
    Process::start("process::one_of_the_processes", ROLE, &role)
}

/// Not a test of anything, but what the others start.
#[test]
fn one_of_the_processes() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let words: Vec<&str> = role.splitn(5, ' ').collect();
    let [what, port, prefix, way, file] = words[..] else {
        panic!("{role:?} is no role")
    };
    let url = format!("redis://127.0.0.1:{port}?prefix={prefix}&timeout=200ms");
    let file = open(Path::new(file));
    // A process whose test is gone ends by itself.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(600));
        std::process::exit(1);
    });
    match (what, way) {
        ("queue", "async") => run(work(Cache::open(&url).expect("a cache"), file)),
        ("queue", _) => work_on_threads(&blocking::Cache::open(&url).expect("a cache"), &file),
        (what, "async") => run(hold(Cache::open(&url).expect("a cache"), what, file)),
        (what, _) => {
            hold_on_this_thread(&blocking::Cache::open(&url).expect("a cache"), what, file);
        }
    }
}

fn open(path: &Path) -> File {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.expect("a file")
}

/// Notes that something is held, for as long as it is: `b TOKEN NANOS` is a time at which it was, and so is each
/// `s TOKEN NANOS`. What is true at two times is true between them, because once false it stays false.
pub(crate) async fn watch(
    out: &mut impl Write,
    token: u64,
    time: Duration,
    is_held: impl Fn() -> bool,
    pause: impl AsyncFn(Duration),
) {
    let begun = std::time::Instant::now();
    let mut is_first = true;
    while begun.elapsed() < time {
        let before = clock();
        if !is_held() {
            return;
        }
        // The time of the question for the end, that of the answer for the beginning.
        let line = match std::mem::take(&mut is_first) {
            true => format!("b {token} {}\n", clock()),
            false => format!("s {token} {before}\n"),
        };
        out.write_all(line.as_bytes()).expect("it is written");
        pause(Duration::from_micros(500)).await;
    }
}

pub(crate) fn a_while() -> Duration {
    // Now and then for longer than the TTL, so that it is renewed.
    match fastrand::u8(..8) {
        0 => TTL.mul_f64(1.5),
        _ => Duration::from_millis(fastrand::u64(2..40)),
    }
}

async fn hold(cache: Cache, what: &str, mut file: File) {
    loop {
        let pause = |time| tokio::time::sleep(time);
        if what == "lock" {
            let Ok(held) = cache.lock("job").ttl(TTL).acquire().wait("20s").await else {
                continue;
            };
            watch(&mut file, held.token(), a_while(), || held.is_held(), pause).await;
            let _ = held.release().await;
        } else {
            let pool = cache.semaphore("pool", PERMITS).ttl(TTL);
            let Ok(held) = pool.acquire().wait("20s").await else {
                continue;
            };
            watch(&mut file, held.token(), a_while(), || held.is_held(), pause).await;
            drop(held);
        }
    }
}

fn hold_on_this_thread(cache: &blocking::Cache, what: &str, mut file: File) {
    let pause = async |time| std::thread::sleep(time);
    loop {
        if what == "lock" {
            let Ok(held) = cache.lock("job").ttl(TTL).acquire().wait("20s").run() else {
                continue;
            };
            let watched = watch(&mut file, held.token(), a_while(), || held.is_held(), pause);
            run(watched);
            drop(held);
        } else {
            let pool = cache.semaphore("pool", PERMITS).ttl(TTL);
            let Ok(held) = pool.acquire().wait("20s").run() else {
                continue;
            };
            let watched = watch(&mut file, held.token(), a_while(), || held.is_held(), pause);
            run(watched);
            let _ = held.release().run();
        }
    }
}

/// Notes each job that was done, as `NUMBER ATTEMPT`.
fn done(mut file: &File, number: u32, attempt: u32) {
    let line = format!("{number} {attempt}\n");
    file.write_all(line.as_bytes()).expect("it is written");
}

async fn work(cache: Cache, file: File) {
    let worker = cache.queue::<u32>("jobs").worker();
    let worker = worker.concurrency(4).claim_after(CLAIM).retries(1_000);
    let file = std::sync::Arc::new(file);
    let ended = worker.backoff("1ms".."10ms").run(move |job| {
        let file = std::sync::Arc::clone(&file);
        async move {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..5_000))).await;
            if fastrand::u8(..20) == 0 {
                return Err("as it happens");
            }
            done(&file, *job, job.attempt());
            Ok(())
        }
    });
    ended.await.expect("it works");
}

fn work_on_threads(cache: &blocking::Cache, file: &File) {
    let worker = cache.queue::<u32>("jobs").worker();
    let worker = worker.concurrency(4).claim_after(CLAIM).retries(1_000);
    let ended = worker.backoff("1ms".."10ms").run(|job| {
        std::thread::sleep(Duration::from_micros(fastrand::u64(..5_000)));
        if fastrand::u8(..20) == 0 {
            return Err("as it happens");
        }
        done(file, *job, job.attempt());
        Ok(())
    });
    ended.expect("it works");
}
