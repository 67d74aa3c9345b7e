//! The `metrics` facade, for whatever exporter the application installs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Key, Label, SharedString, Unit};
use parking_lot::Mutex;

use super::handle::Caches;
use super::names::{ABANDONED, CALL_DURATION, COUNTED, Counted, Instrument, KEY_CALLS, Value};
use super::{Call, Done, Hook, KeyGroups, StatsHandle};
use crate::error::Error;

/// While there are calls, the caches' counts are published this often.
const EVERY: Duration = Duration::from_secs(1);

static METADATA: metrics::Metadata<'static> =
    metrics::Metadata::new("nearcache", metrics::Level::INFO, Some("nearcache"));

/// Reports a cache's metrics to the recorder of the [`metrics`](https://docs.rs/metrics) crate: Prometheus, StatsD,
/// or whichever the application installs, before or after it creates the cache.
///
/// - `nearcache_call_duration_seconds`, a histogram of calls by `command` and `outcome`. Failed calls have the
///   outcome `error`, and a label `error` with the kind of the error.
/// - What [`Stats`](crate::Stats) counts: `nearcache_hits_total` and so on. It is published when calls end, at most
///   once a second, and whenever you call [`publish`](MetricsFacade::publish): call that before a scrape.
/// - `nearcache_key_calls_total` by `group`, if you set [key groups](MetricsFacade::keys).
///
/// All have the label `cache` if the hook has a [name](MetricsFacade::named). There are fewer than 40 commands, 9
/// outcomes, 23 kinds of errors, and at most 101 groups. If one hook serves several caches, the counts are their
/// sums.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use nearcache::Cache;
/// use nearcache::hooks::MetricsFacade;
///
/// let metrics = MetricsFacade::named("users");
/// let cache = Cache::builder("memory://").hook(metrics.clone()).build()?;
/// cache.set("k", &1).await?;
/// metrics.publish(); // before a scrape
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
#[derive(Clone, Default)]
pub struct MetricsFacade {
    cache: Option<SharedString>,
    keys: KeyGroups,
    caches: Arc<Mutex<Caches>>,
    /// When the counts were last published.
    published: Arc<Mutex<Option<Instant>>>,
}

impl MetricsFacade {
    /// For the only cache of an application. The metrics have no label `cache`.
    pub fn new() -> Self {
        MetricsFacade::default()
    }

    /// For one of several caches: the label `cache` tells its metrics from the others'.
    pub fn named(cache: impl Into<String>) -> Self {
        MetricsFacade {
            cache: Some(SharedString::from_owned(cache.into())),
            ..MetricsFacade::default()
        }
    }

    /// How metrics name keys. By default they do not.
    #[must_use]
    pub fn keys(mut self, groups: KeyGroups) -> Self {
        self.keys = groups;
        self
    }

    /// Publishes what the caches have counted until now.
    pub fn publish(&self) {
        *self.published.lock() = Some(Instant::now());
        let counts = self.caches.lock().read();
        for (counted, count) in COUNTED.iter().zip(counts) {
            match counted.value {
                Value::Counter(_) => self.counter(counted.instrument, vec![]).absolute(count),
                Value::Gauge(_) => self.gauge(counted.instrument).set(count as f64),
            }
        }
    }

    fn ended(&self, call: &Call<'_>, mut labels: Vec<Label>, took: Duration) {
        labels.push(Label::from_static_parts("command", call.command()));
        self.histogram(CALL_DURATION, labels.clone())
            .record(took.as_secs_f64());
        for key in call.keys() {
            let Some(group) = self.keys.group(key) else {
                break;
            };
            let mut labels = labels.clone();
            labels.push(Label::new("group", SharedString::from_shared(group)));
            self.counter(KEY_CALLS, labels).increment(1);
        }
        if self.is_due() {
            self.publish();
        }
    }

    /// Whether it is time to publish. (If several threads ask at the same moment, one of them is told yes.)
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut published = self.published.lock();
        let due = published.is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
        if due {
            *published = Some(now);
        }
        due
    }

    fn key(&self, instrument: Instrument, mut labels: Vec<Label>) -> Key {
        if let Some(cache) = &self.cache {
            labels.push(Label::new("cache", cache.clone()));
        }
        Key::from_parts(instrument.prometheus, labels)
    }

    fn counter(&self, instrument: Instrument, labels: Vec<Label>) -> Counter {
        let key = self.key(instrument, labels);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    fn gauge(&self, instrument: Instrument) -> Gauge {
        let key = self.key(instrument, Vec::new());
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    fn histogram(&self, instrument: Instrument, labels: Vec<Label>) -> Histogram {
        let key = self.key(instrument, labels);
        metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }

    /// Tells the recorder what the metrics mean; most exporters show it. Call it after the recorder is installed.
    pub fn describe() {
        metrics::with_recorder(|recorder| {
            let name = |one: Instrument| metrics::KeyName::from_const_str(one.prometheus);
            let about = |one: Instrument| SharedString::const_str(one.about);
            let unit = |one: Instrument| match one.unit {
                "s" => Some(Unit::Seconds),
                "By" => Some(Unit::Bytes),
                _ => None,
            };
            recorder.describe_histogram(
                name(CALL_DURATION),
                unit(CALL_DURATION),
                about(CALL_DURATION),
            );
            for counter in [KEY_CALLS, ABANDONED] {
                recorder.describe_counter(name(counter), unit(counter), about(counter));
            }
            for Counted { instrument, value } in COUNTED {
                let (name, unit, about) =
                    (name(*instrument), unit(*instrument), about(*instrument));
                match value {
                    Value::Counter(_) => recorder.describe_counter(name, unit, about),
                    Value::Gauge(_) => recorder.describe_gauge(name, unit, about),
                }
            }
        });
    }

    /// Bucket bounds that suit `nearcache_call_duration_seconds`, in seconds: from a microsecond for a call in this
    /// process to 5 s for a load. Give them to the exporter when you create it.
    pub fn buckets() -> &'static [f64] {
        &super::names::BUCKETS
    }
}

impl Hook for MetricsFacade {
    fn after(&self, call: &Call<'_>, done: &Done) {
        let outcome = Label::from_static_parts("outcome", done.outcome.as_str());
        self.ended(call, vec![outcome], done.took);
    }

    fn error(&self, call: &Call<'_>, error: &Error, took: Duration) {
        let outcome = Label::from_static_parts("outcome", "error");
        let error = Label::from_static_parts("error", error.kind().as_str());
        self.ended(call, vec![outcome, error], took);
    }

    fn abandoned(&self, call: &Call<'_>, _: Duration) {
        let command = Label::from_static_parts("command", call.command());
        self.counter(ABANDONED, vec![command]).increment(1);
    }

    fn attached(&self, cache: &StatsHandle) {
        self.caches.lock().add(cache);
    }
}

impl fmt::Debug for MetricsFacade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsFacade")
            .field("cache", &self.cache)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
