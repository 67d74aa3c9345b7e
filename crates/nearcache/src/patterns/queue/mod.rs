//! Queues: jobs that are done at least once, by workers in any number of processes.
//!
//! `push` puts a job into the queue, now or later; a [`Worker`] takes jobs, and a [`Delivery`] says what became of one.
//! What failed too often is a [dead letter](DeadLetters). `scripts` has the steps at the server; `active` takes jobs
//! for a worker, waits for them on a connection of its own, and keeps those that are being worked on.

mod active;
mod dead;
mod delivery;
mod push;
mod run;
pub(super) mod scripts;
mod worker;

use std::fmt;
use std::marker::PhantomData;

use redis::{Pipeline, Value};

pub use self::dead::{DeadJob, DeadLetters};
pub use self::delivery::{Delivery, Job};
pub use self::push::Push;
pub use self::worker::{Next, StopHandle, Worker};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Marked, Pending};
use crate::client::Client;
use crate::client::reply;
use crate::error::{Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::{Key, StoredKey};
use crate::read_through::ReadThrough;
use crate::structures::Member;

/// The group of all workers.
const GROUP: &str = "workers";

impl<M> CacheOf<M> {
    /// The queue of this name: jobs that are done at least once, in any process that uses the same server and prefix.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct Mail {
    ///     to: String,
    /// }
    ///
    /// let queue = cache.queue::<Mail>("mail");
    /// queue.push(&Mail { to: "ada".into() }).await?;
    ///
    /// let worker = queue.worker();
    /// if let Some(job) = worker.next().wait("1s").await? {
    ///     assert_eq!(job.to, "ada");
    ///     job.ack().await?;
    /// }
    /// assert!(queue.is_empty().await?);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn queue<T: Member>(&self, name: impl AsRef<[u8]>) -> Queue<T, M> {
        Queue {
            place: Place {
                core: self.core().clone(),
                name: Key::from(name.as_ref()),
            },
            max_len: 0,
            job: PhantomData,
            mode: PhantomData,
        }
    }
}

/// A queue: see [`CacheOf::queue`].
///
/// # What it promises
/// **At least once**: a job that was pushed is given to workers until one says that it is done, or it is a dead
/// letter. A worker that is killed loses nothing: its jobs are given to others, after
/// [`claim_after`](Worker::claim_after). So a job can run twice: when its worker was killed, paused or cut off after
/// the work and before Redis heard of it. Make handlers idempotent: a job has an [id](Job::id), which stays the same
/// for all its attempts, and the number of the [attempt](Job::attempt).
///
/// Jobs are delivered in the order in which they were pushed; retries, delays and several workers change it.
///
/// # What it does not promise
/// It keeps what one primary keeps. Without `appendonly`, jobs are gone when Redis is killed; after a failover those
/// that the replica had not got yet. **Eviction** takes a whole queue at once: keep queues on a server, or an embedded
/// store, with `noeviction` (the default of `memory://` is `allkeys-lfu` at 256 MiB; one with a folder is
/// `noeviction`), or with a policy that spares keys without a TTL (`volatile-…`).
///
/// # Where it is kept
/// The jobs are a stream with one consumer group, delayed jobs a sorted set, dead letters another stream, all in one
/// cluster slot: `docs/wire-format.md` has the keys. A job is stored as [`Member`] says: one in text or JSON that
/// another program pushes, with `XADD prefix:#nearcache:queue:{mail} * job '{"to":"ada"}'`, is delivered as well.
///
/// # While Redis is away
/// `push` is an error within the timeout. A worker waits, asks again after 0.1 to 2 s, and goes on when Redis is back.
pub struct Queue<T, M = Async> {
    place: Place,
    max_len: u64,
    job: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Jobs that can be taken.
    pub waiting: u64,
    /// Jobs that were taken and are not done. Those of a worker that was lost are among them, until another worker
    /// gets them.
    pub running: u64,
    /// Jobs whose time has not come: pushed with a delay, or waiting for their next attempt. One whose time has come
    /// counts as delayed until a worker asks.
    pub delayed: u64,
    /// Dead letters.
    pub dead: u64,
}

/// A queue's cache and name.
#[derive(Clone)]
struct Place {
    core: ReadThrough,
    name: Key,
}

/// The keys of a queue.
#[derive(Clone, Debug)]
struct Keys {
    jobs: StoredKey,
    later: StoredKey,
    dead: StoredKey,
}

impl Place {
    /// # Errors
    /// `InvalidKey`.
    fn keys(&self) -> Result<Keys> {
        let of = |part| {
            let keys = self.core.client().keyspace();
            keys.helper("queue", &[self.name.as_bytes()], part)
        };
        Ok(Keys {
            jobs: of("")?,
            later: of("later")?,
            dead: of("dead")?,
        })
    }

    /// Does the work of a verb, and tells the hooks.
    async fn perform<R>(
        &self,
        verb: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<R>,
    ) -> Result<R> {
        let name = CallKeys::One(self.name.as_bytes());
        let done = self
            .core
            .perform(verb, name, async |core| work(core.client()).await)
            .await;
        done.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: Error) -> Error {
        let redact = self.core.client().keyspace().redacts();
        error.named(self.name.as_bytes(), redact)
    }

    async fn stats(&self) -> Result<QueueStats> {
        self.perform("queue.stats", async |client| {
            let keys = self.keys()?;
            let mut asked = Pipeline::with_capacity(4);
            asked.cmd("XLEN").arg(&keys.jobs);
            asked.cmd("XPENDING").arg(&keys.jobs).arg(GROUP);
            asked.cmd("ZCARD").arg(&keys.later);
            asked.cmd("XLEN").arg(&keys.dead);
            let mut replies = client.pipeline(&asked).await?.into_iter();
            let mut next = || match replies.next() {
                Some(Value::ServerError(error)) if error.code() == "NOGROUP" => Ok(Value::Int(0)),
                Some(Value::ServerError(error)) => {
                    Err(Error::from_server(&error).on_host(client.host()))
                }
                reply => Ok(reply.unwrap_or(Value::Nil)),
            };
            let all = reply::count("XLEN", &next()?)?;
            let running = match next()? {
                // How many, the first, the last, and of which consumers.
                Value::Array(parts) => parts
                    .first()
                    .map_or(Ok(0), |n| reply::count("XPENDING", n))?,
                other => reply::count("XPENDING", &other)?,
            };
            Ok(QueueStats {
                waiting: all.saturating_sub(running),
                running,
                delayed: reply::count("ZCARD", &next()?)?,
                dead: reply::count("XLEN", &next()?)?,
            })
        })
        .await
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redact = self.core.client().keyspace().redacts();
        crate::keyspace::in_message(self.name.as_bytes(), redact).fmt(f)
    }
}

impl<T: Member, M> Queue<T, M> {
    /// How many jobs there may be: those that wait, run and are delayed, together. A [`push`](Queue::push) beyond
    /// that is refused. Without it there is no limit but the server's memory.
    #[must_use]
    pub fn max_len(mut self, jobs: u64) -> Self {
        self.max_len = jobs.max(1);
        self
    }

    /// Puts a job into the queue. Returns its id.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let queue = cache.queue::<String>("reminders");
    /// queue.push(&"call Ada".to_owned()).delay("5m").await?;
    /// assert_eq!(queue.stats().await?.delayed, 1);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a job that has no form in JSON,
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) beyond [`max_len`](Queue::max_len),
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) for a queue without a name, and those of every call (see
    /// [`CacheOf`]). After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) the job may be in the queue.
    pub fn push(&self, job: &T) -> Push<M> {
        Push::new(&self.place, job, self.max_len)
    }

    /// A worker for the queue, to be given options. Nothing is taken yet.
    pub fn worker(&self) -> Worker<T, M> {
        Worker::new(self.place.clone())
    }

    /// The jobs that were given up.
    pub fn dead(&self) -> DeadLetters<T, M> {
        DeadLetters::new(self.place.clone())
    }

    /// How many jobs are not done: those that wait, run and are delayed.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn len(&self) -> Pending<'static, u64, M> {
        let place = self.place.clone();
        Pending::new(async move {
            let stats = place.stats().await?;
            Ok(stats.waiting + stats.running + stats.delayed)
        })
    }

    /// Whether all jobs are done, or dead.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn is_empty(&self) -> Pending<'static, bool, M> {
        let place = self.place.clone();
        Pending::new(async move {
            let stats = place.stats().await?;
            Ok(stats.waiting + stats.running + stats.delayed == 0)
        })
    }

    /// How many jobs wait, run, are delayed and dead.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn stats(&self) -> Pending<'static, QueueStats, M> {
        let place = self.place.clone();
        Pending::new(async move { place.stats().await })
    }
}

impl<T, M> Clone for Queue<T, M> {
    fn clone(&self) -> Self {
        Queue {
            place: self.place.clone(),
            max_len: self.max_len,
            job: PhantomData,
            mode: PhantomData,
        }
    }
}

impl<T, M> fmt::Debug for Queue<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max_len = (self.max_len > 0).then_some(self.max_len);
        f.debug_struct("Queue")
            .field("name", &self.place)
            .field("max_len", &max_len)
            .finish()
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
