//! One connection for everyone who goes to the same place as the same user.
//!
//! The registry holds its backends weakly: with the last cache that uses one, it goes. Async and
//! blocking callers go different ways to a server, so they share with their own kind. (That each
//! runtime has a connection of its own is the async backend's business.)

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use super::Backend;
use super::target::{Place, Target};
use crate::error::Result;
#[cfg(any(not(unix), not(feature = "embedded")))]
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// How callers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    Async,
    #[cfg(feature = "blocking")]
    Blocking,
}

impl Mode {
    /// What runs those who call so.
    pub(crate) fn runtime(self) -> Runtime {
        match self {
            Mode::Async => Runtime::Tokio,
            #[cfg(feature = "blocking")]
            Mode::Blocking => Runtime::Threads,
        }
    }
}

type Backends = HashMap<(Mode, Target), Weak<dyn Backend>>;

static BACKENDS: LazyLock<Mutex<Backends>> = LazyLock::new(Mutex::default);

/// The backend for a target: one that is in use already, or a new one. Connects to nothing yet.
///
/// # Errors
/// What the target asks for is not built in, or not there in the embedded store.
pub(crate) fn open(target: &Target, mode: Mode) -> Result<Arc<dyn Backend>> {
    if let Place::Embedded { name: None } = &target.place {
        return new_backend(target, mode);
    }
    let mut backends = BACKENDS.lock();
    let key = (mode, target.clone());
    if let Some(backend) = backends.get(&key).and_then(Weak::upgrade) {
        return Ok(backend);
    }
    backends.retain(|_, backend| backend.strong_count() > 0);
    let backend = new_backend(target, mode)?;
    backends.insert(key, Arc::downgrade(&backend));
    Ok(backend)
}

fn new_backend(target: &Target, mode: Mode) -> Result<Arc<dyn Backend>> {
    Ok(match (&target.place, mode) {
        #[cfg(feature = "embedded")]
        (Place::Embedded { name }, _) => {
            let store = match name {
                Some(name) => super::embedded::named(name, target.bounds)?,
                None => super::embedded::private(target.bounds),
            };
            Arc::new(super::embedded::Embedded::new(
                store,
                target,
                mode.runtime(),
            )?)
        }
        #[cfg(not(feature = "embedded"))]
        (Place::Embedded { .. }, _) => {
            return Err(Error::new(
                ErrorKind::InvalidUrl,
                "memory:// is not built in; enable the feature \"embedded\" of nearcache",
            ));
        }
        #[cfg(not(unix))]
        (Place::Unix { .. }, _) => {
            return Err(Error::new(
                ErrorKind::InvalidUrl,
                "this system has no unix sockets; use redis://HOST:PORT",
            ));
        }
        (_, Mode::Async) => Arc::new(super::tokio::Server::new(target.clone(), mode.runtime())),
        #[cfg(feature = "blocking")]
        (_, Mode::Blocking) => Arc::new(super::socket::Server::new(target.clone())),
    })
}
