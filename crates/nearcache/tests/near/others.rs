//! What other processes write is seen here once the news have come.

use std::time::Duration;

use crate::places::{Place, get, settle, until, warm};

places! {
    a_change_by_another_process_is_seen_when_it_is_told,
    a_flush_by_another_program_is_seen_when_it_is_told,
    without_news_a_value_is_as_old_as_near_ttl_at_most,
}

async fn a_change_by_another_process_is_seen_when_it_is_told(place: Place) {
    if !place.is_told() {
        return;
    }
    let two = place.two();
    let (near, other) = (two.near, two.other);
    call!(other.set("k", &0)).unwrap();
    for round in 1..=50 {
        warm(&near, "k", round - 1).await;
        call!(other.set("k", &round)).unwrap();
        settle(place, &near, "k", Some(round)).await;
        assert_eq!(get(&near, "k").await, Some(round));
        // Read again after its own write, the server tells of the key again.
        if round % 5 == 0 {
            call!(near.set("k", &1_000)).unwrap();
            warm(&near, "k", 1_000).await;
            call!(other.set("k", &round)).unwrap();
            settle(place, &near, "k", Some(round)).await;
            assert_eq!(get(&near, "k").await, Some(round));
        }
    }
    call!(other.delete("k")).unwrap();
    settle(place, &near, "k", None).await;
    assert_eq!(get(&near, "k").await, None);
    call!(other.set("k", &7).tags(["t"])).unwrap();
    warm(&near, "k", 7).await;
    call!(other.mark_tag_stale("t")).unwrap();
    settle(place, &near, "k", None).await;
    assert_eq!(get(&near, "k").await, None);
    call!(other.set("k", &7).ttl("1h")).unwrap();
    warm(&near, "k", 7).await;
    call!(other.expire("k", Duration::from_millis(50))).unwrap();
    until("its end", async || get(&near, "k").await.is_none()).await;
}

async fn a_flush_by_another_program_is_seen_when_it_is_told(place: Place) {
    if place != Place::Embedded && place != Place::Redis {
        return;
    }
    let server = nearcache_testkit::Redis::start();
    let (near, other) = match place {
        Place::Embedded => {
            let two = place.two();
            (two.near, two.other)
        }
        _ => (
            place.open(&format!("{}?near=100", server.url()), "p"),
            place.open(&server.url().replace("127.0.0.1", "localhost"), "p"),
        ),
    };
    call!(near.set("k", &7)).unwrap();
    warm(&near, "k", 7).await;
    if let crate::face::Face::Async(cache) = &other {
        let mut connection = cache.connection().await.unwrap();
        redis::cmd("FLUSHALL")
            .exec_async(&mut connection)
            .await
            .unwrap();
    }
    settle(place, &near, "k", None).await;
    assert_eq!(get(&near, "k").await, None);
}

async fn without_news_a_value_is_as_old_as_near_ttl_at_most(place: Place) {
    if place != Place::RedisResp2 {
        return;
    }
    let prefix = nearcache_testkit::random_prefix();
    let redis = nearcache_testkit::Redis::shared().url();
    let near = place.open(
        &format!("{redis}?protocol=2&near=100&near_ttl=100ms"),
        &prefix,
    );
    let other = place.open(&redis.replace("127.0.0.1", "localhost"), &prefix);
    call!(other.set("k", &7)).unwrap();
    warm(&near, "k", 7).await;
    call!(other.set("k", &8)).unwrap();
    until("its end", async || get(&near, "k").await == Some(8)).await;
    // And so does one without that option: 1 s.
    let near = place.open(&format!("{redis}?protocol=2&near=101"), &prefix);
    warm(&near, "k", 8).await;
    call!(other.set("k", &9)).unwrap();
    until("its end", async || get(&near, "k").await == Some(9)).await;
}
