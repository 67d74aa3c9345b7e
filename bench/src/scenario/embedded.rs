//! In this process: the embedded store alone, and async and blocking caches on it.
//!
//! The store executes commands that were built beforehand; the caches also make keys and commands, convert values,
//! and count. Each thread calls as fast as it can, all on one store.

use nearcache::{Raw, blocking};
use nearcache_embedded::{Connection, Store};
use redis::{Cmd, Value};
use tokio::runtime::{self, Runtime};

use super::{KEYS, VALUE, Verb, check, key, threads};
use crate::Result;
use crate::harness::{Bench, Contender, Unit, on_threads};

const PEER: &str = "Connection::execute";

/// The lowest acceptable speed of a cache, as a ratio to that of the store alone: 2.5 times the time of a get, and 4
/// times that of a set.
fn goal(verb: Verb) -> f64 {
    match verb {
        Verb::Set => 1.0 / 4.0,
        _ => 1.0 / 2.5,
    }
}

/// The clock is read after this many calls.
const AT_ONCE: usize = 512;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for verb in [Verb::Get, Verb::Set] {
        for count in [1, 2] {
            let name = format!("embedded/{}/{}", verb.name(), threads(count));
            let unit = Unit::Nanos { threads: count };
            bench.compare(&name, unit, PEER, |_| contenders(verb, count))?;
        }
    }
    Ok(())
}

fn contenders(verb: Verb, threads: usize) -> Result<Vec<Contender<'static>>> {
    let store = Store::new();
    let mut connection = store.connect();
    for place in 0..KEYS {
        connection.execute(&Verb::Set.command(place));
    }
    let executors = (0..threads).map(|_| Ok(Executor::new(&store, verb)));
    let cache = nearcache::Cache::builder("memory://")
        .store(&store)
        .build()?;
    let tasks = (0..threads).map(|_| Task::new(cache.clone()));
    let cache = blocking::Cache::builder("memory://")
        .store(&store)
        .build()?;
    let callers = (0..threads).map(|_| Ok(cache.clone()));
    Ok(vec![
        contender(PEER, executors.collect::<Result<_>>()?, verb),
        contender("Cache, async", tasks.collect::<Result<_>>()?, verb).goal(goal(verb)),
        contender("Cache, blocking", callers.collect::<Result<_>>()?, verb).goal(goal(verb)),
    ])
}

/// What a thread calls: a number of times, starting from a position in the keys.
trait Peer: Send + 'static {
    fn get(&mut self, place: usize, calls: usize) -> Result<()>;

    fn set(&mut self, place: usize, calls: usize) -> Result<()>;
}

/// One peer for each thread.
fn contender<P: Peer>(name: &'static str, mut peers: Vec<P>, verb: Verb) -> Contender<'static> {
    Contender::new(name, move |span| {
        on_threads(&mut peers, span, AT_ONCE, |peer, place, calls| match verb {
            Verb::Get => peer.get(place, calls),
            Verb::Set => peer.set(place, calls),
            Verb::GetMany => Err("no scenario of this family".into()),
        })
    })
}

/// The store, with commands built beforehand.
struct Executor {
    connection: Connection,
    commands: Vec<Cmd>,
}

impl Executor {
    fn new(store: &Store, verb: Verb) -> Self {
        Executor {
            connection: store.connect(),
            commands: (0..KEYS).map(|place| verb.command(place)).collect(),
        }
    }
}

impl Peer for Executor {
    fn get(&mut self, place: usize, calls: usize) -> Result<()> {
        for place in place..place + calls {
            match self.connection.execute(&self.commands[place % KEYS]) {
                Value::BulkString(value) => check(value.len(), VALUE.len())?,
                other => return Err(format!("GET was answered with {other:?}").into()),
            }
        }
        Ok(())
    }

    fn set(&mut self, place: usize, calls: usize) -> Result<()> {
        for place in place..place + calls {
            match self.connection.execute(&self.commands[place % KEYS]) {
                Value::Okay => {}
                other => return Err(format!("SET was answered with {other:?}").into()),
            }
        }
        Ok(())
    }
}

/// The async cache, with a runtime per thread.
struct Task {
    cache: nearcache::Cache,
    runtime: Runtime,
}

impl Task {
    fn new(cache: nearcache::Cache) -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread().build()?;
        Ok(Task { cache, runtime })
    }
}

impl Peer for Task {
    fn get(&mut self, place: usize, calls: usize) -> Result<()> {
        self.runtime.block_on(async {
            for place in place..place + calls {
                let value: Option<Raw> = self.cache.get(key(place)).await?;
                check(value.map_or(0, |value| value.0.len()), VALUE.len())?;
            }
            Ok(())
        })
    }

    fn set(&mut self, place: usize, calls: usize) -> Result<()> {
        self.runtime.block_on(async {
            for place in place..place + calls {
                self.cache.set(key(place), &Raw(VALUE)).await?;
            }
            Ok(())
        })
    }
}

impl Peer for blocking::Cache {
    fn get(&mut self, place: usize, calls: usize) -> Result<()> {
        for place in place..place + calls {
            let value: Option<Raw> = blocking::Cache::get(self, key(place)).run()?;
            check(value.map_or(0, |value| value.0.len()), VALUE.len())?;
        }
        Ok(())
    }

    fn set(&mut self, place: usize, calls: usize) -> Result<()> {
        for place in place..place + calls {
            blocking::Cache::set(self, key(place), &Raw(VALUE)).run()?;
        }
        Ok(())
    }
}
