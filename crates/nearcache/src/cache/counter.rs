//! Counters: plain integers in Redis, changed atomically.

use std::fmt;
use std::marker::PhantomData;

use redis::{Pipeline, Value};

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;
use crate::read_through::presence::{Condition, Stay};
use crate::ttl::{IntoTtl, Ttl};

impl<M> CacheOf<M> {
    /// Adds 1, or the amount given by `.by(..)`, to a counter and returns the new value. Atomic: with many callers, no
    /// addition is lost. A missing counter starts at 0, without a TTL unless `.ttl(..)` gives one; an existing one
    /// keeps its TTL.
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
    ///
    /// // At most 100 requests a minute: the minute begins with the first request.
    /// let allowed = cache.incr("requests:alice").ttl("60s").await? <= 100;
    /// assert!(allowed);
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
                read_counter(core, &key).await
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
    ttl: Option<Result<Ttl>>,
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
            ttl: None,
            mode: PhantomData,
        }
    }

    /// The amount, instead of 1. A negative amount counts in the other direction.
    pub fn by(mut self, amount: i64) -> Self {
        self.by = amount;
        self
    }

    /// How long the counter lives, if this call makes it. An existing counter keeps its TTL, so the time runs from the
    /// first call on. The cache's jitter does not apply.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.ttl = Some(ttl.into_ttl());
        self
    }

    pub(crate) fn start(self) -> CacheFuture<'c, i64> {
        let Incr {
            core,
            key,
            direction,
            by,
            ttl,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let key = key?;
            let step = Step {
                direction,
                by,
                ttl: ttl.transpose()?,
            };
            core.perform(direction.verb(), CallKeys::One(key.user()), async |core| {
                count(core, &key, step)
                    .await
                    .map_err(|error| error.for_key(&key))
            })
            .await
        })
    }
}

/// What is counted.
#[derive(Clone, Copy)]
struct Step {
    direction: Direction,
    by: i64,
    /// The TTL of a counter that it makes.
    ttl: Option<Ttl>,
}

impl Step {
    /// The transaction that counts. It deletes the lease of a running load in the same step, because the load may have
    /// found the key absent, and must not store over a counter that came after it.
    fn pipeline(self, key: &StoredKey) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.atomic();
        if let Some(ttl) = self.ttl {
            // Only a new counter gets the TTL.
            pipeline
                .cmd("SET")
                .arg(key)
                .arg(0)
                .arg("PX")
                .arg(ttl.as_millis())
                .arg("NX");
        }
        pipeline.cmd(self.direction.command()).arg(key).arg(self.by);
        pipeline.cmd("UNLINK").arg(&*key.lease());
        pipeline
    }

    /// What is added.
    fn change(self) -> i64 {
        match self.direction {
            Direction::Up => self.by,
            Direction::Down => self.by.wrapping_neg(),
        }
    }

    /// Whether the amount is too much for any counter. (Any other amount can be added to 0.) Redis refuses it, but some
    /// versions of 6.2 add it.
    fn is_impossible(self) -> bool {
        matches!(self.direction, Direction::Down) && self.by == i64::MIN
    }
}

async fn count(core: &ReadThrough, key: &StoredKey, step: Step) -> Result<i64> {
    if step.is_impossible() {
        return Err(Error::new(
            ErrorKind::Overflow,
            "no counter can go down by i64::MIN, which has no positive counterpart",
        ));
    }
    let _poison = Poison::key(core, key);
    match count_once(core, key, step).await {
        // What is no counter may be the rest of an entry that is not there any more.
        Err(error) if error.kind() == ErrorKind::NotInteger => {
            let first = step.change().to_string();
            let stay = step.ttl.map_or(Stay::Forever, Stay::For);
            let made = core.put(key, first.as_bytes(), stay, Condition::Absent);
            if Box::pin(made).await? {
                return Ok(step.change());
            }
            // Another caller may have made it just now.
            count_once(core, key, step).await
        }
        outcome => outcome,
    }
}

async fn count_once(core: &ReadThrough, key: &StoredKey, step: Step) -> Result<i64> {
    let client = core.client();
    let mut replies = client.pipeline(&step.pipeline(key)).await?;
    replies.pop();
    match replies.pop() {
        Some(Value::ServerError(error)) => Err(Error::from_server(&error).on_host(client.host())),
        reply => reply::integer(step.direction.command(), &reply.unwrap_or(Value::Nil)),
    }
}

async fn read_counter(core: &ReadThrough, key: &StoredKey) -> Result<Option<i64>> {
    let client = core.client();
    let reply = client.request_for(key, redis::cmd("GET").arg(key)).await?;
    let Some(bytes) = reply::bytes("GET", reply)? else {
        client.note(Outcome::Miss, 0);
        return Ok(None);
    };
    let length = bytes.len();
    let number = std::str::from_utf8(&bytes).ok().map(str::parse);
    if let Some(Ok(number)) = number {
        client.note(Outcome::Hit, length);
        return Ok(Some(number));
    }
    if !core.is_there(bytes).await? {
        client.note(Outcome::Miss, length);
        return Ok(None);
    }
    client.note(Outcome::Hit, length);
    Err(Error::new(
        ErrorKind::NotInteger,
        format!("the value has {length} bytes and is no counter"),
    )
    .on_host(client.host())
    .for_key(key))
}

operation!(Incr<'c> -> i64);

impl<M> fmt::Debug for Incr<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incr")
            .field("key", &self.key)
            .field("by", &self.by)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
