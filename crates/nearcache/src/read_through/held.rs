//! The leases that this process holds: they are renewed while their load runs, and given back if it stores nothing.
//! `close` gives back those of the loads that it does not wait for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;

use super::ReadThrough;
use super::lease::{RENEW, Seen, Token};
use super::plan::Plan;
use crate::codec::envelope::Version;
use crate::keyspace::StoredKey;
use crate::runtime::first;
use crate::script::Input;

/// A lease that is ours.
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) seen: Seen,
    /// The versions of the tags that the call names.
    pub(super) versions: Vec<Version>,
    /// The epoch of all tags, which changes with every tag invalidation. Needed if the loader may name tags.
    pub(super) epoch: Option<Version>,
}

impl Held {
    /// A lease from ACQUIRE, with what was read under it before the load: see [`Held::guard`].
    pub(super) fn new(token: Token, seen: Seen, versions: Vec<Version>, plan: &Plan) -> Self {
        let mut held = Held {
            token,
            seen,
            versions: Vec::new(),
            epoch: None,
        };
        held.guard(versions, plan);
        held
    }

    /// Notes the versions of the plan's tags and then, if requested, the epoch, as they were before the load.
    pub(super) fn guard(&mut self, mut versions: Vec<Version>, plan: &Plan) {
        let named = plan.tags.len().min(versions.len());
        self.epoch = versions.split_off(named).pop();
        self.versions = versions;
    }

    /// The input of RELEASE, so that others can load at once. If that fails, they can when the lease has expired.
    ///
    /// model: Action::Release
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
    /// Of RENEW; those of RELEASE begin like them.
    inputs: Arc<[Input]>,
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

    /// Lists its leases, for `close`, until the result is dropped.
    pub(super) fn listed(&self) -> Option<Listed> {
        (!self.inputs.is_empty()).then(|| self.cache.policy.held.list(&self.inputs))
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

/// The leases of all loads that are under way.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldLeases(Arc<Mutex<Listing>>);

#[derive(Debug, Default)]
struct Listing {
    next: u64,
    /// The inputs of RENEW, by load.
    inputs: HashMap<u64, Arc<[Input]>>,
}

/// A load whose leases are listed, until it is dropped.
pub(super) struct Listed {
    all: HeldLeases,
    number: u64,
}

impl HeldLeases {
    fn list(&self, inputs: &Arc<[Input]>) -> Listed {
        let mut listing = self.0.lock();
        let number = listing.next;
        listing.next += 1;
        listing.inputs.insert(number, Arc::clone(inputs));
        Listed {
            all: self.clone(),
            number,
        }
    }

    /// The inputs of RELEASE for all of them: the lease and its token.
    pub(super) fn release_inputs(&self) -> Vec<Input> {
        let listing = self.0.lock();
        let inputs = listing.inputs.values().flat_map(|inputs| inputs.iter());
        inputs.map(|input| input.with_args(1)).collect()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.all.0.lock().inputs.remove(&self.number);
    }
}
