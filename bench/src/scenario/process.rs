//! Processes of this program: a part of a scenario that needs a process of its own, so that nothing else is in its
//! memory, or several that share a server.
//!
//! A process prints a line when it is ready, waits for the signal to start, and prints its figures, a line each.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{memory, promises, saved};
use crate::Result;

/// The variable that makes this program run as such a process: `PROGRAM:WHAT`.
pub(crate) const CHILD: &str = "NEARCACHE_BENCH_CHILD";

/// Runs as such a process.
pub(crate) fn child(told: &str) -> Result<()> {
    match told.split_once(':') {
        Some(("memory", told)) => memory::child(told),
        Some(("promises", told)) => promises::child(told),
        Some(("saved", told)) => saved::child(told),
        _ => Err("only the benchmark starts such a process".into()),
    }
}

/// In a child: says that it is ready, and waits for the signal to go on.
pub(super) fn ready() -> Result<()> {
    println!("ready");
    wait()
}

/// In a child: waits for the next signal.
pub(super) fn wait() -> Result<()> {
    match std::io::stdin().read_line(&mut String::new())? {
        0 => Err("the benchmark has ended".into()),
        _ => Ok(()),
    }
}

/// A child process. It is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it, and waits until it is ready.
    pub(super) fn start(program: &str, what: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(CHILD, format!("{program}:{what}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let says = BufReader::new(child.stdout.take().ok_or("it has an output")?);
        let mut process = Process { child, says };
        process.line()?;
        Ok(process)
    }

    /// The signal to go on.
    pub(super) fn go(&mut self) -> Result<()> {
        let told = self.child.stdin.as_mut().ok_or("it has an input")?;
        Ok(told.write_all(b"go\n")?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.says.read_line(&mut line)? == 0 {
            return Err("a process ended early".into());
        }
        Ok(line)
    }

    /// Its next figure.
    pub(super) fn figure(&mut self) -> Result<f64> {
        Ok(self.line()?.trim().parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
