//! Under the lease on a Cluster, where no script names a tag: the epoch and V are read by commands.
//!
//! FILL then cannot compare V. It need not: an entry carries V as it was before its load, or, where the load
//! names its tags at its end, as it was before the epoch was seen unmoved; whoever reads it compares.

use crate::action::{Action, Outcome, Who};
use crate::mechanism::Mechanism;
use crate::model::Steps;
use crate::property;
use crate::state::{At, Late, Process, Stamp, Task};

impl Steps<'_> {
    /// Before a load that names its tags at its end.
    pub(crate) fn read_epoch(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        let epoch = self.epoch();
        let missing = epoch == Stamp::NONE;
        let task = &mut state.processes[p].tasks[slot];
        if missing && self.model.has(Mechanism::MissingEpochIsCreated) {
            task.at = At::Create;
            return self.push(who, Action::ReadEpoch, Outcome::Missing, state);
        }
        task.at = At::Ready;
        task.epoch = epoch;
        self.push(who, Action::ReadEpoch, Outcome::Plain, state);
    }

    pub(crate) fn create_epoch(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let stamp = if !self.model.has(Mechanism::TagIsRandom) {
            Stamp(1)
        } else if task.epoch == Stamp::NONE {
            self.from.fresh_stamp()
        } else {
            task.epoch
        };
        let mut state = *self.from;
        state.server.create_epoch(stamp);
        let task = &mut state.processes[p].tasks[slot];
        task.at = At::Mine;
        task.epoch = Stamp::NONE;
        self.push(who, Action::CreateEpoch, Outcome::Plain, state);
        if self.may_lose() {
            let mut state = *self.from;
            state.lose(Late::CreateEpoch(stamp));
            if !self.model.has(Mechanism::StampPerCreation) {
                state.processes[p].tasks[slot].epoch = stamp;
            }
            self.push(who, Action::Lose, Outcome::SentAgain, state);
        }
    }

    /// The load has named its tags.
    pub(crate) fn read_named_tags(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        let tag = self.tag();
        let task = &mut state.processes[p].tasks[slot];
        if tag == Stamp::NONE && self.model.has(Mechanism::MissingTagIsCreated) {
            task.at = At::CreateNamed;
            return self.push(who, Action::ReadTags, Outcome::Missing, state);
        }
        task.at = if self.model.has(Mechanism::EpochReadLast) {
            At::EpochNext
        } else {
            At::Checked
        };
        task.stamp = tag;
        self.push(who, Action::ReadTags, Outcome::Plain, state);
    }

    /// FILL is sent only if the epoch has not moved. Whoever joins later is not answered by it.
    pub(crate) fn read_epoch_again(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let mut state = *self.from;
        state.processes[p].cover(slot);
        let missing_is_moved = self.model.has(Mechanism::MissingEpochIsMoved);
        let unmoved = property::unmoved(self.epoch(), task.epoch, missing_is_moved)
            || !self.model.has(Mechanism::FillComparesEpoch);
        let task = &mut state.processes[p].tasks[slot];
        task.epoch = Stamp::NONE;
        let outcome = if unmoved {
            task.at = if self.model.has(Mechanism::EpochReadLast) {
                At::Checked
            } else {
                At::Named
            };
            Outcome::Unmoved
        } else {
            task.at = At::Moved;
            task.stamp = Stamp::NONE;
            Outcome::Moved
        };
        self.push(who, Action::ReadEpochAgain, outcome, state);
    }

    /// Whether V, read again, is as it was before the load: neither invalidated nor marked stale.
    pub(crate) fn is_current(&self, tag: Stamp, before: Stamp) -> bool {
        let marked = self.from.server.is_marked(before);
        self.model.unmoved(tag, before) || marked && !self.model.has(Mechanism::FillComparesCurrent)
    }

    /// V is read beside FILL, and FILL was first.
    pub(crate) fn read_tags_after_fill(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let mut state = *self.from;
        if !self.model.has(Mechanism::TaggedJoinersByFill) {
            state.processes[p].cover(slot);
        }
        let unmoved = self.is_current(self.tag(), task.stamp);
        let (at, outcome) = if unmoved {
            (At::Give, Outcome::Unmoved)
        } else {
            (At::GiveLoaded, Outcome::Moved)
        };
        state.processes[p].give(slot, at);
        self.push(who, Action::ReadTagsAgain, outcome, state);
    }
}

impl Process {
    /// FILL has stored; whom its value answers is for V to say.
    pub(crate) fn await_tags(&mut self, slot: usize) {
        let stamp = self.tasks[slot].stamp;
        self.give(slot, At::Filled);
        if self.tasks[slot].at == At::Filled {
            self.tasks[slot].stamp = stamp;
        }
    }
}
