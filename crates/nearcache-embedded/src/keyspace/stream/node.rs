//! A node of a stream: some entries with ids that follow each other, in one buffer.
//!
//! The buffer begins with the fields of the first entry; an entry that has the same fields keeps only its values. An
//! entry is a byte of marks, how far its id is from the node's, its values (or fields and values), and the length of
//! all this, backwards, so that a node is read from both ends. A deleted entry is only marked, as on a server: a
//! node goes when all its entries are gone.
//!
//! A node counts how large a server's node with these entries would be. So it is full at the same entry, and trimming
//! whole nodes leaves the same entries.

use super::id::Id;
use super::text::{
    Reader, Text, read_length_backwards, served_number, write, write_length, write_length_backwards,
};
use crate::keyspace::size::block;

const DELETED: u8 = 1;
const SAME_FIELDS: u8 = 2;

/// A server never makes larger nodes, whatever its settings say; and no entry may be larger.
pub(super) const LARGEST: usize = 1 << 30;

/// What a server's listpack takes without elements.
const SERVED_EMPTY: usize = 7;

/// Up to which size a node takes more entries; 0 means the largest possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeLimits {
    pub(crate) bytes: usize,
    pub(crate) entries: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    buffer: Vec<u8>,
    /// How many entries are not deleted, and how many are.
    live: u32,
    dead: u32,
    /// How many fields the first entry has.
    fields: u32,
    /// Where the entries begin.
    start: u32,
    /// How large a server's node would be, without the counts of its entries.
    served: usize,
}

/// An entry, as it lies in a node.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'n> {
    pub(crate) id: Id,
    pub(crate) fields: Fields<'n>,
    pub(super) deleted: bool,
    /// Where it is.
    at: usize,
}

/// The fields of an entry, with their values.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'n> {
    left: usize,
    /// Where the fields are, if they are those of the node's first entry.
    names: Option<Reader<'n>>,
    values: Reader<'n>,
}

impl Node {
    /// A node for an entry with these fields.
    pub(super) fn new(pairs: &[&[u8]]) -> Self {
        let mut buffer = Vec::new();
        let fields = pairs.len() / 2;
        let mut served = SERVED_EMPTY + served_number(fields as i64) + served_number(0);
        for pair in pairs.chunks_exact(2) {
            served += write(&mut buffer, pair[0]);
        }
        Node {
            live: 0,
            dead: 0,
            fields: fields as u32,
            start: buffer.len() as u32,
            buffer,
            served,
        }
    }

    pub(super) fn live(&self) -> usize {
        self.live as usize
    }

    pub(super) fn heap(&self) -> usize {
        block(self.buffer.capacity())
    }

    /// Whether a server would put an entry with texts of this length into the next node.
    pub(super) fn is_full(&self, len: usize, limits: NodeLimits) -> bool {
        let bytes = match limits.bytes {
            0 => LARGEST,
            bytes => bytes.min(LARGEST),
        };
        let counts = served_number(self.live.into()) + served_number(self.dead.into());
        let entries = self.live as usize + self.dead as usize;
        self.served + counts + len >= bytes || limits.entries > 0 && entries >= limits.entries
    }

    /// Adds an entry to the node with this first id.
    pub(super) fn push(&mut self, first: Id, id: Id, pairs: &[&[u8]]) {
        let len: usize = pairs.iter().map(|text| text.len()).sum();
        self.make_room(len + pairs.len() + 12);
        let from = self.buffer.len();
        let same = self.has_fields(pairs);
        let seq = id.seq.wrapping_sub(first.seq).cast_signed();
        let ms = id.ms.wrapping_sub(first.ms);
        let count = pairs.len() / 2;
        self.buffer.push(if same { SAME_FIELDS } else { 0 });
        write_length(&mut self.buffer, ms);
        write_length(&mut self.buffer, ((seq << 1) ^ (seq >> 63)).cast_unsigned());
        self.served += served_number(SAME_FIELDS.into());
        self.served += served_number(ms.cast_signed()) + served_number(seq);
        let mut elements = count + 3;
        if !same {
            write_length(&mut self.buffer, count as u64);
            self.served += served_number(count as i64);
            elements += count + 1;
        }
        for pair in pairs.chunks_exact(2) {
            if !same {
                self.served += write(&mut self.buffer, pair[0]);
            }
            self.served += write(&mut self.buffer, pair[1]);
        }
        self.served += served_number(elements as i64);
        let written = self.buffer.len() - from;
        write_length_backwards(&mut self.buffer, written as u64);
        self.live += 1;
    }

    fn has_fields(&self, pairs: &[&[u8]]) -> bool {
        let mut names = Reader::new(&self.buffer, 0);
        pairs.len() / 2 == self.fields as usize
            && pairs.chunks_exact(2).all(|pair| names.text().is(pair[0]))
    }

    /// Grows by a quarter, because most nodes are not the last, and are shrunk.
    fn make_room(&mut self, more: usize) {
        let needed = self.buffer.len() + more;
        if needed > self.buffer.capacity() {
            let spare = (needed / 4).clamp(32, 1 << 12);
            self.buffer.reserve_exact(more + spare);
        }
    }

    /// Gives back memory that is not used, as nothing more will be added.
    pub(super) fn seal(&mut self) {
        self.buffer.shrink_to_fit();
    }

    /// All entries from both ends, also the deleted ones.
    pub(super) fn entries(&self, first: Id) -> Entries<'_> {
        Entries {
            node: self,
            first,
            front: self.start as usize,
            back: self.buffer.len(),
        }
    }

    /// Marks an entry as deleted.
    pub(super) fn delete(&mut self, id: Id, first: Id) -> bool {
        let found = self.entries(first).find(|entry| entry.id >= id);
        let Some(at) = found
            .filter(|entry| entry.id == id && !entry.deleted)
            .map(|entry| entry.at)
        else {
            return false;
        };
        self.mark(at);
        true
    }

    fn mark(&mut self, at: usize) {
        if let Some(marks) = self.buffer.get_mut(at) {
            *marks |= DELETED;
            self.live -= 1;
            self.dead += 1;
        }
    }

    /// Deletes the first entries for as long as `more` says so, and returns how many.
    pub(super) fn delete_first(
        &mut self,
        first: Id,
        mut more: impl FnMut(Id, usize) -> bool,
    ) -> usize {
        let mut places = Vec::new();
        for entry in self.entries(first) {
            if !more(entry.id, places.len()) {
                break;
            }
            if !entry.deleted {
                places.push(entry.at);
            }
        }
        places.iter().for_each(|at| self.mark(*at));
        places.len()
    }

    fn entry(&self, first: Id, at: usize) -> (Entry<'_>, usize) {
        let mut reader = Reader::new(&self.buffer, at);
        let marks = reader.byte();
        let ms = reader.length();
        let zigzag = reader.length();
        let seq = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        let id = Id {
            ms: first.ms.wrapping_add(ms),
            seq: first.seq.wrapping_add(seq),
        };
        let same = marks & SAME_FIELDS != 0;
        let left = if same {
            self.fields as usize
        } else {
            reader.length() as usize
        };
        let entry = Entry {
            id,
            fields: Fields {
                left,
                names: same.then(|| Reader::new(&self.buffer, 0)),
                values: reader,
            },
            deleted: marks & DELETED != 0,
            at,
        };
        (entry, if same { left } else { 2 * left })
    }
}

/// The entries of a node, from both ends.
#[derive(Clone, Debug)]
pub(super) struct Entries<'n> {
    node: &'n Node,
    first: Id,
    front: usize,
    back: usize,
}

impl<'n> Iterator for Entries<'n> {
    type Item = Entry<'n>;

    fn next(&mut self) -> Option<Entry<'n>> {
        if self.front >= self.back {
            return None;
        }
        let (entry, texts) = self.node.entry(self.first, self.front);
        let mut end = entry.fields.values;
        end.skip_texts(texts);
        let len = end.at - self.front;
        self.front = end.at + digits(len);
        Some(entry)
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let (len, digits) = read_length_backwards(&self.node.buffer[..self.back]);
        self.back -= len as usize + digits;
        Some(self.node.entry(self.first, self.back).0)
    }
}

/// How many bytes a length takes.
fn digits(len: usize) -> usize {
    let bits = usize::BITS - (len | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

impl<'n> Iterator for Fields<'n> {
    type Item = (Text<'n>, Text<'n>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = self.names.as_mut().unwrap_or(&mut self.values).text();
        Some((name, self.values.text()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
