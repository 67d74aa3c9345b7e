//! A small sorted set: members and scores alternately in a [`Pack`], in order.
//!
//! A score takes up to eight bytes: a whole number as many as it needs, lowest byte first, any other eight, as the
//! bits of an `f64`.

use std::cmp::Ordering;

use super::compare;
use crate::keyspace::pack::{self, Pack, Place};

/// Up to this many bytes are a whole number.
const WHOLE: usize = 7;

/// Members with their scores, from both ends.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<'p>(pack::Iter<'p>);

impl<'p> Iterator for Pairs<'p> {
    type Item = (&'p [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, read_score(self.0.next()?)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.0.len() / 2;
        (len, Some(len))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let score = self.0.next_back()?;
        Some((self.0.next_back()?, read_score(score)))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

pub(super) fn pairs(pack: &Pack) -> Pairs<'_> {
    Pairs(pack.iter())
}

/// Where a member is, its rank, and its score.
pub(super) fn find(pack: &Pack, member: &[u8]) -> Option<(Place, usize, f64)> {
    let mut pairs = pairs(pack);
    for rank in 0.. {
        let place = pairs.0.place();
        let (found, score) = pairs.next()?;
        if found == member {
            return Some((place, rank, score));
        }
    }
    None
}

/// Inserts a member that is not there.
pub(super) fn insert(pack: &mut Pack, member: &[u8], score: f64) {
    let mut pairs = pairs(pack);
    let mut place = pairs.0.place();
    while let Some((other, other_score)) = pairs.next()
        && compare(other_score, other, score, member) == Ordering::Less
    {
        place = pairs.0.place();
    }
    let mut buffer = [0; 8];
    let score = write_score(score, &mut buffer);
    pack.insert(place, score);
    pack.insert(place, member);
}

pub(super) fn push(pack: &mut Pack, member: &[u8], score: f64) {
    pack.push_back(member);
    pack.push_back(write_score(score, &mut [0; 8]));
}

fn write_score(score: f64, buffer: &mut [u8; 8]) -> &[u8] {
    let whole = score as i64;
    if whole as f64 == score {
        // As many bytes as the number and its sign need; none for zero.
        let bits = 64 - (whole ^ (whole >> 63)).leading_zeros() as usize;
        let bytes = if whole == 0 { 0 } else { bits / 8 + 1 };
        if bytes <= WHOLE {
            *buffer = whole.to_le_bytes();
            return &buffer[..bytes];
        }
    }
    *buffer = score.to_bits().to_le_bytes();
    buffer
}

fn read_score(bytes: &[u8]) -> f64 {
    if let Ok(bits) = bytes.try_into() {
        return f64::from_bits(u64::from_le_bytes(bits));
    }
    let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if is_negative { 0xff } else { 0 }; 8];
    for (to, byte) in whole.iter_mut().zip(bytes) {
        *to = *byte;
    }
    i64::from_le_bytes(whole) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_comes_back_and_takes_few_bytes() {
        for (score, bytes) in [
            (0.0, 0),
            (1.0, 1),
            (-1.0, 1),
            (127.0, 1),
            (128.0, 2),
            (-128.0, 1),
            (-129.0, 2),
            (1e6, 3),
            ((1_i64 << 55) as f64 - 8.0, 7),
            (-((1_i64 << 55) as f64), 7),
            ((1_i64 << 55) as f64, 8),
            (1.5, 8),
            (-0.1, 8),
            (1e300, 8),
            (2_f64.powi(63), 8),
            (f64::INFINITY, 8),
            (f64::NEG_INFINITY, 8),
            (5e-324, 8),
        ] {
            let mut buffer = [0; 8];
            let written = write_score(score, &mut buffer);
            assert_eq!((written.len(), read_score(written)), (bytes, score));
        }
        // As in a server's listpack, a whole number has no other zero.
        assert!(read_score(write_score(-0.0, &mut [0; 8])).is_sign_positive());
    }
}
