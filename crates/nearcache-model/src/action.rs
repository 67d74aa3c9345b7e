//! The names of everything that can happen. The library's code points to these names, so they are stable;
//! each says which function of the library it stands for.
//!
//! An action is what one party does without anybody coming between: it takes the answer to its last
//! command, decides, sends the next command, and the server carries that out. What lies between two
//! actions is the time in which others act.

/// An enum without fields that can list its variants.
macro_rules! listed {
    ($(#[$doc:meta])* $name:ident: $($(#[$of:meta])* $variant:ident,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$of])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant,)*];
        }
    };
}
pub(crate) use listed;

listed! {
    /// What happens in one step.
    Action:
    /// A caller calls: leads a new flight or joins the one under way. `read_through::flight::Flight::join`.
    Join,
    /// A joiner that was not answered asks again. `read_through::flight::Flight::join`, next round.
    AskAgain,
    /// A flight ends: its leader and the joiners it may answer have their answer, the others are to ask
    /// again. `read_through::flight::lead`.
    Answer,
    /// The leader reads `s`. `read_through::flight::lead`.
    Get,
    /// V is read: to judge an entry, or for an entry about to be loaded. `read_through::tags::read`.
    ReadTags,
    /// A load that found V missing creates it by SET NX. `read_through::tags::read`.
    CreateTag,
    /// The second read of V, after the load. `read_through::tags::read_again`, `moved`.
    ReadTagsAgain,
    /// Script ACQUIRE. `read_through::lease::acquire`.
    Acquire,
    /// Script FILL. `read_through::lease::fill`.
    Fill,
    /// Script RENEW: compare-and-PEXPIRE. `read_through::lease::renew`.
    Renew,
    /// Script RELEASE, after a tag has moved: compare-and-delete. `read_through::lease::release`.
    Release,
    /// A leased load begins and reads the source. `read_through::load`.
    Load,
    /// A leased load fails and its lease is released. `read_through::load`, `read_through::lease::release`.
    LoadFails,
    /// An unleased load begins and reads the source. `read_through::load`.
    LoadAlone,
    /// A leader that waits for another's load looks at `s`. `read_through::wait`.
    Wait,
    /// A stale value is the answer, and a refresh begins. `read_through::refresh`.
    Refresh,
    /// A caller goes away; a load that it began goes on. The drop of `remember`'s future.
    Cancel,
    /// The application changes the source of truth, before it invalidates.
    ChangeSource,
    /// UNLINK `s` and `L`. `cache::write::delete`.
    Delete,
    /// `set` with tags reads V, creating it. `cache::write::Set`.
    SetReadsTags,
    /// SET `s` and UNLINK `L` in one step, or the one of the two that comes first. `cache::write::Set`.
    Set,
    /// The second step of a `set` of two steps. `cache::write::Set`.
    SetEnds,
    /// SET V to a fresh value. `cache::tags::invalidate`.
    InvalidateTag,
    /// `clear` starts its scan over the lease keys. `cache::scan::clear`.
    ClearLeases,
    /// `clear` starts its scan over the stored keys. `cache::scan::clear`.
    ClearKeys,
    /// A page of `clear`'s scan names the key. `cache::scan::clear`.
    ClearFinds,
    /// `clear` unlinks the key that its scan named. `cache::scan::clear`.
    ClearUnlinks,
    /// `clear`'s scan ends without the key, which was not there all the time. `cache::scan::clear`.
    ClearMisses,
    /// `s` expires or is evicted.
    ExpireEntry,
    /// `L` expires or is evicted.
    ExpireLease,
    /// V expires or is evicted.
    EvictTag,
    /// The epoch expires or is evicted.
    EvictEpoch,
    /// The entry passes its soft expiry.
    SoftExpire,
    /// A client that is not ours changes the source and plainly SETs `s`.
    ForeignSet,
    /// The connection is lost under a command: the server will carry it out late, or never.
    Lose,
    /// The server carries out the command of a lost connection.
    Arrive,
}

listed! {
    /// How an action went, where it can go more than one way.
    Outcome:
    /// There is one way only.
    Plain,
    /// A caller leads the flight.
    Leads,
    /// A caller joined a flight.
    Joins,
    /// Nothing there.
    Absent,
    /// An entry, to be judged by its tags.
    ToBeJudged,
    /// A live entry.
    Live,
    /// A stale entry, good enough for an answer.
    Stale,
    /// A stale entry, good enough only if the load fails.
    TooStale,
    /// A dead entry.
    Dead,
    /// The lease is ours.
    Mine,
    /// The lease is another's.
    Theirs,
    /// A refresh is not needed, or somebody else's.
    Skipped,
    /// FILL stored.
    Stored,
    /// FILL stored over an unusable entry.
    Replaced,
    /// FILL was fenced off.
    Fenced,
    /// The tag has moved.
    Moved,
    /// The tag has not moved.
    Unmoved,
    /// V is missing.
    Missing,
    /// Everybody got an error.
    Failed,
    /// A stale value for the leader in place of an error.
    StaleOnError,
    /// Everybody in the flight was answered.
    Everyone,
    /// The leader was answered, joiners are to ask again.
    LeaderOnly,
    /// The load goes on without its caller.
    GoesOn,
    /// The flight ends with its leader.
    Dropped,
    /// The command will be sent again.
    SentAgain,
    /// The command was given up.
    GivenUp,
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A caller: process, number.
    Caller(u8, u8),
    /// A flight, or what goes on in the background: process, number.
    Task(u8, u8),
    /// The one who writes and invalidates, in a process.
    Writer(u8),
    /// Expiry, eviction, the network, other programs.
    World,
}

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Who acts.
    pub who: Who,
    /// What happens.
    pub action: Action,
    /// How it goes.
    pub outcome: Outcome,
}
