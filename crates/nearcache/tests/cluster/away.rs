//! One primary that is away costs its own slots, and nothing else.

use std::io::Write as _;
use std::time::{Duration, Instant};

use nearcache::ErrorKind;
use nearcache_testkit::{Cluster, ClusterOptions, random_prefix};

use crate::face::{Face, run};
use crate::site::{BOTH, in_time, name_in, within};
use crate::target::Target;

const TIMEOUT: Duration = Duration::from_millis(300);

/// For calls of which none may fail, however slow the machine is.
const PATIENT: Duration = Duration::from_secs(20);

/// For calls that wait for a primary that is away, and must be answered by the others.
const IN_PART: Duration = Duration::from_secs(2);

fn without_replicas() -> Cluster {
    Cluster::start_with(ClusterOptions {
        replicas: 0,
        full_coverage: false,
        node_timeout: Duration::from_secs(15),
        ..ClusterOptions::default()
    })
}

/// Names of keys of each primary.
fn names(cluster: &Cluster, prefix: &str) -> [String; 3] {
    [0, 1, 2].map(|primary| name_in(cluster, prefix, primary, "k"))
}

async fn is_deferred(cache: &Face, name: &str) -> bool {
    match call!(cache.delete(name)) {
        Ok(_) => false,
        Err(error) => {
            assert!(error.is_deferred(), "{error}");
            true
        }
    }
}

#[test]
fn calls_about_other_slots_go_on_as_if_nothing_were() {
    let cluster = without_replicas();
    for target in BOTH {
        run(others_go_on(&cluster, target));
    }
}

async fn others_go_on(cluster: &Cluster, target: Target) {
    let prefix = random_prefix();
    let cache = within(target, &cluster.url(), &prefix, TIMEOUT);
    let names = names(cluster, &prefix);
    let patient = cache.within(PATIENT);
    for name in &names {
        call!(patient.set(name, &7)).unwrap();
    }
    let before = ask!(cache.stats());
    let (mut own, mut others, mut undisturbed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..40 {
        let began = Instant::now();
        others_answer(&patient, &prefix, &names).await;
        undisturbed.push(began.elapsed());
    }
    cluster.freeze(0);
    for round in 0..40 {
        let began = Instant::now();
        // Its own slots: an error within the time, and soon at once.
        let error = call!(cache.get::<u8>(&names[0])).unwrap_err();
        let kinds = [
            ErrorKind::Timeout,
            ErrorKind::Connect,
            ErrorKind::Unavailable,
        ];
        assert!(kinds.contains(&error.kind()), "round {round}: {error}");
        let name = names[0].clone();
        let found = remember!(cache, name, || Ok::<_, std::io::Error>(9)).await;
        assert_eq!(found.unwrap(), 9);
        own.push(began.elapsed());
        if round % 10 == 0 {
            assert!(is_deferred(&cache, &names[0]).await);
        }
        // All others, also while something is kept for later.
        let began = Instant::now();
        others_answer(&patient, &prefix, &names).await;
        others.push(began.elapsed());
    }
    let after = ask!(cache.stats());
    assert!(after.invalidations_deferred > before.invalidations_deferred);
    batches_are_carried_out_in_part(&cache.within(IN_PART), &names).await;
    cluster.thaw(0);
    // What was kept for later happens before anything of those slots is read.
    let found = in_time("the primary is back", async || {
        call!(cache.get::<u8>(&names[0])).ok()
    });
    assert_eq!(found.await, None, "it was invalidated");
    for list in [&mut own, &mut others, &mut undisturbed] {
        list.sort();
    }
    let median = |times: &[Duration]| times[times.len() / 2];
    let most = |times: &[Duration]| times.last().copied().unwrap_or_default();
    let line = format!(
        "cluster, a primary away, {}: two calls about it take {:?}, at most {:?}; eight about others take {:?}, at most \
         {:?}, and before that {:?}, at most {:?}\n",
        if target.is_blocking() {
            "blocking"
        } else {
            "async"
        },
        median(&own),
        most(&own),
        median(&others),
        most(&others),
        median(&undisturbed),
        most(&undisturbed),
    );
    // Past the capture of the test harness.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

#[test]
fn with_a_near_tier_a_batch_costs_only_the_keys_of_the_primary_that_is_away() {
    let cluster = without_replicas();
    for target in BOTH {
        run(near_batches(&cluster, target));
    }
}

async fn near_batches(cluster: &Cluster, target: Target) {
    let prefix = random_prefix();
    let url = format!("{}?near=1000&near_heartbeat=100ms", cluster.url());
    let cache = within(target, &url, &prefix, PATIENT);
    let names = names(cluster, &prefix);
    let (all, others) = (|| names.to_vec(), || names[1..].to_vec());
    let near_hits = || ask!(cache.stats()).near_hits;
    in_time("the near tier answers for each primary", async || {
        call!(cache.set_many(all().into_iter().map(|name| (name, 7)))).unwrap();
        let found = call!(cache.get_many::<u8>(all())).unwrap();
        assert_eq!(found, [Some(7); 3]);
        let before = near_hits();
        let found = call!(cache.get_many::<u8>(all())).unwrap();
        assert_eq!(found, [Some(7); 3]);
        (near_hits() >= before + 3).then_some(())
    })
    .await;
    cluster.freeze(0);
    batches_are_carried_out_in_part(&cache.within(IN_PART), &names).await;
    // Whatever is near meanwhile: what was written last is what is read.
    for round in 10..30 {
        call!(cache.set_many(others().into_iter().map(|name| (name, round)))).unwrap();
        let found = call!(cache.get_many::<u8>(others())).unwrap();
        assert_eq!(found, [Some(round); 2]);
        if round % 5 == 0 {
            call!(cache.delete_many(others())).unwrap();
            let found = call!(cache.get_many::<u8>(others())).unwrap();
            assert_eq!(found, [None; 2]);
        }
    }
    cluster.thaw(0);
    let found = in_time("the primary is back", async || {
        call!(cache.get_many::<u8>(all())).ok()
    })
    .await;
    assert_eq!(found, [None, Some(29), Some(29)], "it was invalidated");
    call!(cache.set_many(all().into_iter().map(|name| (name, 9)))).unwrap();
    let found = call!(cache.get_many::<u8>(all())).unwrap();
    assert_eq!(found, [Some(9); 3]);
}

/// While the primary of the first name is away: what is about the others is done, and what is not is told by its key.
async fn batches_are_carried_out_in_part(cache: &Face, names: &[String; 3]) {
    let told = |error: &nearcache::Error| {
        assert_ne!(error.kind(), ErrorKind::Protocol, "{error}");
        let key = error.key().and_then(nearcache::Key::as_str);
        assert_eq!(key, Some(&*names[0]), "{error}");
    };
    // Something of the first name waits in the outbox, also for what only reads.
    assert!(is_deferred(cache, &names[0]).await);
    let backwards = || names.iter().rev().cloned();
    told(&call!(cache.get_many::<u8>(backwards())).unwrap_err());
    // What is there is not loaded.
    let first = names[0].clone();
    let load = move |missing: Vec<String>| {
        assert_eq!(missing, std::slice::from_ref(&first));
        Ok::<_, std::io::Error>([(first.clone(), 9)])
    };
    let found = match cache {
        Face::Async(cache) => {
            let load = move |missing| std::future::ready(load(missing));
            cache.remember_many(backwards(), load).await
        }
        Face::Blocking(cache) => cache.remember_many(backwards(), load).run(),
    };
    assert_eq!(found.unwrap(), [Some(7), Some(7), Some(9)]);
    let error = call!(cache.set_many(backwards().map(|name| (name, 8)))).unwrap_err();
    told(&error);
    assert!(error.is_deferred(), "{error}");
    let others = || names[1..].to_vec();
    let found = call!(cache.get_many::<u8>(others()));
    assert_eq!(found.unwrap(), [Some(8); 2]);
    let error = call!(cache.delete_many(backwards())).unwrap_err();
    told(&error);
    assert!(error.is_deferred(), "{error}");
    let found = call!(cache.get_many::<u8>(others()));
    assert_eq!(found.unwrap(), [None; 2]);
}

/// Calls about the slots of the two other primaries, none of which may fail.
async fn others_answer(cache: &Face, prefix: &str, names: &[String; 3]) {
    for name in &names[1..] {
        assert_eq!(call!(cache.get::<u8>(name)).unwrap(), Some(7));
        call!(cache.set(name, &7)).unwrap();
        let extra = format!("{{{prefix}:{name}}}");
        call!(cache.set(&extra, &1)).unwrap();
        assert!(!is_deferred(cache, &extra).await);
    }
}

#[test]
fn a_node_that_is_down_when_a_cache_is_opened_costs_its_own_slots() {
    let mut cluster = without_replicas();
    let prefix = random_prefix();
    let names = names(&cluster, &prefix);
    cluster.kill(0);
    for target in BOTH {
        let url = format!("{}?client_name={}", cluster.url(), random_prefix());
        let cache = within(target, &url, &prefix, Duration::from_secs(5));
        run(async {
            for name in &names[1..] {
                call!(cache.set(name, &7)).unwrap();
                assert_eq!(call!(cache.get::<u8>(name)).unwrap(), Some(7));
            }
            let error = call!(cache.get::<u8>(&names[0])).unwrap_err();
            assert!(
                [ErrorKind::Connect, ErrorKind::Unavailable].contains(&error.kind()),
                "{error}"
            );
            assert!(is_deferred(&cache, &names[0]).await);
        });
    }
}

#[test]
fn an_invalidated_tag_is_kept_while_one_of_its_servers_is_away() {
    let cluster = without_replicas();
    for target in BOTH {
        let prefix = random_prefix();
        let cache = within(target, &cluster.url(), &prefix, TIMEOUT);
        let counter = |tag: &str| format!("{prefix}:#nearcache:tag:{tag}");
        let mut tags = (0..).map(|i| format!("t{i}"));
        let tag = tags
            .find(|tag| cluster.primary_of_key(counter(tag)) == 0)
            .unwrap();
        let names = names(&cluster, &prefix);
        run(async {
            let patient = cache.within(PATIENT);
            call!(patient.set(&names[1], &7).tags([&*tag])).unwrap();
            assert_eq!(call!(patient.get::<u8>(&names[1])).unwrap(), Some(7));
            cluster.freeze(0);
            let error = call!(cache.invalidate_tag(&*tag)).unwrap_err();
            assert!(error.is_deferred(), "{error}");
            // In this process it is gone.
            assert_ne!(call!(cache.get::<u8>(&names[1])).ok(), Some(Some(7)));
            cluster.thaw(0);
            in_time("it is replayed", async || {
                // Whoever asks next replays it.
                let _ = call!(cache.ping());
                let _ = call!(cache.get::<u8>(&names[0]));
                (cluster.ask(0, &["EXISTS", &counter(&tag)]).text() == "0").then_some(())
            })
            .await;
            assert_eq!(call!(patient.get::<u8>(&names[1])).unwrap(), None);
        });
    }
}
