//! A client's mailbox: what is sent to it beside its replies. Messages of channels, invalidations of keys, and the
//! confirmations of `SUBSCRIBE` and its kin, which are no replies either.
//!
//! Whoever has something for a client pushes it, and never waits. The client takes it: a task by
//! [`poll_next`](Mailbox::poll_next), a thread by [`next`](Mailbox::next), a port's loop by
//! [`try_next`](Mailbox::try_next) once it was woken.
//!
//! Invariants:
//! 1. Messages are taken in the order in which they were pushed, each once.
//! 2. A mailbox holds no more than its [`Bound`] says. A message beyond it cuts the client: what was waiting is
//!    dropped, nothing more is accepted, and the reader is told that there is a gap.
//! 3. A reader that was told `Pending` is woken by the next message, by the close, and by the cut.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use redis::Value;

/// A message: a [`Value::Push`], whatever the protocol of the client. A port writes it as an array where the client
/// speaks RESP2.
pub(crate) type Message = Arc<Value>;

/// How much may wait in a mailbox: `client-output-buffer-limit`. It may change at any time. 0 means no limit.
#[derive(Debug)]
pub(crate) struct Bound {
    /// More bytes than this cut the client at once.
    pub(crate) hard: AtomicUsize,
    /// More bytes than this cut the client when they have been more for `seconds`.
    pub(crate) soft: AtomicUsize,
    pub(crate) seconds: AtomicU64,
    /// More messages than this cut the client at once.
    pub(crate) messages: AtomicUsize,
}

impl Default for Bound {
    /// What a server has for subscribers.
    fn default() -> Self {
        Bound {
            hard: AtomicUsize::new(32 << 20),
            soft: AtomicUsize::new(8 << 20),
            seconds: AtomicU64::new(60),
            messages: AtomicUsize::new(0),
        }
    }
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    Message(Message),
    /// Nothing is there, yet.
    Nothing,
    /// The client is gone: nothing more comes.
    Closed,
    /// The client was cut, because it did not read: messages were lost, and nothing more comes.
    Cut,
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    bound: Arc<Bound>,
    /// Whether its client speaks RESP3, or reads its pushes in process: then it takes pushes of every kind. Others
    /// only take the messages of channels.
    pub(crate) speaks_3: AtomicBool,
    pub(crate) is_read_here: AtomicBool,
    /// Whether its client is subscribed to anything.
    pub(crate) subscribed: AtomicBool,
    state: Mutex<State>,
    /// Whether a message waits, or the mailbox has ended: what a loop asks before it takes the lock.
    ready: AtomicBool,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(Message, usize)>,
    /// What the queue takes.
    bytes: usize,
    /// Since when the queue is over the soft limit.
    over_since: Option<Instant>,
    end: Option<End>,
    /// The tasks to wake.
    wakers: Vec<Waker>,
    /// The threads that are parked.
    parked: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Cut,
}

impl Mailbox {
    pub(crate) fn new(bound: Arc<Bound>) -> Self {
        Mailbox {
            bound,
            speaks_3: AtomicBool::new(false),
            is_read_here: AtomicBool::new(false),
            subscribed: AtomicBool::new(false),
            state: Mutex::default(),
            ready: AtomicBool::new(false),
            arrived: Condvar::new(),
        }
    }

    /// Leaves a message, and wakes the readers. False if the client is gone, or is cut by this message.
    pub(crate) fn push(&self, message: impl Into<Message>) -> bool {
        let mut wakers = Vec::new();
        let accepted = self.leave(message.into(), &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        accepted
    }

    /// Leaves a message, but only returns the tasks to wake: for callers that hold a lock, because a waker may run
    /// anything.
    pub(crate) fn leave(&self, message: Message, wakers: &mut Vec<Waker>) -> bool {
        let size = size_of::<(Message, usize)>() + size_of_value(&message);
        let mut state = self.state.lock();
        if state.end.is_some() {
            return false;
        }
        state.bytes += size;
        state.queue.push_back((message, size));
        let fits = state.fits(&self.bound);
        if fits {
            self.ready.store(true, Ordering::Release);
            self.wake(state, wakers);
        } else {
            self.end(state, End::Cut, wakers);
        }
        fits
    }

    /// Takes the next message, if there is one.
    pub(crate) fn try_next(&self) -> Next {
        if !self.ready.load(Ordering::Acquire) {
            return Next::Nothing;
        }
        self.take(&mut self.state.lock())
    }

    /// Takes the next message, or has the task woken when there is one. `Ready` is never [`Next::Nothing`].
    pub(crate) fn poll_next(&self, cx: &mut task::Context<'_>) -> Poll<Next> {
        let mut state = self.state.lock();
        match self.take(&mut state) {
            Next::Nothing => {
                state.wake_later(cx);
                Poll::Pending
            }
            next => Poll::Ready(next),
        }
    }

    /// Waits until there is something to take, but leaves it there.
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "only a port asks"))]
    pub(crate) fn poll_ready(&self, cx: &task::Context<'_>) -> Poll<()> {
        if self.is_ready() {
            return Poll::Ready(());
        }
        let mut state = self.state.lock();
        if self.is_ready() {
            return Poll::Ready(());
        }
        state.wake_later(cx);
        Poll::Pending
    }

    /// Whether the client was cut; if not, the task is woken when it is.
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "only a port asks"))]
    pub(crate) fn poll_cut(&self, cx: &task::Context<'_>) -> bool {
        let mut state = self.state.lock();
        state.wake_later(cx);
        state.end == Some(End::Cut)
    }

    /// Takes the next message; if there is none, parks the thread until there is, at most for this long (`None`: for
    /// ever).
    pub(crate) fn next(&self, timeout: Option<Duration>) -> Next {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state.lock();
        loop {
            let next = self.take(&mut state);
            if next != Next::Nothing {
                return next;
            }
            state.parked += 1;
            let timed_out = match deadline {
                Some(deadline) => self.arrived.wait_until(&mut state, deadline).timed_out(),
                None => {
                    self.arrived.wait(&mut state);
                    false
                }
            };
            state.parked -= 1;
            if timed_out {
                return self.take(&mut state);
            }
        }
    }

    /// Ends the mailbox: its client is gone. What waits can still be taken.
    pub(crate) fn close(&self) {
        let state = self.state.lock();
        if state.end.is_none() {
            let mut wakers = Vec::new();
            self.end(state, End::Closed, &mut wakers);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether its client takes pushes of every kind.
    #[inline]
    pub(crate) fn takes_all(&self) -> bool {
        self.speaks_3.load(Ordering::Relaxed) || self.is_read_here.load(Ordering::Relaxed)
    }

    /// Whether nothing can be left here any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// Whether the client was cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.state.lock().end == Some(End::Cut)
    }

    /// Whether there is something to take: a message, or the news that nothing more comes. One load.
    #[inline]
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "only a port asks"))]
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// How many messages wait, and how many bytes they take.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.queue.len(), state.bytes)
    }

    fn take(&self, state: &mut State) -> Next {
        if let Some((message, size)) = state.queue.pop_front() {
            state.bytes -= size;
            state.over_since = state
                .over_since
                .filter(|_| state.bytes > self.bound.soft.load(Ordering::Relaxed));
            if state.queue.is_empty() && state.end.is_none() {
                self.ready.store(false, Ordering::Release);
                state.shrink();
            }
            return Next::Message(message);
        }
        match state.end {
            None => Next::Nothing,
            Some(End::Closed) => Next::Closed,
            Some(End::Cut) => Next::Cut,
        }
    }

    fn end(&self, mut state: MutexGuard<'_, State>, end: End, wakers: &mut Vec<Waker>) {
        state.end = Some(end);
        let mut dropped = VecDeque::new();
        if end == End::Cut {
            std::mem::swap(&mut dropped, &mut state.queue);
            state.bytes = 0;
        }
        self.ready.store(true, Ordering::Release);
        self.wake(state, wakers);
        drop(dropped);
    }

    /// Wakes the threads, and returns the tasks to wake.
    fn wake(&self, mut state: MutexGuard<'_, State>, wakers: &mut Vec<Waker>) {
        wakers.append(&mut state.wakers);
        let parked = state.parked > 0;
        drop(state);
        if parked {
            self.arrived.notify_all();
        }
    }
}

impl State {
    fn wake_later(&mut self, cx: &task::Context<'_>) {
        if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.wakers.push(cx.waker().clone());
        }
    }

    /// Whether what waits is within the limits.
    fn fits(&mut self, bound: &Bound) -> bool {
        let over = |limit: &AtomicUsize, amount: usize| {
            let limit = limit.load(Ordering::Relaxed);
            limit > 0 && amount > limit
        };
        if over(&bound.hard, self.bytes) || over(&bound.messages, self.queue.len()) {
            return false;
        }
        if !over(&bound.soft, self.bytes) {
            self.over_since = None;
            return true;
        }
        let since = *self.over_since.get_or_insert_with(Instant::now);
        since.elapsed().as_secs() <= bound.seconds.load(Ordering::Relaxed)
    }

    /// Gives back the room of a queue that was long.
    fn shrink(&mut self) {
        if self.queue.capacity() > 1024 {
            self.queue = VecDeque::new();
        }
    }
}

/// How many bytes a message takes.
fn size_of_value(value: &Value) -> usize {
    let parts = match value {
        Value::BulkString(bytes) => bytes.len(),
        Value::SimpleString(text) => text.len(),
        Value::Array(parts) | Value::Set(parts) | Value::Push { data: parts, .. } => {
            parts.iter().map(size_of_value).sum()
        }
        _ => 0,
    };
    size_of::<Value>() + parts
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;
    use std::thread;

    use super::*;

    fn message(n: i64) -> Value {
        Value::Push {
            kind: redis::PushKind::Message,
            data: vec![Value::Int(n)],
        }
    }

    fn mailbox(hard: usize, messages: usize) -> Arc<Mailbox> {
        let bound = Bound::default();
        bound.hard.store(hard, Ordering::Relaxed);
        bound.messages.store(messages, Ordering::Relaxed);
        Arc::new(Mailbox::new(Arc::new(bound)))
    }

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn messages_are_taken_in_order_and_once() {
        let mailbox = mailbox(0, 0);
        assert_eq!(mailbox.try_next(), Next::Nothing);
        for n in 0..3 {
            assert!(mailbox.push(message(n)));
        }
        assert_eq!(mailbox.waiting().0, 3);
        for n in 0..3 {
            assert!(mailbox.is_ready());
            assert_eq!(mailbox.try_next(), Next::Message(message(n).into()));
        }
        assert!(!mailbox.is_ready());
        assert_eq!(mailbox.next(Some(Duration::ZERO)), Next::Nothing);
        assert_eq!(mailbox.waiting(), (0, 0));
    }

    #[test]
    fn what_does_not_fit_cuts_the_client() {
        for mailbox in [mailbox(0, 2), mailbox(size_of_value(&message(0)) * 3, 0)] {
            assert!(mailbox.push(message(0)));
            assert!(mailbox.push(message(1)));
            assert!(!mailbox.push(message(2)));
            assert!(mailbox.is_cut() && mailbox.is_ready());
            assert_eq!(mailbox.waiting(), (0, 0));
            assert_eq!(mailbox.next(None), Next::Cut);
            assert!(!mailbox.push(message(3)));
            mailbox.close();
            assert_eq!(mailbox.try_next(), Next::Cut);
        }
    }

    #[test]
    fn being_over_the_soft_limit_for_too_long_cuts_the_client() {
        let mailbox = mailbox(0, 0);
        mailbox.bound.soft.store(1, Ordering::Relaxed);
        assert!(mailbox.push(message(0)));
        mailbox.state.lock().over_since = Instant::now().checked_sub(Duration::from_secs(70));
        assert_eq!(mailbox.next(None), Next::Message(message(0).into()));
        assert!(mailbox.push(message(1)), "it was read in between");
        mailbox.state.lock().over_since = Instant::now().checked_sub(Duration::from_secs(70));
        assert!(!mailbox.push(message(2)));
        assert!(mailbox.is_cut());
    }

    #[test]
    fn what_waited_when_it_was_closed_can_be_taken() {
        let mailbox = mailbox(0, 0);
        mailbox.push(message(0));
        mailbox.close();
        assert!(!mailbox.push(message(1)));
        assert_eq!(mailbox.next(None), Next::Message(message(0).into()));
        assert_eq!(mailbox.next(None), Next::Closed);
    }

    #[test]
    fn a_task_is_woken_by_a_message_and_by_the_end() {
        let mailbox = mailbox(0, 0);
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        let mut cx = task::Context::from_waker(&waker);
        assert!(mailbox.poll_next(&mut cx).is_pending());
        assert!(mailbox.poll_next(&mut cx).is_pending());
        mailbox.push(message(0));
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        let next = Next::Message(message(0).into());
        assert_eq!(mailbox.poll_next(&mut cx), Poll::Ready(next));
        assert!(mailbox.poll_next(&mut cx).is_pending());
        mailbox.close();
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        assert_eq!(mailbox.poll_next(&mut cx), Poll::Ready(Next::Closed));
    }

    #[test]
    fn a_parked_thread_gets_every_message_of_another() {
        let mailbox = mailbox(0, 0);
        let sender = mailbox.clone();
        let thread = thread::spawn(move || {
            for n in 0..10_000 {
                sender.push(message(n));
            }
            sender.close();
        });
        for n in 0..10_000 {
            assert_eq!(mailbox.next(None), Next::Message(message(n).into()));
        }
        assert_eq!(mailbox.next(None), Next::Closed);
        thread.join().unwrap();
    }
}
