//! Serving an old value: while a new one is loading, if loading fails, and if it takes too long.
//!
//! A forecast from a weather service, which takes 100 ms, and is sometimes off line or slow. It is fresh for only 300
//! ms, so that the example is short.
//!
//! ```text
//! cargo run --example stale
//! cargo run --example stale -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nearcache::{Cache, Result};
use support::{Table, time};
use tokio::time::sleep;

const FRESH: Duration = Duration::from_millis(300);
const LOAD: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_millis(50);

/// The state of the service.
#[derive(Clone, Copy)]
enum Service {
    Well,
    OffLine,
    Slow,
}

/// A weather service that counts its answers.
#[derive(Clone, Default)]
struct Weather(Arc<AtomicU32>);

impl Weather {
    async fn ask(self, service: Service) -> io::Result<String> {
        sleep(match service {
            Service::Well | Service::OffLine => LOAD,
            Service::Slow => SLOW,
        })
        .await;
        match service {
            Service::OffLine => Err(io::Error::other("the service is off line")),
            Service::Well | Service::Slow => {
                let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
                Ok(format!("forecast {number}"))
            }
        }
    }
}

/// A table of the answers.
struct Story {
    cache: Cache,
    weather: Weather,
    table: Table<4>,
}

impl Story {
    fn tell(&mut self, when: &str, how: &str, answer: &str, took: Duration) {
        self.table.row([when, how, answer, &time(took)]);
    }

    /// Returns a value up to a minute past its TTL at once, and reloads it in the background.
    async fn stale_for(&mut self, when: &str) -> Result<String> {
        let (start, weather) = (Instant::now(), self.weather.clone());
        let answer = self
            .cache
            .remember("weather", || weather.ask(Service::Well))
            .ttl(FRESH)
            .stale_for("1m")
            .await?;
        self.tell(when, ".stale_for(\"1m\")", &answer, start.elapsed());
        Ok(answer)
    }

    /// Returns a value up to an hour past its TTL, if loading fails.
    async fn stale_if_error(&mut self, when: &str, service: Service) -> Result<String> {
        let (start, weather) = (Instant::now(), self.weather.clone());
        let answer = self
            .cache
            .remember("weather", move || weather.ask(service))
            .ttl(FRESH)
            .stale_if_error("1h")
            .await?;
        self.tell(when, ".stale_if_error(\"1h\")", &answer, start.elapsed());
        Ok(answer)
    }

    /// The same, and also if loading takes too long.
    async fn soft_timeout(&mut self, when: &str, service: Service) -> Result<String> {
        let (start, weather) = (Instant::now(), self.weather.clone());
        let answer = self
            .cache
            .remember("weather", move || weather.ask(service))
            .ttl(FRESH)
            .stale_if_error("1h")
            .soft_timeout(PATIENCE)
            .await?;
        self.tell(when, "  .soft_timeout(50ms)", &answer, start.elapsed());
        Ok(answer)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-stale").build()?;
    cache.clear().await?;
    println!(
        "A forecast takes {} to load and is fresh for {}, at {}\n",
        time(LOAD),
        time(FRESH),
        support::shown(&url)
    );
    let mut story = Story {
        cache: cache.clone(),
        weather: Weather::default(),
        table: Table::new(["", "asked with", "answer", "took"])
            .left(1)
            .left(2),
    };

    // While a new value is loading, the old one is returned.
    assert_eq!(story.stale_for("nothing cached").await?, "forecast 1");
    assert_eq!(story.stale_for("fresh").await?, "forecast 1");
    sleep(FRESH).await;
    assert_eq!(story.stale_for("past its time").await?, "forecast 1");
    stored(&cache, 2).await;
    assert_eq!(story.stale_for("a moment later").await?, "forecast 2");

    // An old forecast is better than none.
    let well = Service::Well;
    sleep(FRESH).await;
    assert_eq!(
        story.stale_if_error("past its time", well).await?,
        "forecast 3"
    );
    sleep(FRESH).await;
    let off_line = Service::OffLine;
    assert_eq!(
        story.stale_if_error("service off line", off_line).await?,
        "forecast 3"
    );
    let errors = cache.stats().load_errors;
    assert_eq!(errors, 1, "the error is counted, and not hidden");

    // And better than a long wait. The load goes on in the background.
    assert_eq!(
        story.soft_timeout("service slow", Service::Slow).await?,
        "forecast 3"
    );
    stored(&cache, 4).await;
    assert_eq!(
        story
            .soft_timeout("when it is loaded", Service::Well)
            .await?,
        "forecast 4"
    );
    print!("{}", story.table);

    // An invalidated value is never returned, however old a value the caller accepts.
    cache.delete("weather").await?;
    let error = story.stale_if_error("", off_line).await.unwrap_err();
    println!("\n  Deleted while the service is off line: there is no old forecast any more.");
    println!("    {error}");

    let stats = cache.stats();
    println!(
        "\n  {} loads of which {} failed, {} stale answers, {} refresh in the background",
        stats.loads, stats.load_errors, stats.stale_hits, stats.refreshes
    );

    cache.clear().await?;
    support::closing("stale", &url);
    Ok(())
}

/// Waits until the cache has stored this many values.
async fn stored(cache: &Cache, writes: u64) {
    while cache.stats().writes < writes {
        sleep(Duration::from_millis(1)).await;
    }
}
