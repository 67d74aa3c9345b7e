//! Those who write and invalidate: first the source, then the cache, each step by itself.
//!
//! `set` counts a load as older if it began before NEW was stored, also where the source held NEW by then:
//! the source changes in the moment in which NEW is stored. That is the stricter of the two readings.

use crate::action::{Action, Outcome, Who};
use crate::configuration::{Invalidation, SetForm, Tags};
use crate::mechanism::Mechanism;
use crate::model::{Steps, name};
use crate::state::{
    Age, At, Covered, Entry, Phase, Process, Stamp, State, Task, Token, Writer, Writing,
};

impl Steps<'_> {
    pub(crate) fn writer(&mut self, p: usize) {
        let who = Who::Writer(name(p));
        let writer = self.from.processes[p].writer;
        match writer.at {
            Writing::Idle if writer.left > 0 => self.begin(who, p),
            Writing::Idle => {}
            Writing::Changed => self.invalidate(who, p, &writer),
            Writing::EntryDeleted => self.returns(who, Action::Delete, p, |state| {
                state.server.lease = Token::NONE;
            }),
            Writing::LeaseDeleted => self.delete_entry(who, p),
            Writing::LeaseRedirected => self.delete_before_lease(who, p),
            Writing::EpochMoved => self.move_tag(who, p, &writer),
            Writing::EpochMovedToMark => self.mark_tag(who, p),
            Writing::TagMoved => {
                self.returns(who, Action::InvalidateEpoch, p, |state| {
                    state.server.move_epoch();
                });
            }
            Writing::SetReady => self.set(who, p),
            Writing::SetStored => self.returns(who, Action::SetEnds, p, |state| {
                state.server.lease = Token::NONE;
            }),
            Writing::SetUnlinked => {
                self.returns(who, Action::SetEnds, p, |state| state.store_new(p));
            }
            Writing::Leases | Writing::Entries => self.scan(who, p, &writer),
            Writing::LeaseFound => {
                self.after_leases(who, Action::ClearUnlinks, p, |state| {
                    state.server.lease = Token::NONE;
                });
                if writer.moved {
                    self.after_leases(who, Action::ClearMisses, p, |_| {});
                }
            }
            Writing::EntryFound => {
                self.after_entries(who, Action::ClearUnlinks, p, |state| {
                    state.server.entry = None;
                });
                if writer.moved {
                    self.after_entries(who, Action::ClearMisses, p, |_| {});
                }
            }
            Writing::LeasesDone => self.scan_entries(who, p),
            Writing::EntriesDone => self.scan_leases(who, p),
        }
    }

    fn allows(&self, kind: Invalidation) -> bool {
        self.model.configuration.kinds.contains(&kind)
    }

    fn begin(&mut self, who: Who, p: usize) {
        let kinds = self.model.configuration.kinds.iter();
        if kinds.into_iter().any(|&kind| kind != Invalidation::Set) {
            let mut state = *self.from;
            state.source += 1;
            state.processes[p].writer.version = state.source;
            state.processes[p].writer.at = Writing::Changed;
            self.push(who, Action::ChangeSource, Outcome::Plain, state);
        }
        if !self.allows(Invalidation::Set) {
            return;
        }
        let commands = matches!(
            self.model.configuration.tags,
            Tags::ClusterNamed | Tags::ClusterBrought
        );
        if self.model.configuration.tagged() {
            let mut state = *self.from;
            let stamp = self.fresh_creation();
            let missing = state.server.tag == Stamp::NONE;
            state.server.create_tag(stamp);
            if missing && commands {
                return self.push(who, Action::CreateTag, Outcome::Plain, state);
            }
            state.processes[p].writer.stamp = state.server.tag;
            state.processes[p].writer.at = Writing::SetReady;
            self.push(who, Action::SetReadsTags, Outcome::Plain, state);
        } else {
            self.set(who, p);
        }
    }

    fn fresh_creation(&self) -> Stamp {
        if self.model.has(Mechanism::TagIsRandom) {
            self.from.fresh_stamp()
        } else {
            Stamp(1)
        }
    }

    fn set(&mut self, who: Who, p: usize) {
        let model = self.model;
        if !model.has(Mechanism::SetUnlinksLease) {
            self.returns(who, Action::Set, p, |state| state.store_new(p));
        } else if !model.has(Mechanism::SetStoresFirst) {
            let mut state = *self.from;
            state.server.lease = Token::NONE;
            state.processes[p].writer.at = Writing::SetUnlinked;
            self.push(who, Action::Set, Outcome::Plain, state);
        } else if !model.has(Mechanism::SetIsAtomic)
            || model.configuration.set == SetForm::ThenUnlink
        {
            let mut state = *self.from;
            state.store_new(p);
            state.processes[p].writer.at = Writing::SetStored;
            self.push(who, Action::Set, Outcome::Plain, state);
        } else {
            self.returns(who, Action::Set, p, |state| {
                state.store_new(p);
                state.server.lease = Token::NONE;
            });
        }
    }

    fn invalidate(&mut self, who: Who, p: usize, writer: &Writer) {
        let model = self.model;
        if self.allows(Invalidation::Delete) {
            self.delete(who, p);
        }
        if self.allows(Invalidation::Tag) {
            self.invalidate_tag(who, p, writer);
        }
        if self.allows(Invalidation::Mark) {
            self.mark(who, p);
        }
        if self.allows(Invalidation::MarkTag) {
            self.mark_tag_stale(who, p);
        }
        if self.allows(Invalidation::Clear) {
            if model.has(Mechanism::ClearLeasesFirst) {
                self.scan_leases(who, p);
            } else {
                self.scan_entries(who, p);
            }
        }
    }

    fn scan_leases(&mut self, who: Who, p: usize) {
        let mut state = *self.from;
        state.processes[p].writer.at = Writing::Leases;
        state.processes[p].writer.moved = false;
        state.processes[p].writer.may_miss = state.server.lease == Token::NONE;
        self.push(who, Action::ClearLeases, Outcome::Plain, state);
    }

    fn scan_entries(&mut self, who: Who, p: usize) {
        let mut state = *self.from;
        state.processes[p].writer.at = Writing::Entries;
        state.processes[p].writer.moved = false;
        state.processes[p].writer.may_miss = state.server.entry.is_none();
        self.push(who, Action::ClearKeys, Outcome::Plain, state);
    }

    /// A page names the key, if it is there; or the scan ends without it, if it was not there all the time.
    fn scan(&mut self, who: Who, p: usize, writer: &Writer) {
        let leases = writer.at == Writing::Leases;
        let there = if leases {
            self.from.server.lease != Token::NONE
        } else {
            self.from.server.entry.is_some()
        };
        if there {
            let mut state = *self.from;
            let writer = &mut state.processes[p].writer;
            writer.at = if leases {
                Writing::LeaseFound
            } else {
                Writing::EntryFound
            };
            writer.may_miss = false;
            self.push(who, Action::ClearFinds, Outcome::Plain, state);
        }
        if writer.may_miss && leases {
            self.after_leases(who, Action::ClearMisses, p, |_| {});
        } else if writer.may_miss {
            self.after_entries(who, Action::ClearMisses, p, |_| {});
        }
    }

    fn after_leases(
        &mut self,
        who: Who,
        action: Action,
        p: usize,
        change: impl FnOnce(&mut State),
    ) {
        if !self.model.has(Mechanism::ClearLeasesFirst) {
            return self.returns(who, action, p, change);
        }
        let mut state = *self.from;
        change(&mut state);
        state.processes[p].writer.may_miss = false;
        state.processes[p].writer.at = if self.scans_again(p) {
            Writing::EntriesDone
        } else {
            Writing::LeasesDone
        };
        state.processes[p].writer.moved = false;
        self.push(who, action, Outcome::Plain, state);
    }

    fn after_entries(
        &mut self,
        who: Who,
        action: Action,
        p: usize,
        change: impl FnOnce(&mut State),
    ) {
        let again = self.scans_again(p);
        if self.model.has(Mechanism::ClearLeasesFirst) && !again {
            return self.returns(who, action, p, change);
        }
        let mut state = *self.from;
        change(&mut state);
        state.processes[p].writer.may_miss = false;
        state.processes[p].writer.moved = false;
        state.processes[p].writer.at = if again {
            Writing::LeasesDone
        } else {
            Writing::EntriesDone
        };
        self.push(who, action, Outcome::Plain, state);
    }

    /// Whether `clear` goes through the same keys once more, because the slot was moved meanwhile.
    fn scans_again(&self, p: usize) -> bool {
        self.from.processes[p].writer.moved && self.model.has(Mechanism::MovedIsScannedAgain)
    }

    /// The last step of a write: from here on, what it announced is promised.
    pub(crate) fn returns(
        &mut self,
        who: Who,
        action: Action,
        p: usize,
        change: impl FnOnce(&mut State),
    ) {
        let mut state = *self.from;
        change(&mut state);
        state.floor = state.floor.max(state.processes[p].writer.version);
        self.ends(who, action, p, state);
    }

    /// After the last step of a write. What it promises is in `state`.
    pub(crate) fn ends(&mut self, who: Who, action: Action, p: usize, mut state: State) {
        let process = &mut state.processes[p];
        process.writer = Writer {
            left: process.writer.left - 1,
            // What a failover loses is invalidated again.
            version: if state.failovers > 0 {
                process.writer.version
            } else {
                0
            },
            ..Writer::default()
        };
        if self.model.configuration.detaches && process.tasks[1].at == At::Nowhere {
            process.detach();
        }
        self.push(who, action, Outcome::Plain, state);
    }
}

impl Process {
    /// The flight goes on beside a new one. Who joined after its loader was called asks again, in the new one.
    pub(crate) fn detach(&mut self) {
        let loading = self.tasks[0].at >= At::Loading;
        self.tasks.swap(0, 1);
        for caller in self.of(0) {
            let too_late = caller.phase == Phase::Joined && caller.covered != Covered::ByLoad;
            if loading && too_late {
                caller.again();
            } else {
                caller.slot = 1;
            }
        }
        self.tasks[0] = Task::default();
    }
}

impl State {
    /// The write that is the source's and the cache's at once.
    fn store_new(&mut self, p: usize) {
        self.source += 1;
        let writer = &mut self.processes[p].writer;
        writer.version = self.source;
        self.server.entry = Some(Entry {
            version: self.source,
            stamp: writer.stamp,
            age: Age::Fresh,
        });
    }
}
