//! TTL (time to live): how long an entry stays.
//!
//! A [`Ttl`] is a whole number of milliseconds from 1 to [`Ttl::MAX`]. [`IntoTtl`] converts every other form
//! (`Duration`, `"2h30m"`, seconds) once, with a clear error. "No expiry" is the absence of a TTL, never a zero.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// How long an entry stays: from 1 ms to 1,000 years.
///
/// ```
/// use nearcache::Ttl;
/// use std::time::Duration;
///
/// let ttl: Ttl = "2h30m".parse()?;
/// assert_eq!(ttl.as_duration(), Duration::from_secs(9_000));
/// assert_eq!(ttl.to_string(), "2h30m");
/// assert!("0s".parse::<Ttl>().is_err());
/// # Ok::<(), nearcache::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl {
    millis: u64,
}

/// The units of the text form, with their milliseconds. `m` is minutes.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("ms", 1),
    ("m", 60 * 1000),
    ("s", 1000),
];

const FORM: &str = "write a whole number with a unit, as in \"90s\", \"2h30m\" or \"1w\" \
                    (w d h m s ms), or give a Duration or a number of seconds";

impl Ttl {
    /// The longest TTL, 1,000 years of 365 days: far inside what Redis can add to a clock.
    pub const MAX: Ttl = Ttl {
        millis: 1_000 * 365 * 24 * 60 * 60 * 1000,
    };

    /// The shortest TTL, 1 ms.
    pub const MIN: Ttl = Ttl { millis: 1 };

    /// # Errors
    /// [`ErrorKind::InvalidTtl`] for 0 and for more than [`Ttl::MAX`].
    #[inline]
    pub fn from_millis(millis: u64) -> Result<Ttl> {
        Ttl::checked(Some(u128::from(millis)), || format!("{millis} ms"))
    }

    /// # Errors
    /// [`ErrorKind::InvalidTtl`] for 0 and for more than [`Ttl::MAX`].
    pub fn from_secs(secs: u64) -> Result<Ttl> {
        Ttl::checked(Some(u128::from(secs) * 1000), || format!("{secs} s"))
    }

    /// The TTL in milliseconds.
    pub fn as_millis(self) -> u64 {
        self.millis
    }

    /// The TTL as a [`Duration`].
    pub fn as_duration(self) -> Duration {
        Duration::from_millis(self.millis)
    }

    /// `millis` is `None` if the sum itself overflowed.
    fn checked(millis: Option<u128>, written: impl Fn() -> String) -> Result<Ttl> {
        match millis.and_then(|millis| u64::try_from(millis).ok()) {
            Some(0) => Err(Error::new(
                ErrorKind::InvalidTtl,
                format!(
                    "{} is no time at all; leave the TTL out (or say `.forever()`) for an entry \
                     that does not expire, and use `delete` to remove one",
                    written()
                ),
            )),
            Some(millis) if millis <= Ttl::MAX.millis => Ok(Ttl { millis }),
            _ => Err(Error::new(
                ErrorKind::InvalidTtl,
                format!("{} is longer than the longest TTL, 1000 years", written()),
            )),
        }
    }

    /// Varies the TTL at random within ± `ratio`, so that entries that are written together do not expire together.
    /// Never below 1 ms, never above [`Ttl::MAX`].
    pub(crate) fn jittered(self, ratio: f64) -> Ttl {
        if ratio <= 0.0 {
            return self;
        }
        let spread = self.millis as f64 * ratio;
        let shifted = self.millis as f64 + spread * (fastrand::f64() * 2.0 - 1.0);
        // `as` saturates, and the clamp keeps both ends.
        Ttl {
            millis: (shifted.round() as u64).clamp(Ttl::MIN.millis, Ttl::MAX.millis),
        }
    }
}

impl FromStr for Ttl {
    type Err = Error;

    /// `(number unit)+`, in any order. Repeated units add up. Blanks between the parts are allowed.
    fn from_str(text: &str) -> Result<Ttl> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidTtl, format!("{why}; {FORM}"));
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(invalid("an empty text is no TTL".into()));
        }
        let mut sum: Option<u128> = Some(0);
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                return Err(invalid(format!(
                    "{text:?} has {rest:?} where a number should be"
                )));
            }
            let (number, after) = rest.split_at(digits);
            let after = after.trim_start();
            let Some(&(unit, factor)) = UNITS.iter().find(|(unit, _)| has_unit(after, unit)) else {
                let found = after
                    .chars()
                    .take_while(|c| c.is_alphabetic())
                    .collect::<String>();
                return Err(invalid(if found.is_empty() {
                    format!("{text:?} has no unit after {number}")
                } else {
                    format!("{text:?} has the unknown unit {found:?}")
                }));
            };
            // A number of more than 38 digits may not fit the u128 either; the sum is then `None`.
            sum = number
                .parse::<u128>()
                .ok()
                .and_then(|number| number.checked_mul(u128::from(factor)))
                .and_then(|part| sum?.checked_add(part));
            if sum.is_none() {
                break;
            }
            rest = after[unit.len()..].trim_start();
        }
        Ttl::checked(sum, || format!("{text:?}"))
    }
}

/// A time for a message: what is left of 200 ms after a moment is still called 200 ms.
pub(crate) fn in_millis(time: Duration) -> Duration {
    let millis = time.saturating_add(Duration::from_micros(500)).as_millis();
    match u64::try_from(millis) {
        Ok(millis @ 1..) => Duration::from_millis(millis),
        _ => time,
    }
}

/// Whether `text` begins with `unit` (in upper or lower case) as a whole word.
fn has_unit(text: &str, unit: &str) -> bool {
    text.get(..unit.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(unit))
        && !text[unit.len()..].starts_with(|c: char| c.is_alphabetic())
}

impl fmt::Display for Ttl {
    /// The form that parses back to the same TTL: `2h30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.millis;
        for unit in ["w", "d", "h", "m", "s", "ms"] {
            let factor = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map_or(1, |(_, f)| *f);
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ttl({self})")
    }
}

/// What can be used as a TTL: a [`Ttl`], a [`Duration`], text such as `"2h30m"`, or a whole number of seconds.
pub trait IntoTtl {
    /// # Errors
    /// [`ErrorKind::InvalidTtl`]: zero, negative, longer than [`Ttl::MAX`], or not of the text form.
    fn into_ttl(self) -> Result<Ttl>;
}

impl IntoTtl for Ttl {
    fn into_ttl(self) -> Result<Ttl> {
        Ok(self)
    }
}

impl IntoTtl for Duration {
    /// A part of a millisecond counts as a whole one, so that a short TTL does not become zero.
    fn into_ttl(self) -> Result<Ttl> {
        let millis = self.as_nanos().div_ceil(1_000_000);
        Ttl::checked(Some(millis), || format!("{self:?}"))
    }
}

impl IntoTtl for &str {
    fn into_ttl(self) -> Result<Ttl> {
        self.parse()
    }
}

impl IntoTtl for &String {
    fn into_ttl(self) -> Result<Ttl> {
        self.parse()
    }
}

impl IntoTtl for String {
    fn into_ttl(self) -> Result<Ttl> {
        self.parse()
    }
}

macro_rules! seconds_into_ttl {
    ($($number:ty),*) => {$(
        impl IntoTtl for $number {
            /// Seconds.
            fn into_ttl(self) -> Result<Ttl> {
                match u64::try_from(self) {
                    Ok(secs) => Ttl::from_secs(secs),
                    Err(_) => Err(Error::new(
                        ErrorKind::InvalidTtl,
                        format!("{self} s is negative; use `delete` to remove an entry"),
                    )),
                }
            }
        }
    )*};
}

seconds_into_ttl!(i32, i64, u32, u64, usize);

/// The remaining TTL of an entry: the result of `ttl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remaining {
    /// There is no such entry.
    Missing,
    /// The entry does not expire.
    Forever,
    /// The entry expires after this time.
    In(Duration),
}

impl Remaining {
    /// The time left, if the entry expires.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Remaining::In(left) => Some(left),
            Remaining::Missing | Remaining::Forever => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_whole_milliseconds() {
        let told = |nanos| format!("{:?}", in_millis(Duration::from_nanos(nanos)));
        assert_eq!(told(199_996_915), "200ms");
        assert_eq!(told(1_500_000_000), "1.5s");
        assert_eq!(told(1_000), "1µs");
        assert_eq!(in_millis(Duration::MAX), Duration::MAX);
    }
    use proptest::prelude::*;

    fn millis(ttl: impl IntoTtl) -> Option<u64> {
        ttl.into_ttl().ok().map(Ttl::as_millis)
    }

    #[test]
    fn every_way_to_write_a_ttl_means_the_same() {
        let two_and_a_half_hours = Some(9_000_000);
        assert_eq!(millis("2h30m"), two_and_a_half_hours);
        assert_eq!(millis(" 2 H 30 m "), two_and_a_half_hours);
        assert_eq!(millis("30m1h1h"), two_and_a_half_hours);
        assert_eq!(millis(9_000), two_and_a_half_hours);
        assert_eq!(millis(9_000_u64), two_and_a_half_hours);
        assert_eq!(millis(Duration::from_secs(9_000)), two_and_a_half_hours);
        assert_eq!(millis("1w1d1h1m1s1ms"), Some(694_861_001));
        assert_eq!(millis(Duration::from_nanos(1)), Some(1));
    }

    #[test]
    fn zero_negative_overflow_and_garbage_are_errors() {
        for text in [
            "",
            " ",
            "0",
            "0s",
            "60",
            "1.5h",
            "-1h",
            "1hfoo",
            "h",
            "1h2",
            "NaN",
            "1 y",
            "1µs",
            "1минута",
            "99999999999999999999999999999999999999999w",
            "1001000000h",
        ] {
            let error = text.into_ttl().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidTtl, "{text}");
        }
        assert!(millis(0).is_none() && millis(-1).is_none() && millis(u64::MAX).is_none());
        assert!(millis(Duration::ZERO).is_none() && millis(Duration::MAX).is_none());
        assert!(Ttl::from_millis(0).is_err() && Ttl::from_millis(u64::MAX).is_err());
    }

    #[test]
    fn an_error_says_what_is_wrong_in_the_text() {
        let text = "1hfoo".into_ttl().unwrap_err().to_string();
        assert!(
            text.contains("\"1hfoo\"") && text.contains("hfoo"),
            "{text}"
        );
        let text = "60".into_ttl().unwrap_err().to_string();
        assert!(text.contains("no unit after 60"), "{text}");
    }

    #[test]
    fn jitter_stays_within_its_ratio_and_its_ends() {
        let ttl = Ttl::from_secs(100).unwrap();
        let spread: Vec<u64> = (0..2_000).map(|_| ttl.jittered(0.1).as_millis()).collect();
        assert!(spread.iter().all(|ms| (90_000..=110_000).contains(ms)));
        assert!(spread.iter().any(|ms| *ms < 95_000) && spread.iter().any(|ms| *ms > 105_000));
        assert_eq!(ttl.jittered(0.0), ttl);
        assert!((0..100).all(|_| Ttl::MIN.jittered(1.0) >= Ttl::MIN));
        assert!((0..100).all(|_| Ttl::MAX.jittered(1.0) <= Ttl::MAX));
    }

    proptest! {
        #[test]
        fn a_ttl_reads_back_what_it_prints(millis in 1..=Ttl::MAX.millis) {
            let ttl = Ttl::from_millis(millis).unwrap();
            prop_assert_eq!(ttl.to_string().parse::<Ttl>().unwrap(), ttl);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.as_str().into_ttl();
        }

        #[test]
        fn no_text_of_the_right_letters_panics(text in "[0-9wdhms ]{0,60}") {
            if let Ok(ttl) = text.as_str().into_ttl() {
                prop_assert!(ttl >= Ttl::MIN && ttl <= Ttl::MAX);
            }
        }
    }
}
