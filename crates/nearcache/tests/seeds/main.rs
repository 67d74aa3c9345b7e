//! The documents of the libraries whose users come to this one, each walked from top to bottom: every method,
//! parameter, default, return and error, on the embedded store and on a real Redis, async and blocking.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/simple.rs"]
mod simple_face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;

#[path = "../registry/app.rs"]
mod app;
#[macro_use]
#[path = "../component/either.rs"]
mod either;

mod cachelib;
mod caching_note;
mod jitai;
mod pip_services;
mod redis_kit;
