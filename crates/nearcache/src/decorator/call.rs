//! A call of a decorated function.
//!
//! 1. The function runs at most once per call, no matter which task or thread runs it: its arguments are in the
//!    call's errand, and whoever takes them runs the function.
//! 2. The caller gets what the function returned, even if it could not be stored: the errand keeps the error, and a
//!    value that was dropped on its way to the cache.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;

use super::kind::{Kind, OnError};
use super::{CallKey, Options, Storing};
use crate::Cache;
use crate::codec::{Codec, Decode, Encode, Format, Stored, sealed};
use crate::error::BoxError;
use crate::error::{Error, Result};
use crate::read_through::ReadThrough;
use crate::read_through::load::{self, Loadable, Loaded};

/// Holds a value that was dropped on its way to the cache.
type Left<V> = Arc<Mutex<Option<V>>>;

/// A value on its way to the cache. If it is dropped before it gets there, it goes to `left`.
struct Kept<V> {
    value: Option<V>,
    left: Option<Left<V>>,
}

impl<V> Kept<V> {
    fn found(value: V) -> Self {
        Kept {
            value: Some(value),
            left: None,
        }
    }

    /// The value; `Some`, because it is taken only once.
    fn take(mut self) -> Option<V> {
        self.value.take()
    }
}

impl<V> Drop for Kept<V> {
    fn drop(&mut self) {
        if let (Some(left), Some(value)) = (&self.left, self.value.take()) {
            *left.lock() = Some(value);
        }
    }
}

/// A dropped clone does not go to `left`.
impl<V: Clone> Clone for Kept<V> {
    fn clone(&self) -> Self {
        Kept {
            value: self.value.clone(),
            left: None,
        }
    }
}

impl<V: Encode> sealed::Encode for Kept<V> {}

impl<V: Decode> sealed::Decode for Kept<V> {}

impl<V: Encode> Encode for Kept<V> {
    const NOTHING: Option<&'static [u8]> = V::NOTHING;

    fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> Result<Format> {
        self.value
            .as_ref()
            .map_or(Ok(codec.format), |value| value.encode(codec, out))
    }

    fn is_nothing(&self) -> bool {
        self.value.as_ref().is_some_and(V::is_nothing)
    }
}

impl<V: Decode> Decode for Kept<V> {
    fn decode(
        format: Format,
        codec: &Codec,
        bytes: &mut Vec<u8>,
        from: usize,
    ) -> Result<Stored<Self>> {
        Ok(match V::decode(format, codec, bytes, from)? {
            Stored::Value(value) => Stored::Value(Kept::found(value)),
            Stored::Nothing => Stored::Nothing,
        })
    }

    fn nothing() -> Option<Self> {
        V::nothing().map(Kept::found)
    }
}

/// The value that a function returned, and how to store it.
struct Brought<V, const TAGS: bool> {
    value: Kept<V>,
    storing: Storing<TAGS>,
}

impl<V: Encode + Decode + Clone, const TAGS: bool> load::sealed::Loadable for Brought<V, TAGS> {}

impl<V: Encode + Decode + Clone, const TAGS: bool> Loadable for Brought<V, TAGS> {
    type Value = Kept<V>;

    const BRINGS_TAGS: bool = TAGS;

    fn into_loaded(self) -> Loaded<Kept<V>> {
        let Storing { ttl, store, tags } = self.storing;
        Loaded {
            ttl,
            store,
            tags,
            ..Loaded::new(self.value)
        }
    }
}

/// What a call needs to run its function, and the outcome.
struct Errand<A, K: Kind>(Mutex<State<A, K>>);

struct State<A, K: Kind> {
    arguments: Option<A>,
    error: Option<K::Error>,
    left: Option<Left<K::Value>>,
}

/// How a call ends.
enum End<A, R> {
    Return(R),
    /// The function has not run yet, and must be run without the cache.
    Run(A),
}

impl<A, K: Kind> Errand<A, K> {
    fn new(arguments: A) -> Self {
        Errand(Mutex::new(State {
            arguments: Some(arguments),
            error: None,
            left: None,
        }))
    }

    fn take(&self) -> std::result::Result<A, BoxError> {
        let arguments = self.0.lock().arguments.take();
        arguments.ok_or_else(|| "the function has run already".into())
    }

    /// Hands the function's result to the cache.
    fn bring<const TAGS: bool>(
        &self,
        returned: K::Returned,
        storing: impl FnOnce(&K::Value) -> Storing<TAGS>,
    ) -> std::result::Result<Brought<K::Value, TAGS>, BoxError> {
        match K::split(returned) {
            Ok(value) => {
                let left = Left::default();
                self.0.lock().left = Some(Arc::clone(&left));
                let storing = storing(&value);
                let value = Kept {
                    value: Some(value),
                    left: Some(left),
                };
                Ok(Brought { value, storing })
            }
            Err(error) => {
                let told = K::told(&error);
                self.0.lock().error = Some(error);
                Err(told)
            }
        }
    }

    /// What the caller gets.
    fn end<M: OnError<K>>(&self, asked: Result<Kept<K::Value>>) -> End<A, K::Returned> {
        let error = match asked.map(Kept::take) {
            Ok(Some(value)) => return End::Return(K::join(Ok(value))),
            Ok(None) => unreachable!("a value is taken once"),
            Err(error) => error,
        };
        let State {
            arguments,
            error: own,
            left,
        } = std::mem::replace(
            &mut *self.0.lock(),
            State {
                arguments: None,
                error: None,
                left: None,
            },
        );
        if let Some(error) = own.or_else(|| K::heard(&error)) {
            return End::Return(K::join(Err(error)));
        }
        let error = match M::answer(error) {
            Ok(returned) => return End::Return(returned),
            Err(error) => error,
        };
        if let Some(value) = left.and_then(|left| left.lock().take()) {
            return End::Return(K::join(Ok(value)));
        }
        match arguments {
            Some(arguments) => End::Run(arguments),
            None => gone(&error),
        }
    }
}

/// The function has begun and not returned. Either it panicked, and then the call panics, too; or its runtime was
/// shut down.
#[allow(clippy::panic, reason = "the panic is the function's")]
fn gone(error: &Error) -> ! {
    panic!("{error}")
}

/// Sets the options that need a loader which can run in the background. The async and the blocking API have them only
/// for such loaders, so this is a macro.
macro_rules! beside {
    ($options:ident, $asking:ident) => {{
        let mut asking = $asking;
        let (stale_for, soft_timeout, early_refresh) = $options.beside()?;
        if let Some(time) = stale_for {
            asking = asking.stale_for(time);
        }
        if let Some(time) = soft_timeout {
            asking = asking.soft_timeout(time);
        }
        if let Some(beta) = early_refresh {
            asking = asking.early_refresh(beta);
        }
        asking
    }};
}

/// What the function would return, if its value is near. It is looked up as the value itself, which other reads of the
/// key share.
#[inline]
fn near<K: Kind>(
    core: &ReadThrough,
    options: &Options,
    key: &Result<CallKey>,
) -> Option<K::Returned> {
    let value = options.near::<K::Value>(core, key)?;
    Some(K::join(Ok(value)))
}

/// The answer to a call: known at once if its value is near.
///
/// What else there is lies in a box. A near hit should not carry it, through the future of each function around this one.
enum Answer<R, F> {
    Near(Option<R>),
    Asked(Pin<Box<F>>),
}

/// `Unpin` is safe: only the boxed future needs pinning, and its box does that.
impl<R, F> Unpin for Answer<R, F> {}

impl<R, F: Future<Output = R>> Future for Answer<R, F> {
    type Output = R;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        match &mut *self {
            Answer::Near(returned) => match returned.take() {
                Some(returned) => Poll::Ready(returned),
                None => Poll::Pending, // polled after completion, which `.await` never does
            },
            Answer::Asked(asked) => asked.as_mut().poll(context),
        }
    }
}

/// A call on an async cache. The value is looked up at once, so call it where it is awaited. The arguments are packed if it
/// is not near.
#[allow(clippy::too_many_arguments, reason = "each is a part of the attribute")]
#[inline]
pub fn remember<K, M, P, A, C, F, S, const TAGS: bool>(
    cache: &Cache,
    key: Result<CallKey>,
    options: Options,
    _kind: K,
    _on_error: M,
    arguments: P,
    call: C,
    storing: S,
) -> impl Future<Output = K::Returned>
where
    K: Kind<Error: Send>,
    M: OnError<K>,
    P: FnOnce() -> A,
    A: Send + 'static,
    C: FnOnce(A) -> F + Copy + Send + 'static,
    F: Future<Output = K::Returned> + Send + 'static,
    S: FnOnce(&K::Value) -> Storing<TAGS> + Send + 'static,
{
    match near::<K>(cache.core(), &options, &key) {
        Some(returned) => Answer::Near(Some(returned)),
        None => {
            let asked =
                ask::<K, M, A, C, F, S, TAGS>(cache, key, options, arguments(), call, storing);
            Answer::Asked(Box::pin(asked))
        }
    }
}

/// The same, of a value that is not near.
async fn ask<K, M, A, C, F, S, const TAGS: bool>(
    cache: &Cache,
    key: Result<CallKey>,
    mut options: Options,
    arguments: A,
    call: C,
    storing: S,
) -> K::Returned
where
    K: Kind<Error: Send>,
    M: OnError<K>,
    A: Send + 'static,
    C: FnOnce(A) -> F + Copy + Send + 'static,
    F: Future<Output = K::Returned> + Send + 'static,
    S: FnOnce(&K::Value) -> Storing<TAGS> + Send + 'static,
{
    let errand = Arc::new(Errand::<A, K>::new(arguments));
    let load = {
        let errand = Arc::clone(&errand);
        move || async move {
            let returned = call(errand.take()?).await;
            errand.bring(returned, storing)
        }
    };
    let asked = async {
        let asking = options.onto(cache.remember(key?, load))?;
        beside!(options, asking).await
    };
    let end = errand.end::<M>(asked.await);
    match end {
        End::Return(returned) => returned,
        End::Run(arguments) => call(arguments).await,
    }
}

/// Stores a value without running the function.
pub async fn prime<K: Kind, const TAGS: bool>(
    cache: &Cache,
    key: Result<CallKey>,
    options: Options,
    _kind: K,
    storing: impl FnOnce(&K::Value) -> Storing<TAGS>,
    returned: K::Returned,
) -> Result<()> {
    let Ok(value) = K::split(returned) else {
        return Ok(());
    };
    let (own, nothing) = (storing(&value), value.is_nothing());
    options
        .tags(own.tags)
        .onto_set(cache.set(key?, value), own.ttl, nothing)?
        .await
}

/// The same for a blocking cache.
#[cfg(feature = "blocking")]
pub mod blocking {
    use super::{Arc, CallKey, End, Errand, Kind, OnError, Options, Result, Storing, near};
    use crate::blocking::Cache;
    use crate::codec::Encode;

    /// A call whose function runs on the caller's thread, and may borrow from it.
    #[allow(clippy::too_many_arguments, reason = "each is a part of the attribute")]
    pub fn remember<K, M, P, A, C, S, const TAGS: bool>(
        cache: &Cache,
        key: Result<CallKey>,
        mut options: Options,
        _kind: K,
        _on_error: M,
        arguments: P,
        call: C,
        storing: S,
    ) -> K::Returned
    where
        K: Kind,
        M: OnError<K>,
        P: FnOnce() -> A,
        C: FnOnce(A) -> K::Returned + Copy,
        S: FnOnce(&K::Value) -> Storing<TAGS>,
    {
        if let Some(value) = near::<K>(cache.core(), &options, &key) {
            return value;
        }
        let errand = Errand::<A, K>::new(arguments());
        let load = || errand.bring(call(errand.take()?), storing);
        let asked = key.and_then(|key| options.onto(cache.remember(key, load))?.run());
        match errand.end::<M>(asked) {
            End::Return(returned) => returned,
            End::Run(arguments) => call(arguments),
        }
    }

    /// A call whose function may run on a thread of its own.
    #[allow(clippy::too_many_arguments, reason = "each is a part of the attribute")]
    pub fn remember_beside<K, M, P, A, C, S, const TAGS: bool>(
        cache: &Cache,
        key: Result<CallKey>,
        mut options: Options,
        _kind: K,
        _on_error: M,
        arguments: P,
        call: C,
        storing: S,
    ) -> K::Returned
    where
        K: Kind<Error: Send>,
        M: OnError<K>,
        P: FnOnce() -> A,
        A: Send + 'static,
        C: FnOnce(A) -> K::Returned + Copy + Send + 'static,
        S: FnOnce(&K::Value) -> Storing<TAGS> + Send + 'static,
    {
        if let Some(value) = near::<K>(cache.core(), &options, &key) {
            return value;
        }
        let errand = Arc::new(Errand::<A, K>::new(arguments()));
        let load = {
            let errand = Arc::clone(&errand);
            move || errand.bring(call(errand.take()?), storing)
        };
        let asked = key.and_then(|key| {
            let asking = options.onto(cache.remember(key, load))?;
            beside!(options, asking).run()
        });
        match errand.end::<M>(asked) {
            End::Return(returned) => returned,
            End::Run(arguments) => call(arguments),
        }
    }

    /// Stores a value without running the function.
    pub fn prime<K: Kind, const TAGS: bool>(
        cache: &Cache,
        key: Result<CallKey>,
        options: Options,
        _kind: K,
        storing: impl FnOnce(&K::Value) -> Storing<TAGS>,
        returned: K::Returned,
    ) -> Result<()> {
        let Ok(value) = K::split(returned) else {
            return Ok(());
        };
        let (own, nothing) = (storing(&value), value.is_nothing());
        options
            .tags(own.tags)
            .onto_set(cache.set(key?, value), own.ttl, nothing)?
            .run()
    }
}
