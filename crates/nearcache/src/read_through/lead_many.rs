//! Leading many flights at once: one question for all the leases, one call of the loader, one fill.
//!
//! What cannot be settled so (somebody else has the lease, or has stored what is of no use) is given back, to
//! be led by itself.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::fill::{Encoded, Held, Renewal};
use super::lead::{Lead, LoadCall, is_away, load, note};
use super::lease::{ACQUIRE, Acquired, FILL, RELEASE, Seen};
use super::load::Loaded;
use super::plan::{Plan, Way};
use crate::cache::Core;
use crate::codec::{Decode, Encode};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::Telling;
use crate::script::Input;

/// How a key of many ended.
pub(crate) enum Led<T> {
    Value(T),
    Failed(Error),
    /// It is to be led by itself.
    Apart(Lead),
    /// There was no need to load it.
    Skipped,
}

/// One of many that are to be loaded.
struct Seat {
    /// Which of the keys it is.
    place: usize,
    lead: Lead,
    /// Without it, what is loaded is not stored.
    held: Option<Held>,
    /// Whom an answer goes to that is not stored: those who are there before the load begins.
    covers: u64,
}

/// Leads all of these, which have one plan. The loader is given the places of the keys that it is to load,
/// and gives as many values.
pub(crate) async fn run<T, L>(
    leads: Vec<Lead>,
    brings_tags: bool,
    loader: impl FnOnce(Vec<usize>) -> L,
) -> Vec<Led<T>>
where
    T: Encode + Decode,
    L: Future<Output = Result<Vec<Loaded<T>>>>,
{
    let Some(any) = leads.first() else {
        return Vec::new();
    };
    let (core, plan) = (any.core.clone(), Arc::clone(&any.plan));
    let (mut led, seats) = seated(&core, &plan, leads, brings_tags).await;
    if !seats.is_empty() {
        let places = seats.iter().map(|seat| seat.place).collect();
        let call = LoadCall::of(&core, seats.iter().map(|seat| &seat.lead.key));
        let telling = call.begin();
        let begun = core.runtime().now();
        let leases = seats
            .iter()
            .filter_map(|seat| Some((&seat.lead.key, seat.held.as_ref()?)));
        let loading = Telling::within(telling.as_ref(), || load(&core, &plan, || loader(places)));
        let loaded = Renewal::of(&core, leases).during(loading).await;
        let took = core.runtime().now().saturating_duration_since(begun);
        let error = loaded.as_ref().err().cloned();
        match loaded {
            Ok(loaded) => fill(&core, seats, loaded, took, &mut led, telling.as_ref()).await,
            Err(error) => {
                release(&core, &seats).await;
                for seat in seats {
                    led[seat.place] = Some(failed(seat.lead, error.clone()));
                }
            }
        }
        if let Some(telling) = telling {
            telling.ended(error.as_ref());
        }
    }
    led.into_iter()
        .map(|led| led.unwrap_or(Led::Skipped))
        .collect()
}

/// Asks for all the leases: what is settled by that, and what is to be loaded.
async fn seated<T: Decode>(
    core: &Core,
    plan: &Plan,
    leads: Vec<Lead>,
    brings_tags: bool,
) -> (Vec<Option<Led<T>>>, Vec<Seat>) {
    let (tokens, inputs): (Vec<_>, Vec<Input>) =
        leads.iter().map(|lead| lead.acquiring(brings_tags)).unzip();
    let covers: Vec<u64> = leads.iter().map(Lead::covers).collect();
    let versions = inputs.first().map_or(0, |input| input.keys() - 2);
    let replies = if leads.iter().all(|lead| lead.seen == Seen::Unknown) {
        // Redis was away just now.
        Err(Error::new(
            ErrorKind::Unavailable,
            "it did not answer the read",
        ))
    } else {
        core.run_many(&ACQUIRE, &inputs).await
    };
    let mut led = Vec::with_capacity(leads.len());
    let mut seats = Vec::new();
    let replies: Vec<Result<Acquired>> = match replies {
        Ok(replies) => replies
            .into_iter()
            .map(|reply| Acquired::from_reply(reply?, versions))
            .collect(),
        Err(error) => leads.iter().map(|_| Err(error.clone())).collect(),
    };
    for (place, ((lead, token), (reply, covers))) in leads
        .into_iter()
        .zip(tokens)
        .zip(replies.into_iter().zip(covers))
        .enumerate()
    {
        let mut sit = |lead: Lead, held| {
            let covers = lead.covers();
            seats.push(Seat {
                place,
                lead,
                held,
                covers,
            });
            None
        };
        led.push(match reply {
            Ok(Acquired::Mine(seen, versions)) => {
                let held = lead.held(token, seen, versions);
                sit(lead, Some(held))
            }
            Ok(Acquired::Entry(bytes)) => Some(stored(lead, bytes, covers).await),
            Ok(Acquired::Theirs(_)) if plan.way == Way::Refresh => Some(Led::Skipped),
            Ok(Acquired::Theirs(_)) => Some(Led::Apart(lead)),
            // Redis is away: the loader is not. (A refresh can wait.)
            Err(error) if is_away(&error) && plan.way != Way::Refresh => sit(lead, None),
            Err(error) => Some(failed(lead, error)),
        });
    }
    (led, seats)
}

/// What somebody else has stored meanwhile.
async fn stored<T: Decode>(mut lead: Lead, bytes: Vec<u8>, covers: u64) -> Led<T> {
    let entry = Entry::new(bytes);
    lead.seen = Seen::of(Some(entry.bytes()));
    match lead.usable(entry).await {
        Ok(Some((value, outcome))) => {
            if let Some(leader) = lead.leader {
                leader.answer(covers, outcome);
            }
            value.map_or(Led::Skipped, Led::Value)
        }
        Ok(None) => Led::Apart(lead),
        Err(error) => failed(lead, error),
    }
}

/// Stores all that was loaded under a lease, and tells those who wait.
async fn fill<T: Encode>(
    core: &Core,
    seats: Vec<Seat>,
    loaded: Vec<Loaded<T>>,
    took: Duration,
    led: &mut [Option<Led<T>>],
    telling: Option<&Telling<'_>>,
) {
    let mut encoded = Vec::with_capacity(seats.len());
    let mut places = Vec::with_capacity(seats.len());
    for (mut seat, loaded) in seats.into_iter().zip(loaded) {
        let bytes = Encoded::of(&loaded, core.codec());
        places.push(seat.place);
        led[seat.place] = Some(Led::Value(loaded.value));
        match (seat.held.take(), bytes) {
            (Some(held), bytes) => encoded.push((seat, held, bytes)),
            (None, Ok(bytes)) if seat.covers > 0 => seat.lead.answer(seat.covers, bytes.outcome),
            (None, _) => {}
        }
    }
    let refused = fill_encoded(core, encoded, took, telling).await;
    for (place, error) in refused {
        led[place] = Some(Led::Failed(error));
    }
}

/// Sends FILL for all of these; gives back what could not even be sent.
async fn fill_encoded(
    core: &Core,
    encoded: Vec<(Seat, Held, Result<Encoded>)>,
    took: Duration,
    telling: Option<&Telling<'_>>,
) -> Vec<(usize, Error)> {
    let mut refused = Vec::new();
    let mut filling = Vec::with_capacity(encoded.len());
    for (seat, held, bytes) in encoded {
        match seat.lead.filling(&held, bytes, took).await {
            Ok(Some(prepared)) => filling.push((seat.lead, prepared)),
            Ok(None) => held.release(&seat.lead).await,
            Err(error) => {
                let error = error.for_key(seat.lead.key.user());
                held.release(&seat.lead).await;
                seat.lead.fail(&error);
                refused.push((seat.place, error));
            }
        }
    }
    let inputs: Vec<Input> = filling
        .iter_mut()
        .map(|(_, filling)| std::mem::take(&mut filling.input))
        .collect();
    let sent: Vec<_> = filling
        .iter()
        .map(|(lead, _)| (lead.covers(), core.mark(&lead.key)))
        .collect();
    let replies = match core.run_many(&FILL, &inputs).await {
        Ok(replies) => replies,
        Err(error) => inputs.iter().map(|_| Err(error.clone())).collect(),
    };
    for (((lead, filling), (covers, mark)), reply) in filling.into_iter().zip(sent).zip(replies) {
        let (outcome, bytes) = lead.filled(filling, reply, covers, mark);
        note(telling, outcome, bytes);
    }
    refused
}

async fn release(core: &Core, seats: &[Seat]) {
    let inputs: Vec<Input> = seats
        .iter()
        .filter_map(|seat| Some(seat.held.as_ref()?.releasing(&seat.lead)))
        .collect();
    if let Err(error) = core.run_many(&RELEASE, &inputs).await {
        tracing::debug!(%error, "leases could not be released");
    }
}

fn failed<T>(lead: Lead, error: Error) -> Led<T> {
    let error = error.for_key(lead.key.user());
    lead.fail(&error);
    Led::Failed(error)
}
