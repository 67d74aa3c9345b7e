//! Flights (single-flight): of all callers in this process that miss one key together, one leads and the others wait.
//!
//! 1. A key has at most one leader at a time and, if its load takes too long, one substitute. A waiter that has waited
//!    too long for both loads for itself.
//! 2. **A waiter is answered only by a command that was sent, or by a loader that was called, after the waiter joined.**
//!    Waiters are numbered as they join. A leader notes the next number before it sends the command, or calls the
//!    loader, and its answer is only for the waiters below that number. So no caller gets an answer that is older than
//!    an invalidation that had returned before the caller asked. Whether the loaded value could be stored makes no
//!    difference: who asked before the loader was called may have it.
//! 3. When a leader ends and waiters are left unanswered, one of them leads next, for all of them. They do not all
//!    load.
//! 4. An invalidation by this process detaches the flight: its load goes on for those whom it may answer, and the others
//!    are in a new flight at once. This only saves time; without it, invariant 2 makes them wait for the load to end. At
//!    most one load of a key goes on like this: however often the key is invalidated, not every caller loads.
//! 5. A cancelled caller affects no other caller, and a flight without callers is removed.
//!
//! model: Action::Join, Action::AskAgain, Mechanism::RuleTwo, Mechanism::FencedAfterJoin, "detached flights"

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::Error;
use crate::resilience::Guarded;
use crate::runtime::Runtime;

/// The answer of a leader to its waiters.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The value's bytes, without an envelope.
    Value(Arc<[u8]>),
    /// The value itself, which cannot be encoded.
    Unencoded(Arc<dyn Any + Send + Sync>),
    /// The loader found no value.
    Nothing,
    /// A value that has been stale for this long. It is for those who take one as old.
    Stale(Duration, Box<Answer>),
    /// The loader failed.
    Failed(Error),
}

/// The flights of all caches that share one connection ([`Guarded`]).
#[derive(Debug, Default)]
pub(crate) struct Flights {
    table: Mutex<Table>,
    /// How many there are. Nearly always none, which is all that an invalidation needs to know.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    flights: HashMap<Box<[u8]>, Arc<Flight>>,
    /// The keys with a detached load that is still running.
    detached: HashSet<Box<[u8]>>,
}

#[derive(Debug, Default)]
struct Flight {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many waiters have joined so far: the number of the next one.
    joined: u64,
    /// How many waiters are still waiting.
    waiting: usize,
    led: bool,
    /// The leader has called its loader. So many waiters had joined by then.
    loader_called: Option<u64>,
    /// How many of those who wait have joined since.
    late: usize,
    /// After the flight was detached: the number of the first waiter who is in the next flight now, and that flight.
    next: Option<(u64, Arc<Flight>)>,
    /// A substitute loads because the leader takes too long. So many waiters had joined when it began.
    substitute: Option<u64>,
    /// The last answer. It is for the waiters below this number.
    answer: Option<(u64, Answer)>,
}

/// What a waiter does next.
#[derive(Debug)]
pub(crate) enum Turn {
    Lead(Leader),
    Take(Answer),
    /// The flight was detached, and its load ended without an answer: join the key's flight anew.
    Again,
}

/// The flights in use, by their place.
static SHARED: Mutex<Vec<(Weak<Guarded>, Weak<Flights>)>> = Mutex::new(Vec::new());

impl Flights {
    /// The flights of this place, shared by all its caches.
    pub(crate) fn of(guarded: &Arc<Guarded>) -> Arc<Self> {
        let mut shared = SHARED.lock();
        shared.retain(|(place, flights)| place.strong_count() > 0 && flights.strong_count() > 0);
        let here = |(place, _): &&(Weak<Guarded>, _)| std::ptr::eq(place.as_ptr(), &**guarded);
        let found = shared.iter().find(here);
        if let Some(flights) = found.and_then(|(_, flights)| flights.upgrade()) {
            return flights;
        }
        let flights = Arc::<Self>::default();
        shared.push((Arc::downgrade(guarded), Arc::downgrade(&flights)));
        flights
    }

    /// Leads the flight of a key if it has no leader, else joins it as a waiter.
    pub(crate) fn join(self: &Arc<Self>, key: &[u8]) -> Result<Leader, Waiter> {
        let mut table = self.table.lock();
        let flights = &mut table.flights;
        let flight = match flights.get(key) {
            Some(flight) => Arc::clone(flight),
            None => Arc::clone(flights.entry(key.into()).or_default()),
        };
        self.count.store(flights.len(), Ordering::Relaxed);
        let ticket = Ticket {
            flights: Arc::clone(self),
            key: key.into(),
            flight: Arc::clone(&flight),
        };
        let mut state = flight.state.lock();
        if !state.led {
            state.led = true;
            return Ok(Leader::new(ticket, Role::First));
        }
        let number = state.joined;
        state.joined += 1;
        state.waiting += 1;
        state.late += usize::from(state.loader_called.is_some());
        Err(Waiter { ticket, number })
    }

    /// Leads the flight of a key, if the key has none.
    pub(crate) fn lead_alone(self: &Arc<Self>, key: &[u8]) -> Option<Leader> {
        let mut table = self.table.lock();
        let flights = &mut table.flights;
        if flights.contains_key(key) {
            return None;
        }
        let flight = Arc::clone(flights.entry(key.into()).or_default());
        self.count.store(flights.len(), Ordering::Relaxed);
        flight.state.lock().led = true;
        let ticket = Ticket {
            flights: Arc::clone(self),
            key: key.into(),
            flight,
        };
        Some(Leader::new(ticket, Role::First))
    }

    /// Whether a key has a flight.
    #[cfg(feature = "blocking")]
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.table.lock().flights.contains_key(key)
    }

    /// The number of keys with a flight.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().flights.len()
    }

    /// Whether any key has a flight.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// The key was invalidated: whoever comes from now on, and whoever the running load may not answer, need not wait
    /// for it. (A load whose loader has not been called yet answers them all.)
    pub(crate) fn detach(&self, key: &[u8]) {
        let mut table = self.table.lock();
        let Some(flight) = table.flights.get(key) else {
            return;
        };
        if table.detached.contains(key) {
            return;
        }
        let flight = Arc::clone(flight);
        let mut state = flight.state.lock();
        let Some(before) = state.loader_called.filter(|_| state.led) else {
            return;
        };
        let next = Arc::new(Flight {
            state: Mutex::new(State {
                joined: state.joined - before,
                waiting: state.late,
                ..State::default()
            }),
            changed: Notify::new(),
        });
        if state.late > 0 {
            table.flights.insert(key.into(), Arc::clone(&next));
        } else {
            table.flights.remove(key);
        }
        table.detached.insert(key.into());
        state.waiting -= std::mem::take(&mut state.late);
        state.next = Some((before, next));
        drop(state);
        flight.changed.notify_waiters();
        self.count.store(table.flights.len(), Ordering::Relaxed);
    }
}

/// A place in a flight.
#[derive(Debug)]
struct Ticket {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    flight: Arc<Flight>,
}

impl Ticket {
    /// Changes the flight, and removes it if nobody is left in it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.change_among(&mut self.flights.table.lock(), change)
    }

    fn change_among<T>(&self, table: &mut Table, change: impl FnOnce(&mut State) -> T) -> T {
        let flights = &mut table.flights;
        let mut state = self.flight.state.lock();
        let changed = change(&mut state);
        let empty = !state.led && state.waiting == 0;
        drop(state);
        if empty
            && flights
                .get(&self.key)
                .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            flights.remove(&self.key);
            self.flights.count.store(flights.len(), Ordering::Relaxed);
        }
        changed
    }
}

/// A caller that waits for a flight's leader.
#[derive(Debug)]
pub(crate) struct Waiter {
    ticket: Ticket,
    number: u64,
}

impl Waiter {
    /// Waits for an answer or for the lead. After waiting for `patience` it becomes the substitute. If there has been a
    /// substitute for as long, it loads for itself.
    pub(crate) async fn turn(mut self, runtime: &Runtime, patience: Option<Duration>) -> Turn {
        let Some(patience) = patience else {
            return self.answered_or_leading().await;
        };
        let mut waited = false;
        loop {
            let turn = runtime
                .timeout(patience, || self.answered_or_leading())
                .await;
            if let Some(turn) = turn.or_else(|| self.load_instead(&mut waited)) {
                return turn;
            }
        }
    }

    async fn answered_or_leading(&mut self) -> Turn {
        loop {
            let flight = Arc::clone(&self.ticket.flight);
            let mut changed = std::pin::pin!(flight.changed.notified());
            // Registered before the state is checked, so that no change is missed.
            changed.as_mut().enable();
            if self.follow() {
                continue;
            }
            {
                let mut state = flight.state.lock();
                if let Some((covers, answer)) = &state.answer
                    && self.number < *covers
                {
                    return Turn::Take(answer.clone());
                }
                if !state.led && state.next.is_some() {
                    return Turn::Again;
                }
                if !state.led {
                    state.led = true;
                    return Turn::Lead(self.leader(Role::First));
                }
            }
            changed.await;
        }
    }

    /// Loads in the leader's place; or for itself, if the substitute has had as much time as this waiter gives it.
    /// `waited` says whether it has waited for a substitute already.
    fn load_instead(&self, waited: &mut bool) -> Option<Turn> {
        let mut state = self.ticket.flight.state.lock();
        let role = match state.substitute {
            None => {
                state.substitute = Some(state.joined);
                Role::Substitute
            }
            // It began before this waiter joined, or before its last wait.
            Some(begun) if begun <= self.number || *waited => Role::Alone,
            Some(_) => {
                *waited = true;
                return None;
            }
        };
        Some(Turn::Lead(self.leader(role)))
    }

    fn leader(&self, role: Role) -> Leader {
        let ticket = Ticket {
            flights: Arc::clone(&self.ticket.flights),
            key: self.ticket.key.clone(),
            flight: Arc::clone(&self.ticket.flight),
        };
        Leader::new(ticket, role)
    }
}

impl Waiter {
    /// Goes on in the flight that has taken this waiter over, if one has.
    fn follow(&mut self) -> bool {
        let state = self.ticket.flight.state.lock();
        let Some((before, next)) = &state.next else {
            return false;
        };
        if self.number < *before {
            return false;
        }
        self.number -= before;
        let next = Arc::clone(next);
        drop(state);
        self.ticket.flight = next;
        true
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.ticket.flights);
        // No flight is detached meanwhile.
        let mut table = shared.table.lock();
        while self.follow() {}
        self.ticket.change_among(&mut table, |state| {
            state.waiting -= 1;
            let is_late = |before| self.number >= before;
            state.late -= usize::from(state.loader_called.is_some_and(is_late));
        });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The leader.
    First,
    /// The leader takes too long.
    Substitute,
    /// The substitute takes too long as well.
    Alone,
}

/// The caller that loads for a flight. If it is dropped without an answer (cancelled, or its runtime shut down), the
/// next waiter leads.
#[derive(Debug)]
pub(crate) struct Leader {
    ticket: Ticket,
    role: Role,
}

impl Leader {
    fn new(ticket: Ticket, role: Role) -> Self {
        Leader { ticket, role }
    }

    /// Whether it loads because the first leader takes too long.
    pub(crate) fn is_late(&self) -> bool {
        self.role != Role::First
    }

    /// How many waiters have joined by now: the answer of a command that is sent next is for these (invariant 2).
    pub(crate) fn covers(&self) -> u64 {
        self.ticket.flight.state.lock().joined
    }

    /// Like [`covers`](Leader::covers), for the loader, which is called next.
    pub(crate) fn calls_loader(&self) -> u64 {
        let mut state = self.ticket.flight.state.lock();
        if self.role == Role::First {
            state.loader_called = Some(state.joined);
            state.late = 0;
        }
        state.joined
    }

    /// Ends with an answer to the first `covers` waiters.
    pub(crate) fn answer(self, covers: u64, answer: Answer) {
        self.ticket.change(|state| {
            // Keep the answer that covers more waiters: a substitute may have given a newer one.
            if state
                .answer
                .as_ref()
                .is_none_or(|(up_to, _)| *up_to <= covers)
            {
                state.answer = Some((covers, answer));
            }
        });
    }

    /// Ends with an error, which goes to all waiters, whenever they joined.
    pub(crate) fn fail(self, error: Error) {
        let covers = self.covers();
        self.answer(covers, Answer::Failed(error));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut table = self.ticket.flights.table.lock();
        let ends_detached = self
            .ticket
            .change_among(&mut table, |state| match self.role {
                Role::First => {
                    state.led = false;
                    state.loader_called = None;
                    state.next.is_some()
                }
                Role::Substitute => {
                    state.substitute = None;
                    false
                }
                Role::Alone => false,
            });
        if ends_detached {
            table.detached.remove(&self.ticket.key);
        }
        drop(table);
        self.ticket.flight.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
