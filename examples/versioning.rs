//! Versions of keys: a deploy with a changed struct, beside the one that is still running.
//!
//! With a version, neither reads the other's entries. Without one, what cannot be read is a miss that makes
//! room for what can.
//!
//! ```text
//! cargo run --example versioning
//! cargo run --example versioning -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};

/// Of the release that is running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserOfV1 {
    name: String,
}

/// Of the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserOfV2 {
    first_name: String,
    last_name: String,
}

fn of_v1() -> UserOfV1 {
    UserOfV1 {
        name: "Ada Lovelace".to_owned(),
    }
}

fn of_v2() -> UserOfV2 {
    UserOfV2 {
        first_name: "Ada".to_owned(),
        last_name: "Lovelace".to_owned(),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    // An embedded store that both see; a server is one for both anyway.
    let shared = if url == "memory://" {
        "memory://versioning"
    } else {
        &url
    };
    let of_version = |version: &str| {
        let builder = Cache::builder(shared).prefix("nearcache-versioning");
        builder.version(version).build()
    };
    let (running, next) = (of_version("v1")?, of_version("v2")?);

    running.set("user:1", &of_v1()).ttl("1h").await?;
    let load = async || Ok::<_, nearcache::Error>(of_v2());
    assert_eq!(next.remember("user:1", load).ttl("1h").await?, of_v2());
    assert_eq!(running.get("user:1").await?, Some(of_v1()));
    println!("Both releases have their own user:1.");

    // Without a version: what is not readable is a miss, and gone.
    let cache = Cache::builder(shared)
        .prefix("nearcache-versioning:none")
        .build()?;
    cache.set("user:1", &of_v1()).await?;
    assert_eq!(cache.get::<UserOfV2>("user:1").await?, None);
    assert!(!cache.contains("user:1").await?);
    assert!(cache.add("user:1", &of_v2()).ttl("1h").await?);
    assert_eq!(cache.get("user:1").await?, Some(of_v2()));
    println!(
        "Without versions the old one made room: {} undecodable.",
        cache.stats().undecodable
    );

    for cache in [running, next, cache] {
        cache.clear().await?;
    }
    support::closing("versioning", &url);
    Ok(())
}
