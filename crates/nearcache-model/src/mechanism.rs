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
    /// Of rule 2, the tagged load: its joiners are those who came before the second read of V, not
    /// before FILL.
    TaggedJoinersByReread,
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
    /// `clear` goes through the leases first.
    ClearLeasesFirst,
    /// V is random. Taken out: INCR.
    TagIsRandom,
    /// Each `SET V` sent has a value of its own, also one that is sent again.
    StampPerInvalidation,
    /// Each `SET V NX` sent has a value of its own, also one that is sent again.
    StampPerCreation,
    /// An entry carries V as it was before its load. Taken out: after.
    TagsReadBeforeLoad,
    /// A load reads V again before FILL; or FILL compares it, where scripts see to the tags.
    TagsReadAgain,
    /// FILL compares the epoch, for a load that learned its tags at its end.
    FillComparesEpoch,
    /// `invalidate_tag` moves the epoch, then V.
    EpochMovesFirst,
    /// A missing V makes an entry dead.
    MissingTagIsDead,
    /// A load that finds V missing creates it. Taken out: the entry carries "missing".
    MissingTagIsCreated,
}
