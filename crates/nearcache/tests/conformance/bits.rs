//! Bitmaps: single bits, ranges of them, combinations, and numbers of a few bits.

#![allow(
    clippy::reversed_empty_ranges,
    reason = "an end that is negative counts from the end"
)]

use nearcache::structures::BitField;
use nearcache::{ErrorKind, Remaining, Text};

use crate::target::{Target, raw};

suite! {
    bits_are_set_and_read,
    a_range_of_bits_is_counted,
    the_first_bit_is_found,
    bitmaps_are_combined_into_another,
    numbers_of_a_few_bits_are_read_and_written_together,
    a_key_of_another_type_stays_as_it_is,
    a_bitmap_lives_as_long_as_it_is_told,
}

async fn bits_are_set_and_read(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    assert!(!call!(cache.bits("seen").set(7, true)).unwrap());
    assert!(call!(cache.bits("seen").set(7, true)).unwrap());
    assert!(call!(cache.bits("seen").get(7)).unwrap());
    assert!(!call!(cache.bits("seen").get(8)).unwrap());
    assert!(!call!(cache.bits("none").get(0)).unwrap());
    assert!(call!(cache.bits("seen").set(7, false)).unwrap());
    let changed = call!(cache.bits("seen").set_many([1, 1, 2, 4_000], true)).unwrap();
    assert_eq!(changed, 3);
    assert_eq!(
        call!(cache.bits("seen").set_many([2, 9], false)).unwrap(),
        1
    );
    assert_eq!(
        call!(cache.bits("seen").set_many(0..2_500, true)).unwrap(),
        2_499
    );
    assert_eq!(call!(cache.bits("seen").set_many([], true)).unwrap(), 0);
    assert_eq!(call!(cache.bits("seen").len()).unwrap(), 501);
    // What another program sees.
    call!(cache.bits("bare").set_many([0, 7], true)).unwrap();
    assert_eq!(
        raw(&cache, &[b"GET", format!("{prefix}:bare").as_bytes()]).await,
        redis::Value::BulkString(vec![0b1000_0001])
    );
    for too_far in [1 << 32, u64::MAX] {
        let error = call!(cache.bits("seen").set(too_far, true)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let error = call!(cache.bits("seen").get(too_far)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
    call!(cache.delete_many(["seen", "bare"])).unwrap();
}

async fn a_range_of_bits_is_counted(target: Target) {
    let cache = target.cache();
    let set = [0, 3, 7, 8, 12, 100];
    call!(cache.bits("b").set_many(set, true)).unwrap();
    assert_eq!(call!(cache.bits("b").count(..)).unwrap(), 6);
    assert_eq!(call!(cache.bits("none").count(..)).unwrap(), 0);
    assert_eq!(call!(cache.bits("none").count(3..)).unwrap(), 0);
    for from in 0..20_i64 {
        for to in 0..20_i64 {
            let there = |range: &dyn Fn(i64) -> bool| {
                set.iter().filter(|bit| range(**bit as i64)).count() as u64
            };
            let count = call!(cache.bits("b").count(from..to)).unwrap();
            assert_eq!(
                count,
                there(&|bit| (from..to).contains(&bit)),
                "{from}..{to}"
            );
        }
    }
    // The string has 13 bytes: 104 bits.
    assert_eq!(call!(cache.bits("b").count(-4..)).unwrap(), 1);
    assert_eq!(call!(cache.bits("b").count(-3..)).unwrap(), 0);
    assert_eq!(call!(cache.bits("b").count(8..=-4)).unwrap(), 3);
    assert_eq!(
        call!(cache.bits("b").count(i64::MIN..=i64::MAX)).unwrap(),
        6
    );
    assert_eq!(call!(cache.bits("b").count_bytes(..)).unwrap(), 6);
    assert_eq!(call!(cache.bits("b").count_bytes(1..)).unwrap(), 3);
    assert_eq!(call!(cache.bits("b").count_bytes(0..1)).unwrap(), 3);
    assert_eq!(call!(cache.bits("b").count_bytes(0..0)).unwrap(), 0);
    assert_eq!(call!(cache.bits("b").count_bytes(-1..)).unwrap(), 1);
}

async fn the_first_bit_is_found(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.bits("b").first(true)).unwrap(), None);
    assert_eq!(call!(cache.bits("b").first(false)).unwrap(), Some(0));
    call!(cache.bits("b").set_many(0..8, true)).unwrap();
    assert_eq!(call!(cache.bits("b").first(true)).unwrap(), Some(0));
    assert_eq!(call!(cache.bits("b").first(false)).unwrap(), Some(8));
    assert_eq!(
        call!(cache.bits("b").first_in_bytes(false, ..)).unwrap(),
        None
    );
    call!(cache.bits("b").set(20, true)).unwrap();
    assert_eq!(
        call!(cache.bits("b").first_in_bytes(true, 1..)).unwrap(),
        Some(20)
    );
    assert_eq!(
        call!(cache.bits("b").first_in_bytes(true, 1..2)).unwrap(),
        None
    );
    assert_eq!(
        call!(cache.bits("b").first_in_bytes(true, 0..0)).unwrap(),
        None
    );
}

async fn bitmaps_are_combined_into_another(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(cache.bits("a").set_many([1, 2, 3], true)).unwrap();
    call!(cache.bits("b").set_many([2, 3, 20], true)).unwrap();
    // Whatever was there before is replaced.
    call!(cache.set("to", "text").ttl("1h")).unwrap();
    assert_eq!(call!(cache.bits("a").and(["b"]).into("to")).unwrap(), 3);
    assert_eq!(call!(cache.bits("to").count(..)).unwrap(), 2);
    assert_eq!(call!(cache.ttl("to")).unwrap(), Remaining::Forever);
    call!(cache.bits("a").or(["b", "none"]).into("to").ttl("1h")).unwrap();
    assert_eq!(call!(cache.bits("to").count(..)).unwrap(), 4);
    assert!(call!(cache.ttl("to")).unwrap().duration().is_some());
    call!(cache.bits("a").xor(["b"]).into("to")).unwrap();
    assert_eq!(call!(cache.bits("to").count(..)).unwrap(), 2);
    assert!(call!(cache.bits("to").get(20)).unwrap());
    assert_eq!(call!(cache.bits("a").not().into("a")).unwrap(), 1);
    assert_eq!(call!(cache.bits("a").count(..)).unwrap(), 5);
    // Of nothing comes nothing.
    assert_eq!(
        call!(cache.bits("none").and(["never"]).into("to").ttl("1h")).unwrap(),
        0
    );
    assert!(!call!(cache.contains("to")).unwrap());
}

async fn numbers_of_a_few_bits_are_read_and_written_together(target: Target) {
    let cache = target.cache();
    let (small, signed, nth) = (
        BitField::u(4).at(0),
        BitField::i(8).at(4),
        BitField::u(16).nth(3),
    );
    let replies = call!(
        cache
            .bits("n")
            .fields()
            .set(small, 9)
            .set(signed, -7)
            .incr(nth, 5)
    );
    assert_eq!(replies.unwrap(), [Some(0), Some(0), Some(5)]);
    let read = call!(cache.bits("n").fields().get(small).get(signed).get(nth)).unwrap();
    assert_eq!(read, [Some(9), Some(-7), Some(5)]);
    assert_eq!(
        call!(cache.bits("n").len()).unwrap(),
        8,
        "the fourth of 16 bits"
    );
    let over = call!(
        cache
            .bits("n")
            .fields()
            .incr(small, 10)
            .saturate()
            .incr(small, 100)
            .fail()
            .incr(small, 1)
            .get(small)
    );
    assert_eq!(over.unwrap(), [Some(3), Some(15), None, Some(15)]);
    let wrapped = call!(
        cache
            .bits("n")
            .fields()
            .fail()
            .set(small, 16)
            .wrap()
            .set(small, 17)
            .get(small)
    );
    assert_eq!(wrapped.unwrap(), [None, Some(15), Some(1)]);
    assert_eq!(
        call!(cache.bits("n").fields().fail().get(small)).unwrap(),
        [Some(1)]
    );
    assert_eq!(
        call!(cache.bits("none").fields().get(nth)).unwrap(),
        [Some(0)]
    );
    assert!(!call!(cache.contains("none")).unwrap());
    assert_eq!(call!(cache.bits("n").fields()).unwrap(), []);
    for wrong in [
        BitField::u(64),
        BitField::u(0),
        BitField::i(65),
        BitField::u(8).at(u64::MAX),
    ] {
        let error = call!(cache.bits("n").fields().get(wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{wrong:?}");
    }
}

async fn a_key_of_another_type_stays_as_it_is(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(
        cache
            .geo::<String>("g")
            .add("a", nearcache::structures::Point::new(1.0, 1.0))
    )
    .unwrap();
    call!(cache.bits("b").set(1, true)).unwrap();
    for error in [
        call!(cache.bits("g").set(1, true).ttl("1h"))
            .map(drop)
            .unwrap_err(),
        call!(cache.bits("g").set_many([1], true))
            .map(drop)
            .unwrap_err(),
        call!(cache.bits("g").get(1)).map(drop).unwrap_err(),
        call!(cache.bits("g").count(..)).map(drop).unwrap_err(),
        call!(cache.bits("g").count(1..3)).map(drop).unwrap_err(),
        call!(cache.bits("g").count(1..1)).map(drop).unwrap_err(),
        call!(cache.bits("g").first(true)).map(drop).unwrap_err(),
        call!(cache.bits("g").len()).map(drop).unwrap_err(),
        call!(cache.bits("b").or(["g"]).into("b"))
            .map(drop)
            .unwrap_err(),
        call!(cache.bits("b").or(["g"]).into("b").ttl("1h"))
            .map(drop)
            .unwrap_err(),
        call!(cache.bits("g").fields().get(BitField::u(8)))
            .map(drop)
            .unwrap_err(),
        call!(cache.bits("g").fields().set(BitField::u(8), 1))
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
        assert!(error.key().is_some(), "{error}");
    }
    assert_eq!(call!(cache.geo::<String>("g").len()).unwrap(), 1);
    assert_eq!(call!(cache.ttl("g")).unwrap(), Remaining::Forever);
    assert_eq!(call!(cache.ttl("b")).unwrap(), Remaining::Forever);
    // A text is a bitmap to Redis.
    call!(cache.set("t", &Text("a"))).unwrap();
    assert_eq!(call!(cache.bits("t").count(..)).unwrap(), 3);
}

async fn a_bitmap_lives_as_long_as_it_is_told(target: Target) {
    let cache = target.cache();
    call!(cache.bits("b").set(1, true).ttl_if_new("1h")).unwrap();
    let left = call!(cache.ttl("b")).unwrap().duration().unwrap();
    assert!(left.as_secs() > 3_500);
    call!(cache.bits("b").set(2, true).ttl_if_new("1d")).unwrap();
    assert!(call!(cache.ttl("b")).unwrap().duration().unwrap() <= left);
    call!(cache.bits("b").fields().set(BitField::u(8), 1).ttl("1d")).unwrap();
    assert!(call!(cache.ttl("b")).unwrap().duration().unwrap().as_secs() > 80_000);
    let error = call!(cache.bits("b").set(1, true).ttl("0s")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
}
