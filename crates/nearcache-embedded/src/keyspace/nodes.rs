//! The nodes of a list, and how much memory they take: one in place, as most lists have no more; else a deque.

use std::collections::VecDeque;
use std::ops::Range;

use super::pack::Pack;
use super::size::block;

/// No node is empty, except for a moment while it is changed. An empty node in place stands for none.
#[derive(Debug)]
pub(super) enum Nodes {
    One(Pack),
    Many(Box<Many>),
}

#[derive(Debug)]
pub(super) struct Many {
    nodes: VecDeque<Pack>,
    /// How much memory the nodes take on the heap.
    heap: usize,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes::One(Pack::default())
    }
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        match self {
            Nodes::One(node) => usize::from(!node.is_empty()),
            Nodes::Many(many) => many.nodes.len(),
        }
    }

    /// How much memory they take on the heap.
    pub(super) fn heap(&self) -> usize {
        match self {
            Nodes::One(node) => node.heap(),
            Nodes::Many(many) => {
                let deque = block(many.nodes.capacity() * size_of::<Pack>());
                block(size_of::<Many>()) + deque + many.heap
            }
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&Pack> {
        match self {
            Nodes::One(node) => Some(node).filter(|node| at == 0 && !node.is_empty()),
            Nodes::Many(many) => many.nodes.get(at),
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Pack> {
        let (one, other) = match self {
            Nodes::One(node) => (std::slice::from_ref(node), &[][..]),
            Nodes::Many(many) => many.nodes.as_slices(),
        };
        one.iter().chain(other)
    }

    /// Changes a node.
    pub(super) fn edit<R>(&mut self, at: usize, change: impl FnOnce(&mut Pack) -> R) -> Option<R> {
        match self {
            Nodes::One(node) => (at == 0).then(|| change(node)),
            Nodes::Many(many) => {
                let node = many.nodes.get_mut(at)?;
                many.heap -= node.heap();
                let result = change(node);
                many.heap += node.heap();
                Some(result)
            }
        }
    }

    /// Puts a node before the one at a place.
    pub(super) fn insert(&mut self, at: usize, node: Pack) {
        match self {
            Nodes::One(one) if one.is_empty() => *one = node,
            Nodes::One(one) => {
                let mut nodes = VecDeque::from([std::mem::take(one)]);
                nodes.insert(at.min(1), node);
                *self = nodes.into();
            }
            Nodes::Many(many) => {
                many.heap += node.heap();
                many.nodes.insert(at, node);
            }
        }
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        match self {
            Nodes::One(node) if range.contains(&0) => *node = Pack::default(),
            Nodes::One(_) => {}
            Nodes::Many(many) => {
                let removed = many.nodes.drain(range).map(|node| node.heap());
                many.heap -= removed.sum::<usize>();
                let (len, capacity) = (many.nodes.len(), many.nodes.capacity());
                if len <= 1 {
                    *self = std::mem::take(&mut many.nodes).into();
                } else if capacity > 4 * len + 4 {
                    many.nodes.shrink_to(2 * len);
                }
            }
        }
    }

    /// Appends the next node to a node.
    pub(super) fn join(&mut self, at: usize) {
        if let Nodes::Many(many) = self
            && let Some(next) = many.nodes.remove(at + 1)
        {
            many.heap -= next.heap();
            self.edit(at, |node| node.append(&next));
            // Only one may be left.
            self.remove(0..0);
        }
    }

    /// All nodes, in order.
    pub(super) fn take(&mut self) -> VecDeque<Pack> {
        match std::mem::take(self) {
            Nodes::One(node) => VecDeque::from([node]),
            Nodes::Many(many) => many.nodes,
        }
    }
}

impl From<VecDeque<Pack>> for Nodes {
    fn from(mut nodes: VecDeque<Pack>) -> Self {
        if nodes.len() <= 1 {
            return Nodes::One(nodes.pop_back().unwrap_or_default());
        }
        let heap = nodes.iter().map(Pack::heap).sum();
        Nodes::Many(Box::new(Many { nodes, heap }))
    }
}

impl Clone for Nodes {
    /// The copies have no spare room, so they are measured again.
    fn clone(&self) -> Self {
        match self {
            Nodes::One(node) => Nodes::One(node.clone()),
            Nodes::Many(many) => many.nodes.clone().into(),
        }
    }
}

#[cfg(test)]
impl Nodes {
    pub(super) fn check(&self) {
        assert!(self.len() == 0 || self.iter().all(|node| !node.is_empty()));
        if let Nodes::Many(many) = self {
            assert!(many.nodes.len() > 1);
            assert_eq!(many.heap, many.nodes.iter().map(Pack::heap).sum());
        }
    }
}
