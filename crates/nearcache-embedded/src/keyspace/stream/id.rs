//! The id of a stream's entry: a time in milliseconds, and a number for entries of the same millisecond.

use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) ms: u64,
    pub(crate) seq: u64,
}

impl Id {
    pub(crate) const MIN: Id = Id { ms: 0, seq: 0 };
    pub(crate) const MAX: Id = Id {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// The id after this one.
    pub(crate) fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id {
                ms: self.ms.checked_add(1)?,
                seq: 0,
            }),
        }
    }

    /// The id before this one.
    pub(crate) fn previous(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id {
                ms: self.ms.checked_sub(1)?,
                seq: u64::MAX,
            }),
        }
    }

    /// The text that replies and the log have.
    pub(crate) fn text(self) -> Vec<u8> {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (ms, seq) = (ms.format(self.ms), seq.format(self.seq));
        let mut text = Vec::with_capacity(ms.len() + 1 + seq.len());
        text.extend_from_slice(ms.as_bytes());
        text.push(b'-');
        text.extend_from_slice(seq.as_bytes());
        text
    }

    /// The bytes by which a server sorts ids.
    pub(super) fn digits(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_over_the_end_of_a_millisecond() {
        let last = Id {
            ms: 7,
            seq: u64::MAX,
        };
        assert_eq!(last.next(), Some(Id { ms: 8, seq: 0 }));
        assert_eq!(Id { ms: 8, seq: 0 }.previous(), Some(last));
        assert_eq!((Id::MAX.next(), Id::MIN.previous()), (None, None));
        assert_eq!(Id { ms: 3, seq: 4 }.text(), b"3-4");
        assert_eq!(Id { ms: 3, seq: 4 }.to_string(), "3-4");
    }
}
