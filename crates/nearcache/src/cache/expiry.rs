//! TTLs of entries: `ttl`, `touch`, `expire`, `expire_at`, `persist`.

use std::fmt;
use std::marker::PhantomData;
use std::time::{SystemTime, UNIX_EPOCH};

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;
use crate::read_through::prolong::Until;
use crate::ttl::{IntoTtl, Remaining, Ttl};

impl<M> CacheOf<M> {
    /// Restarts a key's TTL without reading the value: with `.ttl(..)`, or with the cache's default TTL. Without
    /// either, Redis only notes that the key was used (`TOUCH`). Returns whether there is an entry: a value past its
    /// TTL, or one whose tag was invalidated, is none, and is not revived.
    ///
    /// A stale window (`stale_for`, `stale_if_error`) moves along with the TTL, and the versions of the entry's tags
    /// live as long as the entry. An entry with an envelope takes one more round trip, and one with tags two. To read
    /// and restart in one, see [`Get::extend`](crate::operation::Get::extend).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set("session:7", "alice").ttl("30m").tags(["user:alice"]).await?;
    /// assert!(cache.touch("session:7").ttl("30m").await?);
    ///
    /// cache.invalidate_tag("user:alice").await?; // all her sessions end
    /// assert!(!cache.touch("session:7").ttl("30m").await?);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
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

    /// The remaining TTL of a key: how long its value stays fresh. (A stale window behind it does not count.)
    /// [`Remaining::Missing`] if there is no entry, as in [`contains`](CacheOf::contains).
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
            core.perform("ttl", CallKeys::One(key.user()), async |core| {
                core.remaining(&key).await
            })
            .await
            .map_err(|error| error.for_key(&key))
        })
    }

    /// Sets a key's TTL, without jitter. Returns whether there is an entry. Otherwise like [`touch`](CacheOf::touch).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl), and those of every call (see [`CacheOf`]).
    pub fn expire(&self, key: impl AsRef<[u8]>, ttl: impl IntoTtl) -> Pending<'_, bool, M> {
        let ((core, key), ttl) = (self.named(key), ttl.into_ttl());
        Pending::new(async move { prolong(core, "expire", &key?, Until::For(ttl?)).await })
    }

    /// Sets the time at which a key expires, by the server's clock. Returns whether there was an entry. A time in the
    /// past deletes the key. Otherwise like [`touch`](CacheOf::touch).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) for a time before 1970 or 1,000 years
    /// ahead, and those of every call (see [`CacheOf`]).
    pub fn expire_at(&self, key: impl AsRef<[u8]>, time: SystemTime) -> Pending<'_, bool, M> {
        let ((core, key), millis) = (self.named(key), unix_millis(time));
        Pending::new(async move {
            let key = key?;
            let _poison = Poison::key(core, &key);
            prolong(core, "expire_at", &key, Until::At(millis?)).await
        })
    }

    /// Removes a key's TTL, and its stale window. Returns whether there is an entry that had one. Otherwise like
    /// [`touch`](CacheOf::touch).
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool, M> {
        let (core, key) = self.named(key);
        Pending::new(async move { prolong(core, "persist", &key?, Until::Forever).await })
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
            let until = match ttl.transpose()?.or(core.default_ttl()) {
                Some(ttl) => Until::For(core.jittered(ttl)),
                None => Until::Used,
            };
            prolong(core, "touch", &key, until).await
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

async fn prolong(
    core: &ReadThrough,
    verb: &'static str,
    key: &StoredKey,
    until: Until,
) -> Result<bool> {
    core.perform(verb, CallKeys::One(key.user()), async |core| {
        core.prolong(key, until).await
    })
    .await
    .map_err(|error| error.for_key(key))
}

pub(crate) fn unix_millis(time: SystemTime) -> Result<u64> {
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
    use std::time::Duration;

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
