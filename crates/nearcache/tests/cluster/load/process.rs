//! A process of callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use nearcache::{Cache, blocking};
use nearcache_testkit::Client;
use parking_lot::Mutex;

use super::history::{Outcome, Record, What, now};
use super::{KEYS, PROCESSES};
use crate::child::{Folder, Process};
use crate::face::{Face, run};
use crate::scene::elsewhere;

/// Says to this binary that it is one of the processes, and which.
const ROLE: &str = "NEARCACHE_TEST_CLUSTER";

const READERS: usize = 4;
const WRITERS: usize = 2;
const COUNTERS: usize = 2;

/// What a process is.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) number: usize,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) blocking: bool,
    /// The port of the database.
    pub(crate) source: u16,
}

/// Starts one.
pub(crate) fn start(role: &Role, folder: &Folder) -> Process {
    let file = folder.path().join(role.number.to_string());
    let words = [
        role.url.clone(),
        role.prefix.clone(),
        role.number.to_string(),
        role.seed.to_string(),
        role.time.as_millis().to_string(),
        role.blocking.to_string(),
        role.source.to_string(),
        file.display().to_string(),
    ];
    Process::start("load::one_of_the_processes", ROLE, &words.join(" "))
}

/// An entry, a counter, a list and a tag, as the server sees them.
pub(crate) fn names(prefix: &str, key: usize) -> [String; 3] {
    ["entry", "counter", "list"].map(|what| format!("{prefix}:{what}:{key}"))
}

/// Of the process that writes these entries.
pub(crate) fn tag(key: usize) -> String {
    format!("tag:{}", key % PROCESSES)
}

/// Is one of the processes, if this one was started as such.
pub(crate) fn serve() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let words: Vec<&str> = role.split(' ').collect();
    let [url, prefix, process, seed, time, blocking, source, file] = words[..] else {
        panic!("{role:?} is no role");
    };
    let process: usize = process.parse().expect("a number");
    let seed: u64 = seed.parse().expect("a number");
    let time = Duration::from_millis(time.parse().expect("a time"));
    let source = Client::open(source.parse().expect("a port")).expect("a database");
    let cache = if blocking == "true" {
        let cache = blocking::Cache::builder(url)
            .prefix(prefix)
            .timeout(Duration::from_secs(20))
            .build();
        Face::Blocking(cache.expect("a cache"))
    } else {
        let cache = Cache::builder(url)
            .prefix(prefix)
            .timeout(Duration::from_secs(20))
            .build();
        Face::Async(cache.expect("a cache"))
    };
    let world = Arc::new(World {
        process,
        cache,
        source: Mutex::new(source),
        writing: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
        pushed: AtomicU64::new(0),
        until: Instant::now() + time,
        records: Mutex::default(),
    });
    run(live(
        &world,
        seed.wrapping_mul(1_000) + process as u64 * 100,
    ));
    let lines: Vec<String> = world
        .records
        .lock()
        .iter()
        .map(ToString::to_string)
        .collect();
    std::fs::write(file, format!("{process}\n{}", lines.join("\n"))).expect("a file");
}

struct World {
    process: usize,
    cache: Face,
    /// The database: the version of each entry.
    source: Mutex<Client>,
    /// An entry is written by one at a time, as by a database's transaction: by its own process.
    writing: [tokio::sync::Mutex<()>; KEYS],
    pushed: AtomicU64,
    until: Instant,
    records: Mutex<Vec<Record>>,
}

async fn live(world: &Arc<World>, seed: u64) {
    let mut callers = Vec::new();
    for caller in 0..READERS + WRITERS + COUNTERS {
        let life = life(Arc::clone(world), caller, seed + caller as u64);
        callers.push(match world.cache {
            Face::Async(_) => tokio::spawn(life),
            // A thread of its own, as blocking callers have.
            Face::Blocking(_) => tokio::task::spawn_blocking(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.expect("a runtime").block_on(life);
            }),
        });
    }
    for caller in callers {
        caller.await.expect("no caller panics");
    }
}

async fn life(world: Arc<World>, caller: usize, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    while Instant::now() < world.until {
        if caller < READERS {
            world.read(&mut rng).await;
        } else if caller < READERS + WRITERS {
            world.write(&mut rng).await;
        } else {
            world.add(&mut rng).await;
        }
        tokio::time::sleep(Duration::from_micros(rng.u64(..4_000))).await;
    }
}

impl World {
    /// The version in the database, and one later.
    fn ask(&self, verb: &str, key: usize) -> u64 {
        let reply = self.source.lock().ask(&[verb, &key.to_string()]);
        reply
            .expect("the database answers")
            .text()
            .parse()
            .unwrap_or(0)
    }

    fn record(&self, what: What, key: usize, begun: u64, value: u64, outcome: Outcome) {
        let ended = now();
        self.records.lock().push(Record {
            what,
            key,
            begun,
            ended,
            value,
            outcome,
        });
    }

    async fn read(self: &Arc<Self>, rng: &mut Rng) {
        let (cache, key) = (&self.cache, rng.usize(..KEYS));
        let (name, tags) = (format!("entry:{key}"), [tag(key)]);
        let ttl = Duration::from_millis(rng.u64(50..2_000));
        let world = Arc::clone(self);
        let load = move || Ok::<_, std::io::Error>(world.ask("GET", key));
        let begun = now();
        match rng.u8(..8) {
            0..3 => {
                let found = call!(cache.get::<u64>(&name));
                let outcome = Outcome::of(&found);
                let value = found.ok().flatten().unwrap_or(0);
                self.record(What::Get, key, begun, value, outcome);
            }
            3 => self.read_many(rng).await,
            4 => {
                let world = Arc::clone(self);
                let load = move || {
                    let version = world.ask("GET", key);
                    Ok::<_, std::io::Error>(nearcache::Loaded::new(version).tags(tags))
                };
                let found = remember!(cache, name, load; .ttl(ttl)).await;
                let outcome = Outcome::of(&found);
                self.record(What::Remember, key, begun, found.unwrap_or(0), outcome);
            }
            _ => {
                let found = remember!(cache, name, load; .ttl(ttl).tags(tags)).await;
                let outcome = Outcome::of(&found);
                self.record(What::Remember, key, begun, found.unwrap_or(0), outcome);
            }
        }
    }

    /// Several keys, in several slots, as one call.
    async fn read_many(self: &Arc<Self>, rng: &mut Rng) {
        let process = rng.usize(..PROCESSES);
        let keys: Vec<usize> = (process..KEYS).step_by(PROCESSES).collect();
        let names: Vec<String> = keys.iter().map(|key| format!("entry:{key}")).collect();
        let ttl = Duration::from_millis(rng.u64(50..500));
        let world = Arc::clone(self);
        let load = move |names: Vec<String>| {
            let version = |name: String| {
                let key: usize = name["entry:".len()..].parse().expect("a key of ours");
                let version = world.ask("GET", key);
                (name, version)
            };
            Ok::<Vec<(String, u64)>, std::io::Error>(names.into_iter().map(version).collect())
        };
        let (begun, tags) = (now(), [tag(process)]);
        let found = match &self.cache {
            Face::Async(cache) => {
                let load = move |names| {
                    let load = load.clone();
                    elsewhere(move || load(names))
                };
                cache.remember_many(names, load).tags(tags).ttl(ttl).await
            }
            Face::Blocking(cache) => cache.remember_many(names, load).tags(tags).ttl(ttl).run(),
        };
        let outcome = Outcome::of(&found);
        let found = found.unwrap_or_default();
        for (i, key) in keys.into_iter().enumerate() {
            let value = found.get(i).copied().flatten().unwrap_or(0);
            self.record(What::Remember, key, begun, value, outcome.clone());
        }
    }

    async fn write(&self, rng: &mut Rng) {
        let cache = &self.cache;
        let own = rng.usize(..KEYS / PROCESSES) * PROCESSES + self.process;
        if rng.u8(..6) == 0 {
            let own = (self.process..KEYS).step_by(PROCESSES);
            let before: Vec<_> = own.map(|key| (key, self.ask("GET", key))).collect();
            let begun = now();
            let outcome = Outcome::of(&call!(cache.invalidate_tag(tag(self.process))));
            for (key, version) in before {
                self.record(What::Tag, key, begun, version, outcome.clone());
            }
            return;
        }
        let _one = self.writing[own].lock().await;
        let (name, version) = (format!("entry:{own}"), self.ask("INCR", own));
        let begun = now();
        let outcome = match rng.u8(..4) {
            0..2 => Outcome::of(&call!(cache.delete(&name))),
            2 => Outcome::of(&call!(cache.delete_many([name]))),
            _ => Outcome::of(&call!(
                cache.set(&name, &version).ttl("1s").tags([tag(own)])
            )),
        };
        self.record(What::Invalidate, own, begun, version, outcome);
    }

    async fn add(&self, rng: &mut Rng) {
        let (cache, key) = (&self.cache, rng.usize(..KEYS));
        let begun = now();
        if rng.bool() {
            let counted = call!(cache.incr(format!("counter:{key}")));
            let outcome = Outcome::of(&counted);
            let value = counted.map_or(0, i64::cast_unsigned);
            self.record(What::Count, key, begun, value, outcome);
        } else {
            let number = self.pushed.fetch_add(1, Ordering::Relaxed) * PROCESSES as u64;
            let number = number + self.process as u64;
            let pushed = call!(cache.list::<u64>(format!("list:{key}")).push_back(number));
            self.record(What::Push, key, begun, number, Outcome::of(&pushed));
        }
    }
}
