//! A guarded place. Every command passes the outbox, then the circuit breaker of its server, then the retry rule.
//!
//! `order` is this way, for whatever is sent: [`Guarded::request`] (`single`) and [`Guarded::pipeline`] (`together`) are for
//! the commands of a cache, `reading` for those that a replica may answer. [`Guarded::directly`] skips the outbox, for the
//! commands that empty the outbox. `links` opens connections of a caller's own. `here` is the short way to a store in
//! this process, which is never away.

mod here;
mod links;
mod order;
mod reading;
mod single;
mod together;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::BreakerState;
use super::node::Node;
use super::outbox::{Drain, Outbox};
use super::primary::Primary;
#[cfg(feature = "cluster")]
use super::spread::{Event, Spread};
#[cfg(feature = "cluster")]
use crate::connect::Mode;
use crate::connect::target::{Place, Target};
use crate::connect::{Backend, Carried, Common, LinkEvent, ServerInfo};
use crate::error::Result;
use crate::runtime::Runtime;
use crate::script::Script;

pub(super) use order::LEAST;

/// A place with an outbox, and a breaker for each of its servers: callers do not wait for a server that is away, and do
/// not read what they have invalidated.
///
/// There is one outbox, also if the keys are spread over several servers. A call waits only for what the outbox holds
/// of its own keys, so a server that is away keeps back only what is about its own.
#[derive(Debug)]
pub(crate) struct Guarded {
    servers: Servers,
    outbox: Arc<Outbox>,
    /// A replica, if what only reads may go to one.
    replica: OnceLock<Arc<Node>>,
    /// Whether connecting has a time of its own, which is not a part of the limit of a call.
    connects_apart: bool,
    /// The store in this process, if it is one, and has every reply at once.
    here: Option<Arc<dyn Backend>>,
    server: OnceLock<ServerInfo>,
    /// How many caches use it.
    pub(super) users: AtomicUsize,
    /// Whether its caches were closed.
    unused: AtomicBool,
    /// Told when they are.
    closing: Arc<Notify>,
    /// Whether a task empties the outbox.
    draining: AtomicBool,
    me: Weak<Guarded>,
}

/// Who answers.
#[derive(Debug)]
enum Servers {
    One(Arc<Node>),
    /// The primaries of a Cluster.
    #[cfg(feature = "cluster")]
    Spread(Arc<Spread>),
}

/// How commands go to the nodes of a Cluster.
#[cfg(feature = "cluster")]
#[derive(Clone, Copy, Debug)]
enum How {
    /// They only read: to a replica, where that is asked for.
    Reads,
    /// To the primaries, announced to all who keep copies but this one; 0: to all of them.
    By(usize),
}

impl Guarded {
    /// Guards a backend of this target.
    pub(crate) fn new(backend: Arc<dyn Backend>, target: &Target) -> Arc<Self> {
        // A server can be away and lose data, so it needs an outbox; the store in this process cannot.
        let enabled = !matches!(target.place, Place::Embedded { .. });
        let here = (!enabled && backend.is_at_once()).then(|| Arc::clone(&backend));
        let epoch = backend.common().epoch().clone();
        let outbox = Arc::new(Outbox::new(enabled, epoch));
        let listening = Arc::clone(&outbox);
        let runtime = backend.common().runtime().clone();
        let host = Arc::clone(backend.common().host());
        let moved = Arc::<OnceLock<Weak<Node>>>::default();
        let moving = Arc::clone(&moved);
        // The outbox is told of a new connection before anyone can use it, so it knows by then what must be sent first.
        backend
            .common()
            .listeners()
            .add(Arc::new(move |event| match event {
                LinkEvent::Ready { server } => {
                    listening.note_connection(&host, server.clone(), runtime.now());
                }
                LinkEvent::Lost | LinkEvent::Dropped => listening.note_loss(&host),
                LinkEvent::Invalidated { .. } | LinkEvent::Flushed => {}
                LinkEvent::Moved => {
                    if let Some(node) = moving.get().and_then(Weak::upgrade) {
                        node.breaker().probe_soon(runtime.now());
                    }
                }
            }));
        let node = Node::new(backend, target.breaker);
        let _ = moved.set(Arc::downgrade(&node));
        Self::with(Servers::One(node), outbox, target, here)
    }

    /// Guards the primaries of a Cluster.
    #[cfg(feature = "cluster")]
    pub(super) fn spread(target: &Target, mode: Mode) -> Arc<Self> {
        let common = Common::new(target, mode.runtime());
        let outbox = Arc::new(Outbox::new(true, common.epoch().clone()));
        let (listening, runtime) = (Arc::clone(&outbox), common.runtime().clone());
        let spread = Spread::new(target.clone(), mode, common, move |event| match event {
            Event::Link(host, LinkEvent::Ready { server }) => {
                listening.note_connection(host, server.clone(), runtime.now());
            }
            Event::Link(host, LinkEvent::Lost | LinkEvent::Dropped) => listening.note_loss(host),
            Event::Link(_, LinkEvent::Invalidated { .. } | LinkEvent::Flushed) => {}
            Event::Link(_, LinkEvent::Moved) => {}
            Event::Failover => listening.note_failover(runtime.now()),
            Event::Moved => listening.note_moved(),
        });
        Self::with(Servers::Spread(spread), outbox, target, None)
    }

    fn with(
        servers: Servers,
        outbox: Arc<Outbox>,
        target: &Target,
        here: Option<Arc<dyn Backend>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Guarded {
            servers,
            outbox,
            replica: OnceLock::new(),
            connects_apart: target.connect_timeout.is_some(),
            here,
            server: OnceLock::new(),
            users: AtomicUsize::new(0),
            unused: AtomicBool::new(false),
            closing: Arc::default(),
            draining: AtomicBool::new(false),
            me: Weak::clone(me),
        })
    }

    /// Whether replies are always here at once.
    pub(crate) fn is_at_once(&self) -> bool {
        match &self.servers {
            Servers::One(node) => node.backend().is_at_once(),
            #[cfg(feature = "cluster")]
            Servers::Spread(_) => false,
        }
    }

    /// The parts that every place has.
    fn common(&self) -> &Common {
        match &self.servers {
            Servers::One(node) => node.backend().common(),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.common(),
        }
    }

    /// The server of a key: `Some(None)` if there is only one, and `None` while it is away, so that nothing is tried there.
    pub(super) fn host_of(&self, key: &[u8]) -> Option<Option<Arc<str>>> {
        let _ = key;
        match &self.servers {
            Servers::One(_) => Some(None),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.host_of(crate::slot::slot(key)).map(Some),
        }
    }

    /// How often keys have moved to another server so far, and whether some are moving now.
    pub(super) async fn moves(&self, limit: Duration) -> (u64, bool) {
        let _ = limit;
        match &self.servers {
            Servers::One(_) => (0, false),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => (spread.changes(), spread.is_moving(limit).await),
        }
    }

    /// Whether the keys are spread over several servers by their slots. Then a script, or commands that take effect
    /// together, can name keys of one slot only.
    pub(crate) fn is_spread(&self) -> bool {
        match &self.servers {
            Servers::One(_) => false,
            #[cfg(feature = "cluster")]
            Servers::Spread(_) => true,
        }
    }

    /// Notes that caches use it, or that the last of them was closed.
    pub(super) fn note_use(&self, used: bool) {
        self.unused.store(!used, Ordering::SeqCst);
        match &self.servers {
            Servers::One(node) => {
                node.backend().note_use(used);
                if let Some(replica) = self.replica.get() {
                    replica.backend().note_use(used);
                }
            }
            #[cfg(feature = "cluster")]
            Servers::Spread(_) => {}
        }
        if !used {
            self.closing.notify_waiters();
        }
    }

    pub(super) fn is_used(&self) -> bool {
        !self.unused.load(Ordering::SeqCst)
    }

    /// Told when the last cache is closed.
    pub(super) fn closing(&self) -> &Arc<Notify> {
        &self.closing
    }

    /// Closes the connections, unless a cache uses them.
    pub(super) fn disconnect_unused(&self) {
        if !self.is_used() {
            self.disconnect();
        }
    }

    /// Starts to empty the outbox in the background, unless that goes on already.
    pub(super) fn drain(&self, limit: Duration) {
        if self.outbox.is_waiting() && !self.draining.swap(true, Ordering::SeqCst) {
            let drain = Drain::new(Weak::clone(&self.me), limit);
            // Without a runtime, or without a thread, the next call tries again.
            let started = self
                .runtime()
                .try_detach_as("nearcache-outbox", drain.run());
            if let Err(error) = started {
                tracing::debug!(%error, "the outbox is not emptied in the background");
            }
        }
    }

    /// The task that empties the outbox has found nothing more to do. Returns whether it may end: not if something came
    /// meanwhile.
    pub(super) fn end_draining(&self) -> bool {
        self.stop_draining();
        !self.outbox.has_work() || self.draining.swap(true, Ordering::SeqCst)
    }

    /// The task that empties the outbox is gone.
    pub(super) fn stop_draining(&self) {
        self.draining.store(false, Ordering::SeqCst);
    }

    /// All primaries. A command for all keys, such as a scan, goes to each.
    ///
    /// # Errors
    /// A Cluster must say which they are: those of every call.
    pub(crate) async fn primaries(self: &Arc<Self>, limit: Duration) -> Result<Vec<Primary>> {
        let _ = limit;
        let nodes = match &self.servers {
            Servers::One(node) => vec![Arc::clone(node)],
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.primaries(limit).await?,
        };
        let primary = |node| Primary {
            guarded: Arc::clone(self),
            node,
        };
        Ok(nodes.into_iter().map(primary).collect())
    }

    /// Registers the Rust twins of these scripts, for a backend without Lua.
    pub(crate) fn learn(&self, scripts: &[&'static Script]) {
        match &self.servers {
            Servers::One(node) => node.backend().learn(scripts),
            #[cfg(feature = "cluster")]
            Servers::Spread(_) => {}
        }
    }

    /// The same place as a backend for this kind of caller, if it cannot be opened a second time.
    #[cfg(feature = "blocking")]
    pub(super) fn backend_in_mode(&self, mode: crate::connect::Mode) -> Option<Arc<dyn Backend>> {
        match &self.servers {
            Servers::One(node) => node.backend().in_mode(mode),
            #[cfg(feature = "cluster")]
            Servers::Spread(_) => None,
        }
    }

    /// The host, as it appears in messages.
    pub(crate) fn host(&self) -> &Arc<str> {
        self.common().host()
    }

    /// The runtime, which also provides the time.
    pub(crate) fn runtime(&self) -> &Runtime {
        self.common().runtime()
    }

    /// The time in Unix milliseconds.
    pub(crate) fn unix_millis(&self) -> u64 {
        self.common().unix_millis()
    }

    /// The time by the clock of the store, if that is in this process.
    pub(crate) fn store_millis(&self) -> Option<u64> {
        self.common().store_millis()
    }

    /// Whether that clock is one that a test advances, if it is in this process.
    pub(crate) fn has_manual_clock(&self) -> Option<bool> {
        self.common().has_manual_clock()
    }

    /// Whether calls go through: closed if they do to any server.
    pub(crate) fn breaker_state(&self) -> BreakerState {
        match &self.servers {
            Servers::One(node) => node.breaker().state(),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.breaker_state(),
        }
    }

    /// How often a breaker has opened.
    pub(crate) fn breaker_openings(&self) -> u64 {
        match &self.servers {
            Servers::One(node) => node.breaker().openings(),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.breaker_openings(),
        }
    }

    /// How many batches of calls were sent, and how many calls in them.
    pub(crate) fn batches(&self) -> (u64, u64) {
        match &self.servers {
            Servers::One(node) => node.backend().common().batches(),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.batches(),
        }
    }

    /// The outbox.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// What carries the news of a key to those who keep copies, as whoever reads it now must note it before.
    pub(crate) fn carried(&self, key: &[u8]) -> Option<Carried> {
        let _ = key;
        match &self.servers {
            Servers::One(node) => node.backend().common().carriers().current(),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.carried(crate::slot::slot(key)),
        }
    }

    /// Noted before [`carried`](Guarded::carried), and still the same when the reply is there: what was read comes from
    /// the server whose carrier was noted.
    pub(crate) fn routes(&self) -> u64 {
        match &self.servers {
            Servers::One(_) => 0,
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.routes(),
        }
    }

    /// Whether a server carries the news of changed keys now; and if so, whether all that do tell of them.
    pub(crate) fn tracking(&self) -> Option<bool> {
        match &self.servers {
            Servers::One(node) => node.backend().common().carriers().state(),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.tracking(),
        }
    }

    /// Adds a listener for connection events. Returns the id for removing it.
    pub(crate) fn listen(&self, listener: Arc<dyn Fn(&LinkEvent) + Send + Sync>) -> u64 {
        self.common().listeners().add(listener)
    }

    pub(crate) fn unlisten(&self, id: u64) {
        self.common().listeners().remove(id);
    }

    /// Closes the connections. A later call opens new ones.
    pub(crate) fn disconnect(&self) {
        match &self.servers {
            Servers::One(node) => {
                node.backend().disconnect();
                if let Some(replica) = self.replica.get() {
                    replica.backend().disconnect();
                }
            }
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.disconnect(),
        }
    }
}
