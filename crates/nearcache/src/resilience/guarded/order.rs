//! The order in which a call goes: first what the outbox holds of its keys, then the call, through the breaker of its
//! server; and again, if it turns out that this leads to another server than before.

use std::time::{Duration, Instant};

use super::{Guarded, Servers};
use crate::connect::Terms;
use crate::error::{Error, ErrorKind, Result};
use crate::resilience::keepers;
use crate::resilience::node::Node;
use crate::resilience::outbox::Claim;
use crate::resilience::sendable::Sendable;
use crate::ttl::in_millis;

/// The shortest time for which a retry is worthwhile. A limit never falls below it, because only the backend reports
/// timeouts.
pub(in crate::resilience) const LEAST: Duration = Duration::from_millis(1);

impl Guarded {
    pub(super) async fn in_order<S: Sendable>(
        &self,
        what: &S,
        limit: Duration,
    ) -> Result<S::Reply> {
        // Read the epoch before checking the outbox: later additions to the outbox begin a new epoch.
        let (begun, epoch) = (self.begin(), self.outbox.epoch());
        if !self.outbox.is_waiting() {
            let outcome = self.attempt(what, Terms { limit, epoch }, begun).await;
            if !is_outdated(&outcome) {
                return outcome;
            }
        }
        let begun = self.begin_again(begun);
        // Boxed, because it is rare and large: without it, every call's future would be larger.
        Box::pin(self.after_the_outbox(what, limit, begun)).await
    }

    async fn after_the_outbox<S: Sendable>(
        &self,
        what: &S,
        limit: Duration,
        mut begun: Option<Instant>,
    ) -> Result<S::Reply> {
        loop {
            let epoch = self.outbox.epoch();
            let left = self.left_of(limit, begun);
            if left.is_zero() {
                return Err(self.gave_up(limit));
            }
            let left = self.send_first(what, left).await?;
            let terms = Terms { limit: left, epoch };
            let outcome = self.attempt(what, terms, self.begin()).await;
            if !is_outdated(&outcome) {
                if outcome.is_ok() {
                    self.drain(limit);
                }
                return outcome;
            }
            begun = self.begin_again(begun);
        }
    }

    /// Sends what waits of the keys and tags that a command names. Returns what is left of the limit.
    async fn send_first<S: Sendable>(&self, what: &S, limit: Duration) -> Result<Duration> {
        let (now, reads) = (self.runtime().now(), what.changes_nothing());
        // Of several servers it is not known here which of them takes no writes: it says so.
        let spares = reads && !self.is_spread();
        let claim = self.outbox.claim(&what.names(), spares, now);
        if claim.part().is_empty() {
            return Ok(limit);
        }
        match self.send_claim(&claim, limit).await {
            // What only reads goes on, with what is there.
            Err(error) if self.outbox.takes_no_writes(self, &error) && reads => {}
            outcome => outcome?,
        }
        Ok(self.left_of(limit, Some(now)).max(LEAST))
    }

    async fn send_claim(&self, claim: &Claim<'_>, limit: Duration) -> Result<()> {
        let begun = self.begin();
        if claim.must_wait() {
            let held = self.runtime().timeout(limit, || self.outbox.hold()).await;
            drop(held.ok_or_else(|| self.gave_up(limit))?);
        }
        let left = self.left_of(limit, begun).max(LEAST);
        self.outbox.send(self, claim.part(), left).await
    }

    /// Sends without the outbox, even to a server that has replaced another: for the commands that empty the outbox,
    /// and for sweeps, which only delete.
    pub(in crate::resilience) async fn directly<S: Sendable>(
        &self,
        what: &S,
        limit: Duration,
    ) -> Result<S::Reply> {
        self.directly_to(None, what, limit).await
    }

    /// The same, to this server, or to whoever it is for.
    pub(in crate::resilience) async fn directly_to<S: Sendable>(
        &self,
        node: Option<&Node>,
        what: &S,
        limit: Duration,
    ) -> Result<S::Reply> {
        let mut begun = self.begin();
        let mut terms = Terms { limit, epoch: 0 };
        // Since when that limit counts.
        let mut since = begun;
        loop {
            terms.epoch = self.outbox.epoch();
            let outcome = match node {
                Some(node) => {
                    let _announced = self.announce(what);
                    node.attempt(what, terms, since).await
                }
                None => self.attempt(what, terms, since).await,
            };
            if !is_outdated(&outcome) {
                return outcome;
            }
            begun = self.begin_again(begun);
            terms.limit = self.left_of(limit, begun).max(LEAST);
            since = self.begin();
        }
    }

    /// One attempt at the server, or the servers, that it is for.
    ///
    /// # Errors
    /// `is_outdated` if it was not sent, because the epoch has changed.
    pub(super) async fn attempt<S: Sendable>(
        &self,
        what: &S,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<S::Reply> {
        let _announced = self.announce(what);
        match &self.servers {
            Servers::One(node) => node.attempt(what, terms, begun).await,
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => what.spread(spread, terms, begun).await,
        }
    }

    /// Announces a write to those who keep copies, until the result is dropped.
    #[inline]
    pub(super) fn announce<'w, S: Sendable>(
        &'w self,
        what: &'w S,
    ) -> Option<keepers::Announced<'w>> {
        if keepers::none() || what.changes_nothing() {
            return None;
        }
        keepers::announce(self.host(), what.announced_by(), || what.names())
    }

    /// When a call begins. A store in this process answers at once: there is no time to count, and none to read the
    /// clock in.
    pub(in crate::resilience) fn begin(&self) -> Option<Instant> {
        self.outbox.is_enabled().then(|| self.runtime().now())
    }

    /// When a call begins that was not sent yet, because it had to connect first, and is sent now.
    pub(super) fn begin_again(&self, begun: Option<Instant>) -> Option<Instant> {
        if self.connects_apart {
            self.begin()
        } else {
            begun
        }
    }

    pub(in crate::resilience) fn left_of(
        &self,
        limit: Duration,
        begun: Option<Instant>,
    ) -> Duration {
        self.runtime().left_of(limit, begun)
    }

    pub(in crate::resilience) fn gave_up(&self, limit: Duration) -> Error {
        let limit = in_millis(limit);
        Error::new(
            ErrorKind::Timeout,
            format!("gave up after {limit:?} while sending deferred invalidations of the same keys, which go first"),
        )
        .on_host(self.host())
    }
}

fn is_outdated<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(error) if error.is_outdated())
}
