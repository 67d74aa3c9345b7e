//! "Data structures such as strings, hashes, lists, sets, sorted sets with range queries, bitmaps, hyperloglogs,
//! geospatial indexes, and streams", and "message broker": each by its handle, and as Redis and other programs have it. What
//! the one writes the other reads.

use std::collections::HashMap;
use std::time::Duration;

use nearcache::redis::Value;
use nearcache::structures::{EntryId, Heard, Km, Point};
use nearcache::{ErrorKind, Remaining};
use serde::{Deserialize, Serialize};

use super::{new, said, words};
use crate::face::{Face, run};
use crate::target::{Place, Target, keys_matching, raw};

brief_suite! {
    the_data_structures_of_the_overview,
    hashes,
    lists,
    sets,
    sorted_sets_with_range_queries,
    bitmaps,
    hyperloglogs,
    geospatial_indexes,
    streams,
    a_message_broker,
}

/// The text of the next message that a connection was sent.
async fn message(mut next: impl AsyncFnMut() -> Option<nearcache::redis::PushInfo>) -> String {
    while let Some(push) = next().await {
        if push.kind == nearcache::redis::PushKind::Message {
            return push.data.last().map(words).unwrap_or_default();
        }
    }
    panic!("no message came");
}

/// Each is beneath the cache as Redis has it, under the cache's prefix, and every verb of the cache sees it.
async fn the_data_structures_of_the_overview(target: Target) {
    let (cache, prefix) = new(target);
    for (command, reply) in [
        ("HSET user:123 name John age 30", "2"),
        ("HGETALL user:123", "name John age 30"),
        ("HINCRBY user:123 visits 2", "2"),
        ("RPUSH recent a b c", "3"),
        ("LPUSH recent z", "4"),
        ("LRANGE recent 0 1", "z a"),
        ("LTRIM recent 0 2", "OK"),
        ("LLEN recent", "3"),
        ("RPOP recent", "b"),
        ("SADD online ada bob ada", "2"),
        ("SISMEMBER online ada", "1"),
        ("SCARD online", "2"),
        ("ZADD board 10 ada 20 bob 15 cyd", "3"),
        ("ZRANGE board 0 1", "ada cyd"),
        ("ZRANGEBYSCORE board 12 (20", "cyd"),
        ("ZREVRANK board bob", "0"),
        ("SETBIT seen 7 1", "0"),
        ("GETBIT seen 7", "1"),
        ("BITCOUNT seen", "1"),
        ("BITPOS seen 1", "7"),
        ("PFADD visitors ada bob ada", "1"),
        ("PFCOUNT visitors", "2"),
        (
            "GEOADD shops 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
            "2",
        ),
        ("GEODIST shops Palermo Catania km", "166.2742"),
        (
            "GEOSEARCH shops FROMLONLAT 15 37 BYRADIUS 100 km ASC",
            "Catania",
        ),
        ("XADD orders 1-1 id 7", "1-1"),
        ("XADD orders 2-1 id 8", "2-1"),
        ("XLEN orders", "2"),
        ("XRANGE orders - + COUNT 1", "1-1 id 7"),
        ("XGROUP CREATE orders billing 0", "OK"),
    ] {
        // The group's key is the third word.
        let said = match command.strip_prefix("XGROUP CREATE orders ") {
            Some(rest) => {
                let key = format!("{prefix}:orders");
                let mut all = vec!["XGROUP", "CREATE", &key];
                all.extend(rest.split(' '));
                let all: Vec<&[u8]> = all.iter().map(|word| word.as_bytes()).collect();
                words(&raw(&cache, &all).await)
            }
            None => said(&cache, &prefix, command).await,
        };
        assert_eq!(said, reply, "{command}");
    }
    for key in [
        "user:123", "recent", "online", "board", "seen", "visitors", "shops", "orders",
    ] {
        assert!(call!(cache.contains(key)).unwrap(), "{key}");
        assert_eq!(call!(cache.ttl(key)).unwrap(), Remaining::Forever, "{key}");
        assert!(call!(cache.expire(key, "1h")).unwrap(), "{key}");
        assert!(call!(cache.ttl(key)).unwrap().duration().is_some(), "{key}");
    }
    // A verb for another type is an error, and changes nothing.
    for key in ["user:123", "recent", "online", "board", "orders"] {
        let error = call!(cache.get::<String>(key)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType, "{key}");
    }
    assert_eq!(keys_matching(&cache, b"*").await.len(), 8);
    assert_eq!(call!(cache.clear()).unwrap(), 8);
}

/// Another program subscribes on a connection of its own, and hears what another program and what the handle publish.
#[test]
fn messages_reach_who_subscribed() {
    for place in [Place::Embedded, Place::RedisResp3] {
        run(a_message_reaches_who_subscribed(Target::asynchronous(
            place,
        )));
        run(a_message_reaches_who_subscribed(Target::blocking(place)));
    }
}

async fn a_message_reaches_who_subscribed(target: Target) {
    let (cache, prefix) = new(target);
    let channel = format!("{prefix}:news");
    let publish = async |text: &str| {
        let words: [&[u8]; 3] = [b"PUBLISH", channel.as_bytes(), text.as_bytes()];
        raw(&cache, &words).await
    };
    assert_eq!(publish("nobody hears it").await, Value::Int(0));
    let mut subscribe = nearcache::redis::cmd("SUBSCRIBE");
    subscribe.arg(&channel);
    let heard = match &cache {
        Face::Async(cache) => {
            let mut connection = cache.connection().await.unwrap();
            let _: Value = subscribe.query_async(&mut connection).await.unwrap();
            assert_eq!(publish("hello").await, Value::Int(1));
            assert_eq!(
                cache.topic::<String>("news").publish("ada").await.unwrap(),
                1
            );
            let mut next = async || message(async || connection.next_push().await.ok()).await;
            [next().await, next().await]
        }
        Face::Blocking(cache) => {
            let mut connection = cache.connection().run().unwrap();
            let _: Value = subscribe.query(&mut connection).unwrap();
            assert_eq!(publish("hello").await, Value::Int(1));
            assert_eq!(
                cache.topic::<String>("news").publish("ada").run().unwrap(),
                1
            );
            let mut push = || connection.next_push(Duration::from_secs(10)).unwrap();
            let mut next = async || message(async || push()).await;
            [next().await, next().await]
        }
    };
    assert_eq!(heard, ["hello", "ada"]);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    age: u8,
}

/// r.hset('user:123', 'name', 'John'); r.hset('user:123', 'age', '30'); user = r.hgetall('user:123')
async fn hashes(target: Target) {
    let (cache, prefix) = new(target);
    assert!(call!(cache.hash("user:123").set("name", "John")).unwrap());
    assert!(call!(cache.hash("user:123").set("age", "30")).unwrap());
    let user: HashMap<String, String> = call!(cache.hash("user:123").all()).unwrap();
    assert_eq!(user.len(), 2);
    assert_eq!((&*user["name"], &*user["age"]), ("John", "30"));
    assert_eq!(
        said(&cache, &prefix, "HGETALL user:123").await,
        "name John age 30"
    );
    // A hash is a struct, too.
    let person: Option<Person> = call!(cache.hash("user:123").load()).unwrap();
    let mut person = person.unwrap();
    assert_eq!((&*person.name, person.age), ("John", 30));
    person.age = 31;
    call!(cache.hash("user:123").store(&person).ttl("1h")).unwrap();
    assert_eq!(said(&cache, &prefix, "HGET user:123 age").await, "31");
    assert!(call!(cache.ttl("user:123")).unwrap().duration().is_some());
    assert_eq!(
        call!(cache.hash("user:123").incr("visits").by(2)).unwrap(),
        2
    );
    assert!(call!(cache.hash("user:123").contains("visits")).unwrap());
    assert!(call!(cache.hash("user:123").remove("visits")).unwrap());
    assert_eq!(call!(cache.hash("user:123").len()).unwrap(), 2);
}

async fn lists(target: Target) {
    let (cache, prefix) = new(target);
    for text in ["a", "b", "c", "d"] {
        call!(cache.list::<String>("recent").push_front(text).cap(3)).unwrap();
    }
    assert_eq!(said(&cache, &prefix, "LRANGE recent 0 -1").await, "d c b");
    let newest = call!(cache.list::<String>("recent").range(..2)).unwrap();
    assert_eq!(newest, ["d", "c"]);
    assert_eq!(
        call!(cache.list::<String>("recent").pop_back())
            .unwrap()
            .as_deref(),
        Some("b")
    );
    assert_eq!(call!(cache.list::<String>("recent").len()).unwrap(), 2);
}

async fn sets(target: Target) {
    let (cache, prefix) = new(target);
    assert!(call!(cache.set_of::<String>("online").insert("ada")).unwrap());
    assert!(!call!(cache.set_of::<String>("online").insert("ada")).unwrap());
    call!(cache.set_of::<String>("online").insert_many(["bob", "cyd"])).unwrap();
    assert_eq!(said(&cache, &prefix, "SISMEMBER online ada").await, "1");
    assert!(call!(cache.set_of::<String>("online").contains("bob")).unwrap());
    assert_eq!(call!(cache.set_of::<String>("online").len()).unwrap(), 3);
    assert!(call!(cache.set_of::<String>("online").remove("bob")).unwrap());
    let mut all = call!(cache.set_of::<String>("online").all()).unwrap();
    all.sort();
    assert_eq!(all, ["ada", "cyd"]);
}

async fn sorted_sets_with_range_queries(target: Target) {
    let (cache, prefix) = new(target);
    let players = [("ada", 50.0), ("bob", 70.0), ("cyd", 60.0)];
    call!(cache.sorted_set::<String>("board").insert_many(players)).unwrap();
    assert_eq!(
        said(&cache, &prefix, "ZRANGE board 0 -1").await,
        "ada cyd bob"
    );
    let top = call!(cache.sorted_set::<String>("board").range(..2).rev()).unwrap();
    assert_eq!(top, ["bob", "cyd"]);
    let between = call!(cache.sorted_set::<String>("board").by_score(50.0..=60.0)).unwrap();
    assert_eq!(between, ["ada", "cyd"]);
    assert_eq!(
        call!(cache.sorted_set::<String>("board").count(55.0..)).unwrap(),
        2
    );
    assert_eq!(
        call!(cache.sorted_set::<String>("board").rank("bob").rev()).unwrap(),
        Some(0)
    );
    let less = call!(
        cache
            .sorted_set::<String>("board")
            .insert("bob", 40)
            .only_if_greater()
    );
    assert!(!less.unwrap());
    let more = call!(cache.sorted_set::<String>("board").incr("ada", 15)).unwrap();
    assert_eq!(more.to_bits(), 65.0_f64.to_bits());
}

/// SETBIT, GETBIT, BITCOUNT, BITPOS.
async fn bitmaps(target: Target) {
    let (cache, prefix) = new(target);
    assert!(!call!(cache.bits("seen").set(7, true).ttl("30d")).unwrap());
    assert!(call!(cache.ttl("seen")).unwrap().duration().is_some());
    assert_eq!(said(&cache, &prefix, "GETBIT seen 7").await, "1");
    assert_eq!(said(&cache, &prefix, "SETBIT seen 12 1").await, "0");
    assert!(call!(cache.bits("seen").get(12)).unwrap());
    assert!(!call!(cache.bits("seen").get(8)).unwrap());
    assert_eq!(said(&cache, &prefix, "BITCOUNT seen").await, "2");
    assert_eq!(call!(cache.bits("seen").count(..)).unwrap(), 2);
    assert_eq!(call!(cache.bits("seen").count(8..)).unwrap(), 1);
    assert_eq!(said(&cache, &prefix, "BITPOS seen 1").await, "7");
    assert_eq!(call!(cache.bits("seen").first(true)).unwrap(), Some(7));
    // Who was there on both days.
    call!(cache.bits("before").set_many([3, 12], true)).unwrap();
    call!(cache.bits("seen").and(["before"]).into("both")).unwrap();
    assert_eq!(said(&cache, &prefix, "BITCOUNT both").await, "1");
    assert_eq!(said(&cache, &prefix, "GETBIT both 12").await, "1");
}

/// PFADD, PFCOUNT.
async fn hyperloglogs(target: Target) {
    let (cache, prefix) = new(target);
    assert!(call!(cache.uniques("visitors").add_many(["ada", "bob"])).unwrap());
    assert_eq!(said(&cache, &prefix, "PFCOUNT visitors").await, "2");
    assert_eq!(said(&cache, &prefix, "PFADD visitors ada cyd").await, "1");
    assert!(!call!(cache.uniques("visitors").add("cyd")).unwrap());
    assert_eq!(call!(cache.uniques("visitors").len()).unwrap(), 3);
    assert_eq!(said(&cache, &prefix, "PFADD tuesday bob dan").await, "1");
    let both = call!(cache.uniques("visitors").len_of(["tuesday"])).unwrap();
    assert_eq!(both, 4);
}

/// GEOADD, GEODIST, GEOSEARCH.
async fn geospatial_indexes(target: Target) {
    let (cache, prefix) = new(target);
    let palermo = Point::new(13.361389, 38.115556);
    assert!(call!(cache.geo::<String>("shops").add("Palermo", palermo)).unwrap());
    let catania = "GEOADD shops 15.087269 37.502669 Catania";
    assert_eq!(said(&cache, &prefix, catania).await, "1");
    assert_eq!(
        said(&cache, &prefix, "GEODIST shops Palermo Catania km").await,
        "166.2742"
    );
    let distance = call!(cache.geo::<String>("shops").distance("Palermo", "Catania")).unwrap();
    assert!((distance.unwrap().in_km() - 166.2742).abs() < 0.0001);
    for (radius, wanted) in [(100, &["Catania"][..]), (200, &["Catania", "Palermo"])] {
        let search = format!("GEOSEARCH shops FROMLONLAT 15 37 BYRADIUS {radius} km ASC");
        assert_eq!(said(&cache, &prefix, &search).await, wanted.join(" "));
        let here = Point::new(15.0, 37.0);
        let radius = Km(f64::from(radius));
        let near = call!(
            cache
                .geo::<String>("shops")
                .within(here, radius)
                .nearest(10)
        )
        .unwrap();
        let names: Vec<&str> = near.iter().map(|found| &*found.member).collect();
        assert_eq!(names, wanted);
    }
}

/// XADD, XLEN, XRANGE, and a group of consumers.
async fn streams(target: Target) {
    let (cache, prefix) = new(target);
    let person = |name: &str, age| Person {
        name: name.to_owned(),
        age,
    };
    let id = call!(
        cache
            .stream::<Person>("people")
            .by_fields()
            .append(person("ada", 36))
            .id(EntryId::new(1, 1))
    );
    assert_eq!(id.unwrap(), EntryId::new(1, 1));
    assert_eq!(
        said(&cache, &prefix, "XRANGE people - +").await,
        "1-1 name ada age 36"
    );
    let bob = "XADD people 2-1 name bob age 41";
    assert_eq!(said(&cache, &prefix, bob).await, "2-1");
    assert_eq!(call!(cache.stream::<Person>("people").len()).unwrap(), 2);
    let all = call!(cache.stream::<Person>("people").by_fields().range(..)).unwrap();
    let all: Vec<_> = all
        .into_iter()
        .map(|entry| (entry.id, entry.value))
        .collect();
    let wanted = [
        (EntryId::new(1, 1), person("ada", 36)),
        (EntryId::new(2, 1), person("bob", 41)),
    ];
    assert_eq!(all, wanted);
    let newest = call!(cache.stream::<Person>("people").by_fields().last(1)).unwrap();
    assert_eq!(newest[0].value, person("bob", 41));
    // Without fields of its own, an entry has one.
    let tea = EntryId::new(3, 0);
    call!(
        cache
            .stream::<String>("orders")
            .append("tea".to_owned())
            .id(tea)
    )
    .unwrap();
    assert_eq!(
        said(&cache, &prefix, "XRANGE orders - +").await,
        "3-0 value tea"
    );
    assert_eq!(
        said(&cache, &prefix, "XADD orders 4-0 value cake").await,
        "4-0"
    );
    let since = call!(cache.stream::<String>("orders").range(EntryId::new(4, 0)..)).unwrap();
    assert_eq!(since.len(), 1);
    assert_eq!(since[0].value, "cake");
    // A group that the handle makes is one of Redis's.
    assert!(call!(cache.stream::<String>("orders").group("billing").create()).unwrap());
    let key = format!("{prefix}:orders");
    let groups = raw(&cache, &[b"XINFO", b"GROUPS", key.as_bytes()]).await;
    assert!(words(&groups).contains("name billing"), "{groups:?}");
}

/// SUBSCRIBE, PUBLISH.
async fn a_message_broker(target: Target) {
    let (cache, prefix) = new(target);
    let none = call!(cache.topic::<String>("news").publish("nobody hears it"));
    assert_eq!(none.unwrap(), 0);
    let heard = match &cache {
        Face::Async(by) => {
            let mut listener = by.topic::<String>("news").subscribe().await.unwrap();
            assert_eq!(
                by.topic::<String>("news").publish("hello").await.unwrap(),
                1
            );
            assert_eq!(said(&cache, &prefix, "PUBLISH news ada").await, "1");
            [listener.next().await, listener.next().await]
        }
        Face::Blocking(by) => {
            let mut listener = by.topic::<String>("news").subscribe().run().unwrap();
            assert_eq!(
                by.topic::<String>("news").publish("hello").run().unwrap(),
                1
            );
            assert_eq!(said(&cache, &prefix, "PUBLISH news ada").await, "1");
            let long = Duration::from_secs(30);
            [listener.next_timeout(long), listener.next_timeout(long)]
        }
    };
    let heard = heard.map(|heard| match heard.expect("a message").unwrap() {
        Heard::Message(text) => text,
        Heard::Gap => panic!("a gap"),
    });
    assert_eq!(heard, ["hello", "ada"]);
}
