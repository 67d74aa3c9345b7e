//! What a client is subscribed to. Dropping it ends all subscriptions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::exchange::{Exchange, Name, Topic};
use crate::mailbox::Mailbox;

#[derive(Debug)]
pub(crate) struct Subscriptions {
    exchange: Arc<Exchange>,
    mailbox: Arc<Mailbox>,
    channels: Names,
    patterns: Names,
    shard_channels: Names,
}

/// Names in the order in which they were added.
#[derive(Debug, Default)]
struct Names {
    added: u64,
    places: HashMap<Name, u64, RandomState>,
}

impl Subscriptions {
    pub(crate) fn new(exchange: Arc<Exchange>, mailbox: Arc<Mailbox>) -> Self {
        mailbox.subscribed.store(true, Ordering::Relaxed);
        Subscriptions {
            exchange,
            mailbox,
            channels: Names::default(),
            patterns: Names::default(),
            shard_channels: Names::default(),
        }
    }

    fn names(&mut self, topic: Topic) -> &mut Names {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shard_channels,
        }
    }

    /// Subscribes. `confirm` is called with the number of subscriptions before any message can come.
    pub(crate) fn add(&mut self, topic: Topic, name: &[u8], confirm: impl FnOnce(usize)) {
        let names = self.names(topic);
        let new = (!names.places.contains_key(name)).then(|| {
            let name = Name::from(name);
            names.added += 1;
            names.places.insert(name.clone(), names.added);
            name
        });
        confirm(self.count(topic));
        if let Some(name) = new {
            self.exchange.subscribe(topic, &name, &self.mailbox);
        }
    }

    /// Ends a subscription. Afterwards no more messages come.
    pub(crate) fn remove(&mut self, topic: Topic, name: &[u8]) {
        if let Some((name, _)) = self.names(topic).places.remove_entry(name) {
            self.exchange.unsubscribe(topic, &name, &self.mailbox);
        }
    }

    /// All names of a kind, the oldest first.
    pub(crate) fn all(&self, topic: Topic) -> Vec<Name> {
        let names = match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::Shard => &self.shard_channels,
        };
        let mut all: Vec<(u64, &Name)> = names
            .places
            .iter()
            .map(|(name, place)| (*place, name))
            .collect();
        all.sort_unstable_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// The number that a confirmation tells: channels and patterns count together, shard channels apart.
    pub(crate) fn count(&self, topic: Topic) -> usize {
        let [channels, patterns, shard_channels] = self.counts();
        match topic {
            Topic::Channel | Topic::Pattern => channels + patterns,
            Topic::Shard => shard_channels,
        }
    }

    /// How many channels, patterns and shard channels there are.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [&self.channels, &self.patterns, &self.shard_channels].map(|names| names.places.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts() == [0; 3]
    }

    /// Whether nothing can come any more, because the client was cut.
    pub(crate) fn has_ended(&self) -> bool {
        self.mailbox.has_ended()
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.mailbox.subscribed.store(false, Ordering::Relaxed);
        for topic in [Topic::Channel, Topic::Pattern, Topic::Shard] {
            for (name, _) in std::mem::take(&mut self.names(topic).places) {
                self.exchange.unsubscribe(topic, &name, &self.mailbox);
            }
        }
    }
}
