//! The application's own `tracing`: spans, events, their bounds, and what goes along to a loader.

use std::time::Duration;

use nearcache::hooks::{KeyGroups, Tracing};
use nearcache_testkit::Logs;
use tracing::Instrument;

use crate::script::{self, abandon};

/// Those of this thread, as the tests' runtimes have but one.
fn listening() -> Logs {
    Logs::up_to(tracing::Level::DEBUG)
}

#[tokio::test]
async fn a_loader_is_in_the_spans_of_its_load_its_call_and_the_request() {
    let log = listening();
    let scene = script::embedded(Tracing::new().keys(KeyGroups::automatic()));
    let asked = scene.cache.remember("user:7", async || {
        tracing::info!("the query");
        Ok::<_, nearcache::Error>(1u8)
    });
    let request = tracing::info_span!("request");
    asked.into_future().instrument(request).await.unwrap();
    let text = log.text();
    let query = text
        .lines()
        .find(|line| line.contains("the query"))
        .unwrap();
    let spans = [
        "request:nearcache{command=\"remember\" host=\"memory://\" keys=1 group=\"user:*\"}",
        ":nearcache{command=\"load\" host=\"memory://\" keys=1 group=\"user:*\"}: ",
    ];
    assert!(query.contains(&spans.concat()), "{text}");
}

#[tokio::test]
async fn without_a_hook_a_loader_is_in_the_span_of_the_request() {
    let log = listening();
    let cache = nearcache::Cache::open("memory://").unwrap();
    let asked = cache.remember("k", async || {
        tracing::info!("the query");
        Ok::<_, nearcache::Error>(1u8)
    });
    let request = tracing::info_span!("request");
    asked.into_future().instrument(request).await.unwrap();
    assert!(log.text().contains("INFO request: "), "{}", log.text());
}

#[tokio::test]
async fn what_fails_and_what_is_slow_is_an_event_without_key_or_value() {
    let log = listening();
    let scene = script::embedded(Tracing::new().slow(Duration::ZERO));
    scene.cache.set("secret-key", "secret-value").await.unwrap();
    scene.cache.incr("secret-key").await.unwrap_err();
    abandon(&scene).await;
    let text = log.text();
    assert_eq!(log.count("a call of the cache was slow"), 2, "{text}");
    assert_eq!(log.count("a call of the cache failed"), 1, "{text}");
    assert!(text.contains("error=\"not_integer\""), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_storm_of_failures_is_a_few_lines() {
    let log = listening();
    let scene = script::embedded(Tracing::new().spans_per_second(5).events_per_second(3));
    scene.cache.set("text", "x").await.unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..1_000 {
        scene.cache.incr("text").await.unwrap_err();
    }
    // However slow the machine was.
    let seconds = begun.elapsed().as_secs() as usize + 2;
    assert!(log.count("a call of the cache failed") <= 3 * seconds);
    assert!(
        log.count("nearcache::call: new") <= 5 * seconds,
        "{}",
        log.text()
    );
    assert!(log.count("a call of the cache failed") >= 3);
}
