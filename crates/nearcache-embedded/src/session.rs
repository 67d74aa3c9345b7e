//! The state of a connection: its database, protocol, name, and transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use redis::ProtocolVersion;

use crate::command::Command;
use crate::keyspace::ShardSet;
use crate::mailbox::Mailbox;
use crate::persist::Commit;
use crate::port::clients::Client;
use crate::recipients::OwnMailbox;
use crate::reply::Error;
use crate::store::Shared;
use crate::subscriptions::Subscriptions;
use crate::tracking::Tracking;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) db: u32,
    pub(crate) protocol: ProtocolVersion,
    pub(crate) name: Option<Arc<[u8]>>,
    pub(crate) transaction: Option<Box<Transaction>>,
    pub(crate) watching: Option<Box<Watching>>,
    /// What is sent to the client beside its replies; [opened](Session::open_mailbox) when it is first needed, by a
    /// port for each client at once. A port sends what is in it after each reply, never before a reply that is ready,
    /// and whenever it is woken.
    pub(crate) mailbox: Option<OwnMailbox>,
    /// What it is subscribed to, if anything.
    pub(crate) subscriptions: Option<Box<Subscriptions>>,
    /// Made when it is first turned on.
    pub(crate) tracking: Option<Box<Tracking>>,
    /// Whether the last command says what it has to say by its mailbox. A port then sends no reply of its own.
    pub(crate) silent: bool,
    /// What must be on the disk before the replies since the last time are given out.
    pub(crate) unsettled: Option<Commit>,
    /// The client of the port, if it is one.
    pub(crate) client: Option<Arc<Client>>,
    /// When the last of a pipeline's commands ended: the next one begins then, which saves reading the clock.
    pub(crate) last_end: Option<Instant>,
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
            subscriptions: None,
            tracking: None,
            silent: false,
            unsettled: None,
            client: None,
            last_end: None,
        }
    }

    /// The client's mailbox; a new one if the client was cut.
    pub(crate) fn open_mailbox(&mut self, shared: &Shared) -> &Arc<Mailbox> {
        self.mailbox.take_if(|mailbox| mailbox.has_ended());
        self.mailbox.get_or_insert_with(|| {
            let bound = shared.settings.push_bound.clone();
            let mailbox = shared.recipients.open(self.id, bound);
            let speaks_3 = self.protocol != ProtocolVersion::RESP2;
            mailbox.speaks_3.store(speaks_3, Ordering::Relaxed);
            mailbox
        })
    }

    /// Chooses the protocol.
    pub(crate) fn speak(&mut self, protocol: ProtocolVersion) {
        self.protocol = protocol;
        if let Some(mailbox) = &self.mailbox {
            let speaks_3 = protocol != ProtocolVersion::RESP2;
            mailbox.speaks_3.store(speaks_3, Ordering::Relaxed);
        }
    }

    /// What the client is subscribed to, to add to it.
    pub(crate) fn subscribe(&mut self, shared: &Shared) -> &mut Subscriptions {
        let mailbox = self.open_mailbox(shared).clone();
        self.subscriptions.take_if(|known| known.has_ended());
        self.subscriptions
            .get_or_insert_with(|| Box::new(Subscriptions::new(shared.exchange.clone(), mailbox)))
    }

    /// Whether it is subscribed to anything.
    #[inline]
    pub(crate) fn is_subscribed(&self) -> bool {
        self.subscriptions
            .as_ref()
            .is_some_and(|known| !known.has_ended())
    }

    /// How many channels, patterns and shard channels it is subscribed to.
    pub(crate) fn subscription_counts(&self) -> [usize; 3] {
        self.subscriptions
            .as_ref()
            .map_or([0; 3], |known| known.counts())
    }

    /// The client's tracking, to turn it on.
    pub(crate) fn tracking(&mut self, shared: &Shared) -> &mut Tracking {
        let mailbox = self.open_mailbox(shared).clone();
        self.tracking.take_if(|tracking| tracking.has_ended());
        self.tracking
            .get_or_insert_with(|| Box::new(shared.trackers.join(self.id, mailbox)))
    }

    /// The client to which the news of keys go: 0 if to itself, -1 if it does not track.
    pub(crate) fn redirect(&self) -> i64 {
        let mode = self.tracking.as_ref().and_then(|tracking| tracking.mode());
        mode.map_or(-1, |mode| mode.redirect.cast_signed())
    }

    /// The flags of `CLIENT INFO` that tell of pushes.
    pub(crate) fn push_flags(&self) -> String {
        let mut flags = String::new();
        if self.subscriptions.is_some() {
            flags.push('P');
        }
        if let Some(tracking) = &self.tracking
            && let Some(mode) = tracking.mode()
        {
            flags.push('t');
            if tracking.is_broken() {
                flags.push('R');
            }
            if mode.broadcast {
                flags.push('B');
            }
        }
        flags
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

    /// Returns to the state of a new connection of the same client. Its mailbox stays, and what is in it.
    pub(crate) fn reset(&mut self) {
        *self = Session {
            client: self.client.take(),
            mailbox: self.mailbox.take(),
            ..Session::new(self.id)
        };
        self.speak(self.protocol);
    }

    /// Waits until what its commands changed is on the disk, as far as it must be.
    #[inline]
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        match self.unsettled.take() {
            None => Ok(()),
            Some(commit) => commit.wait(),
        }
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
