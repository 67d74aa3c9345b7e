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
    /// A caller calls: leads a new flight or joins the one under way. `read_through::flight`: `Flights::join`.
    Join,
    /// A joiner that was not answered asks again: leads or joins the next flight. `read_through::flight`:
    /// `Waiter::turn`.
    AskAgain,
    /// A flight ends: its leader and the joiners it may answer have their answer, the others are to ask again.
    /// `read_through::flight`: `Leader::answer`, `Leader::fenced`.
    Answer,
    /// `s` is read. (Here by the leader, after it began to lead; a caller that reads first and joins later has
    /// less to be promised.) `cache::remember`: `Core::read_for`.
    Get,
    /// V is read: to judge an entry, or for an entry to be stored. `read_through::tags`: `judge`,
    /// `make_versions`; scripts ACQUIRE and TAGS of `read_through::lease`.
    ReadTags,
    /// A load, or a `set`, that found V missing creates it by SET NX. Scripts ACQUIRE and TAGS of
    /// `read_through::lease` do it in the step that reads.
    CreateTag,
    /// The epoch is read, before a load that names its tags at its end. Script ACQUIRE of
    /// `read_through::lease` does it; on a Cluster a command of its own.
    ReadEpoch,
    /// A load that found the epoch missing creates it by SET NX. As `ReadEpoch`.
    CreateEpoch,
    /// The epoch is read again, after V. Script FILL of `read_through::lease` compares it; on a Cluster a
    /// command of its own reads it.
    ReadEpochAgain,
    /// The second read of V, after the load. Script FILL of `read_through::lease` does it in the step that
    /// stores.
    ReadTagsAgain,
    /// Script ACQUIRE. `read_through::lease::ACQUIRE`, sent by `read_through::lead`: `Engine::acquire`.
    Acquire,
    /// Script ACQUIRE of a `refresh`, which takes the lease from whoever has it. As `Acquire`, with `Way::Force`.
    Take,
    /// A `refresh` that has stored nothing deletes: UNLINK `s` and `L`, or the one of the two that comes first, or
    /// last. `read_through::lead`: `Engine::end`.
    RefreshDeletes,
    /// A `refresh` that got no reply to ACQUIRE has loaded, and stores nothing. `read_through::lead`: `Engine::settle`.
    RefreshEnds,
    /// Script FILL. `read_through::lease::FILL`, sent by `read_through::lead`: `Engine::fill`.
    Fill,
    /// Script RENEW: compare-and-PEXPIRE. `read_through::lease::RENEW`, sent by `read_through::fill`:
    /// `Renewal::renew`.
    Renew,
    /// Script RELEASE, after a tag has moved: compare-and-delete. `read_through::lease::RELEASE`, sent by
    /// `read_through::fill`: `Held::release`.
    Release,
    /// A leased load begins and reads the source. `read_through::lead`: `Engine::load`.
    Load,
    /// A leased load fails and its lease is released. `read_through::lead`: `Engine::release`.
    LoadFails,
    /// An unleased load begins and reads the source. `read_through::lead`: `Lead::is_unleased`; a joiner's:
    /// `Role::Substitute` of `read_through::flight`.
    LoadAlone,
    /// A leader that waits for another's load looks at `s`. `read_through::lead`: `lead`, which asks by
    /// ACQUIRE.
    Wait,
    /// A stale value is the answer, and a refresh begins. `cache::remember`: `Read::Due`.
    Refresh,
    /// A caller goes away; a load that it began goes on. The drop of `remember`'s future.
    Cancel,
    /// The application changes the source of truth, before it invalidates.
    ChangeSource,
    /// UNLINK `s` and `L`, or the one of the two that comes first, or last. `read_through::delivery::unlink`,
    /// `cache::batch::delete_many`.
    Delete,
    /// On a Cluster, a command of a `delete` of two steps is sent to the wrong node, which says so and does
    /// nothing.
    Redirect,
    /// `set` with tags reads V, creating it. `cache::write::Set`.
    SetReadsTags,
    /// SET `s` and UNLINK `L` in one step, or the one of the two that comes first. `cache::write::Set`.
    Set,
    /// The second step of a `set` of two steps. `cache::write::Set`.
    SetEnds,
    /// UNLINK V, or SET V to a fresh value. `cache::tags::invalidate_tags`.
    InvalidateTag,
    /// UNLINK of the epoch, where loads name their tags at their end. `cache::tags::invalidate_tags`,
    /// `read_through::mark`: `ReadThrough::mark_tags`.
    InvalidateEpoch,
    /// Script MARK: `s` is stale, and `L` is unlinked. `read_through::change::MARK`, sent by `read_through::mark`:
    /// `ReadThrough::mark`.
    Mark,
    /// Script MARK_TAG: a version in front of V's. `read_through::change::MARK_TAG`, sent by `read_through::mark`:
    /// `ReadThrough::mark_tags`.
    MarkTag,
    /// `clear` starts its scan over the lease keys. `resilience::sweep::matching`.
    ClearLeases,
    /// `clear` starts its scan over the stored keys. `resilience::sweep::matching`.
    ClearKeys,
    /// A page of `clear`'s scan names the key. `resilience::sweep::page`.
    ClearFinds,
    /// `clear` unlinks the key that its scan named. `resilience::sweep::unlink`.
    ClearUnlinks,
    /// `clear`'s scan ends without the key, which was not there all the time. `resilience::sweep::page`.
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
    /// The replica catches up.
    Replicate,
    /// The slot of `s` and `L` is moved to another node, which a scan may have passed.
    MoveSlot,
    /// The replica becomes the primary, and what is there is what it had. Invalidations that had returned are
    /// replayed, and promise nothing until they are.
    FailOver,
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
    /// V, or the epoch, is missing.
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
