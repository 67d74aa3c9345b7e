//! Which node serves which slot.

use redis::Value;

use super::super::target::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::slot::SLOTS;

/// No node serves the slot.
const NOBODY: u16 = u16::MAX;

/// A primary, and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) primary: Address,
    pub(crate) replicas: Vec<Address>,
}

/// Which node serves which slot, as a node said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    /// Ordered by the primary's address.
    shards: Vec<Shard>,
    /// For each slot the index of its shard, or [`NOBODY`].
    slots: Vec<u16>,
}

impl Topology {
    /// The reply to `CLUSTER SLOTS` of a node. `from`: that node, whose own host may be left out.
    ///
    /// # Errors
    /// `Protocol`. `Unavailable` if nobody serves any slot.
    pub(crate) fn parse(reply: &Value, from: &str) -> Result<Self> {
        let wrong = || Error::unexpected("CLUSTER SLOTS", reply);
        let Value::Array(ranges) = reply else {
            return Err(wrong());
        };
        let mut found: Vec<(Shard, u16, u16)> = Vec::with_capacity(ranges.len());
        for range in ranges {
            let Value::Array(range) = range else {
                return Err(wrong());
            };
            let [Value::Int(first), Value::Int(last), primary, replicas @ ..] = &range[..] else {
                return Err(wrong());
            };
            let slot = |number: i64| u16::try_from(number).ok().filter(|slot| *slot < SLOTS);
            let (Some(first), Some(last)) = (slot(*first), slot(*last)) else {
                return Err(wrong());
            };
            let node = |node: &Value| address(node, from).ok_or_else(wrong);
            let mut shard = Shard {
                primary: node(primary)?,
                replicas: Vec::with_capacity(replicas.len()),
            };
            for replica in replicas {
                shard.replicas.push(node(replica)?);
            }
            found.push((shard, first, last));
        }
        if found.is_empty() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "CLUSTERDOWN no node of the Cluster serves any slot yet",
            ));
        }
        let mut shards: Vec<Shard> = found.iter().map(|(shard, ..)| shard.clone()).collect();
        shards.sort_by(|one, other| one.primary.cmp(&other.primary));
        shards.dedup_by(|one, other| one.primary == other.primary);
        let mut slots = vec![NOBODY; usize::from(SLOTS)];
        for (shard, first, last) in &found {
            let at = shards.binary_search_by(|other| other.primary.cmp(&shard.primary));
            let at = u16::try_from(at.unwrap_or_default()).map_err(|_| wrong())?;
            for slot in *first..=*last {
                slots[usize::from(slot)] = at;
            }
        }
        Ok(Topology { shards, slots })
    }

    /// The shard that serves a slot.
    pub(crate) fn shard(&self, slot: u16) -> Option<&Shard> {
        self.shards.get(self.index_of(slot)?)
    }

    /// Which of [`shards`](Topology::shards) serves a slot.
    pub(crate) fn index_of(&self, slot: u16) -> Option<usize> {
        let at = *self.slots.get(usize::from(slot))?;
        (at != NOBODY).then_some(usize::from(at))
    }

    /// All shards, ordered by their primary's address.
    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The same, but for one slot, which moved to this node.
    pub(crate) fn with_moved(&self, slot: u16, to: &Address) -> Self {
        let mut moved = self.clone();
        let at = match moved.shards.iter().position(|shard| shard.primary == *to) {
            Some(at) => at,
            None => {
                // At the end, not in its place: the other slots keep their index. The next refresh sorts it in.
                moved.shards.push(Shard {
                    primary: to.clone(),
                    replicas: Vec::new(),
                });
                moved.shards.len() - 1
            }
        };
        if let (Some(slot), Ok(at)) = (moved.slots.get_mut(usize::from(slot)), u16::try_from(at)) {
            *slot = at;
        }
        moved
    }

    /// Whether a replica, or a node that nobody knew, has taken all slots of a primary: then writes that the primary
    /// acknowledged may be lost. Slots that move from one primary to another take their keys along.
    pub(crate) fn is_failover_after(&self, before: &Topology) -> bool {
        let serves = |of: &Topology, node: &Address| {
            of.shards.iter().enumerate().any(|(at, shard)| {
                shard.primary == *node && of.slots.iter().any(|slot| usize::from(*slot) == at)
            })
        };
        before.slots.iter().zip(&self.slots).any(|(old, new)| {
            let old = before.shards.get(usize::from(*old));
            let new = self.shards.get(usize::from(*new));
            let (Some(old), Some(new)) = (old, new) else {
                return false;
            };
            old.primary != new.primary
                && !serves(self, &old.primary)
                && !serves(before, &new.primary)
        })
    }
}

/// A node of the reply: host, port, and what is not needed here.
fn address(node: &Value, from: &str) -> Option<Address> {
    let Value::Array(parts) = node else {
        return None;
    };
    let [host, Value::Int(port), ..] = &parts[..] else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => "",
        _ => return None,
    };
    // "?" stands for a host name that the node does not know yet.
    let host = match host {
        "" | "?" => from,
        host => host,
    };
    Some(Address {
        host: host.to_owned(),
        port: u16::try_from(*port).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: i64) -> Value {
        let id = Value::BulkString(b"0123".to_vec());
        Value::Array(vec![Value::BulkString(host.into()), Value::Int(port), id])
    }

    fn range(first: i64, last: i64, nodes: Vec<Value>) -> Value {
        let mut range = vec![Value::Int(first), Value::Int(last)];
        range.extend(nodes);
        Value::Array(range)
    }

    fn at(host: &str, port: u16) -> Address {
        Address {
            host: host.into(),
            port,
        }
    }

    fn three() -> Topology {
        let reply = Value::Array(vec![
            range(10_923, 16_383, vec![node("c", 3), node("f", 6)]),
            range(0, 5_460, vec![node("a", 1), node("d", 4)]),
            range(5_461, 10_922, vec![node("b", 2), node("e", 5)]),
        ]);
        Topology::parse(&reply, "x").unwrap()
    }

    fn primary(of: &Topology, slot: u16) -> Option<&Address> {
        of.shard(slot).map(|shard| &shard.primary)
    }

    #[test]
    fn every_slot_has_its_primary() {
        let topology = three();
        for (slot, host, port) in [
            (0, "a", 1),
            (5_460, "a", 1),
            (5_461, "b", 2),
            (16_383, "c", 3),
        ] {
            assert_eq!(primary(&topology, slot), Some(&at(host, port)), "{slot}");
        }
        assert_eq!(topology.shards()[1].replicas, [at("e", 5)]);
        let some = Value::Array(vec![range(1, 1, vec![node("", 1)])]);
        let some = Topology::parse(&some, "asked").unwrap();
        assert_eq!(primary(&some, 0), None);
        assert_eq!(primary(&some, 1), Some(&at("asked", 1)));
    }

    #[test]
    fn a_slot_that_moved_is_found_at_once() {
        let moved = three().with_moved(7, &at("b", 2));
        assert_eq!(primary(&moved, 7), Some(&at("b", 2)));
        assert_eq!(primary(&moved, 8), Some(&at("a", 1)));
        let new = moved.with_moved(8, &at("0", 9));
        assert_eq!(primary(&new, 8), Some(&at("0", 9)));
        assert_eq!(primary(&new, 16_383), Some(&at("c", 3)));
        assert!(
            !new.is_failover_after(&three()),
            "a slot moves with its keys"
        );
    }

    #[test]
    fn a_replica_that_took_over_is_a_failover() {
        let reply = Value::Array(vec![
            range(0, 5_460, vec![node("d", 4)]),
            range(5_461, 10_922, vec![node("b", 2)]),
            range(10_923, 16_383, vec![node("c", 3)]),
        ]);
        let after = Topology::parse(&reply, "x").unwrap();
        assert!(after.is_failover_after(&three()));
        assert!(!after.is_failover_after(&after));
        // All slots of one primary moved to another: with their keys.
        let reply = Value::Array(vec![
            range(0, 10_922, vec![node("b", 2)]),
            range(10_923, 16_383, vec![node("c", 3)]),
        ]);
        let merged = Topology::parse(&reply, "x").unwrap();
        assert!(!merged.is_failover_after(&three()));
    }

    #[test]
    fn what_is_no_topology_is_refused() {
        for wrong in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16_384, vec![node("a", 1)])]),
            Value::Array(vec![range(-1, 1, vec![node("a", 1)])]),
            Value::Array(vec![range(0, 1, vec![])]),
            Value::Array(vec![range(0, 1, vec![node("a", 70_000)])]),
            Value::Array(vec![range(0, 1, vec![Value::Array(vec![])])]),
            Value::Array(vec![]),
        ] {
            assert!(Topology::parse(&wrong, "x").is_err(), "{wrong:?}");
        }
    }
}
