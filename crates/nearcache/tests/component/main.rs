//! A cache with the life of a component: how it is configured, opened and closed, what it stores, how much of it,
//! and what it does while its server is away.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;

#[macro_use]
mod either;
mod connection;
mod life;
mod retries;
mod size;
mod values;
