//! The backend for async callers of a server: redis-rs's multiplexed connection, one for each calling runtime. `driven`
//! has the connection itself.
//!
//! 1. A connection belongs to the runtime that drives it, so each runtime has its own link. A cache in a `static` works
//!    with any number of runtimes, at the same time or one after another.
//! 2. Callers share a connect: those that come while it is in progress wait for it, each within its own limit, and a
//!    caller that stops waiting does not stop it.
//!    Those who wait together and fail are one failure: all but the first return an [echo](Error::is_echo) of it.
//! 3. A connection whose driver has ended is never used again; the next call makes a new one.
//! 4. If a call of at least [`SILENT`](super::vain::SILENT) gets no reply, or
//!    [`SHORT_CALLS`](super::vain::SHORT_CALLS) shorter ones in a row over as long a time, the connection is retired: the
//!    running calls stay on it, later calls use another. (It may be half-open, or out of step because the server sent
//!    garbage.)
//! 5. redis-rs's own timeouts are off. Ours is the only one, and includes unless the target has a time for
//!    that.
//! 6. A connection that the server closed while it was idle is found before a command is written to it, even if the
//!    runtime stood still meanwhile.
//! 7. After a fork, the child connects anew, on a runtime of its own, and does not touch its parent's connections.
//! 8. A connection that was idle for [`LONG_IDLE`](super::LONG_IDLE) answers a question before a call is sent on it. If it does not within a
//!    quarter of the call's limit, another one is made: a firewall may have dropped it silently. A busy connection costs
//!    that nothing.
//! 9. Calls that are made together leave together: see [`lane`](super::lane).

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{Arg, Cmd, Pipeline, Value};
use smallvec::SmallVec;
use tokio::runtime::{self, Handle};
use tokio::sync::watch;

use super::ask::Ask;
use super::driven::Driven;
use super::lane::fenced_set;
use super::led::connect;
use super::pushes::Pushes;
use super::raw::Dedicated;
use super::sent::{Next, OfOutcome, Sent};
use super::target::Target;
use super::{
    Answer, Backend, BoxFuture, Common, LinkEvent, Terms, time_to_connect, time_to_prove, timed_out,
};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;

/// How long a connect goes on at least, even if nobody waits for it any more.
const CONNECT: Duration = Duration::from_secs(2);

/// A server, and a link for each runtime that has called.
#[derive(Debug)]
pub(crate) struct Multiplexed {
    target: Target,
    common: Arc<Common>,
    links: Mutex<Vec<(runtime::Id, Arc<Link>)>>,
    /// The connection that was used last, which calls can get without a lock.
    latest: ArcSwapOption<Latest>,
}

#[derive(Debug)]
struct Latest {
    runtime: runtime::Id,
    connected: Arc<Driven>,
}

impl Multiplexed {
    async fn open_alone(&self, target: &Target, limit: Duration) -> Result<Dedicated> {
        Handle::try_current().map_err(|_| Error::no_runtime())?;
        let (runtime, pace) = (self.common.runtime(), self.common.pace());
        pace.admit(runtime.now())?;
        let limit = time_to_connect(target, limit);
        let opening = connect(target, Pushes::Kept, &self.common, limit);
        let opened = runtime.timeout(limit, || opening).await;
        let opened = opened.unwrap_or_else(|| Err(timed_out(limit, target.connecting())));
        pace.note(&opened, runtime.now());
        Ok(Dedicated::Multiplexed(opened?.shared()))
    }

    pub(super) fn new(target: Target, runtime: Runtime) -> Self {
        let common = Common::new(&target, runtime);
        Self::with(target, common)
    }

    pub(super) fn with(target: Target, common: Common) -> Self {
        Multiplexed {
            target,
            common: Arc::new(common),
            links: Mutex::default(),
            latest: ArcSwapOption::empty(),
        }
    }

    /// Invariant 7. The parent's connections are registered with its runtime, whose parts both processes share: even
    /// dropping them would reach it. So they are leaked.
    #[cold]
    fn start_afresh(&self) {
        let mut links = self.links.lock();
        if self.common.is_fork() {
            std::mem::forget(std::mem::take(&mut *links));
            std::mem::forget(self.latest.swap(None));
            self.common.take_over();
        }
    }

    /// The last used connection, if it is alive and belongs to this runtime.
    #[inline]
    pub(super) fn ready(&self, runtime: runtime::Id, now: Instant) -> Option<Arc<Driven>> {
        let latest = self.latest.load();
        let latest = latest.as_ref()?;
        (latest.runtime == runtime && latest.connected.is_usable(now))
            .then(|| Arc::clone(&latest.connected))
    }

    #[cfg(test)]
    pub(super) fn found(&self, runtime: runtime::Id) -> Option<Arc<Driven>> {
        self.ready(runtime, self.common.runtime().now())
    }

    /// The runtime's connection, and what is left of the limit.
    async fn connection_within(
        &self,
        runtime: runtime::Id,
        limit: Duration,
    ) -> Result<(Arc<Driven>, Duration)> {
        let begun = self.common.runtime().now();
        let patience = time_to_connect(&self.target, limit);
        let found = self
            .common
            .runtime()
            .timeout(patience, || self.find_or_connect(runtime, patience))
            .await;
        let Some(outcome) = found else {
            let error = timed_out(patience, self.target.connecting());
            return Err(self.as_one(runtime, begun, error));
        };
        let connected = outcome.map_err(|error| {
            // What was given up on is a connect that is shared. The caller is told its own limit.
            let given_up =
                error.kind() == ErrorKind::Timeout && std::error::Error::source(&error).is_none();
            let error = match given_up {
                true => timed_out(patience, self.target.connecting()).on_host(self.common.host()),
                false => error,
            };
            self.as_one(runtime, begun, error)
        })?;
        self.latest.store(Some(Arc::new(Latest {
            runtime,
            connected: Arc::clone(&connected),
        })));
        let left = match self.target.connect_timeout {
            Some(_) => limit,
            None => {
                let now = self.common.runtime().now();
                limit.saturating_sub(now.saturating_duration_since(begun))
            }
        };
        Ok((connected, left))
    }

    /// The error of a call that has waited for a connect since `begun`. If others have waited with it, the first who fails
    /// tells of it (invariant 2).
    fn as_one(&self, runtime: runtime::Id, begun: Instant, error: Error) -> Error {
        let (link, now) = (self.link(runtime), self.common.runtime().now());
        let told = &mut *link.told.lock();
        if told.is_some_and(|told| begun < told) {
            return error.into_echo();
        }
        *told = Some(now);
        error
    }

    /// The runtime's connection: the existing one, the one that another call is making, or a new one.
    async fn find_or_connect(&self, runtime: runtime::Id, limit: Duration) -> Result<Arc<Driven>> {
        // Here, and not for each call, because it is a system call. The child's runtime is a new one, so its first call
        // comes by here.
        if self.common.is_fork() {
            self.start_afresh();
        }
        let link = self.link(runtime);
        if let Some(connected) = link.current() {
            connected.catch_up(self.common.runtime().now()).await;
        }
        let mut outcome = match link.look(self.common.runtime().now()) {
            Found::Ready(connected) => return Ok(connected),
            Found::Connecting(outcome) => outcome,
            Found::Nothing(tell) => {
                let now = self.common.runtime().now();
                if let Err(error) = self.common.pace().admit(now) {
                    link.settle(None);
                    tell.send_replace(Some(Err(error.clone())));
                    return Err(error);
                }
                let outcome = tell.subscribe();
                self.connect_in_background(&link, tell, limit);
                outcome
            }
        };
        // The connecting task either reports the outcome, or is dropped with its runtime: both end the wait.
        match outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => Err(Error::new(
                ErrorKind::Connect,
                "the runtime shut down while it connected",
            )),
        }
    }

    fn link(&self, runtime: runtime::Id) -> Arc<Link> {
        let mut links = self.links.lock();
        if let Some((_, link)) = links.iter().find(|(id, _)| *id == runtime) {
            return Arc::clone(link);
        }
        // Links of ended runtimes are removed when a new runtime calls.
        links.retain(|(_, link)| link.is_in_use());
        let link = Arc::new(Link::default());
        links.push((runtime, Arc::clone(&link)));
        link
    }

    fn connect_in_background(
        &self,
        link: &Arc<Link>,
        tell: watch::Sender<Connecting>,
        limit: Duration,
    ) {
        let link = Arc::downgrade(link);
        let target = self.target.clone();
        let common = Arc::clone(&self.common);
        // The connect may take longer than this caller waits: later callers can use the connection.
        let patience = limit.max(CONNECT);
        self.common.runtime().spawn(async move {
            let pushes = match target.tracking {
                Some(_) => Pushes::Told,
                None => Pushes::Dropped,
            };
            let opening = connect(&target, pushes, &common, limit);
            let outcome = match common.runtime().timeout(patience, || opening).await {
                Some(outcome) => outcome.map(Driven::shared),
                // What is told is how long a caller waits.
                None => Err(timed_out(limit, target.connecting())),
            };
            common.pace().note(&outcome, common.runtime().now());
            let outcome = outcome.map_err(|error| error.on_host(common.host()));
            if let Ok(connected) = &outcome {
                // Before anyone can use the connection: what is read over it is carried from the start.
                if let (Some(carrier), Ok(runtime)) = (connected.carrier(), Handle::try_current()) {
                    let of = Some(runtime.id());
                    common.carriers().put(of, Arc::clone(carrier));
                }
                // Tell the listeners before anyone can use the connection.
                let server = connected.met.server();
                common.tell(&LinkEvent::Ready { server });
            }
            // If the link is gone, the backend was disconnected meanwhile; the waiting callers still get the
            // connection.
            if let Some(link) = link.upgrade() {
                link.settle(outcome.as_ref().ok());
            }
            tell.send_replace(Some(outcome));
        });
    }

    /// The connection for a call with these terms, which may be sent on it; and what is left of the limit.
    async fn admitted(&self, terms: Terms) -> Result<(Arc<Driven>, Duration)> {
        let limit = terms.limit;
        let runtime = Handle::try_current().map_err(|_| Error::no_runtime())?.id();
        let (mut connected, mut left) = match self.ready(runtime, self.common.runtime().now()) {
            Some(connected) => (connected, limit),
            // Boxed, because it is rare and large: without it, every call's future would be larger.
            None => Box::pin(self.connection_within(runtime, limit)).await?,
        };
        if connected.is_doubtful() {
            (connected, left) = Box::pin(self.proven(runtime, connected, left)).await?;
        }
        self.common.check(terms)?;
        if self.common.doubts().any() {
            left = Box::pin(connected.close_doubtful(left)).await?;
        }
        Ok((connected, left))
    }

    /// Sends a call at once, if there is a connection that it may use.
    #[inline]
    fn send_now<'a>(&'a self, call: Ask<'a>, terms: Terms) -> Option<Sent<'a>> {
        let runtime = Handle::try_current().ok()?.id();
        let now = self.common.runtime().now();
        let connected = self.ready(runtime, now)?;
        if connected.is_doubtful()
            || self.common.doubts().any()
            || self.common.check(terms).is_err()
        {
            return None;
        }
        self.send_over(connected, call, terms, (terms.limit, now))
    }

    /// Sends a call over a connection, with what is left of its limit now.
    #[inline]
    fn send_over<'a>(
        &'a self,
        connected: Arc<Driven>,
        call: Ask<'a>,
        terms: Terms,
        (left, now): (Duration, Instant),
    ) -> Option<Sent<'a>> {
        let deadline = now + left;
        let on_its_way = call.send(connected, (terms.epoch, deadline))?;
        Some(Sent {
            server: self,
            call,
            terms,
            left,
            deadline,
            on_its_way,
        })
    }

    /// Sends a call of whose limit so much is left, and waits for its replies.
    pub(super) async fn send<T: OfOutcome>(
        &self,
        mut call: Ask<'_>,
        terms: Terms,
        mut left: Duration,
    ) -> Result<T> {
        while !left.is_zero() {
            let limit = left;
            let (connected, limit) = self.admitted(Terms { limit, ..terms }).await?;
            let now = self.common.runtime().now();
            if let Some(mut sent) = self.send_over(connected, call, terms, (limit, now)) {
                match poll_fn(|context| sent.poll_reply(context)).await? {
                    Next::Replied(reply) => return Ok(reply),
                    Next::Again(again) => call = again,
                }
            }
            left = self.until(now + limit);
        }
        Err(timed_out(terms.limit, ""))
    }

    /// How long it is until then.
    pub(super) fn until(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.common.runtime().now())
    }

    fn begin_call<'a, T: OfOutcome + Send + 'a>(
        &'a self,
        call: Ask<'a>,
        terms: Terms,
    ) -> Answer<'a, T> {
        match self.send_now(call, terms) {
            Some(sent) => Answer::Sent(sent),
            None => Answer::Later(Box::pin(self.send(call, terms, terms.limit))),
        }
    }

    /// A connection that was idle for long, if it answers, or another one (invariant 8); and what is left of the limit.
    async fn proven(
        &self,
        runtime: runtime::Id,
        connected: Arc<Driven>,
        limit: Duration,
    ) -> Result<(Arc<Driven>, Duration)> {
        let begun = self.common.runtime().now();
        let answers = connected.answers(time_to_prove(limit)).await;
        let took = self.common.runtime().now().saturating_duration_since(begun);
        let left = limit.saturating_sub(took);
        if answers {
            Ok((connected, left))
        } else {
            drop(connected);
            self.connection_within(runtime, left).await
        }
    }
}

impl Backend for Multiplexed {
    fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>> {
        Box::pin(self.send(Ask::Command(command), terms, terms.limit))
    }

    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        if pipeline.is_empty() {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        if let Some((words, end)) = set_of(pipeline) {
            return Box::pin(async move {
                let ends = [end, words.len()];
                self.send(Ask::Steps(&words, &ends), terms, terms.limit)
                    .await
            });
        }
        Box::pin(self.send(Ask::Pipeline(pipeline), terms, terms.limit))
    }

    fn begin<'a>(&'a self, command: &'a Cmd, terms: Terms) -> Answer<'a, Value> {
        self.begin_call(Ask::Command(command), terms)
    }

    fn begin_together<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> Answer<'a, Vec<Value>> {
        match pipeline.is_empty() || set_of(pipeline).is_some() {
            true => Answer::Later(self.pipeline(pipeline, terms)),
            false => self.begin_call(Ask::Pipeline(pipeline), terms),
        }
    }

    fn begin_words<'a>(&'a self, words: &'a [&'a [u8]], terms: Terms) -> Answer<'a, Value> {
        self.begin_call(Ask::Words(words), terms)
    }

    fn begin_steps<'a>(
        &'a self,
        words: &'a [&'a [u8]],
        ends: &'a [usize],
        terms: Terms,
    ) -> Answer<'a, Vec<Value>> {
        self.begin_call(Ask::Steps(words, ends), terms)
    }

    fn dedicated(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        Box::pin(async move { self.open_alone(&self.target, limit).await })
    }

    fn for_messages(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        Box::pin(async move { self.open_alone(&self.target.for_messages(), limit).await })
    }

    fn disconnect(&self) {
        if self.common.is_fork() {
            self.start_afresh();
        }
        self.common.carriers().end();
        self.common.tell(&LinkEvent::Dropped);
        self.links.lock().clear();
        self.latest.store(None);
    }

    fn follow(&self) {
        for (_, link) in &*self.links.lock() {
            link.follow();
        }
        let latest = self.latest.load();
        if latest
            .as_ref()
            .is_some_and(|latest| !latest.connected.is_current())
        {
            self.latest.compare_and_swap(&latest, None);
        }
        // Calls that are running may keep the connections, which go on telling.
        self.common.carriers().follow();
        self.common.tell(&LinkEvent::Dropped);
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

/// The words of a [fenced set](fenced_set), if a pipeline is one, and where the `SET` ends.
fn set_of(pipeline: &Pipeline) -> Option<(SmallVec<[&[u8]; 7]>, usize)> {
    if !pipeline.is_transaction() || pipeline.len() != 2 {
        return None;
    }
    let (mut words, mut end) = (SmallVec::new(), 0);
    for command in pipeline.cmd_iter() {
        for arg in command.args_iter() {
            let Arg::Simple(word) = arg else { return None };
            words.push(word);
        }
        if end == 0 {
            end = words.len();
        }
    }
    fenced_set(&words, &[end, words.len()])?;
    Some((words, end))
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        if self.common.is_fork() {
            self.start_afresh();
        }
    }
}

/// One runtime's connection to the server.
#[derive(Debug, Default)]
struct Link {
    state: Mutex<LinkState>,
    /// When a call failed last that had waited for a connect, and was the first to tell of it.
    told: Mutex<Option<Instant>>,
}

/// The outcome of a connect; `None` until it is known.
type Connecting = Option<Result<Arc<Driven>>>;

#[derive(Debug, Default)]
enum LinkState {
    #[default]
    Empty,
    Connecting(watch::Receiver<Connecting>),
    Ready(Arc<Driven>),
}

/// The state a caller found, and what the caller does next.
enum Found {
    Ready(Arc<Driven>),
    /// Wait for this.
    Connecting(watch::Receiver<Connecting>),
    /// Connect, and tell the others here.
    Nothing(watch::Sender<Connecting>),
}

impl Link {
    fn look(&self, now: Instant) -> Found {
        let mut state = self.state.lock();
        match &*state {
            LinkState::Ready(connected) if connected.is_usable(now) => {
                Found::Ready(Arc::clone(connected))
            }
            // `has_changed` fails after the connecting task was dropped with its runtime.
            LinkState::Connecting(outcome) if outcome.has_changed().is_ok() => {
                Found::Connecting(outcome.clone())
            }
            _ => {
                let (tell, outcome) = watch::channel(None);
                *state = LinkState::Connecting(outcome);
                Found::Nothing(tell)
            }
        }
    }

    /// The connection, whether it is usable or not.
    fn current(&self) -> Option<Arc<Driven>> {
        match &*self.state.lock() {
            LinkState::Ready(connected) => Some(Arc::clone(connected)),
            _ => None,
        }
    }

    fn settle(&self, connected: Option<&Arc<Driven>>) {
        *self.state.lock() = match connected {
            Some(connected) => LinkState::Ready(Arc::clone(connected)),
            None => LinkState::Empty,
        };
    }

    /// Lets go of a connection that the place does not lead to any more.
    #[cfg_attr(not(feature = "sentinel"), allow(dead_code))]
    fn follow(&self) {
        let mut state = self.state.lock();
        if matches!(&*state, LinkState::Ready(connected) if !connected.is_current()) {
            *state = LinkState::Empty;
        }
    }

    fn is_in_use(&self) -> bool {
        match &*self.state.lock() {
            LinkState::Empty => false,
            LinkState::Connecting(outcome) => outcome.has_changed().is_ok(),
            LinkState::Ready(connected) => connected.is_alive(),
        }
    }
}

#[cfg(test)]
mod tests;
