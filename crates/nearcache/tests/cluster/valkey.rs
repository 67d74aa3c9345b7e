//! A Cluster of the newest Valkey: entries, tags and listings over all slots, and slots that move, are as on one of Redis.

use nearcache_testkit::{Cluster, ClusterOptions, Server, random_prefix};

use crate::site::{both, name_in, open_at};
use crate::target::keys_matching;

const MANY: u32 = 100;

#[test]
fn a_cluster_of_valkey_is_as_one_of_redis() {
    if !Server::Valkey9.is_there() {
        return;
    }
    let cluster = Cluster::start_with(ClusterOptions {
        replicas: 0,
        server: Server::Valkey9,
        ..ClusterOptions::default()
    });
    let url = cluster.url().replacen("redis-", "valkey-", 1);
    both(async |target| {
        let prefix = random_prefix();
        let cache = open_at(target, &url, &prefix);
        let other = open_at(target, &format!("{url}?client_name=other"), &prefix);

        let names = || (0..MANY).map(|i| format!("many:{i}"));
        call!(cache.set_many(names().zip(0..MANY))).unwrap();
        let found = call!(other.get_many::<u32>(names())).unwrap();
        assert_eq!(found, (0..MANY).map(Some).collect::<Vec<_>>());
        assert_eq!(call!(cache.incr("many:7").by(3)).unwrap(), 10);
        assert_eq!(call!(cache.delete_many(["many:1", "many:2"])).unwrap(), 2);
        assert!(!call!(cache.add("many:3", &7)).unwrap());
        assert_eq!(
            keys_matching(&other, b"many:*").await.len(),
            MANY as usize - 2
        );

        // An entry at each primary; the tag's counter is at one of them.
        for primary in 0..3 {
            let name = name_in(&cluster, &prefix, primary, "tagged");
            let load = || Ok::<_, std::io::Error>(1);
            let loaded = remember!(cache, name.clone(), load; .tags(["t"])).await;
            assert_eq!(loaded.unwrap(), 1);
            assert_eq!(call!(other.get::<u8>(&name)).unwrap(), Some(1));
            call!(other.invalidate_tag("t")).unwrap();
            assert_eq!(call!(cache.get::<u8>(&name)).unwrap(), None);
        }

        // Half of a slot is here and half there (ASK); then all of it there (MOVED).
        let slot = cluster.slot("{moves}");
        let to = (cluster.primary_of(slot) + 1) % 3;
        let pair = ["{moves}a", "{moves}b"];
        call!(cache.set_many(pair.map(|name| (name, 1)))).unwrap();
        let migration = cluster.migration(slot, to);
        migration.begin();
        migration.some(1);
        assert_eq!(call!(cache.get_many::<u8>(pair)).unwrap(), [Some(1); 2]);
        call!(cache.set("{moves}c", &1)).unwrap();
        call!(other.delete("{moves}a")).unwrap();
        while migration.some(2) > 0 {}
        migration.finish();
        let found = call!(cache.get_many::<u8>(["{moves}a", "{moves}b", "{moves}c"]));
        assert_eq!(found.unwrap(), [None, Some(1), Some(1)]);
        call!(other.clear()).unwrap();
        assert!(keys_matching(&cache, b"*").await.is_empty());
    });
}
