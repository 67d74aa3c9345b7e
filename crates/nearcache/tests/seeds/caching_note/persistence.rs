//! "Persistence: optional disk persistence": values and their TTLs survive a restart, of a store in a folder and of a
//! server.

use std::time::Duration;

use nearcache::{Cache, Remaining};
use nearcache_testkit::{Redis, random_prefix};

use crate::face::{Face, run};

/// Writes what is to survive a restart.
async fn write_all(cache: &Face) {
    let cache = cache.clone();
    call!(cache.set("text", "kept").ttl("1h")).unwrap();
    call!(cache.set("forever", 7)).unwrap();
    call!(cache.set("deleted", 1)).unwrap();
    call!(cache.delete("deleted")).unwrap();
    call!(cache.incr("counter").by(5).ttl("1d")).unwrap();
    call!(cache.set("tagged", 1).ttl("1h").tags(["t"])).unwrap();
    call!(cache.set("invalidated", 1).ttl("1h").tags(["u"])).unwrap();
    call!(cache.invalidate_tag("u")).unwrap();
    call!(cache.hash("user:123").set("name", "John").ttl("2h")).unwrap();
    call!(cache.list::<u8>("list").push_back_many([1, 2, 3]).ttl("2h")).unwrap();
    call!(cache.set_of::<String>("set").insert("ada").ttl("2h")).unwrap();
    call!(
        cache
            .sorted_set::<String>("board")
            .insert("ada", 7.5)
            .ttl("2h")
    )
    .unwrap();
}

/// Values and TTLs are there.
async fn all_is_there(cache: &Face) {
    let cache = cache.clone();
    assert_eq!(
        call!(cache.get::<String>("text")).unwrap().as_deref(),
        Some("kept")
    );
    assert_eq!(call!(cache.get::<u8>("forever")).unwrap(), Some(7));
    assert_eq!(call!(cache.get::<u8>("deleted")).unwrap(), None);
    assert_eq!(call!(cache.counter("counter")).unwrap(), Some(5));
    assert_eq!(call!(cache.get::<u8>("tagged")).unwrap(), Some(1));
    assert_eq!(call!(cache.get::<u8>("invalidated")).unwrap(), None);
    let name: Option<String> = call!(cache.hash("user:123").get("name")).unwrap();
    assert_eq!(name.as_deref(), Some("John"));
    assert_eq!(
        call!(cache.list::<u8>("list").range(..)).unwrap(),
        [1, 2, 3]
    );
    assert!(call!(cache.set_of::<String>("set").contains("ada")).unwrap());
    let score = call!(cache.sorted_set::<String>("board").score("ada")).unwrap();
    assert_eq!(score.map(f64::to_bits), Some(7.5_f64.to_bits()));
    for (key, hours) in [
        ("text", 1),
        ("tagged", 1),
        ("user:123", 2),
        ("list", 2),
        ("set", 2),
        ("board", 2),
        ("counter", 24),
    ] {
        let left = call!(cache.ttl(key)).unwrap().duration().expect(key);
        let whole = Duration::from_secs(hours * 3_600);
        assert!(
            left <= whole && left > whole - Duration::from_secs(120),
            "{key}: {left:?}"
        );
    }
    assert_eq!(call!(cache.ttl("forever")).unwrap(), Remaining::Forever);
}

#[test]
fn an_embedded_store_in_a_folder_survives_a_restart_with_its_ttls() {
    let folder = std::env::temp_dir().join(random_prefix());
    run(async {
        let open = || {
            Cache::builder("memory://?prefix=app")
                .persist(&folder)
                .build()
                .unwrap()
        };
        for blocking in [false, true] {
            let face = |cache: Cache| match blocking {
                true => Face::Blocking(cache.blocking().unwrap()),
                false => Face::Async(cache),
            };
            let cache = face(open());
            call!(cache.clear()).unwrap();
            write_all(&cache).await;
            all_is_there(&cache).await;
            drop(cache);
            all_is_there(&face(open())).await;
        }
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Who wrote in the seconds before a restart repeats these invalidations, because a server may have lost them
/// (`DataLoss::Replay`); so what survives is seen by others, who were connected before.
#[test]
fn a_server_with_persistence_survives_a_restart_with_its_ttls() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    run(async {
        for blocking in [false, true] {
            let face = |name: &str| {
                let url = format!(
                    "{}?prefix=app{blocking}&timeout=10s&breaker=off&client_name={name}",
                    redis.url()
                );
                let cache = Cache::open(&url).unwrap();
                match blocking {
                    true => Face::Blocking(cache.blocking().unwrap()),
                    false => Face::Async(cache),
                }
            };
            let (writer, reader) = (face("writer"), face("reader"));
            write_all(&writer).await;
            all_is_there(&reader).await;
            drop(writer);
            redis.restart();
            // The call that finds the connection lost may fail, and so do those while it loads its data.
            while call!(reader.contains("text")).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            all_is_there(&reader).await;
        }
    });
}
