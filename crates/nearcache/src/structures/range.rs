//! Ranges of Rust, as the positions and scores of Redis.

use std::ops::{Bound, RangeBounds};

use super::member::{AsMember, encoded};
use crate::error::{Error, ErrorKind, Result};

/// The first and the last position, both included, as `LRANGE` and `ZRANGE` take them. A negative position counts from the end: -1 is the last one.
pub(crate) fn positions(range: impl RangeBounds<i64>) -> (i64, i64) {
    /// What holds nothing, whatever there is.
    const NOTHING: (i64, i64) = (1, 0);
    let first = match range.start_bound() {
        Bound::Unbounded => 0,
        Bound::Included(at) => *at,
        Bound::Excluded(&i64::MAX) => return NOTHING,
        Bound::Excluded(at) => at + 1,
    };
    let last = match range.end_bound() {
        Bound::Unbounded => -1,
        Bound::Included(at) => *at,
        // Before the first one there is nothing; -1 would be the last.
        Bound::Excluded(&(0 | i64::MIN)) => return NOTHING,
        Bound::Excluded(at) => at - 1,
    };
    (first, last)
}

/// A score as Redis reads it.
///
/// # Errors
/// `Codec` for what is no number.
pub(crate) fn score(score: f64) -> Result<String> {
    if score.is_nan() {
        return Err(Error::new(ErrorKind::Codec, "NaN is no score"));
    }
    Ok(number(score))
}

fn number(number: f64) -> String {
    if number.is_infinite() {
        let name = if number > 0.0 { "+inf" } else { "-inf" };
        return name.to_owned();
    }
    // Short, and exact.
    match number.abs() {
        0.0 | 1e-5..1e17 => format!("{number}"),
        _ => format!("{number:e}"),
    }
}

/// The bounds of a range of scores.
///
/// # Errors
/// `Codec` for a bound that is no number.
pub(crate) fn scores(range: impl RangeBounds<f64>) -> Result<(String, String)> {
    let bound = |bound: Bound<&f64>, open: &str| match bound {
        Bound::Unbounded => Ok(open.to_owned()),
        Bound::Included(bound) => score(*bound),
        Bound::Excluded(bound) => Ok(format!("({}", score(*bound)?)),
    };
    Ok((
        bound(range.start_bound(), "-inf")?,
        bound(range.end_bound(), "+inf")?,
    ))
}

/// The bounds of a range of members by their bytes.
///
/// # Errors
/// `Codec`: a bound has no form in JSON.
pub(crate) fn members<Q: AsMember>(range: impl RangeBounds<Q>) -> Result<(Vec<u8>, Vec<u8>)> {
    let bound = |bound: Bound<&Q>, open: &[u8]| match bound {
        Bound::Unbounded => Ok(open.to_vec()),
        Bound::Included(bound) => Ok([b"[", &*encoded(bound)?].concat()),
        Bound::Excluded(bound) => Ok([b"(", &*encoded(bound)?].concat()),
    };
    Ok((
        bound(range.start_bound(), b"-")?,
        bound(range.end_bound(), b"+")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_positions() {
        assert_eq!(positions(..), (0, -1));
        assert_eq!(positions(..10), (0, 9));
        assert_eq!(positions(2..=3), (2, 3));
        assert_eq!(positions(-10..), (-10, -1));
        assert_eq!(positions(..-1), (0, -2));
        assert_eq!(positions(..=-1), (0, -1));
        assert_eq!(positions(..0), (1, 0));
        assert_eq!(positions(-3..0), (1, 0));
        assert_eq!(positions(..i64::MIN), (1, 0));
        let after = (Bound::Excluded(i64::MAX), Bound::Unbounded);
        assert_eq!(positions(after), (1, 0));
    }

    #[test]
    fn bounds_are_included_or_not() {
        let of = |text: (&str, &str)| (text.0.to_owned(), text.1.to_owned());
        assert_eq!(scores(..).unwrap(), of(("-inf", "+inf")));
        assert_eq!(scores(1.0..2.5).unwrap(), of(("1", "(2.5")));
        assert_eq!(scores(..=f64::INFINITY).unwrap(), of(("-inf", "+inf")));
        assert!(scores(f64::NAN..).is_err());
        assert_eq!(
            members("a"..="b").unwrap(),
            (b"[a".to_vec(), b"[b".to_vec())
        );
        assert_eq!(members(..5).unwrap(), (b"-".to_vec(), b"(5".to_vec()));
    }

    proptest! {
        #[test]
        fn a_score_is_exact(number in any::<f64>()) {
            let text = score(number);
            if number.is_nan() {
                prop_assert!(text.is_err());
            } else {
                prop_assert_eq!(text.unwrap().parse::<f64>().unwrap().to_bits(), number.to_bits());
            }
        }
    }
}
