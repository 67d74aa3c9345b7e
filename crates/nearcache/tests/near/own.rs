//! What this process writes is seen here at once, whichever verb writes it.

use std::time::Duration;

use nearcache::Remaining;
use nearcache_testkit::random_prefix;

use crate::face::Face;
use crate::places::{Place, get, near_hits, warm};

places! {
    each_write_is_seen_at_once,
    each_deletion_is_seen_at_once,
    a_new_ttl_is_seen_at_once,
    a_write_of_another_cache_of_this_process_is_seen_at_once,
    a_raw_command_is_seen_at_once,
}

/// A near value of 7.
async fn warmed(place: Place) -> Face {
    let near = place.two().near;
    call!(near.set("k", &7).ttl("1h").tags(["t"])).unwrap();
    warm(&near, "k", 7).await;
    near
}

async fn again(near: &Face) {
    call!(near.set("k", &7)).unwrap();
    warm(near, "k", 7).await;
}

async fn each_write_is_seen_at_once(place: Place) {
    let near = warmed(place).await;
    call!(near.set("k", &8)).unwrap();
    assert_eq!(get(&near, "k").await, Some(8));
    again(&near).await;
    call!(near.set("k", &9).keep_ttl()).unwrap();
    assert_eq!(get(&near, "k").await, Some(9));
    again(&near).await;
    call!(near.set_many([("k", 10)])).unwrap();
    assert_eq!(get(&near, "k").await, Some(10));
    again(&near).await;
    assert!(call!(near.replace("k", &11)).unwrap());
    assert_eq!(get(&near, "k").await, Some(11));
    again(&near).await;
    assert_eq!(call!(near.incr("k")).unwrap(), 8);
    assert_eq!(get(&near, "k").await, Some(8));
    again(&near).await;
    call!(near.mark_stale("k")).unwrap();
    assert_eq!(get(&near, "k").await, None);
    again(&near).await;
    let load = || Ok::<u64, std::io::Error>(12);
    assert_eq!(refresh!(near, "k", load).await.unwrap(), 12);
    assert_eq!(get(&near, "k").await, Some(12));
    call!(near.delete("k")).unwrap();
    assert!(call!(near.add("k", &13)).unwrap());
    assert_eq!(get(&near, "k").await, Some(13));
    assert!(!call!(near.add("k", &14)).unwrap());
    assert_eq!(get(&near, "k").await, Some(13));
}

async fn each_deletion_is_seen_at_once(place: Place) {
    let near = warmed(place).await;
    assert!(call!(near.delete("k")).unwrap());
    assert_eq!(get(&near, "k").await, None);
    again(&near).await;
    assert_eq!(call!(near.delete_many(["k"])).unwrap(), 1);
    assert_eq!(get(&near, "k").await, None);
    again(&near).await;
    assert_eq!(call!(near.take::<u64>("k")).unwrap(), Some(7));
    assert_eq!(get(&near, "k").await, None);
    again(&near).await;
    call!(near.delete_pattern("k*")).unwrap();
    assert_eq!(get(&near, "k").await, None);
    again(&near).await;
    call!(near.clear()).unwrap();
    assert_eq!(get(&near, "k").await, None);
    for invalidates in [true, false] {
        call!(near.set("k", &7).tags(["t"])).unwrap();
        warm(&near, "k", 7).await;
        match invalidates {
            true => call!(near.invalidate_tag("t")).unwrap(),
            false => call!(near.mark_tag_stale("t")).unwrap(),
        }
        assert_eq!(get(&near, "k").await, None);
    }
}

async fn a_new_ttl_is_seen_at_once(place: Place) {
    let near = warmed(place).await;
    assert!(call!(near.expire("k", Duration::from_millis(100))).unwrap());
    crate::places::until("its end", async || get(&near, "k").await.is_none()).await;
    call!(near.set("k", &7).ttl("1h")).unwrap();
    warm(&near, "k", 7).await;
    assert!(call!(near.touch("k").ttl(Duration::from_millis(100))).unwrap());
    crate::places::until("its end", async || get(&near, "k").await.is_none()).await;
    call!(near.set("k", &7).ttl(Duration::from_secs(2))).unwrap();
    warm(&near, "k", 7).await;
    assert!(call!(near.persist("k")).unwrap());
    assert_eq!(call!(near.ttl("k")).unwrap(), Remaining::Forever);
    assert_eq!(get(&near, "k").await, Some(7));
    let past = std::time::UNIX_EPOCH + Duration::from_secs(1);
    assert!(call!(near.expire_at("k", past)).unwrap());
    assert_eq!(get(&near, "k").await, None);
}

async fn a_write_of_another_cache_of_this_process_is_seen_at_once(place: Place) {
    let prefix = random_prefix();
    let url = match place {
        Place::Embedded | Place::EmbeddedBlocking => format!("memory://{prefix}?near=100"),
        Place::RedisUnix => {
            format!("{}?near=100", nearcache_testkit::Redis::shared().unix_url())
        }
        Place::RedisResp2 => format!(
            "{}?near=100&protocol=2&near_ttl=1h",
            nearcache_testkit::Redis::shared().url()
        ),
        Place::Sentinel | Place::SentinelBlocking => {
            format!("{}?near=100", nearcache_testkit::Sentinels::shared().url())
        }
        Place::Cluster | Place::ClusterBlocking => {
            format!("{}?near=100", nearcache_testkit::Cluster::shared().url())
        }
        _ => format!("{}?near=100", nearcache_testkit::Redis::shared().url()),
    };
    let (near, same) = (place.open(&url, &prefix), place.open(&url, &prefix));
    let plain = place.open(url.split('?').next().unwrap(), &prefix);
    let faces = match &near {
        Face::Async(cache) => Face::Blocking(cache.blocking().unwrap()),
        Face::Blocking(cache) => Face::Async(cache.asynchronous().unwrap()),
    };
    call!(near.set("k", &7)).unwrap();
    for (number, writer) in [same, plain, faces].iter().enumerate() {
        let value = number as u64 + 10;
        call!(near.set("k", &7)).unwrap();
        warm(&near, "k", 7).await;
        call!(writer.set("k", &value)).unwrap();
        assert_eq!(get(&near, "k").await, Some(value), "{number}");
    }
}

async fn a_raw_command_is_seen_at_once(place: Place) {
    let two = place.two();
    let near = two.near;
    call!(near.set("k", &7)).unwrap();
    warm(&near, "k", 7).await;
    let key = format!("{}:k", two.prefix);
    let mut set = redis::cmd("SET");
    set.arg(&key).arg(8);
    let eval = {
        // Its key is not among its arguments.
        let mut eval = redis::cmd("EVAL");
        eval.arg(format!("return redis.call('SET', '{key}', '9')"))
            .arg(0);
        eval
    };
    for (value, command) in [(8, &set), (9, &eval)] {
        if value == 9 && place.is_embedded() {
            continue; // it has no Lua
        }
        if value == 9 && place.is_spread() {
            continue; // such a script goes to any server
        }
        match &near {
            Face::Async(cache) => {
                let mut shared = cache.shared_connection();
                command.exec_async(&mut shared).await.unwrap();
            }
            Face::Blocking(cache) => {
                let mut shared = cache.shared_connection();
                command.exec(&mut shared).unwrap();
            }
        }
        assert_eq!(get(&near, "k").await, Some(value));
        warm(&near, "k", value).await;
    }
    let before = near_hits(&near);
    assert!(before > 0);
}
