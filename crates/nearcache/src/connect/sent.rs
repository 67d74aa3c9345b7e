//! A call that was sent to a server, and what is made of its outcome.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use redis::Value;

use super::ask::Ask;
use super::lane::{OnItsWay, Outcome};
use super::multiplexed::Multiplexed;
use super::{Backend, BoxFuture, Terms, replies_of, result_of, timed_out};
use crate::error::Result;

/// A call that was sent.
pub(crate) struct Sent<'a> {
    pub(super) server: &'a Multiplexed,
    pub(super) call: Ask<'a>,
    pub(super) terms: Terms,
    /// How much of its limit was left then, and until when.
    pub(super) left: Duration,
    pub(super) deadline: Instant,
    pub(super) on_its_way: OnItsWay,
}

/// What became of it.
pub(super) enum Next<'a, T> {
    Replied(T),
    /// Nothing was carried out: this is to be sent.
    Again(Ask<'a>),
}

impl<'a> Sent<'a> {
    /// The reply, when it is here.
    #[inline]
    pub(super) fn poll_reply<T: OfOutcome>(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Next<'a, T>>> {
        let outcome = ready!(Pin::new(&mut self.on_its_way).poll(context));
        Poll::Ready(match outcome {
            Outcome::Unsent => Ok(Next::Again(self.call)),
            Outcome::Refused => Ok(Next::Again(self.call.alone())),
            Outcome::Elapsed => {
                self.on_its_way.connected().note_silence(self.left);
                Err(timed_out(self.terms.limit, ""))
            }
            Outcome::Failed(error) => Err(error),
            outcome => T::of(outcome, self.call, self.server).map(Next::Replied),
        })
    }

    /// Sends this with what is left of the limit.
    #[cold]
    pub(super) fn again<T: OfOutcome + Send + 'a>(
        &self,
        call: Ask<'a>,
    ) -> BoxFuture<'a, Result<T>> {
        let left = self.server.until(self.deadline);
        Box::pin(self.server.send(call, self.terms, left))
    }
}

/// What a caller gets of an outcome.
pub(crate) trait OfOutcome: Sized {
    fn of(outcome: Outcome, call: Ask<'_>, server: &Multiplexed) -> Result<Self>;
}

/// The reply to one command.
impl OfOutcome for Value {
    #[inline]
    fn of(outcome: Outcome, _: Ask<'_>, _: &Multiplexed) -> Result<Self> {
        match outcome {
            Outcome::Reply(reply) => result_of(reply),
            other => Err(other.unexpected()),
        }
    }
}

/// The replies to the commands of a pipeline.
impl OfOutcome for Vec<Value> {
    fn of(outcome: Outcome, call: Ask<'_>, server: &Multiplexed) -> Result<Self> {
        match outcome {
            // They are those inside a `MULTI` already.
            Outcome::Replies(both) if call.is_shared() => Ok(both),
            Outcome::Replies(all) => replies_of(server.common(), call.is_transaction(), all),
            other => Err(other.unexpected()),
        }
    }
}
