//! Hooks: they are told of every call. Built-in ones, and one of your own.
//!
//! A hundred requests read through a cache. A collector counts them and computes percentiles; a hook of our own keeps
//! the slowest call, and the time that the loads took.
//!
//! ```text
//! cargo run --example hooks
//! cargo run --example hooks -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcache::hooks::{Call, Done, Hook, MetricsCollector};
use nearcache::{Cache, Error, Result};

/// Keeps the slowest call, and the calls that failed.
#[derive(Default)]
struct Watchman {
    slowest: Mutex<(String, Duration)>,
    failures: Mutex<Vec<String>>,
}

impl Hook for Watchman {
    fn after(&self, call: &Call<'_>, done: &Done) {
        let mut slowest = self.slowest.lock().expect("nobody panics here");
        if done.took > slowest.1 {
            let key = call
                .key()
                .map(|key| format!(" of {key:?}"))
                .unwrap_or_default();
            let outcome = done.outcome.as_str();
            *slowest = (format!("{}{key}: {outcome}", call.command()), done.took);
        }
    }

    fn error(&self, call: &Call<'_>, error: &Error, _: Duration) {
        let told = format!("{}: {:?}", call.command(), error.kind());
        self.failures.lock().expect("nobody panics here").push(told);
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let (metrics, watchman) = (
        Arc::new(MetricsCollector::new()),
        Arc::new(Watchman::default()),
    );
    let cache = Cache::builder(&url)
        .prefix("nearcache-hooks")
        .hook(metrics.clone())
        .hook(watchman.clone())
        .build()?;
    cache.clear().await?;
    metrics.reset();

    for request in 0..100u64 {
        let id = request % 10;
        let load = async move || {
            tokio::time::sleep(Duration::from_millis(2)).await;
            format!("user {id}")
        };
        cache
            .remember_with(format!("user:{id}"), load)
            .ttl("1h")
            .await?;
    }
    // The value is not a counter: hooks are told of the error.
    let error = cache
        .incr("user:1")
        .await
        .expect_err("text is not a number");
    println!("{error}\n");

    println!("{metrics}");
    let remember = metrics.command("remember").expect("it was called");
    println!("hits {}, misses {}", remember.hits, remember.misses);
    assert_eq!(
        (remember.count, remember.hits, remember.misses),
        (100, 90, 10)
    );
    assert_eq!(
        (metrics.count("load"), metrics.error_count("incr")),
        (10, 1)
    );

    let (slowest, took) = watchman.slowest.lock().expect("nobody panics here").clone();
    println!("the slowest call: {slowest}, {}", support::time(took));
    assert!(took >= Duration::from_millis(2));
    let failures = watchman
        .failures
        .lock()
        .expect("nobody panics here")
        .clone();
    assert_eq!(failures, ["incr: NotInteger"]);

    cache.clear().await?;
    support::closing("hooks", &url);
    Ok(())
}
