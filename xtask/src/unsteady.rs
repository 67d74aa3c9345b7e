//! Tests that fail once, and then pass each time when they are run alone. An example counts as one.
//!
//! Thousands of tests with real servers, kills and pauses share the cores of one machine. One that fails because the
//! machine stood still for a second says nothing of the change it was run for. So the few that fail are run again, each
//! alone, and are shown as `UNSTEADY` if they pass every time. That is a report, not an excuse: either the test takes
//! something for granted, or the code is wrong once in a thousand times.
//!
//! What never may happen is not excused by not happening again: see [`STRICT`].

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::run::{self, Counts};
use crate::steps::Step;

/// How often a test must pass.
const TIMES: usize = 3;

/// If more tests fail than this, it is not by chance.
const FEW: usize = 3;

/// The tests of what no order of events, and no death, may bring about: once is too often.
const STRICT: [&str; 11] = [
    "atomicity",
    "coordination",
    "differential",
    "near",
    "persistence_commit",
    "persistence_kill",
    "persistence_rewrite",
    "persistence_server",
    "race",
    "rate_limits",
    "stampede",
];

/// The tests of a step that failed.
#[derive(Default)]
pub(crate) struct Failures {
    tests: BTreeSet<String>,
    /// The arguments that choose the programs with these tests, as cargo says them: `-p PACKAGE --test NAME`.
    targets: BTreeSet<String>,
}

impl Failures {
    /// Takes a line of what the tests print.
    pub(crate) fn note(&mut self, line: &str) {
        let name = line.strip_prefix("test ").and_then(|line| {
            line.strip_suffix(" ... FAILED")
                .map(|name| name.trim_end_matches(" - should panic"))
        });
        self.tests.extend(name.map(str::to_owned));
    }

    /// An example that failed counts as a test.
    pub(crate) fn note_example(&mut self, step: &Step) {
        self.tests.insert(step.name.clone());
    }

    /// Takes what cargo has said, which has ended.
    pub(crate) fn of(&mut self, targets: &Receiver<String>) {
        // A server that a test has left behind may hold the other end.
        while let Ok(target) = targets.recv_timeout(Duration::from_secs(1)) {
            self.targets.insert(target);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.tests.len() as u64
    }

    /// Whether all of them pass when they are run alone.
    pub(crate) fn are_unsteady(&self, step: &Step, counts: &Counts) -> bool {
        if step.is_example() {
            return self.pass(|| run::once(step).0.failed == 0);
        }
        // A program that did not come to its end, or was ended, says of none of its tests that it failed.
        let are_all = self.count() == counts.failed && !self.targets.is_empty();
        let few = self.tests.len() <= FEW && self.targets.len() <= FEW;
        if !are_all || !few || self.targets.iter().any(|target| is_strict(target)) {
            return false;
        }
        let again: Vec<Step> = self
            .targets
            .iter()
            .map(|target| self.again(step, target))
            .collect();
        self.pass(|| again.iter().all(|step| run::once(step).0.failed == 0))
    }

    /// Whether they pass each time.
    fn pass(&self, again: impl Fn() -> bool) -> bool {
        let passes = (0..TIMES).all(|_| again());
        if passes {
            for test in &self.tests {
                println!("UNSTEADY: {test} failed, and then passed {TIMES} times alone");
            }
        }
        passes
    }

    /// The step for these tests alone, in one program. What is built for them is what was built for the step.
    fn again(&self, step: &Step, target: &str) -> Step {
        let kept = step.arguments.iter().cloned();
        let kept = kept.filter(|argument| argument != "--lib" && argument != "--doc");
        let mut arguments: Vec<String> = kept.collect();
        let mut chosen = target.split_whitespace();
        while let Some(word) = chosen.next() {
            match word {
                "-p" => drop(chosen.next()),
                _ => arguments.push(word.to_owned()),
            }
        }
        arguments.extend(["--", "--exact", "--test-threads=1"].map(str::to_owned));
        arguments.extend(self.tests.iter().cloned());
        Step {
            name: format!("again, alone: {}", step.name),
            program: step.program,
            arguments,
            environment: step.environment,
        }
    }
}

fn is_strict(target: &str) -> bool {
    let name = target.split_whitespace().next_back();
    name.is_some_and(|name| STRICT.contains(&name))
}

/// Shows what cargo says, and tells which programs with tests failed by it.
pub(crate) fn targets(said: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            if let Some(target) = target(&line) {
                let _ = sender.send(target.to_owned());
            }
        }
    });
    receiver
}

/// ``error: test failed, to rerun pass `-p PACKAGE --test NAME` ``
fn target(line: &str) -> Option<&str> {
    let (_, target) = line.split_once("to rerun pass `")?;
    target.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_read_from_what_cargo_and_the_tests_print() {
        let mut failures = Failures::default();
        for line in [
            "test one::passes ... ok",
            "test one::fails ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored",
            "test src/lib.rs - (line 3) ... FAILED",
        ] {
            failures.note(line);
        }
        let names: Vec<&str> = failures.tests.iter().map(String::as_str).collect();
        assert_eq!(names, ["one::fails", "src/lib.rs - (line 3)"]);
        let said = "error: test failed, to rerun pass `-p nearcache-embedded --test serve`";
        let named = target(said).unwrap();
        assert_eq!(named, "-p nearcache-embedded --test serve");
        assert_eq!(target("error: could not compile"), None);
        assert!(!is_strict(named) && is_strict("-p nearcache --test race"));
    }
    /// A test that fails when it is run first is unsteady, unless it is a strict one; one that always fails has failed.
    #[test]
    fn a_test_that_fails_once_is_shown_and_one_that_fails_always_has_failed() {
        let folder = std::env::temp_dir().join(format!("xtask-unsteady-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "Cargo.toml",
            "[package]\nname = \"tried\"\nedition = \"2024\"\n[workspace]\n",
        );
        write("src/lib.rs", "");
        let once = format!(
            "#[test] fn first() {{
                 let mark = std::path::Path::new({folder:?}).join(file!().replace('/', \"-\"));
                 let was = mark.exists();
                 std::fs::write(mark, \"\").unwrap();
                 assert!(was);
             }}
             #[test] fn steady() {{}}"
        );
        let counted = |name: &str, text: &str| {
            write(&format!("tests/{name}.rs"), text);
            let manifest = folder.join("Cargo.toml").display().to_string();
            let arguments = [
                "test",
                "--offline",
                "--manifest-path",
                &manifest,
                "--test",
                name,
            ];
            let step = Step {
                name: name.to_owned(),
                program: "cargo",
                arguments: arguments.map(str::to_owned).to_vec(),
                environment: &[],
            };
            run::step(&step).to_string()
        };
        let always = "#[test] fn fails() { panic!() }";
        let said = [
            counted("odd", &once),
            counted("race", &once),
            counted("wrong", always),
        ];
        write(
            "examples/odd.rs",
            &once
                .replace("#[test] fn first", "fn main")
                .replace("#[test] ", ""),
        );
        let manifest = folder.join("Cargo.toml").display().to_string();
        let arguments = [
            "run",
            "--offline",
            "--manifest-path",
            &manifest,
            "--example",
            "odd",
        ];
        let example = run::step(&Step {
            name: "example odd".to_owned(),
            program: "cargo",
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: &[],
        });
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            example.to_string(),
            "1 passed, 0 failed, 0 skipped, 1 UNSTEADY"
        );
        assert_eq!(
            said,
            [
                "2 passed, 0 failed, 0 skipped, 1 UNSTEADY",
                "1 passed, 1 failed, 0 skipped",
                "0 passed, 1 failed, 0 skipped",
            ]
        );
    }
}
