//! `remember_many`: one read for all the keys, one call of the loader for those that are missing, one write.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Cache;
use super::core::Core;
use super::operation::{Async, CacheFuture, Marked};
use super::options::{Options, options, options_beside};
use super::remember::given_up;
use crate::codec::{Decode, Encode, Maybe};
use crate::error::Result;
use crate::hooks::carried;
use crate::read_through::lead::Lead;
use crate::read_through::lead_many::{self, Led};
use crate::read_through::load::{BoxError, Loadable, Loaded, loader_failed, shut_down};
use crate::read_through::plan::Way;

/// A pending `remember_many`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct RememberMany<'c, K, T, F, M = Async> {
    core: &'c Core,
    keys: Vec<K>,
    load: F,
    options: Options,
    value: PhantomData<fn() -> T>,
    /// Runs the loader beside the caller, for a blocking one.
    #[cfg(feature = "blocking")]
    beside: Option<Beside<K, T, F>>,
    mode: Marked<M>,
}

/// Leads many with a loader, and says how it went.
#[cfg(feature = "blocking")]
type Beside<K, T, F> = fn(Arc<F>, Vec<Lead>, Vec<K>, Tell<T>);
type Tell<T> = oneshot::Sender<Vec<Led<Maybe<T>>>>;

impl Cache {
    /// The values of many keys: the cached ones from one read, and the missing ones from *one* call of the
    /// loader, which is given their keys and returns what it found of them, as pairs of key and value in any
    /// order and any collection. The values come in the order of the keys; `None` is a key that the loader
    /// did not return, which is remembered as such.
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
    /// A key that another caller is loading is waited for. The loader is called again, for one key, only where
    /// that ended without a value.
    ///
    /// # Errors
    /// Those of [`remember`](Cache::remember), the first of any: nothing is returned in part. What was loaded
    /// is stored all the same.
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
        L: Loadable,
        E: Into<BoxError> + 'static,
    {
        RememberMany::new(&self.core, keys, load)
    }
}

impl<'c, K, T, F, M> RememberMany<'c, K, T, F, M> {
    pub(crate) fn new(core: &'c Core, keys: impl IntoIterator<Item = K>, load: F) -> Self {
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
    K: AsRef<[u8]> + Clone + Send + 'static,
    F: Fn(Vec<K>) -> std::result::Result<I, E> + Send + Sync + 'static,
    I: IntoIterator<Item = (Q, L)>,
    Q: AsRef<[u8]>,
    L: Loadable<Value = T>,
    E: Into<BoxError>,
    T: Encode + Decode,
{
    options_beside!(.prepared());

    fn prepared(mut self) -> Self {
        self.beside = Some(|load, leads, asked, tell: Tell<T>| {
            if let Some(lead) = leads.first() {
                let runtime = lead.core.runtime().clone();
                let waits = !tell.is_closed();
                runtime.detach(carried(waits, async move {
                    let led = lead_many::run(leads, L::BRINGS_TAGS, |places| async move {
                        let keys = picked(&asked, &places);
                        in_order(&keys, load(keys.clone()))
                    });
                    let _ = tell.send(led.await);
                }));
            }
        });
        self
    }
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
    T: Encode + Decode,
{
    type Output = Result<Vec<Option<T>>>;
    type IntoFuture = CacheFuture<'c, Vec<Option<T>>>;

    fn into_future(self) -> Self::IntoFuture {
        match self.options.settle(self.core) {
            Ok(plan) => {
                let work = Spawned(Arc::new(self.load));
                let (core, keys) = (self.core, self.keys);
                CacheFuture::asking(core.remember_all(keys, plan, work))
            }
            Err(error) => CacheFuture::ready(Err(error)),
        }
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
    T: Encode + Decode,
{
    /// Carries the operation out on this thread, the loader too, unless the caller is answered before it.
    ///
    /// # Errors
    /// Those of the verb that made the operation.
    pub fn run(self) -> Result<Vec<Option<T>>> {
        let plan = self.options.settle(self.core)?;
        let work = InPlace {
            load: Arc::new(self.load),
            beside: self.beside,
        };
        crate::runtime::block_on(self.core.remember_all(self.keys, plan, work))
    }
}

/// A loader of many, and how it is run.
pub(super) trait Work<K, T> {
    /// Leads with it, for these keys; where it must be possible to stop waiting, beside the caller.
    fn lead(
        &self,
        leads: Vec<Lead>,
        asked: Vec<K>,
        beside: bool,
    ) -> impl Future<Output = Vec<Led<Maybe<T>>>>;

    /// Leads with it beside the caller, who does not wait.
    fn refresh(&self, leads: Vec<Lead>, asked: Vec<K>);

    /// Leads with it for one key.
    fn lead_apart(&self, lead: Lead, key: K) -> impl Future<Output = Result<Option<Maybe<T>>>>;
}

/// A loader of an async caller, which runs in a task of its own.
struct Spawned<F>(Arc<F>);

impl<K, T, F, Fut, I, Q, L, E> Work<K, T> for Spawned<F>
where
    K: AsRef<[u8]> + Clone + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = std::result::Result<I, E>> + Send + 'static,
    I: IntoIterator<Item = (Q, L)> + 'static,
    Q: AsRef<[u8]> + 'static,
    L: Loadable<Value = T>,
    E: Into<BoxError> + 'static,
    T: Encode + Decode,
{
    async fn lead(&self, leads: Vec<Lead>, asked: Vec<K>, _: bool) -> Vec<Led<Maybe<T>>> {
        let count = leads.len();
        let (tell, told) = oneshot::channel();
        self.start(leads, asked, tell);
        match told.await {
            Ok(led) => led,
            Err(_) => (0..count).map(|_| Led::Failed(shut_down())).collect(),
        }
    }

    fn refresh(&self, leads: Vec<Lead>, asked: Vec<K>) {
        self.start(leads, asked, oneshot::channel().0);
    }

    async fn lead_apart(&self, lead: Lead, key: K) -> Result<Option<Maybe<T>>> {
        let (tell, told) = oneshot::channel();
        let (runtime, load) = (lead.core.runtime().clone(), Arc::clone(&self.0));
        runtime.try_detach(carried(true, async move {
            let led = lead.run(L::BRINGS_TAGS, || async move {
                let keys = [key];
                one(in_order(&keys, load(keys.to_vec()).await)?)
            });
            let _ = tell.send(led.await);
        }))?;
        told.await.unwrap_or_else(|_| Err(shut_down()))
    }
}

impl<F> Spawned<F> {
    fn start<K, T, Fut, I, Q, L, E>(&self, leads: Vec<Lead>, asked: Vec<K>, tell: Tell<T>)
    where
        K: AsRef<[u8]> + Clone + Send + Sync + 'static,
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<I, E>> + Send + 'static,
        I: IntoIterator<Item = (Q, L)> + 'static,
        Q: AsRef<[u8]> + 'static,
        L: Loadable<Value = T>,
        E: Into<BoxError> + 'static,
        T: Encode + Decode,
    {
        let Some(lead) = leads.first() else {
            let _ = tell.send(Vec::new());
            return;
        };
        let (runtime, load) = (lead.core.runtime().clone(), Arc::clone(&self.0));
        let waits = !tell.is_closed();
        // Without a runtime the channel is dropped, which the caller hears.
        let _ = runtime.try_detach(carried(waits, async move {
            let led = lead_many::run(leads, L::BRINGS_TAGS, |places| async move {
                let keys = picked(&asked, &places);
                in_order(&keys, load(keys.clone()).await)
            });
            let _ = tell.send(led.await);
        }));
    }
}

/// A loader of a blocking caller, which runs on the caller's thread, or on one of its own where the caller
/// is answered before it ends.
#[cfg(feature = "blocking")]
struct InPlace<K, T, F> {
    load: Arc<F>,
    beside: Option<Beside<K, T, F>>,
}

#[cfg(feature = "blocking")]
impl<K, T, F, I, Q, L, E> Work<K, T> for InPlace<K, T, F>
where
    K: AsRef<[u8]> + Clone,
    F: Fn(Vec<K>) -> std::result::Result<I, E>,
    I: IntoIterator<Item = (Q, L)>,
    Q: AsRef<[u8]>,
    L: Loadable<Value = T>,
    E: Into<BoxError>,
    T: Encode + Decode,
{
    async fn lead(&self, leads: Vec<Lead>, asked: Vec<K>, beside: bool) -> Vec<Led<Maybe<T>>> {
        if let Some(start) = self.beside.filter(|_| beside) {
            let count = leads.len();
            let (tell, told) = oneshot::channel();
            start(Arc::clone(&self.load), leads, asked, tell);
            return match told.await {
                Ok(led) => led,
                Err(_) => (0..count).map(|_| Led::Failed(shut_down())).collect(),
            };
        }
        lead_many::run(leads, L::BRINGS_TAGS, |places| async move {
            let keys = picked(&asked, &places);
            in_order(&keys, (self.load)(keys.clone()))
        })
        .await
    }

    fn refresh(&self, leads: Vec<Lead>, asked: Vec<K>) {
        if let Some(start) = self.beside {
            start(Arc::clone(&self.load), leads, asked, oneshot::channel().0);
        }
    }

    async fn lead_apart(&self, lead: Lead, key: K) -> Result<Option<Maybe<T>>> {
        lead.run(L::BRINGS_TAGS, || async move {
            let keys = [key];
            one(in_order(&keys, (self.load)(keys.to_vec()))?)
        })
        .await
    }
}

/// The keys in these places.
pub(super) fn picked<K: Clone>(asked: &[K], places: &[usize]) -> Vec<K> {
    places.iter().map(|place| asked[*place].clone()).collect()
}

/// What a loader gave, in the order of the keys that it was asked for. What it did not give, there is not.
fn in_order<K, I, Q, L, E>(
    keys: &[K],
    given: std::result::Result<I, E>,
) -> Result<Vec<Loaded<Maybe<L::Value>>>>
where
    K: AsRef<[u8]>,
    I: IntoIterator<Item = (Q, L)>,
    Q: AsRef<[u8]>,
    L: Loadable,
    E: Into<BoxError>,
{
    let given = given.map_err(|error| loader_failed(error.into()))?;
    let mut given: HashMap<Vec<u8>, L> = given
        .into_iter()
        .map(|(key, value)| (key.as_ref().to_vec(), value))
        .collect();
    let value_of = |key: &K| match given.remove(key.as_ref()) {
        Some(value) => value.into_loaded().map(|value| Maybe(Some(value))),
        // Where the format has no word for it, it cannot be remembered.
        None if L::Value::NOTHING.is_none() => Loaded::do_not_store(Maybe(None)),
        None => Loaded::new(Maybe(None)),
    };
    Ok(keys.iter().map(value_of).collect())
}

/// The only one.
fn one<T>(mut loaded: Vec<T>) -> Result<T> {
    loaded.pop().ok_or_else(given_up)
}

impl<K, T, F, M> fmt::Debug for RememberMany<'_, K, T, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RememberMany")
            .field("keys", &self.keys.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
