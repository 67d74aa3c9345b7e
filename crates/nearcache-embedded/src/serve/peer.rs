//! A connection of the port: reads requests, runs them, and writes the replies of a batch at once.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::encode;
use super::nils;
use super::request::{Allowed, Progress, Request};
use crate::clients::Client;
use crate::command;
use crate::connection;
use crate::session::Session;
use crate::store::Shared;
use crate::waiting::Patience;

/// How much is read at once.
const READ: usize = 16 * 1024;
/// When a batch has this much output, it is written before the next command runs.
const FLUSH: usize = 64 * 1024;
/// Buffers that were larger are given back when they are empty.
const KEEP: usize = 64 * 1024;
/// At most this much is allocated for an argument before its bytes arrive.
const AHEAD: usize = 1 << 20;

/// The connection and everything that belongs to it.
pub(crate) struct Peer<S> {
    socket: S,
    shared: Arc<Shared>,
    session: Session,
    client: Arc<Client>,
    /// What was received; up to `start` it has been dealt with.
    input: Vec<u8>,
    start: usize,
    output: Vec<u8>,
    /// How much of the output has been written.
    written: usize,
    request: Request,
}

/// Why no more commands are run for now.
enum Pause {
    /// There is no complete request.
    Input,
    /// There is much to write.
    Output,
    /// The connection ends when everything is written.
    Close,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(socket: S, shared: Arc<Shared>, client: Arc<Client>) -> Self {
        let mut session = Session::new(client.id);
        session.client = Some(client.clone());
        shared.clients.add(client.clone());
        Peer {
            socket,
            shared,
            session,
            client,
            input: Vec::new(),
            start: 0,
            output: Vec::new(),
            written: 0,
            request: Request::default(),
        }
    }

    /// Serves the client until it leaves, or has to.
    pub(crate) async fn run(mut self) {
        loop {
            let pause = self.work();
            if self.flush().await.is_err() {
                return;
            }
            match pause {
                Pause::Close => return,
                Pause::Output => {}
                Pause::Input => {
                    if self.receive().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Runs the commands that have arrived.
    fn work(&mut self) -> Pause {
        loop {
            if self.client.is_killed() {
                return Pause::Close;
            }
            let input = &self.input[self.start..];
            let allowed = Allowed {
                longest: 512 << 20,
                unauthenticated: !self.client.authenticated.load(Ordering::Relaxed),
            };
            match self.request.read(input, allowed) {
                Ok(Progress::Partial) => return Pause::Input,
                Ok(Progress::Complete(length)) => {
                    let Peer {
                        shared,
                        session,
                        output,
                        ..
                    } = self;
                    let closes = self.request.with_args(input, |args| {
                        if args.is_empty() {
                            return false;
                        }
                        perform(shared, session, output, args)
                    });
                    self.request.clear();
                    self.start += length;
                    if closes {
                        return Pause::Close;
                    }
                    if self.output.len() >= FLUSH {
                        return Pause::Output;
                    }
                }
                Err(violation) => {
                    self.output.extend_from_slice(violation.line().as_bytes());
                    return Pause::Close;
                }
            }
        }
    }

    /// Reads more bytes. An error ends the connection, whatever it is.
    async fn receive(&mut self) -> io::Result<()> {
        // What has been dealt with makes room.
        if self.start == self.input.len() {
            self.input.clear();
            if self.input.capacity() > KEEP {
                self.input = Vec::new();
            }
        } else if self.start > 0 {
            self.input.drain(..self.start);
        }
        self.start = 0;
        let wanted = self.request.wanted(self.input.len()).min(AHEAD);
        self.input.reserve(wanted.max(READ));
        let Peer {
            socket,
            client,
            input,
            ..
        } = self;
        let received = poll_fn(|cx| {
            if client.bell.has_rung(cx.waker()) && client.is_killed() {
                return Poll::Ready(Ok(0));
            }
            pin!(socket.read_buf(input)).poll(cx)
        })
        .await?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Writes the replies.
    async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        if let Some(commit) = self.session.unsettled.take() {
            // What is not on the disk is not acknowledged: rather the connection ends.
            commit
                .await
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            let sent = match Pin::new(&mut self.socket).poll_write(cx, rest) {
                Poll::Pending => {
                    if self.client.bell.has_rung(cx.waker()) && self.client.is_killed() {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    return Poll::Pending;
                }
                ready => ready!(ready)?,
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += sent;
        }
        self.written = 0;
        self.output.clear();
        if self.output.capacity() > KEEP {
            self.output = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

/// Runs one command. Returns whether the connection ends after its reply.
#[inline]
fn perform(
    shared: &Arc<Shared>,
    session: &mut Session,
    output: &mut Vec<u8>,
    args: &[&[u8]],
) -> bool {
    let resolved = command::resolve(args);
    let (nils, closes) = match &resolved {
        Ok(command) => (
            nils::of(session, command, args.len()),
            command.name == "quit",
        ),
        Err(_) => (encode::Nils::Strings, false),
    };
    let begun = connection::execute(shared, session, resolved, args, Patience::Never);
    let reply = begun.reply();
    encode::reply(output, session.protocol, &nils, &reply);
    closes
}

impl<S> Drop for Peer<S> {
    fn drop(&mut self) {
        self.shared.clients.remove(self.client.id);
    }
}
