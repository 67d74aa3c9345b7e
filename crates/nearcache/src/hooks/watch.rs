//! Where the operations record how a call went, for the hooks of the cache.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::scope::{self, Scopes};
use super::{Call, Done, Hooks, Outcome};
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// A call that the hooks were told of. They are told how it ended, at the latest when it is dropped, which means that
/// its caller was cancelled.
pub(crate) struct Telling<'c> {
    hooks: &'c Hooks,
    call: Call<'c>,
    runtime: &'c Runtime,
    begun: Instant,
    watch: Arc<Watch>,
    scopes: Scopes,
    ended: bool,
}

impl<'c> Telling<'c> {
    pub(crate) fn begin(hooks: &'c Hooks, call: Call<'c>, runtime: &'c Runtime) -> Self {
        hooks.before(&call);
        Telling {
            hooks,
            scopes: hooks.scopes(&call),
            call,
            runtime,
            begun: runtime.now(),
            watch: Arc::default(),
            ended: false,
        }
    }

    /// Where the operation records the outcome.
    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Runs the work of the call within the hooks' scopes.
    pub(crate) async fn within<T, F>(telling: Option<&Self>, work: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T>,
    {
        let panicked = || {
            if let Some(telling) = telling {
                telling.hooks.panicked();
            }
        };
        let scopes = telling.map(|telling| (&telling.scopes, &panicked as &(dyn Fn() + Sync)));
        scope::within(scopes, work).await
    }

    pub(crate) fn end(mut self, error: Option<&Error>) {
        self.ended = true;
        let took = self.took();
        match error {
            Some(error) => self.hooks.error(&self.call, error, took, &self.scopes),
            None => {
                let done = self.watch.done(self.call.key_count(), took);
                self.hooks.after(&self.call, &done, &self.scopes);
            }
        }
    }

    fn took(&self) -> Duration {
        self.runtime.now().saturating_duration_since(self.begun)
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.hooks.abandoned(&self.call, self.took());
        }
    }
}

/// What was recorded for one call. Relaxed atomics are enough, because it is read after the call has ended.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    outcome: AtomicU8,
    hits: AtomicU64,
    misses: AtomicU64,
    bytes: AtomicU64,
    degraded: OnceLock<ErrorKind>,
}

impl Watch {
    /// Records one value that was read or written.
    pub(crate) fn note(&self, outcome: Outcome, bytes: usize) {
        self.outcome.store(outcome as u8, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        match outcome {
            Outcome::Hit | Outcome::Stale | Outcome::Nothing => {
                self.hits.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Miss => {
                self.misses.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Done
            | Outcome::Stored
            | Outcome::NotStored
            | Outcome::Fenced
            | Outcome::Allowed
            | Outcome::Denied => {}
        }
    }

    /// Records that the call goes on without Redis, because of an error of this kind.
    pub(crate) fn note_degraded(&self, kind: ErrorKind) {
        self.degraded.get_or_init(|| kind);
    }

    /// The result of the call, which had this many keys.
    pub(crate) fn done(&self, keys: usize, took: Duration) -> Done {
        let outcome = usize::from(self.outcome.load(Ordering::Relaxed));
        Done {
            outcome: match Outcome::ALL.get(outcome) {
                Some(outcome) if keys == 1 => *outcome,
                _ => Outcome::Done,
            },
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            degraded: self.degraded.get().copied(),
            took,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_noted_by_their_number() {
        for outcome in Outcome::ALL {
            let watch = Watch::default();
            watch.note(outcome, 3);
            let done = watch.done(1, Duration::ZERO);
            assert_eq!((done.outcome, done.bytes), (outcome, 3));
        }
        let watch = Watch::default();
        watch.note(Outcome::Hit, 1);
        watch.note(Outcome::Miss, 0);
        let done = watch.done(2, Duration::ZERO);
        assert_eq!(
            (done.outcome, done.hits, done.misses),
            (Outcome::Done, 1, 1)
        );
    }
}
