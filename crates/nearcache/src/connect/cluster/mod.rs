//! What a client of a Cluster knows: which node serves which slot (`topology`), where a command goes, and how one with
//! keys in several slots is split and its replies joined (`route`), and what a node says whose slot is elsewhere
//! (`redirect`).
//!
//! Nothing here sends anything. `resilience` sends the parts, each through the breaker of its node, over backends that
//! know nothing of a Cluster but that their server belongs to one.
//!
//! The rules are those of the Redis Cluster specification (redis.io, "Redis cluster specification").

mod redirect;
mod route;
mod topology;

pub(crate) use redirect::Redirect;
pub(crate) use route::{Join, Part, Route, only_slot, route, slot_of};
pub(crate) use topology::Topology;
