//! The load engine. For the keys that this process leads, it acquires the leases, or waits for the loads that have
//! them; runs the loader; and fills. It handles one key and many alike: one request for all leases, one call of the
//! loader, one fill.
//!
//! 1. A leader always ends its flight: with an answer, with the loader's error, or by letting the next waiter lead,
//!    even if it is cancelled. Only the loader's error is an answer to others; what else keeps this call from its value
//!    (its cache is closed, too many loads run) may not keep them from theirs.
//! 2. A value that was loaded under a lease is stored by FILL or not at all. A load without a lease (Redis does not
//!    answer, or another load takes too long) stores nothing.
//! 3. A loaded value is never lost: whatever keeps it from being stored, its caller gets it, and so do the waiters that
//!    joined before its loader was called.
//! 4. After a forced refresh (`Way::Force`) the old entry is not there any more: it is replaced or, if that fails,
//!    deleted.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ReadThrough;
use super::entry::{Entry, Judgement};
use super::flight::{Answer, Leader};
use super::held::{Held, Renewal};
use super::lease::{self, ACQUIRE, Acquired, Seen, Token};
use super::load::{Loaded, catch_panic};
use super::plan::{Plan, Way};
use super::tags;
use crate::codec::{Decode, Encode, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{CallKeys, Telling};
use crate::keyspace::StoredKey;
use crate::resilience::Fallback;
use crate::script::Input;

/// The first and the longest pause before ACQUIRE is sent again for a lease that another load has. A process that waits
/// so notices the end of the load late, by half of the longest pause on average.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));

/// Keys that are led together, with the same options.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(super) cache: ReadThrough,
    pub(super) plan: Arc<Plan>,
    pub(super) leads: Vec<Lead>,
    /// How long to wait for the loads of other processes.
    pub(super) patience: Duration,
}

/// One key of a batch, with everything that its load needs except the loader.
#[derive(Debug)]
pub(super) struct Lead {
    /// Its index among the call's keys, which the loader uses too.
    pub(super) index: usize,
    pub(super) key: StoredKey,
    /// The flight to answer. A call that bypasses the cache has none.
    pub(super) leader: Option<Leader>,
    /// How the entry looked when it was found unusable.
    pub(super) seen: Seen,
}

/// The result for one led key.
pub(crate) enum Led<T> {
    Value(T),
    Failed(Error),
    /// No load was needed, and nobody waits for the value.
    Skipped,
}

impl Batch {
    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.leads.len()
    }

    pub(crate) fn cache(&self) -> &ReadThrough {
        &self.cache
    }

    /// For a refresh: leads the flights of its keys, without those that somebody loads already. A cache that is being
    /// closed begins no refresh that waited until now.
    pub(super) fn claim(mut self) -> Option<Self> {
        if !self.cache.client.is_open() {
            return None;
        }
        self.leads.retain_mut(|lead| {
            lead.leader = self.cache.flights.lead_alone(lead.key.as_bytes());
            lead.leader.is_some()
        });
        let count = self.leads.len() as u64;
        self.cache.client.counters().refreshes.add(count);
        (count > 0).then_some(self)
    }
}

/// Leads a batch to its end. The loader gets the indices of the keys to load, and returns a value for each. It is
/// called once for all keys whose leases are free, and again for keys whose leases become free later.
pub(super) async fn lead<T, L>(
    batch: Batch,
    brings_tags: bool,
    mut loader: impl FnMut(Vec<usize>) -> L,
) -> Vec<Led<T>>
where
    T: Encode + Decode + Clone,
    L: Future<Output = Result<Vec<Loaded<T>>>>,
{
    let Batch {
        cache,
        plan,
        leads,
        patience,
    } = batch;
    let engine = Engine {
        cache: &cache,
        plan: &plan,
        patience,
        brings_tags,
    };
    let mut led: Vec<Option<Led<T>>> = leads.iter().map(|_| None).collect();
    let mut asking: Vec<Seat> = leads.into_iter().enumerate().map(Seat::new).collect();
    let runtime = cache.client.runtime();
    let mut begun = runtime.now();
    let mut pause = PAUSES.0;
    loop {
        let waited = runtime.now().saturating_duration_since(begun);
        let left = patience.saturating_sub(waited);
        let Round {
            ready,
            waiting,
            free_in,
        } = engine.acquire(asking, left, &mut led).await;
        if !ready.is_empty() {
            engine.load(ready, &mut loader, &mut led).await;
            // The time of the batch's own load does not count as waiting for others.
            begun = runtime.now();
        }
        if waiting.is_empty() {
            break;
        }
        asking = waiting;
        if let Some(free_in) = free_in.filter(|time| !time.is_zero()) {
            let jittered = pause.mul_f64(0.5 + fastrand::f64() * 0.5);
            runtime.sleep(jittered.min(free_in).min(left)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
    led.into_iter()
        .map(|led| led.unwrap_or(Led::Skipped))
        .collect()
}

/// A led key on its way through the engine.
pub(super) struct Seat {
    /// Its index in the batch.
    pub(super) place: usize,
    pub(super) lead: Lead,
    /// Its lease. Without one, the loaded value is not stored.
    pub(super) held: Option<Held>,
    /// Whether it has already waited for another load's lease.
    waited: bool,
}

impl Seat {
    fn new((place, lead): (usize, Lead)) -> Self {
        Seat {
            place,
            lead,
            held: None,
            waited: false,
        }
    }

    fn fail<T>(self, error: Error, led: &mut [Option<Led<T>>]) {
        let error = error.for_key(&self.lead.key);
        if error.kind() == ErrorKind::Loader {
            self.lead.fail(&error);
        }
        led[self.place] = Some(Led::Failed(error));
    }
}

/// The result of one request for leases, without the keys that it has settled.
struct Round {
    /// Keys to load now.
    ready: Vec<Seat>,
    /// Keys whose lease is to be requested again.
    waiting: Vec<Seat>,
    /// One of the leases is free after this time at the latest, unless it is renewed.
    free_in: Option<Duration>,
}

impl Lead {
    /// The waiters that a command sent now may answer.
    pub(super) fn covers(&self) -> u64 {
        self.leader.as_ref().map_or(0, Leader::covers)
    }

    /// The waiters that a loader called now may answer.
    fn calls_loader(&self) -> u64 {
        self.leader.as_ref().map_or(0, Leader::calls_loader)
    }

    /// Ends the flight with an answer.
    pub(super) fn answer(self, covers: u64, answer: Answer) {
        if let Some(leader) = self.leader {
            leader.answer(covers, answer);
        }
    }

    /// Ends the flight with an error.
    fn fail(self, error: &Error) {
        if let Some(leader) = self.leader {
            leader.fail(error.clone());
        }
    }

    /// Whether it loads without requesting a lease: Redis did not answer the read, or the leader takes too long.
    fn is_unleased(&self) -> bool {
        self.seen == Seen::Unknown || self.leader.as_ref().is_some_and(Leader::is_late)
    }
}

/// What all keys of a batch share.
pub(super) struct Engine<'e> {
    pub(super) cache: &'e ReadThrough,
    pub(super) plan: &'e Plan,
    patience: Duration,
    /// Whether the loader may name additional tags.
    pub(super) brings_tags: bool,
}

impl Engine<'_> {
    /// Requests the leases. A usable value that another load has stored meanwhile settles its key.
    ///
    /// model: Action::Acquire, Action::Wait
    async fn acquire<T: Decode>(
        &self,
        asking: Vec<Seat>,
        left: Duration,
        led: &mut [Option<Led<T>>],
    ) -> Round {
        let (ready, asking): (Vec<Seat>, Vec<Seat>) =
            asking.into_iter().partition(|seat| seat.lead.is_unleased());
        let covers: Vec<u64> = asking.iter().map(|seat| seat.lead.covers()).collect();
        // Each ACQUIRE that is sent has a new token (lease invariant 4).
        let (tokens, inputs): (Vec<Token>, Vec<Input>) = asking
            .iter()
            .map(|seat| self.acquire_input(&seat.lead))
            .unzip();
        let replies = match self.cache.quiet().run_many(&ACQUIRE, &inputs).await {
            Ok(replies) => replies,
            Err(error) => inputs.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut round = Round {
            ready,
            waiting: Vec::new(),
            free_in: None,
        };
        let mut found = Vec::new();
        for ((mut seat, token), (reply, covers)) in asking
            .into_iter()
            .zip(tokens)
            .zip(replies.into_iter().zip(covers))
        {
            let acquired =
                reply.and_then(|reply| Acquired::from_reply(reply, self.scripted_guards()));
            match acquired {
                Ok(Acquired::Mine(seen, versions)) => {
                    seat.held = Some(Held::new(token, seen, versions, self.plan));
                    round.ready.push(seat);
                }
                Ok(Acquired::Entry(bytes)) => {
                    let entry = Entry::new(bytes);
                    seat.lead.seen = Seen::of(Some(entry.bytes()));
                    found.push((seat, covers, entry));
                }
                Ok(Acquired::Theirs(lease_left)) => match self.plan.way {
                    Way::Refresh => led[seat.place] = Some(Led::Skipped),
                    Way::Bypass => round.ready.push(seat),
                    Way::Miss | Way::Force if left.is_zero() => round.ready.push(seat),
                    Way::Miss | Way::Force => {
                        if !std::mem::replace(&mut seat.waited, true) {
                            self.cache.client.counters().lease_waits.add(1);
                        }
                        let free_in = lease_left + Duration::from_millis(1);
                        round.free_in = Some(round.free_in.map_or(free_in, |at| at.min(free_in)));
                        round.waiting.push(seat);
                    }
                },
                Err(error) => round.ready.extend(self.go_on_without(error, seat, led)),
            }
        }
        if !found.is_empty() {
            self.use_found(found, left, &mut round, led).await;
        }
        round.ready.sort_by_key(|seat| seat.place);
        round
    }

    /// ACQUIRE failed, or what guards the value could not be read. Redis does not answer, or refuses, but the loader is
    /// there: load without a lease. (A refresh can wait.)
    pub(super) fn go_on_without<T>(
        &self,
        error: Error,
        seat: Seat,
        led: &mut [Option<Led<T>>],
    ) -> Option<Seat> {
        if !is_away(&error) {
            seat.fail(error, led);
            None
        } else if self.plan.way == Way::Refresh {
            led[seat.place] = Some(Led::Skipped);
            None
        } else {
            self.cache.client.note_degraded(&error);
            Some(seat)
        }
    }

    /// Settles the keys whose entry another load has stored meanwhile, if it is usable.
    async fn use_found<T: Decode>(
        &self,
        found: Vec<(Seat, u64, Entry)>,
        left: Duration,
        round: &mut Round,
        led: &mut [Option<Led<T>>],
    ) {
        let (seats, entries): (Vec<_>, Vec<_>) = found
            .into_iter()
            .map(|(seat, covers, entry)| ((seat, covers), Some(entry)))
            .unzip();
        let judged = match tags::judge_all(&self.cache.client, entries).await {
            Ok(judged) => judged,
            Err(error) => {
                for (seat, _) in seats {
                    round
                        .ready
                        .extend(self.go_on_without(error.clone(), seat, led));
                }
                return;
            }
        };
        for ((seat, covers), (entry, judgement)) in seats.into_iter().zip(judged) {
            match entry.and_then(|entry| self.usable(entry, judgement)) {
                Some((value, answer)) => {
                    seat.lead.answer(covers, answer);
                    led[seat.place] = Some(Led::Value(value));
                }
                None if left.is_zero() => round.ready.push(seat),
                None => {
                    // Its lease may be free: ask again at once.
                    round.free_in = Some(Duration::ZERO);
                    round.waiting.push(seat);
                }
            }
        }
    }

    /// What guards the values of a load: the version of each tag of the call and, if the loader may name tags, the epoch.
    pub(super) fn guards(&self) -> usize {
        self.plan.tags.len() + usize::from(self.brings_tags)
    }

    /// How many of them ACQUIRE returns: none if they may be in another slot than the entry.
    fn scripted_guards(&self) -> usize {
        if self.is_spread() { 0 } else { self.guards() }
    }

    /// The token and the input for one ACQUIRE.
    fn acquire_input(&self, lead: &Lead) -> (Token, Input) {
        let token = lease::random();
        let mut input = Input::default();
        input.key(lead.key.as_bytes()).key(&lead.key.lease());
        if !self.is_spread() {
            for tag in &self.plan.tags {
                input.key(&tag.version_key);
            }
            if self.brings_tags {
                input.key(&self.cache.client.keyspace().tag_epoch());
            }
        }
        let takes_lease: &[u8] = match self.plan.way {
            Way::Force => b"1",
            Way::Miss | Way::Refresh | Way::Bypass => b"0",
        };
        input
            .arg(&token)
            .arg(self.cache.policy.lease.as_millis().to_string().as_bytes())
            .arg(lead.seen.as_bytes())
            .arg(takes_lease);
        for _ in 0..self.scripted_guards() {
            input.arg(&lease::random());
        }
        (token, input)
    }

    /// The value of an entry that another load has stored, if this call may use it.
    fn usable<T: Decode>(&self, mut entry: Entry, judgement: Judgement) -> Option<(T, Answer)> {
        let stale_since = match judgement {
            Judgement::Fresh => None,
            Judgement::Stale(since)
                if since < self.plan.stale_for && self.plan.way == Way::Miss =>
            {
                Some(since)
            }
            _ => return None,
        };
        let shared: Arc<[u8]> = (&*entry.value()).into();
        let (value, answer) = match entry.decode::<T>(self.cache.client.codec()).ok()? {
            Stored::Value(value) => (value, Answer::Value(shared)),
            Stored::Nothing => (T::nothing()?, Answer::Nothing),
        };
        // Others may not take a value as old as this caller does.
        let answer = match stale_since {
            Some(since) => Answer::Stale(since, Box::new(answer)),
            None => answer,
        };
        Some((value, answer))
    }

    /// Runs the loader for these keys, and fills.
    async fn load<T, L>(
        &self,
        seats: Vec<Seat>,
        loader: &mut impl FnMut(Vec<usize>) -> L,
        led: &mut [Option<Led<T>>],
    ) where
        T: Encode + Decode + Clone,
        L: Future<Output = Result<Vec<Loaded<T>>>>,
    {
        let client = &self.cache.client;
        let held = seats
            .iter()
            .filter_map(|seat| Some((&seat.lead.key, seat.held.as_ref()?)));
        let renewal = Renewal::of(self.cache, held);
        let _listed = renewal.listed();
        // The leases are renewed until the value is stored: that may take a round trip before FILL.
        let work = async {
            let seats = self.guarded(seats, led).await;
            if seats.is_empty() {
                return;
            }
            let keys: Vec<StoredKey> = if client.has_hooks() {
                seats.iter().map(|seat| seat.lead.key.clone()).collect()
            } else {
                Vec::new()
            };
            let telling = client.telling("load", CallKeys::Stored(&keys));
            let indices = seats.iter().map(|seat| seat.lead.index).collect();
            let mut covers = Vec::new();
            let load = || {
                // Its value is for the waiters that have joined by now (flight invariant 2).
                covers = seats.iter().map(|seat| seat.lead.calls_loader()).collect();
                loader(indices)
            };
            let begun = client.runtime().now();
            let run = || run_loader(self.cache, self.patience, load);
            let loaded = Telling::within(telling.as_ref(), run).await;
            let took = client.runtime().now().saturating_duration_since(begun);
            let error = match loaded {
                Ok(loaded) => {
                    self.settle(seats, covers, loaded, took, led, telling.as_ref())
                        .await
                }
                Err(error) => {
                    let held = seats
                        .iter()
                        .filter_map(|seat| Some((&seat.lead.key, seat.held.as_ref()?)));
                    self.release(held).await;
                    for seat in seats {
                        seat.fail(error.clone(), led);
                    }
                    Some(error)
                }
            };
            if let Some(telling) = telling {
                telling.end(error.as_ref());
            }
        };
        renewal.during(work).await;
    }
}

/// Runs a loader. If `max_loads` is set, it first waits for a free place.
///
/// model: Action::Load
async fn run_loader<T, L>(
    cache: &ReadThrough,
    patience: Duration,
    load: impl FnOnce() -> L,
) -> Result<T>
where
    L: Future<Output = Result<T>>,
{
    let _place = match &cache.policy.loads {
        None => None,
        Some(places) => {
            let runtime = cache.client.runtime();
            let place = runtime.timeout(patience, || places.acquire()).await;
            let place = place.and_then(std::result::Result::ok);
            Some(place.ok_or_else(|| overloaded(patience))?)
        }
    };
    cache.client.counters().loads.add(1);
    let begun = Instant::now();
    // The block includes the call of the closure, which may panic too.
    let loaded = catch_panic(async { load().await }).await;
    let counters = cache.client.counters();
    counters.load_micros.add(begun.elapsed().as_micros() as u64);
    if loaded.is_err() {
        counters.load_errors.add(1);
    }
    loaded
}

/// Whether to continue without Redis. It is so whatever Redis answers, or does not: only what the caller did wrong is an
/// error to the caller.
pub(super) fn is_away(error: &Error) -> bool {
    Fallback::covers(error)
}

fn overloaded(patience: Duration) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!("max_loads is reached, and none of the running loads ended within {patience:?}"),
    )
}
