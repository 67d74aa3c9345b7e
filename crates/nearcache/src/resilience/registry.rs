//! One connection, breaker and outbox for everyone who goes to the same place as the same user.
//!
//! The registry holds what it gives weakly: with the last cache that uses one, it goes. Async and
//! blocking callers go different ways to a server, so they share with their own kind. (That each
//! runtime has a connection of its own is the async backend's business.)

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use super::Guarded;
use crate::connect::target::{Place, Target};
use crate::connect::{self, Mode};
use crate::error::Result;

type Known = HashMap<(Mode, Target), Weak<Guarded>>;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// The way to a target: one that is in use already, or a new one. Connects to nothing yet.
///
/// # Errors
/// What the target asks for is not built in, or not there in the embedded store.
pub(crate) fn open(target: &Target, mode: Mode) -> Result<Arc<Guarded>> {
    let new = || Ok(Guarded::new(connect::open(target, mode)?, target));
    // A store without a name is the cache's own.
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

impl Guarded {
    /// The way to the same place for callers that wait in another way. An embedded store is the same store.
    ///
    /// # Errors
    /// Those of [`open`].
    pub(crate) fn in_mode(&self, target: &Target, mode: Mode) -> Result<Arc<Guarded>> {
        match (&target.place, self.backend_in_mode(mode)) {
            // A store without a name is known to this cache only.
            (Place::Embedded { name: None }, Some(backend)) => Ok(Guarded::new(backend, target)),
            _ => open(target, mode),
        }
    }
}
