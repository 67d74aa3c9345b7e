//! Commands that wait for data: who waits for what, and whose turn it is.
//!
//! A command that finds nothing, and may wait, becomes a [`Waiter`]. It stands in the queue of each of its keys. When
//! a command has changed such a key, and has released its locks, it *serves* the key: it runs the commands of those
//! who wait for it, in the order in which they came, until they find nothing more.
//!
//! Invariants:
//! 1. **First come, first served.** A command that waits never takes from a key for which another one waits already:
//!    it joins the queue, and the queue is served. Only one thread serves at a time.
//! 2. **Nothing is missed.** A waiter joins its queues while the shards of its keys are locked, after it has found
//!    them empty under the same locks; and a change looks at the queues under them, too.
//! 3. **A future that is dropped takes nothing.** A waiter that is a future is only woken, and takes when it is
//!    polled; if it is dropped instead, the next one has its turn. A thread that is parked cannot go away, and a
//!    client of the port that does has lost what it was sent, as on a server; so these are served at once.
//!
//! The thread that serves holds the lock of [`Waiting::turn`] before any shard's, so it must hold no shard.

#[cfg(feature = "aio")]
mod reserved;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use redis::ProtocolVersion;

use crate::command::Command;
use crate::context::{Context, Logged, Wait};
use crate::persist::Commit;
use crate::reply::{Error, Reply};
use crate::session::Session;
use crate::store::Shared;

#[cfg(feature = "aio")]
pub(crate) use reserved::Reserved;

/// A key of a database.
pub(crate) type Key = (u32, Box<[u8]>);

/// How a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It does not wait: the command replies what it replies in vain.
    Never,
    /// It stays until it is served: it is a thread, or a client of the port.
    Stays,
    /// It is a future, which may be dropped at any time.
    MayGo,
}

/// A command that waits.
pub(crate) struct Waiter {
    /// Its place among all that wait: who came first has the lower number.
    number: u64,
    client: u64,
    db: u32,
    protocol: ProtocolVersion,
    command: &'static Command,
    args: Logged,
    keys: Vec<Box<[u8]>>,
    deadline: Option<i64>,
    may_go: bool,
    state: Mutex<State>,
    served: Condvar,
}

struct State {
    /// What it replies if it is ended before it is served; taken when it ends.
    in_vain: Option<Reply>,
    reply: Option<Reply>,
    /// What must be on the disk before the reply is given out.
    commit: Option<Commit>,
    waker: Option<Waker>,
    /// Its turn has come because of these keys; only of a waiter that may go.
    turns: VecDeque<Box<[u8]>>,
}

/// Those who wait for the keys of a shard.
#[derive(Default)]
pub(crate) struct Queues {
    /// How many queues there are, so that a shard without any pays almost nothing.
    count: AtomicUsize,
    by_key: Mutex<HashMap<Key, VecDeque<Arc<Waiter>>>>,
}

/// All who wait in a store.
#[derive(Default)]
pub(crate) struct Waiting {
    next: AtomicU64,
    turn: Mutex<()>,
    all: Mutex<BTreeMap<u64, Arc<Waiter>>>,
    timer: Arc<Timer>,
}

/// Ends those whose time is up. Its thread runs while somebody waits with a deadline.
#[derive(Default)]
struct Timer {
    due: Mutex<Due>,
    sooner: Condvar,
}

#[derive(Default)]
struct Due {
    by_deadline: BTreeMap<(i64, u64), Weak<Waiter>>,
    running: bool,
}

impl Queues {
    /// Whether anybody waits for this key.
    #[inline]
    pub(crate) fn has(&self, db: u32, key: &[u8]) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && self.by_key.lock().contains_key(&(db, key.into()))
    }

    /// The keys of a database, or of all, for which somebody waits.
    pub(crate) fn keys(&self, db: Option<u32>) -> Vec<Key> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let by_key = self.by_key.lock();
        let of_db = by_key
            .keys()
            .filter(|(of, _)| db.is_none_or(|db| db == *of));
        of_db.cloned().collect()
    }

    fn join(&self, key: Key, waiter: &Arc<Waiter>) {
        let mut by_key = self.by_key.lock();
        by_key.entry(key).or_default().push_back(waiter.clone());
        self.count.store(by_key.len(), Ordering::Relaxed);
    }

    fn leave(&self, key: &Key, number: u64) {
        let mut by_key = self.by_key.lock();
        if let Some(queue) = by_key.get_mut(key) {
            queue.retain(|waiter| waiter.number != number);
            if queue.is_empty() {
                by_key.remove(key);
            }
        }
        self.count.store(by_key.len(), Ordering::Relaxed);
    }

    /// The first in a key's queue that came after `number`.
    fn next(&self, key: &Key, number: Option<u64>) -> Option<Arc<Waiter>> {
        let by_key = self.by_key.lock();
        let mut queue = by_key.get(key)?.iter();
        let next = queue.find(|waiter| number.is_none_or(|number| waiter.number > number));
        next.cloned()
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues").field("keys", &self.count).finish()
    }
}

impl Context<'_> {
    /// Lets the command that has just run wait. The shards of its keys are still locked.
    pub(crate) fn enqueue(
        &mut self,
        command: &'static Command,
        args: &[&[u8]],
        in_vain: Reply,
        wait: Wait,
        patience: Patience,
    ) -> Arc<Waiter> {
        let waiting = &self.shared.waiting;
        let args = wait
            .args
            .unwrap_or_else(|| args.iter().map(|arg| (*arg).into()).collect());
        let mut keys = wait.keys;
        keys.sort_unstable();
        keys.dedup();
        let waiter = Arc::new(Waiter {
            number: waiting.next.fetch_add(1, Ordering::Relaxed),
            client: self.session.id,
            db: self.session.db,
            protocol: self.session.protocol,
            command,
            args,
            keys,
            deadline: wait.deadline,
            may_go: patience == Patience::MayGo,
            state: Mutex::new(State {
                in_vain: Some(in_vain),
                reply: None,
                commit: None,
                waker: None,
                turns: VecDeque::new(),
            }),
            served: Condvar::new(),
        });
        waiting.all.lock().insert(waiter.number, waiter.clone());
        for key in &waiter.keys {
            self.queues_of(key, |queues| {
                let has_older = queues.has(waiter.db, key);
                queues.join((waiter.db, key.clone()), &waiter);
                if has_older {
                    // It did not look at this key, because others were first. It may have something for all of them.
                    self.is_due(waiter.db, key);
                }
            });
        }
        waiter
    }
}

impl State {
    /// The reply, if it is there; ready when what it tells is on the disk, as far as it must be.
    fn poll_reply(&mut self, cx: &std::task::Context<'_>) -> Option<Poll<Reply>> {
        self.reply.as_ref()?;
        let settled = match &self.commit {
            None => Ok(()),
            Some(commit) => match commit.poll_by(cx.waker()) {
                Poll::Pending => return Some(Poll::Pending),
                Poll::Ready(settled) => settled,
            },
        };
        self.commit = None;
        let reply = self.reply.take()?;
        Some(Poll::Ready(settled.and(reply)))
    }
}

impl Waiter {
    fn session(&self) -> Session {
        Session {
            db: self.db,
            protocol: self.protocol,
            ..Session::new(self.client)
        }
    }

    fn with_args<R>(&self, run: impl FnOnce(&[&[u8]]) -> R) -> R {
        let args: Vec<&[u8]> = self.args.iter().map(AsRef::as_ref).collect();
        run(&args)
    }

    fn is_over(&self) -> bool {
        self.state.lock().in_vain.is_none()
    }

    /// Ends the wait with a reply, or in vain. False if it has ended before.
    fn end(&self, reply: Option<Reply>) -> bool {
        let mut state = self.state.lock();
        let Some(in_vain) = state.in_vain.take() else {
            return false;
        };
        state.reply = Some(reply.unwrap_or(in_vain));
        let waker = state.waker.take();
        drop(state);
        self.served.notify_all();
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Says that its turn has come. False if it has ended.
    fn call(&self, key: &[u8]) -> bool {
        let mut state = self.state.lock();
        if state.in_vain.is_none() {
            return false;
        }
        if !state.turns.iter().any(|turn| **turn == *key) {
            state.turns.push_back(key.into());
        }
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Parks the thread until the reply is there.
    pub(crate) fn park(&self) -> Reply {
        let mut state = self.state.lock();
        loop {
            if let Some(reply) = state.reply.take() {
                let commit = state.commit.take();
                drop(state);
                return commit.map_or(Ok(()), |commit| commit.wait()).and(reply);
            }
            self.served.wait(&mut state);
        }
    }

    /// The reply of a waiter that stays, once it is there.
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "only a port asks"))]
    pub(crate) fn poll(&self, cx: &std::task::Context<'_>) -> Poll<Reply> {
        let mut state = self.state.lock();
        state.poll_reply(cx).unwrap_or_else(|| {
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Shared {
    /// Lets those who wait for these keys have their turns.
    #[cold]
    pub(crate) fn serve(&self, ready: Vec<Key>) {
        let mut ready = VecDeque::from(ready);
        let _turn = self.waiting.turn.lock();
        while let Some(key) = ready.pop_front() {
            self.serve_key(&key, None, &mut ready);
        }
    }

    /// Serves those who wait for a key and came after `last`.
    fn serve_key(&self, key: &Key, mut last: Option<u64>, ready: &mut VecDeque<Key>) {
        while let Some(waiter) = self.queues(&key.1, |queues| queues.next(key, last)) {
            last = Some(waiter.number);
            if waiter.may_go {
                if waiter.call(&key.1) {
                    // The others have their turns after it.
                    return;
                }
            } else if !waiter.is_over()
                && let Some(reply) = self.attempt(&waiter, &key.1, ready)
            {
                self.leave(&waiter);
                waiter.end(Some(reply));
            }
        }
    }

    /// Runs the command of a waiter again; `None` if it still has to wait.
    fn attempt(&self, waiter: &Waiter, key: &[u8], ready: &mut VecDeque<Key>) -> Option<Reply> {
        let mut session = waiter.session();
        waiter.with_args(|args| {
            let locked = waiter.command.lock(&self.keyspace, &session, args);
            let mut cx = Context::new(self, &mut session, locked);
            cx.may_wait = true;
            cx.ready = Some(key);
            let reply = cx.run(waiter.command, args);
            let served = cx.waits.take().is_none();
            ready.extend(cx.finish_unserved());
            if let Some(commit) = session.unsettled.take() {
                if served {
                    waiter.state.lock().commit = Some(commit);
                } else {
                    commit.leave();
                }
            }
            served.then_some(reply)
        })
    }

    /// Removes a waiter from all queues.
    fn leave(&self, waiter: &Waiter) {
        for key in &waiter.keys {
            let at = (waiter.db, key.clone());
            self.queues(key, |queues| queues.leave(&at, waiter.number));
        }
        self.waiting.all.lock().remove(&waiter.number);
        if let Some(deadline) = waiter.deadline {
            let mut due = self.waiting.timer.due.lock();
            due.by_deadline.remove(&(deadline, waiter.number));
        }
    }

    fn queues<R>(&self, key: &[u8], of: impl FnOnce(&Queues) -> R) -> R {
        let index = self.keyspace.shard_of_key(key);
        of(&self.keyspace.read(index).queues)
    }

    /// How many commands wait.
    pub(crate) fn count_waiting(&self) -> usize {
        self.waiting.all.lock().len()
    }

    /// Whether a client waits.
    pub(crate) fn waits(&self, client: u64) -> bool {
        let all = self.waiting.all.lock();
        all.values().any(|waiter| waiter.client == client)
    }

    /// Ends the wait of a client: as if its time were up, or with an error. Returns whether it waited.
    pub(crate) fn unblock(&self, client: u64, with_error: bool) -> bool {
        const UNBLOCKED: Error = Error::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");
        let waiter = {
            let all = self.waiting.all.lock();
            all.values().find(|waiter| waiter.client == client).cloned()
        };
        waiter.is_some_and(|waiter| self.end(&waiter, with_error.then_some(Err(UNBLOCKED))))
    }

    /// Ends a wait before it is served.
    pub(crate) fn end(&self, waiter: &Waiter, reply: Option<Reply>) -> bool {
        // Nobody serves it meanwhile.
        let turn = self.waiting.turn.lock();
        // When its reply is there, it does not count as one who waits any more.
        self.leave(waiter);
        let ended = waiter.end(reply);
        drop(turn);
        if ended {
            self.pass_on(waiter);
        }
        ended
    }

    /// Gives the turns that a waiter has not used to those after it.
    fn pass_on(&self, waiter: &Waiter) {
        let turns = std::mem::take(&mut waiter.state.lock().turns);
        if !turns.is_empty() {
            let keys = turns.into_iter().map(|key| (waiter.db, key));
            self.serve(keys.collect());
        }
    }

    /// Ends the waits whose time is up.
    pub(crate) fn end_overdue(&self) {
        let now = self.clock.now_ms();
        let overdue = self.waiting.timer.take(now);
        for waiter in overdue {
            self.end(&waiter, None);
        }
    }

    /// Sees to it that a wait ends at its deadline.
    pub(crate) fn time(&self, waiter: &Arc<Waiter>) {
        let Some(deadline) = waiter.deadline else {
            return;
        };
        if deadline <= self.clock.now_ms() {
            self.end(waiter, None);
            return;
        }
        let timer = &self.waiting.timer;
        let mut due = timer.due.lock();
        let at = (deadline, waiter.number);
        due.by_deadline.insert(at, Arc::downgrade(waiter));
        let first = due.by_deadline.first_key_value();
        if first.is_some_and(|(first, _)| *first == at) {
            timer.sooner.notify_all();
        }
        if !due.running && !self.clock.is_manual() {
            due.running = true;
            drop(due);
            self.start_timer();
        }
    }

    fn start_timer(&self) {
        let (store, timer) = (self.me.clone(), self.waiting.timer.clone());
        let started = std::thread::Builder::new()
            .name("nearcache-timer".to_owned())
            .spawn(move || timer.run(&store));
        if started.is_err() {
            // The next one who waits tries again.
            self.waiting.timer.due.lock().running = false;
        }
    }
}

impl Timer {
    fn take(&self, now: i64) -> Vec<Arc<Waiter>> {
        let mut due = self.due.lock();
        let later = due.by_deadline.split_off(&(now.saturating_add(1), 0));
        let overdue = std::mem::replace(&mut due.by_deadline, later);
        overdue.into_values().filter_map(|w| w.upgrade()).collect()
    }

    fn run(&self, store: &Weak<Shared>) {
        loop {
            let Some(shared) = store.upgrade() else {
                return;
            };
            shared.end_overdue();
            let now = shared.clock.now_ms();
            drop(shared);
            let mut due = self.due.lock();
            let Some(&(deadline, _)) = due.by_deadline.keys().next() else {
                due.running = false;
                return;
            };
            let left = u64::try_from(deadline.saturating_sub(now)).unwrap_or(0);
            // Not too long at once, because the system's clock may be set.
            let left = Duration::from_millis(left.clamp(1, 1000));
            self.sooner.wait_for(&mut due, left);
        }
    }
}
