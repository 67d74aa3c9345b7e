//! The short way to a store in this process.
//!
//! It is never away, it loses nothing, and it has every reply at once. So there is no breaker to ask, nothing that must be
//! sent first, no time to count, and nobody to announce a write to: the store tells of all changes by itself. A call that
//! is not answered as usual goes the long way, which also says what is wrong.

use std::time::Duration;

use redis::Value;

use super::Guarded;
use crate::connect::Terms;

/// No time limit applies, and there is no other server.
const TERMS: Terms = Terms {
    limit: Duration::ZERO,
    epoch: 0,
};

impl Guarded {
    /// Whether the place is a store in this process, which has every reply at once.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.here.is_some()
    }

    /// The reply of the store in this process to a command, given as its words. `None`: send it the long way.
    #[inline]
    pub(crate) fn words_here(&self, words: &[&[u8]]) -> Option<Value> {
        let store = self.here.as_deref()?;
        store.begin_words(words, TERMS).at_once()?.ok()
    }

    /// Its replies to commands that take effect together, given as their words in a row and where each of them ends.
    #[inline]
    pub(crate) fn steps_here(&self, words: &[&[u8]], ends: &[usize]) -> Option<Vec<Value>> {
        let store = self.here.as_deref()?;
        store.begin_steps(words, ends, TERMS).at_once()?.ok()
    }
}
