//! Making a backend for a target. Its type depends on the place, and on whether callers are async or block.

use std::sync::Arc;

use super::target::{Place, Target};
use super::{Backend, multiplexed};
use crate::error::Result;
#[cfg(any(not(unix), not(feature = "embedded")))]
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// Whether callers are async or block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    Async,
    #[cfg(feature = "blocking")]
    Blocking,
}

impl Mode {
    /// The runtime for such callers.
    pub(crate) fn runtime(self) -> Runtime {
        match self {
            Mode::Async => Runtime::Tokio,
            #[cfg(feature = "blocking")]
            Mode::Blocking => Runtime::Threads,
        }
    }
}

/// A backend for a target. Does not connect yet.
///
/// # Errors
/// If the target needs a feature that is not built in, or something that the embedded store does not have.
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
        #[cfg(feature = "embedded")]
        (Place::Folder { path }, _) => {
            let store = super::embedded::kept(path, target.bounds)?;
            super::embedded::over(store, target, mode.runtime())?
        }
        #[cfg(not(feature = "embedded"))]
        (Place::Embedded { .. } | Place::Folder { .. }, _) => {
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
