//! A stream does what a plain list of entries does, with groups that are plain lists as well.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Pairs = Vec<Vec<u8>>;

/// What a stream is, without nodes.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: Vec<(Id, Pairs)>,
    last_id: Id,
    max_deleted_id: Id,
    added: u64,
    /// By group and id: who has it, and how often it was delivered.
    pending: BTreeMap<(u8, Id), (u8, i64)>,
}

#[derive(Clone, Debug)]
enum Step {
    Add { ahead: u64, seq: bool, pairs: Pairs },
    Delete(Vec<prop::sample::Index>),
    TrimLength(usize),
    TrimFrom(prop::sample::Index),
    TrimNodes(usize),
    Range(prop::sample::Index, prop::sample::Index),
    Assign(u8, u8, prop::sample::Index),
    Release(u8, prop::sample::Index),
    RemoveConsumer(u8, u8),
    RemoveGroup(u8),
    Copy,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![&b"a"[..], b"b", b"10", b"-5000", b"1526919030474"]).prop_map(<[u8]>::to_vec),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (100..5_000_usize).prop_map(|len| vec![b'x'; len]),
    ]
}

fn pairs() -> impl Strategy<Value = Pairs> {
    prop_oneof![
        3 => text().prop_map(|value| vec![b"field".to_vec(), value]),
        1 => prop::collection::vec((text(), text()), 1..4)
            .prop_map(|pairs| pairs.into_iter().flat_map(|(a, b)| [a, b]).collect()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (prop_oneof![0..3u64, any::<u32>().prop_map(u64::from)], any::<bool>(), pairs())
            .prop_map(|(ahead, seq, pairs)| Step::Add { ahead, seq, pairs }),
        2 => prop::collection::vec(index(), 1..4).prop_map(Step::Delete),
        1 => (0..30usize).prop_map(Step::TrimLength),
        1 => index().prop_map(Step::TrimFrom),
        1 => (0..30usize).prop_map(Step::TrimNodes),
        2 => (index(), index()).prop_map(|(a, b)| Step::Range(a, b)),
        4 => (0..2u8, 0..3u8, index()).prop_map(|(group, consumer, at)| Step::Assign(group, consumer, at)),
        2 => (0..2u8, index()).prop_map(|(group, at)| Step::Release(group, at)),
        1 => (0..2u8, 0..3u8).prop_map(|(group, consumer)| Step::RemoveConsumer(group, consumer)),
        1 => (0..2u8).prop_map(Step::RemoveGroup),
        1 => Just(Step::Copy),
    ]
}

impl Model {
    /// Some id: of an entry, or one that there is none of.
    fn id(&self, index: prop::sample::Index) -> Id {
        let at = index.index(self.entries.len() + 2);
        let entry = self.entries.get(at).map(|(id, _)| *id);
        entry.unwrap_or(if at.is_multiple_of(2) {
            self.last_id
        } else {
            Id { ms: 1, seq: 7 }
        })
    }

    fn run(&mut self, stream: &mut Stream, step: &Step, limits: NodeLimits) {
        match step {
            Step::Add { ahead, seq, pairs } => {
                let id = if *seq {
                    Id {
                        ms: self.last_id.ms,
                        seq: self.last_id.seq + 1 + ahead,
                    }
                } else {
                    Id {
                        ms: self.last_id.ms + 1 + ahead,
                        seq: ahead % 5,
                    }
                };
                let texts: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
                let added = stream.entries.add(Wanted::Exactly(id), &texts, limits);
                assert_eq!(added, Ok(id));
                let again = stream.entries.add(Wanted::Exactly(id), &texts, limits);
                assert_eq!(again, Err(Refused::NotGreater));
                self.entries.push((id, pairs.clone()));
                self.last_id = id;
                self.added += 1;
            }
            Step::Delete(ids) => {
                let ids: Vec<Id> = ids.iter().map(|at| self.id(*at)).collect();
                let before = self.entries.len();
                for id in &ids {
                    if let Some(at) = self.entries.iter().position(|(other, _)| other == id) {
                        self.entries.remove(at);
                        self.max_deleted_id = self.max_deleted_id.max(*id);
                    }
                }
                assert_eq!(stream.entries.delete(&ids), before - self.entries.len());
            }
            Step::TrimLength(len) => {
                let surplus = self.entries.len().saturating_sub(*len);
                self.entries.drain(..surplus);
                let trim = Trim {
                    keep: Keep::Length(*len),
                    nodes: false,
                    limit: 0,
                };
                assert_eq!(stream.entries.trim(trim), surplus);
            }
            Step::TrimFrom(from) => {
                let from = self.id(*from);
                let before = self.entries.len();
                self.entries.retain(|(id, _)| *id >= from);
                let trim = Trim {
                    keep: Keep::From(from),
                    nodes: false,
                    limit: 0,
                };
                assert_eq!(stream.entries.trim(trim), before - self.entries.len());
            }
            Step::TrimNodes(len) => {
                let trim = Trim {
                    keep: Keep::Length(*len),
                    nodes: true,
                    limit: 10,
                };
                let deleted = stream.entries.trim(trim);
                assert!(deleted <= 10 && deleted <= self.entries.len().saturating_sub(*len));
                self.entries.drain(..deleted);
            }
            Step::Range(start, end) => self.compare(stream, self.id(*start), self.id(*end)),
            Step::Assign(group, consumer, at) => {
                let at = self.id(*at);
                stream.create_group(&[*group], Id::MIN, None);
                stream.edit_group(&[*group], |group, _| {
                    group.see(&[*consumer], 1);
                    group.assign(at, &[*consumer], 2, Deliveries::OneMore);
                });
                let pending = self.pending.entry((*group, at)).or_insert((0, 1));
                *pending = (*consumer, pending.1 + 1);
            }
            Step::Release(group, at) => {
                let at = self.id(*at);
                let released = stream.edit_group(&[*group], |group, _| group.release(at));
                let released = released.flatten().map(|pending| pending.deliveries);
                let model = self.pending.remove(&(*group, at));
                assert_eq!(released, model.map(|(_, deliveries)| deliveries));
            }
            Step::RemoveConsumer(group, consumer) => {
                let removed = stream.edit_group(&[*group], |group, _| group.remove(&[*consumer]));
                let before = self.pending.len();
                self.pending
                    .retain(|(of, _), (who, _)| of != group || who != consumer);
                assert_eq!(removed.flatten().unwrap_or(0), before - self.pending.len());
            }
            Step::RemoveGroup(group) => {
                stream.remove_group(&[*group]);
                self.pending.retain(|(of, _), _| of != group);
            }
            Step::Copy => *stream = stream.clone(),
        }
        self.check(stream);
    }

    fn compare(&self, stream: &Stream, start: Id, end: Id) {
        let read = |entry: Entry<'_>| {
            let fields = entry
                .fields
                .flat_map(|(field, value)| [field.to_vec(), value.to_vec()]);
            (entry.id, fields.collect::<Pairs>())
        };
        let within = |(id, _): &&(Id, Pairs)| (start..=end).contains(id);
        let mut model: Vec<_> = self.entries.iter().filter(within).cloned().collect();
        let found: Vec<_> = stream.entries.range(start, end).map(read).collect();
        assert_eq!(found, model);
        model.reverse();
        let found: Vec<_> = stream.entries.range_back(start, end).map(read).collect();
        assert_eq!(found, model);
    }

    fn check(&self, stream: &Stream) {
        let entries = &stream.entries;
        let first = self.entries.first().map_or(Id::MIN, |(id, _)| *id);
        assert_eq!(
            (entries.len(), entries.first_id()),
            (self.entries.len(), first)
        );
        assert_eq!(entries.top(), self.entries.last().map(|(id, _)| *id));
        assert_eq!(entries.last_id, self.last_id);
        assert_eq!(entries.max_deleted_id, self.max_deleted_id);
        assert_eq!(entries.added, self.added);
        let (live, heap) = entries.recount();
        assert_eq!(live, self.entries.len());
        assert_eq!(entries.bytes(), heap + entries.tree());
        let mut heap = 0;
        let mut pending = BTreeMap::new();
        for (name, group) in stream.groups() {
            assert_eq!(group.recount(), group.names());
            heap += block(name.len()) + group.heap();
            for (id, of) in group.pending() {
                pending.insert((name[0], *id), (of.consumer[0], of.deliveries));
            }
        }
        assert_eq!(stream.heap, heap);
        assert_eq!(pending, self.pending);
    }
}

proptest! {
    #[test]
    fn it_does_what_a_list_does(
        bytes in prop::sample::select(vec![0, 100, 500, 4096]),
        entries in prop::sample::select(vec![0, 1, 3, 10, 100]),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let limits = NodeLimits { bytes, entries };
        let (mut stream, mut model) = (Stream::default(), Model::default());
        for step in &steps {
            model.run(&mut stream, step, limits);
        }
        model.compare(&stream, Id::MIN, Id::MAX);
    }
}

const LIMITS: NodeLimits = NodeLimits {
    bytes: 4096,
    entries: 100,
};

#[test]
fn ids_follow_the_clock_and_never_go_back() {
    let mut entries = Entries::default();
    let mut add = |wanted| entries.add(wanted, &[b"f", b"v"], LIMITS);
    let id = |ms, seq| Ok(Id { ms, seq });
    assert_eq!(add(Wanted::Of { ms: 0 }), id(0, 1));
    assert_eq!(add(Wanted::Next { now_ms: 5 }), id(5, 0));
    assert_eq!(add(Wanted::Next { now_ms: 4 }), id(5, 1));
    assert_eq!(add(Wanted::Of { ms: 5 }), id(5, 2));
    assert_eq!(add(Wanted::Of { ms: 4 }), Err(Refused::NotGreater));
    assert_eq!(add(Wanted::Of { ms: 6 }), id(6, 0));
    let last = Id {
        ms: 6,
        seq: u64::MAX,
    };
    assert_eq!(add(Wanted::Exactly(last)), Ok(last));
    assert!(add(Wanted::Of { ms: 6 }).is_err());
    assert_eq!(add(Wanted::Next { now_ms: 0 }), id(7, 0));
    assert_eq!(add(Wanted::Exactly(Id::MAX)), Ok(Id::MAX));
    assert_eq!(add(Wanted::Next { now_ms: 8 }), Err(Refused::Exhausted));
}

#[test]
fn nodes_of_a_radix_tree_are_counted_as_a_server_counts_them() {
    let mut entries = Entries::default();
    let one_each = NodeLimits {
        bytes: 0,
        entries: 1,
    };
    assert_eq!(entries.radix_nodes(), 1);
    // Each id is a node of its own. The numbers are those of a server.
    for (ms, seq, nodes) in [
        (1, 1, 2),
        (1, 2, 4),
        (1, 3, 5),
        (2, 0, 9),
        (256, 0, 12),
        (1 << 40, 5, 16),
    ] {
        let id = Id { ms, seq };
        assert_eq!(
            entries.add(Wanted::Exactly(id), &[b"f", b"v"], one_each),
            Ok(id)
        );
        assert_eq!(entries.radix_nodes(), nodes, "{id}");
    }
}
