//! How long the accesses took: percentiles, and a chart.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use support::{percent, time};

/// Hits and misses are separate, because a miss takes two round trips.
pub(crate) struct Latency {
    hits: Histogram<u64>,
    misses: Histogram<u64>,
}

impl Latency {
    pub(crate) fn new() -> Self {
        // Nanoseconds, to three digits, up to a minute; longer times count as a minute.
        let empty = || Histogram::new_with_max(60_000_000_000, 3).expect("these bounds are valid");
        Latency {
            hits: empty(),
            misses: empty(),
        }
    }

    pub(crate) fn add(&mut self, hit: bool, took: Duration) {
        let part = if hit {
            &mut self.hits
        } else {
            &mut self.misses
        };
        part.saturating_record(took.as_nanos() as u64);
    }

    pub(crate) fn merge(&mut self, other: &Latency) {
        self.hits += &other.hits;
        self.misses += &other.misses;
    }

    pub(crate) fn len(&self) -> u64 {
        self.hits.len() + self.misses.len()
    }

    fn all(&self) -> Histogram<u64> {
        let mut all = self.hits.clone();
        all += &self.misses;
        all
    }

    /// The histograms to report, by name.
    pub(crate) fn parts(&self) -> [(&'static str, Histogram<u64>); 3] {
        [
            ("hits", self.hits.clone()),
            ("misses, with the set", self.misses.clone()),
            ("all", self.all()),
        ]
    }

    /// A bar for each step of time, proportional to its share of the accesses. The slowest accesses, which are too
    /// few to see, share the last bar.
    pub(crate) fn bars(&self) -> String {
        const WIDTH: f64 = 48.0;
        const TOO_FEW: f64 = 0.0005;
        let all = self.all();
        let mut bars: Vec<(String, f64)> = Vec::new();
        let (mut from, mut left) = (0, 1.0);
        for below in steps().skip_while(|below| *below <= all.min()) {
            let count = all.count_between(from, below - 1);
            let part = count as f64 / all.len().max(1) as f64;
            bars.push((format!("< {:>7}", time(Duration::from_nanos(below))), part));
            (from, left) = (below, left - part);
            if left < TOO_FEW {
                break;
            }
        }
        if from <= all.max() {
            let from = time(Duration::from_nanos(from));
            bars.push((format!("≥ {from:>7}"), left.max(0.0)));
        }

        let longest = bars.iter().map(|(_, part)| *part).fold(TOO_FEW, f64::max);
        let mut text = String::new();
        for (bound, part) in bars {
            let bar = "█".repeat((part / longest * WIDTH).round() as usize);
            // Writing to a string does not fail.
            let line = format!("  {bound} {:>8}  {bar}", percent(part));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// 100 ns, 200 ns, 500 ns, 1 µs, ... up to a minute and more.
fn steps() -> impl Iterator<Item = u64> {
    (2..11).flat_map(|zeros| [1, 2, 5].map(|digit| digit * 10_u64.pow(zeros)))
}
