//! The documents of the libraries whose interfaces are here, each walked from top to bottom: every method, parameter,
//! default, return and error, on the embedded store and on Redis, async and blocking.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/simple.rs"]
mod simple_face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;

#[macro_use]
#[path = "../component/either.rs"]
mod either;

mod cachelib;
mod pip_services;
