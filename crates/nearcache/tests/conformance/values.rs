//! What is stored is what is read, whatever it is and whatever its key.

use nearcache::{ErrorKind, Lookup, Raw, Text};
use serde::{Deserialize, Serialize};

use crate::target::{Face, Options, Target, raw};

near_suite! {
    a_value_reads_back_as_it_was_set,
    a_miss_is_none_and_no_error,
    set_replaces_value_and_ttl,
    values_are_plain_json_text_and_bytes_on_the_wire,
    what_another_program_wrote_reads_back,
    keys_may_be_any_bytes,
    several_megabytes_go_through,
    a_cached_nothing_is_told_from_a_miss,
    an_unreadable_value_is_a_miss_and_is_counted,
    a_key_of_another_redis_type_is_a_typed_error,
    calls_made_together_each_have_their_own_answer,
    add_changes_neither_value_nor_ttl_of_what_is_there,
    replace_stores_only_over_something,
    take_gives_the_value_once,
    delete_says_whether_it_was_there,
    contains_sees_a_cached_nothing,
    an_invalid_key_is_refused_before_anything_is_sent,
    the_stored_key_is_prefix_separator_key,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    score: f64,
    tags: Vec<String>,
    manager: Option<Box<User>>,
}

fn alice() -> User {
    let boss = User {
        id: 2,
        name: "张三".into(),
        score: 1.5,
        tags: vec![],
        manager: None,
    };
    User {
        id: 1,
        name: "Alice \u{1F600}\0".into(),
        score: -0.25,
        tags: vec!["a".into()],
        manager: Some(Box::new(boss)),
    }
}

async fn a_value_reads_back_as_it_was_set(target: Target) {
    let cache = target.cache();
    call!(cache.set("user:1", &alice())).unwrap();
    assert_eq!(call!(cache.get::<User>("user:1")).unwrap(), Some(alice()));
    call!(cache.set("text", "plain")).unwrap();
    assert_eq!(
        call!(cache.get::<String>("text")).unwrap().as_deref(),
        Some("plain")
    );
    call!(cache.set("empty", "")).unwrap();
    assert_eq!(
        call!(cache.get::<String>("empty")).unwrap().as_deref(),
        Some("")
    );
}

async fn a_miss_is_none_and_no_error(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.get::<User>("nobody")).unwrap(), None);
    let stats = ask!(cache.stats());
    assert_eq!((stats.hits, stats.misses, stats.undecodable), (0, 1, 0));
}

async fn set_replaces_value_and_ttl(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &1).ttl("1h")).unwrap();
    call!(cache.set("k", &2)).unwrap();
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(2));
    assert_eq!(
        call!(cache.ttl("k")).unwrap(),
        nearcache::Remaining::Forever
    );
}

async fn values_are_plain_json_text_and_bytes_on_the_wire(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    let key = format!("{prefix}:k");
    let key = key.as_bytes();
    call!(cache.set("k", &alice().manager)).unwrap();
    let json = r#"{"id":2,"name":"张三","score":1.5,"tags":[],"manager":null}"#;
    assert_eq!(
        raw(&cache, &[b"GET", key]).await,
        redis::Value::BulkString(json.into())
    );
    call!(cache.set("k", &Text("<p>")).forever()).unwrap();
    assert_eq!(
        raw(&cache, &[b"GET", key]).await,
        redis::Value::BulkString(b"<p>".to_vec())
    );
    call!(cache.set("k", &Raw([0, 255]))).unwrap();
    assert_eq!(
        raw(&cache, &[b"GET", key]).await,
        redis::Value::BulkString(vec![0, 255])
    );
    call!(cache.set("k", &42)).unwrap();
    assert_eq!(
        raw(&cache, &[b"GET", key]).await,
        redis::Value::BulkString(b"42".to_vec())
    );
}

async fn what_another_program_wrote_reads_back(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    raw(
        &cache,
        &[
            b"SET",
            format!("{prefix}:json").as_bytes(),
            br#" {"id": 7, "name": "\u5f20", "score": 1, "tags": [], "manager": null} "#,
        ],
    )
    .await;
    assert_eq!(
        call!(cache.get::<User>("json"))
            .unwrap()
            .map(|user| user.name)
            .as_deref(),
        Some("张")
    );
    raw(
        &cache,
        &[b"SET", format!("{prefix}:text").as_bytes(), b"just text"],
    )
    .await;
    assert_eq!(
        call!(cache.get::<Text>("text")).unwrap(),
        Some(Text("just text".into()))
    );
    raw(
        &cache,
        &[b"SET", format!("{prefix}:number").as_bytes(), b"17"],
    )
    .await;
    assert_eq!(call!(cache.get::<u8>("number")).unwrap(), Some(17));
}

async fn keys_may_be_any_bytes(target: Target) {
    let cache = target.cache();
    let keys: [&[u8]; 8] = [
        "ключ:张三:\u{1F511}".as_bytes(),
        b"with space",
        b"nul\0inside",
        b"\xff\xfe\x00\x80",
        b"{tag}",
        b"*?[a]\\^-",
        b"\r\n",
        b"#nearcache",
    ];
    for (number, key) in keys.iter().enumerate() {
        call!(cache.set(key, &number)).unwrap();
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(
            call!(cache.get::<usize>(key)).unwrap(),
            Some(number),
            "{}",
            key.escape_ascii()
        );
    }
    let mut sorted: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
    sorted.sort();
    assert_eq!(crate::target::keys_matching(&cache, b"*").await, sorted);
}

async fn several_megabytes_go_through(target: Target) {
    let cache = target.cache();
    let value: Vec<u8> = (0..6_000_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    call!(cache.set("large", &Raw(&value)).ttl("1m")).unwrap();
    assert!(call!(cache.get::<Raw>("large")).unwrap() == Some(Raw(value)));
    call!(cache.delete("large")).unwrap();
}

async fn a_cached_nothing_is_told_from_a_miss(target: Target) {
    let cache = target.cache();
    call!(cache.set("nothing", &None::<User>)).unwrap();
    assert_eq!(
        call!(cache.lookup::<User>("nothing")).unwrap(),
        Lookup::Nothing
    );
    assert_eq!(call!(cache.get::<User>("nothing")).unwrap(), None);
    assert_eq!(call!(cache.lookup::<User>("miss")).unwrap(), Lookup::Miss);
    call!(cache.set("some", &Some(5))).unwrap();
    assert_eq!(call!(cache.lookup::<i32>("some")).unwrap(), Lookup::Hit(5));
    let stats = ask!(cache.stats());
    assert_eq!((stats.hits, stats.nothings, stats.misses), (1, 2, 1));
}

async fn an_unreadable_value_is_a_miss_and_is_counted(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &Raw(b"\x80\x04not json"))).unwrap();
    assert_eq!(call!(cache.get::<User>("k")).unwrap(), None);
    call!(cache.set("k", &Raw(b"{\"id\":1}"))).unwrap(); // an older struct
    assert_eq!(call!(cache.lookup::<User>("k")).unwrap(), Lookup::Miss);
    call!(cache.set("k", &Raw(b"{\"id\":1}"))).unwrap();
    assert_eq!(call!(cache.get_many::<User>(["k"])).unwrap(), [None]);
    assert_eq!(ask!(cache.stats()).undecodable, 3);
}

async fn a_key_of_another_redis_type_is_a_typed_error(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    raw(&cache, &[b"DEL", format!("{prefix}:list").as_bytes()]).await;
    raw(
        &cache,
        &[b"RPUSH", format!("{prefix}:list").as_bytes(), b"x"],
    )
    .await;
    let error = call!(cache.get::<User>("list")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert!(
        error.key().is_some_and(|key| *key == "list") && error.host().is_some(),
        "{error}"
    );
    assert_eq!(
        call!(cache.incr("list")).unwrap_err().kind(),
        ErrorKind::WrongType
    );
    assert_eq!(
        call!(cache.take::<User>("list")).unwrap_err().kind(),
        ErrorKind::WrongType
    );
    assert_eq!(call!(cache.get_many::<User>(["list"])).unwrap(), [None]);
    assert!(call!(cache.contains("list")).unwrap());
    assert!(call!(cache.delete("list")).unwrap());
}

/// Whoever has awaited a `set` reads what was set, and what is wrong with one call is no other's.
async fn calls_made_together_each_have_their_own_answer(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    let list = format!("{prefix}:list");
    raw(&cache, &[b"DEL", list.as_bytes()]).await;
    raw(&cache, &[b"RPUSH", list.as_bytes(), b"x"]).await;
    let check = |task: usize, read: Option<usize>, missing: Option<usize>, list: ErrorKind| {
        assert_eq!(
            (read, missing, list),
            (Some(task), None, ErrorKind::WrongType)
        );
    };
    match &cache {
        Face::Async(cache) => {
            let tasks: Vec<_> = (0..200)
                .map(|task| {
                    let cache = cache.clone();
                    tokio::spawn(async move {
                        let key = format!("k{task}");
                        cache.set(&key, &task).ttl("60s").await.unwrap();
                        let read = cache.get(&key).await.unwrap();
                        let list = cache.get::<usize>("list").await.unwrap_err();
                        assert!(cache.delete(&key).await.unwrap());
                        check(task, read, cache.get(&key).await.unwrap(), list.kind());
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        }
        Face::Blocking(cache) => std::thread::scope(|scope| {
            for task in 0..8 {
                scope.spawn(move || {
                    let key = format!("k{task}");
                    cache.set(&key, &task).ttl("60s").run().unwrap();
                    let read = cache.get(&key).run().unwrap();
                    let list = cache.get::<usize>("list").run().unwrap_err();
                    assert!(cache.delete(&key).run().unwrap());
                    check(task, read, cache.get(&key).run().unwrap(), list.kind());
                });
            }
        }),
    }
}

async fn add_changes_neither_value_nor_ttl_of_what_is_there(target: Target) {
    let cache = target.cache();
    assert!(call!(cache.add("k", &1).ttl("1h")).unwrap());
    assert!(!call!(cache.add("k", &2).ttl("2h")).unwrap());
    assert!(!call!(cache.set("k", &2).only_if_absent()).unwrap());
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(1));
    let left = call!(cache.ttl("k")).unwrap().duration().unwrap();
    assert!(
        left.as_secs() <= 3_600 && left.as_secs() > 3_500,
        "{left:?}"
    );
}

async fn replace_stores_only_over_something(target: Target) {
    let cache = target.cache();
    assert!(!call!(cache.replace("k", &1)).unwrap());
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), None);
    call!(cache.set("k", &1).ttl("1h")).unwrap();
    assert!(call!(cache.set("k", &2).only_if_present().keep_ttl()).unwrap());
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(2));
    assert!(call!(cache.ttl("k")).unwrap().duration().is_some());
}

async fn take_gives_the_value_once(target: Target) {
    let cache = target.cache();
    call!(cache.set("token", "secret")).unwrap();
    assert_eq!(
        call!(cache.take::<String>("token")).unwrap().as_deref(),
        Some("secret")
    );
    assert_eq!(call!(cache.take::<String>("token")).unwrap(), None);
}

async fn delete_says_whether_it_was_there(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &1)).unwrap();
    assert!(call!(cache.delete("k")).unwrap());
    assert!(!call!(cache.delete("k")).unwrap());
}

async fn contains_sees_a_cached_nothing(target: Target) {
    let cache = target.cache();
    assert!(!call!(cache.contains("k")).unwrap());
    call!(cache.set("k", &None::<u8>)).unwrap();
    assert!(call!(cache.contains("k")).unwrap());
}

async fn an_invalid_key_is_refused_before_anything_is_sent(target: Target) {
    let cache = target.cache();
    let long = vec![b'k'; 64 * 1024 + 1];
    for key in [&b""[..], b"#nearcache:tag:x", b"{a}#nearcache:lease", &long] {
        let refused = |error: nearcache::Error| error.kind() == ErrorKind::InvalidKey;
        assert!(refused(call!(cache.get::<u8>(key)).unwrap_err()));
        assert!(refused(call!(cache.set(key, &1)).unwrap_err()));
        assert!(refused(call!(cache.add(key, &1)).unwrap_err()));
        assert!(refused(call!(cache.delete(key)).unwrap_err()));
        assert!(refused(call!(cache.incr(key)).unwrap_err()));
        assert!(refused(call!(cache.ttl(key)).unwrap_err()));
        assert!(refused(
            call!(cache.get_many::<u8>([b"fine", key])).unwrap_err()
        ));
        assert!(refused(
            call!(cache.set_many([(&b"fine"[..], 1), (key, 2)])).unwrap_err()
        ));
        assert!(refused(call!(cache.delete_many([key])).unwrap_err()));
    }
    assert!(!call!(cache.contains("fine")).unwrap());
    let longest = vec![b'k'; 64 * 1024];
    call!(cache.set(&longest, &1)).unwrap();
    assert_eq!(call!(cache.get::<u8>(&longest)).unwrap(), Some(1));
}

async fn the_stored_key_is_prefix_separator_key(target: Target) {
    let url = target.url("stored");
    for (prefix, separator, stored) in [
        ("st", None, "st:k"),
        ("st", Some("/"), "st/k"),
        ("st2", Some(""), "st2k"),
    ] {
        let cache = target
            .build(
                &url,
                Options {
                    prefix,
                    separator,
                    ..Options::default()
                },
            )
            .unwrap();
        call!(cache.set("k", &1)).unwrap();
        let found = raw(&cache, &[b"GET", stored.as_bytes()]).await;
        assert_eq!(found, redis::Value::BulkString(b"1".to_vec()), "{stored}");
        call!(cache.delete("k")).unwrap();
    }
}
