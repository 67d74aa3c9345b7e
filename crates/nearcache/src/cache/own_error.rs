//! Which error an operation with a loader ends in: the cache's, or the loader's own (`own_error`).
//!
//! The loader's error crosses to every caller that waits as the source of an [`Error`]. So its own type is found again
//! after the fact, by whoever asks for it: the caller whose loader ran, and those who waited for it alike.

use std::error::Error as StdError;
use std::marker::PhantomData;

use crate::error::{Error, ErrorKind};

/// Which error `remember` and its relatives return: [`Error`], or after `own_error` the loader's own type. Cannot be
/// implemented outside this crate.
pub trait Failure: sealed::Failure {}

pub(crate) mod sealed {
    use crate::error::Error;

    pub trait Failure {
        /// The error.
        type Error;

        fn of(error: Error) -> Self::Error;
    }
}

impl Failure for Error {}

impl sealed::Failure for Error {
    type Error = Error;

    fn of(error: Error) -> Error {
        error
    }
}

/// Marks an operation that returns the loader's own error type: the result of `own_error`.
#[derive(Clone, Copy, Debug)]
pub struct Own<E>(PhantomData<fn() -> E>);

impl<E: StdError + From<Error> + Clone + Send + Sync + 'static> Failure for Own<E> {}

impl<E: StdError + From<Error> + Clone + Send + Sync + 'static> sealed::Failure for Own<E> {
    type Error = E;

    fn of(error: Error) -> E {
        let own = match error.kind() {
            ErrorKind::Loader => error.downcast_ref::<E>().cloned(),
            _ => None,
        };
        own.unwrap_or_else(|| E::from(error))
    }
}
