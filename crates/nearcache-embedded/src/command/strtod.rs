//! Reads numbers with a fraction as C's `strtod` does.

/// A number at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    /// How much of the text it takes; 0 if there is no number.
    pub(super) len: usize,
    /// Whether it is too large, or so small that it counts as zero.
    pub(super) out_of_range: bool,
}

/// Reads white space, a sign, and a number: decimal, hexadecimal, an infinity, or none.
pub(super) fn strtod(text: &[u8]) -> Number {
    let is_space = |byte: &&u8| byte.is_ascii_whitespace() || **byte == 0x0b;
    let spaces = text.iter().take_while(is_space).count();
    let unsigned = &text[spaces..];
    let (negative, sign) = match unsigned.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let magnitude = magnitude(&unsigned[sign..]);
    Number {
        value: if negative {
            -magnitude.value
        } else {
            magnitude.value
        },
        len: if magnitude.len == 0 {
            0
        } else {
            spaces + sign + magnitude.len
        },
        ..magnitude
    }
}

fn magnitude(text: &[u8]) -> Number {
    let begins = |word: &[u8]| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let named = |value, len| Number {
        value,
        len,
        out_of_range: false,
    };
    if begins(b"infinity") {
        named(f64::INFINITY, 8)
    } else if begins(b"inf") {
        named(f64::INFINITY, 3)
    } else if begins(b"nan") {
        named(f64::NAN, 3)
    } else if begins(b"0x") && digits(&text[2..], 16).count > 0 {
        hexadecimal(text)
    } else {
        decimal(text)
    }
}

/// Digits with at most one point among them.
struct Digits {
    /// How many digits there are.
    count: usize,
    /// How many of them come after the point.
    behind_point: usize,
    /// How many bytes they take, with the point.
    len: usize,
}

fn digits(text: &[u8], radix: u32) -> Digits {
    let count = |text: &[u8]| {
        text.iter()
            .take_while(|byte| char::from(**byte).is_digit(radix))
            .count()
    };
    let before = count(text);
    let behind = match text.get(before) {
        Some(b'.') => count(&text[before + 1..]),
        _ => 0,
    };
    let has_point = before + behind > 0 && text.get(before) == Some(&b'.');
    Digits {
        count: before + behind,
        behind_point: behind,
        len: before + behind + usize::from(has_point),
    }
}

/// The exponent at the beginning of a text, after that letter, and how many bytes it takes.
fn exponent(text: &[u8], letter: u8) -> (i64, usize) {
    if !text
        .first()
        .is_some_and(|byte| byte.eq_ignore_ascii_case(&letter))
    {
        return (0, 0);
    }
    let (negative, sign) = match text.get(1) {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let digits = text[1 + sign..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let (mut value, mut count) = (0_i64, 0);
    for digit in digits {
        value = (value * 10 + i64::from(digit - b'0')).min(1 << 40);
        count += 1;
    }
    if count == 0 {
        return (0, 0);
    }
    (if negative { -value } else { value }, 1 + sign + count)
}

fn decimal(text: &[u8]) -> Number {
    let mantissa = digits(text, 10);
    if mantissa.count == 0 {
        return Number {
            value: 0.0,
            len: 0,
            out_of_range: false,
        };
    }
    let (_, len) = exponent(&text[mantissa.len..], b'e');
    let len = mantissa.len + len;
    let number = std::str::from_utf8(&text[..len]).unwrap_or_default();
    let value = number.parse().unwrap_or(0.0);
    Number {
        value,
        len,
        out_of_range: is_out_of_range(value, &text[..mantissa.len]),
    }
}

fn is_out_of_range(value: f64, mantissa: &[u8]) -> bool {
    let is_zero = mantissa.iter().all(|byte| matches!(byte, b'0' | b'.'));
    value.is_infinite() || value == 0.0 && !is_zero
}

fn hexadecimal(text: &[u8]) -> Number {
    let text = &text[2..];
    let mantissa = digits(text, 16);
    let (exponent, len) = exponent(&text[mantissa.len..], b'p');
    let (mut bits, mut dropped) = (0_u64, 0_i64);
    for digit in text[..mantissa.len]
        .iter()
        .filter_map(|byte| char::from(*byte).to_digit(16))
    {
        if bits >> 60 == 0 {
            bits = bits << 4 | u64::from(digit);
        } else {
            // What does not fit only decides how the last bit is rounded.
            bits |= u64::from(digit != 0);
            dropped += 4;
        }
    }
    let behind_point = i64::try_from(mantissa.behind_point).unwrap_or(i64::MAX >> 8);
    let mut scale = (exponent + dropped - 4 * behind_point).clamp(-4000, 4000);
    let mut value = bits as f64;
    while scale != 0 {
        let step = scale.clamp(-1000, 1000);
        value *= 2_f64.powi(step as i32);
        scale -= step;
    }
    Number {
        value,
        len: 2 + mantissa.len + len,
        out_of_range: is_out_of_range(value, &text[..mantissa.len]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, value, len) in [
            ("0", 0.0, 1),
            ("-1.5e3x", -1500.0, 6),
            ("+.5", 0.5, 3),
            ("5.", 5.0, 2),
            ("1e", 1.0, 1),
            ("1e+", 1.0, 1),
            (" \t\x0b7", 7.0, 4),
            ("", 0.0, 0),
            ("(5", 0.0, 0),
            (".", 0.0, 0),
            ("-", 0.0, 0),
            ("e5", 0.0, 0),
            ("-inf", f64::NEG_INFINITY, 4),
            ("Infinity", f64::INFINITY, 8),
            ("infinit", f64::INFINITY, 3),
            ("0x10", 16.0, 4),
            ("0x1.8p1", 3.0, 7),
            ("-0X.8", -0.5, 5),
            ("0x", 0.0, 1),
            ("0xp1", 0.0, 1),
            (
                "0x1fffffffffffffffffff",
                151_115_727_451_828_646_838_272.0,
                22,
            ),
            ("1.7976931348623157e308", f64::MAX, 22),
        ] {
            let number = strtod(text.as_bytes());
            assert_eq!((number.value, number.len), (value, len), "{text:?}");
            assert!(!number.out_of_range, "{text:?}");
        }
        assert!(strtod(b"nan").value.is_nan());
        for text in ["1e400", "-1e400", "1e-400", "0x1p5000", "0x1p-5000"] {
            assert!(strtod(text.as_bytes()).out_of_range, "{text}");
        }
        assert!(!strtod(b"0e-400").out_of_range);
    }
}
