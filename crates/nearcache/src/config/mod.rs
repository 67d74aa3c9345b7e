//! Configuration: caches that are described in TOML, JSON, the environment or code.
//!
//! A [`Config`] has options that apply to all its caches, and named caches with options of their own; a
//! [`CacheConfig`] has the options of one cache. The options are listed in [`OPTIONS`], and on the page
//! `docs/configuration.md`.
//!
//! ```
//! # async fn example() -> nearcache::Result<()> {
//! use nearcache::config::Config;
//!
//! let config = Config::reader()
//!     .vars([("REDIS_PASSWORD", "s3cret")]) // the default is the process's environment
//!     .toml(r#"
//!         url = "memory://{{STORE:shop}}"
//!         timeout = "250ms"
//!         password = "{{REDIS_PASSWORD}}"
//!
//!         [caches.sessions]
//!         prefix = "sessions"
//!         default_ttl = "30m"
//!
//!         [caches.pages]
//!         prefix = "pages"
//!         default_ttl = "1h"
//!         ttl_jitter = 0.1
//!     "#)?;
//!
//! let (sessions, pages) = (config.cache("sessions")?, config.cache("pages")?);
//! sessions.set("alice", &1).await?;
//! assert_eq!(pages.get::<i32>("alice").await?, None);
//!
//! println!("{}", config.effective("pages")?); // every option, the passwords as ***
//! # Ok(())
//! # }
//! # nearcache::__example(example());
//! ```
//!
//! # Templates
//! In any text, `{{NAME}}` is replaced by the value of an environment variable, and `{{NAME:default}}` has a default
//! for a variable that is not set. The result is read as the type of the option (`port = "{{REDIS_PORT:6379}}"`). A
//! variable that is not set and has no default is an error that names the file, the option and the variable.
//! Templates in the value of a variable are not expanded. `{{{{` stands for `{{`.
//!
//! # The environment
//! [`Config::from_env`] reads variables whose name is `NEARCACHE_` and an option's name in capitals (`NEARCACHE_URL`,
//! `NEARCACHE_DEFAULT_TTL=5m`). `NEARCACHE_CACHES__SESSIONS__DEFAULT_TTL` sets an option of the cache `sessions` (in
//! small letters). [`Config::overridden_by`] lets them override a file.
//!
//! # Secrets
//! No `Debug`, `Display` or error shows a password, not even one in a URL. Output for programs ([`Config::to_toml`],
//! serde) contains the passwords, because a stored configuration needs them.
//!
//! `options` is the table of options, `setting` how their values are read and written, `template` and `reader` turn a
//! text into a configuration, `effective` merges and applies it, `writer` turns it into a text.

mod effective;
mod options;
mod reader;
mod setting;
pub(crate) mod template;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use options::{CacheConfig, OPTIONS, OptionInfo};
pub use reader::Reader;
pub(crate) use reader::{Source, suggestion};
pub(crate) use setting::Setting;
pub use setting::{OnUnavailable, Secret, TlsVerify};

use crate::Cache;
use crate::error::{Error, ErrorKind, Result};

/// The URL of a cache. `Debug` and `Display` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// The URL as it was written, including a password.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Url {
    fn from(text: &str) -> Self {
        Url(text.to_owned())
    }
}

impl From<String> for Url {
    fn from(text: String) -> Self {
        Url(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::url::masked(&self.0))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", crate::url::masked(&self.0))
    }
}

/// Named caches, and the options that apply to all of them. See [the module](self).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The options of every cache that does not set its own.
    pub defaults: CacheConfig,
    /// The caches' own options, by the caches' names.
    pub caches: BTreeMap<String, CacheConfig>,
}

impl Config {
    /// Reads texts with variables other than those of the process.
    pub fn reader() -> Reader {
        Reader::new()
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`]: what is wrong, in which option, and what to write instead.
    pub fn from_toml(text: &str) -> Result<Config> {
        Config::reader().toml(text)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// Those of [`from_toml`](Config::from_toml).
    pub fn from_json(text: &str) -> Result<Config> {
        Config::reader().json(text)
    }

    /// Reads a file, whose name ends in `.toml` or `.json`.
    ///
    /// # Errors
    /// Those of [`from_toml`](Config::from_toml), with the file's path; the file cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Config> {
        Config::reader().load(path)
    }

    /// Reads the variables of the process that begin with `NEARCACHE_`. Their values are not templates.
    ///
    /// # Errors
    /// Those of [`from_toml`](Config::from_toml), with the variable's name.
    pub fn from_env() -> Result<Config> {
        Config::reader().environment()
    }

    /// This configuration, with the options of the other one in place of its own.
    ///
    /// ```
    /// # fn main() -> nearcache::Result<()> {
    /// use nearcache::config::Config;
    ///
    /// let file = Config::from_toml("url = 'redis://localhost'\ntimeout = '1s'")?;
    /// let environment = Config::reader().vars([("NEARCACHE_TIMEOUT", "50ms")]).environment()?;
    /// let config = file.overridden_by(environment);
    /// assert_eq!(config.defaults.timeout.unwrap().as_millis(), 50);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn overridden_by(mut self, other: Config) -> Config {
        self.defaults = other.defaults.over(self.defaults);
        for (name, cache) in other.caches {
            let below = self.caches.remove(&name).unwrap_or_default();
            self.caches.insert(name, cache.over(below));
        }
        self
    }

    /// The names of the caches.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.caches.keys().map(String::as_str)
    }

    /// The options of a cache: its own, and the defaults for what it does not set. For a cache with its own `url` or
    /// `host`, the user, the password, the database number and the options of TLS of the defaults do not apply: they
    /// belong to another server.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`]: there is no cache of that name.
    pub fn settings(&self, name: &str) -> Result<CacheConfig> {
        let Some(own) = self.caches.get(name) else {
            let names: Vec<&str> = self.names().collect();
            let known = if names.is_empty() {
                "no cache has a name; [caches.NAME] adds one".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            };
            let why = format!(
                "there is no cache \"{}\"{}; {known}",
                name.escape_debug(),
                suggestion(name, &names)
            );
            return Err(Error::new(ErrorKind::InvalidConfig, why));
        };
        Ok(own.clone().over(self.defaults.clone()))
    }

    /// Creates a cache by its name. It does not connect yet. Caches of the same server and user share a connection.
    ///
    /// # Errors
    /// Those of [`settings`](Config::settings), and of [`CacheConfig::cache`].
    pub fn cache(&self, name: &str) -> Result<Cache> {
        self.settings(name)?.cache()
    }

    /// Every option of a cache with the value that applies, for printing: see [`CacheConfig::effective`].
    ///
    /// # Errors
    /// Those of [`settings`](Config::settings), and of [`CacheConfig::effective`].
    pub fn effective(&self, name: &str) -> Result<CacheConfig> {
        self.settings(name)?.effective()
    }
}
