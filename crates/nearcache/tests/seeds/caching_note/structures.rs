//! "Data structures such as strings, hashes, lists, sets, sorted sets with range queries, bitmaps, hyperloglogs,
//! geospatial indexes, and streams", and "message broker": beneath the cache they are as Redis has them, and every verb of
//! the cache sees them.

use std::collections::HashMap;
use std::time::Duration;

use nearcache::redis::Value;
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

/// "Used as a database, cache, and message broker".
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
            message(async || connection.next_push().await.ok()).await
        }
        Face::Blocking(cache) => {
            let mut connection = cache.connection().run().unwrap();
            let _: Value = subscribe.query(&mut connection).unwrap();
            assert_eq!(publish("hello").await, Value::Int(1));
            message(async || connection.next_push(Duration::from_secs(10)).unwrap()).await
        }
    };
    assert_eq!(heard, "hello");
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
