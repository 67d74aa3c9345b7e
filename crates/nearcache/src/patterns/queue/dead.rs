//! Dead letters: jobs that were given up, kept until somebody looks at them.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Value;

use super::Place;
use super::active::pairs;
use super::scripts::REVIVE;
use crate::cache::operation::{Async, Marked, Pending};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::script::Input;
use crate::structures::Member;

/// How many dead letters are put back in one step.
const AT_ONCE: usize = 100;

/// The dead letters of a queue: jobs that failed in all their attempts, whose workers were lost that often, that were
/// [buried](super::Delivery::bury), or that cannot be read as a `T`. They stay until they are retried or removed.
pub struct DeadLetters<T, M = Async> {
    place: Place,
    job: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

/// A dead letter.
pub struct DeadJob<T> {
    entry: String,
    id: String,
    attempts: u32,
    error: String,
    payload: Option<Vec<u8>>,
    job: PhantomData<fn() -> T>,
}

impl<T: Member> DeadJob<T> {
    /// The job.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if it is no `T`: that may be why it is here.
    pub fn job(&self) -> Result<T> {
        match &self.payload {
            Some(payload) => T::from_member(payload.clone()),
            None => Err(Error::new(
                ErrorKind::Codec,
                "the entry has no field \"job\"",
            )),
        }
    }
}

impl<T> DeadJob<T> {
    /// The job's id, as [`push`](super::Queue::push) returned it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many attempts there were.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Why it was given up: the text of the last error, at most 1 KiB.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// The job's bytes, as they are in Redis.
    pub fn payload(&self) -> &[u8] {
        self.payload.as_deref().unwrap_or_default()
    }

    /// When it was given up, by the server's clock.
    pub fn died_at(&self) -> SystemTime {
        let millis = self
            .entry
            .split('-')
            .next()
            .and_then(|text| text.parse().ok());
        UNIX_EPOCH + Duration::from_millis(millis.unwrap_or(0))
    }

    fn parse(entry: Value) -> Option<Self> {
        let Value::Array(mut parts) = entry else {
            return None;
        };
        let (fields, Value::BulkString(entry)) = (parts.pop()?, parts.pop()?) else {
            return None;
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let entry = text(&entry);
        let mut dead = DeadJob {
            id: entry.clone(),
            entry,
            attempts: 0,
            error: String::new(),
            payload: None,
            job: PhantomData,
        };
        for (name, value) in pairs(fields) {
            match &name[..] {
                b"id" => dead.id = text(&value),
                b"attempt" => dead.attempts = text(&value).parse().unwrap_or(0),
                b"error" => dead.error = text(&value),
                b"job" => dead.payload = Some(value),
                _ => {}
            }
        }
        Some(dead)
    }
}

impl<T> Clone for DeadJob<T> {
    fn clone(&self) -> Self {
        DeadJob {
            entry: self.entry.clone(),
            id: self.id.clone(),
            attempts: self.attempts,
            error: self.error.clone(),
            payload: self.payload.clone(),
            job: PhantomData,
        }
    }
}

impl<T> fmt::Debug for DeadJob<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadJob")
            .field("id", &self.id)
            .field("attempts", &self.attempts)
            .field("bytes", &self.payload().len())
            .finish_non_exhaustive()
    }
}

impl<T: Member, M> DeadLetters<T, M> {
    pub(super) fn new(place: Place) -> Self {
        DeadLetters {
            place,
            job: PhantomData,
            mode: PhantomData,
        }
    }

    /// The oldest dead letters, as many as this.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let queue = cache.queue::<String>("mail");
    /// queue.push(&"to nobody".to_owned()).await?;
    /// if let Some(job) = queue.worker().next().wait("1s").await? {
    ///     job.bury("no such address").await?;
    /// }
    /// let dead = queue.dead().list(10).await?;
    /// assert_eq!(dead[0].error(), "no such address");
    /// assert!(queue.dead().retry(&dead[0]).await?);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`](crate::CacheOf)).
    pub fn list(&self, most: usize) -> Pending<'static, Vec<DeadJob<T>>, M> {
        let place = self.place.clone();
        Pending::new(async move { list(&place, most).await })
    }

    /// How many there are.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`](crate::CacheOf)).
    pub fn len(&self) -> Pending<'static, u64, M> {
        let place = self.place.clone();
        Pending::new(async move { Ok(place.stats().await?.dead) })
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`](crate::CacheOf)).
    pub fn is_empty(&self) -> Pending<'static, bool, M> {
        let place = self.place.clone();
        Pending::new(async move { Ok(place.stats().await?.dead == 0) })
    }

    /// Puts a job into the queue once more, with all its attempts. Returns false if the letter is not there any more.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`](crate::CacheOf)).
    pub fn retry(&self, letter: &DeadJob<T>) -> Pending<'static, bool, M> {
        let (place, entry) = (self.place.clone(), letter.entry.clone());
        Pending::new(async move { Ok(revive(&place, &[entry]).await? > 0) })
    }

    /// Puts all of them into the queue once more, in steps. Returns how many.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`](crate::CacheOf)). Some may be in the queue then.
    pub fn retry_all(&self) -> Pending<'static, u64, M> {
        let place = self.place.clone();
        Pending::new(async move {
            // What dies again meanwhile is not taken again.
            let mut left = usize::try_from(place.stats().await?.dead).unwrap_or(usize::MAX);
            let mut revived = 0;
            while left > 0 {
                let letters = list::<T>(&place, AT_ONCE.min(left)).await?;
                if letters.is_empty() {
                    break;
                }
                left -= letters.len().min(left);
                let entries: Vec<String> = letters.into_iter().map(|dead| dead.entry).collect();
                revived += revive(&place, &entries).await?;
            }
            Ok(revived)
        })
    }

    /// Removes a dead letter. Returns false if it is not there any more.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`](crate::CacheOf)).
    pub fn remove(&self, letter: &DeadJob<T>) -> Pending<'static, bool, M> {
        let (place, entry) = (self.place.clone(), letter.entry.clone());
        Pending::new(async move {
            let removed = place.perform("queue.dead.remove", async |client| {
                let mut command = redis::cmd("XDEL");
                command.arg(&place.keys()?.dead).arg(&entry);
                reply::flag("XDEL", &client.request(&command).await?)
            });
            removed.await
        })
    }
}

async fn list<T>(place: &Place, most: usize) -> Result<Vec<DeadJob<T>>> {
    let listed = place.perform("queue.dead.list", async |client| {
        let mut command = redis::cmd("XRANGE");
        command.arg(&place.keys()?.dead).arg("-").arg("+");
        command.arg("COUNT").arg(most.max(1));
        client.request(&command).await
    });
    match listed.await? {
        Value::Array(entries) => Ok(entries
            .into_iter()
            .filter_map(DeadJob::parse)
            .take(most)
            .collect()),
        other => Err(Error::unexpected("XRANGE", &other)),
    }
}

async fn revive(place: &Place, entries: &[String]) -> Result<u64> {
    let revived = place.perform("queue.dead.retry", async |client| {
        let keys = place.keys()?;
        let mut input = Input::default();
        input.key(keys.jobs.as_bytes()).key(keys.dead.as_bytes());
        for entry in entries {
            input.arg(entry.as_bytes());
        }
        reply::count("the script", &client.run(&REVIVE, &input).await?)
    });
    revived.await
}

impl<T, M> Clone for DeadLetters<T, M> {
    fn clone(&self) -> Self {
        DeadLetters {
            place: self.place.clone(),
            job: PhantomData,
            mode: PhantomData,
        }
    }
}

impl<T, M> fmt::Debug for DeadLetters<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeadLetters").field(&self.place).finish()
    }
}
