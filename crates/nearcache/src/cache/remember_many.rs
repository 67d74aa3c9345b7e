//! `remember_many`: one read for all keys, one call of the loader for the missing ones, one write.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked};
use super::options::{Options, options, options_beside};
use crate::codec::{Decode, Encode, Maybe};
use crate::error::BoxError;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::load::Loadable;
use crate::read_through::loader::{Many, RunLoader, Spawned};
use crate::read_through::plan::Way;

/// A pending `remember_many`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct RememberMany<'c, K, T, F, M = Async> {
    core: &'c ReadThrough,
    keys: Vec<K>,
    load: F,
    options: Options,
    value: PhantomData<fn() -> T>,
    /// Runs the loader in the background, for a blocking caller.
    #[cfg(feature = "blocking")]
    beside: Option<crate::read_through::loader::Beside<Many<F, K>, Maybe<T>>>,
    mode: Marked<M>,
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
        RememberMany::new(&self.core, keys, load)
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
        E: Into<BoxError>,
    {
        RememberMany::new(&self.core, keys, load)
    }
}

impl<'c, K, T, F, M> RememberMany<'c, K, T, F, M> {
    fn new(core: &'c ReadThrough, keys: impl IntoIterator<Item = K>, load: F) -> Self {
        RememberMany {
            core,
            keys: keys.into_iter().collect(),
            load,
            options: Options::new(Way::Miss),
            value: PhantomData,
            #[cfg(feature = "blocking")]
            beside: None,
            mode: PhantomData,
        }
    }

    options!();
}

impl<K, T, F> RememberMany<'_, K, T, F, Async> {
    options_beside!();
}

#[cfg(feature = "blocking")]
impl<K, T, F, I, Q, L, E> RememberMany<'_, K, T, F, super::operation::Blocking>
where
    K: AsRef<[u8]> + Clone + Send + Sync + 'static,
    F: Fn(Vec<K>) -> std::result::Result<I, E> + Send + Sync + 'static,
    I: IntoIterator<Item = (Q, L)>,
    Q: AsRef<[u8]>,
    L: Loadable<Value = T>,
    E: Into<BoxError>,
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

impl<'c, K, T, F, Fut, I, Q, L, E> IntoFuture for RememberMany<'c, K, T, F, Async>
where
    K: AsRef<[u8]> + Clone + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = std::result::Result<I, E>> + Send + 'static,
    I: IntoIterator<Item = (Q, L)> + 'static,
    Q: AsRef<[u8]> + 'static,
    L: Loadable<Value = T>,
    E: Into<BoxError> + 'static,
    T: Encode + Decode + Clone,
{
    type Output = Result<Vec<Option<T>>>;
    type IntoFuture = CacheFuture<'c, Vec<Option<T>>>;

    fn into_future(self) -> Self::IntoFuture {
        let keys = UniqueKeys::new(self.core, &self.keys);
        let (core, options, load) = (self.core, self.options, self.load);
        CacheFuture::asking(async move {
            let keys = keys?;
            let loader = Spawned(Many::new(load, Arc::clone(&keys.asked)));
            remember_many(core, keys, options, loader).await
        })
    }
}

#[cfg(feature = "blocking")]
impl<K, T, F, I, Q, L, E> RememberMany<'_, K, T, F, super::operation::Blocking>
where
    K: AsRef<[u8]> + Clone,
    F: Fn(Vec<K>) -> std::result::Result<I, E>,
    I: IntoIterator<Item = (Q, L)>,
    Q: AsRef<[u8]>,
    L: Loadable<Value = T>,
    E: Into<BoxError>,
    T: Encode + Decode + Clone,
{
    /// Carries the operation out on this thread. The loader runs on it too, unless the call can return before the
    /// loader does.
    ///
    /// # Errors
    /// Those of the method that returned the operation.
    pub fn run(self) -> Result<Vec<Option<T>>> {
        let keys = UniqueKeys::new(self.core, &self.keys)?;
        let loader = crate::read_through::loader::InPlace {
            loader: Many::new(self.load, Arc::clone(&keys.asked)),
            beside: self.beside,
        };
        crate::runtime::block_on(remember_many(self.core, keys, self.options, loader))
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

impl<K: AsRef<[u8]> + Clone> UniqueKeys<K> {
    fn new(core: &ReadThrough, keys: &[K]) -> Result<Self> {
        let mut indices: HashMap<&[u8], usize> = HashMap::with_capacity(keys.len());
        let (mut asked, mut stored, mut which) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            let index = match indices.get(key.as_ref()) {
                Some(index) => *index,
                None => {
                    stored.push(core.client().stored(key.as_ref())?);
                    asked.push(key.clone());
                    indices.insert(key.as_ref(), stored.len() - 1);
                    stored.len() - 1
                }
            };
            which.push(index);
        }
        Ok(UniqueKeys {
            asked: asked.into(),
            stored,
            which,
        })
    }
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

impl<K, T, F, M> fmt::Debug for RememberMany<'_, K, T, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RememberMany")
            .field("keys", &self.keys.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
