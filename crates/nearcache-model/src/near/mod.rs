//! The near tier of one process: every order in which its reads, its own writes, those of others, the news and the loss of
//! its connection can happen. It is a model of its own, apart from that of the load: a value goes near only from a read,
//! or from a FILL, whose rules the other model checks.
//!
//! # What is shown
//!
//! Whoever asks is answered from the near tier only if it holds an entry, and what carries the news carries. Then:
//!
//! 1. The entry is not older than what this process itself has written, or tried to write, once that has returned.
//! 2. It is not older than a change whose news have arrived, of the key or of the entry's tag.
//! 3. After a new connection, it is not older than what was there when the connection was made: of the key, or of the
//!    tag, if each is at a node of its own and has a connection of its own.
//! 4. When nothing is on its way any more, it is what the server holds: nothing was missed for good.
//!
//! All of that holds in each of [`configurations`]; and each [`Piece`] is needed in one of them.
//!
//! # What a state is
//!
//! The versions of a key and of its tag on the server; whether the server tracks them for the connection that reads; what is on its way
//! on each connection, in order; two reads, a write and a FILL of this process, each in its phase; and the entry. A step
//! is one command as the server carries it out, one message as it arrives, one step of a caller, or a mishap.
//!
//! # Abstractions
//!
//! - There is no time. `near_ttl`, the TTL of an entry and a silent connection only end entries.
//! - A change is a higher version, so "older" is "less". A FILL writes what it has loaded as a new version. (What the load may store is the other model's.)
//! - Marks are exact here. In the library keys share them, which spoils more of them.

mod step;

use std::collections::{HashMap, VecDeque};

pub use step::Step;

/// How the news come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// On the connection that reads and writes, which is not told of its own writes (`NOLOOP`).
    One,
    /// Over a connection of its own, all that are changed (`BCAST`).
    Two,
    /// The same in a Cluster, over a connection of its own to each node. The key is at one node, its tag at another:
    /// their news may overtake each other, and each of the connections may be lost alone.
    Nodes,
}

/// A piece of the protocol that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// A read marks its key before it is sent.
    Mark,
    /// Each read has a mark of its own.
    MarkOfRead,
    /// A tagged read marks its tag before the version is read.
    MarkOfTag,
    /// News of a tag end its entries.
    Cell,
    /// An own write ends the entry, and spoils marks, when it is over.
    PoisonAfter,
    /// And when its caller gives up.
    PoisonGivenUp,
    /// FILL reads what it has written.
    FillReads,
    /// The loss of the connection ends what it carried.
    Loss,
    /// An entry is carried by the node of its tag, too.
    CarriedByTag,
}

impl Piece {
    /// All of them.
    pub const ALL: [Piece; 9] = [
        Piece::Mark,
        Piece::MarkOfRead,
        Piece::MarkOfTag,
        Piece::Cell,
        Piece::PoisonAfter,
        Piece::PoisonGivenUp,
        Piece::FillReads,
        Piece::Loss,
        Piece::CarriedByTag,
    ];
}

/// What can happen, and what is taken out.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// How the news come.
    pub carrier: Carrier,
    /// How many reads there are at a time.
    pub reads: usize,
    /// Whether the entry has a tag.
    pub tag: bool,
    /// Whether this process writes, and may give up.
    pub writes: bool,
    /// Whether it fills.
    pub fills: bool,
    /// How many changes others make.
    pub changes: u8,
    /// Whether a connection may be lost, once.
    pub loss: bool,
    /// What is taken out.
    pub without: Option<Piece>,
}

/// What is looked at, whole.
#[must_use]
pub fn configurations() -> Vec<Configuration> {
    let mut all = Vec::new();
    for carrier in [Carrier::One, Carrier::Two, Carrier::Nodes] {
        let plain = Configuration {
            carrier,
            reads: 2,
            tag: false,
            writes: false,
            fills: false,
            changes: 2,
            loss: false,
            without: None,
        };
        all.extend([
            plain,
            Configuration {
                tag: true,
                reads: 1,
                ..plain
            },
            Configuration {
                writes: true,
                ..plain
            },
            Configuration {
                fills: true,
                reads: 1,
                ..plain
            },
            Configuration {
                loss: true,
                ..plain
            },
            Configuration {
                writes: true,
                reads: 1,
                loss: true,
                ..plain
            },
            Configuration {
                writes: true,
                fills: true,
                reads: 1,
                ..plain
            },
            Configuration {
                tag: true,
                writes: true,
                reads: 1,
                changes: 1,
                ..plain
            },
            Configuration {
                tag: true,
                loss: true,
                reads: 1,
                ..plain
            },
            Configuration {
                tag: true,
                loss: true,
                reads: 2,
                changes: 1,
                ..plain
            },
            Configuration {
                tag: true,
                writes: true,
                loss: true,
                reads: 1,
                changes: 1,
                ..plain
            },
        ]);
    }
    // Without a tag, one node is concerned: that is two connections.
    all.retain(|configuration| configuration.carrier != Carrier::Nodes || configuration.tag);
    all
}

/// What one look has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many states there are.
    pub states: usize,
    /// The shortest run that goes wrong, and how.
    pub wrong: Option<(Vec<Step>, &'static str)>,
}

/// Looks at every state, breadth first.
#[must_use]
pub fn look(configuration: Configuration) -> Found {
    let first = State::new(configuration);
    let mut known: HashMap<State, Option<(State, Step)>> = HashMap::from([(first.clone(), None)]);
    let mut waiting = VecDeque::from([first]);
    while let Some(state) = waiting.pop_front() {
        if let Some(why) = state.wrong() {
            let mut steps = Vec::new();
            let mut at = state;
            while let Some(Some((before, step))) = known.get(&at) {
                steps.push(*step);
                at = before.clone();
            }
            steps.reverse();
            let states = known.len();
            return Found {
                states,
                wrong: Some((steps, why)),
            };
        }
        for (step, next) in state.steps(configuration) {
            if !known.contains_key(&next) {
                known.insert(next.clone(), Some((state.clone(), step)));
                waiting.push_back(next);
            }
        }
    }
    Found {
        states: known.len(),
        wrong: None,
    }
}

/// The key and its tag.
pub(crate) const KEY: usize = 0;
pub(crate) const TAG: usize = 1;

/// A read of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Read {
    #[default]
    Idle,
    /// The command is on its way, or its reply.
    Asked { mark: bool },
    /// The value is here.
    Found { mark: bool, value: Value },
    /// The version of its tag is asked for.
    AskedTag {
        mark: bool,
        tag_mark: bool,
        value: Value,
    },
    /// That is here, too.
    FoundTag {
        mark: bool,
        tag_mark: bool,
        value: Value,
        tag: u8,
    },
}

/// A value: its version, and that of its tag when it was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Value {
    pub(crate) version: u8,
    pub(crate) tag: u8,
}

/// A write or a FILL of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    #[default]
    Idle,
    /// It is announced, and not sent yet.
    Announced {
        mark: bool,
    },
    /// It is sent. `given_up`: nobody waits for it.
    Sent {
        mark: bool,
        given_up: bool,
    },
    Done,
}

/// What is on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    Read { who: u8, key: u8 },
    Write,
    Fill,
}

/// What is on its way from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Reply { who: u8, value: Value },
    ReplyTag { who: u8, tag: u8 },
    Written { version: u8 },
    Filled { version: u8 },
    News { key: u8, version: u8 },
}

/// What is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) version: u8,
    pub(crate) tag: u8,
    /// Whether what carried its news when it was read has carried since.
    pub(crate) carried: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// On the server: the versions, and whether the connection that reads is told of changes.
    pub(crate) versions: [u8; 2],
    /// The version of the tag that the value carries.
    pub(crate) carries: u8,
    pub(crate) tracked: [bool; 2],
    /// What is on its way. With more than one connection, the news are in `news`; the requests of each caller may then overtake each other.
    pub(crate) requests: Vec<Request>,
    pub(crate) replies: Vec<Message>,
    pub(crate) news: Vec<Message>,
    /// Writes of a connection that was lost, which may still be carried out.
    pub(crate) late: bool,
    pub(crate) reads: Vec<Read>,
    pub(crate) write: Write,
    pub(crate) fill: Write,
    pub(crate) entry: Option<Entry>,
    /// The least versions that may be answered.
    pub(crate) least: [u8; 2],
    pub(crate) changes: u8,
    pub(crate) lost: bool,
}
