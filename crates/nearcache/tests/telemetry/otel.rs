//! OpenTelemetry: the metrics as they are collected, and the spans as they are exported.

use std::collections::BTreeMap;
use std::fmt::Write;

use nearcache::hooks::{KeyGroups, OpenTelemetry, OpenTelemetryBuilder};
use nearcache_testkit::Redis;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{SpanId, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ScopeMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider, SpanData};

use crate::golden;
use crate::script;

struct Exported {
    metrics: InMemoryMetricExporter,
    meters: SdkMeterProvider,
    spans: InMemorySpanExporter,
    tracers: SdkTracerProvider,
}

impl Exported {
    fn new() -> Self {
        let metrics = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(metrics.clone()).build();
        let spans = InMemorySpanExporter::default();
        Exported {
            metrics,
            meters: SdkMeterProvider::builder().with_reader(reader).build(),
            tracers: SdkTracerProvider::builder()
                .with_simple_exporter(spans.clone())
                .build(),
            spans,
        }
    }

    fn tracer(&self) -> SdkTracer {
        self.tracers.tracer("nearcache")
    }

    fn hook(&self) -> OpenTelemetryBuilder {
        let builder = OpenTelemetry::builder().tracer(self.tracer());
        builder.meter(self.meters.meter("nearcache"))
    }

    fn spans(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }

    /// What was collected: a line for each metric and for each of its points.
    fn collected(&self) -> String {
        self.meters.force_flush().unwrap();
        let collected = self.metrics.get_finished_metrics().unwrap();
        let mut metrics = BTreeMap::new();
        for metric in collected.iter().flat_map(|resource| {
            let scopes = resource.scope_metrics();
            scopes.flat_map(ScopeMetrics::metrics)
        }) {
            let mut points = match metric.data() {
                AggregatedMetrics::F64(data) => points(data),
                AggregatedMetrics::U64(data) => points(data),
                AggregatedMetrics::I64(data) => points(data),
            };
            points.sort();
            let head = format!(
                "{} [{}] {}",
                metric.name(),
                metric.unit(),
                metric.description()
            );
            metrics.insert(head, points);
        }
        let mut text = String::new();
        for (head, points) in metrics {
            writeln!(text, "{head}").unwrap();
            for point in points {
                writeln!(text, "    {point}").unwrap();
            }
        }
        text
    }

    /// The spans as trees, in the order in which they began.
    fn traced(&self) -> String {
        let mut spans = self.spans();
        spans.sort_by_key(|span| span.start_time);
        let mut text = String::new();
        draw(&spans, SpanId::INVALID, 0, &mut text);
        text
    }
}

fn points<T: Copy + std::fmt::Display>(data: &MetricData<T>) -> Vec<String> {
    match data {
        MetricData::Sum(sum) => sum
            .data_points()
            .map(|point| format!("{} = {}", shown(point.attributes()), point.value()))
            .collect(),
        MetricData::Gauge(gauge) => gauge
            .data_points()
            .map(|point| format!("{} = {}", shown(point.attributes()), point.value()))
            .collect(),
        // How long is another each time; how many is not.
        MetricData::Histogram(histogram) => histogram
            .data_points()
            .map(|point| format!("{} × {}", shown(point.attributes()), point.count()))
            .collect(),
        MetricData::ExponentialHistogram(_) => panic!("nobody asked for one"),
    }
}

fn shown<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut attributes: Vec<_> = attributes
        .map(|one| match one.key.as_str() {
            "server.port" => "server.port=<port>".to_owned(),
            key => format!("{key}={}", one.value),
        })
        .collect();
    attributes.sort();
    format!("{{{}}}", attributes.join(", "))
}

fn draw(spans: &[SpanData], parent: SpanId, depth: usize, text: &mut String) {
    for span in spans.iter().filter(|span| span.parent_span_id == parent) {
        let status = match &span.status {
            Status::Error { description } => format!(" ! {description}"),
            Status::Unset | Status::Ok => String::new(),
        };
        let (kind, attributes) = (&span.span_kind, shown(span.attributes.iter()));
        let margin = "    ".repeat(depth);
        writeln!(
            text,
            "{margin}{} ({kind:?}) {attributes}{status}",
            span.name
        )
        .unwrap();
        draw(spans, span.span_context.span_id(), depth + 1, text);
    }
}

#[tokio::test]
async fn a_run_in_this_process() {
    let exported = Exported::new();
    let hook = exported.hook().cache("users").keys(KeyGroups::automatic());
    script::run(&script::embedded(hook.build())).await;
    golden("otel-metrics-embedded", &exported.collected());
    golden("otel-spans-embedded", &exported.traced());
}

#[tokio::test]
async fn a_run_on_redis() {
    let (exported, redis) = (Exported::new(), Redis::start());
    script::run(&script::served(&redis, exported.hook().build())).await;
    golden("otel-metrics-redis", &exported.collected());
    golden("otel-spans-redis", &exported.traced());
}

#[tokio::test]
async fn what_a_loader_does_is_in_the_span_of_its_load_and_that_in_the_callers() {
    let exported = Exported::new();
    let scene = script::embedded(exported.hook().build());
    let tracer = exported.tracer();
    let query = exported.tracer();
    let request = Context::current_with_span(tracer.start("request"));
    let asked = scene.cache.remember("k", async move || {
        query.in_span("query", |_| Ok::<_, nearcache::Error>(1u8))
    });
    let asked = opentelemetry::trace::FutureExt::with_context(asked.into_future(), request.clone());
    asked.await.unwrap();
    request.span().end();
    let text = exported.traced();
    let lines: Vec<_> = text.lines().collect();
    for (line, begins) in [
        "request (",
        "    remember (",
        "        load (",
        "            query (",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(lines[line].starts_with(begins), "{text}");
    }
}

/// A call that failed is told of by the kind of its error, whose message names the key.
#[tokio::test]
async fn neither_keys_nor_values_leave_the_process_unless_asked_for() {
    let exported = Exported::new();
    let scene = script::embedded(exported.hook().build());
    scene.cache.set("secret-key", "secret-value").await.unwrap();
    scene.cache.incr("secret-key").await.unwrap_err();
    let text = exported.collected() + &format!("{:?}", exported.spans());
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn traces_and_metrics_can_be_left_out() {
    let exported = Exported::new();
    let scene = script::embedded(exported.hook().without_traces().build());
    scene.cache.set("k", &1).await.unwrap();
    assert!(exported.spans().is_empty());
    assert!(exported.collected().contains("nearcache.writes"));

    let exported = Exported::new();
    let scene = script::embedded(exported.hook().without_metrics().build());
    scene.cache.set("k", &1).await.unwrap();
    assert_eq!(exported.spans().len(), 1);
    assert_eq!(exported.collected(), "");
}

#[tokio::test]
async fn attributes_of_metrics_do_not_grow_with_the_keys() {
    let exported = Exported::new();
    let hook = exported
        .hook()
        .keys(KeyGroups::automatic())
        .without_traces();
    let scene = script::embedded(hook.build());
    for first in b'a'..=b'z' {
        for second in b'a'..=b'z' {
            let key = [first, second, b':', first];
            scene.cache.get::<u8>(key).await.unwrap();
        }
    }
    let text = exported.collected();
    let groups = text.matches("nearcache.key.group=").count();
    assert_eq!(groups, 101, "{text}");
}
