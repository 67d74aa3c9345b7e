//! Active expiry: removes expired keys that no command asks for.
//!
//! Commands never see an expired key (see [`crate::context`]), so this only matters for memory and events. It works
//! in limited steps. While there are keys with a deadline, a thread makes ten steps a second; it starts with the
//! first such key, and ends when there are none, or with the store. A store with a manual clock has no thread: tests
//! make the steps themselves.
//!
//! Invariants:
//! 1. While a key has a deadline (and the clock is the system's), the thread runs or is being started.
//! 2. The thread never keeps a store alive.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;

use crate::event::Journal;
use crate::notify::Class;
use crate::persist::record::Batch;
use crate::store::Shared;

/// How long the thread rests between steps.
const REST: Duration = Duration::from_millis(100);
/// The pause after a step that did not finish, so that other threads get the locks in between.
const BREATH: Duration = Duration::from_millis(1);
/// About how many keys one step removes.
const STEP: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    store: Weak<Shared>,
    running: AtomicBool,
    thread: Mutex<Option<Thread>>,
    /// The shard at which the next step begins.
    next: AtomicUsize,
}

impl Sweeper {
    pub(crate) fn of(store: Weak<Shared>) -> Self {
        Sweeper {
            store,
            ..Sweeper::default()
        }
    }

    /// Wakes the thread, so that it notices that the store is gone.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.lock().take() {
            thread.unpark();
        }
    }
}

impl Shared {
    /// Starts the thread, unless it is running. Called when a shard gets its first key with a deadline.
    #[cold]
    pub(crate) fn start_sweeper(&self) {
        if self.clock.is_manual() || self.sweeper.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let store = self.sweeper.store.clone();
        let spawned = thread::Builder::new()
            .name("nearcache-expiry".into())
            .spawn(move || sweep(&store));
        match spawned {
            Ok(handle) => *self.sweeper.thread.lock() = Some(handle.thread().clone()),
            // Keys still expire when they are asked for. The next first key tries to start a thread again.
            Err(_) => self.sweeper.running.store(false, Ordering::SeqCst),
        }
    }

    /// Makes one limited step. Returns how many keys it removed.
    pub(crate) fn expire_step(&self) -> usize {
        if self.log().is_some_and(|log| log.is_failing()) || self.clients.paused().is_some() {
            // The log could not say so, or clients are not to see it.
            return 0;
        }
        let now = self.clock.now_ms();
        let shards = self.keyspace.shards();
        let first = self.sweeper.next.load(Ordering::Relaxed) % shards;
        let mut removed = 0;
        for index in (first..shards).chain(0..first) {
            if removed >= STEP {
                self.sweeper.next.store(index, Ordering::Relaxed);
                break;
            }
            if self.keyspace.read(index).is_due(now) {
                removed += self.expire_in(index, now, STEP - removed);
            }
        }
        removed
    }

    fn expire_in(&self, index: usize, now: i64, limit: usize) -> usize {
        let mut journal = Journal::default();
        let mut gone = Vec::new();
        let mut shard = self.keyspace.write(index);
        for db in 0..self.databases {
            if gone.len() >= limit {
                break;
            }
            if shard.table(db).is_some_and(|table| table.is_due(now)) {
                let before = gone.len();
                shard.change(db, |table| {
                    table.expire(now, limit - before, |entry| gone.push((db, entry)));
                });
                for (_, entry) in &gone[before..] {
                    shard.touch(db, &entry.key);
                }
            }
        }
        // Must be asked under the lock: see `Hub::is_listening`.
        let heard = self.hears(Class::EXPIRED);
        if let Some(log) = self.log() {
            let mut batch = Batch::of_separate();
            gone.iter()
                .for_each(|(db, entry)| batch.push_removal(*db, &entry.key));
            log.append_own(&batch);
        }
        drop(shard);
        self.count_expired(gone.len());
        for (db, entry) in &gone {
            journal.dropped(heard, "expired", *db, &entry.key);
        }
        journal.tell(self, None);
        gone.len()
    }

    /// Removes a key that a command found expired.
    #[cold]
    pub(crate) fn remove_expired(&self, db: u32, key: &[u8]) {
        if self.log().is_some_and(|log| log.is_failing()) || self.clients.paused().is_some() {
            return;
        }
        let hash = self.keyspace.hash(key);
        let mut shard = self.keyspace.write(self.keyspace.shard_of(hash));
        let now = self.clock.now_ms();
        // The key may have got another value meanwhile.
        let expired = shard
            .table(db)
            .and_then(|table| table.get(hash, key)?.deadline);
        if expired.is_none_or(|deadline| deadline.unix_ms() > now) {
            return;
        }
        let entry = shard.change(db, |table| table.take(hash, key));
        shard.touch(db, key);
        let heard = self.hears(Class::EXPIRED);
        self.log_removal(db, key);
        drop(shard);
        drop(entry);
        self.count_expired(1);
        let mut journal = Journal::default();
        journal.dropped(heard, "expired", db, key);
        journal.tell(self, None);
    }

    /// Logs that the store removed a key. The key's shard must be locked.
    pub(crate) fn log_removal(&self, db: u32, key: &[u8]) {
        if let Some(log) = self.log() {
            let mut batch = Batch::of_separate();
            batch.push_removal(db, key);
            log.append_own(&batch);
        }
    }

    pub(crate) fn count_expired(&self, keys: usize) {
        self.evictor
            .expired
            .fetch_add(keys as u64, Ordering::Relaxed);
    }

    fn has_volatile(&self) -> bool {
        (0..self.keyspace.shards()).any(|index| self.keyspace.read(index).has_volatile())
    }

    /// Whether the thread may end. It checks again after it has cleared `running`, because a key that came in between
    /// saw `running` and did not start another thread.
    fn may_rest(&self) -> bool {
        if self.has_volatile() {
            return false;
        }
        self.sweeper.running.store(false, Ordering::SeqCst);
        !self.has_volatile() || self.sweeper.running.swap(true, Ordering::SeqCst)
    }
}

fn sweep(store: &Weak<Shared>) {
    loop {
        // If the last handle was dropped in between, this thread drops the store here.
        let Some(shared) = store.upgrade() else {
            return;
        };
        let removed = shared.expire_step();
        if removed == 0 && shared.may_rest() {
            return;
        }
        drop(shared);
        thread::park_timeout(if removed < STEP { REST } else { BREATH });
    }
}
