//! Rate limits: how often each user may call an API, how many attempts a login has, and calls that wait for their turn.
//!
//! An API by GCRA, with what its responses say; the same number of calls at the edge of two windows, by each algorithm;
//! outgoing calls at the rate that a partner allows; and what a check answers while Redis is away.
//!
//! ```text
//! cargo run --example rate_limit
//! cargo run --example rate_limit -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use nearcache::patterns::{Decision, Quota, WhenAway};
use nearcache::{Cache, Result};
use support::Table;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url)
        .prefix("nearcache-rate-limit")
        .build()?;

    an_api(&cache).await?;
    the_algorithms(&cache).await?;
    outgoing_calls(&cache).await?;
    while_redis_is_away().await?;

    support::closing("rate_limit", &url);
    Ok(())
}

/// 100 calls a minute for each user, 20 of them at once.
async fn an_api(cache: &Cache) -> Result<()> {
    let api = cache.rate_limiter("api", Quota::per_minute(100).burst(20));
    api.reset("alice").await?;

    // However many call at once, and from however many processes.
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let api = api.clone();
        calls.spawn(async move { api.check("alice").await });
    }
    let mut allowed = 0;
    while let Some(call) = calls.join_next().await {
        allowed += u32::from(call.expect("no task panics")?.is_allowed());
    }
    println!("  50 calls at once, 20 of 100 a minute at once: {allowed} allowed");
    assert!(
        (20..=22).contains(&allowed),
        "and what comes back meanwhile, one in 600 ms"
    );

    match api.check("alice").await? {
        Decision::Allowed { remaining, .. } => println!("  the next one: 200, {remaining} left\n"),
        Decision::Denied { retry_after, .. } => {
            println!(
                "  the next one: 429, Retry-After: {}\n",
                retry_after.as_secs_f64().ceil()
            );
            assert!(retry_after <= Duration::from_millis(600));
        }
    }
    assert!(api.check("bob").await?.is_allowed(), "each id has its own");
    api.reset("bob").await?;

    // A call can cost more than one.
    let uploads = cache.rate_limiter("uploaded megabytes", Quota::per_hour(500));
    uploads.reset("alice").await?;
    assert!(uploads.check("alice").cost(450).await?.is_allowed());
    let denied = uploads.check("alice").cost(100).await?;
    assert!(!denied.is_allowed() && denied.remaining() >= 50);
    println!(
        "  100 MB more of 500 an hour: {} are left, nothing was taken\n",
        denied.remaining()
    );
    Ok(())
}

/// What each algorithm gives around the edge of two windows of 200 ms, with 10 permits a window.
async fn the_algorithms(cache: &Cache) -> Result<()> {
    let period = Duration::from_millis(200);
    let quota = || Quota::per(10, period);
    let mut table = Table::new(["10 in 200 ms", "at most in 200 ms", "given"]);
    for (name, limiter, most) in [
        (
            "GCRA, a burst of 10",
            cache.rate_limiter("g", quota()).gcra(),
            20,
        ),
        (
            "sliding window",
            cache.rate_limiter("s", quota()).sliding_window(),
            10,
        ),
        (
            "fixed window",
            cache.rate_limiter("f", quota()).fixed_window(),
            20,
        ),
    ] {
        limiter.reset("edge").await?;
        // 100 ms long, with the edge of a window in the middle.
        let begin = next_edge(period) - Duration::from_millis(50);
        tokio::time::sleep_until(begin.into()).await;
        let mut given = 0;
        while begin.elapsed() < Duration::from_millis(100) {
            given += u32::from(limiter.check("edge").await?.is_allowed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(given <= most, "{name}");
        table.row([name, &most.to_string(), &given.to_string()]);
    }
    println!("{table}");
    Ok(())
}

/// When the next window begins that can still be prepared for.
fn next_edge(period: Duration) -> Instant {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let over = now.unwrap_or_default().as_micros() % period.as_micros();
    let left = period.as_micros() - over;
    Instant::now() + Duration::from_micros(left as u64) + period
}

/// A partner that allows 20 calls a second, and counts each.
async fn outgoing_calls(cache: &Cache) -> Result<()> {
    let partner = cache.rate_limiter("partner", Quota::per_second(20).burst(1));
    partner.reset("api.example.com").await?;
    let begun = Instant::now();
    for _ in 0..5 {
        let turn = partner.until_ready("api.example.com").await?;
        assert!(turn.is_allowed());
        // ... the call
    }
    let took = begun.elapsed();
    println!("  5 calls at 20 a second took {took:.0?}");
    assert!(took >= Duration::from_millis(190));

    // Who cannot wait that long learns it at once.
    let turn = partner
        .until_ready("api.example.com")
        .max_wait("1ms")
        .await?;
    assert!(!turn.is_allowed());
    println!("  the next one could begin in {:.0?}\n", turn.retry_after());
    Ok(())
}

async fn while_redis_is_away() -> Result<()> {
    let nobody_listens_here = "redis://127.0.0.1:1";
    let cache = Cache::open(nobody_listens_here)?;
    let limiter = |name, when_away| {
        cache
            .rate_limiter(name, Quota::per_hour(3))
            .when_away(when_away)
    };
    let mut table = Table::new(["Redis is away", "5 checks, 3 an hour"]);
    for (name, when_away, expected) in [
        ("Local (the default)", WhenAway::Local, 3),
        ("Allow", WhenAway::Allow, 5),
        ("Deny", WhenAway::Deny, 0),
    ] {
        let limiter = limiter(name, when_away);
        let mut allowed = 0;
        for _ in 0..5 {
            let decision = limiter.check("alice").await?;
            assert!(decision.is_away());
            allowed += u32::from(decision.is_allowed());
        }
        assert_eq!(allowed, expected, "{name}");
        table.row([name, &format!("{allowed} allowed")]);
    }
    println!("{table}");
    Ok(())
}
