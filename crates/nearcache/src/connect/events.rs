//! Connection events of a backend, and their listeners.
//!
//! Listeners are called synchronously, so that nothing that follows on the connection overtakes them. They must be
//! quick, and must not call the cache.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use super::server::ServerId;

/// Something happened to a backend's connection.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// A connection was made. Nobody can use it before every listener has returned.
    Ready {
        /// What tells the server from one that took its place, if it says that.
        server: Option<ServerId>,
    },
    /// A connection that was ready broke, or did not answer.
    Lost,
    /// Connections were closed on purpose, or one was found dead before it was used. No call failed because of it.
    Dropped,
    /// These keys were changed, or may have been: a copy of what was read of them is old. Told before the reply to any
    /// command that follows on the same connection.
    Invalidated {
        /// As they are in Redis.
        keys: Vec<Vec<u8>>,
    },
    /// Every key may have been changed.
    Flushed,
    /// The place leads to another server from now on; or a node of a Cluster knows of another configuration.
    Moved,
}

type Listener = dyn Fn(&LinkEvent) + Send + Sync;

/// The listeners of a backend.
#[derive(Default)]
pub(crate) struct Listeners(RwLock<Vec<(u64, Arc<Listener>)>>);

impl Listeners {
    /// Adds a listener, and returns the id for removing it.
    pub(crate) fn add(&self, listener: Arc<Listener>) -> u64 {
        let mut listeners = self.0.write();
        let id = listeners.last().map_or(0, |(id, _)| id + 1);
        listeners.push((id, listener));
        id
    }

    pub(crate) fn remove(&self, id: u64) {
        self.0.write().retain(|(other, _)| *other != id);
    }

    pub(super) fn tell(&self, event: &LinkEvent) {
        // Called without the lock: a listener may be added or removed meanwhile.
        let listeners = self.0.read().clone();
        for (_, listener) in &listeners {
            listener(event);
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listeners({})", self.0.read().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_listener_hears_until_it_is_removed() {
        let listeners = Listeners::default();
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        let id = listeners.add(Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        listeners.tell(&LinkEvent::Ready { server: None });
        listeners.tell(&LinkEvent::Lost);
        listeners.remove(id);
        listeners.tell(&LinkEvent::Dropped);
        assert_eq!(heard.load(Ordering::Relaxed), 2);
    }
}
