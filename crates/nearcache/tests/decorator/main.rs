//! `#[cached]`, as its users see it: what a decorated function returns, when it runs, under which key it
//! is remembered, and what goes with it.
//!
//! Everything runs embedded and on Redis. A cache comes as an argument here, so that each test has its own.

#![allow(
    clippy::ptr_arg,
    clippy::needless_borrow,
    clippy::too_many_arguments,
    reason = "what users write, and is to work"
)]

#[path = "../support/face.rs"]
mod face;
#[path = "../support/target.rs"]
mod target;

mod companions;
mod errors;
mod keys;
mod names;
mod of_the_value;
mod on_error;
mod options;
mod redis_kit;
mod returns;
mod shapes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nearcache::{Cache, Key, blocking};
use nearcache_testkit::random_prefix;
use target::{Face, Place, Target};

/// Counts how often a function ran.
#[derive(Clone, Debug, Default)]
struct Runs(Arc<AtomicUsize>);

impl Runs {
    fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A cache of either face, with a prefix that no other test has.
#[derive(Clone, Debug)]
struct Scene<C> {
    cache: C,
    face: Face,
    prefix: String,
}

impl<C> Scene<C> {
    /// Puts a list in the place of a value: from now on every read of the key is an error.
    async fn spoil(&self, key: &nearcache::Result<Key>) {
        let key = key.as_ref().expect("a key").as_bytes();
        let stored = [self.prefix.as_bytes(), b":", key].concat();
        target::raw(&self.face, &[b"DEL", &stored]).await;
        target::raw(&self.face, &[b"RPUSH", &stored, b"no value"]).await;
    }
}

/// A test of async functions, embedded and on Redis.
fn everywhere(test: impl AsyncFn(Scene<Cache>)) {
    for place in [Place::Embedded, Place::RedisResp3] {
        let (target, prefix) = (Target::asynchronous(place), random_prefix());
        let face = target.cache_at(&target.url(&prefix), &prefix);
        let Face::Async(cache) = face.clone() else {
            unreachable!("an async target");
        };
        face::run(test(Scene {
            cache,
            face,
            prefix,
        }));
    }
}

/// A test of functions that block, embedded and on Redis.
fn everywhere_blocking(test: impl Fn(Scene<blocking::Cache>)) {
    for place in [Place::Embedded, Place::RedisResp2] {
        let (target, prefix) = (Target::blocking(place), random_prefix());
        let face = target.cache_at(&target.url(&prefix), &prefix);
        let Face::Blocking(cache) = face.clone() else {
            unreachable!("a blocking target");
        };
        test(Scene {
            cache,
            face,
            prefix,
        });
    }
}
