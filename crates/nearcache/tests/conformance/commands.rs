//! Any command on the cache's keys, and what is refused.

use std::collections::{BTreeMap, HashSet};

use nearcache::command::Reply;
use nearcache::{ErrorKind, Raw};

use crate::scene::Source;
use crate::target::{Face, Options, Target, two};

suite! {
    a_command_has_the_prefix_and_a_type,
    replies_are_alike_in_both_protocols,
    several_go_in_one_round_trip,
    one_step_is_one_step,
    what_is_no_key_of_the_cache_is_refused,
    what_leaves_the_cache_is_refused,
    keys_are_found_wherever_they_are,
    a_command_fences_the_loads_of_its_keys,
}

/// A user with the guide's permissions has none for whatever a test can think of.
fn may_not(target: Target) -> bool {
    target.is_acl_user()
}

async fn a_command_has_the_prefix_and_a_type(target: Target) {
    if may_not(target) {
        return;
    }
    let cache = target.cache_of_one_slot();
    let added = call!(
        cache
            .command("ZADD")
            .key("board")
            .arg(7)
            .arg("ada")
            .query::<i64>()
    );
    assert_eq!(added.unwrap(), 1);
    let score = call!(cache.sorted_set::<String>("board").score("ada"));
    assert_eq!(score.unwrap(), Some(7.0));
    let encoding = call!(
        cache
            .command("OBJECT ENCODING")
            .key("board")
            .query::<String>()
    );
    assert!(!encoding.unwrap().is_empty());
    let set = call!(
        cache
            .command("set")
            .key("k")
            .arg(Raw(b"\xff\0"))
            .arg("EX")
            .arg(60)
            .query::<bool>()
    );
    assert!(set.unwrap());
    let bytes = call!(cache.command("GET").key("k").query::<Raw<Vec<u8>>>());
    assert_eq!(bytes.unwrap().0, b"\xff\0");
    let none = call!(cache.command("GET").key("none").query::<Option<String>>());
    assert_eq!(none.unwrap(), None);
    let error = call!(cache.command("GET").key("none").query::<String>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let error = call!(cache.command("INCR").key("board").query::<i64>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert_eq!(error.key().unwrap().as_str(), Some("board"));
    let error = call!(cache.command("INCR").key("").query::<i64>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    let error = call!(cache.command("NOSUCH").key("k").query::<i64>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    let error = call!(cache.command("").query::<()>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let pong = call!(cache.command("PING").query::<String>()).unwrap();
    assert_eq!(pong, "PONG");
    let echo = call!(cache.command("ECHO").arg("hello").query::<String>()).unwrap();
    assert_eq!(echo, "hello");
    // With handles as keys.
    let moved = match &cache {
        Face::Async(cache) => {
            let (from, to) = (cache.list::<u8>("from"), cache.list::<u8>("to"));
            from.push_back(1).await.unwrap();
            let command = cache.command("RPOPLPUSH").keys([&from, &to]);
            command.query::<u8>().await
        }
        Face::Blocking(cache) => {
            let (from, to) = (cache.list::<u8>("from"), cache.list::<u8>("to"));
            from.push_back(1).run().unwrap();
            let command = cache.command("RPOPLPUSH").keys([&from, &to]);
            command.query::<u8>().run()
        }
    };
    assert_eq!(moved.unwrap(), 1);
}

async fn replies_are_alike_in_both_protocols(target: Target) {
    if may_not(target) {
        return;
    }
    let cache = target.cache();
    call!(
        cache
            .command("HSET")
            .key("h")
            .args(["a", "1", "b", "2"])
            .query::<()>()
    )
    .unwrap();
    let all = call!(
        cache
            .command("HGETALL")
            .key("h")
            .query::<BTreeMap<String, u8>>()
    );
    assert_eq!(
        all.unwrap(),
        BTreeMap::from([("a".into(), 1), ("b".into(), 2)])
    );
    call!(
        cache
            .command("ZADD")
            .key("z")
            .args(["1.5", "a", "inf", "b"])
            .query::<()>()
    )
    .unwrap();
    let all = call!(
        cache
            .command("ZRANGE")
            .key("z")
            .args(["0", "-1", "WITHSCORES"])
            .query::<Vec<(String, f64)>>()
    );
    let wanted = [("a".to_owned(), 1.5), ("b".to_owned(), f64::INFINITY)];
    assert_eq!(all.unwrap(), wanted);
    call!(cache.command("SADD").key("s").args([1, 2]).query::<()>()).unwrap();
    let all = call!(cache.command("SMEMBERS").key("s").query::<HashSet<u32>>());
    assert_eq!(all.unwrap(), HashSet::from([1, 2]));
    let score = call!(cache.command("ZSCORE").key("z").arg("a").query::<f64>());
    assert_eq!(score.unwrap().to_bits(), 1.5_f64.to_bits());
    let there = call!(cache.command("EXISTS").key("z").query::<bool>());
    assert!(there.unwrap());
    let any = call!(cache.command("TYPE").key("z").query::<Reply>());
    assert_eq!(any.unwrap(), Reply::Status("zset".into()));
}

/// A line of words, in which `:name` is a key.
macro_rules! line {
    ($cache:ident, $line:expr) => {{
        let line: &str = $line;
        let mut words = line.split(' ');
        let command = $cache.command(words.next().unwrap_or_default());
        words.fold(command, |command, word| match word.strip_prefix(':') {
            Some(key) => command.key(key),
            None => command.arg(word),
        })
    }};
}

/// Several of them.
macro_rules! lines {
    ($cache:ident, $reply:ty, $atomic:expr, $lines:expr) => {
        match &$cache {
            Face::Async(cache) => {
                let mut pipeline = cache.pipeline();
                for line in $lines {
                    pipeline = pipeline.add(line!(cache, line));
                }
                let pipeline = if $atomic { pipeline.atomic() } else { pipeline };
                pipeline.query::<$reply>().await
            }
            Face::Blocking(cache) => {
                let mut pipeline = cache.pipeline();
                for line in $lines {
                    pipeline = pipeline.add(line!(cache, line));
                }
                let pipeline = if $atomic { pipeline.atomic() } else { pipeline };
                pipeline.query::<$reply>().run()
            }
        }
    };
}

/// One line.
macro_rules! one {
    ($cache:ident, $reply:ty, $line:expr) => {
        match &$cache {
            Face::Async(cache) => line!(cache, $line).query::<$reply>().await,
            Face::Blocking(cache) => line!(cache, $line).query::<$reply>().run(),
        }
    };
}

async fn several_go_in_one_round_trip(target: Target) {
    if may_not(target) {
        return;
    }
    let cache = target.cache_of_one_slot();
    for atomic in [false, true] {
        call!(cache.clear()).unwrap();
        let lines = ["INCR :n", "RPUSH :l a b", "GET :none", "LRANGE :l 0 -1"];
        let found = lines!(cache, (i64, u8, Option<String>, Vec<String>), atomic, lines);
        let wanted = (1, 2, None, vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(found.unwrap(), wanted);
        let all = lines!(cache, Vec<i64>, atomic, ["INCR :n", "INCR :n"]).unwrap();
        assert_eq!(all, [2, 3]);
        // One that fails does not keep the others from being carried out.
        let error = lines!(cache, (), atomic, ["INCR :n", "INCR :l", "INCR :n"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
        assert_eq!(call!(cache.counter("n")).unwrap(), Some(5));
        // One that is refused does.
        let error = lines!(cache, (), atomic, ["INCR :n", "FLUSHALL"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(call!(cache.counter("n")).unwrap(), Some(5));
        let none: [&str; 0] = [];
        lines!(cache, (), atomic, none).unwrap();
        let many = std::iter::repeat_n("INCR :many", 2_500);
        let all = lines!(cache, Vec<u64>, atomic, many).unwrap();
        assert!(all.into_iter().eq(1..=2_500));
    }
}

async fn one_step_is_one_step(target: Target) {
    if may_not(target) {
        return;
    }
    let cache = target.cache_of_one_slot();
    let other = cache.clone();
    let reader = std::thread::spawn(move || {
        crate::face::run(async {
            loop {
                let pair = lines!(other, (u64, u64), true, ["INCRBY :a 0", "INCRBY :b 0"]).unwrap();
                assert_eq!(pair.0, pair.1, "both or none");
                if pair.0 >= 200 {
                    break;
                }
            }
        });
    });
    for _ in 0..200 {
        lines!(cache, (), true, ["INCR :a", "INCR :b"]).unwrap();
    }
    reader.join().unwrap();
}

async fn what_is_no_key_of_the_cache_is_refused(target: Target) {
    if may_not(target) {
        return;
    }
    let cache = target.cache();
    for line in [
        "GET plain",
        "SET plain 1",
        "MGET :a plain",
        "DEL plain :a",
        "SINTERSTORE :a plain",
        "ZUNIONSTORE :a 2 :b plain",
        "ZUNIONSTORE plain 1 :b",
        "SET :a :b",
        "XREAD STREAMS plain 0",
        "GEORADIUS :a 0 0 1 km STORE plain",
        "COPY :a plain",
        "LMOVE plain :a LEFT LEFT",
        "OBJECT ENCODING plain",
        "ECHO :a",
    ] {
        let error = one!(cache, (), line).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{line}: {error}");
    }
    assert!(!call!(cache.contains("a")).unwrap());
}

async fn what_leaves_the_cache_is_refused(target: Target) {
    if may_not(target) {
        return;
    }
    let cache = target.cache();
    for line in [
        "KEYS *",
        "SCAN 0",
        "FLUSHALL",
        "FLUSHDB",
        "RANDOMKEY",
        "SELECT 1",
        "EVAL return 0",
        "EVALSHA x 1 :a",
        "SCRIPT FLUSH",
        "BLPOP :a 1",
        "XREAD BLOCK 0 STREAMS :a 0",
        "WATCH :a",
        "MULTI",
        "EXEC",
        "SUBSCRIBE c",
        "PUBLISH c m",
        "AUTH x",
        "SHUTDOWN",
        "CONFIG GET maxmemory",
        "CLIENT LIST",
        "SORT :a BY w_*",
        "SORT :a GET o_*",
        "MOVE :a 1",
        "COPY :a :b DB 1",
        "SWAPDB 0 1",
        "DEBUG SLEEP 0",
    ] {
        let error = one!(cache, (), line).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{line}: {error}");
    }
}

async fn keys_are_found_wherever_they_are(target: Target) {
    if may_not(target) {
        return;
    }
    let cache = target.cache_of_one_slot();
    for line in [
        "MSET :a 1 :b 2",
        "MGET :a :b",
        "DEL :a :b",
        "SADD :s 1 2",
        "SORT :s",
        "SORT :s STORE :sorted",
        "ZADD :z 1 a",
        "ZUNIONSTORE :out 2 :z :s WEIGHTS 1 2",
        "ZINTER 2 :z :s",
        "BITOP AND :c :a :b",
        "GEOADD :g 2.35 48.85 paris",
        "GEORADIUS :g 2.3 48.8 50 km STORE :near",
        "XADD :x 1-1 f v",
        "XREAD COUNT 1 STREAMS :x 0",
        "XGROUP CREATE :x group 0",
        "XREADGROUP GROUP group me COUNT 1 STREAMS :x >",
        "MEMORY USAGE :x",
        "PFCOUNT :none :nothing",
        "LMPOP 2 :none :nothing LEFT",
        "COPY :s :t",
        "RENAME :t :u",
    ] {
        if let Err(error) = one!(cache, (), line) {
            // A server may be older than the command.
            let unknown = error.to_string().contains("has no command lmpop");
            assert!(unknown && line.starts_with("LMPOP"), "{line}: {error}");
        }
    }
    assert!(call!(cache.contains("near")).unwrap());
}

/// A load that found nothing does not store after a command that has changed its key.
async fn a_command_fences_the_loads_of_its_keys(target: Target) {
    if may_not(target) {
        return;
    }
    let (cache, other) = two(target, Options::default());
    for how in 0..4 {
        let source = Source::new();
        let load = tokio::spawn(remember!(cache, "k", source.holds(1)));
        source.begun().await;
        match how {
            0 => one!(other, (), "DEL :k").unwrap(),
            1 => lines!(other, (), false, ["DEL :k"]).unwrap(),
            2 => lines!(other, (), true, ["DEL :k"]).unwrap(),
            // This changes nothing.
            _ => one!(other, (), "EXISTS :k").unwrap(),
        }
        source.go_on();
        assert_eq!(load.await.unwrap().unwrap(), 1);
        let stored = call!(cache.get::<u8>("k")).unwrap();
        assert_eq!(stored.is_some(), how == 3, "{how}");
    }
}
