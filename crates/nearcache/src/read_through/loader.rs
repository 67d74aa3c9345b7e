//! Running a user's loader: in a task of its own for an async caller, on the calling thread for a blocking caller, or
//! on a thread of the cache's crew if the call can return before the loader does.
//!
//! A loader is for one key ([`One`]) or for many ([`Many`]), and its caller waits for it or does not. All four
//! combinations are handled here; the engine (`lead`) need not tell them apart.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::lead::{Batch, Led, lead};
use super::load::{Loadable, Loaded, into_loaded, loader_failed, shut_down};
use crate::codec::{Decode, Encode, Maybe};
use crate::error::{BoxError, Error, ErrorKind, Result, boxed};
use crate::hooks::carry;

/// Leads batches with a loader.
pub(crate) trait RunLoader<T> {
    /// Leads a batch to its end. With `beside`, the load runs apart from the caller, who can then stop waiting for it.
    fn lead(&mut self, batch: Batch, beside: bool) -> impl Future<Output = Vec<Led<T>>>;

    /// Leads a batch in the background; the caller does not wait.
    fn refresh(&mut self, batch: Batch);
}

/// A loader that cannot fail: it returns the value itself, not a `Result`.
#[derive(Clone, Copy, Debug)]
pub struct Sure<F>(pub(crate) F);

/// A loader for many values by their ids, which need not be keys.
#[derive(Clone, Copy, Debug)]
pub struct By<F>(pub(crate) F);

/// A loader for one key.
pub(crate) struct One<F>(Option<F>);

impl<F> One<F> {
    pub(crate) fn new(load: F) -> Self {
        One(Some(load))
    }

    /// Takes the loader, which can run only once.
    fn take(&mut self) -> Result<F> {
        self.0.take().ok_or_else(given_up)
    }
}

/// A loader for many keys, with the keys.
pub(crate) struct Many<F, K> {
    load: Arc<F>,
    keys: Arc<[K]>,
}

impl<F, K> Many<F, K> {
    pub(crate) fn new(load: F, keys: Arc<[K]>) -> Self {
        let load = Arc::new(load);
        Many { load, keys }
    }

    fn pick(&self, indices: &[usize]) -> Vec<K>
    where
        K: Clone,
    {
        indices
            .iter()
            .map(|index| self.keys[*index].clone())
            .collect()
    }

    fn share(&self) -> Self {
        Many {
            load: Arc::clone(&self.load),
            keys: Arc::clone(&self.keys),
        }
    }
}

/// A loader of an async caller.
pub(crate) trait AsyncLoader<T>: Sized + Send + 'static {
    const BRINGS_TAGS: bool;

    /// The loader for one more batch. A loader for one key is moved, not copied.
    fn share(&mut self) -> Self;

    /// Loads the keys of these indices.
    fn load(
        &mut self,
        indices: Vec<usize>,
    ) -> impl Future<Output = Result<Vec<Loaded<T>>>> + Send + use<Self, T>;
}

impl<F, Fut, L, E> AsyncLoader<L::Value> for One<F>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = std::result::Result<L, E>> + Send + 'static,
    L: Loadable,
    E: Into<BoxError> + 'static,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        One(self.0.take())
    }

    fn load(
        &mut self,
        _: Vec<usize>,
    ) -> impl Future<Output = Result<Vec<Loaded<L::Value>>>> + Send + use<F, Fut, L, E> {
        let load = self.take();
        async move { Ok(vec![into_loaded(load?().await)?]) }
    }
}

impl<F, Fut, L> AsyncLoader<L::Value> for One<Sure<F>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = L> + Send + 'static,
    L: Loadable,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        One(self.0.take())
    }

    fn load(
        &mut self,
        _: Vec<usize>,
    ) -> impl Future<Output = Result<Vec<Loaded<L::Value>>>> + Send + use<F, Fut, L> {
        let load = self.take();
        async move { Ok(vec![(load?.0)().await.into_loaded()]) }
    }
}

impl<K, F, Fut, I, Q, L, E> AsyncLoader<Maybe<L::Value>> for Many<F, K>
where
    K: AsRef<[u8]> + Clone + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = std::result::Result<I, E>> + Send + 'static,
    I: IntoIterator<Item = (Q, L)> + 'static,
    Q: AsRef<[u8]> + 'static,
    L: Loadable,
    E: Into<BoxError> + 'static,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        Many::share(self)
    }

    fn load(
        &mut self,
        indices: Vec<usize>,
    ) -> impl Future<Output = Result<Vec<Loaded<Maybe<L::Value>>>>> + Send + use<K, F, Fut, I, Q, L, E>
    {
        let (load, keys) = (Arc::clone(&self.load), self.pick(&indices));
        async move {
            let given = load(keys.clone()).await;
            in_order(&keys, given.map_err(failed)?)
        }
    }
}

impl<K, F, Fut, I, Q, L> AsyncLoader<Maybe<L::Value>> for Many<Sure<F>, K>
where
    K: AsRef<[u8]> + Clone + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = I> + Send + 'static,
    I: IntoIterator<Item = (Q, L)> + 'static,
    Q: AsRef<[u8]> + 'static,
    L: Loadable,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        Many::share(self)
    }

    fn load(
        &mut self,
        indices: Vec<usize>,
    ) -> impl Future<Output = Result<Vec<Loaded<Maybe<L::Value>>>>> + Send + use<K, F, Fut, I, Q, L>
    {
        let (load, keys) = (Arc::clone(&self.load), self.pick(&indices));
        async move {
            let given = (load.0)(keys.clone()).await;
            in_order(&keys, given)
        }
    }
}

impl<K, F, Fut, I, L, E> AsyncLoader<Maybe<L::Value>> for Many<By<F>, K>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = std::result::Result<I, E>> + Send + 'static,
    I: IntoIterator<Item = (K, L)> + 'static,
    L: Loadable,
    E: Into<BoxError> + 'static,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        Many::share(self)
    }

    fn load(
        &mut self,
        indices: Vec<usize>,
    ) -> impl Future<Output = Result<Vec<Loaded<Maybe<L::Value>>>>> + Send + use<K, F, Fut, I, L, E>
    {
        let (load, ids) = (Arc::clone(&self.load), self.pick(&indices));
        async move {
            let given = (load.0)(ids.clone()).await;
            by_id(&ids, given.map_err(failed)?)
        }
    }
}

/// Runs a loader of an async caller in a task of its own, so that a cancelled caller does not stop it.
pub(crate) struct Spawned<Ld>(pub(crate) Ld);

impl<Ld, T> RunLoader<T> for Spawned<Ld>
where
    Ld: AsyncLoader<T>,
    T: Encode + Decode + Clone,
{
    async fn lead(&mut self, batch: Batch, _: bool) -> Vec<Led<T>> {
        let count = batch.len();
        let (tell, told) = oneshot::channel();
        if let Err(error) = self.spawn(batch, tell) {
            return all_failed(count, &error);
        }
        told.await
            .unwrap_or_else(|_| all_failed(count, &shut_down()))
    }

    fn refresh(&mut self, batch: Batch) {
        // Without a runtime nothing is refreshed; the caller already has its value.
        if let Some(batch) = batch.claim() {
            let _ = self.spawn(batch, nobody());
        }
    }
}

impl<Ld> Spawned<Ld> {
    fn spawn<T>(&mut self, batch: Batch, tell: Tell<T>) -> Result<()>
    where
        Ld: AsyncLoader<T>,
        T: Encode + Decode + Clone,
    {
        let mut loader = self.0.share();
        let runtime = batch.cache().client().runtime().clone();
        let waits = !tell.is_closed();
        runtime.try_detach(carry(waits, async move {
            let led = lead(batch, Ld::BRINGS_TAGS, |indices| loader.load(indices)).await;
            let _ = tell.send(led);
        }))
    }
}

/// The channel for the results of a batch.
type Tell<T> = oneshot::Sender<Vec<Led<T>>>;

/// A channel that nobody listens to.
fn nobody<T>() -> Tell<T> {
    let (tell, told) = oneshot::channel();
    drop(told);
    tell
}

/// A loader of a blocking caller.
#[cfg(feature = "blocking")]
pub(crate) trait BlockingLoader<T>: Sized {
    const BRINGS_TAGS: bool;

    /// The loader for one more batch. A loader for one key is moved, not copied.
    fn share(&mut self) -> Self;

    /// Loads the keys of these indices.
    fn load(&mut self, indices: &[usize]) -> Result<Vec<Loaded<T>>>;
}

#[cfg(feature = "blocking")]
impl<F, L, E> BlockingLoader<L::Value> for One<F>
where
    F: FnOnce() -> std::result::Result<L, E>,
    L: Loadable,
    E: Into<BoxError> + 'static,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        One(self.0.take())
    }

    fn load(&mut self, _: &[usize]) -> Result<Vec<Loaded<L::Value>>> {
        let load = self.take()?;
        Ok(vec![into_loaded(load())?])
    }
}

#[cfg(feature = "blocking")]
impl<F, L> BlockingLoader<L::Value> for One<Sure<F>>
where
    F: FnOnce() -> L,
    L: Loadable,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        One(self.0.take())
    }

    fn load(&mut self, _: &[usize]) -> Result<Vec<Loaded<L::Value>>> {
        let Sure(load) = self.take()?;
        Ok(vec![load().into_loaded()])
    }
}

#[cfg(feature = "blocking")]
impl<K, F, I, Q, L, E> BlockingLoader<Maybe<L::Value>> for Many<F, K>
where
    K: AsRef<[u8]> + Clone,
    F: Fn(Vec<K>) -> std::result::Result<I, E>,
    I: IntoIterator<Item = (Q, L)>,
    Q: AsRef<[u8]>,
    L: Loadable,
    E: Into<BoxError> + 'static,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        Many::share(self)
    }

    fn load(&mut self, indices: &[usize]) -> Result<Vec<Loaded<Maybe<L::Value>>>> {
        let keys = self.pick(indices);
        in_order(&keys, (self.load)(keys.clone()).map_err(failed)?)
    }
}

#[cfg(feature = "blocking")]
impl<K, F, I, Q, L> BlockingLoader<Maybe<L::Value>> for Many<Sure<F>, K>
where
    K: AsRef<[u8]> + Clone,
    F: Fn(Vec<K>) -> I,
    I: IntoIterator<Item = (Q, L)>,
    Q: AsRef<[u8]>,
    L: Loadable,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        Many::share(self)
    }

    fn load(&mut self, indices: &[usize]) -> Result<Vec<Loaded<Maybe<L::Value>>>> {
        let keys = self.pick(indices);
        in_order(&keys, (self.load.0)(keys.clone()))
    }
}

#[cfg(feature = "blocking")]
impl<K, F, I, L, E> BlockingLoader<Maybe<L::Value>> for Many<By<F>, K>
where
    K: Clone + Eq + Hash,
    F: Fn(Vec<K>) -> std::result::Result<I, E>,
    I: IntoIterator<Item = (K, L)>,
    L: Loadable,
    E: Into<BoxError> + 'static,
{
    const BRINGS_TAGS: bool = L::BRINGS_TAGS;

    fn share(&mut self) -> Self {
        Many::share(self)
    }

    fn load(&mut self, indices: &[usize]) -> Result<Vec<Loaded<Maybe<L::Value>>>> {
        let ids = self.pick(indices);
        by_id(&ids, (self.load.0)(ids.clone()).map_err(failed)?)
    }
}

/// Runs a loader of a blocking caller on the calling thread, or on a thread of the crew if the call can return before
/// the loader does.
#[cfg(feature = "blocking")]
pub(crate) struct InPlace<Ld, T> {
    pub(crate) loader: Ld,
    pub(crate) beside: Option<Beside<Ld, T>>,
}

/// Leads a batch on a thread of the cache's crew. It exists only for loaders that are `Send`.
#[cfg(feature = "blocking")]
pub(crate) type Beside<Ld, T> = fn(Ld, Batch, Tell<T>);

#[cfg(feature = "blocking")]
pub(crate) fn beside<Ld, T>(mut loader: Ld, mut batch: Batch, tell: Tell<T>)
where
    Ld: BlockingLoader<T> + Send + 'static,
    T: Encode + Decode + Clone,
{
    let crew = Arc::clone(batch.cache().crew());
    let waits = !tell.is_closed();
    // For a refresh that nobody waits for: who waits leads the flights already.
    let keys = if waits {
        Vec::new()
    } else {
        crew.note(&mut batch)
    };
    let task = carry(waits, async move {
        let claimed = if waits { Some(batch) } else { batch.claim() };
        if let Some(batch) = claimed {
            let load = |indices: Vec<usize>| std::future::ready(loader.load(&indices));
            let _ = tell.send(lead(batch, Ld::BRINGS_TAGS, load).await);
        }
    });
    if waits || !keys.is_empty() {
        crew.push(keys, Box::new(move || crate::runtime::block_on(task)));
    }
}

#[cfg(feature = "blocking")]
impl<Ld, T> RunLoader<T> for InPlace<Ld, T>
where
    Ld: BlockingLoader<T>,
    T: Encode + Decode + Clone,
{
    async fn lead(&mut self, batch: Batch, beside: bool) -> Vec<Led<T>> {
        if let Some(run) = self.beside.filter(|_| beside) {
            let count = batch.len();
            let (tell, told) = oneshot::channel();
            run(self.loader.share(), batch, tell);
            return told
                .await
                .unwrap_or_else(|_| all_failed(count, &shut_down()));
        }
        let loader = &mut self.loader;
        // The engine calls this closure where panics are caught.
        let load = |indices: Vec<usize>| {
            let loaded = loader.load(&indices);
            async { loaded }
        };
        lead(batch, Ld::BRINGS_TAGS, load).await
    }

    fn refresh(&mut self, batch: Batch) {
        if let Some(run) = self.beside {
            run(self.loader.share(), batch, nobody());
        }
    }
}

fn all_failed<T>(count: usize, error: &Error) -> Vec<Led<T>> {
    (0..count).map(|_| Led::Failed(error.clone())).collect()
}

/// The load ended without a value.
pub(super) fn given_up() -> Error {
    Error::new(ErrorKind::Loader, "the load was given up")
}

/// The error of a loader for many keys.
fn failed<E: Into<BoxError> + 'static>(error: E) -> Error {
    loader_failed(boxed(error))
}

/// The result of a loader in the order of the requested keys. A key that it did not return has no value.
fn in_order<K, Q, L>(
    keys: &[K],
    given: impl IntoIterator<Item = (Q, L)>,
) -> Result<Vec<Loaded<Maybe<L::Value>>>>
where
    K: AsRef<[u8]>,
    Q: AsRef<[u8]>,
    L: Loadable,
{
    let given = given
        .into_iter()
        .map(|(key, value)| (key.as_ref().to_vec(), value));
    found(keys, K::as_ref, given.collect())
}

/// The same for a loader of ids.
fn by_id<K, L>(
    ids: &[K],
    given: impl IntoIterator<Item = (K, L)>,
) -> Result<Vec<Loaded<Maybe<L::Value>>>>
where
    K: Eq + Hash,
    L: Loadable,
{
    found(ids, |id| id, given.into_iter().collect())
}

fn found<K, N, Q, L>(
    keys: &[K],
    name: impl Fn(&K) -> &N,
    mut given: HashMap<Q, L>,
) -> Result<Vec<Loaded<Maybe<L::Value>>>>
where
    N: Eq + Hash + ?Sized,
    Q: Borrow<N> + Eq + Hash,
    L: Loadable,
{
    let value_of = |key: &K| match given.remove(name(key)) {
        Some(value) => value.into_loaded().map(|value| Maybe(Some(value))),
        // If the type cannot represent "no value", it is not cached.
        None if L::Value::NOTHING.is_none() => Loaded::do_not_store(Maybe(None)),
        None => Loaded::new(Maybe(None)),
    };
    Ok(keys.iter().map(value_of).collect())
}
