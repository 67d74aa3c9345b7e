//! Geospatial indexes: positions, distances, and what is near.

use nearcache::structures::{Ft, GeoFound, Km, M, Mi, Point};
use nearcache::{ErrorKind, Remaining};

use crate::target::{Face, Target, raw};

suite! {
    members_have_positions_and_distances,
    what_is_near_is_found_in_order,
    a_box_is_searched,
    members_are_only_added_or_only_moved,
    what_is_found_is_stored,
    wrong_positions_and_types_are_errors,
}

const PALERMO: Point = Point::new(13.361389, 38.115556);
const CATANIA: Point = Point::new(15.087269, 37.502669);
const AGRIGENTO: Point = Point::new(13.583333, 37.316667);

async fn sicily(cache: &Face) {
    let all = [
        ("Palermo", PALERMO),
        ("Catania", CATANIA),
        ("Agrigento", AGRIGENTO),
    ];
    assert_eq!(
        call!(cache.geo::<String>("sicily").add_many(all)).unwrap(),
        3
    );
}

fn names(found: &[GeoFound<String>]) -> Vec<&str> {
    found.iter().map(|each| &*each.member).collect()
}

async fn members_have_positions_and_distances(target: Target) {
    let cache = target.cache();
    sicily(&cache).await;
    let found = call!(cache.geo::<String>("sicily").position("Palermo"))
        .unwrap()
        .unwrap();
    assert!((found.longitude - PALERMO.longitude).abs() < 1e-5);
    assert!((found.latitude - PALERMO.latitude).abs() < 1e-5);
    assert_eq!(
        call!(cache.geo::<String>("sicily").position("Rome")).unwrap(),
        None
    );
    assert_eq!(
        call!(cache.geo::<String>("none").position("Rome")).unwrap(),
        None
    );
    let all = call!(cache.geo::<String>("sicily").positions(["Rome", "Catania"])).unwrap();
    assert!(all[0].is_none() && all[1].is_some());
    let distance = call!(cache.geo::<String>("sicily").distance("Palermo", "Catania"));
    let distance = distance.unwrap().unwrap();
    assert!((distance.in_km() - 166.2742).abs() < 0.001, "{distance:?}");
    assert!((distance.in_mi() - 103.3182).abs() < 0.001, "{distance:?}");
    let none = call!(cache.geo::<String>("sicily").distance("Palermo", "Rome"));
    assert_eq!(none.unwrap(), None);
    let hash = call!(cache.geo::<String>("sicily").hash("Palermo")).unwrap();
    assert_eq!(hash.as_deref(), Some("sqc8b49rny0"));
    assert_eq!(
        call!(cache.geo::<String>("sicily").hash("Rome")).unwrap(),
        None
    );
    assert_eq!(call!(cache.geo::<String>("sicily").len()).unwrap(), 3);
    assert_eq!(
        call!(cache.geo::<String>("sicily").remove(["Rome", "Palermo"])).unwrap(),
        1
    );
    assert_eq!(call!(cache.geo::<String>("sicily").len()).unwrap(), 2);
}

async fn what_is_near_is_found_in_order(target: Target) {
    let cache = target.cache();
    sicily(&cache).await;
    let here = Point::new(15.0, 37.0);
    let found = call!(
        cache
            .geo::<String>("sicily")
            .within(here, Km(200.0))
            .nearest(10)
    )
    .unwrap();
    assert_eq!(names(&found), ["Catania", "Agrigento", "Palermo"]);
    assert!((found[0].distance.in_km() - 56.4413).abs() < 0.001);
    assert!((found[0].position.latitude - CATANIA.latitude).abs() < 1e-5);
    let found = call!(
        cache
            .geo::<String>("sicily")
            .within(here, M(200_000.0))
            .farthest(1)
    )
    .unwrap();
    assert_eq!(names(&found), ["Palermo"]);
    let found = call!(
        cache
            .geo::<String>("sicily")
            .within(here, Mi(100.0))
            .nearest(1)
    )
    .unwrap();
    assert_eq!(names(&found), ["Catania"]);
    let found = call!(cache.geo::<String>("sicily").within(here, Ft(10.0))).unwrap();
    assert!(found.is_empty());
    let found = call!(cache.geo::<String>("sicily").within(here, Km(200.0))).unwrap();
    assert_eq!(found.len(), 3);
    let found = call!(cache.geo::<String>("sicily").within(here, Km(200.0)).any(2)).unwrap();
    assert_eq!(found.len(), 2);
    let found = call!(
        cache
            .geo::<String>("sicily")
            .within(here, Km(200.0))
            .nearest(0)
    )
    .unwrap();
    assert!(found.is_empty());
    let found = call!(
        cache
            .geo::<String>("sicily")
            .within_of("Palermo", Km(100.0))
            .nearest(9)
    )
    .unwrap();
    assert_eq!(names(&found), ["Palermo", "Agrigento"]);
    let found = call!(cache.geo::<String>("sicily").within_of("Rome", Km(100.0))).unwrap();
    assert!(found.is_empty());
    let found = call!(cache.geo::<String>("none").within(here, Km(100.0))).unwrap();
    assert!(found.is_empty());
}

async fn a_box_is_searched(target: Target) {
    let cache = target.cache();
    sicily(&cache).await;
    let here = Point::new(15.0, 37.0);
    let found = call!(
        cache
            .geo::<String>("sicily")
            .within_box(here, Km(400.0), Km(400.0))
            .nearest(9)
    )
    .unwrap();
    assert_eq!(found.len(), 3);
    let found = call!(
        cache
            .geo::<String>("sicily")
            .within_box(here, Km(400.0), Km(90.0))
            .nearest(9)
    )
    .unwrap();
    assert_eq!(names(&found), ["Agrigento"]);
    let found = call!(
        cache
            .geo::<String>("sicily")
            .within_box_of("Catania", Km(1.0), Km(1.0))
    )
    .unwrap();
    assert_eq!(names(&found), ["Catania"]);
}

async fn members_are_only_added_or_only_moved(target: Target) {
    let cache = target.cache();
    assert!(call!(cache.geo::<u32>("g").add(7, PALERMO).ttl("1h")).unwrap());
    assert!(!call!(cache.geo::<u32>("g").add(7, CATANIA).only_if_absent()).unwrap());
    let position = call!(cache.geo::<u32>("g").position(&7)).unwrap().unwrap();
    assert!((position.longitude - PALERMO.longitude).abs() < 1e-5);
    assert!(!call!(cache.geo::<u32>("g").add(8, CATANIA).only_if_present()).unwrap());
    assert_eq!(call!(cache.geo::<u32>("g").len()).unwrap(), 1);
    let moved = call!(
        cache
            .geo::<u32>("g")
            .add_many([(7, CATANIA), (8, CATANIA)])
            .count_changes()
    );
    assert_eq!(moved.unwrap(), 2);
    assert!(call!(cache.ttl("g")).unwrap().duration().is_some());
    // Members are as others write them.
    let (cache, prefix) = target.cache_and_prefix();
    call!(cache.geo::<u32>("g").add(7, PALERMO)).unwrap();
    let score = raw(&cache, &[b"ZSCORE", format!("{prefix}:g").as_bytes(), b"7"]).await;
    assert!(!matches!(score, redis::Value::Nil));
    call!(cache.delete("g")).unwrap();
}

async fn what_is_found_is_stored(target: Target) {
    let cache = target.cache_of_one_slot();
    sicily(&cache).await;
    call!(cache.set("to", "text").ttl("1d")).unwrap();
    let here = Point::new(15.0, 37.0);
    let stored = call!(
        cache
            .geo::<String>("sicily")
            .within(here, Km(200.0))
            .nearest(2)
            .into("to")
    );
    assert_eq!(stored.unwrap(), 2);
    assert_eq!(call!(cache.geo::<String>("to").len()).unwrap(), 2);
    assert_eq!(call!(cache.ttl("to")).unwrap(), Remaining::Forever);
    let stored = call!(
        cache
            .geo::<String>("sicily")
            .within(here, Km(200.0))
            .into("to")
            .ttl("1h")
    );
    assert_eq!(stored.unwrap(), 3);
    assert!(
        call!(cache.ttl("to"))
            .unwrap()
            .duration()
            .unwrap()
            .as_secs()
            <= 3_600
    );
    let error = call!(
        cache
            .geo::<String>("sicily")
            .within_of("Rome", Km(1.0))
            .into("to")
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert_eq!(call!(cache.geo::<String>("to").len()).unwrap(), 3);
    let stored = call!(
        cache
            .geo::<String>("sicily")
            .within(here, M(1.0))
            .into("to")
    );
    assert_eq!(stored.unwrap(), 0);
    assert!(!call!(cache.contains("to")).unwrap());
}

async fn wrong_positions_and_types_are_errors(target: Target) {
    let cache = target.cache_of_one_slot();
    for wrong in [
        Point::new(181.0, 0.0),
        Point::new(0.0, -86.0),
        Point::new(f64::NAN, 0.0),
    ] {
        let error = call!(cache.geo::<u8>("g").add(1, wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        let error = call!(cache.geo::<u8>("g").within(wrong, Km(1.0))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
    }
    let error = call!(cache.geo::<u8>("g").within(PALERMO, Km(-1.0))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(!call!(cache.contains("g")).unwrap());
    call!(cache.set("text", "text")).unwrap();
    for error in [
        call!(cache.geo::<u8>("text").add(1, PALERMO).ttl("1h"))
            .map(drop)
            .unwrap_err(),
        call!(cache.geo::<u8>("text").add_many([(1, PALERMO)]))
            .map(drop)
            .unwrap_err(),
        call!(cache.geo::<u8>("text").position(1))
            .map(drop)
            .unwrap_err(),
        call!(cache.geo::<u8>("text").positions([1]))
            .map(drop)
            .unwrap_err(),
        call!(cache.geo::<u8>("text").distance(1, 2))
            .map(drop)
            .unwrap_err(),
        call!(cache.geo::<u8>("text").hash(1))
            .map(drop)
            .unwrap_err(),
        call!(cache.geo::<u8>("text").remove([1]))
            .map(drop)
            .unwrap_err(),
        call!(cache.geo::<u8>("text").len()).map(drop).unwrap_err(),
        call!(cache.geo::<u8>("text").within(PALERMO, Km(1.0)))
            .map(drop)
            .unwrap_err(),
        call!(cache.geo::<u8>("text").within(PALERMO, Km(1.0)).into("g"))
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
    }
    assert_eq!(
        call!(cache.get::<String>("text")).unwrap().as_deref(),
        Some("text")
    );
    assert_eq!(call!(cache.ttl("text")).unwrap(), Remaining::Forever);
    // A member that is no `u8`.
    call!(cache.geo::<String>("words").add("a", PALERMO)).unwrap();
    let error = call!(cache.geo::<u8>("words").within(PALERMO, Km(1.0))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
}
