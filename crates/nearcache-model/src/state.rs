//! What a state consists of: the server, the source of truth, two processes, the network.
//!
//! Names that only have to differ are small numbers with 0 for "none": [`Token`], and [`Stamp`], a tag's
//! version or the epoch's. A new one is the smallest that nobody holds: what nobody holds, nobody can compare
//! with. Real ones are 128 random bits.

/// How many processes there are.
pub const PROCESSES: usize = 2;
/// How many callers each has at most.
pub const CALLERS: usize = 2;
/// How many runs of the protocol a process has at most at one time: a flight, and in the background a
/// refresh or a flight that was detached.
pub const TASKS: usize = 2;

/// What a lease holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token(pub u8);

/// A tag's version, which is what V holds; or the epoch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(pub u8);

impl Token {
    /// No lease.
    pub const NONE: Token = Token(0);
}

impl Stamp {
    /// None: the key is missing.
    pub const NONE: Stamp = Stamp(0);
}

/// How old an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Age {
    /// Before its soft expiry.
    #[default]
    Fresh,
    /// After it.
    Soft,
    /// Not an entry of this version, or damaged: dead whatever its tags.
    Corrupt,
}

/// What is stored under `s`. Two equal entries have equal bytes: the same digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Which version of the source it holds.
    pub version: u8,
    /// V as its loader saw it; none in a configuration without tags.
    pub stamp: Stamp,
    /// Its age.
    pub age: Age,
}

/// What Redis holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// `s`.
    pub entry: Option<Entry>,
    /// `L`.
    pub lease: Token,
    /// `V`.
    pub tag: Stamp,
    /// What V was before it was last marked stale: an entry of that version is stale, not dead. (The library keeps
    /// eight; what comes before them is dead, as here what comes before this one.)
    pub stale: Stamp,
    /// What moves with every tag, for loads that learn their tags only at their end.
    pub epoch: Stamp,
    /// What a replica has, which lags; nothing where no replica matters.
    pub copy: Copied,
}

/// What a replica has of its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// V, or the epoch.
    Stamp(Stamp),
    /// `s` and `L`, which are in one slot.
    Slot(Option<Entry>, Token),
}

impl Default for Copied {
    fn default() -> Self {
        Copied::Stamp(Stamp::NONE)
    }
}

/// How far a run of the protocol is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// There is none.
    #[default]
    Nowhere,
    /// GET is next.
    Ask,
    /// An entry is in hand, and V is to be read to judge it.
    Judge,
    /// ACQUIRE is next.
    Acquire,
    /// The lease is another's.
    Waiting,
    /// The lease is ours; V is next.
    Mine,
    /// V, or the epoch, is missing and to be created.
    Create,
    /// The load is next.
    Ready,
    /// The load is under way.
    Loading,
    /// The load is done and has named its tags. V is next, and there is no error of the loader's any more.
    Named,
    /// The same, and V is missing and to be created.
    CreateNamed,
    /// V's reply is there; the epoch is to be read again.
    EpochNext,
    /// The load is done and what was to be read again has not moved.
    Checked,
    /// It has moved: the lease is to be released.
    Moved,
    /// FILL has stored, and what was sent beside it, the second read of V, is on its way.
    Filled,
    /// An unleased load is under way.
    Alone,
    /// There is an answer, from a command.
    Give,
    /// There is a stale answer, from a command, and a refresh to begin.
    GiveStale,
    /// There is an answer from a load that has stored nothing: for those who joined before its loader was called.
    GiveLoaded,
    /// There is an answer for the leader only.
    GiveLeader,
    /// A forced refresh has stored nothing: its `delete` is next.
    Unlink,
    /// UNLINK `s` is the second step of that `delete`.
    UnlinkEntry,
}

/// Why a run of the protocol loads. `read_through::plan::Way`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Its leader found nothing usable.
    #[default]
    Miss,
    /// A refresh in the background, which is skipped if another load runs.
    Refresh,
    /// `refresh`, which takes the lease from whoever has it.
    Force,
}

/// One run of the protocol: a flight, or a refresh, which is one without callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// How far it is.
    pub at: At,
    /// Why it loads.
    pub way: Way,
    /// The token of its last ACQUIRE.
    pub token: Token,
    /// How it saw `s`: the entry to be judged, or the one that it judged unusable.
    pub seen: Option<Entry>,
    /// Whether what it saw may be the answer if the load fails.
    pub stale: bool,
    /// V for the entry to store.
    pub stamp: Stamp,
    /// The epoch before the load.
    pub epoch: Stamp,
    /// The version that was loaded, or that is the answer.
    pub value: u8,
}

/// How far a caller is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has not called yet.
    #[default]
    New,
    /// It leads a flight.
    Leads,
    /// It has joined one.
    Joined,
    /// It is to ask again.
    Again,
    /// It has its answer, or went away, and calls no more.
    Done,
}

/// What may answer one who has joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Covered {
    /// Nothing yet: it joined after all that was sent.
    #[default]
    No,
    /// The last command.
    ByCommand,
    /// That, and the load, since its loader was called after it joined.
    ByLoad,
}

/// One who calls `remember`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// How far it is.
    pub phase: Phase,
    /// In which task of its process.
    pub slot: u8,
    /// Whether what its flight waits for began after it joined.
    pub covered: Covered,
    /// Calls left after this one.
    pub calls: u8,
    /// The newest version whose invalidation had returned when it called; or whose mark, if it takes nothing stale.
    pub floor: u8,
}

/// How far a writer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writing {
    /// At rest.
    #[default]
    Idle,
    /// The source is changed, the invalidation is next.
    Changed,
    /// UNLINK `L` is the second step of a `delete`.
    EntryDeleted,
    /// UNLINK `s` is the second step of a `delete`.
    LeaseDeleted,
    /// The same; UNLINK `L` was redirected, and has done nothing.
    LeaseRedirected,
    /// V is next in an `invalidate_tag`.
    EpochMoved,
    /// V is next in a `mark_tag_stale`.
    EpochMovedToMark,
    /// The epoch is next in an `invalidate_tag`.
    TagMoved,
    /// V is read, SET is next.
    SetReady,
    /// `set` stored, UNLINK `L` is next.
    SetStored,
    /// `set` unlinked, SET is next.
    SetUnlinked,
    /// `clear` scans the lease keys.
    Leases,
    /// Its page names the lease key.
    LeaseFound,
    /// `clear` is to scan the stored keys.
    LeasesDone,
    /// `clear` scans the stored keys.
    Entries,
    /// Its page names the stored key.
    EntryFound,
    /// `clear` is to scan the lease keys, although the stored ones are gone already.
    EntriesDone,
}

/// One who changes the source and invalidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// How far it is.
    pub at: Writing,
    /// Writes left after this one.
    pub left: u8,
    /// The version that it writes; at rest, while a failover may come, the one to be replayed then.
    pub version: u8,
    /// V, for what it sets.
    pub stamp: Stamp,
    /// The key that its scan looks for was absent at some moment since the scan began.
    pub may_miss: bool,
    /// The slot was moved to another node since the scan began.
    pub moved: bool,
}

/// One program that uses the library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The flight, and what goes on in the background.
    pub tasks: [Task; TASKS],
    /// Who calls.
    pub callers: [Caller; CALLERS],
    /// Who writes.
    pub writer: Writer,
    /// Calls of `refresh` that are left.
    pub refreshes: u8,
}

/// A command whose connection was lost: the server may still carry it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// There is none.
    #[default]
    Nothing,
    /// ACQUIRE.
    Acquire(Token, Option<Entry>),
    /// FILL with token, seen, value, epoch.
    Fill(Token, Option<Entry>, Entry, Stamp),
    /// SET V, or UNLINK V.
    Invalidate(Stamp),
    /// SET V NX.
    Create(Stamp),
    /// UNLINK of the epoch.
    InvalidateEpoch,
    /// SET of the epoch, NX.
    CreateEpoch(Stamp),
    /// ACQUIRE of a `refresh`.
    Take(Token),
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Redis.
    pub server: Server,
    /// The version of the source of truth.
    pub source: u8,
    /// The newest version whose invalidation has returned.
    pub floor: u8,
    /// The newest version whose mark has returned.
    pub marked: u8,
    /// Loads begun, up to three.
    pub loads: u8,
    /// Plain SETs that others may still do.
    pub foreign: u8,
    /// Connections that may still be lost.
    pub losses: u8,
    /// Commands that may still be redirected, and moves of the slot that `clear` scans.
    pub redirects: u8,
    /// Failovers that may still happen.
    pub failovers: u8,
    /// What the network holds back.
    pub late: Late,
    /// Who uses the library.
    pub processes: [Process; PROCESSES],
}

impl State {
    /// Visits every token.
    pub fn tokens(&mut self, mut visit: impl FnMut(&mut Token)) {
        visit(&mut self.server.lease);
        if let Copied::Slot(_, token) = &mut self.server.copy {
            visit(token);
        }
        match &mut self.late {
            Late::Acquire(token, _) | Late::Fill(token, ..) | Late::Take(token) => visit(token),
            Late::Nothing
            | Late::Invalidate(_)
            | Late::Create(_)
            | Late::InvalidateEpoch
            | Late::CreateEpoch(_) => {}
        }
        for task in self
            .processes
            .iter_mut()
            .flat_map(|process| &mut process.tasks)
        {
            visit(&mut task.token);
        }
    }

    /// Visits every value of V, and of the epoch.
    pub fn stamps(&mut self, mut visit: impl FnMut(&mut Stamp)) {
        fn of(entry: &mut Option<Entry>, visit: &mut impl FnMut(&mut Stamp)) {
            if let Some(entry) = entry {
                visit(&mut entry.stamp);
            }
        }
        visit(&mut self.server.tag);
        visit(&mut self.server.stale);
        visit(&mut self.server.epoch);
        match &mut self.server.copy {
            Copied::Stamp(stamp) => visit(stamp),
            Copied::Slot(entry, _) => of(entry, &mut visit),
        }
        of(&mut self.server.entry, &mut visit);
        match &mut self.late {
            Late::Nothing | Late::InvalidateEpoch | Late::Take(_) => {}
            Late::Acquire(_, seen) => of(seen, &mut visit),
            Late::Fill(_, seen, value, epoch) => {
                of(seen, &mut visit);
                visit(&mut value.stamp);
                visit(epoch);
            }
            Late::Invalidate(stamp) | Late::Create(stamp) | Late::CreateEpoch(stamp) => {
                visit(stamp);
            }
        }
        for process in &mut self.processes {
            for task in &mut process.tasks {
                of(&mut task.seen, &mut visit);
                visit(&mut task.stamp);
                visit(&mut task.epoch);
            }
            visit(&mut process.writer.stamp);
        }
    }

    /// A token that nobody holds.
    pub fn fresh_token(&self) -> Token {
        let mut used = 1_u32;
        let mut copy = *self;
        copy.tokens(|token| used |= 1 << token.0);
        Token(smallest_free(used))
    }

    /// A value of V that nobody holds.
    pub fn fresh_stamp(&self) -> Stamp {
        let mut used = 1_u32;
        let mut copy = *self;
        copy.stamps(|stamp| used |= 1 << stamp.0);
        Stamp(smallest_free(used))
    }
}

fn smallest_free(used: u32) -> u8 {
    u8::try_from(used.trailing_ones()).expect("at most 32")
}
