//! The program of a contender's process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cached::ConcurrentCachedAsync;
use hitbox::concurrency::BroadcastConcurrencyManager;
use hitbox::policy::{ConcurrencyLimit, PolicyConfig};
use hitbox_fn::{Cache as HitboxCache, CacheableResponse};
use hitbox_redis::{ConnectionMode, RedisBackend};
use nearcache::Cache;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Result;
use crate::scenario::{Failed, process};

pub(super) const CONTENDERS: [&str; 4] = ["nearcache", "redis-rs by hand", "cached", "hitbox"];

/// There are 500 in four processes.
const TASKS: usize = 125;
const ROUNDS: u64 = 20;
const CALLS: u64 = 10;

/// How long the source takes to answer.
const LOAD: Duration = Duration::from_millis(100);

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_secs(3_600);

/// The keys: one for the warm-up, and one for the measurement.
const WARM: u64 = 0;
const ASKED: u64 = 1;

/// The source: a database with one value.
struct Source {
    value: AtomicU64,
    loads: AtomicU64,
    /// Whether a load pauses after it has read the value.
    holds: AtomicBool,
    begun: Notify,
    go_on: Notify,
}

static SOURCE: Source = Source {
    value: AtomicU64::new(0),
    loads: AtomicU64::new(0),
    holds: AtomicBool::new(false),
    begun: Notify::const_new(),
    go_on: Notify::const_new(),
};

#[derive(Clone, Debug, Serialize, Deserialize, CacheableResponse)]
struct Answer {
    value: u64,
}

async fn load(id: u64) -> Result<Answer, Failed> {
    let value = SOURCE.value.load(Ordering::SeqCst);
    if id != WARM {
        SOURCE.loads.fetch_add(1, Ordering::SeqCst);
    }
    if SOURCE.holds.load(Ordering::SeqCst) {
        SOURCE.begun.notify_one();
        SOURCE.go_on.notified().await;
    } else {
        tokio::time::sleep(LOAD).await;
    }
    Ok(Answer { value })
}

/// The server's address, for the store that a macro opens by itself.
static SERVER: OnceLock<String> = OnceLock::new();

#[cached::macros::concurrent_cached(
    map_error = r##"|error| Failed(format!("{error:?}"))"##,
    ty = "cached::AsyncRedisCache<u64, Answer>",
    create = r##"{
        cached::AsyncRedisCache::builder("promises")
            .ttl(HOUR)
            .connection_string(SERVER.get().expect("a server"))
            .build()
            .await
            .expect("a cache on the server")
    }"##
)]
async fn of_cached(id: u64) -> Result<Answer, Failed> {
    load(id).await
}

#[hitbox_fn::cached]
async fn of_hitbox(id: u64) -> Result<Answer, Failed> {
    load(id).await
}

type Hitbox = HitboxCache<RedisBackend, BroadcastConcurrencyManager<Result<Answer, Failed>>>;

#[derive(Clone)]
enum Contender {
    Nearcache(Cache),
    ByHand(MultiplexedConnection),
    Cached,
    Hitbox(Hitbox, MultiplexedConnection),
}

impl Contender {
    async fn open(name: &str, url: &str) -> Result<Self> {
        let connection = async || {
            let client = redis::Client::open(url)?;
            client.get_multiplexed_async_connection().await
        };
        Ok(match name {
            "nearcache" => Contender::Nearcache(Cache::connect(url).await?),
            "redis-rs by hand" => Contender::ByHand(connection().await?),
            "cached" => Contender::Cached,
            "hitbox" => {
                let backend = RedisBackend::builder().connection(ConnectionMode::single(url));
                let one = ConcurrencyLimit::new(1).ok_or("1 is a limit")?;
                let cache = HitboxCache::builder()
                    .backend(backend.build()?)
                    .policy(PolicyConfig::builder().ttl(HOUR).concurrency(one).build())
                    .concurrency_manager(BroadcastConcurrencyManager::new())
                    .build();
                Contender::Hitbox(cache, connection().await?)
            }
            name => return Err(format!("there is no contender {name}").into()),
        })
    }

    async fn read(&self, id: u64) -> Result<u64> {
        let answer = match self {
            Contender::Nearcache(cache) => {
                let key = format!("answer:{id}");
                cache.remember(key, move || load(id)).ttl(HOUR).await?
            }
            Contender::ByHand(connection) => {
                // If Redis fails it goes on without it, as hand-written code does.
                let mut connection = connection.clone();
                let key = format!("answer:{id}");
                match connection.get::<_, Option<String>>(&key).await {
                    Ok(Some(text)) => serde_json::from_str(&text)?,
                    _ => {
                        let answer = load(id).await?;
                        let text = serde_json::to_string(&answer)?;
                        let _: Result<(), _> = connection.set_ex(&key, text, HOUR.as_secs()).await;
                        answer
                    }
                }
            }
            Contender::Cached => of_cached(id).await?,
            Contender::Hitbox(cache, _) => of_hitbox(id).cache(cache).await?,
        };
        Ok(answer.value)
    }

    async fn invalidate(&self, id: u64) -> Result<()> {
        match self {
            Contender::Nearcache(cache) => {
                cache.delete(format!("answer:{id}")).await?;
            }
            Contender::ByHand(connection) => {
                let mut connection = connection.clone();
                let _: u64 = connection.del(format!("answer:{id}")).await?;
            }
            Contender::Cached => {
                let cache = OF_CACHED.get().ok_or("it was called before")?;
                let _ = cache.async_cache_remove(&id).await?;
            }
            // hitbox offers no way from a function's arguments to its key, so everything is deleted.
            Contender::Hitbox(_, connection) => {
                let () = redis::cmd("FLUSHALL")
                    .query_async(&mut connection.clone())
                    .await?;
            }
        }
        Ok(())
    }
}

/// Runs as `WHAT,CONTENDER,URL`: prints a line when it is connected, waits for the signal to start, and prints its
/// figures.
pub(in super::super) fn run(told: &str) -> Result<()> {
    let mut parts = told.splitn(3, ',');
    let (Some(what), Some(name), Some(url)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("only the benchmark starts such a process".into());
    };
    SERVER.get_or_init(|| url.to_owned());
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let contender = Contender::open(name, url).await?;
        contender.read(WARM).await?;
        process::ready()?;
        match what {
            "stampede" => println!("{}", stampede(&contender).await?),
            "stale" => println!("{}", stale(&contender).await?),
            "hanging" => {
                let (seconds, failed) = hanging(&contender).await;
                println!("{seconds}\n{failed}");
            }
            what => return Err(format!("there is no {what}").into()),
        }
        // Waits until it is killed.
        process::wait()
    })
}

async fn stampede(contender: &Contender) -> Result<u64> {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let contender = contender.clone();
        tasks.spawn(async move { contender.read(ASKED).await });
    }
    while let Some(answer) = tasks.join_next().await {
        answer??;
    }
    Ok(SOURCE.loads.load(Ordering::SeqCst))
}

async fn stale(contender: &Contender) -> Result<u64> {
    let mut stale = 0;
    for round in 1..=ROUNDS {
        contender.invalidate(ASKED).await?;
        SOURCE.holds.store(true, Ordering::SeqCst);
        let reader = contender.clone();
        let first = tokio::spawn(async move { reader.read(ASKED).await });
        SOURCE.begun.notified().await;
        // The load has read the value, and has not stored it yet. Now the source changes, and then the key is
        // invalidated.
        SOURCE.value.store(round, Ordering::SeqCst);
        contender.invalidate(ASKED).await?;
        SOURCE.holds.store(false, Ordering::SeqCst);
        SOURCE.go_on.notify_one();
        first.await??;
        stale += u64::from(contender.read(ASKED).await? != round);
    }
    Ok(stale)
}

async fn hanging(contender: &Contender) -> (f64, u64) {
    let begun = Instant::now();
    let mut failed = 0;
    for call in 0..CALLS {
        let read = contender.read(ASKED + call);
        let answered = tokio::time::timeout(PATIENCE, read).await;
        failed += u64::from(!matches!(answered, Ok(Ok(_))));
    }
    // The source's own time is not the cache's.
    let loading = LOAD * SOURCE.loads.load(Ordering::SeqCst) as u32;
    let took = begun.elapsed().saturating_sub(loading);
    (took.as_secs_f64(), failed)
}
