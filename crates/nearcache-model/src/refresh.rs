//! `refresh`: a load that takes the lease from whoever has it. It is nobody's flight.
//!
//! What it promises once it has returned: nothing older than its value is the answer to whoever asks afterwards, and
//! nothing older stays stored. So it counts like an invalidation that announces the version that it loaded: either its
//! value is stored, or it ends with a `delete`. One whose loader fails promises nothing.

use crate::action::{Action, Outcome, Who};
use crate::configuration::DeleteForm;
use crate::mechanism::Mechanism;
use crate::model::{Model, Steps, name};
use crate::redis::Filled;
use crate::state::{At, Late, Process, State, Task, Token, Way};

/// In which of its process's tasks it is.
const SLOT: usize = 1;

impl Steps<'_> {
    /// Begins one, with its ACQUIRE.
    pub(crate) fn refresh(&mut self, p: usize) {
        let process = &self.from.processes[p];
        if process.refreshes == 0 || process.tasks[SLOT].at != At::Nowhere {
            return;
        }
        let who = Who::Task(name(p), name(SLOT));
        let token = self.from.fresh_token();
        let mut state = *self.from;
        let seen = state.server.take(token);
        let (stamp, epoch) = self.tags_by_acquire(&mut state);
        let at = if self.model.configuration.scripts() {
            At::Ready
        } else {
            At::Mine
        };
        state.processes[p].begin_refresh(Task {
            at,
            token,
            seen,
            stamp,
            epoch,
            ..Task::default()
        });
        self.push(who, Action::Take, Outcome::Mine, state);
        if self.may_lose() {
            let mut state = *self.from;
            state.lose(Late::Take(token));
            self.push(who, Action::Lose, Outcome::SentAgain, state);
            // Without a lease.
            state.processes[p].begin_refresh(Task {
                at: At::Ready,
                ..Task::default()
            });
            self.push(who, Action::Lose, Outcome::GivenUp, state);
        }
    }

    /// It has loaded without a lease.
    pub(crate) fn unleased(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        self.model.refreshed(&mut state, p, slot, None);
        self.push(who, Action::RefreshEnds, Outcome::Plain, state);
    }

    /// The `delete` of one that has stored nothing, or perhaps nothing.
    pub(crate) fn unlink(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        state.server.lease = Token::NONE;
        if self.model.configuration.delete == DeleteForm::LeaseFirst {
            state.processes[p].tasks[slot].at = At::UnlinkEntry;
        } else {
            state.server.entry = None;
            self.deleted(&mut state, p, slot);
        }
        self.push(who, Action::RefreshDeletes, Outcome::Plain, state);
    }

    /// UNLINK `s`, after `L`.
    pub(crate) fn unlink_entry(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        state.server.entry = None;
        self.deleted(&mut state, p, slot);
        self.push(who, Action::RefreshDeletes, Outcome::Plain, state);
    }

    fn deleted(&self, state: &mut State, p: usize, slot: usize) {
        state.refresh_returns(p, slot);
        if self.model.configuration.detaches {
            state.processes[p].detach();
        }
    }
}

impl Model {
    /// FILL, if it was sent, has answered, or has not: the refresh returns, or has its `delete` before it.
    pub(crate) fn refreshed(
        &self,
        state: &mut State,
        p: usize,
        slot: usize,
        filled: Option<Filled>,
    ) {
        let deletes = match filled {
            Some(Filled::Stored) => false,
            Some(Filled::Fenced) => self.has(Mechanism::FencedRefreshDeletes),
            None => self.has(Mechanism::LostRefreshDeletes),
        };
        if deletes {
            let task = &mut state.processes[p].tasks[slot];
            *task = Task {
                at: At::Unlink,
                way: Way::Force,
                value: task.value,
                ..Task::default()
            };
        } else {
            state.refresh_returns(p, slot);
        }
    }
}

impl State {
    /// From here on, what it loaded is promised.
    fn refresh_returns(&mut self, p: usize, slot: usize) {
        let task = &mut self.processes[p].tasks[slot];
        self.floor = self.floor.max(task.value);
        *task = Task::default();
    }
}

impl Process {
    fn begin_refresh(&mut self, task: Task) {
        self.refreshes -= 1;
        self.tasks[SLOT] = Task {
            way: Way::Force,
            ..task
        };
    }
}
