//! What nobody decides: expiry, eviction, other programs, and a network that keeps commands back.

use crate::action::{Action, Outcome, Who};
use crate::model::Steps;
use crate::property::Property;
use crate::redis::{Acquired, Filled};
use crate::state::{Age, Entry, Late, Stamp, State, Token, Writing};

impl Steps<'_> {
    pub(crate) fn world(&mut self) {
        let model = self.model;
        let allowed = &model.configuration;
        if allowed.evicts_entry && !(allowed.keeps_new && self.sets()) {
            self.happens(Action::ExpireEntry, |state| state.server.entry = None);
        }
        if allowed.expires_lease {
            self.happens(Action::ExpireLease, |state| {
                state.server.lease = Token::NONE;
            });
        }
        if allowed.evicts_tag {
            self.happens(Action::EvictTag, |state| state.server.move_tag(Stamp::NONE));
            self.happens(Action::EvictEpoch, |state| state.server.epoch = Stamp::NONE);
        }
        if allowed.softens {
            // Of a dead entry the age does not matter.
            self.happens(Action::SoftExpire, |state| {
                let tag = state.server.tag;
                if let Some(entry) = &mut state.server.entry
                    && entry.age == Age::Fresh
                    && (!allowed.tagged() || model.unmoved(tag, entry.stamp))
                    && !allowed.foreign_tagless(entry.stamp)
                {
                    entry.age = Age::Soft;
                }
            });
        }
        if self.from.foreign > 0 {
            self.happens(Action::ForeignSet, |state| {
                state.foreign -= 1;
                state.source += 1;
                state.server.entry = Some(Entry {
                    version: state.source,
                    ..Entry::default()
                });
            });
        }
        if self.from.late != Late::Nothing {
            self.arrive();
        }
        self.replica();
        if allowed.moves && self.from.redirects > 0 {
            self.happens(Action::MoveSlot, |state| {
                state.redirects -= 1;
                for writer in state
                    .processes
                    .iter_mut()
                    .map(|process| &mut process.writer)
                {
                    if matches!(
                        writer.at,
                        Writing::Leases
                            | Writing::LeaseFound
                            | Writing::Entries
                            | Writing::EntryFound
                    ) {
                        // It may have passed the node to which the keys went.
                        (writer.moved, writer.may_miss) = (true, true);
                    }
                }
            });
        }
    }

    /// Whether a `set` of two steps is between them.
    fn sets(&self) -> bool {
        let mut processes = self.from.processes.iter();
        processes.any(|process| process.writer.at == Writing::SetStored)
    }

    pub(crate) fn happens(&mut self, action: Action, change: impl FnOnce(&mut State)) {
        let mut state = *self.from;
        change(&mut state);
        self.push(Who::World, action, Outcome::Plain, state);
    }

    fn arrive(&mut self) {
        let mut state = *self.from;
        state.late = Late::Nothing;
        let compares = self.model.compares();
        let server = &mut state.server;
        let mut broken = None;
        match self.from.late {
            Late::Nothing => {}
            Late::Acquire(token, seen) => {
                if matches!(server.acquire(token, seen, compares), Acquired::Mine) {
                    self.tags_by_acquire(&mut state);
                }
            }
            Late::Take(token) => {
                server.take(token);
                self.tags_by_acquire(&mut state);
            }
            Late::Fill(token, seen, value, epoch) => {
                let older = server
                    .entry
                    .is_some_and(|entry| entry.version > value.version);
                let filled = server.fill(token, seen, value, epoch, compares);
                if older && filled == Filled::Stored {
                    broken = Some(Property::Replace);
                }
            }
            Late::Invalidate(stamp) => server.move_tag(stamp),
            Late::Create(stamp) => server.create_tag(stamp),
            Late::InvalidateEpoch => server.move_epoch(),
            Late::CreateEpoch(stamp) => server.create_epoch(stamp),
        }
        self.push_broken(Who::World, Action::Arrive, Outcome::Plain, state, broken);
    }
}
