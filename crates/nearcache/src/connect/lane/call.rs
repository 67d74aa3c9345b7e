//! A call that was written into a lane.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::super::driven::Driven;
use super::{Begun, Outcome, Turn};

/// A call that waits for its outcome.
#[derive(Debug)]
pub(in super::super) struct OnItsWay {
    connected: Arc<Driven>,
    place: u32,
    /// How many writes had been given up on the connection when it began.
    after: u64,
    writes: bool,
    /// Whether its outcome was taken.
    ended: bool,
}

/// What is sent.
pub(in super::super) enum Way<'w, W> {
    /// Commands that get so many replies.
    Commands(W, Option<u32>),
    /// A `SET`, and the lease that is unlinked in the same step.
    Set(&'w [&'w [u8]], &'w [u8]),
}

impl OnItsWay {
    /// Writes a call. `None`: the connection has ended.
    #[inline]
    pub(in super::super) fn over<W: FnOnce(&mut Vec<u8>)>(
        connected: Arc<Driven>,
        (epoch, deadline): (u64, Instant),
        writes: bool,
        way: Way<'_, W>,
    ) -> Option<Self> {
        let after = connected.given_up();
        let begun = Begun {
            epoch,
            deadline,
            company: connected.calls(),
        };
        let lane = connected.lane();
        let (place, enough) = match way {
            Way::Commands(write, replies) => lane.add(begun, replies, write),
            Way::Set(set, lease) => lane.add_set(begun, set, lease),
        }?;
        if enough && !connected.send() {
            lane.wake_driver();
        }
        Some(OnItsWay {
            connected,
            place,
            after,
            writes,
            ended: false,
        })
    }

    /// The connection that it was sent on.
    pub(in super::super) fn connected(&self) -> &Arc<Driven> {
        &self.connected
    }
}

impl Future for OnItsWay {
    type Output = Outcome;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        let mut state = this.connected.lane().state.lock();
        let call = &mut state.calls[this.place as usize];
        let outcome = match std::mem::replace(&mut call.state, Turn::Free) {
            Turn::Came(outcome) => {
                state.free.push(this.place);
                outcome
            }
            Turn::Elapsed => {
                call.state = Turn::Left;
                Outcome::Elapsed
            }
            open => {
                call.state = open;
                let waker = context.waker();
                if !call.waker.as_ref().is_some_and(|it| it.will_wake(waker)) {
                    let before = call.waker.replace(waker.clone());
                    drop(state);
                    drop(before);
                }
                return Poll::Pending;
            }
        };
        drop(state);
        this.ended = true;
        match &outcome {
            Outcome::Reply(_) | Outcome::Replies(_) | Outcome::Refused => {
                this.connected.note_answer(this.after);
            }
            // Before its caller learns of it, and makes another call.
            Outcome::Elapsed | Outcome::Failed(_) if this.writes => this.connected.give_up(),
            _ => {}
        }
        Poll::Ready(outcome)
    }
}

/// Invariants 3 and 4.
impl Drop for OnItsWay {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.connected.lane().state.lock();
        let call = &mut state.calls[self.place as usize];
        let waker = call.waker.take();
        let unknown = match std::mem::replace(&mut call.state, Turn::Left) {
            Turn::Came(outcome) => {
                call.state = Turn::Free;
                state.free.push(self.place);
                matches!(outcome, Outcome::Failed(_))
            }
            _ => true,
        };
        drop(state);
        drop(waker);
        if unknown && self.writes {
            self.connected.give_up();
        }
    }
}
