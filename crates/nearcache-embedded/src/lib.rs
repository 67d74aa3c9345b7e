//! An in-process Redis for [redis-rs](https://docs.rs/redis): the commands, replies and errors of a server, with
//! nothing to install.
//!
//! A [`Store`] is the server. A [`Connection`] to it implements both of redis-rs's `ConnectionLike` traits, so all
//! code that uses redis-rs runs on it unchanged: in tests without a server, or as the cache of a program that has no
//! Redis yet.
//!
//! ```
//! use nearcache_embedded::Store;
//! use redis::Commands;
//!
//! let store = Store::new();
//! let mut connection = store.connect();
//! let () = connection.set_ex("user:1", "Ada", 60)?;
//! let name: String = connection.get("user:1")?;
//! assert_eq!(name, "Ada");
//!
//! let (visits, left): (u64, i64) =
//!     redis::pipe().atomic().incr("visits", 1).ttl("user:1").query(&mut connection)?;
//! assert_eq!(visits, 1);
//! assert!(left > 0);
//! # Ok::<(), redis::RedisError>(())
//! ```
//!
//! The same, async; every future is ready at its first poll, on any runtime:
//!
//! ```
//! # #[cfg(feature = "aio")]
//! # async fn tour() -> redis::RedisResult<()> {
//! use redis::AsyncCommands;
//!
//! let mut connection = nearcache_embedded::Store::new().connect();
//! let () = connection.set("user:1", "Ada").await?;
//! let name: Option<String> = connection.get("user:1").await?;
//! assert_eq!(name.as_deref(), Some("Ada"));
//! # Ok(())
//! # }
//! # #[cfg(feature = "aio")]
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(tour()).unwrap();
//! ```
//!
//! # What is supported
//!
//! | family | commands |
//! | --- | --- |
//! | strings | `GET` `SET` (all options) `SETNX` `SETEX` `PSETEX` `GETSET` `GETDEL` `GETEX` `MGET` `MSET` `MSETNX` `APPEND` `STRLEN` `GETRANGE` `SUBSTR` `SETRANGE` |
//! | counters | `INCR` `DECR` `INCRBY` `DECRBY` `INCRBYFLOAT` |
//! | keys | `DEL` `UNLINK` `EXISTS` `TOUCH` `TYPE` `RENAME` `RENAMENX` `COPY` `OBJECT ENCODING` `OBJECT FREQ` `OBJECT IDLETIME` `OBJECT REFCOUNT` `MEMORY USAGE` |
//! | expiry | `EXPIRE` `PEXPIRE` `EXPIREAT` `PEXPIREAT` (with `NX` `XX` `GT` `LT`) `PERSIST` `TTL` `PTTL` `EXPIRETIME` `PEXPIRETIME` |
//! | key space | `KEYS` `SCAN` (with `MATCH` `COUNT` `TYPE`) `RANDOMKEY` `DBSIZE` `FLUSHDB` `FLUSHALL` |
//! | lists | `LPUSH` `RPUSH` `LLEN` `LRANGE` |
//! | transactions | `MULTI` `EXEC` `DISCARD` `WATCH` `UNWATCH` |
//! | scripts | `EVAL` `EVALSHA` `SCRIPT LOAD` `SCRIPT EXISTS` `SCRIPT FLUSH`, for scripts with a native twin: see [`Script`] |
//! | connection | `PING` `ECHO` `SELECT` `AUTH` `HELLO` `QUIT` `RESET`, all of `CLIENT` |
//! | server | `TIME` `INFO` `COMMAND` `CONFIG GET` `CONFIG SET` `CONFIG RESETSTAT` `SLOWLOG` `LATENCY` `MONITOR` `SHUTDOWN` `ROLE` `REPLICAOF NO ONE` `WAIT` `ACL` (one user) `FUNCTION LIST` `FUNCTION FLUSH` (there are none) |
//!
//! Replies have the forms of RESP2 or RESP3, whichever the connection [uses](Connection::set_protocol), and errors
//! have the text of Redis 7.0. A test runs random commands, valid and invalid, here and on a real server, and
//! compares every reply and the final contents.
//!
//! # What is not supported
//!
//! Hashes, sets, sorted sets, streams, the other list commands, pub/sub, blocking commands, ACLs,
//! persistence, replication: these are unknown commands. Other differences from a server:
//!
//! - There is no Lua. A script runs if it was [registered](Store::register) together with its twin, a Rust function
//!   that does the same; any other script is an error that says so. An error in a command that a twin calls does not
//!   name a line of the script.
//! - `CONFIG` knows the settings that a store has, and keeps some that have no effect here, because it works
//!   otherwise: `save`, `hz`, `activedefrag`, `lazyfree-*`, `repl-*`, `loglevel` and their like. `requirepass` is
//!   never shown. There is no file of settings, so `CONFIG REWRITE` fails.
//! - There is one user, `default`.
//! - `MONITOR`, `SLOWLOG`, `LATENCY` and the counts of `INFO` know the commands of the port's clients, and not those
//!   of connections within the process.
//! - `OBJECT ENCODING` returns what a server would choose for the current value: a short string after an `APPEND` is
//!   `embstr` here, and `raw` on a server. `OBJECT REFCOUNT` is always 1.
//! - After `QUIT` and `RESET` a connection within the process is like a new one. There is no socket to close.
//! - `FLUSHALL` and `FLUSHDB` drop the values after the locks are released, with or without `ASYNC`.
//! - `INCRBYFLOAT` computes as x86 servers do, with 64 bits of mantissa, but does not read hexadecimal.
//! - Positions in `SCAN` replies are random numbers of up to 48 bits, and are not valid for another store.
//!
//! # Consistency
//!
//! Every command is atomic, also one with several keys, and so are transactions and scripts. Each key belongs to a
//! shard, by its hash. A command locks the shards of its keys, in ascending order, and shared if it only reads. So
//! readers do not wait for each other, and two commands on different keys hardly ever do. Commands on the whole key
//! space (`KEYS`, `DBSIZE`, `FLUSHALL` …) lock every shard for a moment; `SCAN` and `INFO` go from one shard to the
//! next.
//!
//! `SCAN` returns a key that exists during the whole scan **exactly once**, however many others are added and removed
//! meanwhile. (A server may return it more than once.) A call looks at up to 112 keys more than `COUNT`.
//!
//! # Expiry
//!
//! No command sees a key past its deadline. An expired key is removed when a command finds it, and a thread looks for
//! the others ten times a second, in short steps. The thread runs only while there are keys that can expire. With a
//! [manual clock](Clock::manual) there is no thread: tests advance the time, and never sleep.
//!
//! # Memory limit
//!
//! A store takes any amount of memory, as a server does, unless it has a [limit](Builder::max_memory). When the limit
//! is reached, the [policy](Builder::policy) decides: keys are evicted, or commands that would store more fail with
//! the server's `OOM command not allowed when used memory > 'maxmemory'.`
//!
//! ```
//! use nearcache_embedded::{Policy, Store};
//!
//! let store = Store::builder().max_memory(1 << 20).policy(Policy::AllKeysLru).build();
//! let mut connection = store.connect();
//! for n in 0..10_000 {
//!     redis::cmd("SET").arg(n).arg(&[b'v'; 1_000]).exec(&mut connection)?;
//! }
//! assert!(store.used_memory() <= 1 << 20);
//! # Ok::<(), redis::RedisError>(())
//! ```
//!
//! The keys, values, entries and their tables are counted at the sizes that the allocator gives them, plus 3 % for
//! fragmentation. The result is within 15 % of what the process grows by, and mostly within 5 %. A small entry takes
//! about 100 bytes in addition to its key and value. A server also counts its connections and a megabyte of its own;
//! a store does not.
//!
//! Room is made after a command has released its locks, and before it returns. So between two commands the keys never
//! exceed the limit, if any may be evicted. (A server makes room before the next command.) This means that a value
//! larger than the whole limit is evicted at once. The store evicts the best of a few keys that it picks at random,
//! `maxmemory-samples` at a time. Under an LFU policy a key's count of uses falls by one not only every
//! `lfu-decay-time` minutes, but also whenever as much was evicted as the store holds: keys that were popular once
//! make room for those that are popular now, however fast they come and go.
//!
//! When the limit is reached, [`Connection::transaction`] is refused only if one of its commands would take memory;
//! between `MULTI` and `EXEC`, a store refuses whatever a server refuses.
//!
//! # Events
//!
//! [`Store::subscribe`] reports every change, the client that made it, and the keys that expired or were evicted.
//! This is what a second cache in front of the store needs to stay correct.
//!
//! # The port
//!
//! With the feature `serve`, a `Server` puts a store on TCP and unix sockets, and clients of any language take it
//! for a Redis server. It listens on loopback addresses; on others only with a password. The store is the same for
//! those in the process and those who connect.
//!
//! # Features
//!
//! - `aio` (default): redis-rs's async `ConnectionLike`. Without it, tokio is not built, and a refused transaction
//!   fails with the server's `EXECABORT` instead of redis-rs's list of refused commands.
//! - `serve`: the port, on tokio.

mod aborted;
mod bell;
mod clients;
mod clock;
mod command;
mod connection;
mod context;
mod event;
mod eviction;
mod exchange;
mod expiry;
mod glob;
mod keyspace;
mod latency;
mod limits;
mod mailbox;
mod notify;
mod observe;
mod persist;
mod port_settings;
mod pushes;
mod recipients;
mod reply;
mod script;
#[cfg(feature = "serve")]
mod serve;
mod session;
mod slow_log;
mod stats;
mod store;
mod subscriptions;
mod tracking;
mod traits;
mod waiting;
mod wire;

/// The entry points of the fuzz targets.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
#[path = "fuzz.rs"]
pub mod __fuzz;

pub use clock::Clock;
pub use connection::Connection;
pub use event::{Event, Subscription};
pub use limits::{Policy, UnknownPolicy, parse_memory};
pub use persist::{Fsync, LoadProgress, Loaded, Persist, PersistError, Truncated, UnknownFsync};
pub use pushes::Pushes;
pub use script::{Call, Script, ScriptError, Twin};
#[cfg(feature = "serve")]
pub use serve::{Handle, ServeError, Server, ServerBuilder};
pub use store::{Builder, Store};
