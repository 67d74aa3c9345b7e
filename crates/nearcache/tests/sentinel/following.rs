//! What a cache does when another server becomes the primary.

use std::time::{Duration, Instant};

use nearcache::DataLoss;
use nearcache_testkit::{Sentinels, eventually};

use crate::face::Face;
use crate::site::{NAME, both, so, stored};

/// How the primary goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    /// Replaced in order, and alive.
    Replaced,
    Killed,
    Frozen,
}

impl Ends {
    const ALL: [Ends; 3] = [Ends::Replaced, Ends::Killed, Ends::Frozen];

    /// Server 1 is the primary when this returns.
    fn end(self, site: &mut Sentinels) {
        match self {
            Ends::Replaced => site.failover(),
            Ends::Killed => {
                site.server_mut(0).kill();
                site.until_moved_from(0);
            }
            Ends::Frozen => {
                site.server(0).freeze();
                site.until_moved_from(0);
            }
        }
    }
}

/// Writes until that succeeds.
async fn write(cache: &Face, key: &str, value: u8) {
    let mut said = String::new();
    for _ in 0..400 {
        match call!(cache.set(key, &value)) {
            Ok(()) => return,
            Err(error) => said = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no write succeeds: {said}");
}

#[test]
fn calls_go_to_the_new_primary_however_the_old_one_went() {
    for ends in Ends::ALL {
        both(async |way| {
            let mut site = Sentinels::start();
            let cache = way.cache(&site);
            write(&cache, "k", 1).await;
            ends.end(&mut site);
            let since = Instant::now();
            write(&cache, "k", 2).await;
            while ends == Ends::Replaced && stored(&site, 1, "k") != "2" {
                // What the old primary took until it had heard that it is none, the failover has lost.
                assert!(since.elapsed() < Duration::from_secs(60));
                write(&cache, "k", 2).await;
            }
            assert_eq!(stored(&site, 1, "k"), "2", "{ends:?}");
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(2));
        });
    }
}

/// The cache does nothing in all that time, and the old primary still believes that it is one.
#[test]
fn an_old_primary_that_is_alive_again_is_not_written_to() {
    both(async |way| {
        let site = Sentinels::start();
        let cache = way.cache(&site);
        write(&cache, "k", 1).await;
        // Before it is made a replica.
        for port in site.addresses() {
            let port = port.rsplit(':').next().unwrap().parse().unwrap();
            let mut sentinel = nearcache_testkit::Inline::open(port).unwrap();
            sentinel.ask("SENTINEL DEBUG publish-period 5000").unwrap();
        }
        site.server(0).freeze();
        site.until_moved_from(0);
        // What a watch needs to hear of it at the latest.
        tokio::time::sleep(Duration::from_secs(2)).await;
        site.server(0).thaw();
        let role = site.server(0).inline("INFO replication");
        assert!(role.contains("role:master"), "{role}");
        write(&cache, "k", 2).await;
        assert_eq!(stored(&site, 1, "k"), "2");
        assert_eq!(stored(&site, 0, "k"), "1");
        let clients = site.server(0).inline("CLIENT LIST");
        assert!(
            !clients.contains(NAME),
            "its connections are closed: {clients}"
        );
    });
}

/// The replica is frozen and cut off when the deletion comes, so it has not heard of it when it is promoted.
#[test]
fn what_was_acknowledged_and_lost_is_invalidated_again_before_the_first_read() {
    both(async |way| {
        for how in ["delete", "set", "invalidate_tag", "clear"] {
            let mut site = Sentinels::start();
            let cache = way.cache(&site);
            call!(cache.set("k", &1).tags(["t"])).unwrap();
            eventually("it is replicated", || !stored(&site, 1, "k").is_empty());
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
            site.server(1).freeze();
            site.server(0).inline("CLIENT KILL TYPE replica");
            match how {
                "delete" => drop(call!(cache.delete("k")).unwrap()),
                "set" => call!(cache.set("k", &2)).unwrap(),
                "invalidate_tag" => call!(cache.invalidate_tag("t")).unwrap(),
                _ => drop(call!(cache.clear()).unwrap()),
            }
            site.server_mut(0).kill();
            site.server(1).thaw();
            assert!(!stored(&site, 1, "k").is_empty(), "{how}: it was lost");
            site.until_moved_from(0);
            let mut found = call!(cache.get::<u8>("k"));
            while found.is_err() {
                found = call!(cache.get::<u8>("k"));
            }
            assert_eq!(found.unwrap(), None, "{how}");
        }
    });
}

/// As above, and then the old primary gets its place back, with the data of the other one, before anybody looks. It is the
/// same process as ever, and has lost what it had acknowledged.
#[test]
fn what_a_primary_lost_while_it_was_a_replica_is_invalidated_again() {
    both(async |way| {
        let site = Sentinels::start();
        let cache = way.cache(&site);
        write(&cache, "k", 1).await;
        eventually("it is replicated", || !stored(&site, 1, "k").is_empty());
        site.server(1).freeze();
        site.server(0).inline("CLIENT KILL TYPE replica");
        assert!(call!(cache.delete("k")).unwrap());
        site.server(0).freeze();
        site.server(1).thaw();
        site.until_moved_from(0);
        site.server(0).thaw();
        site.until_replica(0);
        site.until_agreed();
        site.failover();
        site.until_agreed();
        assert_eq!(site.primary(), 0);
        assert!(!stored(&site, 0, "k").is_empty(), "it was lost");
        let mut found = call!(cache.get::<u8>("k"));
        while found.is_err() {
            found = call!(cache.get::<u8>("k"));
        }
        assert_eq!(found.unwrap(), None);
    });
}

#[test]
fn a_prefix_is_cleared_after_a_failover_where_that_is_asked_for() {
    crate::face::run(async {
        let mut site = Sentinels::start();
        let url = format!("{}?prefix=app&timeout=20s", site.url());
        let builder = nearcache::Cache::builder(&url).on_data_loss(DataLoss::Clear);
        let cache = Face::Async(builder.build().unwrap());
        write(&cache, "k", 1).await;
        Ends::Replaced.end(&mut site);
        so("it is cleared", || {
            stored(&site, 1, "k").is_empty() || {
                let Face::Async(cache) = &cache else {
                    unreachable!()
                };
                let cache = cache.clone();
                tokio::spawn(async move { cache.ping().await });
                false
            }
        })
        .await;
    });
}

/// It is not silent on the old server while messages are published on the new one.
#[test]
fn a_subscription_goes_to_the_new_primary() {
    both(async |way| {
        let site = Sentinels::start();
        let cache = way.cache(&site);
        write(&cache, "k", 1).await;
        let before = cache.clone();
        let listening = tokio::spawn(async move {
            match before {
                Face::Async(cache) => {
                    let mut raw = cache.connection().await.unwrap();
                    redis::cmd("SUBSCRIBE")
                        .arg("c")
                        .exec_async(&mut raw)
                        .await
                        .unwrap();
                    loop {
                        if let Err(error) = raw.next_push().await {
                            return error.to_string();
                        }
                    }
                }
                Face::Blocking(cache) => {
                    crate::scene::elsewhere(move || {
                        let mut raw = cache.connection().run().unwrap();
                        redis::cmd("SUBSCRIBE").arg("c").exec(&mut raw).unwrap();
                        loop {
                            if let Err(error) = raw.next_push(Duration::from_millis(100)) {
                                return error.to_string();
                            }
                        }
                    })
                    .await
                }
            }
        });
        so("it listens", || {
            site.server(0).inline("PUBSUB NUMSUB c").starts_with('*') && {
                let heard = nearcache_testkit::Inline::open(site.server(0).port())
                    .and_then(|mut server| server.list("PUBSUB NUMSUB c"));
                heard.is_ok_and(|heard| heard.last().is_some_and(|count| count.ends_with('1')))
            }
        })
        .await;
        site.server(0).freeze();
        site.until_moved_from(0);
        let error = tokio::time::timeout(Duration::from_secs(10), listening).await;
        let error = error.expect("it ends").unwrap();
        assert!(error.contains("the primary has moved"), "{error}");
    });
}

#[test]
fn a_watch_ends_with_its_cache() {
    let site = Sentinels::shared();
    let listeners = || {
        let port = |address: &String| address.rsplit(':').next().unwrap().parse().unwrap();
        let count = |address: &String| {
            let mut sentinel = nearcache_testkit::Inline::open(port(address)).unwrap();
            let clients = sentinel.ask("CLIENT LIST").unwrap();
            clients
                .lines()
                .filter(|line| line.contains("name=watched"))
                .count()
        };
        site.addresses().iter().map(count).sum::<usize>()
    };
    both(async |way| {
        let url = format!("{}?client_name=watched&timeout=20s", site.url());
        let open = || match way.blocking {
            true => Face::Blocking(nearcache::blocking::Cache::open(&url).unwrap()),
            false => Face::Async(nearcache::Cache::open(&url).unwrap()),
        };
        for closed in [true, false] {
            let cache = open();
            call!(cache.ping()).unwrap();
            so("a Sentinel is listened to", || listeners() == 1).await;
            if closed {
                call!(cache.close()).unwrap();
            }
            drop(cache);
            so("and is not any more", || listeners() == 0).await;
        }
    });
}
