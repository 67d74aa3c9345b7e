//! Work that a command leaves behind, because it must wait until the locks are released.

use std::sync::atomic::Ordering;

use crate::event::Journal;
use crate::keyspace::table::Table;
use crate::store::Shared;
use crate::waiting::Key;

/// Work that must wait until the locks are released. Most commands have none.
#[derive(Default)]
pub(super) struct Aftermath {
    pub(super) journal: Journal,
    /// Keys that were found expired, to be removed under an exclusive lock.
    pub(super) expired: Vec<(u32, Box<[u8]>)>,
    /// Tables that were flushed, to be dropped.
    pub(super) flushed: Vec<Table>,
    /// Whether the memory limit was changed.
    pub(super) bounded: bool,
    /// Whether more keys are remembered for clients that track than should be.
    pub(super) remembered: bool,
    /// Whether a shard got its first key with a deadline.
    pub(super) volatile: bool,
    /// Waits to end: of which client, and whether with an error.
    pub(super) unblocked: Vec<(u64, bool)>,
    /// Keys that changed while somebody waits for them.
    pub(super) ready: Vec<Key>,
}

impl Aftermath {
    #[cold]
    pub(super) fn settle(self, shared: &Shared, client: u64) -> Vec<Key> {
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
