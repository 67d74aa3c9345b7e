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

use redis::Value;

use super::entry::{Entry, Judgement};
use super::flight::{Leader, Outcome};
use super::lease::{self, ACQUIRE, Acquired, FILL, RELEASE, RENEW, Seen, Token};
use super::load::{Loaded, caught};
use super::tags::Tag;
use crate::cache::Core;
use crate::codec::envelope::{Head, Version};
use crate::codec::{self, Decode, Encode, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::StoredKey;
use crate::resilience::Fallback;
use crate::runtime::{Runtime, first};
use crate::ttl::Ttl;

/// How often in a row a load may be fenced before one is made without a lease.
const ROUNDS: u32 = 3;

/// The first and the longest pause before a lease that is taken is asked for again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// What a call of `remember` asks for, settled.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Without: until it is deleted.
    pub(crate) ttl: Option<Ttl>,
    pub(crate) negative_ttl: Option<Ttl>,
    /// How long after its TTL a value may be answered with, while it is loaded anew.
    pub(crate) stale_for: Duration,
    /// The same, if loading it anew fails.
    pub(crate) stale_if_error: Duration,
    /// The β of XFetch; 0 is off.
    pub(crate) early_refresh: f64,
    pub(crate) tags: Vec<Tag>,
    pub(crate) load_timeout: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) way: Way,
}

/// What a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A caller who found nothing usable.
    Miss,
    /// A caller who has been answered already. It gives way to any other load.
    Refresh,
    /// A caller who does not want to know what is there. It stores its value if no other load is under way.
    Bypass,
    /// As `Bypass`, and takes the lease from a load that is under way.
    Force,
}

impl Plan {
    /// For how long a value is kept once it is stale.
    fn kept_stale(&self) -> Duration {
        self.stale_for.max(self.stale_if_error)
    }

    /// What FILL says for how long the entry stays ("0": without end), and what is said of it in its
    /// envelope.
    fn seal(
        &self,
        core: &Core,
        loaded: Option<Result<Ttl>>,
        nothing: bool,
        took: Duration,
    ) -> Result<(u64, Head)> {
        let ttl = match (loaded, self.negative_ttl) {
            (Some(ttl), _) => Some(ttl?),
            (None, Some(negative)) if nothing => Some(negative),
            (None, _) => self.ttl,
        };
        let Some(ttl) = ttl.map(|ttl| core.jittered(ttl)) else {
            return Ok((0, Head::default()));
        };
        let kept = self.kept_stale();
        let mut head = Head::default();
        if self.early_refresh > 0.0 || (!kept.is_zero() && !nothing) {
            head.soft = Some(core.unix_millis().saturating_add(ttl.as_millis()));
        }
        if self.early_refresh > 0.0 {
            head.load = Some(took);
        }
        let kept = if nothing { 0 } else { kept.as_millis() as u64 };
        let stays = ttl.as_millis().saturating_add(kept);
        Ok((stays.min(Ttl::MAX.as_millis()), head))
    }
}

/// One who leads: everything that a load needs but the loader.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) core: Core,
    pub(crate) key: StoredKey,
    pub(crate) plan: Plan,
    /// Whom to answer. A call that bypasses the cache has nobody.
    pub(crate) leader: Option<Leader>,
    /// How the entry was seen when it was judged unusable.
    pub(crate) seen: Seen,
}

/// How the question for the lease ended.
enum Leased<T> {
    Held(Held),
    /// Another one has loaded meanwhile.
    Entry(Option<T>, u64, Outcome),
    /// To load without it.
    Without,
    /// Not to load at all.
    Skip,
}

/// A lease that is ours.
struct Held {
    token: Token,
    seen: Seen,
    /// Of the tags that the call names.
    versions: Vec<Version>,
    /// Of the counter that moves with every tag, if the loader may bring its own.
    epoch: Option<Version>,
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
                if let Some(leader) = self.leader {
                    leader.answer(covers, outcome);
                }
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
            Err(error) if Fallback::covers(&error) && self.plan.way != Way::Refresh => None,
            Err(error) => {
                if let Some(leader) = self.leader {
                    leader.fail(error.clone());
                }
                return Err(error);
            }
        };
        // Without a lease, an answer for those who are there before the load begins.
        let covers = self.covers();
        let begun = self.core.runtime().now();
        let loaded = match &held {
            Some(held) => held.kept(&self, self.load(load)).await,
            None => self.load(load).await,
        };
        let took = self.core.runtime().now().saturating_duration_since(begun);
        match (loaded, held) {
            (Err(error), held) => {
                let error = error.for_key(self.key.user());
                if let Some(held) = held {
                    held.release(&self).await;
                }
                if let Some(leader) = self.leader {
                    leader.fail(error.clone());
                }
                Err(error)
            }
            (Ok(loaded), Some(held)) => self.fill(held, loaded, took).await.map(Some),
            (Ok(loaded), None) => {
                if let Some(leader) = self.leader.take().filter(|_| covers > 0) {
                    match codec::encode(&loaded.value) {
                        Ok(body) => leader.answer(covers, outcome::<T>(&body)),
                        Err(error) => leader.fail(error.for_key(self.key.user())),
                    }
                }
                Ok(Some(loaded.value))
            }
        }
    }

    fn covers(&self) -> u64 {
        self.leader.as_ref().map_or(0, Leader::covers)
    }

    /// Asks for the lease until it is ours, or until somebody else has filled.
    ///
    /// model: Action::Acquire, Action::Wait
    async fn lease<T: Decode>(&mut self, brings_tags: bool) -> Result<Leased<T>> {
        let alone = |leader: &Leader| leader.is_substitute() || leader.fences() >= ROUNDS;
        if self.leader.as_ref().is_some_and(alone) {
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
                (token, Acquired::Mine(seen, mut versions)) => {
                    let epoch = versions.split_off(self.plan.tags.len()).pop();
                    return Ok(Leased::Held(Held {
                        token,
                        seen,
                        versions,
                        epoch,
                    }));
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
        let token = lease::random();
        let millis = self.core.lease().as_millis().to_string();
        let (lease, epoch) = (self.key.lease(), self.core.keyspace().tag_epoch());
        let mut keys = vec![self.key.as_bytes(), &lease];
        keys.extend(self.plan.tags.iter().map(|tag| &*tag.counter));
        if brings_tags {
            keys.push(&epoch);
        }
        let take: &[u8] = if self.plan.way == Way::Force {
            b"1"
        } else {
            b"0"
        };
        let fresh: Vec<Version> = keys[2..].iter().map(|_| lease::random()).collect();
        let mut args: Vec<&[u8]> = vec![&token, millis.as_bytes(), self.seen.as_bytes(), take];
        args.extend(fresh.iter().map(|version| &version[..]));
        let reply = self.core.run(&ACQUIRE, &keys, &args).await;
        let reply = reply.map_err(|error| error.for_key(self.key.user()))?;
        Ok((token, Acquired::from_reply(reply, fresh.len())?))
    }

    /// The value of an entry that somebody else has stored, if it is one for us.
    async fn usable<T: Decode>(&self, mut entry: Entry) -> Result<Option<(Option<T>, Outcome)>> {
        match self.core.judge(&entry).await? {
            Judgement::Fresh => {}
            Judgement::Stale(since)
                if since < self.plan.stale_for && self.plan.way == Way::Miss => {}
            _ => return Ok(None),
        }
        let shared: Arc<[u8]> = entry.body().into();
        Ok(match entry.decode::<T>() {
            Ok(Stored::Value(value)) => Some((Some(value), Outcome::Value(shared))),
            Ok(Stored::Nothing) => T::nothing().map(|value| (Some(value), Outcome::Nothing)),
            Err(_) => None,
        })
    }

    /// Runs the loader, in its turn where the cache allows so many at a time.
    ///
    /// model: Action::Load
    async fn load<T, L>(&self, load: impl FnOnce() -> L) -> Result<Loaded<T>>
    where
        L: Future<Output = Result<Loaded<T>>>,
    {
        let _place = match self.core.loads() {
            None => None,
            Some(places) => {
                let patience = self.plan.load_timeout.unwrap_or(self.core.lease());
                let place = self.core.runtime().timeout(patience, || places.acquire());
                Some(
                    place
                        .await
                        .and_then(std::result::Result::ok)
                        .ok_or_else(|| overloaded(patience))?,
                )
            }
        };
        let counters = self.core.counters();
        counters.loads.add(1);
        let begun = Instant::now();
        // In a block of its own: what panics may be the closure that makes the future.
        let loaded = caught(async { load().await }).await;
        let counters = self.core.counters();
        counters.load_micros.add(begun.elapsed().as_micros() as u64);
        if loaded.is_err() {
            counters.load_errors.add(1);
        }
        loaded
    }

    /// model: Action::ReadTagsAgain, Action::Fill
    async fn fill<T: Encode>(mut self, held: Held, loaded: Loaded<T>, took: Duration) -> Result<T> {
        let Loaded {
            value,
            ttl,
            tags: brought,
            store,
        } = loaded;
        let prepare = || {
            let brought = self.brought(&brought)?;
            let body = codec::encode(&value)?;
            let nothing = T::is_nothing(&body);
            let (stays, head) = self.plan.seal(&self.core, ttl, nothing, took)?;
            Ok::<_, Error>((brought, body, stays, head))
        };
        let (brought, body, stays, mut head) = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                let error = error.for_key(self.key.user());
                held.release(&self).await;
                if let Some(leader) = self.leader {
                    leader.fail(error.clone());
                }
                return Err(error);
            }
        };
        let outcome = outcome::<T>(&body);

        let mut guards: Vec<(&[u8], Version)> = Vec::new();
        let epoch = self.core.keyspace().tag_epoch();
        for (tag, version) in self.plan.tags.iter().zip(&held.versions) {
            guards.push((&tag.counter, *version));
            head.tags.push((tag.name.clone(), *version));
        }
        if store && !brought.is_empty() {
            // The versions of now are those of before the load, if no tag was invalidated since.
            match (self.core.versions_for(&brought, stays).await, held.epoch) {
                (Ok(versions), Some(before)) => {
                    guards.push((&epoch, before));
                    for (tag, version) in brought.iter().zip(versions) {
                        guards.push((&tag.counter, version));
                        head.tags.push((tag.name.clone(), version));
                    }
                }
                _ => {
                    held.release(&self).await;
                    return Ok(value);
                }
            }
        }
        let stays = if store {
            stays.to_string()
        } else {
            "-1".to_owned()
        };
        let entry = head.seal(body);

        let lease = self.key.lease();
        let mut keys = vec![self.key.as_bytes(), &*lease];
        let mut args: Vec<&[u8]> =
            vec![&held.token, held.seen.as_bytes(), &entry, stays.as_bytes()];
        for (counter, version) in &guards {
            keys.push(counter);
            args.push(version);
        }
        let covers = self.covers();
        let mark = self.core.mark(&self.key);
        match self.core.run(&FILL, &keys, &args).await {
            Ok(Value::Int(1)) => {
                if store {
                    self.core.count_write(entry.len());
                    self.core.keep(&self.key, &entry, mark);
                }
                if let Some(leader) = self.leader.take() {
                    leader.answer(covers, outcome);
                }
            }
            Ok(_) => {
                self.core.counters().fenced.add(1);
                if let Some(leader) = self.leader.take() {
                    leader.fenced();
                }
            }
            // Nobody knows whether it was stored. Who waits asks again.
            Err(error) => {
                tracing::debug!(%error, "what was loaded could not be stored");
            }
        }
        Ok(value)
    }

    /// The tags that only the loader named.
    fn brought(&self, names: &[Vec<u8>]) -> Result<Vec<Tag>> {
        let mut all: Vec<Vec<u8>> = self.plan.tags.iter().map(|tag| tag.name.clone()).collect();
        all.extend_from_slice(names);
        Ok(self.core.tags(&all)?.split_off(self.plan.tags.len()))
    }
}

/// What the others are told of a value.
fn outcome<T: Encode>(body: &[u8]) -> Outcome {
    if T::is_nothing(body) {
        Outcome::Nothing
    } else {
        Outcome::Value(body.into())
    }
}

fn overloaded(patience: Duration) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!(
            "no place among the loads of this cache became free within {patience:?}; max_loads says how many there are"
        ),
    )
}

impl Held {
    /// Runs `load`, renewing the lease whenever half of it has passed.
    ///
    /// model: Action::Renew
    async fn kept<T>(&self, lead: &Lead, load: impl Future<Output = T>) -> T {
        let renewal = Renewal {
            core: lead.core.clone(),
            lease: lead.key.lease(),
            token: self.token,
        };
        match lead.core.runtime() {
            #[cfg(feature = "blocking")]
            Runtime::Threads => {
                let _kept = super::keeper::keep(renewal);
                load.await
            }
            _ => match first(load, renewal.for_ever()).await {
                Ok(loaded) => loaded,
                Err(never) => match never {},
            },
        }
    }

    /// Lets others load at once. Should that not arrive, they will when the lease has ended.
    ///
    /// model: Action::Release
    async fn release(&self, lead: &Lead) {
        let (lease, core) = (lead.key.lease(), &lead.core);
        if let Err(error) = core.run(&RELEASE, &[&lease], &[&self.token]).await {
            tracing::debug!(%error, "a lease could not be released");
        }
    }
}

/// What keeps a lease alive while its load runs.
#[derive(Debug)]
pub(crate) struct Renewal {
    core: Core,
    lease: Vec<u8>,
    token: Token,
}

impl Renewal {
    pub(crate) fn period(&self) -> Duration {
        self.core.lease() / 2
    }

    /// Renews it once; says whether it is ours still, as far as is known.
    pub(crate) async fn renew(&self) -> bool {
        let millis = self.core.lease().as_millis().to_string();
        let args: [&[u8]; 2] = [&self.token, millis.as_bytes()];
        let renewed = self.core.run(&RENEW, &[&self.lease], &args).await;
        !matches!(renewed, Ok(Value::Int(0)))
    }

    async fn for_ever(&self) -> std::convert::Infallible {
        loop {
            self.core.runtime().sleep(self.period()).await;
            if !self.renew().await {
                return std::future::pending().await;
            }
        }
    }
}
