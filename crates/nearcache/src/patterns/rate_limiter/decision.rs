//! What a rate limiter answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The answer to a check.
///
/// Both forms have the same fields, and a method for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a check that nobody looks at limits nothing"]
pub enum Decision {
    /// Go on: the permits were taken.
    #[non_exhaustive]
    Allowed {
        /// The most permits that an id has: the burst of GCRA, the permits of a window.
        limit: u64,
        /// How many permits are left now.
        remaining: u64,
        /// When the id has all of its permits again, if it takes no more.
        reset_after: Duration,
        /// Zero.
        retry_after: Duration,
        /// The time of the decision, by the clock of the server.
        at: SystemTime,
        /// Whether Redis was away, so that [`WhenAway`](super::WhenAway) has decided.
        away: bool,
    },
    /// Too many: nothing was taken.
    #[non_exhaustive]
    Denied {
        /// The most permits that an id has: the burst of GCRA, the permits of a window.
        limit: u64,
        /// How many permits are left: fewer than the check costs.
        remaining: u64,
        /// When the id has all of its permits again, if it takes no more.
        reset_after: Duration,
        /// After how long the same check is allowed, if nobody else takes permits of this id meanwhile.
        retry_after: Duration,
        /// The time of the decision, by the clock of the server.
        at: SystemTime,
        /// Whether Redis was away, so that [`WhenAway`](super::WhenAway) has decided.
        away: bool,
    },
}

/// The value of a field that both forms have.
macro_rules! field {
    ($decision:expr, $field:ident) => {
        match $decision {
            Decision::Allowed { $field, .. } | Decision::Denied { $field, .. } => $field,
        }
    };
}

impl Decision {
    /// Whether to go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed { .. })
    }

    /// The most permits that an id has: the burst of GCRA, the permits of a window.
    pub fn limit(&self) -> u64 {
        *field!(self, limit)
    }

    /// How many permits are left now.
    pub fn remaining(&self) -> u64 {
        *field!(self, remaining)
    }

    /// When the id has all of its permits again, if it takes no more.
    pub fn reset_after(&self) -> Duration {
        *field!(self, reset_after)
    }

    /// After how long the same check is allowed, if nobody else takes permits of this id meanwhile; zero if it was
    /// allowed.
    pub fn retry_after(&self) -> Duration {
        *field!(self, retry_after)
    }

    /// The time of the decision, by the clock of the server (or of this process, while Redis is away).
    pub fn at(&self) -> SystemTime {
        *field!(self, at)
    }

    /// Whether Redis was away, so that [`WhenAway`](super::WhenAway) has decided.
    pub fn is_away(&self) -> bool {
        *field!(self, away)
    }
}

/// What an algorithm answers. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) remaining: u64,
    pub(super) retry_after: u64,
    pub(super) reset_after: u64,
    /// The time that it goes by: later than the clock's, if that has gone back.
    pub(super) at: u64,
}

impl Answer {
    pub(super) fn into_decision(self, limit: u64, away: bool) -> Decision {
        let Answer {
            allowed,
            remaining,
            retry_after,
            reset_after,
            at,
        } = self;
        let at = UNIX_EPOCH + Duration::from_micros(at);
        let reset_after = Duration::from_micros(reset_after);
        if allowed {
            Decision::Allowed {
                limit,
                remaining,
                reset_after,
                retry_after: Duration::ZERO,
                at,
                away,
            }
        } else {
            Decision::Denied {
                limit,
                remaining,
                reset_after,
                retry_after: Duration::from_micros(retry_after),
                at,
                away,
            }
        }
    }
}
