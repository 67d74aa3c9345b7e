//! Sets: elements, each once, and what several sets have together.

use std::collections::BTreeSet;

use nearcache::{ErrorKind, Remaining};

use crate::target::{Face, Options, Target, two};

suite! {
    an_element_is_there_once,
    many_elements_go_in_parts,
    a_scan_gives_each_element_once,
    elements_are_taken_and_sampled,
    an_element_moves,
    sets_are_combined,
    a_destination_is_replaced_whatever_it_was,
    handles_of_another_place_are_refused,
}

async fn all(cache: &Face, key: &str) -> BTreeSet<u32> {
    let all = call!(cache.set_of::<u32>(key).all()).unwrap();
    all.into_iter().collect()
}

async fn an_element_is_there_once(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.set_of::<String>("s").len()).unwrap(), 0);
    assert!(call!(cache.set_of::<String>("s").insert("a")).unwrap());
    assert!(!call!(cache.set_of::<String>("s").insert("a").ttl("1h")).unwrap());
    assert!(call!(cache.ttl("s")).unwrap().duration().is_some());
    let added = call!(cache.set_of::<String>("s").insert_many(["a", "b", "c"]));
    assert_eq!(added.unwrap(), 2);
    assert!(call!(cache.set_of::<String>("s").contains("b")).unwrap());
    let found = call!(cache.set_of::<String>("s").contains_many(["c", "x", "a"]));
    assert_eq!(found.unwrap(), [true, false, true]);
    assert_eq!(call!(cache.set_of::<String>("s").len()).unwrap(), 3);
    assert!(call!(cache.set_of::<String>("s").remove("b")).unwrap());
    assert!(!call!(cache.set_of::<String>("s").remove("b")).unwrap());
    let removed = call!(cache.set_of::<String>("s").remove_many(["a", "x", "c"]));
    assert_eq!(removed.unwrap(), 2);
    assert!(!call!(cache.contains("s")).unwrap());
    let none = call!(cache.set_of::<String>("s").contains_many(["a"]));
    assert_eq!(none.unwrap(), [false]);
}

async fn many_elements_go_in_parts(target: Target) {
    let cache = target.cache();
    let added = call!(cache.set_of::<u32>("s").insert_many(0..2_500_u32));
    assert_eq!(added.unwrap(), 2_500);
    let found = call!(cache.set_of::<u32>("s").contains_many(0..2_600_u32)).unwrap();
    assert_eq!(found.iter().filter(|found| **found).count(), 2_500);
    let removed = call!(cache.set_of::<u32>("s").remove_many(0..2_400_u32));
    assert_eq!(removed.unwrap(), 2_400);
    assert_eq!(call!(cache.set_of::<u32>("s").len()).unwrap(), 100);
}

async fn a_scan_gives_each_element_once(target: Target) {
    let cache = target.cache();
    call!(cache.set_of::<u32>("s").insert_many(0..1_000_u32)).unwrap();
    let mut found: Vec<u32> = match &cache {
        Face::Async(cache) => cache
            .set_of::<u32>("s")
            .members()
            .page_size(20)
            .all()
            .await
            .unwrap(),
        Face::Blocking(cache) => {
            let members = cache.set_of::<u32>("s").members().page_size(20);
            members.map(Result::unwrap).collect()
        }
    };
    found.sort_unstable();
    assert!(found.into_iter().eq(0..1_000));
    call!(cache.set("text", "x")).unwrap();
    let error = match &cache {
        Face::Async(cache) => cache.set_of::<u32>("text").members().next().await,
        Face::Blocking(cache) => cache.set_of::<u32>("text").members().next(),
    };
    assert_eq!(error.unwrap().unwrap_err().kind(), ErrorKind::WrongType);
}

async fn elements_are_taken_and_sampled(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.set_of::<u32>("s").pop()).unwrap(), None);
    assert_eq!(call!(cache.set_of::<u32>("s").sample()).unwrap(), None);
    call!(cache.set_of::<u32>("s").insert_many(0..10_u32)).unwrap();
    let one = call!(cache.set_of::<u32>("s").sample()).unwrap().unwrap();
    assert!(one < 10);
    let some = call!(cache.set_of::<u32>("s").sample_many(4)).unwrap();
    assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), 4);
    let every = call!(cache.set_of::<u32>("s").sample_many(40)).unwrap();
    assert_eq!(every.len(), 10);
    let one = call!(cache.set_of::<u32>("s").pop()).unwrap().unwrap();
    assert!(!call!(cache.set_of::<u32>("s").contains(one)).unwrap());
    let three = call!(cache.set_of::<u32>("s").pop_many(3)).unwrap();
    assert_eq!(three.len(), 3);
    let rest = call!(cache.set_of::<u32>("s").pop_many(30)).unwrap();
    assert_eq!(rest.len(), 6);
    assert!(!call!(cache.contains("s")).unwrap());
}

async fn an_element_moves(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(cache.set_of::<u32>("a").insert_many([1, 2])).unwrap();
    assert!(call!(cache.set_of::<u32>("a").move_to("b", 1)).unwrap());
    assert!(!call!(cache.set_of::<u32>("a").move_to("b", 1)).unwrap());
    assert_eq!(all(&cache, "a").await, BTreeSet::from([2]));
    assert_eq!(all(&cache, "b").await, BTreeSet::from([1]));
}

async fn sets_are_combined(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(cache.set_of::<u32>("a").insert_many([1, 2, 3, 4])).unwrap();
    call!(cache.set_of::<u32>("b").insert_many([3, 4, 5])).unwrap();
    call!(cache.set_of::<u32>("c").insert_many([4, 6])).unwrap();
    let sorted = |mut found: Vec<u32>| {
        found.sort_unstable();
        found
    };
    let found = call!(cache.set_of::<u32>("a").union(["b", "c", "none"])).unwrap();
    assert_eq!(sorted(found), [1, 2, 3, 4, 5, 6]);
    let found = call!(cache.set_of::<u32>("a").intersection(["b"])).unwrap();
    assert_eq!(sorted(found), [3, 4]);
    let found = call!(cache.set_of::<u32>("a").intersection(["b", "none"])).unwrap();
    assert!(found.is_empty());
    let found = call!(cache.set_of::<u32>("a").difference(["b", "c"])).unwrap();
    assert_eq!(sorted(found), [1, 2]);
    assert_eq!(
        call!(cache.set_of::<u32>("a").union_len(["b", "c"])).unwrap(),
        6
    );
    assert_eq!(
        call!(cache.set_of::<u32>("a").union_len(["b"]).limit(2)).unwrap(),
        2
    );
    assert_eq!(
        call!(cache.set_of::<u32>("a").intersection_len(["b"])).unwrap(),
        2
    );
    assert_eq!(
        call!(cache.set_of::<u32>("a").intersection_len(["b"]).limit(1)).unwrap(),
        1
    );
    assert_eq!(
        call!(cache.set_of::<u32>("a").difference_len(["b", "c"])).unwrap(),
        2
    );
    // With handles.
    let both = match &cache {
        Face::Async(cache) => {
            let (a, b) = (cache.set_of::<u32>("a"), cache.set_of::<u32>("b"));
            a.intersection([&b]).await
        }
        Face::Blocking(cache) => {
            let (a, b) = (cache.set_of::<u32>("a"), cache.set_of::<u32>("b"));
            a.intersection([&b]).run()
        }
    };
    assert_eq!(sorted(both.unwrap()), [3, 4]);
    let alone: [&str; 0] = [];
    assert_eq!(
        call!(cache.set_of::<u32>("a").union(alone)).unwrap().len(),
        4
    );
    call!(cache.set("text", "x")).unwrap();
    let error = call!(cache.set_of::<u32>("a").union(["text"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    let error = call!(cache.set_of::<u32>("a").union_len(["text"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    let error = call!(cache.set_of::<u32>("a").union([""])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

async fn a_destination_is_replaced_whatever_it_was(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(cache.set_of::<u32>("a").insert_many([1, 2, 3])).unwrap();
    call!(cache.set_of::<u32>("b").insert_many([3, 4])).unwrap();
    call!(cache.set("to", "text").ttl("1h")).unwrap();
    let stored = call!(cache.set_of::<u32>("a").union(["b"]).into("to"));
    assert_eq!(stored.unwrap(), 4);
    assert_eq!(all(&cache, "to").await, BTreeSet::from([1, 2, 3, 4]));
    assert_eq!(call!(cache.ttl("to")).unwrap(), Remaining::Forever);
    call!(cache.delete("to")).unwrap();
    call!(cache.list::<u32>("to").push_back(1)).unwrap();
    let stored = call!(
        cache
            .set_of::<u32>("a")
            .intersection(["b"])
            .into("to")
            .ttl("1h")
    );
    assert_eq!(stored.unwrap(), 1);
    assert!(call!(cache.ttl("to")).unwrap().duration().is_some());
    // Onto one of its sources.
    let stored = call!(cache.set_of::<u32>("a").difference(["b"]).into("a"));
    assert_eq!(stored.unwrap(), 2);
    assert_eq!(all(&cache, "a").await, BTreeSet::from([1, 2]));
    // With nothing in it, it is gone.
    let stored = call!(cache.set_of::<u32>("a").intersection(["b"]).into("to"));
    assert_eq!(stored.unwrap(), 0);
    assert!(!call!(cache.contains("to")).unwrap());
    // A source of another type: nothing changes, its TTL neither.
    call!(cache.set("text", "x")).unwrap();
    call!(cache.set("to", "kept")).unwrap();
    let error = call!(
        cache
            .set_of::<u32>("a")
            .union(["text"])
            .into("to")
            .ttl("1h")
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert_eq!(call!(cache.get::<String>("to")).unwrap().unwrap(), "kept");
    assert_eq!(call!(cache.ttl("to")).unwrap(), Remaining::Forever);
}

async fn handles_of_another_place_are_refused(target: Target) {
    let (cache, other) = two(target, Options::default());
    let elsewhere = target
        .build("memory://elsewhere", Options::default())
        .unwrap();
    drop(other);
    let error = match (&cache, &elsewhere) {
        (Face::Async(cache), Face::Async(elsewhere)) => {
            let other = elsewhere.set_of::<u32>("b");
            cache.set_of::<u32>("a").union([&other]).await
        }
        (Face::Blocking(cache), Face::Blocking(elsewhere)) => {
            let other = elsewhere.set_of::<u32>("b");
            cache.set_of::<u32>("a").union([&other]).run()
        }
        _ => return,
    };
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
}
