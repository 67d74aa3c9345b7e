//! The two faces of a cache behind one macro, so that a test of what both do is written once.

#![allow(dead_code, unused_macros, reason = "each suite uses its part of this")]

use nearcache::{Cache, blocking};

/// A cache, async or blocking.
#[derive(Clone, Debug)]
pub(crate) enum Face {
    Async(Cache),
    Blocking(blocking::Cache),
}

impl Face {
    /// The same cache, with another timeout.
    pub(crate) fn within(&self, timeout: std::time::Duration) -> Face {
        match self {
            Face::Async(cache) => Face::Async(cache.within(timeout)),
            Face::Blocking(cache) => Face::Blocking(cache.within(timeout)),
        }
    }
}

/// Carries an operation out on either face: `call!(cache.get::<u8>("key"))`.
macro_rules! call {
    ($face:ident . $($operation:tt)*) => {
        match &$face {
            $crate::face::Face::Async(cache) => cache.$($operation)*.await,
            $crate::face::Face::Blocking(cache) => cache.$($operation)*.run(),
        }
    };
}

/// The same for an answer that is of another type on each face, with what is made of it:
/// `call_as!(|guard| guard.is_held(); cache.lock("job").acquire())`.
macro_rules! call_as {
    ($then:expr; $face:ident . $($operation:tt)*) => {
        match &$face {
            $crate::face::Face::Async(cache) => cache.$($operation)*.await.map($then),
            $crate::face::Face::Blocking(cache) => cache.$($operation)*.run().map($then),
        }
    };
}

/// Asks either face something that it answers at once: `ask!(cache.stats())`.
macro_rules! ask {
    ($face:ident . $($question:tt)*) => {
        match &$face {
            $crate::face::Face::Async(cache) => cache.$($question)*,
            $crate::face::Face::Blocking(cache) => cache.$($question)*,
        }
    };
}

/// On a runtime that has only the test's own thread, for tests of what is logged there.
pub(crate) fn run_in_one_thread(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

/// On a runtime of several threads, as a service has.
pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}
