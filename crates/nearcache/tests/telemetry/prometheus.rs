//! Through the `metrics` facade to Prometheus.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use nearcache::hooks::{KeyGroups, MetricsFacade};
use nearcache_testkit::Redis;

use crate::golden;
use crate::script::{self, Scene};

/// A recorder that is there for this thread alone, as the tests' runtimes are.
fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .set_buckets(MetricsFacade::buckets())
        .unwrap()
        .build_recorder()
}

async fn scraped(facade: &MetricsFacade, scene: Scene, handle: &PrometheusHandle) -> String {
    MetricsFacade::describe();
    script::run(&scene).await;
    facade.publish();
    handle.run_upkeep();
    let text = handle.render();
    let mut lines: Vec<_> = text.lines().map(timeless).collect();
    lines.dedup();
    by_family(&lines)
}

/// A line without what is another at each run: a sum of durations, and the buckets they are in.
fn timeless(line: &str) -> String {
    let (series, _) = line.rsplit_once(' ').unwrap_or((line, ""));
    let Some((name, labels)) = series.split_once('{') else {
        return line.to_owned();
    };
    if name.ends_with("_sum") {
        return format!("{series} <seconds>");
    }
    if name.ends_with("_bucket") && !labels.contains("+Inf") {
        let kept = labels.rsplit_once("le=").map_or(labels, |(kept, _)| kept);
        return format!("{name}{{{kept}le=\"..\"}} ..");
    }
    line.to_owned()
}

/// The exporter has no order of families or of series.
fn by_family(lines: &[String]) -> String {
    let text = lines.join("\n");
    let mut families: Vec<_> = text
        .split("\n\n")
        .map(|family| {
            let (mut head, mut series): (Vec<_>, Vec<_>) = family
                .trim()
                .lines()
                .partition(|line| line.starts_with('#'));
            series.sort_by_key(|line| line.replace("_bucket", "").replace("+Inf", "~"));
            series.dedup();
            head.extend(series);
            head.join("\n")
        })
        .collect();
    families.sort();
    families.join("\n\n")
}

#[tokio::test]
async fn a_run_in_this_process() {
    let recorder = recorder();
    let _current = metrics::set_default_local_recorder(&recorder);
    let facade = MetricsFacade::named("users").keys(KeyGroups::automatic());
    let text = scraped(
        &facade,
        script::embedded(facade.clone()),
        &recorder.handle(),
    )
    .await;
    golden("prometheus-embedded", &text);
}

#[tokio::test]
async fn a_run_on_redis() {
    let recorder = recorder();
    let _current = metrics::set_default_local_recorder(&recorder);
    let (redis, facade) = (Redis::start(), MetricsFacade::new());
    let scene = script::served(&redis, facade.clone());
    let text = scraped(&facade, scene, &recorder.handle()).await;
    golden("prometheus-redis", &text);
}

#[tokio::test]
async fn a_recorder_that_comes_after_the_cache_is_told_of_what_follows() {
    let facade = MetricsFacade::new();
    let scene = script::embedded(facade.clone());
    scene.cache.set("k", &1).await.unwrap();
    let recorder = recorder();
    let _current = metrics::set_default_local_recorder(&recorder);
    scene.cache.get::<u8>("k").await.unwrap();
    facade.publish();
    let text = recorder.handle().render();
    assert!(text.contains("nearcache_hits_total 1\n"), "{text}");
    assert!(text.contains("nearcache_writes_total 1\n"), "{text}");
    let get = "nearcache_call_duration_seconds_count{outcome=\"hit\",command=\"get\"} 1";
    assert!(text.contains(get), "{text}");
}
