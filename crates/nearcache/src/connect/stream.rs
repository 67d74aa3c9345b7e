//! A blocking stream with one deadline for everything: name lookup, connecting, reading and writing.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::dial::blocking as dial;
use super::dial::blocking::left;
use super::target::Place;

pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn open(place: &Place, deadline: Instant) -> io::Result<Self> {
        match place {
            Place::Tcp { host, port } => dial::tcp(host, *port, deadline).map(Stream::Tcp),
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

/// A stream with a deadline.
///
/// The kernel's timeout applies to each read, so before each read it is set to what is left. The first write of an
/// exchange uses the whole limit, and so does the first read if the write took less than [`MOMENT`]. The exchange before
/// has usually set this timeout already. So an exchange of one write and one read takes no further system call.
pub(super) struct Timed {
    stream: Stream,
    /// The timeouts that are set in the kernel, for reading and for writing.
    armed: [Option<Duration>; 2],
    pub(super) begun: Instant,
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
            // A write that waited for a slow server leaves less to the read.
            self.fresh &= bytes.is_empty() && self.begun.elapsed() < MOMENT;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether the other end is still connected, as far as the kernel knows.
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
            // A push message that was not read yet.
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
        assert!(stream.armed[READ].unwrap() <= limit - took);
        // When all of it is gone, nothing is read any more.
        let begun = Instant::now().checked_sub(limit).unwrap();
        stream.start(begun, begun + limit);
        stream.write_all(b"x").unwrap();
        let error = stream.read_exact(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
