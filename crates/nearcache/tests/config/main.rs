//! Configuration from TOML, JSON, the environment and code: what it says, what it comes to, and what is said
//! when it is wrong.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;

mod caches;
mod errors;
mod reading;
mod round_trip;
mod secrets;
mod secure;
