//! What keeps the protocol right, piece by piece: each can be taken out, and must then be missed.

use crate::action::listed;

listed! {
    /// A mechanism of the protocol that a [`Model`](crate::Model) can be built without.
    Mechanism:
    /// FILL stores only while the lease holds the load's own token.
    FillComparesToken,
    /// FILL stores only if `s` is still as the leader saw it.
    FillComparesEntry,
    /// A joiner is answered only by what began after it joined. Taken out: by whatever the flight has.
    RuleTwo,
    /// Of rule 2, the commands: GET or ACQUIRE must be sent after it joined.
    CommandAfterJoin,
    /// Of rule 2, the unleased load: it must begin after it joined.
    AloneAfterJoin,
    /// Of rule 2, the fenced load: its joiners are those who came before its loader was called. Taken out: those who
    /// came before FILL.
    FencedAfterJoin,
    /// Of rule 2, the tagged load: its joiners are those who came before the last read of V, or of the
    /// epoch, not before the FILL that follows.
    TaggedJoinersByReread,
    /// Of rule 2, V read again beside FILL: where FILL is first, its joiners are those who came before FILL,
    /// not before V is read.
    TaggedJoinersByFill,
    /// Of stale-on-error: the stale value is the leader's only; joiners ask again.
    StaleForLeaderOnly,
    /// ACQUIRE passes by an entry that its caller has seen to be unusable.
    AcquireTakesSeen,
    /// The lease is taken by SET NX.
    LeaseIsExclusive,
    /// Each ACQUIRE sent has a token of its own, also one that is sent again.
    TokenPerAcquire,
    /// Each load has a token of its own. Taken out: one for each process.
    TokenPerLoad,
    /// A load renews its lease by compare-and-PEXPIRE. Taken out: by SET.
    RenewCompares,
    /// A load releases its lease by compare-and-delete. Taken out: by DEL.
    ReleaseCompares,
    /// `delete` is one UNLINK of `s` and `L`. Taken out: of `s` only.
    DeleteUnlinksLease,
    /// `delete` never unlinks `s` before `L`. Taken out: UNLINK `s`, then UNLINK `L`.
    DeleteLeaseFirst,
    /// `set` unlinks `L` as well.
    SetUnlinksLease,
    /// `set` stores and unlinks in one step. Taken out: SET, then UNLINK.
    SetIsAtomic,
    /// `set` never unlinks before it stores. Taken out: UNLINK, then SET.
    SetStoresFirst,
    /// A forced refresh that was fenced ends with a `delete`. Taken out: it returns what it loaded, and whatever is
    /// stored stays.
    FencedRefreshDeletes,
    /// So does one that does not know whether it was stored: it got no reply to ACQUIRE or to FILL.
    LostRefreshDeletes,
    /// `mark_stale` unlinks `L` as well.
    MarkUnlinksLease,
    /// FILL compares V with its current version; so does who reads V again beside it. Taken out: with any that it holds,
    /// the marked ones too.
    FillComparesCurrent,
    /// An entry whose V was marked is stale. Taken out: as fresh as it was.
    MarkedIsStale,
    /// `mark_tag_stale` moves the epoch as well, before V.
    MarkMovesEpoch,
    /// `clear` goes through the leases first.
    ClearLeasesFirst,
    /// V is random, and the epoch. Taken out: INCR.
    TagIsRandom,
    /// Each `SET V` sent has a value of its own, also one that is sent again.
    StampPerInvalidation,
    /// Each `SET V NX` sent has a value of its own, also one that is sent again; and so for the epoch.
    StampPerCreation,
    /// An entry carries V as it was before its load. Taken out: after.
    TagsReadBeforeLoad,
    /// A load reads V again before FILL, or beside it; or FILL compares it, where scripts see to the tags.
    TagsReadAgain,
    /// FILL compares the epoch, for a load that learned its tags at its end; or who sends FILL does.
    FillComparesEpoch,
    /// The epoch is read again only once V's reply is there. Taken out: before V is read.
    EpochReadLast,
    /// A missing epoch has moved, whatever it was.
    MissingEpochIsMoved,
    /// A load that finds the epoch missing creates it. Taken out: it carries "missing".
    MissingEpochIsCreated,
    /// V and the epoch are read from their primaries. Taken out: from a replica.
    ReadsFromPrimary,
    /// `invalidate_tag` moves the epoch, then V.
    EpochMovesFirst,
    /// `invalidate_tag` moves V only once the epoch's removal is acknowledged. Taken out: both are sent at
    /// once.
    EpochIsAcknowledged,
    /// An `invalidate_tag` caught between its two removals by a failover, or whose second one was not
    /// acknowledged, begins again. Taken out: it goes on with V.
    InterruptedBeginsAgain,
    /// What is replayed after a failover is both removals of an `invalidate_tag`, and of a `delete`. Taken out: V's; that
    /// of `s`.
    ReplayIsWhole,
    /// `clear` goes once more through what has moved to another node since its scan began. Taken out: it returns.
    MovedIsScannedAgain,
    /// A `delete` of which a command was redirected is sent again whole. Taken out: that command alone.
    RedirectedIsWhole,
    /// Readers compare V.
    ReadersCompareTags,
    /// Those who waited for another's load compare V as well, and those whom ACQUIRE gave an entry. Taken
    /// out: what was stored just now is taken for live.
    FoundIsJudged,
    /// A missing V makes an entry dead.
    MissingTagIsDead,
    /// A load that finds V missing creates it. Taken out: the entry carries "missing".
    MissingTagIsCreated,
}
