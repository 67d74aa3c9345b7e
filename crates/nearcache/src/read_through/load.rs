//! The result of a loader, and its errors and panics.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::codec::{Decode, Encode};
use crate::error::{BoxError, Error, ErrorKind, Result, boxed};
use crate::ttl::{IntoTtl, Ttl};

/// A loaded value with options that the loader sets: its TTL, its tags, whether it is stored at all. A loader without
/// such options returns the plain value.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// # let cache = nearcache::Cache::open("memory://")?;
/// use nearcache::Loaded;
///
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)] struct User { org: u64, active: bool }
/// # async fn find_user(id: u64) -> std::io::Result<User> { Ok(User { org: 7, active: true }) }
/// let user: User = cache
///     .remember("user:1", || async {
///         find_user(1).await.map(|user| {
///             let org = format!("org:{}", user.org);
///             match user.active {
///                 true => Loaded::new(user).ttl("1h").tags([org]),
///                 false => Loaded::do_not_store(user),
///             }
///         })
///     })
///     .await?;
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Loaded<T> {
    pub(crate) value: T,
    pub(crate) ttl: Option<Result<Ttl>>,
    pub(crate) kept: Option<Result<Ttl>>,
    pub(crate) exact: bool,
    pub(crate) tags: Vec<Vec<u8>>,
    pub(crate) store: bool,
}

impl<T> Loaded<T> {
    /// A value that is stored with the options of the call.
    pub fn new(value: T) -> Self {
        Loaded {
            value,
            ttl: None,
            kept: None,
            exact: false,
            tags: Vec::new(),
            store: true,
        }
    }

    /// A value that is returned to all waiting callers, and not stored.
    pub fn do_not_store(value: T) -> Self {
        Loaded {
            store: false,
            ..Loaded::new(value)
        }
    }

    /// The TTL of this value, instead of the call's.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.ttl = Some(ttl.into_ttl());
        self
    }

    /// The TTL is not varied by the cache's jitter: for a value that says itself until when it may be used, as a
    /// response does by `max-age`.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// How long this value is kept past its TTL, if that is longer than the `stale_for` and the `stale_if_error` of the
    /// call. It is not returned then by a call without these options, but by
    /// [`get_kept`](crate::CacheOf::get_kept).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::Loaded;
    ///
    /// let load = async || Loaded::new(42).ttl("1m").stale_for("1h");
    /// let answer: u32 = cache.remember_with("answer", load).await?;
    /// let kept = cache.get_kept::<u32>("answer").await?;
    /// assert!(kept.is_some_and(|kept| kept.value == answer && kept.stale_for.is_none()));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn stale_for(mut self, time: impl IntoTtl) -> Self {
        self.kept = Some(time.into_ttl());
        self
    }

    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> Loaded<U> {
        Loaded {
            value: map(self.value),
            ttl: self.ttl,
            kept: self.kept,
            exact: self.exact,
            tags: self.tags,
            store: self.store,
        }
    }

    /// Tags in addition to those of the call.
    ///
    /// If a tag is known before the loader runs, set it on the call (`.tags(..)`). While a loader runs that returns a
    /// [`Loaded`], an invalidation of *any* tag keeps a value with tags of the loader's own from being stored.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let tags = tags.into_iter().map(|tag| tag.as_ref().to_vec());
        self.tags.extend(tags);
        self
    }
}

/// What a loader may return: a value or a [`Loaded`]. Cannot be implemented for other types.
#[diagnostic::on_unimplemented(
    message = "a loader cannot give `{Self}`: it cannot be stored and read back",
    note = "a loader gives a `Result` of a value that is `Serialize` and `DeserializeOwned` (no borrowed \
            text: `String` rather than `&str`), of a `Text` or a `Raw`, or of a `Loaded` of one of these \
            (`Loaded::new(None)` rather than `Some(Loaded::new(..))`)"
)]
pub trait Loadable: sealed::Loadable + Send + 'static {
    /// The value.
    type Value: Encode + Decode;

    /// Whether it may have tags of its own.
    #[doc(hidden)]
    const BRINGS_TAGS: bool;

    #[doc(hidden)]
    fn into_loaded(self) -> Loaded<Self::Value>;
}

/// Keeps [`Loadable`] this crate's own.
pub(crate) mod sealed {
    use super::Loaded;
    use crate::codec::{Decode, Encode};

    pub trait Loadable {}

    impl<T: Encode + Decode> Loadable for T {}

    impl<T: Encode + Decode> Loadable for Loaded<T> {}
}

impl<T: Encode + Decode> Loadable for T {
    type Value = T;

    const BRINGS_TAGS: bool = false;

    fn into_loaded(self) -> Loaded<T> {
        Loaded::new(self)
    }
}

impl<T: Encode + Decode> Loadable for Loaded<T> {
    type Value = T;

    const BRINGS_TAGS: bool = true;

    fn into_loaded(self) -> Loaded<T> {
        self
    }
}

/// Converts a loader's result.
pub(crate) fn into_loaded<L: Loadable, E: Into<BoxError> + 'static>(
    result: std::result::Result<L, E>,
) -> Result<Loaded<L::Value>> {
    result
        .map(Loadable::into_loaded)
        .map_err(|error| loader_failed(boxed(error)))
}

pub(crate) fn loader_failed(error: BoxError) -> Error {
    Error::new(ErrorKind::Loader, error.to_string()).caused_by(error)
}

/// The loader did not finish: its runtime shut down, or no thread could be started for it.
pub(crate) fn shut_down() -> Error {
    Error::new(
        ErrorKind::Loader,
        "its runtime shut down, or no thread could be started for it",
    )
}

/// Turns a panic of the loader into an error.
pub(crate) async fn catch_panic<T>(load: impl Future<Output = Result<T>>) -> Result<T> {
    let mut load = pin!(load);
    std::future::poll_fn(|context| {
        // Unwind safe: after a panic, nothing of the loader is used again.
        match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    })
    .await
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    Error::new(
        ErrorKind::Loader,
        format!("it panicked: {}", panic_message(panic)),
    )
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_that_says_what_the_loader_said() {
        let error = catch_panic(async { panic!("no {}", "database") }).await;
        let error: Error = error.map(|(): ()| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert!(error.to_string().contains("no database"), "{error}");
        assert_eq!(catch_panic(async { Ok(7) }).await.unwrap(), 7);
    }

    #[test]
    fn a_loaders_error_keeps_its_type() {
        #[derive(Debug)]
        struct Full(u32);
        impl std::fmt::Display for Full {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "disk {} is full", self.0)
            }
        }
        impl StdError for Full {}

        let error = into_loaded::<u8, _>(Err(Full(3)))
            .unwrap_err()
            .named(b"k", false);
        let shared = error.clone().on_host(&"h".into());
        assert_eq!(shared.downcast_ref::<Full>().map(|full| full.0), Some(3));
        assert!(error.to_string().contains("disk 3 is full"), "{error}");
        assert!(error.downcast_ref::<std::io::Error>().is_none());
    }
}
