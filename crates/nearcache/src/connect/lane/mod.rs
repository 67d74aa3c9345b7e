//! The calls of many tasks on one connection. A call writes its commands straight into the buffer that the connection's
//! driver sends next, and leaves its waker; the driver writes what has gathered at once, and hands out the replies.
//!
//! redis-rs makes the connection, and gets the messages that the server sends by itself; see `wire`. It packs each command
//! into memory of its own, sends it to its driver through a channel, gets the reply back through another one, and reads
//! it with a parser that can begin anywhere. Of a call whose way to the server is short, that was most of the time.
//!
//! 1. Every call gets the replies to its own commands. Each `GET` is a `GET`: `MGET` would say nothing about a key of the
//!    wrong type, and fail whole for one forbidden key.
//! 2. Every call keeps its own limit, from its own beginning.
//! 3. A call that is dropped does not disturb the others: its replies are read, and thrown away.
//! 4. A write that was given up is counted with the connection: see `doubts`.
//! 5. No call waits for the reply of another. A lone one leaves at once, written by its caller. Those in company leave
//!    together as soon as they are half of all that are under way, written by the last of them, and otherwise one turn of
//!    the scheduler later, written by the driver.
//!
//!    Half, because then the server works on one half while the tasks that the other half has woken make their next calls.
//!    If all left together, each side would stand still while the other works; and each system call wakes the other.
//! 6. What was not sent, because the connection ended before that, is sent by its caller over another one.
//! 7. What the server tells of changes reaches those who keep copies before the replies that it sent after it.
//! 8. Sets leave together; see `sets`.
//!
//! `wire` has the socket; `call` is what a task waits for.

mod call;
mod sets;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Instant;

use parking_lot::Mutex;
use redis::Value;

use crate::error::Error;
use crate::slot::slot;
pub(super) use call::{OnItsWay, Way};
use sets::Sets;
pub(super) use sets::fenced_set;
pub(super) use wire::{Arrived, Direct, Wire};

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The reply to its one command.
    Reply(Value),
    /// The replies to its commands; of a [fenced set](fenced_set) to `SET` and `UNLINK`.
    Replies(Vec<Value>),
    Failed(Error),
    /// Its limit has passed.
    Elapsed,
    /// It was not sent.
    Unsent,
    /// It was refused together with others, none of which was carried out.
    Refused,
}

impl Outcome {
    /// The error of a call that cannot have this outcome.
    pub(super) fn unexpected(self) -> Error {
        let reply = match self {
            Outcome::Reply(reply) => reply,
            Outcome::Replies(replies) => Value::Array(replies),
            Outcome::Failed(error) => return error,
            Outcome::Elapsed | Outcome::Unsent | Outcome::Refused => Value::Nil,
        };
        Error::unexpected("the server", &reply)
    }
}

/// What a server owes for commands that were sent.
#[derive(Debug)]
pub(super) enum Due {
    One(u32),
    Many { place: u32, left: u32 },
    Sets { places: Vec<u32>, left: u32 },
}

impl Due {
    /// Whose it is.
    fn places(&self) -> &[u32] {
        match self {
            Due::One(place) | Due::Many { place, .. } => std::slice::from_ref(place),
            Due::Sets { places, .. } => places,
        }
    }
}

/// The calls of a connection.
#[derive(Debug)]
pub(super) struct Lane {
    state: Mutex<State>,
    /// Whether calls wait for others, to be sent by the driver.
    gathers: AtomicBool,
    /// Whether the commands of a `MULTI` must be of one slot, as on a node of a Cluster.
    by_slot: bool,
}

#[derive(Debug, Default)]
struct State {
    /// What was not taken yet, to be sent.
    taken: Taken,
    calls: Vec<Waiting>,
    /// The places without a call.
    free: Vec<u32>,
    /// The earliest epoch of those that were not taken.
    epoch: u64,
    /// When the first limit ends, or earlier.
    earliest: Option<Instant>,
    driver: Option<Waker>,
    ended: bool,
}

/// What is taken, to be sent.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// How many calls that is.
    calls: usize,
    bytes: Vec<u8>,
    due: Vec<Due>,
    sets: Vec<Sets>,
    /// How many of the `sets` have begun; the others are memory that is used again.
    begun: usize,
}

impl Taken {
    /// Where a set of this slot joins.
    fn sets_of(&mut self, slot: Option<u16>) -> &mut Sets {
        let joined = self.sets().iter().rposition(|sets| sets.takes(slot));
        let joined = joined.unwrap_or_else(|| {
            if self.begun == self.sets.len() {
                self.sets.push(Sets::default());
            }
            self.sets[self.begun].begin(slot);
            self.begun += 1;
            self.begun - 1
        });
        &mut self.sets[joined]
    }

    fn sets(&self) -> &[Sets] {
        &self.sets[..self.begun]
    }

    fn is_empty(&self) -> bool {
        self.calls == 0
    }
}

/// How a call begins.
#[derive(Clone, Copy, Debug)]
struct Begun {
    epoch: u64,
    deadline: Instant,
    /// How many calls are under way with it.
    company: usize,
}

/// The place of a call.
#[derive(Debug)]
struct Waiting {
    deadline: Instant,
    waker: Option<Waker>,
    state: Turn,
}

#[derive(Debug)]
enum Turn {
    /// Nobody's.
    Free,
    /// Its outcome has not come.
    Open,
    Came(Outcome),
    /// Its caller has not learnt yet that its limit has passed. Its replies are still to come.
    Elapsed,
    /// Nobody waits. Its replies are still to come.
    Left,
}

impl Lane {
    pub(super) fn new(by_slot: bool) -> Self {
        Lane {
            state: Mutex::default(),
            gathers: AtomicBool::new(false),
            by_slot,
        }
    }

    /// Adds the commands that `write` writes, which get so many replies; `None`: one command with one reply. Returns the
    /// place of the call, or nothing if the connection has ended.
    #[inline]
    fn add(
        &self,
        begun: Begun,
        replies: Option<u32>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<(u32, bool)> {
        self.put(begun, |taken, place| {
            write(&mut taken.bytes);
            taken.due.push(match replies {
                None => Due::One(place),
                Some(left) => Due::Many { place, left },
            });
        })
    }

    /// Adds a `SET` and the lease that is unlinked in the same step.
    #[inline]
    fn add_set(&self, begun: Begun, set: &[&[u8]], lease: &[u8]) -> Option<(u32, bool)> {
        // A lease is in the slot of its entry.
        let slot = self.by_slot.then(|| slot(lease));
        self.put(begun, |taken, place| {
            taken.sets_of(slot).add(place, set, lease);
        })
    }

    /// Adds what `add` adds for a new place. Returns it, and whether its caller sends what has gathered.
    #[inline]
    fn put(&self, begun: Begun, add: impl FnOnce(&mut Taken, u32)) -> Option<(u32, bool)> {
        let mut state = self.state.lock();
        let earliest = state.earliest;
        let place = state.place(begun.epoch, begun.deadline)?;
        add(&mut state.taken, place);
        state.taken.calls += 1;
        let enough = 2 * state.taken.calls >= begun.company;
        // Of what callers send, the driver has only the limits to watch.
        let needed = !enough || state.earliest != earliest;
        let driver = if needed { state.driver.take() } else { None };
        if !enough && driver.is_some() {
            self.gathers.store(true, Ordering::Relaxed);
        }
        drop(state);
        wake(driver);
        Some((place, enough))
    }

    /// Whether calls wait for others.
    pub(super) fn gathers(&self) -> bool {
        self.gathers.load(Ordering::Relaxed)
    }

    /// There is something for the driver to do.
    pub(super) fn wake_driver(&self) {
        let driver = self.state.lock().driver.take();
        wake(driver);
    }

    /// Who is to be told of calls that are added from now on. Returns when the first limit ends.
    pub(super) fn drive(&self, waker: &Waker) -> Option<Instant> {
        let mut state = self.state.lock();
        if !state.driver.as_ref().is_some_and(|it| it.will_wake(waker)) {
            state.driver = Some(waker.clone());
        }
        state.earliest
    }

    /// Gives what was added, to be sent in this epoch. Returns how many calls that is.
    ///
    /// If another epoch has begun since then, or the connection is not usable any more, their callers decide again.
    fn take(&self, taken: &mut Taken, epoch: Option<u64>) -> usize {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.taken.is_empty() {
            return 0;
        }
        self.gathers.store(false, Ordering::Relaxed);
        if epoch != Some(state.epoch) {
            let mut wakers = Vec::new();
            state.give_back(&mut wakers);
            drop(guard);
            wake(wakers);
            return 0;
        }
        debug_assert!(
            taken.is_empty(),
            "what was taken before was put on the wire"
        );
        std::mem::swap(&mut state.taken, taken);
        taken.calls
    }

    /// Hands out what has come.
    pub(super) fn hand_out(&self, arrived: &mut Arrived) {
        let mut state = self.state.lock();
        for (place, outcome) in arrived.outcomes.drain(..) {
            arrived.wakers.extend(state.end(place, outcome));
        }
        drop(state);
        wake(arrived.wakers.drain(..));
    }

    /// Ends the calls whose limit has passed. Returns when the next one does.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let (mut earliest, mut wakers) = (None, Vec::new());
        for call in &mut state.calls {
            if !matches!(call.state, Turn::Open) {
                continue;
            }
            if call.deadline <= now {
                call.state = Turn::Elapsed;
                wakers.extend(call.waker.take());
            } else if earliest.is_none_or(|earliest| call.deadline < earliest) {
                earliest = Some(call.deadline);
            }
        }
        state.earliest = earliest;
        drop(state);
        wake(wakers);
        earliest
    }

    /// The connection has ended with this error. What was not taken was not sent.
    pub(super) fn end(&self, error: &Error) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        let mut wakers = Vec::new();
        state.give_back(&mut wakers);
        for place in 0..state.calls.len() as u32 {
            if !matches!(
                state.calls[place as usize].state,
                Turn::Came(_) | Turn::Free
            ) {
                wakers.extend(state.end(place, Outcome::Failed(error.clone())));
            }
        }
        let driver = state.driver.take();
        drop(state);
        drop(driver);
        wake(wakers);
    }
}

/// Not while a lane is locked: what a waker does, or what is dropped with it, may come back to it.
fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl State {
    /// A place for a call; nothing if the connection has ended.
    #[inline]
    fn place(&mut self, epoch: u64, deadline: Instant) -> Option<u32> {
        if self.ended {
            return None;
        }
        if self.taken.is_empty() || epoch < self.epoch {
            self.epoch = epoch;
        }
        if self.earliest.is_none_or(|earliest| deadline < earliest) {
            self.earliest = Some(deadline);
        }
        let call = Waiting {
            deadline,
            waker: None,
            state: Turn::Open,
        };
        match self.free.pop() {
            Some(place) => {
                self.calls[place as usize] = call;
                Some(place)
            }
            None => {
                self.calls.push(call);
                Some(self.calls.len() as u32 - 1)
            }
        }
    }

    /// What was not taken is not sent.
    #[cold]
    fn give_back(&mut self, wakers: &mut Vec<Waker>) {
        let unsent = std::mem::take(&mut self.taken);
        let alone = unsent.due.iter().flat_map(Due::places);
        for place in alone.chain(unsent.sets().iter().flat_map(Sets::places)) {
            wakers.extend(self.end(*place, Outcome::Unsent));
        }
    }

    /// The outcome of a call has come. Returns who is to be woken.
    #[inline]
    fn end(&mut self, place: u32, outcome: Outcome) -> Option<Waker> {
        let call = &mut self.calls[place as usize];
        match call.state {
            Turn::Left => {
                call.state = Turn::Free;
                self.free.push(place);
                None
            }
            _ => {
                call.state = Turn::Came(outcome);
                call.waker.take()
            }
        }
    }
}
