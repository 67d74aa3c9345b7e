//! Sorted sets: scores, ranks and ranges.

use nearcache::structures::Aggregate;
use nearcache::{ErrorKind, Remaining};

use crate::target::{Face, Target};

suite! {
    elements_are_in_the_order_of_their_scores,
    conditions_hold,
    scores_are_numbers,
    ranges_are_by_rank_score_and_bytes,
    elements_are_popped_at_both_ends,
    ranges_are_removed,
    many_elements_go_in_parts,
    sorted_sets_are_combined,
    a_destination_is_replaced_whatever_it_was,
    a_scan_gives_each_element_once,
    what_contradicts_itself_is_an_error,
    a_model_agrees,
}

fn owned<const N: usize>(pairs: [(&str, f64); N]) -> Vec<(String, f64)> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, score)| (name.to_owned(), score))
        .collect()
}

async fn elements_are_in_the_order_of_their_scores(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.sorted_set::<String>("z").len()).unwrap(), 0);
    assert_eq!(
        call!(cache.sorted_set::<String>("z").rank("a")).unwrap(),
        None
    );
    assert_eq!(
        call!(cache.sorted_set::<String>("z").score("a")).unwrap(),
        None
    );
    assert_eq!(
        call!(cache.sorted_set::<String>("z").random()).unwrap(),
        None
    );
    assert!(call!(cache.sorted_set::<String>("z").insert("ada", 7)).unwrap());
    assert!(!call!(cache.sorted_set::<String>("z").insert("ada", 7)).unwrap());
    let changed = call!(cache.sorted_set::<String>("z").insert_many([
        ("bob", 9.0),
        ("ada", 7.5),
        ("eve", 4.0)
    ]));
    assert_eq!(changed.unwrap(), 3);
    let found = call!(cache.sorted_set::<String>("z").range(..)).unwrap();
    assert_eq!(found, ["eve", "ada", "bob"]);
    let found = call!(cache.sorted_set::<String>("z").range(..2).rev()).unwrap();
    assert_eq!(found, ["bob", "ada"]);
    let found = call!(cache.sorted_set::<String>("z").range(..).with_scores()).unwrap();
    assert_eq!(found, owned([("eve", 4.0), ("ada", 7.5), ("bob", 9.0)]));
    assert_eq!(
        call!(cache.sorted_set::<String>("z").rank("ada")).unwrap(),
        Some(1)
    );
    assert_eq!(
        call!(cache.sorted_set::<String>("z").rank("bob").rev()).unwrap(),
        Some(0)
    );
    let scores = call!(cache.sorted_set::<String>("z").scores(["bob", "x", "eve"])).unwrap();
    assert_eq!(scores, [Some(9.0), None, Some(4.0)]);
    let score = call!(cache.sorted_set::<String>("z").incr("eve", 10)).unwrap();
    assert_eq!(score.to_bits(), 14.0_f64.to_bits());
    let score = call!(cache.sorted_set::<String>("z").incr("new", -0.5)).unwrap();
    assert_eq!(score.to_bits(), (-0.5_f64).to_bits());
    let one = call!(cache.sorted_set::<String>("z").random()).unwrap();
    assert!(one.is_some());
    let some = call!(cache.sorted_set::<String>("z").random_many(10)).unwrap();
    assert_eq!(some.len(), 4);
    assert!(call!(cache.sorted_set::<String>("z").remove("new")).unwrap());
    let removed = call!(
        cache
            .sorted_set::<String>("z")
            .remove_many(["ada", "x", "bob", "eve"])
    );
    assert_eq!(removed.unwrap(), 3);
    assert!(!call!(cache.contains("z")).unwrap());
}

async fn conditions_hold(target: Target) {
    let cache = target.cache();
    call!(cache.sorted_set::<String>("z").insert("a", 5)).unwrap();
    let score = async || call!(cache.sorted_set::<String>("z").score("a")).unwrap();
    assert!(
        !call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 4)
                .only_if_greater()
        )
        .unwrap()
    );
    assert_eq!(score().await, Some(5.0));
    assert!(
        call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 6)
                .only_if_greater()
        )
        .unwrap()
    );
    assert!(
        !call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 7)
                .only_if_less()
        )
        .unwrap()
    );
    assert!(
        call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 3)
                .only_if_less()
        )
        .unwrap()
    );
    assert_eq!(score().await, Some(3.0));
    assert!(
        !call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 9)
                .only_if_absent()
        )
        .unwrap()
    );
    assert!(
        call!(
            cache
                .sorted_set::<String>("z")
                .insert("b", 9)
                .only_if_absent()
        )
        .unwrap()
    );
    assert!(
        !call!(
            cache
                .sorted_set::<String>("z")
                .insert("c", 9)
                .only_if_present()
        )
        .unwrap()
    );
    assert!(
        call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 1)
                .only_if_present()
        )
        .unwrap()
    );
    assert!(
        call!(
            cache
                .sorted_set::<String>("z")
                .insert("d", 1)
                .only_if_greater()
        )
        .unwrap()
    );
    assert!(
        !call!(
            cache
                .sorted_set::<String>("z")
                .insert("e", 1)
                .only_if_greater()
                .only_if_present()
        )
        .unwrap()
    );
    assert_eq!(call!(cache.sorted_set::<String>("z").len()).unwrap(), 3);
    call!(cache.sorted_set::<String>("z").insert("a", 1).ttl("1h")).unwrap();
    assert!(call!(cache.ttl("z")).unwrap().duration().is_some());
}

async fn scores_are_numbers(target: Target) {
    let cache = target.cache();
    let all = [
        ("a", f64::NEG_INFINITY),
        ("b", -1e300),
        ("c", -1.5),
        ("d", 0.0),
        ("e", 5e-324),
        ("f", 0.1 + 0.2),
        ("g", 9_007_199_254_740_993.0),
        ("h", f64::MAX),
        ("i", f64::INFINITY),
    ];
    call!(cache.sorted_set::<String>("z").insert_many(all)).unwrap();
    let found = call!(cache.sorted_set::<String>("z").range(..).with_scores()).unwrap();
    assert_eq!(found, owned(all));
    let finite = call!(cache.sorted_set::<String>("z").count(f64::MIN..=f64::MAX));
    assert_eq!(finite.unwrap(), 7);
    let infinite = call!(cache.sorted_set::<String>("z").by_score(f64::INFINITY..)).unwrap();
    assert_eq!(infinite, ["i"]);
    for error in [
        call!(cache.sorted_set::<String>("z").insert("x", f64::NAN)).map(drop),
        call!(cache.sorted_set::<String>("z").incr("a", f64::NAN)).map(drop),
        call!(cache.sorted_set::<String>("z").by_score(f64::NAN..)).map(drop),
        call!(cache.sorted_set::<String>("z").count(..f64::NAN)).map(drop),
        call!(cache.sorted_set::<String>("z").remove_by_score(f64::NAN..)).map(drop),
    ] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Codec);
    }
    let error = call!(
        cache
            .sorted_set::<String>("z")
            .incr("a", f64::INFINITY)
            .ttl("1h")
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Server);
    assert_eq!(call!(cache.ttl("z")).unwrap(), Remaining::Forever);
}

async fn ranges_are_by_rank_score_and_bytes(target: Target) {
    let cache = target.cache();
    let all = (0..10_u32).map(|number| (number, f64::from(number) * 10.0));
    call!(cache.sorted_set::<u32>("z").insert_many(all)).unwrap();
    macro_rules! found {
        ($($range:tt)*) => {
            call!(cache.sorted_set::<u32>("z").$($range)*).unwrap()
        };
    }
    assert_eq!(found!(range(2..4)), [2, 3]);
    assert_eq!(found!(range(-2..)), [8, 9]);
    assert_eq!(found!(range(..0)), [0; 0]);
    assert_eq!(found!(range(2..4).rev()), [7, 6]);
    assert_eq!(found!(by_score(20.0..40.0)), [2, 3]);
    assert_eq!(found!(by_score(20.0..=40.0)), [2, 3, 4]);
    assert_eq!(found!(by_score(..15.0)), [0, 1]);
    assert_eq!(found!(by_score(20.0..).limit(2)), [2, 3]);
    assert_eq!(found!(by_score(20.0..).offset(3).limit(2)), [5, 6]);
    assert_eq!(found!(by_score(20.0..).offset(6)), [8, 9]);
    assert_eq!(found!(by_score(20.0..40.0).rev()), [3, 2]);
    assert_eq!(found!(by_score(..).rev().limit(1)), [9]);
    assert_eq!(found!(by_score(..).limit(0)), [0; 0]);
    assert_eq!(
        found!(by_score(80.0..).with_scores()),
        [(8, 80.0), (9, 90.0)]
    );
    assert_eq!(found!(count(20.0..40.0)), 2);
    assert_eq!(found!(count(..)), 10);
    let names = ["ab", "abc", "b", "ba", "c"].map(|name| (name, 0.0));
    call!(cache.sorted_set::<String>("names").insert_many(names)).unwrap();
    macro_rules! names {
        ($($range:tt)*) => {
            call!(cache.sorted_set::<String>("names").$($range)*).unwrap()
        };
    }
    assert_eq!(names!(by_lex("a".."b")), ["ab", "abc"]);
    assert_eq!(names!(by_lex("b"..)), ["b", "ba", "c"]);
    assert_eq!(names!(by_lex("b"..="ba").rev()), ["ba", "b"]);
    assert_eq!(names!(by_lex::<&str>(..).limit(2)), ["ab", "abc"]);
    assert_eq!(names!(count_lex(.."b")), 2);
    assert_eq!(names!(remove_by_lex(.."b")), 2);
    assert_eq!(names!(len()), 3);
}

async fn elements_are_popped_at_both_ends(target: Target) {
    let cache = target.cache();
    assert_eq!(
        call!(cache.sorted_set::<String>("z").pop_min()).unwrap(),
        None
    );
    let none = call!(cache.sorted_set::<String>("z").pop_max().count(3)).unwrap();
    assert!(none.is_empty());
    let all = [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0), ("e", 5.0)];
    call!(cache.sorted_set::<String>("z").insert_many(all)).unwrap();
    let one = call!(cache.sorted_set::<String>("z").pop_min()).unwrap();
    assert_eq!(one, Some(("a".to_owned(), 1.0)));
    let one = call!(cache.sorted_set::<String>("z").pop_max().wait("9s")).unwrap();
    assert_eq!(one, Some(("e".to_owned(), 5.0)));
    let two = call!(cache.sorted_set::<String>("z").pop_max().count(2)).unwrap();
    assert_eq!(two, owned([("d", 4.0), ("c", 3.0)]));
    let one = call!(cache.sorted_set::<String>("z").pop_min().wait("9s")).unwrap();
    assert_eq!(one, Some(("b".to_owned(), 2.0)));
}

async fn ranges_are_removed(target: Target) {
    let cache = target.cache();
    let all = (0..10_u32).map(|number| (number, f64::from(number)));
    call!(cache.sorted_set::<u32>("z").insert_many(all)).unwrap();
    assert_eq!(
        call!(cache.sorted_set::<u32>("z").remove_by_rank(..2)).unwrap(),
        2
    );
    assert_eq!(
        call!(cache.sorted_set::<u32>("z").remove_by_rank(..0)).unwrap(),
        0
    );
    assert_eq!(
        call!(cache.sorted_set::<u32>("z").remove_by_score(8.0..)).unwrap(),
        2
    );
    assert_eq!(
        call!(cache.sorted_set::<u32>("z").remove_by_rank(..-2)).unwrap(),
        4
    );
    assert_eq!(
        call!(cache.sorted_set::<u32>("z").range(..)).unwrap(),
        [6, 7]
    );
}

async fn many_elements_go_in_parts(target: Target) {
    let cache = target.cache();
    let all = || (0..2_500_u32).map(|number| (number, f64::from(number)));
    let changed = call!(
        cache
            .sorted_set::<u32>("z")
            .insert_many(all())
            .ttl_if_new("1h")
    );
    assert_eq!(changed.unwrap(), 2_500);
    let changed = call!(
        cache
            .sorted_set::<u32>("z")
            .insert_many(all())
            .only_if_absent()
    );
    assert_eq!(changed.unwrap(), 0);
    let scores = call!(cache.sorted_set::<u32>("z").scores(0..2_501_u32)).unwrap();
    assert_eq!((scores[2_499], scores[2_500]), (Some(2_499.0), None));
    let removed = call!(cache.sorted_set::<u32>("z").remove_many(0..2_600_u32));
    assert_eq!(removed.unwrap(), 2_500);
}

async fn sorted_sets_are_combined(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(
        cache
            .sorted_set::<String>("a")
            .insert_many([("x", 1.0), ("y", 2.0)])
    )
    .unwrap();
    call!(
        cache
            .sorted_set::<String>("b")
            .insert_many([("y", 10.0), ("z", 3.0)])
    )
    .unwrap();
    call!(cache.set_of::<String>("s").insert("y")).unwrap();
    let found = call!(cache.sorted_set::<String>("a").union(["b"]).with_scores()).unwrap();
    assert_eq!(found, owned([("x", 1.0), ("z", 3.0), ("y", 12.0)]));
    let found = call!(
        cache
            .sorted_set::<String>("a")
            .union(["b"])
            .weights([1.0, 0.5])
            .with_scores()
    );
    assert_eq!(found.unwrap(), owned([("x", 1.0), ("z", 1.5), ("y", 7.0)]));
    let found = call!(
        cache
            .sorted_set::<String>("a")
            .union(["b"])
            .aggregate(Aggregate::Max)
            .with_scores()
    );
    assert_eq!(found.unwrap(), owned([("x", 1.0), ("z", 3.0), ("y", 10.0)]));
    let found = call!(
        cache
            .sorted_set::<String>("a")
            .intersection(["b"])
            .aggregate(Aggregate::Min)
            .with_scores()
    );
    assert_eq!(found.unwrap(), owned([("y", 2.0)]));
    let found = call!(
        cache
            .sorted_set::<String>("a")
            .intersection(["s"])
            .with_scores()
    );
    assert_eq!(found.unwrap(), owned([("y", 3.0)]));
    let found = call!(cache.sorted_set::<String>("a").difference(["b"])).unwrap();
    assert_eq!(found, ["x"]);
    let found = call!(cache.sorted_set::<String>("a").union(["b"])).unwrap();
    assert_eq!(found, ["x", "z", "y"]);
    let count = call!(cache.sorted_set::<String>("a").intersection_len(["b"]));
    assert_eq!(count.unwrap(), 1);
    let count = call!(
        cache
            .sorted_set::<String>("a")
            .intersection_len(["a"])
            .limit(1)
    );
    assert_eq!(count.unwrap(), 1);
}

async fn a_destination_is_replaced_whatever_it_was(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(
        cache
            .sorted_set::<String>("a")
            .insert_many([("x", 1.0), ("y", 2.0)])
    )
    .unwrap();
    call!(cache.sorted_set::<String>("b").insert_many([("y", 10.0)])).unwrap();
    call!(cache.set("to", "text").ttl("1h")).unwrap();
    let stored = call!(
        cache
            .sorted_set::<String>("a")
            .union(["b"])
            .weights([2.0, 1.0])
            .into("to")
    );
    assert_eq!(stored.unwrap(), 2);
    let found = call!(cache.sorted_set::<String>("to").range(..).with_scores()).unwrap();
    assert_eq!(found, owned([("x", 2.0), ("y", 14.0)]));
    assert_eq!(call!(cache.ttl("to")).unwrap(), Remaining::Forever);
    call!(cache.set("to", "text")).unwrap();
    let stored = call!(
        cache
            .sorted_set::<String>("a")
            .range(..1)
            .rev()
            .into("to")
            .ttl("1h")
    );
    assert_eq!(stored.unwrap(), 1);
    let found = call!(cache.sorted_set::<String>("to").range(..)).unwrap();
    assert_eq!(found, ["y"]);
    assert!(call!(cache.ttl("to")).unwrap().duration().is_some());
    let stored = call!(cache.sorted_set::<String>("a").by_score(..1.5).into("to"));
    assert_eq!(stored.unwrap(), 1);
    let stored = call!(cache.sorted_set::<String>("a").difference(["a"]).into("to"));
    assert_eq!(stored.unwrap(), 0);
    assert!(!call!(cache.contains("to")).unwrap());
}

async fn a_scan_gives_each_element_once(target: Target) {
    let cache = target.cache();
    let all = (0..1_000_u32).map(|number| (number, f64::from(number) / 4.0));
    call!(cache.sorted_set::<u32>("z").insert_many(all)).unwrap();
    let mut found: Vec<(u32, f64)> = match &cache {
        Face::Async(cache) => cache.sorted_set::<u32>("z").scan().all().await.unwrap(),
        Face::Blocking(cache) => cache
            .sorted_set::<u32>("z")
            .scan()
            .map(Result::unwrap)
            .collect(),
    };
    found.sort_by_key(|(number, _)| *number);
    assert_eq!(found.len(), 1_000);
    assert!(
        found
            .iter()
            .all(|(number, score)| *score == f64::from(*number) / 4.0)
    );
}

async fn what_contradicts_itself_is_an_error(target: Target) {
    let cache = target.cache();
    for error in [
        call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 1)
                .only_if_absent()
                .only_if_greater()
        )
        .map(drop),
        call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 1)
                .only_if_absent()
                .only_if_present()
        )
        .map(drop),
        call!(
            cache
                .sorted_set::<String>("z")
                .insert("a", 1)
                .only_if_less()
                .only_if_greater()
        )
        .map(drop),
        call!(cache.sorted_set::<String>("z").range(..).limit(1)).map(drop),
        call!(cache.sorted_set::<String>("z").by_lex("a"..).with_scores()).map(drop),
        call!(cache.sorted_set::<String>("z").union(["b"]).weights([1.0])).map(drop),
        call!(
            cache
                .sorted_set::<String>("z")
                .difference(["b"])
                .aggregate(Aggregate::Max)
        )
        .map(drop),
    ] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
    assert!(!call!(cache.contains("z")).unwrap());
}

/// Random changes, and after each the whole order, as a plain list has it.
async fn a_model_agrees(target: Target) {
    let cache = target.cache();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut model = std::collections::BTreeMap::<String, f64>::new();
    for _ in 0..150 {
        let name = rng.u8(..12).to_string();
        let score = f64::from(rng.u8(..5));
        match rng.u8(..4) {
            0 => {
                let changed = call!(cache.sorted_set::<String>("z").insert(&name, score)).unwrap();
                assert_eq!(changed, model.insert(name, score) != Some(score));
            }
            1 => {
                let better = model.get(&name).is_none_or(|old| score > *old);
                let changed = call!(
                    cache
                        .sorted_set::<String>("z")
                        .insert(&name, score)
                        .only_if_greater()
                );
                assert_eq!(changed.unwrap(), better);
                if better {
                    model.insert(name, score);
                }
            }
            2 => {
                let sum = call!(cache.sorted_set::<String>("z").incr(&name, score)).unwrap();
                let old = model.entry(name).or_default();
                *old += score;
                assert_eq!(sum.to_bits(), old.to_bits());
            }
            _ => {
                let removed = call!(cache.sorted_set::<String>("z").remove(&name)).unwrap();
                assert_eq!(removed, model.remove(&name).is_some());
            }
        }
        let mut order: Vec<(String, f64)> = model.clone().into_iter().collect();
        order.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
        let found = call!(cache.sorted_set::<String>("z").range(..).with_scores()).unwrap();
        assert_eq!(found, order);
        let at = rng.usize(..order.len().max(1));
        if let Some((name, _)) = order.get(at) {
            let rank = call!(cache.sorted_set::<String>("z").rank(name)).unwrap();
            assert_eq!(rank, Some(at as u64));
        }
    }
}
