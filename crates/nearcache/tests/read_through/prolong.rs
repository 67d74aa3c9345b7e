//! New TTLs for entries, over days: on the embedded store, whose clock is moved.

use std::time::Duration;

use nearcache::Remaining;

use crate::face::Face;
use crate::options::{both, minutes};
use crate::scene::Source;

fn days(count: u64) -> Duration {
    minutes(24 * 60 * count)
}

#[test]
fn a_tagged_entry_lives_as_long_as_it_was_extended_to() {
    both(async |cache, clock| {
        for verb in ["expire", "touch", "get", "lookup", "get_many", "persist"] {
            call!(cache.set("s", &1).ttl("30m").tags(["user", "all"])).unwrap();
            match verb {
                "expire" => assert!(call!(cache.expire("s", "1w")).unwrap()),
                "touch" => assert!(call!(cache.touch("s").ttl("1w")).unwrap()),
                "get" => assert!(call!(cache.get::<u8>("s").extend("1w")).unwrap().is_some()),
                "lookup" => drop(call!(cache.lookup::<u8>("s").extend("1w")).unwrap()),
                "get_many" => drop(call!(cache.get_many::<u8>(["s"]).extend("1w")).unwrap()),
                _ => assert!(call!(cache.persist("s")).unwrap()),
            }
            clock.advance(days(2));
            assert_eq!(call!(cache.get::<u8>("s")).unwrap(), Some(1), "{verb}");
            clock.advance(days(4));
            assert_eq!(call!(cache.get::<u8>("s")).unwrap(), Some(1), "{verb}");
            clock.advance(days(365));
            let expected = (verb == "persist").then_some(1);
            assert_eq!(call!(cache.get::<u8>("s")).unwrap(), expected, "{verb}");
        }
        // However long it was to live, the tag ends it at once.
        call!(cache.invalidate_tag("user")).unwrap();
        assert_eq!(call!(cache.get::<u8>("s")).unwrap(), None);
        assert!(!call!(cache.contains("s")).unwrap());
    });
}

#[test]
fn a_session_that_is_used_stays() {
    both(async |cache, clock| {
        for key in ["touched", "read", "read with others", "unused"] {
            call!(cache.set(key, &1).ttl("30m").tags(["user"])).unwrap();
        }
        for _ in 0..3 * 48 {
            clock.advance(minutes(20));
            assert!(call!(cache.touch("touched").ttl("30m")).unwrap());
            let read = call!(cache.get::<u8>("read").extend("30m")).unwrap();
            assert_eq!(read, Some(1));
            let read = call!(
                cache
                    .get_many::<u8>(["read with others", "x"])
                    .extend("30m")
            )
            .unwrap();
            assert_eq!(read, [Some(1), None]);
        }
        assert_eq!(call!(cache.get::<u8>("unused")).unwrap(), None);
        call!(cache.invalidate_tag("user")).unwrap();
        for key in ["touched", "read", "read with others"] {
            assert!(!call!(cache.touch(key).ttl("30m")).unwrap(), "{key}");
            assert_eq!(call!(cache.get::<u8>(key).extend("30m")).unwrap(), None);
        }
    });
}

/// What `remember` stored with a stale window: the window begins when the TTL ends, whoever set it.
async fn remembered(cache: &Face, source: &Source, value: u8) -> u8 {
    let load = source.gives(value);
    remember!(cache, "k", load; .ttl("10m").stale_if_error("1d"))
        .await
        .unwrap()
}

#[test]
fn a_new_ttl_is_the_time_until_a_remembered_value_is_loaded_again() {
    both(async |cache, clock| {
        let source = Source::new();
        assert_eq!(remembered(&cache, &source, 1).await, 1);
        let left = call!(cache.ttl("k")).unwrap().duration().unwrap();
        assert_eq!(left, minutes(10));
        assert!(call!(cache.touch("k").ttl("1h")).unwrap());
        clock.advance(minutes(59));
        assert_eq!(remembered(&cache, &source, 2).await, 1);
        clock.advance(minutes(2));
        // It is past its TTL, and kept for a failing loader only.
        assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Missing);
        assert!(!call!(cache.touch("k").ttl("1h")).unwrap());
        assert!(!call!(cache.persist("k")).unwrap());
        let load = source.fails::<u8>();
        let kept = remember!(cache, "k", load; .ttl("10m").stale_if_error("1d")).await;
        assert_eq!(kept.unwrap(), 1);
        assert_eq!(remembered(&cache, &source, 3).await, 3);
        assert!(call!(cache.persist("k")).unwrap());
        clock.advance(days(30));
        assert_eq!(remembered(&cache, &source, 4).await, 3);
        assert_eq!(source.loads(), 3, "the one that failed included");
    });
}

#[test]
fn a_kept_ttl_is_the_time_that_the_value_had() {
    both(async |cache, clock| {
        let source = Source::new();
        assert_eq!(remembered(&cache, &source, 1).await, 1);
        clock.advance(minutes(4));
        call!(cache.set("k", &2).keep_ttl()).unwrap();
        let left = call!(cache.ttl("k")).unwrap().duration().unwrap();
        assert_eq!(left, minutes(6));
        clock.advance(minutes(7));
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
    });
}
