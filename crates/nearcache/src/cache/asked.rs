//! What `remember_many` does with the keys that it is asked for: reads them all, has the missing ones loaded,
//! and puts every value in its place.

use std::collections::HashMap;
use std::sync::Arc;

use super::core::Core;
use super::remember::{Read, excused, given_up, taken};
use super::remember_many::{Work, picked};
use crate::codec::{self, Codec, Decode, Encode, Maybe, Stored};
use crate::error::Result;
use crate::hooks::Keys;
use crate::keyspace::StoredKey;
use crate::read_through::flight::Turn;
use crate::read_through::lead_many::Led;
use crate::read_through::lease::Seen;
use crate::read_through::plan::{Plan, Way};

/// A key that has to be loaded, and what may stand for its value.
struct Missing<T> {
    index: usize,
    seen: Seen,
    stale: Option<T>,
}

impl Core {
    pub(super) async fn remember_all<K, T, W>(
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
        asked.in_order(answers, self.codec())
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
        codec: &Codec,
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
                let copy = |value| copied(value, codec);
                answers[*index].as_ref().map(copy).transpose()?.flatten()
            });
        }
        Ok(ordered)
    }
}

fn copied<T: Encode + Decode>(value: &T, codec: &Codec) -> Result<Option<T>> {
    let mut body = codec::encode(value, codec)?;
    Ok(match T::decode(body.form.format, &mut body.bytes, 0)? {
        Stored::Value(value) => Some(value),
        Stored::Nothing => None,
    })
}
