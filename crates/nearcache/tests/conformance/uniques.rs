//! HyperLogLogs: how many different elements there were.

use nearcache::{ErrorKind, Remaining};

use crate::target::{Target, raw};

suite! {
    different_elements_are_counted_once,
    the_number_is_nearly_right,
    several_are_counted_together,
    a_key_of_another_type_stays_as_it_is,
}

async fn different_elements_are_counted_once(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    call!(cache.delete("v")).unwrap();
    assert_eq!(call!(cache.uniques("v").len()).unwrap(), 0);
    assert!(call!(cache.uniques("v").add("ada").ttl("1h")).unwrap());
    assert!(!call!(cache.uniques("v").add("ada")).unwrap());
    assert!(call!(cache.uniques("v").add(7)).unwrap());
    assert!(!call!(cache.uniques("v").add("7")).unwrap(), "one form");
    assert!(call!(cache.uniques("v").add_many([(1, 2), (2, 1)])).unwrap());
    assert!(!call!(cache.uniques("v").add_many(["ada", "7"])).unwrap());
    assert!(!call!(cache.uniques("v").add_many(Vec::<u8>::new())).unwrap());
    assert_eq!(call!(cache.uniques("v").len()).unwrap(), 4);
    assert!(call!(cache.ttl("v")).unwrap().duration().is_some());
    // The elements are as others write them.
    assert_eq!(
        raw(
            &cache,
            &[
                b"PFADD",
                format!("{prefix}:v").as_bytes(),
                b"ada",
                b"7",
                b"[1,2]"
            ]
        )
        .await,
        redis::Value::Int(0)
    );
    call!(cache.delete("v")).unwrap();
}

async fn the_number_is_nearly_right(target: Target) {
    let cache = target.cache();
    assert!(call!(cache.uniques("v").add_many(0..20_000)).unwrap());
    let counted = call!(cache.uniques("v").len()).unwrap() as f64;
    // Four times the standard error.
    assert!((counted / 20_000.0 - 1.0).abs() < 4.0 * 0.0081, "{counted}");
}

async fn several_are_counted_together(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(cache.uniques("mon").add_many(["a", "b"])).unwrap();
    call!(cache.uniques("tue").add_many(["b", "c"])).unwrap();
    assert_eq!(
        call!(cache.uniques("mon").len_of(["tue", "none"])).unwrap(),
        3
    );
    assert_eq!(call!(cache.uniques("none").len_of(["tue"])).unwrap(), 2);
    call!(cache.uniques("week").merge(["mon", "tue"]).ttl("1d")).unwrap();
    assert_eq!(call!(cache.uniques("week").len()).unwrap(), 3);
    assert!(call!(cache.ttl("week")).unwrap().duration().is_some());
    call!(cache.uniques("mon").merge(["tue"])).unwrap();
    assert_eq!(call!(cache.uniques("mon").len()).unwrap(), 3);
    assert_eq!(call!(cache.uniques("tue").len()).unwrap(), 2);
}

async fn a_key_of_another_type_stays_as_it_is(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(cache.set("text", "text")).unwrap();
    call!(cache.stream::<u8>("log").append(1)).unwrap();
    call!(cache.uniques("v").add(1)).unwrap();
    for key in ["text", "log"] {
        for error in [
            call!(cache.uniques(key).add(1).ttl("1h"))
                .map(drop)
                .unwrap_err(),
            call!(cache.uniques(key).add_many([1]))
                .map(drop)
                .unwrap_err(),
            call!(cache.uniques(key).len()).map(drop).unwrap_err(),
            call!(cache.uniques("v").len_of([key]))
                .map(drop)
                .unwrap_err(),
            call!(cache.uniques("v").merge([key])).unwrap_err(),
            call!(cache.uniques(key).merge(["v"])).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
        }
        assert_eq!(call!(cache.ttl(key)).unwrap(), Remaining::Forever);
    }
    assert_eq!(call!(cache.uniques("v").len()).unwrap(), 1);
}
