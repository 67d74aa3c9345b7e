//! Counters: plain integers in Redis, changed atomically.

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
    /// Adds 1, or the amount given by `.by(..)`, to a counter and returns the new value. Atomic: with many callers, no
    /// addition is lost. A missing counter starts at 0, without a TTL; an existing one keeps its TTL.
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
    /// [`ErrorKind::NotInteger`](crate::ErrorKind::NotInteger) and [`ErrorKind::Overflow`](crate::ErrorKind::Overflow),
    /// which leave the counter unchanged. After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) the counter may or
    /// may not have changed.
    pub fn incr(&self, key: impl AsRef<[u8]>) -> Incr<'_, M> {
        Incr::new(&self.core, key.as_ref(), Direction::Up)
    }

    /// Like [`incr`](CacheOf::incr), but subtracts.
    ///
    /// # Errors
    /// Those of [`incr`](CacheOf::incr).
    pub fn decr(&self, key: impl AsRef<[u8]>) -> Incr<'_, M> {
        Incr::new(&self.core, key.as_ref(), Direction::Down)
    }

    /// The value of a counter, or `None` if it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`](crate::ErrorKind::NotInteger) if the key holds something else than a counter, which is
    /// never taken for 0.
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

    /// The amount, instead of 1. A negative amount counts in the other direction.
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
        // The counter may be new, and a running load may have found the key absent: delete its lease, so that it does
        // not store. If that fails, the call still succeeds, because the counter has changed. FILL does not overwrite
        // the counter while it exists.
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
        .for_key(key)),
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
