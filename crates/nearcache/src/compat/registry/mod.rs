//! Caches that are elements of an application, as in JitAI: folders with a declaration and a configuration.
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
//! The element `caches.MyRedis` is the folder `caches/MyRedis` under one of the registry's roots, or a folder that is
//! registered for it. Its `e.json` names its Type, and a Type names its own Type, up to the Meta:
//!
//! - **Meta**: `caches.Meta`, the common ancestor of all Types of caches. It is built in.
//! - **Type**: `caches.RedisType` is built in. An application can add Types in two ways, and can replace the built-in
//!   one by using its name. A *folder*: its `e.json` names the Meta or another Type, and its configuration
//!   (`MyType.json` in `caches/MyType`, which may be missing) has defaults for its instances. A *function*,
//!   registered with [`RegistryBuilder::type_of`], that turns an element into the options of its cache. With both,
//!   the function gets the fields of the folder and the instance together.
//! - **Instance**: an element that has a Type, with the options of its cache in `MyRedis.json`.
//!
//! # The configuration of `caches.RedisType`
//! | field | | default |
//! | --- | --- | --- |
//! | `host` | required | |
//! | `port` | required; 1 to 65535 | |
//! | `password` | required; `null` or empty means none | |
//! | `db` | the number of the database | **1** |
//! | `username` | the user to authenticate as, if there is a password | `"default"` |
//! | `charset` | only `"utf-8"` is allowed | `"utf-8"` |
//! | `decode_responses` | `true` or `false`; it has no effect, because the requested type decides how a value is read | `true` |
//! | `socket_timeout` | seconds, from 0.001 to 3600: how long Redis may take for one call | 0.5 |
//! | `socket_connect_timeout` | seconds, likewise. A call's time includes connecting, so the longer of the two timeouts that are set applies | 0.5 |
//!
//! All [options of a configuration](crate::config::OPTIONS) are also allowed, except `prefix` and `separator`: the
//! prefix is the application's id, followed by `:`. With a `url`, `host`, `port` and `password` are not required.
//! Templates (`"{{REDIS_PORT}}"`) are expanded as in every [configuration](crate::config).
//!
//! Elements with the same configuration share a connection, even across several registries in one process.
//!
//! `element` reads folders, `types` resolves an element's Types, `redis` is the built-in Type.

mod element;
mod redis;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

pub use element::Element;

use crate::config::{CacheConfig, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::{Builder, Cache};

/// The Meta of all Types of caches.
pub const META: &str = "caches.Meta";

/// The built-in Type.
pub const REDIS_TYPE: &str = "caches.RedisType";

/// Turns an element into the options of its cache.
type Factory = Arc<dyn Fn(&Element) -> Result<CacheConfig> + Send + Sync>;

/// What the application adds to the builder of an element's cache.
type Build = Arc<dyn Fn(&str, Builder) -> Builder + Send + Sync>;

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
    build: Option<Build>,
    caches: Mutex<HashMap<String, Cache>>,
}

/// Configures a [`Registry`].
#[must_use = "a builder does nothing until `.build()`"]
pub struct RegistryBuilder {
    inner: Inner,
}

impl RegistryBuilder {
    /// Looks for elements in this folder, after those that were added before: `caches.MyRedis` is `caches/MyRedis` in
    /// it. The default is the working directory.
    pub fn root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.inner.roots.push(folder.into());
        self
    }

    /// Uses this folder for one element. Its configuration file is named after the last part of the element's name
    /// (`MyRedis.json`).
    pub fn element(mut self, name: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        self.inner.folders.insert(name.into(), folder.into());
        self
    }

    /// Registers a Type of the application's own, or replaces [`REDIS_TYPE`]: a function that turns an element into
    /// the options of its cache. [`Element::redis`] gives the options that the built-in Type would use.
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

    /// Uses these variables for templates, and not those of the process.
    pub fn vars(
        mut self,
        vars: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        self.inner.reader = self.inner.reader.vars(vars);
        self
    }

    /// Adds to the builder of every element's cache what a configuration cannot say: hooks, a
    /// [`Fallback`](crate::Fallback), a store. The function gets the element's name and the builder with its
    /// configuration.
    ///
    /// ```
    /// # fn main() -> nearcache::Result<()> {
    /// use nearcache::Fallback;
    /// use nearcache::compat::registry::Registry;
    /// use nearcache::hooks::Tracing;
    ///
    /// let registry = Registry::builder("myapp")
    ///     .with_builder(|name, builder| match name {
    ///         "caches.Sessions" => builder.hook(Tracing::new()).redact_keys(true),
    ///         _ => builder.hook(Tracing::new()).on_unavailable(Fallback::Miss),
    ///     })
    ///     .build();
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_builder(
        mut self,
        build: impl Fn(&str, Builder) -> Builder + Send + Sync + 'static,
    ) -> Self {
        self.inner.build = Some(Arc::new(build));
        self
    }

    /// Builds the registry. It reads no file until a cache is asked for.
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
                build: None,
                caches: Mutex::default(),
            },
        }
    }

    /// The cache of an element. The first call creates it, without connecting; later calls return the same cache, or
    /// a new one if it was closed. (For code without an async runtime, take its
    /// [`blocking`](crate::CacheOf::blocking) form.)
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], with the path of the file: there is no such element, its Type does not exist or
    /// refers back to itself, a field is missing, unknown or out of range, a variable is not set.
    pub fn cache(&self, name: &str) -> Result<Cache> {
        let known = self.inner.caches.lock().get(name).cloned();
        if let Some(cache) = known.filter(Cache::is_open) {
            return Ok(cache);
        }
        let mut builder = self.settings(name)?.builder()?;
        if let Some(build) = &self.inner.build {
            builder = build(name, builder);
        }
        let cache = builder.build()?;
        let mut caches = self.inner.caches.lock();
        // Another thread may have created it meanwhile.
        match caches.get(name) {
            Some(known) if known.is_open() => Ok(known.clone()),
            _ => {
                caches.insert(name.to_owned(), cache.clone());
                Ok(cache)
            }
        }
    }

    /// The options of an element's cache, read again from its files. To print all that apply, use
    /// [`effective`](CacheConfig::effective).
    ///
    /// # Errors
    /// Those of [`cache`](Registry::cache).
    pub fn settings(&self, name: &str) -> Result<CacheConfig> {
        let element = types::element(&self.inner, name)?;
        let made = match &element.factory {
            Some(factory) => factory(&element)?,
            None => element.redis()?,
        };
        // A function may leave out the prefix, but it is the application's id for every Type.
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

/// Where it looks, and which Types are registered.
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
