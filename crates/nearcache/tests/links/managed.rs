//! Servers as managed services and proxies are: without some commands. By `rename-command`, as those do who run them, and
//! by an ACL.

use nearcache::{Cache, ErrorKind, blocking};
use nearcache_testkit::{Redis, Server};

use crate::face::{Face, run};

/// What nobody needs.
const EXTRAS: [&str; 7] = [
    "HELLO", "CLIENT", "INFO", "SCRIPT", "CONFIG", "COMMAND", "WAIT",
];

fn faces(url: &str, protocol: &str) -> [Face; 2] {
    let url = format!("{url}?prefix=p&client_name=managed&timeout=20s{protocol}");
    [
        Face::Async(Cache::open(&url).unwrap()),
        Face::Blocking(blocking::Cache::open(&url).unwrap()),
    ]
}

async fn works(face: &Face) {
    call!(face.ping()).unwrap();
    call!(face.set("k", &1).tags(["t"])).unwrap();
    assert_eq!(call!(face.get::<u8>("k")).unwrap(), Some(1));
    assert_eq!(call!(face.incr("n").ttl("1m")).unwrap(), 1);
    let loaded = match face {
        Face::Async(cache) => cache.remember("l", || async { Ok::<_, std::io::Error>(7) }).await,
        Face::Blocking(cache) => cache.remember("l", || Ok::<_, std::io::Error>(7)).run(),
    };
    assert_eq!(loaded.unwrap(), 7);
    assert_eq!(call!(face.get::<u8>("l")).unwrap(), Some(7), "it is stored");
    call!(face.invalidate_tag("t")).unwrap();
    assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
    call!(face.set_of::<u8>("a").insert(&1)).unwrap();
    call!(face.set_of::<u8>("b").insert(&1)).unwrap();
    let both = call!(face.set_of::<u8>("a").intersection_len(["b"]));
    assert_eq!(both.unwrap(), 1);
    let popped = call!(face.list::<u8>("q").pop_front().wait("10ms"));
    assert_eq!(popped.unwrap(), None);
    assert!(call_as!(|held| held.is_some(); face.lock("job").try_acquire()).unwrap());
    assert!(call!(face.clear().with_helpers()).unwrap() > 0);
}

#[test]
fn a_server_without_some_commands_has_a_cache() {
    let one_by_one = EXTRAS.iter().map(|command| vec![*command]);
    let sets = one_by_one.chain([EXTRAS.to_vec()]);
    run(async {
        for missing in sets {
            let mut arguments = Vec::new();
            for command in &missing {
                arguments.extend(["--rename-command", command, ""]);
            }
            let redis = Redis::start_with(&arguments);
            for protocol in ["", "&protocol=2"] {
                for face in faces(&redis.url(), protocol) {
                    works(&face).await;
                }
            }
            let pinned = Cache::open(&format!("{}?timeout=20s&protocol=3", redis.url())).unwrap();
            assert_eq!(pinned.ping().await.is_ok(), !missing.contains(&"HELLO"), "{missing:?}");
        }
    });
}

#[test]
fn a_user_who_may_not_call_some_commands_has_a_cache() {
    for server in [Server::Installed, Server::Redis6, Server::Valkey9] {
        if !server.is_there() {
            continue;
        }
        let redis = Redis::start_as(server, &[]);
        let refused = EXTRAS.map(|command| format!("-{}", command.to_lowercase()));
        redis.inline(&format!("ACL SETUSER app on >pass ~* &* +@all {}", refused.join(" ")));
        run(async {
            let url = redis.url().replace("redis://", "redis://app:pass@");
            for protocol in ["", "&protocol=2", "&protocol=3"] {
                for face in faces(&url, protocol) {
                    works(&face).await;
                    let error = call!(face.server()).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Denied);
                }
            }
        });
    }
}
