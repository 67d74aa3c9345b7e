//! Holding a lease, and storing under it.

use std::future::Future;
use std::time::Duration;

use redis::Value;

use super::flight::Outcome;
use super::lead::Lead;
use super::lease::{RELEASE, RENEW, Seen, Token};
use super::load::Loaded;
use super::tags::Tag;
use crate::cache::Core;
use crate::codec::envelope::{Head, Version};
use crate::codec::{self, Body, Codec, Encode};
use crate::error::Result;
use crate::hooks::Outcome as Told;
use crate::keyspace::StoredKey;
use crate::resilience::Mark;
use crate::runtime::first;
use crate::script::Input;
use crate::ttl::Ttl;

/// A lease that is ours.
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) seen: Seen,
    /// Of the tags that the call names.
    pub(super) versions: Vec<Version>,
    /// Of the counter that moves with every tag, if the loader may bring its own.
    pub(super) epoch: Option<Version>,
}

impl Held {
    /// Lets others load at once. Should that not arrive, they will when the lease has ended.
    ///
    /// model: Action::Release
    pub(super) async fn release(&self, lead: &Lead) {
        if let Err(error) = lead.core.run(&RELEASE, &self.releasing(lead)).await {
            tracing::debug!(%error, "a lease could not be released");
        }
    }

    pub(super) fn releasing(&self, lead: &Lead) -> Input {
        let mut input = Input::default();
        input.key(&lead.key.lease()).arg(&self.token);
        input
    }
}

/// What keeps leases alive while their load runs.
#[derive(Debug)]
pub(crate) struct Renewal {
    core: Core,
    calls: Vec<Input>,
}

impl Renewal {
    pub(super) fn of<'h>(
        core: &Core,
        held: impl IntoIterator<Item = (&'h StoredKey, &'h Held)>,
    ) -> Self {
        let millis = core.lease().as_millis().to_string();
        let calls = held.into_iter().map(|(key, held)| {
            let mut call = Input::default();
            call.key(&key.lease())
                .arg(&held.token)
                .arg(millis.as_bytes());
            call
        });
        Renewal {
            core: core.clone(),
            calls: calls.collect(),
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.core.lease() / 2
    }

    /// Renews them once; says whether any is ours still, as far as is known.
    ///
    /// model: Action::Renew
    pub(super) async fn renew(&self) -> bool {
        match self.core.run_many(&RENEW, &self.calls).await {
            Ok(replies) => !replies
                .iter()
                .all(|reply| matches!(reply, Ok(Value::Int(0)))),
            Err(_) => true,
        }
    }

    /// Runs a load, renewing the leases whenever half of their time has passed.
    pub(super) async fn during<T>(self, load: impl Future<Output = T>) -> T {
        #[cfg(feature = "blocking")]
        if matches!(self.core.runtime(), crate::runtime::Runtime::Threads) {
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
            self.core.runtime().sleep(self.period()).await;
            if !self.renew().await {
                return std::future::pending().await;
            }
        }
    }
}

/// What was loaded, as bytes.
pub(super) struct Encoded {
    body: Body,
    pub(super) outcome: Outcome,
    ttl: Option<Result<Ttl>>,
    tags: Vec<Vec<u8>>,
    store: bool,
}

impl Encoded {
    pub(super) fn of<T: Encode>(loaded: &Loaded<T>, codec: &Codec) -> Result<Self> {
        let body = codec::encode(&loaded.value, codec)?;
        Ok(Encoded {
            // Those who wait need not decompress.
            outcome: outcome::<T>(&body),
            body: body.packed(codec)?,
            ttl: loaded.ttl.clone(),
            tags: loaded.tags.clone(),
            store: loaded.store,
        })
    }
}

/// What was loaded, on its way to be stored.
pub(super) struct Filling {
    pub(super) input: Input,
    stored: Option<Vec<u8>>,
    outcome: Outcome,
}

/// What the others are told of a value.
fn outcome<T: Encode>(body: &Body) -> Outcome {
    if body.is_nothing::<T>() {
        Outcome::Nothing
    } else {
        Outcome::Value((&*Head::default().seal(body)).into())
    }
}

impl Lead {
    /// What FILL is sent with; `None` if Redis does not say which versions the tags have that only the
    /// loader named.
    pub(super) async fn filling(
        &self,
        held: &Held,
        encoded: Result<Encoded>,
        took: Duration,
    ) -> Result<Option<Filling>> {
        let Encoded {
            body,
            outcome,
            ttl,
            tags,
            store,
        } = encoded?;
        let brought = self.brought(&tags)?;
        let nothing = matches!(outcome, Outcome::Nothing);
        let (stays, mut head) = self.plan.seal(&self.core, ttl, nothing, took)?;

        let mut guards: Vec<(Vec<u8>, Version)> = Vec::new();
        for (tag, version) in self.plan.tags.iter().zip(&held.versions) {
            guards.push((tag.counter.clone(), *version));
            head.tags.push((tag.name.clone(), *version));
        }
        if store && !brought.is_empty() {
            // Their versions of now are those of before the load, if no tag was invalidated since.
            let (Ok(versions), Some(before)) =
                (self.core.versions_for(&brought, stays).await, held.epoch)
            else {
                return Ok(None);
            };
            guards.push((self.core.keyspace().tag_epoch(), before));
            for (tag, version) in brought.into_iter().zip(versions) {
                guards.push((tag.counter, version));
                head.tags.push((tag.name, version));
            }
        }
        let stored = store.then(|| head.seal(&body).into_owned());
        let stays = match stored {
            Some(_) => stays.to_string(),
            None => "-1".to_owned(),
        };
        let mut input = Input::default();
        input.key(self.key.as_bytes()).key(&self.key.lease());
        input
            .arg(&held.token)
            .arg(held.seen.as_bytes())
            .arg(stored.as_deref().unwrap_or_default())
            .arg(stays.as_bytes());
        for (counter, version) in &guards {
            input.key(counter).arg(version);
        }
        Ok(Some(Filling {
            input,
            stored,
            outcome,
        }))
    }

    /// What FILL answered.
    pub(super) fn filled(
        mut self,
        filling: Filling,
        reply: Result<Value>,
        covers: u64,
        mark: Option<Mark>,
    ) -> (Told, usize) {
        match reply {
            Ok(Value::Int(1)) => {
                let mut told = (Told::NotStored, 0);
                if let Some(entry) = filling.stored {
                    self.core.count_write(entry.len());
                    self.core.keep(&self.key, &entry, mark);
                    told = (Told::Stored, entry.len());
                }
                if let Some(leader) = self.leader.take() {
                    leader.answer(covers, filling.outcome);
                }
                told
            }
            Ok(_) => {
                self.core.counters().fenced.add(1);
                if let Some(leader) = self.leader.take() {
                    leader.fenced();
                }
                (Told::Fenced, 0)
            }
            // Nobody knows whether it was stored. Who waits asks again.
            Err(error) => {
                tracing::debug!(%error, "what was loaded could not be stored");
                (Told::NotStored, 0)
            }
        }
    }

    /// The tags that only the loader named.
    fn brought(&self, names: &[Vec<u8>]) -> Result<Vec<Tag>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut all: Vec<Vec<u8>> = self.plan.tags.iter().map(|tag| tag.name.clone()).collect();
        all.extend_from_slice(names);
        Ok(self.core.tags(&all)?.split_off(self.plan.tags.len()))
    }
}
