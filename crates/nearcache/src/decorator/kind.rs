//! What a function returns. This is found by type and not from the text of its signature, where an alias could hide a
//! `Result`.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use crate::codec::{Decode, Encode};
use crate::error::BoxError;
use crate::error::Error;

/// How a return type splits into a value to store, and an error.
pub trait Kind: Copy + Send + 'static {
    /// The return type.
    type Returned;
    /// The part that is stored.
    type Value: Encode + Decode + Clone;
    /// The part that is not stored.
    type Error;

    fn split(returned: Self::Returned) -> Result<Self::Value, Self::Error>;

    fn join(result: Result<Self::Value, Self::Error>) -> Self::Returned;

    /// The error for the other callers that wait for the same load.
    fn told(error: &Self::Error) -> BoxError;

    /// The error of another caller's load, if it was passed on as a clone.
    fn heard(error: &Error) -> Option<Self::Error>;
}

/// A value that can be given to every caller that waits for it.
#[diagnostic::on_unimplemented(
    message = "the cached value `{Self}` cannot be copied for every caller",
    label = "this value is not `Clone`",
    note = "derive `Clone` for it, or return an `Arc` of it"
)]
pub trait Copied: Clone {}

#[diagnostic::do_not_recommend]
impl<T: Clone> Copied for T {}

/// An error of a function that can carry an error of the cache.
#[diagnostic::on_unimplemented(
    message = "the function's error `{Self}` has no place for an error of the cache",
    label = "`{Self}` is not `From<nearcache::Error>`",
    note = "implement `From<nearcache::Error>` for it, or set `on_error = \"execute\"`, and the function runs without \
            the cache when that fails"
)]
pub trait FromCache {
    fn from_cache(error: Error) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E: From<Error>> FromCache for E {
    fn from_cache(error: Error) -> E {
        E::from(error)
    }
}

/// A probe for the kind of a type.
#[derive(Debug)]
pub struct Probe<R>(PhantomData<fn() -> R>);

impl<R> Probe<R> {
    #[allow(clippy::new_without_default, reason = "there is nothing to it")]
    pub fn new() -> Self {
        Probe(PhantomData)
    }
}

// `(&&&probe).kind()` takes the first of these traits that the type implements, because method lookup tries the
// receiver as it is first, then with one reference less, and so on.

/// A `Result` whose error can be cloned.
pub trait SharingKind {
    type Kind;
    fn kind(&self) -> Self::Kind;
}

impl<T, E: Clone + fmt::Display + Send + Sync + 'static> SharingKind for &&Probe<Result<T, E>> {
    type Kind = Sharing<T, E>;
    fn kind(&self) -> Sharing<T, E> {
        Sharing(PhantomData)
    }
}

/// Any other `Result`.
pub trait FallibleKind {
    type Kind;
    fn kind(&self) -> Self::Kind;
}

impl<T, E> FallibleKind for &Probe<Result<T, E>> {
    type Kind = Fallible<T, E>;
    fn kind(&self) -> Fallible<T, E> {
        Fallible(PhantomData)
    }
}

/// Any other type.
pub trait PlainKind {
    type Kind;
    fn kind(&self) -> Self::Kind;
}

impl<R> PlainKind for Probe<R> {
    type Kind = Plain<R>;
    fn kind(&self) -> Plain<R> {
        Plain(PhantomData)
    }
}

macro_rules! marker {
    ($(#[$doc:meta])* $name:ident<$($parameter:ident),*>) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<$($parameter),*>(PhantomData<fn() -> ($($parameter,)*)>);

        impl<$($parameter),*> Clone for $name<$($parameter),*> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($parameter),*> Copy for $name<$($parameter),*> {}
    };
}

marker!(
    /// A `Result` whose error can be cloned, so all callers that wait for the load get it.
    Sharing<T, E>
);
marker!(
    /// A `Result` whose error only the caller of that run gets.
    Fallible<T, E>
);
marker!(
    /// A value.
    Plain<R>
);

impl<T, E> Kind for Sharing<T, E>
where
    T: Encode + Decode + Copied,
    E: Clone + fmt::Display + Send + Sync + 'static,
{
    type Returned = Result<T, E>;
    type Value = T;
    type Error = E;
    fn split(returned: Result<T, E>) -> Result<T, E> {
        returned
    }

    fn join(result: Result<T, E>) -> Result<T, E> {
        result
    }

    fn told(error: &E) -> BoxError {
        Box::new(Told(error.clone()))
    }

    fn heard(error: &Error) -> Option<E> {
        error.downcast_ref::<Told<E>>().map(|told| told.0.clone())
    }
}

impl<T, E> Kind for Fallible<T, E>
where
    T: Encode + Decode + Copied,
    E: fmt::Display + 'static,
{
    type Returned = Result<T, E>;
    type Value = T;
    type Error = E;
    fn split(returned: Result<T, E>) -> Result<T, E> {
        returned
    }

    fn join(result: Result<T, E>) -> Result<T, E> {
        result
    }

    fn told(error: &E) -> BoxError {
        error.to_string().into()
    }

    fn heard(_: &Error) -> Option<E> {
        None
    }
}

impl<R: Encode + Decode + Copied> Kind for Plain<R> {
    type Returned = R;
    type Value = R;
    type Error = Infallible;
    fn split(returned: R) -> Result<R, Infallible> {
        Ok(returned)
    }

    fn join(result: Result<R, Infallible>) -> R {
        match result {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    fn told(error: &Infallible) -> BoxError {
        match *error {}
    }

    fn heard(_: &Error) -> Option<Infallible> {
        None
    }
}

/// A cloned error, on its way to the other callers that wait for the same load.
struct Told<E>(E);

impl<E: fmt::Display> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: fmt::Display> fmt::Display for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: fmt::Display> StdError for Told<E> {}

/// What to do when the cache fails. `Err` means to go on without the cache.
#[diagnostic::on_unimplemented(
    message = "the function cannot return an error of the cache",
    label = "it returns no `Result`",
    note = "return a `Result`, or set `on_error = \"execute\"`"
)]
pub trait OnError<K: Kind> {
    fn answer(error: Error) -> Result<K::Returned, Error>;
}

/// Returns the error if the function returns a `Result`, else goes on without the cache.
#[derive(Clone, Copy, Debug)]
pub struct Usual;

/// Returns the error to the caller.
#[derive(Clone, Copy, Debug)]
pub struct Raise;

/// Goes on without the cache.
#[derive(Clone, Copy, Debug)]
pub struct Execute;

macro_rules! tells {
    ($on_error:ident: $($kind:ident),*) => {$(
        impl<T, E: FromCache> OnError<$kind<T, E>> for $on_error
        where
            $kind<T, E>: Kind<Returned = Result<T, E>>,
        {
            fn answer(error: Error) -> Result<Result<T, E>, Error> {
                Ok(Err(E::from_cache(error)))
            }
        }
    )*};
}

tells!(Usual: Sharing, Fallible);
tells!(Raise: Sharing, Fallible);

impl<R: Encode + Decode + Copied> OnError<Plain<R>> for Usual {
    fn answer(error: Error) -> Result<R, Error> {
        Err(error)
    }
}

impl<K: Kind> OnError<K> for Execute {
    fn answer(error: Error) -> Result<K::Returned, Error> {
        Err(error)
    }
}

/// What `prime` accepts for a function that returns `R`: an `R`, or the value of its `Ok`.
#[diagnostic::on_unimplemented(
    message = "the function returns `{R}`, not `{Self}`",
    label = "not what the function returns"
)]
pub trait Primes<R> {
    fn into_returned(self) -> R;
}

impl<R> Primes<R> for R {
    fn into_returned(self) -> R {
        self
    }
}

impl<T, E> Primes<Result<T, E>> for T {
    fn into_returned(self) -> Result<T, E> {
        Ok(self)
    }
}
