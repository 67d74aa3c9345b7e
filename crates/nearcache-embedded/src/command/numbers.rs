//! Numbers with a fraction, as `INCRBYFLOAT` computes them.
//!
//! A server uses the 80-bit floating point numbers of x86 processors, and prints 17 decimals without trailing zeros.
//! `f64` would give other digits even for 0.1 + 0.2, so the same arithmetic is done here with integers: 64 bits of
//! mantissa, and every operation rounded to the nearest, ties to even.

use std::cmp::Ordering;

use crate::reply::Error;

/// The largest exponent of two.
const MAX_EXPONENT: i32 = 16_383;
/// The longest text that a server reads as a number.
const MAX_TEXT: usize = 5 * 1024 - 1;
const DECIMALS: u32 = 17;

/// `mantissa × 2^exponent`. The mantissa's top bit is set, unless the number is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

impl Decimal {
    pub(super) const ZERO: Decimal = Decimal {
        negative: false,
        mantissa: 0,
        exponent: 0,
    };

    const fn infinity(negative: bool) -> Decimal {
        Decimal {
            negative,
            mantissa: 1 << 63,
            exponent: MAX_EXPONENT * 2,
        }
    }

    pub(super) fn is_infinite(self) -> bool {
        self.exponent > MAX_EXPONENT - 63
    }

    /// Reads a number in decimal or scientific notation, or an infinity.
    pub(super) fn parse(text: &[u8]) -> Result<Decimal, Error> {
        Decimal::read(text).ok_or(Error::NOT_A_FLOAT)
    }

    fn read(text: &[u8]) -> Option<Decimal> {
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(Decimal::infinity(negative));
        }
        if text.len() > MAX_TEXT {
            return None;
        }
        let exponent_at = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (number, exponent) = match exponent_at {
            Some(at) => (&unsigned[..at], read_exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let point = number
            .iter()
            .position(|byte| *byte == b'.')
            .unwrap_or(number.len());
        let (whole, fraction) = (
            &number[..point],
            number.get(point + 1..).unwrap_or_default(),
        );
        let digits = whole.iter().chain(fraction);
        if digits.clone().next().is_none() || !digits.clone().all(u8::is_ascii_digit) {
            return None;
        }
        let mut numerator = Natural::default();
        digits.for_each(|digit| numerator.multiply_add(10, u32::from(digit - b'0')));
        if numerator.is_zero() {
            return Some(Decimal {
                negative,
                ..Decimal::ZERO
            });
        }
        let scale = exponent - fraction.len() as i64;
        // Far out of range: not worth computing.
        if scale.abs() > 12_000 {
            return None;
        }
        let mut denominator = Natural::one();
        let scaled = if scale < 0 {
            &mut denominator
        } else {
            &mut numerator
        };
        (0..scale.abs()).for_each(|_| scaled.multiply_add(10, 0));
        let number = Decimal {
            negative,
            ..divide(numerator, denominator)
        };
        // The exponent is too large or too small.
        (!number.is_infinite() && number.exponent >= -16_445).then_some(number)
    }

    pub(super) fn add(self, other: Decimal) -> Decimal {
        if self.is_infinite() || other.mantissa == 0 {
            return self;
        }
        if other.is_infinite() || self.mantissa == 0 {
            return other;
        }
        let (large, small) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        // 63 bits below the larger number are more than rounding needs.
        let a = u128::from(large.mantissa) << 63;
        let b = shift_right_sticky(
            u128::from(small.mantissa) << 63,
            large.exponent.abs_diff(small.exponent),
        );
        let (negative, sum) = if large.negative == small.negative {
            (large.negative, a + b)
        } else if a >= b {
            (large.negative, a - b)
        } else {
            (small.negative, b - a)
        };
        if sum == 0 {
            return Decimal::ZERO;
        }
        let extra = 64 - sum.leading_zeros() as i32;
        let exponent = large.exponent - 63 + extra;
        if extra <= 0 {
            return Decimal {
                negative,
                mantissa: (sum << -extra) as u64,
                exponent,
            };
        }
        let dropped = sum & ((1 << extra) - 1);
        let up = round_up(dropped.cmp(&(1 << (extra - 1))), sum >> extra & 1 == 1);
        match ((sum >> extra) as u64).checked_add(u64::from(up)) {
            Some(mantissa) => Decimal {
                negative,
                mantissa,
                exponent,
            },
            None => Decimal {
                negative,
                mantissa: 1 << 63,
                exponent: exponent + 1,
            },
        }
    }

    /// The product with a small whole number.
    pub(super) fn times(self, factor: u32) -> Decimal {
        let product = u128::from(self.mantissa) * u128::from(factor);
        if product == 0 || self.is_infinite() {
            return self;
        }
        let extra = 64u32.saturating_sub(product.leading_zeros());
        let dropped = product & ((1 << extra) - 1);
        let half = 1u128.checked_shl(extra.wrapping_sub(1)).unwrap_or(1);
        let up = round_up(dropped.cmp(&half), product >> extra & 1 == 1);
        let exponent = self.exponent + extra.cast_signed();
        match ((product >> extra) as u64).checked_add(u64::from(up && extra > 0)) {
            Some(mantissa) => Decimal {
                mantissa,
                exponent,
                ..self
            },
            None => Decimal {
                mantissa: 1 << 63,
                exponent: exponent + 1,
                ..self
            },
        }
    }

    /// The least whole number that is not below it, if that has 64 bits.
    pub(super) fn ceil(self) -> Option<i64> {
        if self.mantissa == 0 {
            return Some(0);
        }
        let magnitude = if self.exponent >= 0 {
            if self.exponent > 0 {
                return None;
            }
            self.mantissa
        } else {
            let shift = self.exponent.unsigned_abs();
            let whole = self.mantissa.checked_shr(shift).unwrap_or(0);
            let exact = whole.checked_shl(shift).unwrap_or(0) == self.mantissa;
            whole + u64::from(!self.negative && !exact)
        };
        let magnitude = i64::try_from(magnitude).ok()?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// The number with up to 17 decimals and no trailing zeros. `None` for an infinity.
    pub(super) fn to_text(self) -> Option<String> {
        if self.is_infinite() {
            return None;
        }
        if self.mantissa == 0 {
            return Some("0".to_owned());
        }
        let sign = if self.negative { "-" } else { "" };
        if self.exponent >= 0 {
            let mut number = Natural::from(self.mantissa);
            (0..self.exponent).for_each(|_| number.multiply_add(2, 0));
            return Some(format!("{sign}{}", number.to_text()));
        }
        let one = 10u128.pow(DECIMALS);
        let scaled = u128::from(self.mantissa) * one;
        let shift = self.exponent.unsigned_abs();
        let rounded = match shift {
            0..128 => {
                let (kept, dropped) = (scaled >> shift, scaled & ((1 << shift) - 1));
                kept + u128::from(round_up(dropped.cmp(&(1 << (shift - 1))), kept & 1 == 1))
            }
            _ => 0,
        };
        if rounded == 0 {
            return Some("0".to_owned());
        }
        let text = format!("{sign}{}.{:017}", rounded / one, rounded % one);
        Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    }
}

fn read_exponent(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Saturates: beyond that, the exact exponent makes no difference.
    let magnitude = digits
        .parse::<i64>()
        .unwrap_or(i64::MAX / 2)
        .min(i64::MAX / 2);
    Some(if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

fn round_up(dropped_to_half: Ordering, kept_is_odd: bool) -> bool {
    match dropped_to_half {
        Ordering::Less => false,
        Ordering::Equal => kept_is_odd,
        Ordering::Greater => true,
    }
}

/// Shifts right, and sets the last bit if any bits were lost.
fn shift_right_sticky(value: u128, by: u32) -> u128 {
    let shifted = value.checked_shr(by).unwrap_or(0);
    let lost = shifted.checked_shl(by).unwrap_or(0) != value;
    shifted | u128::from(lost)
}

/// The quotient, rounded to 64 bits.
fn divide(mut numerator: Natural, mut denominator: Natural) -> Decimal {
    let mut exponent = numerator.bits() as i32 - denominator.bits() as i32;
    numerator.shift_left((-exponent).max(0) as usize);
    denominator.shift_left(exponent.max(0) as usize);
    if numerator.compare(&denominator) == Ordering::Less {
        numerator.shift_left(1);
        exponent -= 1;
    }
    // Now the quotient is between 1 and 2, so each step gives its next bit.
    let mut mantissa = 0u64;
    for _ in 0..64 {
        mantissa <<= 1;
        if numerator.compare(&denominator) != Ordering::Less {
            numerator.subtract(&denominator);
            mantissa |= 1;
        }
        numerator.shift_left(1);
    }
    exponent -= 63;
    if round_up(numerator.compare(&denominator), mantissa & 1 == 1) {
        match mantissa.checked_add(1) {
            Some(up) => mantissa = up,
            None => (mantissa, exponent) = (1 << 63, exponent + 1),
        }
    }
    Decimal {
        negative: false,
        mantissa,
        exponent,
    }
}

/// A natural number of any size: 32-bit digits, the lowest first, without leading zeros.
#[derive(Clone, Default, Debug)]
struct Natural(Vec<u32>);

impl Natural {
    fn one() -> Self {
        Natural(vec![1])
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        self.0
            .last()
            .map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for digit in &mut self.0 {
            carry += u64::from(*digit) * u64::from(factor);
            *digit = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, by: usize) {
        if by == 0 || self.is_zero() {
            return;
        }
        self.multiply_add(1 << (by % 32), 0);
        self.0.splice(0..0, std::iter::repeat_n(0, by / 32));
    }

    fn compare(&self, other: &Natural) -> Ordering {
        self.0
            .len()
            .cmp(&other.0.len())
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Subtracts a number that is not larger.
    fn subtract(&mut self, other: &Natural) {
        let mut borrow = false;
        for (at, digit) in self.0.iter_mut().enumerate() {
            let (difference, under) = digit.overflowing_sub(other.0.get(at).copied().unwrap_or(0));
            let (difference, under_again) = difference.overflowing_sub(u32::from(borrow));
            *digit = difference;
            borrow = under || under_again;
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// Divides by a small number and returns the remainder.
    fn divide_small(&mut self, by: u32) -> u32 {
        let mut remainder = 0u64;
        for digit in self.0.iter_mut().rev() {
            let dividend = remainder << 32 | u64::from(*digit);
            *digit = (dividend / u64::from(by)) as u32;
            remainder = dividend % u64::from(by);
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        remainder as u32
    }

    fn to_text(&self) -> String {
        let (mut rest, mut groups) = (self.clone(), Vec::new());
        while !rest.is_zero() {
            groups.push(rest.divide_small(1_000_000_000));
        }
        let Some(top) = groups.pop() else {
            return "0".to_owned();
        };
        let lower: String = groups
            .iter()
            .rev()
            .map(|group| format!("{group:09}"))
            .collect();
        format!("{top}{lower}")
    }
}

impl From<u64> for Natural {
    fn from(number: u64) -> Self {
        let mut digits = vec![number as u32, (number >> 32) as u32];
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Natural(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let number = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
        number(a).add(number(b)).to_text().unwrap()
    }

    #[test]
    fn plain_decimals_add_up_as_on_paper() {
        assert_eq!(sum("10.50", "0.1"), "10.6");
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("5.0e3", "2.0e2"), "5200");
        assert_eq!(sum("3", "-3.5"), "-0.5");
        assert_eq!(sum("1", "-1"), "0");
        assert_eq!(sum(".5", "1."), "1.5");
        assert_eq!(sum("-0", "-1e-40"), "0");
        assert_eq!(sum("-0", "0"), "0");
    }

    #[test]
    fn rounding_is_that_of_64_bits_of_mantissa() {
        // The sum that a server shows for these: neither the exact one nor that of an f64.
        assert_eq!(sum("0", "3.14159265358979323846"), "3.14159265358979324");
        assert_eq!(
            sum("123456789012345678", "0.1"),
            "123456789012345678.1015625"
        );
        assert_eq!(sum("0", "18446744073709551617"), "18446744073709551616");
    }

    #[test]
    fn products_are_rounded_up_to_whole_numbers() {
        let ceil = |text: &str| Decimal::parse(text.as_bytes()).unwrap().times(1000).ceil();
        for (text, millis) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("0.0001", Some(1)),
            ("1.0005", Some(1001)),
            ("-1.0005", Some(-1000)),
            ("-0.0005", Some(0)),
            ("-0.001", Some(0)),
            ("9223372036854775", Some(9_223_372_036_854_775_000)),
            ("9223372036854776", None),
            ("inf", None),
        ] {
            assert_eq!(ceil(text), millis, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in [
            "", ".", "-", "e5", "1e", "1e+", " 1", "1 ", "1.2.3", "nan", "0x10", "1e5000",
            "1e-6000", "abc",
        ] {
            assert_eq!(
                Decimal::parse(bad.as_bytes()),
                Err(Error::NOT_A_FLOAT),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_infinity_is_read_but_not_printed() {
        for text in ["inf", "-Infinity", "+INF"] {
            assert_eq!(Decimal::parse(text.as_bytes()).unwrap().to_text(), None);
        }
        assert_eq!(
            Decimal::parse(b"1e4932")
                .unwrap()
                .add(Decimal::parse(b"1e4932").unwrap())
                .to_text(),
            None
        );
    }
}
