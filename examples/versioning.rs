//! Key versions: deploying a changed struct next to the running release.
//!
//! With a version, neither release reads the other's entries. Without one, an entry that cannot be decoded is a miss:
//! a read leaves it as it is, a load writes over it.
//!
//! ```text
//! cargo run --example versioning
//! cargo run --example versioning -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};

/// The struct of the running release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserOfV1 {
    name: String,
}

/// The struct of the next release.
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
    // An embedded store that both releases share, as they would share a server.
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
    let load = async || of_v2();
    assert_eq!(next.remember_with("user:1", load).ttl("1h").await?, of_v2());
    assert_eq!(running.get("user:1").await?, Some(of_v1()));
    println!("Both releases have their own user:1.");

    // Without a version: an entry that cannot be decoded is a miss. A read leaves it to the release that can read it; a
    // load writes over it.
    let cache = Cache::builder(shared)
        .prefix("nearcache-versioning:none")
        .build()?;
    cache.set("user:1", &of_v1()).await?;
    assert_eq!(cache.get::<UserOfV2>("user:1").await?, None);
    assert_eq!(cache.get("user:1").await?, Some(of_v1()));
    assert_eq!(
        cache.remember_with("user:1", load).ttl("1h").await?,
        of_v2()
    );
    assert_eq!(cache.get("user:1").await?, Some(of_v2()));
    assert_eq!(cache.get::<UserOfV1>("user:1").await?, None);
    println!(
        "Without versions, each finds the other's entry and cannot decode it: {} times.",
        cache.stats().undecodable
    );

    for cache in [running, next, cache] {
        cache.clear().await?;
    }
    support::closing("versioning", &url);
    Ok(())
}
