//! Read-through: a miss is loaded once, and what was loaded before an invalidation is never stored after
//! it. `docs/protocols.md` explains it to users; the model in `nearcache-model` shows that it holds.
//!
//! What `remember` does, and where:
//! 1. `entry`: reads the key and judges its entry (fresh, stale, dead). A fresh value is the answer.
//! 2. `flight`: of the callers in this process that miss, one leads; the others wait.
//! 3. `lead`: of the leaders in all processes, one gets the `lease`, and loads; the others wait for its value.
//! 4. `loader`: runs the user's loader. `keeper` renews the lease meanwhile, for callers without a runtime.
//! 5. `fill`: FILL stores the loaded value, unless an invalidation came between.
//!
//! `remember` puts this together, for one key and for many; `plan` is what a call asks for. `read` is every other
//! read; `delivery` takes invalidations to the server; `tags` invalidates many entries at once; `last_seen` keeps
//! values for when Redis is away.
//!
//! Invariants:
//! 1. A value that was loaded before an invalidation is not stored after it, and is not the answer to a
//!    caller who asked after that invalidation had returned.
//! 2. One load per miss, in all processes, while the loader works within its lease.
//! 3. Whatever a caller does (it goes away, its loader fails or panics), the key can be loaded again at
//!    once; if its process dies, after the lease.

pub(crate) mod delivery;
pub(crate) mod entry;
mod fill;
pub(crate) mod flight;
#[cfg(feature = "blocking")]
mod keeper;
mod last_seen;
mod lead;
pub(crate) mod lease;
pub(crate) mod load;
pub(crate) mod loader;
pub(crate) mod plan;
pub(crate) mod read;
mod remember;
pub(crate) mod tags;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::client::Client;
use crate::codec::Codec;
use crate::connect::Mode;
use crate::error::Result;
use crate::hooks::{CallKeys, Telling};
use crate::resilience::Fallback;
use crate::ttl::Ttl;
use delivery::Undelivered;
use flight::Flights;
use last_seen::LastSeen;

/// A cache, as its verbs see it. Cheap to clone; clones share everything but limit and codec.
#[derive(Clone)]
pub(crate) struct ReadThrough {
    client: Client,
    policy: Arc<Policy>,
    flights: Arc<Flights>,
}

/// What the cache was told to do.
#[derive(Debug)]
struct Policy {
    default_ttl: Option<Ttl>,
    ttl_jitter: f64,
    fallback: Fallback,
    undelivered: Undelivered,
    /// How long a load has its key to itself, unless it renews the lease.
    lease: Duration,
    /// The places for loads, where their number is bounded.
    loads: Option<Semaphore>,
    /// Whether an entry that cannot be decoded is deleted.
    heal: bool,
    last_seen: LastSeen,
}

/// The settings of a cache.
pub(crate) struct Settings {
    pub(crate) default_ttl: Option<Ttl>,
    pub(crate) ttl_jitter: f64,
    pub(crate) fallback: Fallback,
    pub(crate) undelivered: Undelivered,
    pub(crate) lease: Duration,
    pub(crate) max_loads: Option<usize>,
    pub(crate) heal: bool,
}

impl ReadThrough {
    pub(crate) fn new(client: Client, settings: Settings) -> Self {
        let Settings {
            default_ttl,
            ttl_jitter,
            fallback,
            undelivered,
            lease,
            max_loads,
            heal,
        } = settings;
        client.guarded().learn(&lease::ALL);
        let last_seen = LastSeen::new(matches!(fallback, Fallback::Stale));
        ReadThrough {
            flights: Flights::of(client.guarded()),
            client,
            policy: Arc::new(Policy {
                default_ttl,
                ttl_jitter,
                fallback,
                undelivered,
                lease,
                loads: max_loads.map(Semaphore::new),
                heal,
                last_seen,
            }),
        }
    }

    /// The same cache for callers that wait in another way.
    ///
    /// # Errors
    /// Those of [`Client::in_mode`].
    pub(crate) fn in_mode(&self, mode: Mode) -> Result<Self> {
        let client = self.client.in_mode(mode)?;
        Ok(ReadThrough {
            flights: Flights::of(client.guarded()),
            client,
            policy: Arc::clone(&self.policy),
        })
    }

    /// The same cache, with another limit for each call.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        self.with_client(self.client.within(limit))
    }

    /// The same cache, which writes in another way.
    pub(crate) fn with_codec(&self, codec: Codec) -> Self {
        self.with_client(self.client.with_codec(codec))
    }

    fn with_client(&self, client: Client) -> Self {
        ReadThrough {
            client,
            ..self.clone()
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn default_ttl(&self) -> Option<Ttl> {
        self.policy.default_ttl
    }

    /// A TTL, spread by the cache's jitter.
    pub(crate) fn jittered(&self, ttl: Ttl) -> Ttl {
        ttl.jittered(self.policy.ttl_jitter)
    }

    /// Does the work of a verb, and tells the hooks.
    pub(crate) async fn perform<T>(
        &self,
        verb: &'static str,
        keys: CallKeys<'_>,
        work: impl AsyncFnOnce(&ReadThrough) -> Result<T>,
    ) -> Result<T> {
        let Some(telling) = self.client.telling(verb, keys) else {
            return work(self).await;
        };
        let watched = self.with_client(self.client.watched_by(telling.watch()));
        // Boxed, so that a call that nobody watches is no larger for it.
        let outcome = Box::pin(Telling::within(Some(&telling), || work(&watched))).await;
        telling.end(outcome.as_ref().err());
        outcome
    }

    /// As [`perform`](Self::perform), for a verb that invalidates: one that Redis did not acknowledge, and that is
    /// kept for later, is what `on_undelivered` says, an error or a success.
    pub(crate) async fn invalidate<T: Default>(
        &self,
        verb: &'static str,
        keys: CallKeys<'_>,
        work: impl AsyncFnOnce(&ReadThrough) -> Result<T>,
    ) -> Result<T> {
        let undelivered = self.policy.undelivered;
        let work = async |cache: &ReadThrough| undelivered.answer_for(work(cache).await);
        self.perform(verb, keys, work).await
    }
}

impl ReadThrough {
    /// What `Debug` of a cache shows: where it goes and how it is set, never the password.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let policy = &self.policy;
        let mut shown = f.debug_struct(name);
        self.client.describe(&mut shown);
        shown
            .field("default_ttl", &policy.default_ttl)
            .field("ttl_jitter", &policy.ttl_jitter)
            .field("on_unavailable", &policy.fallback)
            .field("on_undelivered", &policy.undelivered)
            .field("lease", &policy.lease)
            .finish()
    }
}

/// As the operations that cross to other tasks show it.
impl fmt::Debug for ReadThrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, "ReadThrough")
    }
}
