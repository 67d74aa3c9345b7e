//! A server that comes back, with what it had or with less: what was invalidated stays invalidated.
//!
//! The server saves a snapshot, goes on, is killed as by a crash, and starts again with the old snapshot: what
//! was deleted after the snapshot is back, and so are counters of tags and leases.

use nearcache::{BreakerState, DataLoss, ErrorKind, Loaded};
use nearcache_testkit::{Close, Fault, Frames};

use crate::face::Face;
use crate::scene::{Source, elsewhere};
use crate::site::{Site, both, settled, so};

/// A snapshot of now.
fn save(site: &Site) {
    assert!(site.redis.inline("SAVE").starts_with("+OK"));
}

/// A crash, and a start with the last snapshot.
fn fall_back(site: &mut Site) {
    site.redis.kill();
    site.redis.restart();
}

#[test]
fn what_was_deferred_is_deleted_when_the_server_comes_back_with_its_data() {
    for arguments in [&[][..], &["--appendonly", "yes", "--appendfsync", "always"]] {
        both(arguments, async |mut site| {
            let (cache, other) = (site.cache(), site.other());
            call!(cache.ping()).unwrap();
            for key in ["deleted", "set", "cleared:1", "kept"] {
                call!(other.set(key, &1)).unwrap();
            }
            call!(other.set("tagged", &1).tags(["t"])).unwrap();
            if arguments.is_empty() {
                save(&site);
            }
            site.redis.kill();
            assert!(call!(cache.delete("deleted")).unwrap_err().is_deferred());
            assert!(call!(cache.set("set", &2)).unwrap_err().is_deferred());
            let pattern = call!(cache.delete_pattern("cleared:*"));
            assert!(pattern.unwrap_err().is_deferred());
            let tag = call!(cache.invalidate_tag("t"));
            assert!(tag.unwrap_err().is_deferred());
            site.redis.restart();
            assert_eq!(site.stored("deleted"), "1", "it has its data");
            let keys = ["deleted", "set", "cleared:1", "tagged", "kept"];
            let found = call!(cache.get_many::<u8>(keys)).unwrap();
            assert_eq!(found, [None, None, None, None, Some(1)]);
        });
    }
}

#[test]
fn what_was_deferred_goes_first_to_a_server_that_comes_back_empty() {
    both(&[], async |mut site| {
        let (cache, source) = (site.cache(), Source::new());
        call!(cache.set("k", &1)).unwrap();
        site.redis.kill();
        assert!(call!(cache.delete("k")).unwrap_err().is_deferred());
        site.redis.restart();
        assert_eq!(remember!(cache, "k", source.gives(2)).await.unwrap(), 2);
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(2));
        assert_eq!(ask!(cache.stats()).invalidations_waiting, 0);
    });
}

/// Each read is the first after the crash.
#[test]
fn what_was_acknowledged_and_lost_is_invalidated_again_before_the_first_read() {
    both(&[], async |mut site| {
        let (cache, other) = (site.cache(), site.other());
        let source = Source::new();
        for how in [
            "delete",
            "set",
            "delete_many",
            "take",
            "invalidate_tag",
            "clear",
            "delete_pattern",
        ] {
            for read in ["get", "get_many", "contains", "remember", "ttl"] {
                while call!(other.ping()).is_err() {}
                call!(other.set("k", &1).tags(["t"])).unwrap();
                save(&site);
                // Seen by this process, so that it knows the server from before the crash.
                assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
                match how {
                    "delete" => drop(call!(cache.delete("k")).unwrap()),
                    "set" => call!(cache.set("k", &2)).unwrap(),
                    "delete_many" => drop(call!(cache.delete_many(["x", "k"])).unwrap()),
                    "take" => drop(call!(cache.take::<u8>("k")).unwrap()),
                    "invalidate_tag" => call!(cache.invalidate_tag("t")).unwrap(),
                    "clear" => drop(call!(cache.clear()).unwrap()),
                    _ => drop(call!(cache.delete_pattern("k*")).unwrap()),
                }
                fall_back(&mut site);
                assert!(!site.stored("k").is_empty(), "it came back");
                let what = format!("{how}, then {read}");
                match read {
                    "get" => assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{what}"),
                    "get_many" => {
                        assert_eq!(
                            call!(cache.get_many::<u8>(["k"])).unwrap(),
                            [None],
                            "{what}"
                        );
                    }
                    "contains" => assert!(!call!(cache.contains("k")).unwrap(), "{what}"),
                    "remember" => {
                        let found = remember!(cache, "k", source.gives(3)).await;
                        assert_eq!(found.unwrap(), 3, "{what}");
                        let found = call!(cache.get::<u8>("k")).unwrap();
                        assert_eq!(found, Some(3), "{what}");
                    }
                    _ => {
                        let _ = call!(cache.ttl("k")).unwrap();
                        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{what}");
                    }
                }
                settled(&cache).await;
            }
        }
    });
}

#[test]
fn a_read_that_finds_its_connection_dead_is_no_shortcut() {
    both(&[], async |mut site| {
        let cache = site.cache();
        call!(cache.set("k", &1)).unwrap();
        save(&site);
        call!(cache.delete("k")).unwrap();
        // The client hears nothing of the crash until its read is under way.
        site.proxy.set(Fault::Silence);
        let vanished = site.proxy.counts().vanished;
        let reader = tokio::spawn({
            let cache = cache.clone();
            async move {
                match cache {
                    Face::Async(cache) => cache.get::<u8>("k").await,
                    Face::Blocking(cache) => {
                        let read = move || cache.get::<u8>("k").run();
                        tokio::task::spawn_blocking(read).await.unwrap()
                    }
                }
            }
        });
        let sent = site
            .proxy
            .until("the read is sent", move |counts| counts.vanished > vanished);
        sent.await;
        fall_back(&mut site);
        // Its connection is reset, and it is sent once more.
        site.proxy.heal();
        assert_eq!(reader.await.unwrap().unwrap(), None);
    });
}

#[test]
fn a_lease_that_came_back_is_taken_away_again() {
    both(&[], async |mut site| {
        let (cache, source) = (site.cache(), Source::new());
        let old = tokio::spawn(remember!(cache, "k", source.holds(1)));
        source.begun().await;
        save(&site);
        call!(cache.delete("k")).unwrap();
        fall_back(&mut site);
        source.go_on();
        assert_eq!(old.await.unwrap().unwrap(), 1);
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "OLD is stored");
    });
}

#[test]
fn a_server_that_is_still_loading_its_data_is_not_read_from_before_it_is_told() {
    let slowly = [
        "--enable-debug-command",
        "yes",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    both(&slowly, async |mut site| {
        let cache = site.cache();
        call!(cache.set("k", &1)).unwrap();
        site.redis.inline("DEBUG POPULATE 20000");
        save(&site);
        call!(cache.delete("k")).unwrap();
        site.redis.kill();
        site.redis.restart_with(&["--key-load-delay", "1000"]);
        let error = call!(cache.get::<u8>("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        site.redis.inline("CONFIG SET key-load-delay 0");
        let found = loop {
            match call!(cache.get::<u8>("k")) {
                Ok(found) => break found,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        };
        assert_eq!(found, None);
    });
}

#[test]
fn a_server_that_went_away_and_lost_nothing_is_told_nothing() {
    both(&[], async |site| {
        let (cache, other) = (site.cache(), site.other());
        call!(cache.delete("k")).unwrap();
        call!(other.set("k", &1)).unwrap();
        site.proxy.cut(Close::Reset);
        so("it is noticed", || site.proxy.live() == 0).await;
        while call!(cache.ping()).is_err() {}
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
    });
}

#[test]
fn a_whole_prefix_is_cleared_where_that_is_asked_for() {
    both(&[], async |mut site| {
        let options = configured!(.on_data_loss(DataLoss::Clear));
        let cache = site.cache_with(&options);
        call!(cache.set("k", &1)).unwrap();
        site.redis.inline("SET elsewhere 1");
        save(&site);
        fall_back(&mut site);
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
        assert_eq!(site.stored("k"), "");
        assert!(site.redis.inline("GET elsewhere").starts_with('1'));
        // Once, and not again.
        call!(cache.set("k", &2)).unwrap();
        site.proxy.cut(Close::Reset);
        while call!(cache.ping()).is_err() {}
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(2));
    });
}

#[test]
fn what_is_cleared_unasked_are_entries_only() {
    both(&[], async |mut site| {
        let options = configured!(.on_data_loss(DataLoss::Clear));
        let cache = site.cache_with(&options);
        call!(cache.set("k", &1)).unwrap();
        call!(cache.set("another", &1)).unwrap();
        let foreign = [
            "RPUSH app:queue job",
            "HSET app:session user 1",
            "SET app:#nearcache:session:{7} ada",
            "ZADD app:#nearcache:index 1 k",
        ];
        site.redis.inlines(&foreign);
        save(&site);
        fall_back(&mut site);
        // Not even by a call that names it.
        assert!(call!(cache.contains("queue")).unwrap());
        settled(&cache).await;
        assert!(site.redis.inline("LLEN app:queue").starts_with(":1"));
        assert!(site.redis.inline("HLEN app:session").starts_with(":1"));
        let helper = site.redis.inline("GET app:#nearcache:session:{7}");
        assert!(helper.contains("ada"), "a helper's key is no entry");
        assert_eq!(site.stored("k"), "");
        assert_eq!(site.stored("another"), "");
        let index = site.redis.inline("EXISTS app:#nearcache:index");
        assert!(index.starts_with(":0"), "what it lists is gone");
        // A caller's own clearing takes everything.
        call!(cache.clear()).unwrap();
        assert!(site.redis.inline("EXISTS app:queue").starts_with(":0"));
    });
}

/// A program that starts before its server does.
#[test]
fn the_first_server_has_replaced_nobody() {
    both(&[], async |mut site| {
        let options = configured!(.on_data_loss(DataLoss::Clear));
        let url = format!("{}?prefix=app&breaker=on", site.proxy.url());
        let (cache, other) = (site.open(&url, &options), site.other());
        call!(other.set("theirs", &1)).unwrap();
        call!(other.set("deleted", &1)).unwrap();
        save(&site);
        site.redis.kill();
        let error = call!(cache.delete("deleted")).unwrap_err();
        assert!(error.is_deferred(), "{error}");
        // It drops connections that there never were.
        while ask!(cache.stats()).breaker == BreakerState::Closed {
            call!(cache.get::<u8>("theirs")).unwrap_err();
        }
        site.redis.restart();
        let found = loop {
            if let Ok(found) = call!(cache.get::<u8>("theirs")) {
                break found;
            }
        };
        assert_eq!(found, Some(1), "it was cleared");
        assert_eq!(call!(cache.get::<u8>("deleted")).unwrap(), None);
        settled(&cache).await;
        assert_eq!(site.stored("theirs"), "1");
    });
}

/// What waited was acknowledged as well.
#[test]
fn what_was_deferred_and_sent_and_then_lost_is_invalidated_again() {
    both(&[], async |mut site| {
        let (cache, other) = (site.cache(), site.other());
        call!(other.set("k", &1)).unwrap();
        call!(cache.ping()).unwrap();
        save(&site);
        site.proxy.set(Fault::Refuse);
        site.proxy.cut(Close::Reset);
        assert!(call!(cache.delete("k")).unwrap_err().is_deferred());
        site.proxy.heal();
        call!(cache.ping()).unwrap();
        settled(&cache).await;
        fall_back(&mut site);
        assert_eq!(site.stored("k"), "1", "it came back");
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
    });
}

#[test]
fn without_a_prefix_there_is_nothing_to_clear() {
    let url = "redis://127.0.0.1:1";
    let built = nearcache::Cache::builder(url)
        .on_data_loss(DataLoss::Clear)
        .build();
    assert_eq!(built.unwrap_err().kind(), ErrorKind::InvalidConfig);
}

/// A server of which `INFO` says nothing.
#[test]
fn a_server_that_does_not_say_who_it_is_is_told_again_after_every_loss() {
    both(&[], async |mut site| {
        let (cache, other) = (site.cache(), site.other());
        let mute = ["ACL SETUSER default -info"];
        site.redis.inlines(&mute);
        call!(other.set("k", &1)).unwrap();
        save(&site);
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        call!(cache.delete("k")).unwrap();
        site.proxy.set(Fault::Refuse);
        fall_back(&mut site);
        site.redis.inlines(&mute);
        site.proxy.heal();
        // Long enough for an idle connection to be looked at before it is used.
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
    });
}

/// In the form of a Cluster the epoch and the version of a tag are removed one after the other.
#[test]
fn an_invalidation_of_a_tag_that_is_caught_between_its_two_removals_begins_again() {
    both(&[], async |mut site| {
        let cache = site.cache_with(&configured!(.as_on_a_cluster()));
        let source = Source::new();
        let load = |value: u8| {
            let gives = source.gives(value);
            remember!(cache, "k", move || gives()
                .map(|value| Loaded::new(value).tags(["t"])))
        };
        assert_eq!(load(1).await.unwrap(), 1);
        let epoch = "app:#nearcache:tags";
        let there = format!("EXISTS {epoch}");
        assert!(site.redis.inline(&there).starts_with(":1"));
        save(&site);
        let version = "app:#nearcache:tag:t";
        let of_version = Frames::requests().of("UNLINK").about(version);
        let hold = site.proxy.hold(of_version);
        let invalidates = cache.clone();
        let invalidating = tokio::spawn(async move {
            match invalidates {
                Face::Async(cache) => cache.invalidate_tag("t").await,
                Face::Blocking(cache) => elsewhere(move || cache.invalidate_tag("t").run()).await,
            }
        });
        so("the version is next", || hold.held() == 1).await;
        assert!(site.redis.inline(&there).starts_with(":0"), "acknowledged");
        fall_back(&mut site);
        assert!(site.redis.inline(&there).starts_with(":1"), "it came back");
        hold.release();
        let error = invalidating.await.unwrap().unwrap_err();
        assert!(error.is_deferred(), "{error}");
        assert_eq!(load(2).await.unwrap(), 2);
        let commands = site.commands();
        let said = |key: &str| {
            let said = format!("UNLINK {key}");
            commands.iter().rposition(|one| *one == said)
        };
        assert!(said(epoch) < said(version), "{commands:?}");
        let times = commands
            .iter()
            .filter(|one| one.contains(epoch) && one.starts_with("UNLINK"));
        assert!(times.count() >= 2, "{commands:?}");
        settled(&cache).await;
    });
}
