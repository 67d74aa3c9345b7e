//! Measures nearcache and its peers in one run: README.md explains how to run it and what each line means.
//!
//! `harness` measures and compares, `scenario` has a file for each family of scenarios, `floor` is the cost that no
//! client can avoid, and `goals` names what should be reached. To add a peer, implement a family's trait and add a line to its list; to add a scenario, call
//! [`harness::Bench::compare`].

mod floor;
mod goals;
mod harness;
mod machine;
mod options;
mod report;
mod scenario;
mod server;

use harness::Bench;
use options::Options;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    if let Ok(told) = std::env::var(scenario::CHILD) {
        return scenario::child(&told);
    }
    if let Ok(policy) = std::env::var(scenario::SERVE) {
        return scenario::serve(&policy);
    }
    let Some(options) = Options::parse()? else {
        print!("{}", options::HELP);
        return Ok(());
    };
    let mut bench = Bench::new(options)?;
    scenario::bounds(&mut bench)?;
    scenario::memory(&mut bench)?;
    scenario::promises(&mut bench)?;
    scenario::invalidated(&mut bench)?;
    scenario::near(&mut bench)?;
    scenario::hits(&mut bench)?;
    scenario::saved(&mut bench)?;
    scenario::asynchronous(&mut bench)?;
    scenario::batches(&mut bench)?;
    scenario::typed(&mut bench)?;
    scenario::delayed(&mut bench)?;
    scenario::blocking(&mut bench)?;
    scenario::cluster(&mut bench)?;
    scenario::embedded(&mut bench)?;
    scenario::structures(&mut bench)?;
    scenario::limits(&mut bench)?;
    scenario::port(&mut bench)?;
    scenario::codecs(&mut bench)?;
    scenario::decorator(&mut bench)?;
    scenario::hooks(&mut bench)?;
    scenario::fence(&mut bench)?;
    scenario::failure(&mut bench)?;
    bench.finish()
}
