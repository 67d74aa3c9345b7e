//! Listens, accepts, and ends: the life of a server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::peer::{DROWSY, Peer};
use super::settle::Settler;
use crate::Store;
use crate::port::clients::{Address, Client, ClientType};
use crate::session::Session;
use crate::store::Shared;

/// A store on a port: TCP and unix sockets, on which clients of any language take it for a Redis server.
///
/// Each connection is a task of the runtime on which [`serve`](Server::serve) runs, and its commands run on that task.
/// A runtime of a single thread does the least work for each command, about a third less than one of several: it serves
/// as many as a redis-server does. More threads serve more only where there are processors for them beside the clients'.
///
/// ```
/// use nearcache_embedded::{Server, Store};
/// use redis::Commands;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let store = Store::new();
/// let server = Server::builder(&store).bind("127.0.0.1:0").start().await?;
/// let address = server.local_addr().unwrap();
/// let handle = server.handle();
/// let serving = tokio::spawn(server.serve());
///
/// let greeting: String = tokio::task::spawn_blocking(move || {
///     let mut client = redis::Client::open(format!("redis://{address}"))?;
///     let () = client.set("greeting", "hello")?;
///     client.get("greeting")
/// })
/// .await??;
/// assert_eq!(greeting, "hello");
///
/// handle.shutdown();
/// serving.await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    shared: Arc<Shared>,
    tcp: Vec<TcpListener>,
    #[cfg(unix)]
    unix: Vec<(UnixListener, PathBuf)>,
    stop: watch::Sender<bool>,
}

/// Ends a [`Server`] from elsewhere. Clones end the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    stop: watch::Sender<bool>,
}

impl Handle {
    /// Stops accepting, closes every connection after the command that it is running, and lets
    /// [`serve`](Server::serve) return.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }
}

/// Settings of a [`Server`].
#[must_use]
pub struct ServerBuilder {
    shared: Arc<Shared>,
    addresses: Vec<String>,
    paths: Vec<PathBuf>,
    password: Option<String>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("addresses", &self.addresses)
            .field("paths", &self.paths)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// Why a server could not start, or had to end.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The address or path cannot be listened on.
    Bind {
        /// The address or path.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The address can be reached from other machines, and there is no password.
    Unprotected {
        /// The address.
        address: String,
    },
    /// There is no address and no path.
    Nowhere,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Bind { address, source } => {
                write!(f, "cannot listen on {address}: {source}")
            }
            ServeError::Unprotected { address } => write!(
                f,
                "{address} can be reached from other machines: set a password, or bind a loopback address"
            ),
            ServeError::Nowhere => {
                f.write_str("nowhere to listen: bind an address or a unix socket")
            }
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Bind { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl ServerBuilder {
    /// Listens on a TCP address, as `127.0.0.1:6379` or `localhost:0`. May be called several times.
    pub fn bind(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Listens on a unix socket at that path. A socket that is left over there, and that nobody listens on, is
    /// replaced.
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// Demands this password of every client, as `requirepass` does.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into()).filter(|password| !password.is_empty());
        self
    }

    /// How many clients there may be; the default is 10,000. Others are turned away with an error.
    pub fn max_clients(self, clients: usize) -> Self {
        let at = &self.shared.settings.port.max_clients;
        at.store(clients.max(1), Ordering::Relaxed);
        self
    }

    /// Disconnects clients that have sent nothing for this long, in whole seconds; the default is never.
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        let at = &self.shared.settings.port.idle;
        at.store(timeout.as_secs(), Ordering::Relaxed);
        self
    }

    /// Starts to listen: from now on clients can connect, and wait until [`Server::serve`] runs.
    ///
    /// # Errors
    /// An address cannot be listened on, or other machines could use the store without a password.
    pub async fn start(self) -> Result<Server, ServeError> {
        if self.addresses.is_empty() && self.paths.is_empty() {
            return Err(ServeError::Nowhere);
        }
        let has_password = self.password.is_some() || self.shared.settings.port.password.is_set();
        let mut tcp = Vec::new();
        for address in self.addresses {
            let bind_error = |source| ServeError::Bind {
                address: address.clone(),
                source,
            };
            let resolved: Vec<SocketAddr> = tokio::net::lookup_host(&address)
                .await
                .map_err(bind_error)?
                .collect();
            if !has_password && resolved.iter().any(|address| !address.ip().is_loopback()) {
                return Err(ServeError::Unprotected { address });
            }
            tcp.push(TcpListener::bind(&resolved[..]).await.map_err(bind_error)?);
        }
        #[cfg(unix)]
        let mut unix = Vec::new();
        for path in self.paths {
            #[cfg(unix)]
            {
                let listener = bind_unix(&path).map_err(|source| ServeError::Bind {
                    address: path.display().to_string(),
                    source,
                })?;
                *self.shared.clients.path.lock() = path.display().to_string();
                unix.push((listener, path));
            }
            #[cfg(not(unix))]
            return Err(ServeError::Bind {
                address: path.display().to_string(),
                source: io::ErrorKind::Unsupported.into(),
            });
        }
        if let Some(password) = &self.password {
            self.shared.settings.port.password.set(password.as_bytes());
        }
        if let Some(address) = tcp.first().and_then(|listener| listener.local_addr().ok()) {
            let at = &self.shared.clients.port;
            at.store(address.port().into(), Ordering::Relaxed);
        }
        Ok(Server {
            shared: self.shared,
            tcp,
            #[cfg(unix)]
            unix,
            stop: watch::Sender::new(false),
        })
    }
}

#[cfg(unix)]
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        result => result,
    }
}

impl Server {
    /// A server for this store. It listens where the builder is told to.
    pub fn builder(store: &Store) -> ServerBuilder {
        ServerBuilder {
            shared: store.shared.clone(),
            addresses: Vec::new(),
            paths: Vec::new(),
            password: None,
        }
    }

    /// The first TCP address that it listens on, with the port that was chosen if it was 0.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp.first()?.local_addr().ok()
    }

    /// Ends the server from elsewhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            stop: self.stop.clone(),
        }
    }

    /// Accepts clients and runs their commands, until [`Handle::shutdown`] or the command `SHUTDOWN`.
    pub async fn serve(self) {
        let mut accepting = JoinSet::new();
        let stop = self.stop.clone();
        self.shared.clients.on_shutdown(Box::new(move || {
            stop.send_replace(true);
        }));
        accepting.spawn(keep_house(self.shared.clone(), self.stop.clone()));
        let place = Place {
            shared: self.shared,
            settler: Arc::default(),
        };
        // It ends after all connections, because they may wait for it.
        let mut settling = JoinSet::new();
        let settler = place.settler.clone();
        settling.spawn(async move { settler.run().await });
        for listener in self.tcp {
            accepting.spawn(accept_tcp(listener, place.clone(), self.stop.clone()));
        }
        #[cfg(unix)]
        for (listener, path) in self.unix {
            let stop = self.stop.clone();
            accepting.spawn(accept_unix(listener, path, place.clone(), stop));
        }
        while accepting.join_next().await.is_some() {}
    }
}

/// What all connections of a server share.
#[derive(Clone)]
struct Place {
    shared: Arc<Shared>,
    settler: Arc<Settler>,
}

async fn stopped(stop: &watch::Sender<bool>) {
    // The sender is alive, so the wait ends only when it is told to.
    let _ = stop.subscribe().wait_for(|stop| *stop).await;
}

async fn accept_tcp(listener: TcpListener, place: Place, stop: watch::Sender<bool>) {
    let mut peers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&stop) => break,
        };
        while peers.try_join_next().is_some() {}
        match accepted {
            Ok((socket, address)) => {
                peers.spawn(welcome_tcp(socket, address, place.clone()));
            }
            Err(_) => after_failed_accept().await,
        }
    }
    end(&place.shared, peers).await;
}

#[cfg(unix)]
async fn accept_unix(
    listener: UnixListener,
    path: PathBuf,
    place: Place,
    stop: watch::Sender<bool>,
) {
    let mut peers = JoinSet::new();
    let path_text = path.display().to_string();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&stop) => break,
        };
        while peers.try_join_next().is_some() {}
        match accepted {
            Ok((socket, _)) => {
                peers.spawn(welcome_unix(socket, path_text.clone(), place.clone()));
            }
            Err(_) => after_failed_accept().await,
        }
    }
    // Nobody can be reached there any more.
    let _ = std::fs::remove_file(path);
    end(&place.shared, peers).await;
}

/// There are no free file descriptors, most likely. Others may become free.
async fn after_failed_accept() {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

/// Closes the connections.
async fn end(shared: &Shared, mut peers: JoinSet<()>) {
    while !peers.is_empty() {
        for client in shared.clients.all() {
            client.kill();
        }
        let soon = tokio::time::sleep(std::time::Duration::from_millis(100));
        tokio::select! {
            _ = peers.join_next() => {}
            () = soon => {}
        }
    }
}

async fn welcome_tcp(socket: TcpStream, peer: SocketAddr, place: Place) {
    let shared = &place.shared;
    let local = socket.local_addr().map(|local| local.to_string());
    let address = Address {
        peer: peer.to_string(),
        local: local.unwrap_or_default(),
        is_unix: false,
        socket: number(&socket),
    };
    // Replies go out at once, and it is noticed when a client is gone. Both can do without.
    let _ = socket.set_nodelay(true);
    let keepalive = shared.settings.port.keepalive.load(Ordering::Relaxed);
    if keepalive > 0 {
        let interval = Duration::from_secs((keepalive / 3).max(1));
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive))
            .with_interval(interval);
        let _ = socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive);
    }
    if is_unprotected(shared, peer) {
        let mut socket = socket;
        // It is closed either way.
        let _ = socket.write_all(UNPROTECTED).await;
        return;
    }
    welcome(socket, address, place).await;
}

/// Whether others than this machine reach a port that has no password: it may have been taken away since.
fn is_unprotected(shared: &Shared, peer: SocketAddr) -> bool {
    !peer.ip().to_canonical().is_loopback() && !shared.settings.port.password.is_set()
}

const UNPROTECTED: &[u8] = b"-DENIED this port has no password, so only clients of the same machine are served. Set a password to serve others.\r\n";

#[cfg(unix)]
async fn welcome_unix(socket: UnixStream, path: String, place: Place) {
    let address = Address {
        peer: format!("{path}:0"),
        local: format!("{path}:0"),
        is_unix: true,
        socket: number(&socket),
    };
    welcome(socket, address, place).await;
}

/// The number of a socket, as `CLIENT LIST` shows it.
#[cfg(unix)]
fn number(socket: &impl std::os::fd::AsRawFd) -> i64 {
    socket.as_raw_fd().into()
}

#[cfg(not(unix))]
fn number<S>(_: &S) -> i64 {
    -1
}

async fn welcome<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    mut socket: S,
    address: Address,
    Place { shared, settler }: Place,
) {
    const FULL: &[u8] = b"-ERR max number of clients reached\r\n";
    let settings = &shared.settings.port;
    if shared.clients.count() >= settings.max_clients.load(Ordering::Relaxed) {
        shared.clients.refused.fetch_add(1, Ordering::Relaxed);
        // It is closed either way.
        let _ = socket.write_all(FULL).await;
        return;
    }
    let id = shared.next_client();
    let mut session = Session::new(id);
    let mailbox = Arc::clone(session.open_mailbox(&shared));
    let client = Arc::new(Client::new(
        id,
        address,
        mailbox,
        !settings.password.is_set(),
    ));
    Peer::new(socket, (shared, settler), session, client)
        .run()
        .await;
}

/// Disconnects those who have been idle for too long, and lets the others give back their buffers.
async fn keep_house(shared: Arc<Shared>, stop: watch::Sender<bool>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopped(&stop) => return,
        }
        shared.stats.tick();
        let limit = shared.settings.port.idle.load(Ordering::Relaxed);
        let now = shared.coarse_ms();
        for client in shared.clients.all() {
            // In this order: who has just ended its wait is not idle.
            let exempt =
                client.blocked.load(Ordering::Acquire) || client.kind() != ClientType::Normal;
            let idle = now.saturating_sub(client.active.load(Ordering::Relaxed));
            if limit > 0 && idle / 1000 >= limit && !exempt {
                client.kill();
            } else if u128::from(idle) >= DROWSY.as_millis() && client.seen.lock().input_free > 0 {
                client.bell.ring();
            }
        }
    }
}
