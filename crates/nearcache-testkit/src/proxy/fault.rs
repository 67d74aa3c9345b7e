//! What can go wrong on a connection, and for which frames: [`Fault`], [`Frames`], and the set of faults that apply.
//! They are carried out in [`pump`](super::pump) and [`listener`](super::listener).

use std::mem::discriminant;
use std::time::Duration;

use super::resp::{Frame, Kind};

/// Something that goes wrong between a client and its server.
///
/// Faults add up; a fault replaces an earlier one of the same kind for the same frames. They apply until
/// [`Proxy::heal`](super::Proxy::heal) or [`Proxy::unset`](super::Proxy::unset), except for the two that strike once:
/// [`Fault::Truncate`] and [`Fault::Replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Each of these frames is passed on this long after it arrived. Later frames on its connection wait behind it,
    /// as on a wire: none overtakes.
    Delay {
        /// Which frames.
        frames: Frames,
        /// The minimum delay. The delays of several faults add up.
        by: Duration,
        /// Up to this much more, evenly distributed.
        jitter: Duration,
    },
    /// Each connection carries this many bytes a second.
    Limit {
        /// In which direction.
        direction: Direction,
        /// At least 1.
        bytes_per_second: u64,
    },
    /// These frames are dropped when they would be passed on; until then, held or delayed ones still exist. A push is
    /// dropped alone. If a request or a reply is dropped, so is everything after it in the same direction of the
    /// connection. Otherwise a client would take the answer to its next request for the answer to this one, which no
    /// network does to it. For the same reason [`Proxy::heal`](super::Proxy::heal) resets such a connection.
    Drop(Frames),
    /// Half-open: connections are accepted and stay open, but everything on them is dropped, on live ones, too, even
    /// the end of a connection. This needs no server. Healing resets the affected connections.
    Silence,
    /// Nobody listens any more, so connecting is refused. Live connections go on.
    Refuse,
    /// New connections are accepted and closed at once.
    Reject(Close),
    /// Once: passes on the first `at` bytes of the next of these frames, and then closes the connection.
    Truncate {
        /// Which frames.
        frames: Frames,
        /// How many bytes.
        at: usize,
        /// How the connection is closed.
        close: Close,
    },
    /// Once: passes on these bytes in place of the next of these frames.
    Replace {
        /// Which frames.
        frames: Frames,
        /// Any bytes.
        with: Vec<u8>,
        /// How the connection is closed after them, if at all.
        close: Option<Close>,
    },
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// As a program that has finished does: the other side reads the end of the stream (TCP's FIN).
    Finish,
    /// As a machine that does not know the connection does: the other side gets an error (TCP's RST). A unix socket
    /// has no such thing, so it is just closed.
    Reset,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ToServer,
    /// Replies and pushes.
    ToClient,
}

/// A selection of frames: commands, replies, pushes, all of them or only some.
///
/// ```
/// use nearcache_testkit::Frames;
///
/// let all = Frames::replies();
/// let some = Frames::replies().of("GET").about("user:1").longer_than(100);
/// # assert_ne!(all, some);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames {
    which: Which,
    of: Option<Vec<u8>>,
    about: Option<Vec<u8>>,
    longer_than: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Requests,
    Replies,
    Pushes,
    FromServer,
}

impl Frames {
    /// Commands.
    pub fn requests() -> Frames {
        Frames::all(Which::Requests)
    }

    /// Replies to commands.
    pub fn replies() -> Frames {
        Frames::all(Which::Replies)
    }

    /// What a server sends without being asked: RESP3's pushes, and the messages that a subscribed RESP2 connection
    /// gets.
    pub fn pushes() -> Frames {
        Frames::all(Which::Pushes)
    }

    /// Replies and pushes.
    pub fn from_server() -> Frames {
        Frames::all(Which::FromServer)
    }

    fn all(which: Which) -> Frames {
        Frames {
            which,
            of: None,
            about: None,
            longer_than: 0,
        }
    }

    /// Only those of this command, in any case: its requests and their replies. For pushes, those of this kind, as in
    /// `invalidate`.
    ///
    /// Replies are matched to requests by their order. This is impossible on a connection that sends `CLIENT REPLY
    /// OFF` or `SKIP` or `MONITOR`, or whose `SUBSCRIBE` fails.
    #[must_use]
    pub fn of(mut self, name: &str) -> Frames {
        self.of = Some(name.as_bytes().to_vec());
        self
    }

    /// Only those about this key (or channel): it must be an argument of the request, or of the request that is
    /// answered, or in the push. Only the first 32 arguments of up to 512 bytes are checked.
    #[must_use]
    pub fn about(mut self, key: impl AsRef<[u8]>) -> Frames {
        self.about = Some(key.as_ref().to_vec());
        self
    }

    /// Only those of more than this many bytes on the wire.
    #[must_use]
    pub fn longer_than(mut self, bytes: usize) -> Frames {
        self.longer_than = bytes;
        self
    }

    pub(super) fn include(&self, direction: Direction, frame: &Frame, label: &Label) -> bool {
        let kind = match (self.which, direction) {
            (Which::Requests, Direction::ToServer) => true,
            (Which::Replies, Direction::ToClient) => frame.kind != Kind::Push,
            (Which::Pushes, Direction::ToClient) => frame.kind == Kind::Push,
            (Which::FromServer, Direction::ToClient) => true,
            _ => false,
        };
        kind && frame.bytes.len() > self.longer_than
            && self
                .of
                .as_ref()
                .is_none_or(|name| label.name.eq_ignore_ascii_case(name))
            && self
                .about
                .as_ref()
                .is_none_or(|key| label.arguments.contains(key))
    }
}

impl Fault {
    /// [`Fault::Delay`] without jitter.
    pub fn delay(frames: Frames, by: Duration) -> Fault {
        let jitter = Duration::ZERO;
        Fault::Delay { frames, by, jitter }
    }

    /// [`Fault::Truncate`] that closes the connection with [`Close::Finish`].
    pub fn truncate(frames: Frames, at: usize) -> Fault {
        let close = Close::Finish;
        Fault::Truncate { frames, at, close }
    }

    /// [`Fault::Replace`] that leaves the connection open.
    pub fn replace(frames: Frames, with: impl Into<Vec<u8>>) -> Fault {
        let with = with.into();
        let close = None;
        Fault::Replace {
            frames,
            with,
            close,
        }
    }

    fn strikes_once(&self) -> Option<&Frames> {
        match self {
            Fault::Truncate { frames, .. } | Fault::Replace { frames, .. } => Some(frames),
            _ => None,
        }
    }

    /// Whether both have the same kind and the same frames.
    fn rivals(&self, other: &Fault) -> bool {
        let target = |fault: &Fault| match fault {
            Fault::Delay { frames, .. }
            | Fault::Drop(frames)
            | Fault::Truncate { frames, .. }
            | Fault::Replace { frames, .. } => (Some(frames.clone()), None),
            Fault::Limit { direction, .. } => (None, Some(*direction)),
            Fault::Silence | Fault::Refuse | Fault::Reject(_) => (None, None),
        };
        discriminant(self) == discriminant(other) && target(self) == target(other)
    }
}

/// What a frame is about, so that [`Frames`] can select by it.
#[derive(Clone, Debug, Default)]
pub(super) struct Label {
    pub(super) name: Vec<u8>,
    pub(super) arguments: Vec<Vec<u8>>,
}

impl Label {
    /// `None` for a frame without words.
    pub(super) fn of(frame: &Frame) -> Option<Label> {
        let mut words = frame.words();
        let name = words.next()?.to_vec();
        // Long arguments are values, which nobody selects by.
        let arguments = words
            .take(32)
            .filter(|word| word.len() <= 512)
            .map(<[u8]>::to_vec)
            .collect();
        Some(Label { name, arguments })
    }

    /// The name in capitals, and the key, as in `GET user:1`; for a script its first key, and for a command without a
    /// key its first argument, as in `CLIENT TRACKING`.
    pub(super) fn text(&self) -> String {
        let name = String::from_utf8_lossy(&self.name).to_ascii_uppercase();
        let key = match name.as_str() {
            "AUTH" => None,
            "EVAL" | "EVALSHA" | "EVAL_RO" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" => {
                // The script itself may have been too long to be kept; then the number of keys comes first.
                let at = self.arguments.iter().position(|word| {
                    !word.is_empty() && word.len() < 4 && word.iter().all(u8::is_ascii_digit)
                });
                at.filter(|&at| self.arguments[at] != b"0")
                    .and_then(|at| self.arguments.get(at + 1))
            }
            _ => self.arguments.first(),
        };
        key.map_or(name.clone(), |key| {
            format!("{name} {}", String::from_utf8_lossy(key))
        })
    }
}

/// The faults that apply.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Vec<Fault>,
}

impl Faults {
    pub(super) fn set(&mut self, fault: Fault) {
        // Two faults that strike once strike twice.
        if fault.strikes_once().is_none() {
            self.unset(&fault);
        }
        self.set.push(fault);
    }

    pub(super) fn unset(&mut self, fault: &Fault) {
        self.set.retain(|set| !set.rivals(fault));
    }

    pub(super) fn clear(&mut self) {
        self.set.clear();
    }

    pub(super) fn refuse(&self) -> bool {
        self.set.contains(&Fault::Refuse)
    }

    pub(super) fn silence(&self) -> bool {
        self.set.contains(&Fault::Silence)
    }

    pub(super) fn reject(&self) -> Option<Close> {
        self.set.iter().find_map(|fault| match fault {
            Fault::Reject(close) => Some(*close),
            _ => None,
        })
    }

    pub(super) fn bytes_per_second(&self, way: Direction) -> Option<u64> {
        self.set.iter().find_map(|fault| match fault {
            Fault::Limit {
                direction,
                bytes_per_second,
            } if *direction == way => Some((*bytes_per_second).max(1)),
            _ => None,
        })
    }

    /// Whether any fault may drop frames.
    pub(super) fn lose(&self) -> bool {
        self.drops(|_| true)
    }

    pub(super) fn drops(&self, chosen: impl Fn(&Frames) -> bool) -> bool {
        self.set.iter().any(|fault| match fault {
            Fault::Silence => true,
            Fault::Drop(frames) => chosen(frames),
            _ => false,
        })
    }

    /// How long a frame is delayed; `dice`, from 0 to 1, chooses its jitter.
    pub(super) fn delay(&self, dice: f64, chosen: impl Fn(&Frames) -> bool) -> Duration {
        let delays = self.set.iter().map(|fault| match fault {
            Fault::Delay { frames, by, jitter } if chosen(frames) => *by + jitter.mul_f64(dice),
            _ => Duration::ZERO,
        });
        delays.sum()
    }

    /// Takes out the fault that strikes this frame, and no other after it.
    pub(super) fn strike(&mut self, chosen: impl Fn(&Frames) -> bool) -> Option<Fault> {
        let at = self
            .set
            .iter()
            .position(|fault| fault.strikes_once().is_some_and(&chosen))?;
        Some(self.set.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Frame {
        Frame {
            kind: Kind::Request,
            bytes: format!("{text}\r\n").into_bytes(),
        }
    }

    #[test]
    fn a_command_is_named_with_its_key() {
        for (command, name) in [
            ("get user:1", "GET user:1"),
            ("PING", "PING"),
            ("client tracking on", "CLIENT tracking"),
            ("EVALSHA 0a1b 1 lock token", "EVALSHA lock"),
            ("EVALSHA 0a1b 0 argument", "EVALSHA"),
            ("AUTH secret", "AUTH"),
        ] {
            let label = Label::of(&request(command)).expect("has words");
            assert_eq!(label.text(), name);
        }
    }

    #[test]
    fn a_fault_of_the_same_kind_and_frames_replaces_the_one_before() {
        let mut faults = Faults::default();
        let seconds = Duration::from_secs;
        faults.set(Fault::delay(Frames::replies(), seconds(1)));
        faults.set(Fault::delay(Frames::replies().of("GET"), seconds(2)));
        faults.set(Fault::delay(Frames::replies(), seconds(4)));
        assert_eq!(faults.delay(0.5, |_| true), seconds(6));
        faults.set(Fault::truncate(Frames::replies(), 1));
        faults.set(Fault::truncate(Frames::replies(), 2));
        assert!(faults.strike(|_| true).is_some());
        assert!(faults.strike(|_| true).is_some());
        assert_eq!(faults.strike(|_| true), None);
    }
}
