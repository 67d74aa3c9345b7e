//! Bounds: what a store does when its keys take more memory than they may.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcache_embedded::{Call, Clock, Connection, Event, Policy, Script, ScriptError, Store};
use nearcache_testkit::Redis;
use redis::{ConnectionLike, Value, cmd};

fn bounded(max_memory: usize, policy: Policy) -> (Store, Connection) {
    let store = Store::builder()
        .max_memory(max_memory)
        .policy(policy)
        .build();
    let con = store.connect();
    (store, con)
}

/// Looks at as many keys as may be when it evicts: of a store with fewer keys, at all.
fn choosing_from_all(policy: Policy, clock: &Clock) -> (Store, Connection) {
    let store = Store::builder().policy(policy).clock(clock.clone()).build();
    let mut con = store.connect();
    assert_eq!(
        run(&mut con, "CONFIG SET maxmemory-samples 10000"),
        Value::Okay
    );
    (store, con)
}

fn run(con: &mut impl ConnectionLike, line: &str) -> Value {
    let args: Vec<&str> = line.split(' ').collect();
    con.req_command(cmd(args[0]).arg(&args[1..])).unwrap()
}

fn set(con: &mut Connection, key: &str, len: usize) -> Value {
    con.execute(cmd("SET").arg(key).arg(vec![b'v'; len]))
}

fn there(con: &mut Connection, key: &str) -> bool {
    run(con, &format!("EXISTS {key}")) == Value::Int(1)
}

/// Lets so many bytes of what there is now be too much.
fn shrink_by(store: &Store, con: &mut Connection, bytes: usize) {
    let max = store.used_memory() - bytes;
    assert_eq!(
        run(con, &format!("CONFIG SET maxmemory {max}")),
        Value::Okay
    );
}

fn info(con: &mut Connection, field: &str) -> String {
    let text: String = cmd("INFO").query(con).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.expect("a field of INFO").to_owned()
}

fn text(value: &Value) -> String {
    match value {
        Value::ServerError(error) => {
            format!("{} {}", error.code(), error.details().unwrap_or_default())
        }
        other => format!("{other:?}"),
    }
}

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

#[test]
fn without_memory_or_eviction_the_replies_are_those_of_a_server() {
    let server = Redis::start();
    let mut theirs = redis::Client::open(server.unix_url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut ours = Store::new().connect();
    for line in [
        "SET a 1",
        "SET b 2 EX 1000",
        "RPUSH list x",
        "CONFIG SET maxmemory 1",
        // What takes memory is refused, needed or not.
        "SET a 2",
        "SETNX a 2",
        "SETEX a 10 2",
        "PSETEX a 10 2",
        "GETSET a 2",
        "MSET a 2",
        "MSETNX a 2 c 3",
        "APPEND a 2",
        "SETRANGE a 0 2",
        "INCR a",
        "DECR a",
        "INCRBY a 2",
        "DECRBY a 2",
        "INCRBYFLOAT a 2.5",
        "COPY a c",
        "LPUSH list y",
        "RPUSH list y",
        // Wrong commands are wrong first.
        "SET a",
        "NONSENSE",
        // The rest goes on.
        "GET a",
        "MGET a b",
        "EXPIRE a 100",
        "PERSIST a",
        "GETEX a PERSIST",
        "RENAME a d",
        "GETDEL d",
        "DEL list",
        "TOUCH b",
        "DBSIZE",
        "SELECT 0",
        // Nothing may be queued.
        "MULTI",
        "GET b",
        "DEL b",
        "MULTI",
        "WATCH b",
        "EXEC",
        "MULTI",
        "DISCARD",
        "MULTI",
        "EXEC",
        // What was queued before is refused as a whole, if any of it takes memory.
        "CONFIG SET maxmemory 0",
        "MULTI",
        "SET e 1",
        "DEL b",
    ] {
        assert_eq!(
            text(&run(&mut ours, line)),
            text(&run(&mut theirs, line)),
            "{line}"
        );
    }
    let store = Store::new();
    for (queued, reply) in [
        ("SET e 1", "EXECABORT"),
        ("GET b", "array"),
        ("DEL b", "array"),
    ] {
        let mut ours = store.connect();
        let mut other = store.connect();
        let mut others = redis::Client::open(server.unix_url())
            .unwrap()
            .get_connection()
            .unwrap();
        let pair = [&mut ours as &mut dyn ConnectionLike, &mut theirs];
        let control = [&mut other as &mut dyn ConnectionLike, &mut others];
        let replies = pair.into_iter().zip(control).map(|(con, control)| {
            let mut tell = |line: &str| {
                let args: Vec<&str> = line.split(' ').collect();
                control.req_command(cmd(args[0]).arg(&args[1..])).unwrap()
            };
            let mut ask = |line: &str| {
                let args: Vec<&str> = line.split(' ').collect();
                con.req_command(cmd(args[0]).arg(&args[1..])).unwrap()
            };
            tell("CONFIG SET maxmemory 0");
            tell("SET b 2");
            ask("RESET");
            ask("MULTI");
            ask(queued);
            tell("CONFIG SET maxmemory 1");
            let exec = text(&ask("EXEC"));
            (exec, text(&tell("EXISTS e b")), text(&ask("GET nothing")))
        });
        let replies: Vec<_> = replies.collect();
        assert_eq!(replies[0], replies[1], "{queued}");
        assert!(replies[0].0.starts_with(reply), "{replies:?}");
    }
}

#[test]
fn there_is_memory_again_once_something_is_deleted() {
    let (store, mut con) = bounded(100_000, Policy::NoEviction);
    let mut count = 0;
    while set(&mut con, &format!("key:{count}"), 1000) == Value::Okay {
        count += 1;
    }
    assert!((70..=95).contains(&count), "{count}");
    assert!(store.used_memory() < 102_000);
    assert_eq!(text(&set(&mut con, "key:0", 1)), OOM);
    assert_eq!(run(&mut con, "DEL key:1 key:2 key:3"), Value::Int(3));
    assert_eq!(set(&mut con, "key:0", 1), Value::Okay);
    assert_eq!(info(&mut con, "evicted_keys"), "0");
}

/// Sets two keys, unless told to delete one before.
static SET_TWO: Script = Script::new(
    "
    if ARGV[1] == 'first' then redis.call('DEL', KEYS[3]) end
    redis.call('SET', KEYS[1], ARGV[1])
    return redis.call('SET', KEYS[2], ARGV[1])
    ",
    set_two,
);

fn set_two(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let value = call.args()[0];
    if value == b"first" {
        call.call(&[b"DEL", call.keys()[2]])?;
    }
    call.call(&[b"SET", call.keys()[0], value])?;
    call.call(&[b"SET", call.keys()[1], value])
}

#[test]
fn a_script_without_memory_ends_only_what_it_has_begun() {
    let server = Redis::start();
    let mut theirs = redis::Client::open(server.unix_url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut ours = Store::builder().script(SET_TWO).build().connect();
    let mut both = |args: &[&str]| {
        let ask =
            |con: &mut dyn ConnectionLike| con.req_command(cmd(args[0]).arg(&args[1..])).unwrap();
        let (ours, theirs) = (text(&ask(&mut ours)), text(&ask(&mut theirs)));
        // A server goes on to say in which line of the script.
        assert!(theirs.starts_with(&ours), "{args:?}: {ours}, {theirs}");
        ours
    };
    both(&["SET", "c", "1"]);
    both(&["CONFIG", "SET", "maxmemory", "1"]);
    let mut eval = |value| both(&["EVAL", SET_TWO.lua(), "3", "a", "b", "c", value]);
    assert_eq!(eval("second"), OOM);
    assert_eq!(eval("first"), "ok");
}

#[test]
fn commands_in_one_step_are_refused_together() {
    let (_store, mut con) = bounded(0, Policy::NoEviction);
    run(&mut con, "SET a 1");
    run(&mut con, "CONFIG SET maxmemory 1");
    let refused = con.transaction([&*cmd("DEL").arg("a"), &*cmd("SET").arg("b").arg(1)]);
    assert_eq!(text(&refused), OOM);
    assert!(there(&mut con, "a"));
    let freed = con.transaction([&*cmd("DEL").arg("a")]);
    assert_eq!(freed, Value::Array(vec![Value::Int(1)]));
}

#[test]
fn the_limit_holds_after_every_write() {
    const MAX: usize = 200_000;
    for policy in [
        Policy::AllKeysLru,
        Policy::AllKeysLfu,
        Policy::AllKeysRandom,
        Policy::VolatileLru,
        Policy::VolatileLfu,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
    ] {
        let (store, mut con) = bounded(MAX, policy);
        let mut seed = 1u64;
        for n in 0..5_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n);
            let (key, len) = (seed >> 52, (seed >> 40) as usize % 3_000);
            let value = vec![b'v'; len];
            let reply = match n % 7 {
                0 => con.execute(cmd("APPEND").arg(format!("s{key}")).arg(&value)),
                1 => con.execute(cmd("RPUSH").arg(format!("l{key}")).arg(&value)),
                2 => con.execute(
                    cmd("MSET")
                        .arg(format!("a{key}"))
                        .arg(&value)
                        .arg(key)
                        .arg(&value),
                ),
                _ => con.execute(cmd("SETEX").arg(format!("k{key}")).arg(1000).arg(&value)),
            };
            if !policy.name().starts_with("volatile") {
                assert!(!matches!(reply, Value::ServerError(_)), "{reply:?}");
            }
            // A command that was let in may bring more than there is room for, if nothing else can go: its value
            // twice, and what a list, a text or a table grows ahead by.
            let most = if policy.name().starts_with("volatile") {
                MAX + MAX / 20
            } else {
                MAX
            };
            assert!(
                store.used_memory() <= most,
                "{policy}: {}",
                store.used_memory()
            );
        }
        assert!(store.used_memory() > MAX * 9 / 10, "{policy}");
    }
}

#[test]
fn a_value_larger_than_all_memory_does_not_stay() {
    let (store, mut con) = bounded(50_000, Policy::AllKeysLru);
    assert_eq!(set(&mut con, "large", 60_000), Value::Okay);
    assert!(!there(&mut con, "large"));
    assert_eq!(set(&mut con, "small", 60), Value::Okay);
    assert!(there(&mut con, "small") && store.used_memory() < 50_000);
}

#[test]
fn keys_that_are_used_stay_under_lru() {
    let clock = Clock::manual();
    let (store, mut con) = choosing_from_all(Policy::AllKeysLru, &clock);
    for n in 0..100 {
        set(&mut con, &format!("key:{n}"), 500);
        clock.advance(Duration::from_secs(1));
    }
    for n in 0..10 {
        run(&mut con, &format!("GET key:{n}"));
        // These are no uses.
        run(&mut con, &format!("EXISTS key:{}", n + 10));
        run(&mut con, &format!("TTL key:{}", n + 20));
        run(&mut con, &format!("OBJECT ENCODING key:{}", n + 30));
    }
    shrink_by(&store, &mut con, 40 * 500);
    let gone: Vec<i32> = (0..100)
        .filter(|n| !there(&mut con, &format!("key:{n}")))
        .collect();
    assert!((30..40).contains(&gone.len()), "{gone:?}");
    // The oldest but for those that were used since, and none before another that is older.
    let oldest: Vec<i32> = (10..).take(gone.len()).collect();
    assert_eq!(gone, oldest);
}

#[test]
fn keys_that_are_used_often_survive_a_scan_under_lfu() {
    let clock = Clock::manual();
    let (_, mut con) = choosing_from_all(Policy::AllKeysLfu, &clock);
    run(&mut con, "CONFIG SET maxmemory 100000");
    for n in 0..20 {
        set(&mut con, &format!("hot:{n}"), 500);
        for _ in 0..50 {
            run(&mut con, &format!("GET hot:{n}"));
        }
    }
    for n in 0..500 {
        set(&mut con, &format!("scan:{n}"), 500);
    }
    for n in 0..20 {
        assert!(there(&mut con, &format!("hot:{n}")), "hot:{n}");
    }
    // But not for ever: they age as everything else comes and goes.
    for n in 0..5_000 {
        set(&mut con, &format!("scan:{n}"), 500);
    }
    assert!((0..20).all(|n| !there(&mut con, &format!("hot:{n}"))));
}

#[test]
fn what_would_expire_next_goes_first_under_volatile_ttl() {
    let clock = Clock::manual();
    let (store, mut con) = choosing_from_all(Policy::VolatileTtl, &clock);
    for n in 0..50 {
        let value = vec![b'v'; 500];
        // Neither in the order in which they come nor in the one in which they are used.
        con.execute(cmd("SETEX").arg(n).arg(1_000 + n * 37 % 50).arg(value));
    }
    set(&mut con, "for ever", 500);
    shrink_by(&store, &mut con, 20 * 500);
    let mut gone: Vec<i32> = (0..50)
        .filter(|n| !there(&mut con, &n.to_string()))
        .map(|n| n * 37 % 50)
        .collect();
    gone.sort_unstable();
    assert!((15..20).contains(&gone.len()), "{gone:?}");
    let next: Vec<i32> = (0..).take(gone.len()).collect();
    assert_eq!(gone, next);
    assert!(con.execute(cmd("EXISTS").arg("for ever")) == Value::Int(1));
}

#[test]
fn only_keys_with_a_deadline_go_under_a_volatile_policy() {
    for policy in Policy::ALL {
        if !policy.name().starts_with("volatile") {
            continue;
        }
        let (store, mut con) = bounded(0, policy);
        for n in 0..2_000 {
            set(&mut con, &format!("stays:{n}"), 100);
        }
        for n in 0..100 {
            run(&mut con, &format!("SETEX goes:{n} 1000 value"));
        }
        shrink_by(&store, &mut con, 5_000);
        let evicted: usize = info(&mut con, "evicted_keys").parse().unwrap();
        assert!((1..100).contains(&evicted), "{policy}: {evicted}");
        shrink_by(&store, &mut con, 50_000);
        assert_eq!(text(&run(&mut con, "SET more 1")), OOM, "{policy}");
        assert_eq!(info(&mut con, "evicted_keys"), "100", "{policy}");
        assert!(
            (0..2_000).all(|n| there(&mut con, &format!("stays:{n}"))),
            "{policy}"
        );
    }
}

#[test]
fn any_key_goes_under_a_random_policy() {
    let (store, mut con) = bounded(0, Policy::AllKeysRandom);
    for n in 0..1_000 {
        set(&mut con, &format!("key:{n}"), 100);
    }
    shrink_by(&store, &mut con, 500 * 220);
    let left = |range: std::ops::Range<usize>, con: &mut Connection| {
        range.filter(|n| there(con, &format!("key:{n}"))).count()
    };
    let (old, new) = (left(0..500, &mut con), left(500..1_000, &mut con));
    assert!(
        (150..350).contains(&old) && (150..350).contains(&new),
        "{old}, {new}"
    );
}

#[test]
fn what_expired_goes_first_and_is_no_eviction() {
    for policy in [
        Policy::AllKeysLru,
        Policy::AllKeysLfu,
        Policy::VolatileTtl,
        Policy::NoEviction,
    ] {
        let clock = Clock::manual();
        let (store, mut con) = choosing_from_all(policy, &clock);
        for n in 0..50 {
            set(&mut con, &format!("stays:{n}"), 500);
            run(&mut con, &format!("EXPIRE stays:{n} 1000"));
        }
        for n in 0..50 {
            set(&mut con, &format!("short:{n}"), 500);
            run(&mut con, &format!("EXPIRE short:{n} 1"));
        }
        clock.advance(Duration::from_secs(2));
        shrink_by(&store, &mut con, 10 * 500);
        assert_eq!(set(&mut con, "one more", 100), Value::Okay);
        assert!(
            (0..50).all(|n| there(&mut con, &format!("stays:{n}"))),
            "{policy}"
        );
        assert_eq!(info(&mut con, "evicted_keys"), "0", "{policy}");
        assert_ne!(info(&mut con, "expired_keys"), "0", "{policy}");
        run(&mut con, "CONFIG RESETSTAT");
        assert_eq!(info(&mut con, "expired_keys"), "0", "{policy}");
    }
}

#[test]
fn evictions_are_told_to_subscribers_and_to_who_watches() {
    let (store, mut con) = bounded(0, Policy::AllKeysLru);
    set(&mut con, "old", 1_000);
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let teller = told.clone();
    let _subscription = store.subscribe(move |event| {
        if let Event::Changed { db: 0, keys, by } = event {
            let keys = keys.iter().map(|key| String::from_utf8_lossy(key));
            teller
                .lock()
                .unwrap()
                .extend(keys.map(|key| format!("{key} by {by:?}")));
        }
    });
    let mut watching = store.connect();
    run(&mut watching, "WATCH old");
    shrink_by(&store, &mut con, 1_000);
    assert_eq!(*told.lock().unwrap(), ["old by None"]);
    run(&mut watching, "MULTI");
    assert_eq!(run(&mut watching, "EXEC"), Value::Nil);
    assert_eq!(info(&mut con, "evicted_keys"), "1");
}

#[test]
fn threads_that_write_at_once_stay_within_the_limit() {
    const MAX: usize = 1 << 20;
    let (store, _) = bounded(MAX, Policy::AllKeysLfu);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let mut con = store.connect();
                for n in 0..10_000u32 {
                    let key = n.wrapping_mul(2_654_435_761) >> 18;
                    set(&mut con, &format!("{thread}:{key}"), key as usize % 700);
                    run(&mut con, &format!("GET {thread}:{}", key / 2));
                }
            });
        }
    });
    // In between, what is counted shard by shard was never there at one time.
    let used = store.used_memory();
    assert!((MAX * 9 / 10..=MAX).contains(&used), "{used}");
}

#[test]
fn info_says_what_is_used_and_what_may_be() {
    let (store, mut con) = bounded(3 << 20, Policy::VolatileTtl);
    set(&mut con, "key", 100_000);
    assert_eq!(
        info(&mut con, "used_memory"),
        store.used_memory().to_string()
    );
    let human = format!("{:.2}K", store.used_memory() as f64 / 1024.0);
    assert_eq!(info(&mut con, "used_memory_human"), human);
    assert_eq!(info(&mut con, "maxmemory"), "3145728");
    assert_eq!(info(&mut con, "maxmemory_human"), "3.00M");
    assert_eq!(info(&mut con, "maxmemory_policy"), "volatile-ttl");
    let usage: usize = cmd("MEMORY")
        .arg(&["USAGE", "key"])
        .query(&mut con)
        .unwrap();
    assert!((100_000..105_000).contains(&usage), "{usage}");
    assert_eq!(run(&mut con, "MEMORY USAGE nothing"), Value::Nil);
}

#[test]
fn an_object_tells_how_it_is_used() {
    let clock = Clock::manual();
    let (_store, mut con) = choosing_from_all(Policy::NoEviction, &clock);
    set(&mut con, "key", 10);
    clock.advance(Duration::from_secs(70));
    assert_eq!(run(&mut con, "OBJECT IDLETIME key"), Value::Int(70));
    assert_eq!(run(&mut con, "TOUCH key nothing"), Value::Int(1));
    assert_eq!(run(&mut con, "OBJECT IDLETIME key"), Value::Int(0));
    run(
        &mut con,
        "CONFIG SET maxmemory-policy volatile-lfu lfu-log-factor 0",
    );
    assert_eq!(run(&mut con, "OBJECT FREQ key"), Value::Int(5));
    for _ in 0..10 {
        run(&mut con, "GET key");
    }
    assert_eq!(run(&mut con, "OBJECT FREQ key"), Value::Int(15));
    // A new value is the same key.
    set(&mut con, "key", 20);
    assert_eq!(run(&mut con, "OBJECT FREQ key"), Value::Int(16));
    clock.advance(Duration::from_secs(180));
    assert_eq!(run(&mut con, "OBJECT FREQ key"), Value::Int(13));
    run(&mut con, "CONFIG SET lfu-decay-time 0");
    assert_eq!(run(&mut con, "OBJECT FREQ key"), Value::Int(16));
}

#[test]
fn settings_change_all_at_once_or_not_at_all() {
    let (store, mut con) = bounded(0, Policy::NoEviction);
    run(
        &mut con,
        "CONFIG SET maxmemory 5mb maxmemory-policy nonsense",
    );
    assert_eq!(
        (store.max_memory(), store.policy()),
        (0, Policy::NoEviction)
    );
    run(
        &mut con,
        "CONFIG SET maxmemory 5mb maxmemory-policy allkeys-lfu",
    );
    assert_eq!(
        (store.max_memory(), store.policy()),
        (5 << 20, Policy::AllKeysLfu)
    );
    // In a transaction, all shards are held.
    for line in ["MULTI", "CONFIG SET maxmemory 6mb", "KEYS *", "EXEC"] {
        run(&mut con, line);
    }
    assert_eq!(store.max_memory(), 6 << 20);
}
