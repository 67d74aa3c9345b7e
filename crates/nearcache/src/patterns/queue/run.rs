//! Running a handler on each job of a queue, until the worker is stopped.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::JoinSet;

use super::active::{Active, Taken};
use super::delivery::Job;
use super::worker::Worker;
#[cfg(feature = "blocking")]
use crate::cache::operation::Blocking;
use crate::error::Result;
use crate::structures::Member;

impl<T: Member> Worker<T> {
    /// Runs a handler on each job, [`concurrency`](Worker::concurrency) of them at a time, until the worker is
    /// [stopped](Worker::stop_handle).
    ///
    /// A handler that returns `Ok` has done its job. One that returns an error, or panics, has failed: the job is
    /// tried again after the [`backoff`](Worker::backoff), or is a [dead letter](super::Queue::dead) after its
    /// [`retries`](Worker::retries), with the error's text. A job that cannot be read as a `T` is a dead letter at
    /// once.
    ///
    /// A handler that is done while Redis is away keeps its place until Redis knows. Stop the worker before you
    /// [close](crate::CacheOf::close) the cache. Dropping the future stops the handlers where they are; other workers
    /// get their jobs after [`claim_after`](Worker::claim_after).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let queue = cache.queue::<String>("mail");
    /// queue.push(&"ada@example.org".to_owned()).await?;
    ///
    /// let worker = queue.worker().concurrency(8).claim_after("30s").retries(5).backoff("1s".."1m");
    /// let stop = worker.stop_handle();
    /// worker.run(move |address| {
    ///     let stop = stop.clone();
    ///     async move {
    ///         println!("attempt {} to write to {}", address.attempt(), *address);
    ///         stop.stop(); // a service does so when it is shut down
    ///         Ok::<_, std::io::Error>(())
    ///     }
    /// })
    /// .await?;
    /// assert!(queue.is_empty().await?);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// The options' errors; [`ErrorKind::Closed`](crate::ErrorKind::Closed) if the cache was closed; and what will not
    /// pass by itself, such as [`ErrorKind::Auth`](crate::ErrorKind::Auth),
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) or [`ErrorKind::WrongType`](crate::ErrorKind::WrongType).
    /// Handlers that run then are waited for.
    pub fn run<F, Fut, O, E>(
        &self,
        handler: F,
    ) -> impl Future<Output = Result<()>> + Send + use<T, F, Fut, O, E>
    where
        F: Fn(Job<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<O, E>> + Send + 'static,
        O: Send + 'static,
        E: Display + Send + 'static,
    {
        self.clone().run_on(handler)
    }

    async fn run_on<F, Fut, O, E>(self, handler: F) -> Result<()>
    where
        F: Fn(Job<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<O, E>> + Send + 'static,
        O: Send + 'static,
        E: Display + Send + 'static,
    {
        let active = self.active()?;
        let handler = Arc::new(handler);
        let concurrency = active.settings().concurrency;
        let mut running = JoinSet::new();
        let ended = loop {
            while running.try_join_next().is_some() {}
            if running.len() >= concurrency {
                running.join_next().await;
                continue;
            }
            let taken = match active.next(concurrency - running.len(), None).await {
                Ok(Some(taken)) => taken,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let (active, handler) = (Arc::clone(&active), Arc::clone(&handler));
            running.spawn(async move {
                let outcome = match Job::of(&taken) {
                    Ok(job) => caught(async move { handler(job).await }).await,
                    Err(error) => Outcome::Unreadable(error.to_string()),
                };
                outcome.tell(&active, &taken).await;
            });
        };
        while running.join_next().await.is_some() {}
        active.leave().await;
        ended
    }
}

#[cfg(feature = "blocking")]
impl<T: Member> Worker<T, Blocking> {
    /// Runs a handler on each job, on [`concurrency`](Worker::concurrency) threads, until the worker is
    /// [stopped](Worker::stop_handle). As the async worker's `run`; a thread that waits for a job learns within a
    /// second that the worker was stopped.
    ///
    /// ```
    /// # fn example() -> nearcache::Result<()> {
    /// let cache = nearcache::blocking::Cache::open("memory://")?;
    /// let queue = cache.queue::<u32>("numbers");
    /// queue.push(&7).run()?;
    ///
    /// let worker = queue.worker().concurrency(2);
    /// let stop = worker.stop_handle();
    /// worker.run(|number| {
    ///     assert_eq!(*number, 7);
    ///     stop.stop();
    ///     Ok::<_, std::io::Error>(())
    /// })?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(async { example() });
    /// ```
    ///
    /// # Errors
    /// Those of the async worker's `run`.
    pub fn run<F, O, E>(&self, handler: F) -> Result<()>
    where
        F: Fn(Job<T>) -> std::result::Result<O, E> + Sync,
        E: Display,
    {
        use crate::runtime::block_on;
        let active = self.active()?;
        let one = || -> Result<()> {
            while let Some(taken) = block_on(active.next(1, None))? {
                let outcome = match Job::of(&taken) {
                    Ok(job) => match catch_unwind(AssertUnwindSafe(|| handler(job))) {
                        Ok(returned) => Outcome::of(returned),
                        Err(panic) => Outcome::Failed(words_of(&*panic)),
                    },
                    Err(error) => Outcome::Unreadable(error.to_string()),
                };
                block_on(outcome.tell(&active, &taken));
            }
            Ok(())
        };
        let ended = std::thread::scope(|scope| {
            let others: Vec<_> = (1..active.settings().concurrency)
                .filter_map(|_| {
                    let thread = std::thread::Builder::new().name("nearcache-worker".to_owned());
                    let started = thread.spawn_scoped(scope, one);
                    if let Err(error) = &started {
                        tracing::warn!(%error, "could not start another thread of a worker");
                    }
                    started.ok()
                })
                .collect();
            let first = one();
            if first.is_err() {
                self.stop().stop();
            }
            let joined = others
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Ok(())));
            joined.fold(first, Result::and)
        });
        block_on(active.leave());
        ended
    }
}

/// What became of a job.
enum Outcome {
    Done,
    Failed(String),
    Unreadable(String),
}

impl Outcome {
    fn of<O>(returned: std::result::Result<O, impl Display>) -> Self {
        match returned {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// Tells Redis, as soon as it is there.
    async fn tell(self, active: &Active, taken: &Taken) {
        let entry = &taken.entry;
        match &self {
            Outcome::Done => active.insist(|| active.done(entry)).await,
            Outcome::Failed(why) => {
                let again = active.settings().pause_after(taken.attempt);
                tracing::debug!(attempt = taken.attempt, again = ?again, "a job failed");
                active.insist(|| active.fail(entry, again, why)).await;
            }
            Outcome::Unreadable(why) => {
                tracing::warn!(queue = ?active.place(), "a job cannot be read; it is put away as a dead letter");
                active.insist(|| active.fail(entry, None, why)).await;
            }
        }
        active.let_go(entry);
    }
}

/// Runs a handler; a panic is a failure.
async fn caught<O, E: Display>(
    handler: impl Future<Output = std::result::Result<O, E>>,
) -> Outcome {
    let mut handler = pin!(handler);
    std::future::poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(returned)) => Poll::Ready(Outcome::of(returned)),
            Err(panic) => Poll::Ready(Outcome::Failed(words_of(&*panic))),
        }
    })
    .await
}

/// The message of a panic.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "the handler panicked: {}",
        words.unwrap_or("without a message")
    )
}
