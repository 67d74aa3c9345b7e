//! Lets something that happens often be logged, at most once in a while.

use std::time::Instant;

use parking_lot::Mutex;

use super::breaker::LOG_EVERY;

/// When something was last logged. It may be again after [`LOG_EVERY`].
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    pub(crate) fn may(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_logged_seldom() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert!(seldom.may(start));
        assert!(!seldom.may(start + LOG_EVERY / 2));
        assert!(seldom.may(start + LOG_EVERY));
    }
}
