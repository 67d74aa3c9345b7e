//! What `refresh` rests on, taken out.

use super::{Experiment, found, not};
use crate::configuration::{CALM, Configuration, Invalidation};
use crate::mechanism::Mechanism;
use crate::property::Property;
use crate::suite::ALL_STARTS;

const REFRESH: Configuration = Configuration {
    starts: ALL_STARTS,
    callers: [1, 1],
    writes: [1, 0],
    kinds: &[Invalidation::Delete],
    refreshes: [1, 0],
    evicts_entry: true,
    ..CALM
};

pub(super) fn experiments() -> Vec<Experiment> {
    vec![
        found(
            Mechanism::FencedRefreshDeletes,
            Configuration {
                expires_lease: true,
                ..REFRESH
            },
            Property::Store,
            not("a lease that ends", REFRESH),
        ),
        found(
            Mechanism::LostRefreshDeletes,
            Configuration {
                losses: 1,
                ..REFRESH
            },
            Property::Store,
            not("a lost connection", REFRESH),
        ),
    ]
}
