//! OpenTelemetry metrics and traces. They follow the semantic conventions for database clients where these apply
//! (<https://opentelemetry.io/docs/specs/semconv/database/>).
//!
//! The conventions apply to the calls that are database operations. `remember` waits for a loader, and `load` is a
//! loader, so these have names of our own, and their spans are internal. `attributes` has the attributes of a call.

mod attributes;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{AsyncInstrument, Counter, Histogram, Meter};
use opentelemetry::trace::{SpanBuilder, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use parking_lot::Mutex;

use self::attributes::{Attributes, is_operation};
use super::handle::Caches;
use super::names::{ABANDONED, BUCKETS, CALL_DURATION, COUNTED, DB_DURATION, KEY_CALLS, Value};
use super::{Call, Done, Hook, KeyGroups, Scope, StatsHandle};
use crate::error::Error;

/// Reports a cache's metrics and traces to OpenTelemetry.
///
/// - A span for each call and each load. The work of a loader is in the span of its load, and that is in the span of
///   the call that waits for it. (A refresh in the background begins a trace of its own.)
/// - Histograms of durations: `db.client.operation.duration` for database operations, `nearcache.call.duration` for
///   all calls.
/// - What [`Stats`](crate::Stats) counts, read whenever metrics are collected: `nearcache.hits` and so on.
///
/// No values leave the process, and keys only as [groups](OpenTelemetryBuilder::keys), if you set them. Attributes of
/// metrics have few values: fewer than 40 commands, 9 outcomes, 23 kinds of errors, one server per cache.
///
/// ```no_run
/// # fn main() -> nearcache::Result<()> {
/// use nearcache::Cache;
/// use nearcache::hooks::{KeyGroups, OpenTelemetry};
///
/// // After `opentelemetry::global::set_meter_provider` and `set_tracer_provider`, or at least before the first call.
/// let telemetry = OpenTelemetry::builder().cache("users").keys(KeyGroups::automatic()).build();
/// let cache = Cache::builder("redis://localhost").hook(telemetry).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct OpenTelemetry(Arc<Inner>);

struct Inner {
    options: OpenTelemetryBuilder,
    caches: Arc<Mutex<Caches>>,
    /// Created by the first call: by then the application has installed its providers.
    instruments: OnceLock<Instruments>,
}

/// Configures an [`OpenTelemetry`] hook.
#[must_use = "a builder does nothing until `.build()`"]
#[derive(Default)]
pub struct OpenTelemetryBuilder {
    cache: Option<String>,
    keys: KeyGroups,
    meter: Option<Meter>,
    tracer: Option<Arc<BoxedTracer>>,
    no_traces: bool,
    no_metrics: bool,
}

struct Instruments {
    calls: Histogram<f64>,
    operations: Histogram<f64>,
    key_calls: Counter<u64>,
    abandoned: Counter<u64>,
    tracer: Option<Arc<BoxedTracer>>,
    attributes: Attributes,
}

impl OpenTelemetry {
    /// Uses the global providers of the application, and names no keys.
    pub fn new() -> Self {
        OpenTelemetry::builder().build()
    }

    /// Configures a hook with other providers, names or key groups.
    pub fn builder() -> OpenTelemetryBuilder {
        OpenTelemetryBuilder::default()
    }
}

impl Default for OpenTelemetry {
    fn default() -> Self {
        OpenTelemetry::new()
    }
}

impl OpenTelemetryBuilder {
    /// The attribute `nearcache.cache`, which tells this cache from others. Without a name, the attribute is left
    /// out.
    pub fn cache(mut self, name: impl Into<String>) -> Self {
        self.cache = Some(name.into());
        self
    }

    /// How spans and `nearcache.key.calls` name keys. By default they do not.
    pub fn keys(mut self, groups: KeyGroups) -> Self {
        self.keys = groups;
        self
    }

    /// Uses this meter instead of the global provider's.
    pub fn meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Uses this tracer instead of the global provider's.
    pub fn tracer<T>(mut self, tracer: T) -> Self
    where
        T: Tracer<Span: Send + Sync + 'static> + Send + Sync + 'static,
    {
        self.tracer = Some(Arc::new(BoxedTracer::new(Box::new(tracer))));
        self
    }

    /// Creates no spans.
    pub fn without_traces(mut self) -> Self {
        self.no_traces = true;
        self
    }

    /// Records no metrics.
    pub fn without_metrics(mut self) -> Self {
        self.no_metrics = true;
        self
    }

    /// Builds the hook.
    pub fn build(self) -> OpenTelemetry {
        OpenTelemetry(Arc::new(Inner {
            options: self,
            caches: Arc::default(),
            instruments: OnceLock::new(),
        }))
    }

    fn scope() -> InstrumentationScope {
        InstrumentationScope::builder("nearcache")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build()
    }

    fn instruments(&self, caches: &Arc<Mutex<Caches>>) -> Instruments {
        let meter = match &self.meter {
            Some(meter) => meter.clone(),
            None => global::meter_with_scope(Self::scope()),
        };
        let tracer = self.tracer.clone();
        let tracer = tracer.or_else(|| Some(Arc::new(global::tracer_with_scope(Self::scope()))));
        let duration = |of: super::names::Instrument| {
            meter
                .f64_histogram(of.otel)
                .with_unit(of.unit)
                .with_description(of.about)
                .with_boundaries(BUCKETS.to_vec())
                .build()
        };
        let counter = |of: super::names::Instrument| {
            meter
                .u64_counter(of.otel)
                .with_unit(of.unit)
                .with_description(of.about)
                .build()
        };
        let attributes = Attributes::new(self.cache.as_deref());
        if !self.no_metrics {
            observe(&meter, caches, attributes.of_cache());
        }
        Instruments {
            calls: duration(CALL_DURATION),
            operations: duration(DB_DURATION),
            key_calls: counter(KEY_CALLS),
            abandoned: counter(ABANDONED),
            tracer: tracer.filter(|_| !self.no_traces),
            attributes,
        }
    }
}

/// Registers callbacks that read what the caches count whenever metrics are collected. They live as long as the meter
/// provider, and keep the counts alive, but not the caches.
fn observe(meter: &Meter, caches: &Arc<Mutex<Caches>>, attributes: &[KeyValue]) {
    for (place, counted) in COUNTED.iter().enumerate() {
        let of = counted.instrument;
        let (caches, attributes) = (Arc::clone(caches), attributes.to_vec());
        let read = move || caches.lock().read()[place];
        match counted.value {
            Value::Counter(_) => {
                let counter = meter.u64_observable_counter(of.otel);
                let counter = counter.with_unit(of.unit).with_description(of.about);
                let read = move |observer: &dyn AsyncInstrument<u64>| {
                    observer.observe(read(), &attributes);
                };
                let _registered = counter.with_callback(read).build();
            }
            Value::Gauge(_) => {
                let gauge = meter.u64_observable_gauge(of.otel);
                let gauge = gauge.with_unit(of.unit).with_description(of.about);
                let read = move |observer: &dyn AsyncInstrument<u64>| {
                    observer.observe(read(), &attributes);
                };
                let _registered = gauge.with_callback(read).build();
            }
        }
    }
}

impl Inner {
    fn instruments(&self) -> &Instruments {
        self.instruments
            .get_or_init(|| self.options.instruments(&self.caches))
    }

    fn ended(&self, call: &Call<'_>, outcome: &'static str, error: Option<&Error>, took: Duration) {
        if self.options.no_metrics {
            return;
        }
        let instruments = self.instruments();
        let seconds = took.as_secs_f64();
        if is_operation(call.command()) {
            let attributes = instruments.attributes.of_operation(call, error);
            instruments.operations.record(seconds, &attributes);
        }
        let mut attributes = instruments.attributes.of_call(call, outcome, error);
        instruments.calls.record(seconds, &attributes);
        for key in call.keys() {
            let Some(group) = self.options.keys.group(key) else {
                break;
            };
            attributes.push(KeyValue::new(attributes::KEY_GROUP, group));
            instruments.key_calls.add(1, &attributes);
            attributes.pop();
        }
    }
}

impl Hook for OpenTelemetry {
    fn after(&self, call: &Call<'_>, done: &Done) {
        self.0.ended(call, done.outcome.as_str(), None, done.took);
    }

    fn error(&self, call: &Call<'_>, error: &Error, took: Duration) {
        self.0.ended(call, "error", Some(error), took);
    }

    fn abandoned(&self, call: &Call<'_>, _: Duration) {
        if !self.0.options.no_metrics {
            let instruments = self.0.instruments();
            let attributes = instruments.attributes.of_command(call);
            instruments.abandoned.add(1, &attributes);
        }
    }

    fn scope(&self, call: &Call<'_>) -> Option<Box<dyn Scope>> {
        let instruments = self.0.instruments();
        let tracer = instruments.tracer.as_ref()?;
        let mut attributes = instruments.attributes.of_span(call);
        if call.key_count() == 1 {
            let group = call
                .keys()
                .next()
                .and_then(|key| self.0.options.keys.group(key));
            attributes.extend(group.map(|group| KeyValue::new(attributes::KEY_GROUP, group)));
        }
        let span = SpanBuilder::from_name(call.command())
            .with_kind(attributes::kind_of(call))
            .with_attributes(attributes);
        let caller = Context::current();
        let span = tracer.build_with_context(span, &caller);
        Some(Box::new(Traced(caller.with_span(span))))
    }

    fn attached(&self, cache: &StatsHandle) {
        self.0.caches.lock().add(cache);
    }
}

/// The span of a call, as part of the caller's context. It ends with the call, or when it is dropped.
struct Traced(Context);

impl Scope for Traced {
    fn within(&self, work: &mut dyn FnMut()) {
        let _current = self.0.clone().attach();
        work();
    }

    fn after(&self, call: &Call<'_>, done: &Done) {
        let span = self.0.span();
        span.set_attributes(attributes::of_outcome(call, done));
        span.end();
    }

    fn error(&self, _: &Call<'_>, error: &Error, _: Duration) {
        let span = self.0.span();
        span.set_attribute(attributes::error_type(error));
        // The error's kind and not its message, because the message names the key.
        span.set_status(Status::error(error.kind().to_string()));
        span.end();
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // The loader's task may still hold the context, but the call is over. Ending a span twice does no harm.
        self.0.span().end();
    }
}

impl fmt::Debug for OpenTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.options.describe(f, "OpenTelemetry")
    }
}

impl OpenTelemetryBuilder {
    fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("cache", &self.cache)
            .field("keys", &self.keys)
            .field("traces", &!self.no_traces)
            .field("metrics", &!self.no_metrics)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenTelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, "OpenTelemetryBuilder")
    }
}
