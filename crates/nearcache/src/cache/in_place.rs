//! Calls that are tried in place: the future of a call takes a good thousand bytes, which a place that answers at once
//! needs only for a moment. So it lies on the stack of whoever polls it, and what is kept until then is the call alone,
//! within the future of the operation: nothing is allocated.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::operation::CacheFuture;
use crate::error::Result;

/// A call that is ready to go: a `get` or a `set`. If it is carried out twice, the second time counts.
pub trait Call: Send + Sync + Unpin {
    type Output: Send;

    /// Whether the place has every reply at once.
    fn is_at_once(&self) -> bool;

    /// The short way, in a store in this process. `None`: it is to be carried out.
    fn at_once(&self) -> Option<Self::Output>;

    fn carry_out(&self) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// An operation that is about to be carried out.
pub(crate) enum Prepared<'c, C: Call> {
    /// The answer is known already.
    Done(Result<C::Output>),
    /// It is another call than usual, or one that was not answered at once.
    Asking(CacheFuture<'c, C::Output>),
    Call(C),
    Ended,
}

impl<'c, C: Call + 'c> Prepared<'c, C> {
    /// For an async caller. Nothing happens before the first poll.
    pub(crate) fn future(self) -> InPlace<'c, C> {
        InPlace(self)
    }

    /// The same, in a box.
    pub(crate) fn start(self) -> CacheFuture<'c, C::Output> {
        match self {
            Prepared::Done(answer) => CacheFuture::ready(answer),
            Prepared::Asking(future) => future,
            call => CacheFuture::asking(call.future()),
        }
    }

    /// For a blocking caller, whose thread waits: nothing is kept anywhere.
    #[cfg(feature = "blocking")]
    #[inline]
    pub(crate) fn run(self) -> Result<C::Output> {
        match self {
            Prepared::Done(answer) => answer,
            Prepared::Call(call) => match call.at_once() {
                Some(answer) => Ok(answer),
                None => crate::runtime::block_on(call.carry_out()),
            },
            other => crate::runtime::block_on(other.future()),
        }
    }
}

/// The future of a `get` or a `set`. In a store in this process it allocates nothing.
#[must_use = "nothing happens until it is awaited"]
pub struct InPlace<'c, C: Call>(Prepared<'c, C>);

/// `Unpin` is safe: what needs pinning is in a box, or on the stack during one poll.
impl<C: Call> Unpin for InPlace<'_, C> {}

impl<'c, C: Call + 'c> Future for InPlace<'c, C> {
    type Output = Result<C::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        if let Prepared::Call(call) = state
            && let Some(answer) = call.at_once()
        {
            *state = Prepared::Ended;
            return Poll::Ready(Ok(answer));
        }
        go_on(state, context)
    }
}

/// The long way.
fn go_on<'c, C: Call + 'c>(
    state: &mut Prepared<'c, C>,
    context: &mut Context<'_>,
) -> Poll<Result<C::Output>> {
    if let Prepared::Call(call) = state
        && call.is_at_once()
    {
        let answer = pin!(call.carry_out()).poll(context);
        if answer.is_ready() {
            *state = Prepared::Ended;
            return answer;
        }
    }
    match std::mem::replace(state, Prepared::Ended) {
        Prepared::Call(call) => {
            *state = Prepared::Asking(CacheFuture::asking(async move { call.carry_out().await }));
        }
        Prepared::Done(answer) => return Poll::Ready(answer),
        other => *state = other,
    }
    match state {
        Prepared::Asking(future) => Pin::new(future).poll(context),
        _ => Poll::Pending, // polled after completion, which `.await` never does
    }
}

impl<C: Call> fmt::Debug for InPlace<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InPlace")
    }
}
