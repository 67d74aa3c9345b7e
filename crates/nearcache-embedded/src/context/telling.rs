//! Who is told what a command did: subscribers of events, of notifications, and clients that track keys.

use std::sync::atomic::Ordering;

use super::Context;
use crate::command::{Args, Command};
use crate::event::Record;
use crate::notify::Class;
use crate::reply::Reply;

impl Context<'_> {
    /// A key that a command looked for is not there. That is notified if the command only reads.
    #[inline]
    pub(super) fn misses(&self, db: u32, key: &[u8]) {
        if self.shared.notifies(Class::KEY_MISS) && self.command.is_some_and(Command::tells_misses)
        {
            self.record(db, Class::KEY_MISS, "keymiss", key);
        }
    }

    /// Runs a command that writes. The keys that it only reads are looked for before it changes anything.
    #[cold]
    pub(super) fn run_telling_misses(&mut self, command: &Command, args: Args<'_>) -> Reply {
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
    pub(super) fn record(&self, db: u32, class: Class, event: &'static str, key: &[u8]) {
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

    #[inline]
    pub(super) fn note(&self, record: impl FnOnce() -> Record) {
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
}
