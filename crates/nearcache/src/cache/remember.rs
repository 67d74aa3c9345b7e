//! `remember`: the value that is cached, or the one that the loader gives, which is cached then.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Cache;
use super::core::Core;
use super::operation::{Async, CacheFuture, Marked};
use super::options::{Options, options, options_beside};
use crate::codec::{Decode, Encode, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{Keys, Outcome as Told, carried};
use crate::keyspace::StoredKey;
use crate::read_through::entry::{Entry, Judgement};
use crate::read_through::flight::{Leader, Outcome, Turn};
use crate::read_through::lead::{Lead, is_away};
use crate::read_through::lease::Seen;
use crate::read_through::load::{BoxError, Loadable, settled, shut_down};
use crate::read_through::plan::{Plan, Way};

/// A pending `remember` or `refresh`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Remember<'c, T, F, M = Async> {
    core: &'c Core,
    key: Result<StoredKey>,
    load: F,
    options: Options,
    value: PhantomData<fn() -> T>,
    /// Runs the loader beside the caller, for a blocking one.
    #[cfg(feature = "blocking")]
    beside: Option<Beside<T, F>>,
    mode: Marked<M>,
}

/// Leads with a loader, and says how it went.
#[cfg(feature = "blocking")]
type Beside<T, F> = fn(F, Lead, Tell<T>);
#[cfg(feature = "blocking")]
type Tell<T> = oneshot::Sender<Result<Option<T>>>;

impl Cache {
    /// The value of a key: the one that is cached, or else the one that `load` gives, which is cached
    /// then. Of all callers that miss one key together, in this process and in others, one loads; the
    /// others wait for it. What was loaded before an invalidation of the key (`delete`, `set`,
    /// [`invalidate_tag`](Cache::invalidate_tag), `clear`) is never stored after it.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct User { name: String }
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
        L: Loadable,
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
    /// Those of [`remember`](Cache::remember).
    pub fn refresh<F, Fut, L, E>(&self, key: impl AsRef<[u8]>, load: F) -> Remember<'_, L::Value, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = std::result::Result<L, E>> + Send + 'static,
        L: Loadable,
        E: Into<BoxError> + 'static,
    {
        Remember::new(&self.core, key.as_ref(), load, Way::Force)
    }
}

impl<'c, T, F, M> Remember<'c, T, F, M> {
    pub(crate) fn new(core: &'c Core, key: &[u8], load: F, way: Way) -> Self {
        Remember {
            core,
            key: core.stored(key),
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
    options_beside!(.prepared());

    fn prepared(mut self) -> Self {
        self.beside = Some(|load, lead, tell: Tell<T>| {
            let runtime = lead.core.runtime().clone();
            let waits = !tell.is_closed();
            runtime.detach(carried(waits, async move {
                let led = lead.run(L::BRINGS_TAGS, || async { settled(load()) }).await;
                let _ = tell.send(led);
            }));
        });
        self
    }
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
        let Remember {
            core,
            key,
            load,
            options,
            ..
        } = self;
        match (key, options.settle(core)) {
            (Ok(key), Ok(plan)) => CacheFuture::asking(async move {
                let work = Spawned(load, PhantomData);
                core.watched(plan.verb(), Keys::One(key.user()), async |core| {
                    core.remember(&key, plan, work).await
                })
                .await
            }),
            (Err(error), _) | (_, Err(error)) => CacheFuture::ready(Err(error)),
        }
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
        let plan = self.options.settle(self.core)?;
        let work = InPlace {
            load: self.load,
            beside: self.beside,
            marked: PhantomData,
        };
        let key = self.key?;
        let keys = Keys::One(key.user());
        crate::runtime::block_on(self.core.watched(plan.verb(), keys, async |core| {
            core.remember(&key, plan, work).await
        }))
    }
}

/// A loader, and how it is run.
trait Work<T>: Sized {
    /// Leads with it, and waits for its end; where it must be possible to stop waiting, beside the caller.
    fn lead(self, lead: Lead, beside: bool) -> impl Future<Output = Result<Option<T>>>;

    /// Leads with it beside the caller, who does not wait.
    fn refresh(self, lead: Lead);
}

/// A loader of an async caller: it runs in a task of its own, so that a caller who goes away stops
/// nothing.
struct Spawned<F, L>(F, PhantomData<fn() -> L>);

impl<T, F, Fut, L, E> Work<T> for Spawned<F, L>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = std::result::Result<L, E>> + Send + 'static,
    L: Loadable<Value = T>,
    E: Into<BoxError> + 'static,
    T: Encode + Decode,
{
    fn lead(self, lead: Lead, _: bool) -> impl Future<Output = Result<Option<T>>> {
        let (tell, told) = oneshot::channel();
        let runtime = lead.core.runtime().clone();
        let started = runtime.try_detach(carried(true, async move {
            let _ = tell.send(spawned(self.0, lead).await);
        }));
        async move {
            started?;
            told.await.unwrap_or_else(|_| Err(shut_down()))
        }
    }

    fn refresh(self, lead: Lead) {
        let runtime = lead.core.runtime().clone();
        // Without a runtime it is not refreshed; the caller has his answer.
        let _ = runtime.try_detach(async move {
            let _ = spawned(self.0, lead).await;
        });
    }
}

async fn spawned<F, Fut, L, E>(load: F, lead: Lead) -> Result<Option<L::Value>>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = std::result::Result<L, E>>,
    L: Loadable,
    E: Into<BoxError>,
{
    lead.run(L::BRINGS_TAGS, || async { settled(load().await) })
        .await
}

/// A loader of a blocking caller: it runs on the caller's thread, or on one of its own where the caller
/// is answered before it ends.
#[cfg(feature = "blocking")]
struct InPlace<T, F, L> {
    load: F,
    beside: Option<Beside<T, F>>,
    marked: PhantomData<fn() -> L>,
}

#[cfg(feature = "blocking")]
impl<T, F, L, E> Work<T> for InPlace<T, F, L>
where
    F: FnOnce() -> std::result::Result<L, E>,
    L: Loadable<Value = T>,
    E: Into<BoxError>,
    T: Encode + Decode,
{
    async fn lead(self, lead: Lead, beside: bool) -> Result<Option<T>> {
        if let Some(run) = self.beside.filter(|_| beside) {
            let (tell, told) = oneshot::channel();
            run(self.load, lead, tell);
            return told.await.unwrap_or_else(|_| Err(shut_down()));
        }
        let load = self.load;
        lead.run(L::BRINGS_TAGS, || async { settled(load()) }).await
    }

    fn refresh(self, lead: Lead) {
        if let Some(run) = self.beside {
            run(self.load, lead, oneshot::channel().0);
        }
    }
}

/// What a read found for `remember`.
pub(super) enum Read<T> {
    /// The answer.
    Answer(T),
    /// The answer, which is to be loaded anew beside.
    Due(T, Seen),
    /// Nothing that can be answered with now; perhaps a value for when there is no other.
    Load(Seen, Option<T>),
}

impl Core {
    async fn remember<T, W>(&self, key: &StoredKey, plan: Plan, work: W) -> Result<T>
    where
        T: Encode + Decode,
        W: Work<T>,
    {
        let found = match plan.way {
            Way::Bypass | Way::Force => {
                let call = self.enter()?;
                let lead = self.lead_with(key, &Arc::new(plan), Seen::Anything, None);
                let led = work.lead(lead, false).await;
                drop(call);
                return led.and_then(|value| value.ok_or_else(given_up));
            }
            Way::Miss | Way::Refresh => self.read_for(key, &plan).await?,
        };
        match found {
            Read::Answer(value) => Ok(value),
            Read::Due(value, seen) => {
                if let Some(leader) = self.flights().lead_alone(key.as_bytes()) {
                    self.counters().refreshes.add(1);
                    let plan = Arc::new(plan.for_refresh());
                    work.refresh(self.lead_with(key, &plan, seen, Some(leader)));
                }
                Ok(value)
            }
            Read::Load(seen, stale) => {
                let beside = plan.soft_timeout.filter(|_| stale.is_some());
                let loading = || self.loaded(key, plan, seen, work, beside.is_some());
                let loaded = match beside {
                    Some(time) => self.runtime().timeout(time, loading).await,
                    None => Some(loading().await),
                };
                match (loaded, stale) {
                    (Some(Ok(value)), _) => Ok(value),
                    (Some(Err(error)), Some(stale)) if excused(&error) => {
                        self.counters().stale_hits.add(1);
                        Ok(stale)
                    }
                    (Some(Err(error)), _) => Err(error),
                    (None, Some(stale)) => {
                        self.counters().stale_hits.add(1);
                        Ok(stale)
                    }
                    (None, None) => Err(given_up()),
                }
            }
        }
    }

    pub(super) fn lead_with(
        &self,
        key: &StoredKey,
        plan: &Arc<Plan>,
        seen: Seen,
        leader: Option<Leader>,
    ) -> Lead {
        Lead {
            core: self.clone(),
            key: key.clone(),
            plan: Arc::clone(plan),
            leader,
            seen,
        }
    }

    /// Reads a key for `remember`, and counts what that found.
    ///
    /// model: Action::Get
    async fn read_for<T: Decode>(&self, key: &StoredKey, plan: &Plan) -> Result<Read<T>> {
        let mark = self.mark(key);
        let judged = match self.get(key).await {
            Ok(bytes) => self.judged_one(bytes.map(Entry::new)).await,
            Err(error) => Err(error),
        };
        match judged {
            Ok((entry, judgement)) => {
                self.saw(key, entry.as_ref(), judgement, mark);
                Ok(self.considered(entry, judgement, plan))
            }
            Err(error) if is_away(&error) => Ok(self.away(key)),
            Err(error) => Err(error),
        }
    }

    /// Redis is away: the loader is not, and should it fail there may be something that was read before.
    fn away<T: Decode>(&self, key: &StoredKey) -> Read<T> {
        self.counters().misses.add(1);
        self.note(Told::Miss, 0);
        let last = self.last_seen(key).map(Entry::new);
        let stale = last.and_then(|mut entry| match entry.decode().ok()? {
            Stored::Value(value) => Some(value),
            Stored::Nothing => T::nothing(),
        });
        Read::Load(Seen::Unknown, stale)
    }

    /// Reads many keys for `remember_many`.
    pub(super) async fn read_many_for<T: Decode>(
        &self,
        keys: &[StoredKey],
        plan: &Plan,
    ) -> Result<Vec<Read<T>>> {
        if matches!(plan.way, Way::Bypass | Way::Force) {
            let unseen = || Read::Load(Seen::Anything, None);
            return Ok(keys.iter().map(|_| unseen()).collect());
        }
        let marks: Vec<_> = keys.iter().map(|key| self.mark(key)).collect();
        let judged = match self.entries(keys).await {
            Ok(entries) => self.judged(entries).await,
            Err(error) => Err(error),
        };
        match judged {
            Ok(judged) => Ok(judged
                .zip(keys.iter().zip(marks))
                .map(|((entry, judgement), (key, mark))| {
                    self.saw(key, entry.as_ref(), judgement, mark);
                    self.considered(entry, judgement, plan)
                })
                .collect()),
            Err(error) if is_away(&error) => Ok(keys.iter().map(|key| self.away(key)).collect()),
            Err(error) => Err(error),
        }
    }

    /// What to do with what was found, which is counted.
    fn considered<T: Decode>(
        &self,
        entry: Option<Entry>,
        judgement: Judgement,
        plan: &Plan,
    ) -> Read<T> {
        let counters = self.counters();
        let Some(mut entry) = entry else {
            counters.misses.add(1);
            self.note(Told::Miss, 0);
            return Read::Load(Seen::Absent, None);
        };
        let bytes = entry.bytes().len();
        counters.bytes_in.add(bytes as u64);
        // Whether it is the answer, whether it is loaded anew, and whether it is better than an error.
        let (answers, renew, excuses) = match judgement {
            Judgement::Fresh => (
                true,
                entry.is_due(plan.early_refresh, self.unix_millis()),
                true,
            ),
            Judgement::Stale(since) if since < plan.stale_for => (true, true, true),
            Judgement::Stale(since) => (false, true, since < plan.stale_if_error),
            Judgement::Dead => (false, true, false),
        };
        // Before the value takes the bytes with it; of a fresh entry nobody asks.
        let seen = renew.then(|| Seen::of(Some(entry.bytes())));
        let (value, told) = if excuses {
            self.value_of(&mut entry)
        } else {
            (None, Told::Miss)
        };
        match (value, seen) {
            (Some(value), seen) if answers => {
                match told {
                    Told::Nothing => counters.nothings.add(1),
                    _ => counters.hits.add(1),
                }
                if matches!(judgement, Judgement::Stale(_)) {
                    counters.stale_hits.add(1);
                    self.note(Told::Stale, bytes);
                } else {
                    self.note(told, bytes);
                }
                match seen {
                    Some(seen) => Read::Due(value, seen),
                    None => Read::Answer(value),
                }
            }
            (value, seen) => {
                counters.misses.add(1);
                self.note(Told::Miss, bytes);
                let seen = seen.unwrap_or_else(|| Seen::of(Some(entry.bytes())));
                Read::Load(seen, value)
            }
        }
    }

    /// The value of an entry, and what it is: a value, a nothing, or neither.
    fn value_of<T: Decode>(&self, entry: &mut Entry) -> (Option<T>, Told) {
        match entry.decode::<T>() {
            Ok(Stored::Value(value)) => (Some(value), Told::Hit),
            Ok(Stored::Nothing) => (T::nothing(), Told::Nothing),
            Err(_) => {
                self.counters().undecodable.add(1);
                (None, Told::Miss)
            }
        }
    }

    /// Loads a key, or waits for whoever does.
    async fn loaded<T, W>(
        &self,
        key: &StoredKey,
        plan: Plan,
        seen: Seen,
        work: W,
        beside: bool,
    ) -> Result<T>
    where
        T: Encode + Decode,
        W: Work<T>,
    {
        let leader = match self.flights().join(key.as_bytes()) {
            Ok(leader) => leader,
            Err(waiter) => {
                self.counters().coalesced.add(1);
                let patience = plan.load_timeout.unwrap_or(self.lease());
                match waiter.turn(self.runtime(), Some(patience)).await {
                    Turn::Lead(leader) => leader,
                    Turn::Take(outcome) => return taken(outcome),
                }
            }
        };
        let lead = self.lead_with(key, &Arc::new(plan), seen, Some(leader));
        work.lead(lead, beside)
            .await
            .and_then(|value| value.ok_or_else(given_up))
    }
}

/// What another caller's load brought.
pub(super) fn taken<T: Decode>(outcome: Outcome) -> Result<T> {
    match outcome {
        Outcome::Failed(error) => Err(error),
        Outcome::Nothing => T::nothing().ok_or_else(no_nothing),
        Outcome::Value(bytes) => match Entry::new(bytes.to_vec()).decode()? {
            Stored::Value(value) => Ok(value),
            Stored::Nothing => T::nothing().ok_or_else(no_nothing),
        },
    }
}

/// Whether a stale value may stand for this error.
pub(super) fn excused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Loader | ErrorKind::Overloaded)
}

fn no_nothing() -> Error {
    Error::new(
        ErrorKind::Codec,
        "another caller's loader found nothing, which this type has no value for; use an Option",
    )
}

pub(super) fn given_up() -> Error {
    Error::new(ErrorKind::Loader, "it was given up")
}

impl<T, F, M> fmt::Debug for Remember<'_, T, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remember")
            .field("key", &self.key)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
