//! The end of a load: its values are stored, or not; its waiters are answered either way; and what it held is given back.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::{self, Delivery};
use super::fill::{Encoded, Filling, Prepared};
use super::flight::Answer;
use super::guards::Moved;
use super::held::Held;
use super::lead::{Engine, Lead, Led, Seat};
use super::lease::{FILL, RELEASE};
use super::load::Loaded;
use super::plan::Way;
use crate::client::Client;
use crate::codec::{Decode, Encode};
use crate::error::Error;
use crate::hooks::{Outcome, Telling};
use crate::keyspace::StoredKey;
use crate::script::Input;

impl Engine<'_> {
    /// Stores the values that were loaded under a lease, unless the load was fenced, and answers the waiters. Returns
    /// the first error that kept a value from being stored.
    pub(super) async fn settle<T: Encode + Decode + Clone>(
        &self,
        seats: Vec<Seat>,
        covers: Vec<u64>,
        loaded: Vec<Loaded<T>>,
        took: Duration,
        led: &mut [Option<Led<T>>],
        telling: Option<&Telling<'_>>,
    ) -> Option<Error> {
        let mut settling = Settling::default();
        let mut prepared: Vec<Prepared> = Vec::with_capacity(seats.len());
        for ((mut seat, covers), loaded) in seats.into_iter().zip(covers).zip(loaded) {
            let encoded = Encoded::of(&loaded, self.cache.client.codec());
            let held = seat.held.take();
            match encoded {
                Ok(encoded) => {
                    let seal = self.seal(&encoded, took);
                    match (held, seal) {
                        (Some(held), Ok(sealed)) => {
                            prepared.push((seat.lead, covers, held, encoded, sealed));
                        }
                        (held, sealed) => {
                            // Without a lease Redis did not answer.
                            settling.away |= held.is_none();
                            settling.leave(&seat.lead, held, sealed.err());
                            seat.lead.answer(covers, encoded.answer);
                        }
                    }
                }
                Err(error) => {
                    settling.leave(&seat.lead, held, Some(error));
                    let value = Arc::new(loaded.value.clone());
                    seat.lead.answer(covers, Answer::Unencoded(value));
                }
            }
            led[seat.place] = Some(Led::Value(loaded.value));
        }
        if self.is_spread() {
            let filling = self.checked(prepared, &mut settling, telling).await;
            self.fill(filling, &mut settling, telling).await;
            return self.end(settling, telling).await;
        }
        let brought = self.versions_of_brought(&prepared).await;
        let mut filling: Vec<(Lead, u64, Filling)> = Vec::with_capacity(prepared.len());
        for ((lead, covers, held, encoded, sealed), versions) in prepared.into_iter().zip(brought) {
            match versions {
                Ok(versions) => {
                    let filled = self.fill_input(&lead, &held, encoded, sealed, versions);
                    filling.push((lead, covers, filled));
                }
                // It is not known whether the tags changed during the load, so nothing is stored.
                Err(error) => {
                    settling.leave_unknown(&self.cache.client, &lead, held, &error);
                    lead.answer(covers, encoded.answer);
                }
            }
        }
        self.fill(filling, &mut settling, telling).await;
        self.end(settling, telling).await
    }

    /// Sends FILL for all of these.
    ///
    /// model: Action::ReadTagsAgain, Action::Fill
    async fn fill(
        &self,
        mut filling: Vec<(Lead, u64, Filling)>,
        settling: &mut Settling,
        telling: Option<&Telling<'_>>,
    ) {
        if filling.is_empty() {
            return;
        }
        let (near, client) = (self.cache.near(), &self.cache.client);
        // Note before FILL is sent which waiters it may answer, and announce it: both depend on what happens after this.
        let sent: Vec<_> = filling
            .iter_mut()
            .map(|(lead, _, filling)| {
                if let Some(noted) = filling.noted.take() {
                    return noted;
                }
                let own = near.map(|near| {
                    let tags = filling.version_keys(client.keyspace());
                    near.begin_fill(&lead.key, tags, client)
                });
                (lead.covers(), own)
            })
            .collect();
        let sending = self.cache.quiet();
        let mut pending = Vec::with_capacity(filling.len());
        let mut inputs: Vec<Input> = Vec::with_capacity(filling.len());
        let mut all_carried = Vec::new();
        for (lead, covers, filling) in filling {
            let (left, input, carried) = filling.into_parts();
            pending.push((lead, covers, left));
            inputs.push(input);
            all_carried.push(carried);
        }
        let replies: Vec<_> = if self.is_spread() {
            self.fill_beside(&inputs, &all_carried).await
        } else {
            let replies = match sending.run_many(&FILL, &inputs).await {
                Ok(replies) => replies,
                Err(error) => inputs.iter().map(|_| Err(error.clone())).collect(),
            };
            replies
                .into_iter()
                .map(|reply| (reply, Moved::No))
                .collect()
        };
        for (((lead, loaded_for, pending), (filled_for, own)), reply) in
            pending.into_iter().zip(sent).zip(replies)
        {
            settling.away |= reply.0.is_err();
            let filled = self.filled(&pending, reply, own);
            note(telling, filled.outcome, filled.bytes);
            if !filled.stored {
                settling.unstored.push(lead.key.clone());
            }
            let covers = if filled.current {
                filled_for
            } else {
                loaded_for
            };
            lead.answer(covers, pending.answer);
        }
    }

    /// Gives back the leases of the values that are not stored, and tells why they are not. After a forced refresh that
    /// has stored nothing, deletes the old entries.
    async fn end(&self, settling: Settling, telling: Option<&Telling<'_>>) -> Option<Error> {
        let Settling {
            held,
            unstored,
            left,
            away,
            first_error,
        } = settling;
        for _ in 0..left {
            note(telling, Outcome::NotStored, 0);
        }
        self.cache.client.counters().not_stored.add(left);
        self.release(held.iter().map(|(key, held)| (key, held)))
            .await;
        if self.plan.way == Way::Force && !unstored.is_empty() {
            if away {
                // Not sent, but deferred: this call has waited for Redis already.
                drop(Delivery::keys(self.cache, &unstored));
            } else if let Err(error) = delivery::unlink(self.cache, &unstored).await {
                tracing::debug!(%error, "an entry that could not be refreshed could not be deleted");
            }
        }
        if let Some(error) = &first_error {
            self.cache.client.warn_not_stored(error);
        }
        first_error
    }

    pub(super) async fn release<'h>(
        &self,
        held: impl IntoIterator<Item = (&'h StoredKey, &'h Held)>,
    ) {
        let inputs: Vec<Input> = held
            .into_iter()
            .map(|(key, held)| held.release_input(key))
            .collect();
        if !inputs.is_empty()
            && let Err(error) = self.cache.client.run_many(&RELEASE, &inputs).await
        {
            tracing::debug!(%error, "leases could not be released");
        }
    }
}

/// What is left to do after the values of a batch were filled.
#[derive(Default)]
pub(super) struct Settling {
    /// Leases to give back.
    held: Vec<(StoredKey, Held)>,
    /// Keys whose value was not stored.
    unstored: Vec<StoredKey>,
    /// How many of these were never sent.
    left: u64,
    /// Whether one of them was not because Redis did not answer, or refused.
    away: bool,
    /// Why the first of them was not stored.
    first_error: Option<Error>,
}

impl Settling {
    /// Does not store the value of a key, because Redis did not say whether its tags have moved.
    pub(super) fn leave_unknown(&mut self, client: &Client, lead: &Lead, held: Held, why: &Error) {
        client.note_degraded(why);
        self.away = true;
        self.leave(lead, Some(held), None);
    }

    /// Does not store the value of a key, because a tag was invalidated during its load.
    pub(super) fn fence(&mut self, lead: &Lead, held: Held) {
        self.unstored.push(lead.key.clone());
        self.held.push((lead.key.clone(), held));
    }

    /// Does not store the value of a key.
    fn leave(&mut self, lead: &Lead, held: Option<Held>, why: Option<Error>) {
        self.left += 1;
        self.unstored.push(lead.key.clone());
        self.held.extend(held.map(|held| (lead.key.clone(), held)));
        if let Some(error) = why
            && self.first_error.is_none()
        {
            self.first_error = Some(error.for_key(&lead.key));
        }
    }
}

pub(super) fn note(telling: Option<&Telling<'_>>, outcome: Outcome, bytes: usize) {
    if let Some(telling) = telling {
        telling.watch().note(outcome, bytes);
    }
}
