//! The interfaces of pip-services as traits, each of which can be behind a `Box<dyn …>`. The methods of
//! [`ComponentOf`] take more forms of their arguments; these take one.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{ComponentOf, Context, Params, References, value};
use crate::cache::operation::{Async, Executor, Pending};

/// A cache of values (`ICache` of pip-services): for code that is given one and need not know which.
///
/// `dyn ValueCache` is one for async callers, and `dyn ValueCache<Blocking>` one for code without an async runtime. Values
/// come back as the text that is stored: text as it is, and everything else as JSON;
/// [`retrieve_as`](trait.ValueCache.html#method.retrieve_as) reads them.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use std::time::Duration;
/// use nearcache::compat::component::{Component, Context, Params, ValueCache};
///
/// async fn remember_visit(cache: &dyn ValueCache, context: &Context) -> nearcache::Result<u32> {
///     let visits: u32 = cache.retrieve_as(context, "visits").await?.unwrap_or(0);
///     cache.store(context, "visits", &(visits + 1), Some(Duration::from_secs(60))).await?;
///     Ok(visits + 1)
/// }
///
/// let component = Component::new();
/// component.configure(&Params::from([("connection.uri", "memory://")]));
/// component.open("123").await?;
/// assert_eq!(remember_visit(&component, &"123".into()).await?, 1);
/// assert_eq!(remember_visit(&component, &"123".into()).await?, 2);
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
pub trait ValueCache<M: Executor = Async>: Send + Sync {
    /// The value of a key, as it is stored; `None` if it is missing or has expired.
    fn retrieve<'c>(&'c self, context: &Context, key: &'c str) -> Pending<'c, Option<String>, M>;

    /// Stores a value for a time; without one (or with 0) for the default one. Returns the value, as it is stored. Nothing
    /// (`None`) removes the key.
    fn store<'c>(
        &'c self,
        context: &Context,
        key: &'c str,
        value: &dyn erased_serde::Serialize,
        timeout: Option<Duration>,
    ) -> Pending<'c, Option<String>, M>;

    /// Removes a key, and returns its value; `None` if there was none.
    fn remove<'c>(&'c self, context: &Context, key: &'c str) -> Pending<'c, Option<String>, M>;
}

impl<M: Executor> dyn ValueCache<M> + '_ {
    /// The value of a key; `None` if it is missing, has expired, or cannot be read as `T`.
    pub fn retrieve_as<'c, T: DeserializeOwned + Send + 'c>(
        &'c self,
        context: &Context,
        key: &'c str,
    ) -> Pending<'c, Option<T>, M> {
        let stored = self.retrieve(context, key);
        Pending::new(async move {
            Ok(stored
                .start()
                .await?
                .and_then(|text| value::decode(text.as_bytes())))
        })
    }
}

/// Something that is opened before it is used, and closed (`IOpenable` of pip-services).
pub trait Openable<M: Executor = Async>: Send + Sync {
    /// Whether it is open.
    fn is_open(&self) -> bool;

    /// Opens it. Does nothing if it is open.
    fn open<'c>(&'c self, context: &Context) -> Pending<'c, (), M>;

    /// Closes it, and frees what it uses. Does nothing if it is not open.
    fn close<'c>(&'c self, context: &Context) -> Pending<'c, (), M>;
}

/// Something that takes parameters (`IConfigurable` of pip-services).
pub trait Configurable: Send + Sync {
    /// Sets these parameters. Earlier ones that these do not set remain.
    fn configure(&self, params: &Params);
}

/// Something that depends on others (`IReferenceable` of pip-services).
pub trait Referenceable: Send + Sync {
    /// Sets the references, in place of the earlier ones.
    fn set_references(&self, references: &References);
}

impl<M: Executor> ValueCache<M> for ComponentOf<M> {
    fn retrieve<'c>(&'c self, context: &Context, key: &'c str) -> Pending<'c, Option<String>, M> {
        ComponentOf::retrieve(self, context, key)
    }

    fn store<'c>(
        &'c self,
        context: &Context,
        key: &'c str,
        value: &dyn erased_serde::Serialize,
        timeout: Option<Duration>,
    ) -> Pending<'c, Option<String>, M> {
        let (context, encoded) = (context.clone(), value::encode(&value));
        Pending::new(async move {
            let text = encoded.as_ref().ok().cloned().flatten();
            self.life.store(&context, key, encoded, timeout).await?;
            Ok(text.and_then(|bytes| String::from_utf8(bytes).ok()))
        })
    }

    fn remove<'c>(&'c self, context: &Context, key: &'c str) -> Pending<'c, Option<String>, M> {
        ComponentOf::remove(self, context, key)
    }
}

impl<M: Executor> Openable<M> for ComponentOf<M> {
    fn is_open(&self) -> bool {
        ComponentOf::is_open(self)
    }

    fn open<'c>(&'c self, context: &Context) -> Pending<'c, (), M> {
        ComponentOf::open(self, context)
    }

    fn close<'c>(&'c self, context: &Context) -> Pending<'c, (), M> {
        ComponentOf::close(self, context)
    }
}

impl<M: Executor> Configurable for ComponentOf<M> {
    fn configure(&self, params: &Params) {
        ComponentOf::configure(self, params);
    }
}

impl<M: Executor> Referenceable for ComponentOf<M> {
    fn set_references(&self, references: &References) {
        ComponentOf::set_references(self, references);
    }
}
