//! One suite for every place a cache can live in: what holds on Redis holds embedded, over TCP as over
//! a unix socket, with RESP2 as with RESP3, async as blocking.
//!
//! A test is an `async fn` that takes a [`Target`] and is written once; `suite!` runs it on all of
//! them. A new place is one line in `support/target.rs`.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;

mod batches;
mod bits;
mod commands;
mod counters;
mod expiry;
mod geo;
mod hashes;
mod keys;
mod leaderboards;
mod lifecycle;
mod lists;
mod lock;
mod presence;
mod queue;
mod rate_limiter;
mod series;
mod sessions;
mod sets;
mod sorted_sets;
mod streams;
mod structures;
mod topics;
mod uniques;
mod values;
