//! Asking the nodes which of them serves which slot (`CLUSTER SLOTS`).
//!
//! One caller asks for all. In the background it is asked for at most every [`SHORTEST`], and less often while it stays the
//! same. That a node has taken over from another, or that slots have moved, is told to the listener before anything is sent
//! by the new topology.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::super::super::BreakerState;
use super::super::super::guarded::LEAST;
use super::{Event, Map, Spread};
use crate::connect::Terms;
use crate::connect::cluster::Topology;
use crate::connect::target::{Address, Place};
use crate::error::{Error, ErrorKind, Result};

/// How often the topology is asked for in the background, at most and at least, while something is wrong with it.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// How long asking in the background may take.
const BACKGROUND: Duration = Duration::from_secs(2);

/// When the topology was asked for last, and how long not to ask in the background.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) last: Option<Instant>,
    pause: Duration,
}

impl Spread {
    /// Asks the nodes, one after another, which of them serves which slot. `first`: the one to ask first. Does nothing
    /// if it has changed since there were so many changes.
    pub(super) async fn refresh(
        &self,
        limit: Duration,
        first: Option<&Address>,
        changes: u64,
    ) -> Result<Arc<Map>> {
        let begun = self.runtime().now();
        let turn = self.runtime().timeout(limit, || self.turn.lock()).await;
        let Some(_turn) = turn else {
            let why = format!("gave up after {limit:?} while asking which node serves which slot");
            return Err(Error::new(ErrorKind::Timeout, why).on_host(self.common.host()));
        };
        if let Some(map) = self.map.load_full()
            && self.changes() != changes
        {
            return Ok(map);
        }
        let asked = self.to_ask(first);
        let (count, mut failed) = (asked.len(), None::<Error>);
        for (number, address) in asked.into_iter().enumerate() {
            let left = self.runtime().left_of(limit, Some(begun));
            if left < LEAST {
                break;
            }
            // A node that is silent leaves time for the others.
            let share = (left / u32::try_from(count - number).unwrap_or(1)).max(LEAST);
            match self.ask(&address, share).await {
                Ok(topology) => return Ok(self.adopt(topology)),
                Err(error) => {
                    tracing::debug!(node = %address, %error, "the node did not say which node serves which slot");
                    if failed.as_ref().is_none_or(is_away) {
                        failed = Some(error);
                    }
                }
            }
        }
        let failed = failed.unwrap_or_else(super::super::nobody);
        if !is_away(&failed) {
            return Err(failed);
        }
        let why = format!("no node says which node serves which slot; the last one said: {failed}");
        Err(Error::new(failed.kind(), why)
            .caused_by(failed)
            .on_host(self.common.host()))
    }

    async fn ask(&self, address: &Address, limit: Duration) -> Result<Topology> {
        let node = self.node(address);
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        let begun = self.runtime().now();
        loop {
            let now = self.runtime().now();
            let terms = Terms {
                limit: limit
                    .saturating_sub(now.saturating_duration_since(begun))
                    .max(LEAST),
                epoch: self.common.epoch().current(),
            };
            match node.attempt(&slots, terms, Some(now)).await {
                Ok(reply) => return Topology::parse(&reply, &address.host),
                Err(error) if error.is_outdated() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The nodes to ask, those that answer first.
    fn to_ask(&self, first: Option<&Address>) -> Vec<Address> {
        let mut asked: Vec<Address> = first.into_iter().cloned().collect();
        if let Some(map) = self.map.load().as_ref() {
            for shard in map.topology.shards() {
                asked.push(shard.primary.clone());
                asked.extend(shard.replicas.iter().cloned());
            }
        }
        if let Place::Cluster { seeds } = &self.target.place {
            asked.extend(seeds.iter().cloned());
        }
        let mut seen = HashSet::new();
        asked.retain(|address| seen.insert(address.clone()));
        let nodes = self.nodes.lock();
        let is_open = |address: &Address| {
            let node = nodes.get(address);
            node.is_some_and(|node| node.breaker().state() == BreakerState::Open)
        };
        asked.sort_by_key(is_open);
        asked
    }

    pub(super) fn adopt(&self, new: Topology) -> Arc<Map> {
        // Held to the end: what one adopts, no other forgets meanwhile.
        let mut pace = self.pace.lock();
        pace.last = Some(self.runtime().now());
        let old = self.map.load_full();
        if let Some(old) = &old {
            if *old.topology == new {
                pace.pause = (pace.pause * 2).clamp(SHORTEST, LONGEST);
                return Arc::clone(old);
            }
            // First, so that nothing is sent by the new topology that does not know of it.
            match new.is_failover_after(&old.topology) {
                true => {
                    tracing::warn!(cluster = %self.common.host(), "a node of the Cluster has taken over from another");
                    (self.listener)(Event::Failover);
                }
                false => (self.listener)(Event::Moved),
            }
        }
        pace.pause = SHORTEST;
        let shards = new.shards().iter();
        let map = Arc::new(Map {
            primaries: shards.map(|shard| self.node(&shard.primary)).collect(),
            topology: Arc::new(new),
        });
        self.turn_off();
        self.map.store(Some(Arc::clone(&map)));
        self.turn_off();
        self.changes.fetch_add(1, Ordering::AcqRel);
        if let Some(old) = &old {
            self.turn_carriers(&old.topology, &map.topology);
        }
        self.forget_others(&map.topology);
        map
    }

    /// Forgets nodes that do not belong to the Cluster any more. Running calls keep theirs.
    fn forget_others(&self, topology: &Topology) {
        self.replicas.lock().retain(|address, _| {
            let mut shards = topology.shards().iter();
            shards.any(|shard| shard.replicas.contains(address))
        });
        let mut nodes = self.nodes.lock();
        nodes.retain(|address, node| {
            let mut shards = topology.shards().iter();
            let stays =
                shards.any(|shard| shard.primary == *address || shard.replicas.contains(address));
            if !stays {
                let openings = node.breaker().openings();
                self.openings.fetch_add(openings, Ordering::Relaxed);
                let (batches, calls) = node.backend().common().batches();
                self.batches.fetch_add(batches, Ordering::Relaxed);
                self.batched_calls.fetch_add(calls, Ordering::Relaxed);
            }
            stays
        });
    }

    /// Asks for the topology in the background, soon.
    pub(in super::super::super) fn refresh_soon(&self) {
        if self.planned.swap(true, Ordering::AcqRel) {
            return;
        }
        let wait = {
            let pace = self.pace.lock();
            let since = pace
                .last
                .map(|last| self.runtime().now().saturating_duration_since(last));
            since.map_or(Duration::ZERO, |since| {
                pace.pause.max(SHORTEST).saturating_sub(since)
            })
        };
        let planned = Planned(Weak::clone(&self.me));
        let runtime = self.runtime().clone();
        let started = self
            .runtime()
            .try_detach_as("nearcache-cluster", async move {
                runtime.sleep(wait).await;
                let Some(spread) = planned.0.upgrade() else {
                    return;
                };
                let changes = spread.changes();
                if spread.refresh(BACKGROUND, None, changes).await.is_err() {
                    let mut pace = spread.pace.lock();
                    pace.last = Some(spread.runtime().now());
                    pace.pause = (pace.pause * 2).clamp(SHORTEST, LONGEST);
                }
            });
        if let Err(error) = started {
            tracing::debug!(%error, "the topology is not asked for in the background");
        }
    }
}

/// That the topology is going to be asked for. The task may also be dropped with its runtime.
struct Planned(Weak<Spread>);

impl Drop for Planned {
    fn drop(&mut self) {
        if let Some(spread) = self.0.upgrade() {
            spread.planned.store(false, Ordering::Release);
        }
    }
}

/// Whether the error says nothing but that the node does not answer.
fn is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable
    )
}
