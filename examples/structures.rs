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
    let cache = Cache::open(&support::url())?;
    let redis = &mut cache.shared_connection();
    let all = "DEL :user :recent :online :board :seen :visitors :shops :orders";
    run::<()>(redis, all).await?;

    // The fields of a thing.
    run::<()>(redis, "HSET :user name Ada city London").await?;
    let name: String = run(redis, "HGET :user name").await?;
    assert_eq!(name, "Ada");
    println!("hash         the user's name is {name}");

    // What came last.
    run::<()>(redis, "LPUSH :recent home prices help").await?;
    let recent: Vec<String> = run(redis, "LRANGE :recent 0 1").await?;
    assert_eq!(recent, ["help", "prices"]);
    println!("list         the last pages are {}", recent.join(" and "));

    // Who is there, each once.
    run::<()>(redis, "SADD :online ada bob ada").await?;
    let online: u32 = run(redis, "SCARD :online").await?;
    assert_eq!(online, 2);
    println!("set          {online} users are online");

    // A leaderboard.
    run::<()>(redis, "ZADD :board 7 ada 9 bob 4 eve").await?;
    let best: Vec<String> = run(redis, "ZRANGE :board 0 0 REV").await?;
    let before_ada: u32 = run(redis, "ZREVRANK :board ada").await?;
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

    run::<()>(redis, all).await?;
    Ok(())
}
