//! An in-process Redis for [redis-rs](https://docs.rs/redis).

mod aborted;
mod clock;
mod command;
mod connection;
mod context;
mod event;
mod expiry;
mod glob;
mod keyspace;
mod reply;
mod script;
mod session;
mod store;
mod traits;
mod wire;

pub use clock::Clock;
pub use connection::Connection;
pub use event::{Event, Subscription};
pub use script::{Call, Script, ScriptError, Twin};
pub use store::{Builder, Store};
