//! Those who call `remember`: they lead a flight, join one, ask again, go away.

use crate::action::{Action, Outcome, Who};
use crate::model::{Steps, name};
use crate::state::{At, Caller, Covered, Phase, Process, State, Task};

impl Steps<'_> {
    pub(crate) fn caller(&mut self, p: usize, c: usize) {
        let who = Who::Caller(name(p), name(c));
        let caller = self.from.processes[p].callers[c];
        match caller.phase {
            Phase::New => {
                let mut state = *self.from;
                let strict = self.model.configuration.strict;
                let marked = if strict { state.marked } else { 0 };
                state.processes[p].callers[c].floor = state.floor.max(marked);
                self.enter(who, Action::Join, p, c, state);
            }
            Phase::Again => self.enter(who, Action::AskAgain, p, c, *self.from),
            Phase::Leads if self.model.configuration.cancels => self.cancel(who, p, c),
            Phase::Joined if self.model.configuration.timeouts => self.alone(who, p, c),
            Phase::Leads | Phase::Joined | Phase::Done => {}
        }
    }

    /// Loads for itself. It reads the source after it called, so its value is new enough; nobody else gets
    /// it.
    fn alone(&mut self, who: Who, p: usize, c: usize) {
        let mut state = *self.from;
        state.loads = more(state.loads);
        state.processes[p].callers[c].answered();
        self.push(who, Action::LoadAlone, Outcome::Plain, state);
    }

    /// Joins the flight, or leads a new one.
    fn enter(&mut self, who: Who, action: Action, p: usize, c: usize, mut state: State) {
        let process = &mut state.processes[p];
        let leads = process.tasks[0].at == At::Nowhere;
        let caller = &mut process.callers[c];
        caller.slot = 0;
        caller.covered = Covered::No;
        caller.phase = if leads { Phase::Leads } else { Phase::Joined };
        if leads {
            process.tasks[0].at = At::Ask;
        }
        let outcome = if leads {
            Outcome::Leads
        } else {
            Outcome::Joins
        };
        self.push(who, action, outcome, state);
    }

    /// A load is a task of its own and goes on; before it, the flight is the caller's future and goes with
    /// it. Its lease is then left to expire.
    fn cancel(&mut self, who: Who, p: usize, c: usize) {
        let mut state = *self.from;
        let process = &mut state.processes[p];
        let slot = usize::from(process.callers[c].slot);
        let goes_on = matches!(
            process.tasks[slot].at,
            At::Loading
                | At::Named
                | At::CreateNamed
                | At::EpochNext
                | At::Checked
                | At::Moved
                | At::Filled
                | At::Alone
                | At::Give
                | At::GiveLoaded
                | At::GiveLeader
        );
        process.callers[c].answered();
        if !goes_on {
            process.end(slot);
        }
        let outcome = if goes_on {
            Outcome::GoesOn
        } else {
            Outcome::Dropped
        };
        self.push(who, Action::Cancel, outcome, state);
    }
}

/// One load more: beyond three they are not told apart.
pub(crate) fn more(loads: u8) -> u8 {
    (loads + 1).min(3)
}

impl Caller {
    /// This call is over.
    pub(crate) fn answered(&mut self) {
        *self = Caller {
            phase: if self.calls > 0 {
                Phase::New
            } else {
                Phase::Done
            },
            calls: self.calls.saturating_sub(1),
            ..Caller::default()
        };
    }

    /// Not answered: it comes again.
    pub(crate) fn again(&mut self) {
        self.phase = Phase::Again;
        self.covered = Covered::No;
        self.slot = 0;
    }
}

impl Process {
    /// Who waits for the task.
    pub(crate) fn of(&mut self, slot: usize) -> impl Iterator<Item = &mut Caller> {
        let waits = move |caller: &&mut Caller| {
            matches!(caller.phase, Phase::Leads | Phase::Joined) && usize::from(caller.slot) == slot
        };
        self.callers.iter_mut().filter(waits)
    }

    /// A command is sent, or an unleased load begins: it may answer those who have joined by now.
    pub(crate) fn cover(&mut self, slot: usize) {
        self.of(slot)
            .for_each(|caller| caller.covered = caller.covered.max(Covered::ByCommand));
    }

    /// The loader is called: its value may answer those who have joined by now, whatever becomes of the load.
    pub(crate) fn cover_by_load(&mut self, slot: usize) {
        self.of(slot)
            .for_each(|caller| caller.covered = Covered::ByLoad);
    }

    /// The task is over; whoever still waits for it asks again.
    pub(crate) fn end(&mut self, slot: usize) {
        self.of(slot).for_each(Caller::again);
        self.tasks[slot] = Task::default();
    }
}
