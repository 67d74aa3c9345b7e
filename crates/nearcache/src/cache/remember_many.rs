//! `remember_many`: one read for all the keys, one call of the loader for those that are missing, one write.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Core;
use super::operation::{Async, CacheFuture, Marked};
use super::options::{Options, options, options_beside};
use super::remember::{Read, excused, given_up, taken};
use crate::codec::{self, Decode, Encode, Maybe, Stored};
use crate::error::Result;
use crate::hooks::Keys;
use crate::keyspace::StoredKey;
use crate::read_through::flight::Turn;
use crate::read_through::lead::Lead;
use crate::read_through::lead_many::{self, Led};
use crate::read_through::lease::Seen;
use crate::read_through::load::{BoxError, Loadable, Loaded, loader_failed, shut_down};
use crate::read_through::plan::{Plan, Way};

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
                runtime.detach(async move {
                    let led = lead_many::run(leads, L::BRINGS_TAGS, |places| async move {
                        let keys = picked(&asked, &places);
                        in_order(&keys, load(keys.clone()))
                    });
                    let _ = tell.send(led.await);
                });
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
trait Work<K, T> {
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
        runtime.try_detach(async move {
            let led = lead.run(L::BRINGS_TAGS, || async move {
                let keys = [key];
                one(in_order(&keys, load(keys.to_vec()).await)?)
            });
            let _ = tell.send(led.await);
        })?;
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
        // Without a runtime the channel is dropped, which the caller hears.
        let _ = runtime.try_detach(async move {
            let led = lead_many::run(leads, L::BRINGS_TAGS, |places| async move {
                let keys = picked(&asked, &places);
                in_order(&keys, load(keys.clone()).await)
            });
            let _ = tell.send(led.await);
        });
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
fn picked<K: Clone>(asked: &[K], places: &[usize]) -> Vec<K> {
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

/// A key that has to be loaded, and what may stand for its value.
struct Missing<T> {
    index: usize,
    seen: Seen,
    stale: Option<T>,
}

impl Core {
    async fn remember_all<K, T, W>(
        &self,
        keys: Vec<K>,
        plan: Plan,
        work: W,
    ) -> Result<Vec<Option<T>>>
    where
        K: AsRef<[u8]> + Clone,
        T: Encode + Decode,
        W: Work<K, T>,
    {
        let asked = Asked::new(self, &keys)?;
        self.watched("remember_many", Keys::Stored(&asked.stored), async |core| {
            core.remember_asked(&asked, plan, work).await
        })
        .await
    }

    async fn remember_asked<K, T, W>(
        &self,
        asked: &Asked<'_, K>,
        plan: Plan,
        work: W,
    ) -> Result<Vec<Option<T>>>
    where
        K: AsRef<[u8]> + Clone,
        T: Encode + Decode,
        W: Work<K, T>,
    {
        let mut answers: Vec<Option<Maybe<T>>> = Vec::new();
        let mut missing = Vec::new();
        let mut due = Vec::new();
        for (index, read) in self
            .read_many_for(&asked.stored, &plan)
            .await?
            .into_iter()
            .enumerate()
        {
            answers.push(match read {
                Read::Answer(value) => Some(value),
                Read::Due(value, seen) => {
                    due.push((index, seen));
                    Some(value)
                }
                Read::Load(seen, stale) => {
                    missing.push(Missing { index, seen, stale });
                    None
                }
            });
        }
        self.refresh_many(asked, &plan, due, &work);
        if !missing.is_empty() {
            let all_have_stale = missing.iter().all(|missing| missing.stale.is_some());
            let beside = plan.soft_timeout.filter(|_| all_have_stale);
            let seen = missing.iter_mut().map(|missing| {
                (
                    missing.index,
                    std::mem::replace(&mut missing.seen, Seen::Absent),
                )
            });
            let seen = seen.collect();
            let loading = || self.load_many(asked, Arc::new(plan), seen, &work, beside.is_some());
            let loaded = match beside {
                Some(time) => self.runtime().timeout(time, loading).await,
                None => Some(loading().await),
            };
            let mut loaded = loaded.unwrap_or_default();
            for Missing { index, stale, .. } in missing {
                answers[index] = Some(match (loaded.remove(&index), stale) {
                    (Some(Ok(value)), _) => value,
                    (Some(Err(error)), Some(stale)) if excused(&error) => self.stale(stale),
                    (Some(Err(error)), _) => return Err(error),
                    (None, Some(stale)) => self.stale(stale),
                    (None, None) => return Err(given_up()),
                });
            }
        }
        asked.in_order(answers)
    }

    fn stale<T>(&self, value: T) -> T {
        self.counters().stale_hits.add(1);
        value
    }

    fn refresh_many<K, T, W>(
        &self,
        asked: &Asked<'_, K>,
        plan: &Plan,
        due: Vec<(usize, Seen)>,
        work: &W,
    ) where
        K: AsRef<[u8]> + Clone,
        W: Work<K, T>,
    {
        if due.is_empty() {
            return;
        }
        let plan = Arc::new(plan.for_refresh());
        let (mut leads, mut keys) = (Vec::new(), Vec::new());
        for (index, seen) in due {
            let key = &asked.stored[index];
            if let Some(leader) = self.flights().lead_alone(key.as_bytes()) {
                self.counters().refreshes.add(1);
                leads.push(self.lead_with(key, &plan, seen, Some(leader)));
                keys.push(asked.keys[index].clone());
            }
        }
        work.refresh(leads, keys);
    }

    /// Loads these, or waits for whoever does.
    async fn load_many<K, T, W>(
        &self,
        asked: &Asked<'_, K>,
        plan: Arc<Plan>,
        missing: Vec<(usize, Seen)>,
        work: &W,
        beside: bool,
    ) -> HashMap<usize, Result<Maybe<T>>>
    where
        K: AsRef<[u8]> + Clone,
        T: Encode + Decode,
        W: Work<K, T>,
    {
        let (mut led, mut leads, mut waiters) = (Vec::new(), Vec::new(), Vec::new());
        for (index, seen) in missing {
            let key = &asked.stored[index];
            let leader = match plan.way {
                Way::Bypass | Way::Force => None,
                Way::Miss | Way::Refresh => match self.flights().join(key.as_bytes()) {
                    Ok(leader) => Some(leader),
                    Err(waiter) => {
                        self.counters().coalesced.add(1);
                        waiters.push((index, seen, waiter));
                        continue;
                    }
                },
            };
            led.push(index);
            leads.push(self.lead_with(key, &plan, seen, leader));
        }
        // First what we lead, then what we wait for: two callers who lead what the other waits for both
        // come to an end.
        let keys = picked(
            asked.keys,
            &led.iter()
                .map(|index| asked.first[*index])
                .collect::<Vec<_>>(),
        );
        let mut loaded = HashMap::new();
        let mut apart = Vec::new();
        for (index, ended) in led.into_iter().zip(work.lead(leads, keys, beside).await) {
            match ended {
                Led::Value(value) => drop(loaded.insert(index, Ok(value))),
                Led::Failed(error) => drop(loaded.insert(index, Err(error))),
                Led::Apart(lead) => apart.push((index, lead)),
                Led::Skipped => drop(loaded.insert(index, Err(given_up()))),
            }
        }
        for (index, lead) in apart {
            let key = asked.keys[asked.first[index]].clone();
            let value = work.lead_apart(lead, key).await;
            loaded.insert(index, value.and_then(|value| value.ok_or_else(given_up)));
        }
        for (index, seen, waiter) in waiters {
            let patience = plan.load_timeout.unwrap_or(self.lease());
            let value = match waiter.turn(self.runtime(), Some(patience)).await {
                Turn::Take(outcome) => taken(outcome),
                Turn::Lead(leader) => {
                    let lead = self.lead_with(&asked.stored[index], &plan, seen, Some(leader));
                    let key = asked.keys[asked.first[index]].clone();
                    let value = work.lead_apart(lead, key).await;
                    value.and_then(|value| value.ok_or_else(given_up))
                }
            };
            loaded.insert(index, value);
        }
        loaded
    }
}

/// The keys of a call, each once.
struct Asked<'k, K> {
    keys: &'k [K],
    stored: Vec<StoredKey>,
    /// For each of the stored ones, where it stands first in the keys.
    first: Vec<usize>,
    /// For each of the keys, which of the stored ones it is.
    which: Vec<usize>,
}

impl<'k, K: AsRef<[u8]>> Asked<'k, K> {
    fn new(core: &Core, keys: &'k [K]) -> Result<Self> {
        let mut indices: HashMap<&[u8], usize> = HashMap::with_capacity(keys.len());
        let mut asked = Asked {
            keys,
            stored: Vec::with_capacity(keys.len()),
            first: Vec::with_capacity(keys.len()),
            which: Vec::with_capacity(keys.len()),
        };
        for (place, key) in keys.iter().enumerate() {
            let index = match indices.get(key.as_ref()) {
                Some(index) => *index,
                None => {
                    asked.stored.push(core.stored(key.as_ref())?);
                    asked.first.push(place);
                    indices.insert(key.as_ref(), asked.stored.len() - 1);
                    asked.stored.len() - 1
                }
            };
            asked.which.push(index);
        }
        Ok(asked)
    }

    /// The values in the caller's order. One that is wanted twice is copied as the cache would: encoded and
    /// decoded.
    fn in_order<T: Encode + Decode>(
        &self,
        answers: Vec<Option<Maybe<T>>>,
    ) -> Result<Vec<Option<T>>> {
        let mut answers: Vec<Option<T>> = answers
            .into_iter()
            .map(|answer| answer.and_then(|value| value.0))
            .collect();
        let mut left = vec![0_usize; answers.len()];
        for index in &self.which {
            left[*index] += 1;
        }
        let mut ordered = Vec::with_capacity(self.which.len());
        for index in &self.which {
            left[*index] -= 1;
            ordered.push(if left[*index] == 0 {
                answers[*index].take()
            } else {
                answers[*index].as_ref().map(copied).transpose()?.flatten()
            });
        }
        Ok(ordered)
    }
}

fn copied<T: Encode + Decode>(value: &T) -> Result<Option<T>> {
    Ok(match T::decode(&mut codec::encode(value)?)? {
        Stored::Value(value) => Some(value),
        Stored::Nothing => None,
    })
}

impl<K, T, F, M> fmt::Debug for RememberMany<'_, K, T, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RememberMany")
            .field("keys", &self.keys.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
