//! Numbers as people read them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub fn count(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Three significant digits, and a suitable unit: `1.23 µs`, `45.6 ms`, `789 ns`.
pub fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        ..999.5 => return format!("{nanos:.0} ns"),
        ..999.5e3 => (nanos / 1e3, "µs"),
        ..999.5e6 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    format!("{value:.*} {unit}", decimals(value))
}

/// Events per second.
pub fn rate(events: u64, time: Duration) -> String {
    let per_second = events as f64 / time.as_secs_f64().max(1e-9);
    format!("{}/s", count(per_second.round() as u64))
}

/// A part from 0 to 1 as `81.3 %`.
pub fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// The ratio of two times: `12.3 ×`.
pub fn times(long: Duration, short: Duration) -> String {
    let ratio = long.as_secs_f64() / short.as_secs_f64().max(1e-9);
    if ratio >= 100.0 {
        format!("{} ×", count(ratio.round() as u64))
    } else {
        format!("{ratio:.*} ×", decimals(ratio))
    }
}

/// How many decimals give three significant digits.
fn decimals(value: f64) -> usize {
    match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits_whatever_its_unit() {
        let shown = |nanos| time(Duration::from_nanos(nanos));
        assert_eq!(shown(0), "0 ns");
        assert_eq!(shown(999), "999 ns");
        assert_eq!(shown(1_234), "1.23 µs");
        assert_eq!(shown(45_600_000), "45.6 ms");
        assert_eq!(shown(999_600), "1.00 ms");
        assert_eq!(shown(120_000_000_000), "120 s");
    }

    #[test]
    fn a_count_is_grouped_by_thousands() {
        assert_eq!(
            [0_u64, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
