//! The nodes of a Cluster, each with its connections and its breaker, and which of them serves which slot.
//!
//! `refresh` asks for the topology, when it is first needed, and again when a node says that a slot is elsewhere, or does
//! not answer.

mod refresh;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::Value;

use super::super::BreakerState;
use super::super::node::Node;
use super::primary_of;
use crate::connect::cluster::Topology;
use crate::connect::target::{Address, Part, Place, Target, Tracking};
use crate::connect::{Carried, Common, LinkEvent, Mode, ReadFrom, Terms, open_node};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Runtime, all};
use crate::slot::SLOTS;
use refresh::Pace;

/// How often the topology is asked for at least, where replicas are read from.
const REPLICAS: Duration = Duration::from_secs(30);

/// What the outbox must know.
#[derive(Debug)]
pub(in super::super) enum Event<'e> {
    /// Something happened to a connection to this host.
    Link(&'e Arc<str>, &'e LinkEvent),
    /// A node has taken over from another one, which may have acknowledged what the new one does not have.
    Failover,
    /// Slots have moved, with their keys.
    Moved,
}

type Listener = dyn Fn(Event<'_>) + Send + Sync;

/// The primaries of a Cluster.
pub(in super::super) struct Spread {
    target: Target,
    mode: Mode,
    common: Common,
    listener: Arc<Listener>,
    map: ArcSwapOption<Map>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    /// The replicas that are read from. They have connections of their own.
    replicas: Mutex<HashMap<Address, Arc<Node>>>,
    /// How often the topology has changed.
    changes: AtomicU64,
    /// Changes whenever a command may go elsewhere than another one before it: see [`Spread::routes`].
    routes: AtomicU64,
    /// Openings of breakers of nodes that are gone.
    openings: AtomicU64,
    batches: AtomicU64,
    batched_calls: AtomicU64,
    /// Held by the one who asks for the topology.
    turn: tokio::sync::Mutex<()>,
    /// Whether it is going to be asked for in the background.
    planned: AtomicBool,
    pace: Mutex<Pace>,
    me: Weak<Spread>,
}

/// Which node serves which slot, and these nodes: a call finds its own here without a lock.
struct Map {
    topology: Arc<Topology>,
    /// The primaries, in the order of the topology's shards.
    primaries: Vec<Arc<Node>>,
}

impl Map {
    fn serving(&self, slot: u16) -> Option<&Arc<Node>> {
        self.primaries.get(self.topology.index_of(slot)?)
    }
}

impl Spread {
    pub(in super::super) fn new(
        target: Target,
        mode: Mode,
        common: Common,
        listener: impl Fn(Event<'_>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Spread {
            target,
            mode,
            common,
            listener: Arc::new(listener),
            map: ArcSwapOption::empty(),
            nodes: Mutex::default(),
            replicas: Mutex::default(),
            changes: AtomicU64::new(0),
            routes: AtomicU64::new(0),
            openings: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            batched_calls: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
            planned: AtomicBool::new(false),
            pace: Mutex::default(),
            me: Weak::clone(me),
        })
    }

    pub(in super::super) fn common(&self) -> &Common {
        &self.common
    }

    pub(super) fn runtime(&self) -> &Runtime {
        self.common.runtime()
    }

    /// The node at an address.
    pub(super) fn node(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(address) {
            return Arc::clone(node);
        }
        let target = Target {
            place: Place::Node(address.clone()),
            tracking: self.target.tracking.clone().map(|tracking| Tracking {
                of_cluster: true,
                ..tracking
            }),
            ..self.target.clone()
        };
        let backend = open_node(target, self.mode, self.common.epoch());
        let (listener, whole) = (Arc::clone(&self.listener), Weak::clone(&self.me));
        let host = Arc::clone(backend.common().host());
        backend.common().listeners().add(Arc::new(move |event| {
            listener(Event::Link(&host, event));
            if let Some(whole) = whole.upgrade() {
                if matches!(event, LinkEvent::Moved) {
                    whole.refresh_soon();
                }
                whole.common.tell(event);
            }
        }));
        let node = Node::new(backend, self.target.breaker);
        nodes.insert(address.clone(), Arc::clone(&node));
        node
    }

    /// Whether what only reads may go to replicas.
    pub(in super::super) fn reads_replicas(&self) -> bool {
        self.target.read == ReadFrom::Replica
    }

    /// A replica of the shard that serves a slot, another one each time; none if there is none that answers.
    pub(in super::super) fn replica_of(&self, slot: u16) -> Option<Arc<Node>> {
        static TURN: AtomicUsize = AtomicUsize::new(0);
        if !self.reads_replicas() {
            return None;
        }
        let map = self.map.load();
        let known = &map.as_ref()?.topology.shard(slot)?.replicas;
        let last = self.pace.lock().last;
        let old = |last| self.runtime().now().saturating_duration_since(last) > REPLICAS;
        if known.is_empty() || last.is_some_and(old) {
            // Nobody says that a replica has joined.
            self.refresh_soon();
        }
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let mut replicas = self.replicas.lock();
        (0..known.len()).find_map(|at| {
            let address = known.get((turn + at) % known.len())?;
            let node = replicas.entry(address.clone()).or_insert_with(|| {
                let target = Target {
                    place: Place::Node(address.clone()),
                    part: Part::ReadOnly,
                    // What it says is not kept.
                    tracking: None,
                    ..self.target.clone()
                };
                let backend = open_node(target, self.mode, self.common.epoch());
                Node::new(backend, self.target.breaker)
            });
            (node.breaker().state() == BreakerState::Closed).then(|| Arc::clone(node))
        })
    }

    /// The primaries.
    ///
    /// # Errors
    /// Those of every call, if no node has said yet who they are.
    pub(in super::super) async fn primaries(&self, limit: Duration) -> Result<Vec<Arc<Node>>> {
        Ok(self.map(limit).await?.primaries.clone())
    }

    /// Whether calls go through to some node.
    pub(in super::super) fn breaker_state(&self) -> BreakerState {
        let nodes = self.nodes.lock();
        let open = |node: &Arc<Node>| node.breaker().state() == BreakerState::Open;
        match !nodes.is_empty() && nodes.values().all(open) {
            true => BreakerState::Open,
            false => BreakerState::Closed,
        }
    }

    /// How many batches of calls were sent, and how many calls in them.
    pub(in super::super) fn batches(&self) -> (u64, u64) {
        let of_node = |node: &Arc<Node>| node.backend().common().batches();
        let gone = [&self.batches, &self.batched_calls].map(|count| count.load(Ordering::Relaxed));
        let nodes = self.nodes.lock();
        let counts = nodes.values().map(of_node);
        counts.fold(gone.into(), |(batches, calls), (more, in_them)| {
            (batches + more, calls + in_them)
        })
    }

    /// How often the breakers have opened.
    pub(in super::super) fn breaker_openings(&self) -> u64 {
        let nodes = self.nodes.lock();
        let openings = nodes.values().map(|node| node.breaker().openings());
        self.openings.load(Ordering::Relaxed) + openings.sum::<u64>()
    }

    pub(in super::super) fn disconnect(&self) {
        for nodes in [&self.nodes, &self.replicas] {
            let nodes: Vec<_> = nodes.lock().values().cloned().collect();
            for node in nodes {
                node.backend().disconnect();
            }
        }
    }

    /// How often the topology has changed so far.
    pub(in super::super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What carries the news of a key to those who keep copies: the connection to the node that serves it.
    ///
    /// What is read after that comes from this node if [`routes`](Spread::routes), asked before this, is still the same
    /// when the reply is there.
    pub(in super::super) fn carried(&self, slot: u16) -> Option<Carried> {
        let node = self.serving_now(slot)?;
        node.backend().common().carriers().current()
    }

    /// Changes before and after the topology does, and before a command follows a redirect.
    pub(in super::super) fn routes(&self) -> u64 {
        self.routes.load(Ordering::SeqCst)
    }

    /// From now on, a command may go elsewhere.
    pub(super) fn turn_off(&self) {
        self.routes.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the primaries tell of changed keys: those to which there are connections that carry.
    pub(in super::super) fn tracking(&self) -> Option<bool> {
        let nodes: Vec<_> = self.nodes.lock().values().cloned().collect();
        let states = nodes.iter();
        let states = states.filter_map(|node| node.backend().common().carriers().state());
        states.min()
    }

    /// Nodes that have lost slots to others: news of what is in these do not come from there any more.
    fn turn_carriers(&self, old: &Topology, new: &Topology) {
        let mut lost: Vec<&Address> = Vec::new();
        for slot in 0..SLOTS {
            if let Some(before) = primary_of(old, slot)
                && primary_of(new, slot) != Some(before)
                && !lost.contains(&before)
            {
                lost.push(before);
            }
        }
        let nodes = self.nodes.lock();
        for node in lost.into_iter().filter_map(|address| nodes.get(address)) {
            node.backend().common().carriers().turn();
        }
    }

    /// The node that serves a slot; `None` while it is away or not known.
    pub(in super::super) fn host_of(&self, slot: u16) -> Option<Arc<str>> {
        let node = self.serving_now(slot)?;
        (node.breaker().state() == BreakerState::Closed).then(|| Arc::clone(node.host()))
    }

    /// Whether a slot is moving from one primary to another. (A primary that does not say is not counted.)
    pub(in super::super) async fn is_moving(&self, limit: Duration) -> bool {
        let Ok(primaries) = self.primaries(limit).await else {
            return false;
        };
        let mut asked = redis::cmd("CLUSTER");
        asked.arg("NODES");
        let (asked, epoch) = (&asked, self.common.epoch().current());
        let mut asking: Vec<crate::connect::BoxFuture<'_, Result<Value>>> = Vec::new();
        for primary in primaries {
            let terms = Terms { limit, epoch };
            asking.push(Box::pin(async move {
                primary.attempt(asked, terms, None).await
            }));
        }
        all(asking).await.into_iter().any(|reply| {
            // A node says of its own slots where they go to, `[93->-ID]`, or come from, `[93-<-ID]`.
            let text = match reply {
                Ok(Value::BulkString(text)) => text,
                Ok(Value::VerbatimString { text, .. }) => text.into_bytes(),
                _ => return false,
            };
            text.split(|byte| *byte == b'\n').any(|line| {
                let mine = line.windows(7).any(|word| word == b"myself,");
                mine && line.windows(2).any(|word| word == b" [")
            })
        })
    }

    /// Which node serves which slot.
    ///
    /// # Errors
    /// Those of every call, if no node has said it yet.
    pub(in super::super) async fn topology(&self, limit: Duration) -> Result<Arc<Topology>> {
        Ok(Arc::clone(&self.map(limit).await?.topology))
    }

    async fn map(&self, limit: Duration) -> Result<Arc<Map>> {
        match self.map.load_full() {
            Some(map) => Ok(map),
            // Boxed, because it is rare and large.
            None => Box::pin(self.refresh(limit, None, 0)).await,
        }
    }

    /// The node that serves a slot, as far as it is known.
    pub(super) fn serving_now(&self, slot: u16) -> Option<Arc<Node>> {
        let map = self.map.load();
        map.as_ref()?.serving(slot).cloned()
    }

    /// The node that serves a slot.
    ///
    /// # Errors
    /// `Unavailable` if nobody does.
    pub(super) async fn serving(&self, slot: u16, limit: Duration) -> Result<Arc<Node>> {
        if let Some(node) = self.map(limit).await?.serving(slot) {
            return Ok(Arc::clone(node));
        }
        self.refresh_soon();
        let why = format!("CLUSTERDOWN no node of the Cluster serves the slot {slot}");
        Err(Error::new(ErrorKind::Unavailable, why).on_host(self.common.host()))
    }

    /// A node has said that a slot is served elsewhere. If it is a node that was no primary so far, it may have taken
    /// over from another, which must be known before anything is sent to it.
    pub(super) async fn moved(
        &self,
        slot: u16,
        to: &Address,
        limit: Duration,
    ) -> Result<Arc<Node>> {
        let changes = self.changes();
        let topology = self.topology(limit).await?;
        if primary_of(&topology, slot) == Some(to) {
            return Ok(self.node(to));
        }
        let known = topology.shards().iter().any(|shard| shard.primary == *to);
        if !known {
            let _ = Box::pin(self.refresh(limit, Some(to), changes)).await;
        }
        let topology = self.topology(limit).await?;
        if primary_of(&topology, slot) != Some(to) {
            self.adopt(topology.with_moved(slot, to));
            self.refresh_soon();
        }
        Ok(self.node(to))
    }
}

impl fmt::Debug for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spread")
            .field("target", &self.target)
            .field("nodes", &self.nodes.lock().len())
            .field("changes", &self.changes())
            .finish_non_exhaustive()
    }
}
