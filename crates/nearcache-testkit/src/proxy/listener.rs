//! Sockets, TCP and unix: where the proxy listens, what it connects to, and the thread that accepts. An accepted
//! connection is passed to [`pump`].

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::Shared;
use super::fault::Close;
use super::pump;

/// How long the server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a thread that writes to a full socket checks whether the connection is still open.
const STALLED: Duration = Duration::from_millis(20);

/// An address to connect to.
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Endpoint {
    /// `host:port`, a path, or a URL of either.
    pub(super) fn parse(text: &str) -> io::Result<Endpoint> {
        let unix = ["redis+unix://", "unix://"];
        if let Some(path) = unix.iter().find_map(|scheme| text.strip_prefix(scheme)) {
            let path = path.split('?').next().unwrap_or(path);
            return Ok(Endpoint::Unix(PathBuf::from(path)));
        }
        if text.starts_with('/') {
            return Ok(Endpoint::Unix(PathBuf::from(text)));
        }
        let address = text.strip_prefix("redis://").unwrap_or(text);
        let address = address.split('/').next().unwrap_or(address);
        let address = address.rsplit('@').next().unwrap_or(address);
        let resolved = address.to_socket_addrs().map_err(|error| {
            let help = "expected host:port, /path/of.sock, or a URL as redis://host:port";
            io::Error::new(error.kind(), format!("{address}: {error}; {help}"))
        })?;
        resolved
            .into_iter()
            .next()
            .map(Endpoint::Tcp)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, address))
    }

    pub(super) fn connect(&self) -> io::Result<Stream> {
        match self {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, CONNECT)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Endpoint::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path)?)),
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).read(into),
            Stream::Unix(stream) => (&*stream).read(into),
        }
    }

    /// Returns `WouldBlock` or `TimedOut` every [`STALLED`].
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            Stream::Unix(stream) => (&*stream).write(bytes),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        // It fails if the other side has closed first.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        };
    }

    /// Begins to close: readers are woken, and with a [`Close::Finish`] the other side reads the end of the stream. A
    /// [`Close::Reset`] is sent when the last owner drops the stream.
    pub(super) fn close(&self, close: Close) {
        match (self, close) {
            (Stream::Tcp(stream), Close::Reset) => {
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                self.shutdown(Shutdown::Read);
            }
            _ => self.shutdown(Shutdown::Both),
        }
    }

    pub(super) fn prepare(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(STALLED)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(STALLED)),
        }
    }
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }

    /// From now on connecting is refused. Dropping it would not do: a process that another test is just starting holds
    /// a copy between its fork and its exec, and the kernel goes on accepting for it.
    fn end(self) {
        // Not every system lets a listener be shut down; there dropping it has to do.
        let _ = match &self {
            Listener::Tcp(listener) => SockRef::from(listener).shutdown(Shutdown::Both),
            Listener::Unix(listener) => SockRef::from(listener).shutdown(Shutdown::Both),
        };
    }
}

/// An address that stays reserved for the proxy, whether somebody listens on it or not.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) endpoint: Endpoint,
    /// Keeps it reserved; `None` for a path.
    reserved: Option<crate::Port>,
    /// A listener that the accepting thread has not taken yet.
    pub(super) fresh: Option<Listener>,
    /// Somebody listens, or is about to.
    pub(super) open: bool,
}

impl Port {
    pub(super) fn open(endpoint: &Endpoint) -> io::Result<Port> {
        let mut port = Port {
            endpoint: endpoint.clone(),
            reserved: None,
            fresh: None,
            open: false,
        };
        if let Endpoint::Tcp(address) = endpoint {
            let reserved = crate::Port::at(*address)?;
            port.endpoint = Endpoint::Tcp(reserved.address());
            port.reserved = Some(reserved);
        }
        port.listen()?;
        Ok(port)
    }

    /// Starts to listen, unless somebody does.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        if self.open {
            return Ok(());
        }
        self.fresh = Some(match &self.endpoint {
            Endpoint::Tcp(address) => {
                self.reserved.iter_mut().for_each(crate::Port::make_way);
                Listener::Tcp(bind(*address)?)
            }
            Endpoint::Unix(path) => {
                let _ = std::fs::remove_file(path);
                Listener::Unix(UnixListener::bind(path)?)
            }
        });
        self.open = true;
        Ok(())
    }
}

/// Listens on a port on which this process listened a moment ago.
///
/// A process that another test is just starting holds a copy of the old listener between its fork and its exec, and
/// until then the address is in use.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < CONNECT => {
                thread::sleep(Duration::from_millis(1));
            }
            bound => return bound,
        }
    }
}

/// The thread that accepts on one port, until the proxy ends. While connections are refused it has dropped its
/// listener, and waits for a fresh one.
///
/// While it waits for a client, only a connection can tell it that it should refuse, or end. So whoever changes that
/// must then call [`wake`].
pub(super) fn accept(shared: &Arc<Shared>, port: usize) {
    while let Some(listener) = next_listener(shared, port) {
        loop {
            let accepted = listener.accept();
            let mut state = shared.lock();
            if state.ended || state.faults.refuse() {
                listener.end();
                state.ports[port].open = false;
                shared.tell(&mut state);
                break;
            }
            let Ok(client) = accepted else {
                // Out of descriptors, for example. Either this is over soon, or the test fails for that reason
                // anyway.
                drop(state);
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            if let Some(close) = state.faults.reject() {
                drop(state);
                turn_away(shared, client, close);
                continue;
            }
            let silence = state.faults.silence();
            drop(state);
            match shared.target.connect() {
                Ok(server) => pump::start(shared, client, server),
                // The server is away, but nobody must notice, so the client is connected to a pair whose other end is
                // closed.
                Err(_) if silence => {
                    if let Ok((server, _)) = UnixStream::pair() {
                        pump::start(shared, client, Stream::Unix(server));
                    }
                }
                // The client is connected already, so it cannot be refused any more.
                Err(_) => turn_away(shared, client, Close::Reset),
            }
        }
    }
}

/// Closes a connection at once.
fn turn_away(shared: &Shared, client: Stream, close: Close) {
    client.close(close);
    drop(client);
    let mut state = shared.lock();
    state.counts.connections += 1;
    shared.tell(&mut state);
}

fn next_listener(shared: &Shared, port: usize) -> Option<Listener> {
    let mut state = shared.lock();
    loop {
        if state.ended {
            return None;
        }
        if let Some(listener) = state.ports[port].fresh.take() {
            return Some(listener);
        }
        state = shared.wait(state);
    }
}

/// Makes the accepting thread check the state.
pub(super) fn wake(endpoint: &Endpoint) {
    let _ = match endpoint {
        Endpoint::Tcp(address) => TcpStream::connect_timeout(address, CONNECT).map(drop),
        Endpoint::Unix(path) => UnixStream::connect(path).map(drop),
    };
}
