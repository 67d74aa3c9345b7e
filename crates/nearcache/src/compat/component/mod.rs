//! A cache with the life of a component, as pip-services has them: configured, given what it refers to, opened,
//! used, closed.
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

pub(crate) mod bounded;
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

use crate::cache::operation::{Async, Executor, Pending};

/// What a factory of components finds this one by.
pub const DESCRIPTOR: &str = "pip-services:cache:redis:*:1.0";

/// The component that a descriptor names, if it is this one: for factories.
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
/// There is one for each way to wait: [`Component`], whose operations end in `.await`, and
/// `nearcache::blocking::Component` (feature `blocking`), whose operations end in `.run()`.
///
/// It can be shared; what it is configured with and refers to holds from the next opening on.
pub struct ComponentOf<M> {
    life: Life<M>,
}

impl<M: Executor> ComponentOf<M> {
    /// A component that is not configured, and not open.
    pub fn new() -> Self {
        ComponentOf {
            life: Life::default(),
        }
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
    /// (A blocking component polls the services that it asks on the calling thread: they must need no runtime.)
    ///
    /// # Errors
    /// [`ErrorKind::NoConnection`](crate::ErrorKind::NoConnection): nothing says where the server is, or no service
    /// knows it. [`ErrorKind::Unresolved`](crate::ErrorKind::Unresolved): a service or a store is referred to that
    /// is not there, or fails, or a store does not know the key.
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) or
    /// [`InvalidUrl`](crate::ErrorKind::InvalidUrl): a parameter is not what it should be.
    pub fn open(&self, context: impl Into<Context>) -> Pending<'_, (), M> {
        let context = context.into();
        Pending::new(async move { self.life.open(&context).await })
    }

    /// Closes it, after the calls under way. Does nothing if it is not open. Its values stay, and it can be
    /// opened again.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout): calls are still under way. It is closed all the same.
    pub fn close(&self, context: impl Into<Context>) -> Pending<'_, (), M> {
        let context = context.into();
        Pending::new(async move { self.life.close(&context).await })
    }

    /// Stores a value for a time, to the millisecond; without one (or with a time of 0) for `options.timeout`. Gives
    /// the value back. Nothing (`None`) removes what is there.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen); [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a value
    /// that has no JSON; [`InvalidTtl`](crate::ErrorKind::InvalidTtl); and those of
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

    /// The value of a key, or `None`: missing, expired, or not readable as `T`.
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

    /// Removes a key, and gives the value that was there, in one step; `None` if there was none, or none that is
    /// readable as `T`.
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
