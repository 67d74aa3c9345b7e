//! Redis's own test suite, run against the port of the embedded store.
//!
//! The suite comes with Debian's source package of Redis, which is fetched, checked, and kept under `target/`. It is
//! never a part of this project. What needs Lua, DEBUG, or RDB files is skipped, by name: see [`SKIPPED`].

mod http_cache;
mod tower_sessions;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use http_cache::run as http_cache;
pub(crate) use tower_sessions::run as tower_sessions;

const ARCHIVE: &str = "http://deb.debian.org/debian/pool/main/r/redis/redis_7.0.15.orig.tar.gz";
const SHA256: &str = "4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982";
const FOLDER: &str = "redis-7.0.15";

const UNITS: [&str; 32] = [
    "unit/type/string",
    "unit/type/incr",
    "unit/type/list",
    "unit/type/list-2",
    "unit/type/list-3",
    "unit/type/hash",
    "unit/type/set",
    "unit/type/zset",
    "unit/type/stream",
    "unit/type/stream-cgroups",
    "unit/expire",
    "unit/scan",
    "unit/keyspace",
    "unit/multi",
    "unit/pubsub",
    "unit/bitops",
    "unit/bitfield",
    "unit/geo",
    "unit/hyperloglog",
    "unit/sort",
    "unit/tracking",
    "unit/querybuf",
    "unit/protocol",
    "unit/other",
    "unit/auth",
    "unit/info",
    "unit/introspection",
    "unit/introspection-2",
    "unit/latency-monitor",
    "unit/pause",
    "unit/slowlog",
    "unit/maxmemory",
];

/// A test takes at most this long.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why tests are skipped, and which: a name, or a pattern after a slash.
const SKIPPED: &[(&str, &[&str])] = &[
    (
        "RDB: what DUMP writes and RESTORE reads",
        &[
            "/ ziplist of various encodings",
            "/^Loading from legacy",
            "MIGRATE command is marked with movablekeys",
        ],
    ),
    (
        "DEBUG",
        &[
            "/^SRANDMEMBER histogram distribution",
            "/^Empty stream .*can be rewrite into AOF correctly",
            "/^Stream can be rewrite into AOF correctly after XDEL lastid",
            "/^Consumer without PEL is present in AOF after AOFRW",
        ],
    ),
    (
        "Lua",
        &[
            "/script timeout",
            "/from scripts$",
            "/^Tracking only occurs for scripts",
            "Invalid keys should not be tracked for scripts in NOLOOP mode",
            "/^MONITOR can log commands issued by",
            "/^command stats for scripts",
            "/^LATENCY of expire events are correctly collected",
            "LATENCY RESET is able to reset events",
            "/^Test .*scripts .*blocked by pause RO",
            "/^Test may-replicate commands are rejected in RO scripts",
        ],
    ),
    (
        "ACL: there is one user",
        &["RESET clears authenticated state"],
    ),
];

/// What came of a run.
#[derive(Default)]
struct Outcome {
    passed: u64,
    failed: Vec<String>,
    /// The names of what was skipped, with the reason.
    skipped: BTreeMap<String, String>,
}

/// Runs the suite, or only some units of it.
pub(crate) fn redis(only: &[&str]) -> Result<(), String> {
    let suite = fetch()?;
    install_tcl()?;
    let server = build()?;
    let skip = suite.join("nearcache-skipped.txt");
    let patterns: String = SKIPPED
        .iter()
        .flat_map(|(_, patterns)| patterns.iter())
        .map(|pattern| format!("{pattern}\n"))
        .collect();
    fs::write(&skip, patterns.trim_end()).map_err(|error| error.to_string())?;
    let mut outcome = Outcome::default();
    for unit in UNITS {
        if only.is_empty() || only.iter().any(|only| unit.ends_with(only)) {
            run(&suite, &server, &skip, unit, &mut outcome)?;
        }
    }
    report(&outcome)
}

/// The folder of the suite, fetched if it is not there.
fn fetch() -> Result<PathBuf, String> {
    let cache = target().join("peers");
    let folder = cache.join(FOLDER);
    if folder.join("runtest").is_file() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
    let archive = cache.join("redis.tar.gz");
    println!("fetching {ARCHIVE}");
    succeed(
        Command::new("curl")
            .args([
                "--fail",
                "--silent",
                "--show-error",
                "--location",
                "--output",
            ])
            .arg(&archive)
            .arg(ARCHIVE),
    )?;
    let sum = Command::new("sha256sum")
        .arg(&archive)
        .output()
        .map_err(|error| format!("sha256sum: {error}"))?;
    if !sum.stdout.starts_with(SHA256.as_bytes()) {
        return Err(format!("{ARCHIVE} is not the archive that is expected"));
    }
    succeed(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(&cache),
    )?;
    Ok(folder)
}

fn install_tcl() -> Result<(), String> {
    let is_there = || {
        let version = Command::new("tclsh").stdin(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    if is_there() {
        return Ok(());
    }
    println!("installing tcl from Debian's packages");
    succeed(Command::new("apt-get").args(["install", "-y", "-q", "--no-install-recommends", "tcl"]))
        .map_err(|why| format!("{why}\nThe suite needs tclsh: install tcl"))
}

/// The example server.
fn build() -> Result<PathBuf, String> {
    succeed(Command::new("cargo").args([
        "build",
        "--release",
        "--package",
        "nearcache-embedded",
        "--features",
        "serve",
        "--example",
        "serve",
    ]))?;
    Ok(target().join("release/examples/serve"))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target"),
        PathBuf::from,
    )
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{} failed", command.get_program().display()))
}

/// A server of its own for each unit: what one unit does to it does not matter to the next.
struct Serving {
    child: Child,
    port: String,
}

impl Serving {
    fn start(server: &Path) -> Result<Self, String> {
        let mut child = Command::new(server)
            // In one thread, as a server: some tests count on the order in which it serves its clients.
            .args(["--port", "0", "--threads", "1"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", server.display()))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(|error| error.to_string())?;
        }
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Serving { child, port })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(
    suite: &Path,
    server: &Path,
    skip: &Path,
    unit: &str,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let begun = Instant::now();
    let mut serving = Serving::start(server)?;
    let mut tests = Command::new("./runtest")
        .current_dir(suite)
        .args(["--host", "127.0.0.1", "--port", &serving.port])
        .args(["--single", unit, "--ignore-digest", "--durable"])
        .args(["--tags", "-needs:debug -needs:repl -needs:save"])
        .args(["--timeout", &PATIENCE.as_secs().to_string()])
        .arg("--skipfile")
        .arg(skip)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("runtest: {error}"))?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let output = tests.stdout.take().ok_or("runtest: no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = plain(&line.map_err(|error| error.to_string())?);
        if line.starts_with("[ok]") {
            passed += 1;
        } else if line.starts_with("[err]")
            || line.starts_with("[exception]")
            || line.contains("[TIMEOUT]")
        {
            failed += 1;
            println!("   {line}");
            outcome.failed.push(format!("{unit}: {line}"));
        } else if let Some(name) = line
            .strip_prefix("[ignore]:")
            .or(line.strip_prefix("[skip]:"))
        {
            skipped += 1;
            let name = name.trim();
            outcome
                .skipped
                .insert(format!("{unit}: {name}"), reason(name));
        }
    }
    let ended = tests.wait().map_err(|error| error.to_string())?;
    if let Ok(Some(status)) = serving.child.try_wait() {
        failed += 1;
        outcome
            .failed
            .push(format!("{unit}: the server ended with {status}"));
    }
    if !ended.success() && failed == 0 {
        failed += 1;
        outcome
            .failed
            .push(format!("{unit}: runtest ended with {ended}"));
    }
    outcome.passed += passed;
    println!(
        "{unit}: {passed} passed, {failed} failed, {skipped} skipped, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A line without colors.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain.trim().to_owned()
}

/// Why a test was skipped: what the suite says, or the list.
fn reason(name: &str) -> String {
    let said = name.rsplit_once(": ").map_or("", |(_, said)| said);
    for (reason, patterns) in SKIPPED {
        if patterns.iter().any(|pattern| matches(pattern, name)) {
            return (*reason).to_owned();
        }
    }
    said.to_owned()
}

/// Whether a pattern of the list names a test. The patterns are written so that their words are enough to tell.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('/') {
        None => name.starts_with(pattern),
        Some(pattern) => pattern
            .split(".*")
            .all(|words| name.contains(words.trim_matches(['^', '$']))),
    }
}

fn report(outcome: &Outcome) -> Result<(), String> {
    println!("\nskipped:");
    for (name, reason) in &outcome.skipped {
        println!("   {name} ({reason})");
    }
    println!("\nfailed:");
    for name in &outcome.failed {
        println!("   {name}");
    }
    println!(
        "\n{} passed, {} failed, {} skipped",
        outcome.passed,
        outcome.failed.len(),
        outcome.skipped.len()
    );
    if outcome.failed.is_empty() {
        Ok(())
    } else {
        Err("some tests of Redis's suite fail".to_owned())
    }
}
