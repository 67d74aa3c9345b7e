//! Invalidations on their way to the server: counted when they arrive, kept when they do not.

use redis::{Pipeline, Value};

use super::core::Core;
use crate::error::{Error, Result};
use crate::keyspace::StoredKey;
use crate::read_through::tags::Tag;
use crate::resilience::{Invalidation, leaves_open};

/// What the caller of an invalidation (`delete`, `set`, `invalidate_tag`, ...) is told when Redis did not
/// acknowledge it. It is kept either way, and is sent before anything else once Redis answers again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Undelivered {
    /// The error, of which [`Error::is_deferred`] is true.
    #[default]
    Error,
    /// Success, with what the verb answers when there was nothing to do (`false`, 0). How many there were,
    /// [`Stats::invalidations_deferred`](crate::Stats::invalidations_deferred) says.
    Deferred,
}

/// What this process holds of a key, or of all, is dropped when this is made and when it is dropped: for a
/// write that is no invalidation to be sent again.
pub(super) struct Poison<'c> {
    core: &'c Core,
    key: Option<&'c StoredKey>,
}

impl<'c> Poison<'c> {
    pub(super) fn all(core: &'c Core) -> Self {
        Poison { core, key: None }.now()
    }

    pub(super) fn key(core: &'c Core, key: &'c StoredKey) -> Self {
        let key = Some(key);
        Poison { core, key }.now()
    }

    fn now(self) -> Self {
        match self.key {
            Some(key) => self.core.poison(key),
            None => self.core.poison_all(),
        }
        self
    }
}

impl Drop for Poison<'_> {
    fn drop(&mut self) {
        match self.key {
            Some(key) => self.core.poison(key),
            None => self.core.poison_all(),
        }
    }
}

/// An invalidation that has been sent, or is about to be, and is not acknowledged yet. Whatever ends the
/// call before it is, a caller that goes away too, leaves it in the outbox.
pub(super) struct Sent<'c> {
    core: &'c Core,
    undone: Vec<Invalidation>,
    count: usize,
    /// Those that this process may hold values of.
    keys: Vec<&'c StoredKey>,
    all: bool,
}

impl<'c> Sent<'c> {
    /// Of keys. What this process holds of them is dropped now, and again when the answer is there: a read
    /// that was under way may have brought it back meanwhile.
    pub(super) fn keys(core: &'c Core, keys: impl IntoIterator<Item = &'c StoredKey>) -> Self {
        Self::each(core, keys, |key| Invalidation::Entry {
            key: key.as_bytes().into(),
            lease: key.lease().into(),
        })
    }

    /// Of keys whose entries are left as they are: of their leases.
    pub(super) fn leases(core: &'c Core, keys: impl IntoIterator<Item = &'c StoredKey>) -> Self {
        Self::each(core, keys, |key| Invalidation::Lease {
            lease: key.lease().into(),
        })
    }

    fn each(
        core: &'c Core,
        keys: impl IntoIterator<Item = &'c StoredKey>,
        undone: impl Fn(&StoredKey) -> Invalidation,
    ) -> Self {
        let mut sent = Sent {
            core,
            undone: Vec::new(),
            count: 0,
            keys: Vec::new(),
            all: false,
        };
        for key in keys {
            sent.count += 1;
            if core.outbox().is_enabled() {
                sent.undone.push(undone(key));
            }
            if core.holds_values() {
                sent.keys.push(key);
            }
        }
        sent.poison();
        sent
    }

    /// Of tags.
    pub(super) fn tags(core: &'c Core, tags: &[Tag]) -> Self {
        let epoch = core.keyspace.tag_epoch();
        let undone = tags.iter().map(|tag| Invalidation::Tag {
            version: tag.counter.as_slice().into(),
            epoch: epoch.as_slice().into(),
        });
        let sent = Sent {
            core,
            undone: undone.collect(),
            count: tags.len(),
            keys: Vec::new(),
            all: true,
        };
        sent.poison();
        sent
    }

    pub(super) fn undone(&self) -> &[Invalidation] {
        &self.undone
    }

    fn poison(&self) {
        if self.all {
            self.core.poison_all();
        }
        for key in &self.keys {
            self.core.poison(key);
        }
    }

    /// Sends the commands, whose replies are looked at for errors.
    pub(super) async fn pipeline(self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let outcome = self.core.pipeline(pipeline).await.and_then(|replies| {
            for reply in &replies {
                if let Value::ServerError(error) = reply {
                    return Err(Error::from_server(error).on_host(self.core.host()));
                }
            }
            Ok(replies)
        });
        self.acknowledged(outcome)
    }

    /// Others stand for it from now on.
    pub(super) fn taken_over(mut self) {
        self.undone.clear();
    }

    /// It could not even be sent.
    pub(super) fn failed<T>(self, error: Error) -> Result<T> {
        self.acknowledged(Err(error))
    }

    fn acknowledged<T>(mut self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(reply) => {
                let done = std::mem::take(&mut self.undone);
                self.core.counters().invalidations.add(self.count as u64);
                let now = self.core.runtime().now();
                self.core.outbox().acknowledged(done, now);
                Ok(reply)
            }
            Err(error) if leaves_open(&error) => {
                let kept = self.defer();
                Err(if kept { error.deferred() } else { error })
            }
            // The server's answer: it has not happened, and will not.
            Err(error) => {
                self.undone.clear();
                Err(error)
            }
        }
    }

    fn defer(&mut self) -> bool {
        let undone = std::mem::take(&mut self.undone);
        let count = undone.len() as u64;
        let kept = self.core.outbox().defer(undone, &self.core.keyspace);
        if kept {
            self.core.counters().invalidations_deferred.add(count);
        }
        kept
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.poison();
        if !self.undone.is_empty() {
            self.defer();
        }
    }
}

impl Core {
    /// What the caller of an invalidation is told.
    pub(super) fn told<T: Default>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if error.is_deferred() && self.undelivered == Undelivered::Deferred => {
                Ok(T::default())
            }
            outcome => outcome,
        }
    }
}
