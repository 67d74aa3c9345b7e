//! Times that are literals in the attribute. They are parsed here, so that an invalid one is a compiler error.
//!
//! The grammar is that of nearcache's `Ttl`. The tests of both have the same cases.

use syn::{Error, Expr, ExprLit, ExprUnary, Lit, Result, UnOp};

/// 1,000 years of 365 days, nearcache's maximum.
const LONGEST: u128 = 1_000 * 365 * 24 * 60 * 60 * 1_000;

/// `m` is minutes; `ms` must be tried before it.
const UNITS: [(&str, u128); 6] = [
    ("w", 7 * 24 * 60 * 60 * 1_000),
    ("d", 24 * 60 * 60 * 1_000),
    ("h", 60 * 60 * 1_000),
    ("ms", 1),
    ("m", 60 * 1_000),
    ("s", 1_000),
];

const FORM: &str =
    "write a whole number with a unit, as in \"90s\", \"2h30m\" or \"1w\" (w d h m s ms)";

/// The milliseconds of a time that is a literal; `None` for an expression.
pub(crate) fn literal(expr: &Expr) -> Result<Option<u64>> {
    match expr {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Str(text) => parse(&text.value())
                .map(Some)
                .map_err(|why| Error::new(text.span(), why)),
            Lit::Int(seconds) => {
                let millis = seconds.base10_parse::<u128>()?.saturating_mul(1_000);
                checked(millis, &format!("{seconds} s"))
                    .map(Some)
                    .map_err(|why| Error::new(seconds.span(), why))
            }
            other => Err(Error::new(
                other.span(),
                format!("this is not a time; {FORM}, or give a number of seconds"),
            )),
        },
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(minus),
            expr,
            ..
        }) if matches!(**expr, Expr::Lit(_)) => {
            Err(Error::new(minus.span, "a time must be greater than zero"))
        }
        _ => Ok(None),
    }
}

fn parse(text: &str) -> std::result::Result<u64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("an empty text is not a time; {FORM}"));
    }
    let mut sum: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return Err(format!(
                "{text:?} has {rest:?} where a number should be; {FORM}"
            ));
        }
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let word: String = after.chars().take_while(|c| c.is_alphabetic()).collect();
        if word.is_empty() {
            return Err(format!("{text:?} has no unit after {number}; {FORM}"));
        }
        let known = |(unit, _): &&(&str, u128)| word.eq_ignore_ascii_case(unit);
        let Some((_, factor)) = UNITS.iter().find(known) else {
            return Err(format!("{text:?} has the unknown unit {word:?}; {FORM}"));
        };
        // A number of more than 38 digits does not fit, but is too long a time in any unit.
        let number = number.parse::<u128>().unwrap_or(u128::MAX);
        sum = sum.saturating_add(number.saturating_mul(*factor));
        rest = after[word.len()..].trim_start();
    }
    checked(sum, &format!("{text:?}"))
}

fn checked(millis: u128, written: &str) -> std::result::Result<u64, String> {
    match u64::try_from(millis) {
        Ok(0) => Err(format!(
            "{written} is no time at all; leave the option out, or say `forever` for an entry that does not expire"
        )),
        Ok(short) if millis <= LONGEST => Ok(short),
        _ => Err(format!(
            "{written} is longer than the longest time, 1000 years"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same cases as those of nearcache's `Ttl`.
    #[test]
    fn times_are_read_as_nearcache_reads_them() {
        assert_eq!(parse("2h30m"), Ok(9_000_000));
        assert_eq!(parse(" 2 H 30 m "), Ok(9_000_000));
        assert_eq!(parse("30m1h1h"), Ok(9_000_000));
        assert_eq!(parse("1w1d1h1m1s1ms"), Ok(694_861_001));
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
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
