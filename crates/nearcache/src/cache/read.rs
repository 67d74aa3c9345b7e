//! Reading: `get`, `get_arc`, `lookup`, `take`, `contains`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::CacheOf;
use super::in_place::{Call, Prepared};
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::codec::Decode;
use crate::error::Result;
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::{GivenKey, StoredKey};
use crate::read_through::ReadThrough;
use crate::read_through::near::Shape;
use crate::read_through::read::Lookup;
use crate::ttl::{IntoTtl, Ttl};

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
    #[inline]
    pub fn get<T: Decode + Clone>(&self, key: impl AsRef<[u8]>) -> Get<'_, T, M> {
        Get::new(&self.core, key.as_ref(), Shape::cloned())
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
    #[inline]
    pub fn get_arc<T>(&self, key: impl AsRef<[u8]>) -> Get<'_, Arc<T>, M>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        Get::new(&self.core, key.as_ref(), Shape::shared())
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
    pub fn lookup<T: Decode + Clone>(&self, key: impl AsRef<[u8]>) -> LookUp<'_, T, M> {
        LookUp(Get::new(&self.core, key.as_ref(), Shape::cloned()))
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

    /// Whether there is an entry, without reading the value. A cached `None` is one, and so are bytes that this version
    /// cannot read. A value past its TTL, and one whose tag was invalidated, is none. All methods go by this answer:
    /// see [the table](crate#what-counts-as-an-entry).
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
    key: GivenKey,
    extend: Option<Result<Ttl>>,
    /// How a near value is taken; `None` if Redis is to be asked.
    near: Option<Shape<T>>,
    mode: Marked<M>,
}

impl<'c, T: Decode, M> Get<'c, T, M> {
    #[inline]
    fn new(core: &'c ReadThrough, key: &[u8], shape: Shape<T>) -> Self {
        Get {
            core,
            key: GivenKey::from_slice(key),
            extend: None,
            near: Some(shape),
            mode: PhantomData,
        }
    }

    /// Restarts the TTL in the same step, if there is an entry (`GETEX`): it becomes this long, varied by the cache's
    /// jitter. A stale window and the versions of the entry's tags move along, as in [`touch`](CacheOf::touch). A value
    /// past its TTL, or one whose tag was invalidated, is a miss and is not revived.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set("session:7", "alice").ttl("30m").await?;
    /// // A session that ends half an hour after it was last used.
    /// let user: Option<String> = cache.get("session:7").extend("30m").await?;
    /// assert_eq!(user.as_deref(), Some("alice"));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// If the server takes no writes (a replica, or one out of memory), the value is returned and keeps its TTL. An
    /// entry with an envelope takes one more round trip than a `get` of it. While Redis is away, the fallback answers as
    /// for a `get`.
    pub fn extend(mut self, ttl: impl IntoTtl) -> Self {
        self.extend = Some(ttl.into_ttl());
        self
    }

    /// Asks Redis, whatever the near tier holds: for a value that another process may have changed a moment ago. What
    /// is read goes near. Without a near tier it changes nothing.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://?near=1000")?;
    /// cache.set("balance", &42).await?;
    /// assert_eq!(cache.get("balance").skip_near().await?, Some(42));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn skip_near(mut self) -> Self {
        self.near = None;
        self
    }

    /// The answer, if it is near. It is looked up before the key is checked, and before anything is boxed.
    #[inline]
    fn near(&self) -> Option<Lookup<T>> {
        let (Some(shape), None) = (self.near, &self.extend) else {
            return None;
        };
        // Hooks are told of the call, so they need its future.
        if self.core.client().has_hooks() {
            return None;
        }
        self.core.look_near(&self.key, shape)
    }

    #[inline]
    fn prepare(self) -> Prepared<'c, GetCall<'c, T>> {
        match self.near() {
            Some(found) => Prepared::Done(Ok(found.hit())),
            None => self.prepare_far(),
        }
    }

    /// Apart, so that a near hit moves nothing that only this needs.
    #[inline(never)]
    fn prepare_far(self) -> Prepared<'c, GetCall<'c, T>> {
        let Get {
            core,
            key,
            extend,
            near,
            ..
        } = self;
        let key = core.client().stored(&key);
        match (key, extend) {
            (Ok(key), None) => {
                // Otherwise it was looked up already.
                let near = near.filter(|_| core.client().has_hooks());
                Prepared::Call(GetCall { core, key, near })
            }
            (key, Some(ttl)) => Prepared::Asking(start_extending(core, key, ttl)),
            (Err(error), None) => Prepared::Done(Err(error)),
        }
    }

    #[cfg_attr(
        not(feature = "simple"),
        allow(dead_code, reason = "for its compatible face")
    )]
    pub(crate) fn start(self) -> CacheFuture<'c, Option<T>> {
        self.prepare().start()
    }
}

/// A `get`, ready to go.
pub struct GetCall<'c, T> {
    core: &'c ReadThrough,
    key: StoredKey,
    near: Option<Shape<T>>,
}

impl<T> fmt::Debug for GetCall<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GetCall").field(&self.key).finish()
    }
}

impl<T: Decode> Call for GetCall<'_, T> {
    type Output = Option<T>;

    fn is_at_once(&self) -> bool {
        self.core.client().guarded().is_at_once()
    }

    #[inline]
    fn at_once(&self) -> Option<Option<T>> {
        self.core.look_up_here(&self.key).map(Lookup::hit)
    }

    async fn carry_out(&self) -> Result<Option<T>> {
        let GetCall { core, key, near } = self;
        core.perform("get", CallKeys::One(key.user()), async |core| {
            Ok(core.look_up(key, *near).await?.hit())
        })
        .await
    }
}

/// Apart, so that a plain read does not carry it.
#[cold]
#[inline(never)]
fn start_extending<T: Decode>(
    core: &ReadThrough,
    key: Result<StoredKey>,
    ttl: Result<Ttl>,
) -> CacheFuture<'_, Option<T>> {
    CacheFuture::asking(async move {
        let found = read_and_extend(core, "get", key?, ttl?).await?;
        Ok(found.hit())
    })
}

operation!(in place GetCall<'c, T>: Get<'c, T: Decode> -> Option<T>);

/// A pending `lookup`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct LookUp<'c, T, M = Async>(Get<'c, T, M>);

impl<'c, T: Decode, M> LookUp<'c, T, M> {
    /// Asks Redis, whatever the near tier holds: see [`Get::skip_near`].
    pub fn skip_near(self) -> Self {
        LookUp(self.0.skip_near())
    }

    /// Restarts the TTL in the same step: see [`Get::extend`].
    pub fn extend(self, ttl: impl IntoTtl) -> Self {
        LookUp(self.0.extend(ttl))
    }

    fn start(self) -> CacheFuture<'c, Lookup<T>> {
        if let Some(found) = self.0.near() {
            return CacheFuture::ready(Ok(found));
        }
        let Get {
            core,
            key,
            extend,
            near,
            ..
        } = self.0;
        CacheFuture::asking(async move {
            let key = core.client().stored(&key)?;
            if let Some(ttl) = extend {
                return read_and_extend(core, "lookup", key, ttl?).await;
            }
            core.perform("lookup", CallKeys::One(key.user()), async |core| {
                core.look_up(&key, near).await
            })
            .await
        })
    }
}

operation!(LookUp<'c, T: Decode> -> Lookup<T>);

async fn read_and_extend<T: Decode>(
    core: &ReadThrough,
    verb: &'static str,
    key: StoredKey,
    ttl: Ttl,
) -> Result<Lookup<T>> {
    core.perform(verb, CallKeys::One(key.user()), async |core| {
        core.look_up_and_prolong(&key, ttl).await
    })
    .await
}

impl<T, M> Get<'_, T, M> {
    /// The key in `Debug`, or why it is none.
    fn shown_key(&self) -> Result<StoredKey> {
        self.core.client().stored(&self.key)
    }
}

impl<T, M> fmt::Debug for LookUp<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookUp")
            .field("key", &self.0.shown_key())
            .finish_non_exhaustive()
    }
}

impl<T, M> fmt::Debug for Get<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field("key", &self.shown_key())
            .finish_non_exhaustive()
    }
}
