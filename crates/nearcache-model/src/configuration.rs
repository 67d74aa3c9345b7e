//! Which part of the state space is looked at: what may happen, and how often.

use crate::state::Stamp;

/// How to invalidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// `delete`.
    Delete,
    /// `set`.
    Set,
    /// `invalidate_tag`.
    Tag,
    /// `clear`.
    Clear,
    /// `mark_stale`, which ends the value's freshness and not the value.
    Mark,
    /// `mark_tag_stale`: the same, for what carries the tag.
    MarkTag,
}

/// How `set` stores and fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetForm {
    /// Both in one step: MULTI or a script.
    OneStep,
    /// SET, then UNLINK in one pipeline.
    ThenUnlink,
}

/// How `delete` unlinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteForm {
    /// Both in one command.
    OneStep,
    /// `L`, then `s` in one pipeline.
    LeaseFirst,
}

/// Who sees to the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// There are none.
    None,
    /// Commands: V is read after ACQUIRE, created by SET NX, and read again before FILL.
    Commands,
    /// The scripts: ACQUIRE reads V, creating it, and FILL compares it. `invalidate_tag` removes V.
    Scripts,
    /// The load says at its end what its tags are: V is read, and created, after it; ACQUIRE reads an
    /// *epoch*, which `invalidate_tag` removes before any V, and FILL compares both.
    Brought,
    /// On a Cluster, where a script names `s` and `L` only. V is read before the load, created by SET NX
    /// and then read, and is read again beside FILL, which does not wait for it: what is stored under a V
    /// that has moved is dead. `invalidate_tag` removes the epoch, which nobody reads here, and then V.
    ClusterNamed,
    /// On a Cluster, for a load that says at its end what its tags are. The epoch is read before the load;
    /// after it V, and once that reply is there the epoch again: FILL is sent only if it is there and has
    /// not moved. Either is created by SET NX and then read. `invalidate_tag` removes the epoch and, once
    /// that is acknowledged, V.
    ClusterBrought,
}

/// A replica that lags. A Cluster keeps V, the epoch and `s` on different nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// There is none.
    None,
    /// Of V's primary.
    OfTag,
    /// Of the epoch's primary.
    OfEpoch,
    /// Of the primary of `s` and `L`. It is not read from.
    OfSlot,
}

/// What the store holds at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing; with tags, V neither.
    Empty,
    /// An entry past its soft expiry, live by its tags.
    Soft,
    /// A dead entry: its tags have moved, or it is corrupt.
    Dead,
}

/// What may happen in a run, and how often. Whatever is allowed and not counted may happen at any step,
/// again and again.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// Its name in the table.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// Whether the value has a tag, and who sees to it.
    pub tags: Tags,
    /// What the store holds at first.
    pub starts: &'static [Start],
    /// Callers in each process.
    pub callers: [u8; 2],
    /// Calls of each caller, one or two.
    pub calls: u8,
    /// Invalidating writes in each process.
    pub writes: [u8; 2],
    /// Their kinds.
    pub kinds: &'static [Invalidation],
    /// Calls of `refresh` in each process, at most one.
    pub refreshes: [u8; 2],
    /// How `delete` is done.
    pub delete: DeleteForm,
    /// How `set` is done.
    pub set: SetForm,
    /// Foreign SETs, at most one.
    pub foreign: u8,
    /// Connections lost, at most one.
    pub losses: u8,
    /// Commands redirected to another node, at most one. Only a `delete` of two steps is told apart: the
    /// others are sent again and nothing has happened.
    pub redirects: u8,
    /// Which key's primary has a replica that lags.
    pub replica: Replica,
    /// Failovers of that primary, at most one. All writes are `invalidate_tag` then; or, where it is that of `s` and
    /// `L`, each is a `delete`, or a `set`, which is replayed as a `delete`.
    pub failovers: u8,
    /// Moves of the slot of `s` and `L` to another node while `clear` scans, at most one. (It shares its count with
    /// `redirects`.)
    pub moves: bool,
    /// `s` may expire or be evicted. Where `set` has two steps: not between them if `keeps_new`.
    pub evicts_entry: bool,
    /// What is set outlives the `set` of two steps.
    pub keeps_new: bool,
    /// `L` may expire or be evicted.
    pub expires_lease: bool,
    /// V and the epoch may be evicted.
    pub evicts_tag: bool,
    /// Entries have a soft expiry.
    pub softens: bool,
    /// Callers take nothing stale, also not in place of an error.
    pub strict: bool,
    /// Callers may go away.
    pub cancels: bool,
    /// A refresh is a flight that callers can join; else a task beside the flight.
    pub joins_refresh: bool,
    /// Loads may fail.
    pub errors: bool,
    /// Who waits for another's load may lose patience.
    pub timeouts: bool,
    /// Loads renew their lease.
    pub renews: bool,
    /// A local invalidation detaches the flight.
    pub detaches: bool,
    /// Property 7 is asked for.
    pub one_load: bool,
    /// Property 6 is asked for on every path, not only in the last state.
    pub progress: bool,
}

/// One caller in each process, nothing goes wrong, nobody writes.
pub const CALM: Configuration = Configuration {
    name: "calm",
    shows: "",
    tags: Tags::None,
    starts: &[Start::Empty],
    callers: [1, 1],
    calls: 1,
    writes: [0, 0],
    kinds: &[],
    refreshes: [0, 0],
    delete: DeleteForm::OneStep,
    set: SetForm::OneStep,
    foreign: 0,
    losses: 0,
    redirects: 0,
    replica: Replica::None,
    failovers: 0,
    moves: false,
    evicts_entry: false,
    keeps_new: false,
    expires_lease: false,
    evicts_tag: false,
    softens: false,
    strict: false,
    cancels: false,
    joins_refresh: false,
    errors: false,
    timeouts: false,
    renews: false,
    detaches: false,
    one_load: false,
    progress: false,
};

impl Configuration {
    /// Whether the value has a tag.
    pub fn tagged(&self) -> bool {
        self.tags != Tags::None
    }

    /// Whether an entry is another program's, which names no tags, where entries of ours do: such a one is
    /// live whatever V is, and `invalidate_tag` promises nothing about it.
    pub fn foreign_tagless(&self, stamp: Stamp) -> bool {
        self.tagged() && self.foreign > 0 && stamp == Stamp::NONE
    }

    /// Whether the scripts see to the tags.
    pub fn scripts(&self) -> bool {
        matches!(self.tags, Tags::Scripts | Tags::Brought)
    }

    /// Whether `invalidate_tag` moves an epoch before V.
    pub fn has_epoch(&self) -> bool {
        matches!(
            self.tags,
            Tags::Brought | Tags::ClusterNamed | Tags::ClusterBrought
        )
    }
}
