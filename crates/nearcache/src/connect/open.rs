//! Making a backend for a target. Its type depends on the place, and on whether callers are async or block.

use std::sync::Arc;

use super::target::{Place, Target};
use super::{Backend, multiplexed};
#[cfg(feature = "cluster")]
use super::{Common, Epoch};
use crate::error::{Error, ErrorKind, Result};
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
    let backend: Arc<dyn Backend> = match (&target.place, mode) {
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
            return Err(not_built_in("memory://", "embedded"));
        }
        #[cfg(not(unix))]
        (Place::Unix { .. }, _) => {
            return Err(Error::new(
                ErrorKind::InvalidUrl,
                "this system has no unix sockets; use redis://HOST:PORT",
            ));
        }
        #[cfg(not(feature = "sentinel"))]
        (Place::Sentinel { .. }, _) => return Err(not_built_in("redis-sentinel://", "sentinel")),
        #[cfg(not(feature = "cluster"))]
        (Place::Cluster { .. } | Place::Node { .. }, _) => {
            return Err(not_built_in("redis-cluster://", "cluster"));
        }
        #[cfg(feature = "cluster")]
        (Place::Cluster { .. }, _) => {
            return Err(Error::new(
                ErrorKind::InvalidUrl,
                "a Cluster has several backends",
            ));
        }
        (_, Mode::Async) => Arc::new(multiplexed::Multiplexed::new(
            target.clone(),
            mode.runtime(),
        )),
        #[cfg(feature = "blocking")]
        (_, Mode::Blocking) => Arc::new(super::pooled::Pooled::new(target.clone())),
    };
    #[cfg(feature = "sentinel")]
    if let Some(sentinels) = backend.common().sentinels() {
        sentinels.lead_for(&backend);
    }
    Ok(backend)
}

/// A backend for a node of a Cluster. It has the epoch of the whole.
#[cfg(feature = "cluster")]
pub(crate) fn open_node(target: Target, mode: Mode, epoch: &Epoch) -> Arc<dyn Backend> {
    let common = Common::new(&target, mode.runtime()).with_epoch(epoch);
    match mode {
        Mode::Async => Arc::new(multiplexed::Multiplexed::with(target, common)),
        #[cfg(feature = "blocking")]
        Mode::Blocking => Arc::new(super::pooled::Pooled::with(target, common)),
    }
}

#[cfg(not(all(feature = "embedded", feature = "sentinel", feature = "cluster")))]
fn not_built_in(scheme: &str, feature: &str) -> Error {
    let why = format!("{scheme} is not built in; enable the feature \"{feature}\" of nearcache");
    Error::new(ErrorKind::InvalidUrl, why)
}
