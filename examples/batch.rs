//! Many keys at once: one round trip instead of a thousand.
//!
//! Writes, reads and deletes 1,000 entries, first one by one, then with `set_many`, `get_many` and `delete_many`. Up
//! to 1,000 keys go in one round trip; larger batches are split. In this process there is no round trip to save, and
//! the difference is small: run it on a server.
//!
//! ```text
//! cargo run --release --example batch -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};
use support::{Table, time, times};

const ENTRIES: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: usize,
    name: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url)
        .prefix("nearcache-batch")
        .default_ttl("10m")
        .build()?;
    let users: Vec<User> = (0..ENTRIES)
        .map(|id| User {
            id,
            name: format!("User {id}"),
        })
        .collect();
    let keys: Vec<String> = (0..ENTRIES).map(|id| format!("user:{id}")).collect();

    // A warm-up that is not measured: the first call connects, and allocates memory.
    cache.set_many(keys.iter().zip(&users)).await?;
    cache.clear().await?;

    // One by one: each call waits for its reply.
    let start = Instant::now();
    for (key, user) in keys.iter().zip(&users) {
        cache.set(key, user).await?;
    }
    let set = start.elapsed();

    let start = Instant::now();
    let mut read = Vec::new();
    for key in &keys {
        read.push(cache.get::<User>(key).await?);
    }
    let get = start.elapsed();
    assert!(read.iter().flatten().eq(&users));

    let start = Instant::now();
    for key in &keys {
        assert!(cache.delete(key).await?);
    }
    let delete = start.elapsed();

    // Together.
    let start = Instant::now();
    cache.set_many(keys.iter().zip(&users)).ttl("1h").await?;
    let set_many = start.elapsed();

    let start = Instant::now();
    let read: Vec<Option<User>> = cache.get_many(&keys).await?;
    let get_many = start.elapsed();
    assert!(read.iter().flatten().eq(&users));

    // The answers are in the order of the keys, with None for a missing one.
    let some: Vec<Option<User>> = cache.get_many(["user:7", "user:x", "user:8"]).await?;
    assert_eq!(some, [Some(users[7].clone()), None, Some(users[8].clone())]);

    let start = Instant::now();
    let deleted = cache.delete_many(&keys).await?;
    let delete_many = start.elapsed();
    assert_eq!(deleted, ENTRIES as u64); // it says how many there were

    println!("{ENTRIES} users at {}\n", support::shown(&url));
    let mut table = Table::new(["", "one by one", "together", "faster"]);
    let mut row = |verb: &str, single: Duration, many: Duration| {
        table.row([verb, &time(single), &time(many), &times(single, many)]);
    };
    row("set", set, set_many);
    row("get", get, get_many);
    row("delete", delete, delete_many);
    if url.starts_with("memory:") {
        println!("{table}\n  In this process there is no round trip to save.");
    } else {
        table.row(["round trips", "1,000", "1", ""]);
        print!("{table}");
    }

    support::closing("batch", &url);
    Ok(())
}
