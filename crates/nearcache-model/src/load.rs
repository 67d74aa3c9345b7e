//! Under the lease: the tags before the load, the load, the tags after it, FILL, and what ends a lease
//! otherwise. `cluster` has what is otherwise on a Cluster.

use crate::action::{Action, Outcome, Who};
use crate::caller::more;
use crate::configuration::Tags;
use crate::mechanism::Mechanism;
use crate::model::Steps;
use crate::property::Property;
use crate::redis::Filled;
use crate::state::{Age, At, Caller, Entry, Late, Stamp, State, Task, Token, Way};

impl Steps<'_> {
    /// What ACQUIRE reads, and creates, where the scripts see to the tags.
    pub(crate) fn tags_by_acquire(&self, state: &mut State) -> (Stamp, Stamp) {
        let fresh = state.fresh_stamp();
        match self.model.configuration.tags {
            Tags::None | Tags::Commands | Tags::ClusterNamed | Tags::ClusterBrought => {
                (Stamp::NONE, Stamp::NONE)
            }
            Tags::Scripts => {
                state.server.create_tag(fresh);
                (state.server.tag, Stamp::NONE)
            }
            Tags::Brought => {
                state.server.create_epoch(fresh);
                (Stamp::NONE, state.server.epoch)
            }
        }
    }

    /// The lease is ours.
    pub(crate) fn before_load(&mut self, who: Who, p: usize, slot: usize) {
        let before = self.model.has(Mechanism::TagsReadBeforeLoad);
        match self.model.configuration.tags {
            Tags::ClusterBrought => self.read_epoch(who, p, slot),
            Tags::Commands | Tags::ClusterNamed if before => self.read_tags(who, p, slot),
            _ => self.load(who, p, slot),
        }
    }

    /// The load has its value.
    pub(crate) fn after_load(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        if task.way == Way::Force && task.token == Token::NONE {
            return self.unleased(who, p, slot);
        }
        let before = self.model.has(Mechanism::TagsReadBeforeLoad);
        let again = self.model.has(Mechanism::TagsReadAgain);
        match self.model.configuration.tags {
            Tags::Commands if again => self.read_tags_again(who, p, slot, task),
            Tags::ClusterNamed if again => {
                self.read_tags_again(who, p, slot, task);
                if before {
                    self.fill(who, p, slot, task);
                }
            }
            Tags::Brought => self.read_brought_tags(who, p, slot),
            Tags::ClusterBrought if self.model.has(Mechanism::EpochReadLast) => {
                self.read_named_tags(who, p, slot);
            }
            Tags::ClusterBrought => self.read_epoch_again(who, p, slot, task),
            _ => self.fill(who, p, slot, task),
        }
    }

    fn read_tags(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        let tag = self.tag();
        let missing = tag == Stamp::NONE;
        let task = &mut state.processes[p].tasks[slot];
        if missing && self.model.has(Mechanism::MissingTagIsCreated) {
            task.at = At::Create;
            return self.push(who, Action::ReadTags, Outcome::Missing, state);
        }
        task.at = At::Ready;
        task.stamp = tag;
        self.push(who, Action::ReadTags, Outcome::Plain, state);
    }

    pub(crate) fn create_tag(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let stamp = if !self.model.has(Mechanism::TagIsRandom) {
            Stamp(1)
        } else if task.stamp == Stamp::NONE {
            self.from.fresh_stamp()
        } else {
            task.stamp
        };
        let mut state = *self.from;
        state.server.create_tag(stamp);
        let task = &mut state.processes[p].tasks[slot];
        task.at = if task.at == At::Create {
            At::Mine
        } else {
            At::Named
        };
        task.stamp = Stamp::NONE;
        self.push(who, Action::CreateTag, Outcome::Plain, state);
        if self.may_lose() {
            let mut state = *self.from;
            state.lose(Late::Create(stamp));
            if !self.model.has(Mechanism::StampPerCreation) {
                state.processes[p].tasks[slot].stamp = stamp;
            }
            self.push(who, Action::Lose, Outcome::SentAgain, state);
        }
    }

    pub(crate) fn load(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        state.loads = more(state.loads);
        state.processes[p].cover_by_load(slot);
        let task = &mut state.processes[p].tasks[slot];
        task.at = At::Loading;
        task.value = state.source;
        self.push(who, Action::Load, Outcome::Plain, state);
    }

    /// The load has said what its tags are.
    pub(crate) fn read_brought_tags(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        state.server.create_tag(self.from.fresh_stamp());
        let task = &mut state.processes[p].tasks[slot];
        task.at = At::Checked;
        task.stamp = state.server.tag;
        self.push(who, Action::ReadTags, Outcome::Plain, state);
    }

    pub(crate) fn read_tags_again(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let mut state = *self.from;
        state.processes[p].cover(slot);
        let (mut tag, mut stamp) = (self.tag(), task.stamp);
        if !self.model.has(Mechanism::TagsReadBeforeLoad) {
            state.server.create_tag(self.from.fresh_stamp());
            tag = state.server.tag;
            stamp = tag;
        }
        let unmoved = self.is_current(tag, stamp);
        let beside = self.model.configuration.tags == Tags::ClusterNamed;
        let task = &mut state.processes[p].tasks[slot];
        task.stamp = if unmoved || beside {
            stamp
        } else {
            Stamp::NONE
        };
        task.at = if unmoved { At::Checked } else { At::Moved };
        let outcome = if unmoved {
            Outcome::Unmoved
        } else {
            Outcome::Moved
        };
        self.push(who, Action::ReadTagsAgain, outcome, state);
    }

    pub(crate) fn fill(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let tags = self.model.configuration.tags;
        let reads_again = matches!(
            tags,
            Tags::Commands | Tags::ClusterNamed | Tags::ClusterBrought
        ) && self.model.has(Mechanism::TagsReadAgain);
        // Its joiners are those who came before what was read again, if that was first.
        let first = !reads_again || task.at == At::Loading;
        let value = Entry {
            version: task.value,
            stamp: task.stamp,
            age: Age::Fresh,
        };
        let mut state = *self.from;
        if first || !self.model.has(Mechanism::TaggedJoinersByReread) {
            state.processes[p].cover(slot);
        }
        let older = state
            .server
            .entry
            .is_some_and(|entry| entry.version > value.version);
        let filled = state.server.fill(
            task.token,
            task.seen,
            value,
            task.epoch,
            self.model.compares(),
        );
        let stored = filled == Filled::Stored;
        let outcome = match filled {
            Filled::Stored if task.seen.is_some() => Outcome::Replaced,
            Filled::Stored => Outcome::Stored,
            Filled::Fenced => Outcome::Fenced,
        };
        let broken = (stored && older).then_some(Property::Replace);
        if task.way == Way::Force {
            self.model.refreshed(&mut state, p, slot, Some(filled));
        } else if stored && reads_again && first {
            state.processes[p].await_tags(slot);
        } else if stored && task.at != At::Moved {
            state.processes[p].give(slot, At::Give);
        } else {
            state.processes[p].give(slot, At::GiveLoaded);
        }
        self.push_broken(who, Action::Fill, outcome, state, broken);
        if self.may_lose() {
            let mut state = *self.from;
            state.lose(Late::Fill(task.token, task.seen, value, task.epoch));
            self.push(who, Action::Lose, Outcome::SentAgain, state);
            if task.way == Way::Force {
                self.model.refreshed(&mut state, p, slot, None);
            } else {
                state.processes[p].give(slot, At::GiveLoaded);
            }
            self.push(who, Action::Lose, Outcome::GivenUp, state);
        }
    }

    /// Whether a lease that is not the task's ends by `state`.
    fn ends_another(&self, task: &Task, state: &State) -> Option<Property> {
        let lease = self.from.server.lease;
        (state.server.lease != lease && lease != task.token).then_some(Property::Lease)
    }

    pub(crate) fn load_fails(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let mut state = *self.from;
        state
            .server
            .release(task.token, self.model.has(Mechanism::ReleaseCompares));
        let broken = self.ends_another(task, &state);
        let process = &mut state.processes[p];
        if task.stale {
            process.give(slot, At::GiveLeader);
            let stale = task.seen.expect("a stale entry").version;
            process.tasks[slot].value = stale;
            if !self.model.has(Mechanism::StaleForLeaderOnly) {
                process.tasks[slot].at = At::Give;
            }
            return self.push_broken(who, Action::LoadFails, Outcome::StaleOnError, state, broken);
        }
        process.of(slot).for_each(Caller::answered);
        process.end(slot);
        self.push_broken(who, Action::LoadFails, Outcome::Failed, state, broken);
    }

    pub(crate) fn release(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let mut state = *self.from;
        state
            .server
            .release(task.token, self.model.has(Mechanism::ReleaseCompares));
        let broken = self.ends_another(task, &state);
        if task.way == Way::Force {
            let fenced = Some(Filled::Fenced);
            self.model.refreshed(&mut state, p, slot, fenced);
        } else {
            state.processes[p].give(slot, At::GiveLoaded);
        }
        self.push_broken(who, Action::Release, Outcome::Plain, state, broken);
    }

    /// Compare-and-PEXPIRE changes nothing here, where a lease may end at any moment; SET does.
    pub(crate) fn renew(&mut self, who: Who, task: &Task) {
        let mut state = *self.from;
        if !self.model.has(Mechanism::RenewCompares) {
            state.server.lease = task.token;
        }
        self.push(who, Action::Renew, Outcome::Plain, state);
    }
}
