//! A command that waits as a future: it takes when it is polled, and nothing when it is dropped.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::Waiter;
use crate::reply::Reply;
use crate::store::Shared;

/// The reply of a command that waits, as a future. Dropping it ends the wait, and takes nothing.
pub(crate) struct Reserved {
    shared: Arc<Shared>,
    waiter: Arc<Waiter>,
    over: bool,
}

impl Reserved {
    pub(crate) fn new(shared: Arc<Shared>, waiter: Arc<Waiter>) -> Self {
        Reserved {
            shared,
            waiter,
            over: false,
        }
    }

    /// Has its turn with a key.
    fn take(&self, key: &[u8]) -> Option<Reply> {
        let (shared, waiter) = (&*self.shared, &*self.waiter);
        let mut ready = VecDeque::new();
        let turn = shared.waiting.turn.lock();
        let reply = if waiter.is_over() {
            None
        } else {
            shared.attempt(waiter, key, &mut ready)
        };
        if reply.is_some() {
            shared.leave(waiter);
            let mut state = waiter.state.lock();
            state.in_vain = None;
            ready.extend(state.turns.drain(..).map(|key| (waiter.db, key)));
        }
        // Then it is the turn of those after it.
        let key = (waiter.db, key.into());
        shared.serve_key(&key, Some(waiter.number), &mut ready);
        drop(turn);
        if !ready.is_empty() {
            shared.serve(ready.into());
        }
        reply
    }
}

impl Future for Reserved {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Reply> {
        loop {
            let key = {
                let mut state = self.waiter.state.lock();
                if let Some(polled) = state.poll_reply(cx) {
                    drop(state);
                    self.over = true;
                    return polled;
                }
                let Some(key) = state.turns.pop_front() else {
                    state.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                };
                key
            };
            if let Some(reply) = self.take(&key) {
                self.over = true;
                self.waiter.state.lock().reply = Some(reply);
            }
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.over {
            self.shared.end(&self.waiter, None);
        }
    }
}
