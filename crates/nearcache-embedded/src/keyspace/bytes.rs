//! Small byte strings: up to 15 bytes are stored in place, longer ones on the heap.
//!
//! A string remembers whether it was ever changed in place: a server keeps those in another way, and `OBJECT ENCODING`
//! shows it. This takes no room: in place it is a bit of the length, and on the heap, a short string that was changed
//! has room for more bytes than one that was not.
//!
//! A cache is full of short keys, counters and flags. Storing them in the 24 bytes that a `Vec` takes anyway saves an
//! allocation (and its 16 bytes of overhead), and a CPU cache miss on every lookup. Numbers have no form of their
//! own: most fit in place as text, and a reply needs the text.

use std::fmt;
use std::ops::Deref;

use super::size::block;

/// How many bytes are stored in place.
const INLINE: usize = 15;

/// When a block is reused, at most this fraction of it is left empty (1 / `WASTE`).
const WASTE: usize = 8;

/// The longest string that a server keeps in one piece with its header, unless it was changed.
pub(crate) const EMBEDDED_MAX: usize = 44;
/// The bits of an inline length that are the length.
const LEN: u8 = 0x0f;
/// The bit of an inline length that says that the string was changed in place.
const RAW: u8 = 0x80;

/// An owned byte string.
pub(crate) enum Bytes {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Vec<u8>),
}

impl Bytes {
    /// A string that counts as one that was changed in place.
    pub(crate) fn raw(bytes: Vec<u8>) -> Self {
        let mut bytes = Bytes::from(bytes);
        match &mut bytes {
            Bytes::Inline { len, .. } => *len |= RAW,
            Bytes::Heap(bytes) => reserve_raw(bytes),
        }
        bytes
    }

    /// Whether a server keeps it in a piece of its own: because it is long, or was changed in place.
    pub(crate) fn is_raw(&self) -> bool {
        match self {
            Bytes::Inline { len, .. } => len & RAW != 0,
            Bytes::Heap(bytes) => bytes.capacity() > EMBEDDED_MAX,
        }
    }

    /// How much memory it takes on the heap.
    #[inline]
    pub(crate) fn heap(&self) -> usize {
        match self {
            Bytes::Inline { .. } => 0,
            Bytes::Heap(bytes) => block(bytes.capacity()),
        }
    }

    /// Becomes a copy of these bytes. Reuses its memory unless too much of that would be wasted.
    #[inline]
    pub(crate) fn set(&mut self, bytes: &[u8]) {
        match self {
            Bytes::Heap(old)
                if bytes.len() > INLINE
                    && (bytes.len() > EMBEDDED_MAX || old.capacity() <= EMBEDDED_MAX)
                    && (bytes.len()..=bytes.len() + bytes.len() / WASTE)
                        .contains(&old.capacity()) =>
            {
                old.clear();
                old.extend_from_slice(bytes);
            }
            _ => *self = bytes.into(),
        }
    }

    /// Changes the bytes through a `Vec`, in place when they are on the heap.
    pub(crate) fn edit<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        match self {
            Bytes::Heap(bytes) => {
                let result = change(bytes);
                reserve_raw(bytes);
                result
            }
            Bytes::Inline { .. } => {
                let mut bytes = self.to_vec();
                let result = change(&mut bytes);
                *self = Bytes::raw(bytes);
                result
            }
        }
    }
}

/// Gives a short string the room that marks it as changed.
fn reserve_raw(bytes: &mut Vec<u8>) {
    if bytes.capacity() <= EMBEDDED_MAX {
        bytes.reserve_exact(EMBEDDED_MAX + 1 - bytes.len());
    }
}

impl Clone for Bytes {
    fn clone(&self) -> Self {
        match self {
            Bytes::Inline { len, bytes } => Bytes::Inline {
                len: *len,
                bytes: *bytes,
            },
            Bytes::Heap(bytes) => {
                let mut copy = bytes.clone();
                if self.is_raw() {
                    reserve_raw(&mut copy);
                }
                Bytes::Heap(copy)
            }
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Inline { len, bytes } => &bytes[..usize::from(*len & LEN)],
            Bytes::Heap(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Bytes {
    #[inline]
    fn from(slice: &[u8]) -> Self {
        if slice.len() <= INLINE {
            let mut bytes = [0; INLINE];
            bytes[..slice.len()].copy_from_slice(slice);
            Bytes::Inline {
                len: slice.len() as u8,
                bytes,
            }
        } else {
            Bytes::Heap(slice.to_vec())
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(mut bytes: Vec<u8>) -> Self {
        if bytes.len() <= INLINE {
            Bytes::from(&bytes[..])
        } else {
            if bytes.len() <= EMBEDDED_MAX {
                bytes.shrink_to(EMBEDDED_MAX);
            }
            Bytes::Heap(bytes)
        }
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        match bytes {
            Bytes::Heap(bytes) => bytes,
            inline @ Bytes::Inline { .. } => inline.to_vec(),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_string_takes_no_more_room_than_a_vec() {
        assert_eq!(size_of::<Bytes>(), 24);
        assert_eq!(size_of::<Option<Bytes>>(), 24);
    }

    #[test]
    fn every_length_around_the_limit_is_kept() {
        for len in 0..40 {
            let source: Vec<u8> = (0..len).collect();
            assert_eq!(&*Bytes::from(&source[..]), &source[..]);
            assert_eq!(Vec::from(Bytes::from(source.clone())), source);
        }
    }

    #[test]
    fn what_is_set_is_there_and_takes_no_more_than_an_eighth_too_much() {
        for before in 0..200_usize {
            for after in 0..200_usize {
                let mut bytes = Bytes::from(vec![b'b'; before]);
                bytes.set(&vec![b'a'; after]);
                assert_eq!(*bytes, vec![b'a'; after]);
                assert!(
                    bytes.heap() <= block(after + after / WASTE),
                    "{before} {after}"
                );
                assert!(after > INLINE || bytes.heap() == 0, "{before} {after}");
            }
        }
    }

    #[test]
    fn a_short_string_that_was_changed_is_told_from_one_that_was_not() {
        for len in 0..60 {
            let mut bytes = Bytes::from(vec![b'a'; len]);
            assert_eq!(bytes.is_raw(), len > EMBEDDED_MAX);
            bytes.edit(|_| {});
            assert!(bytes.is_raw() && bytes.clone().is_raw());
            assert_eq!(*bytes.clone(), vec![b'a'; len]);
            bytes.set(&vec![b'b'; len]);
            assert_eq!(bytes.is_raw(), len > EMBEDDED_MAX);
            let roomy = [Vec::with_capacity(100), vec![b'c'; len]].concat();
            assert_eq!(Bytes::from(roomy).is_raw(), len > EMBEDDED_MAX);
        }
    }

    #[test]
    fn an_edit_moves_between_the_two_forms() {
        let mut bytes = Bytes::from(&b"short"[..]);
        bytes.edit(|b| b.extend_from_slice(b", and then much longer"));
        assert_eq!(&*bytes, b"short, and then much longer");
        bytes.edit(|b| b.truncate(5));
        assert_eq!(&*bytes, b"short");
    }
}
