//! OpenTelemetry: a trace from the request through the cache to the loader's query, and the cache's metrics.
//!
//! The exporters here keep everything in memory, to print it. A service uses those of its collector instead; the rest
//! is the same.
//!
//! ```text
//! cargo run --example otel
//! cargo run --example otel -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::hooks::{KeyGroups, OpenTelemetry};
use nearcache::{Cache, Error};
use opentelemetry::trace::{FutureExt, SpanId, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ScopeMetrics, SumDataPoint};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = support::url();

    // A service does this once, with its own exporters.
    let (spans, metrics) = (
        InMemorySpanExporter::default(),
        InMemoryMetricExporter::default(),
    );
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    let reader = PeriodicReader::builder(metrics.clone()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    global::set_tracer_provider(tracers.clone());
    global::set_meter_provider(meters.clone());

    let telemetry = OpenTelemetry::builder()
        .cache("users")
        .keys(KeyGroups::automatic());
    let cache = Cache::builder(&url)
        .prefix("nearcache-otel")
        .hook(telemetry.build())
        .build()?;
    cache.clear().await?;
    spans.reset();

    for _ in 0..2 {
        let request = Context::current_with_span(global::tracer("web").start("GET /users/7"));
        answer(&cache).with_context(request.clone()).await?;
        request.span().end();
    }

    let spans = spans.get_finished_spans()?;
    println!("Two requests, as traces:");
    draw(&spans, SpanId::INVALID, 1);
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        [
            "SELECT",
            "load",
            "remember",
            "GET /users/7",
            "remember",
            "GET /users/7"
        ]
    );

    meters.force_flush()?;
    println!("\nWhat was counted:");
    let mut hits = 0;
    for resource in metrics.get_finished_metrics()? {
        for metric in resource.scope_metrics().flat_map(ScopeMetrics::metrics) {
            if let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() {
                let total: u64 = sum.data_points().map(SumDataPoint::value).sum();
                if total > 0 {
                    println!("  {:<28} {total}", metric.name());
                }
                if metric.name() == "nearcache.hits" {
                    hits = total;
                }
            }
        }
    }
    assert_eq!(hits, 1);

    cache.clear().await?;
    support::closing("otel", &url);
    Ok(())
}

/// A request: the user comes from the cache, or from the database.
async fn answer(cache: &Cache) -> nearcache::Result<String> {
    let load = async || {
        let query = async { Ok::<_, Error>("Ada".to_owned()) };
        let span = global::tracer("database").start("SELECT");
        query.with_context(Context::current_with_span(span)).await
    };
    cache.remember("user:7", load).ttl("1h").await
}

fn draw(spans: &[SpanData], parent: SpanId, depth: usize) {
    let mut children: Vec<_> = spans
        .iter()
        .filter(|span| span.parent_span_id == parent)
        .collect();
    children.sort_by_key(|span| span.start_time);
    for span in children {
        let attributes: Vec<_> = span.attributes.iter().map(shown).collect();
        println!(
            "{}{:<14} {}",
            "  ".repeat(depth),
            span.name,
            attributes.join(" ")
        );
        draw(spans, span.span_context.span_id(), depth + 1);
    }
}

fn shown(attribute: &KeyValue) -> String {
    format!("{}={}", attribute.key, attribute.value)
}
