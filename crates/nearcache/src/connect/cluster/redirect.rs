//! What a node answers that does not serve a slot, or not now.

use super::super::target::Address;
use crate::error::Error;

/// Where to send a command again. The node has not carried it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The slot belongs to another node.
    Moved { slot: u16, to: Address },
    /// The slot is moving to another node, which may have the key already: it is asked once, after `ASKING`.
    Ask { to: Address },
    /// The slot is moving, and of the command's keys some are here and some are not.
    TryAgain,
    /// The Cluster is not whole: nobody serves the slot, or the node has lost the others.
    Down,
}

impl Redirect {
    /// What an error reply says. `from`: the node that gave it; an address without a host has the same one.
    pub(crate) fn of(error: &Error, from: &str) -> Option<Self> {
        let (code, detail) = error.said()?.split_once(' ')?;
        match code {
            "TRYAGAIN" => return Some(Redirect::TryAgain),
            "CLUSTERDOWN" => return Some(Redirect::Down),
            "MOVED" | "ASK" => {}
            _ => return None,
        }
        let (slot, to) = detail.split_once(' ')?;
        let slot = slot.parse().ok()?;
        let (host, port) = to.trim_end().rsplit_once(':')?;
        let host = match host.trim_start_matches('[').trim_end_matches(']') {
            "" => from,
            host => host,
        };
        let to = Address {
            host: host.to_owned(),
            port: port.parse().ok()?,
        };
        Some(match code {
            "MOVED" => Redirect::Moved { slot, to },
            _ => Redirect::Ask { to },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, detail: &str) -> Option<Redirect> {
        let reply = redis::make_extension_error(code.to_owned(), Some(detail.to_owned()));
        Redirect::of(&Error::from_redis(reply), "10.0.0.9")
    }

    #[test]
    fn a_redirect_is_read_in_every_form() {
        let to = |host: &str, port| Address {
            host: host.to_owned(),
            port,
        };
        let moved = |slot, to| Some(Redirect::Moved { slot, to });
        assert_eq!(
            of("MOVED", "3999 127.0.0.1:6381"),
            moved(3_999, to("127.0.0.1", 6_381))
        );
        assert_eq!(of("MOVED", "1 [::1]:7"), moved(1, to("::1", 7)));
        assert_eq!(of("MOVED", "1 ::1:7"), moved(1, to("::1", 7)));
        assert_eq!(of("MOVED", "1 :6381"), moved(1, to("10.0.0.9", 6_381)));
        assert_eq!(
            of("MOVED", "1 node-2.example.com:7"),
            moved(1, to("node-2.example.com", 7))
        );
        let ask = Redirect::Ask { to: to("a", 1) };
        assert_eq!(of("ASK", "16383 a:1"), Some(ask));
        assert_eq!(
            of("TRYAGAIN", "Multiple keys request"),
            Some(Redirect::TryAgain)
        );
        assert_eq!(
            of("CLUSTERDOWN", "Hash slot not served"),
            Some(Redirect::Down)
        );
        for (code, detail) in [
            ("MOVED", ""),
            ("MOVED", "3999"),
            ("MOVED", "x a:1"),
            ("MOVED", "70000 a:1"),
            ("MOVED", "1 a"),
            ("ASK", "1 a:99999"),
            ("ERR", "MOVED 1 a:1"),
            ("WRONGTYPE", "1 a:1"),
        ] {
            assert_eq!(of(code, detail), None, "{code} {detail}");
        }
    }
}
