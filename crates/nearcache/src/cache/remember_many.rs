//! `remember_many`: one read for all keys, one call of the loader for the missing ones, one write.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Failure, Marked, Own};
use super::options::{Options, options, options_beside, own_error};
use crate::codec::{Decode, Encode, Maybe};
use crate::error::{BoxError, Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::load::Loadable;
#[cfg(feature = "blocking")]
use crate::read_through::loader::BlockingLoader;
use crate::read_through::loader::{AsyncLoader, By, Many, RunLoader, Spawned, Sure};
use crate::read_through::plan::Way;

/// A pending `remember_many`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct RememberMany<'c, K, T, F, M = Async, R = Error> {
    core: &'c ReadThrough,
    keys: Result<UniqueKeys<K>>,
    load: F,
    options: Options,
    value: PhantomData<fn() -> T>,
    /// Runs the loader in the background, for a blocking caller.
    #[cfg(feature = "blocking")]
    beside: Option<crate::read_through::loader::Beside<Many<F, K>, Maybe<T>>>,
    mode: Marked<M>,
    failure: PhantomData<fn() -> R>,
}

impl CacheOf<Async> {
    /// The values of many keys: one read for the cached ones, and *one* call of the loader for the missing ones. The
    /// loader gets the missing keys and returns the values it found, as pairs of key and value, in any order and any
    /// collection. The values are returned in the order of the keys. A key that the loader did not return is `None`,
    /// and is cached as such.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # async fn names_of(ids: Vec<&'static str>) -> std::io::Result<Vec<(&'static str, String)>> {
    /// #     Ok(ids.into_iter().filter(|id| *id != "user:2").map(|id| (id, format!("the name of {id}"))).collect())
    /// # }
    /// let names: Vec<Option<String>> = cache
    ///     .remember_many(["user:1", "user:2", "user:3"], |missing| names_of(missing))
    ///     .ttl("1h")
    ///     .negative_ttl("1m")
    ///     .await?;
    /// assert_eq!(names[0].as_deref(), Some("the name of user:1"));
    /// assert_eq!(names[1], None);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// If another caller is loading a key, this call waits for that load. If that load ends without a value, the loader
    /// is called again, for this key alone.
    ///
    /// # Errors
    /// The first error of any key, of the kinds that [`remember`](CacheOf::remember) returns. No values are returned
    /// then, but loaded values are stored.
    pub fn remember_many<K, F, Fut, I, Q, L, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        load: F,
    ) -> RememberMany<'_, K, L::Value, F>
    where
        K: AsRef<[u8]> + Clone + Send + Sync + 'static,
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<I, E>> + Send + 'static,
        I: IntoIterator<Item = (Q, L)> + 'static,
        Q: AsRef<[u8]> + 'static,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        RememberMany::of_keys(&self.core, keys, load)
    }

    /// Like [`remember_many`](CacheOf::remember_many), for a loader that cannot fail: it returns the pairs themselves.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let lengths: Vec<Option<usize>> = cache
    ///     .remember_many_with(["a", "bcd"], async |words: Vec<&str>| words.into_iter().map(|word| (word, word.len())).collect::<Vec<_>>())
    ///     .await?;
    /// assert_eq!(lengths, [Some(1), Some(3)]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`remember_many`](CacheOf::remember_many).
    pub fn remember_many_with<K, F, Fut, I, Q, L>(
        &self,
        keys: impl IntoIterator<Item = K>,
        load: F,
    ) -> RememberMany<'_, K, L::Value, Sure<F>>
    where
        K: AsRef<[u8]> + Clone + Send + Sync + 'static,
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = I> + Send + 'static,
        I: IntoIterator<Item = (Q, L)> + 'static,
        Q: AsRef<[u8]> + 'static,
        L: Loadable<Value: Clone>,
    {
        RememberMany::of_keys(&self.core, keys, Sure(load))
    }

    /// Like [`remember_many`](CacheOf::remember_many), for values that have ids of a type of their own. `key_of` makes
    /// the key of an id. The loader gets the missing ids, and returns pairs of id and value, in any order and any
    /// collection (a `HashMap` from id to value is one). The values are returned in the order of the ids.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # async fn find_users(ids: Vec<UserId>) -> std::io::Result<Vec<User>> {
    /// #     Ok(ids.into_iter().map(|id| User { id, name: format!("user {}", id.0) }).collect())
    /// # }
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    /// struct UserId(u64);
    ///
    /// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct User {
    ///     id: UserId,
    ///     name: String,
    /// }
    ///
    /// let users: Vec<Option<User>> = cache
    ///     .remember_many_by(
    ///         [UserId(1), UserId(2)],
    ///         |id| format!("user:{}", id.0),
    ///         async |missing: Vec<UserId>| {
    ///             let users = find_users(missing).await;
    ///             users.map(|users| users.into_iter().map(|user| (user.id, user)).collect::<Vec<_>>())
    ///         },
    ///     )
    ///     .ttl("1h")
    ///     .await?;
    /// assert_eq!(users[1].as_ref().unwrap().name, "user 2");
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// Ids with the same key are one entry; the loader gets the first of them.
    ///
    /// # Errors
    /// Those of [`remember_many`](CacheOf::remember_many).
    pub fn remember_many_by<K, N, F, Fut, I, L, E>(
        &self,
        ids: impl IntoIterator<Item = K>,
        key_of: impl Fn(&K) -> N,
        load: F,
    ) -> RememberMany<'_, K, L::Value, By<F>>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        N: AsRef<[u8]>,
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<I, E>> + Send + 'static,
        I: IntoIterator<Item = (K, L)> + 'static,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        let client = self.core.client();
        let keys = UniqueKeys::new(ids, |id| client.stored(key_of(id).as_ref()));
        RememberMany::new(&self.core, keys, By(load))
    }
}

#[cfg(feature = "blocking")]
impl CacheOf<super::operation::Blocking> {
    /// See [`remember_many`](CacheOf::remember_many) of an async cache. The loader runs on the calling thread, and may
    /// borrow from it.
    ///
    /// # Errors
    /// The first error of any key, of the kinds that [`remember`](CacheOf::remember) returns.
    pub fn remember_many<K, F, I, Q, L, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        load: F,
    ) -> RememberMany<'_, K, L::Value, F, super::operation::Blocking>
    where
        K: AsRef<[u8]> + Clone,
        F: Fn(Vec<K>) -> std::result::Result<I, E>,
        I: IntoIterator<Item = (Q, L)>,
        Q: AsRef<[u8]>,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        RememberMany::of_keys(&self.core, keys, load)
    }

    /// See [`remember_many_with`](CacheOf::remember_many_with) of an async cache, and
    /// [`remember_many`](CacheOf::remember_many) here.
    ///
    /// # Errors
    /// Those of [`remember_many`](CacheOf::remember_many).
    pub fn remember_many_with<K, F, I, Q, L>(
        &self,
        keys: impl IntoIterator<Item = K>,
        load: F,
    ) -> RememberMany<'_, K, L::Value, Sure<F>, super::operation::Blocking>
    where
        K: AsRef<[u8]> + Clone,
        F: Fn(Vec<K>) -> I,
        I: IntoIterator<Item = (Q, L)>,
        Q: AsRef<[u8]>,
        L: Loadable<Value: Clone>,
    {
        RememberMany::of_keys(&self.core, keys, Sure(load))
    }

    /// See [`remember_many_by`](CacheOf::remember_many_by) of an async cache, and
    /// [`remember_many`](CacheOf::remember_many) here.
    ///
    /// # Errors
    /// Those of [`remember_many`](CacheOf::remember_many).
    pub fn remember_many_by<K, N, F, I, L, E>(
        &self,
        ids: impl IntoIterator<Item = K>,
        key_of: impl Fn(&K) -> N,
        load: F,
    ) -> RememberMany<'_, K, L::Value, By<F>, super::operation::Blocking>
    where
        K: Clone + Eq + Hash,
        N: AsRef<[u8]>,
        F: Fn(Vec<K>) -> std::result::Result<I, E>,
        I: IntoIterator<Item = (K, L)>,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        let client = self.core.client();
        let keys = UniqueKeys::new(ids, |id| client.stored(key_of(id).as_ref()));
        RememberMany::new(&self.core, keys, By(load))
    }
}

impl<'c, K, T, F, M> RememberMany<'c, K, T, F, M> {
    fn new(core: &'c ReadThrough, keys: Result<UniqueKeys<K>>, load: F) -> Self {
        RememberMany {
            core,
            keys,
            load,
            options: Options::new(Way::Miss),
            value: PhantomData,
            #[cfg(feature = "blocking")]
            beside: None,
            mode: PhantomData,
            failure: PhantomData,
        }
    }

    fn of_keys(core: &'c ReadThrough, keys: impl IntoIterator<Item = K>, load: F) -> Self
    where
        K: AsRef<[u8]> + Clone,
    {
        let keys = UniqueKeys::new(keys, |key| core.client().stored(key.as_ref()));
        RememberMany::new(core, keys, load)
    }

    fn owning<E>(self) -> RememberMany<'c, K, T, F, M, Own<E>> {
        RememberMany {
            core: self.core,
            keys: self.keys,
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

impl<K, T, F, M, R> RememberMany<'_, K, T, F, M, R> {
    options!();
}

impl<'c, K, T, F, Fut, I, E> RememberMany<'c, K, T, F>
where
    F: Fn(Vec<K>) -> Fut,
    Fut: Future<Output = std::result::Result<I, E>>,
    E: StdError + From<Error> + Clone + Send + Sync + 'static,
{
    own_error!(RememberMany<'c, K, T, F, Async, Own<E>>);
}

impl<'c, K, T, F, Fut, I, E> RememberMany<'c, K, T, By<F>>
where
    F: Fn(Vec<K>) -> Fut,
    Fut: Future<Output = std::result::Result<I, E>>,
    E: StdError + From<Error> + Clone + Send + Sync + 'static,
{
    own_error!(RememberMany<'c, K, T, By<F>, Async, Own<E>>);
}

#[cfg(feature = "blocking")]
impl<'c, K, T, F, I, E> RememberMany<'c, K, T, F, super::operation::Blocking>
where
    F: Fn(Vec<K>) -> std::result::Result<I, E>,
    E: StdError + From<Error> + Clone + Send + Sync + 'static,
{
    own_error!(RememberMany<'c, K, T, F, super::operation::Blocking, Own<E>>);
}

#[cfg(feature = "blocking")]
impl<'c, K, T, F, I, E> RememberMany<'c, K, T, By<F>, super::operation::Blocking>
where
    F: Fn(Vec<K>) -> std::result::Result<I, E>,
    E: StdError + From<Error> + Clone + Send + Sync + 'static,
{
    own_error!(RememberMany<'c, K, T, By<F>, super::operation::Blocking, Own<E>>);
}

impl<K, T, F, R> RememberMany<'_, K, T, F, Async, R> {
    options_beside!();
}

#[cfg(feature = "blocking")]
#[allow(
    private_bounds,
    reason = "it is what the method that returned the operation asks for"
)]
impl<K, T, F, R> RememberMany<'_, K, T, F, super::operation::Blocking, R>
where
    Many<F, K>: BlockingLoader<Maybe<T>> + Send + 'static,
    T: Encode + Decode + Clone,
{
    options_beside!(.beside());

    fn beside(mut self) -> Self {
        self.beside = Some(crate::read_through::loader::beside);
        self
    }
}

/// The body of `remember_many`, async and blocking.
async fn remember_many<K, T>(
    core: &ReadThrough,
    keys: UniqueKeys<K>,
    options: Options,
    mut loader: impl RunLoader<Maybe<T>>,
) -> Result<Vec<Option<T>>>
where
    T: Encode + Decode + Clone,
{
    let plan = options.settle(core)?;
    let values = core
        .perform(
            "remember_many",
            CallKeys::Stored(&keys.stored),
            async |core| core.remember_many(&keys.stored, &plan, &mut loader).await,
        )
        .await?;
    Ok(keys.in_order(values))
}

#[allow(
    private_bounds,
    reason = "it is what the method that returned the operation asks for"
)]
impl<'c, K, T, F, R> IntoFuture for RememberMany<'c, K, T, F, Async, R>
where
    Many<F, K>: AsyncLoader<Maybe<T>>,
    K: Send + Sync + 'c,
    F: Send + 'c,
    T: Encode + Decode + Clone,
    R: Failure + 'c,
{
    type Output = Result<Vec<Option<T>>, R::Error>;
    type IntoFuture = CacheFuture<'c, Vec<Option<T>>, R::Error>;

    fn into_future(self) -> Self::IntoFuture {
        let (core, keys, options, load) = (self.core, self.keys, self.options, self.load);
        CacheFuture::asking(async move {
            let keys = keys.map_err(R::of)?;
            let loader = Spawned(Many::new(load, Arc::clone(&keys.asked)));
            let values = remember_many(core, keys, options, loader).await;
            values.map_err(R::of)
        })
    }
}

#[cfg(feature = "blocking")]
#[allow(
    private_bounds,
    reason = "it is what the method that returned the operation asks for"
)]
impl<K, T, F, R> RememberMany<'_, K, T, F, super::operation::Blocking, R>
where
    Many<F, K>: BlockingLoader<Maybe<T>>,
    T: Encode + Decode + Clone,
    R: Failure,
{
    /// Carries the operation out on this thread. The loader runs on it too, unless the call can return before the
    /// loader does.
    ///
    /// # Errors
    /// Those of the method that returned the operation.
    pub fn run(self) -> Result<Vec<Option<T>>, R::Error> {
        let keys = self.keys.map_err(R::of)?;
        let loader = crate::read_through::loader::InPlace {
            loader: Many::new(self.load, Arc::clone(&keys.asked)),
            beside: self.beside,
        };
        crate::runtime::block_on(remember_many(self.core, keys, self.options, loader))
            .map_err(R::of)
    }
}

/// The keys of a call, without duplicates.
struct UniqueKeys<K> {
    /// As the caller gave them, for the loader.
    asked: Arc<[K]>,
    stored: Vec<StoredKey>,
    /// For each of the caller's keys, its index in `asked` and `stored`.
    which: Vec<usize>,
}

impl<K> UniqueKeys<K> {
    fn new(
        keys: impl IntoIterator<Item = K>,
        named: impl Fn(&K) -> Result<StoredKey>,
    ) -> Result<Self> {
        let asked: Vec<K> = keys.into_iter().collect();
        let stored: Vec<StoredKey> = asked.iter().map(named).collect::<Result<_>>()?;
        let mut indices: HashMap<&[u8], usize> = HashMap::with_capacity(stored.len());
        let mut is_first = Vec::with_capacity(stored.len());
        let mut which = Vec::with_capacity(stored.len());
        for key in &stored {
            let next = indices.len();
            let index = *indices.entry(key.as_bytes()).or_insert(next);
            is_first.push(index == next);
            which.push(index);
        }
        let without_duplicates = indices.len() == stored.len();
        if without_duplicates {
            return Ok(UniqueKeys {
                asked: asked.into(),
                stored,
                which,
            });
        }
        Ok(UniqueKeys {
            asked: firsts(asked, &is_first).collect(),
            stored: firsts(stored, &is_first).collect(),
            which,
        })
    }
}

/// Those that are the first of their kind.
fn firsts<V>(all: Vec<V>, is_first: &[bool]) -> impl Iterator<Item = V> {
    all.into_iter()
        .zip(is_first)
        .filter_map(|(one, is_first)| is_first.then_some(one))
}

impl<K> UniqueKeys<K> {
    /// The values in the caller's order. A value whose key was given twice is cloned.
    fn in_order<T: Clone>(&self, values: Vec<Maybe<T>>) -> Vec<Option<T>> {
        let mut values: Vec<Option<T>> = values.into_iter().map(|value| value.0).collect();
        let mut left = vec![0_usize; values.len()];
        for index in &self.which {
            left[*index] += 1;
        }
        let mut value_of = |index: &usize| {
            left[*index] -= 1;
            match left[*index] {
                0 => values[*index].take(),
                _ => values[*index].clone(),
            }
        };
        self.which.iter().map(&mut value_of).collect()
    }
}

impl<K, T, F, M, R> fmt::Debug for RememberMany<'_, K, T, F, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RememberMany")
            .field("keys", &self.keys.as_ref().map(|keys| keys.stored.len()))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
