//! The runtime: the only place where time is read, waits happen and tasks are started.
//!
//! The core is async and is written once. An async caller polls it on tokio. A blocking caller polls it on its own
//! thread with `block_on`, over backends whose futures are ready at once. Tests can use a clock that they move.

use std::future::Future;
#[cfg(feature = "cluster")]
use std::pin::Pin;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::error::{Error, Result};

/// What polls the core, and its clock.
#[derive(Clone, Debug)]
pub(crate) enum Runtime {
    /// The system's clock, and the tokio runtime of the caller.
    Tokio,
    /// The system's clock, and the calling threads: waiting parks them.
    #[cfg(feature = "blocking")]
    Threads,
    /// tokio's tasks, with a clock that only a test moves.
    #[cfg(test)]
    Moved(moved::Clock),
}

impl Runtime {
    /// Whether a caller that waits parks its thread.
    #[cfg(feature = "embedded")]
    pub(crate) fn parks(&self) -> bool {
        match self {
            #[cfg(feature = "blocking")]
            Runtime::Threads => true,
            _ => false,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Runtime::Tokio => Instant::now(),
            #[cfg(feature = "blocking")]
            Runtime::Threads => Instant::now(),
            #[cfg(test)]
            Runtime::Moved(clock) => clock.now(),
        }
    }

    /// The output of `work`, or `None` if it takes longer than `limit`.
    ///
    /// `work` is a closure, so that its future exists only once: a future that is passed as an argument takes its space
    /// twice, as the argument and as the awaited future.
    pub(crate) async fn timeout<T, F>(&self, limit: Duration, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T>,
    {
        match self {
            Runtime::Tokio => tokio::time::timeout(limit, work()).await.ok(),
            #[cfg(feature = "blocking")]
            Runtime::Threads => first(work(), threads::Alarm::after(limit)).await.ok(),
            #[cfg(test)]
            Runtime::Moved(clock) => clock.timeout(limit, work()).await,
        }
    }

    /// What is left of a limit since then; all of it if the clock was not read.
    pub(crate) fn left_of(&self, limit: Duration, begun: Option<Instant>) -> Duration {
        match begun {
            Some(begun) => limit.saturating_sub(self.now().saturating_duration_since(begun)),
            None => limit,
        }
    }

    /// The same, and since when that is what is left: what was taken off once is not taken off again.
    #[cfg(any(feature = "cluster", test))]
    pub(crate) fn rest_of(
        &self,
        limit: Duration,
        begun: Option<Instant>,
    ) -> (Duration, Option<Instant>) {
        match begun {
            Some(begun) => {
                let now = self.now();
                let left = limit.saturating_sub(now.saturating_duration_since(begun));
                (left, Some(now))
            }
            None => (limit, None),
        }
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.timeout(time, std::future::pending::<()>).await;
    }

    /// Runs a task in the background until it ends, or its runtime does: as a tokio task, or on a thread of its own.
    ///
    /// # Errors
    /// `InvalidConfig` if an async caller has no runtime.
    pub(crate) fn try_detach(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.try_detach_as("nearcache-load", task)
    }

    /// Like [`try_detach`](Runtime::try_detach). If the task gets a thread, the thread has this name.
    ///
    /// # Errors
    /// `InvalidConfig` if an async caller has no runtime.
    pub(crate) fn try_detach_as(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let possible = match self {
            #[cfg(feature = "blocking")]
            Runtime::Threads => true,
            _ => tokio::runtime::Handle::try_current().is_ok(),
        };
        if !possible {
            return Err(Error::no_runtime());
        }
        self.detach_as(name, task);
        Ok(())
    }

    #[cfg_attr(not(feature = "blocking"), allow(unused_variables))]
    fn detach_as(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            #[cfg(feature = "blocking")]
            Runtime::Threads => {
                let thread = std::thread::Builder::new().name(name.to_owned());
                if let Err(error) = thread.spawn(move || block_on(task)) {
                    tracing::warn!(%error, name, "could not start a thread for work in the background");
                }
            }
            _ => drop(tokio::spawn(task)),
        }
    }

    /// Like [`try_detach`](Runtime::try_detach) on tokio, and returns a handle that can abort the task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        tokio::spawn(task).abort_handle()
    }
}

/// The output of `work`, or that of `end` as the error, whichever is ready first.
pub(crate) async fn first<T, E>(
    work: impl Future<Output = T>,
    end: impl Future<Output = E>,
) -> Result<T, E> {
    let (mut work, mut end) = (pin!(work), pin!(end));
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => end.as_mut().poll(context).map(Err),
    })
    .await
}

/// The outputs of all, in their order. They go on side by side, or one after another if they block the thread.
#[cfg(feature = "cluster")]
pub(crate) async fn all<T: Send>(
    works: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>,
) -> Vec<T> {
    let mut works: Vec<_> = works.into_iter().map(Some).collect();
    let mut outputs: Vec<Option<T>> = works.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (work, output) in works.iter_mut().zip(&mut outputs) {
            if let Some(running) = work
                && let Poll::Ready(ended) = running.as_mut().poll(context)
            {
                (*work, *output) = (None, Some(ended));
            }
        }
        match works.iter().all(Option::is_none) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[cfg(feature = "blocking")]
pub(crate) use threads::block_on;

/// Running a future on the calling thread.
#[cfg(feature = "blocking")]
mod threads {
    use std::cell::Cell;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};
    use std::time::{Duration, Instant};

    thread_local! {
        /// The latest time at which the future on this thread must be polled again.
        static WAKE_AT: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    /// Ready at its time. For futures that [`block_on`] runs.
    pub(super) struct Alarm(Instant);

    impl Alarm {
        pub(super) fn after(time: Duration) -> Self {
            Alarm(Instant::now() + time)
        }
    }

    impl Future for Alarm {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            if Instant::now() >= self.0 {
                return Poll::Ready(());
            }
            let earlier = WAKE_AT.get().filter(|at| *at < self.0);
            WAKE_AT.set(Some(earlier.unwrap_or(self.0)));
            Poll::Pending
        }
    }

    /// Runs a future to its end on this thread.
    ///
    /// Over a blocking backend the future is ready at the first poll. Otherwise (it waits for another thread or for a
    /// time) the thread parks until it is woken.
    pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(output) => output,
            Poll::Pending => park_on(future),
        }
    }

    fn park_on<T>(future: Pin<&mut impl Future<Output = T>>) -> T {
        struct Unpark(Thread);

        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }

        // Unconstrained: if the caller is a tokio task, the future must not wait for that task's budget, which is
        // renewed only when the task yields, and the task waits for this future.
        let mut future = pin!(tokio::task::unconstrained(future));
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        // The future may itself call `block_on`: keep the outer alarm.
        let outer = WAKE_AT.take();
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                WAKE_AT.set(outer);
                return output;
            }
            match WAKE_AT.take() {
                Some(at) => thread::park_timeout(at.saturating_duration_since(Instant::now())),
                None => thread::park(),
            }
        }
    }
}

/// A clock that stands still until a test moves it.
#[cfg(test)]
pub(crate) mod moved {
    use std::future::Future;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use tokio::sync::watch;

    #[derive(Clone, Debug)]
    pub(crate) struct Clock(Arc<watch::Sender<Instant>>);

    impl Clock {
        pub(crate) fn new() -> Self {
            Clock(Arc::new(watch::Sender::new(Instant::now())))
        }

        pub(super) fn now(&self) -> Instant {
            *self.0.borrow()
        }

        pub(crate) fn advance(&self, by: Duration) {
            self.0.send_modify(|now| *now += by);
        }

        pub(super) async fn timeout<T>(
            &self,
            limit: Duration,
            work: impl Future<Output = T>,
        ) -> Option<T> {
            let mut now = self.0.subscribe();
            let deadline = *now.borrow() + limit;
            tokio::select! {
                biased;
                output = work => Some(output),
                _ = now.wait_for(|now| *now >= deadline) => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_off_a_limit_is_not_taken_off_again() {
        let clock = moved::Clock::new();
        let runtime = Runtime::Moved(clock.clone());
        let step = Duration::from_secs(1);
        let (mut left, mut begun) = (step * 10, Some(runtime.now()));
        for steps in (0..10).rev() {
            clock.advance(step);
            (left, begun) = runtime.rest_of(left, begun);
            assert_eq!(left, step * steps);
            assert_eq!(runtime.rest_of(left, begun), (left, begun));
        }
        clock.advance(step);
        assert_eq!(runtime.rest_of(left, begun).0, Duration::ZERO);
        assert_eq!(runtime.rest_of(step, None), (step, None));
    }

    #[cfg(feature = "blocking")]
    #[test]
    fn block_on_waits_for_another_thread() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || tell.send(7));
        assert_eq!(block_on(told), Ok(7));
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert_eq!(block_on(async { 8 }), 8);
    }

    #[cfg(feature = "blocking")]
    #[test]
    fn a_thread_that_waits_is_woken_when_the_time_has_come() {
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(60));
        assert_eq!(
            block_on(Runtime::Threads.timeout(long, async || 9)),
            Some(9)
        );
        let never = || std::future::pending::<()>();
        assert_eq!(block_on(Runtime::Threads.timeout(short, never)), None);
        // An inner wait does not lose the outer one's alarm.
        let nested = async {
            first(
                async {
                    block_on(Runtime::Threads.sleep(short));
                    std::future::pending::<()>().await;
                },
                Runtime::Threads.sleep(short),
            )
            .await
        };
        assert_eq!(block_on(nested), Err(()));
    }

    #[cfg(feature = "blocking")]
    #[tokio::test]
    async fn a_task_that_blocks_does_not_wait_for_its_own_budget() {
        let lock = tokio::sync::Mutex::new(0);
        // Far more often than a task's budget allows without yielding.
        for _ in 0..1_000 {
            block_on(async { *lock.lock().await += 1 });
        }
        assert_eq!(lock.into_inner(), 1_000);
    }

    #[tokio::test]
    async fn a_moved_clock_ends_a_wait_and_a_still_one_does_not() {
        let clock = moved::Clock::new();
        let runtime = Runtime::Moved(clock.clone());
        let limit = Duration::from_secs(10);
        assert_eq!(runtime.timeout(limit, async || 1).await, Some(1));

        let waiting =
            tokio::spawn(async move { runtime.timeout(limit, std::future::pending::<()>).await });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(waiting.await.unwrap(), None);
    }
}
