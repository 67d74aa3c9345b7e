//! Runs a step, shows its output, and counts the tests in it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::steps::Step;
use crate::unsteady::{self, Failures};

/// How long a step may be silent. The longest test of `--long` takes a few minutes.
const SILENCE: Duration = Duration::from_secs(15 * 60);

static PATH: OnceLock<OsString> = OnceLock::new();

/// The `PATH` that every step has.
pub(crate) fn path() -> OsString {
    PATH.get()
        .cloned()
        .or_else(|| std::env::var_os("PATH"))
        .unwrap_or_default()
}

pub(crate) fn set_path(path: &OsStr) {
    let _ = PATH.set(path.to_owned());
}

static PYTHON: OnceLock<PathBuf> = OnceLock::new();

/// The Python that every step has: what needs one is not skipped then.
pub(crate) fn set_python(python: PathBuf) {
    let _ = PYTHON.set(python);
}

static SERVERS: OnceLock<PathBuf> = OnceLock::new();

/// The folder with the servers of other versions.
pub(crate) fn set_servers(servers: PathBuf) {
    let _ = SERVERS.set(servers);
}

/// Tests, and steps that have no tests (a lint, an example), each of which counts as one.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Those that failed at first: see `unsteady`.
    pub(crate) unsteady: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.unsteady += other.unsteady;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )?;
        match self.unsteady {
            0 => Ok(()),
            unsteady => write!(f, ", {unsteady} UNSTEADY"),
        }
    }
}

pub(crate) fn step(step: &Step) -> Counts {
    let (mut counts, failures) = once(step);
    if counts.failed > 0 && failures.are_unsteady(step, &counts) {
        counts.failed = 0;
        counts.passed += failures.count();
        counts.unsteady = failures.count();
    }
    counts
}

/// Runs the step once, and says which of its tests failed.
pub(crate) fn once(step: &Step) -> (Counts, Failures) {
    println!("\n== {}", step.name);
    let begun = Instant::now();
    let mut failures = Failures::default();
    let mut command = Command::new(step.program);
    command
        .args(&step.arguments)
        .env("PATH", path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(python) = PYTHON.get() {
        command.env("TESTKIT_PYTHON", python);
    }
    if let Some(servers) = SERVERS.get() {
        command.env("TESTKIT_SERVERS", servers);
    }
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", test_threads().to_string());
    }
    for (name, value) in step.environment {
        command.env(name, value);
    }
    let mut counts = Counts::default();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{} cannot be started: {error}", step.program);
            counts.failed = 1;
            return (counts, failures);
        }
    };
    let targets = child.stderr.take().map(unsteady::targets);
    if let Some(output) = child.stdout.take() {
        for line in lines(output, child.id()) {
            // Thousands of tests pass, so only the lines of failed ones and the sums are shown.
            let passed = line.starts_with("test ") && line.ends_with(" ok");
            if !passed && !line.is_empty() {
                println!("{line}");
            }
            failures.note(&line);
            if let Some(result) = line.strip_prefix("test result: ") {
                counts.add(&summed(result));
            }
        }
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    if counts.passed + counts.failed == 0 {
        counts.passed = u64::from(succeeded);
    }
    if !succeeded {
        counts.failed = counts.failed.max(1);
        if step.is_example() {
            failures.note_example(step);
        }
        eprintln!("FAILED: {} {}", step.program, step.arguments.join(" "));
    }
    println!(
        "-- {} in {:.1} s",
        if succeeded { "ok" } else { "FAILED" },
        begun.elapsed().as_secs_f64()
    );
    if let Some(targets) = targets {
        failures.of(&targets);
    }
    (counts, failures)
}

/// What a step prints, until it ends. One that has begun to print and then is silent for too long is ended: a test that
/// waits for what never comes fails, and what comes after it still runs.
fn lines(output: ChildStdout, pid: u32) -> impl Iterator<Item = String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    // Until then it is compiled, which takes as long as it takes.
    let mut begun = false;
    std::iter::from_fn(move || {
        let line = if begun {
            receiver.recv_timeout(SILENCE)
        } else {
            receiver.recv().map_err(RecvTimeoutError::from)
        };
        begun = true;
        if line == Err(RecvTimeoutError::Timeout) {
            eprintln!("FAILED: nothing was printed for {SILENCE:?}, so it is ended");
            end(pid);
        }
        line.ok()
    })
}

/// Ends a process, and what it has started, as far as `/proc` tells.
fn end(pid: u32) {
    let children = children(pid);
    // First the process itself, so that it starts nothing new meanwhile. (The shell has `kill` where there is no program.)
    let kill = format!("kill -KILL {pid}");
    let _ = Command::new("sh").args(["-c", &kill]).status();
    children.into_iter().for_each(end);
}

fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = processes.filter_map(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        // `pid (name) state parent`, where the name may be anything.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        let is_child = parent.parse() == Ok(pid);
        is_child.then(|| process.file_name().to_str()?.parse().ok())?
    });
    all.collect()
}

/// How many tests run at once. Most of them wait, for a server or for a time.
fn test_threads() -> usize {
    3 * std::thread::available_parallelism().map_or(1, usize::from)
}

/// `ok. 42 passed; 0 failed; 1 ignored; ...`
fn summed(result: &str) -> Counts {
    let mut counts = Counts::default();
    for part in result.split(['.', ';']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(what)) = (words.next(), words.next()) else {
            continue;
        };
        let number = number.parse().unwrap_or(0);
        match what {
            "passed" => counts.passed = number,
            "failed" => counts.failed = number,
            "ignored" => counts.skipped = number,
            _ => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_ended_with_what_it_has_started() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 600 & echo started; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut printed = lines(child.stdout.take().unwrap(), child.id());
        assert_eq!(printed.next().as_deref(), Some("started"));
        end(child.id());
        assert!(!child.wait().unwrap().success());
        // Its output was that of the other as well: it ends with both.
        assert_eq!(printed.next(), None);
    }

    #[test]
    fn the_sums_of_a_test_run_are_read() {
        let counts = summed(
            "FAILED. 430 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 4.30s",
        );
        assert_eq!(counts.to_string(), "430 passed, 2 failed, 1 skipped");
    }
}
