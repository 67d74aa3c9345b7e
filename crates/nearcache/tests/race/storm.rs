//! Everything at once: two processes' worth of callers on a few keys, who read in every way there is while
//! writers change the source and then invalidate, and while connections are lost. What a reader gets is never
//! older than the last invalidation that had returned before it asked: to anybody, if Redis acknowledged it; to
//! a caller in the same process, if it is kept for later.
//!
//! `NEARCACHE_STORM_SECONDS=60` makes each storm longer; `NEARCACHE_STORM_SEED=7` chooses the dice. (What the
//! scheduler does, it does not.)

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use nearcache::Error;
use nearcache_testkit::{Close, Fault, Frames, Proxy, Redis, random_prefix};
use tokio::sync::Mutex;

use crate::face::{Face, run};
use crate::scene::elsewhere;
use crate::target::{Options, Place, Target};

const KEYS: usize = 12;
const TAGS: usize = 3;
const PROCESSES: usize = 2;
const READERS: usize = 6;
const WRITERS: usize = 3;

/// A source of values, each newer than the one before, and what is known to have been invalidated.
struct World {
    source: [AtomicU64; KEYS],
    /// Nothing older than this is an answer to whoever asks from now on: in every process, and in each.
    everywhere: [AtomicU64; KEYS],
    within: [[AtomicU64; KEYS]; PROCESSES],
    /// A key is written by one at a time, as by a database's transaction.
    writing: [Mutex<()>; KEYS],
    caches: [Face; PROCESSES],
    ended: AtomicBool,
    reads: AtomicUsize,
    invalidations: AtomicUsize,
    deferred: AtomicUsize,
}

fn numbers() -> [AtomicU64; KEYS] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn name(key: usize) -> String {
    format!("key:{key}")
}

fn tag(key: usize) -> String {
    format!("tag:{}", key % TAGS)
}

impl World {
    fn new(caches: [Face; PROCESSES]) -> Arc<World> {
        Arc::new(World {
            source: numbers(),
            everywhere: numbers(),
            within: std::array::from_fn(|_| numbers()),
            writing: std::array::from_fn(|_| Mutex::new(())),
            caches,
            ended: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            invalidations: AtomicUsize::new(0),
            deferred: AtomicUsize::new(0),
        })
    }

    /// What a reader in this process may be answered with at the least.
    fn floor(&self, process: usize, key: usize) -> u64 {
        let everywhere = self.everywhere[key].load(Ordering::SeqCst);
        everywhere.max(self.within[process][key].load(Ordering::SeqCst))
    }

    fn versions(&self) -> [u64; KEYS] {
        std::array::from_fn(|key| self.source[key].load(Ordering::SeqCst))
    }

    /// An invalidation has ended: everything that it was about is gone that is older than this.
    fn invalidated(&self, process: usize, outcome: Result<(), Error>, of: impl Fn(usize) -> u64) {
        let known = match outcome {
            Ok(()) => &self.everywhere,
            Err(error) if error.is_deferred() => {
                self.deferred.fetch_add(1, Ordering::Relaxed);
                &self.within[process]
            }
            Err(error) => panic!("neither acknowledged nor kept: {error}"),
        };
        self.invalidations.fetch_add(1, Ordering::Relaxed);
        for (key, known) in known.iter().enumerate() {
            known.fetch_max(of(key), Ordering::SeqCst);
        }
    }

    async fn write(&self, process: usize, rng: &mut Rng) {
        let cache = &self.caches[process];
        let key = rng.usize(..KEYS);
        let (name, tag) = (name(key), tag(key));
        let one = self.writing[key].lock().await;
        let version = self.source[key].fetch_add(1, Ordering::SeqCst) + 1;
        let only = |other| if other == key { version } else { 0 };
        let outcome = match rng.u8(..10) {
            0..3 => call!(cache.delete(&name)).map(drop),
            3 => call!(cache.delete_many([name])).map(drop),
            // Taken, and not readable after that, is an error as well.
            4 => match call!(cache.take::<u64>(&name)) {
                Err(error) if !error.is_deferred() => return,
                outcome => outcome.map(drop),
            },
            5 => call!(cache.set(&name, &version).tags([tag])),
            6 => {
                let short = Duration::from_millis(rng.u64(1..20));
                call!(cache.set(&name, &version).ttl(short).tags([tag]))
            }
            7 => call!(cache.set_many([(name, version)]).tags([tag])),
            _ => {
                // Of everything, and so of every key that is not being written.
                drop(one);
                let before = self.versions();
                if rng.u8(..4) == 0 {
                    let outcome = call!(cache.clear()).map(drop);
                    self.invalidated(process, outcome, |key| before[key]);
                } else {
                    let outcome = call!(cache.invalidate_tag(&tag));
                    let of = |other| {
                        if other % TAGS == key % TAGS {
                            before[other]
                        } else {
                            0
                        }
                    };
                    self.invalidated(process, outcome, of);
                }
                return;
            }
        };
        self.invalidated(process, outcome, only);
    }

    async fn read(self: &Arc<Self>, process: usize, rng: &mut Rng) {
        let cache = &self.caches[process];
        let key = rng.usize(..KEYS);
        let floor = self.floor(process, key);
        let (name, tag, way) = (name(key), tag(key), rng.u8(..12));
        let world = Arc::clone(self);
        let slow = Duration::from_micros(if rng.bool() { rng.u64(..4_000) } else { 0 });
        let ttl = Duration::from_millis(if rng.bool() { rng.u64(1..30) } else { 60_000 });
        let load = move || {
            let version = world.source[key].load(Ordering::SeqCst);
            if !slow.is_zero() {
                std::thread::sleep(slow);
            }
            Ok::<_, std::io::Error>(nearcache::Loaded::new(version).tags([tag]))
        };
        let tags = [self::tag(key)];
        let second = Duration::from_secs(1);
        let found = match way {
            0..2 => call!(cache.get::<u64>(&name)),
            2 => call!(cache.get_many::<u64>([name])).map(|found| found[0]),
            3..6 => remember!(cache, name, load; .tags(tags).ttl(ttl))
                .await
                .map(Some),
            6..8 => remember!(cache, name, load; .ttl(ttl)).await.map(Some),
            8 => {
                let found = remember!(cache, name, load; .tags(tags).ttl(ttl).stale_for(second));
                found.await.map(Some)
            }
            9 => {
                let short = Duration::from_millis(2);
                let found = remember!(cache, name, load; .tags(tags).ttl(ttl).load_timeout(short));
                found.await.map(Some)
            }
            10 => remember!(cache, name, load; .tags(tags).ttl(ttl).bypass())
                .await
                .map(Some),
            _ => refresh!(cache, name, load; .tags(tags).ttl(ttl))
                .await
                .map(Some),
        };
        // An error is no answer; which ones there may be, other tests say.
        let Ok(found) = found else {
            return;
        };
        self.reads.fetch_add(1, Ordering::Relaxed);
        if let Some(version) = found {
            assert!(
                version >= floor,
                "process {process}, way {way}: key {key} is {version}, which was invalidated: {floor}"
            );
        }
    }

    /// Several keys at once, as one call.
    async fn read_many(self: &Arc<Self>, process: usize, rng: &mut Rng) {
        let first = rng.usize(..KEYS);
        let keys: Vec<usize> = (first..first + rng.usize(1..6))
            .map(|key| key % KEYS)
            .collect();
        let floors: Vec<u64> = keys.iter().map(|key| self.floor(process, *key)).collect();
        let names: Vec<String> = keys.iter().map(|key| name(*key)).collect();
        let tags: Vec<String> = (0..TAGS).map(tag).collect();
        let ttl = Duration::from_millis(rng.u64(1..100));
        let world = Arc::clone(self);
        let load = move |names: Vec<String>| {
            let version = |name: &String| {
                let key: usize = name[4..].parse().expect("a key of ours");
                world.source[key].load(Ordering::SeqCst)
            };
            let found: Vec<(String, u64)> = names
                .into_iter()
                .map(|name| (name.clone(), version(&name)))
                .collect();
            std::thread::sleep(Duration::from_micros(500));
            Ok::<_, std::io::Error>(found)
        };
        let found = match &self.caches[process] {
            Face::Async(cache) => {
                let load = move |names| {
                    let load = load.clone();
                    elsewhere(move || load(names))
                };
                cache.remember_many(names, load).tags(tags).ttl(ttl).await
            }
            Face::Blocking(cache) => cache.remember_many(names, load).tags(tags).ttl(ttl).run(),
        };
        for ((key, floor), found) in keys.iter().zip(floors).zip(found.unwrap_or_default()) {
            let version = found.expect("the loader gives every key");
            assert!(
                version >= floor,
                "process {process}, many: key {key} is {version}, which was invalidated: {floor}"
            );
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether there was too little of it to show anything.
    fn was_calm(&self) -> bool {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        count(&self.reads) <= 100 || count(&self.invalidations) <= 20
    }

    /// A caller who goes on until the end.
    async fn live(self: Arc<Self>, process: usize, writes: bool, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let _end = Ends(&self.ended);
        while !self.ended.load(Ordering::SeqCst) {
            if writes {
                self.write(process, &mut rng).await;
                let pause = Duration::from_micros(rng.u64(..2_000));
                tokio::time::sleep(pause).await;
            } else if rng.u8(..5) == 0 {
                self.read_many(process, &mut rng).await;
            } else {
                self.read(process, &mut rng).await;
            }
        }
    }
}

/// A caller who has seen enough ends it for everyone.
struct Ends<'w>(&'w AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// For how much longer a storm goes on until there was enough of it.
const LONGER: Duration = Duration::from_secs(60);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A storm over these caches, and what makes it worse.
fn storm(what: &str, caches: [Face; PROCESSES], mut worse: impl FnMut(&mut Rng)) {
    let seed = number("NEARCACHE_STORM_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let time = Duration::from_secs(number("NEARCACHE_STORM_SECONDS").unwrap_or(3));
    let world = World::new(caches);
    let blocking = matches!(world.caches[0], Face::Blocking(_));
    run(async {
        let mut callers = Vec::new();
        for process in 0..PROCESSES {
            for caller in 0..READERS + WRITERS {
                let seed = seed.wrapping_mul(1_000) + (process * 100 + caller) as u64;
                let life = Arc::clone(&world).live(process, caller < WRITERS, seed);
                callers.push(if blocking {
                    // A thread of its own, as blocking callers have.
                    tokio::task::spawn_blocking(|| alone(life))
                } else {
                    tokio::spawn(life)
                });
            }
        }
        let (begun, mut rng) = (Instant::now(), Rng::with_seed(seed));
        // Longer on a machine that is busy: nothing is shown by what nobody has asked for.
        let goes_on =
            || begun.elapsed() < time || (world.was_calm() && begun.elapsed() < time + LONGER);
        while goes_on() && !world.ended.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(rng.u64(5..40))).await;
            worse(&mut rng);
        }
        world.ended.store(true, Ordering::SeqCst);
        for caller in callers {
            if let Err(error) = caller.await {
                panic!("{what}, seed {seed}: {error}");
            }
        }
    });
    let (mut loads, mut fenced) = (0, 0);
    for cache in &world.caches {
        let stats = ask!(cache.stats());
        loads += stats.loads;
        fenced += stats.fenced;
    }
    let [reads, invalidations, deferred] = [&world.reads, &world.invalidations, &world.deferred]
        .map(|count| count.load(Ordering::Relaxed));
    assert!(!world.was_calm(), "it was calm");
    let line = format!(
        "storm: {what}, seed {seed}: {reads} reads, {loads} loads, {fenced} of them fenced, {invalidations} invalidations, {deferred} of them deferred\n"
    );
    // Past the capture of the test harness.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

fn alone(life: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(life);
}

/// Caches of two processes, which share nothing but the server.
fn caches(target: Target, urls: [String; PROCESSES]) -> [Face; PROCESSES] {
    caches_at(target, &random_prefix(), urls)
}

fn caches_at(target: Target, prefix: &str, urls: [String; PROCESSES]) -> [Face; PROCESSES] {
    urls.map(|url| {
        let options = Options {
            prefix,
            lease: Some(Duration::from_millis(500)),
            ..Options::default()
        };
        target.build(&url, options).expect("a cache")
    })
}

fn embedded(target: Target) -> [Face; PROCESSES] {
    let store = random_prefix();
    caches(
        target,
        ["a", "b"].map(|name| format!("memory://{store}?client_name={name}")),
    )
}

#[test]
fn nothing_invalidated_is_an_answer_embedded() {
    let target = Target::asynchronous(Place::Embedded);
    storm("embedded, async", embedded(target), |_| {});
}

#[test]
fn nothing_invalidated_is_an_answer_embedded_blocking() {
    let target = Target::blocking(Place::Embedded);
    storm("embedded, blocking", embedded(target), |_| {});
}

/// On Redis, with delays; and where connections are lost, too.
fn on_redis(target: Target, what: &str, lossy: bool) {
    on_redis_at(target, what, lossy, |proxy| format!("{}?", proxy.url()));
}

/// `url`: where a process finds its proxy.
fn on_redis_at(target: Target, what: &str, lossy: bool, mut url: impl FnMut(&Proxy) -> String) {
    let redis = Redis::start();
    let proxies = [(); PROCESSES].map(|()| Proxy::start(&redis.address()));
    for proxy in &proxies {
        for frames in [Frames::requests(), Frames::replies()] {
            proxy.set(Fault::Delay {
                frames,
                by: Duration::ZERO,
                jitter: Duration::from_micros(500),
            });
        }
    }
    let urls = [0, 1].map(|at: usize| format!("{}&breaker=off", url(&proxies[at])));
    storm(what, caches(target, urls), |rng| {
        if lossy {
            let close = if rng.bool() {
                Close::Reset
            } else {
                Close::Finish
            };
            proxies[rng.usize(..PROCESSES)].cut(close);
        }
    });
}

#[test]
fn nothing_invalidated_is_an_answer_on_redis() {
    on_redis(
        Target::asynchronous(Place::RedisResp3),
        "Redis, async",
        false,
    );
}

#[test]
fn nothing_invalidated_is_an_answer_on_redis_blocking() {
    on_redis(
        Target::blocking(Place::RedisResp3),
        "Redis, blocking",
        false,
    );
}

#[test]
fn nothing_invalidated_is_an_answer_where_connections_are_lost() {
    let what = "Redis with cuts, async";
    on_redis(Target::asynchronous(Place::RedisResp3), what, true);
}

#[test]
fn nothing_invalidated_is_an_answer_where_connections_are_lost_blocking() {
    let what = "Redis with cuts, blocking";
    on_redis(Target::blocking(Place::RedisResp3), what, true);
}

#[cfg(feature = "tls")]
#[test]
fn nothing_invalidated_is_an_answer_over_tls_where_connections_are_lost() {
    use crate::terminator::Terminator;
    for (target, what) in [
        (
            Target::asynchronous(Place::RedisResp3),
            "TLS with cuts, async",
        ),
        (
            Target::blocking(Place::RedisResp3),
            "TLS with cuts, blocking",
        ),
    ] {
        let mut terminators = Vec::new();
        on_redis_at(target, what, true, |proxy| {
            let terminator = Terminator::before(proxy.address());
            let url = terminator.url();
            terminators.push(terminator);
            url
        });
    }
}

/// On a Cluster, with delays, while connections are lost and the keys' slots move from one primary to another.
#[cfg(feature = "cluster")]
fn on_a_cluster(target: Target, what: &str) {
    use nearcache_testkit::{Cluster, ClusterOptions};
    let cluster = Cluster::start_with(ClusterOptions {
        replicas: 0,
        ..ClusterOptions::default()
    });
    let ways = [(); PROCESSES].map(|()| cluster.proxies());
    for proxy in ways.iter().flat_map(nearcache_testkit::Proxies::all) {
        for frames in [Frames::requests(), Frames::replies()] {
            proxy.set(Fault::Delay {
                frames,
                by: Duration::ZERO,
                jitter: Duration::from_micros(500),
            });
        }
    }
    let prefix = random_prefix();
    let urls = [0, 1].map(|at: usize| format!("{}?breaker=off", ways[at].url()));
    storm(what, caches_at(target, &prefix, urls), |rng| {
        let node = rng.usize(..cluster.len());
        if rng.bool() {
            let close = if rng.bool() {
                Close::Reset
            } else {
                Close::Finish
            };
            ways[rng.usize(..PROCESSES)].of(node).cut(close);
        } else {
            let slot = cluster.slot(format!("{prefix}:{}", name(rng.usize(..KEYS))));
            let migration =
                (cluster.primary_of(slot) != node).then(|| cluster.migration(slot, node));
            if let Some(migration) = migration {
                migration.whole();
            }
        }
    });
}

#[cfg(feature = "cluster")]
#[test]
fn nothing_invalidated_is_an_answer_on_a_cluster_whose_slots_move() {
    let what = "Cluster with cuts and moved slots, async";
    on_a_cluster(Target::asynchronous(Place::Cluster), what);
}

#[cfg(feature = "cluster")]
#[test]
fn nothing_invalidated_is_an_answer_on_a_cluster_whose_slots_move_blocking() {
    let what = "Cluster with cuts and moved slots, blocking";
    on_a_cluster(Target::blocking(Place::Cluster), what);
}
