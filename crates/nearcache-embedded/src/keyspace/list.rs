//! The list type: a deque of [packed](Pack) [nodes](Nodes), so that an element takes little more than its bytes, both ends are
//! near, and any index is found by counting nodes.

use std::collections::VecDeque;
use std::ops::Range;

use super::nodes::Nodes;
use super::pack::Pack;
use super::size::block;

#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    nodes: Nodes,
    /// How many elements the nodes have.
    len: usize,
}

/// One of the two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Left,
    Right,
}

/// How large a node becomes before another one is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeSize {
    bytes: usize,
    elements: usize,
}

impl NodeSize {
    /// Reads the setting `list-max-listpack-size`: how many elements, or from -1 to -5, how many bytes.
    pub(crate) fn new(setting: i64) -> Self {
        match usize::try_from(setting) {
            Ok(elements) => NodeSize {
                bytes: 8 << 10,
                elements: elements.max(1),
            },
            Err(_) => NodeSize {
                bytes: 2 << 10 << setting.unsigned_abs().min(5),
                elements: usize::MAX,
            },
        }
    }

    /// Whether a node may take an element of this length.
    fn allows(self, node: &Pack, element: usize) -> bool {
        let size = node.size() + Pack::size_of_element(element);
        node.is_empty() || (size <= self.bytes && node.len() < self.elements)
    }

    /// Whether two nodes may be one.
    fn allows_both(self, one: &Pack, other: &Pack) -> bool {
        one.size() + other.size() <= self.bytes && one.len() + other.len() <= self.elements
    }
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The name that `OBJECT ENCODING` gives.
    pub(crate) fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// How much memory it takes, boxed.
    pub(crate) fn bytes(&self) -> usize {
        block(size_of::<List>()) + self.nodes.heap()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.nodes.iter().flat_map(Pack::iter)
    }

    pub(crate) fn range(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let (at, within) = self.locate(range.start);
        let nodes = self.nodes.iter().skip(at);
        nodes.flat_map(Pack::iter).skip(within).take(range.len())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        let (at, within) = self.locate(index);
        self.nodes.get(at)?.get(within)
    }

    /// The first or the last element.
    pub(crate) fn peek(&self, end: End) -> Option<&[u8]> {
        match end {
            End::Left => self.nodes.iter().next()?.iter().next(),
            End::Right => self.nodes.iter().next_back()?.iter().next_back(),
        }
    }

    pub(crate) fn push(&mut self, end: End, element: &[u8], size: NodeSize) {
        let (at, new) = match end {
            End::Left => (0, 0),
            End::Right => (self.nodes.len().saturating_sub(1), self.nodes.len()),
        };
        let node = self.nodes.get(at);
        if node.is_some_and(|node| size.allows(node, element.len())) {
            self.nodes.edit(at, |node| match end {
                End::Left => node.push_front(element),
                End::Right => node.push_back(element),
            });
        } else {
            // The full node stays as it is for long.
            self.nodes.edit(at, Pack::shrink);
            self.nodes.insert(new, Pack::from_iter([element]));
        }
        self.len += 1;
    }

    /// Puts an element before the one at an index.
    pub(crate) fn insert(&mut self, index: usize, element: &[u8], size: NodeSize) {
        if index == 0 {
            return self.push(End::Left, element, size);
        }
        if index >= self.len {
            return self.push(End::Right, element, size);
        }
        let (at, within) = self.locate(index);
        let has_room = |at: usize| {
            let node = self.nodes.get(at);
            node.is_some_and(|node| size.allows(node, element.len()))
        };
        if has_room(at) {
            self.nodes
                .edit(at, |node| node.insert(node.place(within), element));
        } else if within == 0 && has_room(at - 1) {
            self.nodes.edit(at - 1, |node| node.push_back(element));
        } else {
            // Between the two halves of the node, in a node of its own; then whatever fits together is joined.
            let rest = (within > 0).then(|| {
                self.nodes.edit(at, |node| {
                    let mut rest = node.split_off(node.place(within));
                    node.shrink();
                    rest.shrink();
                    rest
                })
            });
            let at = at + usize::from(within > 0);
            self.nodes.insert(at, Pack::from_iter([element]));
            if let Some(rest) = rest.flatten() {
                self.nodes.insert(at + 1, rest);
            }
            for at in [at + 1, at, at - 1] {
                self.join(at, size);
            }
        }
        self.len += 1;
    }

    /// Replaces the element at an index. Returns whether there is one.
    pub(crate) fn replace(&mut self, index: usize, element: &[u8], size: NodeSize) -> bool {
        let (at, within) = self.locate(index);
        let Some(node) = self.nodes.get(at).filter(|node| within < node.len()) else {
            return false;
        };
        let old = node.get(within).map_or(0, <[u8]>::len);
        let new_size =
            node.size() - Pack::size_of_element(old) + Pack::size_of_element(element.len());
        if element.len() <= old || node.len() == 1 || new_size <= size.bytes {
            self.nodes
                .edit(at, |node| node.replace(node.place(within), element));
        } else {
            self.remove(index..index + 1);
            self.insert(index, element, size);
        }
        true
    }

    pub(crate) fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let element = self.peek(end)?.to_vec();
        match end {
            End::Left => self.remove(0..1),
            End::Right => self.remove(self.len - 1..self.len),
        }
        Some(element)
    }

    /// Removes a range, or what there is of it.
    pub(crate) fn remove(&mut self, range: Range<usize>) {
        let (mut at, mut within) = self.locate(range.start);
        let mut left = range.end.min(self.len).saturating_sub(range.start);
        self.len -= left;
        while let Some(len) = self.nodes.get(at).map(Pack::len).filter(|_| left > 0) {
            let count = left.min(len - within);
            if count < len {
                self.nodes
                    .edit(at, |node| node.remove(node.place(within), count));
                at += 1;
            } else {
                // Whole nodes are removed in one go.
                let mut end = at + 1;
                let mut removed = count;
                while let Some(node) = self.nodes.get(end).filter(|n| removed + n.len() <= left) {
                    removed += node.len();
                    end += 1;
                }
                self.nodes.remove(at..end);
                left -= removed - count;
            }
            left -= count;
            within = 0;
        }
    }

    /// Removes at most so many elements that are equal to one, beginning at an end. Returns how many.
    pub(crate) fn remove_equal(
        &mut self,
        element: &[u8],
        most: usize,
        from: End,
        size: NodeSize,
    ) -> usize {
        let mut removed = 0;
        let nodes = self.nodes.len();
        for step in 0..nodes {
            let at = match from {
                End::Left => step,
                End::Right => nodes - 1 - step,
            };
            let node = self.nodes.get(at).into_iter().flat_map(Pack::iter);
            let found = node.filter(|other| *other == element).count();
            let count = found.min(most - removed);
            if count > 0 {
                let first = if from == End::Left { 0 } else { found - count };
                self.nodes
                    .edit(at, |node| *node = without(node, element, first, count));
                removed += count;
            }
            if removed == most {
                break;
            }
        }
        self.len -= removed;
        if removed > 0 {
            self.join_all(size);
        }
        removed
    }

    /// The node of an index, and the index within it. Nodes are counted from the nearer end.
    fn locate(&self, index: usize) -> (usize, usize) {
        if index >= self.len {
            return (self.nodes.len(), 0);
        }
        if index <= self.len / 2 {
            let mut before = 0;
            for (at, node) in self.nodes.iter().enumerate() {
                if index < before + node.len() {
                    return (at, index - before);
                }
                before += node.len();
            }
        } else {
            let (mut at, mut start) = (self.nodes.len(), self.len);
            for node in self.nodes.iter().rev() {
                at -= 1;
                start -= node.len();
                if index >= start {
                    return (at, index - start);
                }
            }
        }
        (self.nodes.len(), 0)
    }

    /// Joins a node with the next one, if they fit into one.
    fn join(&mut self, at: usize, size: NodeSize) {
        if let (Some(node), Some(next)) = (self.nodes.get(at), self.nodes.get(at + 1))
            && size.allows_both(node, next)
        {
            self.nodes.join(at);
        }
    }

    /// Removes empty nodes, and joins what fits together.
    fn join_all(&mut self, size: NodeSize) {
        let mut joined = VecDeque::<Pack>::new();
        for mut node in self.nodes.take() {
            match joined.back_mut() {
                _ if node.is_empty() => {}
                Some(last) if size.allows_both(last, &node) => {
                    last.append(&node);
                    last.shrink();
                }
                _ => {
                    node.shrink();
                    joined.push_back(node);
                }
            }
        }
        self.nodes = joined.into();
    }
}

/// The node without some of the elements that are equal to one: `count` of them, after the first `first`.
fn without(node: &Pack, element: &[u8], first: usize, count: usize) -> Pack {
    let mut seen = 0;
    let kept = node.iter().filter(|other| {
        let is_equal = *other == element;
        seen += usize::from(is_equal);
        !(is_equal && (first + 1..=first + count).contains(&seen))
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl List {
        fn check(&self) {
            let len: usize = self.nodes.iter().map(Pack::len).sum();
            assert_eq!(self.len, len);
            self.nodes.check();
        }
    }

    fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => "[a-c]",
            2 => "[a-z]{0,20}",
            1 => "[a-z]{1000,1500}",
            1 => Just("x".repeat(9_000)),
        ]
        .prop_map(String::into_bytes)
    }

    proptest! {
        #[test]
        fn it_does_what_a_vector_does(
            steps in prop::collection::vec((0..9_u8, any::<prop::sample::Index>(), element(), 0..9_usize), 0..80),
            setting in prop_oneof![Just(-1), Just(-2), Just(0), 1..5_i64, Just(128)],
        ) {
            let size = NodeSize::new(setting);
            let (mut list, mut model) = (List::default(), Vec::<Vec<u8>>::new());
            for (kind, index, element, count) in steps {
                let at = index.index(model.len() + 1);
                match kind {
                    0 | 1 => {
                        list.push(End::Right, &element, size);
                        model.push(element);
                    }
                    2 => {
                        list.push(End::Left, &element, size);
                        model.insert(0, element);
                    }
                    3 | 4 => {
                        list.insert(at, &element, size);
                        model.insert(at, element);
                    }
                    5 => {
                        prop_assert_eq!(list.replace(at, &element, size), at < model.len());
                        if let Some(old) = model.get_mut(at) { *old = element; }
                    }
                    6 => {
                        prop_assert_eq!(list.pop(End::Left), (!model.is_empty()).then(|| model.remove(0)));
                        prop_assert_eq!(list.pop(End::Right), model.pop());
                    }
                    7 => {
                        list.remove(at..at + count);
                        model.drain(at..(at + count).min(model.len()));
                    }
                    _ => {
                        let from = if count % 2 == 0 { End::Left } else { End::Right };
                        let removed = list.remove_equal(&element, count, from, size);
                        let mut hits: Vec<_> = (0..model.len()).filter(|at| model[*at] == element).collect();
                        if from == End::Right { hits.reverse(); }
                        hits.truncate(count);
                        prop_assert_eq!(removed, hits.len());
                        hits.sort_unstable();
                        hits.into_iter().rev().for_each(|at| drop(model.remove(at)));
                    }
                }
                list.check();
                list.clone().check();
                let at = at.min(model.len());
                prop_assert!(list.iter().eq(model.iter().map(Vec::as_slice)));
                prop_assert!(list.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
                let end = (at + count).min(model.len());
                prop_assert!(list.range(at..end).eq(model[at..end].iter().map(Vec::as_slice)));
                prop_assert_eq!(list.get(at), model.get(at).map(Vec::as_slice));
                prop_assert_eq!(list.peek(End::Right), model.last().map(Vec::as_slice));
            }
        }
    }

    #[test]
    fn an_element_takes_little_more_than_its_bytes() {
        let mut list = List::default();
        let size = NodeSize::new(-2);
        (0..100_000).for_each(|_| list.push(End::Right, b"0123456789", size));
        assert!(list.bytes() < 100_000 * 13, "{}", list.bytes());
        assert!(list.nodes.len() < 160);
        list.remove(3..99_999);
        list.check();
        assert!(list.bytes() < 1_000, "{}", list.bytes());
        list.remove(1..list.len());
        assert!(list.bytes() < 100, "{}", list.bytes());
    }
}
