//! The order of a large sorted set: a B+tree of scores and ids that counts, so that a place is found by rank as fast
//! as by score.
//!
//! The tree knows no members. Whoever looks for a place says which keys come before it, and gets a rank; every change
//! is then made at a rank. So the members of equal scores are compared in one function only, [`Tree::rank`].
//!
//! Invariants:
//! 1. All leaves are equally deep, and no node but the root is empty.
//! 2. An inner node knows of each child the first key, and how many keys there are below it.
//! 3. After a removal, a node on the way has at least [`FEW`] keys or children, unless it is an only child.
//! 4. `bytes` is the memory of all nodes.

use std::ops::Range;

use crate::keyspace::size::block;

/// How many keys a leaf has at most, and how many children an inner node.
const CAPACITY: usize = 64;
/// A node with fewer is joined with its neighbour, or takes some from it.
const FEW: usize = CAPACITY / 4;
/// Two neighbours with more in all are not joined, so that the next insertion does not split them again.
const JOINED: usize = CAPACITY / 4 * 3;
/// How full the nodes of a tree are that is built at once.
const FILLED: usize = CAPACITY / 8 * 7;

const LEAF_BYTES: usize = block(size_of::<Keys>());
const INNER_BYTES: usize = block(size_of::<Inner>()) + block(CAPACITY * size_of::<Node>());

/// A score, and the id of the member that has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) score: f64,
    pub(super) id: u32,
}

/// Keys in order.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    len: usize,
    scores: [f64; CAPACITY],
    ids: [u32; CAPACITY],
}

impl Keys {
    fn new() -> Box<Self> {
        Box::new(Keys {
            len: 0,
            scores: [0.0; CAPACITY],
            ids: [0; CAPACITY],
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, at: usize) -> Key {
        Key {
            score: self.scores[at],
            id: self.ids[at],
        }
    }

    fn set(&mut self, at: usize, key: Key) {
        self.scores[at] = key.score;
        self.ids[at] = key.id;
    }

    fn push(&mut self, key: Key) {
        self.set(self.len, key);
        self.len += 1;
    }

    fn insert(&mut self, at: usize, key: Key) {
        self.scores.copy_within(at..self.len, at + 1);
        self.ids.copy_within(at..self.len, at + 1);
        self.set(at, key);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) -> Key {
        let key = self.get(at);
        self.scores.copy_within(at + 1..self.len, at);
        self.ids.copy_within(at + 1..self.len, at);
        self.len -= 1;
        key
    }

    /// Moves the keys from an index on to the end of others.
    fn drain(&mut self, from: usize, to: &mut Keys) {
        let count = self.len - from;
        to.scores[to.len..to.len + count].copy_from_slice(&self.scores[from..self.len]);
        to.ids[to.len..to.len + count].copy_from_slice(&self.ids[from..self.len]);
        to.len += count;
        self.len = from;
    }

    /// How many keys come before a place.
    fn before(&self, is_before: &impl Fn(Key) -> bool) -> usize {
        let Range { mut start, mut end } = 0..self.len;
        while start < end {
            let middle = start.midpoint(end);
            if is_before(self.get(middle)) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }
}

#[derive(Debug)]
enum Node {
    Leaf(Box<Keys>),
    Inner(Box<Inner>),
}

#[derive(Debug)]
struct Inner {
    firsts: Keys,
    counts: [u32; CAPACITY],
    /// With room for [`CAPACITY`], always.
    children: Vec<Node>,
}

impl Inner {
    fn new() -> Box<Self> {
        Box::new(Inner {
            firsts: *Keys::new(),
            counts: [0; CAPACITY],
            children: Vec::with_capacity(CAPACITY),
        })
    }

    fn len(&self) -> usize {
        self.children.len()
    }

    fn count(&self) -> usize {
        self.counts[..self.len()]
            .iter()
            .map(|count| *count as usize)
            .sum()
    }

    fn push(&mut self, node: Node) {
        self.insert(self.len(), node);
    }

    fn insert(&mut self, at: usize, node: Node) {
        let len = self.len();
        self.counts.copy_within(at..len, at + 1);
        self.counts[at] = node.count() as u32;
        self.firsts.insert(at, node.first());
        self.children.insert(at, node);
    }

    fn remove(&mut self, at: usize) -> Node {
        let len = self.len();
        self.counts.copy_within(at + 1..len, at);
        self.firsts.remove(at);
        self.children.remove(at)
    }

    fn drain(&mut self, from: usize, to: &mut Inner) {
        let (len, end) = (self.len(), to.len());
        to.counts[end..end + len - from].copy_from_slice(&self.counts[from..len]);
        self.firsts.drain(from, &mut to.firsts);
        to.children.extend(self.children.drain(from..));
    }

    /// The child with the key of that rank, and the rank within it.
    fn locate(&self, mut rank: usize) -> (usize, usize) {
        let last = self.len().saturating_sub(1);
        for (at, count) in self.counts[..last].iter().enumerate() {
            let count = *count as usize;
            if rank < count {
                return (at, rank);
            }
            rank -= count;
        }
        (last, rank)
    }

    /// Corrects what is known of a child, and whose neighbours it shares with.
    fn refresh(&mut self, at: usize) {
        let child = &self.children[at];
        self.counts[at] = child.count() as u32;
        self.firsts.set(at, child.first());
    }

    /// After a removal below a child: removes it, joins it with a neighbour, or evens them out.
    fn mend(&mut self, at: usize, bytes: &mut usize) {
        let len = self.children[at].len();
        if len == 0 {
            *bytes -= self.remove(at).bytes();
        } else if len < FEW && self.len() > 1 {
            let left = at.saturating_sub(1);
            let right = left + 1;
            let total = self.children[left].len() + self.children[right].len();
            let mut neighbour = self.remove(right);
            if total <= JOINED {
                neighbour.drain(0, &mut self.children[left]);
                *bytes -= neighbour.bytes();
            } else {
                self.children[left].even_out(&mut neighbour);
                self.insert(right, neighbour);
            }
            self.refresh(left);
        }
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(keys) => keys.len,
            Node::Inner(inner) => inner.len(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Leaf(keys) => keys.len,
            Node::Inner(inner) => inner.count(),
        }
    }

    /// The first key; of an empty node, any.
    fn first(&self) -> Key {
        match self {
            Node::Leaf(keys) => keys.get(0),
            Node::Inner(inner) => inner.firsts.get(0),
        }
    }

    /// The memory of this node alone.
    fn bytes(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF_BYTES,
            Node::Inner(_) => INNER_BYTES,
        }
    }

    /// An empty node of the same kind.
    fn sibling(&self) -> Node {
        match self {
            Node::Leaf(_) => Node::Leaf(Keys::new()),
            Node::Inner(_) => Node::Inner(Inner::new()),
        }
    }

    /// Moves what is in it from an index on to the end of a node of the same kind.
    fn drain(&mut self, from: usize, to: &mut Node) {
        match (self, to) {
            (Node::Leaf(keys), Node::Leaf(to)) => keys.drain(from, to),
            (Node::Inner(inner), Node::Inner(to)) => inner.drain(from, to),
            // All leaves are equally deep.
            _ => {}
        }
    }

    /// Shares with the node to the right, so that both have half.
    fn even_out(&mut self, right: &mut Node) {
        let half = (self.len() + right.len()) / 2;
        let mut moved = self.sibling();
        if self.len() > half {
            self.drain(half, &mut moved);
            right.drain(0, &mut moved);
        } else {
            right.drain(half - self.len(), &mut moved);
            right.drain(0, self);
        }
        *right = moved;
    }

    /// Inserts a key at a rank. A full node is split, and the right part returned. At the end of the tree it is split
    /// so that the left part stays full, because keys often come in ascending order.
    fn insert(&mut self, rank: usize, key: Key, is_last: bool, bytes: &mut usize) -> Option<Node> {
        match self {
            Node::Leaf(keys) if keys.len < CAPACITY => {
                keys.insert(rank, key);
                None
            }
            Node::Leaf(keys) => {
                let cut = cut(rank, is_last);
                let mut right = Keys::new();
                keys.drain(cut, &mut right);
                if rank > cut || cut == CAPACITY {
                    right.insert(rank - cut, key);
                } else {
                    keys.insert(rank, key);
                }
                *bytes += LEAF_BYTES;
                Some(Node::Leaf(right))
            }
            Node::Inner(inner) => {
                let (at, rank) = inner.locate(rank);
                let is_last = is_last && at + 1 == inner.len();
                let split = inner.children[at].insert(rank, key, is_last, bytes);
                inner.refresh(at);
                let split = split?;
                let at = at + 1;
                if inner.len() < CAPACITY {
                    inner.insert(at, split);
                    return None;
                }
                let cut = cut(at, is_last);
                let mut right = Inner::new();
                inner.drain(cut, &mut right);
                if at > cut || cut == CAPACITY {
                    right.insert(at - cut, split);
                } else {
                    inner.insert(at, split);
                }
                *bytes += INNER_BYTES;
                Some(Node::Inner(right))
            }
        }
    }

    fn remove(&mut self, rank: usize, bytes: &mut usize) -> Option<Key> {
        match self {
            Node::Leaf(keys) => (rank < keys.len).then(|| keys.remove(rank)),
            Node::Inner(inner) => {
                let (at, rank) = inner.locate(rank);
                let key = inner.children.get_mut(at)?.remove(rank, bytes)?;
                inner.refresh(at);
                inner.mend(at, bytes);
                Some(key)
            }
        }
    }

    fn replace(&mut self, rank: usize, key: Key) {
        match self {
            Node::Leaf(keys) if rank < keys.len => keys.set(rank, key),
            Node::Leaf(_) => {}
            Node::Inner(inner) => {
                let (at, rank) = inner.locate(rank);
                inner.children[at].replace(rank, key);
                if rank == 0 {
                    inner.firsts.set(at, key);
                }
            }
        }
    }
}

/// Where a full node is split for an insertion.
fn cut(at: usize, is_last: bool) -> usize {
    if is_last && at == CAPACITY {
        CAPACITY
    } else {
        CAPACITY / 2
    }
}

impl Clone for Node {
    fn clone(&self) -> Self {
        match self {
            Node::Leaf(keys) => Node::Leaf(keys.clone()),
            Node::Inner(inner) => {
                let mut copy = Inner::new();
                copy.firsts = inner.firsts.clone();
                copy.counts = inner.counts;
                copy.children.extend(inner.children.iter().cloned());
                Node::Inner(copy)
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Node,
    bytes: usize,
}

impl FromIterator<Key> for Tree {
    /// Builds a tree of keys that come in order.
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        let mut level: Vec<Node> = Vec::new();
        let mut leaf = Keys::new();
        for key in keys {
            if leaf.len == FILLED {
                level.push(Node::Leaf(std::mem::replace(&mut leaf, Keys::new())));
            }
            leaf.push(key);
        }
        level.push(Node::Leaf(leaf));
        let mut bytes = level.len() * LEAF_BYTES;
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len().div_ceil(FILLED));
            let mut nodes = level.into_iter().peekable();
            while nodes.peek().is_some() {
                let mut inner = Inner::new();
                nodes
                    .by_ref()
                    .take(FILLED)
                    .for_each(|node| inner.push(node));
                above.push(Node::Inner(inner));
            }
            bytes += above.len() * INNER_BYTES;
            level = above;
        }
        let root = level.pop().unwrap_or_else(|| Node::Leaf(Keys::new()));
        Tree { root, bytes }
    }
}

impl Tree {
    /// How much memory its nodes take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many keys come before a place. `is_before` is true of these, which are the first ones, and of no others.
    pub(super) fn rank(&self, is_before: impl Fn(Key) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(keys) => return rank + keys.before(&is_before),
                Node::Inner(inner) => {
                    let at = inner.firsts.before(&is_before).saturating_sub(1);
                    rank += inner.counts[..at]
                        .iter()
                        .map(|n| *n as usize)
                        .sum::<usize>();
                    node = &inner.children[at];
                }
            }
        }
    }

    /// The leaf with the key of that rank, and its index there.
    pub(super) fn leaf(&self, mut rank: usize) -> (&Keys, usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(keys) => return (keys, rank),
                Node::Inner(inner) => {
                    let (at, within) = inner.locate(rank);
                    node = &inner.children[at];
                    rank = within;
                }
            }
        }
    }

    pub(super) fn insert(&mut self, rank: usize, key: Key) {
        if let Some(right) = self.root.insert(rank, key, true, &mut self.bytes) {
            let mut root = Inner::new();
            root.push(std::mem::replace(&mut self.root, Node::Leaf(Keys::new())));
            root.push(right);
            self.root = Node::Inner(root);
            self.bytes += INNER_BYTES;
        }
    }

    pub(super) fn remove(&mut self, rank: usize) -> Option<Key> {
        let key = self.root.remove(rank, &mut self.bytes)?;
        while let Node::Inner(inner) = &mut self.root
            && inner.len() <= 1
        {
            self.bytes -= INNER_BYTES;
            self.root = inner.children.pop().unwrap_or_else(|| {
                self.bytes += LEAF_BYTES;
                Node::Leaf(Keys::new())
            });
        }
        Some(key)
    }

    /// Puts another key at a rank; the order must stay the same.
    pub(super) fn replace(&mut self, rank: usize, key: Key) {
        self.root.replace(rank, key);
    }
}

#[cfg(test)]
impl Tree {
    /// Checks the invariants, and returns the keys.
    pub(super) fn check(&self) -> Vec<Key> {
        let (mut keys, mut bytes) = (Vec::new(), 0);
        let mut depths = std::collections::BTreeSet::new();
        self.root.check(0, &mut keys, &mut bytes, &mut depths);
        assert_eq!(depths.len(), 1, "invariant 1");
        assert_eq!(bytes, self.bytes, "invariant 4");
        keys
    }
}

#[cfg(test)]
impl Node {
    fn check(
        &self,
        depth: usize,
        keys: &mut Vec<Key>,
        bytes: &mut usize,
        depths: &mut std::collections::BTreeSet<usize>,
    ) {
        assert!(depth == 0 || self.len() > 0, "invariant 1");
        *bytes += self.bytes();
        match self {
            Node::Leaf(leaf) => {
                depths.insert(depth);
                keys.extend((0..leaf.len).map(|at| leaf.get(at)));
            }
            Node::Inner(inner) => {
                assert_eq!(inner.firsts.len, inner.len());
                assert_eq!(inner.children.capacity(), CAPACITY);
                for (at, child) in inner.children.iter().enumerate() {
                    assert_eq!(inner.firsts.get(at), child.first(), "invariant 2");
                    let before = keys.len();
                    child.check(depth + 1, keys, bytes, depths);
                    assert_eq!(
                        inner.counts[at] as usize,
                        keys.len() - before,
                        "invariant 2"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key {
            score: n as f64,
            id: n as u32,
        }
    }

    #[test]
    fn a_tree_that_grows_and_shrinks_over_several_levels_keeps_its_order() {
        let mut random = 1_u64;
        let mut next = move |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as usize % below
        };
        let (mut tree, mut model) = (Tree::from_iter([]), Vec::new());
        for n in 0..20_000 {
            let rank = next(model.len() + 1);
            tree.insert(rank, key(n));
            model.insert(rank, key(n));
        }
        assert_eq!(tree.check(), model);
        for round in 0..4 {
            for n in 0..4_900 {
                let rank = next(model.len());
                assert_eq!(tree.remove(rank), Some(model.remove(rank)));
                if n % 7 == round && !model.is_empty() {
                    let rank = next(model.len());
                    tree.replace(rank, key(n));
                    model[rank] = key(n);
                }
                if n % 500 == 0 {
                    assert_eq!(tree.check(), model);
                }
            }
            assert_eq!(tree.check(), model);
        }
        while !model.is_empty() {
            let rank = next(model.len());
            assert_eq!(tree.remove(rank), Some(model.remove(rank)));
            assert_eq!(tree.check(), model);
        }
        assert_eq!((tree.bytes(), tree.remove(0)), (LEAF_BYTES, None));
    }

    #[test]
    fn ascending_keys_fill_their_leaves_and_any_others_half_of_them() {
        let mut ascending = Tree::from_iter([]);
        let mut descending = Tree::from_iter([]);
        for n in 0..10_000 {
            ascending.insert(n, key(n));
            descending.insert(0, key(9_999 - n));
        }
        assert!(ascending.check().into_iter().eq((0..10_000).map(key)));
        assert!(descending.check().into_iter().eq((0..10_000).map(key)));
        assert!(ascending.bytes() < 10_000 * 15);
        assert!(descending.bytes() < 10_000 * 30);
    }

    #[test]
    fn a_tree_that_is_built_at_once_has_every_key_at_its_rank() {
        for len in [0, 1, FILLED, FILLED + 1, 5_000, 200_000] {
            let tree: Tree = (0..len).map(key).collect();
            assert!(tree.clone().check().into_iter().eq((0..len).map(key)));
            for n in (0..len).step_by(37) {
                let (leaf, at) = tree.leaf(n);
                assert_eq!(leaf.get(at), key(n));
                assert_eq!(tree.rank(|other| other.score < n as f64), n);
            }
        }
    }
}
