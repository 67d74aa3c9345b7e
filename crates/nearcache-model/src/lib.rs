//! An exhaustive check of nearcache's read-through protocols.

pub mod action;
mod caller;
pub mod configuration;
pub mod explorer;
mod leader;
pub mod mechanism;
mod model;
pub mod pack;
pub mod property;
mod redis;
pub mod state;
pub mod suite;
pub mod trace;
mod world;
mod writer;

pub use action::{Action, Event, Outcome, Who};
pub use mechanism::Mechanism;
pub use model::Model;
pub use property::Property;
