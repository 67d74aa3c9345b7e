//! A pipeline in pieces: its commands, those with keys in several slots split, grouped by the node they go to.

use std::collections::HashMap;

use redis::{Cmd, Pipeline, Value};

use super::{Group, not_sent};
use crate::connect::cluster::{Join, Part, Redirect, Route, Topology, route};
use crate::error::{Error, Result};

/// The pieces of a pipeline, and their replies.
pub(in super::super) struct Pieces<'p> {
    pipeline: &'p Pipeline,
    commands: Vec<(&'p Cmd, Whole)>,
    pieces: Vec<Piece>,
    groups: Vec<Members>,
    /// The group of each goal.
    found: HashMap<Goal, usize>,
}

/// The pieces of a group, in their order.
#[derive(Default)]
struct Members {
    slot: Option<u16>,
    pieces: Vec<usize>,
}

/// A command of the pipeline.
enum Whole {
    /// It is one piece: this one.
    One(usize),
    /// It is several, from this one on.
    Parts(usize, Vec<Part>, Join),
}

struct Piece {
    command: usize,
    /// Which part of it.
    part: Option<usize>,
    slot: Option<u16>,
    reply: Result<Value>,
}

/// Where a group goes.
#[derive(PartialEq, Eq, Hash)]
enum Goal {
    /// The primary of this shard.
    Shard(usize),
    Slot(u16),
}

impl<'p> Pieces<'p> {
    pub(in super::super) fn of(pipeline: &'p Pipeline, topology: &Topology) -> Self {
        let mut pieces = Pieces {
            pipeline,
            commands: Vec::with_capacity(pipeline.len()),
            pieces: Vec::with_capacity(pipeline.len()),
            groups: Vec::new(),
            found: HashMap::new(),
        };
        for (at, command) in pipeline.cmd_iter().enumerate() {
            let first = pieces.pieces.len();
            let whole = match route(command) {
                Route::Anywhere => {
                    pieces.add(at, None, None, topology);
                    Whole::One(first)
                }
                Route::Slot(slot) => {
                    pieces.add(at, None, Some(slot), topology);
                    Whole::One(first)
                }
                Route::Parts(parts, join) => {
                    for (number, part) in parts.iter().enumerate() {
                        pieces.add(at, Some(number), Some(part.slot), topology);
                    }
                    Whole::Parts(first, parts, join)
                }
            };
            pieces.commands.push((command, whole));
        }
        if pipeline.is_transaction() {
            // Those of a slot take effect together, so they stand together, in their order.
            for group in &mut pieces.groups {
                group.pieces.sort_by_key(|piece| pieces.pieces[*piece].slot);
            }
        }
        pieces
    }

    fn add(&mut self, command: usize, part: Option<usize>, slot: Option<u16>, topology: &Topology) {
        let group = match slot {
            // What goes anywhere goes along.
            None => 0,
            Some(slot) => {
                let goal = topology
                    .index_of(slot)
                    .map_or(Goal::Slot(slot), Goal::Shard);
                // The first goal is that of the first group, which may have what goes anywhere.
                let next = match self.found.is_empty() {
                    true => 0,
                    false => self.groups.len(),
                };
                *self.found.entry(goal).or_insert(next)
            }
        };
        if group == self.groups.len() {
            self.groups.push(Members::default());
        }
        let members = &mut self.groups[group];
        members.slot = members.slot.or(slot);
        members.pieces.push(self.pieces.len());
        self.pieces.push(Piece {
            command,
            part,
            slot,
            reply: Ok(Value::Nil),
        });
    }

    /// The slot of the only group, if there is one, and no command is split: then the pipeline is sent as it is.
    pub(in super::super) fn only_group(&self) -> Option<Option<u16>> {
        let split = |(_, whole): &(&Cmd, Whole)| matches!(whole, Whole::Parts(..));
        let mut slots = self.pieces.windows(2);
        let is_whole =
            !self.pipeline.is_transaction() || slots.all(|pieces| pieces[0].slot == pieces[1].slot);
        (self.groups.len() <= 1 && is_whole && !self.commands.iter().any(split))
            .then(|| self.groups.first().and_then(|only| only.slot))
    }

    /// What is sent to each node.
    pub(in super::super) fn groups(&self) -> Vec<Group> {
        let group = |members: &Members| {
            let transaction = self.pipeline.is_transaction();
            let mut group = Group::new(members.slot, transaction);
            for piece in &members.pieces {
                let piece = &self.pieces[*piece];
                if let Some(command) = self.command_of(piece) {
                    group.add(piece.slot, command.clone());
                }
            }
            group
        };
        self.groups.iter().map(group).collect()
    }

    fn command_of(&self, piece: &Piece) -> Option<&Cmd> {
        match (piece.part, self.commands.get(piece.command)?) {
            (Some(part), (_, Whole::Parts(_, parts, _))) => {
                parts.get(part).map(|part| &part.command)
            }
            (_, (command, _)) => Some(command),
        }
    }

    /// The replies to the commands, of the outcomes of all groups. Errors stand in their places.
    ///
    /// # Errors
    /// That of all pieces, if none was carried out.
    pub(in super::super) fn concluded(
        mut self,
        outcomes: Vec<Result<Vec<Value>>>,
    ) -> Result<Vec<Value>> {
        for (group, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(replies) => self.answer(group, replies),
                Err(error) => self.fail(group, &error),
            }
        }
        match self.nothing_was_sent() {
            Some(error) => Err(error),
            None => self.joined(),
        }
    }

    /// The replies to a group.
    fn answer(&mut self, group: usize, replies: Vec<Value>) {
        let mut replies = replies.into_iter();
        let members = self.groups.get(group);
        for piece in members.iter().flat_map(|members| &members.pieces) {
            self.pieces[*piece].reply = match replies.next() {
                Some(Value::ServerError(error)) => Err(Error::from_server(&error)),
                Some(reply) => Ok(reply),
                None => Err(super::nobody()),
            };
        }
    }

    /// The whole group had this error.
    fn fail(&mut self, group: usize, error: &Error) {
        let members = self.groups.get(group);
        for piece in members.iter().flat_map(|members| &members.pieces) {
            self.pieces[*piece].reply = Err(error.clone());
        }
    }

    /// The error of all pieces, if none was carried out and none is to be sent elsewhere.
    fn nothing_was_sent(&self) -> Option<Error> {
        let mut first = None;
        for piece in &self.pieces {
            match &piece.reply {
                Err(error) if is_away(error) => {
                    let better = first.as_ref().is_none_or(Error::is_outdated);
                    if better {
                        first = Some(error.clone());
                    }
                }
                _ => return None,
            }
        }
        first
    }

    fn joined(self) -> Result<Vec<Value>> {
        let mut replies: Vec<Option<Result<Value>>> = self
            .pieces
            .into_iter()
            .map(|piece| Some(piece.reply))
            .collect();
        let mut take = |at: usize| {
            let reply = replies.get_mut(at).and_then(Option::take);
            reply
                .unwrap_or_else(|| Err(super::nobody()))
                .map_err(not_sent)
        };
        let whole = |(_, whole)| {
            let reply = match whole {
                Whole::One(piece) => take(piece),
                Whole::Parts(first, parts, join) => {
                    let replies: Vec<_> = (0..parts.len()).map(|at| take(first + at)).collect();
                    join.join(parts.iter().zip(replies))
                }
            };
            reply.unwrap_or_else(|error| error.as_reply())
        };
        Ok(self.commands.into_iter().map(whole).collect())
    }
}

/// A command in parts, whose keys are in several slots.
pub(in super::super) struct Parts {
    parts: Vec<Part>,
    join: Join,
    pipeline: Pipeline,
}

impl Parts {
    pub(in super::super) fn new(parts: Vec<Part>, join: Join) -> Self {
        let mut pipeline = Pipeline::with_capacity(parts.len());
        for part in &parts {
            pipeline.add_command(part.command.clone());
        }
        Parts {
            parts,
            join,
            pipeline,
        }
    }

    /// The parts, as commands.
    pub(in super::super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// One reply of those to the parts.
    ///
    /// # Errors
    /// The first error among them.
    pub(in super::super) fn joined(&self, replies: Vec<Value>) -> Result<Value> {
        let replies = replies.into_iter().map(|reply| match reply {
            Value::ServerError(error) => Err(Error::from_server(&error)),
            reply => Ok(reply),
        });
        self.join.join(self.parts.iter().zip(replies))
    }
}

/// Whether it is the error of a node that did not answer, not an answer.
fn is_away(error: &Error) -> bool {
    use crate::error::ErrorKind::{
        Auth, Connect, InvalidConfig, PoolExhausted, Protocol, Timeout, Unavailable,
    };
    let kind = matches!(
        error.kind(),
        Auth | Connect | InvalidConfig | PoolExhausted | Protocol | Timeout | Unavailable
    );
    kind && Redirect::of(error, "").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::{SLOTS, slot};

    /// Two primaries, of a half of the slots each.
    fn halves() -> Topology {
        let range = |from: u16, to: u16, port: i64| {
            let id = Value::BulkString(b"id".to_vec());
            let node = vec![Value::BulkString(b"h".to_vec()), Value::Int(port), id];
            let ends = [from, to].map(|slot| Value::Int(slot.into()));
            Value::Array([&ends[..], &[Value::Array(node)]].concat())
        };
        let half = SLOTS / 2;
        let reply = Value::Array(vec![range(0, half - 1, 1), range(half, SLOTS - 1, 2)]);
        Topology::parse(&reply, "h").unwrap()
    }

    fn names(part: &Pipeline) -> Vec<String> {
        let packed = part.cmd_iter().map(|command| {
            let words = command.args_iter().filter_map(|word| match word {
                redis::Arg::Simple(word) => Some(String::from_utf8_lossy(word).into_owned()),
                _ => None,
            });
            words.collect::<Vec<_>>().join(" ")
        });
        packed.collect()
    }

    #[test]
    fn what_takes_effect_together_is_a_part_for_each_slot_and_a_group_for_each_node() {
        let keys = ["a", "b", "c", "d", "e", "f"];
        let mut pipeline = Pipeline::new();
        pipeline.atomic();
        for key in keys {
            pipeline.cmd("SET").arg(key).arg(1);
        }
        // In the slots of those before, so they belong to their parts.
        for key in keys {
            pipeline.cmd("UNLINK").arg(format!("{{{key}}}:lease"));
        }
        let topology = halves();
        let pieces = Pieces::of(&pipeline, &topology);
        assert_eq!(pieces.only_group(), None);
        let groups = pieces.groups();
        let halves = [
            keys.iter()
                .filter(|key| slot(key.as_bytes()) < SLOTS / 2)
                .count(),
            keys.iter()
                .filter(|key| slot(key.as_bytes()) >= SLOTS / 2)
                .count(),
        ];
        assert!(halves[0] > 0 && halves[1] > 0, "{halves:?}");
        assert_eq!(groups.len(), 2);
        let (mut seen, mut outcomes) = (Vec::new(), Vec::new());
        for group in &groups {
            let mut replies = Vec::new();
            for part in group.parts() {
                assert!(part.is_transaction());
                let names = names(part);
                let [set, unlink] = &names[..] else {
                    panic!("{names:?}");
                };
                let key = set.split(' ').nth(1).unwrap();
                assert_eq!(*unlink, format!("UNLINK {{{key}}}:lease"));
                seen.push(key.to_owned());
                replies.extend(names.iter().map(|name| Value::SimpleString(name.clone())));
            }
            outcomes.push(Ok(replies));
        }
        seen.sort_unstable();
        assert_eq!(seen, keys);
        // The replies are in the order of the commands, wherever these went.
        let said = pieces.concluded(outcomes).unwrap();
        let expected: Vec<_> = names(&pipeline)
            .into_iter()
            .map(Value::SimpleString)
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn what_need_not_take_effect_together_is_one_part_for_each_node() {
        let mut pipeline = Pipeline::new();
        for key in ["a", "b", "c", "d", "e", "f"] {
            pipeline.cmd("GET").arg(key);
        }
        let topology = halves();
        let groups = Pieces::of(&pipeline, &topology).groups();
        assert_eq!(groups.len(), 2);
        assert!(groups.iter().all(|group| group.parts().len() == 1));
    }
}
