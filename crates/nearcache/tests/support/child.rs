//! Other processes: this test binary, started again. One of its tests does there what the role in its environment says,
//! and is no test of anything where there is none.

#![allow(dead_code, reason = "each suite uses its part of this")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What stands before the lines that are meant for the test that started a process.
const MARK: &str = "process: ";

/// Another process. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    said: Option<Lines<BufReader<ChildStdout>>>,
}

impl Process {
    /// Starts this test of this binary, with a role in this environment variable.
    pub(crate) fn start(test: &str, variable: &str, role: &str) -> Process {
        Self::spawn(test, variable, role, Stdio::null())
    }

    /// The same, to [hear](Process::hear) what it says.
    pub(crate) fn heard(test: &str, variable: &str, role: &str) -> Process {
        Self::spawn(test, variable, role, Stdio::piped())
    }

    fn spawn(test: &str, variable: &str, role: &str, output: Stdio) -> Process {
        let child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", test, "--nocapture"])
            .env(variable, role)
            .stdin(Stdio::piped())
            .stdout(output)
            .spawn();
        let mut child = child.expect("another process");
        let said = child.stdout.take();
        Process {
            child,
            said: said.map(|said| BufReader::new(said).lines()),
        }
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{line}").expect("the process listens");
    }

    /// Tells it that nothing more comes.
    pub(crate) fn hang_up(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for a line that begins so, of those that [`say`] has said there. Returns the rest of it.
    pub(crate) fn hear(&mut self, word: &str) -> String {
        let said = self.said.as_mut().expect("its output");
        loop {
            let line = said.next().expect("the process goes on");
            let line = line.expect("it says text");
            let said = line.split_once(MARK).map(|(_, said)| said);
            if let Some(rest) = said.and_then(|said| said.strip_prefix(word)) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Waits for its end, which is to be a good one.
    pub(crate) fn ended(mut self) {
        assert!(self.child.wait().is_ok_and(|status| status.success()));
    }

    /// `SIGKILL`.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// `SIGSTOP`, and `SIGCONT` after this time.
    pub(crate) fn pause(&self, time: Duration) {
        self.signal("STOP");
        std::thread::sleep(time);
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
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

/// In another process: says a line to the test that started it.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").expect("somebody listens");
    out.flush().expect("somebody listens");
}

/// A folder for what the processes write, which is removed with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        let path = std::env::temp_dir().join(nearcache_testkit::random_prefix());
        std::fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What is in its files.
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

/// The monotonic clock, which is the same for all processes of a machine, in nanoseconds.
pub(crate) fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
