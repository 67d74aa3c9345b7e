//! Events about changes, for subscribers that keep copies of values, or wait for them.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::exchange::Topic;
use crate::notify::{self, Class};
use crate::store::Shared;

/// A change that took effect. See [`Store::subscribe`](crate::Store::subscribe).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// One command changed these keys: their value or their deadline, or it removed them.
    Changed {
        /// The database they are in.
        db: u32,
        /// The keys, each once, in no particular order. Never empty.
        keys: &'a [&'a [u8]],
        /// The id of the client that did it; `None` if the store did it, because the keys expired or were evicted.
        by: Option<u64>,
    },
    /// All keys are gone, or are those that another database had before.
    Flushed {
        /// The database; `None` means all of them.
        db: Option<u32>,
        /// The id of the client that did it.
        by: Option<u64>,
    },
}

type Subscriber = dyn Fn(&Event<'_>) + Send + Sync;

/// The subscribers of a store.
#[derive(Default)]
pub(crate) struct Hub {
    /// The number of subscribers, and of clients that track, so that a store without any pays almost nothing.
    count: AtomicUsize,
    subscribers: RwLock<Vec<(u64, Arc<Subscriber>)>>,
}

impl Hub {
    pub(crate) fn subscribe(self: &Arc<Self>, subscriber: Arc<Subscriber>) -> Subscription {
        let mut subscribers = self.subscribers.write();
        let id = subscribers.last().map_or(0, |(last, _)| last + 1);
        subscribers.push((id, subscriber));
        self.listen();
        Subscription {
            hub: Arc::downgrade(self),
            id,
        }
    }

    /// Notes that somebody wants to know of changes.
    pub(crate) fn listen(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unlisten(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether somebody wants to know of changes. Asked while the shard of the changed key is locked: a caller that subscribed,
    /// and then read the key before the change under the same lock, is counted.
    #[inline]
    pub(crate) fn is_listening(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    fn has_subscribers(&self) -> bool {
        !self.subscribers.read().is_empty()
    }

    pub(crate) fn emit(&self, event: &Event<'_>) {
        // Called without the lock, so that a subscriber may subscribe, unsubscribe, or use the store.
        let subscribers: Vec<_> = self
            .subscribers
            .read()
            .iter()
            .map(|(_, s)| s.clone())
            .collect();
        for subscriber in subscribers {
            subscriber(event);
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("subscribers", &self.count)
            .finish()
    }
}

/// Keeps a subscriber subscribed; dropping it unsubscribes. A call of the subscriber on another thread may still be
/// running after the drop.
#[derive(Debug)]
#[must_use = "dropping it unsubscribes"]
pub struct Subscription {
    hub: Weak<Hub>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            let mut subscribers = hub.subscribers.write();
            let removed = subscribers.extract_if(.., |(id, _)| *id == self.id).next();
            drop(subscribers);
            if removed.is_some() {
                hub.unlisten();
            }
            // The subscriber may own things that unsubscribe in turn.
            drop(removed);
        }
    }
}

/// Who is to be told that the store removed a key.
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    listening: bool,
    notified: Option<Class>,
}

impl Shared {
    /// Who hears now that the store removes keys for this reason. Asked under the lock of the shard: see
    /// [`Hub::is_listening`].
    #[inline]
    pub(crate) fn hears(&self, class: Class) -> Heard {
        Heard {
            listening: self.hub.is_listening(),
            notified: self.notifies(class).then_some(class),
        }
    }
}

/// The changes of a command, reported when the locks are released.
#[derive(Default)]
pub(crate) struct Journal {
    records: Vec<Record>,
}

pub(crate) enum Record {
    Changed {
        db: u32,
        key: Box<[u8]>,
    },
    /// The store removed them, because they expired or were evicted.
    Dropped {
        db: u32,
        key: Box<[u8]>,
    },
    Flushed {
        db: Option<u32>,
    },
    /// A keyspace notification.
    Notified {
        class: Class,
        event: &'static str,
        db: u32,
        key: Box<[u8]>,
    },
    /// A message for a channel, or a shard channel.
    Published {
        topic: Topic,
        channel: Box<[u8]>,
        message: Box<[u8]>,
    },
    /// Separates the commands of a transaction, which are reported one by one.
    EndOfCommand,
}

impl Journal {
    pub(crate) fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds records that belong before others.
    pub(crate) fn insert(&mut self, at: usize, records: impl Iterator<Item = Record>) {
        self.records.splice(at..at, records);
    }

    /// The store removed a key, if that is to be told to somebody.
    pub(crate) fn dropped(&mut self, heard: Heard, event: &'static str, db: u32, key: &[u8]) {
        if heard.listening {
            let key = key.into();
            self.push(Record::Dropped { db, key });
        }
        if let Some(class) = heard.notified {
            let key = key.into();
            self.push(Record::Notified {
                class,
                event,
                db,
                key,
            });
        }
    }

    pub(crate) fn end_command(&mut self) {
        if !self.records.is_empty() {
            self.records.push(Record::EndOfCommand);
        }
    }

    #[inline]
    pub(crate) fn tell(&self, shared: &Shared, client: Option<u64>) {
        if !self.records.is_empty() {
            self.tell_all(shared, client);
        }
    }

    #[cold]
    fn tell_all(&self, shared: &Shared, client: Option<u64>) {
        let is_end = |record: &Record| matches!(record, Record::EndOfCommand);
        if shared.hub.has_subscribers() {
            for command in self.records.split(is_end) {
                tell_command(command, &shared.hub, client);
            }
        }
        shared.trackers.tell(&self.records, client);
        for record in &self.records {
            match record {
                Record::Notified {
                    class,
                    event,
                    db,
                    key,
                } => notify::publish(shared, *class, event, *db, key),
                Record::Published {
                    topic: Topic::Shard,
                    channel,
                    message,
                } => {
                    shared.exchange.publish_to_shard(channel, message);
                }
                Record::Published {
                    channel, message, ..
                } => {
                    shared.exchange.publish(channel, message);
                }
                _ => {}
            }
        }
    }
}

fn tell_command(records: &[Record], hub: &Hub, client: Option<u64>) {
    // Expired keys were gone before the command changed anything, so they are reported first.
    let mut dropped: Vec<_> = records.iter().filter_map(Record::dropped).collect();
    tell_keys(&mut dropped, hub, None);
    for record in records {
        if let Record::Flushed { db } = *record {
            hub.emit(&Event::Flushed { db, by: client });
        }
    }
    let mut changed: Vec<_> = records.iter().filter_map(Record::changed).collect();
    tell_keys(&mut changed, hub, client);
}

fn tell_keys(changes: &mut Vec<(u32, &[u8])>, hub: &Hub, by: Option<u64>) {
    changes.sort_unstable();
    changes.dedup();
    for of_db in changes.chunk_by(|a, b| a.0 == b.0) {
        let keys: Vec<&[u8]> = of_db.iter().map(|(_, key)| *key).collect();
        hub.emit(&Event::Changed {
            db: of_db[0].0,
            keys: &keys,
            by,
        });
    }
}

impl Record {
    fn changed(&self) -> Option<(u32, &[u8])> {
        match self {
            Record::Changed { db, key } => Some((*db, key)),
            _ => None,
        }
    }

    fn dropped(&self) -> Option<(u32, &[u8])> {
        match self {
            Record::Dropped { db, key } => Some((*db, key)),
            _ => None,
        }
    }
}
