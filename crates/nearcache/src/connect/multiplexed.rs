//! The backend for async callers of a server: redis-rs's multiplexed connection, one for each calling runtime. `driven`
//! has the connection itself.
//!
//! 1. A connection belongs to the runtime that drives it, so each runtime has its own link. A cache in a `static` works
//!    with any number of runtimes, at the same time or one after another.
//! 2. Callers share a connect: those that come while it is in progress wait for it, each within its own limit, and a
//!    caller that stops waiting does not stop it.
//! 3. A connection whose driver has ended is never used again; the next call makes a new one.
//! 4. If a call of at least [`SILENT`] gets no reply, or [`SHORT_CALLS`] shorter ones in a row over as long a time, the
//!    connection is retired: the running calls stay on it, later calls use another. (It may be half-open, or out of step
//!    because the server sent garbage.)
//! 5. redis-rs's own timeouts are off. Ours is the only one, and includes connecting, unless the target has a time for
//!    that.
//! 6. A connection that the server closed while it was idle is found before a command is written to it, even if the
//!    runtime stood still meanwhile.
//! 7. After a fork, the child connects anew, on a runtime of its own, and does not touch its parent's connections.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::runtime::{self, Handle};
use tokio::sync::watch;

use super::driven::{Driven, Pushes};
use super::raw::Dedicated;
use super::target::Target;
use super::{
    Backend, BoxFuture, Common, LinkEvent, Terms, change_nothing, count, doubts, replies,
    result_of, time_to_connect, timed_out,
};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;

/// How long a connect goes on at least, even if nobody waits for it any more.
const CONNECT: Duration = Duration::from_secs(2);

/// A call that waits this long without a reply retires its connection. A shorter limit is the caller's choice: a single
/// such call does not mean that the connection is bad.
const SILENT: Duration = Duration::from_millis(100);

/// How many calls in a row must have waited in vain to retire a connection, if each was shorter than [`SILENT`].
const SHORT_CALLS: u32 = 3;

/// A server, and a link for each runtime that has called.
#[derive(Debug)]
pub(super) struct Multiplexed {
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
        let opening = Driven::open(target, Pushes::Kept, &self.common);
        let opened = runtime.timeout(limit, || opening).await;
        let opened = opened.unwrap_or_else(|| Err(timed_out(limit, "while connecting")));
        pace.note(&opened, runtime.now());
        Ok(Dedicated::Multiplexed(opened?.shared()))
    }

    pub(super) fn new(target: Target, runtime: Runtime) -> Self {
        let common = Arc::new(Common::new(&target, runtime));
        Multiplexed {
            target,
            common,
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
    fn ready(&self, runtime: runtime::Id) -> Option<Arc<Driven>> {
        let latest = self.latest.load();
        let latest = latest.as_ref()?;
        (latest.runtime == runtime && latest.connected.is_usable(self.common.runtime().now()))
            .then(|| Arc::clone(&latest.connected))
    }

    /// The runtime's connection, and what is left of the limit.
    async fn connection_within(
        &self,
        runtime: runtime::Id,
        limit: Duration,
    ) -> Result<(Arc<Driven>, Duration)> {
        let begun = self.common.runtime().now();
        let patience = time_to_connect(&self.target, limit);
        let Some(outcome) = self
            .common
            .runtime()
            .timeout(patience, || self.find_or_connect(runtime, patience))
            .await
        else {
            return Err(timed_out(patience, "while connecting"));
        };
        let connected = outcome.map_err(|error| {
            // What was given up on is a connect that is shared. The caller is told its own limit.
            let given_up =
                error.kind() == ErrorKind::Timeout && std::error::Error::source(&error).is_none();
            match given_up {
                true => timed_out(patience, "while connecting").on_host(self.common.host()),
                false => error,
            }
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

    /// The runtime's connection: the existing one, the one that another call is making, or a new one.
    async fn find_or_connect(&self, runtime: runtime::Id, limit: Duration) -> Result<Arc<Driven>> {
        // Here, and not for each call, because it is a system call. The child's runtime is a new one, so its first call
        // comes by here.
        if self.common.is_fork() {
            self.start_afresh();
        }
        let link = self.link(runtime);
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
            let opening = Driven::open(&target, Pushes::Dropped, &common);
            let outcome = match common.runtime().timeout(patience, || opening).await {
                Some(outcome) => outcome.map(Driven::shared),
                // What is told is how long a caller waits.
                None => Err(timed_out(limit, "while connecting")),
            };
            common.pace().note(&outcome, common.runtime().now());
            let outcome = outcome.map_err(|error| error.on_host(common.host()));
            if let Ok(connected) = &outcome {
                // Tell the listeners before anyone can use the connection.
                let run_id = connected.met.run_id.clone();
                common.tell(&LinkEvent::Ready { run_id });
            }
            // If the link is gone, the backend was disconnected meanwhile; the waiting callers still get the
            // connection.
            if let Some(link) = link.upgrade() {
                link.settle(outcome.as_ref().ok());
            }
            tell.send_replace(Some(outcome));
        });
    }

    /// See promise 6 of [`Backend`]. Calls that are running stay on their connection.
    fn leave_if_useless(&self, replies: &[Value]) {
        if self.common.must_leave(replies) {
            self.disconnect();
        }
    }

    /// Runs `work` on the connection, with these terms.
    async fn within<T, F>(
        &self,
        terms: Terms,
        writes: bool,
        work: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let limit = terms.limit;
        let runtime = Handle::try_current().map_err(|_| Error::no_runtime())?.id();
        let (connected, mut left) = match self.ready(runtime) {
            Some(connected) => (connected, limit),
            // Boxed, because it is rare and large: without it, every call's future would be larger.
            None => Box::pin(self.connection_within(runtime, limit)).await?,
        };
        self.common.check(terms)?;
        if self.common.doubts().any() {
            left = Box::pin(self.close_doubtful(&connected, left)).await?;
        }
        let call = connected.begin(writes);
        match self
            .common
            .runtime()
            .timeout(left, || work(call.connection()))
            .await
        {
            Some(Ok(output)) => {
                call.answered();
                Ok(output)
            }
            Some(Err(error)) => {
                drop(call);
                if error.is_unrecoverable_error() {
                    connected.lose();
                }
                Err(Error::from_redis(error))
            }
            None => {
                drop(call);
                self.note_silence(&connected, left);
                Err(timed_out(limit, ""))
            }
        }
    }

    /// A call on the connection waited so long in vain (invariant 4).
    fn note_silence(&self, connected: &Arc<Driven>, time: Duration) {
        let (calls, together) = connected.waited(time, self.common.runtime().now());
        if time >= SILENT || (calls >= SHORT_CALLS && together >= SILENT) {
            connected.lose();
            connected.ask_whether_settled(CONNECT);
        }
    }

    /// Promise 7 of [`Backend`]. Returns what is left of the limit.
    async fn close_doubtful(&self, connected: &Arc<Driven>, limit: Duration) -> Result<Duration> {
        let (doubts, runtime) = (self.common.doubts(), self.common.runtime());
        let ids = doubts.before(&connected.met);
        if ids.is_empty() {
            return Ok(limit);
        }
        let begun = runtime.now();
        let kill = doubts::kill(&ids);
        let call = connected.begin(false);
        let mut connection = call.connection();
        let closing = connection.send_packed_commands(&kill, 0, ids.len());
        match runtime.timeout(limit, || closing).await {
            Some(Ok(replies)) => {
                call.answered();
                doubts.killed(&ids, &replies, self.common.host());
                let took = runtime.now().saturating_duration_since(begun);
                Ok(limit.saturating_sub(took))
            }
            Some(Err(error)) => {
                if error.is_unrecoverable_error() {
                    connected.lose();
                }
                Err(Error::from_redis(error))
            }
            None => {
                self.note_silence(connected, limit);
                Err(timed_out(limit, ""))
            }
        }
    }
}

impl Backend for Multiplexed {
    fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let send = async |mut connection: MultiplexedConnection| {
                connection.send_packed_command(command).await
            };
            let reply = self.within(terms, !change_nothing([command]), send).await?;
            self.leave_if_useless(std::slice::from_ref(&reply));
            result_of(reply)
        })
    }

    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        let count = count(pipeline);
        Box::pin(async move {
            let send = async |mut connection: MultiplexedConnection| {
                connection.send_packed_commands(pipeline, 0, count).await
            };
            let writes = !change_nothing(pipeline.cmd_iter());
            let all = self.within(terms, writes, send).await?;
            self.leave_if_useless(&all);
            replies(&self.common, pipeline, all)
        })
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
        self.common.tell(&LinkEvent::Dropped);
        self.links.lock().clear();
        self.latest.store(None);
    }

    fn common(&self) -> &Common {
        &self.common
    }
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
struct Link(Mutex<LinkState>);

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
        let mut state = self.0.lock();
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

    fn settle(&self, connected: Option<&Arc<Driven>>) {
        *self.0.lock() = match connected {
            Some(connected) => LinkState::Ready(Arc::clone(connected)),
            None => LinkState::Empty,
        };
    }

    fn is_in_use(&self) -> bool {
        match &*self.0.lock() {
            LinkState::Empty => false,
            LinkState::Connecting(outcome) => outcome.has_changed().is_ok(),
            LinkState::Ready(connected) => connected.is_alive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LAIN_IDLE;
    use super::super::target::Place;
    use super::*;
    use crate::runtime::moved;

    /// Long enough that a test would notice if real time counted.
    const LIMIT: Duration = Duration::from_secs(600);
    const TERMS: Terms = Terms {
        limit: LIMIT,
        epoch: 0,
    };

    /// A server with a moved clock, and its listener: the kernel accepts the connection, but nobody reads from it.
    fn silent() -> (Arc<Multiplexed>, moved::Clock, std::net::TcpListener) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let place = Place::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        };
        let clock = moved::Clock::new();
        let server = Multiplexed::new(Target::new(place), Runtime::Moved(clock.clone()));
        (Arc::new(server), clock, listener)
    }

    /// The runtime of this test has one thread, and the driver does not run while the test itself does.
    #[tokio::test]
    async fn invariant_6_what_the_server_closed_while_it_was_idle_is_found_before_a_write() {
        let redis = nearcache_testkit::Redis::start();
        for url in [redis.url(), redis.unix_url()] {
            let url = url.replace("redis+unix", "unix");
            let client = redis::Client::open(url).unwrap();
            let clock = moved::Clock::new();
            let target = Target::from_client(&client).unwrap();
            let server = Multiplexed::new(target, Runtime::Moved(clock.clone()));
            let mut write = redis::cmd("INCR");
            write.arg("n");
            for _ in 0..3 {
                server.request(&write, TERMS).await.unwrap();
                redis.inline("CLIENT KILL TYPE normal");
                nearcache_testkit::eventually("the connection is closed", || {
                    redis.inline("CLIENT LIST").lines().count() == 1
                });
                clock.advance(LAIN_IDLE);
            }
            server.request(&write, TERMS).await.unwrap();
        }
        assert_eq!(redis.inline("GET n"), "8");
    }

    /// A real server whose way goes silent, and calls that are each too short to be a proof.
    #[tokio::test]
    async fn invariant_4_short_calls_in_vain_retire_a_silent_connection_too() {
        let redis = nearcache_testkit::Redis::start();
        let proxy = nearcache_testkit::Proxy::start(&redis.address());
        let client = redis::Client::open(proxy.url()).unwrap();
        let clock = moved::Clock::new();
        let server = Arc::new(Multiplexed::new(
            Target::from_client(&client).unwrap(),
            Runtime::Moved(clock.clone()),
        ));
        let ping = redis::cmd("PING");
        let runtime = Handle::current().id();
        let limit = SILENT / 2;
        let in_vain = async || {
            let mut call = server.request(&ping, Terms { limit, epoch: 0 });
            assert!(futures_util::poll!(&mut call).is_pending());
            clock.advance(limit);
            call.await.unwrap_err();
        };
        server.request(&ping, TERMS).await.unwrap();
        proxy.set(nearcache_testkit::Fault::delay(
            nearcache_testkit::Frames::replies(),
            Duration::from_secs(600),
        ));
        for _ in 1..SHORT_CALLS {
            in_vain().await;
            assert!(server.ready(runtime).is_some(), "too early");
        }
        in_vain().await;
        assert!(server.ready(runtime).is_none());

        // A reply in between starts the count again.
        proxy.heal();
        server.request(&ping, TERMS).await.unwrap();
        for _ in 0..2 * SHORT_CALLS {
            let hold = proxy.hold(nearcache_testkit::Frames::replies());
            in_vain().await;
            drop(hold);
            server.request(&ping, TERMS).await.unwrap();
        }
        assert!(server.ready(runtime).is_some());
        assert_eq!(proxy.connections(), 2);
    }

    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_call_ends_when_its_limit_has_passed_and_not_before() {
        let (server, clock, _listener) = silent();
        let call = tokio::spawn(async move { server.request(&redis::cmd("PING"), TERMS).await });
        settle().await;
        clock.advance(LIMIT - Duration::from_millis(1));
        settle().await;
        assert!(!call.is_finished());
        clock.advance(Duration::from_millis(1));
        assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    }

    /// The connect goes on for longer than a call waits, and its end reaches whoever waits then.
    #[tokio::test]
    async fn a_call_that_waits_for_a_connect_is_told_its_own_limit() {
        let (server, clock, _listener) = silent();
        let limit = Duration::from_millis(500);
        let call = || {
            let (server, terms) = (Arc::clone(&server), Terms { limit, epoch: 0 });
            tokio::spawn(async move { server.request(&redis::cmd("PING"), terms).await })
        };
        let first = call();
        settle().await;
        clock.advance(CONNECT - limit / 2);
        let error = first.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("gave up after 500ms"), "{error}");
        let second = call();
        settle().await;
        clock.advance(limit / 2);
        let error = second.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("gave up after 500ms"), "{error}");
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_does_not_stop_the_connect_that_others_wait_for() {
        let (server, _clock, listener) = silent();
        let ping = redis::cmd("PING");
        let mut first = server.request(&ping, TERMS);
        assert!(futures_util::poll!(&mut first).is_pending());
        settle().await;
        let second = tokio::spawn({
            let server = Arc::clone(&server);
            async move { server.request(&redis::cmd("PING"), TERMS).await }
        });
        settle().await;
        drop(first);
        settle().await;
        assert!(!second.is_finished());
        assert!(listener.accept().is_ok());
        listener.set_nonblocking(true).unwrap();
        assert!(
            listener.accept().is_err(),
            "the second caller opened a connection of its own"
        );
        second.abort();
    }
}
