//! The entries of a stream, in nodes by the id of their first entry, and what is remembered of those that are gone.
//!
//! Invariants:
//! 1. Ids ascend, and the last one ever added is `last_id`, unless that was set to a greater one.
//! 2. `len` counts the entries that are not deleted, `first_id` is the first of them (0-0 if there is none), and
//!    `heap` sums up the nodes' buffers.

use std::collections::BTreeMap;

use super::id::Id;
use super::node::{Entry, LARGEST, Node, NodeLimits};
use super::tree;

#[derive(Debug, Default)]
pub(crate) struct Entries {
    nodes: BTreeMap<Id, Node>,
    len: usize,
    heap: usize,
    first_id: Id,
    /// The id that the last entry had, whether or not it is still there.
    pub(crate) last_id: Id,
    /// The greatest id that was deleted by name.
    pub(crate) max_deleted_id: Id,
    /// How many entries were ever added.
    pub(crate) added: u64,
}

/// Which entries are to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// At most so many.
    Length(usize),
    /// Those from this id on.
    From(Id),
}

/// How entries are trimmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trim {
    pub(crate) keep: Keep,
    /// Whether only whole nodes go.
    pub(crate) nodes: bool,
    /// At most so many entries go; 0 means any number. It is looked at before each node.
    pub(crate) limit: usize,
}

/// Why an entry cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are no more ids.
    Exhausted,
    /// Its id is not greater than the last one.
    NotGreater,
    TooLarge,
}

/// The id that an entry is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The next one by the clock, which says this.
    Next {
        now_ms: u64,
    },
    /// The next one of this millisecond.
    Of {
        ms: u64,
    },
    Exactly(Id),
}

impl Clone for Entries {
    fn clone(&self) -> Self {
        // The buffers of the copy have no spare room.
        let nodes = self.nodes.clone();
        let heap = nodes.values().map(Node::heap).sum();
        Entries {
            nodes,
            heap,
            ..*self
        }
    }
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn first_id(&self) -> Id {
        self.first_id
    }

    pub(super) fn bytes(&self) -> usize {
        self.heap + self.tree()
    }

    pub(super) fn tree(&self) -> usize {
        tree(self.nodes.len(), size_of::<(Id, Node)>())
    }

    #[cfg(test)]
    pub(super) fn recount(&self) -> (usize, usize) {
        let live = self.nodes.values().map(Node::live).sum();
        (live, self.nodes.values().map(Node::heap).sum())
    }

    /// The id that a new entry gets.
    fn id(&self, wanted: Wanted) -> Result<Id, Refused> {
        let last = self.last_id;
        if last == Id::MAX {
            return Err(Refused::Exhausted);
        }
        let id = match wanted {
            Wanted::Next { now_ms } if now_ms > last.ms => Id { ms: now_ms, seq: 0 },
            Wanted::Next { .. } => last.next().ok_or(Refused::Exhausted)?,
            Wanted::Of { ms } if ms == last.ms => Id {
                ms,
                // A server has no words for this.
                seq: last.seq.checked_add(1).ok_or(Refused::TooLarge)?,
            },
            Wanted::Of { ms } => Id { ms, seq: 0 },
            Wanted::Exactly(id) => id,
        };
        if id > last {
            Ok(id)
        } else {
            Err(Refused::NotGreater)
        }
    }

    /// Adds an entry at the end; `pairs` are its fields, each with its value.
    pub(crate) fn add(
        &mut self,
        wanted: Wanted,
        pairs: &[&[u8]],
        limits: NodeLimits,
    ) -> Result<Id, Refused> {
        let id = self.id(wanted)?;
        let len: usize = pairs.iter().map(|text| text.len()).sum();
        if len > LARGEST {
            return Err(Refused::TooLarge);
        }
        let mut last = self.nodes.last_entry();
        if let Some(full) = last.take_if(|last| last.get().is_full(len, limits)) {
            let node = full.into_mut();
            self.heap -= node.heap();
            node.seal();
            self.heap += node.heap();
        }
        if let Some(mut last) = last {
            let first = *last.key();
            let node = last.get_mut();
            self.heap -= node.heap();
            node.push(first, id, pairs);
            self.heap += node.heap();
        } else {
            let mut node = Node::new(pairs);
            node.push(id, id, pairs);
            self.heap += node.heap();
            self.nodes.insert(id, node);
        }
        self.len += 1;
        self.added = self.added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
        Ok(id)
    }

    /// The entries from `start` to `end`, both included.
    pub(crate) fn range(&self, start: Id, end: Id) -> impl Iterator<Item = Entry<'_>> {
        let before = self.nodes.range(..=start).next_back();
        let from = before.map_or(Id::MIN, |(first, _)| *first);
        self.nodes
            .range(from..)
            .flat_map(|(first, node)| node.entries(*first))
            .skip_while(move |entry| entry.id < start)
            .take_while(move |entry| entry.id <= end)
            .filter(|entry| !entry.deleted)
    }

    /// The same, but from the end to the start.
    pub(crate) fn range_back(&self, start: Id, end: Id) -> impl Iterator<Item = Entry<'_>> {
        self.nodes
            .range(..=end)
            .rev()
            .flat_map(|(first, node)| node.entries(*first).rev())
            .skip_while(move |entry| entry.id > end)
            .take_while(move |entry| entry.id >= start)
            .filter(|entry| !entry.deleted)
    }

    pub(crate) fn get(&self, id: Id) -> Option<Entry<'_>> {
        let (first, node) = self.nodes.range(..=id).next_back()?;
        let found = node.entries(*first).find(|entry| entry.id >= id);
        found.filter(|entry| entry.id == id && !entry.deleted)
    }

    /// The last entry's id.
    pub(crate) fn top(&self) -> Option<Id> {
        let last = self.range_back(Id::MIN, Id::MAX).next();
        last.map(|entry| entry.id)
    }

    /// The first id in the nodes, whether or not its entry is deleted.
    pub(crate) fn edge(&self) -> Option<Id> {
        self.nodes.keys().next().copied()
    }

    fn find_first(&mut self) {
        let first = self.range(Id::MIN, Id::MAX).next();
        self.first_id = first.map_or(Id::MIN, |entry| entry.id);
    }

    /// Deletes these entries, and returns how many there were.
    pub(crate) fn delete(&mut self, ids: &[Id]) -> usize {
        let mut deleted = 0;
        let mut was_first = false;
        for id in ids {
            if self.delete_one(*id) {
                was_first |= *id == self.first_id;
                self.max_deleted_id = self.max_deleted_id.max(*id);
                deleted += 1;
            }
        }
        if was_first {
            self.find_first();
        }
        deleted
    }

    fn delete_one(&mut self, id: Id) -> bool {
        let Some((first, node)) = self.nodes.range_mut(..=id).next_back() else {
            return false;
        };
        let first = *first;
        if !node.delete(id, first) {
            return false;
        }
        let is_empty = node.live() == 0;
        self.len -= 1;
        if is_empty {
            self.remove(first);
        }
        true
    }

    fn remove(&mut self, first: Id) {
        if let Some(node) = self.nodes.remove(&first) {
            self.heap -= node.heap();
        }
    }

    /// Removes entries from the beginning, and returns how many.
    pub(crate) fn trim(&mut self, trim: Trim) -> usize {
        let mut deleted = 0;
        let mut trimmed = 0;
        while let Some(mut oldest) = self.nodes.first_entry() {
            let (first, node) = (*oldest.key(), oldest.get_mut());
            let live = node.live();
            let whole = match trim.keep {
                Keep::Length(len) if self.len <= len => break,
                Keep::Length(len) => self.len - live >= len,
                Keep::From(id) => node
                    .entries(first)
                    .next_back()
                    .is_none_or(|last| last.id < id),
            };
            if trim.limit > 0 && deleted + live > trim.limit {
                break;
            }
            if whole {
                self.len -= live;
                deleted += live;
                self.remove(first);
                continue;
            }
            if !trim.nodes {
                let len = self.len;
                trimmed = node.delete_first(first, |id, gone| match trim.keep {
                    Keep::Length(most) => len - gone > most,
                    Keep::From(least) => id < least,
                });
                self.len -= trimmed;
            }
            break;
        }
        deleted += trimmed;
        if deleted > 0 {
            self.find_first();
        }
        deleted
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes a server's radix tree of these nodes would have.
    ///
    /// It is a tree of the ids' 16 bytes: a node for each place where they branch, one for each chain of bytes without
    /// branches, and one for each id.
    pub(crate) fn radix_nodes(&self) -> usize {
        let mut nodes = 1;
        // The depths of the branches on the way to the last id.
        let mut path: Vec<usize> = Vec::new();
        let chain = |from: Option<&usize>, to: usize| {
            let from = from.map_or(0, |branch| branch + 1);
            usize::from(to > from)
        };
        let mut last: Option<[u8; 16]> = None;
        for id in self.nodes.keys() {
            let digits = id.digits();
            if let Some(last) = last.replace(digits) {
                let common = last.iter().zip(&digits).take_while(|(a, b)| a == b).count();
                // The branch to the last id ends in a chain and its leaf.
                let mut child = 16;
                while let Some(branch) = path.pop_if(|branch| *branch > common) {
                    nodes += chain(Some(&branch), child) + 1;
                    child = branch;
                }
                nodes += chain(Some(&common), child) + 1;
                if path.last() != Some(&common) {
                    path.push(common);
                }
            }
        }
        if last.is_some() {
            let mut child = 16;
            while let Some(branch) = path.pop() {
                nodes += chain(Some(&branch), child) + 1;
                child = branch;
            }
            nodes += chain(None, child);
        }
        nodes
    }
}
