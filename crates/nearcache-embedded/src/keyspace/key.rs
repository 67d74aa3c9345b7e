//! A key, as its entry keeps it: up to 30 bytes lie in place, a longer one on the heap.
//!
//! With so many, an entry takes 72 bytes. The allocator gives it a block of 80, and it would not give it a smaller one
//! with the 15 bytes that [a value](super::bytes) keeps in place. So most keys take no block of their own, and are
//! compared without another cache miss.

use std::fmt;
use std::ops::Deref;

use super::size::block;

/// How many bytes are stored in place.
const INLINE: usize = 30;

#[derive(Clone)]
pub(crate) enum Key {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

impl Key {
    /// How much memory it takes on the heap.
    #[inline]
    pub(crate) fn heap(&self) -> usize {
        match self {
            Key::Inline { .. } => 0,
            Key::Heap(bytes) => block(bytes.len()),
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Key::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Key::Heap(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Key {
    #[inline]
    fn from(key: &[u8]) -> Self {
        if key.len() <= INLINE {
            let mut bytes = [0; INLINE];
            bytes[..key.len()].copy_from_slice(key);
            let len = key.len() as u8;
            Key::Inline { len, bytes }
        } else {
            Key::Heap(key.into())
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_around_the_limit_is_kept_and_only_long_keys_take_heap() {
        assert_eq!(size_of::<Key>(), INLINE + 2);
        for len in 0..70 {
            let source: Vec<u8> = (0..len).collect();
            let key = Key::from(&source[..]);
            assert_eq!((&*key, &*key.clone()), (&source[..], &source[..]));
            assert_eq!(key.heap() > 0, source.len() > INLINE);
        }
    }
}
