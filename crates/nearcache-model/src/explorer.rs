//! Breadth-first search over every state that a [`Machine`] can reach.
//!
//! 1. Each state is expanded once: states are kept whole, so no two are ever mistaken for one another.
//! 2. States are expanded in the order of their distance from a start, so the trace of a violation is a
//!    shortest one.
//! 3. A state in which somebody waits has a fair step out of it; where `progress` is asked for, a path of
//!    fair steps to a state in which nobody waits.
//!
//! `crate::model` is the machine that this crate is about; `tests/explorer.rs` has a toy.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Something that has states and steps between them.
pub trait Machine {
    /// A state as it is worked with.
    type State: Copy + fmt::Debug;
    /// A state as it is kept: the same for all states that differ in names only.
    type Packed: Copy + Eq + Hash + fmt::Debug;
    /// What a step is called in a trace.
    type Event: Copy + fmt::Debug;
    /// What can be broken.
    type Property: Copy + fmt::Debug;

    /// Where a run may begin.
    fn starts(&self) -> Vec<Self::State>;
    /// The form to keep.
    fn pack(&self, state: &Self::State) -> Self::Packed;
    /// A state of that form.
    fn unpack(&self, packed: &Self::Packed) -> Self::State;
    /// Every step out of a state.
    fn steps(&self, state: &Self::State, out: &mut Vec<Step<Self>>);
    /// What a state breaks.
    fn broken(&self, state: &Self::State) -> Option<Self::Property>;
    /// Whether somebody waits: such a state must not be the last of a run.
    fn waiting(&self, state: &Self::State) -> bool;
    /// What a state breaks that keeps somebody waiting for ever.
    fn stuck(&self) -> Self::Property;
}

/// One step, and where it leads.
#[derive(Debug)]
pub struct Step<M: Machine + ?Sized> {
    /// Its name.
    pub event: M::Event,
    /// Where it leads.
    pub state: M::State,
    /// What the step itself breaks, whatever the state that it leads to.
    pub broken: Option<M::Property>,
    /// Whether it happens for certain if nothing else does: not by mishap.
    pub fair: bool,
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The search gives up beyond so many states.
    pub states: usize,
    /// Whether everybody who waits must still have a way to an answer, which costs a second pass.
    pub progress: bool,
}

/// One step of a trace, with the states before and after it.
#[derive(Debug)]
pub struct Traced<M: Machine + ?Sized> {
    /// Its name.
    pub event: M::Event,
    /// The state before.
    pub before: M::State,
    /// The state after.
    pub after: M::State,
}

/// What was found.
#[derive(Debug)]
pub enum Verdict<M: Machine + ?Sized> {
    /// Every state was looked at, and none is wrong.
    Holds,
    /// A shortest run that breaks something.
    Broken {
        /// What it breaks.
        property: M::Property,
        /// The run, from its start.
        trace: Vec<Traced<M>>,
    },
    /// There are more states than were allowed.
    TooMany,
}

/// The outcome of a search.
#[derive(Debug)]
pub struct Report<M: Machine + ?Sized> {
    /// How many states were reached.
    pub states: usize,
    /// How many steps were taken between them.
    pub steps: u64,
    /// The distance of the furthest state from a start.
    pub depth: u32,
    /// How long it took.
    pub time: Duration,
    /// What was found.
    pub verdict: Verdict<M>,
}

/// No state came before this one.
const START: u32 = u32::MAX;

struct Search<'m, M: Machine> {
    machine: &'m M,
    hasher: FixedState,
    /// Every state reached, in the order of its distance.
    states: Vec<M::Packed>,
    /// From which state each was first reached.
    parents: Vec<u32>,
    index: HashTable<u32>,
}

/// Looks at every state of `machine`; `seen` is called with each step taken.
pub fn explore<M: Machine>(
    machine: &M,
    limits: Limits,
    mut seen: impl FnMut(&M::Event),
) -> Report<M> {
    let began = Instant::now();
    let mut search = Search::new(machine);
    let (steps, depth, verdict) = search.run(limits, &mut seen);
    Report {
        states: search.states.len(),
        steps,
        depth,
        time: began.elapsed(),
        verdict,
    }
}

impl<'m, M: Machine> Search<'m, M> {
    fn new(machine: &'m M) -> Self {
        Search {
            machine,
            hasher: FixedState::default(),
            states: Vec::new(),
            parents: Vec::new(),
            index: HashTable::new(),
        }
    }

    fn run(&mut self, limits: Limits, seen: &mut impl FnMut(&M::Event)) -> (u64, u32, Verdict<M>) {
        for state in self.machine.starts() {
            let (_, new) = self.insert(&state, START);
            if new && let Some(property) = self.machine.broken(&state) {
                let trace = Vec::new();
                return (0, 0, Verdict::Broken { property, trace });
            }
        }
        let (mut taken, mut depth, mut level_ends) = (0, 0, self.states.len());
        let mut steps = Vec::new();
        let mut at = 0;
        while at < self.states.len() {
            if at == level_ends {
                depth += 1;
                level_ends = self.states.len();
            }
            if self.states.len() > limits.states {
                return (taken, depth, Verdict::TooMany);
            }
            let state = self.machine.unpack(&self.states[at]);
            steps.clear();
            self.machine.steps(&state, &mut steps);
            let parent = u32::try_from(at).expect("fewer than 2^32 states");
            let mut way_out = !self.machine.waiting(&state);
            for step in &steps {
                taken += 1;
                seen(&step.event);
                let (reached, new) = self.insert(&step.state, parent);
                way_out |= step.fair && reached != parent;
                let broken = step
                    .broken
                    .or_else(|| new.then(|| self.machine.broken(&step.state)).flatten());
                if let Some(property) = broken {
                    let mut trace = self.trace(parent);
                    let before = trace.last().map_or(state, |last| last.after);
                    trace.push(self.last_step(before, self.states[reached as usize], true));
                    return (taken, depth + 1, Verdict::Broken { property, trace });
                }
            }
            if !way_out {
                let property = self.machine.stuck();
                let trace = self.trace(parent);
                return (taken, depth, Verdict::Broken { property, trace });
            }
            at += 1;
        }
        if limits.progress
            && let Some(state) = self.without_a_way_out()
        {
            let property = self.machine.stuck();
            let trace = self.trace(state);
            return (taken, depth, Verdict::Broken { property, trace });
        }
        (taken, depth, Verdict::Holds)
    }

    /// The number of a state, and whether it is new.
    fn insert(&mut self, state: &M::State, parent: u32) -> (u32, bool) {
        let packed = self.machine.pack(state);
        let hash = self.hasher.hash_one(packed);
        let (states, hasher) = (&self.states, &self.hasher);
        let entry = self.index.entry(
            hash,
            |&at| states[at as usize] == packed,
            |&at| hasher.hash_one(states[at as usize]),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(known) => (*known.get(), false),
            hashbrown::hash_table::Entry::Vacant(room) => {
                let at = u32::try_from(states.len()).expect("fewer than 2^32 states");
                room.insert(at);
                self.states.push(packed);
                self.parents.push(parent);
                (at, true)
            }
        }
    }

    /// The run to a state. It is walked again from its start, so that names stay the same along it, which
    /// packing does not promise.
    fn trace(&self, to: u32) -> Vec<Traced<M>> {
        let mut path = vec![to];
        while self.parents[path[path.len() - 1] as usize] != START {
            path.push(self.parents[path[path.len() - 1] as usize]);
        }
        path.reverse();
        let mut trace = Vec::new();
        let mut state = self.machine.unpack(&self.states[path[0] as usize]);
        for &next in &path[1..] {
            let step = self.last_step(state, self.states[next as usize], false);
            state = step.after;
            trace.push(step);
        }
        trace
    }

    /// The step from `before` to `packed`: one that breaks something, where there is a choice.
    fn last_step(&self, before: M::State, packed: M::Packed, breaks: bool) -> Traced<M> {
        let mut steps = Vec::new();
        self.machine.steps(&before, &mut steps);
        steps.retain(|step| self.machine.pack(&step.state) == packed);
        let at = steps.iter().position(|step| step.broken.is_some());
        let step = &steps[if breaks { at.unwrap_or(0) } else { 0 }];
        Traced {
            event: step.event,
            before,
            after: step.state,
        }
    }

    /// The first state from which no path of fair steps leads to where nobody waits.
    fn without_a_way_out(&self) -> Option<u32> {
        let count = self.states.len();
        let mut edges: Vec<(u32, u32)> = Vec::new();
        let mut reaches = vec![false; count];
        let mut todo = Vec::new();
        let mut steps = Vec::new();
        for at in (0..).take(count) {
            let state = self.machine.unpack(&self.states[at as usize]);
            if !self.machine.waiting(&state) {
                reaches[at as usize] = true;
                todo.push(at);
                continue;
            }
            steps.clear();
            self.machine.steps(&state, &mut steps);
            for step in steps.iter().filter(|step| step.fair) {
                let packed = self.machine.pack(&step.state);
                let hash = self.hasher.hash_one(packed);
                let next = self
                    .index
                    .find(hash, |&known| self.states[known as usize] == packed);
                // Every step was followed, so every state is known.
                edges.extend(next.map(|&next| (next, at)));
            }
        }
        edges.sort_unstable();
        while let Some(at) = todo.pop() {
            let first = edges.partition_point(|&(to, _)| to < at);
            for &(_, from) in edges[first..].iter().take_while(|&&(to, _)| to == at) {
                if !std::mem::replace(&mut reaches[from as usize], true) {
                    todo.push(from);
                }
            }
        }
        let at = reaches.iter().position(|&reaches| !reaches)?;
        u32::try_from(at).ok()
    }
}
