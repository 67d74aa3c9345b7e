//! Blocking callers over a socket: N threads, each of which waits for its reply before it asks again.

use nearcache::Raw;
use nearcache::blocking::Cache;
use redis::{Commands, Connection};

use super::{VALUE, Verb, check, fill, key};
use crate::Result;
use crate::harness::{Bench, Contender, Unit, on_threads};

const PEER: &str = "redis-rs, a connection a thread";

/// The lowest acceptable speed of nearcache, as a ratio to the peer's.
const GOAL: f64 = 0.95;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for verb in [Verb::Get, Verb::Set] {
        for threads in [1, 8] {
            let name = format!("blocking/{}/{}", verb.name(), super::threads(threads));
            bench.compare(&name, Unit::Rate, PEER, |bench| {
                contenders(bench, verb, threads)
            })?;
        }
    }
    Ok(())
}

fn contenders(bench: &Bench, verb: Verb, threads: usize) -> Result<Vec<Contender<'static>>> {
    let server = bench.server()?;
    fill(server)?;
    let cache = Cache::connect(&server.url())?;
    let client = server.client()?;
    let raw = (0..threads)
        .map(|_| client.get_connection())
        .collect::<Result<Vec<Connection>, _>>()?;
    let mut floors = (0..threads)
        .map(|_| verb.floor(server))
        .collect::<Result<Vec<_>>>()?;
    Ok(vec![
        contender("nearcache", vec![cache; threads], verb).goal(GOAL),
        contender(PEER, raw, verb),
        Contender::new("loopback floor", move |span| {
            on_threads(&mut floors, span, 1, |floor, _, _| floor.ask())
        }),
    ])
}

/// The client of one thread.
trait Peer: Send + 'static {
    /// The size of the value.
    fn get(&mut self, key: &str) -> Result<usize>;

    fn set(&mut self, key: &str, value: &[u8]) -> Result<()>;
}

impl Peer for Cache {
    fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<Raw> = Cache::get(self, key).run()?;
        Ok(value.map_or(0, |value| value.0.len()))
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<()> {
        Ok(Cache::set(self, key, &Raw(value)).run()?)
    }
}

impl Peer for Connection {
    fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<Vec<u8>> = Commands::get(self, key)?;
        Ok(value.map_or(0, |value| value.len()))
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<()> {
        Ok(Commands::set(self, key, value)?)
    }
}

/// One peer for each thread.
fn contender<P: Peer>(name: &'static str, mut peers: Vec<P>, verb: Verb) -> Contender<'static> {
    Contender::new(name, move |span| {
        on_threads(&mut peers, span, 1, |peer, place, _| match verb {
            Verb::Get => check(peer.get(key(place))?, VALUE.len()),
            Verb::Set => peer.set(key(place), &VALUE),
            Verb::GetMany => Err("no scenario of this family".into()),
        })
    })
}
