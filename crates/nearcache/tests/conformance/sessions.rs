//! Sessions: secret ids, times that slide and do not, changes that lose nothing, and an end that is one.

use std::time::Duration;

use nearcache::patterns::SessionId;
use nearcache::{Cache, ErrorKind, blocking};
use serde::{Deserialize, Serialize};

use crate::target::{Face, Options, Target, keys_matching, raw, stored_keys, two};

suite! {
    a_session_is_made_loaded_changed_and_ended,
    who_is_nobody_has_no_session,
    a_session_ends_when_nobody_asks_for_it,
    no_request_moves_the_absolute_end,
    an_id_that_was_renewed_is_refused,
    all_sessions_of_a_user_end_together,
    a_login_says_whose_session_it_is,
    a_save_revives_nothing,
    requests_that_change_one_session_lose_nothing,
    renewing_loses_no_change,
    what_is_no_session_is_a_miss_and_stays,
    redis_never_sees_an_id,
    sessions_are_hidden_and_survive_a_clear,
    an_id_of_another_library_is_taken_once,
    times_and_users_out_of_range_are_errors,
    the_scripts_are_learned_again,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Login {
    name: String,
    cart: Vec<u32>,
}

fn login(name: &str) -> Login {
    Login {
        name: name.to_owned(),
        cart: Vec::new(),
    }
}

async fn a_session_is_made_loaded_changed_and_ended(target: Target) {
    let cache = target.cache();
    let id = call!(cache.sessions::<Login>().create(&login("alice"))).unwrap();
    let read = async || call!(cache.sessions::<Login>().load(&id)).unwrap();
    assert_eq!(read().await, Some(login("alice")));
    let change = |login: &mut Login| {
        login.cart.push(7);
        login.cart.len()
    };
    let updated = call!(cache.sessions::<Login>().update(&id, change));
    assert_eq!(updated.unwrap(), Some(1));
    assert_eq!(read().await.unwrap().cart, [7]);
    assert!(call!(cache.sessions::<Login>().save(&id, &login("bob"))).unwrap());
    assert_eq!(read().await, Some(login("bob")));
    assert!(call!(cache.sessions::<Login>().end(&id)).unwrap());
    assert!(!call!(cache.sessions::<Login>().end(&id)).unwrap());
    assert_eq!(read().await, None);
    let updated = call!(cache.sessions::<Login>().update(&id, change));
    assert_eq!(updated.unwrap(), None);
}

async fn who_is_nobody_has_no_session(target: Target) {
    let cache = target.cache();
    let id: SessionId = "AAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    assert_eq!(call!(cache.sessions::<Login>().load(&id)).unwrap(), None);
    let saved = call!(cache.sessions::<Login>().save(&id, &login("alice")));
    assert!(!saved.unwrap());
    assert_eq!(
        call!(cache.sessions::<Login>().renew_id(&id)).unwrap(),
        None
    );
    call!(cache.sessions::<Login>().end_all_of("nobody")).unwrap();
    assert_eq!(call!(cache.sessions::<Login>().load(&id)).unwrap(), None);
}

async fn a_session_ends_when_nobody_asks_for_it(target: Target) {
    let cache = target.cache();
    let id = call!(cache.sessions::<u8>().idle("400ms").create(&7)).unwrap();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(150));
        // A slow machine may have slept longer than the idle time.
        if call!(cache.sessions::<u8>().idle("400ms").load(&id))
            .unwrap()
            .is_none()
        {
            return;
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    let loaded = call!(cache.sessions::<u8>().idle("400ms").load(&id));
    assert_eq!(loaded.unwrap(), None);
}

async fn no_request_moves_the_absolute_end(target: Target) {
    let cache = target.cache();
    let begun = std::time::Instant::now();
    let id = call!(cache.sessions::<u8>().absolute("500ms").create(&7)).unwrap();
    while begun.elapsed() < Duration::from_millis(700) {
        call!(cache.sessions::<u8>().load(&id)).unwrap();
        call!(cache.sessions::<u8>().update(&id, |value| *value += 1)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(call!(cache.sessions::<u8>().load(&id)).unwrap(), None);
}

async fn an_id_that_was_renewed_is_refused(target: Target) {
    let cache = target.cache();
    let old = call!(cache.sessions::<u8>().create(&7)).unwrap();
    let new = call!(cache.sessions::<u8>().renew_id(&old))
        .unwrap()
        .unwrap();
    assert_ne!(old, new);
    assert_eq!(call!(cache.sessions::<u8>().load(&old)).unwrap(), None);
    assert!(!call!(cache.sessions::<u8>().save(&old, &8)).unwrap());
    let updated = call!(cache.sessions::<u8>().update(&old, |value| *value = 9));
    assert_eq!(updated.unwrap(), None);
    assert_eq!(call!(cache.sessions::<u8>().renew_id(&old)).unwrap(), None);
    assert_eq!(call!(cache.sessions::<u8>().load(&new)).unwrap(), Some(7));
}

async fn all_sessions_of_a_user_end_together(target: Target) {
    let (cache, elsewhere) = two(target, Options::default());
    let mut alices = Vec::new();
    for value in 0..3 {
        let id = call!(cache.sessions::<u8>().create(&value).user("alice"));
        alices.push(id.unwrap());
    }
    let bob = call!(cache.sessions::<u8>().create(&7).user("bob")).unwrap();
    let nobody = call!(cache.sessions::<u8>().create(&8)).unwrap();
    // What was renewed is still hers.
    let renewed = call!(cache.sessions::<u8>().renew_id(&alices[0])).unwrap();
    alices[0] = renewed.unwrap();
    assert_eq!(
        call!(elsewhere.sessions::<u8>().load(&alices[0])).unwrap(),
        Some(0)
    );
    call!(elsewhere.sessions::<u8>().end_all_of("alice")).unwrap();
    assert_eq!(
        call!(cache.sessions::<u8>().load(&alices[0])).unwrap(),
        None
    );
    let updated = call!(
        cache
            .sessions::<u8>()
            .update(&alices[1], |value| *value = 9)
    );
    assert_eq!(updated.unwrap(), None);
    assert!(!call!(cache.sessions::<u8>().save(&alices[2], &9)).unwrap());
    assert_eq!(
        call!(cache.sessions::<u8>().renew_id(&alices[2])).unwrap(),
        None
    );
    assert_eq!(call!(cache.sessions::<u8>().load(&bob)).unwrap(), Some(7));
    assert_eq!(
        call!(cache.sessions::<u8>().load(&nobody)).unwrap(),
        Some(8)
    );
    // A new login is a new session, and the old ones stay ended.
    let again = call!(cache.sessions::<u8>().create(&5).user("alice")).unwrap();
    assert_eq!(
        call!(elsewhere.sessions::<u8>().load(&again)).unwrap(),
        Some(5)
    );
    for id in &alices {
        assert_eq!(call!(cache.sessions::<u8>().load(id)).unwrap(), None);
    }
}

async fn a_login_says_whose_session_it_is(target: Target) {
    let cache = target.cache();
    let visitor = call!(cache.sessions::<u8>().create(&7)).unwrap();
    let renewed = call!(cache.sessions::<u8>().renew_id(&visitor).user("alice"));
    let alice = renewed.unwrap().unwrap();
    assert_eq!(call!(cache.sessions::<u8>().load(&alice)).unwrap(), Some(7));
    call!(cache.sessions::<u8>().end_all_of("alice")).unwrap();
    assert_eq!(call!(cache.sessions::<u8>().load(&alice)).unwrap(), None);
}

async fn a_save_revives_nothing(target: Target) {
    let cache = target.cache();
    let id = call!(cache.sessions::<u8>().create(&7)).unwrap();
    call!(cache.sessions::<u8>().end(&id)).unwrap();
    assert!(!call!(cache.sessions::<u8>().save(&id, &8)).unwrap());
    let past = std::time::SystemTime::now() - Duration::from_secs(60);
    let id = call!(cache.sessions::<u8>().create(&7)).unwrap();
    let saved = call!(cache.sessions::<u8>().save(&id, &8).expires_at(past));
    assert!(!saved.unwrap());
    assert_eq!(call!(cache.sessions::<u8>().load(&id)).unwrap(), None);
}

async fn requests_that_change_one_session_lose_nothing(target: Target) {
    let (cache, other) = two(target, Options::default());
    let id = call!(cache.sessions::<Vec<u32>>().create(&vec![]).user("alice")).unwrap();
    let numbers = |part: u32| (0..25).map(move |number| part * 100 + number);
    let asynchronous = |cache: Cache, part| {
        let id = id.clone();
        tokio::spawn(async move {
            for number in numbers(part) {
                let sessions = cache.sessions::<Vec<u32>>();
                let updated = sessions.update(&id, |list| list.push(number)).await;
                assert_eq!(updated.unwrap(), Some(()));
            }
        })
    };
    let blocking = |cache: &blocking::Cache, part| {
        for number in numbers(part) {
            let sessions = cache.sessions::<Vec<u32>>();
            let updated = sessions.update(&id, |list| list.push(number)).run();
            assert_eq!(updated.unwrap(), Some(()));
        }
    };
    match (&cache, &other) {
        (Face::Async(cache), Face::Async(other)) => {
            let tasks: Vec<_> = (0..6)
                .map(|part| {
                    let of = if part % 2 == 0 { cache } else { other };
                    asynchronous(of.clone(), part)
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        }
        (Face::Blocking(cache), Face::Blocking(other)) => std::thread::scope(|scope| {
            for part in 0..6 {
                let of = if part % 2 == 0 { cache } else { other };
                scope.spawn(move || blocking(of, part));
            }
        }),
        _ => unreachable!("both have one face"),
    }
    let mut list = call!(cache.sessions::<Vec<u32>>().load(&id))
        .unwrap()
        .unwrap();
    list.sort_unstable();
    let expected: Vec<u32> = (0..6).flat_map(numbers).collect();
    assert_eq!(list, expected);
}

async fn renewing_loses_no_change(target: Target) {
    let (cache, other) = two(target, Options::default());
    let first = call!(cache.sessions::<Vec<u32>>().create(&vec![])).unwrap();
    // One changes the session under the id that it knows; the other renews it again and again.
    let mut id = first;
    let mut accepted = Vec::new();
    for round in 0..20_u32 {
        let change = {
            let (other, id) = (other.clone(), id.clone());
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                for number in 0..20 {
                    let number = round * 100 + number;
                    let push = move |list: &mut Vec<u32>| list.push(number);
                    match call!(other.sessions::<Vec<u32>>().update(&id, push)).unwrap() {
                        Some(()) => accepted.push(number),
                        None => break,
                    }
                }
                accepted
            })
        };
        tokio::task::yield_now().await;
        let renewed = call!(cache.sessions::<Vec<u32>>().renew_id(&id)).unwrap();
        let renewed = renewed.expect("it is there");
        // From here on the old id is refused.
        assert_eq!(call!(cache.sessions::<Vec<u32>>().load(&id)).unwrap(), None);
        accepted.extend(change.await.unwrap());
        id = renewed;
    }
    let list = call!(cache.sessions::<Vec<u32>>().load(&id))
        .unwrap()
        .unwrap();
    assert_eq!(list, accepted);
}

/// The key of the only session there is.
async fn only_key(target: Target, cache: &Face, prefix: &str) -> Vec<u8> {
    let pattern = format!("{prefix}:#nearcache:session:*");
    let mut keys = stored_keys(target, cache, &pattern).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys.remove(0)
}

async fn what_is_no_session_is_a_miss_and_stays(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let id = call!(cache.sessions::<Login>().create(&login("alice"))).unwrap();
    let key = only_key(target, &cache, &prefix).await;
    let whole = match raw(&cache, &[b"GET", &key]).await {
        redis::Value::BulkString(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    let other_value = [&whole[..38], b"{\"other\":1}"].concat();
    let cut = &whole[..30];
    for bytes in [&b"text"[..], b"", b"\xC1NS\x02", cut, &other_value] {
        raw(&cache, &[b"SET", &key, bytes]).await;
        assert_eq!(call!(cache.sessions::<Login>().load(&id)).unwrap(), None);
        let updated = call!(cache.sessions::<Login>().update(&id, |_| ()));
        assert_eq!(updated.unwrap_err().kind(), ErrorKind::Codec);
        let kept = raw(&cache, &[b"GET", &key]).await;
        assert_eq!(kept, redis::Value::BulkString(bytes.to_vec()));
    }
    raw(&cache, &[b"DEL", &key]).await;
    raw(&cache, &[b"LPUSH", &key, b"x"]).await;
    assert_eq!(call!(cache.sessions::<Login>().load(&id)).unwrap(), None);
    for error in [
        call!(cache.sessions::<Login>().update(&id, |_| ())).unwrap_err(),
        call!(cache.sessions::<Login>().save(&id, &login("bob"))).unwrap_err(),
        call!(cache.sessions::<Login>().renew_id(&id)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(!format!("{error} {error:?}").contains(id.as_str()));
    }
    assert_eq!(raw(&cache, &[b"LLEN", &key]).await, redis::Value::Int(1));
    assert!(call!(cache.sessions::<Login>().end(&id)).unwrap());
}

async fn redis_never_sees_an_id(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let id = call!(cache.sessions::<u8>().create(&7)).unwrap();
    let key = only_key(target, &cache, &prefix).await;
    let text = String::from_utf8(key.clone()).unwrap();
    let digest = text
        .strip_prefix(&format!("{prefix}:#nearcache:session:{{"))
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap();
    assert_eq!(digest.len(), 64);
    assert!(digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(!text.contains(id.as_str()));
    let redis::Value::BulkString(record) = raw(&cache, &[b"GET", &key]).await else {
        panic!("no record");
    };
    assert!(
        !record
            .windows(8)
            .any(|part| id.as_str().as_bytes().starts_with(part))
    );
    assert_eq!(&record[..4], b"\xC1NS\x01");
    assert_eq!(&record[36..], b"\0\x007");
}

async fn sessions_are_hidden_and_survive_a_clear(target: Target) {
    let cache = target.cache();
    let id = call!(cache.sessions::<u8>().create(&7).user("alice")).unwrap();
    call!(cache.set("key", &1)).unwrap();
    assert_eq!(keys_matching(&cache, b"*").await, [b"key".to_vec()]);
    call!(cache.clear()).unwrap();
    assert_eq!(call!(cache.sessions::<u8>().load(&id)).unwrap(), Some(7));
}

async fn an_id_of_another_library_is_taken_once(target: Target) {
    let cache = target.cache();
    let id: SessionId = "01234567890123456789AB".parse().unwrap();
    let created = call!(cache.sessions::<u8>().create(&7).id(id.clone()));
    assert_eq!(created.unwrap(), id);
    let again = call!(cache.sessions::<u8>().create(&8).id(id.clone()));
    let error = again.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(!format!("{error} {error:?}").contains(id.as_str()));
    assert_eq!(call!(cache.sessions::<u8>().load(&id)).unwrap(), Some(7));
}

async fn times_and_users_out_of_range_are_errors(target: Target) {
    let cache = target.cache();
    let id = call!(cache.sessions::<u8>().create(&7)).unwrap();
    let kind = |error: nearcache::Error| error.kind();
    let loaded = call!(cache.sessions::<u8>().idle("0s").load(&id));
    assert_eq!(kind(loaded.unwrap_err()), ErrorKind::InvalidTtl);
    let created = call!(cache.sessions::<u8>().absolute("soon").create(&7));
    assert_eq!(kind(created.unwrap_err()), ErrorKind::InvalidTtl);
    for user in [String::new(), "u".repeat(1_025)] {
        let created = call!(cache.sessions::<u8>().create(&7).user(&user));
        assert_eq!(kind(created.unwrap_err()), ErrorKind::InvalidKey);
        let ended = call!(cache.sessions::<u8>().end_all_of(&user));
        assert_eq!(kind(ended.unwrap_err()), ErrorKind::InvalidKey);
    }
    let created = call!(cache.sessions::<u8>().create(&7).user("u".repeat(1_024)));
    let long = created.unwrap();
    assert_eq!(call!(cache.sessions::<u8>().load(&long)).unwrap(), Some(7));
}

async fn the_scripts_are_learned_again(target: Target) {
    let cache = target.cache();
    let id = call!(cache.sessions::<u8>().create(&7)).unwrap();
    if !target.is_a_store() {
        raw(&cache, &[b"SCRIPT", b"FLUSH"]).await;
    }
    let updated = call!(cache.sessions::<u8>().update(&id, |value| *value += 1));
    assert_eq!(updated.unwrap(), Some(()));
    if !target.is_a_store() {
        raw(&cache, &[b"SCRIPT", b"FLUSH"]).await;
    }
    let renewed = call!(cache.sessions::<u8>().renew_id(&id))
        .unwrap()
        .unwrap();
    assert_eq!(
        call!(cache.sessions::<u8>().load(&renewed)).unwrap(),
        Some(8)
    );
}
