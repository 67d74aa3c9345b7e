//! The data structures of Redis, in this process: what each is for, in a line or two of commands.
//!
//! ```text
//! cargo run --example structures
//! cargo run --example structures -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::redis::{self, FromRedisValue, RedisResult};
use nearcache::{Cache, SharedConnection};

/// Runs a command line, in which `:name` is a key of this example.
async fn run<T: FromRedisValue>(redis: &mut SharedConnection, line: &str) -> RedisResult<T> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        match word.strip_prefix(':') {
            Some(name) => command.arg(format!("nearcache-structures:{name}")),
            None => command.arg(word),
        };
    }
    command.query_async(redis).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::builder(&support::url())
        .prefix("nearcache-structures")
        .build()?;
    let redis = &mut cache.shared_connection();
    cache.clear().await?;

    // The fields of a thing.
    let user = cache.hash("user");
    user.set_many([("name", "Ada"), ("city", "London")]).await?;
    let name: Option<String> = user.get("name").await?;
    assert_eq!(name.as_deref(), Some("Ada"));
    println!(
        "hash         the user's name is {}",
        name.unwrap_or_default()
    );

    // What came last.
    let pages = cache.list::<String>("recent");
    let newest = pages.push_front_many(["home", "prices", "help"]);
    newest.cap(100).await?;
    let recent = pages.range(..2).await?;
    assert_eq!(recent, ["help", "prices"]);
    println!("list         the last pages are {}", recent.join(" and "));

    // Who is there, each once.
    let users = cache.set_of::<String>("online");
    users.insert_many(["ada", "bob", "ada"]).await?;
    let online = users.len().await?;
    assert_eq!(online, 2);
    println!("set          {online} users are online");

    // A leaderboard.
    let board = cache.sorted_set::<String>("board");
    board
        .insert_many([("ada", 7.0), ("bob", 9.0), ("eve", 4.0)])
        .await?;
    let best = board.range(..1).rev().await?;
    let before_ada = board.rank("ada").rev().await?.unwrap_or_default();
    assert_eq!((&*best[0], before_ada), ("bob", 1));
    println!("sorted set   {} leads; {before_ada} is before ada", best[0]);

    // A flag for each of many.
    run::<()>(redis, "SETBIT :seen 1000000 1").await?;
    let seen: u32 = run(redis, "BITCOUNT :seen").await?;
    assert_eq!(seen, 1);
    println!("bitmap       {seen} of a million has seen it");

    // How many different ones there are, within 1 %, in 12 KB.
    for visit in 0..5_000 {
        run::<()>(redis, &format!("PFADD :visitors visitor-{}", visit % 2_500)).await?;
    }
    let visitors: u32 = run(redis, "PFCOUNT :visitors").await?;
    assert!((2_400..2_600).contains(&visitors));
    println!("HyperLogLog  5,000 visits were by about {visitors} visitors");

    // What is near.
    run::<()>(
        redis,
        "GEOADD :shops -0.1278 51.5074 London 2.3522 48.8566 Paris",
    )
    .await?;
    let near = "GEOSEARCH :shops FROMLONLAT 2.35 48.85 BYRADIUS 20 km ASC";
    let near: Vec<String> = run(redis, near).await?;
    assert_eq!(near, ["Paris"]);
    println!("geo          the shop within 20 km is in {}", near[0]);

    // A log that several workers share.
    run::<()>(redis, "XADD :orders 1-1 item book").await?;
    run::<()>(redis, "XGROUP CREATE :orders mail 0").await?;
    let orders = "XREADGROUP GROUP mail worker-1 STREAMS :orders >";
    run::<redis::Value>(redis, orders).await?;
    let acknowledged: u32 = run(redis, "XACK :orders mail 1-1").await?;
    assert_eq!(acknowledged, 1);
    println!("stream       a worker has done {acknowledged} order");

    cache.clear().await?;
    Ok(())
}
