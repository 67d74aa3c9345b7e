//! The chain of sources: boxing a loader's error so that it is in the chain by its own type, and finding it there.
//!
//! Some wrappers show their inside's source and not their inside, so that a walk along `source` never meets it:
//! `Arc<E>`, `Box<E>`, `io::Error::other(E)`, and what an `anyhow::Error` or an `eyre::Report` turns into when it is
//! boxed. These are looked into.

#[cfg(any(feature = "anyhow", feature = "eyre"))]
use std::any::Any;
use std::error::Error as StdError;
use std::sync::Arc;

use super::BoxError;

type Shared = Arc<dyn StdError + Send + Sync>;

/// The first error of type `E` in the chain.
pub(super) fn find<'e, E: StdError + 'static>(
    mut chain: Option<&'e (dyn StdError + 'static)>,
) -> Option<&'e E> {
    while let Some(error) = chain {
        let found = error
            .downcast_ref::<E>()
            .or_else(|| error.downcast_ref::<Arc<E>>().map(|error| &**error))
            .or_else(|| error.downcast_ref::<Box<E>>().map(|error| &**error))
            .or_else(|| find(inside(error)));
        if found.is_some() {
            return found;
        }
        chain = error.source();
    }
    None
}

/// What a wrapper holds that its `source` skips.
fn inside<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return error.get_ref().map(|inner| inner as _);
    }
    error
        .downcast_ref::<Shared>()
        .map(|error| &**error as &(dyn StdError + 'static))
}

/// A loader's error as a box. What it is stays in the chain by its own type.
pub(crate) fn boxed<E: Into<BoxError> + 'static>(error: E) -> BoxError {
    #[cfg(any(feature = "anyhow", feature = "eyre"))]
    let error = {
        let mut error = Some(error);
        #[cfg(feature = "anyhow")]
        if let Some(error) = take::<anyhow::Error>(&mut error) {
            return error.reallocate_into_boxed_dyn_error_without_backtrace();
        }
        #[cfg(feature = "eyre")]
        if let Some(report) = take::<eyre::Report>(&mut error) {
            return Box::new(Report(report));
        }
        match error {
            Some(error) => error,
            None => return "the error was taken".into(),
        }
    };
    error.into()
}

/// The error, if it is of this type.
#[cfg(any(feature = "anyhow", feature = "eyre"))]
fn take<R: 'static>(error: &mut dyn Any) -> Option<R> {
    error.downcast_mut::<Option<R>>()?.take()
}

/// A report of `eyre` as an error whose source is the error in it.
#[cfg(feature = "eyre")]
struct Report(eyre::Report);

#[cfg(feature = "eyre")]
impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(feature = "eyre")]
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(feature = "eyre")]
impl StdError for Report {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let inner: &(dyn StdError + Send + Sync + 'static) = self.0.as_ref();
        Some(inner)
    }
}
