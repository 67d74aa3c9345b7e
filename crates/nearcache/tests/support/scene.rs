//! What the tests of read-through have in common: loaders that count, wait and fail, on either face.

#![allow(dead_code, unused_macros, reason = "each suite uses its part of this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

/// A `remember` on either face, beside which others can go on: its loader may block. Options follow a
/// semicolon.
macro_rules! remember {
    ($face:ident, $key:expr, $load:expr $(; $($options:tt)*)?) => {
        load!($face, remember, $key, $load $(; $($options)*)?)
    };
}

/// The same for `refresh`.
macro_rules! refresh {
    ($face:ident, $key:expr, $load:expr $(; $($options:tt)*)?) => {
        load!($face, refresh, $key, $load $(; $($options)*)?)
    };
}

macro_rules! load {
    ($face:ident, $verb:ident, $key:expr, $load:expr $(; $($options:tt)*)?) => {{
        let (face, key, load) = ($face.clone(), $key, $load);
        async move {
            match face {
                $crate::face::Face::Async(cache) => {
                    cache
                        .$verb(key, move || $crate::scene::elsewhere(load))
                        $($($options)*)?
                        .await
                }
                $crate::face::Face::Blocking(cache) => {
                    $crate::scene::elsewhere(move || cache.$verb(key, load) $($($options)*)? .run()).await
                }
            }
        }
    }};
}

/// Runs what blocks where it blocks nobody; a panic comes back as one.
pub(crate) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(output) => output,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A source of values that counts how often it is asked, and can be made to wait.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    loads: Arc<AtomicUsize>,
    begun: Arc<Semaphore>,
    go_on: Arc<Semaphore>,
}

impl Source {
    pub(crate) fn new() -> Self {
        Source {
            loads: Arc::default(),
            begun: Arc::new(Semaphore::new(0)),
            go_on: Arc::new(Semaphore::new(0)),
        }
    }

    /// How often it was asked.
    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// A loader that gives this.
    pub(crate) fn gives<T: Send + 'static>(
        &self,
        value: T,
    ) -> impl FnOnce() -> Result<T, std::io::Error> + Send + 'static {
        let loads = Arc::clone(&self.loads);
        move || {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok(value)
        }
    }

    /// A loader that fails.
    pub(crate) fn fails<T>(
        &self,
    ) -> impl FnOnce() -> Result<T, std::io::Error> + Send + 'static + use<T> {
        let loads = Arc::clone(&self.loads);
        move || {
            loads.fetch_add(1, Ordering::SeqCst);
            Err(std::io::Error::other("the database is on fire"))
        }
    }

    /// A loader that takes so long.
    pub(crate) fn gives_after<T: Send + 'static>(
        &self,
        time: Duration,
        value: T,
    ) -> impl FnOnce() -> Result<T, std::io::Error> + Send + 'static {
        let gives = self.gives(value);
        move || {
            let value = gives();
            std::thread::sleep(time);
            value
        }
    }

    /// A loader that has read this, and returns it once [`go_on`](Source::go_on) was called.
    pub(crate) fn holds<T: Send + 'static>(
        &self,
        value: T,
    ) -> impl FnOnce() -> Result<T, std::io::Error> + Send + 'static {
        let (gives, begun, go_on) = (self.gives(value), self.begun.clone(), self.go_on.clone());
        move || {
            let value = gives();
            begun.add_permits(1);
            // A test that has failed meanwhile tells nobody to go on.
            let since = std::time::Instant::now();
            while go_on
                .try_acquire()
                .map(tokio::sync::SemaphorePermit::forget)
                .is_err()
            {
                assert!(since.elapsed() < Duration::from_secs(120), "nobody said so");
                std::thread::sleep(Duration::from_millis(1));
            }
            value
        }
    }

    /// Waits until a loader that holds has read its value.
    pub(crate) async fn begun(&self) {
        let begun = self.begun.acquire();
        let limit = Duration::from_secs(60);
        let begun = tokio::time::timeout(limit, begun).await;
        begun.expect("no load began").expect("open").forget();
    }

    /// Lets one loader go on.
    pub(crate) fn go_on(&self) {
        self.go_on.add_permits(1);
    }
}
