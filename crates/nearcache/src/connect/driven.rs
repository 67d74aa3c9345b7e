//! A connection to a server that many tasks share, and the task that drives it.
//!
//! 1. The driver ends with the connection. The loss of the connection is reported once, whatever the cause: the
//!    connection broke, the driver's runtime ended, or a caller got no reply.
//! 2. Commands of tasks that are ready together are sent in one write.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, PushInfo, PushKind, RedisError, RedisResult};
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::doubts::Settled;
use super::greeting::{self, Met};
use super::target::{Place, Protocol, Target};
use super::{Common, LAIN_IDLE, LinkEvent, dial};
use crate::error::{Error, ErrorKind, Result};

/// TCP keepalive: after how much silence the peer is probed, and how often after that.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

/// Sets the options of every TCP connection.
pub(super) fn set_up(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE.0)
        .with_interval(KEEPALIVE.1);
    socket.set_tcp_keepalive(&keepalive)
}

/// How many commands may be queued for writing. Further callers wait for room in the queue.
const QUEUE: usize = 1_024;

/// How many messages of the server are kept for a reader who is slow. With one more, the connection ends for it: there
/// is a gap, which it must learn of.
pub(super) const KEPT_PUSHES: usize = 100_000;

/// And how many bytes they may have together.
pub(super) const KEPT_BYTES: usize = 32 << 20;

/// About how many bytes a message takes.
pub(super) fn size(push: &PushInfo) -> usize {
    fn of(value: &redis::Value) -> usize {
        let inside = match value {
            redis::Value::BulkString(bytes) => bytes.len(),
            redis::Value::SimpleString(text) => text.len(),
            redis::Value::Array(values) | redis::Value::Set(values) => values.iter().map(of).sum(),
            _ => 0,
        };
        size_of::<redis::Value>() + inside
    }
    size_of::<PushInfo>() + push.data.iter().map(of).sum::<usize>()
}

/// What becomes of messages that the server sends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushes {
    Dropped,
    Kept,
}

/// The messages that are kept, and their bytes.
#[derive(Debug)]
struct Kept {
    messages: tokio::sync::Mutex<mpsc::Receiver<PushInfo>>,
    bytes: Arc<AtomicUsize>,
}

fn keep_in(
    sender: mpsc::Sender<PushInfo>,
    bytes: Arc<AtomicUsize>,
) -> impl Fn(PushInfo) -> std::result::Result<(), ()> + Send + Sync + 'static {
    let sender = Mutex::new(Some(sender));
    move |push| {
        let mut open = sender.lock();
        let (size, ends) = (size(&push), push.kind == PushKind::Disconnection);
        let kept = open.as_ref().is_some_and(|sender| {
            let fits = ends || bytes.load(Ordering::Relaxed) + size <= KEPT_BYTES;
            // Counted first: the reader takes it off again.
            bytes.fetch_add(size, Ordering::Relaxed);
            fits && sender.try_send(push).is_ok()
        });
        if !kept {
            // The reader gets what is there, and then learns that there is no more.
            *open = None;
        }
        kept.then_some(()).ok_or(())
    }
}

pub(super) fn too_many_pushes() -> RedisError {
    io::Error::other(format!(
        "more than {KEPT_PUSHES} messages of the server, or {} MiB, were not read: the rest is lost, so open another \
         connection",
        KEPT_BYTES >> 20
    ))
    .into()
}

pub(super) fn without_pushes() -> RedisError {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the connection speaks RESP2, in which the server sends no messages beside its replies: they need RESP3 \
         (Redis 6 or later, and no protocol=2)",
    )
    .into()
}

/// A connection, and the task that drives it and ends with it.
#[derive(Debug)]
pub(crate) struct Driven {
    connection: MultiplexedConnection,
    alive: Arc<Alive>,
    driver: AbortHandle,
    /// What the server said when the connection was made.
    pub(super) met: Met,
    /// When it was made, and in milliseconds from then, when a call last used it.
    made: Instant,
    used: AtomicU64,
    /// The calls in a row that got no reply, and since when.
    in_vain: AtomicU32,
    in_vain_since: Mutex<Option<Instant>>,
    /// A weak reference for the driver, which shows how many calls hold the connection.
    itself: Arc<OnceLock<Weak<Driven>>>,
    /// The messages that the server sends by itself, if they are kept.
    pushes: Option<Kept>,
}

impl Driven {
    /// Connects, and does the handshake.
    pub(super) async fn open(
        target: &Target,
        pushes: Pushes,
        common: &Arc<Common>,
    ) -> Result<Self> {
        match target.protocol {
            Some(protocol) => Self::open_as(target, protocol, pushes, common).await,
            None => match Self::open_as(target, Protocol::Resp3, pushes, common).await {
                // The server does not support HELLO or RESP3, or this user may not call it.
                Err(error) if matches!(error.kind(), ErrorKind::Server | ErrorKind::Denied) => {
                    Self::open_as(target, Protocol::Resp2, pushes, common).await
                }
                outcome => outcome,
            },
        }
    }

    async fn open_as(
        target: &Target,
        protocol: Protocol,
        pushes: Pushes,
        common: &Arc<Common>,
    ) -> Result<Self> {
        let failed = |error: io::Error| Error::from_redis(error.into());
        match &target.place {
            Place::Tcp { host, port } => {
                let stream = dial::tcp(host, *port, common.runtime())
                    .await
                    .map_err(failed)?;
                let view = SockRef::from(&stream).try_clone().ok();
                Self::over(stream, view, target, (protocol, pushes), common).await
            }
            #[cfg(unix)]
            Place::Unix { path } => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                let view = SockRef::from(&stream).try_clone().ok();
                Self::over(stream, view, target, (protocol, pushes), common).await
            }
            place => Err(failed(io::Error::other(format!("{place} is not a server")))),
        }
    }

    async fn over<S>(
        stream: S,
        view: Option<Socket>,
        target: &Target,
        (protocol, pushes): (Protocol, Pushes),
        common: &Arc<Common>,
    ) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let mut kept = None;
        if pushes == Pushes::Kept && protocol == Protocol::Resp3 {
            let (sender, receiver) = mpsc::channel(KEPT_PUSHES);
            let bytes = Arc::<AtomicUsize>::default();
            config = config.set_push_sender(keep_in(sender, Arc::clone(&bytes)));
            kept = Some(Kept {
                messages: tokio::sync::Mutex::new(receiver),
                bytes,
            });
        }
        let handshake = target.handshake(protocol);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&handshake, stream, config)
                .await
                .map_err(Error::from_redis)?;
        let alive = Arc::new(Alive {
            alive: AtomicBool::new(true),
            submitted: AtomicBool::new(false),
            view: Mutex::new(view),
            given_up: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            met: OnceLock::new(),
            common: Arc::clone(common),
        });
        let itself = Arc::<OnceLock<Weak<Driven>>>::default();
        let driver = common.runtime().spawn(Gathering {
            driver: Box::pin(driver),
            alive: Arc::clone(&alive),
            calls: Arc::clone(&itself),
            gathering: false,
        });
        // From here on, dropping this value ends the driver.
        let mut connected = Driven {
            connection,
            alive,
            driver,
            met: Met::default(),
            made: common.runtime().now(),
            used: AtomicU64::new(0),
            in_vain: AtomicU32::new(0),
            in_vain_since: Mutex::default(),
            itself,
            pushes: kept,
        };
        let mut greeting = Pipeline::new();
        greeting::write(target, &mut greeting);
        let replies = connected
            .connection
            .send_packed_commands(&greeting, 0, greeting.len())
            .await
            .map_err(Error::from_redis)?;
        connected.met = greeting::read(target, replies)?;
        let _ = connected.alive.met.set(connected.met.clone());
        Ok(connected)
    }

    /// Moves it behind an `Arc`, whose count tells the driver how many calls are running.
    pub(super) fn shared(self) -> Arc<Self> {
        let shared = Arc::new(self);
        let _ = shared.itself.set(Arc::downgrade(&shared));
        shared
    }

    /// The connection, for an exclusive user: there are no other calls to send together with.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// The next message that the server sent by itself. An error if none can come any more.
    pub(super) async fn next_push(&self) -> RedisResult<PushInfo> {
        let Some(Kept { messages, bytes }) = &self.pushes else {
            return Err(without_pushes());
        };
        match messages.lock().await.recv().await {
            Some(push) if push.kind != PushKind::Disconnection => {
                bytes.fetch_sub(size(&push), Ordering::Relaxed);
                Ok(push)
            }
            Some(_) => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            None => Err(too_many_pushes()),
        }
    }

    /// Begins a call. `writes`: whether it changes anything.
    pub(super) fn begin(&self, writes: bool) -> Call<'_> {
        self.alive.submitted.store(true, Ordering::Relaxed);
        Call {
            connected: self,
            after: self.alive.given_up.load(Ordering::Acquire),
            writes,
        }
    }

    /// Asks on a connection that is not used any more whether the server is done with what was given up on it. If it
    /// answers, then others need not lose their connection.
    pub(super) fn ask_whether_settled(self: &Arc<Self>, patience: Duration) {
        let Some(settled) = self.alive.doubt() else {
            return;
        };
        let asked = Arc::clone(self);
        let runtime = self.alive.common.runtime().clone();
        self.alive.common.runtime().spawn(async move {
            let mut connection = asked.connection();
            let ping = redis::cmd("PING");
            let asking = connection.send_packed_command(&ping);
            if let Some(Ok(_)) = runtime.timeout(patience, || asking).await {
                settled.store(true, Ordering::Release);
            }
        });
    }

    /// A call waited so long without a reply. Returns how many did so in a row, and for how long together.
    pub(super) fn waited(&self, time: Duration, now: Instant) -> (u32, Duration) {
        let mut since = self.in_vain_since.lock();
        let since = *since.get_or_insert(now.checked_sub(time).unwrap_or(now));
        let calls = self.in_vain.fetch_add(1, Ordering::Relaxed) + 1;
        (calls, now.saturating_duration_since(since))
    }

    /// Whether a call that begins now can use it. On a runtime that stood still, the driver has not seen yet that the
    /// server closed the connection. So the kernel is asked, if the connection was idle for a while: that is a system
    /// call.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        if !self.is_alive() {
            return false;
        }
        let millis = now.saturating_duration_since(self.made).as_millis() as u64;
        let last = self.used.load(Ordering::Relaxed);
        if last != millis {
            self.used.store(millis, Ordering::Relaxed);
        }
        if Duration::from_millis(millis.saturating_sub(last)) < LAIN_IDLE
            || self.alive.is_connected()
        {
            return true;
        }
        self.alive.end(&LinkEvent::Dropped);
        false
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.alive.load(Ordering::Acquire)
    }

    /// Marks it as lost: it is not used again.
    pub(super) fn lose(&self) {
        self.alive.lose();
    }
}

/// A call on a connection. If it is dropped without a reply, it was given up.
pub(super) struct Call<'d> {
    connected: &'d Driven,
    /// How many writes had been given up on the connection when it began.
    after: u64,
    writes: bool,
}

impl Call<'_> {
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connected.connection.clone()
    }

    /// The call got its reply.
    pub(super) fn answered(mut self) {
        self.writes = false;
        let Driven {
            in_vain,
            in_vain_since,
            alive,
            ..
        } = self.connected;
        if in_vain.load(Ordering::Relaxed) != 0 {
            in_vain.store(0, Ordering::Relaxed);
            *in_vain_since.lock() = None;
        }
        // Replies come in turn: the server is done with what was sent before.
        if self.after > alive.settled.load(Ordering::Relaxed) {
            alive.settled.fetch_max(self.after, Ordering::AcqRel);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.writes {
            return;
        }
        // In one order with the end of the connection: either this sees it, or `end` sees the write.
        let alive = &self.connected.alive;
        alive.given_up.fetch_add(1, Ordering::SeqCst);
        if !alive.alive.load(Ordering::SeqCst) {
            alive.doubt();
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // Closed on purpose, so no loss is reported.
        self.alive.alive.store(false, Ordering::Release);
        self.alive.view.lock().take();
        self.alive.doubt();
        self.driver.abort();
    }
}

/// Drives a connection, but one turn of the scheduler late, so that tasks that are ready by then can add their commands
/// to the same write. A single call is not delayed.
///
/// Otherwise every command would be a system call, a packet and a wake-up of the server, because `TCP_NODELAY` is set
/// (so that the network does not delay single commands).
struct Gathering<D> {
    driver: Pin<Box<D>>,
    alive: Arc<Alive>,
    calls: Arc<OnceLock<Weak<Driven>>>,
    gathering: bool,
}

/// The references to an idle connection: its link, and the lock-free `latest`.
const HOLDERS: usize = 2;

impl<D> Gathering<D> {
    /// Whether there are other calls to wait for. Every running call holds the connection.
    fn in_company(&self) -> bool {
        self.calls
            .get()
            .is_some_and(|connected| connected.strong_count() > HOLDERS + 1)
    }
}

impl<D: Future<Output = ()>> Future for Gathering<D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Without commands to write there is no delay: replies are read at once.
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

/// The driver may also be dropped with its runtime.
impl<D> Drop for Gathering<D> {
    fn drop(&mut self) {
        self.alive.lose();
    }
}

/// The state that callers and driver share.
#[derive(Debug)]
struct Alive {
    /// Whether the connection can still be used.
    alive: AtomicBool,
    /// Whether there are commands that the driver has not seen yet.
    submitted: AtomicBool,
    /// The driver's socket once more, to look at.
    view: Mutex<Option<Socket>>,
    /// How many writes were given up.
    given_up: AtomicU64,
    /// With how many of them the server is done.
    settled: AtomicU64,
    met: OnceLock<Met>,
    common: Arc<Common>,
}

impl Alive {
    /// Reports the loss, once.
    fn lose(&self) {
        self.end(&LinkEvent::Lost);
    }

    fn end(&self, event: &LinkEvent) {
        if self.alive.swap(false, Ordering::SeqCst) {
            self.view.lock().take();
            self.doubt();
            self.common.tell(event);
        }
    }

    /// The connection is not used for new calls any more: see [`doubts`](super::doubts).
    fn doubt(&self) -> Option<Settled> {
        if self.given_up.load(Ordering::SeqCst) <= self.settled.load(Ordering::Acquire) {
            return None;
        }
        self.common.doubts().add(self.met.get()?)
    }

    /// Whether the server has not closed the connection, as far as the kernel knows.
    fn is_connected(&self) -> bool {
        // The socket does not block, because tokio's does not.
        match self.view.lock().as_ref() {
            Some(socket) => match socket.peek(&mut [MaybeUninit::uninit()]) {
                Ok(seen) => seen != 0,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            },
            None => true,
        }
    }
}
