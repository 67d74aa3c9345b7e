//! Callers in processes of their own.
//!
//! A test starts some with [`start`] and talks to them by lines. Each runs [`serve`], which opens
//! a cache and does what the lines say.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nearcache_testkit::Inline;

use crate::child::{Process, say};
use crate::crowd::{Load, all, callers};
use crate::face::run;
use crate::target::{Options, Place, Target};

/// Says to this binary that it is one of the processes, and which: `URL PORT PREFIX LEASE_MS WAY`.
const ROLE: &str = "NEARCACHE_TEST_PROCESS";

/// What a process is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role<'r> {
    /// Where the cache is.
    pub(crate) url: &'r str,
    /// The port of a server that counts the loads.
    pub(crate) port: u16,
    pub(crate) prefix: &'r str,
    pub(crate) lease: Duration,
    pub(crate) blocking: bool,
}

/// Starts one, which is ready when this returns.
pub(crate) fn start(role: Role<'_>) -> Process {
    let Role {
        url,
        port,
        prefix,
        lease,
        blocking,
    } = role;
    let way = if blocking { "blocking" } else { "async" };
    let role = format!("{url} {port} {prefix} {} {way}", lease.as_millis());
    let mut process = Process::heard("processes::one_of_the_processes", ROLE, &role);
    process.hear("ready");
    process
}

/// Is one of the processes, if this one was started as such.
///
/// Lines that it understands: `callers KEY COUNT MS`, so many callers of a key at once, with a loader that
/// takes so long (answered by `done LOADS MICROSECONDS` once all have 7); `held KEY COUNT`, the same with
/// a loader that says `loading` and goes on at the line `go`.
pub(crate) fn serve() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let mut words = role.split(' ');
    let mut word = || words.next().expect("a word");
    let url = word();
    let port: u16 = word().parse().expect("a port");
    let prefix = word().to_owned();
    let lease = Duration::from_millis(word().parse().expect("a lease"));
    let target = match word() {
        "blocking" => Target::blocking(Place::RedisResp3),
        _ => Target::asynchronous(Place::RedisResp3),
    };
    let options = Options {
        prefix: &prefix,
        lease: Some(lease),
        ..Options::default()
    };
    let cache = target.build(url, options);
    let cache = cache.expect("a cache");
    let gate = Arc::new((Mutex::new(0), Condvar::new()));
    run(async {
        // Connected before anything is measured.
        call!(cache.ping()).expect("a server");
        say("ready");
        let lines = tokio::task::spawn_blocking({
            let (gate, told) = (Arc::clone(&gate), tokio::sync::mpsc::unbounded_channel());
            let (tell, hear) = told;
            std::thread::spawn(move || listen(&gate, &tell));
            || hear
        });
        let mut lines = lines.await.expect("a channel");
        while let Some(line) = lines.recv().await {
            let words: Vec<&str> = line.split(' ').collect();
            let (load, count) = match words[..] {
                ["callers", _, count, millis] => {
                    let time = Duration::from_millis(millis.parse().expect("a time"));
                    (slow(port, &prefix, time), count)
                }
                ["held", _, count] => (held(port, &prefix, &gate), count),
                _ => panic!("{line:?} is no order"),
            };
            let begun = std::time::Instant::now();
            let crowd = callers(&cache, words[1], count.parse().expect("a number"), &load);
            let (found, last) = all(crowd).await;
            assert!(found.into_iter().all(|value| value.expect("a value") == 7));
            let loads = ask!(cache.stats()).loads;
            let micros = last.duration_since(begun).as_micros();
            say(&format!("done {loads} {micros}"));
        }
    });
}

/// Reads what the test says, until it is gone.
fn listen(gate: &(Mutex<u64>, Condvar), tell: &tokio::sync::mpsc::UnboundedSender<String>) {
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        if line == "go" {
            *gate.0.lock().expect("no loader panics") += 1;
            gate.1.notify_all();
        } else if tell.send(line).is_err() {
            return;
        }
    }
}

/// Counts a load where all processes see it.
fn count(port: u16, prefix: &str) {
    let counted =
        Inline::open(port).and_then(|mut server| server.ask(&format!("INCR loads-of-{prefix}")));
    counted.expect("the server counts");
}

fn slow(port: u16, prefix: &str, time: Duration) -> Load {
    let prefix = prefix.to_owned();
    Arc::new(move || {
        count(port, &prefix);
        std::thread::sleep(time);
        Ok(7)
    })
}

fn held(port: u16, prefix: &str, gate: &Arc<(Mutex<u64>, Condvar)>) -> Load {
    let (prefix, gate) = (prefix.to_owned(), Arc::clone(gate));
    Arc::new(move || {
        count(port, &prefix);
        say("loading");
        let open = gate.0.lock().expect("no loader panics");
        let mut open = gate
            .1
            .wait_while(open, |open| *open == 0)
            .expect("no loader panics");
        *open -= 1;
        Ok(7)
    })
}
