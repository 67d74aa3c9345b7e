//! What the marks rest on, taken out.

use super::{Experiment, found, not};
use crate::configuration::{CALM, Configuration, Invalidation, Tags};
use crate::mechanism::Mechanism;
use crate::property::Property;

const MARK: Configuration = Configuration {
    evicts_entry: true,
    expires_lease: true,
    callers: [2, 1],
    writes: [1, 0],
    kinds: &[Invalidation::Mark],
    strict: true,
    ..CALM
};

const MARK_TAG: Configuration = Configuration {
    tags: Tags::Scripts,
    kinds: &[Invalidation::MarkTag],
    evicts_tag: true,
    ..MARK
};

/// Missed where the tag is marked, but not where it is invalidated.
fn missed(without: Mechanism, form: Configuration, breaks: Property) -> Experiment {
    let invalidates = Configuration {
        kinds: &[Invalidation::Tag],
        ..form
    };
    found(without, form, breaks, not("a mark", invalidates))
}

pub(super) fn experiments() -> Vec<Experiment> {
    let brought = Configuration {
        tags: Tags::Brought,
        ..MARK_TAG
    };
    let cluster = Configuration {
        tags: Tags::ClusterNamed,
        ..MARK_TAG
    };
    let cluster_brought = Configuration {
        tags: Tags::ClusterBrought,
        ..MARK_TAG
    };
    let deletes = Configuration {
        kinds: &[Invalidation::Delete],
        ..MARK
    };
    vec![
        found(
            Mechanism::MarkUnlinksLease,
            MARK,
            Property::Mark,
            not("a mark", deletes),
        ),
        missed(Mechanism::FillComparesCurrent, MARK_TAG, Property::Answer),
        missed(Mechanism::MarkedIsStale, MARK_TAG, Property::Mark),
        found(
            Mechanism::MarkMovesEpoch,
            brought,
            Property::Mark,
            not("tags from the load", MARK_TAG),
        ),
        missed(Mechanism::FillComparesCurrent, cluster, Property::Answer),
        missed(Mechanism::MarkedIsStale, cluster, Property::Mark),
        found(
            Mechanism::MarkMovesEpoch,
            cluster_brought,
            Property::Mark,
            not("tags from the load", cluster),
        ),
    ]
}
