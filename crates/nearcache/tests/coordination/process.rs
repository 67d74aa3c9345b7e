//! Processes that hold locks or work on jobs: this test binary, started again. Each writes what it does to a file of
//! its own, a line at a time, so that the file says what happened up to the moment at which it is killed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nearcache::{Cache, blocking};

use crate::face::run;

/// Says to this binary that it is one of the processes, and which: `WHAT PORT PREFIX WAY FILE`.
const ROLE: &str = "NEARCACHE_TEST_COORDINATION";

/// The TTL of what is held, in these tests.
pub(crate) const TTL: Duration = Duration::from_millis(300);

/// After what time a job is given to another worker, in these tests.
pub(crate) const CLAIM: Duration = Duration::from_millis(400);

/// How many permits the semaphore has.
pub(crate) const PERMITS: u64 = 3;

/// A folder that is removed with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        let path = std::env::temp_dir().join(nearcache_testkit::random_prefix());
        std::fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    /// What the processes have written, a text for each.
    pub(crate) fn texts(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.0).expect("the folder");
        let text = |file: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(file.expect("a file").path()).expect("text")
        };
        files.map(text).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Another process. Dropped, it is killed.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(
        what: &str,
        port: u16,
        prefix: &str,
        blocking: bool,
        to: &Folder,
    ) -> Process {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let file =
            to.0.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
        let way = if blocking { "blocking" } else { "async" };
        let role = format!("{what} {port} {prefix} {way} {}", file.display());
        let child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "process::one_of_the_processes", "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Process(child.expect("another process"))
    }

    /// `SIGKILL`.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// `SIGSTOP`, and `SIGCONT` after this time.
    pub(crate) fn pause(&self, time: Duration) {
        self.signal("STOP");
        std::thread::sleep(time);
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.0.id().to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "no signal {name}"
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
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

/// The monotonic clock, which is the same for all processes of a machine, in nanoseconds.
pub(crate) fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
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
