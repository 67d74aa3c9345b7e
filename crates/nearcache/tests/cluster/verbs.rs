//! Keys that are spread over all primaries: batches, listings, and the verbs that need several keys in one slot.

use std::collections::BTreeMap;

use nearcache::{Error, ErrorKind};
use nearcache_testkit::{Cluster, Proxy, eventually, random_prefix};

use crate::face::Face;
use crate::scene::Source;
use crate::site::{both, name_in, open, open_at};
use crate::target::keys_matching;

const MANY: usize = 1_000;

fn many() -> impl Iterator<Item = String> {
    (0..MANY).map(|i| format!("many:{i}"))
}

/// How many keys with this prefix each primary has.
fn spread(cluster: &Cluster, prefix: &str) -> Vec<usize> {
    let count = |primary| {
        let pattern = format!("{prefix}:*");
        cluster.tell(primary, &["KEYS", &pattern]).elements().len()
    };
    cluster.primaries().into_iter().map(count).collect()
}

#[test]
fn a_batch_goes_over_all_slots() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let cache = open_at(target, &cluster.url(), &prefix);
        call!(cache.set_many(many().zip(0..MANY))).unwrap();
        let spread_out = spread(cluster, &prefix);
        assert_eq!(spread_out.iter().sum::<usize>(), MANY);
        assert!(
            spread_out.iter().all(|count| *count > MANY / 5),
            "{spread_out:?}"
        );
        let asked = many().chain(["absent".to_owned()]);
        let found = call!(cache.get_many::<usize>(asked)).unwrap();
        let expected: Vec<_> = (0..MANY).map(Some).chain([None]).collect();
        assert_eq!(found, expected);
        let half = many().step_by(2).chain(["absent".to_owned()]);
        assert_eq!(call!(cache.delete_many(half)).unwrap(), MANY as u64 / 2);
        let load = |missing: Vec<String>| {
            assert_eq!(missing.len(), MANY / 2);
            let all = missing.into_iter().map(|name| (name, 7));
            Ok::<_, std::io::Error>(all.collect::<BTreeMap<String, usize>>())
        };
        let found = match &cache {
            Face::Async(cache) => {
                cache
                    .remember_many(many(), move |missing| std::future::ready(load(missing)))
                    .await
            }
            Face::Blocking(cache) => cache.remember_many(many(), load).run(),
        };
        let expected = (0..MANY).map(|i| Some(if i % 2 == 0 { 7 } else { i }));
        assert_eq!(found.unwrap(), expected.collect::<Vec<_>>());
        assert_eq!(spread(cluster, &prefix).iter().sum::<usize>(), MANY);
    });
}

/// However many slots a batch has: what goes to a node is sent to it together.
#[test]
fn a_batch_takes_few_round_trips_to_each_primary() {
    let cluster = Cluster::shared();
    both(async |target| {
        let proxies = cluster.proxies();
        let cache = open(target, &proxies.url());
        let names = || (0..200).map(|i| format!("few:{i}"));
        call!(cache.set_many(names().zip(0..200))).unwrap();
        macro_rules! at_most {
            ($times:literal, $what:literal, $operation:expr) => {{
                proxies.all().iter().for_each(|proxy| proxy.reset_counts());
                let outcome = $operation.unwrap();
                for proxy in proxies.all() {
                    let times = proxy.round_trips();
                    assert!(times <= $times, "{}: {times}", $what);
                }
                outcome
            }};
        }
        let numbers = || names().zip(1..201);
        at_most!(1, "set", call!(cache.set_many(numbers())));
        at_most!(
            1,
            "set, to expire",
            call!(cache.set_many(numbers()).ttl("1h"))
        );
        let found = at_most!(1, "get", call!(cache.get_many::<i32>(names())));
        assert_eq!(found, (1..201).map(Some).collect::<Vec<_>>());
        let deleted = at_most!(1, "delete", call!(cache.delete_many(names())));
        assert_eq!(deleted, 200);
        at_most!(
            3,
            "set with tags",
            call!(cache.set_many(numbers()).tags(["a", "b"]))
        );
        let found = at_most!(2, "get with tags", call!(cache.get_many::<i32>(names())));
        assert_eq!(found, (1..201).map(Some).collect::<Vec<_>>());
        let tags = (0..200).map(|i| format!("tag:{i}"));
        at_most!(
            2,
            "invalidate",
            call!(cache.invalidate_tags(tags.chain(["a".to_owned()])))
        );
        let load = |keys: Vec<String>| {
            let loaded: Vec<_> = keys.into_iter().map(|key| (key, 2)).collect();
            Ok::<_, std::io::Error>(loaded)
        };
        // Dead entries, whose leases and tags are looked at as well; then those that are there.
        for times in [8, 1] {
            let found = at_most!(
                8,
                "remember",
                match &cache {
                    Face::Async(cache) => {
                        let load = move |keys| async move { load(keys) };
                        cache.remember_many(names(), load).await
                    }
                    Face::Blocking(cache) => cache.remember_many(names(), load).run(),
                }
            );
            assert_eq!(found, [Some(2); 200]);
            let most = proxies.all().iter().map(Proxy::round_trips).max();
            assert!(most <= Some(times), "{most:?}");
        }
    });
}

/// What is refused in one slot is no failure of the others of the same node.
#[test]
fn what_is_refused_in_a_slot_costs_the_others_nothing() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let [keys, leases] = [
            format!("~{prefix}:ok*"),
            format!("~{prefix}:{{{prefix}:ok*"),
        ];
        let user = [
            "ACL", "SETUSER", &prefix, "reset", "on", ">pw", &keys, &leases, "+@all",
        ];
        for node in 0..cluster.len() {
            cluster.tell(node, &user);
        }
        let url = cluster.url().replace("://", &format!("://{prefix}:pw@"));
        let (cache, root) = (
            open_at(target, &url, &prefix),
            open_at(target, &cluster.url(), &prefix),
        );
        let names = || {
            let permitted = (0..60).map(|i| format!("ok:{i}"));
            ["no:1".to_owned()]
                .into_iter()
                .chain(permitted)
                .chain(["no:2".to_owned()])
        };
        let found = |first: Option<i32>, others: Option<i32>| {
            let mut found = vec![others; 62];
            (found[0], found[61]) = (first, first);
            found
        };
        call!(root.set_many(names().zip([1; 62]))).unwrap();
        let error = call!(cache.set_many(names().zip([2; 62]))).unwrap_err();
        assert!(error.to_string().contains("no:"), "{error}");
        let after = call!(root.get_many::<i32>(names())).unwrap();
        assert_eq!(after, found(Some(1), Some(2)), "{target:?}");
        let error = call!(cache.delete_many(names())).unwrap_err();
        assert!(error.to_string().contains("no:"), "{error}");
        let after = call!(root.get_many::<i32>(names())).unwrap();
        assert_eq!(after, found(Some(1), None), "{target:?}");
        for node in 0..cluster.len() {
            cluster.tell(node, &["ACL", "DELUSER", &prefix]);
        }
    });
}

#[test]
fn listings_and_clears_reach_every_primary() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let cache = open_at(target, &cluster.url(), &prefix);
        let bystander = open(target, &cluster.url());
        call!(bystander.set("many:1", &1)).unwrap();
        call!(cache.set_many(many().zip(0..MANY))).unwrap();
        call!(cache.set("other", &1)).unwrap();
        assert_eq!(keys_matching(&cache, b"*").await.len(), MANY + 1);
        assert_eq!(keys_matching(&cache, b"many:*").await.len(), MANY);
        let deleted = call!(cache.delete_pattern("many:*5")).unwrap();
        assert_eq!(deleted, MANY as u64 / 10);
        assert_eq!(keys_matching(&cache, b"*").await.len(), MANY * 9 / 10 + 1);
        assert_eq!(call!(cache.clear()).unwrap(), MANY as u64 * 9 / 10 + 1);
        assert_eq!(spread(cluster, &prefix), [0, 0, 0]);
        assert_eq!(call!(bystander.get::<u8>("many:1")).unwrap(), Some(1));
    });
}

#[test]
fn a_clear_fences_the_loads_of_every_primary() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let loads = open_at(target, &cluster.url(), &prefix);
        let clears = open_at(
            target,
            &format!("{}?client_name=other", cluster.url()),
            &prefix,
        );
        let names: Vec<String> = (0..3)
            .map(|primary| name_in(cluster, &prefix, primary, "k"))
            .collect();
        let source = Source::new();
        let mut loading = Vec::new();
        for name in &names {
            loading.push(tokio::spawn(remember!(
                loads,
                name.clone(),
                source.holds(1)
            )));
            source.begun().await;
        }
        call!(clears.clear()).unwrap();
        for _ in &loading {
            source.go_on();
        }
        for load in loading {
            assert_eq!(load.await.unwrap().unwrap(), 1);
        }
        for name in names {
            assert_eq!(call!(clears.get::<u8>(name)).unwrap(), None);
        }
    });
}

/// The error of several slots, which says what to do.
fn says_hash_tags(what: &str, result: Result<(), Error>) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::InvalidKey, "{what}: {error}");
    let text = error.to_string();
    assert!(
        text.contains("slot") && text.contains('{'),
        "{what}: {error}"
    );
}

/// Writes a member to two sets in one round trip, and says whether it is new there.
macro_rules! pipeline {
    ($cache:ident, $one:expr, $other:expr, $atomic:expr) => {
        match &$cache {
            Face::Async(cache) => added!(cache, $one, $other, $atomic).await,
            Face::Blocking(cache) => added!(cache, $one, $other, $atomic).run(),
        }
    };
}

macro_rules! added {
    ($cache:ident, $one:expr, $other:expr, $atomic:expr) => {{
        let add = |key| $cache.command("SADD").key(key).arg(random_prefix());
        let pipeline = $cache.pipeline().add(add($one)).add(add($other));
        let pipeline = if $atomic { pipeline.atomic() } else { pipeline };
        pipeline.query::<(u8, u8)>()
    }};
}

macro_rules! verbs_of_two_keys {
    ($cache:ident, $one:expr, $other:expr, $each:expr) => {{
        let each = $each;
        // A key for each type.
        let [
            (list, lists),
            (set, sets),
            (sorted, sorteds),
            (bits, bitmaps),
            (seen, seens),
        ] = ["l", "s", "z", "b", "u"]
            .map(|of| (format!("{of}{}", $one), format!("{of}{}", $other)));
        each(
            "list.move_to",
            call!($cache.list::<u8>(&list).move_to(&lists)).map(drop),
        );
        each(
            "list.move_to.wait",
            call!($cache.list::<u8>(&list).move_to(&lists).wait("1ms")).map(drop),
        );
        each(
            "set.move_to",
            call!($cache.set_of::<u8>(&set).move_to(&sets, 7)).map(drop),
        );
        each(
            "set.union",
            call!($cache.set_of::<u8>(&set).union([&sets])).map(drop),
        );
        each(
            "set.intersection",
            call!($cache.set_of::<u8>(&set).intersection([&sets])).map(drop),
        );
        each(
            "set.difference",
            call!($cache.set_of::<u8>(&set).difference([&sets])).map(drop),
        );
        each(
            "set.union_len",
            call!($cache.set_of::<u8>(&set).union_len([&sets])).map(drop),
        );
        each(
            "set.intersection_len",
            call!($cache.set_of::<u8>(&set).intersection_len([&sets])).map(drop),
        );
        each(
            "set.union.into",
            call!($cache.set_of::<u8>(&set).union([&set]).into(&sets)).map(drop),
        );
        each(
            "sorted.union",
            call!($cache.sorted_set::<u8>(&sorted).union([&sorteds])).map(drop),
        );
        each(
            "sorted.intersection",
            call!($cache.sorted_set::<u8>(&sorted).intersection([&sorteds])).map(drop),
        );
        each(
            "sorted.into",
            call!($cache.sorted_set::<u8>(&sorted).by_score(..).into(&sorteds)).map(drop),
        );
        each(
            "bits.and.into",
            call!($cache.bits(&bits).and([&bitmaps]).into(&bits)).map(drop),
        );
        each(
            "bits.not.into",
            call!($cache.bits(&bits).not().into(&bitmaps)).map(drop),
        );
        each(
            "uniques.len_of",
            call!($cache.uniques(&seen).len_of([&seens])).map(drop),
        );
        each(
            "uniques.merge",
            call!($cache.uniques(&seen).merge([&seens])).map(drop),
        );
        each(
            "command",
            call!(
                $cache
                    .command("SINTER")
                    .key(&set)
                    .key(&sets)
                    .query::<Vec<u8>>()
            )
            .map(drop),
        );
        each(
            "pipeline.atomic",
            pipeline!($cache, &set, &sets, true).map(drop),
        );
    }};
}

#[test]
fn verbs_of_several_keys_want_them_in_one_slot_and_say_so() {
    let cluster = Cluster::shared();
    both(async |target| {
        let cache = open(target, &cluster.url());
        let [one, other] = ["{one}", "{other}"];
        verbs_of_two_keys!(cache, one, other, says_hash_tags);
        assert!(keys_matching(&cache, b"*").await.is_empty());
        let [one, other] = ["{k}one", "{k}other"];
        verbs_of_two_keys!(cache, one, other, |what, result: Result<(), Error>| {
            result.expect(what);
        });
    });
}

#[test]
fn a_pipeline_that_is_not_one_step_goes_to_all_its_slots() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let cache = open_at(target, &cluster.url(), &prefix);
        let [one, other] = [0, 1].map(|primary| name_in(cluster, &prefix, primary, "k"));
        assert_eq!(pipeline!(cache, &one, &other, false).unwrap(), (1, 1));
        let lengths = (0..MANY).map(|i| if i % 2 == 0 { &one } else { &other });
        let mut of_many = Vec::new();
        for name in lengths.clone().take(10) {
            of_many.push(call!(cache.set_of::<String>(name).len()).unwrap());
        }
        assert_eq!(of_many, [1; 10]);
        let encoding = call!(cache.command("OBJECT ENCODING").key(&one).query::<String>());
        assert!(!encoding.unwrap().is_empty());
    });
}

#[test]
fn structures_and_patterns_of_many_names_are_in_many_slots() {
    let cluster = Cluster::shared();
    both(async |target| {
        let cache = open(target, &cluster.url());
        for i in 0_u8..20 {
            let name = format!("n:{i}");
            call!(cache.hash(format!("hash:{i}")).set("f", &i).ttl("1h")).unwrap();
            assert_eq!(
                call!(cache.hash(format!("hash:{i}")).get::<u8>("f")).unwrap(),
                Some(i)
            );
            let list = format!("list:{i}");
            call!(
                cache
                    .list::<u8>(&list)
                    .push_back_many([1, 2, 3])
                    .cap(2)
                    .ttl("1h")
            )
            .unwrap();
            assert_eq!(call!(cache.list::<u8>(&list).range(..)).unwrap(), [2, 3]);
            call!(
                cache
                    .stream::<Sent>(format!("stream:{i}"))
                    .append(&Sent { n: i })
            )
            .unwrap();
            assert_eq!(
                call!(cache.stream::<Sent>(format!("stream:{i}")).len()).unwrap(),
                1
            );
            let guard = call_as!(|guard| guard.is_held(); cache.lock(&name).acquire());
            assert!(guard.unwrap());
            let board = format!("board:{i}");
            call!(cache.leaderboard::<String>(&board).submit("ada", 3)).unwrap();
            assert_eq!(
                call!(cache.leaderboard::<String>(&board).top(1))
                    .unwrap()
                    .len(),
                1
            );
            call!(cache.queue::<u8>(&name).push(&i)).unwrap();
            assert_eq!(call!(cache.queue::<u8>(&name).len()).unwrap(), 1);
        }
    });
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Sent {
    n: u8,
}

#[test]
fn an_invalidated_tag_ends_the_entries_of_all_slots() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let one = open_at(target, &cluster.url(), &prefix);
        let other = open_at(
            target,
            &format!("{}?client_name=other", cluster.url()),
            &prefix,
        );
        let source = Source::new();
        for i in 0..30 {
            let name = format!("k:{i}");
            remember!(one, name, source.gives(1); .tags(["t"]))
                .await
                .unwrap();
        }
        call!(one.set("bystander", &1).tags(["u"])).unwrap();
        let names = || (0..30).map(|i| format!("k:{i}"));
        let found = call!(other.get_many::<u8>(names())).unwrap();
        assert_eq!(found, [Some(1); 30]);
        call!(other.invalidate_tag("t")).unwrap();
        assert_eq!(call!(one.get_many::<u8>(names())).unwrap(), [None; 30]);
        assert_eq!(call!(one.get::<u8>("bystander")).unwrap(), Some(1));
    });
}

#[test]
fn a_connection_of_the_callers_own_is_to_one_node() {
    let cluster = Cluster::shared();
    both(async |target| {
        let cache = open(target, &cluster.url());
        let mut ping = redis::Cmd::new();
        ping.arg("PING");
        let pong: String = match &cache {
            Face::Async(cache) => {
                let mut connection = cache.connection().await.unwrap();
                ping.query_async(&mut connection).await.unwrap()
            }
            Face::Blocking(cache) => {
                let mut connection = cache.connection().run().unwrap();
                ping.query(&mut connection).unwrap()
            }
        };
        assert_eq!(pong, "PONG");
        call!(cache.ping()).unwrap();
    });
}

#[test]
fn a_connection_for_a_key_is_to_its_node() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let cache = open_at(target, &cluster.url(), &prefix);
        for primary in 0..3 {
            let name = name_in(cluster, &prefix, primary, "k");
            let set = redis::Cmd::set(format!("{prefix}:{name}"), "7");
            match &cache {
                Face::Async(cache) => {
                    let mut connection = cache.connection_for(&name).await.unwrap();
                    set.exec_async(&mut connection).await.unwrap();
                }
                Face::Blocking(cache) => {
                    let mut connection = cache.connection_for(&name).run().unwrap();
                    set.exec(&mut connection).unwrap();
                }
            }
            assert_eq!(call!(cache.get::<u8>(&name)).unwrap(), Some(7));
        }
    });
}

#[test]
fn shared_raw_commands_find_their_nodes() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let cache = open_at(target, &cluster.url(), &prefix);
        for primary in 0..3 {
            let name = name_in(cluster, &prefix, primary, "k");
            let key = format!("{prefix}:{name}");
            let set = redis::Cmd::set(&key, "7");
            let get = redis::Cmd::get(&key);
            let found: u8 = match &cache {
                Face::Async(cache) => {
                    let mut shared = cache.shared_connection();
                    set.exec_async(&mut shared).await.unwrap();
                    get.query_async(&mut shared).await.unwrap()
                }
                Face::Blocking(cache) => {
                    let mut shared = cache.shared_connection();
                    set.exec(&mut shared).unwrap();
                    get.query(&mut shared).unwrap()
                }
            };
            assert_eq!(found, 7);
            eventually("the key is there", || {
                cluster.ask(primary, &["EXISTS", &key]).text() == "1"
            });
        }
    });
}
