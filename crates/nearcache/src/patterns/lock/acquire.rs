//! The operation that waits until a lock, or a permit of a semaphore, is free.

use std::fmt;
use std::marker::PhantomData;

use super::hold::{Hold, Wanted};
use super::patience;
use crate::cache::operation::{Async, CacheFuture, Marked, operation};
use crate::error::Result;
use crate::ttl::{IntoTtl, Ttl};

/// A pending `acquire` of a lock or a semaphore.
#[must_use = "nothing is acquired until it is carried out, by `.await` or `.run()`"]
pub struct Acquire<G, M = Async> {
    wanted: Wanted,
    wait: Option<Result<Ttl>>,
    guard: fn(Hold) -> G,
    mode: Marked<M>,
}

impl<G, M> Acquire<G, M> {
    pub(in crate::patterns) fn new(wanted: Wanted, guard: fn(Hold) -> G) -> Self {
        Acquire {
            wanted,
            wait: None,
            guard,
            mode: PhantomData,
        }
    }

    /// How long to wait until it is free. Default: the TTL of the lock or permit.
    pub fn wait(mut self, time: impl IntoTtl) -> Self {
        self.wait = Some(time.into_ttl());
        self
    }
}

impl<G: Send + 'static, M> Acquire<G, M> {
    fn start(self) -> CacheFuture<'static, G> {
        let Acquire {
            wanted,
            wait,
            guard,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let patience = match wait.transpose()? {
                Some(wait) => wait.as_duration(),
                None => patience(&wanted.ttl),
            };
            wanted.wait(patience).await.map(guard)
        })
    }
}

operation!(Acquire<G: Send> -> G);

impl<G, M> fmt::Debug for Acquire<G, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("wanted", &self.wanted)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
