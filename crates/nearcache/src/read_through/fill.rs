//! Holding and renewing a lease, and storing under it.

use std::future::Future;
use std::time::Duration;

use redis::Value;

use super::ReadThrough;
use super::flight::Answer;
use super::last_seen::Mark;
use super::lead::{Engine, Lead};
use super::lease::{RELEASE, RENEW, Seen, Token};
use super::load::Loaded;
use super::plan::Plan;
use super::tags::{self, Tag};
use crate::codec::envelope::{Head, Version};
use crate::codec::{self, Body, Codec, Encode};
use crate::error::Result;
use crate::hooks::Outcome;
use crate::keyspace::StoredKey;
use crate::runtime::first;
use crate::script::Input;
use crate::ttl::Ttl;

/// A lease that is ours.
pub(super) struct Held {
    token: Token,
    seen: Seen,
    /// The versions of the tags that the call names.
    versions: Vec<Version>,
    /// The epoch of all tags, which changes with every tag invalidation. Needed if the loader may name tags.
    epoch: Option<Version>,
}

impl Held {
    /// A lease from ACQUIRE, with the versions of the plan's tags and then, if requested, the epoch.
    pub(super) fn new(token: Token, seen: Seen, mut versions: Vec<Version>, plan: &Plan) -> Self {
        let epoch = versions.split_off(plan.tags.len()).pop();
        Held {
            token,
            seen,
            versions,
            epoch,
        }
    }

    /// Releases the lease, so that others can load at once. If the command fails, they can when the lease has expired.
    ///
    /// model: Action::Release
    pub(super) async fn release(&self, cache: &ReadThrough, key: &StoredKey) {
        if let Err(error) = cache.client.run(&RELEASE, &self.release_input(key)).await {
            tracing::debug!(%error, "a lease could not be released");
        }
    }

    pub(super) fn release_input(&self, key: &StoredKey) -> Input {
        let mut input = Input::default();
        input.key(&key.lease()).arg(&self.token);
        input
    }
}

/// Renews leases while their load runs.
#[derive(Debug)]
pub(super) struct Renewal {
    cache: ReadThrough,
    inputs: Vec<Input>,
}

impl Renewal {
    pub(super) fn of<'h>(
        cache: &ReadThrough,
        held: impl IntoIterator<Item = (&'h StoredKey, &'h Held)>,
    ) -> Self {
        let millis = cache.policy.lease.as_millis().to_string();
        let inputs = held.into_iter().map(|(key, held)| {
            let mut input = Input::default();
            input
                .key(&key.lease())
                .arg(&held.token)
                .arg(millis.as_bytes());
            input
        });
        Renewal {
            inputs: inputs.collect(),
            cache: cache.clone(),
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.cache.policy.lease / 2
    }

    /// Renews the leases once. Returns false if all of them are known to be lost.
    ///
    /// model: Action::Renew
    pub(super) async fn renew(&self) -> bool {
        match self.cache.client.run_many(&RENEW, &self.inputs).await {
            Ok(replies) => !replies
                .iter()
                .all(|reply| matches!(reply, Ok(Value::Int(0)))),
            Err(_) => true,
        }
    }

    /// Runs a load, and renews the leases whenever half of their time has passed.
    pub(super) async fn during<T>(self, load: impl Future<Output = T>) -> T {
        if self.inputs.is_empty() {
            return load.await;
        }
        #[cfg(feature = "blocking")]
        if matches!(
            self.cache.client.runtime(),
            crate::runtime::Runtime::Threads
        ) {
            let _kept = super::keeper::keep(self);
            return load.await;
        }
        match first(load, self.for_ever()).await {
            Ok(loaded) => loaded,
            Err(never) => match never {},
        }
    }

    async fn for_ever(&self) -> std::convert::Infallible {
        loop {
            self.cache.client.runtime().sleep(self.period()).await;
            if !self.renew().await {
                return std::future::pending().await;
            }
        }
    }
}

/// A loaded value as bytes, with the loader's options.
pub(super) struct Encoded {
    body: Body,
    pub(super) answer: Answer,
    ttl: Option<Result<Ttl>>,
    tags: Vec<Vec<u8>>,
    store: bool,
}

impl Encoded {
    pub(super) fn of<T: Encode>(loaded: &Loaded<T>, codec: &Codec) -> Result<Self> {
        let body = codec::encode(&loaded.value, codec)?;
        let answer = if body.is_nothing::<T>() {
            Answer::Nothing
        } else {
            // Not compressed, so that the waiters need not decompress it.
            Answer::Value((&*Head::default().seal(&body)).into())
        };
        Ok(Encoded {
            answer,
            body: body.packed(codec)?,
            ttl: loaded.ttl.clone(),
            tags: loaded.tags.clone(),
            store: loaded.store,
        })
    }
}

/// A loaded value and the input of its FILL.
pub(super) struct Filling {
    input: Input,
    pending: Pending,
}

/// What is needed when the reply of a FILL arrives.
pub(super) struct Pending {
    /// The entry; `None` if it must not be stored.
    entry: Option<Vec<u8>>,
    answer: Answer,
}

impl Filling {
    pub(super) fn into_parts(self) -> (Pending, Input) {
        (self.pending, self.input)
    }
}

impl Engine<'_> {
    /// The input of FILL. `None` if Redis does not return the versions of the tags that only the loader named.
    pub(super) async fn fill_input(
        &self,
        lead: &Lead,
        held: &Held,
        encoded: Result<Encoded>,
        took: Duration,
    ) -> Result<Option<Filling>> {
        let client = self.cache.client();
        let Encoded {
            body,
            answer,
            ttl,
            tags,
            store,
        } = encoded?;
        let brought = self.brought_tags(&tags)?;
        let nothing = matches!(answer, Answer::Nothing);
        let (stays, mut head) = self.plan.seal(self.cache, ttl, nothing, took)?;

        let mut guards: Vec<(Vec<u8>, Version)> = Vec::new();
        for (tag, version) in self.plan.tags.iter().zip(&held.versions) {
            guards.push((tag.version_key.clone(), *version));
            head.tags.push((tag.name.clone(), *version));
        }
        if store && !brought.is_empty() {
            // If no tag was invalidated since the load began (FILL compares the epoch), the current versions of these
            // tags are also those from before the load.
            let (Ok(versions), Some(before)) = (
                tags::make_versions(client, &brought, stays).await,
                held.epoch,
            ) else {
                return Ok(None);
            };
            guards.push((client.keyspace().tag_epoch(), before));
            for (tag, version) in brought.into_iter().zip(versions) {
                guards.push((tag.version_key, version));
                head.tags.push((tag.name, version));
            }
        }
        let entry = store.then(|| head.seal(&body).into_owned());
        let stays = match entry {
            Some(_) => stays.to_string(),
            None => "-1".to_owned(),
        };
        let mut input = Input::default();
        input.key(lead.key.as_bytes()).key(&lead.key.lease());
        input
            .arg(&held.token)
            .arg(held.seen.as_bytes())
            .arg(entry.as_deref().unwrap_or_default())
            .arg(stays.as_bytes());
        for (version_key, version) in &guards {
            input.key(version_key).arg(version);
        }
        let pending = Pending { entry, answer };
        Ok(Some(Filling { input, pending }))
    }

    /// Ends a flight with the reply of FILL.
    pub(super) fn finish(
        &self,
        lead: Lead,
        pending: Pending,
        reply: Result<Value>,
        covers: u64,
        mark: Option<Mark>,
    ) -> (Outcome, usize) {
        match reply {
            Ok(Value::Int(1)) => {
                let mut noted = (Outcome::NotStored, 0);
                if let Some(entry) = pending.entry {
                    self.cache.client.count_write(entry.len());
                    self.cache.policy.last_seen.keep(&lead.key, &entry, mark);
                    noted = (Outcome::Stored, entry.len());
                }
                if let Some(leader) = lead.leader {
                    leader.answer(covers, pending.answer);
                }
                noted
            }
            Ok(_) => {
                self.cache.client.counters().fenced.add(1);
                if let Some(leader) = lead.leader {
                    leader.fenced();
                }
                (Outcome::Fenced, 0)
            }
            // It is not known whether the value was stored. The waiters ask again.
            Err(error) => {
                tracing::debug!(%error, "a loaded value could not be stored");
                (Outcome::NotStored, 0)
            }
        }
    }

    /// The tags that only the loader named.
    fn brought_tags(&self, names: &[Vec<u8>]) -> Result<Vec<Tag>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut all: Vec<Vec<u8>> = self.plan.tags.iter().map(|tag| tag.name.clone()).collect();
        all.extend_from_slice(names);
        let mut tags = Tag::of_entry(self.cache.client.keyspace(), &all)?;
        Ok(tags.split_off(self.plan.tags.len()))
    }
}
