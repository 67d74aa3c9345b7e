//! The port: a store that other processes use, over TCP and unix sockets, as if it were a Redis server.
//!
//! [`listen`] accepts connections, and each runs in a task of its own, in [`peer`]. [`request`] reads what clients
//! send, [`encode`] writes what they get.

mod encode;
mod inline;
mod listen;
mod nils;
mod peer;
pub(crate) mod request;
mod settle;

pub use listen::{Handle, ServeError, Server, ServerBuilder};

#[cfg(any(fuzzing, test))]
pub(crate) use request::read_all;
