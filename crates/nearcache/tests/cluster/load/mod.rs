//! Four processes at work on a Cluster while slots move from one primary to another, and while a primary is killed and
//! its replica takes its place.
//!
//! Each process writes down what it asked and what it was answered. Afterwards one checker reads all of it: what was
//! acknowledged and kept is neither lost nor doubled, and no answer is older than an invalidation that was acknowledged
//! before it was asked for and kept. What a primary takes with it when it dies, because its replica had not been told
//! yet, is counted and printed.
//!
//! `NEARCACHE_CLUSTER_SECONDS=60` makes it longer; `NEARCACHE_CLUSTER_SEED=7` chooses the dice of the processes. (What
//! the scheduler does, it does not.)

mod check;
mod history;
mod process;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nearcache_testkit::{Cluster, ClusterOptions, Redis, random_prefix};

use check::{Checked, Events};
use history::{History, now};
use process::Role;

use crate::child::{Folder, Process};

/// How many processes, every other one with a blocking cache.
const PROCESSES: usize = 4;

/// How many entries, and as many counters and lists.
pub(crate) const KEYS: usize = 24;

/// How many slots of each kind of key move.
const MOVED: usize = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Not a test of anything, but what the test starts.
#[test]
fn one_of_the_processes() {
    process::serve();
}

#[test]
fn what_is_acknowledged_and_kept_outlives_moved_slots_and_a_dead_primary() {
    let seed = number("NEARCACHE_CLUSTER_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let time = Duration::from_secs(number("NEARCACHE_CLUSTER_SECONDS").unwrap_or(8));
    let mut cluster = Cluster::start_with(ClusterOptions::failing_over_soon());
    // What the cache is in front of.
    let source = Redis::start();
    let (prefix, folder) = (random_prefix(), Folder::new());

    // The primary of the first entry dies; slots of another move, with keys of all kinds in them.
    let slots: Vec<[u16; 3]> = (0..KEYS)
        .map(|key| process::names(&prefix, key).map(|name| cluster.slot(name)))
        .collect();
    let view = cluster.view();
    let serves = |primary: usize, slot: u16| {
        let member = view.primary_of(slot);
        member.is_some_and(|member| member.id == cluster.id(primary))
    };
    let dies = cluster.primary_of(slots[0][0]);
    let [gives, takes] = [1, 2].map(|next| (dies + next) % 3);
    let all = || slots.iter().flatten().copied();
    let of_the_dead: BTreeSet<u16> = all().filter(|slot| serves(dies, *slot)).collect();
    let moved: BTreeSet<u16> = (0..3)
        .flat_map(|kind| {
            let of_kind = slots.iter().map(move |slots| slots[kind]);
            of_kind.filter(|slot| serves(gives, *slot)).take(MOVED)
        })
        .collect();

    // What is read with a tag, or invalidated by it, needs the servers of that tag's counter and of the epoch as well.
    let needs_the_dead = |counter: &str| serves(dies, cluster.slot(format!("{prefix}:{counter}")));
    let tags = (0..PROCESSES).map(|process| format!("#nearcache:tag:{}", process::tag(process)));
    let tags_of_the_dead = tags
        .map(|counter| needs_the_dead(&counter) || needs_the_dead("#nearcache:tags"))
        .collect();

    let processes: Vec<Process> = (0..PROCESSES)
        .map(|number| {
            process::start(
                &Role {
                    url: cluster.url(),
                    prefix: prefix.clone(),
                    number,
                    seed,
                    time,
                    blocking: number % 2 == 1,
                    source: source.port(),
                },
                &folder,
            )
        })
        .collect();
    let began = Instant::now();
    let at = |part: f64| {
        std::thread::sleep(time.mul_f64(part).saturating_sub(began.elapsed()));
    };
    at(0.2);
    for slot in &moved {
        let migration = cluster.migration(*slot, takes);
        migration.begin();
        // It lies between the two for a while.
        std::thread::sleep(time.mul_f64(0.02));
        while migration.some(2) > 0 {}
        migration.finish();
    }
    at(0.5);
    let replica = cluster.replicas_of(dies)[0];
    let killed = now();
    cluster.kill(dies);
    cluster.taken_over(replica);
    let taken_over = now();
    at(0.75);
    cluster.restart(dies);

    for process in processes {
        process.ended();
    }
    cluster.agreed();
    let events = Events {
        killed,
        taken_over,
        of_the_dead,
        tags_of_the_dead,
        moved,
    };
    let histories = folder
        .texts()
        .iter()
        .map(|text| History::parsed(text))
        .collect::<Vec<_>>();
    let report = Checked::new(&histories, &events, &cluster, &prefix);
    let _ = std::io::stdout().write_all(format!("cluster, seed {seed}: {report}").as_bytes());
    let first = report.violations.iter().take(30).collect::<Vec<_>>();
    assert!(first.is_empty(), "seed {seed}: {first:#?}");
    assert!(report.is_enough(), "it was calm: {report}");
}
