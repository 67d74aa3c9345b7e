//! `mark_stale` and `mark_tag_stale`: what is stored is stale from then on, and a load that began before is fenced.
//!
//! What they promise once they have returned: nothing older is fresh any more, nor the answer to a caller who takes
//! nothing stale. Who takes stale values may still get one.

use crate::action::{Action, Who};
use crate::mechanism::Mechanism;
use crate::model::Steps;
use crate::state::{State, Token, Writing};

impl Steps<'_> {
    /// `mark_stale`: one script.
    pub(crate) fn mark(&mut self, who: Who, p: usize) {
        let unlinks = self.model.has(Mechanism::MarkUnlinksLease);
        self.marks(who, Action::Mark, p, |state| {
            state.server.mark();
            if unlinks {
                state.server.lease = Token::NONE;
            }
        });
    }

    /// `mark_tag_stale`: the epoch, where loads name their tags at their end, and then V.
    pub(crate) fn mark_tag_stale(&mut self, who: Who, p: usize) {
        let model = self.model;
        if model.configuration.has_epoch() && model.has(Mechanism::MarkMovesEpoch) {
            let next = Writing::EpochMovedToMark;
            self.goes_on(who, Action::InvalidateEpoch, p, next, |state| {
                state.server.move_epoch();
            });
        } else {
            self.mark_tag(who, p);
        }
    }

    pub(crate) fn mark_tag(&mut self, who: Who, p: usize) {
        let stamp = self.from.fresh_stamp();
        self.marks(who, Action::MarkTag, p, |state| {
            state.server.mark_tag(stamp);
        });
    }

    /// The last step of a mark.
    fn marks(&mut self, who: Who, action: Action, p: usize, change: impl FnOnce(&mut State)) {
        let mut state = *self.from;
        change(&mut state);
        state.marked = state.marked.max(state.processes[p].writer.version);
        self.ends(who, action, p, state);
    }
}
