//! A job in the hands of a worker.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::active::{Active, Taken};
use crate::cache::operation::{Async, Marked, Pending};
use crate::error::{Error, ErrorKind, Result};
use crate::structures::Member;
use crate::ttl::IntoTtl;

/// A job, with what a handler needs to be idempotent. It derefs to the value that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job<T> {
    /// What was pushed.
    pub value: T,
    id: String,
    attempt: u32,
}

impl<T: Member> Job<T> {
    /// # Errors
    /// `Codec`: it is no `T`.
    pub(super) fn of(taken: &Taken) -> Result<Self> {
        let Some(job) = &taken.job else {
            return Err(Error::new(
                ErrorKind::Codec,
                "the entry has no field \"job\"",
            ));
        };
        Ok(Job {
            value: T::from_member(job.clone())?,
            id: taken.id.clone(),
            attempt: taken.attempt,
        })
    }
}

impl<T> Job<T> {
    /// The job's id, which [`push`](super::Queue::push) returned: the same for all its attempts. Note it with the
    /// work, and leave out work whose id is noted already.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which attempt this is: 1 for the first. Deliveries to workers that were lost count.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl<T> Deref for Job<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A job that was taken by [`Worker::next`](super::Worker::next), to be settled by [`ack`](Delivery::ack),
/// [`retry`](Delivery::retry), [`retry_after`](Delivery::retry_after) or [`bury`](Delivery::bury). It derefs to its
/// [`Job`].
///
/// Until then it is kept from other workers, in the background, as long as this process lives and reaches Redis.
/// Dropped without being settled, it is given to another worker after [`claim_after`](super::Worker::claim_after).
#[must_use = "a job that is dropped is delivered once more"]
pub struct Delivery<T, M = Async> {
    job: Job<T>,
    entry: Entry,
    mode: Marked<M>,
}

/// A job's entry, kept until this is dropped.
struct Entry {
    active: Arc<Active>,
    entry: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.active.let_go(&self.entry);
    }
}

impl<T, M> Delivery<T, M> {
    pub(super) fn new(job: Job<T>, active: Arc<Active>, entry: String) -> Self {
        Delivery {
            job,
            entry: Entry { active, entry },
            mode: PhantomData,
        }
    }

    /// The job is done. Returns whether nobody has said so before: `false` says that another worker had got the job,
    /// because this one seemed lost.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`](crate::CacheOf)). The job may then be delivered once more.
    pub fn ack(self) -> Pending<'static, bool, M> {
        let entry = self.entry;
        Pending::new(async move { entry.active.done(&entry.entry).await })
    }

    /// The job failed, for this reason: it is tried again after the worker's [`backoff`](super::Worker::backoff), or
    /// it is a dead letter if it had all its [`retries`](super::Worker::retries). Returns whether the job was still
    /// this worker's.
    ///
    /// # Errors
    /// Those of [`ack`](Delivery::ack).
    pub fn retry(self, why: impl fmt::Display) -> Pending<'static, bool, M> {
        let (why, attempt, entry) = (why.to_string(), self.job.attempt, self.entry);
        Pending::new(async move {
            let again = entry.active.settings().pause_after(attempt);
            entry.active.fail(&entry.entry, again, &why).await
        })
    }

    /// The job is tried again after this time, whatever the worker's options say. Returns whether the job was still
    /// this worker's.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl), and those of [`ack`](Delivery::ack).
    pub fn retry_after(self, time: impl IntoTtl) -> Pending<'static, bool, M> {
        let (time, entry) = (time.into_ttl(), self.entry);
        Pending::new(async move {
            let again: Duration = time?.as_duration();
            entry.active.fail(&entry.entry, Some(again), "").await
        })
    }

    /// The job is a dead letter, for this reason, whatever attempts it has left. Returns whether the job was still
    /// this worker's.
    ///
    /// # Errors
    /// Those of [`ack`](Delivery::ack).
    pub fn bury(self, why: impl fmt::Display) -> Pending<'static, bool, M> {
        let (why, entry) = (why.to_string(), self.entry);
        Pending::new(async move { entry.active.fail(&entry.entry, None, &why).await })
    }
}

impl<T, M> Deref for Delivery<T, M> {
    type Target = Job<T>;

    fn deref(&self) -> &Job<T> {
        &self.job
    }
}

impl<T: fmt::Debug, M> fmt::Debug for Delivery<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.job).finish()
    }
}
