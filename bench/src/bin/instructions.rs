//! Counts the instructions of one call, as valgrind's callgrind sees them: README.md, "Instructions a call".
//!
//! Unlike a time, the count is the same on a busy machine. Without arguments every kind of call is counted; with words,
//! those whose names contain one of them. A kind is run twice under callgrind, with few calls and with many: the
//! difference is what the calls take, without what comes before them. What the server and the kernel do is not in it.

use std::process::{Command, Stdio};
use std::sync::LazyLock;

use nearcache::{Cache, Raw, blocking};
use nearcache_embedded::Store;
use nearcache_testkit::{Cluster, ClusterOptions, Redis};
use redis::{Cmd, Value};
use tokio::runtime::Runtime;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Tells a child what to call, and how often.
const KIND: &str = "NEARCACHE_BENCH_KIND";
const CALLS: &str = "NEARCACHE_BENCH_CALLS";

/// How often a child calls, at least and at most.
const FEW: usize = 500;
const MANY: usize = 2_500;

/// How many keys there are, and how many a batch has.
const KEYS: usize = 1_000;
const BATCH: usize = 100;

const VALUE: [u8; 100] = [b'v'; 100];

/// Makes so many calls of a kind.
type Run = fn(usize) -> Result<()>;

/// Each kind, with what runs so many calls of it.
const KINDS: &[(&str, Run)] = &[
    ("store/get", |calls| {
        store(calls, |key| redis::cmd("GET").arg(key).take())
    }),
    ("store/set", |calls| {
        store(calls, |key| redis::cmd("SET").arg(key).arg(&VALUE).take())
    }),
    ("near/get_arc", near),
    ("near/cached", near_cached),
    ("embedded/get", |calls| get(calls, "memory://")),
    ("embedded/get, blocking", |calls| {
        blocking_get(calls, "memory://")
    }),
    ("embedded/set", |calls| set(calls, "memory://")),
    ("embedded/set, blocking", |calls| {
        blocking_set(calls, "memory://")
    }),
    ("embedded/get_many", |calls| get_many(calls, "memory://")),
    ("embedded/set_many", |calls| set_many(calls, "memory://")),
    ("embedded/remember", |calls| remember(calls, "memory://")),
    ("redis/get", |calls| get(calls, &redis())),
    ("redis/get, blocking", |calls| blocking_get(calls, &redis())),
    ("redis/set", |calls| set(calls, &redis())),
    ("redis/set, blocking", |calls| blocking_set(calls, &redis())),
    ("redis/get, 64 tasks", |calls| tasks(calls, "GET")),
    ("redis/set, 64 tasks", |calls| tasks(calls, "SET")),
    ("redis/get_many", |calls| get_many(calls, &redis())),
    ("redis/set_many", |calls| set_many(calls, &redis())),
    ("cluster/get", |calls| get(calls, &cluster().url())),
    ("cluster/set", |calls| set(calls, &cluster().url())),
    ("cluster/get_many", |calls| {
        get_many(calls, &cluster().url())
    }),
    ("cluster/set_many", |calls| {
        set_many(calls, &cluster().url())
    }),
    ("redis-rs/get", |calls| peer(calls, "GET")),
    ("redis-rs/get, blocking", |calls| {
        blocking_peer(calls, "GET")
    }),
    ("redis-rs/set", |calls| peer(calls, "SET")),
    ("redis-rs/set, blocking", |calls| {
        blocking_peer(calls, "SET")
    }),
    ("redis-rs/get, 64 tasks", |calls| peer_tasks(calls, "GET")),
    ("redis-rs/set, 64 tasks", |calls| peer_tasks(calls, "SET")),
    ("redis-rs/get, cluster", |calls| {
        peer_on_a_cluster(calls, "GET")
    }),
    ("redis-rs/set, cluster", |calls| {
        peer_on_a_cluster(calls, "SET")
    }),
];

/// Three primaries. They end with the process.
fn cluster() -> &'static Cluster {
    static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
        Cluster::start_with(ClusterOptions {
            replicas: 0,
            ..ClusterOptions::default()
        })
    });
    &CLUSTER
}

fn main() -> Result<()> {
    if let Ok(kind) = std::env::var(KIND) {
        let calls = std::env::var(CALLS)?.parse()?;
        let found = KINDS.iter().find(|(name, _)| *name == kind);
        let (_, run) = found.ok_or("no such kind")?;
        return run(calls);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    println!("{:<28}{:>14}", "", "instructions");
    for (kind, _) in KINDS {
        if words.is_empty() || words.iter().any(|word| kind.contains(word.as_str())) {
            let of = counted(kind, MANY)? - counted(kind, FEW)?;
            println!("{kind:<28}{:>14}", of / (MANY - FEW) as u64);
        }
    }
    Ok(())
}

/// How many instructions so many calls take, with all that comes before them.
fn counted(kind: &str, calls: usize) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .env(KIND, kind)
        .env(CALLS, calls.to_string())
        .stdout(Stdio::null());
    let output = valgrind
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{kind}: {said}").into());
    }
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.ok_or_else(|| format!("{kind}: valgrind does not count: {said}"))?;
    Ok(count.trim().parse()?)
}

/// A server, with a timeout for what takes fifty times as long as usual.
fn redis() -> String {
    format!("{}?timeout=60s", Redis::shared().url())
}

fn keys() -> Vec<String> {
    (0..KEYS).map(|id| format!("bench:{id:08}")).collect()
}

/// One thread, which also drives the connection.
fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

fn check(found: Option<&Raw>) -> Result<()> {
    match found {
        Some(value) if value.0.len() == VALUE.len() => Ok(()),
        other => Err(format!("{other:?} in place of a value").into()),
    }
}

fn filled(url: &str, keys: &[String]) -> Result<blocking::Cache> {
    let cache = blocking::Cache::open(url)?;
    for key in keys {
        cache.set(key, &Raw(VALUE)).run()?;
    }
    Ok(cache)
}

fn get(calls: usize, url: &str) -> Result<()> {
    let keys = keys();
    runtime()?.block_on(async {
        let cache = filled(url, &keys)?.asynchronous()?;
        for key in keys.iter().cycle().take(calls) {
            check(cache.get(key).await?.as_ref())?;
        }
        Ok(())
    })
}

fn blocking_get(calls: usize, url: &str) -> Result<()> {
    let keys = keys();
    let cache = filled(url, &keys)?;
    for key in keys.iter().cycle().take(calls) {
        check(cache.get(key).run()?.as_ref())?;
    }
    Ok(())
}

fn set(calls: usize, url: &str) -> Result<()> {
    let keys = keys();
    runtime()?.block_on(async {
        let cache = filled(url, &keys)?.asynchronous()?;
        for key in keys.iter().cycle().take(calls) {
            cache.set(key, &Raw(VALUE)).await?;
        }
        Ok(())
    })
}

/// The calls of so many tasks at a time.
const TASKS: usize = 64;

fn tasks(calls: usize, name: &'static str) -> Result<()> {
    let keys = keys();
    runtime()?.block_on(async {
        let cache = filled(&redis(), &keys)?.asynchronous()?;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (cache, keys) = (cache.clone(), keys.clone());
            tasks.spawn(async move {
                for key in keys.iter().cycle().skip(task).take(calls / TASKS) {
                    match name {
                        "GET" => check(cache.get(key).await?.as_ref())?,
                        _ => cache.set(key, &Raw(VALUE)).await?,
                    }
                }
                Ok(())
            });
        }
        tasks.join_all().await.into_iter().collect()
    })
}

fn blocking_set(calls: usize, url: &str) -> Result<()> {
    let keys = keys();
    let cache = filled(url, &keys)?;
    for key in keys.iter().cycle().take(calls) {
        cache.set(key, &Raw(VALUE)).run()?;
    }
    Ok(())
}

fn get_many(calls: usize, url: &str) -> Result<()> {
    let keys = keys();
    runtime()?.block_on(async {
        let cache = filled(url, &keys)?.asynchronous()?;
        for batch in keys.chunks(BATCH).cycle().take(calls) {
            let found: Vec<Option<Raw>> = cache.get_many(batch).await?;
            check(found[BATCH - 1].as_ref())?;
        }
        Ok(())
    })
}

fn set_many(calls: usize, url: &str) -> Result<()> {
    let keys = keys();
    runtime()?.block_on(async {
        let cache = filled(url, &keys)?.asynchronous()?;
        for batch in keys.chunks(BATCH).cycle().take(calls) {
            let pairs = batch.iter().map(|key| (key, Raw(VALUE)));
            cache.set_many(pairs).await?;
        }
        Ok(())
    })
}

fn remember(calls: usize, url: &str) -> Result<()> {
    let keys = keys();
    runtime()?.block_on(async {
        let cache = filled(url, &keys)?.asynchronous()?;
        for key in keys.iter().cycle().take(calls) {
            let load = || async { Ok::<_, std::io::Error>(Raw(VALUE.to_vec())) };
            check(Some(&cache.remember(key, load).await?))?;
        }
        Ok(())
    })
}

/// Hits of the near tier.
fn near(calls: usize) -> Result<()> {
    let cache = blocking::Cache::open("memory://?near=1000")?;
    cache.set("near", &VALUE.to_vec()).run()?;
    for _ in 0..calls {
        let found = cache.get_arc::<Vec<u8>>("near").run()?;
        assert_eq!(found.map(|found| found.len()), Some(VALUE.len()));
    }
    Ok(())
}

#[nearcache::cached(cache = cache, key = "user:{id}", ttl = "1h")]
async fn user(cache: &Cache, id: u64) -> Result<String, nearcache::Error> {
    Ok(format!("user {id}"))
}

/// The same, of a function with an attribute.
fn near_cached(calls: usize) -> Result<()> {
    runtime()?.block_on(async {
        let cache = Cache::open("memory://?near=1000")?;
        for id in (0..100).cycle().take(calls) {
            let found = user(&cache, id).await?;
            assert!(found.starts_with("user"));
        }
        Ok(())
    })
}

/// The store alone, with commands built beforehand.
fn store(calls: usize, command: impl Fn(&str) -> Cmd) -> Result<()> {
    let keys = keys();
    let store = Store::new();
    let mut connection = store.connect();
    for key in &keys {
        connection.execute(redis::cmd("SET").arg(key).arg(&VALUE));
    }
    let commands: Vec<Cmd> = keys.iter().map(|key| command(key)).collect();
    for command in commands.iter().cycle().take(calls) {
        connection.execute(command).extract_error()?;
    }
    Ok(())
}

/// redis-rs, which builds the command as well.
fn peer_command(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    if name == "SET" {
        command.arg(&VALUE);
    }
    command
}

fn peer(calls: usize, name: &str) -> Result<()> {
    let keys = keys();
    let url = Redis::shared().url();
    filled(&redis(), &keys)?;
    runtime()?.block_on(async {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        for key in keys.iter().cycle().take(calls) {
            let _: Value = peer_command(name, key).query_async(&mut connection).await?;
        }
        Ok(())
    })
}

fn peer_tasks(calls: usize, name: &'static str) -> Result<()> {
    let keys = keys();
    let url = Redis::shared().url();
    filled(&redis(), &keys)?;
    runtime()?.block_on(async {
        let client = redis::Client::open(url)?;
        let connection = client.get_multiplexed_async_connection().await?;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (mut connection, keys) = (connection.clone(), keys.clone());
            tasks.spawn(async move {
                for key in keys.iter().cycle().skip(task).take(calls / TASKS) {
                    let command = peer_command(name, key);
                    let _: Value = command.query_async(&mut connection).await?;
                }
                Ok(())
            });
        }
        tasks.join_all().await.into_iter().collect()
    })
}

fn peer_on_a_cluster(calls: usize, name: &str) -> Result<()> {
    let (keys, cluster) = (keys(), cluster());
    filled(&cluster.url(), &keys)?;
    let nodes = (0..cluster.len()).map(|node| cluster.node(node).url());
    runtime()?.block_on(async {
        let client = redis::cluster::ClusterClient::new(nodes)?;
        let mut connection = client.get_async_connection().await?;
        for key in keys.iter().cycle().take(calls) {
            let _: Vec<u8> = peer_command(name, key).query_async(&mut connection).await?;
        }
        Ok(())
    })
}

fn blocking_peer(calls: usize, name: &str) -> Result<()> {
    let keys = keys();
    let url = Redis::shared().url();
    filled(&redis(), &keys)?;
    let mut connection = redis::Client::open(url)?.get_connection()?;
    for key in keys.iter().cycle().take(calls) {
        let _: Value = peer_command(name, key).query(&mut connection)?;
    }
    Ok(())
}
