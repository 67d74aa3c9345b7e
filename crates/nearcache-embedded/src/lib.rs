//! An in-process Redis for [redis-rs](https://docs.rs/redis): the commands, replies and errors of a
//! server, with nothing to install.
//!
//! A [`Store`] is the server. A [`Connection`] to it implements both of redis-rs's `ConnectionLike` traits,
//! so whatever is written on redis-rs runs on it unchanged: in tests that need no server, or as the cache of
//! a program that has no Redis yet.
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
//! # What is there
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
//! | connection | `PING` `ECHO` `SELECT` `HELLO` `QUIT` `RESET` `CLIENT ID` `CLIENT INFO` `CLIENT GETNAME` `CLIENT SETNAME` `CLIENT SETINFO` `CLIENT NO-EVICT` |
//! | server | `TIME` `INFO` `COMMAND COUNT` `CONFIG GET` `CONFIG SET` `CONFIG RESETSTAT`, for what bounds a store |
//!
//! Replies have the forms of RESP2 or RESP3, whichever the connection [speaks](Connection::set_protocol), and
//! errors the words of Redis 7.0. A test runs random commands, well-formed and not, here and on a real
//! server, and compares every reply and what is left in the end.
//!
//! # What is not there
//!
//! Hashes, sets, sorted sets, streams, the other list commands, pub/sub, blocking commands, ACLs,
//! persistence, replication: these are unknown commands. Other differences from a server:
//!
//! - There is no Lua. A script runs if it was [registered](Store::register) together with a Rust function
//!   that does the same, its twin; any other is an error that says so. An error in a command that a twin
//!   calls does not name a line of the script.
//! - `CONFIG` knows `maxmemory`, `maxmemory-policy`, `maxmemory-samples`, `lfu-log-factor` and `lfu-decay-time`.
//! - `OBJECT ENCODING` says what a server would choose for the value at hand: a short string that something was
//!   appended to is `embstr` here, and `raw` on a server. `OBJECT REFCOUNT` is always 1.
//! - `QUIT` and `RESET` both leave a connection that is as new. There is no line to cut.
//! - `FLUSHALL` and `FLUSHDB` drop the values when the locks are released, `ASYNC` or not.
//! - `INCRBYFLOAT` computes as x86 servers do, with 64 bits of mantissa, but does not read hexadecimal.
//! - Positions in `SCAN` replies are random numbers of up to 48 bits, and mean nothing to another store.
//!
//! # Consistency
//!
//! Every command is atomic, also those of several keys; so are transactions and scripts. Each key belongs to
//! one of some shards, by its hash; a command locks the shards of its keys, in ascending order, shared if it
//! only reads. So readers do not wait for each other, and two commands of different keys hardly ever do.
//! Commands about the key space as a whole (`KEYS`, `DBSIZE`, `FLUSHALL` …) lock every shard for a moment;
//! `SCAN` and `INFO` go from one to the next.
//!
//! `SCAN` returns a key that is there during the whole scan **exactly once**, however many others come and go
//! meanwhile. (A server may return it more than once.) A call looks at up to 112 keys more than `COUNT`.
//!
//! # Expiry
//!
//! No command sees a key past its deadline. It is removed when one comes across it; and a thread looks for
//! the others ten times a second, in short steps. The thread runs only while there are keys that can expire.
//! With a [manual clock](Clock::manual) there is none: tests move time, and never sleep.
//!
//! # Bounds
//!
//! A store takes any amount of memory, as a server does, unless it is [bounded](Builder::max_memory). Then the
//! [policy](Builder::policy) says what happens: keys go, or commands that would store more fail with the
//! server's `OOM command not allowed when used memory > 'maxmemory'.`
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
//! What is counted are keys, values, entries and the tables that they lie in, as large as the allocator makes
//! them, and 3 % for what it loses between them: within 15 % of what the process grows by, and more often
//! within 5 %. A small entry takes about 100 bytes beside its key and value. A server counts its connections
//! and a megabyte of its own, too; a store does not.
//!
//! Room is made as soon as a command that took it has returned its locks, and before it returns: so between two
//! commands the keys never take more than they may, if any may go. (A server makes room before the next
//! command.) A value that is larger than all memory is therefore gone at once. What goes is the best of a few
//! keys that are picked at random, `maxmemory-samples` at a time. Under an LFU policy a key's count of uses falls
//! by one not only every `lfu-decay-time` minutes, but also whenever as much was evicted as the store holds:
//! what was popular once makes room for what is now, however fast it all goes.
//!
//! [`Connection::transaction`] is refused when there is no memory only if one of its commands would take some;
//! between `MULTI` and `EXEC`, a store refuses whatever a server refuses.
//!
//! # Events
//!
//! [`Store::subscribe`] tells of every change, who made it, and of keys that expired or were evicted: what a
//! second cache in front of the store needs to know to be right.
//!
//! # Features
//!
//! - `aio` (default): redis-rs's async `ConnectionLike`. Without it, tokio is not built, and a transaction
//!   that is refused fails with the server's `EXECABORT` instead of redis-rs's list of refused commands.

mod aborted;
mod clock;
mod command;
mod connection;
mod context;
mod event;
mod eviction;
mod expiry;
mod glob;
mod keyspace;
mod limits;
mod reply;
mod script;
mod session;
mod store;
mod traits;
mod wire;

/// What a fuzzer calls, with whatever bytes it finds.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
#[path = "fuzz.rs"]
pub mod __fuzz;

pub use clock::Clock;
pub use connection::Connection;
pub use event::{Event, Subscription};
pub use limits::{Policy, UnknownPolicy, parse_memory};
pub use script::{Call, Script, ScriptError, Twin};
pub use store::{Builder, Store};
