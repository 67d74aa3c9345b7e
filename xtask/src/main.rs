//! The project's own commands: `cargo xtask test`.
//!
//! `prepare` makes a fresh machine ready; `steps` is what is run; `run` runs it and counts.

mod prepare;
mod run;
mod steps;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--quick]

Runs everything that must hold: format, lints, documentation, unit, integration and documentation
tests without features, with the default ones and with all, the model of the protocols, the examples,
and the licences. Installs what is missing where it can, and says what to install where it cannot.

  --quick    one set of features (all), no model, no examples, no benchmarks' build
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["test"] => test(false),
        ["test", "--quick"] => test(true),
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

fn test(quick: bool) -> ExitCode {
    if let Err(why) = prepare::redis() {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    let mut counts = run::Counts::default();
    for step in steps::all(quick) {
        counts.add(&run::step(&step));
    }
    println!("\n{counts}");
    if counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
