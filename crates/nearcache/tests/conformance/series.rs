//! Series: what is counted in which bucket, what the last buckets say together, and that they go by themselves.
//!
//! Buckets are a year long where a test must not see one end.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use nearcache::embedded::{Clock, Store};
use nearcache::{Cache, ErrorKind, blocking};
use redis::Value;

use crate::face::{Face, run};
use crate::target::{Options, Target, keys_matching, raw, stored_keys, two};

suite! {
    what_is_added_is_counted_in_its_bucket,
    an_element_is_counted_once,
    items_are_ordered_by_their_counts,
    counts_and_elements_and_items_are_apart,
    two_processes_count_together,
    a_count_that_is_too_high_changes_nothing,
    options_out_of_range_are_errors,
    what_is_no_item_is_an_error,
    its_keys_are_hidden_and_survive_a_clear,
    its_keys_have_a_ttl,
    a_bucket_goes_by_itself,
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The keys of this series, as the server has them.
async fn stored(target: Target, cache: &Face, prefix: &str, name: &str) -> Vec<Vec<u8>> {
    let pattern = format!("{prefix}:#nearcache:series:{{{name}}}:*");
    stored_keys(target, cache, &pattern).await
}

async fn what_is_added_is_counted_in_its_bucket(target: Target) {
    let cache = target.cache();
    for (n, sum) in [(1, 1), (4, 5), (0, 5)] {
        let counted = call!(cache.series("views").per(YEAR).keep(10 * YEAR).add(n));
        assert_eq!(counted.unwrap(), sum);
    }
    let last = call!(
        cache
            .series("views")
            .per(YEAR)
            .keep(10 * YEAR)
            .last(5 * YEAR)
    );
    let last = last.unwrap();
    // Buckets without data are 0, and the current one is the last.
    let counts: Vec<u64> = last.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [0, 0, 0, 0, 5]);
    for pair in last.windows(2) {
        assert_eq!(pair[0].0 + YEAR, pair[1].0);
    }
    let begins = last[4].0.duration_since(UNIX_EPOCH).unwrap();
    assert_eq!(begins.as_millis() % YEAR.as_millis(), 0);
    // A time between is rounded up to whole buckets.
    for (time, buckets) in [
        (Duration::from_millis(1), 1),
        (YEAR, 1),
        (YEAR + Duration::from_millis(1), 2),
        (10 * YEAR, 10),
    ] {
        let last = call!(cache.series("views").per(YEAR).keep(10 * YEAR).last(time));
        assert_eq!(last.unwrap().len(), buckets, "{time:?}");
        let total = call!(cache.series("views").per(YEAR).keep(10 * YEAR).total(time));
        assert_eq!(total.unwrap(), 5, "{time:?}");
    }
    // Another name, and another length, are another series.
    let total = call!(cache.series("clicks").per(YEAR).keep(10 * YEAR).total(YEAR));
    assert_eq!(total.unwrap(), 0);
    let total = call!(
        cache
            .series("views")
            .per(2 * YEAR)
            .keep(10 * YEAR)
            .total(10 * YEAR)
    );
    assert_eq!(total.unwrap(), 0);
    // How long it is kept is no part of which one it is.
    let total = call!(cache.series("views").per(YEAR).keep(YEAR).total(YEAR));
    assert_eq!(total.unwrap(), 5);
    // Without options: minutes, kept for a day.
    let last = call!(cache.series("new").last("1d")).unwrap();
    assert_eq!(last.len(), 24 * 60);
    assert!(last.iter().all(|(_, count)| *count == 0));
}

async fn an_element_is_counted_once(target: Target) {
    let cache = target.cache();
    let unique = async || call!(cache.series("v").per(YEAR).keep(YEAR).unique(YEAR)).unwrap();
    assert_eq!(unique().await, 0);
    for (visitor, new) in [("ada", true), ("bob", true), ("ada", false), ("7", true)] {
        let changed = call!(cache.series("v").per(YEAR).keep(YEAR).add_unique(visitor));
        assert_eq!(changed.unwrap(), new, "{visitor}");
    }
    // One form.
    let changed = call!(cache.series("v").per(YEAR).keep(YEAR).add_unique(7));
    assert!(!changed.unwrap());
    assert_eq!(unique().await, 3);
    for visitor in 0..2_000 {
        call!(cache.series("v").per(YEAR).keep(YEAR).add_unique(visitor)).unwrap();
    }
    // Four times the standard error, of 2,000 numbers (one is the 7 from before) and two names.
    let counted = unique().await as f64;
    assert!((counted / 2_002.0 - 1.0).abs() < 4.0 * 0.0081, "{counted}");
}

async fn items_are_ordered_by_their_counts(target: Target) {
    let cache = target.cache();
    let mut counts = BTreeMap::<&str, u64>::new();
    for (page, n) in [("a", 2), ("b", 5), ("c", 2), ("d", 1), ("a", 3), ("e", 0)] {
        let count = counts.entry(page).or_default();
        *count += n;
        let counted = call!(cache.series("pages").per(YEAR).keep(YEAR).count(page, n));
        assert_eq!(counted.unwrap(), *count, "{page}");
    }
    let top = async |items: u32| {
        let top = call!(
            cache
                .series("pages")
                .per(YEAR)
                .keep(YEAR)
                .top::<String>(items, YEAR)
        );
        top.unwrap()
    };
    // Of the same count, the highest bytes first.
    let all = [("b", 5), ("a", 5), ("c", 2), ("d", 1), ("e", 0)];
    let all = all.map(|(page, count)| (page.to_owned(), count));
    for items in [0, 1, 3, 5] {
        assert_eq!(top(items).await, all[..items as usize]);
    }
    assert_eq!(top(u32::MAX).await, all);
}

async fn counts_and_elements_and_items_are_apart(target: Target) {
    let cache = target.cache();
    call!(cache.series("x").per(YEAR).keep(YEAR).add(3)).unwrap();
    let unique = call!(cache.series("x").per(YEAR).keep(YEAR).unique(YEAR));
    assert_eq!(unique.unwrap(), 0);
    let top = call!(cache.series("x").per(YEAR).keep(YEAR).top::<u8>(9, YEAR));
    assert_eq!(top.unwrap(), []);
    call!(cache.series("x").per(YEAR).keep(YEAR).add_unique(1)).unwrap();
    call!(cache.series("x").per(YEAR).keep(YEAR).count(1, 9)).unwrap();
    let total = call!(cache.series("x").per(YEAR).keep(YEAR).total(YEAR));
    assert_eq!(total.unwrap(), 3);
}

async fn two_processes_count_together(target: Target) {
    let (one, other) = two(target, Options::default());
    call!(one.series("x").per(YEAR).keep(YEAR).add(3)).unwrap();
    let sum = call!(other.series("x").per(YEAR).keep(YEAR).add(4));
    assert_eq!(sum.unwrap(), 7);
    call!(one.series("x").per(YEAR).keep(YEAR).add_unique("ada")).unwrap();
    let new = call!(other.series("x").per(YEAR).keep(YEAR).add_unique("ada"));
    assert!(!new.unwrap());
    let total = call!(one.series("x").per(YEAR).keep(YEAR).total(YEAR));
    assert_eq!(total.unwrap(), 7);
}

async fn a_count_that_is_too_high_changes_nothing(target: Target) {
    let cache = target.cache();
    let most = i64::MAX.unsigned_abs();
    let error = call!(cache.series("x").per(YEAR).keep(YEAR).add(most + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow);
    let total = call!(cache.series("x").per(YEAR).keep(YEAR).total(YEAR));
    assert_eq!(total.unwrap(), 0);
    let added = call!(cache.series("x").per(YEAR).keep(YEAR).add(most));
    assert_eq!(added.unwrap(), most, "to the last digit");
    let error = call!(cache.series("x").per(YEAR).keep(YEAR).add(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow);
    let total = call!(cache.series("x").per(YEAR).keep(YEAR).total(YEAR));
    assert_eq!(total.unwrap(), most);
}

async fn options_out_of_range_are_errors(target: Target) {
    let cache = target.cache();
    for (per, keep, kind) in [
        ("0s", "1d", ErrorKind::InvalidTtl),
        ("soon", "1d", ErrorKind::InvalidTtl),
        ("1m", "0s", ErrorKind::InvalidTtl),
        ("1m", "later", ErrorKind::InvalidTtl),
        // Kept for less than it is long.
        ("1h", "59m", ErrorKind::InvalidConfig),
    ] {
        for answer in [
            call!(cache.series("x").per(per).keep(keep).add(1)).map(drop),
            call!(cache.series("x").per(per).keep(keep).add_unique(1)).map(drop),
            call!(cache.series("x").per(per).keep(keep).count(1, 1)).map(drop),
            call!(cache.series("x").per(per).keep(keep).last("1m")).map(drop),
            call!(cache.series("x").per(per).keep(keep).total("1m")).map(drop),
            call!(cache.series("x").per(per).keep(keep).unique("1m")).map(drop),
            call!(cache.series("x").per(per).keep(keep).top::<u8>(1, "1m")).map(drop),
        ] {
            assert_eq!(answer.unwrap_err().kind(), kind, "{per}, {keep}");
        }
    }
    for (time, kind) in [
        ("0s", ErrorKind::InvalidTtl),
        ("yesterday", ErrorKind::InvalidTtl),
        // Longer than it is kept.
        ("7201s", ErrorKind::InvalidConfig),
        // More buckets than are read at once.
        ("5001s", ErrorKind::InvalidConfig),
    ] {
        for answer in [
            call!(cache.series("x").per("1s").keep("2h").last(time)).map(drop),
            call!(cache.series("x").per("1s").keep("2h").total(time)).map(drop),
            call!(cache.series("x").per("1s").keep("2h").unique(time)).map(drop),
            call!(cache.series("x").per("1s").keep("2h").top::<u8>(1, time)).map(drop),
        ] {
            assert_eq!(answer.unwrap_err().kind(), kind, "{time}");
        }
    }
    let last = call!(cache.series("x").per("1s").keep("2h").last("5000s"));
    assert_eq!(last.unwrap().len(), 5_000);
    let error = call!(cache.series("").add(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    let error = call!(cache.series("").total("1h")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

async fn what_is_no_item_is_an_error(target: Target) {
    let cache = target.cache();
    call!(cache.series("x").per(YEAR).keep(YEAR).count("ada", 1)).unwrap();
    let error = call!(cache.series("x").per(YEAR).keep(YEAR).top::<u32>(1, YEAR)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    // A map has no form in JSON if its keys have none.
    let nameless = BTreeMap::from([((1, 2), 3)]);
    let error = call!(cache.series("x").count(&nameless, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let error = call!(cache.series("x").add_unique(&nameless)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
}

async fn its_keys_are_hidden_and_survive_a_clear(target: Target) {
    let cache = target.cache();
    call!(cache.set("value", 1)).unwrap();
    call!(cache.series("x").per(YEAR).keep(YEAR).add(3)).unwrap();
    call!(cache.series("x").per(YEAR).keep(YEAR).add_unique(1)).unwrap();
    call!(cache.series("x").per(YEAR).keep(YEAR).count(1, 2)).unwrap();
    assert_eq!(keys_matching(&cache, b"*").await, [b"value"]);
    assert_eq!(call!(cache.clear()).unwrap(), 1);
    let total = call!(cache.series("x").per(YEAR).keep(YEAR).total(YEAR));
    assert_eq!(total.unwrap(), 3);
    let unique = call!(cache.series("x").per(YEAR).keep(YEAR).unique(YEAR));
    assert_eq!(unique.unwrap(), 1);
    let top = call!(cache.series("x").per(YEAR).keep(YEAR).top::<u8>(9, YEAR));
    assert_eq!(top.unwrap(), [(1, 2)]);
}

async fn its_keys_have_a_ttl(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    call!(cache.series("x").per("1h").keep("2h").add(0)).unwrap();
    call!(cache.series("x").per("1h").keep("2h").add_unique(1)).unwrap();
    call!(cache.series("x").per("1h").keep("2h").count(1, 1)).unwrap();
    let keys = stored(target, &cache, &prefix, "x").await;
    assert!(keys.len() >= 3, "{keys:?}");
    for key in keys {
        let Value::Int(left) = raw(&cache, &[b"PTTL", &key]).await else {
            panic!("a number");
        };
        // What is left of the bucket, and two hours. It may have ended since.
        assert!((7_100_000..=10_800_000).contains(&left), "{left}");
    }
    // Reading makes none.
    call!(cache.series("y").per("1h").keep("2h").total("2h")).unwrap();
    assert!(stored(target, &cache, &prefix, "y").await.is_empty());
}

async fn a_bucket_goes_by_itself(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let short = Duration::from_millis(400);
    call!(cache.series("x").per(short).keep(short).add(1)).unwrap();
    call!(cache.series("x").per(short).keep(short).add_unique(1)).unwrap();
    call!(cache.series("x").per(short).keep(short).count(1, 1)).unwrap();
    while !stored(target, &cache, &prefix, "x").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let total = call!(cache.series("x").per(short).keep(short).total(short));
    assert_eq!(total.unwrap(), 0);
}

/// On a clock that is moved: a bucket after another, and the end of each.
#[test]
fn time_moves_on_from_bucket_to_bucket() {
    let minute = Duration::from_secs(60);
    let instant = Duration::from_millis(1);
    for blocks in [false, true] {
        let clock = Clock::manual();
        let store = Store::builder().clock(clock.clone()).build();
        let url = "memory://?prefix=p";
        let here = Target::asynchronous(crate::target::Place::Embedded);
        let cache = match blocks {
            true => Face::Blocking(blocking::Cache::builder(url).store(&store).build().unwrap()),
            false => Face::Async(Cache::builder(url).store(&store).build().unwrap()),
        };
        // A bucket begins.
        let passed = clock.now_ms().rem_euclid(60_000).unsigned_abs();
        clock.advance(minute - Duration::from_millis(passed));
        let begun = clock.now_ms();
        run(async {
            let last = async |time: &str| {
                let last = call!(cache.series("x").per("1m").keep("5m").last(time)).unwrap();
                last.iter().map(|(_, count)| *count).collect::<Vec<_>>()
            };
            let total = async |time: &str| {
                call!(cache.series("x").per("1m").keep("5m").total(time)).unwrap()
            };
            let unique = async |time: &str| {
                call!(cache.series("x").per("1m").keep("5m").unique(time)).unwrap()
            };
            let top = async |time: &str| {
                call!(cache.series("x").per("1m").keep("5m").top::<u8>(9, time)).unwrap()
            };
            let happen = async |n: u64, who: u8, item: u8| {
                let sum = call!(cache.series("x").per("1m").keep("5m").add(n)).unwrap();
                call!(cache.series("x").per("1m").keep("5m").add_unique(who)).unwrap();
                call!(cache.series("x").per("1m").keep("5m").count(item, n)).unwrap();
                sum
            };
            assert_eq!(happen(2, 1, 1).await, 2);
            // The last moment of the bucket is one of it; and its end does not move.
            clock.advance(minute - instant);
            assert_eq!(happen(3, 2, 2).await, 5);
            clock.advance(instant);
            assert_eq!(happen(4, 2, 1).await, 4);
            clock.advance(2 * minute);
            assert_eq!(last("4m").await, [5, 4, 0, 0]);
            assert_eq!(happen(1, 3, 2).await, 1);
            assert_eq!(last("5m").await, [0, 5, 4, 0, 1]);
            let start = call!(cache.series("x").per("1m").keep("5m").last("4m")).unwrap()[0].0;
            let start = start.duration_since(UNIX_EPOCH).unwrap().as_millis();
            assert_eq!(start, u128::from(begun.unsigned_abs()));
            let totals = [("1m", 1), ("2m", 1), ("3m", 5), ("4m", 10), ("5m", 10)];
            for (time, wanted) in totals {
                assert_eq!(total(time).await, wanted, "{time}");
            }
            // Who came in two buckets is one.
            for (time, wanted) in [("1m", 1), ("2m", 1), ("3m", 2), ("4m", 3)] {
                assert_eq!(unique(time).await, wanted, "{time}");
            }
            assert_eq!(top("1m").await, [(2, 1)]);
            assert_eq!(top("3m").await, [(1, 4), (2, 1)]);
            assert_eq!(top("4m").await, [(1, 6), (2, 4)]);
            // It is the fourth minute. The first one is kept until the sixth ends.
            assert_eq!(stored(here, &cache, "p", "x").await.len(), 9);
            clock.advance(3 * minute - instant);
            assert_eq!(stored(here, &cache, "p", "x").await.len(), 9);
            clock.advance(2 * instant);
            assert_eq!(stored(here, &cache, "p", "x").await.len(), 6);
            clock.advance(minute);
            assert_eq!(stored(here, &cache, "p", "x").await.len(), 3);
            assert_eq!(last("5m").await, [1, 0, 0, 0, 0]);
            clock.advance(2 * minute);
            assert!(stored(here, &cache, "p", "x").await.is_empty());
            assert_eq!(total("5m").await, 0);
            assert_eq!(unique("5m").await, 0);
            assert_eq!(top("5m").await, []);
        });
    }
}
