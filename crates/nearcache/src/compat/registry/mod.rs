//! Caches that are elements of an application: folders with a declaration and a configuration, as JitAI has
//! them.
//!
//! ```text
//! caches/
//! └── MyRedis/
//!     ├── e.json           {"backendBundleEntry": ".", "title": "My cache", "type": "caches.RedisType"}
//!     └── MyRedis.json     {"host": "127.0.0.1", "port": 6379, "password": "{{REDIS_PASSWORD}}"}
//! ```
//!
//! ```no_run
//! # async fn example() -> nearcache::Result<()> {
//! use nearcache::Text;
//! use nearcache::compat::registry::Registry;
//!
//! let registry = Registry::builder("myapp").root("/srv/myapp").build();
//! let cache = registry.cache("caches.MyRedis")?; // connects to nothing yet
//! cache.set("user:1001", &Text("张三")).ttl("1h").await?; // lies in Redis as "myapp:user:1001"
//! # Ok(())
//! # }
//! ```
//!
//! # Elements
//! The element `caches.MyRedis` lies in `caches/MyRedis` under one of the registry's roots, or in a folder that it
//! was told. Its `e.json` names its Type, and Types name theirs, up to the Meta:
//!
//! - **Meta**: `caches.Meta`, what all Types of caches have in common. It is built in.
//! - **Type**: `caches.RedisType` is built in. An application has Types of its own in two ways, also of that name,
//!   in place of the built-in one. A *folder* whose `e.json` names the Meta, or another Type, and whose
//!   configuration (`MyType.json` in `caches/MyType`, which may be missing) has what its instances need not say. A
//!   *function* that is registered with [`RegistryBuilder::type_of`] and makes of an element what its cache is to
//!   be. Both together: the function is given what folder and instance say.
//! - **Instance**: an element whose Type is one, with what the cache is to be in `MyRedis.json`.
//!
//! # The configuration of `caches.RedisType`
//! | field | | default |
//! | --- | --- | --- |
//! | `host` | required | |
//! | `port` | required; 1 to 65535 | |
//! | `password` | required; may be `null` or empty: without one | |
//! | `db` | the number of the database | **1** |
//! | `username` | the user to authenticate as, where there is a password | `"default"` |
//! | `charset` | `"utf-8"` is the only one | `"utf-8"` |
//! | `decode_responses` | `true` or `false`; what is asked for as text is text either way | `true` |
//! | `socket_timeout` | seconds, from 0.001 to 3600: how long Redis may take for one call | 0.5 |
//! | `socket_connect_timeout` | seconds, likewise. A call's time has connecting in it: of the two, the longer one that is given holds | 0.5 |
//!
//! Beside these, all [options of a configuration](crate::config::OPTIONS) may stand there, but `prefix` and
//! `separator`: the prefix is the application's id, and `:` follows it. With a `url`, `host`, `port` and
//! `password` need not be there. Templates (`"{{REDIS_PORT}}"`) are put in as in every
//! [configuration](crate::config).
//!
//! Elements that come to the same configuration share a connection, and so do those of several registries in one
//! process.
//!
//! `element` reads folders, `types` finds what an element's Type comes to, `redis` is the built-in Type.

mod element;
mod redis;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

pub use element::Element;

use crate::Cache;
use crate::config::{CacheConfig, Reader};
use crate::error::{Error, ErrorKind, Result};

/// The Meta of all Types of caches.
pub const META: &str = "caches.Meta";

/// The built-in Type.
pub const REDIS_TYPE: &str = "caches.RedisType";

/// What makes of an element what its cache is to be.
type Factory = Arc<dyn Fn(&Element) -> Result<CacheConfig> + Send + Sync>;

/// The caches of an application. Cheap to clone; clones are the same registry. See [the module](self).
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    app_id: String,
    roots: Vec<PathBuf>,
    folders: HashMap<String, PathBuf>,
    types: BTreeMap<String, Factory>,
    reader: Reader,
    caches: Mutex<HashMap<String, Cache>>,
}

/// A registry in the making.
#[must_use = "a builder does nothing until `.build()`"]
pub struct RegistryBuilder {
    inner: Inner,
}

impl RegistryBuilder {
    /// Looks for elements in this folder, after those that were given before: `caches.MyRedis` is
    /// `caches/MyRedis` in it. The working directory, unless one is given.
    pub fn root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.inner.roots.push(folder.into());
        self
    }

    /// Looks for one element in a folder of its own. Its configuration is there under the last part of its name
    /// (`MyRedis.json`).
    pub fn element(mut self, name: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        self.inner.folders.insert(name.into(), folder.into());
        self
    }

    /// A Type of the application's own, or [`REDIS_TYPE`] in the application's way: a function that makes of an
    /// element what its cache is to be. [`Element::redis`] is what the built-in Type would have made of it.
    ///
    /// ```
    /// # fn main() -> nearcache::Result<()> {
    /// use nearcache::compat::registry::Registry;
    ///
    /// let registry = Registry::builder("myapp")
    ///     .type_of("caches.PatientType", |element| {
    ///         let mut config = element.redis()?;
    ///         config.timeout = Some(std::time::Duration::from_secs(5));
    ///         Ok(config)
    ///     })
    ///     .build();
    /// # Ok(())
    /// # }
    /// ```
    pub fn type_of(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&Element) -> Result<CacheConfig> + Send + Sync + 'static,
    ) -> Self {
        self.inner.types.insert(name.into(), Arc::new(make));
        self
    }

    /// Takes these variables for templates, and none of the process.
    pub fn vars(
        mut self,
        vars: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        self.inner.reader = self.inner.reader.vars(vars);
        self
    }

    /// The registry. Nothing is read yet: that is done for the first cache that is asked for.
    #[must_use]
    pub fn build(mut self) -> Registry {
        if self.inner.roots.is_empty() {
            self.inner.roots.push(PathBuf::from("."));
        }
        Registry {
            inner: Arc::new(self.inner),
        }
    }
}

impl Registry {
    /// A registry of the application with this id, which is the prefix of all keys of its caches.
    pub fn builder(app_id: impl Into<String>) -> RegistryBuilder {
        RegistryBuilder {
            inner: Inner {
                app_id: app_id.into(),
                roots: Vec::new(),
                folders: HashMap::new(),
                types: BTreeMap::new(),
                reader: Reader::default(),
                caches: Mutex::default(),
            },
        }
    }

    /// The cache of an element. The first time it is made, connecting to nothing yet; after that it is the same
    /// one, or a new one if that was closed. (For code without an async runtime, take its
    /// [`blocking`](crate::CacheOf::blocking) form.)
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], with the path of the file: there is no such
    /// element, its Type does not exist or comes back to itself, a field is missing, unknown or out of its range, a
    /// variable is not set.
    pub fn cache(&self, name: &str) -> Result<Cache> {
        let known = self.inner.caches.lock().get(name).cloned();
        if let Some(cache) = known.filter(Cache::is_open) {
            return Ok(cache);
        }
        let cache = self.settings(name)?.cache()?;
        let mut caches = self.inner.caches.lock();
        // Somebody else may have been faster.
        match caches.get(name) {
            Some(known) if known.is_open() => Ok(known.clone()),
            _ => {
                caches.insert(name.to_owned(), cache.clone());
                Ok(cache)
            }
        }
    }

    /// What the cache of an element is to be, read anew. [`effective`](CacheConfig::effective) has every option of
    /// it, to be printed.
    ///
    /// # Errors
    /// Those of [`cache`](Registry::cache).
    pub fn settings(&self, name: &str) -> Result<CacheConfig> {
        let element = types::element(&self.inner, name)?;
        let made = match &element.factory {
            Some(factory) => factory(&element)?,
            None => element.redis()?,
        };
        // A function may have left it out: it is the application's, whatever the Type.
        Ok(made.or(CacheConfig {
            prefix: Some(self.inner.app_id.clone()),
            ..CacheConfig::default()
        }))
    }

    /// The id of the application.
    pub fn app_id(&self) -> &str {
        &self.inner.app_id
    }
}

/// Where it looks, and which Types were registered.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for RegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("app_id", &self.app_id)
            .field("roots", &self.roots)
            .field("folders", &self.folders)
            .field("types", &self.types.keys())
            .finish_non_exhaustive()
    }
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, why)
}
