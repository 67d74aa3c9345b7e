//! 500 callers in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nearcache::ErrorKind;
use nearcache_testkit::{Proxy, Redis, random_prefix};

use crate::crowd::{all, callers, counted, report, so, until};
use crate::face::{Face, run};
use crate::target::{Options, Place, Target};

brief_suite! {
    five_hundred_callers_of_a_cold_key_load_it_once,
    ten_keys_load_side_by_side,
    a_panic_is_an_error_to_all_and_the_key_is_loadable_at_once,
    callers_that_go_away_take_nobody_with_them,
}

#[cfg(feature = "cluster")]
cluster_suite! {
    five_hundred_callers_of_a_cold_key_load_it_once,
    ten_keys_load_side_by_side,
}

/// On the oldest server and on the newest.
mod on_another_server {
    use crate::face::run;
    use crate::target::{Place, Target};

    #[test]
    fn five_hundred_callers_of_a_cold_key_load_it_once() {
        for target in [
            Target::asynchronous(Place::Redis6),
            Target::blocking(Place::Redis6),
            Target::asynchronous(Place::Valkey9),
            Target::blocking(Place::Valkey9),
            Target::asynchronous(Place::AclUser),
            Target::blocking(Place::AclUser),
        ] {
            if target.is_there() {
                run(super::five_hundred_callers_of_a_cold_key_load_it_once(
                    target,
                ));
            }
        }
    }
}

const CALLERS: usize = 500;

async fn five_hundred_callers_of_a_cold_key_load_it_once(target: Target) {
    const LOAD: Duration = Duration::from_millis(200);
    let (cache, loads) = (target.cache(), Arc::new(AtomicUsize::new(0)));
    let load = counted(&loads, || {
        std::thread::sleep(LOAD);
        Ok(7)
    });
    let begun = Instant::now();
    let (found, last) = all(callers(&cache, "k", CALLERS, &load)).await;
    assert!(found.into_iter().all(|value| value.unwrap() == 7));
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(call!(cache.get::<u64>("k")).unwrap(), Some(7));
    report(
        format_args!("{CALLERS} callers, {target:?}"),
        LOAD,
        last.duration_since(begun),
    );
}

async fn ten_keys_load_side_by_side(target: Target) {
    const KEYS: usize = 10;
    let (cache, begun) = (target.cache(), Arc::new(AtomicUsize::new(0)));
    // None ends before all have begun.
    let seen = Arc::clone(&begun);
    let load = counted(&begun, move || {
        until("all loads have begun", || {
            seen.load(Ordering::SeqCst) >= KEYS
        });
        Ok(7)
    });
    let crowds = (0..KEYS).map(|key| callers(&cache, &key.to_string(), CALLERS / KEYS, &load));
    let crowds: Vec<_> = crowds.collect();
    for crowd in crowds {
        let (found, _) = all(crowd).await;
        assert!(found.into_iter().all(|value| value.unwrap() == 7));
    }
    assert_eq!(begun.load(Ordering::SeqCst), KEYS);
}

async fn a_panic_is_an_error_to_all_and_the_key_is_loadable_at_once(target: Target) {
    let (cache, loads) = (target.cache(), Arc::new(AtomicUsize::new(0)));
    let watched = cache.clone();
    // Only once everyone else waits for it.
    let load = counted(&loads, move || {
        let waiting = CALLERS as u64 - 1;
        until("the others wait", || {
            ask!(watched.stats()).coalesced >= waiting
        });
        panic!("no table");
    });
    let (found, _) = all(callers(&cache, "k", CALLERS, &load)).await;
    for value in found {
        let error = value.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert!(error.to_string().contains("no table"), "{error}");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    let load = counted(&loads, || Ok(8));
    let (found, _) = all(callers(&cache, "k", CALLERS, &load)).await;
    assert!(found.into_iter().all(|value| value.unwrap() == 8));
    assert_eq!(loads.load(Ordering::SeqCst), 2);
}

async fn callers_that_go_away_take_nobody_with_them(target: Target) {
    let (cache, loads) = (target.cache(), Arc::new(AtomicUsize::new(0)));
    let go_on = Arc::new(AtomicUsize::new(0));
    let gate = Arc::clone(&go_on);
    let load = counted(&loads, move || {
        until("the others went away", || gate.load(Ordering::SeqCst) > 0);
        Ok(7)
    });
    let first = callers(&cache, "k", 1, &load);
    so("the load has begun", || loads.load(Ordering::SeqCst) == 1).await;
    let mut stay = callers(&cache, "k", CALLERS - 1, &load);
    so("the others wait", || {
        ask!(cache.stats()).coalesced == CALLERS as u64 - 1
    })
    .await;
    let go = stay.split_off(CALLERS / 2);
    for gone in first.iter().chain(&go) {
        gone.abort();
    }
    for gone in first.into_iter().chain(go) {
        // A blocking caller cannot be called off: the task that waits for it can.
        assert!(gone.await.is_err_and(|error| error.is_cancelled()));
    }
    go_on.store(1, Ordering::SeqCst);
    let (found, _) = all(stay).await;
    assert!(found.into_iter().all(|value| value.unwrap() == 7));
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(call!(cache.get::<u64>("k")).unwrap(), Some(7));
}

/// Longer than Redis may take for a call, and longer than the lease.
#[test]
fn a_slow_load_is_one_load_while_its_lease_is_renewed() {
    const LEASE: Duration = Duration::from_secs(2);
    let redis = Redis::start();
    for target in [
        Target::asynchronous(Place::RedisResp3),
        Target::blocking(Place::RedisResp2),
    ] {
        run(async {
            let (proxy, prefix) = (Arc::new(Proxy::start(&redis.address())), random_prefix());
            let open = |name: &str| -> Face {
                let url = format!("{}?client_name={name}", proxy.url());
                let options = Options {
                    prefix: &prefix,
                    lease: Some(LEASE),
                    timeout: Some(Duration::from_secs(1)),
                    ..Options::default()
                };
                target.build(&url, options).unwrap()
            };
            let (here, there) = (open("here"), open("there"));
            let loads = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&proxy);
            // The script that renews is the one whose first key is the lease.
            let renewal = format!("EVALSHA {prefix}:{{{prefix}:k}}#nearcache:lease");
            let load = counted(&loads, move || {
                until("the lease was renewed three times", || {
                    let commands = seen.commands();
                    commands.iter().filter(|said| **said == renewal).count() >= 3
                });
                Ok(7)
            });
            let mut crowd = callers(&here, "k", 100, &load);
            crowd.extend(callers(&there, "k", 100, &load));
            let (found, _) = all(crowd).await;
            assert!(found.into_iter().all(|value| value.unwrap() == 7));
            assert_eq!(loads.load(Ordering::SeqCst), 1);
        });
    }
}
