//! Locks, semaphores and queues where it hurts: many processes that are killed and paused, a Redis that goes away, and
//! time that passes.
//!
//! Each runs for a few seconds. `NEARCACHE_COORDINATION=60` runs those of several processes for that many.

#![allow(clippy::print_stdout, reason = "the tests tell what they met")]

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[path = "../support/child.rs"]
mod child;

mod holders;
mod moved;
mod outage;
mod process;
mod queues;

/// For how long those of several processes run.
fn seconds() -> u64 {
    let asked = std::env::var("NEARCACHE_COORDINATION").ok();
    asked.map_or(4, |seconds| {
        seconds.parse().expect("NEARCACHE_COORDINATION is a number")
    })
}
