//! The seam to whatever runs us: the only place where time is read, waited for, or a task is started.
//!
//! The core is async and is written once. An async caller polls it on tokio; a blocking caller polls
//! it on its own thread with `block_on`, over backends whose futures are ready at once. Tests put a
//! clock of their own here and move it.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

/// What runs us.
#[derive(Clone, Debug)]
pub(crate) enum Runtime {
    /// The machine's clock, and the tokio runtime that polls.
    Real,
    /// tokio's tasks under a clock that only a test moves.
    #[cfg(test)]
    Moved(moved::Clock),
}

impl Runtime {
    pub(crate) fn now(&self) -> Instant {
        match self {
            Runtime::Real => Instant::now(),
            #[cfg(test)]
            Runtime::Moved(clock) => clock.now(),
        }
    }

    /// The output of `work`, or `None` if it takes longer than `limit`.
    ///
    /// `work` is made in here, so that it lies in the future once: an argument that is a future lies in it
    /// twice, as the argument and as what is awaited.
    pub(crate) async fn timeout<T, F>(&self, limit: Duration, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T>,
    {
        match self {
            Runtime::Real => tokio::time::timeout(limit, work()).await.ok(),
            #[cfg(test)]
            Runtime::Moved(clock) => clock.timeout(limit, work()).await,
        }
    }

    /// Runs a task beside everything else. It ends when it is done, when it is aborted, or with the
    /// runtime.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        tokio::spawn(task).abort_handle()
    }
}

/// Runs a future to its end on this thread.
///
/// Over a blocking backend it is ready at the first poll. One that is not (a wait for another thread)
/// parks the thread until it is woken.
#[cfg(feature = "blocking")]
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => park_on(future, std::thread::park),
    }
}

/// As [`block_on`], for at most so long.
#[cfg(feature = "blocking")]
pub(crate) fn block_on_for<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let late = std::future::poll_fn(|_| {
        if Instant::now() < deadline {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    });
    let mut late = std::pin::pin!(late);
    let mut future = std::pin::pin!(future);
    let either = std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => late.as_mut().poll(context).map(|()| None),
    });
    park_on(either, || {
        std::thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
    })
}

#[cfg(feature = "blocking")]
fn park_on<T>(future: impl Future<Output = T>, park: impl Fn()) -> T {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        park();
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

    #[cfg(feature = "blocking")]
    #[test]
    fn block_on_waits_for_another_thread() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || tell.send(7));
        assert_eq!(block_on(told), Ok(7));
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert_eq!(block_on(async { 8 }), 8);
        assert_eq!(block_on_for(Duration::from_secs(60), async { 9 }), Some(9));
        assert_eq!(
            block_on_for(Duration::from_millis(1), std::future::pending::<()>()),
            None
        );
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
