//! Caching that a value does not exist.
//!
//! Crawlers and typos ask for users that do not exist. Without a cached nothing, each of these requests goes to the
//! database; with it, only the first one does. The cached nothing has a TTL of its own, and is deleted when the user
//! is created.
//!
//! ```text
//! cargo run --example negative
//! cargo run --example negative -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use nearcache::{Cache, Lookup, Remaining, Result};
use serde::{Deserialize, Serialize};
use support::{Table, count, time};

const REQUESTS: u32 = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
}

/// The source: users by their number. It counts how often it was asked.
#[derive(Clone, Default)]
struct Users {
    rows: Arc<Mutex<HashMap<u32, User>>>,
    asked: Arc<AtomicU32>,
}

impl Users {
    fn add(&self, id: u32, name: &str) {
        let name = name.to_owned();
        self.rows.lock().unwrap().insert(id, User { name });
    }

    /// `None` means that there is no such user; an error, that this is not known.
    async fn find(self, id: u32) -> io::Result<Option<User>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if id == 13 {
            return Err(io::Error::other("the disk is on fire"));
        }
        Ok(self.rows.lock().unwrap().get(&id).cloned())
    }

    fn asked(&self) -> u32 {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

/// A user, cached for an hour, or "no such user", cached for a minute.
async fn user(cache: &Cache, users: &Users, id: u32) -> Result<Option<User>> {
    let users = users.clone();
    cache
        .remember(format!("user:{id}"), move || users.find(id))
        .ttl("1h")
        .negative_ttl("1m")
        .await
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-negative").build()?;
    cache.clear().await?;
    let users = Users::default();
    users.add(1, "Alice");

    let mut table = Table::new(["asked for", "requests", "answer", "database asked"]);
    for (id, expected) in [(1, Some("Alice")), (404, None)] {
        for _ in 0..REQUESTS {
            let found = user(&cache, &users, id).await?;
            assert_eq!(found.as_ref().map(|user| &*user.name), expected);
        }
        let asked = users.asked();
        assert_eq!(asked, 1, "one request of {REQUESTS}");
        table.row([
            &format!("user:{id}"),
            &count(REQUESTS),
            expected.unwrap_or("None"),
            &asked.to_string(),
        ]);
    }
    println!("{table}");

    // `get` returns None for both; `lookup` distinguishes a cached nothing from a miss.
    let mut table = Table::new(["lookup", "", "for"]).left(1);
    for id in [1, 404, 405] {
        let key = format!("user:{id}");
        let found = cache.lookup::<User>(&key).await?;
        let says = match &found {
            Lookup::Hit(user) => format!("Hit: {}", user.name),
            Lookup::Nothing => "Nothing: known not to exist".to_owned(),
            Lookup::Miss => "Miss: not known".to_owned(),
        };
        let left = match cache.ttl(&key).await? {
            Remaining::In(left) => time(left),
            _ => "-".to_owned(),
        };
        assert_eq!(found == Lookup::Nothing, id == 404);
        table.row([key, says, left]);
    }
    println!("{table}");

    // An error is not a nothing, and is not cached.
    for _ in 0..2 {
        let error = user(&cache, &users, 13).await.unwrap_err();
        assert!(error.downcast_ref::<io::Error>().is_some());
    }
    assert_eq!(users.asked(), 2);
    println!(
        "  user:13 was an error twice, and the database was asked twice: errors are not cached."
    );

    // User 404 registers. As after every change of the source, the entry is deleted.
    users.add(404, "Newcomer");
    cache.delete("user:404").await?;
    let found = user(&cache, &users, 404).await?;
    assert_eq!(found.map(|user| user.name).as_deref(), Some("Newcomer"));
    println!("  user:404 registers, and the cached nothing is deleted: found at once.");

    let stats = cache.stats();
    println!(
        "\n  {} nothings among {} answers from the cache",
        count(stats.nothings),
        count(stats.hits + stats.nothings)
    );

    cache.clear().await?;
    support::closing("negative", &url);
    Ok(())
}
