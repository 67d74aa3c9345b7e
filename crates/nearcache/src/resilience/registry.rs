//! One connection, breaker and outbox for all caches that use the same place as the same user.
//!
//! The registry holds only weak references: an entry is dropped with the last cache that uses it. Async and blocking
//! callers use different backends, so each kind shares only with its own. (The async backend itself keeps one
//! connection for each runtime.)

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use super::Guarded;
use crate::connect::target::{Place, Target};
use crate::connect::{self, Mode};
use crate::error::Result;

type Known = HashMap<(Mode, Target), Weak<Guarded>>;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// The guarded backend for a target: the shared one if it exists, else a new one. Does not connect yet.
///
/// # Errors
/// If the target needs a feature that is not built in, or something that the embedded store does not have.
pub(crate) fn open(target: &Target, mode: Mode) -> Result<Arc<Guarded>> {
    let new = || match &target.place {
        #[cfg(feature = "cluster")]
        Place::Cluster { .. } => Ok(Guarded::spread(target, mode)),
        _ => {
            let guarded = Guarded::new(connect::open(target, mode)?, target);
            #[cfg(feature = "sentinel")]
            if let Some(replicas) = target.of_replicas() {
                guarded.read_from(connect::open(&replicas, mode)?, target.breaker);
            }
            Ok(guarded)
        }
    };
    // A store without a name belongs to one cache.
    if let Place::Embedded { name: None } = &target.place {
        return new();
    }
    let mut known = KNOWN.lock();
    let key = (mode, target.clone());
    if let Some(guarded) = known.get(&key).and_then(Weak::upgrade) {
        return Ok(guarded);
    }
    known.retain(|_, guarded| guarded.strong_count() > 0);
    let guarded = new()?;
    known.insert(key, Arc::downgrade(&guarded));
    Ok(guarded)
}

#[cfg(feature = "blocking")]
impl Guarded {
    /// The same place for the other kind of caller. An embedded store stays the same store.
    ///
    /// # Errors
    /// Those of [`open`].
    pub(crate) fn in_mode(&self, target: &Target, mode: Mode) -> Result<Arc<Guarded>> {
        match (&target.place, self.backend_in_mode(mode)) {
            // A store without a name is not in the registry.
            (Place::Embedded { name: None }, Some(backend)) => Ok(Guarded::new(backend, target)),
            _ => open(target, mode),
        }
    }
}
