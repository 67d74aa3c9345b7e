//! A blocking stream that keeps to a deadline, whatever comes of it: looking a name up, connecting,
//! reading, writing.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::driven::set_up;
use super::target::Place;

pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn open(place: &Place, deadline: Instant) -> io::Result<Self> {
        match place {
            Place::Tcp { host, port } => {
                let mut failure =
                    io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in resolve(host, *port, deadline)? {
                    match TcpStream::connect_timeout(&address, left(deadline)?) {
                        Ok(stream) => {
                            set_up(&SockRef::from(&stream))?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
            #[cfg(unix)]
            Place::Unix { path } => {
                let socket =
                    socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
                socket.connect_timeout(&socket2::SockAddr::unix(path)?, left(deadline)?)?;
                Ok(Stream::Unix(socket.into()))
            }
            place => Err(io::Error::other(format!("{place} is no server"))),
        }
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            Stream::Tcp(stream) => SockRef::from(stream),
            #[cfg(unix)]
            Stream::Unix(stream) => SockRef::from(stream),
        }
    }
}

/// The addresses of a host. Names are looked up beside us, because the system's resolver knows no
/// deadline: one that hangs keeps its own thread, not the caller's.
fn resolve(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let (tell, told) = mpsc::channel();
    let host = host.to_owned();
    thread::Builder::new()
        .name("nearcache-resolve".into())
        .spawn(move || {
            let addresses = (host.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect);
            // Nobody may be waiting any more.
            let _ = tell.send(addresses);
        })?;
    told.recv_timeout(left(deadline)?)
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// # Errors
/// `TimedOut`, when nothing is.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// A stream that keeps to a deadline.
///
/// The kernel's timeout is per read, so it is set to what is left before each. The first write and the
/// first read of an exchange have the whole limit (the moment between them counts for nothing), which is
/// what the exchange before it left set: one of a single write and a single read costs no system call
/// more, and one look at the clock.
pub(super) struct Timed {
    stream: Stream,
    /// The kernel's timeouts as they are set, for reading and for writing.
    armed: [Option<Duration>; 2],
    pub(super) begun: Instant,
    deadline: Instant,
    /// Nothing has taken its time yet in this exchange.
    fresh: bool,
}

const READ: usize = 0;
const WRITE: usize = 1;

impl Timed {
    pub(super) fn new(stream: Stream) -> Self {
        let now = Instant::now();
        Timed {
            stream,
            armed: [None; 2],
            begun: now,
            deadline: now,
            fresh: true,
        }
    }

    pub(super) fn start(&mut self, now: Instant, deadline: Instant) {
        self.begun = now;
        self.deadline = deadline;
        self.fresh = true;
    }

    fn arm(&mut self, way: usize) -> io::Result<()> {
        let left = if self.fresh {
            self.deadline.saturating_duration_since(self.begun)
        } else {
            self.deadline.saturating_duration_since(Instant::now())
        };
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.armed[way] == Some(left) {
            return Ok(());
        }
        let socket = self.stream.socket();
        match way {
            READ => socket.set_read_timeout(Some(left))?,
            _ => socket.set_write_timeout(Some(left))?,
        }
        self.armed[way] = Some(left);
        Ok(())
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            self.arm(WRITE)?;
            let written = match &mut self.stream {
                Stream::Tcp(stream) => stream.write(bytes),
                #[cfg(unix)]
                Stream::Unix(stream) => stream.write(bytes),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if bytes.is_empty() {
                return Ok(());
            }
            self.fresh = false;
        }
    }

    /// Whether there is still someone at the other end, as far as the kernel knows.
    pub(super) fn is_connected(&self) -> bool {
        let socket = self.stream.socket();
        let look = || {
            socket.set_nonblocking(true)?;
            let seen = socket.peek(&mut [MaybeUninit::uninit()]);
            socket.set_nonblocking(false)?;
            seen
        };
        match look() {
            Ok(0) => false,
            // A push that nobody has read yet.
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.arm(READ)?;
            self.fresh = false;
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(buffer),
                #[cfg(unix)]
                Stream::Unix(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}
