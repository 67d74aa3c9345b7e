//! A guarded backend. Every command passes the outbox, then the circuit breaker, then the retry rule.
//!
//! [`Guarded::request`] and [`Guarded::pipeline`] are for the commands of a cache. [`Guarded::directly`] skips the
//! outbox, for the commands that empty the outbox.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use redis::{Arg, Cmd, Pipeline, Value};
use tokio::sync::Notify;

use super::breaker::{Breaker, Permit};
use super::outbox::{Claim, Drain, Outbox};
use super::retry;
use crate::connect::target::{Place, Target};
use crate::connect::{Backend, BoxFuture, Dedicated, LinkEvent, ServerInfo, Terms, change_nothing};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::script::Script;
use crate::ttl::in_millis;

/// The shortest time for which a retry is worthwhile. A limit never falls below it, because only the backend reports
/// timeouts.
pub(super) const LEAST: Duration = Duration::from_millis(1);

/// A backend with a breaker and an outbox: callers do not wait for a server that is away, and do not read what they
/// have invalidated.
///
/// It is for one primary. If the keys are spread over several, [`Guarded::primaries`] has one for each, with its own
/// breaker, outbox and epoch.
#[derive(Debug)]
pub(crate) struct Guarded {
    backend: Arc<dyn Backend>,
    breaker: Breaker,
    outbox: Arc<Outbox>,
    /// Whether connecting has a time of its own, which is not a part of the limit of a call.
    connects_apart: bool,
    server: OnceLock<ServerInfo>,
    /// The primaries behind it, if it is not the only one.
    others: OnceLock<Vec<Arc<Guarded>>>,
    /// How many caches use it.
    pub(super) users: AtomicUsize,
    /// Whether its caches were closed.
    unused: AtomicBool,
    /// Told when they are.
    closing: Arc<Notify>,
    /// Whether a task empties the outbox.
    draining: AtomicBool,
    me: Weak<Guarded>,
}

impl Guarded {
    /// Guards a backend of this target.
    pub(crate) fn new(backend: Arc<dyn Backend>, target: &Target) -> Arc<Self> {
        // A server can be away and lose data, so it needs an outbox; the store in this process cannot.
        let outbox = !matches!(target.place, Place::Embedded { .. });
        Self::with(
            backend,
            target.breaker,
            outbox,
            target.connect_timeout.is_some(),
        )
    }

    fn with(
        backend: Arc<dyn Backend>,
        breaker: bool,
        outbox: bool,
        connects_apart: bool,
    ) -> Arc<Self> {
        let epoch = backend.common().epoch().clone();
        let outbox = Arc::new(Outbox::new(outbox, epoch));
        let listening = Arc::clone(&outbox);
        let runtime = backend.common().runtime().clone();
        // The outbox is told of a new connection before anyone can use it, so it knows by then what must be sent first.
        backend
            .common()
            .listeners()
            .add(Arc::new(move |event| match event {
                LinkEvent::Ready { run_id } => {
                    listening.note_connection(run_id.clone(), runtime.now());
                }
                LinkEvent::Lost | LinkEvent::Dropped => listening.note_loss(),
            }));
        Arc::new_cyclic(|me| Guarded {
            backend,
            breaker: Breaker::new(breaker),
            outbox,
            connects_apart,
            server: OnceLock::new(),
            others: OnceLock::new(),
            users: AtomicUsize::new(0),
            unused: AtomicBool::new(false),
            closing: Arc::default(),
            draining: AtomicBool::new(false),
            me: Weak::clone(me),
        })
    }

    /// Notes that caches use it, or that the last of them was closed.
    pub(super) fn note_use(&self, used: bool) {
        self.unused.store(!used, Ordering::SeqCst);
        if !used {
            self.closing.notify_waiters();
        }
        for other in self.others.get().into_iter().flatten() {
            other.note_use(used);
        }
    }

    pub(super) fn is_used(&self) -> bool {
        !self.unused.load(Ordering::SeqCst)
    }

    /// Told when the last cache is closed.
    pub(super) fn closing(&self) -> &Arc<Notify> {
        &self.closing
    }

    /// Closes the connections, unless a cache uses them.
    pub(super) fn disconnect_unused(&self) {
        if !self.is_used() {
            self.disconnect();
        }
    }

    /// Starts to empty the outbox in the background, unless that goes on already.
    pub(super) fn drain(&self, limit: Duration) {
        if self.outbox.is_waiting() && !self.draining.swap(true, Ordering::SeqCst) {
            let drain = Drain::new(Weak::clone(&self.me), limit);
            // Without a runtime, or without a thread, the next call tries again.
            let started = self
                .runtime()
                .try_detach_as("nearcache-outbox", drain.run());
            if let Err(error) = started {
                tracing::debug!(%error, "the outbox is not emptied in the background");
            }
        }
    }

    /// The task that empties the outbox has found nothing more to do. Returns whether it may end: not if something came
    /// meanwhile.
    pub(super) fn end_draining(&self) -> bool {
        self.stop_draining();
        !self.outbox.has_work() || self.draining.swap(true, Ordering::SeqCst)
    }

    /// The task that empties the outbox is gone.
    pub(super) fn stop_draining(&self) {
        self.draining.store(false, Ordering::SeqCst);
    }

    /// All primaries: this one, or those behind it. A command for all keys, such as a scan, goes to each.
    pub(crate) fn primaries(self: &Arc<Self>) -> &[Arc<Guarded>] {
        let guard = |node| {
            Self::with(
                node,
                self.breaker.is_enabled(),
                self.outbox.is_enabled(),
                self.connects_apart,
            )
        };
        let others = self
            .others
            .get_or_init(|| self.backend.nodes().into_iter().map(guard).collect());
        if others.is_empty() {
            std::slice::from_ref(self)
        } else {
            others
        }
    }

    /// Registers the Rust twins of these scripts, for a backend without Lua.
    pub(crate) fn learn(&self, scripts: &[&'static Script]) {
        self.backend.learn(scripts);
    }

    /// The same place as a backend for this kind of caller, if it cannot be opened a second time.
    #[cfg(feature = "blocking")]
    pub(super) fn backend_in_mode(&self, mode: crate::connect::Mode) -> Option<Arc<dyn Backend>> {
        self.backend.in_mode(mode)
    }

    /// The host, as it appears in messages.
    pub(crate) fn host(&self) -> &Arc<str> {
        self.backend.common().host()
    }

    /// The runtime, which also provides the time.
    pub(crate) fn runtime(&self) -> &Runtime {
        self.backend.common().runtime()
    }

    /// The time in Unix milliseconds.
    pub(crate) fn unix_millis(&self) -> u64 {
        self.backend.common().unix_millis()
    }

    /// The time by the clock of the store, if that is in this process.
    pub(crate) fn store_millis(&self) -> Option<u64> {
        self.backend.common().store_millis()
    }

    /// The circuit breaker.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The outbox.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Adds a listener for connection events. Returns the id for removing it.
    pub(crate) fn listen(&self, listener: Arc<dyn Fn(&LinkEvent) + Send + Sync>) -> u64 {
        self.backend.common().listeners().add(listener)
    }

    pub(crate) fn unlisten(&self, id: u64) {
        self.backend.common().listeners().remove(id);
    }

    /// Closes the connections. A later call opens new ones.
    pub(crate) fn disconnect(&self) {
        self.backend.disconnect();
        for other in self.others.get().into_iter().flatten() {
            other.disconnect();
        }
    }

    /// The server's kind, version and mode. It is asked once.
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

    /// A connection for the caller alone, opened within the limit.
    pub(crate) async fn dedicated(&self, limit: Duration) -> Result<Dedicated> {
        let permit = self.breaker.admit(&*self.backend)?;
        self.report(permit, self.backend.dedicated(limit).await)
    }

    /// The same, for messages that the server sends by itself.
    pub(crate) async fn for_messages(&self, limit: Duration) -> Result<Dedicated> {
        let permit = self.breaker.admit(&*self.backend)?;
        self.report(permit, self.backend.for_messages(limit).await)
    }

    /// Sends one command, within the limit, after what the outbox holds of its keys.
    pub(crate) fn request<'a>(
        &'a self,
        command: &'a Cmd,
        limit: Duration,
    ) -> impl Future<Output = Result<Value>> + Send + 'a {
        self.in_order(command, limit)
    }

    /// Sends commands together, within the limit, after what the outbox holds of their keys.
    pub(crate) fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        self.in_order(pipeline, limit)
    }

    async fn in_order<S: Sendable>(&self, what: &S, limit: Duration) -> Result<S::Reply> {
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
        let claim = self.outbox.claim(&what.names(), reads, now);
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
    pub(super) async fn directly<S: Sendable>(
        &self,
        what: &S,
        limit: Duration,
    ) -> Result<S::Reply> {
        let mut begun = self.begin();
        let mut terms = Terms { limit, epoch: 0 };
        loop {
            terms.epoch = self.outbox.epoch();
            let outcome = self.attempt(what, terms, begun).await;
            if !is_outdated(&outcome) {
                return outcome;
            }
            begun = self.begin_again(begun);
            terms.limit = self.left_of(limit, begun).max(LEAST);
        }
    }

    /// One attempt through the breaker, and a retry if it is allowed. `begun` is when the call began.
    ///
    /// # Errors
    /// `is_outdated` if it was not sent, because the epoch has changed.
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
            // The retry only gets what is left of the time.
            let limit = self.left_of(terms.limit, begun);
            if limit >= LEAST {
                outcome = what.send(&*self.backend, Terms { limit, ..terms }).await;
            }
        }
        self.report(permit, outcome)
    }

    /// Reports the outcome to the breaker, and adds the host to an error.
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

    /// When a call begins. A store in this process answers at once: there is no time to count, and none to read the
    /// clock in.
    pub(super) fn begin(&self) -> Option<Instant> {
        self.outbox.is_enabled().then(|| self.runtime().now())
    }

    /// When a call begins that was not sent yet, because it had to connect first, and is sent now.
    fn begin_again(&self, begun: Option<Instant>) -> Option<Instant> {
        if self.connects_apart {
            self.begin()
        } else {
            begun
        }
    }

    pub(super) fn left_of(&self, limit: Duration, begun: Option<Instant>) -> Duration {
        let Some(begun) = begun else {
            return limit;
        };
        limit.saturating_sub(self.runtime().now().saturating_duration_since(begun))
    }

    pub(super) fn gave_up(&self, limit: Duration) -> Error {
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

/// Something to send: one command, or several together.
pub(super) trait Sendable: Sync {
    type Reply: Send;

    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Self::Reply>>;

    /// Whether it may be sent again after this error.
    fn may_be_sent_again(&self, error: &Error) -> bool;

    /// Whether it only reads.
    fn changes_nothing(&self) -> bool;

    /// The arguments, keys among them. (To take another argument for a key does no harm: only keys that must be deleted
    /// anyway can be found by it.)
    fn names(&self) -> Vec<&[u8]>;
}

fn names_of(command: &Cmd) -> impl Iterator<Item = &[u8]> {
    command.args_iter().skip(1).filter_map(|arg| match arg {
        Arg::Simple(name) => Some(name),
        _ => None,
    })
}

impl Sendable for Cmd {
    type Reply = Value;

    fn send<'a>(&'a self, backend: &'a dyn Backend, terms: Terms) -> BoxFuture<'a, Result<Value>> {
        backend.request(self, terms)
    }

    fn may_be_sent_again(&self, error: &Error) -> bool {
        retry::may_be_sent_again([self], error)
    }

    fn changes_nothing(&self) -> bool {
        change_nothing([self])
    }

    fn names(&self) -> Vec<&[u8]> {
        names_of(self).collect()
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

    fn changes_nothing(&self) -> bool {
        change_nothing(self.cmd_iter())
    }

    fn names(&self) -> Vec<&[u8]> {
        self.cmd_iter().flat_map(names_of).collect()
    }
}
