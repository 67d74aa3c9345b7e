//! Callers in four processes, on one server.

use std::time::Duration;

use nearcache_testkit::{Redis, random_prefix};

use crate::crowd::report;
use crate::process::{Process, Role, serve};

const PROCESSES: usize = 4;
const CALLERS: usize = 125;
const LEASE: Duration = Duration::from_secs(10);

/// Not a test of anything, but what the other tests start.
#[test]
fn one_of_the_processes() {
    serve();
}

/// How often the loader ran, in all processes.
fn loads(redis: &Redis, prefix: &str) -> u64 {
    let loads = redis.inline(&format!("GET loads-of-{prefix}"));
    loads.parse().unwrap_or(0)
}

/// In one step: a digest of the token in the lease of the key `k`, and how often the loader ran.
fn token_and_loads(redis: &Redis, prefix: &str) -> (String, String) {
    let script = "return redis.sha1hex(redis.call('GET', KEYS[1]) or '') .. ' ' .. redis.call('GET', KEYS[2])";
    let keys = format!("{prefix}:{{{prefix}:k}}#nearcache:lease loads-of-{prefix}");
    let said = redis.inline(&format!("EVAL \"{script}\" 2 {keys}"));
    let (token, loads) = said.split_once(' ').expect("two words");
    (token.to_owned(), loads.to_owned())
}

fn start(redis: &Redis, prefix: &str, lease: Duration, blocking: bool) -> Vec<Process> {
    let role = Role {
        port: redis.port(),
        prefix,
        lease,
        blocking,
    };
    (0..PROCESSES).map(|_| Process::start(role)).collect()
}

#[test]
fn four_processes_of_125_callers_load_a_cold_key_once() {
    const LOAD: Duration = Duration::from_millis(200);
    let redis = Redis::start();
    for blocking in [false, true] {
        let prefix = random_prefix();
        let mut processes = start(&redis, &prefix, LEASE, blocking);
        for process in &mut processes {
            process.tell(&format!("callers k {CALLERS} {}", LOAD.as_millis()));
        }
        let mut walls = Vec::new();
        for process in &mut processes {
            let done = process.hear("done");
            let (_, micros) = done.split_once(' ').expect("two numbers");
            walls.push(Duration::from_micros(micros.parse().unwrap()));
        }
        assert_eq!(loads(&redis, &prefix), 1);
        let way = if blocking { "blocking" } else { "async" };
        let wall = walls.into_iter().max().unwrap_or_default();
        report(
            format_args!("{PROCESSES} processes x {CALLERS} callers, {way}"),
            LOAD,
            wall,
        );
    }
}

/// The store of this process is the server of the others.
#[cfg(feature = "serve")]
#[test]
fn four_processes_share_a_store_on_a_port() {
    use nearcache::embedded::Store;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::new();
    let server = nearcache::serve(&store).bind("127.0.0.1:0");
    let server = runtime.block_on(server.start()).unwrap();
    let port = server.local_addr().unwrap().port();
    runtime.spawn(server.serve());
    for blocking in [false, true] {
        let prefix = random_prefix();
        let role = Role {
            port,
            prefix: &prefix,
            lease: LEASE,
            blocking,
        };
        let mut processes: Vec<_> = (0..PROCESSES).map(|_| Process::start(role)).collect();
        for process in &mut processes {
            process.tell(&format!("callers k {CALLERS} 200"));
        }
        for process in &mut processes {
            process.hear("done");
        }
        let loads: u64 = redis::cmd("GET")
            .arg(format!("loads-of-{prefix}"))
            .query(&mut store.connect())
            .unwrap();
        assert_eq!(loads, 1);
    }
}

#[test]
fn a_load_whose_process_is_killed_is_made_once_more_after_its_lease() {
    let redis = Redis::start();
    for blocking in [false, true] {
        let prefix = random_prefix();
        let mut processes = start(&redis, &prefix, Duration::from_millis(1_500), blocking);
        let (first, others) = processes.split_first_mut().unwrap();
        first.tell("held k 1");
        first.hear("loading");
        for process in &mut *others {
            process.tell(&format!("callers k {CALLERS} 50"));
        }
        let held = token_and_loads(&redis, &prefix);
        assert_eq!(held.1, "1");
        first.kill();
        loop {
            let now = token_and_loads(&redis, &prefix);
            if now.0 != held.0 {
                break;
            }
            assert_eq!(now.1, "1", "loads, while the dead one's lease lasts");
        }
        for process in others {
            process.hear("done");
        }
        assert_eq!(loads(&redis, &prefix), 2);
    }
}
