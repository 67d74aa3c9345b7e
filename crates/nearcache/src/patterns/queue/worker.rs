//! Workers: their options, and taking one job at a time.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Place;
use super::active::{Active, Settings, Stop};
use super::delivery::{Delivery, Job};
use crate::cache::operation::{Async, CacheFuture, Marked, Pending};
use crate::error::{Error, ErrorKind, Result};
use crate::structures::Member;
use crate::ttl::{IntoTtl, Ttl};

/// The shortest time after which a job may be given to another worker: it is kept in thirds of it.
const SHORTEST_CLAIM: Duration = Duration::from_millis(100);

/// A worker of a queue: see [`Queue::worker`](super::Queue::worker). It is given options, and then either
/// [runs](Worker::run) a handler on each job, or is asked for the [next](Worker::next) one.
///
/// It takes jobs when it is asked for them, and waits on a connection of its own, which is opened anew when it
/// breaks. Clones are the same worker.
///
/// While Redis is away, `run` and `next` wait, ask again after 0.1 to 2 s, and go on when Redis is back. What is done
/// meanwhile is told to Redis then.
pub struct Worker<T, M = Async> {
    place: Place,
    settings: Settings,
    /// The first option that was wrong.
    wrong: Option<Error>,
    active: Arc<OnceLock<Arc<Active>>>,
    stop: Stop,
    job: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

/// Stops a worker: see [`Worker::stop_handle`].
#[derive(Clone, Debug)]
pub struct StopHandle(Stop);

impl StopHandle {
    /// The worker takes no more jobs. [`run`](Worker::run) waits for its running handlers, gives back what was taken
    /// and not begun, and returns; [`next`](Worker::next) returns `None`.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl<T: Member, M> Worker<T, M> {
    pub(super) fn new(place: Place) -> Self {
        Worker {
            place,
            settings: Settings {
                name: "worker".to_owned(),
                concurrency: 1,
                claim_after: Duration::from_secs(30),
                retries: 5,
                backoff: (Duration::from_secs(1), Duration::from_secs(60)),
            },
            wrong: None,
            active: Arc::default(),
            stop: Stop::new(),
            job: PhantomData,
            mode: PhantomData,
        }
    }

    /// How many handlers [`run`](Worker::run) has going at a time: 1 unless told. Tasks of an async worker, threads
    /// of a blocking one.
    #[must_use]
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers.max(1);
        self
    }

    /// What the worker is called in Redis (`XINFO CONSUMERS`), before a random part: "worker" unless told.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// After what time the jobs of a worker that was lost are given to others: 30 s unless told, 100 ms at least.
    ///
    /// A worker that lives keeps its jobs for as long as they take: it says so every third of this time. So this is
    /// how long the process may be paused, or cut off from Redis, before its jobs run a second time.
    #[must_use]
    pub fn claim_after(mut self, time: impl IntoTtl) -> Self {
        match time.into_ttl().map(Ttl::as_duration) {
            Ok(time) if time >= SHORTEST_CLAIM => self.settings.claim_after = time,
            Ok(time) => {
                let why = format!("claim_after is {time:?}; it is {SHORTEST_CLAIM:?} at least");
                self.is_wrong(Error::new(ErrorKind::InvalidTtl, why));
            }
            Err(error) => self.is_wrong(error),
        }
        self
    }

    /// How often a job that failed is tried again before it is a dead letter: 5 times unless told, so 6 attempts in
    /// all. A delivery to a worker that was lost counts as an attempt, so that a job that kills its workers ends.
    #[must_use]
    pub fn retries(mut self, times: u32) -> Self {
        self.settings.retries = times;
        self
    }

    /// After what time a job that failed is tried again: at first after the shorter time, then after twice as long
    /// each time, up to the longer one; less up to a quarter of it, at random. `"1s".."1m"` unless told.
    #[must_use]
    pub fn backoff<B: IntoTtl>(mut self, times: Range<B>) -> Self {
        match (times.start.into_ttl(), times.end.into_ttl()) {
            (Ok(from), Ok(to)) if from <= to => {
                self.settings.backoff = (from.as_duration(), to.as_duration());
            }
            (Ok(from), Ok(to)) => {
                let why = format!("backoff is from {from} to {to}; the first is the shorter one");
                self.is_wrong(Error::new(ErrorKind::InvalidConfig, why));
            }
            (Err(error), _) | (_, Err(error)) => self.is_wrong(error),
        }
        self
    }

    fn is_wrong(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }

    /// What stops this worker and its clones, from anywhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    #[cfg(feature = "blocking")]
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The worker at work, which begins with the options that it has now.
    pub(super) fn active(&self) -> Result<Arc<Active>> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        if let Some(active) = self.active.get() {
            return Ok(Arc::clone(active));
        }
        let active = Active::new(self.place.clone(), self.settings.clone(), self.stop.clone())?;
        Ok(Arc::clone(self.active.get_or_init(|| active)))
    }

    /// Takes the next job, and waits until there is one; [`wait`](Next::wait) says for how long. `None` if there was
    /// none in time, or if the worker was stopped.
    ///
    /// A job that cannot be read as a `T` is put away as a [dead letter](super::Queue::dead), and the next one is
    /// taken.
    ///
    /// # Errors
    /// The options' errors ([`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) and
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig)), and those of every call (see
    /// [`CacheOf`](crate::CacheOf)); with [`wait`](Next::wait), the last error if Redis was away at the end of it.
    pub fn next(&self) -> Next<T, M> {
        Next {
            worker: self.clone(),
            wait: None,
        }
    }

    /// Takes a job if there is one now.
    ///
    /// # Errors
    /// Those of [`next`](Worker::next).
    pub fn try_next(&self) -> Pending<'static, Option<Delivery<T, M>>, M>
    where
        T: Member,
        M: 'static,
    {
        let worker = self.clone();
        Pending::new(async move { worker.take(Some(Duration::ZERO)).await })
    }

    async fn take(&self, patience: Option<Duration>) -> Result<Option<Delivery<T, M>>> {
        let active = self.active()?;
        while let Some(taken) = active.next(1, patience).await? {
            match Job::of(&taken) {
                Ok(job) => return Ok(Some(Delivery::new(job, active, taken.entry))),
                Err(error) => {
                    tracing::warn!(%error, "a job cannot be read; it is put away as a dead letter");
                    active.fail(&taken.entry, None, &error.to_string()).await?;
                }
            }
        }
        Ok(None)
    }
}

/// A pending `next`.
#[must_use = "no job is taken until it is carried out, by `.await` or `.run()`"]
pub struct Next<T, M = Async> {
    worker: Worker<T, M>,
    wait: Option<Result<Ttl>>,
}

impl<T: Member, M: 'static> Next<T, M> {
    /// How long to wait for a job.
    pub fn wait(mut self, time: impl IntoTtl) -> Self {
        self.wait = Some(time.into_ttl());
        self
    }

    fn start(self) -> CacheFuture<'static, Option<Delivery<T, M>>> {
        CacheFuture::asking(async move {
            let patience = self.wait.transpose()?.map(Ttl::as_duration);
            self.worker.take(patience).await
        })
    }
}

impl<T: Member> std::future::IntoFuture for Next<T, Async> {
    type Output = Result<Option<Delivery<T, Async>>>;
    type IntoFuture = CacheFuture<'static, Option<Delivery<T, Async>>>;

    fn into_future(self) -> Self::IntoFuture {
        self.start()
    }
}

#[cfg(feature = "blocking")]
impl<T: Member> Next<T, crate::cache::operation::Blocking> {
    /// Waits for the job on this thread.
    ///
    /// # Errors
    /// Those of [`Worker::next`].
    pub fn run(self) -> Result<Option<Delivery<T, crate::cache::operation::Blocking>>> {
        crate::runtime::block_on(self.start())
    }
}

impl<T, M> fmt::Debug for Next<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("worker", &self.worker)
            .field("wait", &self.wait)
            .finish()
    }
}

impl<T, M> Clone for Worker<T, M> {
    fn clone(&self) -> Self {
        Worker {
            place: self.place.clone(),
            settings: self.settings.clone(),
            wrong: self.wrong.clone(),
            active: Arc::clone(&self.active),
            stop: self.stop.clone(),
            job: PhantomData,
            mode: PhantomData,
        }
    }
}

impl<T, M> fmt::Debug for Worker<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("queue", &self.place)
            .field("settings", &self.settings)
            .field("is_stopped", &self.stop.is_stopped())
            .finish_non_exhaustive()
    }
}
