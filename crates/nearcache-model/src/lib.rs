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
//! takes it for live; the same holds after a `refresh`, for anything older than its value; what is older than
//! a mark is not taken for fresh, nor the answer to a caller who takes nothing stale; a newer value of another
//! program's is not overwritten by an older one; no load ends the lease of another; what is unusable can be
//! replaced; nobody waits for ever; and where nothing expires and nobody invalidates, a miss is loaded once.
//!
//! All of that holds in every one of [`suite::configurations`]. And each piece of the protocol is needed:
//! [`experiments::experiments`] takes out one [`Mechanism`] after the other, the search finds a shortest run that
//! then goes wrong, and where the condition for it is excluded (no eviction, no lost connection, ...) it
//! finds none. A configuration in which something never happens shows nothing about it, so the program
//! also fails if any [`Action`] or [`Outcome`] occurred in none of them.
//!
//! # What a state is
//!
//! [`state`] has it: one key `s`, its lease key `L`, the version V of one tag (and an epoch E); a source of
//! truth, which is a version number; two processes with up to two callers each, a flight and one task in the
//! background, and a writer; one command that the network keeps back. A step is one command as the server
//! carries it out, together with what its sender does before it ([`action`] says why that is enough), or
//! one mishap. [`pack`] makes 256 bits of a state, the same for all that differ in names only.
//!
//! # Bounds
//!
//! - One key, one tag. Two processes; one or two callers in each; one call of each caller, or two. Callers of
//!   one process have one flight and one more task.
//! - Two invalidating writes or marks, or one write and one foreign SET; or one write and a `refresh` in either process.
//!   One lost connection, one redirected command, one failover.
//! - A joiner asks twice before it loads for itself (the library: three times).
//! - Expiry and eviction of `s`, `L`, V and E are not bounded: at any step, any number of times.
//! - Not everything at once: each configuration leaves something out, which another one has. Together they
//!   have 60 million states, which is about a minute on two cores with nothing else to do, and half a GiB;
//!   `--wide` adds larger ones, with 140 million more.
//!
//! # Abstractions
//!
//! - There is no time. A lease, an entry, a tag's version may end at any moment; a load may take for ever;
//!   patience may end at any moment. A right renewal therefore changes nothing.
//! - Random values differ from all that anybody still holds. Digests are equal if the entries are.
//! - A version is read in the moment in which its load begins: later would only be newer.
//! - An invalidation returns in its last step. (Later would promise less.) One that is not acknowledged has
//!   not returned; a `delete` or `clear` that is carried out late or twice is no more than an eviction.
//! - `set` and the source change in one moment: the stricter reading, in which a load that began before NEW
//!   was stored counts as older whatever it read. A `set` that the server carries out late, after its
//!   connection was lost, is not modelled: it would overwrite a newer one, and no fence is about that.
//! - A Cluster is where a script names `s` and `L` only, and V and E are read by commands, in any order with
//!   all others. Which node has them does not matter, but for a replica, a failover and a redirection.
//! - A mark is acknowledged. (One that is not is kept as an invalidation.) V keeps one version from before the last
//!   mark, the library eight. In one configuration the callers all take what is stale, or all take nothing stale.
//! - A `refresh` returns once its `delete` is carried out, if it has one. (A deferred one promises less until then.) It
//!   begins with its ACQUIRE, and is nobody's flight.
//! - Of FILL and the V that is read beside it, the first is the one that is carried out first: in truth it
//!   is the one that was sent first, which answers fewer joiners. V is read after `s`, never beside it.
//! - A failover is noticed at once; a removal that comes in between is no more than an eviction. What had
//!   returned promises nothing until it is replayed.
//! - SCAN returns what is there from its beginning to its end, and perhaps what is not.
//!
//! # Not yet modelled
//!
//! - The near tier, its marks, pushes, NOLOOP, connections that carry pushes: they double what a process has.
//! - The outbox, beyond an invalidation that is sent again until it is acknowledged.
//! - Failover of the node of `s` and `L`, which brings back what was deleted: that is about what is replayed
//!   for each kind of write, of which the state would have to keep a list. A second failover.
//! - A slot that moves under `clear`: two scans, and keys in two places.
//! - Several tags, several keys under one loader: each one multiplies the states.
//! - A fenced load's answer to those who joined before it began (here they ask again); a substitute who
//!   answers other joiners than himself.
//! - A `refresh` or a mark on a Cluster. A mark's time, which is a client's clock. Callers of one flight of whom some
//!   take what is stale and others do not.
//!
//! # Where to go on
//!
//! `model` puts the machine together; `caller`, `leader`, `load`, `writer` and `world` have the steps, by who
//! acts; `cluster` has those of a load on a Cluster, `removal` those of `delete` and `invalidate_tag`, `mark` those
//! of the marks, `refresh` those of `refresh`, `replica` those of a failover; `redis` has the scripts. [`explorer`]
//! is the search, which knows nothing of caches.

pub mod action;
mod caller;
mod cluster;
pub mod configuration;
pub mod experiments;
pub mod explorer;
mod leader;
mod load;
mod mark;
pub mod mechanism;
mod model;
pub mod near;
pub mod pack;
pub mod property;
mod redis;
mod refresh;
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
