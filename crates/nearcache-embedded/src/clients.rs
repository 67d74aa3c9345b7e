//! The clients of the port: what is known of each, and how one reaches another.
//!
//! The task of a connection owns its state. What others see of it lies in its [`Client`], which is brought up to date
//! after every batch of commands. Connections within the process are not listed here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use crate::bell::Bell;

/// A client of the port.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    /// Its address, and the one that it is connected to, as `CLIENT LIST` shows them.
    pub(crate) address: String,
    pub(crate) local: String,
    pub(crate) is_unix: bool,
    pub(crate) born: Instant,
    pub(crate) bell: Bell,
    /// Whether its connection is to be closed.
    killed: AtomicBool,
    /// Whether it may do more than authenticate.
    pub(crate) authenticated: AtomicBool,
    pub(crate) seen: Mutex<Seen>,
}

/// What others see of a client.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) name: Option<Arc<[u8]>>,
    pub(crate) db: u32,
}

impl Client {
    pub(crate) fn new(id: u64, address: String, local: String, is_unix: bool) -> Self {
        Client {
            id,
            address,
            local,
            is_unix,
            born: Instant::now(),
            bell: Bell::default(),
            killed: AtomicBool::new(false),
            authenticated: AtomicBool::new(true),
            seen: Mutex::default(),
        }
    }

    /// Closes its connection.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.bell.ring();
    }

    #[inline]
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }
}

/// The clients of a store's ports.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    list: RwLock<BTreeMap<u64, Arc<Client>>>,
    count: AtomicUsize,
    /// How many there have been.
    pub(crate) total: AtomicU64,
}

impl Clients {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, client: Arc<Client>) {
        let mut list = self.list.write();
        list.insert(client.id, client);
        self.count.store(list.len(), Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, id: u64) {
        let mut list = self.list.write();
        list.remove(&id);
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// All clients, the oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.list.read().values().cloned().collect()
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.list.read().get(&id).cloned()
    }
}
