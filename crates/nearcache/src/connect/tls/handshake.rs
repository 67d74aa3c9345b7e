//! The TLS handshake of a new connection, async over tokio-rustls, blocking over rustls itself.
//!
//! A server may refuse a connection after the handshake: with TLS 1.3, the client is done before the server has looked
//! at its certificate. So a connection remembers what TLS itself said when it broke, and [`Secured::why`] has the answer
//! also for the first commands.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::material::{self, Made};
use super::{Tls, why};
use crate::error::{Error, ErrorKind, Result};

/// The name that the server's certificate must have.
///
/// # Errors
/// `InvalidConfig` for what no certificate can be for.
pub(super) fn server_name(tls: &Tls, name: &str) -> Result<ServerName<'static>> {
    // The zone of an address is the client's own matter.
    let bare = name.split('%').next().unwrap_or(name);
    ServerName::try_from(bare.to_owned()).map_err(|_| {
        let option = match tls.server_name {
            Some(_) => "server_name",
            None => "the host",
        };
        Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "{option} is \"{}\", and no certificate can be for that: server_name= takes a DNS name in ASCII \
                 (xn--... for others) or an IP address",
                name.escape_debug()
            ),
        )
    })
}

/// What a connection was made with, to say why it failed.
pub(in super::super) struct Secured<'t> {
    tls: &'t Tls,
    host: &'t str,
    made: Made,
    name: ServerName<'static>,
    /// What TLS said when the connection broke.
    broke: Broke,
}

type Broke = Arc<Mutex<Option<rustls::Error>>>;

impl<'t> Secured<'t> {
    /// Reads the certificates. For async callers, see [`prepare`].
    ///
    /// # Errors
    /// `InvalidConfig` for files that cannot be used, if none could be before.
    #[cfg(feature = "blocking")]
    pub(in super::super) fn new(tls: &'t Tls, host: &'t str) -> Result<Self> {
        let made = material::load(tls)?;
        Self::with(tls, host, made)
    }

    fn with(tls: &'t Tls, host: &'t str, made: Made) -> Result<Self> {
        Ok(Secured {
            name: server_name(tls, tls.server_name.as_deref().unwrap_or(host))?,
            tls,
            host,
            made,
            broke: Broke::default(),
        })
    }

    /// Why it failed: what TLS said, or else `error`.
    pub(in super::super) fn why(&self, error: Error) -> Error {
        let broke = self.broke.lock().take();
        let closed = error.kind() == ErrorKind::Connect;
        match broke {
            Some(broke) => self.explain(&broke).caused_by(broke),
            None if closed && self.made.was_asked_in_vain() => {
                Error::new(ErrorKind::Connect, why::NO_CERTIFICATE).caused_by(error)
            }
            None if closed && self.tls.cert.is_some() => {
                let text = format!("{}{}", error.detail(), why::MAYBE_REFUSED);
                Error::new(ErrorKind::Connect, text).caused_by(error)
            }
            None => error,
        }
    }

    fn explain(&self, error: &rustls::Error) -> Error {
        let expected = self.tls.server_name.as_deref().unwrap_or(self.host);
        let asked = self.made.was_asked_in_vain();
        Error::new(
            ErrorKind::Connect,
            why::of(error, self.tls, expected, asked),
        )
    }

    /// A handshake that failed.
    fn failed(&self, error: io::Error) -> Error {
        let inner = error.get_ref().and_then(|error| error.downcast_ref());
        if let Some(error) = inner {
            *self.broke.lock() = Some(rustls::Error::clone(error));
        }
        let kind = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ErrorKind::Timeout,
            _ => ErrorKind::Connect,
        };
        let text = match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => {
                format!(
                    "the server closed the connection in the TLS handshake ({error}){}",
                    why::NO_TLS
                )
            }
            _ => format!("in the TLS handshake: {error}"),
        };
        self.why(Error::new(kind, text).caused_by(error))
    }
}

/// The same without blocking the thread while files are read.
pub(in super::super) async fn prepare<'t>(tls: &'t Tls, host: &'t str) -> Result<Secured<'t>> {
    let settings = tls.clone();
    let made = tokio::task::spawn_blocking(move || material::load(&settings)).await;
    let made = made.map_err(|error| {
        Error::new(
            ErrorKind::Connect,
            format!("the certificates were not read: {error}"),
        )
    })?;
    Secured::with(tls, host, made?)
}

impl Secured<'_> {
    /// Secures a connection, for async callers. The caller ends it at its limit.
    pub(in super::super) async fn over(&self, stream: TcpStream) -> Result<Stream> {
        let connector = TlsConnector::from(Arc::clone(&self.made.config));
        self.tls.shaking_hands(true);
        let secured = connector.connect(self.name.clone(), stream).await;
        // If it is dropped at its limit, it was in the handshake.
        self.tls.shaking_hands(false);
        Ok(Stream {
            stream: secured.map_err(|error| self.failed(error))?,
            broke: Arc::clone(&self.broke),
        })
    }
}

/// An async stream over TLS, which remembers what TLS said when it broke. A connection that the server closed without
/// saying so in TLS has ended like any other: where a reply ends is said by the reply.
#[derive(Debug)]
pub(in super::super) struct Stream {
    stream: TlsStream<TcpStream>,
    broke: Broke,
}

impl Stream {
    fn noted<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome {
            let inner = error.get_ref().and_then(|error| error.downcast_ref());
            if let Some(error) = inner {
                self.broke
                    .lock()
                    .get_or_insert_with(|| rustls::Error::clone(error));
            }
        }
        outcome
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match self.noted(read) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            read => read,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.noted(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(feature = "blocking")]
mod blocking {
    use std::time::Instant;

    use super::super::super::stream::Timed;
    use super::{Arc, Result, Secured, io};

    impl Secured<'_> {
        /// Secures a blocking connection, until the deadline.
        pub(in super::super::super) fn under(
            &self,
            stream: &mut Timed,
            deadline: Instant,
        ) -> Result<()> {
            let config = Arc::clone(&self.made.config);
            let connection = rustls::ClientConnection::new(config, self.name.clone());
            let connection = connection.map_err(io::Error::other);
            self.tls.shaking_hands(true);
            let secured =
                connection.and_then(|connection| stream.shake_hands(connection, deadline));
            let timed_out = secured.as_ref().is_err_and(|error| {
                matches!(
                    error.kind(),
                    io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
                )
            });
            self.tls.shaking_hands(timed_out);
            secured.map_err(|error| self.failed(error))
        }

        /// Notes what TLS said when the stream broke.
        pub(in super::super::super) fn note(&self, stream: &mut Timed) {
            if let Some(error) = stream.broke() {
                *self.broke.lock() = Some(error);
            }
        }
    }
}
