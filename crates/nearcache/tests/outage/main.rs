//! Outages in the middle of a load and of an invalidation, and servers that come back with other data than
//! they had: what `docs/protocols.md` says of them, each on a real server that is really killed, async and
//! blocking.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;
#[macro_use]
mod site;

mod data_loss;
mod invalidation;
mod load;
mod many;
mod stale;
