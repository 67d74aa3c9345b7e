//! "Real-world examples and use cases": sessions, API responses, rate limits, leaderboards, analytics.

use std::time::Duration;

use nearcache::patterns::Quota;
use serde::{Deserialize, Serialize};

use super::{Database, new, read, said};
use crate::target::Target;

brief_suite! {
    sessions_are_stored,
    api_responses_are_cached,
    requests_are_counted_for_a_rate_limit,
    a_rate_limiter_decides,
    a_leaderboard_is_a_sorted_set,
    a_leaderboard_ranks,
    analytics_in_real_time,
    analytics_per_day,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Login {
    name: String,
    cart: Vec<u32>,
}

/// Session Storage: store user sessions in web applications.
async fn sessions_are_stored(target: Target) {
    let (cache, prefix) = new(target);
    let ada = |cart: &[u32]| Login {
        name: "ada".to_owned(),
        cart: cart.to_vec(),
    };
    let id = call!(cache.sessions::<Login>().create(&ada(&[]))).unwrap();
    let pattern = "#nearcache:session:*";
    let key = said(&cache, &prefix, &format!("KEYS {pattern}")).await;
    let key = key.strip_prefix(&format!("{prefix}:")).expect("one key");
    assert!(!key.contains(id.as_str()));
    // A use extends it: half an hour, whatever was left.
    assert_eq!(
        said(&cache, &prefix, &format!("EXPIRE {key} 60")).await,
        "1"
    );
    let loaded = call!(cache.sessions::<Login>().load(&id)).unwrap();
    assert_eq!(loaded, Some(ada(&[])));
    let left = said(&cache, &prefix, &format!("TTL {key}")).await;
    let left: u64 = left.parse().expect("a number");
    assert!((1_700..=1_800).contains(&left), "{left}");
    // Requests change it.
    let put = |login: &mut Login| login.cart.push(7);
    let changed = call!(cache.sessions::<Login>().update(&id, put)).unwrap();
    assert_eq!(changed, Some(()));
    assert_eq!(
        call!(cache.sessions::<Login>().load(&id)).unwrap(),
        Some(ada(&[7]))
    );
    // One ends, and it is gone from the server; then all of a user.
    assert!(call!(cache.sessions::<Login>().end(&id)).unwrap());
    assert_eq!(said(&cache, &prefix, &format!("EXISTS {key}")).await, "0");
    assert_eq!(call!(cache.sessions::<Login>().load(&id)).unwrap(), None);
    let mut ids = Vec::new();
    for user in ["ada", "ada", "bob"] {
        let created = call!(cache.sessions::<Login>().create(&ada(&[])).user(user));
        ids.push(created.unwrap());
    }
    call!(cache.sessions::<Login>().end_all_of("ada")).unwrap();
    for (id, lives) in ids.iter().zip([false, false, true]) {
        let loaded = call!(cache.sessions::<Login>().load(id)).unwrap();
        assert_eq!(loaded.is_some(), lives);
    }
    // Whoever deletes the key ends the session.
    let keys = said(&cache, &prefix, &format!("KEYS {pattern}")).await;
    for key in keys.split(' ') {
        let key = key.strip_prefix(&format!("{prefix}:")).expect("a key");
        said(&cache, &prefix, &format!("DEL {key}")).await;
    }
    assert_eq!(
        call!(cache.sessions::<Login>().load(&ids[2])).unwrap(),
        None
    );
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

/// The same by the helper: its sorted set has the best score first, each with its sign turned.
async fn a_leaderboard_ranks(target: Target) {
    let (cache, prefix) = new(target);
    for (player, score) in [("ada", 50), ("bob", 70), ("cyd", 60)] {
        call!(cache.leaderboard::<String>("weekly").submit(player, score)).unwrap();
    }
    let worse = call!(cache.leaderboard::<String>("weekly").submit("bob", 40)).unwrap();
    assert_eq!((worse.rank, worse.score), (1, 70.0));
    let more = call!(
        cache
            .leaderboard::<String>("weekly")
            .submit("ada", 10)
            .sum()
    );
    let more = more.unwrap();
    assert_eq!((more.rank, more.score), (2, 60.0));
    let key = "#nearcache:leaderboard:{weekly}";
    assert_eq!(
        said(&cache, &prefix, &format!("ZRANGE {key} 0 -1")).await,
        "bob ada cyd"
    );
    assert_eq!(
        said(&cache, &prefix, &format!("ZSCORE {key} ada")).await,
        "-60"
    );
    assert_eq!(
        said(&cache, &prefix, &format!("ZADD {key} -65 dan")).await,
        "1"
    );
    let top = call!(cache.leaderboard::<String>("weekly").top(3)).unwrap();
    let top: Vec<_> = top
        .iter()
        .map(|line| (&*line.player, line.rank, line.score))
        .collect();
    assert_eq!(top, [("bob", 1, 70.0), ("dan", 2, 65.0), ("ada", 3, 60.0)]);
    // Who has the same score has the same place.
    let cyd = call!(cache.leaderboard::<String>("weekly").standing("cyd")).unwrap();
    assert_eq!(cyd.map(|cyd| cyd.rank), Some(3));
    let around = call!(cache.leaderboard::<String>("weekly").around("dan", 1)).unwrap();
    let around: Vec<_> = around.iter().map(|line| &*line.player).collect();
    assert_eq!(around, ["bob", "dan", "ada"]);
}

/// Real-time Analytics: counters and hyperloglogs.
async fn analytics_in_real_time(target: Target) {
    let (cache, prefix) = new(target);
    for _ in 0..3 {
        call!(cache.incr("views:2026-11-26").ttl("2d")).unwrap();
    }
    assert_eq!(call!(cache.counter("views:2026-11-26")).unwrap(), Some(3));
    assert_eq!(said(&cache, &prefix, "INCR views:2026-11-26").await, "4");
    assert_eq!(call!(cache.counter("views:2026-11-26")).unwrap(), Some(4));
    // Half of the visitors are counted by this program, half by another one, and some by both.
    for visitor in 0..600 {
        let name = format!("v{visitor}");
        if visitor < 400 {
            call!(cache.uniques("visitors").add(&name)).unwrap();
        }
        if visitor >= 200 {
            said(&cache, &prefix, &format!("PFADD visitors {name}")).await;
        }
    }
    let unique = call!(cache.uniques("visitors").len()).unwrap();
    // Four times the standard error.
    assert!(
        (unique as f64 / 600.0 - 1.0).abs() < 4.0 * 0.0081,
        "{unique}"
    );
    assert_eq!(
        said(&cache, &prefix, "PFCOUNT visitors").await,
        unique.to_string()
    );
}

/// The same per day, for a month: by the helper, and what it is to Redis.
async fn analytics_per_day(target: Target) {
    let (cache, prefix) = new(target);
    for (page, visitor) in [("/", "ada"), ("/cart", "ada"), ("/", "bob")] {
        call!(cache.series("views").per("1d").keep("30d").add(1)).unwrap();
        call!(
            cache
                .series("views")
                .per("1d")
                .keep("30d")
                .add_unique(visitor)
        )
        .unwrap();
        call!(cache.series("views").per("1d").keep("30d").count(page, 1)).unwrap();
    }
    let per_day = call!(cache.series("views").per("1d").keep("30d").last("7d")).unwrap();
    assert_eq!(per_day.len(), 7);
    // The test may run at midnight: the last two days have it all.
    assert!(per_day[..5].iter().all(|(_, views)| *views == 0));
    let total = call!(cache.series("views").per("1d").keep("30d").total("2d"));
    assert_eq!(total.unwrap(), 3);
    let unique = call!(cache.series("views").per("1d").keep("30d").unique("2d"));
    assert_eq!(unique.unwrap(), 2);
    let top = call!(
        cache
            .series("views")
            .per("1d")
            .keep("30d")
            .top::<String>(10, "2d")
    );
    assert_eq!(top.unwrap(), [("/".to_owned(), 2), ("/cart".to_owned(), 1)]);
    // A counter, a HyperLogLog and a sorted set, which expire by themselves.
    let mut sum = 0;
    for (what, kind) in [("count", "string"), ("unique", "string"), ("items", "zset")] {
        let pattern = format!("KEYS #nearcache:series:{{views}}:{what}:*");
        let keys = said(&cache, &prefix, &pattern).await;
        for key in keys.split(' ') {
            let key = key.strip_prefix(&format!("{prefix}:")).expect("a key");
            assert_eq!(said(&cache, &prefix, &format!("TYPE {key}")).await, kind);
            let left = said(&cache, &prefix, &format!("TTL {key}")).await;
            let left: u64 = left.parse().expect("a number");
            assert!(left > 29 * 86_400 && left <= 31 * 86_400, "{left}");
            if what == "count" {
                let count = said(&cache, &prefix, &format!("GET {key}")).await;
                sum += count.parse::<u64>().expect("a number");
                said(&cache, &prefix, &format!("INCRBY {key} 10")).await;
                sum += 10;
            }
        }
    }
    let total = call!(cache.series("views").per("1d").keep("30d").total("2d"));
    assert_eq!(total.unwrap(), sum);
}
