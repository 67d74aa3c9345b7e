//! Which commands may be sent twice.
//!
//! When a connection breaks while a command is in flight, it is not known whether the server ran the command. A command
//! that changes nothing can be sent again. One that writes cannot: an `INCR` would count twice, and a `SET` might
//! overwrite what another client wrote in between.
//!
//! A connection without a user carries out no command. The backend leaves it, so whatever was sent there can be sent
//! again, on a connection with the credentials of now.

use crate::error::{Error, ErrorKind};

/// Whether what was sent may be sent again after this error.
pub(super) fn may_be_sent_again(error: &Error, changes_nothing: impl FnOnce() -> bool) -> bool {
    match error.kind() {
        ErrorKind::Connect => changes_nothing(),
        ErrorKind::Auth => error.detail().starts_with("NOAUTH "),
        // A timeout has used up the time; any other error is the server's answer.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::sendable::Sendable;

    fn again(verb: &str, error: &Error) -> bool {
        Sendable::may_be_sent_again(&*redis::cmd(verb).arg("k"), error)
    }

    #[test]
    fn what_may_have_been_carried_out_is_sent_again_only_if_it_changes_nothing() {
        let lost = Error::new(ErrorKind::Connect, "");
        for verb in [
            "GET", "MGET", "EXISTS", "PTTL", "SCAN", "PING", "HGETALL", "LRANGE", "SUNION",
            "ZRANGE",
        ] {
            assert!(again(verb, &lost), "{verb}");
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
            assert!(!again(verb, &lost), "{verb}");
        }
        let signed_out = Error::new(ErrorKind::Auth, "NOAUTH Authentication required.");
        assert!(again("INCR", &signed_out));
        for kind in [
            ErrorKind::Timeout,
            ErrorKind::Auth,
            ErrorKind::WrongType,
            ErrorKind::Unavailable,
        ] {
            assert!(!again("GET", &Error::new(kind, "")), "{kind}");
        }
    }
}
