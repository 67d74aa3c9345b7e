//! `CLIENT TRACKING`: clients keep copies of what they read, and are told when it changes.
//!
//! In the default mode the [`table`] remembers which client has read which key, until the key changes. In the
//! broadcast mode nothing is remembered: a client is told every change of a key with one of its
//! [prefixes](broadcast).
//!
//! Invariants:
//! 1. **No change is missed.** A key is remembered before the locks under which it was read are released, and those
//!    who are to be told of a change are looked up after it took effect. So who reads the old value is remembered by
//!    then.
//! 2. **The news never overtake the value.** They are left in the client's mailbox, which a port empties after it has
//!    written the reply. So a client may drop a value that is new already, but never keeps one that is old.
//! 3. The table has no more keys than `tracking-table-max-keys`, after each command. Keys beyond it are forgotten, as
//!    if they had changed.

mod broadcast;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::{PushKind, Value};

use crate::event::{Hub, Record};
use crate::mailbox::{Mailbox, Message};
use crate::recipients::Recipients;
use crate::reply::bulk;
use broadcast::Prefixes;
use table::Table;

/// The channel on which a client of RESP2 gets what another one redirects to it.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// All that tracks in a store.
#[derive(Debug)]
pub(crate) struct Trackers {
    hub: Arc<Hub>,
    recipients: Arc<Recipients>,
    next: AtomicU64,
    /// The clients that track.
    on: Mutex<BTreeMap<u64, Arc<Tracker>>>,
    table: Table,
    prefixes: Prefixes,
}

/// A client that tracks, as others see it.
#[derive(Debug)]
pub(crate) struct Tracker {
    /// Tells clients apart, also handles of the same client.
    number: u64,
    client: u64,
    mailbox: Arc<Mailbox>,
    on: AtomicBool,
    broadcasts: AtomicBool,
    /// Whether it is not told of its own changes.
    no_loop: AtomicBool,
    /// The client that gets the news in its place; 0 means none.
    redirect: AtomicU64,
    /// Whether that client was gone when there were news.
    broken: AtomicBool,
}

/// How a client wants to track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) redirect: u64,
    pub(crate) broadcast: bool,
    /// Only what is read after `CLIENT CACHING YES`.
    pub(crate) opt_in: bool,
    /// All but what is read after `CLIENT CACHING NO`.
    pub(crate) opt_out: bool,
    pub(crate) no_loop: bool,
}

/// A session's tracking. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Tracking {
    trackers: Arc<Trackers>,
    tracker: Arc<Tracker>,
    /// `None` while it is off.
    mode: Option<Mode>,
    prefixes: BTreeSet<Box<[u8]>>,
    /// Whether `CLIENT CACHING` was called for the next command.
    pub(crate) caching: bool,
}

impl Trackers {
    pub(crate) fn new(hub: Arc<Hub>, recipients: Arc<Recipients>) -> Self {
        Trackers {
            hub,
            recipients,
            next: AtomicU64::new(0),
            on: Mutex::default(),
            table: Table::default(),
            prefixes: Prefixes::default(),
        }
    }

    /// Tracking of a client, which is off at first.
    pub(crate) fn join(self: &Arc<Self>, client: u64, mailbox: Arc<Mailbox>) -> Tracking {
        Tracking {
            trackers: self.clone(),
            tracker: Arc::new(Tracker {
                number: self.next.fetch_add(1, Ordering::Relaxed),
                client,
                mailbox,
                on: AtomicBool::new(false),
                broadcasts: AtomicBool::new(false),
                no_loop: AtomicBool::new(false),
                redirect: AtomicU64::new(0),
                broken: AtomicBool::new(false),
            }),
            mode: None,
            prefixes: BTreeSet::new(),
            caching: false,
        }
    }

    /// Tells of the changes that a command, or a transaction, has made. Called without locks.
    pub(crate) fn tell(&self, records: &[Record], by: Option<u64>) {
        let mut was_flushed = false;
        for record in records {
            match record {
                Record::Changed { key, .. } => self.invalidate(key, by),
                Record::Dropped { key, .. } => self.invalidate(key, None),
                // Databases that are exchanged are two flushes, and one message.
                Record::Flushed { .. } if !was_flushed => self.flushed(),
                _ => {}
            }
            was_flushed = matches!(record, Record::Flushed { .. });
        }
        self.prefixes.tell(self, records, by);
    }

    /// Tells those who have read the key, and forgets them. A server tells a client that wants no news of its own
    /// changes nothing here, but forgets it all the same.
    fn invalidate(&self, key: &[u8], by: Option<u64>) {
        let known = self.table.take(key);
        if known.is_empty() {
            return;
        }
        let mut news = News::of_keys(vec![bulk(key)]);
        for tracker in known {
            if tracker.on.load(Ordering::Relaxed)
                && !tracker.broadcasts.load(Ordering::Relaxed)
                && !tracker.is_own(by)
            {
                self.send(&tracker, &mut news);
            }
        }
    }

    /// All keys are gone.
    fn flushed(&self) {
        let all: Vec<_> = self.on.lock().values().cloned().collect();
        self.table.clear();
        let mut news = News::new(Value::Nil);
        for tracker in all {
            self.send(&tracker, &mut news);
        }
    }

    /// Forgets keys until there are no more than `most`; 0 means no limit. Who has read them is told that they
    /// changed.
    pub(crate) fn trim(&self, most: usize) {
        while most > 0 && self.table.keys() > most {
            let Some(key) = self.table.any() else {
                return;
            };
            self.invalidate(&key, None);
        }
    }

    /// Whether there are more keys than `most`.
    #[inline]
    pub(crate) fn is_over(&self, most: usize) -> bool {
        most > 0 && self.table.keys() > most
    }

    fn send(&self, tracker: &Tracker, news: &mut News) {
        let redirect = tracker.redirect.load(Ordering::Relaxed);
        if redirect == 0 {
            if tracker.mailbox.takes_all() {
                tracker.mailbox.push(news.push());
            }
            return;
        }
        let Some(mailbox) = self.recipients.find(redirect) else {
            tracker.broken.store(true, Ordering::Relaxed);
            if tracker.mailbox.takes_all() {
                tracker.mailbox.push(Value::Push {
                    kind: PushKind::Other("tracking-redir-broken".to_owned()),
                    data: vec![Value::Int(redirect.cast_signed())],
                });
            }
            return;
        };
        if mailbox.takes_all() {
            mailbox.push(news.push());
        } else if mailbox.subscribed.load(Ordering::Relaxed) {
            mailbox.push(news.message());
        }
    }

    /// Whether there is a client of that id to redirect to.
    pub(crate) fn knows(&self, client: u64) -> bool {
        self.recipients.find(client).is_some()
    }

    /// How many clients track.
    pub(crate) fn clients(&self) -> usize {
        self.on.lock().len()
    }

    /// How many keys are remembered, for how many clients in sum, and how many prefixes there are.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [self.table.keys(), self.table.items(), self.prefixes.count()]
    }

    fn turn_on(&self, tracker: &Arc<Tracker>) {
        let mut on = self.on.lock();
        if on.insert(tracker.number, tracker.clone()).is_none() {
            self.hub.listen();
        }
        tracker.on.store(true, Ordering::Relaxed);
    }

    fn turn_off(&self, tracker: &Tracker) {
        let mut on = self.on.lock();
        tracker.on.store(false, Ordering::Relaxed);
        if on.remove(&tracker.number).is_some() {
            self.hub.unlisten();
        }
        if on.is_empty() {
            // Nobody can be remembered meanwhile: that takes being in this list.
            self.table.clear();
        }
    }
}

impl Tracker {
    /// Whether these are its own changes, of which it wants no news.
    fn is_own(&self, by: Option<u64>) -> bool {
        by == Some(self.client) && self.no_loop.load(Ordering::Relaxed)
    }
}

impl Tracking {
    /// The mode, while it is on.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// The prefixes of the broadcast mode.
    pub(crate) fn prefixes(&self) -> &BTreeSet<Box<[u8]>> {
        &self.prefixes
    }

    /// Whether the client to redirect to was gone when there were news.
    pub(crate) fn is_broken(&self) -> bool {
        self.tracker.broken.load(Ordering::Relaxed)
    }

    /// Whether its mailbox has ended, so that it must start again.
    pub(crate) fn has_ended(&self) -> bool {
        self.tracker.mailbox.has_ended()
    }

    /// Turns it on, or changes the mode. The prefixes are added to those that it has.
    pub(crate) fn turn_on(&mut self, mode: Mode, prefixes: &[&[u8]]) {
        let tracker = &self.tracker;
        tracker.redirect.store(mode.redirect, Ordering::Relaxed);
        tracker.no_loop.store(mode.no_loop, Ordering::Relaxed);
        tracker.broadcasts.store(mode.broadcast, Ordering::Relaxed);
        tracker.broken.store(false, Ordering::Relaxed);
        self.mode = Some(mode);
        self.trackers.turn_on(tracker);
        if mode.broadcast {
            let everything: &[&[u8]] = &[b""];
            let prefixes = if prefixes.is_empty() {
                everything
            } else {
                prefixes
            };
            for prefix in prefixes {
                if self.prefixes.insert((*prefix).into()) {
                    self.trackers.prefixes.add(prefix, &self.tracker);
                }
            }
        }
    }

    pub(crate) fn turn_off(&mut self) {
        self.mode = None;
        self.caching = false;
        for prefix in std::mem::take(&mut self.prefixes) {
            self.trackers.prefixes.remove(&prefix, &self.tracker);
        }
        self.tracker.broken.store(false, Ordering::Relaxed);
        self.trackers.turn_off(&self.tracker);
    }

    /// Remembers keys that the client has read. Their shards are still locked.
    pub(crate) fn remember<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let Some(mode) = self.mode else {
            return;
        };
        if mode.broadcast || mode.opt_in && !self.caching || mode.opt_out && self.caching {
            return;
        }
        for key in keys {
            self.trackers.table.add(key, &self.tracker);
        }
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.turn_off();
    }
}

/// A message in its two forms, each made at most once.
struct News {
    what: Value,
    push: Option<Message>,
    message: Option<Message>,
}

impl News {
    fn new(what: Value) -> Self {
        News {
            what,
            push: None,
            message: None,
        }
    }

    fn of_keys(keys: Vec<Value>) -> Self {
        News::new(Value::Array(keys))
    }

    fn push(&mut self) -> Message {
        let push = self.push.get_or_insert_with(|| {
            Arc::new(Value::Push {
                kind: PushKind::Invalidate,
                data: vec![self.what.clone()],
            })
        });
        push.clone()
    }

    /// As a message of a channel.
    fn message(&mut self) -> Message {
        let message = self.message.get_or_insert_with(|| {
            Arc::new(Value::Push {
                kind: PushKind::Message,
                data: vec![bulk(CHANNEL), self.what.clone()],
            })
        });
        message.clone()
    }
}
