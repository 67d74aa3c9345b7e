//! `#[cached]`: caching the results of a function, and the functions that go with it.
//!
//! A hundred tasks ask for a user, and the database is asked once. After that: a missing user, the other functions, a
//! tag, and a method.
//!
//! ```text
//! cargo run --example decorator
//! cargo run --example decorator -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nearcache::{Cache, Result, cached};
use serde::{Deserialize, Serialize};

/// Opened by the first call, at the URL of the command line.
static CACHE: LazyLock<Cache> = LazyLock::new(|| {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-decorator");
    cache.build().expect("the URL of a cache")
});

/// How often the database was asked.
static ASKED: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

/// A database query, cached for an hour under `user:7`.
#[cached(cache = CACHE, key = "user:{id}", ttl = "1h", negative_ttl = "1m", tags = ["users"])]
async fn find_user(id: u64) -> Result<Option<User>> {
    ASKED.fetch_add(1, Ordering::Relaxed);
    let name = ["Alice", "Bob"].get(id as usize);
    Ok(name.map(|name| User {
        id,
        name: (*name).to_owned(),
    }))
}

/// A service that has its cache in a field. It is cheap to clone: a load gets a clone.
#[derive(Clone, Debug)]
struct Shop {
    cache: Cache,
    currency: &'static str,
}

impl Shop {
    /// Without a `key`, the function's name and arguments are the key.
    #[cached(cache = self.cache, ttl = "10s", stale_for = "1h")]
    async fn price(&self, article: &str, pieces: u32) -> String {
        ASKED.fetch_add(1, Ordering::Relaxed);
        format!("{} {} {article}", pieces * 3, self.currency)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    CACHE.clear().await?;
    println!("at {}\n", support::shown(&support::url()));

    // A hundred tasks ask at once: one of them runs the function, the others wait for its result.
    let asking: Vec<_> = (0..100).map(|_| tokio::spawn(find_user(0))).collect();
    for task in asking {
        let user = task.await.expect("no task panics")?;
        assert_eq!(user.map(|user| user.name).as_deref(), Some("Alice"));
    }
    println!(
        "  100 tasks asked for a user, the database was asked {} time",
        asked()
    );

    // "No such user" is cached, too.
    for _ in 0..10 {
        assert_eq!(find_user(404).await?, None);
    }
    println!(
        "  10 times no user was found: the database was asked {} time",
        asked()
    );

    // The other functions.
    let eve = User {
        id: 404,
        name: "Eve".into(),
    };
    find_user::prime(404, Some(eve.clone())).await?;
    assert_eq!(find_user(404).await?, Some(eve));
    assert!(find_user::invalidate(404).await?);
    assert_eq!(find_user::uncached(404).await?, None);
    let (key, left) = (find_user::key(0)?, CACHE.ttl(find_user::key(0)?).await?);
    println!(
        "  primed, invalidated, and called without the cache: the database was asked {} time",
        asked()
    );
    println!(
        "  {key:?} expires in {:.0?}",
        left.duration().expect("a TTL")
    );

    // The tag invalidates them all.
    CACHE.invalidate_tag("users").await?;
    find_user(0).await?;
    assert_eq!(asked(), 1);

    // A method, whose key is its name and arguments.
    let shop = Shop {
        cache: CACHE.clone(),
        currency: "EUR",
    };
    for _ in 0..10 {
        assert_eq!(shop.price("pens", 2).await, "6 EUR pens");
    }
    println!(
        "  a method: the source was asked {} time for {:?}",
        asked(),
        shop.price_key("pens", 2)?
    );

    CACHE.clear().await?;
    support::closing("decorator", &support::url());
    Ok(())
}

/// How often the source was asked since the last call of this function.
fn asked() -> u32 {
    ASKED.swap(0, Ordering::Relaxed)
}
