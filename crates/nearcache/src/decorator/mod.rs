//! The functions and types that expansions of `#[cached]` use. They change with the macro, so nothing else may use
//! them.
//!
//! `kind` finds out by type what a function returns; `call` makes a call of a function; `owned` copies arguments that
//! are taken by reference; `key` makes keys, and `fill` fills templates. This module has the options of a call.

mod call;
mod fill;
mod key;
mod kind;
mod owned;

#[cfg(feature = "blocking")]
pub use self::call::blocking;
pub use self::call::{prime, remember};
pub use self::fill::{AsOption, Field, Filled, FillsDisplay, FillsOption, filled};
pub use self::key::{ArgumentKey, CallKey, IntoKey, call_key, filled_key, key};
pub use self::kind::{
    Copied, Execute, Fallible, FallibleKind, FromCache, Kind, OnError, Plain, PlainKind, Primes,
    Probe, Raise, Sharing, SharingKind, Usual,
};
pub use self::owned::own;

use std::time::Duration;

use crate::cache::operation::{Remember, Set};
use crate::codec::{Decode, Encode};
use crate::error::BoxError;
use crate::error::{Error, ErrorKind, Result};
use crate::read_through::ReadThrough;
use crate::ttl::{IntoTtl, Ttl};

/// A TTL that the macro has parsed.
#[inline]
pub fn ttl(millis: u64) -> Result<Ttl> {
    Ttl::from_millis(millis)
}

/// `Self` in an inherent method: a type, and not whatever implements a trait.
#[diagnostic::on_unimplemented(
    message = "a method of a trait cannot be cached: decorate an inherent method, and call it from the trait's"
)]
pub trait OfAType {}

#[diagnostic::do_not_recommend]
impl<T> OfAType for T {}

/// Says that `T` is a type, or the compiler does.
pub fn of_a_type<T: OfAType + ?Sized>() {}

/// Calls a closure with these arguments. The compiler infers the closure's parameter types from them.
pub fn over<A, T>(arguments: A, closure: impl FnOnce(A) -> T) -> T {
    closure(arguments)
}

/// A time in an option. `None` means that the option is not set; an `Err` is an error of the call.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a time",
    label = "not a time",
    note = "give a `Duration`, a text like \"2h30m\", a number of seconds, or an `Option` or a `Result` of one"
)]
pub trait MaybeTtl {
    /// The time, if there is one.
    fn maybe(self) -> Option<Result<Ttl>>;
}

impl<T: IntoTtl> MaybeTtl for T {
    fn maybe(self) -> Option<Result<Ttl>> {
        Some(self.into_ttl())
    }
}

impl<T: IntoTtl> MaybeTtl for Option<T> {
    fn maybe(self) -> Option<Result<Ttl>> {
        self.map(IntoTtl::into_ttl)
    }
}

impl<T: IntoTtl, E: Into<BoxError>> MaybeTtl for Result<T, E> {
    fn maybe(self) -> Option<Result<Ttl>> {
        Some(match self {
            Ok(ttl) => ttl.into_ttl(),
            Err(error) => Err(of_the_caller(ErrorKind::InvalidTtl, error)),
        })
    }
}

/// An error from an expression in the attribute.
fn of_the_caller(kind: ErrorKind, error: impl Into<BoxError>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::new(kind, error.to_string()).caused_by(error),
    }
}

/// The options of a call, except the key.
#[derive(Debug, Default)]
#[must_use]
pub struct Options {
    ttl: Option<Result<Ttl>>,
    forever: bool,
    negative_ttl: Option<Result<Ttl>>,
    stale_for: Option<Result<Ttl>>,
    stale_if_error: Option<Result<Ttl>>,
    early_refresh: Option<f64>,
    soft_timeout: Option<Result<Ttl>>,
    load_timeout: Option<Result<Ttl>>,
    tags: Vec<Vec<u8>>,
    bypass: bool,
    force: bool,
}

impl Options {
    /// The defaults of the cache.
    #[inline]
    pub fn new() -> Self {
        Options::default()
    }

    pub fn ttl(mut self, ttl: impl MaybeTtl) -> Self {
        self.ttl = ttl.maybe();
        self
    }

    #[inline]
    pub fn forever(mut self, forever: bool) -> Self {
        self.forever = forever;
        self
    }

    pub fn negative_ttl(mut self, ttl: impl MaybeTtl) -> Self {
        self.negative_ttl = ttl.maybe();
        self
    }

    pub fn stale_for(mut self, time: impl MaybeTtl) -> Self {
        self.stale_for = time.maybe();
        self
    }

    pub fn stale_if_error(mut self, time: impl MaybeTtl) -> Self {
        self.stale_if_error = time.maybe();
        self
    }

    #[inline]
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.early_refresh = Some(beta);
        self
    }

    pub fn soft_timeout(mut self, time: impl MaybeTtl) -> Self {
        self.soft_timeout = time.maybe();
        self
    }

    pub fn load_timeout(mut self, time: impl MaybeTtl) -> Self {
        self.load_timeout = time.maybe();
        self
    }

    pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let tags = tags.into_iter().map(|tag| tag.as_ref().to_vec());
        self.tags.extend(tags);
        self
    }

    pub fn tag(self, tag: impl AsRef<[u8]>) -> Self {
        self.tags([tag])
    }

    #[inline]
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    /// A call is forced if any of the options ask for it.
    #[inline]
    pub fn force(mut self, force: bool) -> Self {
        self.force |= force;
        self
    }

    /// The value, if it is near: looked up before anything is made that only a load needs. Wrong options, and a wrong
    /// key, are left to the call.
    #[inline]
    fn near<T: Decode + Clone>(&self, core: &ReadThrough, key: &Result<CallKey>) -> Option<T> {
        let wrong = |time: &Option<Result<Ttl>>| matches!(time, Some(Err(_)));
        let may_be_near = !self.bypass
            && !self.force
            && self.tags.is_empty()
            && (0.0..=100.0).contains(&self.early_refresh.unwrap_or_default())
            && ![
                &self.ttl,
                &self.negative_ttl,
                &self.stale_for,
                &self.stale_if_error,
                &self.soft_timeout,
                &self.load_timeout,
            ]
            .into_iter()
            .any(wrong);
        let key = key.as_ref().ok().filter(|_| may_be_near)?;
        core.remember_hit(key.as_ref(), self.early_refresh.unwrap_or_default())
    }

    /// Sets the options of a call, except those that need a loader which can run in the background.
    fn onto<'c, T, F, M>(
        &mut self,
        mut call: Remember<'c, T, F, M>,
    ) -> Result<Remember<'c, T, F, M>> {
        if let Some(ttl) = self.ttl.take() {
            call = call.ttl(ttl?);
        }
        if self.forever {
            call = call.forever();
        }
        if let Some(ttl) = self.negative_ttl.take() {
            call = call.negative_ttl(ttl?);
        }
        if let Some(time) = self.stale_if_error.take() {
            call = call.stale_if_error(time?);
        }
        if let Some(time) = self.load_timeout.take() {
            call = call.load_timeout(time?.as_duration());
        }
        if !self.tags.is_empty() {
            call = call.tags(self.tags.drain(..));
        }
        if self.bypass {
            call = call.bypass();
        }
        if self.force {
            call = call.force();
        }
        Ok(call)
    }

    /// The options that need a loader which can run in the background.
    fn beside(&mut self) -> Result<(Option<Ttl>, Option<Duration>, Option<f64>)> {
        let soft = self.soft_timeout.take().transpose()?;
        Ok((
            self.stale_for.take().transpose()?,
            soft.map(Ttl::as_duration),
            self.early_refresh,
        ))
    }

    /// Sets the options of a `set`, for a value that is stored without a load.
    fn onto_set<'c, V: Encode, M>(
        self,
        mut set: Set<'c, V, M>,
        own: Option<Result<Ttl>>,
        nothing: bool,
    ) -> Result<Set<'c, V, M>> {
        let negative = self.negative_ttl.filter(|_| nothing);
        match own.or(negative).or(self.ttl) {
            Some(ttl) => set = set.ttl(ttl?),
            None if self.forever => set = set.forever(),
            None => {}
        }
        if !self.tags.is_empty() {
            set = set.tags(self.tags);
        }
        Ok(set)
    }
}

/// How to store a value, decided once the value is known.
#[derive(Debug)]
#[must_use]
pub struct Storing<const TAGS: bool = false> {
    ttl: Option<Result<Ttl>>,
    store: bool,
    tags: Vec<Vec<u8>>,
}

impl Storing {
    /// The call's own TTL, and stored.
    pub fn new() -> Self {
        Storing {
            ttl: None,
            store: true,
            tags: Vec::new(),
        }
    }

    /// Tags that depend on the value. A call without them need not watch for the invalidation of any tag.
    pub fn tags(self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Storing<true> {
        let tags = tags.into_iter().map(|tag| tag.as_ref().to_vec());
        Storing {
            ttl: self.ttl,
            store: self.store,
            tags: tags.collect(),
        }
    }

    pub fn ttl(mut self, ttl: impl MaybeTtl) -> Self {
        self.ttl = ttl.maybe();
        self
    }

    pub fn only_if(mut self, store: bool) -> Self {
        self.store = store;
        self
    }
}

impl Default for Storing {
    fn default() -> Self {
        Storing::new()
    }
}
