//! Eight processes on a server, eight threads on the embedded store: one id.

use std::time::Duration;

use nearcache::blocking;
use nearcache_testkit::{Redis, random_prefix};

use crate::check::{Algorithm, micros, report, seconds};
use crate::child::Process;
use crate::process::{self, Seen, alone};

const CALLERS: usize = 8;

fn start(redis: &Redis, algorithm: Algorithm, time: Duration) -> Vec<Process> {
    let url = format!("{}?timeout=20s&prefix={}", redis.url(), random_prefix());
    (0..CALLERS)
        .map(|number| process::start(&url, algorithm, time, number % 2 == 1))
        .collect()
}

/// How often the server has run a command.
fn calls(redis: &Redis, command: &str) -> u64 {
    let said = redis.inline("INFO commandstats");
    let name = format!("cmdstat_{command}:calls=");
    let counted = said.split(&name).nth(1).unwrap_or("0");
    let digits: String = counted.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[test]
fn eight_processes_get_what_is_promised_in_one_round_trip_a_check() {
    let redis = Redis::start();
    for algorithm in Algorithm::ALL {
        redis.inline("CONFIG RESETSTAT");
        let time = Algorithm::time(seconds());
        let mut processes = start(&redis, algorithm, time);
        Algorithm::align();
        processes.iter_mut().for_each(|process| process.tell("go"));
        let seen = Seen::all(processes.iter_mut().map(process::seen));
        assert_eq!(seen.asked_away, 0, "Redis answers");
        algorithm.holds(&seen.allowed);
        let what = format!("{CALLERS} processes");
        algorithm.is_generous(&what, &seen);
        // Each check is one command. Only the first of a process may find that the server does not know the script.
        assert_eq!(calls(&redis, "evalsha"), seen.asked);
        assert!(calls(&redis, "eval") <= 5 * CALLERS as u64);
    }
}

#[test]
fn eight_threads_on_the_embedded_store_get_what_is_promised() {
    for algorithm in Algorithm::ALL {
        let cache = blocking::Cache::open("memory://").unwrap();
        let time = Algorithm::time(seconds());
        Algorithm::align();
        let seen = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CALLERS)
                .map(|_| scope.spawn(|| alone(&cache, algorithm, time)))
                .collect();
            Seen::all(threads.into_iter().map(|thread| thread.join().unwrap()))
        });
        algorithm.holds(&seen.allowed);
        let what = format!("{CALLERS} threads, embedded");
        algorithm.is_generous(&what, &seen);
    }
}

/// While Redis is away, each process gives the whole quota once. (A server that comes back without its data begins
/// anew.)
#[test]
fn while_redis_is_away_each_process_gives_the_quota() {
    for algorithm in Algorithm::ALL {
        let mut redis = Redis::start();
        let phase = Algorithm::time(seconds().max(2.0) / 2.0);
        let mut processes = start(&redis, algorithm, 3 * phase + Duration::from_secs(3));
        processes.iter_mut().for_each(|process| process.tell("go"));
        std::thread::sleep(phase);
        redis.kill();
        std::thread::sleep(phase);
        let back = micros();
        redis.restart();
        let seen: Vec<_> = processes.iter_mut().map(process::seen).collect();
        let mut away = 0;
        for one in &seen {
            let mut given = one.allowed_away.clone();
            given.sort_unstable();
            algorithm.holds(&given);
            assert!(!given.is_empty(), "it gives something");
            away += given.len();
        }
        let all = Seen::all(seen);
        let (before, after): (Vec<u64>, Vec<u64>) = all.allowed.iter().partition(|at| **at < back);
        algorithm.holds(&before);
        algorithm.holds(&after);
        assert!(!before.is_empty() && !after.is_empty());
        report(format_args!(
            "{CALLERS} processes, {algorithm}: {} before, {away} while Redis is away, {} after",
            before.len(),
            after.len()
        ));
    }
}
