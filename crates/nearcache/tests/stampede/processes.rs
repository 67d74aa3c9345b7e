//! Callers in four processes, on one server.

use std::time::Duration;

use nearcache_testkit::{Redis, random_prefix};

use crate::child::Process;
use crate::crowd::report;
use crate::process::{self, Role, serve};
use crate::target::as_limited_user;

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
    start_at(&redis.url(), redis, prefix, lease, blocking)
}

/// Processes whose cache is at this URL, and whose loads are counted by the server.
fn start_at(
    url: &str,
    redis: &Redis,
    prefix: &str,
    lease: Duration,
    blocking: bool,
) -> Vec<Process> {
    let role = Role {
        url,
        port: redis.port(),
        prefix,
        lease,
        blocking,
    };
    (0..PROCESSES).map(|_| process::start(role)).collect()
}

/// Both kinds of callers, in four processes whose caches are at this URL, load a key once. `redis` counts the loads.
fn a_cold_key_is_loaded_once(what: &str, redis: &Redis, url: impl Fn(&str) -> String) {
    const LOAD: Duration = Duration::from_millis(200);
    for blocking in [false, true] {
        let prefix = random_prefix();
        let mut processes = start_at(&url(&prefix), redis, &prefix, LEASE, blocking);
        for process in &mut processes {
            process.tell(&format!("callers k {CALLERS} {}", LOAD.as_millis()));
        }
        let wall = processes.iter_mut().map(wall).max();
        assert_eq!(loads(redis, &prefix), 1);
        let way = if blocking { "blocking" } else { "async" };
        report(
            format_args!("{PROCESSES} processes x {CALLERS} callers{what}, {way}"),
            LOAD,
            wall.unwrap_or_default(),
        );
    }
}

/// How long it took until all callers of a process had their answer.
fn wall(process: &mut Process) -> Duration {
    let done = process.hear("done");
    let (_, micros) = done.split_once(' ').expect("two numbers");
    Duration::from_micros(micros.parse().unwrap())
}

#[test]
fn four_processes_of_125_callers_load_a_cold_key_once() {
    let redis = Redis::start();
    a_cold_key_is_loaded_once("", &redis, |_| redis.url());
}

#[test]
fn four_processes_of_a_limited_user_load_a_cold_key_once() {
    let redis = Redis::start();
    let url = |prefix: &str| as_limited_user(&redis.url(), prefix);
    a_cold_key_is_loaded_once(" of a limited user", &redis, url);
}

#[cfg(feature = "tls")]
#[test]
fn four_processes_over_tls_load_a_cold_key_once() {
    let redis = nearcache_testkit::SecureRedis::start();
    a_cold_key_is_loaded_once(" over TLS", &redis, |_| redis.tls_url());
}

#[cfg(feature = "sentinel")]
#[test]
fn four_processes_behind_sentinels_load_a_cold_key_once() {
    let site = nearcache_testkit::Sentinels::start();
    let redis = site.server(site.primary());
    a_cold_key_is_loaded_once(" behind Sentinels", redis, |_| site.url());
}

/// The keys are in slots of all primaries.
#[cfg(feature = "cluster")]
#[test]
fn four_processes_on_a_cluster_load_each_cold_key_once() {
    use nearcache_testkit::Cluster;
    const LOAD: Duration = Duration::from_millis(200);
    let (cluster, redis) = (Cluster::shared(), Redis::start());
    for blocking in [false, true] {
        let prefix = random_prefix();
        let mut processes = start_at(&cluster.url(), &redis, &prefix, LEASE, blocking);
        // One of each primary.
        for primary in 0..3 {
            let mut names = (0..).map(|i| format!("k{i}"));
            let of_it = |key: &String| cluster.primary_of_key(format!("{prefix}:{key}")) == primary;
            let key = names.find(of_it).expect("a key for every primary");
            let before = loads(&redis, &prefix);
            for process in &mut processes {
                process.tell(&format!("callers {key} {CALLERS} {}", LOAD.as_millis()));
            }
            let wall = processes.iter_mut().map(wall).max().unwrap_or_default();
            assert_eq!(loads(&redis, &prefix) - before, 1, "{key}");
            let way = if blocking { "blocking" } else { "async" };
            let what =
                format_args!("{PROCESSES} processes x {CALLERS} callers on a Cluster, {way}");
            report(what, LOAD, wall);
        }
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
        let url = format!("redis://127.0.0.1:{port}");
        let role = Role {
            url: &url,
            port,
            prefix: &prefix,
            lease: LEASE,
            blocking,
        };
        let mut processes: Vec<_> = (0..PROCESSES).map(|_| process::start(role)).collect();
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
        let mut processes = start(&redis, &prefix, Duration::from_secs(3), blocking);
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
