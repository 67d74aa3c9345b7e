//! What a node knows of its Cluster, as it writes it down and as `CLUSTER NODES` says it.

use std::ops::RangeInclusive;

use super::{BUS, SLOTS};

/// What one node says of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// All nodes that it knows.
    pub members: Vec<Member>,
}

/// What one node says of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name of 40 digits.
    pub id: String,
    /// Where clients connect, on 127.0.0.1.
    pub port: u16,
    /// Whether it is a primary, with slots or without.
    pub is_primary: bool,
    /// Whether the Cluster agrees that it is away.
    pub has_failed: bool,
    /// The name of its primary.
    pub replicates: Option<String>,
    /// What it serves.
    pub slots: Vec<RangeInclusive<u16>>,
}

impl View {
    pub(super) fn parsed(nodes: &str) -> View {
        let members = nodes.lines().filter_map(Member::parsed).collect();
        View { members }
    }

    /// The primary of a slot.
    pub fn primary_of(&self, slot: u16) -> Option<&Member> {
        let serves = |member: &&Member| member.slots.iter().any(|slots| slots.contains(&slot));
        self.members.iter().find(serves)
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// What all must agree on, in an order that is the same for all.
    pub(super) fn roles(mut self) -> Vec<Member> {
        self.members.sort_by(|a, b| a.id.cmp(&b.id));
        for member in &mut self.members {
            member.slots.sort_by_key(|slots| *slots.start());
        }
        self.members
    }
}

impl Member {
    /// A line of `CLUSTER NODES`: name, address, flags, primary, ping, pong, epoch, link, slots.
    fn parsed(line: &str) -> Option<Member> {
        let mut fields = line.split(' ');
        let id = fields.next()?.to_owned();
        let (address, _) = fields.next()?.split_once('@')?;
        let port = address.rsplit(':').next()?.parse().ok()?;
        let flags: Vec<&str> = fields.next()?.split(',').collect();
        if flags.contains(&"handshake") {
            return None;
        }
        let primary = fields.next()?;
        // A slot that is being moved is told as `[slot->-node]`.
        let slots = fields.skip(4).filter(|range| !range.starts_with('['));
        let slots = slots.filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse().ok()?..=last.parse().ok()?)
        });
        Some(Member {
            id,
            port,
            is_primary: flags.contains(&"master"),
            has_failed: flags.contains(&"fail"),
            replicates: (primary != "-").then(|| primary.to_owned()),
            slots: slots.collect(),
        })
    }
}

/// The file of a node that is started for the first time, and knows all others: the first are primaries with an even share
/// of the slots each, then come their replicas.
pub(super) fn nodes_conf(me: usize, ids: &[String], ports: &[u16], primaries: usize) -> String {
    let mut lines = String::new();
    for (i, (id, port)) in ids.iter().zip(ports).enumerate() {
        let myself = if i == me { "myself," } else { "" };
        let bus = port + BUS;
        let of = i % primaries;
        let epoch = of + 1;
        let (role, primary, slots) = if i < primaries {
            let slots = share(i, primaries);
            ("master", "-", format!(" {}-{}", slots.start(), slots.end()))
        } else {
            ("slave", ids[of].as_str(), String::new())
        };
        lines += &format!(
            "{id} 127.0.0.1:{port}@{bus} {myself}{role} {primary} 0 0 {epoch} connected{slots}\n"
        );
    }
    lines + &format!("vars currentEpoch {primaries} lastVoteEpoch 0\n")
}

fn share(i: usize, of: usize) -> RangeInclusive<u16> {
    let bound = |i: usize| u16::try_from(usize::from(SLOTS) * i / of).unwrap_or(SLOTS);
    bound(i)..=bound(i + 1) - 1
}
