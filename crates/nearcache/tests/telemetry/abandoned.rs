//! A caller who goes away is told of, once, on both sides: what began also ends.

use std::sync::Arc;
use std::time::Duration;

use nearcache::Error;
use nearcache::hooks::{Call, Done, Hook, MetricsCollector};
use nearcache_testkit::Redis;
use parking_lot::Mutex;

use crate::script::{self, abandon};

/// What was begun and has not ended, and how the rest did.
#[derive(Default)]
struct Running(Mutex<(i32, Vec<String>)>);

impl Running {
    fn ended(&self, call: &Call<'_>, how: &str) {
        let mut told = self.0.lock();
        told.0 -= 1;
        told.1.push(format!("{} {how}", call.command()));
    }
}

impl Hook for Running {
    fn before(&self, _: &Call<'_>) {
        self.0.lock().0 += 1;
    }

    fn after(&self, call: &Call<'_>, _: &Done) {
        self.ended(call, "done");
    }

    fn error(&self, call: &Call<'_>, _: &Error, _: Duration) {
        self.ended(call, "failed");
    }

    fn abandoned(&self, call: &Call<'_>, _: Duration) {
        self.ended(call, "abandoned");
    }
}

#[tokio::test]
async fn what_began_ends_once() {
    let running = Arc::new(Running::default());
    let scene = script::embedded(Arc::clone(&running));
    abandon(&scene).await;
    let (running, ended) = &*running.0.lock();
    assert_eq!(*running, 0);
    assert_eq!(*ended, ["remember abandoned", "load done"]);
}

#[tokio::test]
async fn a_collector_counts_it_wherever_the_cache_is() {
    let (metrics, redis) = (Arc::new(MetricsCollector::new()), Redis::start());
    for scene in [
        script::embedded(Arc::clone(&metrics)),
        script::served(&redis, Arc::clone(&metrics)),
    ] {
        metrics.reset();
        script::run(&scene).await;
        let remember = metrics.command("remember").unwrap();
        assert_eq!(
            (remember.count, remember.errors, remember.abandoned),
            (3, 1, 1)
        );
        let get = metrics.command("get").unwrap();
        assert_eq!((get.count, get.hits, get.misses), (4, 2, 2));
        assert_eq!(metrics.total_errors(), 3);
        assert!(metrics.to_string().contains("\nget  "));
    }
}
