//! What happens to the bytes of a connection. Each of its two directions is a [`Lane`], with a thread that reads
//! frames into it, and a thread that writes them out when no fault and no hold prevents it. All state is behind the
//! one lock of [`Shared`]; sockets are used outside the lock.
//!
//! The invariants of this module:
//!
//! 1. A lane is first in, first out: the frame that arrived first leaves first, or is dropped. Whatever delays the
//!    frame at the head delays all frames behind it.
//! 2. A frame is counted and labelled before anything can pass it on, so whoever has seen an effect of a frame finds
//!    it in the counts.
//! 3. Once a request or a reply of a lane was dropped, everything after it is dropped, too. Such a connection is
//!    reset when the proxy is healed.
//! 4. A connection is in the map until the last of its four threads has dropped its sockets. Then they are closed,
//!    under the lock: whoever sees that it is gone knows that the other side was told.
//! 5. No thread waits forever. Threads that read are woken by their socket's shutdown; threads that write check the
//!    state every few milliseconds; all others wait for the lane's condition, which is notified of everything that
//!    they check.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::fault::{Close, Direction, Fault, Faults, Frames, Label};
use super::hold::Held;
use super::listener::Stream;
use super::resp::{Frame, Kind, Side, Splitter};
use super::{Counts, Shared, State};

/// How much of a stream is read at once. A pipeline of up to this size is seen as one.
const CHUNK: usize = 64 << 10;

/// How many bytes a lane buffers before the sender has to wait.
const MAX_QUEUED: usize = 64 << 20;

/// Under a bandwidth limit, the bytes of this much time are written at once.
const SLICE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Connection {
    client: Arc<Stream>,
    server: Arc<Stream>,
    pub(super) to_server: Lane,
    pub(super) to_client: Lane,
    /// The commands that have no reply yet.
    unanswered: VecDeque<Label>,
    /// A command was sent since the last reply, so the next reply ends a round trip.
    round: bool,
    /// In RESP2, arrays may now be what RESP3 calls pushes.
    subscribed: bool,
    closed: bool,
    threads: usize,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<Item>,
    bytes: usize,
    /// The sender has ended its stream.
    ended: Option<Close>,
    /// Everything is dropped.
    dead: bool,
    /// Something was dropped that the client would miss.
    lost: bool,
    pub(super) changed: Arc<Condvar>,
}

#[derive(Debug)]
pub(super) struct Item {
    /// In order of arrival, across all connections.
    pub(super) id: u64,
    frame: Frame,
    label: Label,
    arrived: Instant,
    /// From 0 to 1: chooses its part of every jitter.
    dice: f64,
}

/// What a writing thread does next.
enum Next {
    /// Nothing until the lane changes, or until this time.
    Wait(Option<Instant>),
    Write(Vec<u8>, Option<Close>),
    /// The sender's stream has ended, and everything is written.
    End(Close),
    Leave,
}

impl Item {
    pub(super) fn is_one_of(&self, direction: Direction, frames: &Frames) -> bool {
        frames.include(direction, &self.frame, &self.label)
    }
}

impl Lane {
    fn new() -> Lane {
        Lane {
            queue: VecDeque::new(),
            bytes: 0,
            ended: None,
            dead: false,
            lost: false,
            changed: Arc::new(Condvar::new()),
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.bytes -= item.frame.bytes.len();
        self.changed.notify_all();
        Some(item)
    }
}

impl Connection {
    pub(super) fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// The client has not closed it, and has not been told that the server has.
    pub(super) fn is_live(&self) -> bool {
        let told = self.to_client.ended.is_some() && !self.to_client.lost;
        !self.closed && self.to_server.ended.is_none() && !told
    }

    /// The client would miss something that was dropped.
    pub(super) fn is_lossy(&self) -> bool {
        self.to_server.lost || self.to_client.lost
    }

    /// Begins to close both sides. The threads leave, and the last of them completes it.
    pub(super) fn close(&mut self, close: Close) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.client.close(close);
        self.server.close(Close::Finish);
        for lane in [&mut self.to_server, &mut self.to_client] {
            lane.queue.clear();
            lane.bytes = 0;
            lane.changed.notify_all();
        }
    }

    /// Drops the frames at the head of the lane that must be dropped. Called whenever something arrives, is released
    /// or breaks, so that nobody can look before it is done.
    pub(super) fn settle(
        &mut self,
        direction: Direction,
        faults: &Faults,
        holds: &[Held],
        counts: &mut Counts,
    ) {
        let lane = self.lane(direction);
        while let Some(head) = lane.queue.front() {
            if !lane.dead {
                let held = holds.iter().any(|hold| hold.keeps(head, direction));
                if held || !faults.drops(|frames| head.is_one_of(direction, frames)) {
                    return;
                }
                let missed = head.frame.kind != Kind::Push || faults.silence();
                lane.dead |= missed;
                lane.lost |= missed;
            }
            counts.vanished += 1;
            lane.pop();
        }
        // A client would miss the end, too.
        lane.lost |= lane.ended.is_some() && faults.silence();
    }

    /// Labels a frame that arrived, and updates the connection's state for it.
    fn label(&mut self, direction: Direction, frame: &mut Frame) -> Label {
        let own = || Label::of(frame);
        if frame.kind == Kind::Raw {
            return Label::default();
        }
        if direction == Direction::ToServer {
            // Servers ignore an empty command, too.
            let Some(label) = own() else {
                return Label::default();
            };
            self.round = true;
            // It is answered by pushes, one for each channel.
            if is_subscription(&label) {
                self.subscribed = true;
            } else {
                self.unanswered.push_back(label.clone());
            }
            return label;
        }
        if frame.kind == Kind::Push {
            return own().unwrap_or_default();
        }
        if self.subscribed && frame.bytes.starts_with(b"*") {
            let label = own().unwrap_or_default();
            if is_subscription(&label) || label.name.ends_with(b"message") {
                frame.kind = Kind::Push;
                return label;
            }
        }
        self.unanswered.pop_front().unwrap_or_default()
    }
}

/// `SUBSCRIBE` and similar commands, and their confirmations.
fn is_subscription(label: &Label) -> bool {
    label.name.to_ascii_lowercase().ends_with(b"subscribe")
}

/// Registers the connection, and starts its threads.
pub(super) fn start(shared: &Arc<Shared>, client: Stream, server: Stream) {
    if client.prepare().and_then(|()| server.prepare()).is_err() {
        return;
    }
    let mut state = shared.lock();
    // This may have been decided while the server was being connected to.
    if state.ended {
        return;
    }
    let id = state.next_id();
    let connection = Connection {
        client: Arc::new(client),
        server: Arc::new(server),
        to_server: Lane::new(),
        to_client: Lane::new(),
        unanswered: VecDeque::new(),
        round: false,
        subscribed: false,
        closed: false,
        threads: 4,
    };
    for direction in [Direction::ToServer, Direction::ToClient] {
        let (from, to) = match direction {
            Direction::ToServer => (&connection.client, &connection.server),
            Direction::ToClient => (&connection.server, &connection.client),
        };
        let (from, to) = (Arc::clone(from), Arc::clone(to));
        let changed = match direction {
            Direction::ToServer => &connection.to_server.changed,
            Direction::ToClient => &connection.to_client.changed,
        };
        let reader = Pump {
            shared: Arc::clone(shared),
            id,
            direction,
            changed: Arc::clone(changed),
        };
        let writer = reader.clone();
        let reader = thread::spawn(move || {
            reader.read(&from);
            reader.leave(from);
        });
        let writer = thread::spawn(move || {
            writer.write(&to);
            writer.leave(to);
        });
        state.threads.extend([reader, writer]);
    }
    state.threads.retain(|thread| !thread.is_finished());
    state.connections.insert(id, connection);
    state.counts.connections += 1;
    shared.tell(&mut state);
}

/// The task of one thread: a connection and a direction.
#[derive(Clone)]
struct Pump {
    shared: Arc<Shared>,
    id: u64,
    direction: Direction,
    changed: Arc<Condvar>,
}

impl Pump {
    fn read(&self, from: &Stream) {
        let mut splitter = Splitter::new(match self.direction {
            Direction::ToServer => Side::Requests,
            Direction::ToClient => Side::Replies,
        });
        let mut chunk = vec![0; CHUNK];
        let mut frames = Vec::new();
        loop {
            let ended = match from.read(&mut chunk) {
                Ok(0) => Some(Close::Finish),
                Ok(length) => {
                    splitter.feed(&chunk[..length], &mut frames);
                    None
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => Some(Close::Reset),
            };
            if ended.is_some() {
                frames.extend(splitter.finish());
            }
            if !self.arrived(&mut frames, ended) {
                return;
            }
        }
    }

    /// Puts everything that arrived into the lane, in one step, and returns whether to read on.
    fn arrived(&self, frames: &mut Vec<Frame>, ended: Option<Close>) -> bool {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let arrived = Instant::now();
        for mut frame in frames.drain(..) {
            let id = state.next_id();
            let Some(connection) = state.connections.get_mut(&self.id) else {
                return false;
            };
            if connection.closed {
                return false;
            }
            let label = connection.label(self.direction, &mut frame);
            if frame.kind == Kind::Reply {
                rename(&mut frame.bytes, &state.renames);
            }
            if frame.kind == Kind::Request && !label.name.is_empty() {
                state.counts.requests += 1;
                state.commands.push(label.text());
            }
            state.counts.pushes += usize::from(frame.kind == Kind::Push);
            let lane = connection.lane(self.direction);
            lane.bytes += frame.bytes.len();
            lane.queue.push_back(Item {
                id,
                frame,
                label,
                arrived,
                dice: fastrand::f64(),
            });
        }
        let Some(connection) = state.connections.get_mut(&self.id) else {
            return false;
        };
        if ended == Some(Close::Reset) && self.direction == Direction::ToServer {
            // A client that is gone waits for nothing.
            connection.close(Close::Reset);
        }
        connection.lane(self.direction).ended = ended;
        connection.settle(
            self.direction,
            &state.faults,
            &state.holds,
            &mut state.counts,
        );
        self.changed.notify_all();
        self.shared.tell(state);
        loop {
            let Some(connection) = guard.connections.get_mut(&self.id) else {
                return false;
            };
            if connection.closed || ended.is_some() {
                return false;
            }
            if connection.lane(self.direction).bytes <= MAX_QUEUED {
                return true;
            }
            guard = wait(&self.changed, guard, None);
        }
    }

    fn write(&self, to: &Stream) {
        let mut state = self.shared.lock();
        loop {
            match self.next(&mut state) {
                Next::Leave => return,
                Next::Wait(until) => state = wait(&self.changed, state, until),
                Next::Write(bytes, close) => {
                    drop(state);
                    let written = self.write_out(to, &bytes);
                    state = self.shared.lock();
                    let Some(connection) = state.connections.get_mut(&self.id) else {
                        return;
                    };
                    match (written, close, self.direction) {
                        (true, None, _) => {}
                        (true, Some(close), _) => connection.close(close),
                        // The server's last reply may still be on its way to the client.
                        (false, _, Direction::ToServer) => connection.to_server.dead = true,
                        (false, _, Direction::ToClient) => connection.close(Close::Finish),
                    }
                    self.shared.tell(&mut state);
                }
                Next::End(close) => {
                    let Some(connection) = state.connections.get_mut(&self.id) else {
                        return;
                    };
                    match self.direction {
                        // The client may still read the replies to its requests.
                        Direction::ToServer => connection.server.shutdown(Shutdown::Write),
                        Direction::ToClient => connection.close(close),
                    }
                    self.shared.tell(&mut state);
                    return;
                }
            }
        }
    }

    /// Decides what to do with the frame at the head of the lane.
    fn next(&self, state: &mut State) -> Next {
        let (faults, holds) = (&mut state.faults, &state.holds);
        let Some(connection) = state.connections.get_mut(&self.id) else {
            return Next::Leave;
        };
        if connection.closed {
            return Next::Leave;
        }
        connection.settle(self.direction, faults, holds, &mut state.counts);
        let lane = connection.lane(self.direction);
        let Some(head) = lane.queue.front() else {
            let Some(close) = lane.ended else {
                return Next::Wait(None);
            };
            if !lane.dead && !lane.lost {
                return Next::End(close);
            }
            // There is no client left for the server's replies.
            if self.direction == Direction::ToServer {
                connection.close(Close::Finish);
                return Next::Leave;
            }
            return Next::Wait(None);
        };
        let chosen = |frames: &Frames| head.is_one_of(self.direction, frames);
        if holds.iter().any(|hold| hold.keeps(head, self.direction)) {
            return Next::Wait(None);
        }
        let due = head.arrived + faults.delay(head.dice, chosen);
        if due > Instant::now() {
            return Next::Wait(Some(due));
        }
        let strike = faults.strike(chosen);
        let Some(item) = lane.pop() else {
            return Next::Wait(None);
        };
        let answers = match item.frame.kind {
            Kind::Reply => true,
            Kind::Push => is_subscription(&item.label),
            Kind::Request | Kind::Raw => false,
        };
        if answers && std::mem::take(&mut connection.round) {
            state.counts.round_trips += 1;
        }
        let mut bytes = item.frame.bytes;
        match strike {
            Some(Fault::Truncate { at, close, .. }) => {
                bytes.truncate(at);
                Next::Write(bytes, Some(close))
            }
            Some(Fault::Replace { with, close, .. }) => Next::Write(with, close),
            _ => Next::Write(bytes, None),
        }
    }

    /// Writes at the pace that the current limit allows. `false` if the other side is gone, or the connection is
    /// closed.
    fn write_out(&self, to: &Stream, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Some((length, pause)) = self.allowance(bytes.len()) else {
                return false;
            };
            match to.write(&bytes[..length]) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return false,
                },
            }
            if let Some(pause) = pause {
                self.pause(Instant::now() + pause);
            }
        }
        true
    }

    /// How much may be written now, and how long to pause after it. `None` if the connection is closed.
    fn allowance(&self, length: usize) -> Option<(usize, Option<Duration>)> {
        let mut state = self.shared.lock();
        let limit = state.faults.bytes_per_second(self.direction);
        if state.connections.get_mut(&self.id)?.closed {
            return None;
        }
        let Some(limit) = limit else {
            return Some((length, None));
        };
        let slice = (limit as f64 * SLICE.as_secs_f64()).max(1.0) as usize;
        let length = length.min(slice);
        let pause = Duration::from_secs_f64(length as f64 / limit as f64);
        Some((length, Some(pause)))
    }

    /// Waits until this time, or until the limit changes.
    fn pause(&self, until: Instant) {
        let mut state = self.shared.lock();
        let limit = state.faults.bytes_per_second(self.direction);
        while Instant::now() < until
            && state.faults.bytes_per_second(self.direction) == limit
            && state
                .connections
                .get(&self.id)
                .is_some_and(|connection| !connection.closed)
        {
            state = wait(&self.changed, state, Some(until));
        }
    }

    /// Drops the socket, and removes the connection if this is its last thread.
    fn leave(&self, stream: Arc<Stream>) {
        let mut state = self.shared.lock();
        drop(stream);
        let Some(connection) = state.connections.get_mut(&self.id) else {
            return;
        };
        connection.threads -= 1;
        if connection.threads == 0 {
            state.connections.remove(&self.id);
        }
        self.shared.tell(&mut state);
    }
}

/// Changes ports where they stand: as numbers, and after a host.
fn rename(bytes: &mut [u8], renames: &[(u16, u16)]) {
    const HOST: &[u8] = b"127.0.0.1";
    if renames.is_empty() || !bytes.windows(HOST.len()).any(|at| at == HOST) {
        return;
    }
    let mut at = 0;
    while let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':') {
        at += colon + 1;
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let end = at + digits.count();
        let found = renames
            .iter()
            .find(|(from, _)| from.to_string().as_bytes() == &bytes[at..end]);
        if let Some((_, to)) = found {
            bytes[at..end].copy_from_slice(to.to_string().as_bytes());
        }
        at = end;
    }
}

fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    until: Option<Instant>,
) -> MutexGuard<'a, State> {
    let Some(until) = until else {
        return condition
            .wait(state)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
    };
    let left = until.saturating_duration_since(Instant::now());
    let waited = condition.wait_timeout(state, left);
    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
}
