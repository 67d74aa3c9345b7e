//! Reading: `get`, `get_arc`, `lookup`, `take`, `contains`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::codec::Decode;
use crate::error::Result;
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::read::Lookup;

impl<M> CacheOf<M> {
    /// The value of a key. `None` if the key does not exist, has expired, holds a cached `None`, or cannot be read as
    /// `T` (which [`Stats::undecodable`](crate::Stats::undecodable) counts).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set("answer", &42).await?;
    /// assert_eq!(cache.get::<u32>("answer").await?, Some(42));
    /// assert_eq!(cache.get::<u32>("question").await?, None);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) if the key holds a list, a hash or the like;
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey); and those of every call (see [`CacheOf`]).
    pub fn get<T: Decode + Clone>(&self, key: impl AsRef<[u8]>) -> Get<'_, T, M> {
        Get::new(&self.core, key.as_ref())
    }

    /// Like [`get`](CacheOf::get), for a value that is shared instead of cloned: `T` need not be `Clone`.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use std::sync::Arc;
    ///
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct Page { html: String }
    ///
    /// cache.set("page:home", &Page { html: "<h1>Hello</h1>".into() }).await?;
    /// let page: Option<Arc<Page>> = cache.get_arc("page:home").await?;
    /// assert_eq!(page.unwrap().html, "<h1>Hello</h1>");
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`get`](CacheOf::get).
    pub fn get_arc<T>(&self, key: impl AsRef<[u8]>) -> Get<'_, Arc<T>, M>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        Get::new(&self.core, key.as_ref())
    }

    /// Like [`get`](CacheOf::get), but tells a cached `None` from a miss.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::Lookup;
    ///
    /// cache.set("user:404", &None::<String>).ttl("1m").await?; // cached: there is no such user
    /// assert_eq!(cache.lookup::<String>("user:404").await?, Lookup::Nothing);
    /// assert_eq!(cache.lookup::<String>("user:405").await?, Lookup::Miss);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`get`](CacheOf::get).
    pub fn lookup<T: Decode + Clone>(&self, key: impl AsRef<[u8]>) -> Pending<'_, Lookup<T>, M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = key?;
            core.perform("lookup", CallKeys::One(key.user()), async |core| {
                core.look_up(&key).await
            })
            .await
        })
    }

    /// Returns the value of a key and deletes it, in one step: if many callers take the same key, one of them gets it.
    ///
    /// Needs Redis 6.2 (`GETDEL`).
    ///
    /// # Errors
    /// Those of [`get`](CacheOf::get). A value that cannot be read as `T` is deleted, and `None` is returned.
    pub fn take<T: Decode>(&self, key: impl AsRef<[u8]>) -> Pending<'_, Option<T>, M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = key?;
            core.invalidate("take", CallKeys::One(key.user()), async |core| {
                core.take(&key).await
            })
            .await
            .map_err(|error| error.for_key(&key))
        })
    }

    /// Whether a key exists, without reading the value. A cached `None` exists.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool, M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = key?;
            core.perform("contains", CallKeys::One(key.user()), async |core| {
                let there = core.contains(&key).await?;
                let outcome = if there { Outcome::Hit } else { Outcome::Miss };
                core.client().note(outcome, 0);
                Ok(there)
            })
            .await
            .map_err(|error| error.for_key(&key))
        })
    }
}

/// A pending `get`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Get<'c, T, M = Async> {
    core: &'c ReadThrough,
    key: Result<StoredKey>,
    value: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

impl<'c, T: Decode, M> Get<'c, T, M> {
    pub(crate) fn new(core: &'c ReadThrough, key: &[u8]) -> Self {
        Get {
            core,
            key: core.client().stored(key),
            value: PhantomData,
            mode: PhantomData,
        }
    }

    pub(crate) fn start(self) -> CacheFuture<'c, Option<T>> {
        let Get { core, key, .. } = self;
        CacheFuture::asking(async move {
            // The key is lent, not moved: it is large.
            let key = key.as_ref().map_err(Clone::clone)?;
            core.perform("get", CallKeys::One(key.user()), async |core| {
                Ok(core.look_up(key).await?.hit())
            })
            .await
        })
    }
}

operation!(Get<'c, T: Decode> -> Option<T>);

impl<T, M> fmt::Debug for Get<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
