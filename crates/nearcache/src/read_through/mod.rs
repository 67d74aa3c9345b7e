//! Read-through caching: a miss is loaded once, and a value that was loaded before an invalidation is never stored
//! after it. `docs/protocols.md` explains the protocol to users; the model in `nearcache-model` checks it.
//!
//! The steps of `remember`, and their modules:
//! 1. `entry`: reads the key and judges its entry (fresh, stale, dead). A fresh value is returned.
//! 2. `flight`: of the callers in this process that miss a key, one leads and the others wait.
//! 3. `lead`: of the leaders in all processes, one gets the `lease` and loads; the others wait for its value.
//! 4. `loader`: runs the user's loader. Meanwhile `held` renews the lease; `keeper` does, for callers without a runtime.
//! 5. `settle`: FILL stores the loaded value, unless the load was fenced by an invalidation (`fill`), and the callers are
//!    answered.
//!
//! Where the keys are spread over several slots, `guards` sees to the tags of a load.
//!
//! `remember` combines these steps, for one key and for many; `plan` holds the options of a call. `read` has all other
//! reads; `presence` says for all verbs whether there is an entry, `change` has the scripts that depend on it, and
//! `prolong` gives entries another TTL, and `mark` marks them stale; `delivery` sends invalidations to the server; `tags` invalidates many entries at once; `near` keeps
//! values in this process.
//!
//! Invariants:
//! 1. A value that was loaded before an invalidation is not stored after it. It is not returned to a caller that asked
//!    after the invalidation had returned.
//! 2. There is one load per miss, in all processes, as long as the loader works within its lease.
//! 3. If a caller is cancelled, or its loader fails or panics, the key can be loaded again at once; if its process
//!    dies, when the lease has expired.

mod change;
#[cfg(feature = "blocking")]
pub(crate) mod crew;
pub(crate) mod delivery;
pub(crate) mod entry;
mod fill;
pub(crate) mod flight;
mod guards;
mod held;
mod here;
#[cfg(feature = "blocking")]
mod keeper;
mod lead;
pub(crate) mod lease;
pub(crate) mod load;
pub(crate) mod loader;
mod mark;
pub(crate) mod near;
pub(crate) mod plan;
pub(crate) mod presence;
pub(crate) mod prolong;
pub(crate) mod read;
mod remember;
mod settle;
pub(crate) mod tags;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::client::Client;
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::hooks::{CallKeys, Telling};
use crate::resilience::{Fallback, Seldom};
use crate::ttl::Ttl;
use delivery::Undelivered;
use flight::Flights;
use held::HeldLeases;
use near::{Hearing, Near};

/// The core of a cache, which its methods use. Cheap to clone; clones share everything except limit and codec.
#[derive(Clone)]
pub(crate) struct ReadThrough {
    client: Client,
    policy: Arc<Policy>,
    flights: Arc<Flights>,
    /// The values that are kept in this process.
    near: Option<Arc<Hearing>>,
}

/// The cache's settings, and the state that they need.
#[derive(Debug)]
struct Policy {
    default_ttl: Option<Ttl>,
    ttl_jitter: f64,
    fallback: Fallback,
    /// Whether it is logged that the fallback answered, and when that was last.
    log_on_fallback: bool,
    said_fallback: Seldom,
    undelivered: Undelivered,
    /// The lease of a load; a longer load renews it.
    lease: Duration,
    /// The permits for concurrent loads, if their number is limited.
    loads: Option<Semaphore>,
    /// Whether an entry that cannot be decoded is deleted.
    heal: bool,
    /// The leases of the loads that are under way.
    held: HeldLeases,
    #[cfg(feature = "blocking")]
    crew: Arc<crew::Crew>,
}

/// The settings of a cache.
pub(crate) struct Settings {
    pub(crate) default_ttl: Option<Ttl>,
    pub(crate) ttl_jitter: f64,
    pub(crate) fallback: Fallback,
    pub(crate) log_on_fallback: bool,
    pub(crate) undelivered: Undelivered,
    pub(crate) lease: Duration,
    pub(crate) max_loads: Option<usize>,
    pub(crate) heal: bool,
    pub(crate) near: Option<near::Limits>,
    pub(crate) near_ttl: Option<Duration>,
}

/// The scripts of a cache, which a store without Lua needs to know.
#[cfg(feature = "serve")]
pub(crate) fn scripts() -> impl Iterator<Item = &'static crate::script::Script> {
    lease::ALL.into_iter().chain(change::ALL)
}

impl ReadThrough {
    pub(crate) fn new(client: Client, settings: Settings) -> Self {
        let Settings {
            default_ttl,
            ttl_jitter,
            fallback,
            log_on_fallback,
            undelivered,
            lease,
            max_loads,
            heal,
            near,
            near_ttl,
        } = settings;
        let options = near::Options {
            limits: near,
            ttl: near_ttl,
            last: matches!(fallback, Fallback::Stale),
        };
        let near = Near::new(options, &client).map(|near| Hearing::new(near, &client));
        ReadThrough {
            flights: Flights::of(client.guarded()),
            near,
            client,
            policy: Arc::new(Policy {
                default_ttl,
                ttl_jitter,
                fallback,
                log_on_fallback,
                said_fallback: Seldom::default(),
                undelivered,
                lease,
                loads: max_loads.map(Semaphore::new),
                heal,
                held: HeldLeases::default(),
                #[cfg(feature = "blocking")]
                crew: Arc::default(),
            }),
        }
    }

    /// The same cache for the other kind of caller (async or blocking).
    ///
    /// # Errors
    /// Those of [`Client::in_mode`].
    #[cfg(feature = "blocking")]
    pub(crate) fn in_mode(&self, mode: crate::connect::Mode) -> Result<Self> {
        let client = self.client.in_mode(mode)?;
        Ok(ReadThrough {
            flights: Flights::of(client.guarded()),
            // One store of values, which hears what both backends tell.
            near: self
                .near
                .as_ref()
                .map(|hearing| Hearing::new(Arc::clone(hearing.near()), &client)),
            client,
            policy: Arc::clone(&self.policy),
        })
    }

    /// The same cache with another time limit for each call.
    pub(crate) fn within(&self, limit: Result<Duration>) -> Self {
        self.with_client(self.client.within(limit))
    }

    /// The same cache with another codec for writing.
    pub(crate) fn with_codec(&self, codec: Codec) -> Self {
        self.with_client(self.client.with_codec(codec))
    }

    fn with_client(&self, client: Client) -> Self {
        ReadThrough {
            client,
            policy: Arc::clone(&self.policy),
            flights: Arc::clone(&self.flights),
            near: self.near.clone(),
        }
    }

    /// The values that are kept in this process, if any are.
    #[inline]
    fn near(&self) -> Option<&Arc<Near>> {
        self.near.as_deref().map(Hearing::near)
    }

    #[inline]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The client for scripts that name the versions of tags, and neither remove them nor let the server forget that they
    /// are kept here: the near tier is not told of those.
    pub(crate) fn quiet(&self) -> Cow<'_, Client> {
        match self.near() {
            Some(near) => Cow::Owned(self.client.sending_for(near.id())),
            None => Cow::Borrowed(&self.client),
        }
    }

    /// The threads for loads in the background, of a blocking cache.
    #[cfg(feature = "blocking")]
    pub(crate) fn crew(&self) -> &Arc<crew::Crew> {
        &self.policy.crew
    }

    /// Admits no more calls, and waits for the running ones: for loads as long as `patience`, or else for the cache's
    /// lease, and for what they then still send to Redis as long as a call may take. The loads that are not waited for
    /// store nothing; their leases are given back, so that another process can load at once.
    ///
    /// # Errors
    /// `Timeout`: some loads or calls were still running.
    pub(crate) async fn close(&self, patience: Option<Duration>) -> Result<()> {
        let closing = self.client.begin_closing();
        let runtime = self.client.runtime();
        let patience = patience.unwrap_or(self.policy.lease);
        let ended = runtime.timeout(patience, || closing.loads_ended()).await;
        if ended.is_none()
            && let Ok(client) = self.client.begin_release()
        {
            let leases = self.policy.held.release_inputs();
            if let Err(error) = client.run_many(&lease::RELEASE, &leases).await {
                tracing::debug!(%error, "leases could not be given back");
            }
        }
        let limit = self.client.limit();
        let drained = runtime.timeout(limit, || closing.shut()).await;
        let why = match (ended, drained) {
            (Some(()), Some(())) => return Ok(()),
            (None, _) => {
                format!("loads were still running after {patience:?}; their values are not stored")
            }
            (Some(()), None) => {
                format!("calls were still running after {limit:?}; new calls are refused")
            }
        };
        let words = "the cache was closed before all of its work had ended";
        Err(Error::too_late(words, why).on_host(self.client.host()))
    }

    pub(crate) fn default_ttl(&self) -> Option<Ttl> {
        self.policy.default_ttl
    }

    /// A TTL, varied by the cache's jitter.
    pub(crate) fn jittered(&self, ttl: Ttl) -> Ttl {
        ttl.jittered(self.policy.ttl_jitter)
    }

    /// Does the work of a method, and tells the hooks.
    pub(crate) async fn perform<T>(
        &self,
        verb: &'static str,
        keys: CallKeys<'_>,
        work: impl AsyncFnOnce(&ReadThrough) -> Result<T>,
    ) -> Result<T> {
        let keyspace = self.client.keyspace();
        let hide = |error: Error| error.redacted(keyspace.redacts()).with_rule(keyspace);
        let Some(telling) = self.client.telling(verb, keys) else {
            return work(self).await.map_err(hide);
        };
        let watched = self.with_client(self.client.watched_by(telling.watch()));
        // Boxed, so that the future of a call without hooks does not get larger.
        let outcome = Box::pin(Telling::within(Some(&telling), || work(&watched))).await;
        let outcome = outcome.map_err(hide);
        telling.end(outcome.as_ref().err());
        outcome
    }

    /// Notes that the fallback answered a call that Redis did not.
    pub(crate) fn note_fallback(&self, command: &'static str, error: &Error) {
        let policy = &self.policy;
        self.client.counters().fallbacks.add(1);
        if policy.log_on_fallback && policy.said_fallback.may(self.client.runtime().now()) {
            let error = error.clone();
            let error = error.redacted(self.client.keyspace().redacts());
            tracing::warn!(command, %error, "Redis did not answer, and the fallback did");
        }
    }

    /// Like [`perform`](Self::perform), for a method that invalidates. If Redis did not acknowledge the invalidation
    /// and it was deferred, `on_undelivered` decides whether the caller gets an error or a success; so does a fallback
    /// function.
    pub(crate) async fn invalidate<T: Default>(
        &self,
        verb: &'static str,
        keys: CallKeys<'_>,
        work: impl AsyncFnOnce(&ReadThrough) -> Result<T>,
    ) -> Result<T> {
        let Policy {
            undelivered,
            fallback,
            ..
        } = &*self.policy;
        let redact = self.client.keyspace().redacts();
        let work = async |cache: &ReadThrough| match undelivered.answer_for(work(cache).await) {
            Err(error) if fallback.lets_pass(verb, keys.each(), redact, &error) => {
                cache.note_fallback(verb, &error);
                Ok(T::default())
            }
            outcome => outcome,
        };
        self.perform(verb, keys, work).await
    }
}

impl ReadThrough {
    /// What `Debug` of a cache shows: the place and the settings, never the password.
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

/// `Debug` for the types that hold this.
impl fmt::Debug for ReadThrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, "ReadThrough")
    }
}
