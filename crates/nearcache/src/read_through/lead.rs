//! The load engine. For the keys that this process leads, it acquires the leases, or waits for the loads that have
//! them; runs the loader; and fills. It handles one key and many alike: one request for all leases, one call of the
//! loader, one fill.
//!
//! 1. A leader always ends its flight: with an answer, with the loader's error, or by letting the next waiter lead,
//!    even if it is cancelled.
//! 2. A value that was loaded under a lease is stored by FILL or not at all.
//! 3. A load without a lease (Redis is away, another load takes too long, or invalidations keep coming) stores nothing,
//!    and answers the waiters that joined before it began.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ReadThrough;
use super::entry::{Entry, Judgement};
use super::fill::{Encoded, Filling, Held, Renewal};
use super::flight::{Answer, Leader};
use super::lease::{self, ACQUIRE, Acquired, FILL, RELEASE, Seen, Token};
use super::load::{Loaded, catch_panic};
use super::plan::{Plan, Way};
use super::tags;
use crate::codec::{Decode, Encode, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{CallKeys, Outcome, Telling};
use crate::keyspace::StoredKey;
use crate::resilience::Fallback;
use crate::script::Input;

/// After this many fenced loads in a row, the next load takes no lease.
const ROUNDS: u32 = 3;

/// The first and the longest pause before ACQUIRE is sent again for a lease that another load has. A process that waits
/// so notices the end of the load late, by half of the longest pause on average.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));

/// Keys that are led together, with the same options.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(super) cache: ReadThrough,
    pub(super) plan: Arc<Plan>,
    pub(super) leads: Vec<Lead>,
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
}

/// Leads a batch to its end. The loader gets the indices of the keys to load, and returns a value for each. It is
/// called once for all keys whose leases are free, and again for keys whose leases become free later.
pub(super) async fn lead<T, L>(
    batch: Batch,
    brings_tags: bool,
    mut loader: impl FnMut(Vec<usize>) -> L,
) -> Vec<Led<T>>
where
    T: Encode + Decode,
    L: Future<Output = Result<Vec<Loaded<T>>>>,
{
    let Batch { cache, plan, leads } = batch;
    let engine = Engine {
        cache: &cache,
        plan: &plan,
        brings_tags,
    };
    let mut led: Vec<Option<Led<T>>> = leads.iter().map(|_| None).collect();
    let mut asking: Vec<Seat> = leads.into_iter().enumerate().map(Seat::new).collect();
    let runtime = cache.client.runtime();
    let patience = plan.load_timeout.unwrap_or(cache.policy.lease);
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
        if let Some(free_in) = free_in {
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
struct Seat {
    /// Its index in the batch.
    place: usize,
    lead: Lead,
    /// Its lease. Without one, the loaded value is not stored.
    held: Option<Held>,
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
        self.lead.fail(&error);
        led[self.place] = Some(Led::Failed(error));
    }
}

/// The result of one request for leases, without the keys that it has settled.
struct Round {
    /// Keys to load now.
    ready: Vec<Seat>,
    /// Keys whose lease is to be requested again.
    waiting: Vec<Seat>,
    /// One of the leases is free after this time at the latest, unless it is renewed. `None`: request again at once.
    free_in: Option<Duration>,
}

impl Lead {
    /// The waiters that a command sent now may answer.
    pub(super) fn covers(&self) -> u64 {
        self.leader.as_ref().map_or(0, Leader::covers)
    }

    /// Ends the flight with an answer.
    fn answer(self, covers: u64, answer: Answer) {
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

    /// Whether it loads without requesting a lease: Redis did not answer the read, the leader takes too long, or
    /// invalidations keep coming.
    fn is_unleased(&self) -> bool {
        let alone = |leader: &Leader| leader.is_substitute() || leader.fences() >= ROUNDS;
        self.seen == Seen::Unknown || self.leader.as_ref().is_some_and(alone)
    }
}

/// What all keys of a batch share.
pub(super) struct Engine<'e> {
    pub(super) cache: &'e ReadThrough,
    pub(super) plan: &'e Plan,
    /// Whether the loader may name additional tags.
    brings_tags: bool,
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
        let (mut ready, asking): (Vec<Seat>, Vec<Seat>) =
            asking.into_iter().partition(|seat| seat.lead.is_unleased());
        let covers: Vec<u64> = asking.iter().map(|seat| seat.lead.covers()).collect();
        // Each ACQUIRE that is sent has a new token (lease invariant 4).
        let (tokens, inputs): (Vec<Token>, Vec<Input>) = asking
            .iter()
            .map(|seat| self.acquire_input(&seat.lead))
            .unzip();
        let replies = match self.cache.client.run_many(&ACQUIRE, &inputs).await {
            Ok(replies) => replies,
            Err(error) => inputs.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut waiting = Vec::new();
        let (mut again, mut free_in) = (false, Duration::MAX);
        for ((mut seat, token), (reply, covers)) in asking
            .into_iter()
            .zip(tokens)
            .zip(replies.into_iter().zip(covers))
        {
            let acquired = reply.and_then(|reply| Acquired::from_reply(reply, self.guards()));
            let error = match acquired {
                Ok(Acquired::Mine(seen, versions)) => {
                    seat.held = Some(Held::new(token, seen, versions, self.plan));
                    ready.push(seat);
                    continue;
                }
                Ok(Acquired::Entry(bytes)) => {
                    let entry = Entry::new(bytes);
                    seat.lead.seen = Seen::of(Some(entry.bytes()));
                    match self.usable(entry).await {
                        Ok(Some((value, answer))) => {
                            seat.lead.answer(covers, answer);
                            led[seat.place] = Some(Led::Value(value));
                            continue;
                        }
                        Ok(None) if left.is_zero() => {
                            ready.push(seat);
                            continue;
                        }
                        Ok(None) => {
                            again = true;
                            waiting.push(seat);
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Ok(Acquired::Theirs(lease_left)) => {
                    match self.plan.way {
                        Way::Refresh => led[seat.place] = Some(Led::Skipped),
                        Way::Bypass => ready.push(seat),
                        Way::Miss | Way::Force if left.is_zero() => ready.push(seat),
                        Way::Miss | Way::Force => {
                            if !std::mem::replace(&mut seat.waited, true) {
                                self.cache.client.counters().lease_waits.add(1);
                            }
                            free_in = free_in.min(lease_left + Duration::from_millis(1));
                            waiting.push(seat);
                        }
                    }
                    continue;
                }
                Err(error) => error,
            };
            // Redis is away, but the loader is not: load without a lease. (A refresh can wait.)
            if is_away(&error) && self.plan.way != Way::Refresh {
                ready.push(seat);
            } else {
                seat.fail(error, led);
            }
        }
        ready.sort_by_key(|seat| seat.place);
        Round {
            ready,
            waiting,
            free_in: (!again).then_some(free_in),
        }
    }

    /// How many versions ACQUIRE returns: one for each tag of the call and, if the loader may name tags, the epoch.
    fn guards(&self) -> usize {
        self.plan.tags.len() + usize::from(self.brings_tags)
    }

    /// The token and the input for one ACQUIRE.
    fn acquire_input(&self, lead: &Lead) -> (Token, Input) {
        let token = lease::random();
        let mut input = Input::default();
        input.key(lead.key.as_bytes()).key(&lead.key.lease());
        for tag in &self.plan.tags {
            input.key(&tag.version_key);
        }
        if self.brings_tags {
            input.key(&self.cache.client.keyspace().tag_epoch());
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
        for _ in 0..self.guards() {
            input.arg(&lease::random());
        }
        (token, input)
    }

    /// The value of an entry that another load has stored, if this call may use it.
    async fn usable<T: Decode>(&self, mut entry: Entry) -> Result<Option<(T, Answer)>> {
        match tags::judge(&self.cache.client, &entry).await? {
            Judgement::Fresh => {}
            Judgement::Stale(since)
                if since < self.plan.stale_for && self.plan.way == Way::Miss => {}
            _ => return Ok(None),
        }
        let shared: Arc<[u8]> = (&*entry.value()).into();
        Ok(match entry.decode::<T>(self.cache.client.codec()) {
            Ok(Stored::Value(value)) => Some((value, Answer::Value(shared))),
            Ok(Stored::Nothing) => T::nothing().map(|value| (value, Answer::Nothing)),
            Err(_) => None,
        })
    }

    /// Runs the loader for these keys, and fills.
    async fn load<T, L>(
        &self,
        seats: Vec<Seat>,
        loader: &mut impl FnMut(Vec<usize>) -> L,
        led: &mut [Option<Led<T>>],
    ) where
        T: Encode + Decode,
        L: Future<Output = Result<Vec<Loaded<T>>>>,
    {
        let client = &self.cache.client;
        let keys: Vec<StoredKey> = if client.has_hooks() {
            seats.iter().map(|seat| seat.lead.key.clone()).collect()
        } else {
            Vec::new()
        };
        let telling = client.telling("load", CallKeys::Stored(&keys));
        // A load without a lease answers the waiters that joined before it begins.
        let covers: Vec<u64> = seats.iter().map(|seat| seat.lead.covers()).collect();
        let indices = seats.iter().map(|seat| seat.lead.index).collect();
        let held = seats
            .iter()
            .filter_map(|seat| Some((&seat.lead.key, seat.held.as_ref()?)));
        let renewal = Renewal::of(self.cache, held);
        let begun = client.runtime().now();
        let run = || run_loader(self.cache, self.plan, || loader(indices));
        let loaded = renewal.during(Telling::within(telling.as_ref(), run)).await;
        let took = client.runtime().now().saturating_duration_since(begun);
        let error = match loaded {
            Ok(loaded) => {
                self.settle(seats, covers, loaded, took, led, telling.as_ref())
                    .await
            }
            Err(error) => {
                self.release(&seats).await;
                for seat in seats {
                    seat.fail(error.clone(), led);
                }
                Some(error)
            }
        };
        if let Some(telling) = telling {
            telling.end(error.as_ref());
        }
    }

    /// Stores the values that were loaded under a lease, unless the load was fenced, and answers the waiters. Returns
    /// the first error that kept a value from being stored.
    async fn settle<T: Encode>(
        &self,
        seats: Vec<Seat>,
        covers: Vec<u64>,
        loaded: Vec<Loaded<T>>,
        took: Duration,
        led: &mut [Option<Led<T>>],
        telling: Option<&Telling<'_>>,
    ) -> Option<Error> {
        let mut filling: Vec<(Lead, Filling)> = Vec::with_capacity(seats.len());
        let mut first_error = None;
        for ((mut seat, covers), loaded) in seats.into_iter().zip(covers).zip(loaded) {
            let encoded = Encoded::of(&loaded, self.cache.client.codec());
            led[seat.place] = Some(Led::Value(loaded.value));
            let Some(held) = seat.held.take() else {
                match encoded {
                    Ok(encoded) => seat.lead.answer(covers, encoded.answer),
                    Err(error) if covers > 0 => {
                        let error = error.for_key(&seat.lead.key);
                        seat.lead.fail(&error);
                    }
                    Err(_) => {}
                }
                note(telling, Outcome::NotStored, 0);
                continue;
            };
            match self.fill_input(&seat.lead, &held, encoded, took).await {
                Ok(Some(prepared)) => filling.push((seat.lead, prepared)),
                // It is not known whether the tags changed during the load, so nothing is stored. The waiters ask
                // again.
                Ok(None) => {
                    held.release(self.cache, &seat.lead.key).await;
                    note(telling, Outcome::NotStored, 0);
                }
                Err(error) => {
                    held.release(self.cache, &seat.lead.key).await;
                    first_error.get_or_insert_with(|| error.clone());
                    seat.fail(error, led);
                }
            }
        }
        self.fill(filling, telling).await;
        first_error
    }

    /// Sends FILL for all of these.
    ///
    /// model: Action::ReadTagsAgain, Action::Fill
    async fn fill(&self, filling: Vec<(Lead, Filling)>, telling: Option<&Telling<'_>>) {
        let last_seen = &self.cache.policy.last_seen;
        // Note before FILL is sent which waiters it may answer, and the marks: both depend on what happens after this.
        let sent: Vec<_> = filling
            .iter()
            .map(|(lead, _)| (lead.covers(), last_seen.mark(&lead.key)))
            .collect();
        let (pending, inputs): (Vec<_>, Vec<Input>) = filling
            .into_iter()
            .map(|(lead, filling)| {
                let (pending, input) = filling.into_parts();
                ((lead, pending), input)
            })
            .unzip();
        let replies = match self.cache.client.run_many(&FILL, &inputs).await {
            Ok(replies) => replies,
            Err(error) => inputs.iter().map(|_| Err(error.clone())).collect(),
        };
        for (((lead, pending), (covers, mark)), reply) in pending.into_iter().zip(sent).zip(replies)
        {
            let (outcome, bytes) = self.finish(lead, pending, reply, covers, mark);
            note(telling, outcome, bytes);
        }
    }

    async fn release(&self, seats: &[Seat]) {
        let inputs: Vec<Input> = seats
            .iter()
            .filter_map(|seat| Some(seat.held.as_ref()?.release_input(&seat.lead.key)))
            .collect();
        if let Err(error) = self.cache.client.run_many(&RELEASE, &inputs).await {
            tracing::debug!(%error, "leases could not be released");
        }
    }
}

fn note(telling: Option<&Telling<'_>>, outcome: Outcome, bytes: usize) {
    if let Some(telling) = telling {
        telling.watch().note(outcome, bytes);
    }
}

/// Runs a loader. If `max_loads` is set, it first waits for a free place.
///
/// model: Action::Load
async fn run_loader<T, L>(cache: &ReadThrough, plan: &Plan, load: impl FnOnce() -> L) -> Result<T>
where
    L: Future<Output = Result<T>>,
{
    let _place = match &cache.policy.loads {
        None => None,
        Some(places) => {
            let patience = plan.load_timeout.unwrap_or(cache.policy.lease);
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

/// Whether to continue without Redis: it does not answer, or its answer is not valid protocol.
pub(super) fn is_away(error: &Error) -> bool {
    Fallback::covers(error) || error.kind() == ErrorKind::Protocol
}

fn overloaded(patience: Duration) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!("max_loads is reached, and none of the running loads ended within {patience:?}"),
    )
}
