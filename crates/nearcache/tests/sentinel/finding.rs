//! How the primary is found: through whichever Sentinel answers.

use std::time::Duration;

use nearcache_testkit::{Redis, Sentinels};

use crate::site::{Way, both, so, stored};

/// The group's URL, with these Sentinels.
fn through(sentinels: &[String]) -> String {
    format!(
        "redis-sentinel://{}/{}",
        sentinels.join(","),
        Sentinels::MASTER
    )
}

#[test]
fn the_primary_is_where_any_sentinel_says() {
    let site = Sentinels::shared();
    both(async |way| {
        for address in site.addresses() {
            let cache = way.open(&through(&[address]), "");
            call!(cache.set("k", &1)).unwrap();
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
            assert_eq!(stored(site, 0, "k"), "1");
        }
        let other = way.open(&format!("{}/3", site.url()), "");
        assert_eq!(
            call!(other.get::<u8>("k")).unwrap(),
            None,
            "another database"
        );
        let valkey = site.url().replace("redis-", "valkey-");
        let valkey = way.open(&valkey, "&protocol=2");
        assert_eq!(call!(valkey.get::<u8>("k")).unwrap(), Some(1));
    });
}

#[test]
fn a_sentinel_that_is_down_or_silent_is_passed_over_within_the_limit() {
    let site = Sentinels::shared();
    let mut down = Redis::start_sentinel();
    down.kill();
    let silent = Redis::start_sentinel();
    silent.freeze();
    both(async |way| {
        let mut sentinels = vec![silent.address(), down.address()];
        sentinels.extend(site.addresses());
        let cache = way.open(&through(&sentinels), "");
        call!(cache.ping()).unwrap();
    });
    silent.thaw();
}

#[test]
fn the_sentinels_that_one_names_are_asked_when_that_one_is_gone() {
    let mut site = Sentinels::start();
    let url = through(&site.addresses()[..1]);
    let caches: Vec<_> = [false, true]
        .map(|blocking| Way { blocking }.open(&url, "&breaker=off"))
        .into();
    crate::face::run(async {
        for cache in &caches {
            call!(cache.ping()).unwrap();
        }
        site.sentinels()[0].kill();
        for cache in &caches {
            site.server(0).inline("CLIENT KILL TYPE normal");
            // The connection is found to be closed before it is used again.
            tokio::time::sleep(Duration::from_millis(150)).await;
            call!(cache.set("k", &1)).unwrap();
        }
    });
}

/// A Sentinel that has not heard of a failover: it still names the server that is a replica by now.
#[test]
fn a_server_that_is_a_replica_is_not_taken_for_the_primary() {
    let site = Sentinels::shared();
    let behind = Redis::start_sentinel();
    site.watch_with(&behind, site.server(1), 3);
    // Under another name it does not hear from the others.
    let alone = Redis::start_sentinel();
    let port = site.server(1).port();
    alone.inline(&format!("SENTINEL MONITOR lagging 127.0.0.1 {port} 3"));
    both(async |way| {
        let mut sentinels = vec![behind.address()];
        sentinels.extend(site.addresses());
        let cache = way.open(&through(&sentinels), "");
        call!(cache.set("behind", &2)).unwrap();
        assert_eq!(stored(site, 0, "behind"), "2");

        let place = format!("redis-sentinel://{}/lagging", alone.address());
        let lagging = way.open(&place, "&breaker=off");
        let error = call!(lagging.get::<u8>("k")).unwrap_err().to_string();
        for says in ["is a replica", &alone.address(), &site.server(1).address()] {
            assert!(error.contains(says), "{says}: {error}");
        }
    });
}

#[test]
fn what_is_connected_goes_on_while_no_sentinel_answers() {
    both(async |way| {
        let mut site = Sentinels::start();
        let cache = way.cache(&site);
        call!(cache.set("k", &1)).unwrap();
        for sentinel in site.sentinels() {
            sentinel.kill();
        }
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        // A new connection to the same server.
        let kill = site.server(0).inline("CLIENT KILL TYPE normal");
        assert!(kill.starts_with(':'), "{kill}");
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        // A server that began anew there may be no primary.
        site.server_mut(0).kill();
        site.server_mut(0).restart();
        so("it is noticed", || {
            let read = crate::face::Face::clone(&cache);
            let read = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime
                    .unwrap()
                    .block_on(async { call!(read.get::<u8>("k")) })
            });
            // On a busy machine the time may be over before it is known why.
            let error = read.join().unwrap().err();
            error.is_some_and(|error| error.to_string().contains("no Sentinel answers"))
        })
        .await;
    });
}
