//! A sequence of byte strings in one buffer: how small hashes and sorted sets, and the nodes of lists and streams, are
//! kept.
//!
//! Each string is its length, its bytes, and its length once more, backwards, so that the sequence can be read from
//! both ends. A length takes a byte up to 127, and seven bits a byte beyond. So a short string costs two bytes more
//! than its content, as in a server's listpack.

use super::size::block;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pack {
    buffer: Vec<u8>,
    len: usize,
}

/// A place between two elements: an offset into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

impl Pack {
    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes the elements take, with their lengths.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes one more element of this length would take.
    pub(crate) fn size_of_element(len: usize) -> usize {
        len + 2 * digits(len)
    }

    /// How much memory it takes on the heap.
    pub(crate) fn heap(&self) -> usize {
        block(self.buffer.capacity())
    }

    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter {
            rest: &self.buffer,
            offset: 0,
            len: self.len,
        }
    }

    /// The element at an index. It walks from the nearer end.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len {
            return None;
        }
        if index <= self.len / 2 {
            self.iter().nth(index)
        } else {
            self.iter().rev().nth(self.len - 1 - index)
        }
    }

    /// The place before the element at an index; the end if there are no more.
    pub(crate) fn place(&self, index: usize) -> Place {
        let mut iter = self.iter();
        if index <= self.len / 2 {
            iter.by_ref().take(index).for_each(drop);
            return iter.place();
        }
        let behind = self.len.saturating_sub(index);
        iter.by_ref().rev().take(behind).for_each(drop);
        iter.end()
    }

    pub(crate) fn push_back(&mut self, element: &[u8]) {
        self.insert(Place(self.buffer.len()), element);
    }

    pub(crate) fn push_front(&mut self, element: &[u8]) {
        self.insert(Place(0), element);
    }

    pub(crate) fn insert(&mut self, at: Place, element: &[u8]) {
        self.splice(at.0..at.0, Some(element));
        self.len += 1;
    }

    /// Replaces the element after a place.
    pub(crate) fn replace(&mut self, at: Place, element: &[u8]) {
        if let Some(end) = self.end_of(at) {
            self.splice(at.0..end, Some(element));
        }
    }

    /// Removes `count` elements after a place, or as many as there are.
    pub(crate) fn remove(&mut self, at: Place, count: usize) {
        let mut end = at;
        for _ in 0..count {
            let Some(next) = self.end_of(end) else { break };
            end = Place(next);
            self.len -= 1;
        }
        self.splice(at.0..end.0, None);
        if self.buffer.capacity() > 2 * self.buffer.len() + 64 {
            self.buffer
                .shrink_to(self.buffer.len() + self.buffer.len() / 8);
        }
    }

    /// Removes all elements from a place on, and returns them.
    pub(crate) fn split_off(&mut self, at: Place) -> Pack {
        let buffer = self.buffer.split_off(at.0);
        let mut rest = Pack { buffer, len: 0 };
        rest.len = rest.iter_unbounded().count();
        self.len -= rest.len;
        rest
    }

    pub(crate) fn append(&mut self, other: &Pack) {
        self.buffer.extend_from_slice(&other.buffer);
        self.len += other.len;
    }

    /// Gives back memory that is not used.
    pub(crate) fn shrink(&mut self) {
        self.buffer.shrink_to_fit();
    }

    /// The place after the element at a place.
    fn end_of(&self, at: Place) -> Option<usize> {
        let rest = self.buffer.get(at.0..).filter(|rest| !rest.is_empty())?;
        let (len, digits) = read(rest.iter());
        Some(at.0 + len + 2 * digits)
    }

    fn iter_unbounded(&self) -> Iter<'_> {
        Iter {
            len: usize::MAX,
            ..self.iter()
        }
    }

    fn splice(&mut self, range: std::ops::Range<usize>, element: Option<&[u8]>) {
        let size = element.map_or(0, |element| Pack::size_of_element(element.len()));
        let (old, rest) = (range.len(), self.buffer.len() - range.end);
        if size > old {
            self.make_room(size - old);
            self.buffer.resize(self.buffer.len() + size - old, 0);
        }
        self.buffer
            .copy_within(range.end..range.end + rest, range.start + size);
        if size < old {
            self.buffer.truncate(range.start + size + rest);
        }
        if let Some(element) = element {
            let digits = digits(element.len());
            let slot = &mut self.buffer[range.start..range.start + size];
            write(element.len(), slot[..digits].iter_mut());
            slot[digits..digits + element.len()].copy_from_slice(element);
            write(
                element.len(),
                slot[digits + element.len()..].iter_mut().rev(),
            );
        }
    }

    /// Grows by an eighth, because a pack is small, and there are many.
    fn make_room(&mut self, more: usize) {
        let needed = self.buffer.len() + more;
        if needed > self.buffer.capacity() {
            let spare = (needed / 8).min(1 << 10);
            self.buffer.reserve_exact(more + spare);
        }
    }
}

impl<'a> FromIterator<&'a [u8]> for Pack {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(elements: I) -> Self {
        let mut pack = Pack::default();
        elements
            .into_iter()
            .for_each(|element| pack.push_back(element));
        pack
    }
}

/// The elements in order, from both ends.
#[derive(Clone, Debug)]
pub(crate) struct Iter<'p> {
    rest: &'p [u8],
    /// Where `rest` begins in the buffer.
    offset: usize,
    len: usize,
}

impl Iter<'_> {
    /// The place before the next element from the front.
    pub(crate) fn place(&self) -> Place {
        Place(self.offset)
    }

    /// The place after the next element from the back.
    pub(crate) fn end(&self) -> Place {
        Place(self.offset + self.rest.len())
    }
}

impl<'p> Iterator for Iter<'p> {
    type Item = &'p [u8];

    fn next(&mut self) -> Option<&'p [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (len, digits) = read(self.rest.iter());
        let element = &self.rest[digits..digits + len];
        self.rest = &self.rest[2 * digits + len..];
        self.offset += 2 * digits + len;
        self.len -= 1;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl<'p> DoubleEndedIterator for Iter<'p> {
    fn next_back(&mut self) -> Option<&'p [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (len, digits) = read(self.rest.iter().rev());
        let end = self.rest.len() - digits;
        let element = &self.rest[end - len..end];
        self.rest = &self.rest[..end - len - digits];
        self.len -= 1;
        Some(element)
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// How many bytes a length takes.
pub(super) fn digits(len: usize) -> usize {
    let bits = usize::BITS - (len | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Writes a length, the lowest seven bits first; all bytes but the last have the top bit.
pub(super) fn write<'b>(len: usize, to: impl Iterator<Item = &'b mut u8>) {
    let count = digits(len);
    for (at, byte) in to.enumerate().take(count) {
        let more = if at + 1 < count { 0x80 } else { 0 };
        *byte = (len >> (7 * at)) as u8 & 0x7f | more;
    }
}

/// Reads a length, and returns it with how many bytes it takes.
pub(super) fn read<'b>(from: impl Iterator<Item = &'b u8>) -> (usize, usize) {
    let (mut len, mut count) = (0, 0);
    for byte in from {
        len |= usize::from(byte & 0x7f) << (7 * count);
        count += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (len, count as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            9 => prop::collection::vec(any::<u8>(), 0..20),
            1 => prop::collection::vec(any::<u8>(), 100..300),
            1 => (16_300..16_500_usize).prop_map(|len| vec![b'x'; len]),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_vector_does(
            steps in prop::collection::vec((0..7u8, any::<prop::sample::Index>(), element()), 0..60)
        ) {
            let (mut pack, mut model) = (Pack::default(), Vec::<Vec<u8>>::new());
            for (kind, index, element) in steps {
                let at = index.index(model.len() + 1);
                match kind {
                    0 => { pack.push_back(&element); model.push(element); }
                    1 => { pack.push_front(&element); model.insert(0, element); }
                    2 | 3 => { pack.insert(pack.place(at), &element); model.insert(at, element); }
                    4 => {
                        pack.replace(pack.place(at), &element);
                        if at < model.len() { model[at] = element; }
                    }
                    5 => {
                        let count = element.len() % 4;
                        pack.remove(pack.place(at), count);
                        model.drain(at..(at + count).min(model.len()));
                    }
                    _ => {
                        let rest = pack.split_off(pack.place(at));
                        let rest_model = model.split_off(at);
                        prop_assert_eq!(rest.len(), rest_model.len());
                        pack.append(&rest);
                        model.extend(rest_model);
                    }
                }
                prop_assert_eq!(pack.len(), model.len());
                prop_assert!(pack.iter().eq(model.iter().map(Vec::as_slice)));
                prop_assert!(pack.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
                for (index, element) in model.iter().enumerate() {
                    prop_assert_eq!(pack.get(index), Some(&element[..]));
                }
                let size: usize = model.iter().map(|element| Pack::size_of_element(element.len())).sum();
                prop_assert_eq!(pack.size(), size);
            }
        }
    }
}
