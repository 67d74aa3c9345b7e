//! A blocking stream with one deadline for everything: name lookup, connecting, the TLS handshake, reading and writing.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::dial::blocking as dial;
use super::dial::blocking::left;
use super::target::{Address, Place};

pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn open(place: &Place, deadline: Instant) -> io::Result<Self> {
        match place {
            Place::Tcp { host, port } | Place::Node(Address { host, port }) => {
                dial::tcp(host, *port, deadline).map(Stream::Tcp)
            }
            #[cfg(unix)]
            Place::Unix { path } => {
                let socket =
                    socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
                socket.connect_timeout(&socket2::SockAddr::unix(path)?, left(deadline)?)?;
                Ok(Stream::Unix(socket.into()))
            }
            place => Err(io::Error::other(format!("{place} is not a server"))),
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

/// A stream with a deadline, in plain text or over TLS.
pub(super) struct Timed {
    raw: Raw,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
}

/// The TLS connection, and what broke it.
#[cfg(feature = "tls")]
struct Tls {
    connection: rustls::ClientConnection,
    broke: Option<rustls::Error>,
}

/// The socket with a deadline.
///
/// The kernel's timeout applies to each read, so before each read it is set to what is left. The first write of an
/// exchange uses the whole limit, and so does the first read if the write took less than [`MOMENT`]. The exchange before
/// has usually set this timeout already. So an exchange of one write and one read takes no further system call.
struct Raw {
    stream: Stream,
    /// The timeouts that are set in the kernel, for reading and for writing.
    armed: [Option<Duration>; 2],
    begun: Instant,
    deadline: Instant,
    /// Whether no step of this exchange has taken time yet.
    fresh: bool,
}

/// A time that does not matter.
const MOMENT: Duration = Duration::from_millis(1);

const READ: usize = 0;
const WRITE: usize = 1;

impl Timed {
    pub(super) fn new(stream: Stream) -> Self {
        let now = Instant::now();
        Timed {
            raw: Raw {
                stream,
                armed: [None; 2],
                begun: now,
                deadline: now,
                fresh: true,
            },
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    pub(super) fn start(&mut self, now: Instant, deadline: Instant) {
        self.raw.start(now, deadline);
    }

    /// When the last exchange began.
    pub(super) fn begun(&self) -> Instant {
        self.raw.begun
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.write_all(bytes, &mut self.raw);
        }
        self.raw.write_all(bytes)
    }

    /// Whether the other end is still connected, as far as the kernel knows.
    pub(super) fn is_connected(&mut self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.is_connected(&self.raw);
        }
        match self
            .raw
            .at_once(|socket| socket.peek(&mut [MaybeUninit::uninit()]))
        {
            Ok(0) => false,
            // A push message that was not read yet.
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.read(buffer, &mut self.raw);
        }
        self.raw.read(buffer)
    }
}

#[cfg(feature = "tls")]
impl Timed {
    /// The TLS handshake. From then on, everything goes over TLS.
    pub(super) fn shake_hands(
        &mut self,
        connection: rustls::ClientConnection,
        deadline: Instant,
    ) -> io::Result<()> {
        self.raw.start(Instant::now(), deadline);
        let tls = self.tls.insert(Box::new(Tls {
            connection,
            broke: None,
        }));
        loop {
            tls.flush(&mut self.raw)?;
            if !tls.connection.is_handshaking() {
                return Ok(());
            }
            if tls.receive(&mut self.raw)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// What TLS said when the stream broke.
    pub(super) fn broke(&mut self) -> Option<rustls::Error> {
        self.tls.as_mut()?.broke.take()
    }
}

#[cfg(feature = "tls")]
impl Tls {
    fn write_all(&mut self, mut bytes: &[u8], raw: &mut Raw) -> io::Result<()> {
        while !bytes.is_empty() {
            // As much as rustls takes before it must be sent.
            let taken = self.connection.writer().write(bytes)?;
            bytes = &bytes[taken..];
            self.flush(raw)?;
        }
        Ok(())
    }

    fn flush(&mut self, raw: &mut Raw) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(raw)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], raw: &mut Raw) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                // Closed without a word in TLS: where a reply ends is said by the reply.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            self.receive(raw)?;
            self.flush(raw)?;
        }
    }

    /// Takes what the socket has. 0: the other end has closed it.
    fn receive(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        let received = self.connection.read_tls(from)?;
        match self.connection.process_new_packets() {
            Ok(state) if state.peer_has_closed() => Ok(0),
            Ok(_) => Ok(received),
            Err(error) => {
                self.broke = Some(error.clone());
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// What lies unread in the socket may be a message of the server, a ticket, or the end of the connection. So it is
    /// taken, and what is a message is kept for the next read.
    fn is_connected(&mut self, raw: &Raw) -> bool {
        let taken = raw.at_once(|socket| {
            let mut socket: &socket2::Socket = socket;
            while self.receive(&mut socket)? > 0 {}
            Ok(())
        });
        // `Other`: as many messages as rustls keeps are there.
        taken.is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Other
            )
        })
    }
}

impl Raw {
    fn start(&mut self, now: Instant, deadline: Instant) {
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

    /// Does this without waiting.
    fn at_once<T>(&self, work: impl FnOnce(&socket2::Socket) -> io::Result<T>) -> io::Result<T> {
        let socket = self.stream.socket();
        socket.set_nonblocking(true)?;
        let outcome = work(&socket);
        socket.set_nonblocking(false)?;
        outcome
    }
}

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            self.arm(WRITE)?;
            let written = match (&mut self.stream, bytes) {
                (Stream::Tcp(stream), [bytes]) => stream.write(bytes),
                (Stream::Tcp(stream), bytes) => stream.write_vectored(bytes),
                #[cfg(unix)]
                (Stream::Unix(stream), [bytes]) => stream.write(bytes),
                #[cfg(unix)]
                (Stream::Unix(stream), bytes) => stream.write_vectored(bytes),
            };
            match written {
                Ok(written) => {
                    // A write that waited for a slow server leaves less to the read.
                    let all = bytes.iter().map(|bytes| bytes.len()).sum::<usize>();
                    self.fresh &= written == all && self.begun.elapsed() < MOMENT;
                    return Ok(written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Raw {
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_took_its_time_leaves_the_read_what_is_left() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut stream = Timed::new(Stream::Unix(ours));
        let limit = Duration::from_secs(600);
        (&theirs).write_all(b"ab").unwrap();
        // The exchange began a while ago: the time that the write took.
        let took = Duration::from_secs(100);
        let begun = Instant::now().checked_sub(took).unwrap();
        stream.start(begun, begun + limit);
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        assert!(stream.raw.armed[READ].unwrap() <= limit - took);
        // When all of it is gone, nothing is read any more.
        let begun = Instant::now().checked_sub(limit).unwrap();
        stream.start(begun, begun + limit);
        stream.write_all(b"x").unwrap();
        let error = stream.read_exact(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
