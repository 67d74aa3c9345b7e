//! What a command leaves in the log: itself, or what has the same effect at any time.

use std::sync::atomic::Ordering;

use super::{Context, Logged};
use crate::command::Args;
use crate::persist::Commit;
use crate::persist::record::Batch;

impl Context<'_> {
    /// Ends a command that has changed something.
    #[inline]
    pub(super) fn log(&mut self, args: Args<'_>) {
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
    pub(super) fn logs(&self) -> bool {
        self.shared.log().is_some() && !self.loading
    }

    pub(super) fn note_commands(&mut self, args: Args<'_>, logged: Option<Vec<Logged>>) {
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
    pub(super) fn note_expired(&mut self, db: u32, key: &[u8]) {
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
    pub(super) fn append(&mut self, batch: &Batch) {
        if let Some(log) = self.shared.log()
            && let Some(position) = log.append(batch)
        {
            let log = log.clone();
            self.session.unsettled = Some(Commit { log, position });
        }
    }
}
