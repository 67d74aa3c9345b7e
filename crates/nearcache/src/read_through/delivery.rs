//! Sending invalidations to the server. They are counted when Redis acknowledges them, and go to the outbox when it
//! does not.

use redis::{Pipeline, Value};

use super::ReadThrough;
use super::tags::Tag;
use crate::client::batch::{keyed, parts, unlink_leases};
use crate::client::reply;
use crate::error::{Error, Result};
use crate::keyspace::StoredKey;
use crate::resilience::{Invalidation, leaves_open};

/// What an invalidation (`delete`, `set`, `invalidate_tag`, ...) returns when Redis did not acknowledge it. Either way
/// the invalidation is kept in the outbox. Once Redis answers again, it is sent before any command about the same keys
/// or tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Undelivered {
    /// The error; its [`Error::is_deferred`] is true.
    #[default]
    Error,
    /// Success, with the result for "nothing to do" (`false`, 0).
    /// [`Stats::invalidations_deferred`](crate::Stats::invalidations_deferred) counts these invalidations.
    Deferred,
}

impl Undelivered {
    /// The result for the caller of an invalidation.
    pub(crate) fn answer_for<T: Default>(self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if error.is_deferred() && self == Undelivered::Deferred => Ok(T::default()),
            outcome => outcome,
        }
    }
}

/// Drops the values that this process holds of a key, or of all keys, when it is created and again when it is dropped,
/// because a read that was running may have brought one back meanwhile. For a write that does not go to the outbox by
/// itself.
pub(crate) struct Poison<'c> {
    cache: &'c ReadThrough,
    key: Option<&'c StoredKey>,
}

impl<'c> Poison<'c> {
    pub(crate) fn all(cache: &'c ReadThrough) -> Self {
        Self::new(cache, None)
    }

    pub(crate) fn key(cache: &'c ReadThrough, key: &'c StoredKey) -> Self {
        Self::new(cache, Some(key))
    }

    fn new(cache: &'c ReadThrough, key: Option<&'c StoredKey>) -> Self {
        let poison = Poison { cache, key };
        poison.apply();
        poison
    }

    fn apply(&self) {
        match self.key {
            Some(key) => self.cache.policy.last_seen.poison(key),
            None => self.cache.policy.last_seen.poison_all(),
        }
    }
}

impl Drop for Poison<'_> {
    fn drop(&mut self) {
        self.apply();
    }
}

/// An invalidation that is sent, or about to be, and not yet acknowledged. If the call ends before the acknowledgement,
/// even because its caller was cancelled, the invalidation goes to the outbox.
pub(crate) struct Delivery<'c> {
    cache: &'c ReadThrough,
    invalidations: Vec<Invalidation>,
    count: usize,
    /// The keys whose values this process may hold, or may be loading.
    keys: Vec<&'c StoredKey>,
    all: bool,
}

impl<'c> Delivery<'c> {
    /// Invalidates keys. The values that this process holds are dropped now, and again when the delivery ends: a read
    /// that was running may have brought one back meanwhile.
    pub(crate) fn keys(
        cache: &'c ReadThrough,
        keys: impl IntoIterator<Item = &'c StoredKey>,
    ) -> Self {
        Self::each(cache, keys, Invalidation::entry)
    }

    /// Invalidates only the leases of keys, not their entries.
    pub(crate) fn leases(
        cache: &'c ReadThrough,
        keys: impl IntoIterator<Item = &'c StoredKey>,
    ) -> Self {
        Self::each(cache, keys, Invalidation::lease)
    }

    fn each(
        cache: &'c ReadThrough,
        keys: impl IntoIterator<Item = &'c StoredKey>,
        invalidation: impl Fn(&StoredKey) -> Invalidation,
    ) -> Self {
        let mut delivery = Delivery {
            cache,
            invalidations: Vec::new(),
            count: 0,
            keys: Vec::new(),
            all: false,
        };
        let keeps = cache.policy.last_seen.is_enabled();
        for key in keys {
            delivery.count += 1;
            if cache.client.outbox().is_enabled() {
                delivery.invalidations.push(invalidation(key));
            }
            if keeps || cache.flights.any() {
                delivery.keys.push(key);
            }
        }
        delivery.poison();
        delivery
    }

    /// Invalidates tags.
    pub(crate) fn tags(cache: &'c ReadThrough, tags: &[Tag]) -> Self {
        let keyspace = cache.client.keyspace();
        let invalidations = tags
            .iter()
            .map(|tag| Invalidation::tag(keyspace, &tag.version_key));
        let delivery = Delivery {
            cache,
            invalidations: invalidations.collect(),
            count: tags.len(),
            keys: Vec::new(),
            all: true,
        };
        delivery.poison();
        delivery
    }

    pub(crate) fn invalidations(&self) -> &[Invalidation] {
        &self.invalidations
    }

    fn poison(&self) {
        if self.all {
            self.cache.policy.last_seen.poison_all();
        }
        for key in &self.keys {
            self.cache.policy.last_seen.poison(key);
        }
    }

    /// Sends the commands. An error among the replies is an error.
    pub(crate) async fn send(self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let outcome = self
            .cache
            .client
            .pipeline(pipeline)
            .await
            .and_then(|replies| {
                for reply in &replies {
                    if let Value::ServerError(error) = reply {
                        return Err(Error::from_server(error).on_host(self.cache.client.host()));
                    }
                }
                Ok(replies)
            });
        self.settle(outcome)
    }

    /// Gives up responsibility: other deliveries cover its invalidations from now on.
    pub(crate) fn hand_over(mut self) {
        self.invalidations.clear();
    }

    /// Ends it with the outcome of what carried the invalidation.
    pub(crate) fn conclude<T>(self, outcome: Result<T>) -> Result<T> {
        self.settle(outcome)
    }

    /// Ends it with an error that occurred before sending.
    pub(crate) fn fail<T>(self, error: Error) -> Result<T> {
        self.settle(Err(error))
    }

    fn settle<T>(mut self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(reply) => {
                for key in &self.keys {
                    self.cache.flights.detach(key.as_bytes());
                }
                let done = std::mem::take(&mut self.invalidations);
                self.cache
                    .client
                    .counters()
                    .invalidations
                    .add(self.count as u64);
                // Without an outbox there is nothing to record, and no clock to read.
                if !done.is_empty() {
                    let now = self.cache.client.runtime().now();
                    self.cache.client.outbox().record(done, now);
                }
                Ok(reply)
            }
            Err(error) if leaves_open(&error) => {
                let kept = self.defer();
                Err(if kept { error.deferred() } else { error })
            }
            // The server refused it: it was not carried out, and repeating it would not help.
            Err(error) => {
                self.invalidations.clear();
                Err(error)
            }
        }
    }

    fn defer(&mut self) -> bool {
        let invalidations = std::mem::take(&mut self.invalidations);
        let count = invalidations.len() as u64;
        let client = &self.cache.client;
        let kept = client.outbox().defer(invalidations, client.runtime().now());
        if kept {
            self.cache
                .client
                .counters()
                .invalidations_deferred
                .add(count);
        }
        kept
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        self.poison();
        if !self.invalidations.is_empty() {
            self.defer();
        }
    }
}

/// `UNLINK` of keys, after that of their leases. Returns how many of the keys existed.
///
/// model: Action::Delete
pub(crate) async fn unlink(cache: &ReadThrough, keys: &[StoredKey]) -> Result<u64> {
    let mut deleted = 0;
    // Create every part's delivery before the first is sent: if one part fails, the parts after it go to the outbox
    // too.
    let parts: Vec<_> = parts(keys, |key| 2 * key.as_bytes().len())
        .map(|part| (part, Delivery::keys(cache, part)))
        .collect();
    for (part, delivery) in parts {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(unlink_leases(part));
        pipeline.add_command(keyed("UNLINK", part));
        let replies = delivery.send(&pipeline).await?;
        let count = reply::count("UNLINK", replies.last().unwrap_or(&Value::Nil))?;
        cache.client.counters().deletes.add(count);
        deleted += count;
    }
    Ok(deleted)
}
