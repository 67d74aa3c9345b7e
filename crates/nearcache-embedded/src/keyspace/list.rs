//! The list type: elements, and what they take in memory.

use std::collections::VecDeque;
use std::ops::Range;

use super::bytes::Bytes;
use super::size::block;

#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    elements: VecDeque<Bytes>,
    /// What the elements have on the heap: adding it up anew would make each push look at all of them.
    heap: usize,
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.elements.len()
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

    /// What it takes in memory, boxed.
    pub(crate) fn bytes(&self) -> usize {
        block(size_of::<List>()) + block(self.elements.capacity() * size_of::<Bytes>()) + self.heap
    }
}
