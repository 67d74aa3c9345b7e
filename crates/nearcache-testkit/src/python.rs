//! A real Python with real libraries, for tests of data that both read and write.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The variable that names the interpreter. `cargo xtask test` sets it, so that there nothing is skipped.
const VARIABLE: &str = "TESTKIT_PYTHON";

/// What tests import.
const IMPORTS: &str = "import cachelib, redis";

/// A Python that has the packages of `xtask/python.txt`.
#[derive(Debug)]
pub struct Python {
    binary: PathBuf,
}

impl Python {
    /// The Python of `$TESTKIT_PYTHON`, or of the folder `.venv`. If there is neither, it says so aloud, and the test is
    /// to be skipped.
    ///
    /// # Panics
    /// If `$TESTKIT_PYTHON` is set, and is none that has the packages.
    pub fn find() -> Option<Python> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let said = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        let binary = match &said {
            Some(path) => PathBuf::from(path),
            None => Path::new(root).join(".venv/bin/python"),
        };
        let python = Python { binary };
        match python.call(IMPORTS, &[]) {
            Ok(_) => Some(python),
            Err(why) if said.is_some() => panic!("{VARIABLE} is {:?}: {why}", python.binary),
            Err(_) => {
                let thread = std::thread::current();
                // Not by `eprintln!`, which tests keep to themselves.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED: {}: there is no Python with cachelib and redis. `cargo xtask python` makes one",
                    thread.name().unwrap_or("a test of Python's data")
                );
                None
            }
        }
    }

    /// Runs a program, and returns what it prints.
    ///
    /// # Panics
    /// If it fails, with what it says.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.call(program, arguments)
            .unwrap_or_else(|why| panic!("{why}"))
    }

    fn call(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.binary)
            .args(["-I", "-W", "error::SyntaxWarning", "-c", program])
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| format!("{}: {error}", self.binary.display()))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}
