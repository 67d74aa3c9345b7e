//! A backend that is guarded: what is sent to it passes the outbox, the breaker, and the rule of what may
//! be sent twice, in this order.
//!
//! [`Guarded::request`] and [`Guarded::pipeline`] are for the commands of a cache. [`Guarded::directly`]
//! leaves the outbox out, for what the outbox itself sends.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, Value};

use super::breaker::{Breaker, Permit};
use super::outbox::Outbox;
use super::retry;
use crate::connect::target::{Place, Target};
use crate::connect::{Backend, BoxFuture, LinkEvent, Mode, Raw, ServerInfo, Terms};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::script::Script;

/// Less than this is not enough for another try, and what a limit never falls below: it is the waist
/// that says that the time is over.
const LEAST: Duration = Duration::from_millis(1);

/// A backend, with what keeps its callers from waiting for it, and from reading what they invalidated.
///
/// It stands for one primary. Where the keys are spread over several, [`Guarded::primaries`] has one for
/// each, and each has a breaker, an outbox and an epoch of its own.
#[derive(Debug)]
pub(crate) struct Guarded {
    backend: Arc<dyn Backend>,
    breaker: Breaker,
    outbox: Arc<Outbox>,
    server: OnceLock<ServerInfo>,
    /// The primaries behind it, if they are others than itself.
    others: OnceLock<Vec<Arc<Guarded>>>,
    /// How many caches use it.
    pub(super) users: AtomicUsize,
}

impl Guarded {
    /// Over a backend of this target.
    pub(crate) fn new(backend: Arc<dyn Backend>, target: &Target) -> Arc<Self> {
        // A server can be away and lose things; the store in this process cannot.
        let outbox = !matches!(target.place, Place::Embedded { .. });
        Self::with(backend, target.breaker, outbox)
    }

    fn with(backend: Arc<dyn Backend>, breaker: bool, outbox: bool) -> Arc<Self> {
        let epoch = backend.common().epoch().clone();
        let outbox = Arc::new(Outbox::new(outbox, epoch));
        let listening = Arc::clone(&outbox);
        // It hears of a new connection before anyone can use it: what must go first is known by then.
        backend
            .common()
            .listeners()
            .add(Arc::new(move |event| match event {
                LinkEvent::Ready { run_id } => listening.note_connection(run_id.clone()),
                LinkEvent::Lost | LinkEvent::Dropped => listening.note_loss(),
            }));
        Arc::new(Guarded {
            backend,
            breaker: Breaker::new(breaker),
            outbox,
            server: OnceLock::new(),
            others: OnceLock::new(),
            users: AtomicUsize::new(0),
        })
    }

    /// All primaries, itself or those behind it: what must reach every key, a scan say, goes to each.
    pub(crate) fn primaries(self: &Arc<Self>) -> &[Arc<Guarded>] {
        let guard = |node| Self::with(node, self.breaker.is_enabled(), self.outbox.is_enabled());
        let others = self
            .others
            .get_or_init(|| self.backend.nodes().into_iter().map(guard).collect());
        if others.is_empty() {
            std::slice::from_ref(self)
        } else {
            others
        }
    }

    /// Teaches a place that has no Lua these scripts' twins.
    pub(crate) fn learn(&self, scripts: &[&'static Script]) {
        self.backend.learn(scripts);
    }

    /// The backend that its place has for callers that wait so, if the place cannot be opened anew.
    pub(super) fn backend_in_mode(&self, mode: Mode) -> Option<Arc<dyn Backend>> {
        self.backend.in_mode(mode)
    }

    /// The host, as messages name it.
    pub(crate) fn host(&self) -> &Arc<str> {
        self.backend.common().host()
    }

    /// Where time comes from.
    pub(crate) fn runtime(&self) -> &Runtime {
        self.backend.common().runtime()
    }

    /// The time in Unix milliseconds.
    pub(crate) fn unix_millis(&self) -> u64 {
        self.backend.common().unix_millis()
    }

    /// What keeps callers from a server that does not answer.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What is to be sent before anything else.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Tells this listener of what happens to the connection; says how to remove it.
    pub(crate) fn listen(&self, listener: Arc<dyn Fn(&LinkEvent) + Send + Sync>) -> u64 {
        self.backend.common().listeners().add(listener)
    }

    pub(crate) fn unlisten(&self, id: u64) {
        self.backend.common().listeners().remove(id);
    }

    /// Closes what is open. A later call opens it again.
    pub(super) fn disconnect(&self) {
        self.backend.disconnect();
        for other in self.others.get().into_iter().flatten() {
            other.disconnect();
        }
    }

    /// What the server says that it is. It is asked once.
    pub(crate) async fn server(&self, limit: Duration) -> Result<ServerInfo> {
        if let Some(info) = self.server.get() {
            return Ok(info.clone());
        }
        let reply = self
            .request(redis::cmd("INFO").arg("server"), limit)
            .await?;
        let info = ServerInfo::from_info(&reply)?;
        Ok(self.server.get_or_init(|| info).clone())
    }

    /// A connection of the caller's own, within the limit.
    pub(crate) async fn connection(&self, limit: Duration) -> Result<Raw> {
        let permit = self.breaker.admit(&*self.backend)?;
        self.report(permit, self.backend.connection(limit).await)
    }

    /// One command, within the limit, after what had to be sent before it.
    pub(crate) fn request<'a>(
        &'a self,
        command: &'a Cmd,
        limit: Duration,
    ) -> impl Future<Output = Result<Value>> + Send + 'a {
        self.in_order(command, limit)
    }

    /// Commands that travel together, within the limit, after what had to be sent before them.
    pub(crate) fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        self.in_order(pipeline, limit)
    }

    async fn in_order<S: Sendable>(&self, what: &S, limit: Duration) -> Result<S::Reply> {
        // Before the outbox is looked at: what comes into it after that is another epoch.
        let (begun, epoch) = (self.begin(), self.outbox.epoch());
        if !self.outbox.is_waiting() {
            let outcome = self.attempt(what, Terms { limit, epoch }, begun).await;
            if !is_outdated(&outcome) {
                return outcome;
            }
        }
        // Boxed: it is rare and large, and the calls that need it not should not carry it.
        Box::pin(self.after_the_outbox(what, limit, begun)).await
    }

    async fn after_the_outbox<S: Sendable>(
        &self,
        what: &S,
        limit: Duration,
        begun: Option<Instant>,
    ) -> Result<S::Reply> {
        loop {
            let epoch = self.outbox.epoch();
            let left = self.left_of(limit, begun);
            if left.is_zero() {
                return Err(self.gave_up(limit));
            }
            let limit = self.catch_up(left).await?;
            let (terms, begun) = (Terms { limit, epoch }, self.begin());
            let outcome = self.attempt(what, terms, begun).await;
            if !is_outdated(&outcome) {
                return outcome;
            }
        }
    }

    /// Past the outbox, also to a server that turns out to be another one: for what the outbox sends, and for
    /// sweeps, which come after it.
    pub(super) async fn directly<S: Sendable>(
        &self,
        what: &S,
        limit: Duration,
    ) -> Result<S::Reply> {
        let begun = self.begin();
        let mut terms = Terms { limit, epoch: 0 };
        loop {
            terms.epoch = self.outbox.epoch();
            let outcome = self.attempt(what, terms, begun).await;
            if !is_outdated(&outcome) {
                return outcome;
            }
            terms.limit = self.left_of(limit, begun).max(LEAST);
        }
    }

    /// Through the breaker, of a call that began at some time, on terms.
    ///
    /// # Errors
    /// `is_outdated`, where it was not sent for that.
    async fn attempt<S: Sendable>(
        &self,
        what: &S,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<S::Reply> {
        let permit = self.breaker.admit(&*self.backend)?;
        let mut outcome = what.send(&*self.backend, terms).await;
        if let Err(error) = &outcome
            && what.may_be_sent_again(error)
        {
            // It shares the time of the first try.
            let limit = self.left_of(terms.limit, begun);
            if limit >= LEAST {
                outcome = what.send(&*self.backend, Terms { limit, ..terms }).await;
            }
        }
        self.report(permit, outcome)
    }

    /// Tells the breaker how it went; an error names the host.
    #[inline]
    fn report<T>(&self, permit: Permit<'_>, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(reply) => {
                permit.report(None);
                Ok(reply)
            }
            Err(error) => {
                let error = error.on_host(self.host());
                permit.report(Some(&error));
                Err(error)
            }
        }
    }

    /// Sends what is in the outbox; says what is left of the limit.
    pub(super) async fn catch_up(&self, limit: Duration) -> Result<Duration> {
        if !self.outbox.is_waiting() {
            return Ok(limit);
        }
        let begun = self.begin();
        let emptying = || self.outbox.empty(self, limit);
        let sent = self.runtime().timeout(limit, emptying).await;
        sent.unwrap_or_else(|| Err(self.gave_up(limit)))?;
        Ok(self.left_of(limit, begun).max(LEAST))
    }

    /// When a call begins. A store in this process answers at once: there is no time to count, and none to read the
    /// clock in.
    fn begin(&self) -> Option<Instant> {
        self.outbox.is_enabled().then(|| self.runtime().now())
    }

    fn left_of(&self, limit: Duration, begun: Option<Instant>) -> Duration {
        let Some(begun) = begun else {
            return limit;
        };
        limit.saturating_sub(self.runtime().now().saturating_duration_since(begun))
    }

    pub(super) fn gave_up(&self, limit: Duration) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!("gave up after {limit:?} of sending the invalidations that go first"),
        )
        .on_host(self.host())
    }
}

fn is_outdated<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(error) if error.is_outdated())
}

/// What can be sent: one command, or several that travel together.
pub(super) trait Sendable: Sync {
    type Reply: Send;

    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Self::Reply>>;

    /// Whether it may be sent again after it failed so.
    fn may_be_sent_again(&self, error: &Error) -> bool;
}

impl Sendable for Cmd {
    type Reply = Value;

    fn send<'a>(&'a self, backend: &'a dyn Backend, terms: Terms) -> BoxFuture<'a, Result<Value>> {
        backend.request(self, terms)
    }

    fn may_be_sent_again(&self, error: &Error) -> bool {
        retry::may_be_sent_again([self], error)
    }
}

impl Sendable for Pipeline {
    type Reply = Vec<Value>;

    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        backend.pipeline(self, terms)
    }

    fn may_be_sent_again(&self, error: &Error) -> bool {
        retry::may_be_sent_again(self.cmd_iter(), error)
    }
}
