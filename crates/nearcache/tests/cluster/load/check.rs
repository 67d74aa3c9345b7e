//! What the histories of all processes say together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use nearcache_testkit::Cluster;

use super::KEYS;
use super::history::{ALL, History, Outcome, Record, What};
use super::process::names;

/// Of what a primary has acknowledged, what is as old as this when it dies is at its replica. (The replica is told with the
/// reply; on a machine that is busy it is some milliseconds late.) In microseconds.
const TOLD: u64 = 1_000_000;

/// The kinds of errors that a call may end with while its server is away or is being replaced.
const EXPECTED: [&str; 3] = ["connect", "timeout", "unavailable"];

/// What was done to the Cluster, and when.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) killed: u64,
    pub(crate) taken_over: u64,
    /// The slots, of those with keys, of the primary that died.
    pub(crate) of_the_dead: BTreeSet<u16>,
    /// Whether the tag of each process needs that primary.
    pub(crate) tags_of_the_dead: Vec<bool>,
    /// Those that moved.
    pub(crate) moved: BTreeSet<u16>,
}

/// Where the key of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Dead,
    Moved,
    Other,
}

const PARTS: [(Part, &str); 3] = [
    (Part::Dead, "slots of the killed primary"),
    (Part::Moved, "slots that moved"),
    (Part::Other, "other slots"),
];

/// The result.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) violations: Vec<String>,
    lines: Vec<String>,
    calls: usize,
    reads: usize,
    invalidations: usize,
}

impl Checked {
    pub(crate) fn new(
        histories: &[History],
        events: &Events,
        cluster: &Cluster,
        prefix: &str,
    ) -> Checked {
        let mut checked = Checked {
            violations: Vec::new(),
            lines: Vec::new(),
            calls: 0,
            reads: 0,
            invalidations: 0,
        };
        let mut parts = HashMap::new();
        for key in 0..KEYS {
            let kinds = [ALL[0], What::Count, What::Push];
            for (kind, name) in kinds.into_iter().zip(names(prefix, key)) {
                let slot = cluster.slot(name);
                let part = if events.of_the_dead.contains(&slot) {
                    Part::Dead
                } else if events.moved.contains(&slot) {
                    Part::Moved
                } else {
                    Part::Other
                };
                parts.insert((kind, key), part);
            }
        }
        let part = |record: &Record| {
            let kind = match record.what {
                What::Count | What::Push => record.what,
                _ => ALL[0],
            };
            parts[&(kind, record.key)]
        };
        checked.errors(histories, events, &part);
        checked.silences(histories, events, &part);
        checked.answers_are_new_enough(histories, events, &part);
        for key in 0..KEYS {
            let [_, counter, list] = names(prefix, key);
            let at = |name: &str| cluster.primary_of_key(name);
            let count = cluster.ask(at(&counter), &["GET", &counter]).text();
            let all = |what| {
                let records = histories.iter().flat_map(|history| &history.records);
                records.filter(move |record| record.what == what && record.key == key)
            };
            checked.counts(
                &counter,
                all(What::Count),
                count.parse().unwrap_or(0),
                events,
                &part,
            );
            let pushed = cluster
                .ask(at(&list), &["LRANGE", &list, "0", "-1"])
                .elements();
            let pushed = pushed.iter().map(|number| {
                let text = String::from_utf8_lossy(number);
                text.parse().expect("a number of ours")
            });
            checked.pushes(
                &list,
                all(What::Push),
                &pushed.collect::<Vec<u64>>(),
                events,
                &part,
            );
        }
        checked
    }

    /// Whether so much was done that it says something.
    pub(crate) fn is_enough(&self) -> bool {
        self.calls > 200 && self.reads > 50 && self.invalidations > 20
    }

    /// How calls ended, by kind and part. One that has a loader always ends with a value.
    fn errors(&mut self, histories: &[History], events: &Events, part: &impl Fn(&Record) -> Part) {
        let mut outcomes: BTreeMap<(Part, What), BTreeMap<Outcome, usize>> = BTreeMap::new();
        for record in histories.iter().flat_map(|history| &history.records) {
            self.calls += 1;
            let of = outcomes.entry((part(record), record.what)).or_default();
            *of.entry(record.outcome.clone()).or_default() += 1;
            let (Outcome::Deferred(kind) | Outcome::Failed(kind)) = &record.outcome else {
                continue;
            };
            let tagged = matches!(record.what, What::Get | What::Invalidate);
            let tag = record.key % events.tags_of_the_dead.len();
            let needs_the_dead = record.what == What::Tag || tagged && events.tags_of_the_dead[tag];
            if !EXPECTED.contains(&kind.as_str()) {
                self.violations
                    .push(format!("an error of kind {kind}: {record:?}"));
            } else if record.what == What::Remember {
                self.violations
                    .push(format!("a loader's value did not arrive: {record:?}"));
            } else if part(record) != Part::Dead && !needs_the_dead {
                self.violations
                    .push(format!("another slot suffers: {record:?}"));
            }
        }
        for ((part, what), outcomes) in outcomes {
            let outcomes: Vec<String> = outcomes
                .into_iter()
                .map(|(outcome, count)| match outcome {
                    Outcome::Answered => format!("{count} answered"),
                    Outcome::Deferred(kind) => format!("{count} deferred ({kind})"),
                    Outcome::Failed(kind) => format!("{count} failed ({kind})"),
                })
                .collect();
            self.lines.push(format!(
                "{}, {what:?}: {}",
                named(part),
                outcomes.join(", ")
            ));
        }
    }

    /// How long there was no answer, and how long answers took.
    fn silences(
        &mut self,
        histories: &[History],
        events: &Events,
        part: &impl Fn(&Record) -> Part,
    ) {
        for (of, name) in PARTS {
            let records = histories.iter().flat_map(|history| &history.records);
            let records: Vec<&Record> = records
                .filter(|record| part(record) == of && record.is_answered())
                .collect();
            let needs_redis =
                |record: &&&Record| !matches!(record.what, What::Remember | What::Tag);
            let mut ends: Vec<u64> = records
                .iter()
                .filter(needs_redis)
                .map(|r| r.ended)
                .collect();
            ends.sort_unstable();
            let silence = ends
                .windows(2)
                .map(|two| two[1] - two[0])
                .max()
                .unwrap_or(0);
            let mut times: Vec<u64> = records.iter().map(|r| r.ended - r.begun).collect();
            times.sort_unstable();
            let at = |part: f64| {
                let at = (times.len() as f64 * part) as usize;
                millis(times.get(at).or(times.last()).copied().unwrap_or(0))
            };
            self.lines.push(format!(
                "{name}: at most {} without an answer; p50 {}, p99 {}, max {}",
                millis(silence),
                at(0.5),
                at(0.99),
                at(1.0)
            ));
        }
        self.lines.push(format!(
            "the replica took over after {}",
            millis(events.taken_over - events.killed)
        ));
    }

    /// No answer is older than an invalidation that was acknowledged before it was asked for, and kept; nor, in the same
    /// process, than one that is deferred.
    fn answers_are_new_enough(
        &mut self,
        histories: &[History],
        events: &Events,
        part: &impl Fn(&Record) -> Part,
    ) {
        let (mut lost, mut latest) = (HashSet::new(), 0);
        let mut stale = 0;
        for key in 0..KEYS {
            let everywhere = Floors::of(histories.iter(), key, Record::is_answered);
            for history in histories {
                let within = Floors::of([history].into_iter(), key, |record| {
                    !matches!(record.outcome, Outcome::Failed(_))
                });
                let reads = history.records.iter().filter(|record| {
                    let reads = matches!(record.what, What::Remember | What::Get);
                    record.key == key && reads && record.is_answered() && record.value > 0
                });
                for read in reads {
                    self.reads += 1;
                    for (floors, whose) in [(&everywhere, "any"), (&within, "the same")] {
                        let Some((version, at)) = floors.before(read.begun) else {
                            continue;
                        };
                        if read.value >= version {
                            continue;
                        }
                        // Tags are in slots of their own.
                        let about_the_dead = part(read) == Part::Dead;
                        if about_the_dead && whose == "any" && was_lost(at, events) {
                            stale += 1;
                            lost.insert((key, version));
                            latest = latest.max(read.ended.saturating_sub(events.taken_over));
                        } else {
                            self.violations.push(format!(
                                "process {}: {read:?} is older than {version}, which was invalidated by {whose} process \
                                 at {at}, {} before the kill",
                                history.process,
                                events.killed as i64 - at as i64,
                            ));
                        }
                    }
                }
            }
            self.invalidations += everywhere.0.len();
        }
        self.lines.push(format!(
            "invalidations that were acknowledged and lost with the primary: {} seen, by {stale} reads, the last of them \
             {} after the replica took over",
            lost.len(),
            millis(latest)
        ));
    }

    /// A counter is what was counted.
    fn counts<'r>(
        &mut self,
        name: &str,
        records: impl Iterator<Item = &'r Record>,
        count: u64,
        events: &Events,
        part: &impl Fn(&Record) -> Part,
    ) {
        let (mut certain, mut possible, mut at_risk) = (0, 0, 0);
        let mut answers = HashSet::new();
        let mut twice = 0;
        for record in records {
            possible += 1;
            if record.is_answered() {
                certain += 1;
                twice += u64::from(!answers.insert(record.value));
                let lost = part(record) == Part::Dead && was_lost(record.ended, events);
                at_risk += u64::from(lost);
            }
        }
        if count > possible || count + at_risk < certain || twice > at_risk {
            self.violations.push(format!(
                "{name} is {count}: {certain} were acknowledged, of {possible}; {at_risk} of them shortly before the \
                 primary died; {twice} answers were given twice"
            ));
        }
        if count < certain {
            self.lines.push(format!(
                "{name}: {} increments were lost with the primary",
                certain - count
            ));
        }
    }

    /// A list has what was put into it, once.
    fn pushes<'r>(
        &mut self,
        name: &str,
        records: impl Iterator<Item = &'r Record>,
        found: &[u64],
        events: &Events,
        part: &impl Fn(&Record) -> Part,
    ) {
        let there: HashSet<u64> = found.iter().copied().collect();
        if there.len() < found.len() {
            self.violations
                .push(format!("{name} has elements twice: {found:?}"));
        }
        let (mut lost, mut known) = (0, HashSet::new());
        for record in records {
            known.insert(record.value);
            if record.is_answered() && !there.contains(&record.value) {
                if part(record) == Part::Dead && was_lost(record.ended, events) {
                    lost += 1;
                } else {
                    self.violations
                        .push(format!("{name} lacks what was acknowledged: {record:?}"));
                }
            }
        }
        if !there.is_subset(&known) {
            self.violations
                .push(format!("{name} has what nobody put into it"));
        }
        if lost > 0 {
            self.lines.push(format!(
                "{name}: {lost} elements were lost with the primary"
            ));
        }
    }
}

/// Whether what was acknowledged at this time by the primary that died may not have reached its replica.
fn was_lost(at: u64, events: &Events) -> bool {
    (events.killed.saturating_sub(TOLD)..=events.taken_over).contains(&at)
}

/// The versions below which no answer may be, each with the time from which it holds, in order of time.
struct Floors(Vec<(u64, u64)>);

impl Floors {
    fn of<'h>(
        histories: impl Iterator<Item = &'h History>,
        key: usize,
        counts: impl Fn(&Record) -> bool,
    ) -> Floors {
        let records = histories.flat_map(|history| &history.records);
        let invalidations = records.filter(|record| {
            let invalidates = matches!(record.what, What::Invalidate | What::Tag);
            record.key == key && invalidates && counts(record)
        });
        let mut floors: Vec<(u64, u64)> = invalidations.map(|r| (r.ended, r.value)).collect();
        floors.sort_unstable();
        // Only what is newer than all before it.
        let mut newest = 0;
        floors.retain(|(_, version)| {
            let newer = *version > newest;
            newest = newest.max(*version);
            newer
        });
        Floors(floors)
    }

    /// The version below which no answer may be that was asked for at this time, and since when.
    fn before(&self, time: u64) -> Option<(u64, u64)> {
        let after = self.0.partition_point(|(at, _)| *at < time);
        let (at, version) = self.0.get(after.checked_sub(1)?)?;
        Some((*version, *at))
    }
}

fn named(part: Part) -> &'static str {
    PARTS
        .iter()
        .find(|(of, _)| *of == part)
        .map_or("", |(_, name)| name)
}

fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1e3)
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} calls, {} reads checked, {} invalidations",
            self.calls, self.reads, self.invalidations
        )?;
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(what: What, times: [u64; 2], value: u64) -> Record {
        Record {
            what,
            key: 0,
            begun: times[0],
            ended: times[1],
            value,
            outcome: Outcome::Answered,
        }
    }

    fn events() -> Events {
        Events {
            killed: 10_000_000,
            taken_over: 12_000_000,
            of_the_dead: BTreeSet::new(),
            tags_of_the_dead: vec![false],
            moved: BTreeSet::new(),
        }
    }

    fn none() -> Checked {
        Checked {
            violations: Vec::new(),
            lines: Vec::new(),
            calls: 0,
            reads: 0,
            invalidations: 0,
        }
    }

    fn of(part: Part, records: Vec<Record>) -> Checked {
        let mut checked = none();
        let history = History {
            process: 0,
            records,
        };
        checked.answers_are_new_enough(&[history], &events(), &|_| part);
        checked
    }

    #[test]
    fn an_old_answer_is_found_out() {
        let invalidated = record(What::Invalidate, [1, 2], 7);
        let older = record(What::Get, [3, 4], 6);
        let found = of(Part::Other, vec![invalidated.clone(), older.clone()]);
        assert_eq!(
            found.violations.len(),
            2,
            "for any process, and for the same"
        );
        let newer = record(What::Get, [3, 4], 7);
        let meanwhile = record(What::Get, [1, 4], 6);
        let found = of(Part::Other, vec![invalidated, newer, meanwhile]);
        assert!(found.violations.is_empty() && found.reads == 2);
        // Of what the dead primary acknowledged last, that is its fate.
        let times = |at| [at, at + 1];
        let lost = record(What::Invalidate, times(9_999_000), 7);
        let older = record(What::Get, times(12_500_000), 6);
        assert!(
            !of(Part::Moved, vec![lost.clone(), older.clone()])
                .violations
                .is_empty()
        );
        let mut checked = none();
        let histories = [(0, lost), (1, older)].map(|(process, record)| History {
            process,
            records: vec![record],
        });
        checked.answers_are_new_enough(&histories, &events(), &|_| Part::Dead);
        assert!(checked.violations.is_empty(), "{checked:?}");
        assert!(
            checked.lines[0].contains(": 1 seen, by 1 reads"),
            "{checked:?}"
        );
    }

    #[test]
    fn what_is_lost_or_doubled_is_found_out() {
        let pushed: Vec<Record> = (1..4).map(|n| record(What::Push, [n, n + 1], n)).collect();
        let check = |found: &[u64]| {
            let mut checked = none();
            checked.pushes("l", pushed.iter(), found, &events(), &|_| Part::Other);
            checked.violations.len()
        };
        assert_eq!(check(&[1, 2, 3]), 0);
        assert_eq!(check(&[1, 3]), 1);
        assert_eq!(check(&[1, 2, 2, 3]), 1);
        assert_eq!(check(&[1, 2, 3, 9]), 1);
        let counted: Vec<Record> = (1..4).map(|n| record(What::Count, [n, n + 1], n)).collect();
        let check = |count| {
            let mut checked = none();
            checked.counts("c", counted.iter(), count, &events(), &|_| Part::Other);
            checked.violations.len()
        };
        assert_eq!([check(2), check(3), check(4)], [1, 0, 1]);
    }
}
