//! What a component may refer to: discovery services and credential stores, each under a descriptor.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use super::{Context, Params};
use crate::error::BoxError;
use crate::error::{Error, ErrorKind, Result};

/// What a service finds: the parameters under a key, or that there are none.
pub type Resolving<'a> =
    Pin<Box<dyn Future<Output = std::result::Result<Option<Params>, BoxError>> + Send + 'a>>;

/// Finds out where a server is: `host`, `port` or `uri` for a key.
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
    /// The parameters of a connection, `None` where the key is not known. An error ends the opening.
    fn resolve<'a>(&'a self, context: &'a Context, key: &'a str) -> Resolving<'a>;
}

/// Finds out as whom to go to a server: `username` and `password` for a key.
pub trait CredentialStore: fmt::Debug + Send + Sync {
    /// The credentials, `None` where the key is not known. An error ends the opening.
    fn lookup<'a>(&'a self, context: &'a Context, key: &'a str) -> Resolving<'a>;
}

/// What names a component: `group:type:kind:name:version`, `*` for any.
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
    /// Whether the two name the same, as far as neither says `*`.
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
                    "\"{}\" is no descriptor; write group:type:kind:name:version, with * for any",
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

/// What a component may refer to.
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
    /// None.
    pub fn new() -> References {
        References::default()
    }

    /// With a discovery service of that name.
    #[must_use]
    pub fn discovery(self, name: &str, service: impl Discovery + 'static) -> References {
        self.discovery_at(named("discovery", name), Arc::new(service))
    }

    /// With a discovery service under a descriptor, which is found if `*:discovery:*:*:1.0` matches it.
    #[must_use]
    pub fn discovery_at(mut self, at: Descriptor, service: Arc<dyn Discovery>) -> References {
        self.discoveries.push((at, service));
        self
    }

    /// With a credential store of that name.
    #[must_use]
    pub fn credential_store(self, name: &str, store: impl CredentialStore + 'static) -> References {
        self.credential_store_at(named("credential-store", name), Arc::new(store))
    }

    /// With a credential store under a descriptor, which is found if `*:credential-store:*:*:1.0` matches it.
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
