//! The machine: a configuration, a mechanism that may be missing, and the steps out of a state.
//!
//! The steps are by the one who acts: `caller`, `leader`, `load`, `refresh` and `cluster` (the run of the
//! protocol), `writer` and `removal`, `world` and `replica`.
//! A later part of the protocol, the near tier, adds its fields to `state`, its actions to `action`, a file
//! beside these, and its pushes to [`Steps::push`], the one place where every step passes.

use crate::action::{Action, Event, Outcome, Who};
use crate::configuration::{Configuration, Start};
use crate::explorer::{Machine, Step};
use crate::mechanism::Mechanism;
use crate::pack::{self, Packed, Symmetry};
use crate::property::{self, Property};
use crate::state::{
    Age, CALLERS, Caller, Entry, PROCESSES, Phase, Stamp, State, TASKS, Writer, Writing,
};

/// The protocol in a configuration, whole or without one of its mechanisms.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// What may happen.
    pub configuration: Configuration,
    /// What is missing.
    pub without: Option<Mechanism>,
}

impl Model {
    /// Whether a mechanism is in place.
    pub(crate) fn has(&self, mechanism: Mechanism) -> bool {
        self.without != Some(mechanism)
    }

    /// Whether V has not moved since `stamp`.
    pub(crate) fn unmoved(&self, tag: Stamp, stamp: Stamp) -> bool {
        property::unmoved(tag, stamp, self.has(Mechanism::MissingTagIsDead))
            || self.configuration.foreign_tagless(stamp)
    }

    /// Whether a GET of `s` and then V takes what is stored for live or stale, and something is promised about it:
    /// property 2 asks.
    fn visible(&self, state: &State, entry: Entry) -> bool {
        entry.age != Age::Corrupt
            && !self.configuration.foreign_tagless(entry.stamp)
            && (self.current(state, entry) || state.server.is_marked(entry.stamp))
    }

    /// Whether it takes it for fresh: property 8 asks.
    fn fresh(&self, state: &State, entry: Entry) -> bool {
        let marked = state.server.is_marked(entry.stamp);
        entry.age == Age::Fresh
            && self.visible(state, entry)
            && (self.current(state, entry) || marked && !self.has(Mechanism::MarkedIsStale))
    }

    /// Whether its tag has not moved, for who reads it.
    fn current(&self, state: &State, entry: Entry) -> bool {
        let compares = self.configuration.tagged() && self.has(Mechanism::ReadersCompareTags);
        !compares || self.unmoved(state.server.tag, entry.stamp)
    }

    fn symmetry(&self) -> Symmetry {
        Symmetry {
            tokens: self.has(Mechanism::TokenPerLoad),
            stamps: self.has(Mechanism::TagIsRandom),
        }
    }

    fn start(&self, start: Start) -> State {
        let mut state = State {
            foreign: self.configuration.foreign,
            losses: self.configuration.losses,
            redirects: self.configuration.redirects,
            failovers: self.configuration.failovers,
            ..State::default()
        };
        let tagged = self.configuration.tagged();
        let stamp = Stamp(u8::from(tagged));
        let entry = Entry {
            version: 0,
            stamp,
            age: Age::Fresh,
        };
        match start {
            Start::Empty => {}
            Start::Soft => {
                state.server.tag = stamp;
                state.server.entry = Some(Entry {
                    age: Age::Soft,
                    ..entry
                });
            }
            Start::Dead if tagged => {
                state.server.tag = Stamp(2);
                state.server.entry = Some(entry);
            }
            Start::Dead => {
                state.server.entry = Some(Entry {
                    age: Age::Corrupt,
                    ..entry
                });
            }
        }
        if self.lags(&state) {
            state.server.copy = self.replicated(&state.server);
        }
        for (at, process) in state.processes.iter_mut().enumerate() {
            for (number, caller) in process.callers.iter_mut().enumerate() {
                let calls = number < self.configuration.callers[at].into();
                *caller = Caller {
                    phase: if calls { Phase::New } else { Phase::Done },
                    calls: if calls {
                        self.configuration.calls - 1
                    } else {
                        0
                    },
                    ..Caller::default()
                };
            }
            process.writer = Writer {
                left: self.configuration.writes[at],
                ..Writer::default()
            };
            process.refreshes = self.configuration.refreshes[at];
        }
        state
    }
}

impl Machine for Model {
    type State = State;
    type Packed = Packed;
    type Event = Event;
    type Property = Property;

    fn starts(&self) -> Vec<State> {
        let starts = self.configuration.starts.iter();
        starts.map(|&start| self.start(start)).collect()
    }

    fn pack(&self, state: &State) -> Packed {
        pack::pack(state, self.symmetry())
    }

    fn unpack(&self, packed: &Packed) -> State {
        pack::unpack(packed)
    }

    fn steps(&self, state: &State, out: &mut Vec<Step<Model>>) {
        let mut steps = Steps {
            model: self,
            from: state,
            out,
        };
        for process in 0..PROCESSES {
            for caller in 0..CALLERS {
                steps.caller(process, caller);
            }
            for slot in 0..TASKS {
                steps.task(process, slot);
            }
            steps.refresh(process);
            steps.writer(process);
        }
        steps.world();
    }

    fn broken(&self, state: &State) -> Option<Property> {
        let visible = state
            .server
            .entry
            .filter(|&entry| self.visible(state, entry));
        if visible.is_some_and(|entry| entry.version < state.floor) {
            return Some(Property::Store);
        }
        let fresh = visible.filter(|&entry| self.fresh(state, entry));
        if fresh.is_some_and(|entry| entry.version < state.marked) {
            return Some(Property::Mark);
        }
        (self.configuration.one_load && state.loads > 1).then_some(Property::OneLoad)
    }

    fn waiting(&self, state: &State) -> bool {
        property::waiting(state)
    }

    fn stuck(&self) -> Property {
        Property::Progress
    }
}

/// The steps out of one state, as they are found.
pub(crate) struct Steps<'s> {
    pub(crate) model: &'s Model,
    pub(crate) from: &'s State,
    out: &'s mut Vec<Step<Model>>,
}

impl Steps<'_> {
    /// A step that breaks nothing by itself.
    pub(crate) fn push(&mut self, who: Who, action: Action, outcome: Outcome, state: State) {
        self.push_broken(who, action, outcome, state, None);
    }

    /// A step that may break something by itself. One that changes nothing is left out.
    pub(crate) fn push_broken(
        &mut self,
        who: Who,
        action: Action,
        outcome: Outcome,
        mut state: State,
        broken: Option<Property>,
    ) {
        if state == *self.from && broken.is_none() {
            return;
        }
        self.note_absences(&mut state);
        let event = Event {
            who,
            action,
            outcome,
        };
        // The end of a lease is a mishap that is certain to come.
        let fair = match who {
            Who::World => action == Action::ExpireLease,
            Who::Caller(..) => !matches!(action, Action::Join | Action::Cancel),
            Who::Task(..) => !matches!(action, Action::Take | Action::Lose),
            Who::Writer(_) => false,
        };
        self.out.push(Step {
            event,
            state,
            broken,
            fair,
        });
    }

    /// SCAN promises only the keys that are there from its beginning to its end.
    fn note_absences(&self, state: &mut State) {
        let (before, after) = (&self.from.server, state.server);
        let lease_left = before.lease != after.lease;
        let entry_left = before.entry.is_some() && after.entry.is_none();
        for process in &mut state.processes {
            match process.writer.at {
                Writing::Leases => process.writer.may_miss |= lease_left,
                Writing::Entries => process.writer.may_miss |= entry_left,
                _ => {}
            }
        }
    }
}

/// A process, slot or number as it stands in a name.
pub(crate) fn name(at: usize) -> u8 {
    u8::try_from(at).expect("there are few")
}
