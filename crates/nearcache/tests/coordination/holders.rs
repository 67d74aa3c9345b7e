//! Never two hold a lock at once, and never more a semaphore than it has permits, whoever is killed and paused. Tokens
//! only grow.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nearcache::blocking;
use nearcache_testkit::{Redis, random_prefix};

use crate::child::Folder;
use crate::process::{PERMITS, TTL, a_while, start, watch};
use crate::seconds;

const PROCESSES: usize = 8;

/// A time during which something was held for sure.
#[derive(Clone, Copy, Debug)]
struct Interval {
    token: u64,
    from: u64,
    to: u64,
}

/// What the processes or threads have noted.
fn intervals(texts: &[String]) -> Vec<Interval> {
    let mut all = Vec::new();
    for text in texts {
        // The last line may be the beginning of one, whose writer was killed.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            let (token, time) = (number(1), number(2));
            match words[0] {
                "b" => all.push(Interval {
                    token,
                    from: time,
                    to: time,
                }),
                _ => {
                    let last: &mut Interval = all.last_mut().expect("it begins with `b`");
                    assert_eq!(last.token, token);
                    last.to = time;
                }
            }
        }
    }
    all.retain(|interval| interval.from <= interval.to);
    all.sort_unstable_by_key(|interval| interval.from);
    all
}

/// Of all that was held, at most so many at a time; and each holder of one has a higher token than the one before.
fn check(what: &str, held: &[Interval], most: usize) {
    let mut tokens = HashMap::new();
    for interval in held {
        let twin = tokens.insert(interval.token, interval);
        assert!(
            twin.is_none(),
            "one token, two holders: {twin:?}, {interval:?}"
        );
    }
    let mut ends: Vec<u64> = Vec::new();
    let mut at_once = 0;
    for interval in held {
        ends.retain(|end| *end >= interval.from);
        ends.push(interval.to);
        at_once = at_once.max(ends.len());
    }
    assert!(at_once <= most, "{what}: {at_once} at once: {held:?}");
    if most == 1 {
        for pair in held.windows(2) {
            assert!(
                pair[0].token < pair[1].token,
                "{what}: the token fell: {pair:?}"
            );
        }
    }
    println!(
        "{what}: held {} times, at most {at_once} at once",
        held.len()
    );
    assert!(held.len() > 20, "{what}: only {} times", held.len());
    assert_eq!(at_once, most, "{what}: they did not meet");
}

fn never_more_than(what: &str, most: usize) {
    let (redis, prefix, folder) = (Redis::start(), random_prefix(), Folder::new());
    let start = |blocking| start(what, redis.port(), &prefix, blocking, &folder);
    let mut processes: Vec<_> = (0..PROCESSES)
        .map(|number| start(number % 2 == 1))
        .collect();
    let (begun, mut kills, mut pauses) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(seconds()) {
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..100)));
        let victim = fastrand::usize(..PROCESSES);
        if fastrand::bool() {
            processes[victim].kill();
            processes[victim] = start(fastrand::bool());
            kills += 1;
        } else {
            // Beyond the TTL, so that others get what it holds.
            processes[victim].pause(TTL.mul_f64(0.5 + 2.0 * fastrand::f64()));
            pauses += 1;
        }
    }
    drop(processes);
    println!("{what}: {PROCESSES} processes, {kills} kills, {pauses} pauses");
    check(what, &intervals(&folder.texts()), most);
}

#[test]
fn never_two_processes_hold_a_lock_at_once() {
    never_more_than("lock", 1);
}

#[test]
fn never_more_processes_than_permits_hold_a_semaphore() {
    never_more_than("semaphore", usize::try_from(PERMITS).unwrap());
}

/// Threads cannot be stopped from outside: instead, some do not renew what they hold, and sleep for longer.
fn never_more_threads_than(most: usize) {
    let store = nearcache::embedded::Store::new();
    let end = Instant::now() + Duration::from_secs(seconds());
    let texts: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let cache = blocking::Cache::builder("memory://").store(&store).build();
                scope.spawn(move || threaded(&cache.unwrap(), most, end))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    check("threads", &intervals(&texts), most);
}

fn threaded(cache: &blocking::Cache, most: usize, end: Instant) -> String {
    let mut noted = Vec::new();
    let pause = async |time| std::thread::sleep(time);
    while Instant::now() < end {
        let renewed = fastrand::bool();
        let sleeps = !renewed && fastrand::bool();
        let note = |noted: &mut Vec<u8>, token, is_held: &dyn Fn() -> bool| {
            crate::face::run(watch(noted, token, a_while(), is_held, pause));
            if sleeps {
                std::thread::sleep(TTL.mul_f64(1.2));
                crate::face::run(watch(noted, token, a_while(), is_held, pause));
            }
        };
        if most == 1 {
            let lock = cache.lock("job").ttl(TTL);
            let lock = if renewed {
                lock
            } else {
                lock.without_renewal()
            };
            if let Ok(held) = lock.acquire().wait("1s").run() {
                note(&mut noted, held.token(), &|| held.is_held());
            }
        } else {
            let pool = cache.semaphore("pool", most as u64).ttl(TTL);
            let pool = if renewed {
                pool
            } else {
                pool.without_renewal()
            };
            if let Ok(held) = pool.acquire().wait("1s").run() {
                note(&mut noted, held.token(), &|| held.is_held());
            }
        }
    }
    String::from_utf8(noted).unwrap()
}

#[test]
fn never_two_threads_hold_a_lock_of_the_embedded_store() {
    never_more_threads_than(1);
}

#[test]
fn never_more_threads_than_permits_hold_a_semaphore() {
    never_more_threads_than(3);
}
