//! What is in several slots and belongs together: the two removals of a tag's invalidation, and the keys of a batch.

use std::time::Duration;

use nearcache::{Error, Loaded};
use nearcache_testkit::{Cluster, ClusterOptions, Frames, Proxies, random_prefix};
use tokio::task::JoinHandle;

use crate::face::{Face, run};
use crate::scene::{Source, elsewhere};
use crate::site::{BOTH, in_time, name_in, open_at, within};

fn invalidate(cache: &Face, tag: &str) -> JoinHandle<nearcache::Result<()>> {
    let (cache, tag) = (cache.clone(), tag.to_owned());
    tokio::spawn(async move {
        match cache {
            Face::Async(cache) => cache.invalidate_tag(&tag).await,
            Face::Blocking(cache) => elsewhere(move || cache.invalidate_tag(&tag).run()).await,
        }
    })
}

/// How often this was said to any node.
fn times(proxies: &Proxies, said: &str) -> usize {
    proxies
        .commands()
        .iter()
        .filter(|one| one.ends_with(said))
        .count()
}

#[test]
fn a_failover_between_the_two_removals_of_a_tag_begins_them_again() {
    let cluster = Cluster::start();
    for target in BOTH {
        let prefix = random_prefix();
        let epoch = format!("{prefix}:#nearcache:tags");
        let counter = |tag: &str| format!("{prefix}:#nearcache:tag:{tag}");
        let of_epoch = cluster.primary_of_key(&epoch);
        let mut tags = (0..).map(|i| format!("t{i}"));
        let tag = tags.find(|tag| cluster.primary_of_key(counter(tag)) != of_epoch);
        let tag = tag.expect("there are three primaries");
        run(async {
            let (proxies, source) = (cluster.proxies(), Source::new());
            let cache = open_at(target, &proxies.url(), &prefix);
            let name = name_in(&cluster, &prefix, of_epoch, "k");
            let other = name_in(&cluster, &prefix, of_epoch, "other");
            let load = |value: u8| {
                let (gives, tag) = (source.gives(value), tag.clone());
                let load = move || gives().map(|value| Loaded::new(value).tags([tag]));
                remember!(cache, name.clone(), load)
            };
            assert_eq!(load(1).await.unwrap(), 1);
            let of_counter = Frames::requests().of("UNLINK").about(counter(&tag));
            let holds = proxies.hold(&of_counter);
            let invalidating = invalidate(&cache, &tag);
            in_time("the epoch is gone, the version is next", async || {
                holds.iter().any(|hold| hold.held() > 0).then_some(())
            })
            .await;
            assert_eq!(times(&proxies, &format!("UNLINK {epoch}")), 1);
            cluster.failover(cluster.replicas_of(of_epoch)[0]);
            // Something else tells this process of it, which needs nothing of the server that is held.
            assert_eq!(call!(cache.get::<u8>(&other)).unwrap(), None);
            drop(holds);
            invalidating.await.unwrap().unwrap();
            let begun = times(&proxies, &format!("UNLINK {epoch}"));
            assert!(begun >= 2, "{begun}: {:?}", proxies.commands());
            assert_eq!(load(2).await.unwrap(), 2);
        });
        cluster.agreed();
    }
}

#[test]
fn of_a_batch_what_one_server_does_not_take_is_told_and_kept_by_key() {
    let cluster = Cluster::start_with(ClusterOptions {
        replicas: 0,
        full_coverage: false,
        node_timeout: Duration::from_secs(15),
        ..ClusterOptions::default()
    });
    for target in BOTH {
        let prefix = random_prefix();
        let cache = within(target, &cluster.url(), &prefix, Duration::from_millis(300));
        let names = [0, 1, 2].map(|primary| name_in(&cluster, &prefix, primary, "k"));
        let gone = [0, 1].map(|primary| name_in(&cluster, &prefix, primary, "gone"));
        let told = |error: &Error, name: &str| {
            assert!(error.is_deferred(), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        };
        run(async {
            for name in names.iter().chain(&gone) {
                call!(cache.set(name, &1)).unwrap();
            }
            let before = ask!(cache.stats());
            cluster.freeze(0);
            let entries = || names.iter().map(|name| (name, 2));
            told(&call!(cache.set_many(entries())).unwrap_err(), &names[0]);
            let after = ask!(cache.stats());
            assert_eq!(after.writes - before.writes, 2);
            assert_eq!(after.invalidations - before.invalidations, 2);
            assert_eq!(after.invalidations_waiting, 1);
            for name in &names[1..] {
                assert_eq!(call!(cache.get::<u8>(name)).unwrap(), Some(2));
            }
            told(&call!(cache.delete_many(&gone)).unwrap_err(), &gone[0]);
            assert_eq!(call!(cache.get::<u8>(&gone[1])).unwrap(), None);
            assert_eq!(ask!(cache.stats()).invalidations_waiting, 2);
            cluster.thaw(0);
            let found = in_time("it is back", async || {
                call!(cache.get::<u8>(&names[0])).ok()
            });
            assert_eq!(found.await, None, "kept as a deletion");
            let found = call!(cache.get_many::<u8>(names.clone())).unwrap();
            assert_eq!(found, [None, Some(2), Some(2)], "the others are done");
            assert_eq!(call!(cache.get::<u8>(&gone[0])).unwrap(), None);
            in_time("nothing waits", async || {
                (ask!(cache.stats()).invalidations_waiting == 0).then_some(())
            })
            .await;
        });
    }
}
