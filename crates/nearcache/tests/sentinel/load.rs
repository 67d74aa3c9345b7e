//! Failovers under load from several processes: what they cost, and what they may not do.
//!
//! The server may lose what it acknowledged: replication is asynchronous. So what was acknowledged shortly before or
//! during a failover is only reported. Everything else holds without exception.
//!
//! Each way happens once. `NEARCACHE_SENTINEL=60` goes on for so many seconds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nearcache_testkit::{Sentinels, eventually};

use crate::child::{Folder, Process, clock};
use crate::process::{Line, PROCESSES, end, start};

/// What was acknowledged for so long before a primary went may not have been replicated.
const UNSURE: u64 = 1_000_000_000;

/// How long after most Sentinels agree the last process has learnt of it.
const LEARNT: Duration = Duration::from_millis(2_500);

/// For how long nothing happens between two failovers.
const QUIET: Duration = Duration::from_millis(1_500);

#[derive(Debug)]
struct Failover {
    how: &'static str,
    /// Before anything happened, and when everybody knew.
    from: u64,
    to: u64,
}

#[test]
fn a_failover_loses_and_doubles_nothing_that_was_kept_and_serves_nothing_older_than_an_invalidation()
 {
    let asked = std::env::var("NEARCACHE_SENTINEL").ok();
    let asked = asked.map_or(0, |seconds| seconds.parse().expect("a number of seconds"));
    let begun = Instant::now();
    let mut site = Sentinels::start();
    let folder = Folder::new();
    let url = format!("{}?prefix=app&timeout=300ms", site.url());
    let processes: Vec<Process> = (0..PROCESSES)
        .map(|number| start(&url, number, &folder))
        .collect();
    std::thread::sleep(QUIET);
    let mut failovers = Vec::new();
    loop {
        for how in ["replaced", "killed", "frozen"] {
            failovers.push(fail_over(&mut site, how));
            std::thread::sleep(QUIET);
        }
        if begun.elapsed() >= Duration::from_secs(asked) {
            break;
        }
    }
    let lines: Vec<Vec<Line>> = processes
        .into_iter()
        .enumerate()
        .map(|(number, process)| end(process, number, &folder))
        .collect();
    let primary = site.primary();
    report(&failovers, &lines);
    for (number, lines) in lines.iter().enumerate() {
        let counter = site.server(primary).inline(&format!("GET app:n-{number}"));
        counted_once(&failovers, lines, counter.parse().unwrap_or(0));
    }
    nothing_older(&failovers, &lines);
}

fn fail_over(site: &mut Sentinels, how: &'static str) -> Failover {
    let primary = site.primary();
    let from = clock();
    // What was acknowledged until now is kept: on a busy machine the replica may be far behind.
    let written = offset(site, primary, "master_repl_offset:");
    eventually("the replica has what was acknowledged", || {
        offset(site, 1 - primary, "slave_repl_offset:") >= written
    });
    match how {
        "replaced" => site.failover(),
        "killed" => {
            site.server_mut(primary).kill();
            site.until_moved_from(primary);
        }
        _ => {
            site.server(primary).freeze();
            site.until_moved_from(primary);
        }
    }
    std::thread::sleep(LEARNT);
    match how {
        "replaced" => {}
        "killed" => site.server_mut(primary).restart(),
        _ => site.server(primary).thaw(),
    }
    // A process that has not learnt of it yet, on a busy machine, is answered by the old primary until that is a replica.
    site.until_replica(primary);
    let to = clock();
    site.until_agreed();
    Failover { how, from, to }
}

/// How much a server has written, or has taken from its primary.
fn offset(site: &Sentinels, server: usize, name: &str) -> u64 {
    let said = site.server(server).inline("INFO replication");
    let offset = said.lines().find_map(|line| line.strip_prefix(name));
    offset.map_or(0, |offset| offset.trim().parse().expect("a number"))
}

/// Whether what was acknowledged then was surely kept.
fn was_kept(failovers: &[Failover], at: u64) -> bool {
    failovers
        .iter()
        .all(|failover| at + UNSURE < failover.from || at > failover.to)
}

/// A counter goes up by one with each call that was acknowledged, and by one at most with each that failed.
fn counted_once(failovers: &[Failover], lines: &[Line], end: u64) {
    let mut before: Option<(u64, u64)> = None;
    let mut unknown = 0;
    for line in lines {
        match *line {
            Line::Uncounted(_) => unknown += 1,
            Line::Counted(value, at) => {
                if let Some((last, then)) = before
                    && was_kept(failovers, then)
                    && was_kept(failovers, at)
                    && failovers
                        .iter()
                        .all(|failover| !(then < failover.from && failover.from < at))
                {
                    assert!(value > last, "{value} after {last}: lost");
                    assert!(value - last <= 1 + unknown, "{value} after {last}: doubled");
                }
                (before, unknown) = (Some((value, at)), 0);
            }
            _ => {}
        }
    }
    let (last, at) = before.expect("something was counted");
    if was_kept(failovers, at) {
        assert!(
            (last..=last + unknown).contains(&end),
            "{end} at the end, after {last}"
        );
    }
}

/// A read that began after a deletion was acknowledged, and kept, gives that version or a later one.
fn nothing_older(failovers: &[Failover], lines: &[Vec<Line>]) {
    for (key, of_owner) in lines.iter().enumerate() {
        let deleted = deletions(of_owner, |at| was_kept(failovers, at));
        for of_reader in lines {
            for line in of_reader {
                let Line::Read(read, version, from, to) = *line else {
                    continue;
                };
                if read != key {
                    continue;
                }
                let least = newest(&deleted, from);
                assert!(
                    version >= least,
                    "k-{key} was {version} in a read from {from} to {to}, after version {least} was deleted; {failovers:?}"
                );
            }
        }
    }
}

/// When deletions were acknowledged, and after which version, in order.
fn deletions(lines: &[Line], counts: impl Fn(u64) -> bool) -> Vec<(u64, u64)> {
    let deleted = lines.iter().filter_map(|line| match *line {
        Line::Deleted(version, at) if counts(at) => Some((at, version)),
        _ => None,
    });
    deleted.collect()
}

/// The newest version whose deletion was acknowledged by then.
fn newest(deleted: &[(u64, u64)], by: u64) -> u64 {
    let before = deleted.partition_point(|(at, _)| *at < by);
    before.checked_sub(1).map_or(0, |at| deleted[at].1)
}

fn millis(nanos: u64) -> u64 {
    nanos / 1_000_000
}

/// Says what it cost.
fn report(failovers: &[Failover], lines: &[Vec<Line>]) {
    let mut text = String::new();
    for Failover { how, from, to } in failovers {
        let within = |at: u64| at + UNSURE >= *from && at <= *to;
        let (mut gaps, mut writes) = (Vec::new(), Vec::new());
        let mut errors = BTreeMap::<&str, (usize, u64)>::new();
        let (mut calls, mut lost, mut old, mut age) = (0_u64, 0_u64, 0_u64, 0_u64);
        for of_process in lines {
            let mut answered: [Option<u64>; 2] = [None; 2];
            let mut gap = [0; 2];
            let mut counted: Option<u64> = None;
            for line in of_process {
                let at = match *line {
                    Line::Read(.., at) | Line::Deleted(_, at) | Line::Counted(_, at) => at,
                    Line::Failed(ref kind, micros, at) if within(at) => {
                        let (count, longest) = errors.entry(kind).or_default();
                        *count += 1;
                        *longest = (*longest).max(micros);
                        continue;
                    }
                    _ => continue,
                };
                if !within(at) {
                    continue;
                }
                calls += 1;
                // Only Redis answers a write. A read is answered by the source as well.
                let kinds = if matches!(line, Line::Read(..)) {
                    0..1
                } else {
                    0..2
                };
                for kind in kinds {
                    let before = answered[kind].unwrap_or(at);
                    gap[kind] = gap[kind].max(at.saturating_sub(before));
                    answered[kind] = Some(at.max(before));
                }
                if let Line::Counted(value, _) = *line {
                    lost += counted.map_or(0, |last| (last + 1).saturating_sub(value));
                    counted = Some(value);
                }
            }
            gaps.push(millis(gap[0]));
            writes.push(millis(gap[1]));
        }
        for (key, of_owner) in lines.iter().enumerate() {
            let deleted = deletions(of_owner, |_| true);
            for line in lines.iter().flatten() {
                if let Line::Read(read, version, begun, at) = *line
                    && read == key
                    && within(at)
                    && version < newest(&deleted, begun)
                {
                    old += 1;
                    let since = deleted.iter().find(|(_, deleted)| *deleted > version);
                    age = age.max(since.map_or(0, |(since, _)| at.saturating_sub(*since)));
                }
            }
        }
        let _ = writeln!(
            text,
            "sentinel: {how}: over {} ms {calls} calls answered; longest time without an answer, by process: {gaps:?} ms, \
             and without one to a write: {writes:?} ms; errors (how many, longest in µs): {errors:?}; increments acknowledged and lost: {lost}; reads older than a \
             deletion that was acknowledged and lost: {old}, by up to {} ms",
            millis(to - from),
            millis(age),
        );
    }
    // Past the capture of the test harness.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}
