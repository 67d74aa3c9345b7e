//! Waiting until a change is on the disk.
//!
//! Under `always` a command is acknowledged when its record is durable. Many wait at once for one sync: whoever finds
//! that nobody is at it leads, and writes and syncs for all. A thread waits by parking. A future leaves a waker, and the
//! log's own thread leads for it, so that an executor is never blocked by the disk.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::Fsync;
use super::log::Log;
use crate::reply::Error;

#[derive(Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
    turn: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether a thread writes and syncs for all.
    led: bool,
    /// Futures, with the positions that they wait for.
    wakers: Vec<(u64, Waker)>,
    /// Up to here writing has failed, and why.
    failed: u64,
    why: String,
}

impl Waiting {
    /// Everything up to there is durable.
    pub(super) fn succeed(&self, durable: u64) {
        let mut state = self.state.lock();
        let woken: Vec<_> = state
            .wakers
            .extract_if(.., |(position, _)| *position <= durable)
            .collect();
        drop(state);
        self.turn.notify_all();
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// What is not durable yet, and at most there, could not be written.
    pub(super) fn fail(&self, end: u64, why: &str) {
        let mut state = self.state.lock();
        state.failed = state.failed.max(end);
        why.clone_into(&mut state.why);
        drop(state);
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.state.lock().wakers);
        self.turn.notify_all();
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Whether a future waits.
    pub(super) fn is_awaited(&self) -> bool {
        !self.state.lock().wakers.is_empty()
    }
}

impl State {
    fn failure(&self, position: u64) -> Option<Error> {
        (position <= self.failed).then(|| refusal(&self.why))
    }
}

/// The error for a write that the disk does not take.
pub(crate) fn refusal(why: &str) -> Error {
    Error::from(format!("MISCONF Errors writing to the AOF file: {why}"))
}

impl Log {
    /// Whether what is at this position is settled: durable, or not to be waited for.
    fn is_settled(&self, position: u64) -> bool {
        if self.fsync() == Fsync::Always {
            self.durable.load(Ordering::SeqCst) >= position
        } else {
            !self.lagging.load(Ordering::SeqCst) || self.is_failing()
        }
    }

    /// Waits until everything up to a position is durable, as far as the policy demands it.
    pub(crate) fn settle(&self, position: u64) -> Result<(), Error> {
        loop {
            if self.is_settled(position) {
                return Ok(());
            }
            let mut state = self.waiting.state.lock();
            if self.is_settled(position) {
                return Ok(());
            }
            if let Some(error) = state.failure(position) {
                return Err(error);
            }
            if state.led || self.fsync() != Fsync::Always {
                self.waiting.turn.wait(&mut state);
                continue;
            }
            state.led = true;
            drop(state);
            self.lead();
            let mut state = self.waiting.state.lock();
            state.led = false;
            let awaited = !state.wakers.is_empty();
            drop(state);
            // Those that came in meanwhile need another leader.
            self.waiting.turn.notify_all();
            if awaited {
                self.wake();
            }
        }
    }
}

/// What must be durable before a command is acknowledged, as far as the policy demands it. A future of that.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) log: Arc<Log>,
    pub(crate) position: u64,
}

impl Commit {
    /// Whether nobody has to wait for it, or not any more.
    #[cfg(feature = "serve")]
    pub(crate) fn is_settled(&self) -> bool {
        self.log.is_settled(self.position)
    }

    /// Parks the thread until it is durable.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        self.log.settle(self.position)
    }

    /// Nobody waits for it; it is written all the same.
    pub(crate) fn leave(self) {
        self.log.wake();
    }

    pub(crate) fn poll_by(&self, waker: &Waker) -> Poll<Result<(), Error>> {
        let log = &self.log;
        if log.is_settled(self.position) {
            return Poll::Ready(Ok(()));
        }
        let mut state = log.waiting.state.lock();
        if log.is_settled(self.position) {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = state.failure(self.position) {
            return Poll::Ready(Err(error));
        }
        state.wakers.push((self.position, waker.clone()));
        drop(state);
        log.wake();
        Poll::Pending
    }
}

impl Future for Commit {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_by(cx.waker())
    }
}
