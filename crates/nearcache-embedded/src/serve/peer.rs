//! A connection of the port: reads requests, runs them, and writes the replies of a batch at once.
//!
//! Commands run on the connection's task, one after the other, as many as have arrived. Then the other connections with
//! input have their turn, the replies are written, and the task waits for more. While a command waits, or a pause holds
//! one up, the requests behind it stay in the buffer; but the connection is read all the same, up to a limit, so that it
//! is noticed when the client leaves.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use redis::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::encode::{self, Nils};
use super::nils;
use super::request::{Allowed, Progress, Request};
use super::settle::{Settler, let_others_run};
use crate::command::{self, Command};
use crate::connection::{self, Begun};
use crate::mailbox::Next;
use crate::port::clients::{Client, Pause, Replies};
use crate::reply::{Error, Reply};
use crate::session::Session;
use crate::store::Shared;
use crate::waiting::{Patience, Waiter};

/// How much is read at once.
const READ: usize = 16 * 1024;
/// When a batch has this much output, it is written before the next command runs.
const FLUSH: usize = 64 * 1024;
/// Buffers that were larger are given back when they are not needed any more.
const KEEP: usize = 32 * 1024;
/// At most this much is allocated for an argument before its bytes arrive.
const AHEAD: usize = 1 << 20;
/// At most this much is read while a command waits.
const MEANWHILE: usize = 256 * 1024;
/// After this time without a command, a connection has no buffers.
pub(super) const DROWSY: Duration = Duration::from_secs(2);

/// The connection and everything that belongs to it.
pub(crate) struct Peer<S> {
    socket: S,
    shared: Arc<Shared>,
    settler: Arc<Settler>,
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
enum Halt {
    /// There is no complete request.
    Input,
    /// There is much to write.
    Output,
    /// The connection ends when everything is written.
    Close,
    /// The connection ends at once.
    Abort,
    /// The next command is held up, until then at most.
    Held(Instant),
    /// A command waits for its reply.
    Waits(Box<Wait>),
}

/// A command that waits.
struct Wait {
    waiter: Arc<Waiter>,
    command: &'static Command,
    args: Vec<Vec<u8>>,
    begun: Instant,
}

/// What came of a command.
enum Outcome {
    Done,
    Close,
    Abort,
    Held(Instant),
    Waits(Box<Wait>),
}

/// Why a wait has ended.
enum Event {
    /// Something came in, or there is something to send.
    Some,
    Reply(Reply),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(
        socket: S,
        (shared, settler): (Arc<Shared>, Arc<Settler>),
        mut session: Session,
        client: Arc<Client>,
    ) -> Self {
        session.client = Some(client.clone());
        client.active.store(shared.coarse_ms(), Ordering::Relaxed);
        shared.clients.add(client.clone());
        Peer {
            socket,
            shared,
            settler,
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
        // An error ends the connection, whatever it is: there is nobody to tell.
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> io::Result<()> {
        loop {
            let halt = self.work();
            if matches!(halt, Halt::Abort) {
                return Ok(());
            }
            let settled = self.session.unsettled.is_none();
            if matches!(halt, Halt::Input) && settled && !self.output.is_empty() {
                // The clients that are ready as well are answered together, one after the other. A program with many
                // connections then wakes up once for all of their replies, and not for each.
                let_others_run().await;
            }
            self.flush().await?;
            match halt {
                Halt::Close | Halt::Abort => return Ok(()),
                Halt::Output => {}
                Halt::Input => self.receive().await?,
                Halt::Held(end) => self.hold(end).await?,
                Halt::Waits(wait) => self.wait(*wait).await?,
            }
        }
    }

    /// Runs the commands that have arrived.
    fn work(&mut self) -> Halt {
        // Since the last command it has waited.
        self.session.last_end = None;
        if !self.take_mail() {
            return Halt::Abort;
        }
        loop {
            if self.client.is_killed() {
                return Halt::Abort;
            }
            let input = self.input.get(self.start..).unwrap_or_default();
            let longest = self.shared.settings.max_len.load(Ordering::Relaxed);
            let allowed = Allowed {
                longest: i64::try_from(longest).unwrap_or(i64::MAX),
                unauthenticated: !self.client.is_authenticated(),
            };
            let length = match self.request.read(input, allowed) {
                Ok(Progress::Partial) => return Halt::Input,
                Ok(Progress::Complete(length)) => length,
                Err(violation) => {
                    let line = violation.line();
                    self.shared.stats.error("ERR");
                    self.output.extend_from_slice(line.as_bytes());
                    return Halt::Close;
                }
            };
            let Peer {
                shared,
                session,
                client,
                output,
                ..
            } = self;
            let buffered = (input.len(), self.input.capacity() - self.input.len());
            let outcome = self.request.with_args(input, |args| {
                perform(shared, session, client, output, args, buffered)
            });
            self.request.clear();
            if let Outcome::Held(end) = outcome {
                // The request is read again when the pause is over.
                return Halt::Held(end);
            }
            self.start += length;
            match outcome {
                Outcome::Close => return Halt::Close,
                Outcome::Abort => return Halt::Abort,
                Outcome::Waits(wait) => return Halt::Waits(wait),
                Outcome::Done | Outcome::Held(_) => {}
            }
            if self.client.mailbox.is_ready() && !self.take_mail() {
                return Halt::Abort;
            }
            if self.output.len() >= FLUSH {
                let limit = self
                    .shared
                    .settings
                    .port
                    .output
                    .hard
                    .load(Ordering::Relaxed);
                if limit > 0 && self.output.len() > limit {
                    return Halt::Abort;
                }
                return Halt::Output;
            }
        }
    }

    /// Takes what others have sent to the client. False if the connection is to be closed.
    fn take_mail(&mut self) -> bool {
        loop {
            match self.client.mailbox.try_next() {
                Next::Message(message) => {
                    encode::encode(
                        &mut self.output,
                        self.session.protocol,
                        &Nils::Strings,
                        &message,
                    );
                    // The rest is taken when this is written: what waits is bounded only in the mailbox.
                    if self.output.len() >= FLUSH {
                        return true;
                    }
                }
                Next::Nothing => return true,
                Next::Closed | Next::Cut => return false,
            }
        }
    }

    /// Makes room for more input.
    fn make_room(&mut self) {
        let used = self.input.len();
        if self.start == used {
            self.input.clear();
            self.request.shrink();
            if self.input.capacity() > KEEP && used < self.input.capacity() / 4 {
                self.input = Vec::new();
            }
        } else if self.start > 0 {
            self.input.drain(..self.start);
        }
        self.start = 0;
        let wanted = self.request.wanted(self.input.len()).min(AHEAD);
        self.input.reserve(wanted.max(READ));
    }

    /// Reads more bytes, or waits until there is something to send.
    async fn receive(&mut self) -> io::Result<()> {
        let limit = self.shared.settings.port.input.load(Ordering::Relaxed);
        if self.input.len() - self.start > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.make_room();
        self.show();
        poll_fn(|cx| self.poll_event(cx, None, usize::MAX)).await?;
        Ok(())
    }

    /// Waits until a pause is over.
    async fn hold(&mut self, end: Instant) -> io::Result<()> {
        let shared = self.shared.clone();
        shared.clients.held.fetch_add(1, Ordering::Relaxed);
        self.client.blocked.store(true, Ordering::Relaxed);
        let held = self.held(end).await;
        self.end_block();
        shared.clients.held.fetch_sub(1, Ordering::Relaxed);
        held
    }

    async fn held(&mut self, end: Instant) -> io::Result<()> {
        self.show();
        let mut over = pin!(tokio::time::sleep_until(end.into()));
        loop {
            let go_on = poll_fn(|cx| {
                if over.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(true));
                }
                let some = ready!(self.poll_event(cx, None, MEANWHILE))?;
                drop(some);
                Poll::Ready(Ok::<_, io::Error>(self.shared.clients.paused().is_none()))
            })
            .await?;
            if go_on {
                return Ok(());
            }
            if !self.take_mail() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.flush().await?;
        }
    }

    /// Waits for the reply to a command, and writes it.
    async fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.client.blocked.store(true, Ordering::Relaxed);
        self.show();
        let reply = self.waited(&wait).await;
        self.end_block();
        if reply.is_err() {
            self.shared.end(&wait.waiter, None);
        }
        let reply = reply?;
        let args: Vec<&[u8]> = wait.args.iter().map(Vec::as_slice).collect();
        self.shared.note_end(
            &self.session,
            wait.command,
            &args,
            wait.begun.elapsed(),
            &reply,
        );
        let nils = match reply {
            Ok(Value::Nil) => Nils::Arrays,
            _ => nils::of(&self.session, wait.command, args.len()),
        };
        send(
            &mut self.session,
            &self.client,
            &mut self.output,
            &nils,
            &reply,
        );
        Ok(())
    }

    async fn waited(&mut self, wait: &Wait) -> io::Result<Reply> {
        loop {
            let event = poll_fn(|cx| self.poll_event(cx, Some(&wait.waiter), MEANWHILE)).await?;
            if let Event::Reply(reply) = event {
                return Ok(reply);
            }
            if !self.take_mail() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.flush().await?;
        }
    }

    /// Waits for input, for mail, for the bell, or for the reply to a command that waits. Reads no more if there is as
    /// much input as `most`.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        waiter: Option<&Waiter>,
        most: usize,
    ) -> Poll<io::Result<Event>> {
        let rung = self.client.bell.has_rung(cx.waker());
        if self.client.is_killed() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if let Some(Poll::Ready(reply)) = waiter.map(|waiter| waiter.poll(cx)) {
            return Poll::Ready(Ok(Event::Reply(reply)));
        }
        if self.client.mailbox.poll_ready(cx).is_ready() {
            return Poll::Ready(Ok(Event::Some));
        }
        if rung {
            self.rest();
            if waiter.is_none() && most != usize::MAX {
                return Poll::Ready(Ok(Event::Some));
            }
        }
        if self.input.len() >= most {
            return Poll::Pending;
        }
        let Peer { socket, input, .. } = self;
        match ready!(pin!(socket.read_buf(input)).poll(cx))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            received => {
                let stats = &self.shared.stats;
                stats.bytes_in.fetch_add(received as u64, Ordering::Relaxed);
                stats.reads.fetch_add(1, Ordering::Relaxed);
                self.show_life();
                if self.input.capacity() - self.input.len() < 64 {
                    self.input.reserve(READ);
                }
                Poll::Ready(Ok(Event::Some))
            }
        }
    }

    /// The client's idle time begins now: it has sent something, was sent something, or has waited until now.
    fn show_life(&self) {
        let now = self.shared.coarse_ms();
        self.client.active.store(now, Ordering::Relaxed);
    }

    /// The client waits no longer. Whoever sees this also sees that it is not idle: it is not disconnected with its
    /// reply unsent, for the time that it has waited.
    fn end_block(&self) {
        self.show_life();
        self.client.blocked.store(false, Ordering::Release);
    }

    /// Gives the buffers back if nothing has come for a while.
    fn rest(&mut self) {
        let active = self.client.active.load(Ordering::Relaxed);
        let idle = self.shared.coarse_ms().saturating_sub(active);
        if self.input.is_empty() && u128::from(idle) >= DROWSY.as_millis() {
            self.input = Vec::new();
            self.output = Vec::new();
            self.show();
        }
    }

    /// Lets others see the state of the client.
    fn show(&mut self) {
        let mut seen = self.client.seen.lock();
        seen.look(&self.session);
        seen.input = self.input.len() - self.start;
        seen.input_free = self.input.capacity() - self.input.len();
        seen.args = self.request.bytes();
        seen.output = self.output.len();
    }

    /// Writes the replies.
    async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        if let Some(commit) = self.session.unsettled.take() {
            // What is not on the disk is not acknowledged: rather the connection ends.
            self.settler
                .settled(commit)
                .await
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = self.output.get(self.written..).unwrap_or_default();
            let sent = match Pin::new(&mut self.socket).poll_write(cx, rest) {
                Poll::Pending => {
                    let rung = self.client.bell.has_rung(cx.waker());
                    // A subscriber that does not read is cut by its mailbox, also while it is written to.
                    let cut = self.client.mailbox.poll_cut(cx);
                    if rung && self.client.is_killed() || cut {
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
            self.show_life();
        }
        let stats = &self.shared.stats;
        stats
            .bytes_out
            .fetch_add(self.output.len() as u64, Ordering::Relaxed);
        stats.writes.fetch_add(1, Ordering::Relaxed);
        self.written = 0;
        self.output.clear();
        if self.output.capacity() > 2 * FLUSH {
            self.output = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

/// Runs one command, and appends its reply.
#[inline]
fn perform(
    shared: &Arc<Shared>,
    session: &mut Session,
    client: &Arc<Client>,
    output: &mut Vec<u8>,
    args: &[&[u8]],
    buffered: (usize, usize),
) -> Outcome {
    let Some(name) = args.first() else {
        return Outcome::Done;
    };
    if is_of_a_browser(name) {
        return Outcome::Abort;
    }
    let resolved = command::resolve(args);
    let mut nils = Nils::Strings;
    if let Ok(command) = resolved {
        if let Some(error) = refusal(session, client, command) {
            shared.note_refusal(session, Some(command), &error);
            connection::refuse(session, args);
            encode_reply(session, client, output, &Nils::Strings, &Err(error));
            return Outcome::Done;
        }
        if let Some((what, end)) = shared.clients.paused()
            && (what == Pause::All || may_write(session, command))
        {
            return Outcome::Held(end);
        }
        nils = nils::of(session, command, args.len());
        if command.name.starts_with("client|") {
            look(session, client, args, buffered);
        }
        client.last_command(command.name);
    }
    let known = resolved.as_ref().ok().copied();
    let lent = (client.replies() == Replies::On).then_some(&mut *output);
    let begun = connection::execute(shared, session, resolved, args, Patience::Stays, lent);
    match begun {
        Begun::Done(reply) => send(session, client, output, &nils, &reply),
        Begun::Replied => {}
        Begun::Waits(waiter) => {
            return match known {
                Some(command) => Outcome::Waits(Box::new(Wait {
                    waiter,
                    command,
                    args: args.iter().map(|arg| arg.to_vec()).collect(),
                    begun: Instant::now(),
                })),
                None => Outcome::Abort,
            };
        }
    }
    let quits = known.is_some_and(|command| command.name == "quit");
    if quits || client.closing.load(Ordering::Relaxed) {
        return Outcome::Close;
    }
    Outcome::Done
}

const NO_AUTH: Error = Error::new("NOAUTH Authentication required.");

/// Somebody has a browser send requests to the port. Such a request must not run commands.
fn is_of_a_browser(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"host:") || name.eq_ignore_ascii_case(b"post")
}

/// Why the client may not call this command now.
#[inline]
fn refusal(session: &Session, client: &Client, command: &Command) -> Option<Error> {
    if !client.is_authenticated() && !command.needs_no_password() {
        return Some(NO_AUTH);
    }
    if session.transaction.is_some() && command.is_barred_from_transactions() {
        return Some(Error::new("ERR Command not allowed inside a transaction"));
    }
    None
}

/// Whether a pause of writes holds a command up. What is only queued runs later.
fn may_write(session: &Session, command: &Command) -> bool {
    command.may_write(session)
}

/// Appends a reply, unless the client wants none.
#[inline]
fn send(session: &mut Session, client: &Client, output: &mut Vec<u8>, nils: &Nils, reply: &Reply) {
    if std::mem::take(&mut session.silent) {
        return;
    }
    encode_reply(session, client, output, nils, reply);
}

#[inline]
fn encode_reply(
    session: &Session,
    client: &Client,
    output: &mut Vec<u8>,
    nils: &Nils,
    reply: &Reply,
) {
    match client.replies() {
        Replies::On => encode::reply(output, session.protocol, nils, reply),
        Replies::Off => {}
        Replies::SkipNext => client.set_replies(Replies::Skip),
        Replies::Skip => client.set_replies(Replies::On),
    }
}

/// Brings up to date what `CLIENT LIST` shows of the client that calls it.
#[cold]
fn look(session: &Session, client: &Client, args: &[&[u8]], buffered: (usize, usize)) {
    let mut seen = client.seen.lock();
    seen.look(session);
    (seen.input, seen.input_free) = buffered;
    seen.args = args.iter().map(|arg| arg.len()).sum();
    seen.output = 0;
}

impl<S> Drop for Peer<S> {
    fn drop(&mut self) {
        self.shared.clients.remove(&self.client);
    }
}
