//! Counters: plain integers in Redis, added to atomically.

use std::fmt;
use std::marker::PhantomData;

use redis::Pipeline;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::client::{Client, reply};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::{Delivery, Poison};

impl<M> CacheOf<M> {
    /// Adds 1, or what `.by(..)` says, to a counter, and gives the new value. Atomic: of many callers
    /// none is lost. A counter that is not there starts from 0, without a TTL; one that is keeps its.
    ///
    /// Counters are plain integers in Redis: `redis-cli INCR` and a `set` of an integer work on them.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// assert_eq!(cache.incr("visits").await?, 1);
    /// assert_eq!(cache.incr("visits").by(10).await?, 11);
    /// assert_eq!(cache.decr("visits").await?, 10);
    /// assert_eq!(cache.counter("visits").await?, Some(10));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`](crate::ErrorKind::NotInteger) and
    /// [`ErrorKind::Overflow`](crate::ErrorKind::Overflow), which change nothing. After
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) it may or may not have counted.
    pub fn incr(&self, key: impl AsRef<[u8]>) -> Incr<'_, M> {
        Incr::new(&self.core, key.as_ref(), Direction::Up)
    }

    /// As [`incr`](CacheOf::incr), downwards.
    ///
    /// # Errors
    /// Those of [`incr`](CacheOf::incr).
    pub fn decr(&self, key: impl AsRef<[u8]>) -> Incr<'_, M> {
        Incr::new(&self.core, key.as_ref(), Direction::Down)
    }

    /// The value of a counter, `None` if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`](crate::ErrorKind::NotInteger): the key holds no counter. It is never taken
    /// for 0.
    pub fn counter(&self, key: impl AsRef<[u8]>) -> Pending<'_, Option<i64>, M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = key?;
            core.perform("counter", CallKeys::One(key.user()), async |core| {
                read_counter(core.client(), &key).await
            })
            .await
        })
    }
}

/// A pending `incr` or `decr`.
#[must_use = "nothing is counted until it is carried out, by `.await` or `.run()`"]
pub struct Incr<'c, M = Async> {
    core: &'c ReadThrough,
    key: Result<StoredKey>,
    direction: Direction,
    by: i64,
    mode: Marked<M>,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    fn verb(self) -> &'static str {
        match self {
            Direction::Up => "incr",
            Direction::Down => "decr",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Direction::Up => "INCRBY",
            Direction::Down => "DECRBY",
        }
    }
}

impl<'c, M> Incr<'c, M> {
    fn new(core: &'c ReadThrough, key: &[u8], direction: Direction) -> Self {
        Incr {
            core,
            key: core.client().stored(key),
            direction,
            by: 1,
            mode: PhantomData,
        }
    }

    /// How much, instead of 1. Negative amounts go the other way.
    pub fn by(mut self, amount: i64) -> Self {
        self.by = amount;
        self
    }

    fn start(self) -> CacheFuture<'c, i64> {
        let Incr {
            core,
            key,
            direction,
            by,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let key = key?;
            core.perform(direction.verb(), CallKeys::One(key.user()), async |core| {
                count(core, direction, &key, by).await
            })
            .await
        })
    }
}

async fn count(core: &ReadThrough, direction: Direction, key: &StoredKey, by: i64) -> Result<i64> {
    let _poison = Poison::key(core, key);
    let command = direction.command();
    let reply = core
        .client()
        .request_for(key, redis::cmd(command).arg(key).arg(by))
        .await?;
    let value = reply::integer(command, &reply)?;
    let change = match direction {
        Direction::Up => by,
        Direction::Down => by.wrapping_neg(),
    };
    if value == change {
        // The counter may be new, where a load found nothing: that load must not store any more. (It has counted,
        // whatever happens to this; and nothing is filled over the counter while it is there.)
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("UNLINK").arg(key.lease());
        if let Err(error) = Delivery::leases(core, [key]).send(&pipeline).await {
            tracing::debug!(%error, "the lease of a new counter could not be removed");
        }
    }
    Ok(value)
}

async fn read_counter(client: &Client, key: &StoredKey) -> Result<Option<i64>> {
    let reply = client.request_for(key, redis::cmd("GET").arg(key)).await?;
    let Some(bytes) = reply::bytes("GET", reply)? else {
        client.note(Outcome::Miss, 0);
        return Ok(None);
    };
    client.note(Outcome::Hit, bytes.len());
    match std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.parse().ok())
    {
        Some(number) => Ok(Some(number)),
        None => Err(Error::new(
            ErrorKind::NotInteger,
            format!("the value has {} bytes and is no counter", bytes.len()),
        )
        .on_host(client.host())
        .for_key(key.user())),
    }
}

operation!(Incr<'c> -> i64);

impl<M> fmt::Debug for Incr<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incr")
            .field("key", &self.key)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}
