//! The note "Redis Caching", from top to bottom: what it draws, its commands and code, its data structures, and what it
//! says that people build on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nearcache::redis::Value;
use nearcache::{BoxError, Cache, Raw, Remaining, Text};
use nearcache_testkit::{Port, random_prefix};

use crate::face::{Face, run};
use crate::target::{Target, raw};

mod persistence;
mod structures;
mod uses;

/// A cache of a new application, and the prefix of its keys.
fn new(target: Target) -> (Face, String) {
    let prefix = random_prefix();
    (target.cache_at(&target.url(&prefix), &prefix), prefix)
}

/// A raw command; the second word gets the prefix.
async fn raw_at(cache: &Face, prefix: &str, words: &[&str]) -> Value {
    let key = format!("{prefix}:{}", words[1]);
    let mut words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    words[1] = key.as_bytes();
    raw(cache, &words).await
}

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

/// What a command of the note's answers: texts, numbers, and lists of these.
fn words(reply: &Value) -> String {
    match reply {
        Value::Nil => "nil".to_owned(),
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Array(items) | Value::Set(items) => {
            items.iter().map(words).collect::<Vec<_>>().join(" ")
        }
        Value::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| format!("{} {}", words(key), words(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}

/// The reply to a command as it is typed; the second word gets the prefix.
async fn said(cache: &Face, prefix: &str, command: &str) -> String {
    let command: Vec<&str> = command.split(' ').collect();
    words(&raw_at(cache, prefix, &command).await)
}

/// A database that counts its queries.
#[derive(Clone, Default)]
struct Database(Arc<AtomicUsize>);

impl Database {
    fn query(&self, id: u32) -> Result<String, BoxError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        match id {
            0 => Err("no such row".into()),
            id => Ok(format!("row {id}")),
        }
    }

    fn queries(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

async fn read(cache: &Face, database: &Database, id: u32) -> nearcache::Result<String> {
    let (key, database) = (format!("row:{id}"), database.clone());
    match cache {
        Face::Async(cache) => {
            cache
                .remember(key, async move || database.query(id))
                .ttl(3600)
                .await
        }
        Face::Blocking(cache) => {
            let cache = cache.clone();
            let reading = move || {
                cache
                    .remember(key, move || database.query(id))
                    .ttl(3600)
                    .run()
            };
            tokio::task::spawn_blocking(reading)
                .await
                .expect("it does not panic")
        }
    }
}

brief_suite! {
    cache_aside_as_drawn,
    a_miss_is_one_query_for_all_who_ask,
    basic_caching_commands,
    the_python_client_example,
    strings_with_expiry,
    expiration_is_automatic,
    any_value_can_be_cached,
}

// ## Caching Architecture

/// Application → cache check → hit: return; miss: query the database, store, return.
async fn cache_aside_as_drawn(target: Target) {
    let (cache, _) = new(target);
    let database = Database::default();
    // A miss queries the database, and stores what it returns.
    assert_eq!(read(&cache, &database, 7).await.unwrap(), "row 7");
    assert_eq!(database.queries(), 1);
    assert_eq!(
        call!(cache.get::<String>("row:7")).unwrap().as_deref(),
        Some("row 7")
    );
    assert!(call!(cache.ttl("row:7")).unwrap().duration().is_some());
    // A hit does not.
    assert_eq!(read(&cache, &database, 7).await.unwrap(), "row 7");
    assert_eq!(database.queries(), 1);
    // What failed is not stored.
    assert!(read(&cache, &database, 0).await.is_err());
    assert!(!call!(cache.contains("row:0")).unwrap());
    // By hand, step by step, as the arrows go.
    let data = match call!(cache.get::<String>("row:8")).unwrap() {
        Some(hit) => hit,
        None => {
            let row = database.query(8).unwrap();
            call!(cache.set("row:8", &row).ttl(3600)).unwrap();
            row
        }
    };
    assert_eq!(data, "row 8");
    assert_eq!(call!(cache.get::<String>("row:8")).unwrap(), Some(data));
}

async fn a_miss_is_one_query_for_all_who_ask(target: Target) {
    let (cache, _) = new(target);
    let database = Database::default();
    let readers: Vec<_> = (0..50)
        .map(|_| {
            let (cache, database) = (cache.clone(), database.clone());
            tokio::spawn(async move { read(&cache, &database, 7).await })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), "row 7");
    }
    assert_eq!(database.queries(), 1);
}

/// Without Redis, the arrow goes from the cache check to the database.
#[test]
fn an_outage_falls_through_to_the_database() {
    let nobody = Port::unused();
    run(async {
        let cache = Cache::open(&format!("redis://127.0.0.1:{}", nobody.number())).unwrap();
        let faces = [
            Face::Blocking(cache.blocking().unwrap()),
            Face::Async(cache),
        ];
        for cache in faces {
            let database = Database::default();
            for queries in 1..=3 {
                assert_eq!(read(&cache, &database, 7).await.unwrap(), "row 7");
                assert_eq!(database.queries(), queries);
            }
        }
    });
}

// ## Basic Caching Commands

async fn basic_caching_commands(target: Target) {
    let (cache, prefix) = new(target);
    // SET user:123:name "John Doe" EX 3600
    call!(cache.set("user:123:name", Text("John Doe")).ttl(3600)).unwrap();
    // GET user:123:name
    let name: Option<Text> = call!(cache.get("user:123:name")).unwrap();
    assert_eq!(name.unwrap().0, "John Doe");
    // EXISTS user:123:name
    assert!(call!(cache.contains("user:123:name")).unwrap());
    // It is what the commands themselves see, and make.
    assert_eq!(
        raw_at(&cache, &prefix, &["GET", "user:123:name"]).await,
        text("John Doe")
    );
    let Value::Int(ttl) = raw_at(&cache, &prefix, &["TTL", "user:123:name"]).await else {
        panic!("a number");
    };
    assert!((3_590..=3_600).contains(&ttl), "{ttl}");
    let set = ["SET", "user:124:name", "Jane Doe", "EX", "3600"];
    assert_eq!(raw_at(&cache, &prefix, &set).await, Value::Okay);
    let name: Option<Text> = call!(cache.get("user:124:name")).unwrap();
    assert_eq!(name.unwrap().0, "Jane Doe");
    assert!(
        call!(cache.ttl("user:124:name"))
            .unwrap()
            .duration()
            .is_some()
    );
}

// ## Python Client Example

async fn the_python_client_example(target: Target) {
    let (cache, prefix) = new(target);
    // r.set('key', 'value', ex=3600); value = r.get('key')
    call!(cache.set("key", Text("value")).ttl(3600)).unwrap();
    let value: Option<Text> = call!(cache.get("key")).unwrap();
    assert_eq!(value, Some(Text("value".to_owned())));
    // r.hset('user:123', 'name', 'John'); r.hset('user:123', 'age', '30'); user = r.hgetall('user:123')
    assert!(call!(cache.hash("user:123").set("name", "John")).unwrap());
    assert!(call!(cache.hash("user:123").set("age", "30")).unwrap());
    let name: Option<String> = call!(cache.hash("user:123").get("name")).unwrap();
    assert_eq!(name.as_deref(), Some("John"));
    assert_eq!(
        call!(cache.hash("user:123").get::<u8>("age")).unwrap(),
        Some(30)
    );
    assert_eq!(
        raw_at(&cache, &prefix, &["HGET", "user:123", "name"]).await,
        text("John")
    );
    assert_eq!(
        raw_at(&cache, &prefix, &["HGET", "user:123", "age"]).await,
        text("30")
    );
    assert!(call!(cache.contains("user:123")).unwrap());
    assert!(call!(cache.expire("user:123", 60)).unwrap());
    assert!(call!(cache.delete("user:123")).unwrap());
}

// # Key features: expiration, data structures

/// `EX`, `PX`, `NX`, `XX`, `KEEPTTL`, `GETDEL`.
async fn strings_with_expiry(target: Target) {
    let (cache, _) = new(target);
    let at_most = |left: Remaining, seconds: u64| {
        let left = left.duration().expect("a TTL");
        assert!(
            left <= Duration::from_secs(seconds)
                && left + Duration::from_secs(9) > Duration::from_secs(seconds)
        );
    };
    call!(cache.set("k", "a").ttl(100)).unwrap();
    at_most(call!(cache.ttl("k")).unwrap(), 100);
    call!(cache.set("k", "a").ttl(Duration::from_millis(50_500))).unwrap();
    at_most(call!(cache.ttl("k")).unwrap(), 51);
    assert!(!call!(cache.add("k", "b").ttl(100)).unwrap());
    assert!(call!(cache.add("new", "b").ttl(100)).unwrap());
    assert!(call!(cache.replace("k", "c").ttl(200)).unwrap());
    at_most(call!(cache.ttl("k")).unwrap(), 200);
    assert!(!call!(cache.replace("none", "c").ttl(200)).unwrap());
    assert!(!call!(cache.contains("none")).unwrap());
    call!(cache.set("k", "d").keep_ttl()).unwrap();
    at_most(call!(cache.ttl("k")).unwrap(), 200);
    assert_eq!(
        call!(cache.take::<String>("k")).unwrap().as_deref(),
        Some("d")
    );
    assert_eq!(call!(cache.take::<String>("k")).unwrap(), None);
    call!(cache.set("k", "e")).unwrap();
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Forever);
}

async fn expiration_is_automatic(target: Target) {
    let (cache, prefix) = new(target);
    call!(cache.set("short", 1).ttl(Duration::from_millis(20))).unwrap();
    call!(cache.set("long", 1).ttl(3600)).unwrap();
    while call!(cache.contains("short")).unwrap() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(call!(cache.get::<u8>("short")).unwrap(), None);
    assert_eq!(call!(cache.ttl("short")).unwrap(), Remaining::Missing);
    assert_eq!(
        raw_at(&cache, &prefix, &["EXISTS", "short"]).await,
        Value::Int(0)
    );
    assert_eq!(call!(cache.get::<u8>("long")).unwrap(), Some(1));
}

async fn any_value_can_be_cached(target: Target) {
    let (cache, _) = new(target);
    // Unicode, NUL and binary keys; values of several MB.
    for key in [
        &b"\xff\x00\r\n"[..],
        "ключ 张 🦀".as_bytes(),
        b"a:{b}:[c]*?\\",
    ] {
        call!(cache.set(key, Raw(b"\x00\xff".to_vec())).ttl(60)).unwrap();
        let value: Option<Raw> = call!(cache.get(key)).unwrap();
        assert_eq!(value, Some(Raw(b"\x00\xff".to_vec())));
    }
    let large = vec![7_u8; 5 << 20];
    call!(cache.set("large", Raw(&large)).ttl(60)).unwrap();
    let value: Option<Raw> = call!(cache.get("large")).unwrap();
    assert!(value.unwrap().0 == large);
}
