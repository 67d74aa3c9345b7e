//! Rate limits under load: many processes, or threads, hammer one id for as long as they can. Never more is given than
//! the algorithm promises, by the times of the server, and hardly less; each check is one round trip; and while Redis
//! is away, each `when_away` does what it says.
//!
//! `NEARCACHE_LIMIT_SECONDS=10` hammers for longer than the few seconds without it.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[path = "../support/child.rs"]
mod child;

mod away;
mod check;
mod hammer;
mod process;
