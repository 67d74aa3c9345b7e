//! Queues: jobs that are done at least once, by workers that may fail, panic or die.
//!
//! A mail queue whose mails fail now and then, with retries, a dead letter and a delay; and a worker that takes a job
//! and is never heard of again.
//!
//! ```text
//! cargo run --example queue
//! cargo run --example queue -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mail {
    to: String,
    text: String,
}

fn mail(to: &str) -> Mail {
    Mail {
        to: to.into(),
        text: "hello".into(),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-queue").build()?;

    mails(&cache).await?;
    a_worker_that_is_lost(&cache).await?;

    cache.clear().with_helpers().await?;
    support::closing("queue", &url);
    Ok(())
}

/// Each mail is sent; the one that nobody can send is put away.
async fn mails(cache: &Cache) -> Result<()> {
    let queue = cache.queue::<Mail>("mail");
    for to in ["ada", "bob", "nobody"] {
        queue.push(&mail(to)).await?;
    }
    queue.push(&mail("eve")).delay("200ms").await?;

    let worker = queue
        .worker()
        .concurrency(4)
        .retries(2)
        .backoff("10ms".."50ms");
    let stop = worker.stop_handle();
    let sent = Arc::new(AtomicU32::new(0));
    let (count, ends) = (Arc::clone(&sent), stop.clone());
    let running = tokio::spawn(worker.run(move |mail| {
        let (sent, stop) = (Arc::clone(&count), ends.clone());
        async move {
            println!("  attempt {} to write to {}", mail.attempt(), mail.to);
            match &*mail.to {
                "nobody" => return Err("no such address"),
                "bob" if mail.attempt() == 1 => panic!("the first attempt fails"),
                _ => {}
            }
            if sent.fetch_add(1, Ordering::SeqCst) + 1 == 3 {
                stop.stop();
            }
            Ok(())
        }
    }));
    running.await.expect("the worker's task ends")?;
    assert_eq!(sent.load(Ordering::SeqCst), 3);

    // Its attempts may still go on.
    while queue.dead().is_empty().await? {
        if let Some(job) = queue
            .worker()
            .retries(2)
            .backoff("10ms".."50ms")
            .next()
            .wait("1s")
            .await?
        {
            job.retry("no such address").await?;
        }
    }
    let dead = queue.dead().list(10).await?;
    println!(
        "sent 3; given up after {} attempts: {:?}",
        dead[0].attempts(),
        dead[0].job()?.to
    );
    assert_eq!(
        (dead[0].attempts(), dead[0].error()),
        (3, "no such address")
    );
    queue.dead().remove(&dead[0]).await?;
    assert!(queue.is_empty().await?);
    Ok(())
}

/// What it had taken is given to another one.
async fn a_worker_that_is_lost(cache: &Cache) -> Result<()> {
    let queue = cache.queue::<String>("reports");
    queue.push(&"november".to_owned()).await?;
    let lost = queue
        .worker()
        .claim_after("200ms")
        .next()
        .wait("5s")
        .await?;
    drop(lost);

    let worker = queue.worker().claim_after("200ms");
    let job = worker.next().wait("10s").await?.expect("the lost job");
    println!(
        "a lost job comes again: {:?}, attempt {}",
        job.value,
        job.attempt()
    );
    assert_eq!(job.attempt(), 2);
    assert!(job.ack().await?);
    assert!(queue.is_empty().await?);
    Ok(())
}
