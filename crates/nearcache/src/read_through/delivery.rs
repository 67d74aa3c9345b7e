//! Sending invalidations to the server. They are counted when Redis acknowledges them, and go to the outbox when it
//! does not.

use redis::{Pipeline, Value};

use super::ReadThrough;
use super::tags::Tag;
use crate::client::Client;
use crate::client::batch::{keyed, parts, unlink_leases};
use crate::client::reply;
use crate::error::{Error, Result};
use crate::keyspace::StoredKey;
use crate::resilience::{BEGINNINGS, Invalidation, Steps, leaves_open, replaced};

/// How many tags are sent together.
const TAGS: usize = 500;

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
        match (self.cache.near(), self.key) {
            (Some(near), Some(key)) => near.invalidate(key.as_bytes()),
            (Some(near), None) => near.invalidate_all(),
            (None, _) => {}
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
    /// The version keys of tags of entries that this process may hold.
    tags: Vec<Vec<u8>>,
    /// Where it may be several steps, on several servers: how many of them had taken another's place before the first.
    servers: Option<u64>,
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
            tags: Vec::new(),
            servers: servers(&cache.client),
        };
        let keeps = cache.near().is_some();
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
            tags: match cache.near() {
                Some(_) => tags.iter().map(|tag| tag.version_key.clone()).collect(),
                None => Vec::new(),
            },
            servers: servers(&cache.client),
        };
        delivery.poison();
        delivery
    }

    fn poison(&self) {
        let Some(near) = self.cache.near() else {
            return;
        };
        for key in &self.keys {
            near.invalidate(key.as_bytes());
        }
        for version_key in &self.tags {
            near.invalidate(version_key);
        }
    }

    /// Sends the commands. An error among the replies is an error.
    pub(crate) async fn send(self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let replies = self.cache.client.pipeline(pipeline).await;
        self.end(replies)
    }

    /// The same for commands that take effect together.
    pub(crate) async fn send_steps(self, steps: &Steps<'_>) -> Result<Vec<Value>> {
        let replies = self.cache.client.steps(steps).await;
        self.end(replies)
    }

    fn end(self, replies: Result<Vec<Value>>) -> Result<Vec<Value>> {
        let refused = |reply: &Value| match reply {
            Value::ServerError(error) => Some(Error::from_server(error)),
            _ => None,
        };
        let outcome = replies.and_then(|replies| match replies.iter().find_map(refused) {
            Some(error) => Err(error.on_host(self.cache.client.host())),
            None => Ok(replies),
        });
        self.settle(outcome)
    }

    /// Sends commands for keys that may be in several slots, in pairs: two for each of the delivery's keys, in their
    /// order. The commands of one key are one step. What is acknowledged is done, whatever became of the others.
    /// Returns the replies of the pairs that were; `done` is told how many.
    ///
    /// # Errors
    /// The first error, with its key.
    pub(crate) async fn send_pairs(
        self,
        keys: &[&StoredKey],
        pipeline: &Pipeline,
        mut done: impl FnMut(usize, [Value; 2]),
    ) -> Result<()> {
        let client = &self.cache.client;
        let replies = match client.pipeline(pipeline).await {
            Ok(replies) if replies.len() == 2 * keys.len() => replies,
            Ok(_) => return self.settle(Err(Error::unexpected("a pipeline", &Value::Nil))),
            Err(error) => return self.settle(Err(error)),
        };
        let mut failed: Vec<(&[u8], Error)> = Vec::new();
        let mut replies = replies.into_iter();
        for (at, key) in keys.iter().enumerate() {
            let pair = [replies.next(), replies.next()].map(|reply| reply.unwrap_or(Value::Nil));
            let error = pair.iter().find_map(|reply| match reply {
                Value::ServerError(error) => Some(Error::from_server(error)),
                _ => None,
            });
            match error {
                Some(error) => {
                    let error = error.on_host(client.host()).for_key(key);
                    failed.push((key.as_bytes(), error));
                }
                None => done(at, pair),
            }
        }
        self.settle_but(failed)
    }

    /// Ends it where the invalidations of these keys failed, and the others are acknowledged.
    fn settle_but(mut self, mut failed: Vec<(&[u8], Error)>) -> Result<()> {
        if failed.is_empty() {
            return self.settle(Ok(()));
        }
        let error_of = |name: &[u8]| {
            let mut errors = failed.iter();
            errors.find(|(key, _)| *key == name).map(|(_, error)| error)
        };
        let all = std::mem::take(&mut self.invalidations);
        let (mut acknowledged, mut open) = (Vec::new(), Vec::new());
        for invalidation in all {
            match error_of(invalidation.name()) {
                None => acknowledged.push(invalidation),
                Some(error) if leaves_open(error) => open.push(invalidation),
                // The server refused it: repeating it would not help.
                Some(_) => {}
            }
        }
        for key in self
            .keys
            .iter()
            .filter(|key| error_of(key.as_bytes()).is_none())
        {
            self.cache.flights.detach(key.as_bytes());
        }
        let client = &self.cache.client;
        let count = self.count.saturating_sub(failed.len());
        client.counters().invalidations.add(count as u64);
        self.record(acknowledged);
        self.invalidations = open;
        let kept = !self.invalidations.is_empty() && self.defer();
        // What is sent later must not hide what is not.
        let refused = failed.iter().position(|(_, error)| !leaves_open(error));
        let (_, error) = failed.swap_remove(refused.unwrap_or_default());
        Err(if kept && refused.is_none() {
            error.deferred()
        } else {
            error
        })
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
                self.record(done);
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

    /// Remembers what was acknowledged. If a server has taken another's place since the first step, it may have lost one
    /// that its predecessor had acknowledged: then all of it is sent once more, before anything of this process that is
    /// about the same.
    fn record(&self, done: Vec<Invalidation>) {
        // Without an outbox there is nothing to record, and no clock to read.
        if done.is_empty() {
            return;
        }
        let client = &self.cache.client;
        let now = client.runtime().now();
        let again = self.servers.map(|before| (before, done.clone()));
        client.outbox().record(done, now);
        if let Some((before, done)) = again
            && client.outbox().servers() != before
        {
            client.outbox().defer(done, now);
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

fn servers(client: &Client) -> Option<u64> {
    client.is_spread().then(|| client.outbox().servers())
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
        let count = if cache.client.is_spread() {
            unlink_each(part, delivery).await?
        } else {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.add_command(unlink_leases(part));
            pipeline.add_command(keyed("UNLINK", part));
            let replies = delivery.send(&pipeline).await?;
            reply::count("UNLINK", replies.last().unwrap_or(&Value::Nil))?
        };
        cache.client.counters().deletes.add(count);
        deleted += count;
    }
    Ok(deleted)
}

/// The same where the keys may be in several slots. A key and its lease go in one step; where there is none (a slot is
/// being moved), the lease goes before the key, each wherever it is.
async fn unlink_each(keys: &[StoredKey], delivery: Delivery<'_>) -> Result<u64> {
    let mut pipeline = Pipeline::with_capacity(2 * keys.len());
    pipeline.atomic();
    for key in keys {
        pipeline.add_command(unlink_leases([key]));
        pipeline.cmd("UNLINK").arg(key);
    }
    let keys: Vec<&StoredKey> = keys.iter().collect();
    let mut deleted = 0;
    let sent = delivery.send_pairs(&keys, &pipeline, |_, [_, unlinked]| {
        deleted += reply::count("UNLINK", &unlinked).unwrap_or_default();
    });
    sent.await?;
    Ok(deleted)
}

/// Removes what guards the entries of tags. In one round trip where all keys are in one place; in two where they may be
/// in several slots.
///
/// model: Action::InvalidateEpoch, Action::InvalidateTag
pub(crate) async fn invalidate_tags(cache: &ReadThrough, tags: &[Tag]) -> Result<()> {
    let client = &cache.client;
    if client.is_spread() {
        let all = tags.iter();
        let all = all.map(|tag| Invalidation::tag(client.keyspace(), &tag.version_key));
        let all: Vec<Invalidation> = all.collect();
        let delivery = Delivery::tags(cache, tags);
        let removed = remove(client, &all).await;
        return delivery.conclude(removed);
    }
    // Create every part's delivery before the first is sent: if one part fails, the parts after it go to the outbox
    // too.
    let parts: Vec<_> = tags
        .chunks(TAGS)
        .map(|part| (part, Delivery::tags(cache, part)))
        .collect();
    for (part, delivery) in parts {
        let mut pipeline = Pipeline::with_capacity(part.len());
        let epoch = client.keyspace().tag_epoch();
        for tag in part {
            pipeline.cmd("UNLINK").arg(&epoch).arg(&tag.version_key);
        }
        delivery.send(&pipeline).await?;
    }
    Ok(())
}

/// Carries out invalidations, each step once the one before it is acknowledged. If a server takes another's place
/// meanwhile, they begin again.
pub(super) async fn remove(client: &Client, invalidations: &[Invalidation]) -> Result<()> {
    for _ in 0..BEGINNINGS {
        let servers = client.outbox().servers();
        for step in Invalidation::steps(invalidations) {
            for part in in_parts(&step) {
                for reply in client.pipeline(&part).await? {
                    if let Value::ServerError(error) = &reply {
                        return Err(Error::from_server(error).on_host(client.host()));
                    }
                }
            }
        }
        if client.outbox().servers() == servers {
            return Ok(());
        }
    }
    Err(replaced(BEGINNINGS).on_host(client.host()))
}

/// A pipeline in parts of so many commands.
fn in_parts(pipeline: &Pipeline) -> Vec<Pipeline> {
    let commands: Vec<_> = pipeline.cmd_iter().collect();
    let part = |commands: &[&redis::Cmd]| {
        let mut part = Pipeline::with_capacity(commands.len());
        for command in commands {
            part.add_command((*command).clone());
        }
        part
    };
    commands.chunks(TAGS).map(part).collect()
}
