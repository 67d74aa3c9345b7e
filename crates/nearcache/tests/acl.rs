//! Users with limits: the lines of the guide have all that is needed and nothing to spare, and an error says what is
//! missing.

#[macro_use]
#[path = "support/face.rs"]
mod face;
#[path = "support/guide.rs"]
mod guide;

use std::time::Duration;

use face::{Face, run};
use guide::AclLine;
use nearcache::{Cache, ErrorKind, blocking};
use nearcache_testkit::{Redis, Server};

/// What is asked beside what is needed.
const EXTRAS: [&str; 3] = ["hello", "info", "client"];

/// Two caches of one user. Who may not end a lease waits for its end, so it is short.
fn faces(redis: &Redis, user: &str) -> [Face; 2] {
    faces_with(redis, user, Duration::from_millis(100))
}

fn faces_with(redis: &Redis, user: &str, lease: Duration) -> [Face; 2] {
    let url = format!(
        "redis://{user}:secret@{}?timeout=20s&client_name={user}",
        redis.address()
    );
    [
        Face::Async(
            Cache::builder(&url)
                .prefix("p")
                .lease(lease)
                .build()
                .unwrap(),
        ),
        Face::Blocking(
            blocking::Cache::builder(&url)
                .prefix("p")
                .lease(lease)
                .build()
                .unwrap(),
        ),
    ]
}

fn make(redis: &Redis, line: &AclLine) {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    line.command().exec(&mut connection).unwrap();
}

/// The commands that were refused since the last time, without the extras.
fn refused(redis: &Redis) -> Vec<String> {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let log: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query(&mut connection).unwrap();
    redis::cmd("ACL")
        .arg("LOG")
        .arg("RESET")
        .exec(&mut connection)
        .unwrap();
    let mut objects: Vec<String> = log
        .into_iter()
        .filter_map(|entry| {
            let entry: std::collections::HashMap<String, redis::Value> =
                redis::from_redis_value(entry).ok()?;
            redis::from_redis_value(entry.get("object")?.clone()).ok()
        })
        .filter(|object: &String| {
            let name = object.split('|').next().unwrap_or_default();
            !EXTRAS.contains(&name)
        })
        .collect();
    objects.sort();
    objects.dedup();
    objects
}

/// The server knows no script yet, and has an entry that nobody can read.
fn prepare(redis: &Redis) {
    redis.inline("SCRIPT FLUSH");
    redis.inline(r#"SET p:foreign "\xc1NC\xff\xff\xff\xff\xff""#);
}

/// An entry with everything that an entry can have.
async fn load(face: &Face, key: &str) -> nearcache::Result<u8> {
    let load = || Ok::<_, std::io::Error>(7_u8);
    match face {
        Face::Async(cache) => {
            let load = move || async move { load() };
            let remember = cache.remember(key, load).ttl("1m");
            remember.tags(["t"]).stale_for("1m").await
        }
        Face::Blocking(cache) => {
            let remember = cache.remember(key, load).ttl("1m");
            remember.tags(["t"]).stale_for("1m").run()
        }
    }
}

/// Every verb of a cache that needs no list of keys. Errors are of no interest here: the server's log has them.
async fn use_the_cache(face: &Face) {
    let second = Duration::from_secs(1);
    let _ = call!(face.ping());
    let _ = call!(face.set("k", &1));
    let _ = call!(face.set("k", &2).keep_ttl());
    let _ = call!(face.set("k", &3).ttl("1m"));
    let _ = call!(face.set("tagged", &1).tags(["t"]));
    let _ = call!(face.get::<u8>("k"));
    let _ = call!(face.get::<u8>("tagged").extend("1m"));
    let _ = call!(face.lookup::<u8>("k"));
    let _ = call!(face.get_many::<u8>(["k", "tagged", "none"]));
    let _ = call!(face.set_many([("a", 1), ("b", 2)]));
    let _ = call!(face.add("new", &1));
    let _ = call!(face.add("k", &1));
    let _ = call!(face.replace("new", &2));
    let _ = call!(face.touch("new"));
    let _ = call!(face.touch("new").ttl("1m"));
    let _ = call!(face.expire("new", "1m"));
    let _ = call!(face.expire("tagged", "1m"));
    let _ = call!(face.persist("new"));
    let _ = call!(face.persist("tagged"));
    let _ = call!(face.ttl("new"));
    let _ = call!(face.contains("new"));
    let _ = call!(face.take::<u8>("new"));
    let _ = call!(face.incr("n").ttl("1m"));
    let _ = call!(face.decr("n"));
    let _ = call!(face.counter("n"));
    let _ = call!(face.mark_stale("k"));
    let _ = call!(face.mark_tag_stale("t"));
    let _ = call!(face.invalidate_tag("t"));
    let _ = call!(face.add("tagged", &2));
    let _ = call!(face.add("foreign", &2));
    for key in ["loaded", "loaded", "k"] {
        let _ = load(face, key).await;
    }
    let _ = call!(face.expire("loaded", "5m"));
    let _ = call!(face.mark_stale("loaded"));
    let _ = call!(face.delete("k"));
    let _ = call!(face.delete_many(["a", "b"]));
    // A load that is fenced gives its lease back, and one that takes long renews it.
    let other = face.within(10 * second);
    let _ = call!(other.get::<u8>("k"));
}

#[test]
fn the_line_for_a_cache_permits_what_it_needs_and_nothing_else() {
    let redis = Redis::start_with(&["--acllog-max-len", "1000"]);
    run(async {
        let line = guide::acl_line("The cache").prefix("p");
        make(&redis, &line.clone().user("all", "secret"));
        for face in faces(&redis, "all") {
            prepare(&redis);
            use_the_cache(&face).await;
        }
        assert_eq!(refused(&redis), Vec::<String>::new());
        // The scripts that change an entry ask for it where nobody can read that entry: no call here comes to that.
        let seldom = ["strlen"];
        let commands = line.commands().filter(|command| !seldom.contains(command));
        for (number, command) in commands.enumerate() {
            let user = format!("user{number}");
            let without = line.clone().without(&format!("+{command}"));
            make(&redis, &without.user(&user, "secret"));
            for face in faces(&redis, &user) {
                prepare(&redis);
                use_the_cache(&face).await;
                // A load may go on past its lease, which is short.
                if let Err(error) = call!(face.close()) {
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                }
            }
            let refused = refused(&redis);
            assert!(
                refused.iter().any(|refused| refused == command),
                "nothing needs +{command}: {refused:?}"
            );
            redis.inline("FLUSHALL");
        }
    });
}

/// Each call is made until it succeeds, and after each failure its user gets the rule that the error names.
async fn permitted_step_by_step(redis: &Redis, face: &Face, user: &str) {
    macro_rules! step_by_step {
        ($face:ident . $($call:tt)*) => {{
            let mut rules = Vec::new();
            loop {
                let Err(error) = call_as!(drop; $face.$($call)*) else {
                    break rules;
                };
                assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
                let text = error.to_string();
                assert!(!text.contains("secret"), "{text}");
                let (_, rule) = text.split_once("ACL SETUSER <user> ").expect(&text);
                let rule = rule.split(';').next().unwrap();
                assert!(rules.len() < 9 && !rules.contains(&rule.to_owned()), "{text}");
                let said = redis.inline(&format!("ACL SETUSER {user} {rule}"));
                assert!(said.starts_with("+OK"), "{rule}: {said}");
                rules.push(rule.to_owned());
            }
        }};
    }
    redis.inline(&format!(
        "ACL SETUSER {user} reset on >secret resetchannels"
    ));
    let rules = step_by_step!(face.set("k", &1));
    assert!(rules.iter().any(|rule| rule == "+set"), "{rules:?}");
    assert!(rules.iter().any(|rule| rule == "~p:*"), "{rules:?}");
    step_by_step!(face.get::<u8>("k"));
    step_by_step!(face.get_many::<u8>(["k", "l"]));
    step_by_step!(face.take::<u8>("k"));
    step_by_step!(face.incr("n"));
    step_by_step!(face.clear());
    step_by_step!(face.hash("h").set("f", &1));
    step_by_step!(face.list::<u8>("l").push_back(&1));
    let rules = step_by_step!(face.topic::<u8>("t").publish(&1));
    assert_eq!(rules, ["+publish", "&p:*"]);
    step_by_step!(face.topic::<u8>("t").subscribe());
    let rules = step_by_step!(face.topics::<u8>("t*").subscribe());
    assert_eq!(rules, ["+psubscribe", "&p:t*"]);
}

#[test]
fn an_error_names_the_rule_that_permits_the_call() {
    for server in [Server::Installed, Server::Redis6, Server::Valkey9] {
        if server.is_there() {
            let redis = Redis::start_as(server, &[]);
            run(async {
                for (face, user) in faces(&redis, "app").iter().zip(["app", "app"]) {
                    permitted_step_by_step(&redis, face, user).await;
                }
            });
        }
    }
}

/// A script's own commands: servers before 7.2 do not name them.
#[test]
fn a_command_that_a_script_may_not_run_is_denied_and_remember_goes_on() {
    for server in [Server::Installed, Server::Redis6, Server::Valkey9] {
        if !server.is_there() {
            continue;
        }
        let redis = Redis::start_as(server, &[]);
        make(
            &redis,
            &guide::acl_line("The cache")
                .prefix("p")
                .user("app", "secret")
                .without("+setrange"),
        );
        run(async {
            // What is loaded past its lease would not be stored.
            for face in faces_with(&redis, "app", Duration::from_secs(60)) {
                assert_eq!(load(&face, "k").await.unwrap(), 7);
                let error = call!(face.expire("k", "5m")).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
                let text = error.to_string();
                let names = text.contains("+setrange");
                assert!(names || text.contains("docs/deployments.md"), "{text}");
                call!(face.delete("k")).unwrap();
                assert_eq!(load(&face, "k").await.unwrap(), 7);
            }
        });
    }
}
