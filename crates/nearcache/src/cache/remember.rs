//! `remember` and `refresh`: the value that is cached, or the one that the loader gives, which is cached then.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked};
use super::options::{Options, options, options_beside};
use crate::codec::{Decode, Encode};
use crate::error::BoxError;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::load::Loadable;
use crate::read_through::loader::{One, RunLoader, Spawned};
use crate::read_through::plan::{Plan, Way};

/// A pending `remember` or `refresh`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Remember<'c, T, F, M = Async> {
    core: &'c ReadThrough,
    key: Result<StoredKey>,
    load: F,
    options: Options,
    value: PhantomData<fn() -> T>,
    /// Runs the loader beside the caller, for a blocking one.
    #[cfg(feature = "blocking")]
    beside: Option<crate::read_through::loader::Beside<One<F>, T>>,
    mode: Marked<M>,
}

impl CacheOf<Async> {
    /// The value of a key: the one that is cached, or else the one that `load` gives, which is cached
    /// then. Of all callers that miss one key together, in this process and in others, one loads; the
    /// others wait for it. What was loaded before an invalidation of the key (`delete`, `set`,
    /// [`invalidate_tag`](CacheOf::invalidate_tag), `clear`) is never stored after it.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # #[derive(Clone, serde::Serialize, serde::Deserialize)] struct User { name: String }
    /// # async fn find_user(id: u64) -> std::io::Result<Option<User>> { Ok(None) }
    /// let user: Option<User> = cache
    ///     .remember("user:1", || find_user(1))
    ///     .ttl("1h")
    ///     .negative_ttl("1m") // that there is no such user is remembered, too
    ///     .stale_for("10m") // after the hour, answered at once and loaded anew beside
    ///     .stale_if_error("1d") // and better than nothing while the database is away
    ///     .tags(["users"])
    ///     .await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// The loader runs in a task of its own: a caller that goes away stops nothing. So it owns what it uses,
    /// for which an `async move ||` closure is the form. It returns a `Result` of a value, of an `Option` (a
    /// `None` is cached as such), or of a [`Loaded`](crate::Loaded) value, which decides its own TTL, its tags,
    /// or not to be stored. Its error may be anything that converts into a [`BoxError`](crate::BoxError); where
    /// the compiler cannot tell which, say so:
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::BoxError;
    ///
    /// let factor = 6;
    /// let answer: u32 = cache
    ///     .remember("answer", async move || Ok::<_, BoxError>(7 * factor))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # While Redis is away
    /// The loader runs, for all callers of this process who wait together, and nothing is stored.
    ///
    /// # Errors
    /// [`ErrorKind::Loader`](crate::ErrorKind::Loader) if the loader failed or panicked, for everyone who
    /// waited ([`Error::downcast_ref`](crate::Error::downcast_ref) gives its own error; nothing is stored, and the
    /// next caller loads again); [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded);
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the value cannot be encoded; and what Redis answers
    /// ([`ErrorKind::WrongType`](crate::ErrorKind::WrongType), say).
    pub fn remember<F, Fut, L, E>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = std::result::Result<L, E>> + Send + 'static,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        Remember::new(&self.core, key.as_ref(), load, Way::Miss)
    }

    /// Loads a key anew, whatever is cached, and stores that: for when the source is known to have changed
    /// and its new value is wanted at once. A load of the key that is under way stores nothing any more.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # async fn load_price() -> std::io::Result<u32> { Ok(42) }
    /// let price: u32 = cache.refresh("price", load_price).ttl("1h").await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`remember`](CacheOf::remember).
    pub fn refresh<F, Fut, L, E>(&self, key: impl AsRef<[u8]>, load: F) -> Remember<'_, L::Value, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = std::result::Result<L, E>> + Send + 'static,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        Remember::new(&self.core, key.as_ref(), load, Way::Force)
    }
}

#[cfg(feature = "blocking")]
impl CacheOf<super::operation::Blocking> {
    /// See [`remember`](CacheOf::remember) of an async cache. The loader runs on the calling thread, and may borrow
    /// from it; with [`stale_for`](Remember::stale_for), [`soft_timeout`](Remember::soft_timeout) or
    /// [`early_refresh`](Remember::early_refresh) on a thread of its own when the caller is answered without it.
    ///
    /// ```
    /// # fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::blocking::Cache::open("memory://")?;
    /// let path = "Cargo.toml".to_owned();
    /// let size: u64 = cache
    ///     .remember(&path, || std::fs::metadata(&path).map(|file| file.len()))
    ///     .ttl("1m")
    ///     .run()?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(async { example() });
    /// ```
    ///
    /// # Errors
    /// Those of an async `remember`.
    pub fn remember<F, L, E>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, F, super::operation::Blocking>
    where
        F: FnOnce() -> std::result::Result<L, E>,
        L: Loadable<Value: Clone>,
        E: Into<BoxError>,
    {
        Remember::new(&self.core, key.as_ref(), load, Way::Miss)
    }

    /// See [`refresh`](CacheOf::refresh) of an async cache, and [`remember`](CacheOf::remember) here.
    ///
    /// # Errors
    /// Those of [`remember`](CacheOf::remember).
    pub fn refresh<F, L, E>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, F, super::operation::Blocking>
    where
        F: FnOnce() -> std::result::Result<L, E>,
        L: Loadable<Value: Clone>,
        E: Into<BoxError>,
    {
        Remember::new(&self.core, key.as_ref(), load, Way::Force)
    }
}

impl<'c, T, F, M> Remember<'c, T, F, M> {
    pub(crate) fn new(core: &'c ReadThrough, key: &[u8], load: F, way: Way) -> Self {
        Remember {
            core,
            key: core.client().stored(key),
            load,
            options: Options::new(way),
            value: PhantomData,
            #[cfg(feature = "blocking")]
            beside: None,
            mode: PhantomData,
        }
    }

    options!();
}

impl<T, F> Remember<'_, T, F, Async> {
    options_beside!();
}

#[cfg(feature = "blocking")]
impl<T, F, L, E> Remember<'_, T, F, super::operation::Blocking>
where
    F: FnOnce() -> std::result::Result<L, E> + Send + 'static,
    L: Loadable<Value = T>,
    E: Into<BoxError>,
    T: Encode + Decode,
{
    options_beside!(.beside());

    fn beside(mut self) -> Self {
        self.beside = Some(crate::read_through::loader::beside);
        self
    }
}

/// The body of `remember`, whoever runs the loader.
async fn remember<T>(
    core: &ReadThrough,
    key: Result<StoredKey>,
    plan: Result<Plan>,
    mut loader: impl RunLoader<T>,
) -> Result<T>
where
    T: Encode + Decode,
{
    // These are lent, not moved: they are large, and would lie in the future of each layer.
    let key = key.as_ref().map_err(Clone::clone)?;
    let plan = plan.as_ref().map_err(Clone::clone)?;
    let keys = CallKeys::One(key.user());
    core.perform(plan.verb(), keys, async |core| {
        core.remember(key, plan, &mut loader).await
    })
    .await
}

impl<'c, T, F, Fut, L, E> IntoFuture for Remember<'c, T, F, Async>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = std::result::Result<L, E>> + Send + 'static,
    L: Loadable<Value = T>,
    E: Into<BoxError> + 'static,
    T: Encode + Decode,
{
    type Output = Result<T>;
    type IntoFuture = CacheFuture<'c, T>;

    fn into_future(self) -> Self::IntoFuture {
        let loader = Spawned(One::new(self.load));
        let plan = self.options.settle(self.core);
        CacheFuture::asking(remember(self.core, self.key, plan, loader))
    }
}

#[cfg(feature = "blocking")]
impl<T, F, L, E> Remember<'_, T, F, super::operation::Blocking>
where
    F: FnOnce() -> std::result::Result<L, E>,
    L: Loadable<Value = T>,
    E: Into<BoxError>,
    T: Encode + Decode,
{
    /// Carries the operation out on this thread, the loader too, unless the caller is answered before it.
    ///
    /// # Errors
    /// Those of the verb that made the operation.
    pub fn run(self) -> Result<T> {
        let loader = crate::read_through::loader::InPlace {
            loader: One::new(self.load),
            beside: self.beside,
        };
        let plan = self.options.settle(self.core);
        crate::runtime::block_on(remember(self.core, self.key, plan, loader))
    }
}

impl<T, F, M> fmt::Debug for Remember<'_, T, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remember")
            .field("key", &self.key)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
