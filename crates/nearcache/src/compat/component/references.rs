//! The references of a component: discovery services and credential stores, each under a descriptor.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use super::{Context, Params};
use crate::error::BoxError;
use crate::error::{Error, ErrorKind, Result};

/// The answer of a service: the parameters for a key, or `None`.
pub type Resolving<'a> =
    Pin<Box<dyn Future<Output = std::result::Result<Option<Params>, BoxError>> + Send + 'a>>;

/// Finds a server: `host`, `port` or `uri` for a key.
///
/// ```
/// use nearcache::compat::component::{Context, Discovery, Params, Resolving};
///
/// #[derive(Debug)]
/// struct Zone(&'static str);
///
/// impl Discovery for Zone {
///     fn resolve<'a>(&'a self, _: &'a Context, key: &'a str) -> Resolving<'a> {
///         Box::pin(async move { Ok(Some(Params::from([("host", format!("{key}.{}", self.0))]))) })
///     }
/// }
/// ```
pub trait Discovery: fmt::Debug + Send + Sync {
    /// The parameters of a connection; `None` if the key is not known. An error makes the opening fail.
    fn resolve<'a>(&'a self, context: &'a Context, key: &'a str) -> Resolving<'a>;
}

/// Finds the credentials for a server: `username` and `password` for a key.
pub trait CredentialStore: fmt::Debug + Send + Sync {
    /// The credentials; `None` if the key is not known. An error makes the opening fail.
    fn lookup<'a>(&'a self, context: &'a Context, key: &'a str) -> Resolving<'a>;
}

/// Names a component: `group:type:kind:name:version`, where `*` matches anything.
///
/// ```
/// use nearcache::compat::component::Descriptor;
///
/// let any: Descriptor = "*:discovery:*:*:1.0".parse()?;
/// assert!(any.matches(&"pip-services:discovery:memory:default:1.0".parse()?));
/// # Ok::<(), nearcache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor([String; 5]);

impl Descriptor {
    /// Whether the two match in every part in which neither is `*`.
    pub fn matches(&self, other: &Descriptor) -> bool {
        let mut parts = self.0.iter().zip(&other.0);
        parts.all(|(one, other)| one == other || one == "*" || other == "*")
    }
}

impl FromStr for Descriptor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<String> = text.split(':').map(|part| part.trim().to_owned()).collect();
        let whole = parts.iter().all(|part| !part.is_empty());
        match <[String; 5]>::try_from(parts) {
            Ok(parts) if whole => Ok(Descriptor(parts)),
            _ => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "\"{}\" is not a descriptor; write group:type:kind:name:version, with * for any",
                    text.escape_debug()
                ),
            )),
        }
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(":"))
    }
}

/// The discovery services and credential stores that a component may use.
///
/// ```
/// use nearcache::compat::component::{InMemory, Params, References};
///
/// let services = InMemory::new().with("redis", Params::from([("host", "localhost")]));
/// let references = References::new().discovery("default", services);
/// ```
#[derive(Clone, Debug, Default)]
pub struct References {
    discoveries: Vec<(Descriptor, Arc<dyn Discovery>)>,
    stores: Vec<(Descriptor, Arc<dyn CredentialStore>)>,
}

impl References {
    /// No references.
    pub fn new() -> References {
        References::default()
    }

    /// Adds a discovery service of that name.
    #[must_use]
    pub fn discovery(self, name: &str, service: impl Discovery + 'static) -> References {
        self.discovery_at(named("discovery", name), Arc::new(service))
    }

    /// Adds a discovery service under a descriptor. It is found if `*:discovery:*:*:1.0` matches the descriptor.
    #[must_use]
    pub fn discovery_at(mut self, at: Descriptor, service: Arc<dyn Discovery>) -> References {
        self.discoveries.push((at, service));
        self
    }

    /// Adds a credential store of that name.
    #[must_use]
    pub fn credential_store(self, name: &str, store: impl CredentialStore + 'static) -> References {
        self.credential_store_at(named("credential-store", name), Arc::new(store))
    }

    /// Adds a credential store under a descriptor. It is found if `*:credential-store:*:*:1.0` matches the
    /// descriptor.
    #[must_use]
    pub fn credential_store_at(
        mut self,
        at: Descriptor,
        store: Arc<dyn CredentialStore>,
    ) -> References {
        self.stores.push((at, store));
        self
    }

    pub(super) fn discoveries(&self) -> Vec<Arc<dyn Discovery>> {
        found(&self.discoveries, &named("discovery", "*"))
    }

    pub(super) fn stores(&self) -> Vec<Arc<dyn CredentialStore>> {
        found(&self.stores, &named("credential-store", "*"))
    }
}

fn named(kind: &str, name: &str) -> Descriptor {
    Descriptor(["*", kind, "*", name, "1.0"].map(str::to_owned))
}

fn found<T: ?Sized>(all: &[(Descriptor, Arc<T>)], wanted: &Descriptor) -> Vec<Arc<T>> {
    let matching = all.iter().filter(|(at, _)| wanted.matches(at));
    matching.map(|(_, one)| Arc::clone(one)).collect()
}
