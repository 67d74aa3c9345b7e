//! The socket of a connection that two share: redis-rs, which makes the connection and gets what the server sends by
//! itself, and the calls of a [`Lane`](super::Lane).
//!
//! 1. A server answers in the order of the commands. So who has sent the next unanswered one gets the next reply.
//! 2. A message that the server sends by itself goes to redis-rs.
//! 3. Commands of the two do not run into each other: only whole ones are put behind each other.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::{fmt, io};

use parking_lot::Mutex;
use redis::{RedisError, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::super::Common;
use super::super::alive::Alive;
use super::super::frames::{Broken, Frames, value, why_broken};
use super::{Due, Outcome, Taken, sets};

/// How much is read at once, at least.
const READ: usize = 16 << 10;

/// A buffer that has grown beyond that for something large does not stay.
const KEPT: usize = 1 << 20;

/// Whose the next reply is.
#[derive(Debug)]
enum Owner {
    /// redis-rs, and so many replies.
    Client(u32),
    Lane(Due),
}

/// What came for the calls of a lane.
#[derive(Debug, Default)]
pub(in super::super) struct Arrived {
    /// The outcomes, and whose they are.
    pub(super) outcomes: Vec<(u32, Outcome)>,
    /// The replies to sets that shared a `MULTI`, and whose they are.
    pub(super) sets: Vec<(Vec<u32>, Vec<Value>)>,
    /// Who is woken for it.
    pub(super) wakers: Vec<Waker>,
}

impl Arrived {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.sets.is_empty()
    }

    /// Finds the outcomes of sets that shared a `MULTI`. Returns whether one of all replies says that the connection is
    /// of no use any more: see promise 6 of a backend.
    pub(in super::super) fn settle(&mut self, common: &Common) -> bool {
        let mut useless = false;
        for (_, outcome) in &self.outcomes {
            useless |= match outcome {
                Outcome::Reply(reply) => common.must_leave(std::slice::from_ref(reply)),
                Outcome::Replies(replies) => common.must_leave(replies),
                _ => false,
            };
        }
        for (places, replies) in self.sets.drain(..) {
            useless |= common.must_leave(&replies);
            sets::outcomes(common, &places, replies, &mut self.outcomes);
        }
        useless
    }
}

/// A socket, and what is on its way.
#[derive(Debug)]
pub(in super::super) struct Wire<S> {
    socket: S,
    /// Whether redis-rs gets all that comes.
    alone: bool,
    /// Whether somebody drives it beside redis-rs; before that, redis-rs does.
    driven: bool,
    /// What the lane has given last; between two times, memory that is used again.
    taken: Taken,
    /// What is to be written, and how much of it was.
    out: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// What redis-rs writes, until it is a whole command.
    begun: Vec<u8>,
    commands: Frames,
    /// Whose the replies are that have not come.
    owners: VecDeque<Owner>,
    /// What was read, how much of it was looked at, and how far the reply behind that was.
    read: Vec<u8>,
    looked: usize,
    replies: Frames,
    /// What redis-rs is to read, and how much of it was.
    inbox: Vec<u8>,
    fetched: usize,
    /// The replies so far of a call that gets several.
    collected: Vec<Value>,
    arrived: Arrived,
    /// Why nothing can be written any more, and why nothing comes.
    unwritable: Option<io::ErrorKind>,
    ended: Option<RedisError>,
    /// The same for redis-rs, as it came.
    failed: Option<io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// The socket, and what redis-rs takes for it. `alone`: nobody but redis-rs will use it.
    pub(in super::super) fn over(socket: S, alone: bool) -> (Arc<Mutex<Self>>, Shared<S>) {
        let wire = Arc::new(Mutex::new(Wire {
            socket,
            alone,
            driven: false,
            taken: Taken::default(),
            out: Vec::new(),
            written: 0,
            unflushed: false,
            begun: Vec::new(),
            commands: Frames::new(),
            owners: VecDeque::new(),
            read: Vec::new(),
            looked: 0,
            replies: Frames::new(),
            inbox: Vec::new(),
            fetched: 0,
            collected: Vec::new(),
            arrived: Arrived::default(),
            unwritable: None,
            ended: None,
            failed: None,
        }));
        (Arc::clone(&wire), Shared(wire))
    }

    /// From now on its driver reads and writes.
    pub(in super::super) fn drive(&mut self) {
        self.driven = true;
    }

    /// Puts the calls of the lane behind what is to be written.
    pub(in super::super) fn take(&mut self, alive: &Alive) {
        let calls = alive.lane.take(&mut self.taken, alive.epoch());
        if calls > 0 {
            self.put();
        }
        if calls > 1 {
            alive.common.note_batch(calls);
        }
    }

    fn put(&mut self) {
        let taken = &mut self.taken;
        if self.out.is_empty() {
            std::mem::swap(&mut self.out, &mut taken.bytes);
        } else {
            self.out.append(&mut taken.bytes);
        }
        self.owners.extend(taken.due.drain(..).map(Owner::Lane));
        for sets in &mut taken.sets[..taken.begun] {
            let due = sets.write(&mut self.out);
            self.owners.push_back(Owner::Lane(due));
        }
        (taken.begun, taken.calls) = (0, 0);
    }

    /// Writes what can be written.
    pub(in super::super) fn write(&mut self, context: &mut Context<'_>) {
        while self.written < self.out.len() && self.unwritable.is_none() {
            let socket = Pin::new(&mut self.socket);
            match socket.poll_write(context, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => self.unwritable = Some(io::ErrorKind::WriteZero),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => self.cannot_write(error),
                Poll::Pending => break,
            }
        }
        if self.written > 0 && self.written == self.out.len() {
            self.written = 0;
            empty(&mut self.out);
        }
        if self.unflushed && self.unwritable.is_none() {
            match Pin::new(&mut self.socket).poll_flush(context) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => self.cannot_write(error),
                Poll::Pending => {}
            }
        }
    }

    /// Why redis-rs cannot write.
    fn write_error(&mut self) -> Option<io::Error> {
        let kind = self.unwritable?;
        Some(self.failed.take().unwrap_or_else(|| kind.into()))
    }

    fn cannot_write(&mut self, error: io::Error) {
        self.unwritable = Some(error.kind());
        self.failed = Some(error);
    }

    /// Reads what is there, and finds whose it is.
    pub(in super::super) fn read(&mut self, context: &mut Context<'_>) {
        while self.ended.is_none() {
            if self.read.capacity() - self.read.len() < READ / 4 {
                self.read.reserve(READ);
            }
            let reading = pin!(self.socket.read_buf(&mut self.read));
            match reading.poll(context) {
                Poll::Ready(Ok(0)) => self.ended = Some(closed(io::ErrorKind::BrokenPipe)),
                Poll::Ready(Ok(_)) => self.sort(),
                Poll::Ready(Err(error)) => {
                    let told = io::Error::new(error.kind(), error.to_string());
                    self.ended = Some(told.into());
                    self.failed = Some(error);
                }
                Poll::Pending => {
                    // What the server said before it closed was read.
                    if let Some(kind) = self.unwritable {
                        self.ended = Some(closed(kind));
                    }
                    break;
                }
            }
        }
    }

    /// Gives the replies that are whole to whose they are.
    fn sort(&mut self) {
        loop {
            let rest = &self.read[self.looked..];
            match self.replies.next(rest) {
                Ok(Some(length)) => {
                    let frame = self.looked..self.looked + length;
                    self.looked += length;
                    if let Err(error) = self.hand_over(frame) {
                        self.ended = Some(error);
                        return;
                    }
                }
                Ok(None) => break,
                Err(Broken) => {
                    self.ended = Some(why_broken(rest));
                    // redis-rs finds out for itself.
                    self.inbox.extend_from_slice(rest);
                    return;
                }
            }
        }
        if self.looked == self.read.len() {
            empty(&mut self.read);
        } else {
            self.read.drain(..self.looked);
        }
        self.looked = 0;
    }

    #[inline]
    fn hand_over(&mut self, frame: std::ops::Range<usize>) -> Result<(), RedisError> {
        let frame = &self.read[frame];
        let due = match self.owners.front_mut() {
            Some(Owner::Lane(due)) if frame.first() != Some(&b'>') => due,
            owner => {
                self.inbox.extend_from_slice(frame);
                if let Some(Owner::Client(left)) = owner
                    && frame.first() != Some(&b'>')
                {
                    *left -= 1;
                    if *left == 0 {
                        self.owners.pop_front();
                    }
                }
                return Ok(());
            }
        };
        let value = value(frame)?;
        match due {
            Due::One(place) => {
                let arrived = (*place, Outcome::Reply(value));
                self.arrived.outcomes.push(arrived);
            }
            Due::Many { place, left } => {
                self.collected.push(value);
                *left -= 1;
                if *left > 0 {
                    return Ok(());
                }
                let replies = std::mem::take(&mut self.collected);
                let arrived = (*place, Outcome::Replies(replies));
                self.arrived.outcomes.push(arrived);
            }
            Due::Sets { places, left } => {
                self.collected.push(value);
                *left -= 1;
                if *left > 0 {
                    return Ok(());
                }
                let replies = std::mem::take(&mut self.collected);
                let arrived = (std::mem::take(places), replies);
                self.arrived.sets.push(arrived);
            }
        }
        self.owners.pop_front();
        Ok(())
    }

    /// Whether there is something for redis-rs to read, or nothing will come any more.
    pub(in super::super) fn is_for_client(&self) -> bool {
        self.fetched < self.inbox.len() || self.ended.is_some()
    }

    /// Whether there is something to write.
    pub(in super::super) fn is_unwritten(&self) -> bool {
        self.written < self.out.len() && self.unwritable.is_none()
    }

    /// What came for the lane, if redis-rs has read all that came before it: news of a change reach those who keep
    /// copies before the replies that were sent after them.
    pub(in super::super) fn arrived(&mut self) -> Option<&mut Arrived> {
        (self.fetched == self.inbox.len()).then_some(&mut self.arrived)
    }

    /// Whether nothing will come any more.
    pub(in super::super) fn is_ended(&self) -> bool {
        self.ended.is_some()
    }
}

/// A socket that a call is written to by its caller, without a turn of the driver.
pub(in super::super) trait Direct: fmt::Debug + Send + Sync {
    /// Writes the calls of the lane. Returns whether there is nothing left for the driver to do: it may be at work, or the
    /// socket may be full.
    fn send(&self, alive: &Alive) -> bool;
}

impl<S: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Direct for Mutex<Wire<S>> {
    fn send(&self, alive: &Alive) -> bool {
        let Some(mut wire) = self.try_lock() else {
            return false;
        };
        // The driver waits until there is room, and must be the one who is told of it.
        if !wire.is_written() {
            return false;
        }
        wire.take(alive);
        wire.write(&mut Context::from_waker(Waker::noop()));
        wire.is_written()
    }
}

impl<S> Wire<S> {
    /// Whether all was written that there is to write.
    fn is_written(&self) -> bool {
        self.out.is_empty() && !self.unflushed && self.unwritable.is_none()
    }

    /// Nothing will come any more, because redis-rs does not read on.
    pub(in super::super) fn end(&mut self) {
        self.ended
            .get_or_insert_with(|| closed(io::ErrorKind::BrokenPipe));
    }

    /// Why nothing will come any more.
    pub(in super::super) fn take_error(&mut self) -> Option<RedisError> {
        self.ended.take()
    }
}

fn closed(kind: io::ErrorKind) -> RedisError {
    io::Error::from(kind).into()
}

/// Empties a buffer, whose memory is used again unless it is large.
fn empty(buffer: &mut Vec<u8>) {
    match buffer.capacity() > KEPT {
        true => *buffer = Vec::new(),
        false => buffer.clear(),
    }
}

/// What redis-rs takes for the socket.
#[derive(Debug)]
pub(in super::super) struct Shared<S>(Arc<Mutex<Wire<S>>>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Shared<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        if wire.fetched == wire.inbox.len() && !wire.driven {
            wire.read(context);
        }
        let rest = &wire.inbox[wire.fetched..];
        if rest.is_empty() {
            // The driver polls again when something has come.
            if wire.ended.is_none() {
                return Poll::Pending;
            }
            return Poll::Ready(match wire.failed.take() {
                Some(failed) => Err(failed),
                None => Ok(()),
            });
        }
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        wire.fetched += count;
        if wire.fetched == wire.inbox.len() {
            wire.fetched = 0;
            empty(&mut wire.inbox);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Shared<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.lock();
        if let Some(error) = wire.write_error() {
            return Poll::Ready(Err(error));
        }
        wire.begun.extend_from_slice(bytes);
        let (mut whole, mut count) = (0, 0);
        while let Some(length) = wire
            .commands
            .next(&wire.begun[whole..])
            .map_err(|Broken| io::ErrorKind::InvalidInput)?
        {
            whole += length;
            count += 1;
        }
        wire.out.extend(wire.begun.drain(..whole));
        if count > 0 && !wire.alone {
            wire.owners.push_back(Owner::Client(count));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        if !wire.driven {
            wire.write(context);
        }
        match wire.write_error() {
            Some(error) => Poll::Ready(Err(error)),
            None if !wire.driven && (wire.is_unwritten() || wire.unflushed) => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().socket).poll_shutdown(context)
    }
}
