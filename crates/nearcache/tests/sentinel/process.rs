//! Processes that read, invalidate and count while the primary changes. Each notes
//! what it was answered, with the time by the clock that all processes share.
//!
//! Process `N` owns the key `k-N`, whose source is a file with a version in it. It writes the next version there, and
//! then deletes the key. All processes read all keys, through the source where the cache has nothing.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nearcache::{Cache, Error, blocking};
use parking::Lines;

use crate::child::{Folder, Process, clock};
use crate::face::run;

/// Says to this binary that it is one of the processes, and which: `URL NUMBER WAY FOLDER`.
const ROLE: &str = "NEARCACHE_TEST_SENTINEL";

pub(crate) const PROCESSES: usize = 4;

/// How many tasks or threads of a process read.
const READERS: usize = 3;

/// What happened to a process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    /// A read of this process's key, begun then and answered then, gave this version.
    Read(usize, u64, u64, u64),
    /// The deletion after this version was acknowledged.
    Deleted(u64, u64),
    /// The counter was acknowledged to have this value.
    Counted(u64, u64),
    /// Whether the counter went up is not known.
    Uncounted(u64),
    /// A call failed with an error of this kind, and how long it took in microseconds.
    Failed(String, u64, u64),
}

impl Line {
    fn written(&self) -> String {
        match self {
            Line::Read(key, version, from, to) => format!("r {key} {version} {from} {to}"),
            Line::Deleted(version, at) => format!("d {version} {at}"),
            Line::Counted(value, at) => format!("c {value} {at}"),
            Line::Uncounted(at) => format!("u {at}"),
            Line::Failed(kind, micros, at) => format!("e {kind} {micros} {at}"),
        }
    }

    fn read(text: &str) -> Option<Line> {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        Some(match words[0] {
            "r" => Line::Read(number(1)? as usize, number(2)?, number(3)?, number(4)?),
            "d" => Line::Deleted(number(1)?, number(2)?),
            "c" => Line::Counted(number(1)?, number(2)?),
            "u" => Line::Uncounted(number(1)?),
            "e" => Line::Failed((*words.get(1)?).to_owned(), number(2)?, number(3)?),
            _ => return None,
        })
    }
}

/// Starts one.
pub(crate) fn start(url: &str, number: usize, folder: &Folder) -> Process {
    let way = if number.is_multiple_of(2) {
        "async"
    } else {
        "blocking"
    };
    let role = format!("{url} {number} {way} {}", folder.path().display());
    Process::start("process::one_of_the_processes", ROLE, &role)
}

/// Ends one. What it noted.
pub(crate) fn end(mut process: Process, number: usize, folder: &Folder) -> Vec<Line> {
    process.hang_up();
    process.ended();
    let file = folder.path().join(format!("lines-{number}"));
    let text = fs::read_to_string(file).expect("its lines");
    let lines = text.lines().map(|line| Line::read(line).expect(line));
    lines.collect()
}

/// Lines that several threads write.
mod parking {
    use super::*;
    use std::sync::Mutex;

    pub(super) struct Lines(Mutex<BufWriter<fs::File>>);

    impl Lines {
        pub(super) fn to(path: &Path) -> Lines {
            Lines(Mutex::new(BufWriter::new(
                fs::File::create(path).expect("a file"),
            )))
        }

        pub(super) fn note(&self, line: &Line) {
            let mut to = self.0.lock().expect("nobody panics");
            writeln!(to, "{}", line.written()).expect("it is written");
        }

        pub(super) fn flush(&self) {
            self.0
                .lock()
                .expect("nobody panics")
                .flush()
                .expect("it is written");
        }
    }
}

/// What a process works on.
struct Work {
    number: usize,
    folder: PathBuf,
    lines: Lines,
    stop: AtomicBool,
}

impl Work {
    fn source(&self, key: usize) -> PathBuf {
        self.folder.join(format!("source-{key}"))
    }

    /// The version in a source.
    fn look(&self, key: usize) -> std::io::Result<u64> {
        let text = fs::read_to_string(self.source(key))?;
        text.parse().map_err(std::io::Error::other)
    }

    /// The next version of this process's own source.
    fn step(&self) -> u64 {
        let version = self.look(self.number).unwrap_or(0) + 1;
        let new = self.folder.join(format!("new-{}", self.number));
        fs::write(&new, version.to_string()).expect("it is written");
        fs::rename(&new, self.source(self.number)).expect("it is written");
        version
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn noted(&self, begun: u64, outcome: Result<Line, Error>) {
        let now = clock();
        match outcome {
            Ok(line) => self.lines.note(&line),
            Err(error) => {
                let kind = error.kind().as_str().to_owned();
                self.lines
                    .note(&Line::Failed(kind, (now - begun) / 1_000, now));
            }
        }
    }

    fn read(&self, key: usize, begun: u64, found: Result<u64, Error>) {
        let line = found.map(|version| Line::Read(key, version, begun, clock()));
        self.noted(begun, line);
    }

    fn deleted(&self, version: u64, begun: u64, outcome: Result<bool, Error>) {
        self.noted(begun, outcome.map(|_| Line::Deleted(version, clock())));
    }

    fn counted(&self, begun: u64, outcome: Result<i64, Error>) {
        if outcome.is_err() {
            self.lines.note(&Line::Uncounted(clock()));
        }
        let line = outcome.map(|value| Line::Counted(value.unsigned_abs(), clock()));
        self.noted(begun, line);
    }
}

/// Not a test of anything, but what the others start.
#[test]
fn one_of_the_processes() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let words: Vec<&str> = role.splitn(4, ' ').collect();
    let [url, number, way, folder] = words[..] else {
        panic!("{role:?} is no role")
    };
    let number: usize = number.parse().expect("a number");
    let folder = PathBuf::from(folder);
    let work = Arc::new(Work {
        number,
        lines: Lines::to(&folder.join(format!("lines-{number}"))),
        folder,
        stop: AtomicBool::new(false),
    });
    work.step();
    let stopping = Arc::clone(&work);
    std::thread::spawn(move || {
        // Until the test says so, or is gone.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stopping.stop.store(true, Ordering::Relaxed);
    });
    if way == "async" {
        let cache = Cache::open(url).expect("a cache");
        run(async {
            let mut tasks = vec![tokio::spawn(invalidates(cache.clone(), Arc::clone(&work)))];
            tasks.push(tokio::spawn(counts(cache.clone(), Arc::clone(&work))));
            for _ in 0..READERS {
                tasks.push(tokio::spawn(reads(cache.clone(), Arc::clone(&work))));
            }
            for task in tasks {
                task.await.expect("no task panics");
            }
        });
    } else {
        let cache = blocking::Cache::open(url).expect("a cache");
        std::thread::scope(|threads| {
            threads.spawn(|| invalidates_on_this_thread(&cache, &work));
            threads.spawn(|| counts_on_this_thread(&cache, &work));
            for _ in 0..READERS {
                threads.spawn(|| reads_on_this_thread(&cache, &work));
            }
        });
    }
    work.lines.flush();
}

/// Between two calls. The machine has other things to do.
const PAUSE: Duration = Duration::from_millis(3);

async fn invalidates(cache: Cache, work: Arc<Work>) {
    while work.goes_on() {
        let (version, begun) = (work.step(), clock());
        let outcome = cache.delete(format!("k-{}", work.number)).await;
        work.deleted(version, begun, outcome);
        tokio::time::sleep(PAUSE * 2).await;
    }
}

fn invalidates_on_this_thread(cache: &blocking::Cache, work: &Work) {
    while work.goes_on() {
        let (version, begun) = (work.step(), clock());
        let outcome = cache.delete(format!("k-{}", work.number)).run();
        work.deleted(version, begun, outcome);
        std::thread::sleep(PAUSE * 2);
    }
}

async fn counts(cache: Cache, work: Arc<Work>) {
    while work.goes_on() {
        let begun = clock();
        let outcome = cache.incr(format!("n-{}", work.number)).await;
        work.counted(begun, outcome);
        tokio::time::sleep(PAUSE).await;
    }
}

fn counts_on_this_thread(cache: &blocking::Cache, work: &Work) {
    while work.goes_on() {
        let begun = clock();
        let outcome = cache.incr(format!("n-{}", work.number)).run();
        work.counted(begun, outcome);
        std::thread::sleep(PAUSE);
    }
}

async fn reads(cache: Cache, work: Arc<Work>) {
    while work.goes_on() {
        let key = fastrand::usize(..PROCESSES);
        let begun = clock();
        let source = Arc::clone(&work);
        let load = move || async move { source.look(key) };
        let found = cache.remember(format!("k-{key}"), load).await;
        work.read(key, begun, found);
        tokio::time::sleep(PAUSE).await;
    }
}

fn reads_on_this_thread(cache: &blocking::Cache, work: &Work) {
    while work.goes_on() {
        let key = fastrand::usize(..PROCESSES);
        let begun = clock();
        let found = cache.remember(format!("k-{key}"), || work.look(key)).run();
        work.read(key, begun, found);
        std::thread::sleep(PAUSE);
    }
}
