//! Counters: plain integers in Redis, added to atomically.

use std::fmt;
use std::marker::PhantomData;

use redis::Pipeline;

use super::core::{Core, reply};
use super::invalidate::{Poison, Sent};
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{Keys, Outcome};
use crate::keyspace::StoredKey;

/// A pending `incr` or `decr`.
#[must_use = "nothing is counted until it is carried out, by `.await` or `.run()`"]
pub struct Incr<'c, M = Async> {
    core: &'c Core,
    key: Result<StoredKey>,
    verb: &'static str,
    by: i64,
    mode: Marked<M>,
}

impl<'c, M> Incr<'c, M> {
    pub(crate) fn new(core: &'c Core, key: &[u8], verb: &'static str) -> Self {
        Incr {
            core,
            key: core.stored(key),
            verb,
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
            verb,
            by,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let key = key?;
            core.watched(name_of(verb), Keys::One(key.user()), async |core| {
                core.count(verb, &key, by).await
            })
            .await
        })
    }
}

/// The verb as the cache names it.
fn name_of(verb: &str) -> &'static str {
    if verb == "INCRBY" { "incr" } else { "decr" }
}

impl Core {
    async fn count(&self, verb: &str, key: &StoredKey, by: i64) -> Result<i64> {
        let _poison = Poison::key(self, key);
        let reply = self.call(redis::cmd(verb).arg(key).arg(by), key).await?;
        let value = reply::integer(verb, &reply)?;
        let change = if verb == "INCRBY" {
            by
        } else {
            by.wrapping_neg()
        };
        if value == change {
            // It may just have been made, where a load found nothing: that must not store any more. (It
            // has counted, whatever becomes of this; and nothing is filled over it while it is there.)
            let mut pipeline = Pipeline::with_capacity(1);
            pipeline.cmd("UNLINK").arg(key.lease());
            let sent = Sent::leases(self, [key]).pipeline(&pipeline).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "the lease of a new counter could not be removed");
            }
        }
        Ok(value)
    }

    async fn counted(&self, key: &StoredKey) -> Result<Option<i64>> {
        let reply = self.call(redis::cmd("GET").arg(key), key).await?;
        let Some(bytes) = reply::bytes("GET", reply)? else {
            self.note(Outcome::Miss, 0);
            return Ok(None);
        };
        self.note(Outcome::Hit, bytes.len());
        match std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.parse().ok())
        {
            Some(number) => Ok(Some(number)),
            None => Err(Error::new(
                ErrorKind::NotInteger,
                format!("what is there has {} bytes and is no counter", bytes.len()),
            )
            .on_host(self.host())
            .for_key(key.user())),
        }
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

pub(crate) fn counter<'c, M>(core: &'c Core, key: &[u8]) -> Pending<'c, Option<i64>, M> {
    let key = core.stored(key);
    Pending::new(async move {
        let key = key?;
        core.watched("counter", Keys::One(key.user()), async |core| {
            core.counted(&key).await
        })
        .await
    })
}
