//! Leading a flight: getting the lease, or waiting for whoever has it; running the loader; and filling.
//!
//! 1. Whoever leads ends the flight: with an answer, with the loader's error, or by making room for the
//!    next one, however it comes to an end.
//! 2. What was loaded under a lease is stored by FILL or not at all.
//! 3. A load without a lease (Redis is away, another's load takes too long, or invalidations keep coming)
//!    stores nothing, and answers those who joined before it began.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::{Entry, Judgement};
use super::fill::{Encoded, Held, Renewal};
use super::flight::{Leader, Outcome as Shared};
use super::lease::{self, ACQUIRE, Acquired, FILL, Seen, Token};
use super::load::{Loaded, caught};
use super::plan::{Plan, Way};
use crate::cache::Core;
use crate::codec::envelope::Version;
use crate::codec::{Decode, Encode, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{Keys, Outcome, Telling};
use crate::keyspace::StoredKey;
use crate::resilience::Fallback;
use crate::script::Input;

/// How often in a row a load may be fenced before one is made without a lease.
const ROUNDS: u32 = 3;

/// The first and the longest pause before a lease that is taken is asked for again: half of the longest is
/// what a load of another process takes longer for who waits for it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));

/// One who leads: everything that a load needs but the loader.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) core: Core,
    pub(crate) key: StoredKey,
    pub(crate) plan: Arc<Plan>,
    /// Whom to answer. A call that bypasses the cache has nobody.
    pub(crate) leader: Option<Leader>,
    /// How the entry was seen when it was judged unusable.
    pub(crate) seen: Seen,
}

/// How the question for the lease ended.
enum Leased<T> {
    Held(Held),
    /// Another one has loaded meanwhile.
    Entry(Option<T>, u64, Shared),
    /// To load without it.
    Without,
    /// Not to load at all.
    Skip,
}

impl Lead {
    /// Leads to the end. `None`: there was no need to load, and nobody waits for the value.
    pub(crate) async fn run<T, L>(
        mut self,
        brings_tags: bool,
        load: impl FnOnce() -> L,
    ) -> Result<Option<T>>
    where
        T: Encode + Decode,
        L: Future<Output = Result<Loaded<T>>>,
    {
        let held = match self.lease(brings_tags).await {
            Ok(Leased::Held(held)) => Some(held),
            Ok(Leased::Without) => None,
            Ok(Leased::Skip) => return Ok(None),
            Ok(Leased::Entry(value, covers, outcome)) => {
                self.answer(covers, outcome);
                return value.or_else(T::nothing).map_or_else(
                    || {
                        Err(Error::new(
                            ErrorKind::Codec,
                            "a cached nothing, which this type has no value for",
                        ))
                    },
                    |value| Ok(Some(value)),
                );
            }
            // Redis is away: the loader is not. (A refresh can wait.)
            Err(error) if is_away(&error) && self.plan.way != Way::Refresh => None,
            Err(error) => {
                self.fail(&error);
                return Err(error);
            }
        };
        let call = LoadCall::of(&self.core, [&self.key]);
        let telling = call.begin();
        let led = self.load_and_fill(held, telling.as_ref(), load).await;
        if let Some(telling) = telling {
            telling.ended(led.as_ref().err());
        }
        led.map(Some)
    }

    async fn load_and_fill<T, L>(
        self,
        held: Option<Held>,
        telling: Option<&Telling<'_>>,
        load: impl FnOnce() -> L,
    ) -> Result<T>
    where
        T: Encode + Decode,
        L: Future<Output = Result<Loaded<T>>>,
    {
        // Without a lease, an answer for those who are there before the load begins.
        let covers = self.covers();
        let begun = self.core.runtime().now();
        let loading = Telling::within(telling, || self::load(&self.core, &self.plan, load));
        let loaded = match &held {
            Some(held) => {
                Renewal::of(&self.core, [(&self.key, held)])
                    .during(loading)
                    .await
            }
            None => loading.await,
        };
        let took = self.core.runtime().now().saturating_duration_since(begun);
        match (loaded, held) {
            (Err(error), held) => {
                let error = error.for_key(self.key.user());
                if let Some(held) = held {
                    held.release(&self).await;
                }
                self.fail(&error);
                Err(error)
            }
            (Ok(loaded), Some(held)) => self.fill(held, loaded, took, telling).await,
            (Ok(loaded), None) => {
                if covers > 0 {
                    match Encoded::of(&loaded, self.core.codec()) {
                        Ok(encoded) => self.answer(covers, encoded.outcome),
                        Err(error) => {
                            let error = error.for_key(self.key.user());
                            self.fail(&error);
                        }
                    }
                }
                note(telling, Outcome::NotStored, 0);
                Ok(loaded.value)
            }
        }
    }

    /// Whom an answer goes to, if what brings it is sent now.
    pub(super) fn covers(&self) -> u64 {
        self.leader.as_ref().map_or(0, Leader::covers)
    }

    /// Ends the flight with an answer.
    pub(super) fn answer(self, covers: u64, outcome: Shared) {
        if let Some(leader) = self.leader {
            leader.answer(covers, outcome);
        }
    }

    /// Ends the flight with an error.
    pub(super) fn fail(self, error: &Error) {
        if let Some(leader) = self.leader {
            leader.fail(error.clone());
        }
    }

    /// Asks for the lease until it is ours, or until somebody else has filled.
    ///
    /// model: Action::Acquire, Action::Wait
    async fn lease<T: Decode>(&mut self, brings_tags: bool) -> Result<Leased<T>> {
        let alone = |leader: &Leader| leader.is_substitute() || leader.fences() >= ROUNDS;
        if self.seen == Seen::Unknown || self.leader.as_ref().is_some_and(alone) {
            return Ok(Leased::Without);
        }
        let core = self.core.clone();
        let patience = self.plan.load_timeout.unwrap_or(core.lease());
        let begun = core.runtime().now();
        let mut pause = PAUSES.0;
        let mut waited = false;
        loop {
            let covers = self.covers();
            let left =
                patience.saturating_sub(core.runtime().now().saturating_duration_since(begun));
            match self.acquire(brings_tags).await? {
                (_, Acquired::Entry(bytes)) => {
                    let entry = Entry::new(bytes);
                    self.seen = Seen::of(Some(entry.bytes()));
                    if let Some((value, outcome)) = self.usable(entry).await? {
                        return Ok(Leased::Entry(value, covers, outcome));
                    }
                    if left.is_zero() {
                        return Ok(Leased::Without);
                    }
                }
                (token, Acquired::Mine(seen, versions)) => {
                    return Ok(Leased::Held(self.held(token, seen, versions)));
                }
                (_, Acquired::Theirs(lease_left)) => {
                    match self.plan.way {
                        Way::Refresh => return Ok(Leased::Skip),
                        Way::Bypass => return Ok(Leased::Without),
                        Way::Miss | Way::Force if left.is_zero() => return Ok(Leased::Without),
                        Way::Miss | Way::Force => {}
                    }
                    if !std::mem::replace(&mut waited, true) {
                        core.counters().lease_waits.add(1);
                    }
                    let jittered = pause.mul_f64(0.5 + fastrand::f64() * 0.5);
                    let end = lease_left + Duration::from_millis(1);
                    core.runtime().sleep(jittered.min(end).min(left)).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Sends ACQUIRE, each time with a token of its own.
    async fn acquire(&self, brings_tags: bool) -> Result<(Token, Acquired)> {
        let (token, call) = self.acquiring(brings_tags);
        let reply = self.core.run(&ACQUIRE, &call).await;
        let reply = reply.map_err(|error| error.for_key(self.key.user()))?;
        Ok((token, Acquired::from_reply(reply, call.keys() - 2)?))
    }

    /// What ACQUIRE is sent with.
    pub(super) fn acquiring(&self, brings_tags: bool) -> (Token, Input) {
        let token = lease::random();
        let mut call = Input::default();
        call.key(self.key.as_bytes()).key(&self.key.lease());
        for tag in &self.plan.tags {
            call.key(&tag.counter);
        }
        if brings_tags {
            call.key(&self.core.keyspace().tag_epoch());
        }
        let fresh = call.keys() - 2;
        call.arg(&token)
            .arg(self.core.lease().as_millis().to_string().as_bytes())
            .arg(self.seen.as_bytes())
            .arg(if self.plan.way == Way::Force {
                b"1"
            } else {
                b"0"
            });
        for _ in 0..fresh {
            call.arg(&lease::random());
        }
        (token, call)
    }

    /// The lease that ACQUIRE gave.
    pub(super) fn held(&self, token: Token, seen: Seen, mut versions: Vec<Version>) -> Held {
        let epoch = versions.split_off(self.plan.tags.len()).pop();
        Held {
            token,
            seen,
            versions,
            epoch,
        }
    }

    /// The value of an entry that somebody else has stored, if it is one for us.
    pub(super) async fn usable<T: Decode>(
        &self,
        mut entry: Entry,
    ) -> Result<Option<(Option<T>, Shared)>> {
        match self.core.judge(&entry).await? {
            Judgement::Fresh => {}
            Judgement::Stale(since)
                if since < self.plan.stale_for && self.plan.way == Way::Miss => {}
            _ => return Ok(None),
        }
        let shared: Arc<[u8]> = (&*entry.value()).into();
        Ok(match entry.decode::<T>() {
            Ok(Stored::Value(value)) => Some((Some(value), Shared::Value(shared))),
            Ok(Stored::Nothing) => T::nothing().map(|value| (Some(value), Shared::Nothing)),
            Err(_) => None,
        })
    }

    /// Stores what was loaded, unless an invalidation came between; gives it back either way.
    ///
    /// model: Action::ReadTagsAgain, Action::Fill
    async fn fill<T: Encode>(
        self,
        held: Held,
        loaded: Loaded<T>,
        took: Duration,
        telling: Option<&Telling<'_>>,
    ) -> Result<T> {
        let encoded = Encoded::of(&loaded, self.core.codec());
        let filling = match self.filling(&held, encoded, took).await {
            Ok(Some(filling)) => filling,
            // Whether it could be stored is not known, so it is not. Who waits asks again.
            Ok(None) => {
                held.release(&self).await;
                note(telling, Outcome::NotStored, 0);
                return Ok(loaded.value);
            }
            Err(error) => {
                let error = error.for_key(self.key.user());
                held.release(&self).await;
                self.fail(&error);
                return Err(error);
            }
        };
        let covers = self.covers();
        let mark = self.core.mark(&self.key);
        let reply = self.core.run(&FILL, &filling.input).await;
        let (outcome, bytes) = self.filled(filling, reply, covers, mark);
        note(telling, outcome, bytes);
        Ok(loaded.value)
    }
}

/// What the hooks are told of a load.
pub(super) struct LoadCall {
    core: Core,
    keys: Vec<StoredKey>,
}

impl LoadCall {
    pub(super) fn of<'k>(core: &Core, keys: impl IntoIterator<Item = &'k StoredKey>) -> Self {
        let keys = keys.into_iter().filter(|_| core.has_hooks());
        LoadCall {
            core: core.clone(),
            keys: keys.cloned().collect(),
        }
    }

    pub(super) fn begin(&self) -> Option<Telling<'_>> {
        self.core.telling("load", Keys::Stored(&self.keys))
    }
}

pub(super) fn note(telling: Option<&Telling<'_>>, outcome: Outcome, bytes: usize) {
    if let Some(telling) = telling {
        telling.watch().note(outcome, bytes);
    }
}

/// Runs a loader, in its turn where the cache allows so many at a time.
///
/// model: Action::Load
pub(super) async fn load<T, L>(core: &Core, plan: &Plan, load: impl FnOnce() -> L) -> Result<T>
where
    L: Future<Output = Result<T>>,
{
    let _place = match core.loads() {
        None => None,
        Some(places) => {
            let patience = plan.load_timeout.unwrap_or(core.lease());
            let place = core.runtime().timeout(patience, || places.acquire()).await;
            let place = place.and_then(std::result::Result::ok);
            Some(place.ok_or_else(|| overloaded(patience))?)
        }
    };
    core.counters().loads.add(1);
    let begun = Instant::now();
    // In a block of its own: what panics may be the closure that makes the future.
    let loaded = caught(async { load().await }).await;
    let counters = core.counters();
    counters.load_micros.add(begun.elapsed().as_micros() as u64);
    if loaded.is_err() {
        counters.load_errors.add(1);
    }
    loaded
}

/// Whether Redis is to be done without: it does not answer, or not in its language.
pub(crate) fn is_away(error: &Error) -> bool {
    Fallback::covers(error) || error.kind() == ErrorKind::Protocol
}

fn overloaded(patience: Duration) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!(
            "no place among the loads of this cache became free within {patience:?}; max_loads says how many there are"
        ),
    )
}
