//! What a command that waits says, and whether it is its turn.

use redis::Value;

use super::{Context, Logged};
use crate::reply::Reply;
use crate::waiting::Queues;

/// What a command waits for, because it found nothing.
pub(crate) struct Wait {
    /// Until one of these keys changes.
    pub(crate) keys: Vec<Box<[u8]>>,
    /// Until then, in unix milliseconds; `None` means for ever.
    pub(crate) deadline: Option<i64>,
    /// The command to try again, if not the one that was sent.
    pub(crate) args: Option<Logged>,
}

impl Context<'_> {
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

    /// Lets those who wait for a key try again.
    pub(crate) fn wake(&self, key: &[u8]) {
        let db = self.session.db;
        if self.queues_of(key, |queues| queues.has(db, key)) {
            self.is_due(db, key);
        }
    }
}
