//! Parses arguments as strictly as a server does.

use super::strtod::strtod;
use crate::reply::Error;

/// A 64-bit integer in the one form that a server accepts: no plus sign, no leading zeros, no spaces.
#[inline]
pub(crate) fn integer(bytes: &[u8]) -> Result<i64, Error> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let canonical = match digits {
        [b'0'] => !negative,
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if !canonical || digits.len() > 19 {
        return Err(Error::NOT_AN_INTEGER);
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return Err(Error::NOT_AN_INTEGER);
        }
        // Counts downwards, because there is one more negative number than positive ones.
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_sub(digit))
            .ok_or(Error::NOT_AN_INTEGER)?;
    }
    if negative {
        Ok(value)
    } else {
        value.checked_neg().ok_or(Error::NOT_AN_INTEGER)
    }
}

/// A number as `strtod` reads it, if it takes the whole argument and is neither out of range nor not a number.
pub(super) fn float(bytes: &[u8]) -> Result<f64, Error> {
    let number = strtod(bytes);
    let begins_well = bytes
        .first()
        .is_some_and(|byte| !byte.is_ascii_whitespace() && *byte != 0x0b);
    let is_number = begins_well && number.len == bytes.len() && !number.value.is_nan();
    if !is_number || number.out_of_range {
        return Err(Error::NOT_A_FLOAT);
    }
    Ok(number.value)
}

/// A count that is not below a limit; else, or if it is no integer, this error.
pub(super) fn at_least(least: usize, arg: &[u8], error: Error) -> Result<usize, Error> {
    let number = integer(arg).ok();
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number >= least).ok_or(error)
}

/// Whether an argument is this word, in any case.
#[inline]
pub(super) fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_in_canonical_form_only() {
        for good in [0, 1, -1, 10, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(integer(good.to_string().as_bytes()), Ok(good));
        }
        for bad in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1.0",
            "a",
            "9223372036854775808",
            "-9223372036854775809",
            "1:",
        ] {
            assert_eq!(integer(bad.as_bytes()), Err(Error::NOT_AN_INTEGER), "{bad}");
        }
    }
}
