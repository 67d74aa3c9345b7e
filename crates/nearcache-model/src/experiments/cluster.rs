//! What the forms for a Cluster rest on, taken out. One write is enough for each of these.

use super::{Experiment, found, not};
use crate::configuration::{CALM, Configuration, DeleteForm, Invalidation, Replica, Start, Tags};
use crate::mechanism::Mechanism;
use crate::property::Property;

const TAG: &[Invalidation] = &[Invalidation::Tag];
const DELETE: &[Invalidation] = &[Invalidation::Delete];
const BOTH: &[Invalidation] = &[Invalidation::Tag, Invalidation::Delete];

const UNTAGGED: Configuration = Configuration {
    evicts_entry: true,
    expires_lease: true,
    callers: [2, 1],
    writes: [1, 0],
    kinds: DELETE,
    ..CALM
};

const NAMED: Configuration = Configuration {
    tags: Tags::ClusterNamed,
    kinds: TAG,
    evicts_tag: true,
    ..UNTAGGED
};

const BROUGHT: Configuration = Configuration {
    tags: Tags::ClusterBrought,
    ..NAMED
};

/// Missed in this form, but not by those who only delete.
fn missed(without: Mechanism, form: Configuration, breaks: Property) -> Experiment {
    let deletes = Configuration {
        kinds: DELETE,
        ..form
    };
    found(without, form, breaks, not("an invalidate_tag", deletes))
}

/// Missed in this form once a connection was lost.
fn missed_by_loss(without: Mechanism, form: Configuration) -> Experiment {
    let lost = Configuration { losses: 1, ..form };
    found(
        without,
        lost,
        Property::Store,
        not("a lost connection", form),
    )
}

/// Missed in this form where V is missing: here no load finds it so but after the only invalidation.
fn missed_by_missing(without: Mechanism, form: Configuration) -> Experiment {
    let there = Configuration {
        starts: &[Start::Soft],
        evicts_tag: false,
        ..form
    };
    found(without, form, Property::Store, not("a missing V", there))
}

pub(super) fn experiments() -> Vec<Experiment> {
    let mut all = rule_two();
    all.extend(tags());
    all.extend(epoch());
    all.extend(nodes());
    all
}

fn rule_two() -> Vec<Experiment> {
    let both = Configuration {
        kinds: BOTH,
        ..NAMED
    };
    vec![
        missed(Mechanism::TaggedJoinersByReread, NAMED, Property::Answer),
        missed(Mechanism::TaggedJoinersByReread, BROUGHT, Property::Answer),
        found(
            Mechanism::TaggedJoinersByFill,
            both,
            Property::Answer,
            not("a delete", NAMED),
        ),
        missed(Mechanism::TagsReadAgain, NAMED, Property::Answer),
    ]
}

fn tags() -> Vec<Experiment> {
    vec![
        missed(Mechanism::TagsReadBeforeLoad, NAMED, Property::Store),
        missed(Mechanism::ReadersCompareTags, NAMED, Property::Store),
        missed(Mechanism::ReadersCompareTags, BROUGHT, Property::Store),
        missed(Mechanism::FoundIsJudged, NAMED, Property::Answer),
        missed(Mechanism::FoundIsJudged, BROUGHT, Property::Answer),
        missed(Mechanism::MissingTagIsDead, NAMED, Property::Store),
        missed(Mechanism::MissingTagIsDead, BROUGHT, Property::Store),
        missed_by_missing(Mechanism::MissingTagIsCreated, NAMED),
        missed_by_missing(Mechanism::MissingTagIsCreated, BROUGHT),
        missed(Mechanism::TagIsRandom, NAMED, Property::Store),
        missed(Mechanism::TagIsRandom, BROUGHT, Property::Store),
        missed_by_loss(Mechanism::StampPerCreation, NAMED),
        missed_by_loss(Mechanism::StampPerCreation, BROUGHT),
    ]
}

fn epoch() -> Vec<Experiment> {
    let named = || not("tags from the load", NAMED);
    vec![
        missed(Mechanism::FillComparesEpoch, BROUGHT, Property::Store),
        missed(Mechanism::EpochReadLast, BROUGHT, Property::Store),
        missed(Mechanism::MissingEpochIsMoved, BROUGHT, Property::Store),
        missed(Mechanism::MissingEpochIsCreated, BROUGHT, Property::Store),
        found(
            Mechanism::EpochMovesFirst,
            BROUGHT,
            Property::Store,
            named(),
        ),
        found(
            Mechanism::EpochIsAcknowledged,
            BROUGHT,
            Property::Store,
            named(),
        ),
    ]
}

/// What more than one node brings with it: slots that move, replicas, failovers.
fn nodes() -> Vec<Experiment> {
    let in_two_steps = Configuration {
        delete: DeleteForm::LeaseFirst,
        ..UNTAGGED
    };
    let redirected = Configuration {
        redirects: 1,
        ..in_two_steps
    };
    let few = Configuration {
        callers: [1, 1],
        ..BROUGHT
    };
    let named = Configuration {
        tags: Tags::ClusterNamed,
        ..few
    };
    let lagging = Configuration {
        replica: Replica::OfEpoch,
        ..few
    };
    let tag_lagging = Configuration {
        replica: Replica::OfTag,
        ..named
    };
    let failing_over = Configuration {
        failovers: 1,
        ..lagging
    };
    let tag_failing_over = Configuration {
        failovers: 1,
        replica: Replica::OfTag,
        ..few
    };
    let lost = Configuration { losses: 1, ..few };
    let slot_failing_over = Configuration {
        callers: [1, 1],
        delete: DeleteForm::LeaseFirst,
        replica: Replica::OfSlot,
        failovers: 1,
        ..UNTAGGED
    };
    let clears = Configuration {
        kinds: &[Invalidation::Clear],
        moves: true,
        ..UNTAGGED
    };
    let cleared_while_moved = Configuration {
        redirects: 1,
        ..clears
    };
    vec![
        found(
            Mechanism::RedirectedIsWhole,
            redirected,
            Property::Store,
            not("a redirection", in_two_steps),
        ),
        found(
            Mechanism::ReadsFromPrimary,
            lagging,
            Property::Store,
            not("a replica that lags", few),
        ),
        found(
            Mechanism::ReadsFromPrimary,
            tag_lagging,
            Property::Answer,
            not("a replica that lags", named),
        ),
        found(
            Mechanism::InterruptedBeginsAgain,
            failing_over,
            Property::Store,
            not("a failover", lost),
        ),
        found(
            Mechanism::ReplayIsWhole,
            failing_over,
            Property::Store,
            not("a failover of the epoch", tag_failing_over),
        ),
        found(
            Mechanism::ReplayIsWhole,
            slot_failing_over,
            Property::Store,
            not("a failover", UNTAGGED),
        ),
        found(
            Mechanism::InterruptedBeginsAgain,
            slot_failing_over,
            Property::Store,
            not("a failover", UNTAGGED),
        ),
        found(
            Mechanism::MovedIsScannedAgain,
            cleared_while_moved,
            Property::Store,
            not("a move", clears),
        ),
    ]
}
