//! Which commands may be sent twice.
//!
//! When a connection breaks while a command is in flight, it is not known whether the server ran the command. A command
//! that changes nothing can be sent again. One that writes cannot: an `INCR` would count twice, and a `SET` might
//! overwrite what another client wrote in between.

use redis::Cmd;

use crate::connect::change_nothing;
use crate::error::{Error, ErrorKind};

/// Whether commands may be sent again after this error.
pub(super) fn may_be_sent_again<'c>(
    commands: impl IntoIterator<Item = &'c Cmd>,
    error: &Error,
) -> bool {
    // A timeout has used up the time; any other error is the server's answer.
    error.kind() == ErrorKind::Connect && change_nothing(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_nothing_is_sent_again_and_only_after_a_lost_connection() {
        let lost = Error::new(ErrorKind::Connect, "");
        for verb in [
            "GET", "MGET", "EXISTS", "PTTL", "SCAN", "PING", "HGETALL", "LRANGE", "SUNION",
            "ZRANGE",
        ] {
            assert!(
                may_be_sent_again([&*redis::cmd(verb).arg("k")], &lost),
                "{verb}"
            );
        }
        for verb in [
            "SET",
            "INCRBY",
            "UNLINK",
            "GETDEL",
            "PEXPIRE",
            "EVALSHA",
            "get",
            "HSET",
            "LPOP",
            "SPOP",
            "ZADD",
            "SUNIONSTORE",
            "ZRANGESTORE",
            "LMOVE",
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
