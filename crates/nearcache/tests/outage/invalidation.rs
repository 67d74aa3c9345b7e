//! An outage in the middle of an invalidation: it is kept, the caller is told, and it reaches the server
//! before anything else does.

use nearcache::{ErrorKind, Undelivered};
use nearcache_testkit::{Fault, Frames};

use crate::face::Face;
use crate::scene::Source;
use crate::site::{PREFIX, both, settled};

/// An invalidation of `k` (and of the tag `t`), by its name.
async fn invalidate(cache: &Face, how: &str) -> nearcache::Result<()> {
    match how {
        "delete" => call!(cache.delete("k")).map(drop),
        "delete_many" => call!(cache.delete_many(["x", "k"])).map(drop),
        "delete_pattern" => call!(cache.delete_pattern("k*")).map(drop),
        "take" => call!(cache.take::<u8>("k")).map(drop),
        "set" => call!(cache.set("k", &3)),
        "a set with a short TTL" => call!(cache.set("k", &3).ttl("3s")),
        "a set with tags" => call!(cache.set("k", &3).tags(["u"])),
        "set_many" => call!(cache.set_many([("x", 1), ("k", 3)])),
        "set_many with tags" => call!(cache.set_many([("x", 1), ("k", 3)]).tags(["u"])),
        "add" => call!(cache.add("k", &3)).map(drop),
        "replace" => call!(cache.replace("k", &3)).map(drop),
        "invalidate_tag" => call!(cache.invalidate_tag("t")),
        "mark_stale" => call!(cache.mark_stale("k")),
        "mark_tag_stale" => call!(cache.mark_tag_stale("t")),
        "a set that keeps the TTL" => call!(cache.set("k", &3).keep_ttl()),
        "clear" => call!(cache.clear()).map(drop),
        _ => panic!("{how}"),
    }
}

const ALL: [&str; 16] = [
    "delete",
    "delete_many",
    "delete_pattern",
    "take",
    "set",
    "a set with a short TTL",
    "a set with tags",
    "set_many",
    "set_many with tags",
    "add",
    "replace",
    "invalidate_tag",
    "mark_stale",
    "mark_tag_stale",
    "a set that keeps the TTL",
    "clear",
];

/// Of every command of an invalidation: whether it is about the key `k`, its lease or the tag's counter.
fn invalidates(said: &str) -> bool {
    let verb = said.split(' ').next().unwrap_or_default();
    ["UNLINK", "SET", "SCAN"].contains(&verb)
}

#[test]
fn an_invalidation_that_was_not_sent_is_deferred_and_goes_before_the_next_read() {
    both(&[], async |site| {
        let (cache, other) = (site.cache(), site.other());
        for how in ALL {
            call!(other.set("k", &1).tags(["t"])).unwrap();
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
            // Not even a connection.
            site.proxy.set(Fault::Refuse);
            site.proxy.cut(nearcache_testkit::Close::Reset);
            let error = invalidate(&cache, how).await.unwrap_err();
            assert!(error.is_deferred(), "{how}: {error}");
            assert!(ask!(cache.stats()).invalidations_waiting > 0, "{how}");
            site.proxy.heal();
            site.proxy.reset_counts();
            // What an add finds may be another's: only its lease goes.
            let stays = (how == "add").then_some(1);
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), stays, "{how}");
            let commands = site.commands();
            // The versions of tags are read after the entry.
            let said = match how {
                "invalidate_tag" | "mark_tag_stale" => "MGET",
                _ => "GET app:k",
            };
            let read = commands.iter().position(|one| one.starts_with(said));
            let invalidated = commands.iter().position(|said| invalidates(said));
            assert!(
                read.is_some() && (invalidated < read && invalidated.is_some() || how == "add"),
                "{how}: {commands:?}"
            );
            settled(&cache).await;
        }
    });
}

#[test]
fn an_invalidation_whose_reply_was_lost_is_deferred_and_sent_again() {
    both(&[], async |site| {
        let (cache, other) = (site.cache(), site.other());
        for (how, verb) in [
            ("delete", "UNLINK"),
            ("take", "GETDEL"),
            ("set", "SET"),
            ("a set with a short TTL", "EXEC"),
            ("set_many", "SET"),
            ("invalidate_tag", "UNLINK"),
            ("clear", "UNLINK"),
        ] {
            call!(other.set("k", &1).tags(["t"])).unwrap();
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
            site.proxy
                .set(Fault::truncate(Frames::replies().of(verb), 1));
            let error = invalidate(&cache, how).await.unwrap_err();
            assert!(error.is_deferred(), "{how}: {error}");
            site.proxy.heal();
            // What was loaded between the two is invalidated as well: nobody knows when it began.
            call!(other.set("k", &1).tags(["t"])).unwrap();
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{how}");
            // A read that finds an entry whose tag was invalidated deletes it.
            assert!(site.stored("k").is_empty(), "{how}");
            settled(&cache).await;
        }
    });
}

#[test]
fn an_answer_that_makes_no_sense_acknowledges_nothing() {
    both(&[], async |site| {
        let (cache, other) = (site.cache(), site.other());
        for how in ["delete", "set", "invalidate_tag", "clear"] {
            call!(other.set("k", &1).tags(["t"])).unwrap();
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
            let any = Frames::replies();
            site.proxy.set(Fault::replace(any, &b"\x00garbage\r\n"[..]));
            let error = invalidate(&cache, how).await.unwrap_err();
            assert!(error.is_deferred(), "{how}: {error}");
            site.proxy.heal();
            call!(other.set("k", &1).tags(["t"])).unwrap();
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{how}");
            settled(&cache).await;
        }
    });
}

#[test]
fn a_server_without_memory_defers_what_it_refuses() {
    both(&[], async |site| {
        let cache = site.cache();
        for how in [
            "set",
            "a set with a short TTL",
            "set_many",
            "a set with tags",
        ] {
            call!(cache.set("k", &1).tags(["t", "u"])).unwrap();
            site.redis
                .inline("CONFIG SET maxmemory 1kb maxmemory-policy noeviction");
            let error = invalidate(&cache, how).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{how}: {error}");
            assert!(error.is_deferred(), "{how}: {error}");
            // A deletion needs no memory.
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{how}");
            site.redis.inline("CONFIG SET maxmemory 0");
        }
    });
}

#[test]
fn a_batch_of_several_parts_is_deferred_whole() {
    both(&[], async |site| {
        let cache = site.cache();
        let keys: Vec<String> = (0..2_500).map(|number| format!("k{number}")).collect();
        let tags: Vec<String> = (0..1_200).map(|number| format!("t{number}")).collect();
        let old = || keys.iter().map(|key| (key, 1));
        for how in ["delete_many", "set_many", "invalidate_tags"] {
            call!(cache.set_many(old())).unwrap();
            call!(cache.set("tagged", &1).tags([&tags[1_199]])).unwrap();
            site.proxy.set(Fault::Refuse);
            site.proxy.cut(nearcache_testkit::Close::Reset);
            let error = match how {
                "delete_many" => call!(cache.delete_many(&keys)).unwrap_err(),
                "set_many" => call!(cache.set_many(keys.iter().map(|key| (key, 3)))).unwrap_err(),
                _ => call!(cache.invalidate_tags(&tags)).unwrap_err(),
            };
            assert!(error.is_deferred(), "{how}: {error}");
            site.proxy.heal();
            if how == "invalidate_tags" {
                assert_eq!(call!(cache.get::<u8>("tagged")).unwrap(), None, "{how}");
            } else {
                let left = call!(cache.get_many::<u8>(&keys)).unwrap();
                let left = left.into_iter().flatten().count();
                assert_eq!(left, 0, "{how}");
            }
        }
    });
}

#[test]
fn whoever_says_so_is_told_of_success_instead() {
    both(&[], async |mut site| {
        let options = configured!(.on_undelivered(Undelivered::Deferred));
        let cache = site.cache_with(&options);
        call!(cache.set("k", &1)).unwrap();
        site.redis.kill();
        assert!(!call!(cache.delete("k")).unwrap());
        assert_eq!(call!(cache.delete_many(["k", "l"])).unwrap(), 0);
        call!(cache.set("k", &2)).unwrap();
        call!(cache.invalidate_tag("t")).unwrap();
        assert_eq!(call!(cache.clear()).unwrap(), 0);
        // Reads are still told.
        call!(cache.get::<u8>("k")).unwrap_err();
        let stats = ask!(cache.stats());
        assert_eq!(stats.invalidations_waiting, 4, "k, l, t, and a pattern");
        assert_eq!(stats.invalidations_deferred, 6);
        site.redis.restart();
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
        settled(&cache).await;
    });
}

#[test]
fn a_deferred_set_is_replayed_as_a_deletion() {
    both(&[], async |site| {
        let (cache, other) = (site.cache(), site.other());
        call!(cache.set("k", &1)).unwrap();
        site.proxy.set(Fault::Refuse);
        site.proxy.cut(nearcache_testkit::Close::Reset);
        assert!(call!(cache.set("k", &2)).unwrap_err().is_deferred());
        site.proxy.heal();
        call!(other.set("k", &3)).unwrap();
        // Neither 2, which may be old by now, nor 3, which may be older still.
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
        assert_eq!(site.stored("k"), "");
    });
}

#[test]
fn a_load_that_was_under_way_is_fenced_by_a_deferred_invalidation() {
    both(&[], async |site| {
        for how in ["delete", "set", "invalidate_tag", "clear"] {
            let (cache, source) = (site.cache(), Source::new());
            let old = tokio::spawn(remember!(cache, "k", source.holds(1); .tags(["t"])));
            source.begun().await;
            site.proxy.set(Fault::Refuse);
            site.proxy.cut(nearcache_testkit::Close::Reset);
            let error = invalidate(&cache, how).await.unwrap_err();
            assert!(error.is_deferred(), "{how}: {error}");
            site.proxy.heal();
            source.go_on();
            assert_eq!(old.await.unwrap().unwrap(), 1);
            assert_eq!(site.stored("k"), "", "{how}");
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{how}");
        }
    });
}

/// Only an async caller can go away.
#[test]
fn an_invalidation_whose_caller_went_away_is_in_the_outbox() {
    both(&[], async |site| {
        let cache = site.cache();
        let Face::Async(asynchronous) = &cache else {
            return;
        };
        for how in ["delete", "set", "invalidate_tag", "clear", "set_many"] {
            call!(cache.set("k", &1).tags(["t"])).unwrap();
            let hold = site.proxy.hold(Frames::requests());
            let caller = tokio::spawn({
                let cache = Face::Async(asynchronous.clone());
                async move { invalidate(&cache, how).await }
            });
            hold.until_held(1).await;
            caller.abort();
            assert!(caller.await.unwrap_err().is_cancelled());
            let waiting = ask!(cache.stats()).invalidations_waiting;
            assert!(waiting > 0, "{how} is not in the outbox");
            drop(hold);
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{how}");
            settled(&cache).await;
        }
    });
}

#[test]
fn what_the_server_will_never_take_stands_in_nobodys_way() {
    both(&[], async |site| {
        let cache = site.cache();
        call!(cache.set("k", &1)).unwrap();
        site.proxy.set(Fault::Refuse);
        site.proxy.cut(nearcache_testkit::Close::Reset);
        assert!(call!(cache.clear()).unwrap_err().is_deferred());
        assert!(call!(cache.take::<u8>("l")).unwrap_err().is_deferred());
        site.redis.inlines(&["ACL SETUSER default -scan -unlink"]);
        site.proxy.heal();
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        settled(&cache).await;
        let error = call!(cache.delete("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(!error.is_deferred(), "{error}");
    });
}

#[test]
fn what_waits_goes_before_every_kind_of_read() {
    both(&[], async |site| {
        let (cache, other, source) = (site.cache(), site.other(), Source::new());
        for read in [
            "get", "lookup", "get_many", "contains", "take", "remember", "keys",
        ] {
            call!(other.set("k", &1)).unwrap();
            site.proxy.set(Fault::Refuse);
            site.proxy.cut(nearcache_testkit::Close::Reset);
            assert!(call!(cache.delete("k")).unwrap_err().is_deferred());
            site.proxy.heal();
            let found = match read {
                "get" => call!(cache.get::<u8>("k")).unwrap().is_some(),
                "lookup" => call!(cache.lookup::<u8>("k")).unwrap().hit().is_some(),
                "get_many" => call!(cache.get_many::<u8>(["k"])).unwrap()[0].is_some(),
                "contains" => call!(cache.contains("k")).unwrap(),
                "take" => call!(cache.take::<u8>("k")).unwrap().is_some(),
                "remember" => remember!(cache, "k", source.gives(2)).await.unwrap() == 1,
                _ => match &cache {
                    Face::Async(cache) => cache.keys().next().await.is_some(),
                    Face::Blocking(cache) => cache.keys().next().is_some(),
                },
            };
            assert!(!found, "{read}");
            settled(&cache).await;
        }
        assert!(
            site.redis
                .inline(&format!("EXISTS {PREFIX}:k"))
                .starts_with(':')
        );
    });
}
