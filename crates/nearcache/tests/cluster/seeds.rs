//! How a cache finds its Cluster: from which addresses, and what it says where there is none.

use nearcache::{Cache, ErrorKind, blocking};
use nearcache_testkit::{Cluster, ClusterOptions, Port, Redis, random_prefix};

use crate::face::Face;
use crate::site::{both, name_in, open, open_at};

/// A cache of the address before this does not share the topology with the others.
fn alone(url: &str) -> String {
    format!("{url}?client_name={}", random_prefix())
}

#[test]
fn one_live_seed_is_enough() {
    let cluster = Cluster::shared();
    let nobody = [Port::unused(), Port::unused()];
    both(async |target| {
        for seed in 0..cluster.len() {
            let live = cluster.node(seed).address();
            let url = format!(
                "redis-cluster://127.0.0.1:{},{live},127.0.0.1:{}",
                nobody[0], nobody[1]
            );
            let prefix = random_prefix();
            let cache = open_at(target, &alone(&url), &prefix);
            for primary in 0..3 {
                let name = name_in(cluster, &prefix, primary, "k");
                call!(cache.set(&name, &7)).unwrap();
                assert_eq!(call!(cache.get::<u8>(&name)).unwrap(), Some(7));
            }
        }
    });
}

#[test]
fn no_live_seed_is_an_error_that_names_them() {
    let nobody = [Port::unused(), Port::unused()];
    let url = format!(
        "redis-cluster://127.0.0.1:{},127.0.0.1:{}",
        nobody[0], nobody[1]
    );
    both(async |target| {
        let cache = open(target, &alone(&url));
        let error = call!(cache.get::<u8>("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        let names = |port: &Port| error.to_string().contains(&port.to_string());
        assert!(nobody.iter().all(names), "{error}");
        // And a loader's value arrives.
        let found = remember!(cache, "k", || Ok::<_, std::io::Error>(7)).await;
        assert_eq!(found.unwrap(), 7);
    });
}

#[test]
fn a_seed_that_is_no_cluster_is_told_apart_from_one_that_is() {
    let (cluster, redis) = (Cluster::shared(), Redis::shared());
    both(async |target| {
        let cache = open(
            target,
            &alone(&format!("redis-cluster://{}", redis.address())),
        );
        let error = call!(cache.get::<u8>("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.to_string().contains("redis://"), "{error}");
        let cache = open(target, &alone(&cluster.node(0).url()));
        let error = call!(cache.get::<u8>("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.to_string().contains("redis-cluster://"), "{error}");
    });
}

#[test]
fn there_is_only_one_database() {
    let url = |db: &str| format!("{}{db}", Cluster::shared().url());
    for db in ["", "/", "/0", "?db=0"] {
        assert!(Cache::open(&url(db)).is_ok(), "{db}");
        assert!(blocking::Cache::open(&url(db)).is_ok(), "{db}");
    }
    for db in ["/1", "?db=7"] {
        let error = Cache::open(&url(db)).unwrap_err();
        let says = error.to_string();
        assert!(
            says.contains("database") && says.contains("Cluster"),
            "{says}"
        );
    }
}

#[test]
fn a_password_is_for_every_node() {
    let cluster = Cluster::start_with(ClusterOptions {
        replicas: 0,
        password: Some("s3cret".to_owned()),
        ..ClusterOptions::default()
    });
    both(async |target| {
        let cache = open(target, &cluster.url());
        let names = || (0..30).map(|i| format!("k:{i}"));
        call!(cache.set_many(names().map(|name| (name, 7)))).unwrap();
        assert_eq!(call!(cache.get_many::<u8>(names())).unwrap(), [Some(7); 30]);
        let without = alone(&cluster.url().replace(":s3cret@", ""));
        let refused = open(target, &without);
        let error = call!(refused.get::<u8>("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert!(!format!("{cache:?} {error:?} {error}").contains("s3cret"));
    });
}

#[test]
fn a_blocking_cache_and_an_async_one_are_the_same_cluster() {
    let cluster = Cluster::shared();
    let prefix = random_prefix();
    both(async |target| {
        let cache = open_at(target, &cluster.url(), &prefix);
        call!(cache.incr("n")).unwrap();
        let counted = match &cache {
            Face::Async(cache) => {
                let other = cache.blocking().unwrap();
                tokio::task::spawn_blocking(move || other.counter("n").run())
                    .await
                    .unwrap()
            }
            Face::Blocking(cache) => cache.asynchronous().unwrap().counter("n").await,
        };
        let expected = if target.is_blocking() { 2 } else { 1 };
        assert_eq!(counted.unwrap(), Some(expected));
    });
}
