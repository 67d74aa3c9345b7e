//! The context of a command: the client that sent it, the shards that are locked for it, and the time.
//!
//! Commands read keys only through [`Context::get`], and change them only through [`put`](Context::put),
//! [`edit`](Context::edit), [`take`](Context::take) and [`flush`](Context::flush). These hide expired keys, mark
//! watched keys as changed, and record the events for subscribers.

mod aftermath;
mod elements;
mod logging;
mod structures;
mod telling;
mod waits;

use std::cell::{Cell, RefCell, RefMut};

use crate::command::{Args, Command};
use crate::event::Record;
use crate::keyspace::access::Tick;
use crate::keyspace::entry::{Deadline, Entry, Given};
use crate::keyspace::table::Table;
use crate::keyspace::{Held, Locked, Shard};
use crate::notify::Class;
use crate::persist::record::Batch;
use crate::reply::Reply;
use crate::session::{Session, Watching};
use crate::store::Shared;
use crate::waiting::Key;

use aftermath::Aftermath;
pub(crate) use elements::Form;
pub(crate) use structures::Change;
pub(crate) use waits::Wait;

pub(crate) struct Context<'c> {
    pub(crate) shared: &'c Shared,
    pub(crate) session: &'c mut Session,
    held: Held<'c>,
    /// The key for which the shard was locked, with its hash.
    hashed: (&'c [u8], u64),
    now: Cell<Option<i64>>,
    coarse: Cell<Option<u64>>,
    /// Whether the memory limit was reached when the command began. If so, commands of a script must not add data,
    /// unless the script has already changed something.
    pub(crate) out_of_memory: bool,
    /// The command that runs.
    command: Option<&'static Command>,
    /// Whether it is one of a transaction.
    pub(crate) queued: bool,
    /// Whether the current command has changed anything.
    changed: bool,
    /// What the current command is to be logged as, if not as it was sent.
    logged: Option<Vec<Logged>>,
    /// What goes to the log when the locks are released, or rather just before.
    batch: Option<Box<Batch>>,
    /// Whether the commands come from the log itself: then nothing expires, and nothing is logged.
    pub(crate) loading: bool,
    /// Whether the command may wait: not in a transaction or a script.
    pub(crate) may_wait: bool,
    /// Whether a script runs it.
    pub(crate) in_script: bool,
    /// What the command waits for.
    pub(crate) waits: Option<Wait>,
    /// The key because of which a command that waits is tried again.
    pub(crate) ready: Option<&'c [u8]>,
    /// Where a port sends from, if the command may write its reply there.
    pub(crate) output: Cell<Option<&'c mut Vec<u8>>>,
    /// Whether it has.
    pub(crate) replied: Cell<bool>,
    aftermath: RefCell<Option<Box<Aftermath>>>,
}

/// A command of the log.
pub(crate) type Logged = Vec<Box<[u8]>>;

impl<'c> Context<'c> {
    #[inline]
    pub(crate) fn new(shared: &'c Shared, session: &'c mut Session, locked: Locked<'c>) -> Self {
        let Locked { held, hashed } = locked;
        Context {
            shared,
            session,
            held,
            hashed,
            now: Cell::new(None),
            coarse: Cell::new(None),
            out_of_memory: false,
            command: None,
            queued: false,
            changed: false,
            logged: None,
            batch: None,
            loading: false,
            may_wait: false,
            in_script: false,
            waits: None,
            ready: None,
            output: Cell::new(None),
            replied: Cell::new(false),
            aftermath: RefCell::default(),
        }
    }

    /// The hash of a key, which often is the key that was locked.
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let (hashed, hash) = self.hashed;
        if std::ptr::eq(hashed, key) {
            hash
        } else {
            self.shared.keyspace.hash(key)
        }
    }

    /// Notes the hash of the key of the next command.
    #[inline]
    pub(crate) fn knows(&mut self, hashed: (&'c [u8], u64)) {
        self.hashed = hashed;
    }

    #[cold]
    fn after(&self) -> RefMut<'_, Aftermath> {
        RefMut::map(self.aftermath.borrow_mut(), |after| {
            &mut **after.get_or_insert_default()
        })
    }

    /// Unix time in milliseconds: the same throughout a command, a transaction, or a script.
    #[inline]
    pub(crate) fn now(&self) -> i64 {
        self.now.get().unwrap_or_else(|| {
            let now = self.shared.clock.now_ms();
            self.now.set(Some(now));
            now
        })
    }

    #[inline]
    fn is_over(&self, deadline: Option<Deadline>) -> bool {
        deadline.is_some_and(|deadline| self.is_past(deadline))
    }

    /// Whether a deadline has passed. While a log is loaded none has: what expired is removed by the log itself.
    #[inline]
    pub(crate) fn is_past(&self, deadline: Deadline) -> bool {
        deadline.unix_ms() <= self.now() && !self.loading
    }

    /// The live entry of a key in the client's database.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.get_in(self.session.db, key)
    }

    #[inline]
    pub(crate) fn get_in(&self, db: u32, key: &[u8]) -> Option<&Entry> {
        let hash = self.hash(key);
        let shard = self.held.shard(self.shared.keyspace.shard_of(hash))?;
        self.live(shard, db, hash, key)
    }

    #[inline]
    fn live<'s>(&self, shard: &'s Shard, db: u32, hash: u64, key: &[u8]) -> Option<&'s Entry> {
        let Some(entry) = shard.table(db).and_then(|table| table.get(hash, key)) else {
            self.misses(db, key);
            return None;
        };
        if self.is_over(entry.deadline) {
            self.after().expired.push((db, key.into()));
            self.misses(db, key);
            return None;
        }
        Some(entry)
    }

    /// The live entry of a key. It counts as a use, which evictions go by.
    #[inline]
    pub(crate) fn read(&self, key: &[u8]) -> Option<&Entry> {
        let hash = self.hash(key);
        let shard = self.held.shard(self.shared.keyspace.shard_of(hash))?;
        let entry = self.live(shard, self.session.db, hash, key)?;
        entry.access.touch(self.tick(shard));
        Some(entry)
    }

    #[inline]
    fn tick(&self, shard: &Shard) -> Tick {
        let coarse = self.coarse.get().unwrap_or_else(|| {
            let coarse = self.shared.coarse_ms();
            self.coarse.set(Some(coarse));
            coarse
        });
        let era = self.shared.evictor.era();
        shard.ticks.next(coarse, era, self.shared.settings.lfu())
    }

    pub(crate) fn exists(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Runs a command, or one of those in a transaction or a script.
    #[inline]
    pub(crate) fn run(&mut self, command: &'static Command, args: Args<'_>) -> Reply {
        if self.session.client.is_some() {
            return self.run_observed(command, args);
        }
        self.run_plainly(command, args)
    }

    #[inline]
    pub(crate) fn run_plainly(&mut self, command: &'static Command, args: Args<'_>) -> Reply {
        self.command = Some(command);
        let reply = if command.is_exclusive() && self.shared.notifies(Class::KEY_MISS) {
            self.run_telling_misses(command, args)
        } else {
            (command.run)(self, args)
        };
        if self.changed {
            self.log(args);
        } else if self.logged.is_some() {
            self.logged = None;
        }
        if self.session.tracking.is_some() && command.is_read() {
            self.remember(command.keys(args));
        }
        reply
    }

    /// Whether any shard is locked.
    pub(crate) fn holds_locks(&self) -> bool {
        !self.held.is_nothing()
    }

    /// What every change of a live key entails.
    fn has_changed(&mut self, db: u32, key: &[u8], hash: u64) {
        self.changed = true;
        let mut is_awaited = false;
        if let Some(shard) = self.shard_mut(hash) {
            shard.touch(db, key);
            is_awaited = shard.queues.has(db, key);
        }
        if is_awaited {
            self.is_due(db, key);
        }
        self.note(|| Record::Changed {
            db,
            key: key.into(),
        });
    }

    /// Gives a key a value and a deadline, whatever it had before.
    pub(crate) fn put(&mut self, key: &[u8], value: Given<'_>, deadline: Option<Deadline>) {
        self.put_in(self.session.db, key, value, deadline);
    }

    pub(crate) fn put_in(
        &mut self,
        db: u32,
        key: &[u8],
        value: Given<'_>,
        deadline: Option<Deadline>,
    ) {
        let hash = self.hash(key);
        let index = self.shared.keyspace.shard_of(hash);
        let Some(tick) = self.held.shard(index).map(|shard| self.tick(shard)) else {
            return;
        };
        let Some(shard) = self.shard_mut(hash) else {
            return;
        };
        let first_volatile = deadline.is_some() && !shard.has_volatile();
        let old = shard.change(db, |table| table.put(hash, key, value, deadline, tick));
        shard.touch(db, key);
        let is_awaited = shard.queues.has(db, key);
        if is_awaited {
            self.is_due(db, key);
        }
        if first_volatile {
            self.after().volatile = true;
        }
        self.changed = true;
        let had_expired = old.is_some_and(|deadline| self.is_over(deadline));
        if had_expired {
            self.note_expired(db, key);
            self.shared.count_expired(1);
            self.note(|| Record::Dropped {
                db,
                key: key.into(),
            });
            self.notify_in(db, Class::EXPIRED, "expired", key);
        }
        if old.is_none() || had_expired {
            self.notify_in(db, Class::NEW, "new", key);
        }
        self.note(|| Record::Changed {
            db,
            key: key.into(),
        });
    }

    /// Changes the live entry of a key. It counts as a change of the key.
    pub(crate) fn edit<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        self.get(key)?;
        self.edit_live(key, change)
    }

    /// The same for a key whose entry is known to be live.
    pub(crate) fn edit_live<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let db = self.session.db;
        let hash = self.hash(key);
        let shard = self.shard_mut(hash)?;
        let was_volatile = shard.has_volatile();
        let result = shard.change(db, |table| table.edit(hash, key, change));
        shard.touch(db, key);
        let is_awaited = shard.queues.has(db, key);
        let first_volatile = !was_volatile && shard.has_volatile();
        if is_awaited {
            self.is_due(db, key);
        }
        if first_volatile {
            self.after().volatile = true;
        }
        self.changed = true;
        self.note(|| Record::Changed {
            db,
            key: key.into(),
        });
        result
    }

    /// Removes a key and returns its entry, if it was live.
    #[inline]
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<Entry> {
        self.take_in(self.session.db, key)
    }

    /// The same in another database.
    pub(crate) fn take_in(&mut self, db: u32, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        let shard = self.shard_mut(hash)?;
        let entry = shard.change(db, |table| table.take(hash, key))?;
        shard.touch(db, key);
        let is_awaited = shard.queues.has(db, key);
        if is_awaited {
            self.is_due(db, key);
        }
        if self.is_over(entry.deadline) {
            self.note_expired(db, key);
            self.shared.count_expired(1);
            self.note(|| Record::Dropped {
                db,
                key: key.into(),
            });
            self.notify_in(db, Class::EXPIRED, "expired", key);
            return None;
        }
        self.changed = true;
        self.note(|| Record::Changed {
            db,
            key: key.into(),
        });
        Some(entry)
    }

    /// Empties one database, or all. Every shard must be held.
    pub(crate) fn flush(&mut self, db: Option<u32>) {
        let databases = db.map_or(0..self.shared.databases, |db| db..db + 1);
        for index in 0..self.shared.keyspace.shards() {
            if let Some(shard) = self.held.shard_mut(index) {
                let cleared: Vec<Table> =
                    databases.clone().filter_map(|db| shard.clear(db)).collect();
                let awaited = shard.queues.keys(db);
                let mut after = self.after();
                after.flushed.extend(cleared);
                after.ready.extend(awaited);
            }
        }
        self.changed = true;
        self.note(|| Record::Flushed { db });
    }

    /// Exchanges the contents of two databases. Every shard must be held.
    pub(crate) fn swap(&mut self, a: u32, b: u32) {
        for index in 0..self.shared.keyspace.shards() {
            if let Some(shard) = self.held.shard_mut(index) {
                shard.swap(a, b);
                let awaited = [a, b].map(|db| shard.queues.keys(Some(db)));
                self.after().ready.extend(awaited.concat());
            }
        }
        self.changed = true;
        self.note(|| Record::Flushed { db: Some(a) });
        self.note(|| Record::Flushed { db: Some(b) });
    }

    /// Applies changed limits, once the locks are released.
    pub(crate) fn bound(&self) {
        self.after().bounded = true;
    }

    /// Watches a key for a transaction. If it has expired it is removed first, because that does not count as a
    /// change.
    pub(crate) fn watch(&mut self, key: &[u8]) {
        let db = self.session.db;
        let hash = self.hash(key);
        if !self.exists(key) {
            self.take(key);
        }
        let index = self.shared.keyspace.shard_of(hash);
        if let Some(shard) = self.held.shard_mut(index) {
            let dirty = self.session.watch(db, key, index);
            shard.watch(db, key, dirty);
        }
    }

    /// Whether a watched key was changed, or has expired, since it was watched.
    pub(crate) fn changed_since(&self, watching: &Watching) -> bool {
        watching.is_dirty()
            || watching
                .keys
                .iter()
                .any(|(db, key)| self.has_expired(*db, key))
    }

    fn has_expired(&self, db: u32, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let shard = self.held.shard(self.shared.keyspace.shard_of(hash));
        let entry = shard.and_then(|shard| shard.table(db)?.get(hash, key));
        entry.is_some_and(|entry| self.is_over(entry.deadline))
    }

    fn shard_mut(&mut self, hash: u64) -> Option<&mut Shard> {
        let shard = self.held.shard_mut(self.shared.keyspace.shard_of(hash));
        debug_assert!(
            shard.is_some(),
            "a command changes a key that is not locked for it"
        );
        shard
    }

    /// Calls `visit` for the shards from that index on, until it returns that it has seen enough. Shards that are not
    /// held are locked one at a time.
    pub(crate) fn walk_shards(&self, from: usize, mut visit: impl FnMut(usize, &Shard) -> bool) {
        for index in from..self.shared.keyspace.shards() {
            let go_on = match self.held.shard(index) {
                Some(shard) => visit(index, shard),
                None if self.held.is_nothing() => visit(index, &self.shared.keyspace.read(index)),
                None => true,
            };
            if !go_on {
                return;
            }
        }
    }

    /// Whether an entry is visible to clients.
    pub(crate) fn is_live(&self, entry: &Entry) -> bool {
        !self.is_over(entry.deadline)
    }

    /// Releases the locks, and then does the work that had to wait for it.
    #[inline]
    pub(crate) fn finish(self) {
        let shared = self.shared;
        let ready = self.finish_unserved();
        if !ready.is_empty() {
            shared.serve(ready);
        }
    }

    /// The same, but returns the keys for which somebody waits.
    #[inline]
    pub(crate) fn finish_unserved(mut self) -> Vec<Key> {
        if self.loading {
            return Vec::new();
        }
        if let Some(batch) = self.batch.take() {
            self.append(&batch);
            batch.give_back();
        }
        let wrote = self.held.is_exclusive();
        drop(self.held);
        let mut ready = Vec::new();
        if let Some(aftermath) = self.aftermath.into_inner() {
            ready = aftermath.settle(self.shared, self.session.id);
        }
        if wrote && self.shared.keyspace.meter.is_over() {
            self.shared.trim();
        }
        ready
    }
}
