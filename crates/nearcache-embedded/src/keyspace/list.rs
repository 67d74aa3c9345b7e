//! The list type: its elements, and how much memory they take.

use std::collections::VecDeque;
use std::ops::Range;

use super::bytes::Bytes;
use super::size::block;

#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    elements: VecDeque<Bytes>,
    /// How much memory the elements take on the heap. Kept as a sum, so that a push need not visit all of them.
    heap: usize,
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.elements.len()
    }

    /// The name that `OBJECT ENCODING` gives.
    pub(crate) fn encoding(&self) -> &'static str {
        "quicklist"
    }

    pub(crate) fn push_front(&mut self, element: Bytes) {
        self.heap += element.heap();
        self.elements.push_front(element);
    }

    pub(crate) fn push_back(&mut self, element: Bytes) {
        self.heap += element.heap();
        self.elements.push_back(element);
    }

    pub(crate) fn range(&self, range: Range<usize>) -> impl Iterator<Item = &Bytes> {
        self.elements.range(range)
    }

    /// How much memory it takes, boxed.
    pub(crate) fn bytes(&self) -> usize {
        block(size_of::<List>()) + block(self.elements.capacity() * size_of::<Bytes>()) + self.heap
    }
}
