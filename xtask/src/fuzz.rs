//! Runs the fuzz targets of `fuzz/`, on the stable compiler and without cargo-fuzz.
//!
//! The flags are those that `cargo fuzz --sanitizer none` sets: the coverage counters that guide a fuzzer come from
//! an LLVM pass that every compiler has. New inputs that the fuzzer finds are kept in `fuzz/found`, next to the
//! corpus.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const TARGETS: [&str; 9] = [
    "entries", "urls", "keys", "commands", "log", "requests", "replies", "frames", "pickles",
];

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs each target for this time, or only one of them. Returns how many ran.
pub(crate) fn run(each: Duration, only: Option<&str>) -> Result<u64, String> {
    let targets: Vec<&str> = match only {
        Some(only) if !TARGETS.contains(&only) => {
            let all = TARGETS.join(", ");
            return Err(format!("there is no fuzz target {only}; there are {all}"));
        }
        Some(only) => vec![only],
        None => TARGETS.to_vec(),
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("fuzz");
    let host = host()?;
    let mut build = cargo(&folder, &host, "build");
    for target in &targets {
        build.args(["--bin", target]);
    }
    succeed(&mut build, "building the fuzz targets")?;
    let mut ran = 0;
    for target in targets {
        let begun = Instant::now();
        println!("\n== fuzzing {target} for {} s", each.as_secs());
        let found = folder.join("found").join(target);
        std::fs::create_dir_all(&found).map_err(|error| error.to_string())?;
        let mut fuzz = cargo(&folder, &host, "run");
        fuzz.args(["--quiet", "--bin", target, "--"])
            .arg(&found)
            .arg(folder.join("corpus").join(target))
            .arg(format!("-max_total_time={}", each.as_secs()))
            .arg(format!(
                "-artifact_prefix={}/failed-",
                folder.join("found").display()
            ))
            .args([
                "-max_len=2000",
                "-timeout=20",
                "-verbosity=0",
                "-print_final_stats=1",
            ]);
        succeed(&mut fuzz, target)?;
        println!("-- ok in {:.1} s", begun.elapsed().as_secs_f64());
        ran += 1;
    }
    Ok(ran)
}

fn cargo(folder: &Path, host: &str, command: &str) -> Command {
    let mut cargo = Command::new("cargo");
    // With an explicit `--target`, build scripts and macros are built without the flags.
    cargo
        .args([command, "--release", "--target", host, "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .env("RUSTFLAGS", FLAGS);
    cargo
}

fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| format!("rustc cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc does not name its host".to_owned())
}

fn succeed(command: &mut Command, what: &str) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("FAILED: {what}"))
    }
}
