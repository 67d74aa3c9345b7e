//! A cache with the life of a component, as pip-services has them: configured, given what it refers to, opened,
//! used, closed.
//!
//! ```
//! # async fn example() -> nearcache::Result<()> {
//! use std::time::Duration;
//! use nearcache::component::{Component, Params};
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
//! # Parameters
//! | parameter | what it is | default |
//! | --- | --- | --- |
//! | `connection.host` (or `ip`), `connection.port` | where the server is | `localhost`, 6379 |
//! | `connection.uri` | the same as a [URL](crate#urls), `memory://` too | |
//! | `connection.discovery_key` | what a [`Discovery`] service finds it by; what it finds goes before what is configured | |
//! | `connections.0.host`, … | several: the first that says itself where it is, else the first that is found | |
//! | `host`, `port`, … | the same without a section | |
//! | `credential.username` (or `user`), `credential.password` (or `pass`) | as whom to go there | nobody |
//! | `credential.store_key` | what a [`CredentialStore`] finds them by | |
//! | `credentials.0.password`, … | several, likewise | |
//! | `options.retries` | how often more a call is made that finds no server, 0 to 100: after 100 ms, 200 ms, … up to 3 s, and not while the breaker is open | 3 |
//! | `options.timeout` | how long a value stays, in milliseconds | 60000 |
//! | `options.max_size` | how many values there may be, 0 to 100000; 0 is any number | 1000 |
//! | `options.use_username` | whether the username is used; without it, the password alone is | `false` |
//! | `options.call_timeout` | how long Redis may take for one call, in milliseconds, 1 to 3600000 | 500 |
//! | `options.db` | the number of the database | 0 |
//! | `options.prefix` | what every key begins with, before `:` | none |
//!
//! # What is stored
//! Text as it is, everything else as JSON, under the key as it is. What is asked for as text is read as text, also
//! if it was a number. Nothing (`None`) removes.
//!
//! # How many there are
//! `max_size` holds for all processes that use the same prefix in the same database. Where there is no room, what
//! has expired is no longer counted, then the values go that expire first; the one that is being stored stays. For
//! this there is an index beside the values, read and written whole each time: with 1,000 values a `store` takes four
//! times as long as without a bound, with 10,000 thirty times (`docs/component.md`).
//!
//! # While Redis is away
//! Opening succeeds: nothing is connected to. A call is made anew as often as `retries` says, each within
//! `call_timeout`, and then fails as those of [`Cache`](crate::Cache) do. A `remove` whose reply was lost may find
//! nothing any more the second time.

mod context;
mod life;
mod params;
mod references;
mod resolve;
mod services;
mod value;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use context::Context;
use life::Life;
pub use params::Params;
pub use references::{CredentialStore, Descriptor, Discovery, References, Resolving};
pub use services::{InEnvironment, InFile, InMemory};

use crate::connect::Mode;
use crate::error::Result;

/// What a factory of components finds this one by.
pub const DESCRIPTOR: &str = "pip-services:cache:redis:*:1.0";

/// The component that a descriptor names, if it is this one: for factories.
///
/// ```
/// let descriptor = "pip-services:cache:redis:default:1.0".parse()?;
/// assert!(nearcache::component::create(&descriptor).is_some());
/// # Ok::<(), nearcache::Error>(())
/// ```
pub fn create(descriptor: &Descriptor) -> Option<Component> {
    let ours: Descriptor = DESCRIPTOR.parse().ok()?;
    ours.matches(descriptor).then(Component::new)
}

/// A cache with the life of a component. See [the module](self). (Without an async runtime:
/// `nearcache::blocking::Component`, feature `blocking`.)
///
/// It can be shared; what it is configured with and refers to holds from the next opening on.
#[derive(Default)]
pub struct Component {
    life: Life,
}

impl Component {
    /// A component that is not configured, and not open.
    pub fn new() -> Component {
        Component::default()
    }

    /// Takes these parameters; those that were given before hold where these say nothing.
    pub fn configure(&self, params: &Params) {
        self.life.configure(params);
    }

    /// Takes what the component may refer to, in place of what was given before.
    pub fn set_references(&self, references: &References) {
        self.life.set_references(references);
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.life.is_open()
    }

    /// Opens it. Nothing is connected to yet: it succeeds while the server is away. Does nothing if it is open.
    ///
    /// # Errors
    /// [`ErrorKind::NoConnection`](crate::ErrorKind::NoConnection): nothing says where the server is, or no service
    /// knows it. [`ErrorKind::Unresolved`](crate::ErrorKind::Unresolved): a service or a store is referred to that
    /// is not there, or fails, or a store does not know the key.
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) or
    /// [`InvalidUrl`](crate::ErrorKind::InvalidUrl): a parameter is not what it should be.
    pub async fn open(&self, context: impl Into<Context>) -> Result<()> {
        self.life.open(&context.into(), Mode::Async).await
    }

    /// Closes it, after the calls under way. Does nothing if it is not open. What is stored stays, and it can be
    /// opened again.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout): calls are still under way. It is closed all the same.
    pub async fn close(&self, context: impl Into<Context>) -> Result<()> {
        self.life.close(&context.into()).await
    }

    /// Stores a value for a time, to the millisecond; without one (or with a time of 0) for `options.timeout`. Gives
    /// the value back. Nothing (`None`) removes what is there.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen); [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a value
    /// that has no JSON; [`InvalidTtl`](crate::ErrorKind::InvalidTtl); and those of
    /// [`Cache::set`](crate::Cache::set).
    pub async fn store<V: Serialize>(
        &self,
        context: impl Into<Context>,
        key: &str,
        value: V,
        timeout: Option<Duration>,
    ) -> Result<V> {
        let encoded = value::encode(&value);
        self.life
            .store(&context.into(), key, encoded, timeout)
            .await?;
        Ok(value)
    }

    /// The value of a key, or `None`: missing, expired, or not readable as `T`.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen), and those of [`Cache::get`](crate::Cache::get).
    pub async fn retrieve<T: DeserializeOwned>(
        &self,
        context: impl Into<Context>,
        key: &str,
    ) -> Result<Option<T>> {
        let bytes = self.life.retrieve(&context.into(), key).await?;
        Ok(bytes.and_then(|bytes| value::decode(&bytes)))
    }

    /// Removes a key, and gives the value that was there, in one step; `None` if there was none, or none that is
    /// readable as `T`.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen), and those of [`Cache::take`](crate::Cache::take).
    pub async fn remove<T: DeserializeOwned>(
        &self,
        context: impl Into<Context>,
        key: &str,
    ) -> Result<Option<T>> {
        let bytes = self.life.remove(&context.into(), key).await?;
        Ok(bytes.and_then(|bytes| value::decode(&bytes)))
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.life.describe(f, "Component")
    }
}

/// A component for code without an async runtime: see [`nearcache::component`](crate::component). Its methods
/// wait on the thread that calls.
#[cfg(feature = "blocking")]
#[derive(Default)]
pub struct BlockingComponent {
    life: Life,
}

#[cfg(feature = "blocking")]
impl BlockingComponent {
    /// See [`Component::new`].
    pub fn new() -> BlockingComponent {
        BlockingComponent::default()
    }

    /// See [`Component::configure`].
    pub fn configure(&self, params: &Params) {
        self.life.configure(params);
    }

    /// See [`Component::set_references`].
    pub fn set_references(&self, references: &References) {
        self.life.set_references(references);
    }

    /// See [`Component::is_open`].
    pub fn is_open(&self) -> bool {
        self.life.is_open()
    }

    /// See [`Component::open`]. The services that it asks are polled on this thread, and must need no runtime.
    ///
    /// # Errors
    /// Those of [`Component::open`].
    pub fn open(&self, context: impl Into<Context>) -> Result<()> {
        crate::runtime::block_on(self.life.open(&context.into(), Mode::Blocking))
    }

    /// See [`Component::close`].
    ///
    /// # Errors
    /// Those of [`Component::close`].
    pub fn close(&self, context: impl Into<Context>) -> Result<()> {
        crate::runtime::block_on(self.life.close(&context.into()))
    }

    /// See [`Component::store`].
    ///
    /// # Errors
    /// Those of [`Component::store`].
    pub fn store<V: Serialize>(
        &self,
        context: impl Into<Context>,
        key: &str,
        value: V,
        timeout: Option<Duration>,
    ) -> Result<V> {
        let encoded = value::encode(&value);
        crate::runtime::block_on(self.life.store(&context.into(), key, encoded, timeout))?;
        Ok(value)
    }

    /// See [`Component::retrieve`].
    ///
    /// # Errors
    /// Those of [`Component::retrieve`].
    pub fn retrieve<T: DeserializeOwned>(
        &self,
        context: impl Into<Context>,
        key: &str,
    ) -> Result<Option<T>> {
        let bytes = crate::runtime::block_on(self.life.retrieve(&context.into(), key))?;
        Ok(bytes.and_then(|bytes| value::decode(&bytes)))
    }

    /// See [`Component::remove`].
    ///
    /// # Errors
    /// Those of [`Component::remove`].
    pub fn remove<T: DeserializeOwned>(
        &self,
        context: impl Into<Context>,
        key: &str,
    ) -> Result<Option<T>> {
        let bytes = crate::runtime::block_on(self.life.remove(&context.into(), key))?;
        Ok(bytes.and_then(|bytes| value::decode(&bytes)))
    }
}

#[cfg(feature = "blocking")]
impl fmt::Debug for BlockingComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.life.describe(f, "blocking::Component")
    }
}
