//! A cache with the life cycle of a pip-services component: it is configured, given its references, opened, used,
//! closed.
//!
//! ```
//! # async fn example() -> nearcache::Result<()> {
//! use std::time::Duration;
//! use nearcache::compat::component::{Component, Params};
//!
//! let cache = Component::new();
//! cache.configure(&Params::from([("connection.uri", "memory://")])); // or ("host", "localhost"), ("port", "6379")
//! cache.open("123").await?;
//!
//! cache.store("123", "key1", "ABC", Some(Duration::from_secs(5))).await?;
//! let value: Option<String> = cache.retrieve("123", "key1").await?;
//! assert_eq!(value.as_deref(), Some("ABC"));
//!
//! cache.close("123").await?;
//! # Ok(())
//! # }
//! # nearcache::__example(example());
//! ```
//!
//! # Interfaces
//! The interfaces of pip-services are traits, for code that is given a component and need not know which:
//!
//! | pip-services | here | what it has |
//! | --- | --- | --- |
//! | `ICache` | [`ValueCache`] | `retrieve`, `store`, `remove` |
//! | `IOpenable` | [`Openable`] | `is_open`, `open`, `close` |
//! | `IConfigurable` | [`Configurable`] | `configure` |
//! | `IReferenceable` | [`Referenceable`] | `set_references` |
//! | `IDiscovery`, `ICredentialStore` | [`Discovery`], [`CredentialStore`] | what a component refers to |
//!
//! # Parameters
//! | parameter | what it is | default |
//! | --- | --- | --- |
//! | `connection.host` (or `ip`), `connection.port` | where the server is | `localhost`, 6379 |
//! | `connection.uri` | the same as a [URL](crate#urls), `memory://` too | |
//! | `connection.discovery_key` | the key under which a [`Discovery`] service knows the server; its parameters override the configured ones | |
//! | `connections.0.host`, … | several connections: the first without a `discovery_key` is used, else the first that a service knows | |
//! | `host`, `port`, … | the same without a section | |
//! | `credential.username` (or `user`), `credential.password` (or `pass`) | the user to authenticate as | none |
//! | `credential.store_key` | the key under which a [`CredentialStore`] knows them | |
//! | `credentials.0.password`, … | several credentials, in the same way | |
//! | `options.retries` | how often a call is retried if the server cannot be reached, 0 to 100: after 100 ms, 200 ms, … up to 3 s, and not while the breaker is open | 3 |
//! | `options.timeout` | the TTL of values, in milliseconds | 60000 |
//! | `options.max_size` | the maximum number of values, 0 to 100000; 0 means no limit | 1000 |
//! | `options.use_username` | whether the username is used; otherwise only the password is | `false` |
//! | `options.call_timeout` | how long Redis may take for one call, in milliseconds, 1 to 3600000 | 500 |
//! | `options.db` | the number of the database | 0 |
//! | `options.prefix` | the start of every key, before `:` | none |
//!
//! # What is stored
//! Text is stored as it is, everything else as JSON, under the key as it is. If you ask for text you get the stored
//! bytes as text, even if a number was stored. Storing nothing (`None`) removes the key.
//!
//! # The maximum number of values
//! `max_size` is a limit for all processes that use the same prefix in the same database. To make room, expired
//! values are dropped first, and then those that expire first, but never the value that is being stored. This needs
//! an index next to the values, a sorted set: a full cache costs a `store` about half as much again, because it also
//! deletes a value (`docs/component.md`).
//!
//! # While Redis is away
//! Opening succeeds, because it does not connect. A call is retried up to `retries` times, each time within
//! `call_timeout`, and then fails like those of [`Cache`](crate::Cache). A `remove` that is retried because its reply
//! was lost may find nothing the second time.

pub(crate) mod bounded;
mod context;
mod interfaces;
mod life;
mod params;
mod references;
mod resolve;
mod services;
mod value;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use context::Context;
pub use interfaces::{Configurable, Openable, Referenceable, ValueCache};
use life::Life;
pub use params::Params;
pub use references::{CredentialStore, Descriptor, Discovery, References, Resolving};
pub use services::{InEnvironment, InFile, InMemory};

use crate::cache::operation::{Async, Executor, Pending};
use crate::cache::{Builder, CacheOf};
use crate::error::Result;

/// The descriptor under which a factory of components finds this one.
pub const DESCRIPTOR: &str = "pip-services:cache:redis:*:1.0";

/// Creates the component that a descriptor names, if it is this one. For factories.
///
/// ```
/// let descriptor = "pip-services:cache:redis:default:1.0".parse()?;
/// assert!(nearcache::compat::component::create(&descriptor).is_some());
/// # Ok::<(), nearcache::Error>(())
/// ```
pub fn create(descriptor: &Descriptor) -> Option<Component> {
    let ours: Descriptor = DESCRIPTOR.parse().ok()?;
    ours.matches(descriptor).then(Component::new)
}

/// A component whose operations end in `.await`. See [the module](self).
pub type Component = ComponentOf<Async>;

/// A cache with the life of a component. See [the module](self).
///
/// There are two forms: [`Component`], whose operations end in `.await`, and `nearcache::blocking::Component`
/// (feature `blocking`), whose operations end in `.run()`.
///
/// It can be shared. A change of its configuration or references applies from the next opening on.
pub struct ComponentOf<M> {
    life: Life<M>,
}

impl<M: Executor> ComponentOf<M> {
    /// A component that is not configured and not open.
    pub fn new() -> Self {
        ComponentOf {
            life: Life::default(),
        }
    }

    /// Sets these parameters. Earlier ones that these do not set remain.
    pub fn configure(&self, params: &Params) {
        self.life.configure(params);
    }

    /// Sets the component's references, in place of the earlier ones.
    pub fn set_references(&self, references: &References) {
        self.life.set_references(references);
    }

    /// Adds to the builder of the component's cache what parameters cannot say: hooks, a
    /// [`Fallback`](crate::Fallback), a store. It applies from the next opening on, in place of an earlier one.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// use nearcache::compat::component::{Component, Params};
    /// use nearcache::hooks::Tracing;
    /// use nearcache::{Fallback, Instead};
    ///
    /// let component = Component::new();
    /// component.configure(&Params::from([("connection.uri", "memory://")]));
    /// component.set_builder(|builder| {
    ///     builder.hook(Tracing::new()).on_unavailable(Fallback::call(|_| Instead::Done))
    /// });
    /// component.open("123").await?;
    /// component.store("123", "key1", "ABC", None).await?;
    /// assert_eq!(component.cache()?.stats().writes, 1);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn set_builder(&self, build: impl Fn(Builder<M>) -> Builder<M> + Send + Sync + 'static) {
        self.life.set_builder(Arc::new(build));
    }

    /// The cache beneath the open component: for its statistics, for tags, for `remember`, for every structure and helper
    /// that a [`Cache`](crate::Cache) has. It sees the component's values, as they are stored. What is stored through it does not count towards `options.max_size`. It is closed
    /// with the component; the next opening makes another one.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen).
    pub fn cache(&self) -> Result<CacheOf<M>> {
        self.life.cache()
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.life.is_open()
    }

    /// Opens the component. It does not connect, so it succeeds even while the server is away. Does nothing if the
    /// component is open. (A blocking component polls the discovery services and credential stores on the calling
    /// thread, so they must not need a runtime.)
    ///
    /// # Errors
    /// [`ErrorKind::NoConnection`](crate::ErrorKind::NoConnection): no parameter says where the server is, or no
    /// service knows it. [`ErrorKind::Unresolved`](crate::ErrorKind::Unresolved): a parameter refers to a service or
    /// a store that is missing or fails, or the store does not know the key.
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) or [`InvalidUrl`](crate::ErrorKind::InvalidUrl):
    /// a parameter is invalid.
    pub fn open(&self, context: impl Into<Context>) -> Pending<'_, (), M> {
        let context = context.into();
        Pending::new(async move { self.life.open(&context).await })
    }

    /// Closes the component, after the calls in progress. Does nothing if it is not open. The values stay, and it can
    /// be opened again.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout): calls are still in progress. The component is closed all
    /// the same.
    pub fn close(&self, context: impl Into<Context>) -> Pending<'_, (), M> {
        let context = context.into();
        Pending::new(async move { self.life.close(&context).await })
    }

    /// Stores a value for a time, to the millisecond. Without a time (or with 0) the TTL is `options.timeout`.
    /// Returns the value. Nothing (`None`) removes the key.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen); [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a value
    /// that cannot be written as JSON; [`InvalidTtl`](crate::ErrorKind::InvalidTtl); and those of
    /// [`set`](crate::CacheOf::set).
    pub fn store<'c, V: Serialize + Send + 'c>(
        &'c self,
        context: impl Into<Context>,
        key: &'c str,
        value: V,
        timeout: Option<Duration>,
    ) -> Pending<'c, V, M> {
        let (context, encoded) = (context.into(), value::encode(&value));
        Pending::new(async move {
            self.life.store(&context, key, encoded, timeout).await?;
            Ok(value)
        })
    }

    /// The value of a key; `None` if it is missing, has expired, or cannot be read as `T`.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen), and those of [`get`](crate::CacheOf::get).
    pub fn retrieve<'c, T: DeserializeOwned + Send + 'c>(
        &'c self,
        context: impl Into<Context>,
        key: &'c str,
    ) -> Pending<'c, Option<T>, M> {
        let context = context.into();
        Pending::new(async move {
            let bytes = self.life.retrieve(&context, key).await?;
            Ok(bytes.and_then(|bytes| value::decode(&bytes)))
        })
    }

    /// Removes a key and returns its value, in one step; `None` if there was none, or if it cannot be read as `T`.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen), and those of [`take`](crate::CacheOf::take).
    pub fn remove<'c, T: DeserializeOwned + Send + 'c>(
        &'c self,
        context: impl Into<Context>,
        key: &'c str,
    ) -> Pending<'c, Option<T>, M> {
        let context = context.into();
        Pending::new(async move {
            let bytes = self.life.remove(&context, key).await?;
            Ok(bytes.and_then(|bytes| value::decode(&bytes)))
        })
    }
}

impl<M: Executor> Default for ComponentOf<M> {
    fn default() -> Self {
        ComponentOf::new()
    }
}

impl<M: Executor> fmt::Debug for ComponentOf<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.life.describe(f, M::COMPONENT)
    }
}

/// The scripts of a component, which a store without Lua needs to know.
#[cfg(feature = "serve")]
pub(crate) fn scripts() -> impl Iterator<Item = &'static crate::script::Script> {
    bounded::ALL.into_iter()
}
