//! Hashes: fields as other programs write them, and structs as hashes.

use std::collections::{BTreeMap, HashMap};

use nearcache::{ErrorKind, Raw, Remaining};
use redis::Value;
use serde::{Deserialize, Serialize};

use crate::target::{Face, Target, raw};

suite! {
    fields_are_as_other_programs_write_them,
    fields_are_set_read_and_removed,
    many_fields_go_in_parts,
    a_scan_gives_each_field_once,
    a_field_counts,
    a_struct_is_a_hash,
    a_struct_says_which_field_is_wrong,
    shapes_of_serde_are_stored_and_loaded,
    a_ttl_comes_with_the_write_and_not_without_it,
    fields_with_times_need_a_newer_server,
    a_random_field_is_one_of_them,
    every_element_comes_back_through_the_server,
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

async fn fields_are_as_other_programs_write_them(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    call!(cache.delete("user:123")).unwrap();
    assert!(call!(cache.hash("user:123").set("name", "John")).unwrap());
    call!(cache.hash("user:123").set("age", &30)).unwrap();
    let name = raw(
        &cache,
        &[b"HGET", format!("{prefix}:user:123").as_bytes(), b"name"],
    )
    .await;
    assert_eq!(name, bulk("John"));
    let age = raw(
        &cache,
        &[b"HGET", format!("{prefix}:user:123").as_bytes(), b"age"],
    )
    .await;
    assert_eq!(age, bulk("30"));
    raw(
        &cache,
        &[
            b"HSET",
            format!("{prefix}:user:123").as_bytes(),
            b"city",
            b"London",
        ],
    )
    .await;
    let city = call!(cache.hash("user:123").get::<String>("city"));
    assert_eq!(city.unwrap().unwrap(), "London");
    call!(cache.delete("user:123")).unwrap();
}

async fn fields_are_set_read_and_removed(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.hash("h").get::<String>("a")).unwrap(), None);
    assert_eq!(call!(cache.hash("h").len()).unwrap(), 0);
    assert!(
        call!(cache.hash("h").all::<String, u8>())
            .unwrap()
            .is_empty()
    );
    assert!(call!(cache.hash("h").set("a", &1)).unwrap());
    assert!(!call!(cache.hash("h").set("a", &2)).unwrap());
    assert!(!call!(cache.hash("h").set_if_absent("a", &3)).unwrap());
    assert!(call!(cache.hash("h").set_if_absent("b", &3)).unwrap());
    assert_eq!(
        call!(cache.hash("h").set_many([("b", 4), ("c", 5)])).unwrap(),
        1
    );
    let found = call!(cache.hash("h").get_many::<u8>(["c", "x", "a"])).unwrap();
    assert_eq!(found, [Some(5), None, Some(2)]);
    let all = call!(cache.hash("h").all::<String, u8>()).unwrap();
    let wanted = [("a", 2), ("b", 4), ("c", 5)].map(|(name, value)| (name.to_owned(), value));
    assert_eq!(all, HashMap::from(wanted));
    let mut keys = call!(cache.hash("h").keys::<String>()).unwrap();
    keys.sort();
    assert_eq!(keys, ["a", "b", "c"]);
    let mut values = call!(cache.hash("h").values::<u8>()).unwrap();
    values.sort_unstable();
    assert_eq!(values, [2, 4, 5]);
    assert!(call!(cache.hash("h").contains("a")).unwrap());
    assert!(!call!(cache.hash("h").contains("x")).unwrap());
    assert!(call!(cache.hash("h").remove("a")).unwrap());
    assert!(!call!(cache.hash("h").remove("a")).unwrap());
    assert_eq!(
        call!(cache.hash("h").remove_many(["b", "c", "x"])).unwrap(),
        2
    );
    assert!(!call!(cache.contains("h")).unwrap(), "it has no field left");
    // Nothing is asked for, and nothing is wrong with that.
    let none: [(&str, u8); 0] = [];
    assert_eq!(call!(cache.hash("h").set_many(none)).unwrap(), 0);
    let none: [&str; 0] = [];
    assert_eq!(call!(cache.hash("h").get_many::<u8>(none)).unwrap(), []);
    assert_eq!(call!(cache.hash("h").remove_many(none)).unwrap(), 0);
}

async fn many_fields_go_in_parts(target: Target) {
    let cache = target.cache();
    let fields = || (0..2_500_u32).map(|number| (number, number * 2));
    let written = call!(cache.hash("h").set_many(fields()).ttl("1h"));
    assert_eq!(written.unwrap(), 2_500);
    assert_eq!(call!(cache.hash("h").len()).unwrap(), 2_500);
    let found = call!(cache.hash("h").get_many::<u32>(0..2_501_u32)).unwrap();
    assert_eq!(found.len(), 2_501);
    assert_eq!((found[2_499], found[2_500]), (Some(4_998), None));
    let removed = call!(cache.hash("h").remove_many(0..2_501_u32));
    assert_eq!(removed.unwrap(), 2_500);
}

async fn a_scan_gives_each_field_once(target: Target) {
    let cache = target.cache();
    let fields = (0..1_000_u32).map(|number| (format!("f{number}"), number));
    call!(cache.hash("h").set_many(fields)).unwrap();
    let mut found = Vec::new();
    match &cache {
        Face::Async(cache) => {
            let mut scan = cache.hash("h").scan::<String, u32>().page_size(50);
            while let Some(pair) = scan.next().await {
                found.push(pair.unwrap().1);
            }
        }
        Face::Blocking(cache) => {
            for pair in cache.hash("h").scan::<String, u32>().page_size(50) {
                found.push(pair.unwrap().1);
            }
        }
    }
    found.sort_unstable();
    assert_eq!(found, (0..1_000).collect::<Vec<_>>());
    let mut matching = Vec::new();
    match &cache {
        Face::Async(cache) => {
            let mut scan = cache.hash("h").scan::<String, u32>().matching("f99?");
            while let Some(pair) = scan.next().await {
                matching.push(pair.unwrap().1);
            }
        }
        Face::Blocking(cache) => {
            let scan = cache.hash("h").scan::<String, u32>().matching("f99?");
            matching.extend(scan.map(|pair| pair.unwrap().1));
        }
    }
    matching.sort_unstable();
    assert_eq!(matching, (990..1_000).collect::<Vec<_>>());
}

async fn a_field_counts(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.hash("h").incr("n")).unwrap(), 1);
    assert_eq!(call!(cache.hash("h").incr("n").by(10)).unwrap(), 11);
    assert_eq!(call!(cache.hash("h").incr("n").by(-1)).unwrap(), 10);
    for (by, sum) in [(i64::MAX - 1, i64::MAX - 1), (1, i64::MAX)] {
        let added = call!(cache.hash("exact").incr("n").by(by).ttl("1h"));
        assert_eq!(added.unwrap(), sum, "to the last digit");
    }
    let float = call!(cache.hash("h").incr_float("f", 0.5)).unwrap();
    assert_eq!(float.to_bits(), 0.5_f64.to_bits());
    let float = call!(cache.hash("h").incr_float("f", -1e300)).unwrap();
    assert!(float < -9e299);
    call!(cache.hash("h").set("text", "abc")).unwrap();
    let error = call!(cache.hash("h").incr("text").ttl("1h")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotInteger);
    call!(cache.hash("h").set("n", &i64::MAX)).unwrap();
    let error = call!(cache.hash("h").incr("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow);
    let error = call!(cache.hash("h").incr_float("f", f64::NAN)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(
        call!(cache.hash("h").get::<i64>("n")).unwrap(),
        Some(i64::MAX)
    );
    assert_eq!(
        call!(cache.ttl("h")).unwrap(),
        Remaining::Forever,
        "what failed set no TTL"
    );
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    #[serde(rename = "years")]
    age: u8,
    nick: Option<String>,
    #[serde(default)]
    visits: u32,
    tags: Vec<String>,
    active: bool,
}

fn john() -> Person {
    Person {
        name: "42".into(),
        age: 30,
        nick: None,
        visits: 7,
        tags: vec!["a".into(), "b".into()],
        active: true,
    }
}

async fn a_struct_is_a_hash(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    call!(cache.delete("p")).unwrap();
    assert_eq!(call!(cache.hash("p").load::<Person>()).unwrap(), None);
    call!(cache.hash("p").store(&john())).unwrap();
    let fields: BTreeMap<String, String> =
        call!(cache.hash("p").all()).unwrap().into_iter().collect();
    let wanted = [
        ("active", "true"),
        ("name", "42"),
        ("tags", "[\"a\",\"b\"]"),
        ("visits", "7"),
        ("years", "30"),
    ];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(fields, BTreeMap::from(wanted));
    assert_eq!(call!(cache.hash("p").load()).unwrap(), Some(john()));
    // What others add is ignored, what they take away has its default, and what is there is `Some`.
    call!(cache.hash("p").set("unknown", "not JSON {")).unwrap();
    call!(cache.hash("p").remove("visits")).unwrap();
    call!(cache.hash("p").set("nick", "null")).unwrap();
    let found: Person = call!(cache.hash("p").load()).unwrap().unwrap();
    assert_eq!((found.visits, found.nick.as_deref()), (0, Some("null")));
    // Everything is replaced, whatever it was.
    call!(cache.hash("p").store(&john()).ttl("1h")).unwrap();
    assert!(!call!(cache.hash("p").contains("unknown")).unwrap());
    assert!(call!(cache.ttl("p")).unwrap().duration().is_some());
    call!(cache.hash("p").store(&john())).unwrap();
    assert_eq!(call!(cache.ttl("p")).unwrap(), Remaining::Forever);
    call!(cache.set("p", "a string")).unwrap();
    call!(cache.hash("p").store(&john())).unwrap();
    assert_eq!(call!(cache.hash("p").load()).unwrap(), Some(john()));
    raw(&cache, &[b"DEL", format!("{prefix}:p").as_bytes()]).await;
    raw(&cache, &[b"LPUSH", format!("{prefix}:p").as_bytes(), b"x"]).await;
    call!(cache.hash("p").store(&john()).ttl("1h")).unwrap();
    assert_eq!(call!(cache.hash("p").load()).unwrap(), Some(john()));
    call!(cache.delete("p")).unwrap();
}

async fn a_struct_says_which_field_is_wrong(target: Target) {
    let cache = target.cache();
    call!(
        cache
            .hash("p")
            .set_many([("name", "John"), ("years", "secret")])
    )
    .unwrap();
    let error = call!(cache.hash("p").load::<Person>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let said = error.to_string();
    assert!(said.contains("years") && !said.contains("secret"), "{said}");
    call!(cache.hash("p").remove("years")).unwrap();
    let said = call!(cache.hash("p").load::<Person>()).unwrap_err();
    assert!(said.to_string().contains("missing field `years`"), "{said}");
    let error = call!(cache.hash("p").store(&7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let error = call!(cache.hash("p").store(&[1, 2])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let nan = HashMap::from([("x", f64::NAN)]);
    let error = call!(cache.hash("p").store(&nan)).unwrap_err();
    assert!(error.to_string().contains('x'), "{error}");
    assert!(
        call!(cache.hash("p").contains("name")).unwrap(),
        "unchanged"
    );
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserId(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Plan {
    Free,
    Paid { until: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Address {
    city: String,
    zip: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    id: UserId,
    plan: Plan,
    home: Address,
    #[serde(flatten)]
    work: Address2,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    notes: Vec<String>,
    balance: Option<f64>,
    parent: Option<Option<u8>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Address2 {
    work_city: String,
    work_zip: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nothing {
    one: Option<u8>,
}

async fn shapes_of_serde_are_stored_and_loaded(target: Target) {
    let cache = target.cache();
    let account = Account {
        id: UserId(7),
        plan: Plan::Paid { until: 2030 },
        home: Address {
            city: "London".into(),
            zip: 5,
        },
        work: Address2 {
            work_city: "Paris".into(),
            work_zip: 75,
        },
        notes: vec![],
        balance: Some(-1.5),
        parent: Some(Some(3)),
    };
    call!(cache.hash("a").store(&account)).unwrap();
    assert_eq!(
        call!(cache.hash("a").load::<Account>()).unwrap(),
        Some(account.clone())
    );
    assert_eq!(call!(cache.hash("a").get::<u64>("id")).unwrap(), Some(7));
    assert_eq!(
        call!(cache.hash("a").get::<String>("home"))
            .unwrap()
            .unwrap(),
        r#"{"city":"London","zip":5}"#
    );
    assert_eq!(
        call!(cache.hash("a").get::<u32>("work_zip")).unwrap(),
        Some(75)
    );
    let free = Account {
        plan: Plan::Free,
        balance: None,
        parent: None,
        ..account
    };
    call!(cache.hash("a").store(&free)).unwrap();
    assert_eq!(call!(cache.hash("a").load()).unwrap(), Some(free));
    let map = BTreeMap::from([(1_u8, "one".to_owned()), (2, "2".to_owned())]);
    call!(cache.hash("m").store(&map)).unwrap();
    assert_eq!(call!(cache.hash("m").load()).unwrap(), Some(map));
    // Without a field there is no hash.
    call!(cache.hash("m").store(&Nothing { one: None })).unwrap();
    assert!(!call!(cache.contains("m")).unwrap());
    assert_eq!(call!(cache.hash("m").load::<Nothing>()).unwrap(), None);
}

async fn a_ttl_comes_with_the_write_and_not_without_it(target: Target) {
    let cache = target.cache();
    let left = async |key: &'static str| call!(cache.ttl(key)).unwrap();
    let minute = |left| matches!(left, Remaining::In(left) if (50..=60).contains(&left.as_secs()));
    call!(cache.hash("h").set("a", &1).ttl_if_new("60s")).unwrap();
    assert!(minute(left("h").await));
    call!(cache.hash("h").set("b", &1).ttl_if_new("1h")).unwrap();
    assert!(minute(left("h").await), "it was there");
    call!(cache.hash("h").set("c", &1)).unwrap();
    assert!(minute(left("h").await), "it keeps its time");
    call!(cache.hash("h").incr("d").ttl("1h")).unwrap();
    assert!(!minute(left("h").await));
    call!(cache.hash("new").set("a", &1)).unwrap();
    assert_eq!(left("new").await, Remaining::Forever);
    let error = call!(cache.hash("new").set("a", &2).ttl("0s")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
    assert_eq!(call!(cache.hash("new").get("a")).unwrap(), Some(1));
}

/// Redis from 7.4 on, and Valkey from 9 on.
async fn fields_with_times_need_a_newer_server(target: Target) {
    let cache = target.cache();
    call!(cache.hash("h").set("otp", "1")).unwrap();
    if target.is_acl_user() {
        let error = call!(cache.hash("h").expire_field("otp", "5m")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server, "the server is older");
        return;
    }
    let server = call!(cache.server()).unwrap();
    let set = call!(cache.hash("h").expire_field("otp", "5m"));
    let left = call!(cache.hash("h").field_ttl("otp"));
    let kept = call!(cache.hash("h").persist_field("otp"));
    assert_eq!(
        target.has_field_ttls(),
        server.is_at_least(7, 4),
        "{server}"
    );
    if target.has_field_ttls() {
        assert!(set.unwrap());
        assert!(left.unwrap().duration().is_some());
        assert!(kept.unwrap());
        return;
    }
    for error in [set.unwrap_err(), left.unwrap_err(), kept.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Server);
        assert!(error.to_string().contains("7.4"), "{error}");
    }
}

async fn a_random_field_is_one_of_them(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.hash("h").random::<String>()).unwrap(), None);
    let none = call!(cache.hash("h").random_many::<String, u8>(3)).unwrap();
    assert!(none.is_empty());
    call!(cache.hash("h").set_many([("a", 1), ("b", 2)])).unwrap();
    let one = call!(cache.hash("h").random::<String>()).unwrap().unwrap();
    assert!(["a", "b"].contains(&&*one));
    let mut two = call!(cache.hash("h").random_many::<String, u8>(5)).unwrap();
    two.sort();
    assert_eq!(two, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
}

/// Whatever an element is, the server gives back what was written, and finds it by its bytes.
async fn every_element_comes_back_through_the_server(target: Target) {
    let cache = target.cache();
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let text: String = (0..rng.usize(0..12)).map(|_| rng.char(..)).collect();
        let bytes: Vec<u8> = (0..rng.usize(0..12)).map(|_| rng.u8(..)).collect();
        let number = i128::from(rng.i64(..)) * 3;
        let nested = (rng.bool(), Some(text.clone()), vec![rng.f64(), -0.0]);
        call!(cache.hash("h").set(&text, &number)).unwrap();
        assert_eq!(call!(cache.hash("h").get(&text)).unwrap(), Some(number));
        call!(cache.hash("h").set(&Raw(&bytes[..]), &nested)).unwrap();
        assert_eq!(
            call!(cache.hash("h").get(&Raw(&bytes[..]))).unwrap(),
            Some(nested.clone())
        );
        call!(cache.set_of::<Raw<Vec<u8>>>("s").insert(Raw(bytes.clone()))).unwrap();
        assert!(
            call!(
                cache
                    .set_of::<Raw<Vec<u8>>>("s")
                    .contains(Raw(bytes.clone()))
            )
            .unwrap()
        );
        type Nested = (bool, Option<String>, Vec<f64>);
        call!(
            cache
                .sorted_set::<Nested>("z")
                .insert(&nested, number as f64)
        )
        .unwrap();
        let score = call!(cache.sorted_set::<Nested>("z").score(&nested)).unwrap();
        assert_eq!(score.unwrap().to_bits(), (number as f64).to_bits());
    }
}
