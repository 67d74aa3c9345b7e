//! The chain of sources: boxing a loader's error so that it is in the chain by its own type, and finding it there.
//!
//! Some wrappers show their inside's source and not their inside, so that a walk along `source` never meets it:
//! `Arc<E>`, `Box<E>`, `io::Error::other(E)`, and what an `anyhow::Error` or an `eyre::Report` turns into when it is
//! boxed. These are looked into. The last two also hide the type of a context (`error.context(E)`), so they are kept
//! whole, and asked.

#[cfg(any(feature = "anyhow", feature = "eyre"))]
use std::any::Any;
use std::error::Error as StdError;
use std::sync::Arc;

use super::BoxError;

type Shared = Arc<dyn StdError + Send + Sync>;

/// The first error of type `E` in the chain.
pub(super) fn find<'e, E: StdError + Send + Sync + 'static>(
    mut chain: Option<&'e (dyn StdError + 'static)>,
) -> Option<&'e E> {
    while let Some(error) = chain {
        let found = error
            .downcast_ref::<E>()
            .or_else(|| error.downcast_ref::<Arc<E>>().map(|error| &**error))
            .or_else(|| error.downcast_ref::<Box<E>>().map(|error| &**error))
            .or_else(|| as_context(error))
            .or_else(|| find(inside(error)));
        if found.is_some() {
            return found;
        }
        chain = error.source();
    }
    None
}

/// What was given as the context of an error.
#[allow(
    unused_variables,
    clippy::unnecessary_wraps,
    reason = "only with these features is there something to ask"
)]
fn as_context<'e, E: StdError + Send + Sync + 'static>(
    error: &'e (dyn StdError + 'static),
) -> Option<&'e E> {
    #[cfg(feature = "anyhow")]
    if let Some(Whole(error)) = error.downcast_ref::<Whole<anyhow::Error>>() {
        return error.downcast_ref::<E>();
    }
    #[cfg(feature = "eyre")]
    if let Some(Whole(report)) = error.downcast_ref::<Whole<eyre::Report>>() {
        return report.downcast_ref::<E>();
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
            // Only what has a source can have a context. Everything else is boxed as what it is.
            return match error.source() {
                Some(_) => Box::new(Whole(error)),
                None => error.reallocate_into_boxed_dyn_error_without_backtrace(),
            };
        }
        #[cfg(feature = "eyre")]
        if let Some(report) = take::<eyre::Report>(&mut error) {
            return Box::new(Whole(report));
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

/// An `anyhow::Error` or an `eyre::Report` as an error whose source is the error in it.
#[cfg(any(feature = "anyhow", feature = "eyre"))]
struct Whole<R>(R);

#[cfg(any(feature = "anyhow", feature = "eyre"))]
impl<R: std::fmt::Debug> std::fmt::Debug for Whole<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(any(feature = "anyhow", feature = "eyre"))]
impl<R: std::fmt::Display> std::fmt::Display for Whole<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(any(feature = "anyhow", feature = "eyre"))]
impl<R> StdError for Whole<R>
where
    R: AsRef<dyn StdError + Send + Sync> + std::fmt::Debug + std::fmt::Display,
{
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.as_ref())
    }
}
