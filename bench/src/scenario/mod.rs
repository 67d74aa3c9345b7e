//! The scenarios, one file for each family, and what they share: the keys, and the command of each verb.

mod asynchronous;
mod batches;
mod blocking;
mod bounds;
mod cluster;
mod codecs;
mod decorator;
mod delayed;
mod embedded;
mod failure;
mod fence;
mod hits;
mod hooks;
mod invalidated;
mod limits;
mod memory;
mod near;
mod port;
mod process;
mod promises;
mod saved;
mod structures;
mod tasks;
mod traces;
mod typed;
mod user;

use std::sync::LazyLock;

use redis::Cmd;

use crate::Result;
use crate::floor::Floor;
use crate::server::Server;

pub(crate) use asynchronous::run as asynchronous;
pub(crate) use batches::run as batches;
pub(crate) use blocking::run as blocking;
pub(crate) use bounds::run as bounds;
pub(crate) use cluster::run as cluster;
pub(crate) use codecs::run as codecs;
pub(crate) use decorator::run as decorator;
pub(crate) use delayed::run as delayed;
pub(crate) use embedded::run as embedded;
pub(crate) use failure::run as failure;
pub(crate) use fence::run as fence;
pub(crate) use hits::run as hits;
pub(crate) use hooks::run as hooks;
pub(crate) use invalidated::run as invalidated;
pub(crate) use limits::run as limits;
pub(crate) use memory::run as memory;
pub(crate) use near::run as near;
pub(crate) use port::{SERVE, run as port, serve};
pub(crate) use process::{CHILD, child};
pub(crate) use promises::run as promises;
pub(crate) use saved::run as saved;
pub(crate) use structures::run as structures;
pub(crate) use typed::run as typed;

/// How many keys there are, each with a value.
const KEYS: usize = 10_000;

/// How many keys a batch has.
const BATCH: usize = 100;

/// The distance between the first keys of two tasks or threads: a prime, so that they spread over all keys.
pub(crate) const APART: usize = 1_009;

/// The value of each key.
const VALUE: [u8; 100] = [b'v'; 100];

/// An error that fits the macros of all contenders.
#[derive(Clone, Debug)]
struct Failed(String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<nearcache::Error> for Failed {
    fn from(error: nearcache::Error) -> Self {
        Failed(error.to_string())
    }
}

/// The keys, all of the same length.
static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..KEYS).map(|id| format!("bench:{id:08}")).collect());

/// The key at a position; positions wrap around.
fn key(place: usize) -> &'static str {
    name(place)
}

/// The same, for who wants a string of its own.
fn name(place: usize) -> &'static String {
    &NAMES[place % KEYS]
}

/// The batch of keys at a position, likewise.
fn keys(place: usize) -> &'static [String] {
    let first = place % (KEYS / BATCH) * BATCH;
    &NAMES[first..first + BATCH]
}

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Set,
    GetMany,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Set => "set",
            Verb::GetMany => "get_many",
        }
    }

    /// The command for the call at a position.
    fn command(self, place: usize) -> Cmd {
        match self {
            Verb::Get => redis::cmd("GET").arg(key(place)).take(),
            Verb::Set => redis::cmd("SET").arg(key(place)).arg(&VALUE).take(),
            Verb::GetMany => redis::cmd("MGET").arg(keys(place)).take(),
        }
    }

    /// The size of Redis's reply.
    fn reply(self) -> usize {
        let value = "$100\r\n".len() + VALUE.len() + "\r\n".len();
        match self {
            Verb::Get => value,
            Verb::Set => "+OK\r\n".len(),
            Verb::GetMany => "*100\r\n".len() + BATCH * value,
        }
    }

    /// The floor for this verb, on a connection of its own.
    fn floor(self, server: &Server) -> Result<Floor> {
        let commands: Vec<Cmd> = (0..KEYS).map(|place| self.command(place)).collect();
        Floor::new(server.port(), &commands, self.reply())
    }
}

/// Gives every key its value.
fn fill(server: &Server) -> Result<()> {
    let mut connection = server.client()?.get_connection()?;
    let mut pipeline = redis::pipe();
    for place in 0..KEYS {
        pipeline.add_command(Verb::Set.command(place)).ignore();
    }
    Ok(pipeline.exec(&mut connection)?)
}

/// `1 task`, `2 tasks`.
fn tasks(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} task{plural}")
}

/// The resident memory of the process in bytes.
fn resident() -> Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).ok_or("an unknown form of statm")?;
    Ok(pages.parse::<usize>()? * 4_096)
}

/// `1 thread`, `2 threads`.
fn threads(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} thread{plural}")
}

/// Checks every call, because a fast wrong answer does not count.
fn check(bytes: usize, expected: usize) -> Result<()> {
    if bytes == expected {
        Ok(())
    } else {
        Err(format!("read {bytes} bytes of values, expected {expected}").into())
    }
}
