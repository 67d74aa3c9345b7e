//! TTLs of entries: `ttl`, `touch`, `expire`, `expire_at`, `persist`.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Cmd;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;
use crate::ttl::{IntoTtl, Remaining, Ttl};

impl<M> CacheOf<M> {
    /// Restarts a key's TTL without reading the value: with `.ttl(..)`, or with the cache's default TTL. Without
    /// either, Redis only notes that the key was used (`TOUCH`). Returns whether the key exists.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn touch(&self, key: impl AsRef<[u8]>) -> Touch<'_, M> {
        Touch {
            core: &self.core,
            key: self.core.client().stored(key.as_ref()),
            ttl: None,
            mode: PhantomData,
        }
    }

    /// The remaining TTL of a key.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::Remaining;
    ///
    /// cache.set("a", &1).forever().await?;
    /// cache.set("b", &1).ttl("1h").await?;
    /// assert_eq!(cache.ttl("a").await?, Remaining::Forever);
    /// assert!(matches!(cache.ttl("b").await?, Remaining::In(left) if left.as_secs() > 3_500));
    /// assert_eq!(cache.ttl("c").await?, Remaining::Missing);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Pending<'_, Remaining, M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = key?;
            let reply = core
                .perform("ttl", CallKeys::One(key.user()), async |core| {
                    let command = redis::cmd("PTTL").arg(&key).to_owned();
                    core.client().request_for(&key, &command).await
                })
                .await?;
            Ok(match reply::integer("PTTL", &reply)? {
                -2 => Remaining::Missing,
                -1 => Remaining::Forever,
                millis => Remaining::In(Duration::from_millis(millis.max(0).unsigned_abs())),
            })
        })
    }

    /// Sets a key's TTL, without jitter. Returns whether the key exists.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl), and those of every call (see [`CacheOf`]).
    pub fn expire(&self, key: impl AsRef<[u8]>, ttl: impl IntoTtl) -> Pending<'_, bool, M> {
        let ((core, key), ttl) = (self.named(key), ttl.into_ttl());
        Pending::new(async move {
            let key = key?;
            let mut command = redis::cmd("PEXPIRE");
            command.arg(&key).arg(ttl?.as_millis());
            flag(core, "expire", &command, &key).await
        })
    }

    /// Sets the time at which a key expires, by the server's clock. Returns whether the key existed. A time in the past
    /// deletes the key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) for a time before 1970 or 1,000 years
    /// ahead, and those of every call (see [`CacheOf`]).
    pub fn expire_at(&self, key: impl AsRef<[u8]>, time: SystemTime) -> Pending<'_, bool, M> {
        let ((core, key), millis) = (self.named(key), unix_millis(time));
        Pending::new(async move {
            let key = key?;
            let _poison = Poison::key(core, &key);
            let mut command = redis::cmd("PEXPIREAT");
            command.arg(&key).arg(millis?);
            flag(core, "expire_at", &command, &key).await
        })
    }

    /// Removes a key's TTL. Returns whether it had one.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool, M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = key?;
            let mut command = redis::cmd("PERSIST");
            command.arg(&key);
            flag(core, "persist", &command, &key).await
        })
    }
}

/// A pending `touch`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Touch<'c, M = Async> {
    core: &'c ReadThrough,
    key: Result<StoredKey>,
    ttl: Option<Result<Ttl>>,
    mode: Marked<M>,
}

impl<'c, M> Touch<'c, M> {
    /// The new TTL, varied by the cache's jitter.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.ttl = Some(ttl.into_ttl());
        self
    }

    fn start(self) -> CacheFuture<'c, bool> {
        let Touch {
            core,
            key,
            ttl,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let key = key?;
            let mut command;
            match ttl.transpose()?.or(core.default_ttl()) {
                Some(ttl) => {
                    command = redis::cmd("PEXPIRE");
                    command.arg(&key).arg(core.jittered(ttl).as_millis());
                }
                None => {
                    command = redis::cmd("TOUCH");
                    command.arg(&key);
                }
            }
            flag(core, "touch", &command, &key).await
        })
    }
}

operation!(Touch<'c> -> bool);

impl<M> fmt::Debug for Touch<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Touch")
            .field("key", &self.key)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// Runs a command that answers 1 or 0.
async fn flag(
    core: &ReadThrough,
    verb: &'static str,
    command: &Cmd,
    key: &StoredKey,
) -> Result<bool> {
    core.perform(verb, CallKeys::One(key.user()), async |core| {
        reply::flag(verb, &core.client().request_for(key, command).await?)
    })
    .await
}

fn unix_millis(time: SystemTime) -> Result<u64> {
    let invalid = |why| Err(Error::new(ErrorKind::InvalidTtl, why));
    let Ok(since_1970) = time.duration_since(UNIX_EPOCH) else {
        return invalid("the time to expire at is before 1970");
    };
    let furthest = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        + Ttl::MAX.as_duration();
    if since_1970 > furthest {
        return invalid("the time to expire at is more than 1000 years ahead");
    }
    // A time in the first millisecond of 1970 becomes 1, not 0. Both are in the past.
    Ok(u64::try_from(since_1970.as_millis())
        .unwrap_or(u64::MAX)
        .max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_expire_at_is_between_1970_and_1000_years_ahead() {
        assert_eq!(unix_millis(UNIX_EPOCH).unwrap(), 1);
        assert_eq!(
            unix_millis(UNIX_EPOCH + Duration::from_secs(5)).unwrap(),
            5_000
        );
        assert!(unix_millis(UNIX_EPOCH - Duration::from_secs(1)).is_err());
        assert!(unix_millis(SystemTime::now() + Duration::from_secs(400_000 * 86_400)).is_err());
    }
}
