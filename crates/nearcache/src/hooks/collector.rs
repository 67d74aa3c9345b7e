//! Counts and durations of calls, kept in this process; nothing else needs to run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use histogram::{AtomicHistogram, Config};
use parking_lot::Mutex;

use super::{Call, Done, Hook};
use crate::error::{Error, ErrorKind};

/// The number of histogram buckets per doubling is 2⁵, so a percentile is off by 1/32 at most.
const GROUPING_POWER: u8 = 5;

/// Longer durations are counted as 2⁴² ns, which is 73 minutes.
const MAX_POWER: u8 = 42;

/// Counts a cache's calls and errors by command, and measures how long the calls take.
///
/// One collector can serve several caches, async and blocking. It takes 10 KiB for each command that has been called,
/// and there are fewer than 40. It costs a call two reads of the clock and six additions.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use std::sync::Arc;
/// use nearcache::Cache;
/// use nearcache::hooks::MetricsCollector;
///
/// let metrics = Arc::new(MetricsCollector::new());
/// let cache = Cache::builder("memory://").hook(metrics.clone()).build()?;
/// cache.set("k", &1).await?;
/// cache.get::<u8>("k").await?;
///
/// assert_eq!(metrics.count("get"), 1);
/// assert_eq!(metrics.error_count("get"), 0);
/// let latency = metrics.latency("get").expect("there was a get");
/// assert!(latency.min <= latency.p50 && latency.p50 <= latency.max);
/// println!("{metrics}"); // a line for each command
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
#[derive(Default)]
pub struct MetricsCollector {
    /// Replaced as a whole when a command is called for the first time.
    commands: ArcSwap<BTreeMap<&'static str, Arc<Meter>>>,
    /// How many calls went on without Redis, by the kind of its error.
    degraded: Mutex<BTreeMap<&'static str, u64>>,
}

/// What was counted for one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandMetrics {
    /// The operation, as [`Call::command`] names it.
    pub command: &'static str,
    /// Calls that succeeded.
    pub count: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls whose caller was cancelled before they ended.
    pub abandoned: u64,
    /// Keys that were answered from the cache.
    pub hits: u64,
    /// Keys of reads that were not answered from the cache.
    pub misses: u64,
    /// Bytes of values read and written.
    pub bytes: u64,
    /// How long the successful calls took; `None` if there was none.
    pub latency: Option<Latency>,
}

/// How long calls took. Percentiles are at most 3.2 % too high, and never above the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "their names say it")]
pub struct Latency {
    pub mean: Duration,
    pub min: Duration,
    pub p50: Duration,
    pub p90: Duration,
    pub p99: Duration,
    pub p999: Duration,
    pub max: Duration,
}

/// The counters of one command.
struct Meter {
    errors: AtomicU64,
    abandoned: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    durations: AtomicHistogram,
}

impl MetricsCollector {
    /// A collector that has counted nothing yet.
    pub fn new() -> Self {
        MetricsCollector::default()
    }

    /// How many calls of this command succeeded; [`Call::command`] has the names. 0 if it was never called.
    pub fn count(&self, command: &str) -> u64 {
        self.command(command).map_or(0, |metrics| metrics.count)
    }

    /// How many calls of this command failed.
    pub fn error_count(&self, command: &str) -> u64 {
        self.command(command).map_or(0, |metrics| metrics.errors)
    }

    /// How many calls of all commands failed.
    pub fn total_errors(&self) -> u64 {
        let commands = self.commands.load();
        commands
            .values()
            .map(|meter| meter.errors.load(Relaxed))
            .sum()
    }

    /// How many calls went on without Redis because of an error of this kind ([`Done::degraded`]): their loader ran.
    pub fn degraded_count(&self, kind: ErrorKind) -> u64 {
        let degraded = self.degraded.lock();
        degraded.get(kind.as_str()).copied().unwrap_or(0)
    }

    /// How long the successful calls of this command took; `None` if there was none.
    pub fn latency(&self, command: &str) -> Option<Latency> {
        self.command(command)?.latency
    }

    /// Everything about one command; `None` if it was never called.
    pub fn command(&self, command: &str) -> Option<CommandMetrics> {
        let commands = self.commands.load();
        let (command, meter) = commands.get_key_value(command)?;
        Some(meter.read(command))
    }

    /// Everything about all commands that were called, sorted by name.
    pub fn snapshot(&self) -> Vec<CommandMetrics> {
        let commands = self.commands.load();
        let all = commands.iter().map(|(command, meter)| meter.read(command));
        all.collect()
    }

    /// Starts again from zero. (A call that ends at the same moment may be lost.)
    pub fn reset(&self) {
        self.commands.store(Arc::default());
    }

    fn meter(&self, command: &'static str) -> Arc<Meter> {
        if let Some(meter) = self.commands.load().get(command) {
            return Arc::clone(meter);
        }
        self.commands.rcu(|commands| {
            let mut commands = BTreeMap::clone(commands);
            commands.entry(command).or_insert_with(Meter::shared);
            commands
        });
        let commands = self.commands.load();
        commands.get(command).map_or_else(Meter::shared, Arc::clone)
    }
}

impl Hook for MetricsCollector {
    fn after(&self, call: &Call<'_>, done: &Done) {
        let meter = self.meter(call.command());
        meter.hits.fetch_add(done.hits, Relaxed);
        meter.misses.fetch_add(done.misses, Relaxed);
        meter.bytes.fetch_add(done.bytes, Relaxed);
        meter.took(done.took);
        if let Some(kind) = done.degraded {
            *self.degraded.lock().entry(kind.as_str()).or_default() += 1;
        }
    }

    fn error(&self, call: &Call<'_>, _: &Error, _: Duration) {
        self.meter(call.command()).errors.fetch_add(1, Relaxed);
    }

    fn abandoned(&self, call: &Call<'_>, _: Duration) {
        self.meter(call.command()).abandoned.fetch_add(1, Relaxed);
    }
}

impl Meter {
    fn shared() -> Arc<Self> {
        let config = Config::new(GROUPING_POWER, MAX_POWER).expect("the powers are in range");
        Arc::new(Meter {
            errors: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
            durations: AtomicHistogram::with_config(&config),
        })
    }

    fn took(&self, time: Duration) {
        let longest = (1 << MAX_POWER) - 1;
        let nanos = u64::try_from(time.as_nanos()).map_or(longest, |nanos| nanos.min(longest));
        self.nanos.fetch_add(nanos, Relaxed);
        // Read first: the minimum and maximum hardly ever change, and a read is cheaper than an update.
        if nanos < self.min.load(Relaxed) {
            self.min.fetch_min(nanos, Relaxed);
        }
        if nanos > self.max.load(Relaxed) {
            self.max.fetch_max(nanos, Relaxed);
        }
        // The value is in range, so this cannot fail.
        let _ = self.durations.increment(nanos);
    }

    fn read(&self, command: &'static str) -> CommandMetrics {
        let durations = self.durations.load();
        let count = durations.as_slice().iter().sum();
        CommandMetrics {
            command,
            count,
            errors: self.errors.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            latency: (count > 0).then(|| {
                let (min, max) = (self.min.load(Relaxed), self.max.load(Relaxed));
                let percentile = |part: f64| {
                    let bucket = durations.quantile_bucket(part).ok().flatten();
                    let end = bucket.map_or(max, |bucket| bucket.end());
                    Duration::from_nanos(end.clamp(min.min(max), max))
                };
                Latency {
                    mean: Duration::from_nanos(self.nanos.load(Relaxed) / count),
                    min: Duration::from_nanos(min.min(max)),
                    p50: percentile(0.5),
                    p90: percentile(0.9),
                    p99: percentile(0.99),
                    p999: percentile(0.999),
                    max: Duration::from_nanos(max),
                }
            }),
        }
    }
}

/// A table with one line per command.
impl fmt::Display for MetricsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>10} {:>8} {:>10} {:>10} {:>10} {:>10}",
            "command", "count", "errors", "p50", "p99", "p99.9", "max"
        )?;
        for metrics in self.snapshot() {
            write!(
                f,
                "{:<16} {:>10} {:>8}",
                metrics.command, metrics.count, metrics.errors
            )?;
            if let Some(latency) = metrics.latency {
                for time in [latency.p50, latency.p99, latency.p999, latency.max] {
                    write!(f, " {:>10}", format!("{time:.1?}"))?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for MetricsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.snapshot()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::hooks::{CallKeys, Outcome};
    use proptest::prelude::*;

    fn call(command: &'static str) -> Call<'static> {
        Call::new(command, CallKeys::One(b"k"), "host", 0)
    }

    fn took(time: Duration) -> Done {
        Done {
            outcome: Outcome::Hit,
            hits: 1,
            misses: 0,
            bytes: 3,
            degraded: None,
            took: time,
        }
    }

    #[test]
    fn nothing_was_counted_of_what_was_not_called() {
        let metrics = MetricsCollector::new();
        assert_eq!((metrics.count("get"), metrics.total_errors()), (0, 0));
        assert_eq!(metrics.latency("get"), None);
        metrics.error(
            &call("get"),
            &Error::new(ErrorKind::Timeout, "late"),
            Duration::ZERO,
        );
        assert_eq!((metrics.count("get"), metrics.error_count("get")), (0, 1));
        assert_eq!(metrics.latency("get"), None);
        metrics.reset();
        assert_eq!(metrics.total_errors(), 0);
    }

    #[test]
    fn threads_lose_nothing() {
        let metrics = MetricsCollector::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for nanos in 0..10_000 {
                        metrics.after(&call("get"), &took(Duration::from_nanos(nanos)));
                    }
                });
            }
        });
        let get = metrics.command("get").unwrap();
        assert_eq!((get.count, get.hits, get.bytes), (40_000, 40_000, 120_000));
        let latency = get.latency.unwrap();
        assert_eq!(latency.mean, Duration::from_nanos(4999));
        assert_eq!(
            (latency.min, latency.max),
            (Duration::ZERO, Duration::from_nanos(9_999))
        );
    }

    #[test]
    fn a_duration_beyond_all_bounds_counts_as_the_longest() {
        let metrics = MetricsCollector::new();
        metrics.after(&call("get"), &took(Duration::MAX));
        let longest = Duration::from_nanos((1 << MAX_POWER) - 1);
        assert_eq!(metrics.latency("get").unwrap().p50, longest);
    }

    proptest! {
        #[test]
        fn percentiles_are_near_the_true_ones(
            mut nanos in proptest::collection::vec(0u64..=1 << 41, 1..300)
        ) {
            let metrics = MetricsCollector::new();
            for nanos in &nanos {
                metrics.after(&call("get"), &took(Duration::from_nanos(*nanos)));
            }
            nanos.sort_unstable();
            let latency = metrics.latency("get").unwrap();
            for (part, told) in [(0.5, latency.p50), (0.9, latency.p90), (0.99, latency.p99)] {
                let rank = ((nanos.len() as f64 * part).ceil() as usize).max(1);
                let (told, exact) = (told.as_nanos() as f64, nanos[rank - 1] as f64);
                prop_assert!(told >= exact && told <= exact * 1.0323 + 1.0, "{told} for {exact}");
            }
            prop_assert_eq!(latency.max.as_nanos(), u128::from(nanos[nanos.len() - 1]));
        }
    }
}
