//! An exhaustive check of nearcache's read-through protocols: every order in which the steps of two
//! processes, Redis and the world can happen, within the bounds below.
//!
//! ```text
//! cargo run --release -p nearcache-model                       the table; fails if anything is not right
//! cargo run --release -p nearcache-model -- --trace RuleTwo    how the protocol breaks without rule 2
//! ```
//!
//! # What is shown
//!
//! [`Property`] says it exactly, numbered. In words: whoever asks after an invalidation returned is not
//! answered with anything loaded before it, and nothing loaded before it is stored where a later read
//! takes it for live; a newer value of another program's is not overwritten by an older one; no load
//! ends the lease of another; what is unusable can be replaced; nobody waits for ever; and where nothing
//! expires and nobody invalidates, a miss is loaded once.
//!
//! All of that holds in every one of [`suite::configurations`]. And each piece of the protocol is needed:
//! [`experiments::experiments`] takes out one [`Mechanism`] after the other, the search finds a shortest run that
//! then goes wrong, and where the condition for it is excluded (no eviction, no lost connection, ...) it
//! finds none. A configuration in which something never happens shows nothing about it, so the program
//! also fails if any [`Action`] or [`Outcome`] occurred in none of them.
//!
//! # What a state is
//!
//! [`state`] has it: one key `s`, its lease key `L`, one tag counter V (and an epoch); a source of truth,
//! which is a version number; two processes with up to two callers each, a flight and one task in the
//! background, and a writer; one command that the network keeps back. A step is one command as the server
//! carries it out, together with what its sender does before it ([`action`] says why that is enough), or
//! one mishap. [`pack`] makes 256 bits of a state, the same for all that differ in names only.
//!
//! # Bounds
//!
//! - One key, one tag. Two processes; one or two callers in each; one call of each caller, or two. Callers of one process have one flight and one more task.
//! - Two invalidating writes, or one write and one foreign SET. One lost connection.
//! - A joiner asks twice before it loads for itself (the library: three times).
//! - Expiry and eviction of `s`, `L` and V are not bounded: at any step, any number of times.
//! - Not everything at once: each configuration leaves something out, which another one has. Together they
//!   have 35 million states, which is about a minute on two cores with nothing else to do, and half a GiB;
//!   `--wide` adds larger ones, with 80 million more.
//!
//! # Abstractions
//!
//! - There is no time. A lease, an entry, a counter may end at any moment; a load may take for ever; patience
//!   may end at any moment. A right renewal therefore changes nothing.
//! - Random values differ from all that anybody still holds. Digests are equal if the entries are.
//! - A version is read in the moment in which its load begins: later would only be newer.
//! - An invalidation returns in its last step. (Later would promise less.) One that is not acknowledged has
//!   not returned; a `delete` or `clear` that is carried out late or twice is no more than an eviction.
//! - `set` and the source change in one moment: the stricter reading, in which a load that began before NEW
//!   was stored counts as older whatever it read. A `set` that the server carries out late, after its
//!   connection was lost, is not modelled: it would overwrite a newer one, and no fence is about that.
//! - SCAN returns what is there from its beginning to its end, and perhaps what is not.
//!
//! # Not yet modelled
//!
//! The near tier, its marks, pushes, NOLOOP, connections that carry pushes; the outbox and its replay;
//! failover and data loss; `force_refresh`, which takes a lease from whoever has it; a substitute who
//! answers other joiners than himself; several keys under one loader.
//!
//! # Where to go on
//!
//! `model` puts the machine together; `caller`, `leader`, `load`, `writer` and `world` have the steps, by who acts;
//! `redis` has the scripts. [`explorer`] is the search, which knows nothing of caches.

pub mod action;
mod caller;
mod cluster;
pub mod configuration;
pub mod experiments;
pub mod explorer;
mod leader;
mod load;
pub mod mechanism;
mod model;
pub mod pack;
pub mod property;
mod redis;
mod removal;
mod replica;
pub mod state;
pub mod suite;
pub mod trace;
mod world;
mod writer;

pub use action::{Action, Event, Outcome, Who};
pub use mechanism::Mechanism;
pub use model::Model;
pub use property::Property;
