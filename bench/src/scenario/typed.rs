//! A struct that serde encodes, in Redis: what `cached`'s cache in Redis does, and redis-rs with serde_json by hand.
//!
//! Each has its default format: JSON here, MessagePack in `cached`. A set stores with a TTL of an hour. `cached` also
//! reads the value that it replaces; nearcache also ends a load of the key that runs meanwhile.

use std::time::Duration;

use cached::{AsyncRedisCache, ConcurrentCachedAsync};
use nearcache::Cache;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::tasks::{Caller, contender, runtime};
use super::user::{User, user};
use super::{KEYS, Verb, key, name, tasks};
use crate::Result;
use crate::harness::{Bench, Contender, Unit};

const PEER: &str = "cached";

/// The lowest acceptable speed of nearcache, as a ratio to the peer's.
const GOAL: f64 = 1.6;

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for verb in [Verb::Get, Verb::Set] {
        for count in [1, 64] {
            let name = format!("typed/{}/{}", verb.name(), tasks(count));
            bench.compare(&name, Unit::Rate, PEER, |bench| {
                contenders(bench, verb, count)
            })?;
        }
    }
    Ok(())
}

fn contenders(bench: &Bench, verb: Verb, tasks: usize) -> Result<Vec<Contender<'static>>> {
    let server = bench.server()?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let cache = Cache::builder(&server.url()).prefix("typed").build()?;
        let peer = AsyncRedisCache::builder("bench-typed")
            .ttl(HOUR)
            .connection_string(&server.url())
            .build()
            .await?;
        let raw = server.client()?.get_multiplexed_async_connection().await?;
        let (mut one, mut two, mut three) = (
            Typed(cache, Verb::Set),
            Typed(peer, Verb::Set),
            Typed(raw, Verb::Set),
        );
        for place in 0..KEYS {
            one.call(place).await?;
            two.call(place).await?;
            three.call(place).await?;
        }
        let mut nearcache = contender("nearcache", Typed(one.0, verb), tasks, &runtime);
        if tasks == 64 {
            nearcache = nearcache.goal(GOAL);
        }
        Ok(vec![
            nearcache,
            contender(PEER, Typed(two.0, verb), tasks, &runtime),
            contender(
                "redis-rs, serde_json",
                Typed(three.0, verb),
                tasks,
                &runtime,
            ),
        ])
    })
}

#[derive(Clone)]
struct Typed<C>(C, Verb);

impl<C: Users> Caller for Typed<C> {
    async fn call(&mut self, place: usize) -> Result<()> {
        match self.1 {
            Verb::Set => self.0.set(place).await,
            _ => {
                let found = self.0.get(place).await?;
                found.ok_or("a user is missing")?.check_at(place)
            }
        }
    }
}

/// A cache of users.
trait Users: Clone + Send + 'static {
    fn get(&mut self, place: usize) -> impl Future<Output = Result<Option<User>>> + Send;

    fn set(&mut self, place: usize) -> impl Future<Output = Result<()>> + Send;
}

impl Users for Cache {
    async fn get(&mut self, place: usize) -> Result<Option<User>> {
        Ok(Cache::get(self, key(place)).await?)
    }

    async fn set(&mut self, place: usize) -> Result<()> {
        Ok(Cache::set(self, key(place), user(place)).ttl(HOUR).await?)
    }
}

impl Users for AsyncRedisCache<String, User> {
    async fn get(&mut self, place: usize) -> Result<Option<User>> {
        Ok(self.async_cache_get(name(place)).await?)
    }

    async fn set(&mut self, place: usize) -> Result<()> {
        self.async_cache_set(name(place).clone(), user(place).clone())
            .await?;
        Ok(())
    }
}

impl Users for MultiplexedConnection {
    async fn get(&mut self, place: usize) -> Result<Option<User>> {
        let text: Option<Vec<u8>> = AsyncCommands::get(self, key(place)).await?;
        Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?)
    }

    async fn set(&mut self, place: usize) -> Result<()> {
        let text = serde_json::to_vec(user(place))?;
        Ok(self.set_ex(key(place), text, HOUR.as_secs()).await?)
    }
}
