//! What a `delete` and an `invalidate_tag` remove, one command after the other.

use crate::action::{Action, Outcome, Who};
use crate::configuration::{DeleteForm, Tags};
use crate::mechanism::Mechanism;
use crate::model::Steps;
use crate::state::{Late, Stamp, State, Token, Writer, Writing};

impl Steps<'_> {
    pub(crate) fn delete(&mut self, who: Who, p: usize) {
        let model = self.model;
        if !model.has(Mechanism::DeleteUnlinksLease) {
            self.returns(who, Action::Delete, p, |state| state.server.entry = None);
        } else if !model.has(Mechanism::DeleteLeaseFirst) {
            self.goes_on(who, Action::Delete, p, Writing::EntryDeleted, |state| {
                state.server.entry = None;
            });
        } else if model.configuration.delete == DeleteForm::LeaseFirst {
            self.goes_on(who, Action::Delete, p, Writing::LeaseDeleted, |state| {
                state.server.lease = Token::NONE;
            });
            self.redirect(who, p, Writing::LeaseRedirected);
        } else {
            self.returns(who, Action::Delete, p, |state| {
                state.server.entry = None;
                state.server.lease = Token::NONE;
            });
        }
    }

    /// UNLINK `s`, after `L`.
    pub(crate) fn delete_entry(&mut self, who: Who, p: usize) {
        self.returns(who, Action::Delete, p, |state| state.server.entry = None);
        let next = if self.model.has(Mechanism::RedirectedIsWhole) {
            Writing::Changed
        } else {
            Writing::LeaseDeleted
        };
        self.redirect(who, p, next);
    }

    /// UNLINK `s`, which was sent together with the UNLINK `L` that was redirected.
    pub(crate) fn delete_before_lease(&mut self, who: Who, p: usize) {
        let next = if self.model.has(Mechanism::RedirectedIsWhole) {
            Writing::Changed
        } else {
            Writing::EntryDeleted
        };
        self.goes_on(who, Action::Delete, p, next, |state| {
            state.server.entry = None;
        });
    }

    fn redirect(&mut self, who: Who, p: usize, next: Writing) {
        if self.from.redirects > 0 {
            self.goes_on(who, Action::Redirect, p, next, |state| state.redirects -= 1);
        }
    }

    pub(crate) fn invalidate_tag(&mut self, who: Who, p: usize, writer: &Writer) {
        let model = self.model;
        if !model.configuration.has_epoch() {
            return self.move_tag(who, p, writer);
        }
        if model.has(Mechanism::EpochMovesFirst) {
            let next = Writing::EpochMoved;
            self.goes_on(who, Action::InvalidateEpoch, p, next, State::move_epoch);
            if self.may_lose() {
                let mut state = *self.from;
                state.lose(Late::InvalidateEpoch);
                self.push(who, Action::Lose, Outcome::SentAgain, state);
            }
        }
        if !model.has(Mechanism::EpochMovesFirst) || !model.has(Mechanism::EpochIsAcknowledged) {
            self.move_tag(who, p, writer);
        }
    }

    /// Moves V: the last step, unless the epoch is still to be moved.
    pub(crate) fn move_tag(&mut self, who: Who, p: usize, writer: &Writer) {
        let model = self.model;
        let unlinks = model.configuration.tags != Tags::Commands;
        let stamp = if unlinks {
            Stamp::NONE
        } else if !model.has(Mechanism::TagIsRandom) {
            Stamp(self.from.server.tag.0 + 1)
        } else if writer.stamp == Stamp::NONE {
            self.from.fresh_stamp()
        } else {
            writer.stamp
        };
        let last = !model.configuration.has_epoch() || writer.at == Writing::EpochMoved;
        if last {
            self.returns(who, Action::InvalidateTag, p, |state| {
                state.server.move_tag(stamp);
            });
        } else {
            self.goes_on(who, Action::InvalidateTag, p, Writing::TagMoved, |state| {
                state.server.move_tag(stamp);
            });
        }
        if self.may_lose() && (unlinks || model.has(Mechanism::TagIsRandom)) {
            let mut state = *self.from;
            state.lose(Late::Invalidate(stamp));
            let writer = &mut state.processes[p].writer;
            if !model.has(Mechanism::StampPerInvalidation) {
                writer.stamp = stamp;
            }
            if model.configuration.tags == Tags::ClusterBrought
                && model.has(Mechanism::InterruptedBeginsAgain)
            {
                writer.at = Writing::Changed;
            }
            self.push(who, Action::Lose, Outcome::SentAgain, state);
        }
    }

    /// A step of a write that is not its last.
    pub(crate) fn goes_on(
        &mut self,
        who: Who,
        action: Action,
        p: usize,
        next: Writing,
        change: impl FnOnce(&mut State),
    ) {
        let mut state = *self.from;
        change(&mut state);
        state.processes[p].writer.at = next;
        self.push(who, action, Outcome::Plain, state);
    }
}

impl State {
    fn move_epoch(&mut self) {
        self.server.move_epoch();
    }
}
