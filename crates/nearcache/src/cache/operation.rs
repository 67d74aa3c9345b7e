//! Operations: what the methods of a cache return. They take options and are carried out by `.await` (async) or
//! `.run()` (blocking).
//!
//! An async and a blocking operation are one type, marked by its [`Executor`]. Nothing happens until it is carried out.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::connect::BoxFuture;
use crate::error::{Error, Result};

pub use super::batch::{GetMany, SetMany};
pub use super::counter::Incr;
pub use super::expiry::Touch;
pub use super::in_place::InPlace;
pub use super::manage::Close;
pub use super::own_error::{Failure, Own};
pub use super::read::{Get, LookUp};
pub use super::remember::Remember;
pub use super::remember_many::RememberMany;
pub use super::scan::{Clear, Keys};
pub use super::write::{Set, SetIf};
pub use crate::read_through::loader::{By, Sure};

/// How operations are carried out: [`Async`] or `Blocking`. Cannot be implemented outside this crate.
pub trait Executor: sealed::Executor {}

/// Marks an async cache and its operations, which end in `.await`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Async;

/// Marks a blocking cache and its operations, which end in `.run()`.
#[cfg(feature = "blocking")]
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Blocking;

impl Executor for Async {}

#[cfg(feature = "blocking")]
impl Executor for Blocking {}

pub(crate) mod sealed {
    use crate::connect::{Dedicated, Mode};
    use std::time::Duration;

    /// The parts of an executor.
    #[allow(private_interfaces, reason = "it cannot be named outside this crate")]
    pub trait Executor: Sized + Send + Sync + 'static {
        /// Whether its callers are async or block.
        const MODE: Mode;
        /// The name of the cache in `Debug`.
        const CACHE: &'static str;
        /// The name of the component in `Debug`.
        #[cfg(feature = "component")]
        const COMPONENT: &'static str;
        /// The type that `connection` returns.
        type Connection: Send;

        fn connection(raw: Dedicated, db: i64, limit: Duration) -> Self::Connection;
    }

    #[allow(private_interfaces, reason = "it cannot be named outside this crate")]
    impl Executor for super::Async {
        const MODE: Mode = Mode::Async;
        const CACHE: &'static str = "Cache";
        #[cfg(feature = "component")]
        const COMPONENT: &'static str = "Component";
        type Connection = crate::connect::Connection;

        fn connection(raw: Dedicated, db: i64, limit: Duration) -> Self::Connection {
            crate::connect::Connection::new(raw, db, limit)
        }
    }

    #[cfg(feature = "blocking")]
    #[allow(private_interfaces, reason = "it cannot be named outside this crate")]
    impl Executor for super::Blocking {
        const MODE: Mode = Mode::Blocking;
        const CACHE: &'static str = "blocking::Cache";
        #[cfg(feature = "component")]
        const COMPONENT: &'static str = "blocking::Component";
        type Connection = crate::connect::BlockingConnection;

        fn connection(raw: Dedicated, db: i64, limit: Duration) -> Self::Connection {
            crate::connect::BlockingConnection::new(raw, db, limit)
        }
    }
}

/// The marker inside an operation.
pub(crate) type Marked<M> = PhantomData<fn() -> M>;

/// The future of an operation.
#[must_use = "nothing happens until it is awaited"]
pub struct CacheFuture<'c, T, E = Error>(State<'c, T, E>);

enum State<'c, T, E> {
    /// The answer is already known.
    Ready(Option<Result<T, E>>),
    /// The operation is running.
    Asking(BoxFuture<'c, Result<T, E>>),
}

impl<'c, T, E> CacheFuture<'c, T, E> {
    #[inline]
    pub(crate) fn ready(answer: Result<T, E>) -> Self {
        CacheFuture(State::Ready(Some(answer)))
    }

    pub(crate) fn asking(question: impl Future<Output = Result<T, E>> + Send + 'c) -> Self {
        CacheFuture(State::Asking(Box::pin(question)))
    }
}

/// `Unpin` is safe: only the boxed future needs pinning, and its box does that.
impl<T, E> Unpin for CacheFuture<'_, T, E> {}

impl<T, E> Future for CacheFuture<'_, T, E> {
    type Output = Result<T, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, E>> {
        match &mut self.0 {
            State::Ready(answer) => match answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending, // polled after completion, which `.await` never does
            },
            State::Asking(question) => question.as_mut().poll(context),
        }
    }
}

impl<T, E> fmt::Debug for CacheFuture<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheFuture")
    }
}

/// An operation without options.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Pending<'c, T, M = Async> {
    future: CacheFuture<'c, T>,
    mode: Marked<M>,
}

impl<'c, T, M> Pending<'c, T, M> {
    /// An operation that this future carries out: for code of your own that implements a trait of operations, such as
    /// `nearcache::simple::BasicCache`. A blocking caller's `.run()` polls it on the calling thread.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// use nearcache::operation::Pending;
    ///
    /// let answer: Pending<'_, u32> = Pending::new(async { Ok(42) });
    /// assert_eq!(answer.await?, 42);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn new(question: impl Future<Output = Result<T>> + Send + 'c) -> Self {
        Pending {
            future: CacheFuture::asking(question),
            mode: PhantomData,
        }
    }

    pub(crate) fn start(self) -> CacheFuture<'c, T> {
        self.future
    }
}

impl<T, M> fmt::Debug for Pending<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// Implements `.await` for an operation and, if it is marked `Blocking`, `.run()`. The operation must have a method
/// `start`, which returns its [`CacheFuture`]; or, `in place` and with its call, a method `prepare`, which returns what is
/// [`Prepared`](crate::cache::in_place::Prepared). One that owns its cache has no lifetime.
macro_rules! operation {
    (in place $call:ty: $name:ident<$life:lifetime $(, $generic:ident: $bound:path)*> -> $output:ty) => {
        impl<$life $(, $generic: $bound + $life)* > std::future::IntoFuture
            for $name<$life $(, $generic)* , $crate::cache::operation::Async>
        {
            type Output = $crate::error::Result<$output>;
            type IntoFuture = $crate::cache::in_place::InPlace<$life, $call>;

            #[inline]
            fn into_future(self) -> Self::IntoFuture {
                self.prepare().future()
            }
        }

        #[cfg(feature = "blocking")]
        impl<$life $(, $generic: $bound + $life)* >
            $name<$life $(, $generic)* , $crate::cache::operation::Blocking>
        {
            /// Carries the operation out on this thread.
            ///
            /// # Errors
            /// Those of the method that returned the operation.
            #[inline]
            pub fn run(self) -> $crate::error::Result<$output> {
                self.prepare().run()
            }
        }
    };
    ($name:ident<$($generic:ident: $bound:path),*> -> $output:ty) => {
        impl<$($generic: $bound + 'static),*> std::future::IntoFuture
            for $name<$($generic,)* $crate::cache::operation::Async>
        {
            type Output = $crate::error::Result<$output>;
            type IntoFuture = $crate::cache::operation::CacheFuture<'static, $output>;

            fn into_future(self) -> Self::IntoFuture {
                self.start()
            }
        }

        #[cfg(feature = "blocking")]
        impl<$($generic: $bound + 'static),*>
            $name<$($generic,)* $crate::cache::operation::Blocking>
        {
            /// Carries the operation out on this thread.
            ///
            /// # Errors
            /// Those of the method that returned the operation.
            pub fn run(self) -> $crate::error::Result<$output> {
                $crate::runtime::block_on(self.start())
            }
        }
    };
    ($name:ident<$life:lifetime $(, $generic:ident: $bound:path)*> -> $output:ty) => {
        impl<$life $(, $generic: $bound + $life)* > std::future::IntoFuture
            for $name<$life $(, $generic)* , $crate::cache::operation::Async>
        {
            type Output = $crate::error::Result<$output>;
            type IntoFuture = $crate::cache::operation::CacheFuture<$life, $output>;

            fn into_future(self) -> Self::IntoFuture {
                self.start()
            }
        }

        #[cfg(feature = "blocking")]
        impl<$life $(, $generic: $bound + $life)* >
            $name<$life $(, $generic)* , $crate::cache::operation::Blocking>
        {
            /// Carries the operation out on this thread.
            ///
            /// # Errors
            /// Those of the method that returned the operation.
            pub fn run(self) -> $crate::error::Result<$output> {
                $crate::runtime::block_on(self.start())
            }
        }
    };
}
pub(crate) use operation;

operation!(Pending<'c, T: Send> -> T);
