//! The state of a connection: its database, protocol, name, and transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use redis::ProtocolVersion;

use crate::clients::Client;
use crate::command::Command;
use crate::keyspace::ShardSet;
use crate::mailbox::Mailbox;
use crate::store::Shared;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) db: u32,
    pub(crate) protocol: ProtocolVersion,
    pub(crate) name: Option<Arc<[u8]>>,
    pub(crate) transaction: Option<Box<Transaction>>,
    pub(crate) watching: Option<Box<Watching>>,
    /// What is sent to the client beside its replies; made when it is first needed, or by a port for each client. A
    /// port sends what is in it after each reply, and whenever it is woken.
    pub(crate) mailbox: Option<Arc<Mailbox>>,
    /// Whether the last command says what it has to say by its mailbox. A port then sends no reply of its own.
    pub(crate) silent: bool,
    /// The client of the port, if it is one.
    pub(crate) client: Option<Arc<Client>>,
}

/// Commands between `MULTI` and `EXEC`.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) queue: Vec<Queued>,
    /// Whether a command was refused, so that `EXEC` must be refused as well.
    pub(crate) aborted: bool,
}

#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) command: &'static Command,
    pub(crate) args: Vec<Box<[u8]>>,
}

impl Queued {
    pub(crate) fn with_args<R>(&self, run: impl FnOnce(&[&[u8]]) -> R) -> R {
        let args: Vec<&[u8]> = self.args.iter().map(AsRef::as_ref).collect();
        run(&args)
    }
}

/// Keys under `WATCH`.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    dirty: Arc<AtomicBool>,
    pub(crate) keys: Vec<(u32, Box<[u8]>)>,
    pub(crate) shards: ShardSet,
}

impl Watching {
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }
}

impl Session {
    pub(crate) fn new(id: u64) -> Self {
        Session {
            id,
            db: 0,
            protocol: ProtocolVersion::RESP2,
            name: None,
            transaction: None,
            watching: None,
            mailbox: None,
            silent: false,
            client: None,
        }
    }

    /// How many channels, patterns and shard channels it is subscribed to.
    pub(crate) fn subscribed(&self) -> [usize; 3] {
        [0; 3]
    }

    /// The client's mailbox.
    pub(crate) fn open_mailbox(&mut self, shared: &Shared) -> &Arc<Mailbox> {
        self.mailbox
            .get_or_insert_with(|| Arc::new(Mailbox::new(shared.settings.push_bound.clone())))
    }

    /// The session of another handle: the same client, outside of any transaction.
    pub(crate) fn handle(&self) -> Self {
        Session {
            db: self.db,
            protocol: self.protocol,
            name: self.name.clone(),
            ..Session::new(self.id)
        }
    }

    /// Returns to the state of a new connection of the same client.
    pub(crate) fn reset(&mut self) {
        *self = Session {
            client: self.client.take(),
            ..Session::new(self.id)
        };
    }

    /// Makes the next `EXEC` fail, if a transaction is open.
    pub(crate) fn abort(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.aborted = true;
        }
    }

    /// Records a watched key, and returns the flag that says that it changed.
    pub(crate) fn watch(&mut self, db: u32, key: &[u8], shard: usize) -> Weak<AtomicBool> {
        let watching = self.watching.get_or_insert_default();
        watching.keys.push((db, key.into()));
        watching.shards.add(shard);
        Arc::downgrade(&watching.dirty)
    }
}
