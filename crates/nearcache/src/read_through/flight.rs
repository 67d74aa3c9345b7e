//! Flights: of all callers in this process that miss one key together, one leads and the others wait.
//!
//! 1. A key has at most one leader at a time (and, when a load takes too long, one substitute).
//! 2. **A caller that joined is answered only by a command, or an unleased load, that began after it
//!    joined.** Callers are numbered as they join; a leader notes the number before it sends what will
//!    answer, and the answer goes to those before it. An invalidation that returned to someone before he
//!    asked is thereby never undone by an answer that is older.
//! 3. When a leader ends with callers unanswered, one of them leads next, for all of them: nobody starts
//!    anew on his own.
//! 4. A caller that goes away takes nobody with him, and a flight without callers is gone.
//!
//! model: Action::Join, Action::AskAgain, Mechanism::RuleTwo

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::Error;
use crate::resilience::Guarded;
use crate::runtime::Runtime;

/// What a leader answers those who wait with.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The value's bytes, without an envelope.
    Value(Arc<[u8]>),
    /// It is known that there is none.
    Nothing,
    /// The loader failed.
    Failed(Error),
}

/// The flights of all caches that go to one place the same way.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Box<[u8]>, Arc<Flight>>>);

#[derive(Debug, Default)]
struct Flight {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many have joined so far: the next one's number.
    joined: u64,
    /// How many of them wait.
    waiting: usize,
    led: bool,
    /// Whether somebody loads in the place of a leader who takes too long.
    substituted: bool,
    /// How often in a row a leader found himself fenced.
    fences: u32,
    /// The last answer, and the number that it goes up to.
    answer: Option<(u64, Answer)>,
}

/// What a caller is to do.
#[derive(Debug)]
pub(crate) enum Turn {
    Lead(Leader),
    Take(Answer),
}

/// Those that are in use.
static SHARED: Mutex<Vec<(Weak<Guarded>, Weak<Flights>)>> = Mutex::new(Vec::new());

impl Flights {
    /// Those of the caches that share this.
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

    /// Joins the flight of a key, or leads it.
    pub(crate) fn join(self: &Arc<Self>, key: &[u8]) -> Result<Leader, Waiter> {
        let mut flights = self.0.lock();
        let flight = match flights.get(key) {
            Some(flight) => Arc::clone(flight),
            None => Arc::clone(flights.entry(key.into()).or_default()),
        };
        let ticket = Ticket {
            flights: Arc::clone(self),
            key: key.into(),
            flight: Arc::clone(&flight),
        };
        let mut state = flight.state.lock();
        if !state.led {
            state.led = true;
            return Ok(Leader::new(ticket, Role::First, state.fences));
        }
        let number = state.joined;
        state.joined += 1;
        state.waiting += 1;
        Err(Waiter { ticket, number })
    }

    /// Leads the flight of a key, if there is none.
    pub(crate) fn lead_alone(self: &Arc<Self>, key: &[u8]) -> Option<Leader> {
        let mut flights = self.0.lock();
        if flights.contains_key(key) {
            return None;
        }
        let flight = Arc::clone(flights.entry(key.into()).or_default());
        flight.state.lock().led = true;
        let ticket = Ticket {
            flights: Arc::clone(self),
            key: key.into(),
            flight,
        };
        Some(Leader::new(ticket, Role::First, 0))
    }

    /// How many keys are being loaded, or waited for.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().len()
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
    /// Changes the flight, which is gone after that if nobody is left in it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut flights = self.flights.0.lock();
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
        }
        changed
    }
}

/// One who waits for a flight's leader.
#[derive(Debug)]
pub(crate) struct Waiter {
    ticket: Ticket,
    number: u64,
}

impl Waiter {
    /// Waits for an answer, or for the lead. One who has waited for `patience` leads in the leader's
    /// place, unless another one does already.
    pub(crate) async fn turn(self, runtime: &Runtime, patience: Option<Duration>) -> Turn {
        loop {
            let waiting = || self.answered_or_leading();
            let turn = match patience {
                Some(patience) => runtime.timeout(patience, waiting).await,
                None => Some(waiting().await),
            };
            if let Some(turn) = turn.or_else(|| self.substitute()) {
                return turn;
            }
        }
    }

    async fn answered_or_leading(&self) -> Turn {
        loop {
            let mut changed = std::pin::pin!(self.ticket.flight.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            {
                let mut state = self.ticket.flight.state.lock();
                if let Some((covers, answer)) = &state.answer
                    && self.number < *covers
                {
                    return Turn::Take(answer.clone());
                }
                if !state.led {
                    state.led = true;
                    return Turn::Lead(self.leader(Role::First, state.fences));
                }
            }
            changed.await;
        }
    }

    fn substitute(&self) -> Option<Turn> {
        let mut state = self.ticket.flight.state.lock();
        if state.substituted {
            return None;
        }
        state.substituted = true;
        Some(Turn::Lead(self.leader(Role::Substitute, state.fences)))
    }

    fn leader(&self, role: Role, fences: u32) -> Leader {
        let ticket = Ticket {
            flights: Arc::clone(&self.ticket.flights),
            key: self.ticket.key.clone(),
            flight: Arc::clone(&self.ticket.flight),
        };
        Leader::new(ticket, role, fences)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.ticket.change(|state| state.waiting -= 1);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    First,
    Substitute,
}

/// One who loads for a flight. Dropped without a word (cancelled, or with its runtime) it makes room for
/// the next.
#[derive(Debug)]
pub(crate) struct Leader {
    ticket: Ticket,
    role: Role,
    fences: u32,
}

impl Leader {
    fn new(ticket: Ticket, role: Role, fences: u32) -> Self {
        Leader {
            ticket,
            role,
            fences,
        }
    }

    /// Whether this one leads because the leader takes too long.
    pub(crate) fn is_substitute(&self) -> bool {
        self.role == Role::Substitute
    }

    /// How often in a row the leaders before this one were fenced.
    pub(crate) fn fences(&self) -> u32 {
        self.fences
    }

    /// Who will have joined before what is sent next: rule 2.
    pub(crate) fn covers(&self) -> u64 {
        self.ticket.flight.state.lock().joined
    }

    /// Ends with an answer to those who are covered.
    pub(crate) fn answer(self, covers: u64, answer: Answer) {
        self.ticket.change(|state| {
            state.fences = 0;
            // A substitute may have had a newer one.
            if state
                .answer
                .as_ref()
                .is_none_or(|(up_to, _)| *up_to <= covers)
            {
                state.answer = Some((covers, answer));
            }
        });
    }

    /// Ends with an error of the loader, which is news to everyone, whenever he joined.
    pub(crate) fn fail(self, error: Error) {
        let covers = self.covers();
        self.answer(covers, Answer::Failed(error));
    }

    /// Ends without an answer, because an invalidation came between.
    pub(crate) fn fenced(self) {
        self.ticket.change(|state| state.fences += 1);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.ticket.change(|state| match self.role {
            Role::First => state.led = false,
            Role::Substitute => state.substituted = false,
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
        leader.fenced();
        let mut turns = Vec::new();
        for waiter in waiters {
            turns.push(tokio::spawn(turn(waiter)));
        }
        let mut taken = 0;
        for waiting in turns {
            match waiting.await.unwrap() {
                Turn::Lead(leader) => {
                    assert_eq!(leader.fences(), 1);
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
    async fn rule_4_those_who_go_away_leave_nothing_behind() {
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
        assert!(substitute.is_substitute());
        let waiting = tokio::spawn(async move { second.turn(&Runtime::Tokio, patience).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!waiting.is_finished(), "a second substitute");
        let covers = substitute.covers();
        substitute.answer(covers, value("v"));
        assert_eq!(text(&waiting.await.unwrap()), Some("v"));
        leader.answer(0, value("late"));
        assert_eq!(flights.len(), 0);
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
