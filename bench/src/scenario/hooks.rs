//! The cost of hooks: a hit in this process, which is the shortest possible call, with each hook, compared with none.
//!
//! The exporters are installed and record what they get, but nobody collects it during the measurement.

use std::sync::Once;

use metrics_exporter_prometheus::PrometheusBuilder;
use nearcache::hooks::{Hook, KeyGroups, MetricsCollector, MetricsFacade, OpenTelemetry, Tracing};
use nearcache::{Builder, Cache, Raw};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime;

use super::{KEYS, VALUE, check, key, threads};
use crate::Result;
use crate::harness::{Bench, Contender, Unit, on_threads};

const PEER: &str = "no hook";

/// The clock is read after this many calls.
const AT_ONCE: usize = 128;

/// A hook that does nothing.
struct Idle;

impl Hook for Idle {}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for count in [1, 2] {
        let name = format!("hooks/get/{}", threads(count));
        let unit = Unit::Nanos { threads: count };
        bench.compare(&name, unit, PEER, |_| contenders(count))?;
    }
    Ok(())
}

fn contenders(threads: usize) -> Result<Vec<Contender<'static>>> {
    static PROMETHEUS: Once = Once::new();
    PROMETHEUS.call_once(|| {
        let builder = PrometheusBuilder::new().set_buckets(MetricsFacade::buckets());
        // Only the facade's contender uses it.
        let _ = builder.map(PrometheusBuilder::install_recorder);
    });
    let with = |name, hook: &dyn Fn(Builder) -> Builder| {
        contender(name, &hook(Cache::builder("memory://")).build()?, threads)
    };
    Ok(vec![
        with(PEER, &|cache| cache)?,
        with("one that does nothing", &|cache| cache.hook(Idle))?,
        with("MetricsCollector", &|cache| {
            cache.hook(MetricsCollector::new())
        })?,
        with("Tracing, unheard", &|cache| cache.hook(Tracing::new()))?,
        with("MetricsFacade", &|cache| {
            cache.hook(MetricsFacade::named("bench"))
        })?,
        with("OpenTelemetry, metrics", &|cache| {
            cache.hook(telemetry(false))
        })?,
        with("OpenTelemetry, both", &|cache| cache.hook(telemetry(true)))?,
    ])
}

fn telemetry(traces: bool) -> OpenTelemetry {
    // It collects once a minute, and no measurement takes that long.
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader);
    let builder = OpenTelemetry::builder()
        .keys(KeyGroups::off())
        .meter(meters.build().meter("bench"));
    if traces {
        let tracers = SdkTracerProvider::builder().build();
        builder.tracer(tracers.tracer("bench")).build()
    } else {
        builder.without_traces().build()
    }
}

fn contender(name: &'static str, cache: &Cache, threads: usize) -> Result<Contender<'static>> {
    let runtime = || runtime::Builder::new_current_thread().build();
    let runtimes = (0..threads).map(|_| Ok((runtime()?, cache.clone())));
    let mut runtimes = runtimes.collect::<Result<Vec<_>>>()?;
    let (filling, _) = &runtimes[0];
    filling.block_on(async {
        for place in 0..KEYS {
            cache.set(key(place), &Raw(&VALUE[..])).await?;
        }
        Ok::<_, nearcache::Error>(())
    })?;
    Ok(Contender::new(name, move |span| {
        on_threads(
            &mut runtimes,
            span,
            AT_ONCE,
            |(runtime, cache), place, calls| {
                runtime.block_on(async {
                    for place in place..place + calls {
                        let value: Option<Raw<Vec<u8>>> = cache.get(key(place)).await?;
                        check(value.map_or(0, |value| value.0.len()), VALUE.len())?;
                    }
                    Ok(())
                })
            },
        )
    }))
}
