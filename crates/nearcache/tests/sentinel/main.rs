//! A primary behind Sentinels: how it is found, how a failover is followed, what the errors say, and what a failover
//! costs. Every server and Sentinel is a real process.

#![allow(clippy::print_stdout, reason = "the tests tell what a failover costs")]

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/child.rs"]
mod child;
mod process;
mod site;

mod errors;
mod finding;
mod following;
mod load;
mod replicas;
#[cfg(feature = "tls")]
mod secure;
