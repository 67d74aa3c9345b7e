//! The interface of cachelib, beside cachelib itself: what Python wrote is read here, and the reverse; and what is
//! answered while Redis is away.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;

#[macro_use]
#[path = "../support/simple.rs"]
mod simple_face;

mod away;
mod base;
mod data;
mod keys;
mod python;
