//! Servers that go away, are replaced, or lose keys to others: what was read from them is no hit any more, and what
//! was read from the others still is.

use std::time::Duration;

use nearcache_testkit::{Close, Cluster, ClusterOptions, Fault, Proxies, Sentinels, random_prefix};

use crate::face::{Face, run};
use crate::places::{Place, get, near_hits, until, warm};

const CLUSTERS: [Place; 2] = [Place::Cluster, Place::ClusterBlocking];

/// A cache with a near tier.
fn open(place: Place, url: &str, prefix: &str) -> Face {
    let url = format!("{url}?near=100&near_heartbeat=100ms&breaker=off");
    place.open(&url, prefix)
}

/// A key's name such that this primary serves it.
fn at(cluster: &Cluster, prefix: &str, primary: usize, name: &str) -> String {
    let mut names = (0..).map(|number| format!("{name}{number}"));
    let there = names.find(|name| cluster.primary_of_key(format!("{prefix}:{name}")) == primary);
    there.expect("a key of this primary")
}

/// Waits until the near tier does not answer.
async fn until_asked(near: &Face, key: &str) {
    let short = near.within(Duration::from_millis(100));
    until("the server is asked", async || {
        let before = near_hits(near);
        let _ = call!(short.get::<u64>(key));
        near_hits(near) == before
    })
    .await;
}

/// What the others write is told.
async fn hears(near: &Face, other: &Face, key: &str, value: u64) {
    // What a primary takes while it is being replaced is lost with it, so it is written until it is there.
    until("it is written, and read", async || {
        call!(other.set(key, &value)).is_ok()
            && call!(near.get::<u64>(key)).ok() == Some(Some(value))
    })
    .await;
    warm(near, key, value).await;
    call!(other.set(key, &(value + 1))).unwrap();
    until("the news", async || get(near, key).await == Some(value + 1)).await;
    warm(near, key, value + 1).await;
}

#[test]
fn a_primary_that_dies_takes_along_what_was_read_from_it() {
    run(async {
        let mut cluster = Cluster::start();
        let prefix = random_prefix();
        let other = Place::Cluster.open(&cluster.url_of(&[1, 2]), &prefix);
        let gone = at(&cluster, &prefix, 0, "gone");
        let stays = at(&cluster, &prefix, 1, "stays");
        let caches = CLUSTERS.map(|place| open(place, &cluster.url(), &prefix));
        for key in [&gone, &stays] {
            call!(other.set(key, &7)).unwrap();
            for near in &caches {
                warm(near, key, 7).await;
            }
        }
        cluster.kill(0);
        for near in &caches {
            until_asked(near, &gone).await;
            let before = near_hits(near);
            assert_eq!(get(near, &stays).await, Some(7));
            assert_eq!(near_hits(near), before + 1);
        }
        cluster.taken_over(3);
        for near in &caches {
            hears(near, &other, &gone, 10).await;
            hears(near, &other, &stays, 10).await;
        }
    });
}

/// Nobody asks the servers for anything else: they say of themselves that something has changed.
#[test]
fn a_primary_that_hands_over_and_a_slot_that_moves_end_what_was_read() {
    run(async {
        let cluster = Cluster::start_with(ClusterOptions::default());
        let prefix = random_prefix();
        let other = Place::Cluster.open(&cluster.url_of(&[1, 2]), &prefix);
        let handed = at(&cluster, &prefix, 0, "handed");
        let moved = at(&cluster, &prefix, 1, "moved");
        let stays = at(&cluster, &prefix, 2, "stays");
        let caches = CLUSTERS.map(|place| open(place, &cluster.url(), &prefix));
        for key in [&handed, &moved, &stays] {
            call!(other.set(key, &7)).unwrap();
            for near in &caches {
                warm(near, key, 7).await;
            }
        }
        cluster.failover(3);
        for near in &caches {
            until_asked(near, &handed).await;
            hears(near, &other, &handed, 10).await;
        }
        let slot = cluster.slot(format!("{prefix}:{moved}"));
        for (number, near) in caches.iter().enumerate() {
            let to = [2, 1][number];
            // (After the failover, the other cache has sent its last invalidations again.)
            hears(near, &other, &moved, 6).await;
            let migration = cluster.migration(slot, to);
            migration.begin();
            // It is still where it was.
            assert_eq!(get(near, &moved).await, Some(7));
            migration.keys(&[format!("{prefix}:{moved}")]);
            until_asked(near, &moved).await;
            let before = near_hits(near);
            for _ in 0..3 {
                // By the other server, though the slot is not its own yet.
                assert_eq!(get(near, &moved).await, Some(7));
            }
            call!(other.set(&moved, &8)).unwrap();
            assert_eq!(get(near, &moved).await, Some(8));
            assert_eq!(near_hits(near), before);
            migration.finish();
            hears(near, &other, &moved, 20).await;
        }
        for near in &caches {
            hears(near, &other, &stays, 10).await;
        }
    });
}

/// The version of a tag is at another server than the entry.
#[test]
fn a_lost_connection_to_the_server_of_a_tag_ends_what_has_the_tag() {
    run(async {
        let cluster = Cluster::shared();
        for place in CLUSTERS {
            let prefix = random_prefix();
            let proxies: Proxies = cluster.proxies();
            let near = open(place, &proxies.url(), &prefix);
            let other = Place::Cluster.open(&cluster.url_of(&[1]), &prefix);
            let tagged = at(cluster, &prefix, 0, "tagged");
            let plain = at(cluster, &prefix, 0, "plain");
            let mut tags = (0..).map(|number| format!("t{number}"));
            let tag = tags
                .find(|tag| cluster.primary_of_key(format!("{prefix}:#nearcache:tag:{tag}")) == 1);
            let tag = tag.expect("a tag of this primary");
            call!(other.set(&tagged, &7).tags([&tag])).unwrap();
            call!(other.set(&plain, &7)).unwrap();
            warm(&near, &tagged, 7).await;
            warm(&near, &plain, 7).await;
            proxies.of(1).set(Fault::Refuse);
            proxies.of(1).cut(Close::Reset);
            until_asked(&near, &tagged).await;
            let before = near_hits(&near);
            assert_eq!(get(&near, &plain).await, Some(7));
            assert_eq!(near_hits(&near), before + 1, "{place:?}");
            call!(other.invalidate_tag(&tag)).unwrap();
            proxies.of(1).heal();
            until("it is asked", async || {
                call!(near.get::<u64>(&tagged)).ok() == Some(None)
            })
            .await;
        }
    });
}

#[test]
fn what_a_replica_says_is_not_kept() {
    run(async {
        let cluster = Cluster::shared();
        let site = Sentinels::shared();
        for (place, url) in [
            (Place::Cluster, cluster.url()),
            (Place::ClusterBlocking, cluster.url()),
            (Place::Sentinel, site.url()),
            (Place::SentinelBlocking, site.url()),
        ] {
            let near = place.open(&format!("{url}?near=100&read=replica"), &random_prefix());
            call!(near.set("k", &7)).unwrap();
            until("the replica has it", async || {
                get(&near, "k").await == Some(7)
            })
            .await;
            for _ in 0..5 {
                assert_eq!(get(&near, "k").await, Some(7));
            }
            assert_eq!(near_hits(&near), 0, "{place:?}");
            let load = || Ok::<u64, std::io::Error>(8);
            until("what a load has read is near", async || {
                assert_eq!(remember!(near, "k", load).await.unwrap(), 7);
                near_hits(&near) > 0
            })
            .await;
        }
    });
}

#[test]
fn a_failover_behind_sentinels_ends_what_the_old_primary_has_told() {
    run(async {
        let site = Sentinels::start();
        let prefix = random_prefix();
        let sentinel = site.addresses().remove(1);
        let url = format!("redis-sentinel://{sentinel}/{}", Sentinels::MASTER);
        let other = Place::Sentinel.open(&format!("{url}?breaker=off"), &prefix);
        let caches = [Place::Sentinel, Place::SentinelBlocking]
            .map(|place| open(place, &site.url(), &prefix));
        call!(other.set("k", &7)).unwrap();
        for near in &caches {
            warm(near, "k", 7).await;
        }
        site.until_agreed();
        site.failover();
        for near in &caches {
            until_asked(near, "k").await;
            hears(near, &other, "k", 10).await;
        }
    });
}
