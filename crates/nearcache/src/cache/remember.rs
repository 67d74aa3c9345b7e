//! `remember` and `refresh`: return the cached value, or run the loader and cache its result.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Failure, Marked, Own};
use super::options::{Options, options, options_beside, own_error};
use crate::codec::{Decode, Encode};
use crate::error::{BoxError, Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::{GivenKey, StoredKey};
use crate::read_through::ReadThrough;
use crate::read_through::load::Loadable;
#[cfg(feature = "blocking")]
use crate::read_through::loader::BlockingLoader;
use crate::read_through::loader::{AsyncLoader, One, RunLoader, Spawned, Sure};
use crate::read_through::plan::{Plan, Way};

/// A pending `remember` or `refresh`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Remember<'c, T, F, M = Async, R = Error> {
    core: &'c ReadThrough,
    key: GivenKey,
    load: F,
    options: Options,
    value: PhantomData<fn() -> T>,
    /// Runs the loader in the background, for a blocking caller.
    #[cfg(feature = "blocking")]
    beside: Option<crate::read_through::loader::Beside<One<F>, T>>,
    mode: Marked<M>,
    failure: PhantomData<fn() -> R>,
}

impl CacheOf<Async> {
    /// The cached value of a key. If there is none, `load` runs, and its result is cached and returned. If many callers
    /// miss a key together, in this process and in others, one of them loads and the others wait for it. A value that
    /// was loaded before an invalidation of the key (`delete`, `set`, [`invalidate_tag`](CacheOf::invalidate_tag),
    /// `clear`) is never stored after it.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # #[derive(Clone, serde::Serialize, serde::Deserialize)] struct User { name: String }
    /// # async fn find_user(id: u64) -> std::io::Result<Option<User>> { Ok(None) }
    /// let user: Option<User> = cache
    ///     .remember("user:1", || find_user(1))
    ///     .ttl("1h")
    ///     .negative_ttl("1m") // "no such user" is cached as well
    ///     .stale_for("10m") // then the old value at once, and a reload in the background
    ///     .stale_if_error("1d") // and the old value if the loader fails
    ///     .tags(["users"])
    ///     .await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// The loader runs in a task of its own, so a cancelled caller does not stop it. It must own what it uses: write it
    /// as an `async move ||` closure. It returns a `Result` of a value, of an `Option` (`None` is cached as well), or
    /// of a [`Loaded`](crate::Loaded) value, which can set its TTL and tags, or prevent storing. Its error may be
    /// anything that converts into a [`BoxError`](crate::BoxError), and is inferred where the loader ends in a call
    /// that returns it. A loader that only uses `?` and ends in `Ok` names its error type (`Ok::<_, BoxError>(..)`, with
    /// [`BoxError`](crate::BoxError) for any). A loader that cannot fail returns the plain value to
    /// [`remember_with`](CacheOf::remember_with). To get the loader's own error type back, say
    /// [`own_error`](Remember::own_error).
    ///
    /// # While Redis is away
    /// The loader runs once for all callers of this process that wait together, and nothing is stored.
    ///
    /// # Errors
    /// [`ErrorKind::Loader`](crate::ErrorKind::Loader) if the loader failed or panicked, for every waiting caller
    /// ([`Error::downcast_ref`](crate::Error::downcast_ref) returns the loader's own error; nothing is stored, and the
    /// next caller loads again); [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded);
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the value cannot be encoded; and errors that Redis returns
    /// ([`ErrorKind::WrongType`](crate::ErrorKind::WrongType), for example).
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

    /// Like [`remember`](CacheOf::remember), for a loader that cannot fail: it returns the value itself.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let factor = 6;
    /// let answer: u32 = cache.remember_with("answer", async move || 7 * factor).ttl("1h").await?;
    /// assert_eq!(answer, 42);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`remember`](CacheOf::remember). [`ErrorKind::Loader`](crate::ErrorKind::Loader) if the loader panicked.
    pub fn remember_with<F, Fut, L>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, Sure<F>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = L> + Send + 'static,
        L: Loadable<Value: Clone>,
    {
        Remember::new(&self.core, key.as_ref(), Sure(load), Way::Miss)
    }

    /// Runs the loader even if a value is cached, and stores the result. Use it when the source has changed and the new
    /// value is needed at once. A running load of the key no longer stores its value.
    ///
    /// What was cached before is not served after this. If the new value cannot be stored (the key was written or
    /// invalidated while the loader ran, or the lease ended), it is returned, and whatever the key holds is deleted.
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

    /// Like [`refresh`](CacheOf::refresh), for a loader that cannot fail: it returns the value itself.
    ///
    /// # Errors
    /// Those of [`remember_with`](CacheOf::remember_with).
    pub fn refresh_with<F, Fut, L>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, Sure<F>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = L> + Send + 'static,
        L: Loadable<Value: Clone>,
    {
        Remember::new(&self.core, key.as_ref(), Sure(load), Way::Force)
    }
}

#[cfg(feature = "blocking")]
impl CacheOf<super::operation::Blocking> {
    /// See [`remember`](CacheOf::remember) of an async cache. The loader runs on the calling thread, and may borrow
    /// from it. With [`stale_for`](Remember::stale_for), [`soft_timeout`](Remember::soft_timeout) or
    /// [`early_refresh`](Remember::early_refresh) it runs on a thread of its own when the call can return before the
    /// loader does.
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
        E: Into<BoxError> + 'static,
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
        E: Into<BoxError> + 'static,
    {
        Remember::new(&self.core, key.as_ref(), load, Way::Force)
    }
}

#[cfg(feature = "blocking")]
impl CacheOf<super::operation::Blocking> {
    /// See [`remember_with`](CacheOf::remember_with) of an async cache, and [`remember`](CacheOf::remember) here.
    ///
    /// ```
    /// # fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::blocking::Cache::open("memory://")?;
    /// let text = String::from("cached");
    /// let length: usize = cache.remember_with("length", || text.len()).run()?;
    /// assert_eq!(length, 6);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(async { example() });
    /// ```
    ///
    /// # Errors
    /// Those of an async `remember_with`.
    pub fn remember_with<F, L>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, Sure<F>, super::operation::Blocking>
    where
        F: FnOnce() -> L,
        L: Loadable<Value: Clone>,
    {
        Remember::new(&self.core, key.as_ref(), Sure(load), Way::Miss)
    }

    /// See [`refresh_with`](CacheOf::refresh_with) of an async cache, and [`remember`](CacheOf::remember) here.
    ///
    /// # Errors
    /// Those of [`remember_with`](CacheOf::remember_with).
    pub fn refresh_with<F, L>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, Sure<F>, super::operation::Blocking>
    where
        F: FnOnce() -> L,
        L: Loadable<Value: Clone>,
    {
        Remember::new(&self.core, key.as_ref(), Sure(load), Way::Force)
    }
}

impl<'c, T, F, M> Remember<'c, T, F, M> {
    pub(crate) fn new(core: &'c ReadThrough, key: &[u8], load: F, way: Way) -> Self {
        Remember {
            core,
            key: GivenKey::from_slice(key),
            load,
            options: Options::new(way),
            value: PhantomData,
            #[cfg(feature = "blocking")]
            beside: None,
            mode: PhantomData,
            failure: PhantomData,
        }
    }

    fn owning<E>(self) -> Remember<'c, T, F, M, Own<E>> {
        Remember {
            core: self.core,
            key: self.key,
            load: self.load,
            options: self.options,
            value: PhantomData,
            #[cfg(feature = "blocking")]
            beside: self.beside,
            mode: PhantomData,
            failure: PhantomData,
        }
    }
}

impl<T, F, M, R> Remember<'_, T, F, M, R> {
    options!();
}

impl<'c, T, F, Fut, L, E> Remember<'c, T, F>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = std::result::Result<L, E>>,
    E: StdError + From<Error> + Clone + Send + Sync + 'static,
{
    own_error!(Remember<'c, T, F, Async, Own<E>>);
}

#[cfg(feature = "blocking")]
impl<'c, T, F, L, E> Remember<'c, T, F, super::operation::Blocking>
where
    F: FnOnce() -> std::result::Result<L, E>,
    E: StdError + From<Error> + Clone + Send + Sync + 'static,
{
    own_error!(Remember<'c, T, F, super::operation::Blocking, Own<E>>);
}

impl<T, F, R> Remember<'_, T, F, Async, R> {
    options_beside!();
}

#[cfg(feature = "blocking")]
#[allow(
    private_bounds,
    reason = "it is what the method that returned the operation asks for"
)]
impl<T, F, R> Remember<'_, T, F, super::operation::Blocking, R>
where
    One<F>: BlockingLoader<T> + Send + 'static,
    T: Encode + Decode + Clone,
{
    options_beside!(.beside());

    fn beside(mut self) -> Self {
        self.beside = Some(crate::read_through::loader::beside);
        self
    }
}

/// The value, if it is near. It is looked up before the key is checked, and before anything is boxed.
#[inline]
fn near<T: Decode + Clone>(core: &ReadThrough, key: &GivenKey, options: &Options) -> Option<T> {
    if !options.may_be_near() {
        return None;
    }
    core.remember_hit(key, options.early_refresh)
}

/// The body of `remember`, async and blocking.
///
/// It maps the error itself: a future around this one would hold it twice.
async fn remember<T, R>(
    core: &ReadThrough,
    key: Result<StoredKey>,
    plan: Result<Plan>,
    mut loader: impl RunLoader<T>,
) -> Result<T, R::Error>
where
    T: Encode + Decode + Clone,
    R: Failure,
{
    // These are lent, not moved: they are large, and would lie in the future of each layer.
    let key = key.as_ref().map_err(|error| R::of(error.clone()))?;
    let plan = plan.as_ref().map_err(|error| R::of(error.clone()))?;
    let keys = CallKeys::One(key.user());
    core.perform(plan.verb(), keys, async |core| {
        core.remember(key, plan, &mut loader).await
    })
    .await
    .map_err(R::of)
}

#[allow(
    private_bounds,
    reason = "it is what the method that returned the operation asks for"
)]
impl<'c, T, F, R> IntoFuture for Remember<'c, T, F, Async, R>
where
    One<F>: AsyncLoader<T>,
    T: Encode + Decode + Clone,
    R: Failure + 'c,
{
    type Output = Result<T, R::Error>;
    type IntoFuture = CacheFuture<'c, T, R::Error>;

    fn into_future(self) -> Self::IntoFuture {
        if let Some(value) = near(self.core, &self.key, &self.options) {
            return CacheFuture::ready(Ok(value));
        }
        let loader = Spawned(One::new(self.load));
        let plan = self.options.settle(self.core);
        let key = self.core.client().stored(&self.key);
        CacheFuture::asking(remember::<T, R>(self.core, key, plan, loader))
    }
}

#[cfg(feature = "blocking")]
#[allow(
    private_bounds,
    reason = "it is what the method that returned the operation asks for"
)]
impl<T, F, R> Remember<'_, T, F, super::operation::Blocking, R>
where
    One<F>: BlockingLoader<T>,
    T: Encode + Decode + Clone,
    R: Failure,
{
    /// Carries the operation out on this thread. The loader runs on it too, unless the call can return before the
    /// loader does.
    ///
    /// # Errors
    /// Those of the method that returned the operation.
    pub fn run(self) -> Result<T, R::Error> {
        if let Some(value) = near(self.core, &self.key, &self.options) {
            return Ok(value);
        }
        let loader = crate::read_through::loader::InPlace {
            loader: One::new(self.load),
            beside: self.beside,
        };
        let plan = self.options.settle(self.core);
        let key = self.core.client().stored(&self.key);
        crate::runtime::block_on(remember::<T, R>(self.core, key, plan, loader))
    }
}

impl<T, F, M, R> fmt::Debug for Remember<'_, T, F, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remember")
            .field("key", &self.core.client().stored(&self.key))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
