//! "Real-world examples and use cases": sessions, API responses, rate limits, leaderboards, analytics.

use std::time::Duration;

use nearcache::patterns::Quota;

use super::{Database, new, read, said};
use crate::target::Target;

brief_suite! {
    sessions_are_stored,
    api_responses_are_cached,
    requests_are_counted_for_a_rate_limit,
    a_rate_limiter_decides,
    a_leaderboard_is_a_sorted_set,
    analytics_in_real_time,
}

/// Session Storage.
async fn sessions_are_stored(target: Target) {
    let (cache, _) = new(target);
    call!(
        cache
            .set("session:abc", "ada")
            .ttl("30m")
            .tags(["user:ada"])
    )
    .unwrap();
    call!(
        cache
            .set("session:def", "ada")
            .ttl("30m")
            .tags(["user:ada"])
    )
    .unwrap();
    // A use extends it.
    call!(cache.expire("session:abc", "1m")).unwrap();
    let user: Option<String> = call!(cache.get("session:abc").extend("30m")).unwrap();
    assert_eq!(user.as_deref(), Some("ada"));
    let left = call!(cache.ttl("session:abc")).unwrap().duration().unwrap();
    assert!(left > Duration::from_secs(29 * 60));
    // One ends, and then all of a user.
    assert!(call!(cache.delete("session:def")).unwrap());
    call!(cache.invalidate_tag("user:ada")).unwrap();
    assert_eq!(call!(cache.get::<String>("session:abc")).unwrap(), None);
}

/// API Response Caching.
async fn api_responses_are_cached(target: Target) {
    let (cache, _) = new(target);
    let api = Database::default();
    for _ in 0..3 {
        assert_eq!(read(&cache, &api, 5).await.unwrap(), "row 5");
    }
    assert_eq!(api.queries(), 1);
    // What changes is loaded anew.
    call!(cache.delete("row:5")).unwrap();
    read(&cache, &api, 5).await.unwrap();
    assert_eq!(api.queries(), 2);
}

/// Rate Limiting: track request counts.
async fn requests_are_counted_for_a_rate_limit(target: Target) {
    let (cache, _) = new(target);
    let mut allowed = 0;
    for _ in 0..8 {
        if call!(cache.incr("requests:ada").ttl("60s")).unwrap() <= 5 {
            allowed += 1;
        }
    }
    assert_eq!(allowed, 5);
    // The window began with the first request.
    let left = call!(cache.ttl("requests:ada"))
        .unwrap()
        .duration()
        .unwrap();
    assert!(left <= Duration::from_secs(60));
    assert_eq!(call!(cache.counter("requests:ada")).unwrap(), Some(8));
    assert_eq!(call!(cache.counter("requests:bob")).unwrap(), None);
}

async fn a_rate_limiter_decides(target: Target) {
    let (cache, _) = new(target);
    for left in (0..5).rev() {
        let quota = Quota::per_hour(5);
        let decision = call!(cache.rate_limiter("api", quota).check("ada")).unwrap();
        assert!(decision.is_allowed());
        assert_eq!((decision.limit(), decision.remaining()), (5, left));
    }
    let quota = Quota::per_hour(5);
    let decision = call!(cache.rate_limiter("api", quota).check("ada")).unwrap();
    assert!(!decision.is_allowed());
    assert!(decision.retry_after() > Duration::from_secs(600));
    let quota = Quota::per_hour(5);
    assert!(
        call!(cache.rate_limiter("api", quota).check("bob"))
            .unwrap()
            .is_allowed()
    );
}

/// Leaderboard: use sorted sets for rankings.
async fn a_leaderboard_is_a_sorted_set(target: Target) {
    let (cache, prefix) = new(target);
    let scores = [("ada", 50.0), ("bob", 70.0), ("cyd", 60.0)];
    call!(cache.sorted_set::<String>("weekly").insert_many(scores)).unwrap();
    let worse = call!(
        cache
            .sorted_set::<String>("weekly")
            .insert("bob", 40)
            .only_if_greater()
    );
    assert!(!worse.unwrap());
    call!(cache.sorted_set::<String>("weekly").incr("ada", 15)).unwrap();
    let top = call!(cache.sorted_set::<String>("weekly").range(..2).rev()).unwrap();
    assert_eq!(top, ["bob", "ada"]);
    let place = call!(cache.sorted_set::<String>("weekly").rank("cyd").rev()).unwrap();
    assert_eq!(place, Some(2));
    assert_eq!(
        said(&cache, &prefix, "ZREVRANGE weekly 0 -1").await,
        "bob ada cyd"
    );
}

/// Real-time Analytics: counters and hyperloglogs.
async fn analytics_in_real_time(target: Target) {
    let (cache, prefix) = new(target);
    for _ in 0..3 {
        call!(cache.incr("views:2026-11-26").ttl("2d")).unwrap();
    }
    assert_eq!(call!(cache.counter("views:2026-11-26")).unwrap(), Some(3));
    for visitor in 0..1_000 {
        said(
            &cache,
            &prefix,
            &format!("PFADD visitors v{}", visitor % 500),
        )
        .await;
    }
    let unique: f64 = said(&cache, &prefix, "PFCOUNT visitors")
        .await
        .parse()
        .unwrap();
    assert!((unique - 500.0).abs() < 500.0 * 0.05, "{unique}");
}
