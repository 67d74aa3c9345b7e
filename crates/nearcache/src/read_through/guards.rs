//! The tags of a load where keys are spread over several slots, as in a Cluster: a script then names the entry and its
//! lease, and no tag. The engine reads the versions and the epoch by requests of their own, each from its primary.
//!
//! 1. *Tags that the call names*: their versions are read before the loader is called, and the entry carries them. A
//!    version that has moved by the time of FILL makes an entry that is dead on its first read, because every reader
//!    compares. They are read once more beside FILL, so that nobody who joined after an invalidation is answered by a
//!    load from before it; whoever joined before both were sent may be.
//! 2. *Tags that only the loader names*: the epoch is read before the loader is called; after it the versions of these
//!    tags; and once all of their replies are there, the epoch again. FILL is sent only if the epoch is there and the
//!    same: an invalidation removes it, and waits for the acknowledgement, before it removes a version. Whoever joined
//!    before the epoch was read again may be answered.
//! 3. What is missing is created, with a value that never repeats, and is equal to nothing.
//! 4. Without these replies a value is returned, and not stored.

use std::collections::HashMap;

use redis::Value;

use super::change::KEEP_TAGS;
use super::fill::{Filling, Prepared};
use super::lead::{Engine, Lead, Led, Seat};
use super::lease::FILL;
use super::settle::{Settling, note};
use super::tags;
use crate::client::Client;
use crate::codec::envelope::Version;
use crate::error::Result;
use crate::hooks::Outcome;
use crate::script::{Input, Script};

/// A TTL in ms that extends nothing, for what is only read.
const NO_LONGER: u64 = 1;

impl Engine<'_> {
    pub(super) fn is_spread(&self) -> bool {
        self.cache.client.is_spread()
    }

    /// Reads what guards the values of a load, before its loader is called. If it cannot be read, the leases are given
    /// back, so that others need not wait for values that are not stored. Returns the keys to load.
    ///
    /// model: Action::ReadTags, Action::CreateTag, Action::ReadEpoch, Action::CreateEpoch
    pub(super) async fn guarded<T>(
        &self,
        mut seats: Vec<Seat>,
        led: &mut [Option<Led<T>>],
    ) -> Vec<Seat> {
        let leased = seats.iter().any(|seat| seat.held.is_some());
        if !leased || !self.is_spread() || self.guards() == 0 {
            return seats;
        }
        let client = &self.cache.client;
        let epoch = self.brings_tags.then(|| client.keyspace().tag_epoch());
        let named = self.plan.tags.iter().map(|tag| &*tag.version_key);
        let keys: Vec<_> = named
            .chain(epoch.as_deref())
            .map(|key| (key, NO_LONGER))
            .collect();
        let made: Result<Vec<Version>> = tags::make_each(&self.cache.quiet(), &keys)
            .await
            .into_iter()
            .collect();
        match made {
            Ok(versions) => {
                for held in seats.iter_mut().filter_map(|seat| seat.held.as_mut()) {
                    held.guard(versions.clone(), self.plan);
                }
                seats
            }
            Err(error) => {
                let held = seats
                    .iter()
                    .filter_map(|seat| Some((&seat.lead.key, seat.held.as_ref()?)));
                self.release(held).await;
                let mut left = Vec::with_capacity(seats.len());
                for mut seat in seats {
                    if seat.held.take().is_some() {
                        left.extend(self.go_on_without(error.clone(), seat, led));
                    } else {
                        left.push(seat);
                    }
                }
                left
            }
        }
    }

    /// Decides which loaded values may be stored, by the epoch, and makes their FILLs. Answers for the others.
    ///
    /// model: Action::ReadTags, Action::ReadEpochAgain
    pub(super) async fn checked(
        &self,
        prepared: Vec<Prepared>,
        settling: &mut Settling,
        telling: Option<&crate::hooks::Telling<'_>>,
    ) -> Vec<(Lead, u64, Filling)> {
        let client = &self.cache.client;
        let brings = |(_, _, _, _, sealed): &Prepared| sealed.brings_tags();
        let brought = self.versions_of_brought(&prepared).await;
        // Noted before the epoch is read: both depend on what happens after that.
        let noted: Vec<_> = prepared
            .iter()
            .map(|(lead, ..)| {
                let own = self.cache.near().map(|near| {
                    let tags = self.plan.tags.iter();
                    let tags = tags.map(|tag| tag.version_key.clone()).collect();
                    near.begin_fill(&lead.key, tags, client)
                });
                (lead.covers(), own)
            })
            .collect();
        let asked = prepared
            .iter()
            .zip(&brought)
            .any(|(one, versions)| brings(one) && versions.is_ok());
        let epoch = if asked {
            read_epoch(client).await
        } else {
            Ok(None)
        };
        let mut filling = Vec::with_capacity(prepared.len());
        let each = prepared.into_iter().zip(brought).zip(noted);
        for (((lead, covers, held, encoded, sealed), versions), noted) in each {
            let guarded = sealed.brings_tags();
            let epoch = if guarded { epoch.clone() } else { Ok(None) };
            match versions.and_then(|versions| Ok((versions, epoch?))) {
                Ok((_, epoch)) if guarded && (epoch.is_none() || epoch != held.epoch) => {
                    client.counters().fenced.add(1);
                    note(telling, Outcome::Fenced, 0);
                    settling.fence(&lead, held);
                    lead.answer(covers, encoded.answer);
                }
                Ok((versions, _)) => {
                    let mut fill = self.fill_input(&lead, &held, encoded, sealed, versions);
                    if guarded {
                        fill.noted = Some(noted);
                    }
                    filling.push((lead, covers, fill));
                }
                // It is not known whether the tags changed during the load, so nothing is stored.
                Err(error) => {
                    settling.leave_unknown(client, &lead, held, &error);
                    lead.answer(covers, encoded.answer);
                }
            }
        }
        filling
    }

    /// Sends the FILLs and, beside them, reads the versions of the named tags again, which will live as long as the
    /// entries. Returns the replies of FILL, and for each whether its tags have moved.
    ///
    /// model: Action::Fill, Action::ReadTagsAgain
    pub(super) async fn fill_beside(
        &self,
        inputs: &[Input],
        carried: &[Carried],
    ) -> Vec<(Result<Value>, Moved)> {
        let mut longest: HashMap<&[u8], u64> = HashMap::new();
        for one in carried {
            for (key, _) in &one.versions {
                let ttl = one.stays.unwrap_or(NO_LONGER);
                let known = longest.entry(key).or_insert(ttl);
                *known = tags::longer(*known, ttl);
            }
        }
        let keys: Vec<&[u8]> = longest.keys().copied().collect();
        let reads: Vec<Input> = keys
            .iter()
            .map(|key| keep_input(key, longest[key]))
            .collect();
        let calls: Vec<(&'static Script, &Input)> = reads
            .iter()
            .map(|read| (&KEEP_TAGS, read))
            .chain(inputs.iter().map(|input| (&FILL, input)))
            .collect();
        let mut replies = match self.cache.quiet().run_each(&calls).await {
            Ok(replies) => replies,
            Err(error) => calls.iter().map(|_| Err(error.clone())).collect(),
        };
        let filled = replies.split_off(keys.len());
        let now: HashMap<&[u8], Option<Version>> = keys
            .into_iter()
            .zip(replies)
            .filter_map(|(key, reply)| Some((key, current(&reply.ok()?))))
            .collect();
        let moved = carried.iter().map(|one| {
            let mut moved = Moved::No;
            for (key, before) in &one.versions {
                match now.get(&**key) {
                    Some(now) if *now == Some(*before) => {}
                    Some(_) => return Moved::Yes,
                    None => moved = Moved::Unknown,
                }
            }
            moved
        });
        filled.into_iter().zip(moved).collect()
    }
}

/// The named tags that an entry carries.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Their version keys, and their versions from before the load.
    pub(super) versions: Vec<(Vec<u8>, Version)>,
    /// How long the entry stays, in ms (0: for ever); `None` if it is not stored.
    pub(super) stays: Option<u64>,
}

/// Whether a tag was invalidated, or marked stale, since it was read before the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    No,
    Yes,
    /// Redis did not say.
    Unknown,
}

/// The epoch, if there is one. By a script, and so from the primary.
async fn read_epoch(client: &Client) -> Result<Option<Version>> {
    let input = keep_input(&client.keyspace().tag_epoch(), NO_LONGER);
    Ok(current(&client.run(&KEEP_TAGS, &input).await?))
}

fn keep_input(key: &[u8], ttl: u64) -> Input {
    let mut input = Input::default();
    input.key(key).arg(ttl.to_string().as_bytes());
    input
}

/// The current version in a reply of KEEP_TAGS for one key.
fn current(reply: &Value) -> Option<Version> {
    match reply {
        Value::Array(replies) => tags::versions_of(replies.first()?).next(),
        _ => None,
    }
}
