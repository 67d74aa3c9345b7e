//! The race that `tests/read_through/race.rs` runs in its plain form, made worse: with every command of either
//! side kept back in turn, and at random, with many keys, callers and lost connections.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;

#[cfg(feature = "tls")]
#[path = "../support/terminator.rs"]
mod terminator;

mod steps;
mod storm;
