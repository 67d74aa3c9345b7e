//! The machine of the run. A figure means nothing without it.

use std::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

/// The lock file, which has the versions of the peers.
const LOCK: &str = include_str!("../Cargo.lock");

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    cpu: Option<String>,
    system: &'static str,
    /// The load before the run: runnable tasks, averaged over a minute.
    load: Option<f64>,
    crates: Vec<(&'static str, Option<&'static str>)>,
    pub(crate) redis_server: Option<String>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let load = fs::read_to_string("/proc/loadavg").ok();
        Machine {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu(),
            system: std::env::consts::OS,
            load: load.and_then(|text| text.split(' ').next()?.parse().ok()),
            crates: ["nearcache", "redis", "tokio"]
                .map(|name| (name, version(name)))
                .into(),
            redis_server: None,
        }
    }
}

/// The processor's name, if the system is Linux.
fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A crate's version, from the lock file.
fn version(name: &str) -> Option<&'static str> {
    let package = format!("[[package]]\nname = \"{name}\"\nversion = \"");
    let (_, rest) = LOCK.split_once(&package)?;
    Some(rest.split_once('"')?.0)
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        write!(f, "{} cores, {cpu}, {}", self.cores, self.system)?;
        if let Some(load) = self.load {
            write!(f, ", load {load:.2}")?;
        }
        writeln!(f)?;
        for (index, (name, version)) in self.crates.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {}", version.unwrap_or("?"))?;
        }
        Ok(())
    }
}
