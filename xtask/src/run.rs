//! Runs a step, shows its output, and counts the tests in it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use crate::steps::Step;

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
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

pub(crate) fn step(step: &Step) -> Counts {
    println!("\n== {}", step.name);
    let begun = Instant::now();
    let mut command = Command::new(step.program);
    command
        .args(&step.arguments)
        .env("PATH", path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
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
            return Counts {
                failed: 1,
                ..counts
            };
        }
    };
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Thousands of tests pass, so only the lines of failed ones and the sums are shown.
            let passed = line.starts_with("test ") && line.ends_with(" ok");
            if !passed && !line.is_empty() {
                println!("{line}");
            }
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
        eprintln!("FAILED: {} {}", step.program, step.arguments.join(" "));
    }
    println!(
        "-- {} in {:.1} s",
        if succeeded { "ok" } else { "FAILED" },
        begun.elapsed().as_secs_f64()
    );
    counts
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
    fn the_sums_of_a_test_run_are_read() {
        let counts = summed(
            "FAILED. 430 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 4.30s",
        );
        assert_eq!(counts.to_string(), "430 passed, 2 failed, 1 skipped");
    }
}
