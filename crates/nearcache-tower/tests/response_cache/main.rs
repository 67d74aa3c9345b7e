//! What a client and a handler see of a `ResponseCacheLayer`, on the embedded store and on a real Redis.

#[macro_use]
mod site;

mod bodies;
mod freshness;
mod loads;
mod outage;
mod removal;
mod sharing;
