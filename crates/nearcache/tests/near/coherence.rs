//! Processes with near tiers on one server, and a record of what each has read and written: none has served a value that
//! was older than the news of a newer one.
//!
//! Each key is a register whose versions are numbered (`INCR` of another key, on a server of its own: the board), so that
//! the order of writes is known. A process that has written version `v` tells the others when that has returned. One that
//! has invalidated the tag of a key, or cleared the cache, tells them that what was written before is not to be served
//! any more. A reader notes the newest version that it has been told to have been written **and whose news have come to
//! it**: for that it sends a `PING` on the connection that carries the news, after it was told. What it reads after that
//! is not older.
//!
//! Where connections are cut, a write whose connection was cut may be carried out after a later one, whose order is then
//! another than that of the numbers; and so is that of one that was given up. So there the writes go another way, which is
//! not cut, and no write is given up. There the server restarts twice, too, with what it had.
//!
//! In a Cluster, slots move and replicas take over from their primaries, with their consent, while all that goes on.
//!
//! What is printed is also how long an old value was served after the write of the newer one, or the invalidation, had
//! returned: the time for which the news are on their way.
//!
//! `NEARCACHE_COHERENCE_SECONDS` makes it run longer.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nearcache::Cache;
use nearcache_testkit::{Close, Cluster, ClusterOptions, Proxy, Redis, random_prefix};
use redis::aio::MultiplexedConnection;

use crate::face::run;

const ROLE: &str = "NEARCACHE_TEST_NEAR_PROCESS";
const KEYS: usize = 8;
const PROCESSES: usize = 4;

/// The keys below this one carry the tag `t`.
const TAGGED: usize = 4;

fn seconds() -> u64 {
    let said = std::env::var("NEARCACHE_COHERENCE_SECONDS").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(2)
}

/// The time of day in microseconds, which all processes here have.
fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

/// What a process has seen.
#[derive(Default)]
struct Seen {
    /// By key: the newest version whose write had returned, and whose news must have come here.
    settled: [AtomicU64; KEYS],
    /// By key: when each version was last served, by the time at which the read began.
    served: [Mutex<BTreeMap<u64, u64>>; KEYS],
    /// How long what was older was served, in microseconds.
    windows: Mutex<Vec<u64>>,
    reads: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    /// What is older than this version is not served any more. It was said at this time that it is not to be.
    fn settle(&self, key: usize, version: u64, at: u64) {
        if self.settled[key].fetch_max(version, Ordering::SeqCst) >= version {
            return;
        }
        let mut served = self.served[key].lock().unwrap();
        let last = served.range(..version).map(|(_, last)| *last).max();
        *served = served.split_off(&version);
        let window = last.map_or(0, |last| last.saturating_sub(at));
        self.windows.lock().unwrap().push(window);
    }
}

/// What the processes tell each other: by key, a version, and since when nothing older is to be served.
#[derive(Clone)]
struct Board {
    redis: MultiplexedConnection,
    prefix: String,
}

impl Board {
    async fn open(url: &str, prefix: &str) -> Self {
        let client = redis::Client::open(url).unwrap();
        // However busy the machine is.
        let patient = redis::AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let connecting = client.get_multiplexed_async_connection_with_config(&patient);
        Board {
            redis: connecting.await.unwrap(),
            prefix: prefix.to_owned(),
        }
    }

    fn name(&self, what: &str, key: usize) -> String {
        format!("{what}:{}:{key}", self.prefix)
    }

    async fn say(&mut self, what: &str, key: usize, version: u64) {
        let mut say = redis::cmd("SET");
        say.arg(self.name(what, key))
            .arg(format!("{version} {}", micros()));
        let () = say.query_async(&mut self.redis).await.unwrap();
    }

    /// What is said of all keys.
    async fn read(&mut self, what: &str) -> Vec<(u64, u64)> {
        let mut names = redis::cmd("MGET");
        for key in 0..KEYS {
            names.arg(self.name(what, key));
        }
        let said: Vec<Option<String>> = names.query_async(&mut self.redis).await.unwrap();
        let said = said.into_iter().map(|said| {
            let said = said.unwrap_or_default();
            let mut numbers = said.split(' ').map(|word| word.parse().unwrap_or(0));
            (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
        });
        said.collect()
    }

    /// The next version of a key, for a writer that is alone with it until it says `free`.
    async fn next(&mut self, key: usize) -> Option<u64> {
        let mut lock = redis::cmd("SET");
        lock.arg(self.name("lock", key)).arg(1).arg("NX");
        lock.query_async::<Option<()>>(&mut self.redis)
            .await
            .unwrap()?;
        let mut next = redis::cmd("INCR");
        next.arg(self.name("next", key));
        next.query_async(&mut self.redis).await.ok()
    }

    async fn free(&mut self, key: usize) {
        let mut free = redis::cmd("DEL");
        free.arg(self.name("lock", key));
        let () = free.query_async(&mut self.redis).await.unwrap();
    }
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Connections are cut, and the server restarts.
    Cuts,
    /// Slots of a Cluster move, and replicas take over.
    Moves,
}

/// One of the processes: `URL SERVER BOARD PREFIX SECONDS TROUBLE`.
#[test]
fn one_of_the_processes() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let mut words = role.split(' ');
    let mut word = || words.next().expect("a word").to_owned();
    let (url, server, board, prefix) = (word(), word(), word(), word());
    let time = Duration::from_secs(word().parse().expect("a number"));
    let trouble = match &*word() {
        "Cuts" => Trouble::Cuts,
        "Moves" => Trouble::Moves,
        _ => Trouble::None,
    };
    let cuts = trouble == Trouble::Cuts;
    run(async move {
        let url = format!("{url}?near=1000&near_heartbeat=100ms&breaker=off");
        let cache = Cache::builder(&url)
            .prefix(&prefix)
            .timeout(if cuts { "1s" } else { "30s" })
            .build()
            .unwrap();
        let writes = match cuts {
            true => Cache::builder(&server.replace("127.0.0.1", "localhost"))
                .prefix(&prefix)
                .timeout("30s")
                .build()
                .unwrap(),
            false => cache.clone(),
        };
        let board = Board::open(&board, &prefix).await;
        let seen = Arc::new(Seen::default());
        let until = Until::after(time, &cache);
        let mut tasks = vec![tokio::spawn(settle(
            cache.clone(),
            board.clone(),
            seen.clone(),
            until.clone(),
        ))];
        for _ in 0..3 {
            tasks.push(tokio::spawn(read(
                cache.clone(),
                seen.clone(),
                until.clone(),
            )));
        }
        let writing = write((writes, trouble), board, seen.clone(), until);
        tasks.push(tokio::spawn(writing));
        for task in tasks {
            task.await.unwrap();
        }
        let windows = seen.windows.lock().unwrap();
        let windows: Vec<String> = windows.iter().map(u64::to_string).collect();
        println!("windows: {}", windows.join(" "));
        let wrong = seen.wrong.lock().unwrap();
        let stats = cache.stats();
        println!(
            "coherence: {} reads, {} near, {} told, {} wrong {}",
            seen.reads.load(Ordering::SeqCst),
            stats.near_hits,
            stats.near_invalidations,
            wrong.len(),
            wrong.first().map_or("", String::as_str)
        );
    });
}

/// How long a process goes on: for a time, and on a machine that has no time for it, until it has seen enough.
#[derive(Clone)]
struct Until {
    end: Instant,
    cache: Cache,
}

impl Until {
    /// How much longer it may take.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn after(time: Duration, cache: &Cache) -> Self {
        Until {
            end: Instant::now() + time,
            cache: cache.clone(),
        }
    }

    fn goes_on(&self) -> bool {
        let now = Instant::now();
        now < self.end || (now < self.end + Self::PATIENCE && !saw_enough(&self.cache))
    }
}

fn saw_enough(cache: &Cache) -> bool {
    let stats = cache.stats();
    stats.near_hits > 100 && stats.near_invalidations > 10
}

/// Reads the board: versions whose write has returned. They bind here once the news of them have come.
async fn settle(cache: Cache, mut board: Board, seen: Arc<Seen>, until: Until) {
    while until.goes_on() {
        let (written, gone) = (board.read("written").await, board.read("gone").await);
        // On the connections that carry the news, to each server. If it fails, the news have not come; but then nothing
        // is near, or the server is asked.
        let names: Vec<String> = (0..KEYS).map(|key| format!("k{key}")).collect();
        if cache.get_many::<u64>(&names).skip_near().await.is_ok() {
            for said in [written, gone] {
                for (key, (version, at)) in said.into_iter().enumerate() {
                    seen.settle(key, version, at);
                }
            }
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

async fn read(cache: Cache, seen: Arc<Seen>, until: Until) {
    let mut round = 0_usize;
    while until.goes_on() {
        round += 1;
        let key = (round * 7 + round / 3) % KEYS;
        let least = seen.settled[key].load(Ordering::SeqCst);
        let name = format!("k{key}");
        let hits = cache.stats().near_hits;
        let begun = micros();
        let found = match round % 3 {
            0 => cache
                .get_many::<u64>([&name])
                .await
                .map(|mut found| found.pop().flatten()),
            1 => cache
                .get_arc::<u64>(&name)
                .await
                .map(|found| found.map(|found| *found)),
            _ => cache.get::<u64>(&name).await,
        };
        if let Ok(Some(version)) = found {
            seen.reads.fetch_add(1, Ordering::SeqCst);
            {
                let mut served = seen.served[key].lock().unwrap();
                let last = served.entry(version).or_default();
                *last = begun.max(*last);
            }
            if version < least {
                let near = cache.stats().near_hits > hits;
                let what = format!("{name}: {version} after {least} (near: {near})");
                seen.wrong.lock().unwrap().push(what);
            }
        }
        if round.is_multiple_of(16) {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }
}

/// Writes a new version in one of the ways of a cache, and says so on the board when that has returned. Now and then
/// invalidates a tag, or clears the cache: then the versions whose write had returned before are not served any more.
async fn write(
    (cache, trouble): (Cache, Trouble),
    mut board: Board,
    seen: Arc<Seen>,
    until: Until,
) {
    let here = trouble != Trouble::Cuts;
    let mut round = std::process::id() as usize;
    while until.goes_on() {
        tokio::time::sleep(Duration::from_millis(3)).await;
        round += 1;
        if round.is_multiple_of(25) {
            let clears = round.is_multiple_of(100);
            let before = board.read("written").await;
            let done = match clears {
                true => cache.clear().await.is_ok(),
                false => cache.invalidate_tag("t").await.is_ok(),
            };
            let keys = if clears { KEYS } else { TAGGED };
            for (key, (version, _)) in before.into_iter().take(keys).enumerate() {
                if done && version > 0 {
                    if here {
                        seen.settle(key, version + 1, micros());
                    }
                    board.say("gone", key, version + 1).await;
                }
            }
            continue;
        }
        let key = round % KEYS;
        let name = format!("k{key}");
        // The order of the versions is that of the writes: one writer at a time.
        let Some(version) = board.next(key).await else {
            continue;
        };
        let tags: &[&str] = if key < TAGGED { &["t"] } else { &[] };
        let load = move || async move { Ok::<_, nearcache::Error>(version) };
        let written = match round / KEYS % 4 {
            1 if key >= TAGGED => cache.set_many([(&name, version)]).await.is_ok(),
            2 => {
                cache.delete(&name).await.is_ok()
                    && cache.add(&name, &version).tags(tags).await.unwrap_or(false)
            }
            3 => {
                let refreshed = cache.refresh(&name, load).tags(tags).await.is_ok();
                // The value is returned also where it could not be stored: then the old one is deleted later.
                let stored = cache.get(&name).skip_near();
                refreshed && (trouble == Trouble::None || stored.await.ok() == Some(Some(version)))
            }
            _ => cache.set(&name, &version).tags(tags).await.is_ok(),
        };
        if written {
            if here {
                // What has returned binds here at once.
                seen.settle(key, version, micros());
            }
            board.say("written", key, version).await;
        }
        board.free(key).await;
    }
}

/// One server, and a proxy before it for each process.
fn on_a_server(cuts: bool) {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let proxies: Vec<Proxy> = (0..PROCESSES)
        .map(|_| Proxy::start(&redis.address()))
        .collect();
    let urls = proxies.iter().map(Proxy::url).collect();
    let (server, time) = (redis.url(), Duration::from_secs(seconds()));
    let trouble = if cuts { Trouble::Cuts } else { Trouble::None };
    record(urls, &server, &random_prefix(), trouble, || {
        let begun = Instant::now();
        let mut restarts = [time / 3, time * 2 / 3].into_iter().peekable();
        while cuts && begun.elapsed() < time {
            std::thread::sleep(Duration::from_millis(150));
            proxies[fastrand::usize(..PROCESSES)].cut(Close::Reset);
            if restarts.next_if(|at| begun.elapsed() >= *at).is_some() {
                redis.kill();
                redis.restart();
            }
        }
    });
}

/// A Cluster, in which keys and primaries change places.
fn on_a_cluster() {
    let cluster = Cluster::start_with(ClusterOptions::default());
    let slots = |prefix: &str| -> Vec<u16> {
        let slot = |key| cluster.slot(format!("{prefix}:k{key}"));
        (0..KEYS).map(slot).collect()
    };
    // Each primary has some of the keys, so who asks for all of them asks each.
    let prefix = std::iter::repeat_with(random_prefix).find(|prefix| {
        let mut primaries: Vec<_> = slots(prefix)
            .into_iter()
            .map(|slot| cluster.primary_of(slot))
            .collect();
        primaries.sort_unstable();
        primaries.dedup();
        primaries.len() == 3
    });
    let prefix = prefix.expect("one of many");
    let slots = slots(&prefix);
    let urls = vec![cluster.url(); PROCESSES];
    let time = Duration::from_secs(seconds());
    record(urls, &cluster.url(), &prefix, Trouble::Moves, || {
        let begun = Instant::now();
        for round in 0.. {
            std::thread::sleep(Duration::from_millis(300));
            if begun.elapsed() >= time {
                break;
            }
            if round % 3 == 2 {
                // A replica takes over what it knows that its primary has.
                cluster.agreed();
                let primary = fastrand::choice(cluster.primaries()).expect("a primary");
                if let Some(replica) = cluster.replicas_of(primary).first() {
                    take_over(&cluster, *replica);
                }
            } else {
                let slot = slots[fastrand::usize(..KEYS)];
                let to = fastrand::choice(cluster.primaries()).expect("a primary");
                if cluster.primary_of(slot) != to {
                    cluster.migration(slot, to).whole();
                }
            }
        }
    });
}

/// Lets a replica take over, with the consent of its primary. On a busy machine the servers may give that up, after 5 s:
/// then all stays as it is.
fn take_over(cluster: &Cluster, replica: usize) {
    cluster.tell(replica, &["CLUSTER", "FAILOVER"]);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(7) {
        let role = cluster.ask(replica, &["ROLE"]).elements();
        if role.first().is_some_and(|role| role == b"master") {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    cluster.agreed();
}

/// Runs the processes, with what happens meanwhile, and looks at what they have seen.
fn record(urls: Vec<String>, server: &str, prefix: &str, trouble: Trouble, happens: impl FnOnce()) {
    let (board, time) = (Redis::start(), seconds());
    let mut children: Vec<_> = urls
        .into_iter()
        .map(|url| {
            let board = board.url();
            let role = format!("{url} {server} {board} {prefix} {time} {trouble:?}");
            Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "coherence::one_of_the_processes", "--nocapture"])
                .env(ROLE, role)
                .stdout(Stdio::piped())
                .spawn()
                .expect("another process")
        })
        .collect();
    happens();
    let mut windows: Vec<u64> = Vec::new();
    let mut results = Vec::new();
    for child in &mut children {
        let output = BufReader::new(child.stdout.take().expect("its output"));
        for line in output.lines() {
            let line = line.expect("text");
            if let Some((_, all)) = line.split_once("windows: ") {
                windows.extend(
                    all.split_ascii_whitespace()
                        .map(|one| one.parse::<u64>().expect("a number")),
                );
            }
            if let Some((_, result)) = line.split_once("coherence: ") {
                results.push(result.to_owned());
            }
        }
        assert!(child.wait().expect("its end").success());
    }
    windows.sort_unstable();
    let part = |of: f64| {
        let last = windows.len().saturating_sub(1);
        windows
            .get((last as f64 * of) as usize)
            .copied()
            .unwrap_or_default()
    };
    let report = format!(
        "{time} s, trouble: {trouble:?}\n{}\nold values served after a write or an invalidation had returned, of {}: \
         p50 {} µs, p99 {} µs, max {} µs",
        results.join("\n"),
        windows.len(),
        part(0.5),
        part(0.99),
        part(1.0)
    );
    let _ = writeln!(std::io::stderr(), "{report}");
    assert_eq!(results.len(), PROCESSES);
    for result in results {
        let count = |word: &str| -> u64 {
            let before = result.split(word).next().unwrap_or_default();
            let number = before.trim_end().rsplit(' ').next().unwrap_or_default();
            number.parse().unwrap_or_else(|_| panic!("{result}"))
        };
        assert_eq!(count("wrong"), 0, "{report}");
        // Not how many: that is a question of how busy the machine is.
        assert!(count("near") > 0 && count("told") > 0, "{report}");
    }
}

#[test]
fn no_process_serves_what_is_older_than_the_news() {
    on_a_server(false);
}

#[test]
fn nor_while_connections_are_cut_and_the_server_restarts() {
    on_a_server(true);
}

#[test]
fn nor_while_slots_of_a_cluster_move_and_replicas_take_over() {
    on_a_cluster();
}
