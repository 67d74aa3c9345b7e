//! Which commands may be sent twice.
//!
//! When a connection breaks while a command is in flight, it is not known whether the server ran the command. A command
//! that changes nothing can be sent again. One that writes cannot: an `INCR` would count twice, and a `SET` might
//! overwrite what another client wrote in between.

use redis::{Arg, Cmd};

use crate::error::{Error, ErrorKind};

/// The commands used here that change nothing.
const READS: [&[u8]; 8] = [
    b"GET",
    b"MGET",
    b"EXISTS",
    b"GETRANGE",
    b"PTTL",
    b"SCAN",
    b"PING",
    b"INFO",
];

/// Whether commands may be sent again after this error.
pub(super) fn may_be_sent_again<'c>(
    commands: impl IntoIterator<Item = &'c Cmd>,
    error: &Error,
) -> bool {
    // A timeout has used up the time; any other error is the server's answer.
    error.kind() == ErrorKind::Connect && change_nothing(commands)
}

/// Whether these commands only read.
pub(super) fn change_nothing<'c>(commands: impl IntoIterator<Item = &'c Cmd>) -> bool {
    commands.into_iter().all(
        |command| matches!(command.args_iter().next(), Some(Arg::Simple(verb)) if READS.contains(&verb)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_nothing_is_sent_again_and_only_after_a_lost_connection() {
        let lost = Error::new(ErrorKind::Connect, "");
        for verb in ["GET", "MGET", "EXISTS", "PTTL", "SCAN", "PING"] {
            assert!(
                may_be_sent_again([&*redis::cmd(verb).arg("k")], &lost),
                "{verb}"
            );
        }
        for verb in [
            "SET", "INCRBY", "UNLINK", "GETDEL", "PEXPIRE", "EVALSHA", "get",
        ] {
            assert!(
                !may_be_sent_again([&*redis::cmd(verb).arg("k")], &lost),
                "{verb}"
            );
        }
        for kind in [
            ErrorKind::Timeout,
            ErrorKind::Auth,
            ErrorKind::WrongType,
            ErrorKind::Unavailable,
        ] {
            assert!(
                !may_be_sent_again([&redis::cmd("GET")], &Error::new(kind, "")),
                "{kind}"
            );
        }
    }
}
