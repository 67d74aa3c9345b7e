//! The invariants of the table, by number, under random insertions and removals.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::quality::RandomState;
use proptest::prelude::*;

use super::*;
use crate::keyspace::access::{Era, Ticks};
use crate::keyspace::entry::Data;

/// The actions of a table, on keys `0..KEYS`.
#[derive(Clone, Debug)]
enum Action {
    Put(std::ops::Range<u32>, Option<i64>),
    Edit(u32, Option<i64>),
    Take(std::ops::Range<u32>),
    Expire(i64),
}

const KEYS: u32 = 3_000;

fn action() -> impl Strategy<Value = Action> {
    let range = || (0..KEYS, 0..KEYS).prop_map(|(a, b)| a.min(b)..a.max(b));
    let deadline = || prop::option::of(1i64..100);
    prop_oneof![
        4 => (range(), deadline()).prop_map(|(keys, deadline)| Action::Put(keys, deadline)),
        1 => (0..KEYS, deadline()).prop_map(|(key, deadline)| Action::Edit(key, deadline)),
        3 => range().prop_map(Action::Take),
        1 => (1i64..100).prop_map(Action::Expire),
    ]
}

/// A table and what should be in it.
struct Checked {
    table: Table,
    model: BTreeMap<u32, Option<i64>>,
}

impl Checked {
    /// The table of the third of four shards, or of the only one.
    fn new(shard_bits: u32) -> Self {
        let start = if shard_bits == 0 {
            0
        } else {
            2 << (64 - shard_bits)
        };
        let table = Table::new(start, shard_bits, RandomState::default());
        Checked {
            table,
            model: BTreeMap::new(),
        }
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Put(keys, deadline) => {
                for key in keys.clone() {
                    if let Some((hash, name)) = self.locate(key) {
                        let tick = Ticks::default().next(0, Era::default(), None);
                        let value = vec![b'v'; key as usize % 50];
                        let ends = deadline.map(Deadline::at);
                        let old = self.table.put(hash, &name, (&value[..]).into(), ends, tick);
                        let old = old.map(|old| old.map(Deadline::unix_ms));
                        assert_eq!(old, self.model.insert(key, *deadline));
                    }
                }
            }
            Action::Edit(key, deadline) => {
                if let Some((hash, name)) = self.locate(*key) {
                    let edit = |entry: &mut Entry| {
                        entry.deadline = deadline.map(Deadline::at);
                        entry.data = Data::from(&[b'e'; 100][..]);
                    };
                    let edited = self.table.edit(hash, &name, edit).is_some();
                    assert_eq!(edited, self.model.contains_key(key));
                    self.model.entry(*key).and_modify(|d| *d = *deadline);
                }
            }
            Action::Take(keys) => {
                for key in keys.clone() {
                    if let Some((hash, name)) = self.locate(key) {
                        let taken = self.table.take(hash, &name).is_some();
                        assert_eq!(taken, self.model.remove(&key).is_some());
                    }
                }
            }
            Action::Expire(now) => {
                let mut removed = 0;
                self.table.expire(*now, usize::MAX, |_| removed += 1);
                let before = self.model.len();
                self.model
                    .retain(|_, deadline| deadline.is_none_or(|deadline| deadline > *now));
                assert_eq!(removed, before - self.model.len());
            }
        }
    }

    /// The hash and the name of a key, if it belongs to this table's shard.
    fn locate(&self, key: u32) -> Option<(u64, Vec<u8>)> {
        let name = format!("key:{key}").into_bytes();
        let hash = hash_of(&self.table.hasher, &name);
        let start = self.start();
        (self.table.shard_bits == 0 || (hash ^ start) >> (64 - self.table.shard_bits) == 0)
            .then_some((hash, name))
    }

    fn start(&self) -> u64 {
        self.table
            .segments
            .iter()
            .map(|segment| segment.start)
            .min()
            .unwrap_or_default()
    }

    fn check(&self) {
        let Table {
            directory,
            segments,
            depth,
            deepest,
            ..
        } = &self.table;
        assert_eq!(directory.len(), 1 << depth, "invariant 2");
        // 1 and 2: in the order of the directory, each segment begins where the last one ended.
        let (mut position, mut part, mut used) = (self.start(), 0, BTreeSet::new());
        while part < directory.len() {
            let segment = &segments[directory[part] as usize];
            assert_eq!(segment.start, position, "invariant 1");
            let parts = 1 << (depth - segment.depth);
            assert!(
                directory[part..part + parts]
                    .iter()
                    .all(|d| *d == directory[part]),
                "invariant 2"
            );
            used.insert(directory[part]);
            let end = self.table.end(segment);
            for entry in &segment.entries {
                let offset = hash_of(&self.table.hasher, &entry.key).wrapping_sub(position);
                assert!(
                    end == position || offset < end.wrapping_sub(position),
                    "invariant 1"
                );
                let deadline = entry.deadline.map_or(i64::MAX, Deadline::unix_ms);
                assert!(segment.soonest <= deadline, "invariant 4");
            }
            (position, part) = (end, part + parts);
        }
        assert_eq!(
            position,
            self.start().wrapping_add(self.table.span(0)),
            "invariant 1"
        );
        assert_eq!(used.len(), segments.len(), "invariant 1");
        assert_eq!(
            *deepest,
            segments
                .iter()
                .filter(|segment| segment.depth == *depth)
                .count()
        );
        // 4, and the contents.
        assert_eq!(self.table.len(), self.model.len(), "invariant 4");
        let volatile = self.model.values().flatten().count();
        assert_eq!(self.table.volatile(), volatile, "invariant 4");
        assert_eq!(self.table.iter().count(), self.model.len());
        // 5.
        self.table.recount();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn invariants_1_2_4_and_5_hold_whatever_is_put_in_and_taken_out(
        shard_bits in prop_oneof![Just(0u32), Just(2)],
        actions in prop::collection::vec(action(), 1..12),
    ) {
        let mut checked = Checked::new(shard_bits);
        for action in &actions {
            checked.apply(action);
            checked.check();
        }
        let all = Action::Take(0..KEYS);
        checked.apply(&all);
        checked.check();
        prop_assert_eq!(checked.table.segments.len(), 1);
    }

    #[test]
    fn invariant_3_a_walk_sees_what_stays_exactly_once(
        shard_bits in prop_oneof![Just(0u32), Just(2)],
        before in prop::collection::vec(action(), 1..6),
        during in prop::collection::vec(action(), 0..40),
        steps in 1usize..8,
    ) {
        let mut checked = Checked::new(shard_bits);
        before.iter().for_each(|action| checked.apply(action));
        let mut staying: BTreeSet<u32> = checked.model.keys().copied().collect();
        let (mut position, mut seen) = (checked.start(), BTreeMap::<Vec<u8>, usize>::new());
        let end = position.wrapping_add(checked.table.span(0));
        let mut during = during.into_iter();
        loop {
            for _ in 0..steps {
                position = checked.table.walk(position, |e| *seen.entry(e.key.to_vec()).or_default() += 1);
                if position == end {
                    break;
                }
            }
            let Some(action) = during.next().filter(|_| position != end) else { break };
            checked.apply(&action);
            staying.retain(|key| checked.model.contains_key(key));
            // A key that was removed and inserted again may be seen twice, because it was not there throughout.
            if let Action::Take(keys) = &action {
                staying.retain(|key| !keys.contains(key));
            }
        }
        while position != end {
            position = checked.table.walk(position, |e| *seen.entry(e.key.to_vec()).or_default() += 1);
        }
        for key in staying {
            prop_assert_eq!(seen.get(format!("key:{key}").as_bytes()), Some(&1));
        }
    }
}
