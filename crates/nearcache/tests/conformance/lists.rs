//! Lists: order, ends, and waiting.

#![allow(
    clippy::reversed_empty_ranges,
    reason = "an end that is negative counts from the end"
)]

use std::time::Duration;

use nearcache::{ErrorKind, Remaining};
use serde::{Deserialize, Serialize};

use crate::target::{Face, Options, Target, raw, two, two_of_one_slot};

suite! {
    elements_are_in_order,
    a_cap_keeps_the_newest,
    positions_count_from_both_ends,
    elements_are_replaced_inserted_and_removed,
    many_elements_go_in_parts,
    an_element_moves_in_one_step,
    a_pop_waits_for_what_comes,
    a_wait_ends_without_an_element,
    a_move_waits_for_what_comes,
    a_wait_that_is_dropped_loses_nothing,
    a_struct_is_an_element,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    zone: String,
    at: u64,
}

async fn all(cache: &Face, key: &str) -> Vec<String> {
    call!(cache.list::<String>(key).range(..)).unwrap()
}

async fn elements_are_in_order(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.list::<String>("l").len()).unwrap(), 0);
    assert_eq!(call!(cache.list::<String>("l").pop_front()).unwrap(), None);
    let none = call!(cache.list::<String>("l").pop_back().count(3)).unwrap();
    assert!(none.is_empty());
    assert_eq!(call!(cache.list::<String>("l").push_back("b")).unwrap(), 1);
    assert_eq!(call!(cache.list::<String>("l").push_front("a")).unwrap(), 2);
    let pushed = call!(cache.list::<String>("l").push_back_many(["c", "d"]));
    assert_eq!(pushed.unwrap(), 4);
    let pushed = call!(cache.list::<String>("l").push_front_many(["y", "x"]));
    assert_eq!(pushed.unwrap(), 6);
    assert_eq!(all(&cache, "l").await, ["x", "y", "a", "b", "c", "d"]);
    let one = call!(cache.list::<String>("l").pop_front()).unwrap();
    assert_eq!(one.as_deref(), Some("x"));
    let one = call!(cache.list::<String>("l").pop_back()).unwrap();
    assert_eq!(one.as_deref(), Some("d"));
    let two = call!(cache.list::<String>("l").pop_back().count(2)).unwrap();
    assert_eq!(two, ["c", "b"]);
    let rest = call!(cache.list::<String>("l").pop_front().count(9)).unwrap();
    assert_eq!(rest, ["y", "a"]);
    assert!(!call!(cache.contains("l")).unwrap());
    let pushed = call!(cache.list::<String>("l").push_back("x").only_if_present());
    assert_eq!(pushed.unwrap(), 0);
    let pushed = call!(cache.list::<String>("l").push_front("x").only_if_present());
    assert_eq!(pushed.unwrap(), 0);
    assert!(!call!(cache.contains("l")).unwrap());
    let none: [&str; 0] = [];
    let pushed = call!(cache.list::<String>("l").push_back_many(none));
    assert_eq!(pushed.unwrap(), 0);
}

async fn a_cap_keeps_the_newest(target: Target) {
    let cache = target.cache();
    for number in 0..5_u32 {
        let length = call!(cache.list::<u32>("front").push_front(number).cap(3)).unwrap();
        assert_eq!(length, u64::from(number + 1).min(3));
        let back = cache.clone();
        call!(back.list::<u32>("back").push_back(number).cap(3).ttl("1h")).unwrap();
    }
    assert_eq!(
        call!(cache.list::<u32>("front").range(..)).unwrap(),
        [4, 3, 2]
    );
    assert_eq!(
        call!(cache.list::<u32>("back").range(..)).unwrap(),
        [2, 3, 4]
    );
    assert!(call!(cache.ttl("back")).unwrap().duration().is_some());
    let error = call!(cache.list::<u32>("back").push_back(1).cap(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

async fn positions_count_from_both_ends(target: Target) {
    let cache = target.cache();
    call!(cache.list::<u32>("l").push_back_many(0..10_u32)).unwrap();
    macro_rules! range {
        ($range:expr) => {
            call!(cache.list::<u32>("l").range($range)).unwrap()
        };
    }
    assert_eq!(range!(..3), [0, 1, 2]);
    assert_eq!(range!(..=3), [0, 1, 2, 3]);
    assert_eq!(range!(2..4), [2, 3]);
    assert_eq!(range!(8..), [8, 9]);
    assert_eq!(range!(-2..), [8, 9]);
    assert_eq!(range!(..-8), [0, 1]);
    assert_eq!(range!(-3..-1), [7, 8]);
    assert_eq!(range!(-3..=-1), [7, 8, 9]);
    assert_eq!(range!(8..100), [8, 9]);
    assert_eq!(range!(..0), [0; 0]);
    assert_eq!(range!(-3..0), [0; 0]);
    assert_eq!(range!(5..5), [0; 0]);
    assert_eq!(call!(cache.list::<u32>("l").get(0)).unwrap(), Some(0));
    assert_eq!(call!(cache.list::<u32>("l").get(-1)).unwrap(), Some(9));
    assert_eq!(call!(cache.list::<u32>("l").get(10)).unwrap(), None);
    call!(cache.list::<u32>("l").trim(2..-2)).unwrap();
    assert_eq!(range!(..), [2, 3, 4, 5, 6, 7]);
    call!(cache.list::<u32>("l").trim(..0)).unwrap();
    assert!(!call!(cache.contains("l")).unwrap());
}

async fn elements_are_replaced_inserted_and_removed(target: Target) {
    let cache = target.cache();
    call!(
        cache
            .list::<String>("l")
            .push_back_many(["a", "b", "a", "c", "a"])
    )
    .unwrap();
    call!(cache.list::<String>("l").set(1, "B")).unwrap();
    call!(cache.list::<String>("l").set(-1, "z")).unwrap();
    assert_eq!(all(&cache, "l").await, ["a", "B", "a", "c", "z"]);
    for (key, position) in [("l", 9), ("none", 0)] {
        let error = call!(cache.list::<String>(key).set(position, "x").ttl("1h")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
    }
    assert_eq!(call!(cache.ttl("l")).unwrap(), Remaining::Forever);
    let length = call!(cache.list::<String>("l").insert_before("B", "x"));
    assert_eq!(length.unwrap(), Some(6));
    let length = call!(cache.list::<String>("l").insert_after("B", "y"));
    assert_eq!(length.unwrap(), Some(7));
    assert_eq!(all(&cache, "l").await, ["a", "x", "B", "y", "a", "c", "z"]);
    let none = call!(cache.list::<String>("l").insert_after("none", "y"));
    assert_eq!(none.unwrap(), None);
    let none = call!(cache.list::<String>("none").insert_before("a", "y"));
    assert_eq!(none.unwrap(), None);
    let at = call!(cache.list::<String>("l").position("a"));
    assert_eq!(at.unwrap(), Some(0));
    let at = call!(cache.list::<String>("l").positions("a"));
    assert_eq!(at.unwrap(), [0, 4]);
    let at = call!(cache.list::<String>("l").position("none"));
    assert_eq!(at.unwrap(), None);
    let at = call!(cache.list::<String>("none").positions("a"));
    assert!(at.unwrap().is_empty());
    let removed = call!(cache.list::<String>("l").remove("a").last(1));
    assert_eq!(removed.unwrap(), 1);
    assert_eq!(all(&cache, "l").await, ["a", "x", "B", "y", "c", "z"]);
    call!(cache.list::<String>("l").push_back_many(["a", "a"])).unwrap();
    let removed = call!(cache.list::<String>("l").remove("a").first(2));
    assert_eq!(removed.unwrap(), 2);
    assert_eq!(all(&cache, "l").await, ["x", "B", "y", "c", "z", "a"]);
    call!(cache.list::<String>("l").push_back("a")).unwrap();
    assert_eq!(call!(cache.list::<String>("l").remove("a")).unwrap(), 2);
    let error = call!(cache.list::<String>("l").remove("x").first(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

async fn many_elements_go_in_parts(target: Target) {
    let cache = target.cache();
    let pushed = call!(
        cache
            .list::<u32>("l")
            .push_back_many(0..2_500_u32)
            .ttl_if_new("1h")
    );
    assert_eq!(pushed.unwrap(), 2_500);
    let found = call!(cache.list::<u32>("l").range(..)).unwrap();
    assert!(found.into_iter().eq(0..2_500));
    assert!(call!(cache.ttl("l")).unwrap().duration().is_some());
    let pushed = call!(cache.list::<u32>("c").push_back_many(0..2_500_u32).cap(10));
    assert_eq!(pushed.unwrap(), 10);
    let found = call!(cache.list::<u32>("c").range(..)).unwrap();
    assert!(found.into_iter().eq(2_490..2_500));
}

async fn an_element_moves_in_one_step(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(cache.list::<u32>("from").push_back_many([1, 2, 3])).unwrap();
    let moved = call!(cache.list::<u32>("from").move_to("to"));
    assert_eq!(moved.unwrap(), Some(1));
    let moved = call!(
        cache
            .list::<u32>("from")
            .move_to("to")
            .from_back()
            .to_front()
    );
    assert_eq!(moved.unwrap(), Some(3));
    assert_eq!(call!(cache.list::<u32>("to").range(..)).unwrap(), [3, 1]);
    // To a handle, and in a circle.
    match &cache {
        Face::Async(cache) => {
            let to = cache.list::<u32>("to");
            assert_eq!(to.move_to(&to).await.unwrap(), Some(3));
            assert_eq!(to.range(..).await.unwrap(), [1, 3]);
        }
        Face::Blocking(cache) => {
            let to = cache.list::<u32>("to");
            assert_eq!(to.move_to(&to).run().unwrap(), Some(3));
            assert_eq!(to.range(..).run().unwrap(), [1, 3]);
        }
    }
    let moved = call!(cache.list::<u32>("none").move_to("to"));
    assert_eq!(moved.unwrap(), None);
    call!(cache.set("text", "x")).unwrap();
    let error = call!(cache.list::<u32>("from").move_to("text")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert_eq!(call!(cache.list::<u32>("from").len()).unwrap(), 1);
}

/// Somebody else pushes when a connection waits.
async fn when_somebody_waits(other: &Face, push: impl AsyncFnOnce()) {
    loop {
        let clients = raw(other, &[b"INFO", b"clients"]).await;
        let clients: String = redis::from_redis_value(clients).unwrap();
        if !clients.contains("blocked_clients:0") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    push().await;
}

async fn a_pop_waits_for_what_comes(target: Target) {
    let (cache, other) = two(target, Options::default());
    // What is there is taken at once.
    call!(cache.list::<u32>("l").push_back_many([1, 2])).unwrap();
    let one = call!(cache.list::<u32>("l").pop_front().wait("9s")).unwrap();
    assert_eq!(one, Some(1));
    let one = call!(cache.list::<u32>("l").pop_back().wait("9s")).unwrap();
    assert_eq!(one, Some(2));
    let waiting = cache.clone();
    let popped = match waiting {
        Face::Async(cache) => {
            tokio::spawn(async move { cache.list::<u32>("l").pop_front().wait("60s").await })
        }
        Face::Blocking(cache) => tokio::task::spawn_blocking(move || {
            cache.list::<u32>("l").pop_front().wait("60s").run()
        }),
    };
    when_somebody_waits(&other, async || {
        call!(other.list::<u32>("l").push_back(7)).unwrap();
    })
    .await;
    assert_eq!(popped.await.unwrap().unwrap(), Some(7));
    assert_eq!(call!(cache.list::<u32>("l").len()).unwrap(), 0);
}

async fn a_wait_ends_without_an_element(target: Target) {
    let cache = target.cache_of_one_slot();
    let none = call!(cache.list::<u32>("l").pop_front().wait("20ms"));
    assert_eq!(none.unwrap(), None);
    let none = call!(cache.list::<u32>("l").move_to("m").wait("20ms"));
    assert_eq!(none.unwrap(), None);
    let none = call!(cache.sorted_set::<u32>("z").pop_max().wait("20ms"));
    assert_eq!(none.unwrap(), None);
    let error = call!(cache.list::<u32>("l").pop_front().wait("0s")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
    call!(cache.set("text", "x")).unwrap();
    let error = call!(cache.list::<u32>("text").pop_front().wait("9s")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    call!(cache.close()).unwrap();
    let error = call!(cache.list::<u32>("l").pop_front().wait("9s")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

async fn a_move_waits_for_what_comes(target: Target) {
    let (cache, other) = two_of_one_slot(target, Options::default());
    call!(cache.list::<u32>("l").push_back(1)).unwrap();
    let one = call!(cache.list::<u32>("l").move_to("done").wait("9s"));
    assert_eq!(one.unwrap(), Some(1));
    let moved = match cache.clone() {
        Face::Async(cache) => tokio::spawn(async move {
            cache
                .list::<u32>("l")
                .move_to("done")
                .to_front()
                .wait("60s")
                .await
        }),
        Face::Blocking(cache) => tokio::task::spawn_blocking(move || {
            cache
                .list::<u32>("l")
                .move_to("done")
                .to_front()
                .wait("60s")
                .run()
        }),
    };
    when_somebody_waits(&other, async || {
        call!(other.list::<u32>("l").push_back(7)).unwrap();
    })
    .await;
    assert_eq!(moved.await.unwrap().unwrap(), Some(7));
    assert_eq!(call!(cache.list::<u32>("done").range(..)).unwrap(), [7, 1]);
}

async fn a_wait_that_is_dropped_loses_nothing(target: Target) {
    let (cache, other) = two(target, Options::default());
    let Face::Async(cache) = cache else { return };
    for round in 0..20_u32 {
        let list = cache.list::<u32>("l");
        let (front, scored) = (round % 2 == 0, cache.sorted_set::<u32>("z"));
        let waiting = tokio::spawn(async move {
            match front {
                true => list.pop_front().wait("60s").await.map(|_| ()),
                false => scored.pop_min().wait("60s").await.map(|_| ()),
            }
        });
        if round > 5 {
            when_somebody_waits(&other, async || ()).await;
        }
        // At about the time of the push: before, after, or in between.
        let push = other.clone();
        let pushed = tokio::spawn(async move {
            call!(push.list::<u32>("l").push_back(round)).unwrap();
            call!(push.sorted_set::<u32>("z").insert(round, 1)).unwrap();
        });
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        let got = waiting.await.is_ok_and(|popped| popped.is_ok());
        pushed.await.unwrap();
        // The element is there, or the caller has got it.
        let expected = [u64::from(!(got && front)), u64::from(!got || front)];
        loop {
            let length = call!(other.list::<u32>("l").len()).unwrap();
            let scores = call!(other.sorted_set::<u32>("z").len()).unwrap();
            let clients = raw(&other, &[b"INFO", b"clients"]).await;
            let clients: String = redis::from_redis_value(clients).unwrap();
            if [length, scores] == expected && clients.contains("blocked_clients:0") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        call!(other.delete("l")).unwrap();
        call!(other.delete("z")).unwrap();
    }
}

async fn a_struct_is_an_element(target: Target) {
    let cache = target.cache();
    let event = |at| Event {
        zone: "a".into(),
        at,
    };
    call!(cache.list::<Event>("l").push_back(&event(1))).unwrap();
    call!(cache.list::<Event>("l").push_back(event(2))).unwrap();
    call!(
        cache
            .list::<Event>("l")
            .push_back_many(&[event(3), event(1)])
    )
    .unwrap();
    assert_eq!(
        call!(cache.list::<String>("l").get(0)).unwrap().unwrap(),
        r#"{"at":1,"zone":"a"}"#
    );
    assert_eq!(
        call!(cache.list::<Event>("l").positions(event(1))).unwrap(),
        [0, 3]
    );
    assert_eq!(call!(cache.list::<Event>("l").remove(event(1))).unwrap(), 2);
    let found = call!(cache.list::<Event>("l").range(..)).unwrap();
    assert_eq!(found, [event(2), event(3)]);
    let error = call!(cache.list::<u32>("l").range(..)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(error.key().unwrap().as_str(), Some("l"));
}
