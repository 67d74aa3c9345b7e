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
//! | strings | `GET` `SET` (all options) `SETNX` `SETEX` `PSETEX` `GETSET` `GETDEL` `GETEX` `MGET` `MSET` `MSETNX` `APPEND` `STRLEN` `GETRANGE` `SUBSTR` `SETRANGE` `LCS` |
//! | bitmaps | `SETBIT` `GETBIT` `BITCOUNT` `BITPOS` `BITOP` `BITFIELD` `BITFIELD_RO` |
//! | HyperLogLog | `PFADD` `PFCOUNT` `PFMERGE` `PFDEBUG` `PFSELFTEST`, byte for byte in Redis's format |
//! | counters | `INCR` `DECR` `INCRBY` `DECRBY` `INCRBYFLOAT` |
//! | keys | `DEL` `UNLINK` `EXISTS` `TOUCH` `TYPE` `RENAME` `RENAMENX` `COPY` `MOVE` `SORT` `SORT_RO` `OBJECT` `MEMORY` (all subcommands) |
//! | expiry | `EXPIRE` `PEXPIRE` `EXPIREAT` `PEXPIREAT` (with `NX` `XX` `GT` `LT`) `PERSIST` `TTL` `PTTL` `EXPIRETIME` `PEXPIRETIME` |
//! | key space | `KEYS` `SCAN` (with `MATCH` `COUNT` `TYPE`) `RANDOMKEY` `DBSIZE` `SWAPDB` `FLUSHDB` `FLUSHALL` |
//! | lists | `LPUSH` `RPUSH` `LPUSHX` `RPUSHX` `LPOP` `RPOP` `LLEN` `LINDEX` `LRANGE` `LPOS` `LINSERT` `LSET` `LREM` `LTRIM` `LMOVE` `RPOPLPUSH` `LMPOP`, and those that wait: `BLPOP` `BRPOP` `BLMOVE` `BRPOPLPUSH` `BLMPOP` |
//! | hashes | `HSET` `HMSET` `HSETNX` `HGET` `HMGET` `HDEL` `HLEN` `HSTRLEN` `HEXISTS` `HINCRBY` `HINCRBYFLOAT` `HKEYS` `HVALS` `HGETALL` `HRANDFIELD` `HSCAN` |
//! | sets | `SADD` `SREM` `SMOVE` `SPOP` `SCARD` `SISMEMBER` `SMISMEMBER` `SMEMBERS` `SRANDMEMBER` `SINTER` `SINTERSTORE` `SINTERCARD` `SUNION` `SUNIONSTORE` `SDIFF` `SDIFFSTORE` `SSCAN` |
//! | sorted sets | `ZADD` `ZINCRBY` `ZREM` `ZCARD` `ZSCORE` `ZMSCORE` `ZRANK` `ZREVRANK` `ZCOUNT` `ZLEXCOUNT` `ZRANGE` `ZRANGESTORE` `ZREVRANGE` `ZRANGEBYSCORE` `ZREVRANGEBYSCORE` `ZRANGEBYLEX` `ZREVRANGEBYLEX` `ZREMRANGEBYRANK` `ZREMRANGEBYSCORE` `ZREMRANGEBYLEX` `ZUNION` `ZINTER` `ZDIFF` `ZUNIONSTORE` `ZINTERSTORE` `ZDIFFSTORE` `ZINTERCARD` `ZPOPMIN` `ZPOPMAX` `ZMPOP` `ZRANDMEMBER` `ZSCAN`, and those that wait: `BZPOPMIN` `BZPOPMAX` `BZMPOP` |
//! | geo | `GEOADD` `GEOPOS` `GEODIST` `GEOHASH` `GEOSEARCH` `GEOSEARCHSTORE` `GEORADIUS` `GEORADIUSBYMEMBER`, and the latter two with `_RO` |
//! | streams | `XADD` `XTRIM` `XDEL` `XSETID` `XLEN` `XRANGE` `XREVRANGE` `XREAD` `XREADGROUP` (both also wait) `XGROUP` `XACK` `XPENDING` `XCLAIM` `XAUTOCLAIM` `XINFO`, all with every option |
//! | persistence | `BGREWRITEAOF` `LASTSAVE`, in a [folder](Builder::persist) |
//! | transactions | `MULTI` `EXEC` `DISCARD` `WATCH` `UNWATCH` |
//! | scripts | `EVAL` `EVALSHA` `SCRIPT LOAD` `SCRIPT EXISTS` `SCRIPT FLUSH` `SCRIPT KILL`, for scripts with a native twin: see [`Script`] |
//! | pub/sub | `SUBSCRIBE` `UNSUBSCRIBE` `PSUBSCRIBE` `PUNSUBSCRIBE` `SSUBSCRIBE` `SUNSUBSCRIBE` `PUBLISH` `SPUBLISH` `PUBSUB` (all subcommands); keyspace notifications: `CONFIG SET notify-keyspace-events` |
//! | tracking | `CLIENT TRACKING` (all options) `CLIENT CACHING` `CLIENT TRACKINGINFO` `CLIENT GETREDIR` |
//! | connection | `PING` `ECHO` `SELECT` `AUTH` `HELLO` `QUIT` `RESET`, all of `CLIENT` |
//! | server | `TIME` `INFO` `COMMAND` (all subcommands) `CONFIG GET` `CONFIG SET` `CONFIG RESETSTAT` `SLOWLOG` `LATENCY` `MONITOR` `SHUTDOWN` `ROLE` `REPLICAOF NO ONE` `WAIT` `LOLWUT` `ACL` (one user) `FUNCTION LIST` `FUNCTION FLUSH` (there are none) |
//!
//! Replies have the forms of RESP2 or RESP3, whichever the connection [uses](Connection::set_protocol), and errors
//! have the text of Redis 7.0. A test runs random commands, valid and invalid, here and on a real server, and
//! compares every reply and the final contents.
//!
//! # What is not supported
//!
//! RDB files (`DUMP`, `RESTORE`, `SAVE`, `MIGRATE`), replication, Cluster, ACL users, modules, functions and `DEBUG`.
//! Other differences from a server:
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
//! - `OBJECT ENCODING` says `int` of a whole number that `INCRBYFLOAT` made, where a server says `embstr`, and `SORT`
//!   does not change how a sorted set is kept. `OBJECT REFCOUNT` is always 1.
//! - `SORT … ALPHA` compares bytes, whatever the language of the system.
//! - `MEMORY STATS` has the numbers that a store knows. `COMMAND DOCS` has no arguments and no history, and its texts
//!   are others than a server's.
//! - After `QUIT` and `RESET` a connection within the process is like a new one. There is no socket to close.
//! - `FLUSHALL` and `FLUSHDB` drop the values after the locks are released, with or without `ASYNC`.
//! - `INCRBYFLOAT` computes as x86 servers do, with 64 bits of mantissa, but does not read hexadecimal.
//! - Positions in the replies of scans are random numbers of up to 48 bits, and are not valid for another store, or
//!   another key.
//! - `HRANDFIELD` and `SRANDMEMBER` fail when a negative count asks for more than half a gigabyte.
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
//! meanwhile. (A server may return it more than once.) A call looks at up to 112 keys more than `COUNT`. The same
//! holds for the fields and members that `HSCAN` and `SSCAN` return.
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
//! fragmentation. The result is within 15 % of what the process grows by, and mostly within 5 %. An entry
//! takes about 100 bytes, and these hold a key of up to 30 bytes and a string of up to 15; what is longer lies beside
//! them. A server also counts its connections and a megabyte of its own; a store does not.
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
//! # Pushes
//!
//! A client that [subscribes](Connection::pushes) to channels, or tracks the keys that it reads, gets messages beside
//! its replies: [`Connection::pushes`] has them as a queue for a thread, or for a task. Whoever publishes never waits
//! for a subscriber; one that does not read is cut when 32 MiB wait for it. All subscribers of a channel see its
//! messages in the same order. Three things differ from a server:
//!
//! - What a client publishes to itself, and the notifications of its own commands, come after the reply of the command,
//!   and not before it.
//! - Notifications of commands on different threads may arrive in another order than their changes took effect.
//! - In process, a client can be redirected to (`CLIENT TRACKING ON REDIRECT`) once it has subscribed to something, or
//!   its pushes were asked for. After `SWAPDB`, clients that track are told that all keys have changed; a server tells
//!   them nothing.
//!
//! # Persistence
//!
//! A store keeps everything in memory, and is gone with the process, unless it has a [folder](Builder::persist). Then
//! every change is appended to a log in that folder, and the store that is opened there the next time holds what this
//! one held, with the same deadlines.
//!
//! ```no_run
//! use nearcache_embedded::{Fsync, Store};
//!
//! let store = Store::builder().persist("/var/lib/app").appendfsync(Fsync::Always).open()?;
//! # Ok::<(), nearcache_embedded::PersistError>(())
//! ```
//!
//! The folder is laid out as a server's `dir`, in the form of Redis 7. So when a program outgrows its process, a real
//! server starts on a copy of the folder: `redis-server --dir /var/lib/app --appendonly yes`. And a folder that a
//! server wrote with `aof-use-rdb-preamble no` opens here. (An RDB file does not; the error says how to convert it.)
//! One store at a time has a folder open; the error of a second one names the process. It cannot see whether a
//! redis-server uses the folder.
//!
//! When a change is on the disk, [`Fsync`] decides. Under `always` a command returns when its change is there: what
//! was acknowledged survives a kill and a power failure. Commands that wait at the same time share one sync, and a
//! pipeline waits once. A future waits without a thread; [`Connection::execute`], [`call`](Connection::call) and
//! [`transaction`](Connection::transaction) park theirs. (Other clients see a change before it is on the disk.) Under
//! `everysec` and `no`, a thread writes every millisecond while there are changes; a killed process loses those of
//! the last few milliseconds. A store that is dropped writes everything.
//!
//! If a process is killed while it writes, the log ends within a command, or within a transaction. Opening cuts that
//! end off, and [`Store::loaded`] tells it. Any other damage is an error that names the file and the byte, and nothing
//! is touched.
//!
//! When the disk is full, commands that change something fail with the server's `MISCONF Errors writing to the AOF
//! file: …`, and reads go on. The change of the command that met the error first is in memory, and is written when
//! there is room again. Then everything goes on by itself. (A server under `always` ends instead.)
//!
//! The log grows with every change. When it has doubled, and is larger than 64 MiB (see
//! [`Persist::rewrite_at`]), it is rewritten in the background: replaced by commands that make what the store holds.
//! `BGREWRITEAOF` and [`Store::rewrite`] do this at once. Writers stop only for the moment in which all shards are
//! locked, and while an entry of their shard is copied: a value of a million elements takes tens of milliseconds.
//!
//! [`Store::save`] and [`Store::load`] write and read one file of commands, of any store. There are no RDB files: `SAVE`
//! and `BGSAVE` are errors.
//! # Pushes
//! A client that [subscribes](Connection::pushes) to channels, or tracks the keys that it reads, gets messages beside
//! its replies: [`Connection::pushes`] has them as a queue for a thread, or for a task. Whoever publishes never waits
//! for a subscriber; one that does not read is cut when 32 MiB wait for it. All subscribers of a channel see its
//! messages in the same order. Three things differ from a server:
//! - What a client publishes to itself, and the notifications of its own commands, come after the reply of the command,
//!   and not before it.
//! - Notifications of commands on different threads may arrive in another order than their changes took effect.
//! - In process, a client can be redirected to (`CLIENT TRACKING ON REDIRECT`) once it has subscribed to something, or
//!   its pushes were asked for. After `SWAPDB`, clients that track are told that all keys have changed; a server tells
//!   them nothing.
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
mod limits;
mod mailbox;
mod notify;
mod persist;
#[cfg_attr(
    not(feature = "serve"),
    allow(dead_code, reason = "only a port has clients")
)]
mod port;
mod pushes;
mod recipients;
mod reply;
mod resp;
mod script;
#[cfg(feature = "serve")]
mod serve;
mod session;
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
pub use connection::{Called, Connection};
pub use event::{Event, Subscription};
pub use limits::{Policy, UnknownPolicy, parse_memory};
pub use persist::{Fsync, LoadProgress, Loaded, Persist, PersistError, Truncated, UnknownFsync};
pub use pushes::Pushes;
pub use script::{Call, Script, ScriptError, Twin};
#[cfg(feature = "serve")]
pub use serve::{Handle, ServeError, Server, ServerBuilder};
pub use store::{Builder, Store};
