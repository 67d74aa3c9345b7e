//! A server, for async callers: redis-rs's multiplexed connection, one for each runtime that calls.
//!
//! 1. A connection belongs to the runtime that drives it, so each runtime has a link of its own: a
//!    cache in a `static` works under any number of runtimes, at once or one after another.
//! 2. One caller's connect is everyone's: those who come while it is under way wait for it, each for
//!    as long as its own limit, and a caller that gives up does not stop it.
//! 3. A connection whose driver has ended is never used again; the next call makes a new one.
//! 4. A connection on which a call of some length got no reply is retired: the calls on it go on, the
//!    next ones get another. (It may be half-open; or out of step, if what the server sent was garbage.)
//! 5. redis-rs's own timeouts are off. Ours is the only one, and includes connecting.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisResult, Value};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::runtime::{self, Handle};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::raw::Raw;
use super::target::{Place, Protocol, Target};
use super::{Backend, BoxFuture, Common, LinkEvent, Terms, checked, count, replies, timed_out};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;

/// When a silent peer is asked whether it is still there, and how often after that.
pub(super) const KEEPALIVE: (Duration, Duration) =
    (Duration::from_secs(15), Duration::from_secs(5));

/// How long a connect goes on, whoever still waits for it.
const CONNECT: Duration = Duration::from_secs(2);

/// How many commands may wait for their turn to be written; who comes after them waits to wait.
const QUEUE: usize = 1_024;

/// A call that waited so long in vain retires its connection. Shorter ones are the caller's choice, and
/// no sign of anything.
const SILENT: Duration = Duration::from_millis(100);

/// A server, and a link to it for each runtime that has called.
#[derive(Debug)]
pub(super) struct Server {
    target: Target,
    common: Arc<Common>,
    links: Mutex<Vec<(runtime::Id, Arc<Link>)>>,
    /// The connection that was used last, where a call finds it without a lock.
    latest: ArcSwapOption<Latest>,
}

#[derive(Debug)]
struct Latest {
    runtime: runtime::Id,
    connected: Arc<Connected>,
}

impl Server {
    pub(super) fn new(target: Target, runtime: Runtime) -> Self {
        let common = Arc::new(Common::new(&target, runtime));
        Server {
            target,
            common,
            links: Mutex::default(),
            latest: ArcSwapOption::empty(),
        }
    }

    /// The connection, if this runtime used one last and it is alive.
    fn ready(&self, runtime: runtime::Id) -> Option<Arc<Connected>> {
        let latest = self.latest.load();
        let latest = latest.as_ref()?;
        (latest.runtime == runtime && latest.connected.alive.is_alive())
            .then(|| Arc::clone(&latest.connected))
    }

    /// The runtime's connection, and what is left of the limit once it is there.
    async fn connected(
        &self,
        runtime: runtime::Id,
        limit: Duration,
    ) -> Result<(Arc<Connected>, Duration)> {
        let begun = self.common.runtime().now();
        let Some(outcome) = self
            .common
            .runtime()
            .timeout(limit, || self.found(runtime, limit))
            .await
        else {
            return Err(timed_out(limit, "while connecting"));
        };
        let connected = outcome?;
        self.latest.store(Some(Arc::new(Latest {
            runtime,
            connected: Arc::clone(&connected),
        })));
        let now = self.common.runtime().now();
        Ok((
            connected,
            limit.saturating_sub(now.saturating_duration_since(begun)),
        ))
    }

    /// The runtime's connection: the one that is there, the one that another call is making, or a new one.
    async fn found(&self, runtime: runtime::Id, limit: Duration) -> Outcome {
        let link = self.link(runtime);
        let mut outcome = match link.look() {
            Found::Ready(connected) => return Ok(connected),
            Found::Connecting(outcome) => outcome,
            Found::Nothing(tell) => {
                let outcome = tell.subscribe();
                self.connect_in_background(&link, tell, limit);
                outcome
            }
        };
        // The one who connects says how it went, or is dropped with its runtime: both end the wait.
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
        // The links of runtimes that have ended go when a new runtime comes.
        links.retain(|(_, link)| link.is_in_use());
        let link = Arc::new(Link::default());
        links.push((runtime, Arc::clone(&link)));
        link
    }

    fn connect_in_background(
        &self,
        link: &Arc<Link>,
        tell: watch::Sender<Option<Outcome>>,
        limit: Duration,
    ) {
        let link = Arc::downgrade(link);
        let target = self.target.clone();
        let common = Arc::clone(&self.common);
        // Longer than the caller may wait: the callers after it find what it began.
        let patience = limit.max(CONNECT);
        self.common.runtime().spawn(async move {
            let opening = Connected::open(&target, &common);
            let outcome = match common.runtime().timeout(patience, || opening).await {
                Some(outcome) => outcome.map(Connected::shared),
                None => Err(timed_out(patience, "while connecting")),
            };
            let outcome = outcome.map_err(|error| error.on_host(common.host()));
            if let Ok(connected) = &outcome {
                // Before anyone can use it: what must be sent first is known by then.
                common.connected(connected.greeted.as_ref());
            }
            // Without a link the backend was closed meanwhile, and whoever waits takes the connection.
            if let Some(link) = link.upgrade() {
                link.settle(outcome.as_ref().ok());
            }
            if outcome.is_ok() {
                common.listeners().tell(LinkEvent::Ready);
            }
            tell.send_replace(Some(outcome));
        });
    }

    /// Runs `work` on the connection, on these terms.
    async fn within<T, F>(
        &self,
        terms: Terms,
        work: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let limit = terms.limit;
        let runtime = Handle::try_current().map_err(|_| no_runtime())?.id();
        let (connected, left) = match self.ready(runtime) {
            Some(connected) => (connected, limit),
            // Boxed: it is rare and large, and the calls that need it not should not carry it.
            None => Box::pin(self.connected(runtime, limit)).await?,
        };
        self.common.check(terms)?;
        connected.alive.submitted.store(true, Ordering::Relaxed);
        match self
            .common
            .runtime()
            .timeout(left, || work(connected.connection.clone()))
            .await
        {
            Some(Ok(output)) => Ok(output),
            Some(Err(error)) => {
                if error.is_unrecoverable_error() {
                    connected.alive.lose(&self.common);
                }
                Err(Error::from_redis(error))
            }
            None => {
                if left >= SILENT {
                    connected.alive.lose(&self.common);
                }
                Err(timed_out(limit, ""))
            }
        }
    }
}

impl Backend for Server {
    fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let send = async |mut connection: MultiplexedConnection| {
                connection.send_packed_command(command).await
            };
            let reply = self.within(terms, send).await.and_then(checked);
            reply.map_err(|error| error.on_host(self.common.host()))
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
            let values = self
                .within(terms, send)
                .await
                .and_then(|values| replies(pipeline, values));
            values.map_err(|error| error.on_host(self.common.host()))
        })
    }

    fn connection(&self, limit: Duration) -> BoxFuture<'_, Result<Raw>> {
        Box::pin(async move {
            Handle::try_current().map_err(|_| no_runtime())?;
            let opening = Connected::open(&self.target, &self.common);
            let connected = match self.common.runtime().timeout(limit, || opening).await {
                Some(outcome) => outcome,
                None => Err(timed_out(limit, "while connecting")),
            };
            let connected = connected.map_err(|error| error.on_host(self.common.host()))?;
            Ok(Raw::Multiplexed(connected.shared()))
        })
    }

    fn disconnect(&self) {
        self.common.outbox().lost(self.common.runtime().now());
        self.links.lock().clear();
        self.latest.store(None);
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

pub(crate) fn no_runtime() -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        "an async cache is called from within a tokio runtime; without one, use nearcache::blocking",
    )
}

type Outcome = Result<Arc<Connected>>;

/// One runtime's way to the server.
#[derive(Debug, Default)]
struct Link(Mutex<Slot>);

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Connecting(watch::Receiver<Option<Outcome>>),
    Ready(Arc<Connected>),
}

/// What a caller found, and what it does next.
enum Found {
    Ready(Arc<Connected>),
    /// Wait for this.
    Connecting(watch::Receiver<Option<Outcome>>),
    /// Connect, and tell the others here.
    Nothing(watch::Sender<Option<Outcome>>),
}

impl Link {
    fn look(&self) -> Found {
        let mut slot = self.0.lock();
        match &*slot {
            Slot::Ready(connected) if connected.alive.is_alive() => {
                Found::Ready(Arc::clone(connected))
            }
            // `has_changed` fails once the one who connects was dropped with its runtime.
            Slot::Connecting(outcome) if outcome.has_changed().is_ok() => {
                Found::Connecting(outcome.clone())
            }
            _ => {
                let (tell, outcome) = watch::channel(None);
                *slot = Slot::Connecting(outcome);
                Found::Nothing(tell)
            }
        }
    }

    fn settle(&self, connected: Option<&Arc<Connected>>) {
        *self.0.lock() = match connected {
            Some(connected) => Slot::Ready(Arc::clone(connected)),
            None => Slot::Empty,
        };
    }

    fn is_in_use(&self) -> bool {
        match &*self.0.lock() {
            Slot::Empty => false,
            Slot::Connecting(outcome) => outcome.has_changed().is_ok(),
            Slot::Ready(connected) => connected.alive.is_alive(),
        }
    }
}

/// A connection with the task that drives it, which ends with it.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(super) connection: MultiplexedConnection,
    alive: Arc<Alive>,
    driver: AbortHandle,
    /// What the server said of itself, if it does.
    greeted: Option<Value>,
    /// Where the driver sees how many hold this.
    itself: Arc<OnceLock<Weak<Connected>>>,
}

impl Connected {
    async fn open(target: &Target, common: &Arc<Common>) -> Result<Self> {
        match target.protocol {
            Some(protocol) => Self::open_as(target, protocol, common)
                .await
                .map_err(Error::from_redis),
            None => match Self::open_as(target, Protocol::Resp3, common)
                .await
                .map_err(Error::from_redis)
            {
                // A server that does not know HELLO, or not this version of the protocol.
                Err(error) if error.kind() == ErrorKind::Server => {
                    Self::open_as(target, Protocol::Resp2, common)
                        .await
                        .map_err(Error::from_redis)
                }
                outcome => outcome,
            },
        }
    }

    async fn open_as(
        target: &Target,
        protocol: Protocol,
        common: &Arc<Common>,
    ) -> RedisResult<Self> {
        match &target.place {
            Place::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                let keepalive = TcpKeepalive::new()
                    .with_time(KEEPALIVE.0)
                    .with_interval(KEEPALIVE.1);
                SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                Self::over(stream, target, protocol, common).await
            }
            #[cfg(unix)]
            Place::Unix { path } => {
                Self::over(UnixStream::connect(path).await?, target, protocol, common).await
            }
            place => Err(RedisError::from(std::io::Error::other(format!(
                "{place} is no server"
            )))),
        }
    }

    async fn over<S>(
        stream: S,
        target: &Target,
        protocol: Protocol,
        common: &Arc<Common>,
    ) -> RedisResult<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let handshake = target.handshake(protocol);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&handshake, stream, config).await?;
        let alive = Arc::new(Alive {
            alive: AtomicBool::new(true),
            submitted: AtomicBool::new(false),
        });
        let end = DriverEnd {
            alive: Arc::clone(&alive),
            common: Arc::clone(common),
        };
        let itself = Arc::<OnceLock<Weak<Connected>>>::default();
        let calls = Arc::clone(&itself);
        let driver = common.runtime().spawn(async move {
            let end = end;
            let gathering = Gathering {
                driver: Box::pin(driver),
                alive: Arc::clone(&end.alive),
                calls,
                gathering: false,
            };
            gathering.await;
        });
        // From here on the driver ends with this, whatever happens.
        let mut connected = Connected {
            connection,
            alive,
            driver,
            greeted: None,
            itself,
        };
        if let Some(name) = &target.client_name {
            let name = redis::cmd("CLIENT").arg("SETNAME").arg(name).to_owned();
            connected
                .connection
                .send_packed_command(&name)
                .await?
                .extract_error()?;
        }
        let mut info = redis::cmd("INFO");
        connected.greeted = connected
            .connection
            .send_packed_command(info.arg("server"))
            .await
            .ok();
        Ok(connected)
    }
}

impl Connected {
    fn shared(self) -> Arc<Self> {
        let shared = Arc::new(self);
        let _ = shared.itself.set(Arc::downgrade(&shared));
        shared
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        // Closed on purpose: nothing was lost.
        self.alive.alive.store(false, Ordering::Release);
        self.driver.abort();
    }
}

/// Drives a connection, one turn of the scheduler late: the tasks that are ready by then have put their
/// commands in the same write. A call that is alone is not kept waiting.
///
/// Without it, and with `TCP_NODELAY` (which spares a lone command the wait for the network), every
/// command is a system call, a packet, and a wake-up of the server.
struct Gathering<D> {
    driver: Pin<Box<D>>,
    alive: Arc<Alive>,
    calls: Arc<OnceLock<Weak<Connected>>>,
    gathering: bool,
}

/// Who holds a connection that nobody calls on: its link, and where it is found without a lock.
const HOLDERS: usize = 2;

impl<D> Gathering<D> {
    /// Whether there are others to wait for. Every call under way holds the connection.
    fn in_company(&self) -> bool {
        self.calls
            .get()
            .is_some_and(|connected| connected.strong_count() > HOLDERS + 1)
    }
}

impl<D: Future<Output = ()>> Future for Gathering<D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Nothing to write is nothing to wait for: replies are read at once.
        self.gathering = !self.gathering
            && self.alive.submitted.swap(false, Ordering::Relaxed)
            && self.in_company();
        if self.gathering {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.driver.as_mut().poll(context)
    }
}

/// What callers and driver of a connection tell each other.
#[derive(Debug)]
struct Alive {
    /// Whether the connection can still be used.
    alive: AtomicBool,
    /// Whether there are commands that the driver has not seen yet.
    submitted: AtomicBool,
}

impl Alive {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// The first to see the end tells.
    fn lose(&self, common: &Common) {
        if self.alive.swap(false, Ordering::AcqRel) {
            common.lost();
        }
    }
}

/// Lives inside the driver, so that its end is noticed however it comes: by itself, or with its
/// runtime.
struct DriverEnd {
    alive: Arc<Alive>,
    common: Arc<Common>,
}

impl Drop for DriverEnd {
    fn drop(&mut self) {
        self.alive.lose(&self.common);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::moved;

    /// Long enough that a test would notice if real time counted.
    const LIMIT: Duration = Duration::from_secs(600);
    const TERMS: Terms = Terms {
        limit: LIMIT,
        epoch: 0,
    };

    /// A server on a moved clock, and the listener behind it: accepted by the kernel, read by nobody.
    fn silent() -> (Arc<Server>, moved::Clock, std::net::TcpListener) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let place = Place::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        };
        let clock = moved::Clock::new();
        let server = Server::new(Target::new(place), Runtime::Moved(clock.clone()));
        (Arc::new(server), clock, listener)
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
