//! The tests for HTTP caches of <https://cache-tests.fyi>, run through a reverse proxy with the response cache.
//!
//! They come from npm, are kept under `target/`, and are never a part of this project. What they say of a test: it is
//! *required* (of every cache, by the RFC), *optimal* (a good cache does it), or a *check* (either is right). A test
//! whose setup fails, or that depends on one that fails, says nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{succeed, target};

const PACKAGE: &str = "http-cache-tests";
const VERSION: &str = "0.4.5";

/// What is required, and fails, with the reason.
const FAILING: &[(&str, &str)] = &[
    ("age-parse-prefix", AGES),
    ("stale-close-must-revalidate", OWN_ERROR),
    ("stale-close-no-cache", OWN_ERROR),
    ("stale-close-proxy-revalidate", OWN_ERROR),
    ("stale-close-s-maxage=2", OWN_ERROR),
    ("surrogate-fresh-cc-nostore", SURROGATE),
    ("surrogate-no-store-cc-fresh", SURROGATE),
];

const AGES: &str = "`Age: 0,7200` is to be read as 0, but `Age: 0, 0` as too old: a list is taken for too old here";
const OWN_ERROR: &str = "nothing stale is sent, but the proxy's own 502; the tests take what the origin has not counted \
                         for stored, and no proxy in their results passes";
const SURROGATE: &str = "`Surrogate-Control` is not read: no RFC has it";

/// The server listens on 127.0.0.1 only. (Its own way is every address.)
const ON_LOOPBACK: &str = "data:text/javascript,import net from 'node:net';\
    const listen=net.Server.prototype.listen;\
    net.Server.prototype.listen=function(port){return listen.call(this,Number(port),'127.0.0.1')}";

/// Runs the tests and prints a line for each: what it came to, its kind, its id, and the reason.
const RUNNER: &str = r"
import fetch from 'node-fetch'
import { runTests, getResults } from './client/runner.mjs'
import { determineTestResult } from './lib/display.mjs'
import suites from './tests/index.mjs'
import surrogate from './tests/surrogate-control.mjs'
suites.push(surrogate)
const only = process.env.ONLY
const chosen = only ? [] : suites
if (only) {
  for (const suite of suites) {
    for (const test of suite.tests.filter(test => test.id === only)) {
      test.dump = true
      chosen.push({ ...suite, tests: [test] })
    }
  }
}
const outcomes = { '✅': 'pass', 'Y': 'yes', 'N': 'no', '⚠️': 'optional', '⛔️': 'fail', '⚪️': 'depends', '-': 'untested' }
await runTests(chosen, fetch, false, process.env.BASE)
const results = getResults()
for (const suite of chosen) {
  for (const test of suite.tests) {
    if (test.browser_only) continue
    const result = results[test.id]
    const outcome = outcomes[determineTestResult(suites, test.id, results, !only)[2]] || 'setup'
    const why = Array.isArray(result) ? result.join(': ') : ''
    console.log(['=', outcome, test.kind || 'required', test.id, why.replace(/\s+/g, ' ')].join('\t'))
  }
}
process.exit(0)
";

/// One test's outcome.
struct Outcome {
    outcome: String,
    kind: String,
    id: String,
    why: String,
}

/// Runs the tests, or only one of them.
pub(crate) fn run(only: Option<&str>) -> Result<(), String> {
    let tests = fetch()?;
    let proxy = build()?;
    let origin = Serving::start(
        Command::new("node")
            .args([
                "--no-warnings",
                "--import",
                ON_LOOPBACK,
                "server/server.mjs",
            ])
            .current_dir(&tests)
            .env("npm_config_protocol", "http")
            .env("npm_config_port", "0")
            .env("npm_config_pidfile", target().join("peers/http-cache.pid")),
    )?;
    let proxy = Serving::start(Command::new(proxy).args(["--origin", &origin.address]))?;
    let outcomes = ask(&tests, &proxy.address, only)?;
    match only {
        Some(id) if outcomes.is_empty() => Err(format!("there is no test {id}")),
        Some(_) => Ok(()),
        None => report(&outcomes),
    }
}

/// The folder of the tests, fetched if it is not there.
fn fetch() -> Result<PathBuf, String> {
    let cache = target().join(format!("peers/{PACKAGE}-{VERSION}"));
    let folder = cache.join("node_modules").join(PACKAGE);
    if !folder.join("cli.mjs").is_file() {
        std::fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
        println!("fetching {PACKAGE} {VERSION} from npm");
        // npm compares the archive's sum with its own.
        succeed(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"])
                .arg(&cache)
                .arg(format!("{PACKAGE}@{VERSION}")),
        )
        .map_err(|why| format!("{why}\nThe tests need node and npm: install them"))?;
    }
    Ok(folder)
}

/// The example proxy.
fn build() -> Result<PathBuf, String> {
    let example = ["--package", "nearcache-tower", "--example", "caching_proxy"];
    succeed(
        Command::new("cargo")
            .args(["build", "--quiet"])
            .args(example),
    )?;
    Ok(target().join("debug/examples/caching_proxy"))
}

/// A server, and its address, which is the last word of the first line that it prints. It ends with this.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(command: &mut Command) -> Result<Self, String> {
        let name = command.get_program().display().to_string();
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        let output = child.stdout.take().ok_or("it has no output")?;
        let mut serving = Serving {
            child,
            address: String::new(),
        };
        let mut lines = BufReader::new(output);
        let mut line = String::new();
        lines
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let address = line.split_whitespace().last().unwrap_or_default();
        serving.address = address.trim_end_matches('/').to_owned();
        if serving.address.is_empty() {
            return Err(format!("{name} did not start"));
        }
        // What it prints besides is for whoever looks for a mistake.
        let show = std::env::var_os("SHOW").is_some();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if show {
                    println!("   {line}");
                }
            }
        });
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the tests ask the proxy.
fn ask(tests: &Path, base: &str, only: Option<&str>) -> Result<Vec<Outcome>, String> {
    let mut runner = Command::new("node")
        .args(["--no-warnings", "--input-type=module", "-"])
        .current_dir(tests)
        .env("BASE", base)
        .env("ONLY", only.unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("node: {error}"))?;
    let mut input = runner.stdin.take().ok_or("node: no input")?;
    input
        .write_all(RUNNER.as_bytes())
        .map_err(|error| error.to_string())?;
    drop(input);
    let output = runner.stdout.take().ok_or("node: no output")?;
    let mut outcomes = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| error.to_string())?;
        let fields: Vec<&str> = line.split('\t').collect();
        if let ["=", outcome, kind, id, why] = fields[..] {
            if only.is_some() {
                println!("{id} ({kind}): {outcome} {why}");
            }
            let [outcome, kind, id, why] = [outcome, kind, id, why].map(str::to_owned);
            outcomes.push(Outcome {
                outcome,
                kind,
                id,
                why,
            });
        } else if only.is_some() {
            println!("{line}");
        }
    }
    let ended = runner.wait().map_err(|error| error.to_string())?;
    if ended.success() {
        Ok(outcomes)
    } else {
        Err(format!("the tests ended with {ended}"))
    }
}

fn report(outcomes: &[Outcome]) -> Result<(), String> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry((&outcome.kind, &outcome.outcome)).or_default() += 1;
    }
    println!("\nkind, outcome, tests:");
    for ((kind, outcome), count) in &counts {
        println!("   {kind:10}{outcome:10}{count}");
    }
    for (title, kind, wanted) in [
        ("optimal, and not done", "optimal", "optional"),
        (
            "required, and without an answer (its setup failed)",
            "required",
            "setup",
        ),
        (
            "required, and without an answer (it depends on what is not done)",
            "required",
            "depends",
        ),
    ] {
        println!("\n{title}:");
        for outcome in outcomes {
            if outcome.kind == kind && outcome.outcome == wanted {
                println!("   {} ({})", outcome.id, outcome.why);
            }
        }
    }
    println!("\nrequired, and failed:");
    let mut wrong = Vec::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for outcome in outcomes {
        match outcome.outcome.as_str() {
            "pass" | "yes" => passed += 1,
            "fail" => {
                failed += 1;
                let known = FAILING.iter().find(|(id, _)| *id == outcome.id);
                let reason = known.map(|(_, reason)| *reason);
                println!("   {}: {}", outcome.id, outcome.why);
                println!("      {}", reason.unwrap_or("UNEXPECTED"));
                if reason.is_none() {
                    wrong.push(outcome.id.as_str());
                }
            }
            _ => skipped += 1,
        }
    }
    for (id, _) in FAILING {
        if !outcomes
            .iter()
            .any(|it| it.id == *id && it.outcome == "fail")
        {
            wrong.push(id);
        }
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("not as expected: {}", wrong.join(", ")))
    }
}
