//! Locks: one holder at a time in all processes, what the fencing token is for, and semaphores.
//!
//! Ten tasks want one lock; a holder that was paused for too long is refused by the storage, by its token; and a pool
//! of three permits that eight tasks share.
//!
//! ```text
//! cargo run --example lock
//! cargo run --example lock -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nearcache::{Cache, Result};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-lock").build()?;

    one_at_a_time(&cache).await?;
    fencing(&cache).await?;
    a_semaphore(&cache).await?;

    cache.clear().with_helpers().await?;
    support::closing("lock", &url);
    Ok(())
}

/// Ten tasks add to a number that is read and written in two steps.
async fn one_at_a_time(cache: &Cache) -> Result<()> {
    let stock = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (lock, stock) = (cache.lock("stock:7").ttl("10s"), Arc::clone(&stock));
        tasks.spawn(async move {
            let guard = lock.acquire().wait("30s").await?;
            let before = stock.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            stock.store(before + 1, Ordering::SeqCst);
            guard.release().await
        });
    }
    while let Some(released) = tasks.join_next().await {
        assert!(released.expect("no task panics")?);
    }
    assert_eq!(stock.load(Ordering::SeqCst), 10);
    println!("ten tasks, one at a time: each saw what the one before it had written");
    Ok(())
}

/// A storage that refuses a token lower than one that it has seen.
#[derive(Default)]
struct Storage {
    highest: u64,
    text: String,
}

impl Storage {
    fn write(&mut self, token: u64, text: &str) -> bool {
        if token < self.highest {
            return false;
        }
        self.highest = token;
        text.clone_into(&mut self.text);
        true
    }
}

/// The holder of a lock is paused for longer than its TTL, and writes when it wakes up.
async fn fencing(cache: &Cache) -> Result<()> {
    let storage = Mutex::new(Storage::default());
    // Without renewal, as if the whole process stood still.
    let lock = cache.lock("report").ttl("200ms").without_renewal();
    let paused = lock.acquire().await?;
    let next = lock.acquire().wait("5s").await?;
    assert!(!paused.is_held());
    assert!(next.token() > paused.token());

    assert!(storage.lock().await.write(next.token(), "by the next"));
    assert!(
        !storage
            .lock()
            .await
            .write(paused.token(), "by the one that was paused")
    );
    assert_eq!(storage.lock().await.text, "by the next");
    println!("a holder that was paused: its late write is refused by its token");
    assert!(!paused.release().await?, "it was lost, and it says so");
    next.release().await?;
    Ok(())
}

/// Three exports at a time.
async fn a_semaphore(cache: &Cache) -> Result<()> {
    let (now, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let exports = cache.semaphore("exports", 3).ttl("10s");
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        tasks.spawn(async move {
            let permit = exports.acquire().wait("30s").await?;
            let running = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(running, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            permit.release().await
        });
    }
    while let Some(released) = tasks.join_next().await {
        assert!(released.expect("no task panics")?);
    }
    let most = most.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most));
    println!("a semaphore of 3, eight tasks: at most {most} at once");
    Ok(())
}
