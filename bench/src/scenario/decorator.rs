//! `#[cached]` compared with the macros of other crates, when every result is in the cache.
//!
//! In this process each thread calls as fast as it can; over Redis each of N tasks waits for its reply. In this
//! process the other crates keep values and clone them; nearcache's embedded store keeps bytes and decodes them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hitbox_fn::Cache as HitboxCache;
use hitbox_fn::prelude::PolicyConfig;
use hitbox_moka::MokaBackend;
use hitbox_redis::{ConnectionMode, RedisBackend};
use nearcache::{Cache, blocking};
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use super::user::User;
use super::{APART, Failed, KEYS};
use crate::Result;
use crate::harness::{Bench, Contender, Sample, Unit, on_threads};

const PEER: &str = "cached";

/// The lowest acceptable speed with a near tier in this process, as a ratio to the peer's.
const GOAL: f64 = 0.8;

/// The clock is read after this many calls in this process.
const AT_ONCE: usize = 64;

const HOUR: Duration = Duration::from_secs(3_600);

#[nearcache::cached(cache = cache, key = "user:{id}", ttl = "1h")]
async fn of_nearcache(cache: &Cache, id: u64) -> Result<User, Failed> {
    Ok(User::load(id))
}

#[nearcache::cached(cache = cache, key = "user:{id}", ttl = "1h")]
fn of_nearcache_blocking(cache: &blocking::Cache, id: u64) -> Result<User, Failed> {
    Ok(User::load(id))
}

#[cached::macros::cached(ttl_secs = 3600)]
async fn of_cached(id: u64) -> Result<User, Failed> {
    Ok(User::load(id))
}

#[cached::macros::concurrent_cached(ttl_secs = 3600)]
fn of_cached_sharded(id: u64) -> Result<User, Failed> {
    Ok(User::load(id))
}

/// The server's address, for stores that a macro opens by itself.
static SERVER: OnceLock<String> = OnceLock::new();

/// The runtime of all tasks, because the connection of such a store lives only as long as the runtime that used it
/// first.
static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();

#[cached::macros::concurrent_cached(
    map_error = r##"|error| Failed(format!("{error:?}"))"##,
    ty = "cached::AsyncRedisCache<u64, User>",
    create = r##"{
        cached::AsyncRedisCache::builder("bench-decorator")
            .ttl(HOUR)
            .connection_string(SERVER.get().expect("a server"))
            .build()
            .await
            .expect("a cache on the run's server")
    }"##
)]
async fn of_cached_redis(id: u64) -> Result<User, Failed> {
    Ok(User::load(id))
}

#[hitbox_fn::cached]
async fn of_hitbox(id: u64) -> Result<User, Failed> {
    Ok(User::load(id))
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for count in [1, 2] {
        let name = format!("decorator/embedded/{}", super::threads(count));
        let unit = Unit::Nanos { threads: count };
        bench.compare(&name, unit, PEER, |_| in_process(count))?;
    }
    for tasks in [1, 8, 64] {
        let plural = if tasks == 1 { "" } else { "s" };
        let name = format!("decorator/redis/{tasks} task{plural}");
        bench.compare(&name, Unit::Rate, PEER, |bench| over_redis(bench, tasks))?;
    }
    Ok(())
}

fn policy() -> PolicyConfig {
    PolicyConfig::builder().ttl(HOUR).build()
}

fn in_process(threads: usize) -> Result<Vec<Contender<'static>>> {
    let cache = Cache::open("memory://")?;
    let near = Cache::builder("memory://").near(2 * KEYS).build()?;
    let blocking = blocking::Cache::open("memory://")?;
    let hitbox = HitboxCache::builder()
        .backend(MokaBackend::builder().max_entries(2 * KEYS as u64).build())
        .policy(policy())
        .build();
    Ok(vec![
        alone("nearcache", threads, async move |id| {
            of_nearcache(&cache, id).await
        })?,
        alone("nearcache, near tier", threads, async move |id| {
            of_nearcache(&near, id).await
        })?
        .goal(GOAL),
        Contender::new("nearcache, blocking", move |span| {
            on_threads(&mut vec![(); threads], span, AT_ONCE, |(), place, calls| {
                for place in place..place + calls {
                    let id = (place % KEYS) as u64;
                    of_nearcache_blocking(&blocking, id)?.check(id)?;
                }
                Ok(())
            })
        }),
        alone(PEER, threads, of_cached)?,
        alone("cached, sharded", threads, async |id| of_cached_sharded(id))?,
        alone("hitbox on moka", threads, async move |id| {
            of_hitbox(id).cache(&hitbox).await
        })?,
    ])
}

fn over_redis(bench: &Bench, tasks: usize) -> Result<Vec<Contender<'static>>> {
    let server = bench.server()?;
    let url = SERVER.get_or_init(|| server.url());
    let runtime = match RUNTIME.get() {
        Some(runtime) => runtime,
        None => {
            let mut builder = runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_all().build()?;
            RUNTIME.get_or_init(|| Arc::new(runtime))
        }
    };
    let cache = runtime.block_on(Cache::connect(url))?;
    let backend = RedisBackend::builder().connection(ConnectionMode::single(url.as_str()));
    let hitbox = HitboxCache::builder()
        .backend(backend.build()?)
        .policy(policy())
        .build();
    Ok(vec![
        together("nearcache", tasks, runtime, move |id| {
            let cache = cache.clone();
            async move { of_nearcache(&cache, id).await }
        })?,
        together(PEER, tasks, runtime, of_cached_redis)?,
        together("hitbox", tasks, runtime, move |id| {
            let hitbox = hitbox.clone();
            async move { of_hitbox(id).cache(&hitbox).await }
        })?,
    ])
}

/// A contender in this process: each of its threads has a runtime.
fn alone(
    name: &'static str,
    threads: usize,
    call: impl AsyncFn(u64) -> Result<User, Failed> + Send + Sync + 'static,
) -> Result<Contender<'static>> {
    let runtimes =
        (0..threads).map(|_| runtime::Builder::new_current_thread().enable_all().build());
    let mut runtimes = runtimes.collect::<Result<Vec<Runtime>, _>>()?;
    runtimes[0].block_on(fill(&call))?;
    Ok(Contender::new(name, move |span| {
        on_threads(&mut runtimes, span, AT_ONCE, |runtime, place, calls| {
            runtime.block_on(async {
                for place in place..place + calls {
                    let id = (place % KEYS) as u64;
                    call(id).await?.check(id)?;
                }
                Ok(())
            })
        })
    }))
}

/// A contender over Redis: its tasks share a runtime.
fn together<C, F>(
    name: &'static str,
    tasks: usize,
    runtime: &Arc<Runtime>,
    call: C,
) -> Result<Contender<'static>>
where
    C: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = Result<User, Failed>> + Send + 'static,
{
    let (runtime, call) = (Arc::clone(runtime), Arc::new(call));
    runtime.block_on(fill(&async |id| call(id).await))?;
    Ok(Contender::new(name, move |span| {
        runtime.block_on(async {
            let start = Instant::now();
            let until = start + span;
            let mut running: JoinSet<Result<u64>> = JoinSet::new();
            for task in 0..tasks {
                let call = Arc::clone(&call);
                running.spawn(async move {
                    let (mut place, mut calls) = (task * APART, 0);
                    while Instant::now() < until {
                        let id = (place % KEYS) as u64;
                        call(id).await?.check(id)?;
                        place += 1;
                        calls += 1;
                    }
                    Ok(calls)
                });
            }
            let mut calls = 0;
            while let Some(asked) = running.join_next().await {
                calls += asked??;
            }
            Ok(Sample {
                calls,
                elapsed: start.elapsed(),
            })
        })
    }))
}

/// Runs each function once for each key, so that all results are in the cache.
async fn fill(call: &impl AsyncFn(u64) -> Result<User, Failed>) -> Result<()> {
    for id in 0..KEYS as u64 {
        call(id).await?.check(id)?;
    }
    Ok(())
}
