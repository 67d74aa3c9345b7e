//! A hit in the process, in front of Redis: nearcache's near tier and other caches of values, without and with a Redis
//! behind them.
//!
//! All entries are there. Each thread reads as fast as it can, all on one cache, by keys that go round. `get_arc` shares
//! a value; `get` clones a struct with a text of 100 bytes. quick_cache, on which the near tier stands, looks a key up
//! and clones the value, and nothing else: no TTL, no statistics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cached::{ConcurrentCached, ShardedLruTtlCache};
use multi_tier_cache::{
    Bytes, CacheStrategy, CacheSystem, CacheSystemBuilder, MokaCacheConfig, RedisCache,
};
use nearcache::{Cache, blocking};
use tokio::runtime::{self, Runtime};

use super::user::{User, user};
use super::{KEYS, key, name};
use crate::Result;
use crate::harness::{Bench, Contender, Unit, on_threads};

const PEER: &str = "quick_cache";

/// The lowest acceptable speed of nearcache: 1.5 times the peer's time.
const GOAL: f64 = 1.0 / 1.5;

/// How many entries each cache may have: more than there are, so that none is evicted.
const ROOM: usize = 2 * KEYS;

const HOUR: Duration = Duration::from_secs(3_600);

const MISSING: &str = "a user is missing";

/// The clock is read after this many calls.
const AT_ONCE: usize = 256;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for threads in [1, 2] {
        let plural = super::threads(threads);
        let unit = Unit::Nanos { threads };
        bench.compare(&format!("near/get_arc/{plural}"), unit, PEER, |bench| {
            shared(&Setting::new(bench, threads)?)
        })?;
        bench.compare(&format!("near/get/{plural}"), unit, PEER, |bench| {
            cloned(&Setting::new(bench, threads)?)
        })?;
    }
    Ok(())
}

/// What all contenders get.
struct Setting {
    url: String,
    threads: usize,
    /// Its workers carry connections. The threads that are measured are others.
    runtime: Arc<Runtime>,
}

impl Setting {
    fn new(bench: &Bench, threads: usize) -> Result<Self> {
        let mut runtime = runtime::Builder::new_multi_thread();
        Ok(Setting {
            url: bench.server()?.url(),
            threads,
            runtime: Arc::new(runtime.worker_threads(1).enable_all().build()?),
        })
    }

    /// A contender whose calls are blocking. Each call checks what it has read.
    fn blocking(
        &self,
        name: &'static str,
        call: impl Fn(usize) -> Result<()> + Sync + 'static,
    ) -> Contender<'static> {
        let mut callers = vec![(); self.threads];
        Contender::new(name, move |span| {
            on_threads(&mut callers, span, AT_ONCE, |(), place, calls| {
                (place..place + calls).try_for_each(&call)
            })
        })
    }

    /// The same for calls that are futures.
    fn asynchronous(
        &self,
        name: &'static str,
        call: impl AsyncFn(usize) -> Result<()> + Sync + 'static,
    ) -> Contender<'static> {
        let runtime = Arc::clone(&self.runtime);
        let mut callers = vec![(); self.threads];
        Contender::new(name, move |span| {
            on_threads(&mut callers, span, AT_ONCE, |(), place, calls| {
                runtime.block_on(async {
                    for place in place..place + calls {
                        call(place).await?;
                    }
                    Ok(())
                })
            })
        })
    }

    /// A cache with a near tier that has every user.
    fn nearcache(&self, url: &str) -> Result<Cache> {
        self.runtime.block_on(async {
            let cache = Cache::builder(url).prefix("near").near(ROOM).build()?;
            for place in 0..KEYS {
                cache.set(key(place), user(place)).ttl(HOUR).await?;
            }
            warm(
                || cache.stats().near_hits,
                async || {
                    for place in 0..KEYS {
                        let found: Option<User> = cache.get(key(place)).await?;
                        found.ok_or(MISSING)?.check_at(place)?;
                    }
                    Ok(())
                },
            )
            .await?;
            Ok(cache)
        })
    }

    fn nearcache_blocking(&self) -> Result<blocking::Cache> {
        let builder = blocking::Cache::builder(&self.url).prefix("near-blocking");
        let cache = builder.near(ROOM).build()?;
        for place in 0..KEYS {
            cache.set(key(place), user(place)).ttl(HOUR).run()?;
        }
        self.runtime.block_on(warm(
            || cache.stats().near_hits,
            async || {
                for place in 0..KEYS {
                    let found: Option<User> = cache.get(key(place)).run()?;
                    found.ok_or(MISSING)?.check_at(place)?;
                }
                Ok(())
            },
        ))?;
        Ok(cache)
    }

    fn multi_tier_cache(&self) -> Result<CacheSystem> {
        self.runtime.block_on(async {
            let second = RedisCache::with_url(&self.url).await?;
            let system = CacheSystemBuilder::new()
                .with_moka_config(MokaCacheConfig {
                    max_capacity: ROOM as u64,
                    time_to_live: HOUR,
                    time_to_idle: HOUR,
                })
                .with_l2(Arc::new(second))
                .build()
                .await?;
            for place in 0..KEYS {
                let text = Bytes::from(serde_json::to_vec(user(place))?);
                let manager = system.cache_manager();
                manager
                    .set_with_strategy(key(place), text, CacheStrategy::Custom(HOUR))
                    .await?;
            }
            Ok(system)
        })
    }
}

/// Reads everything until all of it comes from the near tier. At first the server may not yet tell of changes.
async fn warm(hits: impl Fn() -> u64, read: impl AsyncFn() -> Result<()>) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let before = hits();
        read().await?;
        if hits() - before == KEYS as u64 {
            return Ok(());
        }
        if Instant::now() > until {
            return Err("the near tier does not have everything".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The contenders that share a value.
fn shared(setting: &Setting) -> Result<Vec<Contender<'static>>> {
    let mut contenders = peers(setting, |user| Arc::new(user.clone()), |user| user)?;
    let (redis, memory) = (
        setting.nearcache(&setting.url)?,
        setting.nearcache("memory://")?,
    );
    let (one, two) = (redis.clone(), memory.clone());
    let sync = setting.nearcache_blocking()?;
    let three = sync.clone();
    let read = async |cache: &Cache, place| {
        let found: Option<Arc<User>> = cache.get_arc(key(place)).await?;
        found.ok_or(MISSING)?.check_at(place)
    };
    contenders.insert(
        1,
        all_near(
            setting.asynchronous("nearcache", async move |place| read(&one, place).await),
            move || redis.stats().near_hits,
        ),
    );
    contenders.insert(
        2,
        all_near(
            setting.blocking("nearcache, blocking", move |place| {
                let found: Option<Arc<User>> = three.get_arc(key(place)).run()?;
                found.ok_or(MISSING)?.check_at(place)
            }),
            move || sync.stats().near_hits,
        ),
    );
    contenders.insert(
        3,
        all_near(
            setting.asynchronous("nearcache, memory://", async move |place| {
                read(&two, place).await
            }),
            move || memory.stats().near_hits,
        ),
    );
    let foyer = foyer();
    contenders.push(setting.blocking("foyer", move |place| {
        foyer.get(name(place)).ok_or(MISSING)?.check_at(place)
    }));
    let system = setting.multi_tier_cache()?;
    let length = |place| serde_json::to_vec(user(place)).map(|text| text.len());
    let lengths = (0..KEYS).map(length).collect::<Result<Vec<usize>, _>>()?;
    contenders.push(
        setting.asynchronous("multi-tier-cache, bytes", async move |place| {
            let found = system.cache_manager().get(key(place)).await?;
            super::check(found.ok_or(MISSING)?.len(), lengths[place % KEYS])
        }),
    );
    Ok(contenders)
}

/// The contenders that give each caller a value of its own.
fn cloned(setting: &Setting) -> Result<Vec<Contender<'static>>> {
    let mut contenders = peers(setting, User::clone, |user| user)?;
    let (redis, memory) = (
        setting.nearcache(&setting.url)?,
        setting.nearcache("memory://")?,
    );
    let (one, two) = (redis.clone(), memory.clone());
    let sync = setting.nearcache_blocking()?;
    let three = sync.clone();
    let read = async |cache: &Cache, place| {
        let found: Option<User> = cache.get(key(place)).await?;
        found.ok_or(MISSING)?.check_at(place)
    };
    contenders.insert(
        1,
        all_near(
            setting.asynchronous("nearcache", async move |place| read(&one, place).await),
            move || redis.stats().near_hits,
        ),
    );
    contenders.insert(
        2,
        all_near(
            setting.blocking("nearcache, blocking", move |place| {
                let found: Option<User> = three.get(key(place)).run()?;
                found.ok_or(MISSING)?.check_at(place)
            }),
            move || sync.stats().near_hits,
        ),
    );
    contenders.insert(
        3,
        all_near(
            setting.asynchronous("nearcache, memory://", async move |place| {
                read(&two, place).await
            }),
            move || memory.stats().near_hits,
        ),
    );
    let foyer = foyer();
    contenders.push(setting.blocking("foyer", move |place| {
        let found = foyer.get(name(place)).ok_or(MISSING)?.value().clone();
        found.check_at(place)
    }));
    let system = setting.multi_tier_cache()?;
    contenders.push(
        setting.asynchronous("multi-tier-cache, decoded", async move |place| {
            let found: Option<User> = system.cache_manager().get_typed(key(place)).await?;
            found.ok_or(MISSING)?.check_at(place)
        }),
    );
    Ok(contenders)
}

/// The peers that keep values as they are.
fn peers<V: Clone + Send + Sync + 'static>(
    setting: &Setting,
    of: impl Fn(&User) -> V,
    seen: fn(&V) -> &User,
) -> Result<Vec<Contender<'static>>> {
    let all = || (0..KEYS).map(|place| (name(place).clone(), of(user(place))));
    let check = move |found: Option<V>, place| seen(&found.ok_or(MISSING)?).check_at(place);

    let quick = quick_cache::sync::Cache::new(ROOM);
    let sync = moka::sync::Cache::builder()
        .max_capacity(ROOM as u64)
        .time_to_live(HOUR)
        .build();
    let future = moka::future::Cache::builder()
        .max_capacity(ROOM as u64)
        .time_to_live(HOUR)
        .build();
    let sharded = ShardedLruTtlCache::builder()
        .max_size(ROOM)
        .ttl(HOUR)
        .build()?;
    let options = amalgam::EntryOptions::new(HOUR);
    let amalgam = amalgam::Cache::builder()
        .default_options(options)
        .max_capacity(ROOM as u64)
        .try_build()?;
    for (key, value) in all() {
        quick.insert(key.clone(), value.clone());
        sync.insert(key.clone(), value.clone());
        sharded.cache_set(key.clone(), value.clone())?;
        setting.runtime.block_on(async {
            future.insert(key.clone(), value.clone()).await;
            amalgam.set(key, value).await
        })?;
    }
    Ok(vec![
        setting.blocking(PEER, move |place| check(quick.get(key(place)), place)),
        setting.blocking("moka", move |place| check(sync.get(key(place)), place)),
        setting.asynchronous("moka, future", async move |place| {
            check(future.get(key(place)).await, place)
        }),
        setting.blocking("cached, sharded", move |place| {
            check(sharded.cache_get(name(place))?, place)
        }),
        setting.asynchronous("amalgam-cache", async move |place| {
            check(amalgam.try_get(key(place)).await?, place)
        }),
    ])
}

/// Its handle shares the entry, so it keeps the user itself.
fn foyer() -> foyer_memory::Cache<String, User> {
    let cache = foyer_memory::CacheBuilder::new(ROOM).build();
    for place in 0..KEYS {
        cache.insert(name(place).clone(), user(place).clone());
    }
    cache
}

/// A contender whose calls must all be near hits: otherwise the measurement fails. It has nearcache's goal.
fn all_near(contender: Contender<'static>, hits: impl Fn() -> u64 + 'static) -> Contender<'static> {
    let mut before = hits();
    let contender = contender.checked(move |sample| {
        let found = hits() - before;
        before += found;
        match found == sample.calls {
            true => Ok(()),
            false => Err(format!("{found} of {} calls were near hits", sample.calls).into()),
        }
    });
    contender.goal(GOAL)
}
