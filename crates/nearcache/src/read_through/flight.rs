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
//!    begin a new flight at once. This only saves time; without it, invariant 2 makes them wait for the load to end.
//! 5. A cancelled caller affects no other caller, and a flight without callers is removed.
//!
//! model: Action::Join, Action::AskAgain, Mechanism::RuleTwo, Mechanism::FencedAfterJoin, "detached flights"

use std::any::Any;
use std::collections::HashMap;
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
    /// The loader failed.
    Failed(Error),
}

/// The flights of all caches that share one connection ([`Guarded`]).
#[derive(Debug, Default)]
pub(crate) struct Flights {
    flights: Mutex<HashMap<Box<[u8]>, Arc<Flight>>>,
    /// How many there are. Nearly always none, which is all that an invalidation needs to know.
    count: AtomicUsize,
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
    /// Whether new callers have a flight of their own.
    detached: bool,
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
    /// The flight was detached, and its load cannot answer this waiter: join the key's flight anew.
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
        let mut flights = self.flights.lock();
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
        Err(Waiter { ticket, number })
    }

    /// Leads the flight of a key, if the key has none.
    pub(crate) fn lead_alone(self: &Arc<Self>, key: &[u8]) -> Option<Leader> {
        let mut flights = self.flights.lock();
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
        self.flights.lock().contains_key(key)
    }

    /// The number of keys with a flight.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.flights.lock().len()
    }

    /// Whether any key has a flight.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// The key was invalidated: whoever comes from now on, and whoever the running load may not answer, need not wait
    /// for it. (A load whose loader has not been called yet answers them all.)
    pub(crate) fn detach(&self, key: &[u8]) {
        let mut flights = self.flights.lock();
        let Some(flight) = flights.get(key) else {
            return;
        };
        let mut state = flight.state.lock();
        if !state.led || state.loader_called.is_none() {
            return;
        }
        state.detached = true;
        drop(state);
        if let Some(flight) = flights.remove(key) {
            flight.changed.notify_waiters();
        }
        self.count.store(flights.len(), Ordering::Relaxed);
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
        let mut flights = self.flights.flights.lock();
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
    pub(crate) async fn turn(self, runtime: &Runtime, patience: Option<Duration>) -> Turn {
        let Some(patience) = patience else {
            return self.answered_or_leading().await;
        };
        let mut waited = false;
        loop {
            let waiting = || self.answered_or_leading();
            let turn = runtime.timeout(patience, waiting).await;
            if let Some(turn) = turn.or_else(|| self.load_instead(&mut waited)) {
                return turn;
            }
        }
    }

    async fn answered_or_leading(&self) -> Turn {
        loop {
            let mut changed = std::pin::pin!(self.ticket.flight.changed.notified());
            // Registered before the state is checked, so that no change is missed.
            changed.as_mut().enable();
            {
                let mut state = self.ticket.flight.state.lock();
                if let Some((covers, answer)) = &state.answer
                    && self.number < *covers
                {
                    return Turn::Take(answer.clone());
                }
                let too_late = || {
                    state
                        .loader_called
                        .is_none_or(|before| self.number >= before)
                };
                if state.detached && (!state.led || too_late()) {
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

impl Drop for Waiter {
    fn drop(&mut self) {
        self.ticket.change(|state| state.waiting -= 1);
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
        self.ticket.change(|state| match self.role {
            Role::First => {
                state.led = false;
                state.loader_called = None;
            }
            Role::Substitute => state.substitute = None,
            Role::Alone => {}
        });
        self.ticket.flight.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Answer {
        Answer::Value(Arc::from(text.as_bytes()))
    }

    fn text(turn: &Turn) -> Option<&str> {
        match turn {
            Turn::Take(Answer::Value(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    async fn turn(waiter: Waiter) -> Turn {
        waiter.turn(&Runtime::Tokio, None).await
    }

    #[tokio::test]
    async fn rule_2_who_joined_after_the_command_was_sent_is_not_answered_by_it() {
        let flights = Arc::<Flights>::default();
        let leader = flights.join(b"k").unwrap();
        let early = flights.join(b"k").unwrap_err();
        let covers = leader.covers();
        let late = flights.join(b"k").unwrap_err();
        leader.answer(covers, value("v"));
        assert_eq!(text(&turn(early).await), Some("v"));
        let Turn::Lead(next) = turn(late).await else {
            panic!("answered by what was sent before it asked");
        };
        drop(next);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn rule_3_one_of_the_unanswered_leads_for_the_others() {
        let flights = Arc::<Flights>::default();
        let leader = flights.join(b"k").unwrap();
        let waiters: Vec<_> = (0..10).map(|_| flights.join(b"k").unwrap_err()).collect();
        drop(leader);
        let mut turns = Vec::new();
        for waiter in waiters {
            turns.push(tokio::spawn(turn(waiter)));
        }
        let mut taken = 0;
        for waiting in turns {
            match waiting.await.unwrap() {
                Turn::Lead(leader) => {
                    let covers = leader.covers();
                    leader.answer(covers, value("v"));
                }
                turn => {
                    assert_eq!(text(&turn), Some("v"));
                    taken += 1;
                }
            }
        }
        assert_eq!((taken, flights.len()), (9, 0));
    }

    #[tokio::test]
    async fn an_invalidation_detaches_a_load_that_may_not_answer_everybody() {
        let flights = Arc::<Flights>::default();
        flights.detach(b"k");
        let leader = flights.join(b"k").unwrap();
        let early = flights.join(b"k").unwrap_err();
        // The loader will be called after all of them have asked.
        flights.detach(b"k");
        let covers = leader.calls_loader();
        let late = flights.join(b"k").unwrap_err();
        let waiting = tokio::spawn(turn(late));
        tokio::task::yield_now().await;
        flights.detach(b"k");
        assert!(matches!(waiting.await.unwrap(), Turn::Again));
        let next = flights.join(b"k").unwrap();
        leader.answer(covers, value("old"));
        assert_eq!(text(&turn(early).await), Some("old"));
        assert!(flights.any());
        drop(next);
        assert!(!flights.any());
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_detached_flight_whose_leader_goes_away_gets_no_other() {
        let flights = Arc::<Flights>::default();
        let leader = flights.join(b"k").unwrap();
        let early = flights.join(b"k").unwrap_err();
        let _covers = leader.calls_loader();
        flights.detach(b"k");
        drop(leader);
        assert!(matches!(turn(early).await, Turn::Again));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn rule_5_those_who_go_away_leave_nothing_behind() {
        let flights = Arc::<Flights>::default();
        let leader = flights.join(b"k").unwrap();
        let waiter = flights.join(b"k").unwrap_err();
        drop(leader);
        drop(waiter);
        assert_eq!(flights.len(), 0);
        assert!(flights.lead_alone(b"k").is_some());
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn an_error_reaches_everyone_and_the_key_can_be_loaded_again() {
        let flights = Arc::<Flights>::default();
        let leader = flights.join(b"k").unwrap();
        let _covers = leader.covers();
        let late = flights.join(b"k").unwrap_err();
        leader.fail(Error::closed());
        assert!(matches!(turn(late).await, Turn::Take(Answer::Failed(_))));
        assert!(flights.join(b"k").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_has_waited_too_long_leads_in_the_leaders_place() {
        let flights = Arc::<Flights>::default();
        let leader = flights.join(b"k").unwrap();
        let patience = Some(Duration::from_secs(1));
        let first = flights.join(b"k").unwrap_err();
        let second = flights.join(b"k").unwrap_err();
        let Turn::Lead(substitute) = first.turn(&Runtime::Tokio, patience).await else {
            panic!("no substitute");
        };
        assert!(substitute.is_late());
        let waiting = tokio::spawn(async move { second.turn(&Runtime::Tokio, patience).await });
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert!(!waiting.is_finished(), "a second substitute");
        let covers = substitute.covers();
        substitute.answer(covers, value("v"));
        assert_eq!(text(&waiting.await.unwrap()), Some("v"));
        leader.answer(0, value("late"));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_has_waited_too_long_for_the_substitute_too_loads_alone() {
        let flights = Arc::<Flights>::default();
        let _leader = flights.join(b"k").unwrap();
        let patience = Some(Duration::from_secs(1));
        let mut waiters: Vec<_> = (0..3).map(|_| flights.join(b"k").unwrap_err()).collect();
        let begun = tokio::time::Instant::now();
        let (first, second) = (waiters.pop().unwrap(), waiters.pop().unwrap());
        let Turn::Lead(substitute) = first.turn(&Runtime::Tokio, patience).await else {
            panic!("no substitute");
        };
        assert!(substitute.is_late());
        let Turn::Lead(alone) = second.turn(&Runtime::Tokio, patience).await else {
            panic!("it waits for ever");
        };
        assert!(alone.is_late());
        assert_eq!(begun.elapsed().as_secs(), 3);
        // One who comes now waits once: the substitute is late already.
        let late = flights.join(b"k").unwrap_err();
        let Turn::Lead(alone) = late.turn(&Runtime::Tokio, patience).await else {
            panic!("it waits for ever");
        };
        assert_eq!(begun.elapsed().as_secs(), 4);
        // Its answer is for all who joined before its loader was called.
        let covers = alone.covers();
        alone.answer(covers, value("v"));
        let third = waiters.pop().unwrap();
        assert_eq!(
            text(&third.turn(&Runtime::Tokio, patience).await),
            Some("v")
        );
        drop(substitute);
    }

    #[cfg(feature = "embedded")]
    #[test]
    fn caches_of_one_place_share_their_flights() {
        use crate::connect::Mode;
        use crate::connect::target::{Place, Target};
        let open = |name: &str| {
            let name = Some(name.to_owned());
            crate::resilience::open(&Target::new(Place::Embedded { name }), Mode::Async)
        };
        let (here, there) = (open("flights").unwrap(), open("other-flights").unwrap());
        let flights = Flights::of(&here);
        assert!(Arc::ptr_eq(&flights, &Flights::of(&here)));
        assert!(!Arc::ptr_eq(&flights, &Flights::of(&there)));
    }
}
