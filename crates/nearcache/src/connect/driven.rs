//! A connection to a server that many tasks use at once, with the task that drives it.
//!
//! 1. The driver ends with the connection, and the connection's end is told once, however it comes: by
//!    itself, with the driver's runtime, or because a caller saw that nothing comes back.
//! 2. Commands of tasks that are ready together leave in one write.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, RedisResult};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

use super::target::{Place, Protocol, Target};
use super::{Common, LinkEvent, server};
use crate::error::{Error, ErrorKind, Result};

/// When a silent peer is asked whether it is still there, and how often after that.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

/// What every TCP connection of ours is set to.
pub(super) fn set_up(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE.0)
        .with_interval(KEEPALIVE.1);
    socket.set_tcp_keepalive(&keepalive)
}

/// How many commands may wait for their turn to be written; who comes after them waits to wait.
const QUEUE: usize = 1_024;

/// A connection with the task that drives it, which ends with it.
#[derive(Debug)]
pub(crate) struct Driven {
    connection: MultiplexedConnection,
    alive: Arc<Alive>,
    driver: AbortHandle,
    /// What tells the server from another, if it says it.
    pub(super) run_id: Option<String>,
    /// Where the driver sees how many hold this.
    itself: Arc<OnceLock<Weak<Driven>>>,
}

impl Driven {
    /// Connects, and greets the server.
    pub(super) async fn open(target: &Target, common: &Arc<Common>) -> Result<Self> {
        let open_as = async |protocol| {
            let opening = Self::open_as(target, protocol, common);
            opening.await.map_err(Error::from_redis)
        };
        match target.protocol {
            Some(protocol) => open_as(protocol).await,
            None => match open_as(Protocol::Resp3).await {
                // A server that does not know HELLO, or not this version of the protocol.
                Err(error) if error.kind() == ErrorKind::Server => open_as(Protocol::Resp2).await,
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
                set_up(&SockRef::from(&stream))?;
                Self::over(stream, target, protocol, common).await
            }
            #[cfg(unix)]
            Place::Unix { path } => {
                Self::over(UnixStream::connect(path).await?, target, protocol, common).await
            }
            place => Err(RedisError::from(io::Error::other(format!(
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
            common: Arc::clone(common),
        });
        let itself = Arc::<OnceLock<Weak<Driven>>>::default();
        let driver = common.runtime().spawn(Gathering {
            driver: Box::pin(driver),
            alive: Arc::clone(&alive),
            calls: Arc::clone(&itself),
            gathering: false,
        });
        // From here on the driver ends with this, whatever happens.
        let mut connected = Driven {
            connection,
            alive,
            driver,
            run_id: None,
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
        let info = connected.connection.send_packed_command(info.arg("server"));
        connected.run_id = info.await.ok().as_ref().and_then(server::run_id);
        Ok(connected)
    }

    /// Behind a pointer that tells the driver how many calls are under way.
    pub(super) fn shared(self) -> Arc<Self> {
        let shared = Arc::new(self);
        let _ = shared.itself.set(Arc::downgrade(&shared));
        shared
    }

    /// The connection, for one who has it alone: there are no others to gather with.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// The connection, for a call that is about to be made.
    pub(super) fn submitting(&self) -> MultiplexedConnection {
        self.alive.submitted.store(true, Ordering::Relaxed);
        self.connection.clone()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.alive.load(Ordering::Acquire)
    }

    /// It is not to be used any more.
    pub(super) fn lose(&self) {
        self.alive.lose();
    }
}

impl Drop for Driven {
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
    calls: Arc<OnceLock<Weak<Driven>>>,
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

/// Also when it is dropped with its runtime.
impl<D> Drop for Gathering<D> {
    fn drop(&mut self) {
        self.alive.lose();
    }
}

/// What callers and driver of a connection tell each other.
#[derive(Debug)]
struct Alive {
    /// Whether the connection can still be used.
    alive: AtomicBool,
    /// Whether there are commands that the driver has not seen yet.
    submitted: AtomicBool,
    common: Arc<Common>,
}

impl Alive {
    /// The first to see the end tells.
    fn lose(&self) {
        if self.alive.swap(false, Ordering::AcqRel) {
            self.common.tell(&LinkEvent::Lost);
        }
    }
}
