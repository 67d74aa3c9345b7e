//! The exchange: who is subscribed to which channel or pattern, and how a message gets there.
//!
//! Invariants:
//! 1. Messages to one channel reach all its subscribers in the same order: the lock of the channel's bucket is held
//!    until the message lies in all mailboxes. So the messages of one publisher are in order, too.
//! 2. Nobody waits for a subscriber: leaving a message takes a short lock, and wakers run after all locks are
//!    released.
//! 3. Subscriptions of a client that has left, or was cut, are removed by the session, or by the next message that
//!    finds its mailbox ended.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard, RwLock};
use redis::{PushKind, Value};

use crate::glob::Glob;
use crate::mailbox::{Mailbox, Message};
use crate::reply::bulk;

/// The name of a channel or a pattern, shared by the exchange and the subscribers.
pub(crate) type Name = Arc<[u8]>;

type Subscribers = HashMap<Name, Vec<Arc<Mailbox>>, RandomState>;

/// Into how many parts, each with a lock, the channels are divided.
const BUCKETS: usize = 64;

/// What a client can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Channel,
    /// Channels of a name like `news.*`.
    Pattern,
    /// A shard channel. There is one shard, but these channels have names of their own.
    Shard,
}

#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// How many subscriptions there are, of all kinds: a store without any pays one load for a message.
    subscriptions: AtomicUsize,
    channels: Channels,
    shard_channels: Channels,
    patterns: RwLock<Subscribers>,
    /// How many patterns there are.
    pattern_count: AtomicUsize,
}

#[derive(Debug)]
struct Channels {
    hasher: RandomState,
    buckets: Box<[Mutex<Subscribers>]>,
}

impl Default for Channels {
    fn default() -> Self {
        Channels {
            hasher: RandomState::default(),
            buckets: (0..BUCKETS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Channels {
    fn bucket(&self, channel: &[u8]) -> MutexGuard<'_, Subscribers> {
        // The low bits choose a place in the bucket's own table, which has another hash.
        let hash = self.hasher.hash_one(channel);
        self.buckets[hash as usize % BUCKETS].lock()
    }
}

impl Exchange {
    /// Whether nobody is subscribed to anything.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.subscriptions.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn subscribe(&self, topic: Topic, name: &Name, mailbox: &Arc<Mailbox>) {
        self.of(topic, name, |subscribers| {
            let of_name = subscribers.entry(name.clone()).or_default();
            of_name.push(mailbox.clone());
            self.subscriptions.fetch_add(1, Ordering::Relaxed);
        });
    }

    pub(crate) fn unsubscribe(&self, topic: Topic, name: &Name, mailbox: &Arc<Mailbox>) {
        self.of(topic, name, |subscribers| {
            let Some(of_name) = subscribers.get_mut(name) else {
                return;
            };
            let at = of_name.iter().position(|other| Arc::ptr_eq(other, mailbox));
            if let Some(at) = at {
                of_name.remove(at);
                self.subscriptions.fetch_sub(1, Ordering::Relaxed);
            }
            if of_name.is_empty() {
                subscribers.remove(name);
            }
        });
    }

    /// Calls `of` with the subscribers among which those of this name are.
    fn of<R>(&self, topic: Topic, name: &[u8], of: impl FnOnce(&mut Subscribers) -> R) -> R {
        match topic {
            Topic::Channel => of(&mut self.channels.bucket(name)),
            Topic::Shard => of(&mut self.shard_channels.bucket(name)),
            Topic::Pattern => {
                let mut patterns = self.patterns.write();
                let result = of(&mut patterns);
                self.pattern_count.store(patterns.len(), Ordering::Relaxed);
                result
            }
        }
    }

    /// Publishes a message to a channel. Returns how many have received it; a client that is subscribed to the channel
    /// and to patterns that match it receives it several times.
    pub(crate) fn publish(&self, channel: &[u8], message: &[u8]) -> usize {
        if self.is_idle() {
            return 0;
        }
        let mut delivery = Delivery::new(self);
        let mut bucket = self.channels.bucket(channel);
        delivery.leave_with_all(&mut bucket, PushKind::Message, channel, message);
        if self.pattern_count.load(Ordering::Relaxed) > 0 {
            let patterns = self.patterns.read();
            for (pattern, subscribers) in matching(&patterns, channel) {
                let push: Message = Arc::new(Value::Push {
                    kind: PushKind::PMessage,
                    data: vec![bulk(pattern), bulk(channel), bulk(message)],
                });
                // Those that are gone are left to their sessions: this lock is shared.
                for mailbox in subscribers {
                    delivery.leave(mailbox, &push);
                }
            }
        }
        drop(bucket);
        delivery.finish()
    }

    /// Publishes a message to a shard channel.
    pub(crate) fn publish_to_shard(&self, channel: &[u8], message: &[u8]) -> usize {
        if self.is_idle() {
            return 0;
        }
        let mut delivery = Delivery::new(self);
        let mut bucket = self.shard_channels.bucket(channel);
        delivery.leave_with_all(&mut bucket, PushKind::SMessage, channel, message);
        drop(bucket);
        delivery.finish()
    }

    /// How many would receive a message to this channel.
    pub(crate) fn receivers(&self, topic: Topic, channel: &[u8]) -> usize {
        if self.is_idle() {
            return 0;
        }
        let direct = self.subscribers(topic, channel);
        let by_pattern: usize = if topic == Topic::Channel {
            let patterns = self.patterns.read();
            matching(&patterns, channel).map(|(_, all)| all.len()).sum()
        } else {
            0
        };
        direct + by_pattern
    }

    /// How many are subscribed to exactly this.
    pub(crate) fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        self.of(topic, name, |subscribers| {
            subscribers.get(name).map_or(0, Vec::len)
        })
    }

    /// How many channels, or patterns, have subscribers.
    pub(crate) fn count(&self, topic: Topic) -> usize {
        match topic {
            Topic::Pattern => self.pattern_count.load(Ordering::Relaxed),
            Topic::Channel => self
                .channels
                .buckets
                .iter()
                .map(|bucket| bucket.lock().len())
                .sum(),
            Topic::Shard => {
                let buckets = self.shard_channels.buckets.iter();
                buckets.map(|bucket| bucket.lock().len()).sum()
            }
        }
    }

    /// The channels that have subscribers and match the pattern, if there is one.
    pub(crate) fn names(&self, topic: Topic, pattern: Option<&[u8]>) -> Vec<Name> {
        let channels = match topic {
            Topic::Shard => &self.shard_channels,
            _ => &self.channels,
        };
        let is_wanted =
            |name: &&Name| pattern.is_none_or(|pattern| Glob::new(pattern).matches(name));
        let mut names = Vec::new();
        for bucket in &channels.buckets {
            names.extend(bucket.lock().keys().filter(is_wanted).cloned());
        }
        names
    }
}

fn matching<'p>(
    patterns: &'p Subscribers,
    channel: &[u8],
) -> impl Iterator<Item = (&'p Name, &'p Vec<Arc<Mailbox>>)> {
    patterns
        .iter()
        .filter(move |(pattern, _)| Glob::new(pattern).matches(channel))
}

/// A message on its way.
struct Delivery<'e> {
    exchange: &'e Exchange,
    received: usize,
    wakers: Vec<Waker>,
}

impl<'e> Delivery<'e> {
    fn new(exchange: &'e Exchange) -> Self {
        Delivery {
            exchange,
            received: 0,
            wakers: Vec::new(),
        }
    }

    fn leave(&mut self, mailbox: &Mailbox, push: &Message) -> bool {
        let accepted = mailbox.leave(push.clone(), &mut self.wakers);
        self.received += usize::from(accepted);
        accepted
    }

    /// Leaves the message with all subscribers of the channel.
    fn leave_with_all(
        &mut self,
        bucket: &mut Subscribers,
        kind: PushKind,
        channel: &[u8],
        message: &[u8],
    ) {
        let Some(subscribers) = bucket.get_mut(channel) else {
            return;
        };
        let data = vec![bulk(channel), bulk(message)];
        let push: Message = Arc::new(Value::Push { kind, data });
        let before = subscribers.len();
        subscribers.retain(|mailbox| self.leave(mailbox, &push));
        let gone = before - subscribers.len();
        self.exchange
            .subscriptions
            .fetch_sub(gone, Ordering::Relaxed);
        if subscribers.is_empty() {
            bucket.remove(channel);
        }
    }

    /// Wakes the readers. No lock may be held.
    fn finish(self) -> usize {
        self.wakers.into_iter().for_each(Waker::wake);
        self.received
    }
}
