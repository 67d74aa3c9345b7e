//! Many keys at once.

use nearcache::{Raw, Remaining};

use crate::target::Target;

near_suite! {
    get_many_keeps_order_duplicates_and_misses,
    empty_batches_are_fine,
    set_many_stores_all_with_one_ttl,
    batches_beyond_ten_thousand_keys_are_split,
    large_values_are_split_by_size,
    delete_many_counts_what_was_there,
}

async fn get_many_keeps_order_duplicates_and_misses(target: Target) {
    let cache = target.cache();
    call!(cache.set_many([("a", 1), ("b", 2), ("c", 3)])).unwrap();
    let values = call!(cache.get_many::<i32>(["c", "x", "a", "c", "b"])).unwrap();
    assert_eq!(values, [Some(3), None, Some(1), Some(3), Some(2)]);
    let stats = ask!(cache.stats());
    assert_eq!((stats.hits, stats.misses), (4, 1));
}

async fn empty_batches_are_fine(target: Target) {
    let cache = target.cache();
    assert!(
        call!(cache.get_many::<i32>([] as [&str; 0]))
            .unwrap()
            .is_empty()
    );
    call!(cache.set_many([] as [(&str, i32); 0])).unwrap();
    assert_eq!(call!(cache.delete_many([] as [&str; 0])).unwrap(), 0);
}

async fn set_many_stores_all_with_one_ttl(target: Target) {
    let cache = target.cache();
    call!(cache.set_many([("a", 1), ("b", 2)]).ttl("1h")).unwrap();
    call!(cache.set_many([("c", 3)])).unwrap();
    for key in ["a", "b"] {
        assert!(
            call!(cache.ttl(key))
                .unwrap()
                .duration()
                .is_some_and(|left| left.as_secs() > 3_500),
            "{key}"
        );
    }
    assert_eq!(call!(cache.ttl("c")).unwrap(), Remaining::Forever);
}

async fn batches_beyond_ten_thousand_keys_are_split(target: Target) {
    let cache = target.cache();
    let keys: Vec<String> = (0..12_345).map(|n| format!("k{n}")).collect();
    call!(cache.set_many(keys.iter().zip(0_u32..)).ttl("1m")).unwrap();
    let values = call!(cache.get_many::<u32>(&keys)).unwrap();
    assert!(values.into_iter().eq((0..12_345).map(Some)));
    assert_eq!(call!(cache.delete_many(&keys)).unwrap(), 12_345);
    assert_eq!(call!(cache.delete_many(&keys)).unwrap(), 0);
}

async fn large_values_are_split_by_size(target: Target) {
    let cache = target.cache();
    let value = vec![7_u8; 1_500_000];
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    call!(
        cache
            .set_many(keys.iter().map(|key| (key, Raw(&value))))
            .ttl("1m")
    )
    .unwrap();
    let values = call!(cache.get_many::<Raw>(&keys)).unwrap();
    assert!(
        values
            .iter()
            .all(|found| found.as_ref().is_some_and(|Raw(bytes)| *bytes == value))
    );
    assert_eq!(call!(cache.delete_many(&keys)).unwrap(), 8);
}

async fn delete_many_counts_what_was_there(target: Target) {
    let cache = target.cache();
    call!(cache.set_many([("a", 1), ("b", 2), ("c", 3)])).unwrap();
    assert_eq!(call!(cache.delete_many(["a", "c", "x"])).unwrap(), 2);
    assert_eq!(
        call!(cache.get_many::<i32>(["a", "b", "c"])).unwrap(),
        [None, Some(2), None]
    );
    assert_eq!(ask!(cache.stats()).deletes, 2);
}
