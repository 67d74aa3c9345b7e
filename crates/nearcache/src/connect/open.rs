//! A new backend for a target: which of them it is depends on the place, and on how its callers wait.

use std::sync::Arc;

use super::target::{Place, Target};
use super::{Backend, multiplexed};
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

/// A backend for a target. Connects to nothing yet.
///
/// # Errors
/// What the target asks for is not built in, or not there in the embedded store.
pub(crate) fn open(target: &Target, mode: Mode) -> Result<Arc<dyn Backend>> {
    Ok(match (&target.place, mode) {
        #[cfg(feature = "embedded")]
        (Place::Embedded { name }, _) => {
            let store = match name {
                Some(name) => super::embedded::named(name, target.bounds)?,
                None => super::embedded::private(target.bounds),
            };
            super::embedded::over(store, target, mode.runtime())?
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
        (_, Mode::Async) => Arc::new(multiplexed::Multiplexed::new(
            target.clone(),
            mode.runtime(),
        )),
        #[cfg(feature = "blocking")]
        (_, Mode::Blocking) => Arc::new(super::pooled::Pooled::new(target.clone())),
    })
}
