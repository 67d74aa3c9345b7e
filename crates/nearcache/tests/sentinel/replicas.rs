//! `?read=replica`: what only reads may be answered by a replica, and nothing else.

use std::time::Duration;

use nearcache::ErrorKind;
use nearcache_testkit::{Sentinels, eventually};

use crate::face::Face;
use crate::scene::Source;
use crate::site::{Way, both, so, stored};

const REPLICA: &str = "&breaker=off&read=replica";

/// How many commands of these names a server has carried out.
fn calls(site: &Sentinels, server: usize, names: &[&str]) -> u64 {
    let said = site.server(server).inline("INFO commandstats");
    let of = |name: &&str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
        line.split(',').next()?.parse::<u64>().ok()
    };
    names.iter().filter_map(of).sum()
}

async fn ready(way: Way, site: &Sentinels) -> Face {
    let cache = way.open(&site.url(), REPLICA);
    call!(cache.set("k", &1).tags(["t"])).unwrap();
    call!(cache.set("plain", &1)).unwrap();
    eventually("it is replicated", || !stored(site, 1, "plain").is_empty());
    cache
}

#[test]
fn what_only_reads_goes_to_the_replica_and_the_rest_to_the_primary() {
    both(async |way| {
        let site = Sentinels::start();
        let cache = ready(way, &site).await;
        let reads = ["get", "mget", "getrange", "pttl"];
        let before = [0, 1].map(|server| calls(&site, server, &reads));
        for _ in 0..10 {
            assert_eq!(call!(cache.get::<u8>("plain")).unwrap(), Some(1));
            assert_eq!(call!(cache.get_many::<u8>(["plain"])).unwrap(), [Some(1)]);
            assert!(call!(cache.contains("plain")).unwrap());
            call!(cache.ttl("plain")).unwrap();
        }
        let after = [0, 1].map(|server| calls(&site, server, &reads));
        assert_eq!(after[0], before[0], "the primary was read from");
        assert_eq!(after[1] - before[1], 60);
        // Tags' versions are the primary's, and so is what decides about a load.
        let source = Source::new();
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        assert!(calls(&site, 0, &["mget"]) > 0, "versions of tags");
        let before = calls(&site, 1, &reads);
        assert_eq!(remember!(cache, "plain", source.gives(2)).await.unwrap(), 1);
        assert_eq!(remember!(cache, "new", source.gives(2)).await.unwrap(), 2);
        assert_eq!(
            calls(&site, 1, &reads),
            before,
            "remember asked the replica"
        );
        assert_eq!(stored(&site, 0, "new"), "2");
    });
}

/// What a replica has not heard of cannot be seen there; what decides is right all the same.
#[test]
fn a_read_may_be_older_than_an_invalidation_and_a_load_never_is() {
    both(async |way| {
        let site = Sentinels::start();
        let cache = ready(way, &site).await;
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        // It goes on answering, with what it has: its primary's connection is gone, and does not come back at once.
        site.server(1).inline("REPLICAOF 127.0.0.1 1");
        call!(cache.set("plain", &2)).unwrap();
        let source = Source::new();
        assert_eq!(remember!(cache, "plain", source.gives(3)).await.unwrap(), 2);
        call!(cache.invalidate_tag("t")).unwrap();
        assert_eq!(
            call!(cache.get::<u8>("k")).unwrap(),
            None,
            "its tag's version is the primary's"
        );
        assert_eq!(remember!(cache, "k", source.gives(4)).await.unwrap(), 4);
        // A replica without a primary is not read from for long.
        so("the primary is read from", || {
            let cache = cache.clone();
            let read = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime
                    .unwrap()
                    .block_on(async { call!(cache.get::<u8>("plain")).unwrap() })
            });
            read.join().unwrap() == Some(2)
        })
        .await;
    });
}

#[test]
fn the_primary_answers_while_no_replica_does() {
    both(async |way| {
        let mut site = Sentinels::start();
        let cache = ready(way, &site).await;
        assert_eq!(call!(cache.get::<u8>("plain")).unwrap(), Some(1));
        site.server(1).freeze();
        let quick = cache.within(Duration::from_secs(1));
        assert_eq!(call!(quick.get::<u8>("plain")).unwrap(), Some(1));
        site.server(1).thaw();
        site.server_mut(1).kill();
        assert_eq!(call!(cache.get::<u8>("plain")).unwrap(), Some(1));
        let error = call!(cache.incr("k")).unwrap_err();
        assert_ne!(
            error.kind(),
            ErrorKind::Unavailable,
            "no write goes to a replica: {error}"
        );
        assert_eq!(stored(&site, 0, "plain"), "1");
    });
}
