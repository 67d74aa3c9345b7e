//! What a limiter's methods return: a check, and waiting until one is allowed.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::algorithm::{Algorithm, answer};
use super::decision::{Answer, Decision};
use super::{Limiter, WhenAway, local};
use crate::cache::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::resilience::Fallback;
use crate::runtime::Runtime;
use crate::ttl::{IntoTtl, Ttl};

/// What a caller may be told to wait for while Redis is away: by then a cache notices that Redis is back.
const AWAY: Duration = Duration::from_secs(2);

/// A pending `check` or `peek`.
#[must_use = "nothing is checked until it is carried out, by `.await` or `.run()`"]
pub struct Check<M = Async> {
    subject: Subject,
    takes: bool,
    mode: Marked<M>,
}

impl<M> Check<M> {
    pub(super) fn new(limiter: &Limiter, id: &[u8], takes: bool) -> Self {
        Check {
            subject: Subject::new(limiter, id),
            takes,
            mode: PhantomData,
        }
    }

    /// How many permits it costs, instead of 1. All of them are taken, or none. What costs nothing (0) is always
    /// allowed, and takes nothing.
    pub fn cost(mut self, permits: u64) -> Self {
        self.subject.cost = permits;
        self
    }

    fn start(self) -> CacheFuture<'static, Decision> {
        let Check { subject, takes, .. } = self;
        CacheFuture::asking(async move {
            let ready = subject.ready()?;
            let verb = if takes {
                "rate_limiter.check"
            } else {
                "rate_limiter.peek"
            };
            subject
                .perform(verb, async |core| {
                    let decision = ready.decide(core, &subject, takes).await?;
                    note(core.client(), decision);
                    Ok(decision)
                })
                .await
        })
    }
}

operation!(Check<> -> Decision);

impl<M> fmt::Debug for Check<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subject.describe(&mut f.debug_struct("Check"))
    }
}

/// A pending `until_ready`.
#[must_use = "nothing is checked until it is carried out, by `.await` or `.run()`"]
pub struct UntilReady<M = Async> {
    subject: Subject,
    max_wait: Option<Result<Ttl>>,
    mode: Marked<M>,
}

impl<M> UntilReady<M> {
    pub(super) fn new(limiter: &Limiter, id: &[u8]) -> Self {
        UntilReady {
            subject: Subject::new(limiter, id),
            max_wait: None,
            mode: PhantomData,
        }
    }

    /// How many permits it costs, instead of 1.
    pub fn cost(mut self, permits: u64) -> Self {
        self.subject.cost = permits;
        self
    }

    /// How long to wait at most. If that is too short, the answer is [`Decision::Denied`], as soon as that is known,
    /// and nothing is taken.
    pub fn max_wait(mut self, time: impl IntoTtl) -> Self {
        self.max_wait = Some(time.into_ttl());
        self
    }

    fn start(self) -> CacheFuture<'static, Decision> {
        let UntilReady {
            subject, max_wait, ..
        } = self;
        CacheFuture::asking(async move {
            let ready = subject.ready()?;
            let max_wait = max_wait.transpose()?.map(Ttl::as_duration);
            subject
                .perform("rate_limiter.until_ready", async |core| {
                    let runtime = core.client().runtime();
                    let begun = runtime.now();
                    loop {
                        let decision = ready.decide(core, &subject, true).await?;
                        let wait = decision.retry_after().max(Duration::from_millis(1));
                        let waited = runtime.now().saturating_duration_since(begun);
                        let patient = max_wait.is_none_or(|most| waited + wait <= most);
                        if decision.is_allowed() || !patient {
                            note(core.client(), decision);
                            return Ok(decision);
                        }
                        sleep(runtime, wait).await?;
                    }
                })
                .await
        })
    }
}

operation!(UntilReady<> -> Decision);

impl<M> fmt::Debug for UntilReady<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("UntilReady");
        shown.field("max_wait", &self.max_wait);
        self.subject.describe(&mut shown)
    }
}

/// # Errors
/// `InvalidConfig` if an async caller has no tokio runtime.
async fn sleep(runtime: &Runtime, time: Duration) -> Result<()> {
    if matches!(runtime, Runtime::Tokio) && tokio::runtime::Handle::try_current().is_err() {
        return Err(Error::no_runtime());
    }
    runtime.sleep(time).await;
    Ok(())
}

/// Forgets what an id has taken, with every algorithm.
pub(super) fn reset<M>(limiter: &Limiter, id: &[u8]) -> Pending<'static, (), M> {
    let subject = Subject::new(limiter, id);
    Pending::new(async move {
        let keys = subject.keys()?;
        subject
            .perform("rate_limiter.reset", async |core| {
                for key in &keys {
                    local::forget(place(core.client()), key.as_bytes());
                }
                let mut command = redis::cmd("UNLINK");
                command.arg(&keys);
                let asked = core.client().request(&command).await;
                asked.map(drop).map_err(|error| subject.named(error))
            })
            .await
    })
}

/// Checks name and quota.
///
/// # Errors
/// `InvalidConfig`, `InvalidKey`.
pub(super) fn validate(limiter: &Limiter) -> Result<()> {
    Subject::new(limiter, b"id").ready().map(drop)
}

fn place(client: &Client) -> (&str, u32) {
    (client.host(), client.db())
}

fn note(client: &Client, decision: Decision) {
    let outcome = if decision.is_allowed() {
        Outcome::Allowed
    } else {
        Outcome::Denied
    };
    client.note(outcome, 0);
}

/// Who is checked, and what it costs.
struct Subject {
    limiter: Limiter,
    id: Vec<u8>,
    cost: u64,
}

impl Subject {
    fn new(limiter: &Limiter, id: &[u8]) -> Self {
        Subject {
            limiter: limiter.clone(),
            id: id.to_vec(),
            cost: 1,
        }
    }

    fn core(&self) -> &ReadThrough {
        &self.limiter.core
    }

    /// As it is named to hooks and in messages: `name:id`.
    fn shown(&self) -> Vec<u8> {
        [self.limiter.name.as_bytes(), &self.id].join(&b':')
    }

    fn named(&self, error: Error) -> Error {
        let redact = self.core().client().keyspace().redacts();
        error.named(&self.shown(), redact)
    }

    /// # Errors
    /// `InvalidKey`.
    fn key(&self, part: &str) -> Result<StoredKey> {
        let keyspace = self.core().client().keyspace();
        keyspace.helper("limit", &[self.limiter.name.as_bytes(), &self.id], part)
    }

    /// The keys of all algorithms.
    ///
    /// # Errors
    /// `InvalidKey`.
    fn keys(&self) -> Result<Vec<StoredKey>> {
        let parts = super::algorithm::Kind::ALL.map(super::algorithm::Kind::part);
        parts.into_iter().map(|part| self.key(part)).collect()
    }

    /// Checks what can be checked without the server.
    ///
    /// # Errors
    /// `InvalidConfig`, `InvalidKey`.
    fn ready(&self) -> Result<Ready> {
        let algorithm = self.limiter.kind.with(&self.limiter.quota)?;
        if self.cost > algorithm.limit() {
            let error = Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "a check that costs {} permits can never be allowed: there are at most {}",
                    self.cost,
                    algorithm.limit()
                ),
            );
            return Err(self.named(error));
        }
        Ok(Ready {
            algorithm,
            key: self.key(self.limiter.kind.part())?,
        })
    }

    async fn perform<T>(
        &self,
        verb: &'static str,
        work: impl AsyncFnOnce(&ReadThrough) -> Result<T>,
    ) -> Result<T> {
        let shown = self.shown();
        self.core().perform(verb, CallKeys::One(&shown), work).await
    }

    fn describe(&self, shown: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        let redact = self.core().client().keyspace().redacts();
        shown
            .field("id", &crate::keyspace::in_message(&self.shown(), redact))
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// A check that can be sent.
struct Ready {
    algorithm: Algorithm,
    key: StoredKey,
}

impl Ready {
    async fn decide(&self, core: &ReadThrough, subject: &Subject, takes: bool) -> Result<Decision> {
        let client = core.client();
        let input = self
            .algorithm
            .input(self.key.as_bytes(), subject.cost, takes);
        let reply = client.run(self.algorithm.script(), &input).await;
        match reply.and_then(|reply| answer(&reply)) {
            Ok(answer) => Ok(answer.into_decision(self.algorithm.limit(), false)),
            Err(error) if Fallback::covers(&error) => {
                client.note_answered_without(&error);
                Ok(self.decide_alone(client, subject, takes))
            }
            Err(error) => Err(subject.named(error)),
        }
    }

    /// Decides without Redis.
    fn decide_alone(&self, client: &Client, subject: &Subject, takes: bool) -> Decision {
        let limit = self.algorithm.limit();
        let now = client.unix_millis().saturating_mul(1_000);
        let away = u64::try_from(AWAY.as_micros()).unwrap_or(u64::MAX);
        let answer = match subject.limiter.when_away {
            WhenAway::Allow => Answer {
                allowed: true,
                remaining: limit,
                retry_after: 0,
                reset_after: 0,
                at: now,
            },
            WhenAway::Deny => Answer {
                // What costs nothing is always allowed.
                allowed: subject.cost == 0,
                remaining: 0,
                retry_after: away,
                reset_after: away,
                at: now,
            },
            WhenAway::Local => local::check(
                place(client),
                self.key.as_bytes(),
                self.algorithm,
                now,
                subject.cost,
                takes,
            ),
        };
        answer.into_decision(limit, true)
    }
}
