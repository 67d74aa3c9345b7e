//! A cache with the life cycle of a component: it is configured, given a discovery service, opened, used, closed. At
//! the end it measures the cost of a maximum number of values.
//!
//! ```text
//! cargo run --release --example component
//! cargo run --release --example component -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use nearcache::compat::component::{Component, InMemory, Params, References};
use nearcache::{ErrorKind, Result};
use support::{Table, count, time};

#[tokio::main]
async fn main() -> Result<()> {
    let url = match support::url() {
        url if url == "memory://" => "memory://example".to_owned(),
        url => url,
    };
    let services = InMemory::new().with("main-redis", Params::from([("uri", &url)]));

    let cache = Component::new();
    cache.configure(&Params::from([
        ("connection.discovery_key", "main-redis"),
        ("options.prefix", "nearcache-component"),
        ("options.max_size", "3"),
    ]));
    let early = cache.store("123", "key1", "ABC", None).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::NotOpen);
    println!("Too early: {early}");
    let unknown = cache.open("123").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unresolved);
    println!("No discovery service: {unknown}\n");

    cache.set_references(&References::new().discovery("default", services));
    cache.open("123").await?;
    cache
        .store("123", "key1", "ABC", Some(Duration::from_secs(10)))
        .await?;
    let value: Option<String> = cache.retrieve("123", "key1").await?;
    assert_eq!(value.as_deref(), Some("ABC"));

    // At most three values: the one that expires first is evicted.
    for (key, seconds) in [("key2", 30), ("key3", 20), ("key4", 40)] {
        cache
            .store("123", key, seconds, Some(Duration::from_secs(seconds)))
            .await?;
    }
    let mut there = Vec::new();
    for key in ["key1", "key2", "key3", "key4"] {
        if cache.remove::<u64>("123", key).await?.is_some() {
            there.push(key);
        }
    }
    assert_eq!(there, ["key2", "key3", "key4"]);
    println!(
        "Of four values, with room for three: {}\n",
        there.join(", ")
    );
    cache.close("123").await?;

    let mut table = Table::new(["max_size", "keys", "one store"]);
    for (max_size, keys) in sizes() {
        let took = one_store(&url, max_size, keys).await?;
        let name = if max_size == 0 {
            "none".to_owned()
        } else {
            count(max_size)
        };
        table.row([name, count(keys), time(took)]);
    }
    println!(
        "The cost of max_size when it is reached (keys of 20 bytes, one call at a time):\n\n{table}"
    );
    support::closing("component", &url);
    Ok(())
}

/// Values of `max_size`, and how many values are stored before the measurement.
fn sizes() -> Vec<(u32, u32)> {
    let sizes = [(0, 100), (100, 100), (1_000, 1_000), (10_000, 10_000)];
    let largest = if cfg!(debug_assertions) {
        1_000
    } else {
        10_000
    };
    sizes
        .into_iter()
        .filter(|(size, _)| *size <= largest)
        .collect()
}

/// How long a `store` takes when the cache is full.
async fn one_store(url: &str, max_size: u32, keys: u32) -> Result<Duration> {
    const STORES: u32 = 500;
    let cache = Component::new();
    cache.configure(
        &Params::from([
            ("connection.uri", url),
            ("options.prefix", "nearcache-component"),
        ])
        .with("options.max_size", max_size)
        .with("options.call_timeout", 10_000),
    );
    cache.open(None).await?;
    let store = async |number: u32| {
        cache
            .store(None, &format!("key:{number:016}"), "value", None)
            .await
    };
    for number in 0..keys {
        store(number).await?;
    }
    let begun = Instant::now();
    for number in keys..keys + STORES {
        store(number).await?;
    }
    let took = begun.elapsed() / STORES;
    nearcache::Cache::builder(url)
        .prefix("nearcache-component")
        .build()?
        .clear()
        .await?;
    cache.close(None).await?;
    Ok(took)
}
