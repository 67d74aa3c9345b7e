//! What a port has to know of a command beyond its row: what monitors see, what a pause holds up, what is logged.

use super::row::Access;
use super::table::find_command;
use super::{Args, Command, Keys, find};
use crate::session::Session;

impl Command {
    /// Whether it is for those who administer a server; monitors do not see these.
    fn is_administrative(&self) -> bool {
        let (container, subcommand) = self.name.split_once('|').unwrap_or((self.name, ""));
        match container {
            "config" | "slowlog" | "latency" | "module" | "cluster" => {
                !matches!(subcommand, "help" | "")
            }
            "client" => matches!(
                subcommand,
                "kill" | "list" | "no-evict" | "pause" | "unblock" | "unpause"
            ),
            "acl" => matches!(
                subcommand,
                "deluser"
                    | "dryrun"
                    | "getuser"
                    | "list"
                    | "load"
                    | "log"
                    | "save"
                    | "setuser"
                    | "users"
            ),
            "bgrewriteaof" | "bgsave" | "debug" | "failover" | "monitor" | "pfdebug"
            | "pfselftest" | "psync" | "replconf" | "replicaof" | "save" | "shutdown"
            | "slaveof" | "sync" => true,
            _ => false,
        }
    }

    pub(crate) fn is_monitored(&self) -> bool {
        !self.is_administrative() && !self.is_script()
    }

    fn is_script(&self) -> bool {
        matches!(
            self.name,
            "eval" | "evalsha" | "eval_ro" | "evalsha_ro" | "fcall" | "fcall_ro"
        )
    }

    /// A transaction's commands are logged, and not the one that runs them.
    pub(crate) fn is_slow_logged(&self) -> bool {
        !self.keys.is_queued()
    }

    /// Whether a client may call it before it has authenticated.
    pub(crate) fn needs_no_password(&self) -> bool {
        matches!(self.name, "auth" | "hello" | "quit" | "reset")
    }

    /// Whether it cannot be part of a transaction.
    pub(crate) fn is_barred_from_transactions(&self) -> bool {
        matches!(self.name, "psync" | "save" | "shutdown" | "sync")
    }

    /// Whether a pause of writes holds it up.
    pub(crate) fn may_write(&self, session: &Session) -> bool {
        if self.keys.is_queued() {
            let queue = session.transaction.iter().flat_map(|open| &open.queue);
            return queue
                .into_iter()
                .any(|queued| queued.command.may_write(session));
        }
        match self.name {
            "pfcount" | "publish" | "spublish" | "eval" | "evalsha" | "fcall" => true,
            "watch" => false,
            _ => self.access != Access::Shared,
        }
    }

    /// Whether it may change keys.
    pub(crate) fn may_change(&self) -> bool {
        self.access != Access::Shared && !matches!(self.name, "watch" | "exec") && !self.is_script()
    }

    pub(crate) fn has_keys(&self) -> bool {
        !matches!(self.keys, Keys::None | Keys::Queued) && self.name != "info"
    }

    /// Whether it may wait for data.
    pub(crate) fn may_block(&self) -> bool {
        matches!(
            self.name,
            "blpop"
                | "brpop"
                | "blmove"
                | "brpoplpush"
                | "blmpop"
                | "bzpopmin"
                | "bzpopmax"
                | "bzmpop"
                | "xread"
                | "xreadgroup"
                | "wait"
        )
    }

    /// Whether it always takes little time, by its nature.
    pub(crate) fn is_fast(&self) -> bool {
        FAST.binary_search(&self.name).is_ok()
    }
}

/// The command that the arguments name, whether or not it can be called with them.
pub(crate) fn named(args: Args<'_>) -> Option<&'static Command> {
    let name = args.first()?;
    let subcommand = args
        .get(1)
        .filter(|subcommand| subcommand.len() < 64 && name.len() < 64)
        .and_then(|subcommand| find(&[name, *subcommand].join(&b'|')));
    subcommand.or_else(|| find_command(name))
}

#[rustfmt::skip]
const FAST: &[&str] = &[
    "append", "asking", "auth", "bitfield_ro", "bzpopmax", "bzpopmin", "dbsize", "decr", "decrby", "discard",
    "echo", "exists", "expire", "expireat", "expiretime", "get", "getbit", "getdel", "getex", "getset",
    "hdel", "hello", "hexists", "hget", "hincrby", "hincrbyfloat", "hlen", "hmget", "hmset", "hset", "hsetnx",
    "hstrlen", "incr", "incrby", "incrbyfloat", "lastsave", "llen", "lolwut", "lpop", "lpush", "lpushx",
    "mget", "move", "multi", "persist", "pexpire", "pexpireat", "pexpiretime", "pfadd", "ping", "pttl",
    "publish", "quit", "readonly", "readwrite", "renamenx", "reset", "role", "rpop", "rpush", "rpushx",
    "sadd", "scard", "select", "setnx", "sismember", "smismember", "smove", "spop", "spublish", "srem",
    "strlen", "swapdb", "time", "touch", "ttl", "type", "unlink", "unwatch", "watch", "xack", "xadd",
    "xautoclaim", "xclaim", "xdel", "xlen", "xsetid", "zadd", "zcard", "zcount", "zincrby", "zlexcount",
    "zmscore", "zpopmax", "zpopmin", "zrank", "zrem", "zrevrank", "zscore",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_commands_are_in_order() {
        assert!(FAST.is_sorted());
    }
}
