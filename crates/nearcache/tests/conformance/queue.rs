//! Queues: every job is delivered until it is done, in order, with its attempts counted.

use nearcache::ErrorKind;
use nearcache::operation::Blocking;
use nearcache::patterns::{Delivery, QueueStats};
use serde::{Deserialize, Serialize};

use crate::target::{Face, Target, raw};

suite! {
    jobs_are_delivered_in_order_and_once,
    a_job_that_failed_is_tried_again_and_then_dead,
    a_delayed_job_waits,
    a_lost_delivery_is_given_to_another_worker,
    a_worker_keeps_its_jobs_however_long_they_take,
    what_cannot_be_read_is_a_dead_letter_and_stops_nobody,
    a_full_queue_refuses,
    dead_letters_are_retried_or_removed,
    run_works_until_it_is_stopped,
    a_handler_that_fails_or_panics_is_tried_again,
    what_was_taken_and_not_begun_is_given_back,
    bad_options_of_a_queue_are_errors,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mail {
    to: String,
    copies: u8,
}

fn mail(to: &str) -> Mail {
    Mail {
        to: to.into(),
        copies: 1,
    }
}

/// A delivery of either face.
enum Taken<T> {
    Async(Delivery<T>),
    Blocking(Delivery<T, Blocking>),
}

/// Settles a delivery: `settle!(taken.ack())`.
macro_rules! settle {
    ($taken:ident . $($operation:tt)*) => {
        match $taken {
            Taken::Async(job) => job.$($operation)*.await,
            Taken::Blocking(job) => job.$($operation)*.run(),
        }
        .expect("it is settled")
    };
}

impl<T> Taken<T> {
    fn job(&self) -> &nearcache::patterns::Job<T> {
        match self {
            Taken::Async(job) => job,
            Taken::Blocking(job) => job,
        }
    }
}

/// Takes the next job of a worker that is made by `$with`.
macro_rules! next {
    ($face:ident, $queue:literal as $job:ty, |$worker:ident| $with:expr) => {
        match &$face {
            Face::Async(cache) => {
                let $worker = cache.queue::<$job>($queue).worker();
                $with
                    .next()
                    .wait("20s")
                    .await
                    .map(|job| job.map(Taken::Async))
            }
            Face::Blocking(cache) => {
                let $worker = cache.queue::<$job>($queue).worker();
                $with
                    .next()
                    .wait("20s")
                    .run()
                    .map(|job| job.map(Taken::Blocking))
            }
        }
        .expect("an answer")
        .expect("a job")
    };
    ($face:ident, $queue:literal as $job:ty) => {
        next!($face, $queue as $job, |worker| worker)
    };
}

/// Whether a worker finds nothing to do now.
macro_rules! idle {
    ($face:ident, $queue:literal as $job:ty) => {
        call_as!(|job| job.is_none(); $face.queue::<$job>($queue).worker().try_next())
            .expect("an answer")
    };
}

async fn jobs_are_delivered_in_order_and_once(target: Target) {
    let cache = target.cache();
    assert!(idle!(cache, "mail" as Mail), "there is no queue yet");
    let mut ids = Vec::new();
    for to in ["ada", "bob", "eve"] {
        ids.push(call!(cache.queue::<Mail>("mail").push(&mail(to))).unwrap());
    }
    assert_eq!(call!(cache.queue::<Mail>("mail").len()).unwrap(), 3);
    for (to, id) in ["ada", "bob", "eve"].into_iter().zip(ids) {
        let taken = next!(cache, "mail" as Mail);
        assert_eq!(taken.job().value, mail(to));
        assert_eq!(taken.job().to, to, "it derefs");
        assert_eq!((taken.job().id(), taken.job().attempt()), (&*id, 1));
        assert!(settle!(taken.ack()));
    }
    assert!(idle!(cache, "mail" as Mail));
    assert!(call!(cache.queue::<Mail>("mail").is_empty()).unwrap());
}

async fn a_job_that_failed_is_tried_again_and_then_dead(target: Target) {
    let cache = target.cache();
    let id = call!(cache.queue::<Mail>("mail").push(&mail("ada"))).unwrap();
    for attempt in 1..=3 {
        let taken = next!(cache, "mail" as Mail, |worker| worker
            .retries(2)
            .backoff("1ms".."2ms"));
        assert_eq!((taken.job().id(), taken.job().attempt()), (&*id, attempt));
        assert!(settle!(taken.retry(format!("no luck {attempt}"))));
    }
    assert!(idle!(cache, "mail" as Mail));
    let dead = call!(cache.queue::<Mail>("mail").dead().list(10)).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].id(), dead[0].attempts()), (&*id, 3));
    assert_eq!(dead[0].error(), "no luck 3");
    assert_eq!(dead[0].job().unwrap(), mail("ada"));
}

async fn a_delayed_job_waits(target: Target) {
    let cache = target.cache();
    call!(cache.queue::<Mail>("mail").push(&mail("later")).delay("1h")).unwrap();
    call!(
        cache
            .queue::<Mail>("mail")
            .push(&mail("soon"))
            .delay("50ms")
    )
    .unwrap();
    call!(cache.queue::<Mail>("mail").push(&mail("now"))).unwrap();
    let stats = call!(cache.queue::<Mail>("mail").stats()).unwrap();
    assert_eq!((stats.waiting, stats.delayed), (1, 2));
    for to in ["now", "soon"] {
        let taken = next!(cache, "mail" as Mail);
        assert_eq!(taken.job().to, to);
        assert_eq!(taken.job().attempt(), 1);
        assert!(settle!(taken.ack()));
    }
    assert!(idle!(cache, "mail" as Mail));
    assert_eq!(call!(cache.queue::<Mail>("mail").len()).unwrap(), 1);
}

async fn a_lost_delivery_is_given_to_another_worker(target: Target) {
    let cache = target.cache();
    call!(cache.queue::<Mail>("mail").push(&mail("ada"))).unwrap();
    let lost = next!(cache, "mail" as Mail, |worker| worker.claim_after("200ms"));
    drop(lost);
    let taken = next!(cache, "mail" as Mail, |worker| worker.claim_after("200ms"));
    assert_eq!(taken.job().attempt(), 2);
    assert!(settle!(taken.ack()));
    // One whose workers are lost again and again is dead.
    call!(cache.queue::<Mail>("mail").push(&mail("bomb"))).unwrap();
    for _ in 0..2 {
        drop(next!(cache, "mail" as Mail, |worker| worker
            .claim_after("100ms")
            .retries(1)));
    }
    call!(
        cache
            .queue::<Mail>("mail")
            .push(&mail("bob"))
            .delay("150ms")
    )
    .unwrap();
    let taken = next!(cache, "mail" as Mail, |worker| worker
        .claim_after("100ms")
        .retries(1));
    assert_eq!(taken.job().to, "bob");
    assert!(settle!(taken.ack()));
    let dead = call!(cache.queue::<Mail>("mail").dead().list(10)).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (&*dead[0].job().unwrap().to, dead[0].attempts()),
        ("bomb", 2)
    );
}

async fn a_worker_keeps_its_jobs_however_long_they_take(target: Target) {
    let cache = target.cache();
    call!(cache.queue::<Mail>("mail").push(&mail("ada"))).unwrap();
    let taken = next!(cache, "mail" as Mail, |worker| worker.claim_after("600ms"));
    // Longer than that.
    let other = match &cache {
        Face::Async(cache) => {
            let worker = cache.queue::<Mail>("mail").worker().claim_after("600ms");
            worker.next().wait("1500ms").await.map(|job| job.is_some())
        }
        Face::Blocking(cache) => {
            let worker = cache.queue::<Mail>("mail").worker().claim_after("600ms");
            worker.next().wait("1500ms").run().map(|job| job.is_some())
        }
    };
    assert!(!other.unwrap(), "the job is being worked on");
    assert!(settle!(taken.ack()));
    assert!(call!(cache.queue::<Mail>("mail").is_empty()).unwrap());
}

async fn what_cannot_be_read_is_a_dead_letter_and_stops_nobody(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    let jobs = format!("{prefix}:#nearcache:queue:{{mail}}");
    let jobs = jobs.as_bytes();
    raw(&cache, &[b"XADD", jobs, b"*", b"job", b"\xff\0 not mail"]).await;
    raw(&cache, &[b"XADD", jobs, b"*", b"what", b"is this"]).await;
    // One that another program wrote as it should.
    raw(
        &cache,
        &[b"XADD", jobs, b"*", b"job", br#"{"to":"ada","copies":1}"#],
    )
    .await;
    let taken = next!(cache, "mail" as Mail);
    assert_eq!(taken.job().value, mail("ada"));
    assert!(settle!(taken.ack()));
    let dead = call!(cache.queue::<Mail>("mail").dead().list(10)).unwrap();
    assert_eq!(dead.len(), 2);
    assert_eq!(dead[0].payload(), b"\xff\0 not mail");
    assert_eq!(dead[0].job().unwrap_err().kind(), ErrorKind::Codec);
    assert!(
        dead[1].error().contains("no field \"job\""),
        "{}",
        dead[1].error()
    );
    for letter in &dead {
        assert!(call!(cache.queue::<Mail>("mail").dead().remove(letter)).unwrap());
    }
    assert!(call!(cache.queue::<Mail>("mail").dead().is_empty()).unwrap());
    assert!(crate::target::keys_matching(&cache, b"*").await.is_empty());
}

async fn a_full_queue_refuses(target: Target) {
    let cache = target.cache();
    let push = async |delay: Option<&'static str>| match (&cache, delay) {
        (Face::Async(cache), None) => cache.queue("n").max_len(2).push(&1_u8).await,
        (Face::Async(cache), Some(delay)) => {
            cache.queue("n").max_len(2).push(&1_u8).delay(delay).await
        }
        (Face::Blocking(cache), None) => cache.queue("n").max_len(2).push(&1_u8).run(),
        (Face::Blocking(cache), Some(delay)) => {
            cache.queue("n").max_len(2).push(&1_u8).delay(delay).run()
        }
    };
    push(None).await.unwrap();
    push(Some("1h")).await.unwrap();
    assert_eq!(push(None).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(
        push(Some("1h")).await.unwrap_err().kind(),
        ErrorKind::Refused
    );
    let taken = next!(cache, "n" as u8);
    assert_eq!(
        push(None).await.unwrap_err().kind(),
        ErrorKind::Refused,
        "it runs"
    );
    assert!(settle!(taken.ack()));
    push(None).await.unwrap();
}

async fn dead_letters_are_retried_or_removed(target: Target) {
    let cache = target.cache();
    for number in 0..5_u8 {
        call!(cache.queue::<u8>("n").push(&number)).unwrap();
        let taken = next!(cache, "n" as u8);
        assert!(settle!(taken.bury("enough")));
    }
    let dead = call!(cache.queue::<u8>("n").dead().list(2)).unwrap();
    assert_eq!(dead.len(), 2);
    assert_eq!(call!(cache.queue::<u8>("n").dead().len()).unwrap(), 5);
    assert!(call!(cache.queue::<u8>("n").dead().remove(&dead[0])).unwrap());
    assert!(!call!(cache.queue::<u8>("n").dead().remove(&dead[0])).unwrap());
    assert!(!call!(cache.queue::<u8>("n").dead().retry(&dead[0])).unwrap());
    assert!(call!(cache.queue::<u8>("n").dead().retry(&dead[1])).unwrap());
    assert_eq!(call!(cache.queue::<u8>("n").dead().retry_all()).unwrap(), 3);
    for number in 1..5 {
        let taken = next!(cache, "n" as u8);
        assert_eq!((taken.job().value, taken.job().attempt()), (number, 1));
        assert!(settle!(taken.ack()));
    }
    let expected = QueueStats::default();
    assert_eq!(call!(cache.queue::<u8>("n").stats()).unwrap(), expected);
}

/// Runs a worker until all jobs are done; gives the attempts that the handler saw.
async fn work(
    cache: &Face,
    name: &str,
    jobs: usize,
    handler: impl Fn(u8, u32) -> Result<(), String> + Send + Sync + Clone + 'static,
) -> Vec<(u8, u32)> {
    use std::sync::{Arc, Mutex};
    let seen = Arc::<Mutex<Vec<(u8, u32)>>>::default();
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(jobs));
    match cache {
        Face::Async(cache) => {
            let worker = cache.queue::<u8>(name).worker().concurrency(3);
            let worker = worker.backoff("1ms".."2ms").retries(9);
            let stop = worker.stop_handle();
            let (noted, left) = (seen.clone(), left.clone());
            let running = worker.run(move |job| {
                let (stop, left, handler) = (stop.clone(), left.clone(), handler.clone());
                noted.lock().unwrap().push((*job, job.attempt()));
                async move {
                    handler(*job, job.attempt())?;
                    if left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                        stop.stop();
                    }
                    Ok::<_, String>(())
                }
            });
            running.await.unwrap();
        }
        Face::Blocking(cache) => {
            let worker = cache.queue::<u8>(name).worker().concurrency(3);
            let worker = worker.backoff("1ms".."2ms").retries(9);
            let stop = worker.stop_handle();
            let running = worker.run(|job| {
                seen.lock().unwrap().push((*job, job.attempt()));
                handler(*job, job.attempt())?;
                if left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                    stop.stop();
                }
                Ok::<_, String>(())
            });
            running.unwrap();
        }
    }
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort_unstable();
    seen
}

async fn run_works_until_it_is_stopped(target: Target) {
    let cache = target.cache();
    for number in 0..20 {
        call!(cache.queue::<u8>("n").push(&number)).unwrap();
    }
    let seen = work(&cache, "n", 20, |_, _| Ok(())).await;
    let once: Vec<_> = (0..20).map(|number| (number, 1)).collect();
    assert_eq!(seen, once);
    assert_eq!(
        call!(cache.queue::<u8>("n").stats()).unwrap(),
        QueueStats::default()
    );
}

async fn a_handler_that_fails_or_panics_is_tried_again(target: Target) {
    let cache = target.cache();
    for number in 0..3 {
        call!(cache.queue::<u8>("n").push(&number)).unwrap();
    }
    let seen = work(&cache, "n", 3, |number, attempt| match (number, attempt) {
        (1, 1) => Err("not yet".to_owned()),
        (2, 1 | 2) => panic!("as tests do"),
        _ => Ok(()),
    });
    assert_eq!(seen.await, [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]);
    assert!(call!(cache.queue::<u8>("n").is_empty()).unwrap());
}

async fn what_was_taken_and_not_begun_is_given_back(target: Target) {
    let cache = target.cache();
    for number in 0..10 {
        call!(cache.queue::<u8>("n").push(&number)).unwrap();
    }
    // The first job stops the worker, which has taken more by then.
    let seen = work(&cache, "n", 1, |_, _| Ok(())).await.len();
    let stats = call!(cache.queue::<u8>("n").stats()).unwrap();
    assert_eq!(stats.waiting + stats.running, 10 - seen as u64);
    // They are given to the next one at once, as if nobody had had them.
    let left = work(&cache, "n", 10 - seen, |_, _| Ok(())).await;
    assert!(left.iter().all(|(_, attempt)| *attempt == 1), "{left:?}");
    assert!(call!(cache.queue::<u8>("n").is_empty()).unwrap());
}

async fn bad_options_of_a_queue_are_errors(target: Target) {
    let cache = target.cache();
    let pushed = call!(cache.queue::<u8>("").push(&1));
    assert_eq!(pushed.unwrap_err().kind(), ErrorKind::InvalidKey);
    let pushed = call!(cache.queue::<u8>("n").push(&1).delay("0s"));
    assert_eq!(pushed.unwrap_err().kind(), ErrorKind::InvalidTtl);
    let pushed = call!(cache.queue::<f64>("n").push(&f64::NAN));
    assert_eq!(pushed.unwrap_err().kind(), ErrorKind::Codec);
    let short = call_as!(drop; cache.queue::<u8>("n").worker().claim_after("50ms").try_next());
    assert_eq!(short.unwrap_err().kind(), ErrorKind::InvalidTtl);
    let turned = call_as!(drop; cache.queue::<u8>("n").worker().backoff("2s".."1s").try_next());
    assert_eq!(turned.unwrap_err().kind(), ErrorKind::InvalidConfig);
    assert!(call!(cache.queue::<u8>("n").is_empty()).unwrap());
}
