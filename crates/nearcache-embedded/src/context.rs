//! The context of a command: the client that sent it, the shards that are locked for it, and the time.
//!
//! Commands read keys only through [`Context::get`], and change them only through [`put`](Context::put),
//! [`edit`](Context::edit), [`take`](Context::take) and [`flush`](Context::flush). These hide expired keys, mark
//! watched keys as changed, and record the events for subscribers.

use std::cell::{Cell, RefCell, RefMut};

use std::sync::atomic::Ordering;

use redis::Value;

use crate::command::{Args, Command};
use crate::event::{Journal, Record};
use crate::keyspace::access::Tick;
use crate::keyspace::bytes::Bytes;
use crate::keyspace::entry::{Data, Deadline, Entry, Given, Structure};
use crate::keyspace::table::Table;
use crate::keyspace::{Held, Locked, Shard};
use crate::limits::Compact;
use crate::notify::Class;
use crate::persist::Commit;
use crate::persist::record::Batch;
use crate::reply::{Error, Reply};
use crate::session::{Session, Watching};
use crate::store::Shared;
use crate::waiting::{Key, Queues};

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
    aftermath: RefCell<Option<Box<Aftermath>>>,
}

/// A command of the log.
pub(crate) type Logged = Vec<Box<[u8]>>;

/// What a command waits for, because it found nothing.
pub(crate) struct Wait {
    /// Until one of these keys changes.
    pub(crate) keys: Vec<Box<[u8]>>,
    /// Until then, in unix milliseconds; `None` means for ever.
    pub(crate) deadline: Option<i64>,
    /// The command to try again, if not the one that was sent.
    pub(crate) args: Option<Logged>,
}

/// Work that must wait until the locks are released. Most commands have none.
#[derive(Default)]
struct Aftermath {
    journal: Journal,
    /// Keys that were found expired, to be removed under an exclusive lock.
    expired: Vec<(u32, Box<[u8]>)>,
    /// Tables that were flushed, to be dropped.
    flushed: Vec<Table>,
    /// Whether the memory limit was changed.
    bounded: bool,
    /// Whether more keys are remembered for clients that track than should be.
    remembered: bool,
    /// Whether a shard got its first key with a deadline.
    volatile: bool,
    /// Waits to end: of which client, and whether with an error.
    unblocked: Vec<(u64, bool)>,
    /// Keys that changed while somebody waits for them.
    ready: Vec<Key>,
}

/// What a change of a structure did.
pub(crate) struct Change<R> {
    changed: bool,
    quiet: bool,
    events: [Option<(Class, &'static str)>; 2],
    result: R,
}

impl<R> Change<R> {
    /// Nothing changed.
    pub(crate) fn none(result: R) -> Self {
        Change::when(false, result)
    }

    /// Something changed.
    pub(crate) fn done(result: R) -> Self {
        Change::when(true, result)
    }

    /// Something changed if so.
    pub(crate) fn when(changed: bool, result: R) -> Self {
        Change {
            changed,
            quiet: false,
            events: [None; 2],
            result,
        }
    }

    /// The change is none for those who watch the key or wait for it: so are changes of a stream's groups.
    pub(crate) fn quietly(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The notification to publish if something changed; up to two.
    pub(crate) fn notify(mut self, class: Class, event: &'static str) -> Self {
        if let Some(free) = self.events.iter_mut().find(|event| event.is_none()) {
            *free = Some((class, event));
        }
        self
    }
}

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

    /// A key that a command looked for is not there. That is notified if the command only reads.
    #[inline]
    fn misses(&self, db: u32, key: &[u8]) {
        if self.shared.notifies(Class::KEY_MISS) && self.command.is_some_and(Command::tells_misses)
        {
            self.record(db, Class::KEY_MISS, "keymiss", key);
        }
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

    /// Runs a command that writes. The keys that it only reads are looked for before it changes anything.
    #[cold]
    fn run_telling_misses(&mut self, command: &Command, args: Args<'_>) -> Reply {
        let mut missed = command.sources(args);
        missed.retain(|key| self.get(key).is_none());
        let before = self.after().journal.len();
        let reply = (command.run)(self, args);
        if reply.is_ok() {
            let db = self.session.db;
            let told = missed.into_iter().map(|key| Record::Notified {
                class: Class::KEY_MISS,
                event: "keymiss",
                db,
                key: key.into(),
            });
            self.after().journal.insert(before, told);
        }
        reply
    }

    /// Remembers keys that a client which tracks has read.
    #[cold]
    pub(crate) fn remember<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        if let Some(tracking) = &self.session.tracking {
            tracking.remember(keys);
            let most = self.shared.settings.tracked_keys.load(Ordering::Relaxed);
            if self.shared.trackers.is_over(most) {
                self.after().remembered = true;
            }
        }
    }

    /// Ends a command that has changed something.
    #[inline]
    fn log(&mut self, args: Args<'_>) {
        self.changed = false;
        if self.session.client.is_some() {
            self.shared.stats.changes.fetch_add(1, Ordering::Relaxed);
        }
        let logged = self.logged.take();
        if self.logs() {
            self.note_commands(args, logged);
        }
    }

    #[inline]
    fn logs(&self) -> bool {
        self.shared.log().is_some() && !self.loading
    }

    fn note_commands(&mut self, args: Args<'_>, logged: Option<Vec<Logged>>) {
        let db = self.session.db;
        let batch = self.batch.get_or_insert_with(Batch::take);
        match logged {
            None => batch.push(db, args.iter().copied()),
            Some(commands) => {
                for command in commands {
                    batch.push(db, command.iter().map(AsRef::as_ref));
                }
            }
        }
    }

    /// Notes that a key had expired before the command changed it: the log must not go on with its old value.
    fn note_expired(&mut self, db: u32, key: &[u8]) {
        if self.logs() {
            self.batch
                .get_or_insert_with(Batch::take)
                .push_removal(db, key);
        }
    }

    /// Says what the log is to hold in place of the command as it was sent. It must have the same effect at any other
    /// time: so this is for commands that depend on the time or on chance, or that wait. A command may call it several
    /// times; the log then holds all of these commands, in this order.
    pub(crate) fn log_as(&mut self, command: &[&[u8]]) {
        if self.logs() {
            let command = command.iter().map(|arg| (*arg).into()).collect();
            self.logged.get_or_insert_default().push(command);
        }
    }

    /// Appends what changed to the log. The shards are still locked, so that the log has the changes of a key in their
    /// order.
    fn append(&mut self, batch: &Batch) {
        if let Some(log) = self.shared.log()
            && let Some(position) = log.append(batch)
        {
            let log = log.clone();
            self.session.unsettled = Some(Commit { log, position });
        }
    }

    /// Publishes a keyspace notification: the event happened to the key. It is what a server's command of that kind
    /// tells, in the same order.
    #[inline]
    pub(crate) fn notify(&self, class: Class, event: &'static str, key: &[u8]) {
        self.notify_in(self.session.db, class, event, key);
    }

    /// The same in another database.
    #[inline]
    pub(crate) fn notify_in(&self, db: u32, class: Class, event: &'static str, key: &[u8]) {
        if self.shared.notifies(class) {
            self.record(db, class, event, key);
        }
    }

    #[cold]
    fn record(&self, db: u32, class: Class, event: &'static str, key: &[u8]) {
        let key = key.into();
        self.after().journal.push(Record::Notified {
            class,
            event,
            db,
            key,
        });
    }

    /// Has something told when the locks are released.
    #[cold]
    pub(crate) fn tell(&self, record: Record) {
        self.after().journal.push(record);
    }

    /// Whether any shard is locked.
    pub(crate) fn holds_locks(&self) -> bool {
        !self.held.is_nothing()
    }

    /// Lets the command wait until one of the keys changes, and then try again, up to the deadline. Returns what it
    /// replies if it must not wait, or in vain: nil.
    pub(crate) fn wait_for(&mut self, keys: &[&[u8]], deadline: Option<i64>) -> Reply {
        self.wait_as(keys, deadline, None)
    }

    /// The same, but tries another command than the one that was sent.
    pub(crate) fn wait_as(
        &mut self,
        keys: &[&[u8]],
        deadline: Option<i64>,
        args: Option<Logged>,
    ) -> Reply {
        if self.may_wait {
            self.waits = Some(Wait {
                keys: keys.iter().map(|key| (*key).into()).collect(),
                deadline,
                args,
            });
        }
        Ok(Value::Nil)
    }

    /// Whether a command that waits should look at this key: not if others wait for it already; and when it is tried
    /// again, only if it is the one that changed.
    pub(crate) fn is_ready(&self, key: &[u8]) -> bool {
        match self.ready {
            Some(ready) => ready == key,
            None => {
                !self.may_wait || !self.queues_of(key, |queues| queues.has(self.session.db, key))
            }
        }
    }

    /// Looks at the queues in which a key's may be. The key's shard must be held.
    pub(crate) fn queues_of<R: Default>(&self, key: &[u8], of: impl FnOnce(&Queues) -> R) -> R {
        let index = self.shared.keyspace.shard_of(self.hash(key));
        let shard = self.held.shard(index);
        debug_assert!(
            shard.is_some(),
            "a command waits for a key that is not locked for it"
        );
        shard.map(|shard| of(&shard.queues)).unwrap_or_default()
    }

    /// Ends the wait of a client. Returns whether it waits.
    pub(crate) fn unblock(&mut self, client: u64, with_error: bool) -> bool {
        if self.held.is_nothing() {
            return self.shared.unblock(client, with_error);
        }
        // Not while shards are locked, because a wait that ends may let others have their turn.
        let waits = self.shared.waits(client);
        if waits {
            self.after().unblocked.push((client, with_error));
        }
        waits
    }

    /// Notes that those who wait for a key are to be served.
    #[cold]
    pub(crate) fn is_due(&self, db: u32, key: &[u8]) {
        self.after().ready.push((db, key.into()));
    }

    /// Up to which size structures are kept compact.
    pub(crate) fn compact(&self) -> Compact {
        self.shared.settings.compact.get()
    }

    /// The maximum length of a string.
    pub(crate) fn max_len(&self) -> usize {
        self.shared.settings.max_len.load(Ordering::Relaxed)
    }

    /// The structure at a key. It counts as a use of the key.
    #[inline]
    pub(crate) fn structure<S: Structure>(&self, key: &[u8]) -> Result<Option<&S>, Error> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => S::of(&entry.data).map(Some).ok_or(Error::WRONG_TYPE),
        }
    }

    /// Changes the structure at a key; `None` if there is none. `change` returns whether it really changed something,
    /// and a result. A structure that is left empty is removed, and that is notified as `del`; so commands notify
    /// their own event through [`Change::notify`].
    pub(crate) fn change<S: Structure, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut S) -> Change<R>,
    ) -> Result<Option<R>, Error> {
        if self.structure::<S>(key)?.is_none() {
            return Ok(None);
        }
        let db = self.session.db;
        let hash = self.hash(key);
        let mut emptied = false;
        let Some(shard) = self.shard_mut(hash) else {
            return Ok(None);
        };
        let done = shard.change(db, |table| {
            table.edit(hash, key, |entry| {
                let structure = S::of_mut(&mut entry.data)?;
                let done = change(structure);
                emptied = !S::STAYS_EMPTY && structure.is_empty();
                Some(done)
            })
        });
        let Some(done) = done.flatten() else {
            return Ok(None);
        };
        if done.changed {
            if done.quiet {
                self.has_changed_quietly(db, key);
            } else {
                self.has_changed(db, key, hash);
            }
            for (class, event) in done.events.into_iter().flatten() {
                self.notify(class, event, key);
            }
        }
        if emptied {
            self.take(key);
            self.notify(Class::GENERIC, "del", key);
        }
        Ok(Some(done.result))
    }

    /// Changes the structure at a key, which is made if there is none; but not if it would be left empty.
    pub(crate) fn change_or_make<S: Structure, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut S) -> Change<R>,
    ) -> Result<R, Error> {
        if self.structure::<S>(key)?.is_some() {
            let done = self.change(key, change)?;
            return done.ok_or(Error::WRONG_TYPE);
        }
        let mut structure = Box::<S>::default();
        let done = change(&mut structure);
        if done.changed && (S::STAYS_EMPTY || !structure.is_empty()) {
            self.put(key, S::into_data(structure).into(), None);
            for (class, event) in done.events.into_iter().flatten() {
                self.notify(class, event, key);
            }
        }
        Ok(done.result)
    }

    /// Stores the result of a command at a key, in place of whatever is there; an empty one removes the key. Returns
    /// whether there is a result.
    pub(crate) fn store<S: Structure>(
        &mut self,
        key: &[u8],
        structure: Box<S>,
        class: Class,
        event: &'static str,
    ) -> bool {
        if structure.is_empty() {
            if self.take(key).is_some() {
                self.notify(Class::GENERIC, "del", key);
            }
            return false;
        }
        self.put(key, S::into_data(structure).into(), None);
        self.notify(class, event, key);
        true
    }

    /// What a change entails of which those who watch the key, or wait for it, are not told.
    fn has_changed_quietly(&mut self, db: u32, key: &[u8]) {
        self.changed = true;
        self.note(|| Record::Changed {
            db,
            key: key.into(),
        });
    }

    /// Lets those who wait for a key try again.
    pub(crate) fn wake(&self, key: &[u8]) {
        let db = self.session.db;
        if self.queues_of(key, |queues| queues.has(db, key)) {
            self.is_due(db, key);
        }
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

    /// The string at a key.
    #[inline]
    pub(crate) fn string(&self, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        match self.read(key).map(|entry| &entry.data) {
            None => Ok(None),
            Some(Data::String(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(Error::WRONG_TYPE),
        }
    }

    /// Changes the string at a key, and keeps its deadline. The string is made from an empty one if there is none; but
    /// not if nothing changed.
    pub(crate) fn change_string<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Vec<u8>) -> Change<R>,
    ) -> Result<R, Error> {
        if self.string(key)?.is_none() {
            let mut bytes = Vec::new();
            let done = change(&mut bytes);
            if done.changed {
                self.put(key, Data::String(Bytes::raw(bytes)).into(), None);
                self.notify_all(key, done.events);
            }
            return Ok(done.result);
        }
        let db = self.session.db;
        let hash = self.hash(key);
        let done = self.shard_mut(hash).and_then(|shard| {
            shard.change(db, |table| {
                table.edit(hash, key, |entry| match &mut entry.data {
                    Data::String(bytes) => Some(bytes.edit(change)),
                    _ => None,
                })
            })
        });
        let done = done.flatten().ok_or(Error::WRONG_TYPE)?;
        if done.changed {
            self.has_changed(db, key, hash);
            self.notify_all(key, done.events);
        }
        Ok(done.result)
    }

    fn notify_all(&self, key: &[u8], events: [Option<(Class, &'static str)>; 2]) {
        for (class, event) in events.into_iter().flatten() {
            self.notify(class, event, key);
        }
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

    #[inline]
    fn note(&self, record: impl FnOnce() -> Record) {
        if self.shared.hub.is_listening() {
            self.after().journal.push(record());
        }
    }

    /// Ends a command of a transaction.
    pub(crate) fn end_command(&mut self) {
        if let Some(aftermath) = self.aftermath.get_mut() {
            aftermath.journal.end_command();
        }
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

impl Aftermath {
    #[cold]
    fn settle(self, shared: &Shared, client: u64) -> Vec<Key> {
        drop(self.flushed);
        if self.bounded {
            shared.bound();
        }
        if self.volatile {
            shared.start_sweeper();
        }
        for (client, with_error) in self.unblocked {
            shared.unblock(client, with_error);
        }
        // They were gone before the command changed anything.
        for (db, key) in self.expired {
            shared.remove_expired(db, &key);
        }
        self.journal.tell(shared, Some(client));
        if self.bounded || self.remembered {
            let most = shared.settings.tracked_keys.load(Ordering::Relaxed);
            shared.trackers.trim(most);
        }
        self.ready
    }
}
