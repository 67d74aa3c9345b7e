//! A service of several processes with near tiers, under the load of a web site, while Redis is killed, hung, and slow:
//! `remember` goes on answering, and what was invalidated meanwhile stays so.
//!
//! The source of the values is another server, which is always there. Its versions only grow. So a process whose
//! invalidation has returned, deferred or not, is never answered with what was there before that; and once nothing waits
//! any more, every process is answered with what the source has.
//!
//! `NEARCACHE_NEAR_OUTAGE_MILLIS` makes each outage longer: 5,000 is the whole test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nearcache::{Cache, blocking};
use nearcache_testkit::{Fault, Frames, Proxy, Redis, random_prefix};

use crate::face::{Face, run};

const ROLE: &str = "NEARCACHE_TEST_NEAR_OUTAGE";
const PROCESSES: usize = 4;
const KEYS: usize = 64;
const TASKS: usize = 4;

/// Of so many calls, one invalidates.
const INVALIDATES: usize = 20;

fn outage() -> Duration {
    let said = std::env::var("NEARCACHE_NEAR_OUTAGE_MILLIS").ok();
    Duration::from_millis(said.and_then(|said| said.parse().ok()).unwrap_or(400))
}

/// The source of the values, and what the processes tell each other.
#[derive(Clone)]
struct Source(Arc<Mutex<redis::Connection>>);

impl Source {
    fn open(url: &str) -> Self {
        let client = redis::Client::open(url).unwrap();
        Source(Arc::new(Mutex::new(client.get_connection().unwrap())))
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        command.query(&mut *self.0.lock().unwrap()).unwrap()
    }

    fn version(&self, key: usize) -> u64 {
        let found: Option<u64> = self.ask(redis::cmd("GET").arg(format!("version:{key}")));
        found.unwrap_or(0)
    }

    fn write(&self, key: usize) -> u64 {
        self.ask(redis::cmd("INCR").arg(format!("version:{key}")))
    }

    fn phase(&self) -> String {
        let phase: Option<String> = self.ask(redis::cmd("GET").arg("phase"));
        phase.unwrap_or_default()
    }

    fn say(&self, phase: &str) {
        let () = self.ask(redis::cmd("SET").arg("phase").arg(phase));
    }

    /// One of the processes has come to this point.
    fn arrive(&self, point: &str) {
        let _: u64 = self.ask(redis::cmd("INCR").arg(point));
    }

    fn arrived(&self, point: &str) -> usize {
        let count: Option<usize> = self.ask(redis::cmd("GET").arg(point));
        count.unwrap_or(0)
    }
}

/// What a process has seen.
#[derive(Default)]
struct Seen {
    /// By key: the version of its own newest invalidation that has returned.
    own: Mutex<BTreeMap<usize, u64>>,
    /// By phase: how many calls of `remember`, and how long the slowest took.
    calls: Mutex<BTreeMap<String, (u64, Duration)>>,
    deferred: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// One of the processes: `URL SOURCE PREFIX NUMBER`.
#[test]
fn one_of_the_processes() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let mut words = role.split(' ');
    let mut word = || words.next().expect("a word").to_owned();
    let (url, source, prefix, number) = (word(), word(), word(), word());
    run(async move {
        let url = format!("{url}?near=1000");
        let face = match number.parse::<usize>().expect("a number") % 2 {
            0 => Face::Async(Cache::builder(&url).prefix(&prefix).build().unwrap()),
            _ => Face::Blocking(
                blocking::Cache::builder(&url)
                    .prefix(&prefix)
                    .build()
                    .unwrap(),
            ),
        };
        let source = Source::open(&source);
        let (seen, phase) = (Arc::<Seen>::default(), Arc::new(Mutex::new(source.phase())));
        let ended = Arc::<AtomicBool>::default();
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (seen, phase) = (Arc::clone(&seen), Arc::clone(&phase));
                let load = load(
                    task,
                    face.clone(),
                    source.clone(),
                    (seen, phase),
                    ended.clone(),
                );
                tokio::spawn(load)
            })
            .collect();
        loop {
            let now = source.phase();
            if now == "end" {
                break;
            }
            *phase.lock().unwrap() = now;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ended.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        // What was deferred is sent.
        while ask!(face.stats()).invalidations_waiting > 0 {
            let _ = call!(face.get::<u64>("k0"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        source.arrive("settled");
        while source.arrived("settled") < PROCESSES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // And the news of that have come: each key is asked for once over the connection that carries them.
        for round in 0..2 {
            for key in 0..KEYS {
                let (name, from) = (format!("k{key}"), source.clone());
                let load = move || Ok::<_, std::io::Error>(from.version(key));
                let found = match round {
                    0 => remember!(face, name, load; .skip_near()).await,
                    _ => remember!(face, name, load).await,
                };
                let expected = source.version(key);
                if found.as_ref().ok() != Some(&expected) {
                    let what =
                        format!("k{key}: {found:?} in the end, and the source has {expected}");
                    seen.wrong.lock().unwrap().push(what);
                }
            }
        }
        for (phase, (calls, slowest)) in &*seen.calls.lock().unwrap() {
            println!("outage: {phase} {calls} {}", slowest.as_micros());
        }
        let wrong = seen.wrong.lock().unwrap();
        println!(
            "seen: {} wrong {}; {} deferred, {} near",
            wrong.len(),
            wrong.first().map_or("", String::as_str),
            seen.deferred.load(Ordering::SeqCst),
            ask!(face.stats()).near_hits,
        );
    });
}

/// Reads and invalidates, until it has ended.
async fn load(
    task: usize,
    face: Face,
    source: Source,
    (seen, phase): (Arc<Seen>, Arc<Mutex<String>>),
    ended: Arc<AtomicBool>,
) {
    let mut round = task * 7;
    while !ended.load(Ordering::SeqCst) {
        round += 1;
        let (key, now) = (fastrand::usize(..KEYS), phase.lock().unwrap().clone());
        let name = format!("k{key}");
        if round.is_multiple_of(INVALIDATES) {
            let version = source.write(key);
            let deleted = match &face {
                Face::Async(cache) => cache.delete(&name).await,
                Face::Blocking(cache) => {
                    let cache = cache.clone();
                    crate::scene::elsewhere(move || cache.delete(&name).run()).await
                }
            };
            match deleted {
                Ok(_) => {}
                Err(error) if error.is_deferred() => {
                    seen.deferred.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => seen.wrong.lock().unwrap().push(error.to_string()),
            }
            let mut own = seen.own.lock().unwrap();
            let newest = own.entry(key).or_default();
            *newest = version.max(*newest);
        } else {
            let least = seen.own.lock().unwrap().get(&key).copied().unwrap_or(0);
            let from = source.clone();
            let load = move || Ok::<_, std::io::Error>(from.version(key));
            let begun = Instant::now();
            let found = remember!(face, name, load).await;
            let took = begun.elapsed();
            match found {
                Ok(version) if version >= least => {}
                other => {
                    let what = format!("k{key}: {other:?} after {least}, {now}");
                    seen.wrong.lock().unwrap().push(what);
                }
            }
            let mut calls = seen.calls.lock().unwrap();
            let (count, slowest) = calls.entry(now).or_default();
            *count += 1;
            *slowest = took.max(*slowest);
        }
        if round.is_multiple_of(8) {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

#[test]
fn remember_goes_on_while_redis_is_killed_hung_and_slow_and_invalidations_hold() {
    let (mut redis, server) = (Redis::start(), Redis::start());
    let (source, prefix) = (Source::open(&server.url()), random_prefix());
    let proxies: Vec<Proxy> = (0..PROCESSES)
        .map(|_| Proxy::start(&redis.address()))
        .collect();
    source.say("0 well");
    let mut children: Vec<_> = proxies
        .iter()
        .enumerate()
        .map(|(number, proxy)| {
            let role = format!("{} {} {prefix} {number}", proxy.url(), server.url());
            Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "outage::one_of_the_processes", "--nocapture"])
                .env(ROLE, role)
                .stdout(Stdio::piped())
                .spawn()
                .expect("another process")
        })
        .collect();
    let wait = std::thread::sleep;
    let well = Duration::from_millis(500).max(outage() / 5);
    wait(well);
    source.say("1 killed");
    redis.kill();
    wait(outage());
    redis.restart();
    source.say("2 back");
    wait(well);
    source.say("3 hung");
    redis.freeze();
    wait(outage());
    redis.thaw();
    source.say("4 back");
    wait(well);
    source.say("5 slow");
    for proxy in &proxies {
        proxy.set(Fault::delay(Frames::replies(), Duration::from_millis(200)));
    }
    wait(outage());
    for proxy in &proxies {
        proxy.heal();
    }
    source.say("6 back");
    wait(well);
    source.say("end");
    let mut phases: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut seen = Vec::new();
    for child in &mut children {
        let output = BufReader::new(child.stdout.take().expect("its output"));
        for line in output.lines() {
            let line = line.expect("text");
            if let Some((_, said)) = line.split_once("outage: ") {
                let mut words = said.rsplitn(3, ' ');
                let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
                let (slowest, calls) = (number().expect("µs"), number().expect("calls"));
                let phase = phases.entry(words.next().expect("a phase").to_owned());
                let (all, most) = phase.or_default();
                *all += calls;
                *most = slowest.max(*most);
            }
            if let Some((_, said)) = line.split_once("seen: ") {
                seen.push(said.to_owned());
            }
        }
        assert!(child.wait().expect("its end").success());
    }
    let mut report = format!("{PROCESSES} processes, outages of {:?}\n", outage());
    for (phase, (calls, slowest)) in &phases {
        report += &format!("{phase}: {calls} calls of remember, the slowest {slowest} µs\n");
    }
    report += &seen.join("\n");
    let _ = writeln!(std::io::stderr(), "{report}");
    assert_eq!(phases.len(), 7, "{report}");
    assert_eq!(seen.len(), PROCESSES, "{report}");
    assert!(
        seen.iter().all(|seen| seen.starts_with("0 wrong")),
        "{report}"
    );
}
