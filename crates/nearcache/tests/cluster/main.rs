//! Caches on a real Cluster: which node is asked, what happens while slots move and nodes die, and what several keys in
//! one call mean there. (That everything else is as anywhere, the suites of the other tests say, which run on a Cluster
//! too.)

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/child.rs"]
mod child;

mod away;
mod load;
mod messages;
mod redirects;
mod replicas;
mod seeds;
mod site;
mod tags;
mod valkey;
mod verbs;
