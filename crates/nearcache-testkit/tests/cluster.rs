//! What the tests of others rest on: that the Cluster is one, and that what is done to it happens.

use nearcache_testkit::{Client, Cluster, ClusterOptions, eventually};

const KEY: &str = "a";

#[test]
fn a_cluster_starts_fails_over_loses_a_primary_and_moves_slots() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.primaries(), [0, 1, 2]);
    let slot = cluster.slot(KEY);
    let first = cluster.primary_of(slot);
    cluster.tell(first, &["SET", KEY, "1"]);
    let other = (first + 1) % 3;
    let moved = cluster.ask(other, &["GET", KEY]).text();
    assert!(moved.starts_with(&format!("MOVED {slot} ")), "{moved}");

    let replica = cluster.replicas_of(first)[0];
    eventually("the replica has it", || {
        cluster.ask(replica, &["DBSIZE"]).text() == "1"
    });
    cluster.failover(replica);
    assert_eq!(cluster.primary_of(slot), replica);
    assert_eq!(cluster.ask(replica, &["GET", KEY]).text(), "1");
    assert_eq!(cluster.replicas_of(replica), [first]);

    assert_eq!(cluster.kill_primary_of(slot), replica);
    cluster.taken_over(first);
    assert_eq!(cluster.ask(first, &["GET", KEY]).text(), "1");
    cluster.restart(replica);
    cluster.agreed();
    assert_eq!(cluster.replicas_of(first), [replica]);

    let half = cluster.migration(slot, other);
    cluster.tell(first, &["SET", "{a}b", "2"]);
    half.begin();
    half.keys(&[KEY]);
    assert!(cluster.ask(first, &["GET", KEY]).text().starts_with("ASK "));
    let torn = cluster.ask(first, &["MGET", KEY, "{a}b"]).text();
    assert!(torn.starts_with("TRYAGAIN"), "{torn}");
    while half.some(1) > 0 {}
    half.finish();
    cluster.agreed();
    assert_eq!(cluster.primary_of(slot), other);
    assert_eq!(
        cluster.ask(other, &["MGET", KEY, "{a}b"]).elements(),
        [b"1", b"2"]
    );

    let new = cluster.add_primary();
    cluster.reshard(slot..=slot + 2, new);
    assert_eq!(cluster.primary_of(slot), new);
    assert_eq!(cluster.ask(new, &["GET", KEY]).text(), "1");
}

#[test]
fn a_password_is_asked_for_everywhere() {
    let cluster = Cluster::start_with(ClusterOptions {
        replicas: 0,
        password: Some("secret".to_owned()),
        ..ClusterOptions::default()
    });
    assert!(
        cluster
            .url()
            .starts_with("redis-cluster://:secret@127.0.0.1:")
    );
    let slot = cluster.slot(KEY);
    let first = cluster.primary_of(slot);
    cluster.tell(first, &["SET", KEY, "1"]);
    let other = (first + 1) % 3;
    cluster.migration(slot, other).whole();
    cluster.agreed();
    assert_eq!(cluster.ask(other, &["GET", KEY]).text(), "1");
    assert!(cluster.node(other).inline("GET a").starts_with("-NOAUTH"));
}

#[test]
fn a_cluster_behind_proxies_names_the_proxies() {
    let cluster = Cluster::start_with(ClusterOptions {
        replicas: 0,
        ..ClusterOptions::default()
    });
    let proxies = cluster.proxies();
    let first = cluster.primary_of_key(KEY);
    let other = (first + 1) % 3;
    let mut client = Client::open(proxies.of(other).port()).unwrap();
    let moved = client.ask(&["GET", KEY]).unwrap().text();
    let there = format!(" 127.0.0.1:{}", proxies.of(first).port());
    assert!(moved.ends_with(&there), "{moved}");
    for command in [["CLUSTER", "SLOTS"], ["CLUSTER", "NODES"]] {
        let said = format!("{:?}", client.ask(&command).unwrap());
        let text = client.ask(&command).unwrap().text();
        for i in 0..3 {
            let (port, own) = (proxies.of(i).port(), cluster.node(i).port());
            // Numbers of the first reply are bytes.
            let digits = |port: u16| format!("{:?}", port.to_string().as_bytes());
            assert!(said.contains(&digits(port)) || text.contains(&format!(":{port}@")));
            assert!(!said.contains(&digits(own)) && !text.contains(&format!(":{own}@")));
        }
    }
    let client_sees = |value: &str| {
        let mut client = Client::open(proxies.of(first).port()).unwrap();
        client.ask(&["SET", KEY, value]).unwrap();
        client.ask(&["GET", KEY]).unwrap().text()
    };
    // What only looks so passes.
    assert_eq!(client_sees("127.0.0.1:1"), "127.0.0.1:1");
    assert!(proxies.commands().contains(&format!("SET {KEY}")));
}
