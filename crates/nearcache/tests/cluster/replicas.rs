//! Reads that may go to replicas.

use std::time::Duration;

use nearcache_testkit::{Cluster, random_prefix};

use crate::site::{both, in_time, name_in, within};

/// How many of a command a node has carried out.
fn carried_out(cluster: &Cluster, node: usize, command: &str) -> u64 {
    let stats = cluster.tell(node, &["INFO", "commandstats"]).text();
    let line = format!("cmdstat_{command}:calls=");
    let of_command = stats.lines().find_map(|row| row.strip_prefix(&line));
    of_command.map_or(0, |row| {
        let calls = row.split(',').next().expect("a number");
        calls.parse().expect("a number")
    })
}

#[test]
fn replicas_answer_what_only_reads_if_asked_to() {
    let cluster = Cluster::start();
    both(async |target| {
        let prefix = random_prefix();
        let url = format!("{}?read=replica", cluster.url());
        let cache = within(target, &url, &prefix, Duration::from_millis(600));
        let names = [0, 1, 2].map(|primary| name_in(&cluster, &prefix, primary, "k"));
        call!(cache.set_many(names.iter().map(|name| (name, 7)))).unwrap();
        let gets = |nodes: &[usize]| -> u64 {
            let of = |node: &usize| ["get", "mget"].map(|verb| carried_out(&cluster, *node, verb));
            nodes.iter().flat_map(of).sum()
        };
        let primaries = cluster.primaries();
        let replicas: Vec<usize> = primaries
            .iter()
            .flat_map(|primary| cluster.replicas_of(*primary))
            .collect();
        in_time("the replicas are known, and have them", async || {
            let before = gets(&replicas);
            let found = call!(cache.get_many::<u8>(names.clone())).ok()?;
            (found == [Some(7); 3] && gets(&replicas) >= before + 3).then_some(())
        })
        .await;
        let before = [gets(&primaries), gets(&replicas)];
        for name in &names {
            assert_eq!(call!(cache.get::<u8>(name)).unwrap(), Some(7));
        }
        let found = call!(cache.get_many::<u8>(names.clone())).unwrap();
        assert_eq!(found, [Some(7); 3]);
        assert_eq!(gets(&primaries), before[0], "no primary was read from");
        assert!(gets(&replicas) >= before[1] + 6, "each replica was");

        // What decides about a load asks the primary, and so does everything while the replicas are away.
        let loaded: nearcache::Result<u8> =
            remember!(cache, names[0].clone(), || Ok::<u8, nearcache::Error>(8)).await;
        assert_eq!(loaded.unwrap(), 7);
        for replica in &replicas {
            cluster.freeze(*replica);
        }
        for name in &names {
            assert_eq!(call!(cache.get::<u8>(name)).unwrap(), Some(7));
        }
        for replica in &replicas {
            cluster.thaw(*replica);
        }
        cluster.agreed();
    });
}
