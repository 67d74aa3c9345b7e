//! Integers of any size, as Python has them.
//!
//! 1. What fits an `i64` is one, and nothing else is kept as bytes: so equal integers are equal values.
//! 2. The bytes are the shortest two's complement, the least significant first, as in a pickle.
//! 3. Decimal text has at most [`MAX_DIGITS`] digits, as in Python: converting more would take too long.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// The most decimal digits that Python converts (`sys.int_info.default_max_str_digits`).
pub(super) const MAX_DIGITS: usize = 4_300;

/// The most bytes that are shown in decimal: 4,300 digits have no more.
const MAX_SHOWN: usize = 1_786;

/// An integer of any size: what Python calls an `int`.
///
/// ```
/// use nearcache::simple::Integer;
///
/// let big: Integer = "1180591620717411303424".parse()?; // 2 to the power of 70
/// assert_eq!(big.as_i64(), None);
/// assert_eq!(big.to_string(), "1180591620717411303424");
/// assert_eq!(Integer::from(42).as_i64(), Some(42));
/// assert!(Integer::from(42) < big);
/// # Ok::<(), nearcache::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Integer(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Small(i64),
    /// What does not fit, in two's complement.
    Big(Vec<u8>),
}

impl Integer {
    /// The integer as an `i64`, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            Repr::Small(number) => Some(number),
            Repr::Big(_) => None,
        }
    }

    /// The integer as a float, as near as a float comes; infinite beyond the range of one.
    #[allow(clippy::cast_precision_loss, reason = "as near as a float comes")]
    pub fn as_f64(&self) -> f64 {
        match &self.0 {
            Repr::Small(number) => *number as f64,
            Repr::Big(_) => {
                let (negative, magnitude) = self.magnitude();
                let sum = magnitude
                    .iter()
                    .rev()
                    .fold(0.0, |sum, limb| sum * 4_294_967_296.0 + f64::from(*limb));
                if negative { -sum } else { sum }
            }
        }
    }

    /// The shortest two's complement of the integer, the least significant byte first; for 0 it has one byte. This is
    /// what Python's `int.from_bytes(.., "little", signed=True)` reads, and the types of big integers of other crates.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Repr::Small(number) => shortest(&number.to_le_bytes()).to_vec(),
            Repr::Big(bytes) => bytes.clone(),
        }
    }

    /// The integer of a two's complement, the least significant byte first. No bytes are 0.
    pub fn from_le_bytes(bytes: &[u8]) -> Integer {
        let bytes = shortest(bytes);
        let mut small = [0; 8];
        let Some(head) = small.get_mut(..bytes.len()) else {
            return Integer(Repr::Big(bytes.to_vec()));
        };
        head.copy_from_slice(bytes);
        if is_negative(bytes) {
            small[bytes.len()..].fill(0xff);
        }
        Integer(Repr::Small(i64::from_le_bytes(small)))
    }

    /// How many bytes it takes.
    #[cfg(feature = "pickle")]
    pub(super) fn size(&self) -> usize {
        match &self.0 {
            Repr::Small(_) => 8,
            Repr::Big(bytes) => bytes.len(),
        }
    }

    fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Small(number) => *number < 0,
            Repr::Big(bytes) => is_negative(bytes),
        }
    }

    /// Whether it is negative, and its absolute value in limbs of 32 bits, the least significant first.
    fn magnitude(&self) -> (bool, Vec<u32>) {
        let bytes = self.to_le_bytes();
        let negative = is_negative(&bytes);
        let mut carry = u64::from(negative);
        let limbs = bytes.chunks(4).map(|chunk| {
            let mut limb = [if negative { 0xff } else { 0 }; 4];
            limb[..chunk.len()].copy_from_slice(chunk);
            let limb = u32::from_le_bytes(limb);
            if !negative {
                return limb;
            }
            let sum = u64::from(!limb) + carry;
            carry = sum >> 32;
            sum as u32
        });
        let mut limbs: Vec<u32> = limbs.collect();
        if negative && carry > 0 {
            limbs.push(1);
        }
        (negative, limbs)
    }

    /// The integer of digits, which are nothing else.
    pub(super) fn from_digits(negative: bool, digits: &[u8]) -> Option<Integer> {
        if digits.is_empty() || digits.len() > MAX_DIGITS {
            return None;
        }
        let mut limbs: Vec<u32> = Vec::with_capacity(digits.len() / 9 + 1);
        for chunk in digits.chunks(9) {
            let mut carry = 0;
            let mut factor = 1;
            for digit in chunk {
                carry =
                    carry * 10 + u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
                factor *= 10;
            }
            for limb in &mut limbs {
                let sum = u64::from(*limb) * factor + carry;
                *limb = sum as u32;
                carry = sum >> 32;
            }
            if carry > 0 {
                limbs.push(carry as u32);
            }
        }
        let mut bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        bytes.push(0);
        if negative {
            let mut carry = true;
            for byte in &mut bytes {
                (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
            }
        }
        Some(Integer::from_le_bytes(&bytes))
    }

    /// The decimal digits with the sign; `None` if there would be more than [`MAX_DIGITS`].
    pub(super) fn to_decimal(&self) -> Option<String> {
        let bytes = match &self.0 {
            Repr::Small(number) => return Some(number.to_string()),
            Repr::Big(bytes) => bytes,
        };
        if bytes.len() > MAX_SHOWN {
            return None;
        }
        let (negative, mut limbs) = self.magnitude();
        let mut groups = Vec::new();
        while !limbs.is_empty() {
            let mut rest = 0;
            for limb in limbs.iter_mut().rev() {
                let part = rest << 32 | u64::from(*limb);
                *limb = (part / 1_000_000_000) as u32;
                rest = part % 1_000_000_000;
            }
            groups.push(rest);
            while limbs.last() == Some(&0) {
                limbs.pop();
            }
        }
        let mut text = groups.pop().unwrap_or_default().to_string();
        for group in groups.iter().rev() {
            text.push_str(&format!("{group:09}"));
        }
        (text.len() <= MAX_DIGITS).then(|| if negative { format!("-{text}") } else { text })
    }
}

fn is_negative(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|byte| byte & 0x80 != 0)
}

/// Without the bytes that only repeat the sign.
fn shortest(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., next, last] = bytes
        && *last == (if next & 0x80 == 0 { 0 } else { 0xff })
    {
        bytes = &bytes[..rest.len() + 1];
    }
    if bytes.is_empty() { &[0] } else { bytes }
}

impl From<i64> for Integer {
    fn from(number: i64) -> Self {
        Integer(Repr::Small(number))
    }
}

impl From<i128> for Integer {
    fn from(number: i128) -> Self {
        Integer::from_le_bytes(&number.to_le_bytes())
    }
}

macro_rules! from {
    ($wide:ident: $($number:ty),*) => {$(
        impl From<$number> for Integer {
            fn from(number: $number) -> Self {
                Integer::from($wide::from(number))
            }
        }
    )*};
}

from!(i64: i8, i16, i32, u8, u16, u32);
from!(i128: u64);

impl FromStr for Integer {
    type Err = Error;

    /// Decimal digits, with a sign if you like: at most 4,300 of them.
    fn from_str(text: &str) -> Result<Integer, Error> {
        let negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        Integer::from_digits(negative, digits.as_bytes()).ok_or_else(|| {
            let why = format!("it is not a whole number of 1 to {MAX_DIGITS} decimal digits");
            Error::new(ErrorKind::Codec, why)
        })
    }
}

impl Ord for Integer {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Repr::Small(one), Repr::Small(other)) = (&self.0, &other.0) {
            return one.cmp(other);
        }
        let (negative, theirs) = (self.is_negative(), other.is_negative());
        if negative != theirs {
            return theirs.cmp(&negative);
        }
        // Of one sign, and in their shortest forms: the longer one is further from zero, and two of one length are
        // ordered as their bytes are.
        let (one, other) = (self.to_le_bytes(), other.to_le_bytes());
        let longer = one.len().cmp(&other.len());
        let longer = if negative { longer.reverse() } else { longer };
        longer.then_with(|| one.iter().rev().cmp(other.iter().rev()))
    }
}

impl PartialOrd for Integer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// In decimal; in hexadecimal (`0x…`) if it has more than 4,300 digits.
impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.to_decimal() {
            return f.write_str(&text);
        }
        let (negative, limbs) = self.magnitude();
        f.write_str(if negative { "-0x" } else { "0x" })?;
        let mut limbs = limbs.iter().rev().skip_while(|limb| **limb == 0);
        if let Some(first) = limbs.next() {
            write!(f, "{first:x}")?;
        }
        limbs.try_for_each(|limb| write!(f, "{limb:08x}"))
    }
}

impl fmt::Debug for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_each_size_are_right() {
        for bits in 0..127 {
            for near in [-1, 0, 1] {
                for sign in [-1, 1] {
                    let number = sign * ((1_i128 << bits) + near);
                    let integer = Integer::from(number);
                    assert_eq!(integer.to_string(), number.to_string());
                    assert_eq!(number.to_string().parse::<Integer>().unwrap(), integer);
                    assert_eq!(integer.as_i64(), i64::try_from(number).ok());
                }
            }
        }
    }

    #[test]
    fn more_digits_than_python_converts_are_refused_and_shown_in_hexadecimal() {
        let most = "9".repeat(MAX_DIGITS);
        assert_eq!(most.parse::<Integer>().unwrap().to_string(), most);
        let least = format!("-{most}");
        assert_eq!(least.parse::<Integer>().unwrap().to_string(), least);
        assert!(format!("9{most}").parse::<Integer>().is_err());
        let mut bytes = vec![0; 2_000];
        bytes.push(1);
        let shown = Integer::from_le_bytes(&bytes).to_string();
        assert_eq!(shown, format!("0x1{}", "0".repeat(4_000)));
        for text in ["", "-", "+", "1.5", "0x1", " 1", "1_0", "½"] {
            assert!(text.parse::<Integer>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_say_the_same(number: i128, other: i128) {
            let (one, two) = (Integer::from(number), Integer::from(other));
            prop_assert_eq!(one.to_string(), number.to_string());
            prop_assert_eq!(&one.to_string().parse::<Integer>().unwrap(), &one);
            prop_assert_eq!(&Integer::from_le_bytes(&one.to_le_bytes()), &one);
            prop_assert_eq!(one.cmp(&two), number.cmp(&other));
            let near = one.as_f64();
            prop_assert!((near - number as f64).abs() <= (number as f64).abs() * 1e-15);
        }

        #[test]
        fn any_bytes_are_an_integer(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let integer = Integer::from_le_bytes(&bytes);
            prop_assert_eq!(&integer.to_string().parse::<Integer>().unwrap(), &integer);
            let back = integer.to_le_bytes();
            prop_assert!(back.len() <= bytes.len().max(1));
        }
    }
}
