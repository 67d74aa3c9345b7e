//! What a port has to know of a command beyond its row: what monitors see, what a pause holds up, what is logged.

use super::introspection::has_flag;
use super::row::Access;
use super::table::find_command;
use super::{Args, Command, find};
use crate::session::Session;

impl Command {
    pub(crate) fn is_monitored(&self) -> bool {
        !has_flag(self, "admin") && !has_flag(self, "skip_monitor")
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

    /// Whether it always takes little time, by its nature.
    pub(crate) fn is_fast(&self) -> bool {
        has_flag(self, "fast")
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
