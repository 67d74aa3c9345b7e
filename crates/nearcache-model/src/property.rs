//! What must hold, numbered. The library's documentation and tests may name these numbers.
//!
//! A *version* counts changes of the source of truth; a load has the version that it read. A caller's
//! *floor* is the newest version whose invalidation had returned when it called; the state's floor is the
//! newest whose invalidation has returned by now. A `refresh` that returned counts as an invalidation, which announces
//! the version that it loaded; for a caller who takes nothing stale, a mark counts as one too. "Loaded before an
//! invalidation" is: of a version older than the one that the invalidation announces.

use std::fmt;

use crate::state::{Phase, Stamp, State};

/// Something that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// 1. A caller whose call began after an invalidation returned is never answered with a value loaded
    ///    before it.
    Answer,
    /// 2. Once an invalidation has returned, nothing loaded before it is in the store where a later GET
    ///    takes it for live, now or at any later time.
    Store,
    /// 3. FILL never replaces a value with an older one: a foreign SET is safe while its value lives.
    Replace,
    /// 4. A lease ends by its own load, by an invalidation, or by expiry; by nobody else.
    Lease,
    /// 5. ACQUIRE is never answered with the very entry that its caller has seen to be unusable: then
    ///    nothing unusable would ever be replaced, and a refresh would never happen.
    Refresh,
    /// 6. Whoever waits can still be answered, without help from another caller or from a mishap.
    Progress,
    /// 7. One load for a miss, while no lease expires, nothing is evicted and nobody invalidates: whatever
    ///    the number of callers and processes, one load runs, and no second one after it.
    OneLoad,
    /// 8. Once a mark has returned, nothing loaded before it is in the store where a later GET takes it for fresh.
    ///    (A caller who takes nothing stale is the business of property 1, for which a mark is an invalidation.)
    Mark,
}

impl Property {
    /// Its number.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Property::Answer => "a stale answer",
            Property::Store => "a stale value is stored",
            Property::Replace => "an older value replaces a newer one",
            Property::Lease => "somebody else's lease is ended",
            Property::Refresh => "a refresh never happens",
            Property::Progress => "somebody waits for ever",
            Property::OneLoad => "a second load for one miss",
            Property::Mark => "a marked value is fresh",
        };
        write!(f, "{}. {words}", self.number())
    }
}

/// Whether V, or the epoch, has not moved since `stamp`. Two missing ones are equal too, which only a model
/// without their creation comes to.
pub(crate) fn unmoved(tag: Stamp, stamp: Stamp, missing_is_dead: bool) -> bool {
    tag == stamp || tag == Stamp::NONE && !missing_is_dead
}

/// Whether somebody waits for an answer.
pub(crate) fn waiting(state: &State) -> bool {
    let mut callers = state.processes.iter().flat_map(|process| process.callers);
    callers.any(|caller| matches!(caller.phase, Phase::Leads | Phase::Joined | Phase::Again))
}
