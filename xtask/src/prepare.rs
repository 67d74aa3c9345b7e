//! Makes the machine ready: the tests run against a real Redis.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run;

const INSTALL: &str = "\
The tests need redis-server (and openssl), and they are not there. Install them:
  Debian, Ubuntu   apt-get install redis-server openssl
  Fedora           dnf install redis openssl
  macOS            brew install redis openssl
or set REDIS_SERVER to a redis-server.";

/// Finds `redis-server`, or installs it as root on Debian.
pub(crate) fn redis() -> Result<(), String> {
    if let Some(server) = env::var_os("REDIS_SERVER").filter(|server| !server.is_empty()) {
        let server = PathBuf::from(server);
        if !server.is_file() {
            return Err(format!(
                "REDIS_SERVER is {}, but that file does not exist",
                server.display()
            ));
        }
        // Its folder comes first in the path, so that tests use its own redis-cli and redis-sentinel.
        let folder = server.parent().unwrap_or(Path::new("/"));
        let path = env::var_os("PATH").unwrap_or_default();
        let path =
            env::join_paths(std::iter::once(folder.to_owned()).chain(env::split_paths(&path)));
        run::set_path(&path.map_err(|error| error.to_string())?);
    }
    let missing: Vec<&str> = ["redis-server", "openssl"]
        .into_iter()
        .filter(|program| !is_there(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !(is_there("apt-get") && is_root()) {
        return Err(INSTALL.to_owned());
    }
    println!(
        "installing {} from Debian's packages",
        missing.join(" and ")
    );
    for arguments in [
        &["update", "-q"][..],
        &[
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "redis-server",
            "openssl",
        ],
    ] {
        let status = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("apt-get {} failed\n{INSTALL}", arguments.join(" ")));
        }
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    env::split_paths(&run::path()).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
