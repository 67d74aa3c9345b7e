//! `remember` and `remember_many`: read the keys, load the missing ones, and refresh the due ones in the background.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ReadThrough;
use super::entry::{Entry, Judgement};
use super::flight::{Answer, Leader, Turn, Waiter};
use super::lead::{Batch, Lead, Led, is_away};
use super::lease::Seen;
use super::loader::{RunLoader, given_up};
use super::near::Shape;
use super::plan::{Plan, Way};
use super::read::Of;
use crate::codec::{Decode, Encode, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::Outcome;
use crate::keyspace::StoredKey;
use crate::resilience::Instead;

/// The result of a read for `remember`.
enum Read<T> {
    /// The value to return.
    Answer(T),
    /// The value to return, and to refresh in the background.
    Due(T, Seen),
    /// No value to return now, but perhaps a stale one to return if the load fails.
    Load(Seen, Option<T>),
}

impl<T> Read<T> {
    /// For a call that does not read.
    fn unread() -> Self {
        Read::Load(Seen::Anything, None)
    }
}

/// A key to load, with the stale value that may replace its value.
struct Missing<T> {
    index: usize,
    seen: Seen,
    stale: Option<T>,
}

impl ReadThrough {
    /// The value of one key. A hit makes no allocation except for what it reads.
    pub(crate) async fn remember<T>(
        &self,
        key: &StoredKey,
        plan: &Plan,
        loader: &mut impl RunLoader<T>,
    ) -> Result<T>
    where
        T: Encode + Decode + Clone,
    {
        let read = match plan.way {
            Way::Bypass | Way::Force => Read::unread(),
            Way::Miss | Way::Refresh => self.read_one(key, plan).await?,
        };
        match read {
            Read::Answer(value) => Ok(value),
            read => {
                let keys = std::slice::from_ref(key);
                // Boxed: a hit should not carry it.
                let mut values = Box::pin(self.answer(keys, vec![read], plan, loader)).await?;
                values.pop().ok_or_else(given_up)
            }
        }
    }

    /// The values of many keys, in their order. The keys must not contain duplicates.
    pub(crate) async fn remember_many<T>(
        &self,
        keys: &[StoredKey],
        plan: &Plan,
        loader: &mut impl RunLoader<T>,
    ) -> Result<Vec<T>>
    where
        T: Encode + Decode + Clone,
    {
        let reads = match plan.way {
            Way::Bypass | Way::Force => keys.iter().map(|_| Read::unread()).collect(),
            Way::Miss | Way::Refresh => self.read_each(keys, plan).await?,
        };
        self.answer(keys, reads, plan, loader).await
    }

    /// The value of a user's key, if it is near and need not be loaded anew, and no hook is told of the call: that needs
    /// the call's future.
    #[inline]
    pub(crate) fn remember_hit<T: Decode + Clone>(&self, key: &[u8], beta: f64) -> Option<T> {
        if self.client.has_hooks() {
            return None;
        }
        self.remember_near(key, false, beta)
    }

    /// The value of a user's key, if it is near and need not be loaded anew, and counts it. It is no round trip, and allocates
    /// nothing.
    #[inline]
    pub(crate) fn remember_near<T: Decode + Clone>(
        &self,
        key: &[u8],
        skip: bool,
        beta: f64,
    ) -> Option<T> {
        let near = self.near().filter(|_| !skip && self.client.may_answer())?;
        let found = near.look_early(key, Shape::cloned(), &self.client, beta)?;
        match found {
            Stored::Value(value) => {
                self.client.count(|counters| [(&counters.near_hits, 1)]);
                self.client.note(Outcome::Hit, 0);
                Some(value)
            }
            Stored::Nothing => {
                let value = T::nothing()?;
                self.client.counters().nothings.add(1);
                self.client.note(Outcome::Nothing, 0);
                Some(value)
            }
        }
    }

    /// Reads a key, and counts what was found.
    async fn read_one<T: Decode + Clone>(&self, key: &StoredKey, plan: &Plan) -> Result<Read<T>> {
        if let Some(value) = self.remember_near(key.user(), plan.skip_near, plan.early_refresh) {
            return Ok(Read::Answer(value));
        }
        match self.read(key, Of::Primary).await {
            Ok((entry, judgement)) => Ok(self.consider(entry, judgement, plan)),
            Err(error) if is_away(&error) => {
                self.client.note_degraded(&error);
                Ok(self.without_redis("remember", key, &error))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads many keys, and counts what was found.
    async fn read_each<T: Decode + Clone>(
        &self,
        keys: &[StoredKey],
        plan: &Plan,
    ) -> Result<Vec<Read<T>>> {
        let mut reads: Vec<Option<Read<T>>> = keys
            .iter()
            .map(|key| {
                let value = self.remember_near(key.user(), plan.skip_near, plan.early_refresh)?;
                Some(Read::Answer(value))
            })
            .collect();
        if reads.iter().all(Option::is_none) {
            return self.read_far(keys, plan).await;
        }
        let far: Vec<StoredKey> = keys
            .iter()
            .zip(&reads)
            .filter(|(_, read)| read.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        if !far.is_empty() {
            let missing = reads.iter_mut().filter(|read| read.is_none());
            for (read, found) in missing.zip(self.read_far(&far, plan).await?) {
                *read = Some(found);
            }
        }
        Ok(reads.into_iter().flatten().collect())
    }

    async fn read_far<T: Decode>(&self, keys: &[StoredKey], plan: &Plan) -> Result<Vec<Read<T>>> {
        match self.read_many(keys, Of::Primary).await {
            Ok(judged) => {
                let (mut reads, mut noted) = (Vec::with_capacity(keys.len()), false);
                for (judged, key) in judged.zip(keys) {
                    reads.push(match judged {
                        Ok((entry, judgement)) => self.consider(entry, judgement, plan),
                        Err(error) if is_away(&error) => {
                            if !std::mem::replace(&mut noted, true) {
                                self.client.note_degraded(&error);
                            }
                            self.without_redis("remember_many", key, &error)
                        }
                        Err(error) => return Err(error),
                    });
                }
                Ok(reads)
            }
            Err(error) if is_away(&error) => {
                self.client.note_degraded(&error);
                let read = |key| self.without_redis("remember_many", key, &error);
                Ok(keys.iter().map(read).collect())
            }
            Err(error) => Err(error),
        }
    }

    /// For when Redis is away: the loader will run, unless a fallback function has a value. If it fails, there may be a
    /// last seen value.
    fn without_redis<T: Decode>(
        &self,
        command: &'static str,
        key: &StoredKey,
        error: &Error,
    ) -> Read<T> {
        if let Some(Instead::Value(bytes)) = self.ask_fallback(command, key, error) {
            let size = bytes.len();
            if let (Some(value), outcome) = self.value_of(&mut Entry::new(bytes)) {
                self.note_fallback(command, error);
                self.client.note(outcome, size);
                return Read::Answer(value);
            }
        }
        self.client.counters().misses.add(1);
        self.client.note(Outcome::Miss, 0);
        let last = self.last(key);
        let stale = last.and_then(|mut entry| match entry.decode(self.client.codec()).ok()? {
            Stored::Value(value) => Some(value),
            Stored::Nothing => T::nothing(),
        });
        Read::Load(Seen::Unknown, stale)
    }

    /// Decides what to do with an entry that was read, and counts it.
    fn consider<T: Decode>(
        &self,
        entry: Option<Entry>,
        judgement: Judgement,
        plan: &Plan,
    ) -> Read<T> {
        let counters = self.client.counters();
        let Some(mut entry) = entry else {
            counters.misses.add(1);
            self.client.note(Outcome::Miss, 0);
            return Read::Load(Seen::Absent, None);
        };
        let bytes = entry.bytes().len();
        counters.bytes_in.add(bytes as u64);
        // Whether it may be returned now, whether it is to be reloaded, and whether it may replace an error.
        let (answers, renew, excuses) = match judgement {
            Judgement::Fresh => {
                let due = entry.is_due(plan.early_refresh, self.client.unix_millis());
                (true, due, true)
            }
            Judgement::Stale(since) if since < plan.stale_for => (true, true, true),
            Judgement::Stale(since) => (false, true, since < plan.stale_if_error),
            Judgement::Dead => (false, true, false),
        };
        // Computed before decoding, which may take the bytes. Not needed for a fresh entry.
        let seen = renew.then(|| Seen::of(Some(entry.bytes())));
        let (value, outcome) = if excuses {
            self.value_of(&mut entry)
        } else {
            (None, Outcome::Miss)
        };
        match (value, seen) {
            (Some(value), seen) if answers => {
                match outcome {
                    Outcome::Nothing => counters.nothings.add(1),
                    _ => counters.hits.add(1),
                }
                if matches!(judgement, Judgement::Stale(_)) {
                    counters.stale_hits.add(1);
                    self.client.note(Outcome::Stale, bytes);
                } else {
                    self.client.note(outcome, bytes);
                }
                match seen {
                    Some(seen) => Read::Due(value, seen),
                    None => Read::Answer(value),
                }
            }
            (value, seen) => {
                counters.misses.add(1);
                self.client.note(Outcome::Miss, bytes);
                let seen = seen.unwrap_or_else(|| Seen::of(Some(entry.bytes())));
                Read::Load(seen, value)
            }
        }
    }

    /// The value of an entry and its outcome: a value, a cached `None`, or neither.
    fn value_of<T: Decode>(&self, entry: &mut Entry) -> (Option<T>, Outcome) {
        match entry.decode::<T>(self.client.codec()) {
            Ok(Stored::Value(value)) => (Some(value), Outcome::Hit),
            Ok(Stored::Nothing) => (T::nothing(), Outcome::Nothing),
            Err(_) => {
                self.client.counters().undecodable.add(1);
                (None, Outcome::Miss)
            }
        }
    }

    /// The values of keys that were read: loads the missing ones and refreshes the due ones.
    async fn answer<T>(
        &self,
        keys: &[StoredKey],
        reads: Vec<Read<T>>,
        plan: &Plan,
        loader: &mut impl RunLoader<T>,
    ) -> Result<Vec<T>>
    where
        T: Encode + Decode + Clone,
    {
        let mut answers: Vec<Option<T>> = Vec::with_capacity(reads.len());
        let (mut missing, mut due) = (Vec::new(), Vec::new());
        for (index, read) in reads.into_iter().enumerate() {
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
        self.refresh(keys, plan, due, loader);
        if !missing.is_empty() {
            let all_have_stale = missing.iter().all(|missing| missing.stale.is_some());
            let beside = plan.soft_timeout.filter(|_| all_have_stale);
            let seen = missing.iter_mut().map(|missing| {
                let seen = std::mem::replace(&mut missing.seen, Seen::Absent);
                (missing.index, seen)
            });
            let seen = seen.collect();
            let plan = Arc::new(plan.clone());
            let loading = || self.load(keys, plan, seen, loader, beside.is_some());
            let loaded = match beside {
                Some(time) => self.client.runtime().timeout(time, loading).await,
                None => Some(loading().await),
            };
            let mut loaded = loaded.transpose()?.unwrap_or_default();
            for Missing { index, stale, .. } in missing {
                let loaded = loaded.get_mut(index).and_then(Option::take);
                answers[index] = Some(match (loaded, stale) {
                    (Some(Ok(value)), _) => value,
                    (Some(Err(error)), Some(stale)) if may_be_excused(&error) => {
                        self.count_stale(stale)
                    }
                    (Some(Err(error)), _) => return Err(error),
                    (None, Some(stale)) => self.count_stale(stale),
                    (None, None) => return Err(given_up()),
                });
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.ok_or_else(given_up))
            .collect()
    }

    fn count_stale<T>(&self, value: T) -> T {
        self.client.counters().stale_hits.add(1);
        value
    }

    /// Loads keys in the background, if nobody loads them already.
    fn refresh<T>(
        &self,
        keys: &[StoredKey],
        plan: &Plan,
        due: Vec<(usize, Seen)>,
        loader: &mut impl RunLoader<T>,
    ) {
        if due.is_empty() {
            return;
        }
        // A cache that is being closed begins no more loads.
        let Ok(cache) = self.for_load() else { return };
        let leads = due
            .into_iter()
            .map(|(index, seen)| lead_of(keys, index, None, seen))
            .collect();
        let patience = cache.patience(plan);
        loader.refresh(Batch {
            plan: Arc::new(plan.for_refresh()),
            cache,
            leads,
            patience,
        });
    }

    /// The same cache, for a load.
    ///
    /// # Errors
    /// `Closed`.
    fn for_load(&self) -> Result<Self> {
        Ok(self.with_client(self.client.begin_load()?))
    }

    /// How long a call waits for the loads of others.
    fn patience(&self, plan: &Plan) -> Duration {
        plan.load_timeout.unwrap_or(self.policy.lease)
    }

    /// Loads keys, or waits for the callers that load them. The results are at the keys' indices.
    async fn load<T>(
        &self,
        keys: &[StoredKey],
        plan: Arc<Plan>,
        missing: Vec<(usize, Seen)>,
        loader: &mut impl RunLoader<T>,
        beside: bool,
    ) -> Result<Vec<Option<Result<T>>>>
    where
        T: Encode + Decode + Clone,
    {
        let loading = Loading {
            cache: self.for_load()?,
            begun: self.client.runtime().now(),
            plan,
            beside,
        };
        let mut loaded: Vec<Option<Result<T>>> = keys.iter().map(|_| None).collect();
        let (mut leads, mut waiters) = (Vec::new(), Vec::new());
        let joins = matches!(loading.plan.way, Way::Miss | Way::Refresh);
        for (index, seen) in missing {
            if !joins {
                leads.push(lead_of(keys, index, None, seen));
                continue;
            }
            match self.flights.join(keys[index].as_bytes()) {
                Ok(leader) => leads.push(lead_of(keys, index, Some(leader), seen)),
                Err(waiter) => {
                    self.client.counters().coalesced.add(1);
                    waiters.push((index, seen, waiter));
                }
            }
        }
        // First load what this call leads, then wait. So two calls that each lead a key the other waits for both
        // finish.
        loading.lead(leads, loader, &mut loaded).await;
        for (index, seen, waiter) in waiters {
            match self.wait(&keys[index], waiter, &loading.plan).await {
                Waited::Answered(value) => loaded[index] = Some(value),
                Waited::Leads(leader, first) => {
                    // A waiter for a value of another type has seen nothing of what that load has stored.
                    let seen = if first { seen } else { Seen::Anything };
                    let lead = lead_of(keys, index, Some(leader), seen);
                    loading.lead(vec![lead], loader, &mut loaded).await;
                }
                Waited::Alone => {
                    let lead = lead_of(keys, index, None, Seen::Unknown);
                    loading.lead(vec![lead], loader, &mut loaded).await;
                }
            }
        }
        Ok(loaded)
    }

    /// Waits for another caller's load, until there is an answer or this caller must load.
    async fn wait<T>(&self, key: &StoredKey, mut waiter: Waiter, plan: &Plan) -> Waited<T>
    where
        T: Decode + Clone,
    {
        let patience = Some(self.patience(plan));
        let mut is_first = true;
        loop {
            match waiter.turn(self.client.runtime(), patience).await {
                Turn::Lead(leader) => return Waited::Leads(leader, is_first),
                // Too old for this caller: it asks again.
                Turn::Take(Answer::Stale(since, _)) if since >= plan.stale_for => {}
                Turn::Take(answer) => match self.read_answer(answer) {
                    Some(value) => return Waited::Answered(value),
                    None if is_first => is_first = false,
                    None => return Waited::Alone,
                },
                Turn::Again => {}
            }
            waiter = match self.flights.join(key.as_bytes()) {
                Ok(leader) => return Waited::Leads(leader, is_first),
                Err(waiter) => waiter,
            };
        }
    }

    /// The value of another caller's load; `None` if it is of another type.
    fn read_answer<T: Decode + Clone>(&self, answer: Answer) -> Option<Result<T>> {
        match answer {
            Answer::Failed(error) => Some(Err(error)),
            Answer::Nothing => T::nothing().map(Ok),
            Answer::Stale(_, answer) => self.read_answer(*answer),
            Answer::Unencoded(value) => value.downcast_ref::<T>().cloned().map(Ok),
            Answer::Value(bytes) => match Entry::new(bytes.to_vec()).decode(self.client.codec()) {
                Ok(Stored::Value(value)) => Some(Ok(value)),
                Ok(Stored::Nothing) => T::nothing().map(Ok),
                Err(_) => None,
            },
        }
    }
}

/// What waiting for another caller's load came to.
enum Waited<T> {
    Answered(Result<T>),
    /// This caller loads, for all who wait. Whether no load has answered it before.
    Leads(Leader, bool),
    /// The other callers' values are of another type: this caller loads for itself.
    Alone,
}

/// A call's loads.
struct Loading {
    cache: ReadThrough,
    plan: Arc<Plan>,
    /// When the call began to wait.
    begun: Instant,
    /// Whether the caller may stop waiting.
    beside: bool,
}

impl Loading {
    async fn lead<T>(
        &self,
        leads: Vec<Lead>,
        loader: &mut impl RunLoader<T>,
        loaded: &mut [Option<Result<T>>],
    ) {
        if leads.is_empty() {
            return;
        }
        let indices: Vec<usize> = leads.iter().map(|lead| lead.index).collect();
        let now = self.cache.client.runtime().now();
        let waited = now.saturating_duration_since(self.begun);
        let batch = Batch {
            cache: self.cache.clone(),
            plan: Arc::clone(&self.plan),
            leads,
            patience: self.cache.patience(&self.plan).saturating_sub(waited),
        };
        let led = loader.lead(batch, self.beside).await;
        for (index, led) in indices.into_iter().zip(led) {
            loaded[index] = Some(match led {
                Led::Value(value) => Ok(value),
                Led::Failed(error) => Err(error),
                Led::Skipped => Err(given_up()),
            });
        }
    }
}

fn lead_of(keys: &[StoredKey], index: usize, leader: Option<Leader>, seen: Seen) -> Lead {
    let key = keys[index].clone();
    Lead {
        index,
        key,
        leader,
        seen,
    }
}

/// Whether a stale value may be returned instead of this error.
fn may_be_excused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Loader | ErrorKind::Overloaded)
}
