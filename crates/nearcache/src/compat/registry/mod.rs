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
//! use nearcache::compat::registry::Registry;
//!
//! let registry = Registry::builder("myapp").root("/srv/myapp").build();
//! let cache = registry.element("caches.MyRedis")?; // connects to nothing yet
//! cache.set("user:1001", "张三", 3600).await?; // lies in Redis as "myapp:user:1001"
//! let name: Option<String> = cache.get("user:1001").await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Registry::element`] returns the face of an element, a [`TextCache`]: texts and numbers by name, with the methods of
//! JitAI's caches. Beneath it is an ordinary [`Cache`], which [`Registry::cache`] returns: with `remember`, tags, hashes
//! and all other verbs, on the same keys. The guide `docs/jitai.md` has JitAI's calls and ours side by side.
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
//! What an `__init__.py` does in a folder, a function does here: [`RegistryBuilder::on_init`].
//!
//! # The configuration of `caches.RedisType`
//! | field | | default |
//! | --- | --- | --- |
//! | `host` | required | |
//! | `port` | required; 1 to 65535 | |
//! | `password` | required; `null` or empty means none | |
//! | `db` | the number of the database | **1** |
//! | `username` | the user to authenticate as, if there is a password | `"default"` |
//! | `charset` | how the face writes and reads names and texts: `"utf-8"`, `"ascii"` or `"latin-1"`, and with the feature `charset` any other that contains ASCII: `"gbk"`, `"big5"`, `"shift_jis"`, `"cp1252"` … | `"utf-8"` |
//! | `decode_responses` | `true` or `false`. If it is `false`, the values are bytes: the face's [`get`](TextCacheOf::get) is an error, and [`get_bytes`](TextCacheOf::get_bytes) reads them | `true` |
//! | `socket_timeout` | seconds, from 0.001 to 3600: how long Redis may take for one call | 0.5 |
//! | `socket_connect_timeout` | seconds, likewise: how long connecting may take, apart from the call that connects | 0.5 |
//!
//! All [options of a configuration](crate::config::OPTIONS) are also allowed, except `prefix` and `separator`: the
//! prefix is the application's id, followed by `:`. With a `url`, `host`, `port` and `password` are not required, and the
//! timeouts have the defaults of a URL.
//! Templates (`"{{REDIS_PORT}}"`) are expanded as in every [configuration](crate::config).
//!
//! Elements with the same configuration share a connection, even across several registries in one process.
//!
//! `element` reads folders, `types` resolves an element's Types, `redis` is the built-in Type. `text` is the face of an
//! element, with `names`, its listing of keys, and `charset`.

mod charset;
mod element;
mod names;
mod redis;
mod text;
mod types;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, ReentrantMutex};

pub use element::Element;
pub use names::Names;
use text::About;
pub use text::{IntoTs, Ping, TextCache, TextCacheOf};

use crate::config::{CacheConfig, Reader};
use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::{Builder, Cache};

/// The Meta of all Types of caches.
pub const META: &str = "caches.Meta";

/// The built-in Type.
pub const REDIS_TYPE: &str = "caches.RedisType";

/// Turns an element into the options of its cache.
type Factory = Arc<dyn Fn(&Element) -> Result<CacheConfig> + Send + Sync>;

/// What the application adds to the builder of an element's cache.
type Build = Arc<dyn Fn(&str, Builder) -> Builder + Send + Sync>;

/// What the application does with a new element.
type Init = Arc<dyn Fn(&TextCache) -> Result<(), BoxError> + Send + Sync>;

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
    inits: HashMap<String, Init>,
    made: Mutex<HashMap<String, TextCache>>,
    /// The names of the elements that this thread is making: one for each `on_init` that asks for another element.
    making: ReentrantMutex<RefCell<Vec<String>>>,
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

    /// Runs this function when an element is created, before anybody gets it: in the place of the `__init__.py` in its
    /// folder. The name is that of an instance, or of a Type, for all its instances; the Types' functions run first. If
    /// it fails, so does [`Registry::element`], and the next call tries again.
    ///
    /// It gets the new element, and may ask the registry for others, but not for the same one. It runs on the thread that
    /// asks for the element, and whoever else asks for a new element of this registry waits meanwhile. It runs again if
    /// the cache was closed, and is created anew.
    ///
    /// ```
    /// # fn main() -> nearcache::Result<()> {
    /// use nearcache::compat::registry::Registry;
    ///
    /// let registry = Registry::builder("myapp")
    ///     .on_init("caches.MyRedis", |cache| {
    ///         println!("{} ({}) is there", cache.title(), cache.name());
    ///         # #[cfg(feature = "blocking")]
    ///         cache.blocking()?.set_numeric("starts", 0, None).run()?;
    ///         Ok(())
    ///     })
    ///     .build();
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_init(
        mut self,
        name: impl Into<String>,
        init: impl Fn(&TextCache) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.inner.inits.insert(name.into(), Arc::new(init));
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
                inits: HashMap::new(),
                made: Mutex::default(),
                making: ReentrantMutex::default(),
            },
        }
    }

    /// An element: texts and numbers by name. The first call creates it, without connecting; later calls return the same
    /// element, or a new one if its cache was closed. (For code without an async runtime, take its
    /// [`blocking`](TextCacheOf::blocking) form.)
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], with the path of the file: there is no such element, its Type does not exist or
    /// refers back to itself, a field is missing, unknown or out of range, a variable is not set. And what its
    /// [`on_init`](RegistryBuilder::on_init) fails with: an error of nearcache as it is, another one as the source of an
    /// `InvalidConfig`.
    pub fn element(&self, name: &str) -> Result<TextCache> {
        if let Some(made) = self.made(name) {
            return Ok(made);
        }
        let making = self.inner.making.lock();
        // Another thread may have made it meanwhile.
        if let Some(made) = self.made(name) {
            return Ok(made);
        }
        let making = Making::begin(&making, name)?;
        let made = self.make(name)?;
        drop(making);
        let mut all = self.inner.made.lock();
        all.insert(name.to_owned(), made.clone());
        Ok(made)
    }

    /// The cache beneath an element, with all verbs: see [`element`](Registry::element), whose
    /// [`cache`](TextCacheOf::cache) it is. (For code without an async runtime, take its
    /// [`blocking`](crate::CacheOf::blocking) form.)
    ///
    /// # Errors
    /// Those of [`element`](Registry::element).
    pub fn cache(&self, name: &str) -> Result<Cache> {
        Ok(self.element(name)?.cache().clone())
    }

    /// An element that was made before, and whose cache is open.
    fn made(&self, name: &str) -> Option<TextCache> {
        let made = self.inner.made.lock().get(name).cloned();
        made.filter(|made| made.cache().is_open())
    }

    fn make(&self, name: &str) -> Result<TextCache> {
        let element = types::element(&self.inner, name)?;
        let mut builder = self.settings_of(&element)?.builder()?;
        if let Some(build) = &self.inner.build {
            builder = build(name, builder);
        }
        let (charset, decode_responses) = redis::texts(&element)?;
        let about = About {
            element,
            charset,
            decode_responses,
        };
        let made = TextCache::new(builder.build()?, Arc::new(about));
        // From the Meta down to the instance.
        let types = made.element().types().iter().rev();
        for name in types.map(String::as_str).chain([name]) {
            if let Some(init) = self.inner.inits.get(name) {
                init(&made).map_err(|error| failed_init(name, error))?;
            }
        }
        Ok(made)
    }

    /// The options of an element's cache, read again from its files. To print all that apply, use
    /// [`effective`](CacheConfig::effective).
    ///
    /// # Errors
    /// Those of [`cache`](Registry::cache).
    pub fn settings(&self, name: &str) -> Result<CacheConfig> {
        self.settings_of(&types::element(&self.inner, name)?)
    }

    fn settings_of(&self, element: &Element) -> Result<CacheConfig> {
        let made = match &element.factory {
            Some(factory) => factory(element)?,
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

/// An element that is being made, on this thread.
struct Making<'m>(&'m RefCell<Vec<String>>);

impl<'m> Making<'m> {
    /// # Errors
    /// It is being made already: its `on_init` asks for it.
    fn begin(making: &'m RefCell<Vec<String>>, name: &str) -> Result<Self> {
        let mut names = making.borrow_mut();
        if names.iter().any(|one| one == name) {
            names.push(name.to_owned());
            let path = names.join(" → ");
            names.pop();
            return Err(invalid(format!(
                "on_init of an element asks for the element itself: {path}; use the one that it is given"
            )));
        }
        names.push(name.to_owned());
        Ok(Making(making))
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().pop();
    }
}

fn failed_init(name: &str, error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => invalid(format!("on_init of {name} failed: {error}")).caused_by(error),
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
