//! Bounds of `memory://`: what a cache does when its store is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nearcache::{Cache, ErrorKind, Raw, Result};
use nearcache_embedded::{Policy, Store};

#[tokio::test]
async fn a_full_store_that_evicts_nothing_refuses_what_takes_memory() -> Result<()> {
    let cache = Cache::open("memory://?maxmemory=64kb&policy=noeviction")?;
    let mut count = 0;
    let refused = loop {
        match cache.set(format!("key:{count}"), &Raw([1; 1_000])).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!((30..60).contains(&count), "{count}");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let text = refused.to_string();
    assert!(
        text.contains("used memory > 'maxmemory'") && text.contains("memory://"),
        "{text}"
    );
    // It is read from all the same, loaders run, and there is room again after a deletion.
    assert_eq!(
        cache.get::<Raw>("key:0").await?.map(|raw| raw.0.len()),
        Some(1_000)
    );
    let loaded = cache
        .remember("new", async || Ok::<_, nearcache::Error>(7))
        .await?;
    assert_eq!(loaded, 7);
    assert!(cache.delete("key:0").await? && cache.delete("key:1").await?);
    cache.set("new", &7).await
}

#[tokio::test]
async fn a_full_store_goes_on_without_what_is_used_least() -> Result<()> {
    let cache = Cache::open("memory://?maxmemory=100kb")?;
    cache.set("hot", &1).await?;
    for n in 0..2_000 {
        assert_eq!(cache.get("hot").await?, Some(1), "{n}");
        cache.set(format!("key:{n}"), &Raw([1; 500])).await?;
    }
    let left: usize = {
        let mut left = 0;
        for n in 0..2_000 {
            left += usize::from(cache.contains(format!("key:{n}")).await?);
        }
        left
    };
    assert!((80..200).contains(&left), "{left}");
    Ok(())
}

#[tokio::test]
async fn a_named_store_has_one_bound() -> Result<()> {
    let first = Cache::open("memory://one-bound?maxmemory=1mb&policy=allkeys-lru")?;
    first.set("key", &1).await?;
    for same in [
        "memory://one-bound",
        "memory://one-bound?maxmemory=1024kb",
        "memory://one-bound?policy=allkeys-lru&maxmemory=1mb",
    ] {
        assert_eq!(Cache::open(same)?.get("key").await?, Some(1), "{same}");
    }
    for other in [
        "memory://one-bound?maxmemory=2mb",
        "memory://one-bound?policy=allkeys-lfu",
    ] {
        let error = Cache::open(other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let text = error.to_string();
        assert!(
            text.contains("maxmemory=1048576 and policy=allkeys-lru"),
            "{text}"
        );
    }
    drop(first);
    Ok(())
}

#[test]
fn a_store_of_the_callers_own_has_its_own_bounds() {
    let store = Store::new();
    let build = |url| Cache::builder(url).store(&store).build();
    assert!(build("memory://").is_ok());
    let error = build("memory://?maxmemory=1mb").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

const KEYS: usize = 12;

/// Numbers that only grow, cached under keys with a tag each; what must be seen is what was there when
/// the last invalidation returned.
struct Source {
    numbers: [AtomicU64; KEYS],
    acknowledged: [AtomicU64; KEYS],
}

impl Source {
    async fn write(&self, cache: &Cache, round: usize) -> Result<()> {
        let at = round % KEYS;
        let number = self.numbers[at].fetch_add(1, Ordering::SeqCst) + 1;
        if (round / KEYS).is_multiple_of(2) {
            cache.delete(format!("key:{at}")).await?;
        } else {
            cache.invalidate_tag(format!("tag:{at}")).await?;
        }
        self.acknowledged[at].fetch_max(number, Ordering::SeqCst);
        Ok(())
    }

    async fn read(self: &Arc<Self>, cache: &Cache, at: usize) -> Result<()> {
        let least = self.acknowledged[at].load(Ordering::SeqCst);
        let source = self.clone();
        let number: u64 = cache
            .remember(format!("key:{at}"), async move || {
                let number = source.numbers[at].load(Ordering::SeqCst);
                // Others come in between.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                Ok::<_, nearcache::Error>(number)
            })
            .tags([format!("tag:{at}")])
            .ttl("1h")
            .await?;
        assert!(
            number >= least,
            "key:{at}: {number}, but {least} was acknowledged"
        );
        Ok(())
    }
}

/// Leases, counters of tags and entries are evicted at any moment here: an absent lease fails the fill that
/// relied on it, and an absent counter is one that the entry does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stale_is_served_while_leases_and_counters_are_evicted() -> Result<()> {
    for policy in [
        Policy::AllKeysLfu,
        Policy::AllKeysLru,
        Policy::AllKeysRandom,
        Policy::VolatileTtl,
    ] {
        let store = Store::builder().max_memory(64 << 10).policy(policy).build();
        let cache = Cache::builder("memory://")
            .store(&store)
            .prefix("app")
            .build()?;
        let source = Arc::new(Source {
            numbers: Default::default(),
            acknowledged: Default::default(),
        });
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..6 {
            let (cache, source) = (cache.clone(), source.clone());
            tasks.spawn(async move {
                for round in 0..600 {
                    match task {
                        0 => source.write(&cache, round * 5).await?,
                        // As much as evicts everything else, over and over.
                        1 => {
                            let noise = cache.set(format!("noise:{round}"), &Raw([0; 3_000]));
                            noise.ttl("1h").await?;
                        }
                        _ => source.read(&cache, (round * task) % KEYS).await?,
                    }
                    tokio::task::yield_now().await;
                }
                Ok::<_, nearcache::Error>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a task that holds what it promises")?;
        }
        let info: String = redis::cmd("INFO").query(&mut store.connect()).unwrap();
        let evicted = info
            .lines()
            .find_map(|line| line.strip_prefix("evicted_keys:"));
        assert!(
            evicted.unwrap().parse::<usize>().unwrap() > 300,
            "{policy}: {evicted:?}"
        );
    }
    Ok(())
}
